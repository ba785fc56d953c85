//! An API token and two names, for a session.

use std::fmt;
use std::time::Duration;

use flamingock_domain::access::listed;
use sqlx::{PgConnection, PgPool};

use super::session::{self, Grant};
use super::token::{ApiToken, TokenFormatError};
use super::{Auth, Role, UnitKind};
use crate::app::Fault;
use crate::app::actor::{Action, Actor, Place};
use crate::store::tenancy::Named;
use crate::store::tokens::{Token, TokenProject};
use crate::store::{self, StoreError, tenancy, tokens};

/// A session, and what it is for in ids and names.
#[derive(Clone)]
pub struct Exchanged {
    pub jwt: String,
    pub expires_in: Duration,
    pub credential_id: i64,
    pub role: Role,
    pub organisation_id: i64,
    pub organisation_name: String,
    pub project_id: i64,
    pub project_name: String,
    pub environment_id: i64,
    pub environment_name: String,
    pub service_id: i64,
    pub service_name: String,
    /// The service was unknown until now.
    pub service_registered: bool,
}

impl fmt::Debug for Exchanged {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Exchanged")
            .field("jwt", &"[redacted]")
            .field("credential_id", &self.credential_id)
            .field("environment_id", &self.environment_id)
            .field("service_id", &self.service_id)
            .finish_non_exhaustive()
    }
}

/// What the caller sends, by its name on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Field {
    ApiToken,
    EnvironmentName,
    ServiceName,
}

impl fmt::Display for Field {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::ApiToken => "apiToken",
            Self::EnvironmentName => "environmentName",
            Self::ServiceName => "serviceName",
        })
    }
}

/// Every message may be shown to the caller, but for the fault's.
#[derive(Clone, Debug, thiserror::Error)]
pub enum ExchangeError {
    #[error("`{field}` is not usable: {reason}")]
    Malformed { field: Field, reason: NameError },
    /// Unknown, expired or revoked, all in the same words.
    #[error("The API token is not accepted{}", if *.mistyped { ": it looks mistyped or cut" } else { ": it is unknown, expired or revoked" })]
    TokenRefused { mistyped: bool },
    #[error("The API token is not for one project, so it cannot open a session: use a token of the project")]
    NoProject,
    #[error(
        "Environment `{environment}` does not exist in project `{project}` for this API token: create it first, or \
         correct the name"
    )]
    EnvironmentNotFound { environment: String, project: String },
    #[error("Service `{service}` does not exist in project `{project}` for this API token: {remedy}")]
    ServiceNotFound {
        service: String,
        project: String,
        remedy: Remedy,
    },
    #[error(
        "The {kind} `{name}` is archived: nothing new runs in it. Its history can still be read. Ask an administrator to take \
         it back, or correct the names that the application is started with"
    )]
    Archived { kind: UnitKind, name: String },
    #[error(transparent)]
    Fault(#[from] Fault),
}

/// What helps where a service is unknown and does not register itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Remedy {
    ProjectDecides,
    TokenIsRestricted,
    RoleDoesNotRun,
    NameMayBeDamaged,
}

impl fmt::Display for Remedy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::ProjectDecides => "create it first, or let the project's services register themselves",
            Self::TokenIsRestricted => "the token is restricted to services, and this is none of them",
            Self::RoleDoesNotRun => "only a runner's token registers services",
            Self::NameMayBeDamaged => {
                "it does not register itself, because a `?` may stand for a letter that was lost on the way"
            }
        })
    }
}

/// Why a name cannot be one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    #[error("it is missing or empty")]
    Empty,
    #[error("it is longer than 200 characters")]
    TooLong,
    #[error("it holds a control character")]
    ControlCharacter,
    #[error("it starts or ends with white space")]
    Edges,
}

/// Names are taken as they are; what could be mistaken for another name is refused.
pub fn check_name(name: &str) -> Result<(), NameError> {
    if name.is_empty() {
        return Err(NameError::Empty);
    }
    if name.chars().count() > 200 {
        return Err(NameError::TooLong);
    }
    if name.chars().any(char::is_control) {
        return Err(NameError::ControlCharacter);
    }
    if name.trim() != name {
        return Err(NameError::Edges);
    }
    Ok(())
}

impl Auth {
    /// Opens a session in an environment and a service of the token's project.
    pub async fn exchange(
        &self,
        api_token: Option<&str>,
        environment: Option<&str>,
        service: Option<&str>,
    ) -> Result<Exchanged, ExchangeError> {
        let api_token = api_token
            .filter(|text| !text.trim().is_empty())
            .ok_or(ExchangeError::Malformed {
                field: Field::ApiToken,
                reason: NameError::Empty,
            })?;
        let environment = name(Field::EnvironmentName, environment)?;
        let service = name(Field::ServiceName, service)?;
        let api_token = ApiToken::parse(api_token).map_err(|error| ExchangeError::TokenRefused {
            mistyped: matches!(error, TokenFormatError::Checksum | TokenFormatError::Shape),
        })?;

        let mut conn = self.inner.pool.acquire().await.map_err(Fault::from)?;
        let found = tokens::load_with_names(&mut conn, &api_token.sha256(), environment, service)
            .await
            .map_err(Fault::from)?;
        let Some((token, found_environment, found_service)) =
            found.filter(|(token, ..)| !token.is_expired && !token.is_revoked)
        else {
            return Err(ExchangeError::TokenRefused { mistyped: false });
        };
        let role = super::role_of(&token)?;
        let (Some(organisation), Some(project)) = (&token.organisation, &token.project) else {
            return Err(ExchangeError::NoProject);
        };
        let archived = |kind, name: &str| ExchangeError::Archived {
            kind,
            name: name.to_owned(),
        };
        if organisation.is_archived {
            return Err(archived(UnitKind::Organisation, &organisation.name));
        }
        if project.is_archived {
            return Err(archived(UnitKind::Project, &project.name));
        }
        let found_environment = found_environment
            .filter(|found| listed(token.environment_ids.as_deref(), found.id))
            .ok_or_else(|| ExchangeError::EnvironmentNotFound {
                environment: environment.to_owned(),
                project: project.name.clone(),
            })?;
        if found_environment.is_archived {
            return Err(archived(UnitKind::Environment, &found_environment.name));
        }
        note_use(&mut conn, &token).await;
        drop(conn);
        let (found_service, service_registered) = match found_service {
            Some(found) if listed(token.service_ids.as_deref(), found.id) => (found, false),
            _ => register(&self.inner.pool, &token, project, role, service).await?,
        };
        if found_service.is_archived {
            return Err(archived(UnitKind::Service, &found_service.name));
        }
        warn_of_former_name(UnitKind::Environment, environment, &found_environment);
        warn_of_former_name(UnitKind::Service, service, &found_service);

        let grant = Grant {
            credential_id: token.id,
            credential_name: token.name.clone(),
            organisation_id: organisation.id,
            project_id: project.id,
            environment_id: found_environment.id,
            service_id: found_service.id,
            role,
        };
        let jwt = session::sign(&grant, &self.inner.keys.load(), &self.inner.settings).ok_or_else(|| {
            Fault::from(StoreError::Corrupt {
                table: "signing_keys",
                detail: "no key that signs sessions".to_owned(),
            })
        })?;
        Ok(Exchanged {
            jwt,
            expires_in: self.inner.settings.session_lifetime,
            credential_id: token.id,
            role,
            organisation_id: organisation.id,
            organisation_name: organisation.name.clone(),
            project_id: project.id,
            project_name: project.name.clone(),
            environment_id: found_environment.id,
            environment_name: found_environment.name,
            service_id: found_service.id,
            service_name: found_service.name,
            service_registered,
        })
    }
}

/// Lets an unknown service in, if it may come by itself.
async fn register(
    pool: &PgPool,
    token: &Token,
    project: &TokenProject,
    role: Role,
    service: &str,
) -> Result<(Named, bool), ExchangeError> {
    let remedy = if token.service_ids.is_some() {
        Some(Remedy::TokenIsRestricted)
    } else if !project.self_register_services {
        Some(Remedy::ProjectDecides)
    } else if !role.may_run() {
        Some(Remedy::RoleDoesNotRun)
    } else if service.contains('?') {
        // Two services whose letters were lost would share one history.
        Some(Remedy::NameMayBeDamaged)
    } else {
        None
    };
    if let Some(remedy) = remedy {
        return Err(ExchangeError::ServiceNotFound {
            service: service.to_owned(),
            project: project.name.clone(),
            remedy,
        });
    }
    let (id, made) = insert(pool, token, project, role, service)
        .await
        .map_err(|error| match error {
            // It was made and renamed since it was looked up: whoever asks again finds it.
            StoreError::Constraint { name, source } if name == tenancy::NAME_TAKEN => {
                Fault::from(StoreError::Contention(source))
            }
            error => Fault::from(error),
        })?;
    if made {
        tracing::info!(
            project.id = project.id,
            service.id = id,
            service.name = service,
            "a service registered itself"
        );
    }
    let found = Named {
        id,
        name: service.to_owned(),
        is_archived: false,
    };
    Ok((found, made))
}

/// Makes the service and the record of it, together.
async fn insert(
    pool: &PgPool,
    token: &Token,
    project: &TokenProject,
    role: Role,
    service: &str,
) -> Result<(i64, bool), StoreError> {
    let mut tx = store::begin(pool).await?;
    let (id, made) = tenancy::insert_service(&mut tx, project.id, service).await?;
    if made {
        let actor = Actor {
            credential_id: Some(token.id),
            name: Some(token.name.clone()),
            role,
            ..Actor::server("registration")
        };
        let action = Action {
            action: "service_create",
            place: Place::Service(id),
            target: service,
            reason: Some("It registered itself at its first token exchange."),
            before: None,
            after: Some(serde_json::json!({"name": service})),
        };
        actor.record(&mut tx, &action).await?;
    }
    tx.commit().await?;
    Ok((id, made))
}

/// It works, and should not be left so: whoever reads the application's settings looks for a name that is gone.
fn warn_of_former_name(kind: UnitKind, asked: &str, found: &Named) {
    if asked != found.name {
        tracing::warn!(
            kind = kind.as_str(),
            id = found.id,
            asked,
            name = found.name,
            "an application starts under a former name"
        );
    }
}

fn name(field: Field, value: Option<&str>) -> Result<&str, ExchangeError> {
    let value = value
        .filter(|text| !text.trim().is_empty())
        .ok_or(ExchangeError::Malformed {
            field,
            reason: NameError::Empty,
        })?;
    check_name(value).map_err(|reason| ExchangeError::Malformed { field, reason })?;
    Ok(value)
}

/// The time of last use is for people; a session does not fail for it.
pub(super) async fn note_use(conn: &mut PgConnection, token: &Token) {
    if !token.use_is_stale {
        return;
    }
    if let Err(error) = tokens::update_last_used(conn, token.id).await {
        let error: &dyn std::error::Error = &error;
        tracing::debug!(credential.id = token.id, error, "could not note a token's use");
    }
}
