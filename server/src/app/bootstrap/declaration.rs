//! The file's meaning, checked as far as it can be without a database.

use std::collections::HashSet;
use std::ops::Range;
use std::path::{Path, PathBuf};

use chrono::{DateTime, Utc};
use flamingock_domain::plan::policy::Mode;
use toml::Spanned;
use toml::value::Datetime;

use super::rules::{self, FreezeDeclaration, PolicyDeclaration};
use super::{BootstrapError, Position, file};
use crate::app::auth::{ApiToken, Role, check_name};

/// As of reasons that people give through the API.
const REASON_MAX_CHARS: usize = 2_000;

/// What there shall be.
#[derive(Debug)]
pub struct Declaration {
    pub(super) path: PathBuf,
    pub(super) organisations: Vec<OrganisationDeclaration>,
    pub(super) tokens: Vec<TokenDeclaration>,
    /// Variables that token values came from.
    variables: Vec<String>,
}

#[derive(Debug)]
pub(super) struct OrganisationDeclaration {
    pub(super) name: String,
    pub(super) position: Position,
    /// `None`: as it is; so with every flag.
    pub(super) archived: Option<bool>,
    pub(super) projects: Vec<ProjectDeclaration>,
}

#[derive(Debug)]
pub(super) struct ProjectDeclaration {
    pub(super) name: String,
    pub(super) position: Position,
    pub(super) archived: Option<bool>,
    pub(super) self_register_services: Option<bool>,
    pub(super) environments: Vec<PartDeclaration>,
    pub(super) services: Vec<PartDeclaration>,
}

/// An environment or a service.
#[derive(Debug)]
pub(super) struct PartDeclaration {
    pub(super) name: String,
    pub(super) position: Position,
    pub(super) archived: Option<bool>,
    /// Of an environment, as all that follows.
    pub(super) trust_absent_marks: Option<bool>,
    pub(super) policy: PolicyDeclaration,
    pub(super) freezes: Vec<FreezeDeclaration>,
}

/// Whose a token is.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Owner {
    Server,
    Organisation(String),
    Project(String, String),
}

#[derive(Debug)]
pub struct TokenDeclaration {
    pub owner: Owner,
    pub name: String,
    pub role: Role,
    pub value: ApiToken,
    /// Names; `None`: all.
    pub environments: Option<Vec<String>>,
    pub services: Option<Vec<String>>,
    pub expires_at: Option<DateTime<Utc>>,
    pub(super) position: Position,
}

impl Declaration {
    /// Reads a file; token values that it leaves to the environment come from `variable`.
    pub fn read(path: &Path, variable: impl Fn(&str) -> Option<String>) -> Result<Self, BootstrapError> {
        let text = std::fs::read_to_string(path).map_err(|source| BootstrapError::Read {
            path: path.to_owned(),
            source,
        })?;
        Self::parse(path, &text, variable)
    }

    pub fn parse(
        path: &Path,
        text: &str,
        variable: impl Fn(&str) -> Option<String>,
    ) -> Result<Self, BootstrapError> {
        let mut reader = Reader {
            path,
            text,
            variable: &variable,
            variables: Vec::new(),
        };
        let file: file::File = toml::from_str(text).map_err(|error| {
            // Not the error's own display: it quotes the line, which may hold a token.
            reader.invalid(
                &error.span().unwrap_or(text.len()..text.len()),
                &without_tokens(error.message()),
            )
        })?;
        if file.organisations.is_empty() && file.tokens.is_empty() {
            return Err(reader.invalid(
                &(0..0),
                "it declares nothing: expected `[[organisations]]`. Was it written to its end?",
            ));
        }
        let mut tokens = reader.tokens(&Owner::Server, file.tokens)?;
        let mut organisations = Vec::new();
        reader.unique(
            "organisation",
            file.organisations.iter().map(|organisation| &organisation.name),
        )?;
        for organisation in file.organisations {
            let position = reader.position(&organisation.name.span());
            let name = organisation.name.into_inner();
            tokens.extend(reader.tokens(&Owner::Organisation(name.clone()), organisation.tokens)?);
            let mut projects = Vec::new();
            reader.unique(
                "project",
                organisation.projects.iter().map(|project| &project.name),
            )?;
            for project in organisation.projects {
                reader.unique(
                    "environment",
                    project.environments.iter().map(|environment| &environment.name),
                )?;
                reader.unique("service", project.services.iter().map(|service| &service.name))?;
                let owner = Owner::Project(name.clone(), project.name.get_ref().clone());
                tokens.extend(reader.tokens(&owner, project.tokens)?);
                projects.push(ProjectDeclaration {
                    position: reader.position(&project.name.span()),
                    name: project.name.into_inner(),
                    archived: project.archived,
                    self_register_services: project.self_register_services,
                    environments: project
                        .environments
                        .into_iter()
                        .map(|environment| reader.environment(environment))
                        .collect::<Result<_, _>>()?,
                    services: project
                        .services
                        .into_iter()
                        .map(|service| PartDeclaration {
                            position: reader.position(&service.name.span()),
                            name: service.name.into_inner(),
                            archived: service.archived,
                            trust_absent_marks: None,
                            policy: PolicyDeclaration::default(),
                            freezes: Vec::new(),
                        })
                        .collect(),
                });
            }
            organisations.push(OrganisationDeclaration {
                name,
                position,
                archived: organisation.archived,
                projects,
            });
        }
        Ok(Self {
            path: path.to_owned(),
            organisations,
            tokens,
            variables: reader.variables,
        })
    }

    /// Variables of the environment that it took tokens from.
    pub fn variables(&self) -> &[String] {
        &self.variables
    }
}

struct Reader<'a, F> {
    path: &'a Path,
    text: &'a str,
    variable: &'a F,
    variables: Vec<String>,
}

impl<F: Fn(&str) -> Option<String>> Reader<'_, F> {
    fn environment(&self, environment: file::Environment) -> Result<PartDeclaration, BootstrapError> {
        let policy = environment.policy;
        Ok(PartDeclaration {
            position: self.position(&environment.name.span()),
            name: environment.name.into_inner(),
            archived: environment.archived,
            trust_absent_marks: environment.trust_absent_marks,
            policy: PolicyDeclaration {
                checksum_mismatch: self.mode("checksum_mismatch", policy.checksum_mismatch)?,
                out_of_order: self.mode("out_of_order", policy.out_of_order)?,
                approval_required: policy.approval_required,
            },
            freezes: environment
                .freezes
                .into_iter()
                .map(|freeze| self.freeze(freeze))
                .collect::<Result<_, _>>()?,
        })
    }

    fn mode(&self, field: &str, text: Option<Spanned<String>>) -> Result<Option<Mode>, BootstrapError> {
        let Some(text) = text else { return Ok(None) };
        let mode = rules::mode(text.get_ref()).ok_or_else(|| {
            let given = without_tokens(text.get_ref());
            self.invalid(
                &text.span(),
                &format!("`{field}` is `{given}`: expected `allow`, `warn` or `refuse`"),
            )
        })?;
        Ok(Some(mode))
    }

    fn freeze(&self, freeze: file::Freeze) -> Result<FreezeDeclaration, BootstrapError> {
        let starts_at = self.time(&freeze.starts_at)?;
        let ends_at = freeze.ends_at.as_ref().map(|at| self.time(at)).transpose()?;
        if let Some(at) = freeze
            .ends_at
            .as_ref()
            .filter(|_| ends_at.is_some_and(|end| end <= starts_at))
        {
            return Err(self.invalid(&at.span(), "the freeze would end before it starts"));
        }
        let reason = freeze.reason.get_ref().trim();
        if reason.is_empty() || reason.contains('\0') || reason.chars().count() > REASON_MAX_CHARS {
            let message = format!(
                "`reason` must say why, in 1 to {REASON_MAX_CHARS} characters: runners that stop show it"
            );
            return Err(self.invalid(&freeze.reason.span(), &message));
        }
        Ok(FreezeDeclaration {
            position: self.position(&freeze.reason.span()),
            reason: reason.to_owned(),
            services: self.names("service", freeze.services)?,
            starts_at,
            ends_at,
        })
    }

    fn tokens(
        &mut self,
        owner: &Owner,
        tokens: Vec<file::Token>,
    ) -> Result<Vec<TokenDeclaration>, BootstrapError> {
        self.unique("token", tokens.iter().map(|token| &token.name))?;
        tokens.into_iter().map(|token| self.token(owner, token)).collect()
    }

    fn token(&mut self, owner: &Owner, token: file::Token) -> Result<TokenDeclaration, BootstrapError> {
        let position = self.position(&token.name.span());
        let expected = match owner {
            Owner::Server => &[Role::Root][..],
            Owner::Organisation(_) => &[Role::Viewer, Role::Operator, Role::Admin],
            Owner::Project(..) => &[Role::Runner, Role::Viewer, Role::Operator, Role::Admin],
        };
        let role = Role::parse(token.role.get_ref())
            .filter(|role| expected.contains(role))
            .ok_or_else(|| {
                let expected: Vec<_> = expected.iter().map(|role| format!("`{role}`")).collect();
                self.invalid(
                    &token.role.span(),
                    &format!(
                        "the role of token `{}` is `{}`: expected {} here",
                        token.name.get_ref(),
                        without_tokens(token.role.get_ref()),
                        expected.join(" or ")
                    ),
                )
            })?;
        if !matches!(owner, Owner::Project(..))
            && let Some(list) = token.environments.as_ref().or(token.services.as_ref())
        {
            return Err(self.invalid(
                &list.span(),
                "only a token of a project can be restricted to environments or services",
            ));
        }
        let value = self.value(&token)?;
        Ok(TokenDeclaration {
            owner: owner.clone(),
            role,
            value,
            environments: self.names("environment", token.environments)?,
            services: self.names("service", token.services)?,
            expires_at: token.expires_at.map(|at| self.time(&at)).transpose()?,
            name: token.name.into_inner(),
            position,
        })
    }

    fn value(&mut self, token: &file::Token) -> Result<ApiToken, BootstrapError> {
        const MAKE: &str = "make one with `flamingock-server generate-token`";
        let name = token.name.get_ref();
        let (text, from, span) = match (&token.value, &token.value_env) {
            (Some(value), None) => (value.get_ref().clone(), "`value`".to_owned(), value.span()),
            (None, Some(variable)) => {
                let text = (self.variable)(variable.get_ref()).filter(|text| !text.is_empty()).ok_or_else(|| {
                    self.invalid(
                        &variable.span(),
                        &format!(
                            "the value of token `{name}` shall come from the environment variable `{}`, which is \
                             not set",
                            variable.get_ref()
                        ),
                    )
                })?;
                self.variables.push(variable.get_ref().clone());
                (
                    text,
                    format!("the value of `{}`", variable.get_ref()),
                    variable.span(),
                )
            }
            (None, None) => {
                return Err(self.invalid(
                    &token.name.span(),
                    &format!("token `{name}` has no value: give it `value` or `value_env`; {MAKE}"),
                ));
            }
            (Some(_), Some(second)) => {
                return Err(self.invalid(
                    &second.span(),
                    &format!("token `{name}` has both `value` and `value_env`: expected one of them"),
                ));
            }
        };
        ApiToken::parse(&text)
            .map_err(|error| self.invalid(&span, &format!("{from} is no API token: {error}; {MAKE}")))
    }

    fn names(
        &self,
        kind: &str,
        names: Option<Spanned<Vec<Spanned<String>>>>,
    ) -> Result<Option<Vec<String>>, BootstrapError> {
        let Some(names) = names else { return Ok(None) };
        if names.get_ref().is_empty() {
            return Err(self.invalid(
                &names.span(),
                &format!("an empty list allows no {kind} at all; leave it out to allow every one"),
            ));
        }
        self.unique(kind, names.get_ref())?;
        Ok(Some(
            names.into_inner().into_iter().map(Spanned::into_inner).collect(),
        ))
    }

    fn time(&self, at: &Spanned<Datetime>) -> Result<DateTime<Utc>, BootstrapError> {
        // Without an offset it would mean another moment on another machine.
        DateTime::parse_from_rfc3339(&at.get_ref().to_string())
            .map(|time| time.to_utc())
            .map_err(|_| {
                self.invalid(
                    &at.span(),
                    &format!(
                        "`{}` is no moment: expected a form such as 2030-12-31T23:59:59Z",
                        at.get_ref()
                    ),
                )
            })
    }

    fn unique<'n>(
        &self,
        kind: &str,
        names: impl IntoIterator<Item = &'n Spanned<String>>,
    ) -> Result<(), BootstrapError> {
        let mut seen = HashSet::new();
        for name in names {
            let text = without_tokens(name.get_ref());
            let article = if kind.starts_with(['e', 'o']) { "an" } else { "a" };
            check_name(name.get_ref()).map_err(|error| {
                self.invalid(
                    &name.span(),
                    &format!("`{text}` is not usable as the name of {article} {kind}: {error}"),
                )
            })?;
            if !seen.insert(name.get_ref()) {
                return Err(self.invalid(&name.span(), &format!("{kind} `{text}` is here twice")));
            }
        }
        Ok(())
    }

    fn invalid(&self, span: &Range<usize>, message: &str) -> BootstrapError {
        BootstrapError::Invalid {
            path: self.path.to_owned(),
            position: self.position(span),
            message: message.to_owned(),
        }
    }

    fn position(&self, span: &Range<usize>) -> Position {
        let before = self.text.get(..span.start).unwrap_or(self.text);
        let line_start = before.rfind('\n').map_or(0, |at| at + 1);
        Position {
            line: before.matches('\n').count() + 1,
            column: before[line_start..].chars().count() + 1,
        }
    }
}

/// A message may quote what stands in the file, and that may be a token in the wrong place.
fn without_tokens(text: &str) -> String {
    let mut parts = text.split(crate::app::auth::token::PREFIX);
    let mut clean = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        clean.push_str("[redacted]");
        clean.push_str(part.trim_start_matches(|c: char| c.is_ascii_alphanumeric()));
    }
    clean
}
