//! Who calls, as a value in the handler's signature: what it carries is all that the handler ever learns of it.

use std::net::IpAddr;
use std::sync::Arc;

use axum::extract::{FromRequestParts, Path, Query};
use axum::http::request::Parts;
use axum::http::{HeaderMap, header};
use flamingock_api_types::{ErrorCode, headers};
use flamingock_domain::ids::RunnerId;
use serde::de::DeserializeOwned;

use super::Api;
use super::layers::RequestId;
use super::problem::Problem;
use crate::app::Scope;
use crate::app::actor::Actor;
use crate::app::auth::{BearerError, Caller, Reach, Role, Session, TokenHolder};

/// A runner with a session: the caller of the runner API.
pub struct Runner {
    pub session: Arc<Session>,
    pub id: RunnerId,
}

impl Runner {
    /// The scope of the session, if it is what the path names. What else exists is none of the caller's business.
    pub fn scope(&self, environment_id: i64, service_id: i64) -> Result<Scope, Problem> {
        session_scope(&self.session, environment_id, service_id)
    }

    pub fn own_scope(&self) -> Scope {
        Scope {
            environment_id: self.session.environment_id,
            service_id: self.session.service_id,
        }
    }

    /// For calls that an expired session may not make.
    pub fn refuse_expired(&self) -> Result<(), Problem> {
        if self.session.expired {
            Err(expired())
        } else {
            Ok(())
        }
    }

    /// For calls that begin something: what runs already may be told of, whatever was archived since.
    pub fn refuse_archived(&self, api: &Api) -> Result<(), Problem> {
        match api.auth.archived(&self.session) {
            None => Ok(()),
            Some(kind) => Err(Problem::new(
                ErrorCode::Archived,
                format!(
                    "The {kind} of this session was archived: nothing new runs in it. What runs already may be reported. Ask an \
                     administrator to take it back, or start the application under other names."
                ),
            )),
        }
    }

    /// Whether whoever was let in would be let in now: while a call waits, its credential may be revoked, its session end,
    /// its place be archived. From memory.
    pub fn refuse_unwelcome(&self, api: &Api, headers: &HeaderMap) -> Result<(), Problem> {
        let now = Self {
            session: api.auth.verify_again(bearer(headers)?).map_err(refused)?,
            id: self.id.clone(),
        };
        now.refuse_expired()?;
        now.refuse_archived(api)
    }

    /// A session that ran out during a long run may still report, extend and release while its runner holds the lock:
    /// the Java client cannot renew it, and undoes a change whose result is refused (W §4.1).
    pub async fn refuse_expired_unless_holder(&self, api: &Api) -> Result<(), Problem> {
        if !self.session.expired {
            return Ok(());
        }
        let held = api.app.locks.view(self.own_scope()).await?;
        let is_holder = held
            .and_then(|lock| lock.lease)
            .is_some_and(|lease| lease.owner == self.id);
        if is_holder { Ok(()) } else { Err(expired()) }
    }
}

fn expired() -> Problem {
    Problem::new(
        ErrorCode::SessionExpired,
        "The session has expired. Exchange the API token for a new one at /api/v1/auth/exchange-token.",
    )
}

fn session_scope(session: &Session, environment_id: i64, service_id: i64) -> Result<Scope, Problem> {
    if session.environment_id == environment_id && session.service_id == service_id {
        Ok(Scope {
            environment_id,
            service_id,
        })
    } else {
        Err(Problem::new(
            ErrorCode::OutOfScope,
            format!(
                "This session is for environment {} and service {}; the path names environment {environment_id} and \
                 service {service_id}. Exchange a token for those, or correct the path.",
                session.environment_id, session.service_id
            ),
        ))
    }
}

impl FromRequestParts<Api> for Runner {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, api: &Api) -> Result<Self, Problem> {
        let session = match verify(&parts.headers, api).await? {
            Caller::Session(session) => session,
            Caller::Token(_) => {
                return Err(Problem::new(
                    ErrorCode::BearerMissing,
                    "This call needs a session. Exchange the API token for one at /api/v1/auth/exchange-token and send \
                     the `jwt` of the answer as bearer token.",
                ));
            }
        };
        if !session.role.may_run() {
            return Err(insufficient(session.role, "runner"));
        }
        Ok(Self {
            session,
            id: runner_id(&parts.headers)?,
        })
    }
}

fn runner_id(headers: &HeaderMap) -> Result<RunnerId, Problem> {
    let missing = |message: String| Problem::new(ErrorCode::RunnerIdMissing, message);
    let value = headers.get(headers::RUNNER_ID).ok_or_else(|| {
        missing(format!(
            "Header {} is required: it names the process that calls.",
            headers::RUNNER_ID
        ))
    })?;
    // Header values are bytes; what is not UTF-8 is read as the Java client sends it.
    let text = std::str::from_utf8(value.as_bytes()).map_or_else(
        |_| value.as_bytes().iter().copied().map(char::from).collect(),
        str::to_owned,
    );
    RunnerId::parse(text.trim()).map_err(|error| missing(format!("Header {} {error}.", headers::RUNNER_ID)))
}

/// Where the connection came from.
#[derive(Clone, Copy, Debug)]
pub struct Peer(pub IpAddr);

/// Most of a claim that is kept, in characters.
const FORWARDED_FOR_MAX: usize = 200;

fn actor(caller: &Caller, parts: &Parts) -> Actor {
    let text = |name: &str| {
        parts
            .headers
            .get(name)
            .and_then(|value| value.to_str().ok())
            .map(|text| text.chars().take(FORWARDED_FOR_MAX).collect::<String>())
            .filter(|text| !text.is_empty())
    };
    Actor {
        credential_id: Some(caller.credential_id()),
        name: match caller {
            Caller::Session(session) => session.credential_name.clone(),
            Caller::Token(holder) => Some(holder.name.clone()),
        },
        role: caller.role(),
        address: parts.extensions.get::<Peer>().map(|peer| peer.0.to_string()),
        forwarded_for: text("x-forwarded-for").or_else(|| text("forwarded")),
        request_id: parts.extensions.get::<RequestId>().map(|id| id.0.to_string()),
    }
}

/// Someone who may read a service's history: its own runner, or a person with a role for it.
pub struct Reader(Caller);

/// A person who may decide.
pub struct Operator {
    caller: Caller,
    actor: Actor,
}

impl FromRequestParts<Api> for Reader {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, api: &Api) -> Result<Self, Problem> {
        Self::of(&parts.headers, api).await
    }
}

impl Reader {
    /// Whoever it is that these headers name.
    pub async fn of(headers: &HeaderMap, api: &Api) -> Result<Self, Problem> {
        let caller = verify(headers, api).await?;
        if let Caller::Session(session) = &caller
            && session.expired
        {
            return Err(expired());
        }
        match &caller {
            Caller::Token(holder) if !holder.role.may_read() => Err(insufficient(holder.role, "viewer")),
            _ => Ok(Self(caller)),
        }
    }

    pub fn caller(&self) -> &Caller {
        &self.0
    }

    pub fn reach(&self) -> Reach {
        self.0.reach()
    }

    /// The credential, where it is one that runs changes itself.
    pub fn runner_credential(&self) -> Option<i64> {
        match &self.0 {
            Caller::Session(session) => Some(session.credential_id),
            Caller::Token(_) => None,
        }
    }

    pub async fn scope(&self, api: &Api, environment_id: i64, service_id: i64) -> Result<Scope, Problem> {
        scope_of(&self.0, api, environment_id, service_id).await
    }

    /// The services that the caller may see in an environment; `None`: all of them.
    pub async fn services_of(&self, api: &Api, environment_id: i64) -> Result<Option<Vec<i64>>, Problem> {
        services_of(&self.0, api, environment_id).await
    }

    /// Whether the caller may compare these environments of the project, and if so, which services: `None` for all.
    pub async fn comparison(
        &self,
        api: &Api,
        project_id: i64,
        environments: [i64; 2],
    ) -> Result<Option<Vec<i64>>, Problem> {
        let holder = match &self.0 {
            Caller::Token(holder) => holder,
            Caller::Session(session) => {
                return Err(Problem::new(
                    ErrorCode::OutOfScope,
                    format!(
                        "A session is for one environment, this one for {}. Compare environments with an API token.",
                        session.environment_id
                    ),
                ));
            }
        };
        if api.auth.may_compare(holder, project_id, environments).await? {
            return Ok(holder.service_ids.clone());
        }
        let [here, there] = environments;
        Err(Problem::new(
            ErrorCode::EnvironmentNotFound,
            format!(
                "The environments {here} and {there} of project {project_id} are not both within this token's reach."
            ),
        ))
    }
}

/// The services that a caller reaches in an environment; `None`: all of them. What lies outside its reach answers exactly
/// like what does not exist.
pub async fn services_of(
    caller: &Caller,
    api: &Api,
    environment_id: i64,
) -> Result<Option<Vec<i64>>, Problem> {
    match caller {
        Caller::Session(session) => {
            session_scope(session, environment_id, session.service_id)?;
            Ok(Some(vec![session.service_id]))
        }
        Caller::Token(holder) => {
            if api.auth.may_enter(holder, environment_id).await? {
                Ok(holder.service_ids.clone())
            } else {
                Err(Problem::new(
                    ErrorCode::EnvironmentNotFound,
                    format!("No environment {environment_id} is within this token's reach."),
                ))
            }
        }
    }
}

impl FromRequestParts<Api> for Operator {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, api: &Api) -> Result<Self, Problem> {
        let caller = verify(&parts.headers, api).await?;
        let role = match &caller {
            Caller::Session(session) if session.expired => return Err(expired()),
            Caller::Session(session) => session.role,
            Caller::Token(holder) => holder.role,
        };
        if role.may_operate() {
            let actor = actor(&caller, parts);
            Ok(Self { caller, actor })
        } else {
            Err(insufficient(role, "operator"))
        }
    }
}

impl Operator {
    pub async fn scope(&self, api: &Api, environment_id: i64, service_id: i64) -> Result<Scope, Problem> {
        scope_of(&self.caller, api, environment_id, service_id).await
    }

    pub fn caller(&self) -> &Caller {
        &self.caller
    }

    /// Who is recorded as having decided.
    pub fn actor(&self) -> &Actor {
        &self.actor
    }
}

/// Somebody who manages tenancy and tokens, within its reach.
pub struct Administrator {
    caller: Caller,
    actor: Actor,
}

impl FromRequestParts<Api> for Administrator {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, api: &Api) -> Result<Self, Problem> {
        let (caller, actor) = identified(parts, api).await?;
        if caller.role().may_administer() {
            Ok(Self { caller, actor })
        } else {
            Err(insufficient(caller.role(), "admin"))
        }
    }
}

impl Administrator {
    pub fn caller(&self) -> &Caller {
        &self.caller
    }

    pub fn role(&self) -> Role {
        self.caller.role()
    }

    pub fn reach(&self) -> Reach {
        self.caller.reach()
    }

    /// Who is recorded as having done it.
    pub fn actor(&self) -> &Actor {
        &self.actor
    }
}

/// Somebody who manages the server itself.
pub struct Root {
    actor: Actor,
}

impl FromRequestParts<Api> for Root {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, api: &Api) -> Result<Self, Problem> {
        let (caller, actor) = identified(parts, api).await?;
        // A session is for one service, whoever opened it.
        match &caller {
            Caller::Token(holder) if holder.role == Role::Root => Ok(Self { actor }),
            _ => Err(insufficient(caller.role(), "root")),
        }
    }
}

impl Root {
    pub fn actor(&self) -> &Actor {
        &self.actor
    }
}

/// Whoever calls, with a session that has not expired or an API token.
async fn identified(parts: &Parts, api: &Api) -> Result<(Caller, Actor), Problem> {
    let caller = verify(&parts.headers, api).await?;
    if let Caller::Session(session) = &caller
        && session.expired
    {
        return Err(expired());
    }
    let actor = actor(&caller, parts);
    Ok((caller, actor))
}

async fn scope_of(
    caller: &Caller,
    api: &Api,
    environment_id: i64,
    service_id: i64,
) -> Result<Scope, Problem> {
    match caller {
        Caller::Session(session) => session_scope(session, environment_id, service_id),
        Caller::Token(holder) => token_scope(holder, api, environment_id, service_id).await,
    }
}

/// What lies outside the token's scope answers exactly like what does not exist.
async fn token_scope(
    holder: &TokenHolder,
    api: &Api,
    environment_id: i64,
    service_id: i64,
) -> Result<Scope, Problem> {
    if api.auth.may_access(holder, environment_id, service_id).await? {
        Ok(Scope {
            environment_id,
            service_id,
        })
    } else {
        Err(Problem::new(
            ErrorCode::ServiceNotFound,
            format!("No service {service_id} in environment {environment_id} is within this token's reach."),
        ))
    }
}

fn insufficient(role: Role, needed: &str) -> Problem {
    Problem::new(
        ErrorCode::RoleInsufficient,
        format!(
            "This call needs the role {needed}; the credential has the role {}.",
            role.as_str()
        ),
    )
}

async fn verify(headers: &HeaderMap, api: &Api) -> Result<Caller, Problem> {
    api.auth.verify(bearer(headers)?).await.map_err(refused)
}

fn bearer(headers: &HeaderMap) -> Result<&str, Problem> {
    headers
        .get(header::AUTHORIZATION)
        .and_then(|value| value.to_str().ok())
        .and_then(|value| value.split_once(' '))
        .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"))
        .map(|(_, token)| token.trim())
        .filter(|token| !token.is_empty())
        .ok_or_else(|| {
            Problem::new(
                ErrorCode::BearerMissing,
                "The Authorization header must be `Bearer` and a token.",
            )
        })
}

fn refused(error: BearerError) -> Problem {
    match error {
        BearerError::Malformed | BearerError::BadSignature => Problem::new(
            ErrorCode::BearerMissing,
            "The bearer token is not one that this server issued. Exchange an API token for a session, or check that \
             the token was pasted whole.",
        ),
        BearerError::Revoked => Problem::new(
            ErrorCode::CredentialRevoked,
            "The credential behind this token was revoked. Ask an administrator for a new one.",
        ),
        BearerError::TokenRefused => Problem::new(
            ErrorCode::ApiTokenRefused,
            "The API token is not accepted: it is unknown, expired or revoked.",
        ),
        BearerError::Unavailable(fault) => fault.into(),
    }
}

/// Path parameters; what does not fit is a problem like any other.
pub struct ApiPath<T>(pub T);

impl<T: DeserializeOwned + Send> FromRequestParts<Api> for ApiPath<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, api: &Api) -> Result<Self, Problem> {
        match Path::<T>::from_request_parts(parts, api).await {
            Ok(Path(value)) => Ok(Self(value)),
            Err(rejection) => Err(Problem::malformed(format!(
                "The path does not fit: {}.",
                rejection.body_text().trim_end_matches('.')
            ))),
        }
    }
}

/// Query parameters, likewise.
pub struct ApiQuery<T>(pub T);

impl<T: DeserializeOwned + Send> FromRequestParts<Api> for ApiQuery<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, api: &Api) -> Result<Self, Problem> {
        match Query::<T>::from_request_parts(parts, api).await {
            Ok(Query(value)) => Ok(Self(value)),
            Err(rejection) => Err(Problem::malformed(format!(
                "The query does not fit: {}.",
                rejection.body_text().trim_end_matches('.')
            ))),
        }
    }
}
