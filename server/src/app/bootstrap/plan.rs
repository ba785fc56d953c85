//! What has to be done so that there is what shall be.
//!
//! Names are looked up as everywhere: by a former name one finds what bears another one now, and makes no twin of it.

use std::collections::{HashMap, HashSet};

use chrono::SubsecRound as _;
use flamingock_domain::access::UnitKind;

use super::declaration::{
    Declaration, OrganisationDeclaration, Owner, PartDeclaration, ProjectDeclaration, TokenDeclaration,
};
use super::rules::{self, Site};
use super::step::{BootstrapStep, Note, TokenStep};
use super::{BootstrapError, Position};
use crate::store::tenancy::{Tenancy, TokenRow};

/// What would be done, and what is to be said of the rest.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    pub steps: Vec<BootstrapStep>,
    pub notes: Vec<Note>,
}

/// Compares. Nothing is planned if anything cannot be done.
pub fn plan(declaration: &Declaration, current: &Tenancy) -> Result<Plan, BootstrapError> {
    let mut planner = Planner {
        declaration,
        current,
        plan: Plan::default(),
        late: Vec::new(),
        declared: HashMap::new(),
        tokens: HashSet::new(),
    };
    for organisation in &declaration.organisations {
        planner.organisation(organisation)?;
    }
    let mut values: HashMap<[u8; 32], &str> = HashMap::new();
    for token in &declaration.tokens {
        if let Some(other) = values.insert(token.value.sha256(), &token.name) {
            let message = format!("token `{}` has the value of token `{other}`", token.name);
            return Err(planner.invalid(token.position, message));
        }
        planner
            .token(token)
            .map_err(|message| planner.invalid(token.position, message))?;
    }
    planner.undeclared();
    Ok(planner.plan)
}

struct Planner<'a> {
    declaration: &'a Declaration,
    current: &'a Tenancy,
    plan: Plan,
    /// Steps of a project that wait until its services are there.
    late: Vec<BootstrapStep>,
    /// What of the database the file speaks of, and by which name.
    declared: HashMap<(UnitKind, i64), &'a str>,
    tokens: HashSet<i64>,
}

impl<'a> Planner<'a> {
    fn organisation(&mut self, declared: &'a OrganisationDeclaration) -> Result<(), BootstrapError> {
        let path = &declared.name;
        let id = self.find(UnitKind::Organisation, 0, &declared.name, path, declared.position)?;
        if id.is_none() {
            self.plan.steps.push(BootstrapStep::CreateOrganisation {
                name: declared.name.clone(),
            });
        }
        let row = self.current.organisations.iter().find(|row| Some(row.id) == id);
        self.archive(
            UnitKind::Organisation,
            id,
            path,
            row.is_some_and(|row| row.is_archived),
            declared.archived,
        );
        for project in &declared.projects {
            self.project(&declared.name, id, project)?;
        }
        Ok(())
    }

    fn project(
        &mut self,
        organisation: &str,
        organisation_id: Option<i64>,
        declared: &'a ProjectDeclaration,
    ) -> Result<(), BootstrapError> {
        let path = format!("{organisation}/{}", declared.name);
        let id = match organisation_id {
            Some(within) => self.find(
                UnitKind::Project,
                within,
                &declared.name,
                &path,
                declared.position,
            )?,
            None => None,
        };
        let (organisation, name) = (organisation.to_owned(), declared.name.clone());
        let row = self.current.projects.iter().find(|row| Some(row.id) == id);
        match (row, declared.self_register_services) {
            (None, asked) => self.plan.steps.push(BootstrapStep::CreateProject {
                organisation: organisation.clone(),
                name,
                self_register_services: asked.unwrap_or(false),
            }),
            (Some(row), Some(asked)) if asked != row.self_register_services => {
                self.plan.steps.push(BootstrapStep::UpdateProject {
                    id: row.id,
                    organisation: organisation.clone(),
                    name,
                    self_register_services: asked,
                });
            }
            _ => {}
        }
        self.archive(
            UnitKind::Project,
            id,
            &path,
            row.is_some_and(|row| row.is_archived),
            declared.archived,
        );
        for environment in &declared.environments {
            self.environment(&organisation, &declared.name, id, environment, &declared.services)?;
        }
        for service in &declared.services {
            self.service(&organisation, &declared.name, id, service)?;
        }
        // They name services.
        self.plan.steps.append(&mut self.late);
        Ok(())
    }

    fn environment(
        &mut self,
        organisation: &str,
        project: &str,
        project_id: Option<i64>,
        declared: &'a PartDeclaration,
        services: &[PartDeclaration],
    ) -> Result<(), BootstrapError> {
        let path = format!("{organisation}/{project}/{}", declared.name);
        let id = match project_id {
            Some(within) => self.find(
                UnitKind::Environment,
                within,
                &declared.name,
                &path,
                declared.position,
            )?,
            None => None,
        };
        let row = self.current.environments.iter().find(|row| Some(row.id) == id);
        match (row, declared.trust_absent_marks) {
            (None, asked) => self.plan.steps.push(BootstrapStep::CreateEnvironment {
                organisation: organisation.to_owned(),
                project: project.to_owned(),
                name: declared.name.clone(),
                trust_absent_marks: asked.unwrap_or(false),
            }),
            (Some(row), Some(asked)) if asked != row.trust_absent_marks => {
                self.plan.steps.push(BootstrapStep::UpdateEnvironment {
                    id: row.id,
                    organisation: organisation.to_owned(),
                    project: project.to_owned(),
                    name: declared.name.clone(),
                    trust_absent_marks: asked,
                });
            }
            _ => {}
        }
        self.archive(
            UnitKind::Environment,
            id,
            &path,
            row.is_some_and(|row| row.is_archived),
            declared.archived,
        );
        let site = Site {
            organisation,
            project,
            environment: &declared.name,
            project_id,
            id,
        };
        let now = row.map(|row| row.policy).unwrap_or_default();
        self.plan
            .steps
            .extend(rules::policy_step(site, now, declared.policy));
        for freeze in &declared.freezes {
            let (step, note) = rules::freeze(self.current, site, freeze);
            self.late.extend(step);
            self.plan.notes.extend(note);
            for name in freeze.services.iter().flatten() {
                let is_known = services.iter().any(|service| service.name == *name)
                    || project_id.is_some_and(|id| self.current.unit(UnitKind::Service, id, name).is_some());
                if !is_known {
                    let message = format!(
                        "the freeze is for service `{name}`, which neither the file nor the database has"
                    );
                    return Err(self.invalid(freeze.position, message));
                }
            }
        }
        Ok(())
    }

    fn service(
        &mut self,
        organisation: &str,
        project: &str,
        project_id: Option<i64>,
        declared: &'a PartDeclaration,
    ) -> Result<(), BootstrapError> {
        let path = format!("{organisation}/{project}/{}", declared.name);
        let id = match project_id {
            Some(within) => self.find(
                UnitKind::Service,
                within,
                &declared.name,
                &path,
                declared.position,
            )?,
            None => None,
        };
        if id.is_none() {
            self.plan.steps.push(BootstrapStep::CreateService {
                organisation: organisation.to_owned(),
                project: project.to_owned(),
                name: declared.name.clone(),
            });
        }
        let row = self.current.services.iter().find(|row| Some(row.id) == id);
        self.archive(
            UnitKind::Service,
            id,
            &path,
            row.is_some_and(|row| row.is_archived),
            declared.archived,
        );
        Ok(())
    }

    /// By its present or a former name.
    fn find(
        &mut self,
        kind: UnitKind,
        within: i64,
        name: &'a str,
        path: &str,
        position: Position,
    ) -> Result<Option<i64>, BootstrapError> {
        let Some(id) = self.current.unit(kind, within, name) else {
            return Ok(None);
        };
        if let Some(other) = self.declared.insert((kind, id), name) {
            let message = format!(
                "{kind} `{name}` and {kind} `{other}` are one and the same, which was renamed: keep the name that it has now"
            );
            return Err(self.invalid(position, message));
        }
        let now = self.name_of(kind, id);
        if now != name {
            self.plan.notes.push(Note::Renamed {
                kind,
                declared: path.to_owned(),
                name: now.to_owned(),
            });
        }
        Ok(Some(id))
    }

    fn archive(&mut self, kind: UnitKind, id: Option<i64>, path: &str, is: bool, asked: Option<bool>) {
        // What does not exist yet is not made in order to be put away.
        let Some(id) = id else { return };
        match asked {
            Some(archived) if archived != is => self.plan.steps.push(BootstrapStep::Archive {
                kind,
                id,
                path: path.to_owned(),
                archived,
            }),
            None if is => self.plan.notes.push(Note::StaysArchived {
                kind,
                path: path.to_owned(),
            }),
            _ => {}
        }
    }

    fn token(&mut self, token: &TokenDeclaration) -> Result<(), String> {
        self.check_names(token)?;
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
        let owner = self.owner_ids(&token.owner);
        let is_this = |row: &TokenRow| {
            row.name == token.name
                && owner.is_some_and(|owner| owner == (row.organisation_id, row.project_id))
        };
        let living = self
            .current
            .tokens
            .iter()
            .find(|row| !row.is_revoked && !row.is_replaced && is_this(row));
        let same_value = self.current.tokens.iter().find(|row| row.sha256 == step.sha256);
        self.tokens.extend(living.map(|row| row.id));
        let (name, owner) = (step.name.clone(), step.owner.clone());
        match (living, same_value) {
            (None, None) => self.plan.steps.push(BootstrapStep::CreateToken(step)),
            (Some(old), None) => self.plan.steps.push(BootstrapStep::RotateToken {
                old_id: old.id,
                new: step,
            }),
            (Some(row), Some(other)) if row.id == other.id => {
                if row.role != token.role.as_str() {
                    return Err(format!(
                        "token `{}` has role `{}`, and a value keeps its role because sessions opened with it do: give \
                         it another value to make it `{}`",
                        token.name, row.role, token.role
                    ));
                }
                if self.differs(&step, row) {
                    self.plan.steps.push(BootstrapStep::UpdateToken {
                        id: row.id,
                        terms: step,
                    });
                }
            }
            // People have decided since the file was written: the server starts, and says what to correct.
            (_, Some(other)) if other.is_replaced && is_this(other) => {
                self.plan.notes.push(Note::RotatedSince { name, owner });
            }
            (None, Some(other)) if other.is_revoked && is_this(other) => {
                self.plan.notes.push(Note::StaysRevoked { name, owner });
            }
            (_, Some(other)) if other.is_revoked => {
                return Err(format!(
                    "the value of token `{}` was revoked, and what is revoked stays so: give it a new value",
                    token.name
                ));
            }
            // Not whose: it may be another tenant's.
            (_, Some(_)) => {
                return Err(format!(
                    "the value of token `{}` is that of another token in the database: give it a value of its own",
                    token.name
                ));
            }
        }
        Ok(())
    }

    /// Names that a token is restricted to must exist by the time it does.
    fn check_names(&self, token: &TokenDeclaration) -> Result<(), String> {
        let Owner::Project(organisation, project) = &token.owner else {
            return Ok(());
        };
        let declared = self
            .declaration
            .organisations
            .iter()
            .find(|declared| declared.name == *organisation)
            .and_then(|declared| {
                declared
                    .projects
                    .iter()
                    .find(|declared| declared.name == *project)
            });
        let id = self.owner_ids(&token.owner).and_then(|(_, project)| project);
        let is_known = |kind, parts: Option<&[PartDeclaration]>, name: &str| {
            parts.into_iter().flatten().any(|part| part.name == name)
                || id.is_some_and(|id| self.current.unit(kind, id, name).is_some())
        };
        for (kind, names, parts) in [
            (
                UnitKind::Environment,
                &token.environments,
                declared.map(|project| project.environments.as_slice()),
            ),
            (
                UnitKind::Service,
                &token.services,
                declared.map(|project| project.services.as_slice()),
            ),
        ] {
            if let Some(name) = names.iter().flatten().find(|name| !is_known(kind, parts, name)) {
                return Err(format!(
                    "token `{}` is restricted to {kind} `{name}`, which neither the file nor the database has",
                    token.name
                ));
            }
        }
        Ok(())
    }

    /// `None`: it does not exist yet.
    fn owner_ids(&self, owner: &Owner) -> Option<(Option<i64>, Option<i64>)> {
        let organisation_id = |name: &str| self.current.unit(UnitKind::Organisation, 0, name);
        match owner {
            Owner::Server => Some((None, None)),
            Owner::Organisation(organisation) => Some((Some(organisation_id(organisation)?), None)),
            Owner::Project(organisation, project) => {
                let organisation = organisation_id(organisation)?;
                let project = self.current.unit(UnitKind::Project, organisation, project)?;
                Some((Some(organisation), Some(project)))
            }
        }
    }

    fn differs(&self, step: &TokenStep, row: &TokenRow) -> bool {
        let same = |kind, names: Option<&[String]>, ids: Option<&[i64]>| match (names, ids) {
            (None, None) => true,
            (Some(names), Some(ids)) => {
                let within = row.project_id.unwrap_or_default();
                let declared: HashSet<Option<i64>> = names
                    .iter()
                    .map(|name| self.current.unit(kind, within, name))
                    .collect();
                declared == ids.iter().copied().map(Some).collect()
            }
            _ => false,
        };
        step.expires_at != row.expires_at
            || !same(
                UnitKind::Environment,
                step.environments.as_deref(),
                row.environment_ids.as_deref(),
            )
            || !same(
                UnitKind::Service,
                step.services.as_deref(),
                row.service_ids.as_deref(),
            )
    }

    /// What the database has beside the file. Nothing of it is touched; it is said, so that nobody believes it gone.
    fn undeclared(&mut self) {
        let current = self.current;
        let organisation = |id: i64| self.name_of(UnitKind::Organisation, id);
        let project = |id: i64| {
            let row = current.projects.iter().find(|row| row.id == id);
            row.map_or_else(String::new, |row| {
                format!("{}/{}", organisation(row.organisation_id), row.name)
            })
        };
        let is_declared = |kind, id| self.declared.contains_key(&(kind, id));
        let mut notes = Vec::new();
        let mut note = |kind, path, is_archived| {
            notes.push(Note::Undeclared {
                kind,
                path,
                is_archived,
            });
        };
        for row in &current.organisations {
            if !is_declared(UnitKind::Organisation, row.id) {
                note("organisation", row.name.clone(), row.is_archived);
            }
        }
        for row in &current.projects {
            if !is_declared(UnitKind::Project, row.id) {
                note("project", project(row.id), row.is_archived);
            }
        }
        for row in &current.environments {
            if !is_declared(UnitKind::Environment, row.id) {
                let path = format!("{}/{}", project(row.project_id), row.name);
                note("environment", path, row.is_archived);
            }
        }
        for row in &current.services {
            if !is_declared(UnitKind::Service, row.id) {
                let path = format!("{}/{}", project(row.project_id), row.name);
                note("service", path, row.is_archived);
            }
        }
        for row in &current.tokens {
            if !row.is_revoked && !row.is_replaced && !self.tokens.contains(&row.id) {
                let owner = match (row.organisation_id, row.project_id) {
                    (_, Some(id)) => format!("project {}", project(id)),
                    (Some(id), None) => format!("organisation {}", organisation(id)),
                    (None, None) => "the server".to_owned(),
                };
                note("token", format!("{} of {owner}", row.name), false);
            }
        }
        self.plan.notes.extend(notes);
    }

    fn name_of(&self, kind: UnitKind, id: i64) -> &'a str {
        let current = self.current;
        let found = match kind {
            UnitKind::Organisation => current
                .organisations
                .iter()
                .find(|row| row.id == id)
                .map(|row| row.name.as_str()),
            UnitKind::Project => current
                .projects
                .iter()
                .find(|row| row.id == id)
                .map(|row| row.name.as_str()),
            UnitKind::Environment => current
                .environments
                .iter()
                .find(|row| row.id == id)
                .map(|row| row.name.as_str()),
            UnitKind::Service => current
                .services
                .iter()
                .find(|row| row.id == id)
                .map(|row| row.name.as_str()),
        };
        found.unwrap_or_default()
    }

    fn invalid(&self, position: Position, message: String) -> BootstrapError {
        BootstrapError::Invalid {
            path: self.declaration.path.clone(),
            position,
            message,
        }
    }
}
