//! What has to be done so that there is what shall be.

use std::collections::{HashMap, HashSet};
use std::fmt;

use chrono::{DateTime, SubsecRound as _, Utc};

use super::BootstrapError;
use super::declaration::{Declaration, Owner, ProjectDeclaration, TokenDeclaration};
use crate::app::auth::Role;
use crate::store::tenancy::{ProjectRow, Tenancy, TokenRow};

/// One change. Names, not ids: what it needs may be made by a step before it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BootstrapStep {
    CreateOrganisation {
        name: String,
    },
    CreateProject {
        organisation: String,
        name: String,
        self_register_services: bool,
    },
    UpdateProject {
        id: i64,
        organisation: String,
        name: String,
        self_register_services: bool,
    },
    CreateEnvironment {
        organisation: String,
        project: String,
        name: String,
        trust_absent_marks: bool,
    },
    UpdateEnvironment {
        id: i64,
        organisation: String,
        project: String,
        name: String,
        trust_absent_marks: bool,
    },
    CreateService {
        organisation: String,
        project: String,
        name: String,
    },
    CreateToken(TokenStep),
    /// Another value under the same name: the old one is revoked.
    RotateToken {
        old_id: i64,
        new: TokenStep,
    },
    UpdateToken {
        id: i64,
        terms: TokenStep,
    },
}

/// A token as it shall be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenStep {
    pub owner: Owner,
    pub name: String,
    pub role: Role,
    pub sha256: [u8; 32],
    pub hint: String,
    pub environments: Option<Vec<String>>,
    pub services: Option<Vec<String>>,
    pub expires_at: Option<DateTime<Utc>>,
}

impl fmt::Display for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Server => f.write_str("the server"),
            Self::Organisation(organisation) => write!(f, "organisation {organisation}"),
            Self::Project(organisation, project) => write!(f, "project {organisation}/{project}"),
        }
    }
}

impl fmt::Display for BootstrapStep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::CreateOrganisation { name } => write!(f, "create organisation {name}"),
            Self::CreateProject {
                organisation,
                name,
                self_register_services,
            } => write!(
                f,
                "create project {organisation}/{name} (self_register_services = {self_register_services})"
            ),
            Self::UpdateProject {
                organisation,
                name,
                self_register_services,
                ..
            } => write!(
                f,
                "change project {organisation}/{name}: self_register_services = {self_register_services}"
            ),
            Self::CreateEnvironment {
                organisation,
                project,
                name,
                trust_absent_marks,
            } => write!(
                f,
                "create environment {organisation}/{project}/{name} (trust_absent_marks = {trust_absent_marks})"
            ),
            Self::UpdateEnvironment {
                organisation,
                project,
                name,
                trust_absent_marks,
                ..
            } => write!(
                f,
                "change environment {organisation}/{project}/{name}: trust_absent_marks = {trust_absent_marks}"
            ),
            Self::CreateService {
                organisation,
                project,
                name,
            } => {
                write!(f, "create service {organisation}/{project}/{name}")
            }
            Self::CreateToken(token) => write!(f, "create token {token}"),
            Self::RotateToken { new, .. } => {
                write!(f, "replace the value of token {new}; the old value is revoked")
            }
            Self::UpdateToken { terms, .. } => {
                write!(
                    f,
                    "change token {terms}; sessions that are open keep their terms until they end"
                )
            }
        }
    }
}

impl fmt::Display for TokenStep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of {} (role {}", self.name, self.owner, self.role)?;
        for (kind, names) in [("environments", &self.environments), ("services", &self.services)] {
            if let Some(names) = names {
                write!(f, ", {kind} {}", names.join(", "))?;
            }
        }
        if let Some(at) = self.expires_at {
            write!(f, ", until {}", at.format("%FT%TZ"))?;
        }
        f.write_str(")")
    }
}

/// Compares. Nothing is planned if anything cannot be done.
pub fn plan(declaration: &Declaration, current: &Tenancy) -> Result<Vec<BootstrapStep>, BootstrapError> {
    let mut steps = Vec::new();
    for organisation in &declaration.organisations {
        let known = current
            .organisations
            .iter()
            .find(|(_, name)| *name == organisation.name);
        if known.is_none() {
            steps.push(BootstrapStep::CreateOrganisation {
                name: organisation.name.clone(),
            });
        }
        for project in &organisation.projects {
            let known = known.and_then(|(id, _)| find_project(current, *id, &project.name));
            plan_project(&organisation.name, project, known, current, &mut steps);
        }
    }
    let mut values: HashMap<[u8; 32], &str> = HashMap::new();
    for token in &declaration.tokens {
        let refuse = |message: String| BootstrapError::Invalid {
            path: declaration.path.clone(),
            position: token.position,
            message,
        };
        if let Some(other) = values.insert(token.value.sha256(), &token.name) {
            return Err(refuse(format!(
                "token `{}` has the value of token `{other}`",
                token.name
            )));
        }
        steps.extend(plan_token(token, declaration, current).map_err(refuse)?);
    }
    Ok(steps)
}

fn find_project<'t>(current: &'t Tenancy, organisation_id: i64, name: &str) -> Option<&'t ProjectRow> {
    current
        .projects
        .iter()
        .find(|project| project.organisation_id == organisation_id && project.name == name)
}

fn plan_project(
    organisation: &str,
    project: &ProjectDeclaration,
    known: Option<&ProjectRow>,
    current: &Tenancy,
    steps: &mut Vec<BootstrapStep>,
) {
    let (organisation, name) = (organisation.to_owned(), project.name.clone());
    match (known, project.self_register_services) {
        (None, asked) => steps.push(BootstrapStep::CreateProject {
            organisation: organisation.clone(),
            name,
            self_register_services: asked.unwrap_or(false),
        }),
        (Some(row), Some(asked)) if asked != row.self_register_services => {
            steps.push(BootstrapStep::UpdateProject {
                id: row.id,
                organisation: organisation.clone(),
                name,
                self_register_services: asked,
            });
        }
        _ => {}
    }
    for (name, asked) in &project.environments {
        let row = current.environments.iter().find(|environment| {
            known.is_some_and(|project| project.id == environment.project_id) && environment.name == *name
        });
        match (row, asked) {
            (None, asked) => steps.push(BootstrapStep::CreateEnvironment {
                organisation: organisation.clone(),
                project: project.name.clone(),
                name: name.clone(),
                trust_absent_marks: asked.unwrap_or(false),
            }),
            (Some(row), Some(asked)) if *asked != row.trust_absent_marks => {
                steps.push(BootstrapStep::UpdateEnvironment {
                    id: row.id,
                    organisation: organisation.clone(),
                    project: project.name.clone(),
                    name: name.clone(),
                    trust_absent_marks: *asked,
                });
            }
            _ => {}
        }
    }
    for name in &project.services {
        let known = current.services.iter().any(|service| {
            known.is_some_and(|project| project.id == service.project_id) && service.name == *name
        });
        if !known {
            steps.push(BootstrapStep::CreateService {
                organisation: organisation.clone(),
                project: project.name.clone(),
                name: name.clone(),
            });
        }
    }
}

fn plan_token(
    token: &TokenDeclaration,
    declaration: &Declaration,
    current: &Tenancy,
) -> Result<Option<BootstrapStep>, String> {
    check_names(token, declaration, current)?;
    let step = TokenStep {
        owner: token.owner.clone(),
        name: token.name.clone(),
        role: token.role,
        sha256: token.value.sha256(),
        hint: token.value.hint().to_owned(),
        environments: token.environments.clone(),
        services: token.services.clone(),
        // What the database keeps of it.
        expires_at: token.expires_at.map(|at| at.trunc_subsecs(6)),
    };
    let owner = owner_ids(current, &token.owner);
    let same_name = current.tokens.iter().find(|row| {
        !row.is_revoked
            && row.name == token.name
            && owner.is_some_and(|owner| owner == (row.organisation_id, row.project_id))
    });
    let same_value = current.tokens.iter().find(|row| row.sha256 == step.sha256);
    match (same_name, same_value) {
        (None, None) => Ok(Some(BootstrapStep::CreateToken(step))),
        (Some(old), None) => Ok(Some(BootstrapStep::RotateToken {
            old_id: old.id,
            new: step,
        })),
        (Some(row), Some(other)) if row.id == other.id => {
            if row.role != token.role.as_str() {
                return Err(format!(
                    "token `{}` has role `{}`, and a value keeps its role because sessions opened with it do: give \
                     it another value to make it `{}`",
                    token.name, row.role, token.role
                ));
            }
            Ok(
                differs(&step, row, current).then_some(BootstrapStep::UpdateToken {
                    id: row.id,
                    terms: step,
                }),
            )
        }
        (_, Some(other)) if other.is_revoked => Err(format!(
            "the value of token `{}` was revoked, and what is revoked stays so: give it a new value",
            token.name
        )),
        // Not whose: it may be another tenant's.
        (_, Some(_)) => Err(format!(
            "the value of token `{}` is that of another token in the database: give it a value of its own",
            token.name
        )),
    }
}

/// Names that a token is restricted to must exist by the time it does.
fn check_names(token: &TokenDeclaration, declaration: &Declaration, current: &Tenancy) -> Result<(), String> {
    let Owner::Project(organisation, project) = &token.owner else {
        return Ok(());
    };
    let declared = declaration
        .organisations
        .iter()
        .find(|declared| declared.name == *organisation)
        .and_then(|declared| {
            declared
                .projects
                .iter()
                .find(|declared| declared.name == *project)
        });
    let id = owner_ids(current, &token.owner).and_then(|(_, project)| project);
    let mut environments: HashSet<&str> = declared
        .into_iter()
        .flat_map(|project| &project.environments)
        .map(|(name, _)| name.as_str())
        .collect();
    let mut services: HashSet<&str> = declared
        .into_iter()
        .flat_map(|project| &project.services)
        .map(String::as_str)
        .collect();
    environments.extend(
        current
            .environments
            .iter()
            .filter(|row| Some(row.project_id) == id)
            .map(|row| row.name.as_str()),
    );
    services.extend(
        current
            .services
            .iter()
            .filter(|row| Some(row.project_id) == id)
            .map(|row| row.name.as_str()),
    );
    for (kind, names, known) in [
        ("environment", &token.environments, environments),
        ("service", &token.services, services),
    ] {
        if let Some(name) = names.iter().flatten().find(|name| !known.contains(name.as_str())) {
            return Err(format!(
                "token `{}` is restricted to {kind} `{name}`, which neither the file nor the database has",
                token.name
            ));
        }
    }
    Ok(())
}

/// `None`: it does not exist yet.
fn owner_ids(current: &Tenancy, owner: &Owner) -> Option<(Option<i64>, Option<i64>)> {
    let organisation_id = |name: &str| {
        current
            .organisations
            .iter()
            .find(|(_, known)| known == name)
            .map(|(id, _)| *id)
    };
    match owner {
        Owner::Server => Some((None, None)),
        Owner::Organisation(organisation) => Some((Some(organisation_id(organisation)?), None)),
        Owner::Project(organisation, project) => {
            let organisation = organisation_id(organisation)?;
            Some((
                Some(organisation),
                Some(find_project(current, organisation, project)?.id),
            ))
        }
    }
}

fn differs(step: &TokenStep, row: &TokenRow, current: &Tenancy) -> bool {
    let environment = |id: i64| {
        current
            .environments
            .iter()
            .find(|row| row.id == id)
            .map(|row| row.name.as_str())
    };
    let service = |id: i64| {
        current
            .services
            .iter()
            .find(|row| row.id == id)
            .map(|row| row.name.as_str())
    };
    step.expires_at != row.expires_at
        || !same(
            step.environments.as_deref(),
            row.environment_ids.as_deref(),
            environment,
        )
        || !same(step.services.as_deref(), row.service_ids.as_deref(), service)
}

fn same<'t>(names: Option<&[String]>, ids: Option<&[i64]>, name_of: impl Fn(i64) -> Option<&'t str>) -> bool {
    match (names, ids) {
        (None, None) => true,
        (Some(names), Some(ids)) => {
            let names: HashSet<Option<&str>> = names.iter().map(|name| Some(name.as_str())).collect();
            names == ids.iter().map(|id| name_of(*id)).collect()
        }
        _ => false,
    }
}
