//! The admin API, for tools and people: what happened, what needs a decision, who may do what.
//!
//! [`Admin`] shows an API token with every call; there is no session and no runner. Its calls are grouped by resource,
//! and named as the operations of the API's document are: `admin.issues(scope).list(…)` is `issue_list`.
//!
//! ```no_run
//! use flamingock::admin::{Admin, AdminConfig, PageQuery, ServiceScope};
//!
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! let admin = Admin::new(AdminConfig::new("http://127.0.0.1:8080", std::env::var("FLAMINGOCK_TOKEN")?))?;
//! let scope = ServiceScope { environment_id: 1, service_id: 1 };
//! for issue in admin.issues(scope).list(&PageQuery::default()).await?.issues {
//!     println!("{} is {}", issue.change_id, issue.state);
//! }
//! # Ok(())
//! # }
//! ```

mod actions;
mod audit;
mod events;
mod executions;
mod issues;
mod locks;
mod policies;
mod query;
mod services;
mod sse;
mod tenancy;
mod tokens;

use std::{fmt, sync::Arc, time::Duration};

use flamingock_api_types::identity::IdentityView;
use reqwest::Method;
use serde::{Serialize, de::DeserializeOwned};
use uuid::Uuid;

use self::query::Pairs;
/// Verifying an export with proofs, without server or database.
pub use flamingock_audit_chain as proofs;

pub use self::{
    actions::{ActionQuery, Actions},
    audit::{Audit, AuditExport, AuditQuery, ExportFormat},
    events::{EventScope, Events},
    executions::{ExecutionQuery, Executions},
    issues::Issues,
    locks::Locks,
    policies::{Freezes, Policies, Reviews},
    query::PageQuery,
    services::Standing,
    tenancy::{Archived, Environments, Organisations, Projects, Services, UnitQuery},
    tokens::{TokenQuery, Tokens},
};
use crate::{
    error::{Error, Failure},
    retry::Patience,
    transport::{Request, Transport, without_credentials},
};

/// Whom to talk to, as whom.
#[derive(Clone)]
pub struct AdminConfig {
    /// Root of the server, such as `http://127.0.0.1:8080`. Without user name and password.
    pub server: String,
    /// The API token.
    pub token: String,
    /// Time to make a connection. Default: 5 s.
    pub connect_timeout: Duration,
    /// Time for a request to be answered. Default: 30 s.
    pub request_timeout: Duration,
    /// Time in which a call that is safe to repeat is repeated. Default: 10 s.
    pub retry_for: Duration,
}

impl AdminConfig {
    /// The defaults.
    pub fn new(server: impl Into<String>, token: impl Into<String>) -> Self {
        Self {
            server: server.into(),
            token: token.into(),
            connect_timeout: Duration::from_secs(5),
            request_timeout: Duration::from_secs(30),
            retry_for: Duration::from_secs(10),
        }
    }
}

impl fmt::Debug for AdminConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AdminConfig")
            .field("server", &without_credentials(&self.server))
            .field("token", &"[redacted]")
            .finish_non_exhaustive()
    }
}

/// A service in an environment: what every audit, lock and execution belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ServiceScope {
    /// The environment's number.
    pub environment_id: i64,
    /// The service's number.
    pub service_id: i64,
}

impl ServiceScope {
    fn admin_path(self) -> String {
        format!(
            "/api/v1/admin/environment/{}/service/{}",
            self.environment_id, self.service_id
        )
    }
}

/// The admin API, call by call. Cheap to clone.
///
/// Reading calls are repeated with back-off and jitter while the server cannot be reached or is busy, for
/// [`retry_for`](AdminConfig::retry_for) at most; `Retry-After` is honoured. Writing calls are repeated only where no
/// connection was made, so that nothing is done twice.
#[derive(Clone)]
pub struct Admin {
    shared: Arc<Shared>,
}

struct Shared {
    transport: Transport,
    config: AdminConfig,
}

impl fmt::Debug for Admin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Admin")
            .field("config", &self.shared.config)
            .finish()
    }
}

impl Admin {
    /// A client. Nothing is sent yet; the error says what is wrong with the configuration.
    pub fn new(config: AdminConfig) -> Result<Self, String> {
        let transport = Transport::new(&config.server, config.connect_timeout)?;
        Ok(Self {
            shared: Arc::new(Shared { transport, config }),
        })
    }

    /// The audit of a service.
    pub fn audit(&self, scope: ServiceScope) -> Audit<'_> {
        Audit { admin: self, scope }
    }

    /// Changes of a service that a person must decide about, and the decisions.
    pub fn issues(&self, scope: ServiceScope) -> Issues<'_> {
        Issues { admin: self, scope }
    }

    /// The runs of a service.
    pub fn executions(&self, scope: ServiceScope) -> Executions<'_> {
        Executions { admin: self, scope }
    }

    /// Who the token belongs to, and what it reaches.
    pub async fn identity(&self) -> Result<IdentityView, Error> {
        self.get("identity_view", "/api/v1/admin/identity", Pairs::default())
            .await
    }

    /// Organisations of the server.
    pub fn organisations(&self) -> Organisations<'_> {
        Organisations { admin: self }
    }

    /// Projects of organisations.
    pub fn projects(&self) -> Projects<'_> {
        Projects { admin: self }
    }

    /// Environments of projects.
    pub fn environments(&self) -> Environments<'_> {
        Environments { admin: self }
    }

    /// Services of projects.
    pub fn services(&self) -> Services<'_> {
        Services { admin: self }
    }

    /// API tokens.
    pub fn tokens(&self) -> Tokens<'_> {
        Tokens { admin: self }
    }

    /// What people and automation did.
    pub fn actions(&self) -> Actions<'_> {
        Actions { admin: self }
    }

    /// What happens, as it happens; behind the event with this id, if there is one.
    pub fn events(&self, scope: EventScope, after: Option<String>) -> Events<'_> {
        Events::new(self, scope, after)
    }

    /// How a service stands: why it waits, who is there, and what a start would do.
    pub fn standing(&self, scope: ServiceScope) -> Standing<'_> {
        Standing { admin: self, scope }
    }

    /// Locks of services.
    pub fn locks(&self) -> Locks<'_> {
        Locks { admin: self }
    }

    /// What an environment demands of a start.
    pub fn policies(&self, environment_id: i64) -> Policies<'_> {
        Policies {
            admin: self,
            environment_id,
        }
    }

    /// Freeze windows, of whatever environment.
    pub fn freezes(&self) -> Freezes<'_> {
        Freezes { admin: self }
    }

    /// Approvals and accepted checksums of a service's changes.
    pub fn reviews(&self, scope: ServiceScope) -> Reviews<'_> {
        Reviews { admin: self, scope }
    }

    async fn get<R: DeserializeOwned>(
        &self,
        operation: &'static str,
        path: &str,
        query: Pairs,
    ) -> Result<R, Error> {
        let patience = Patience::lasting(self.shared.config.retry_for);
        self.call(operation, Method::GET, path, query, None, &patience)
            .await
    }

    /// A question too long for a query: it changes nothing, so it is repeated.
    async fn ask<R: DeserializeOwned>(
        &self,
        operation: &'static str,
        path: &str,
        body: &(impl Serialize + Sync),
    ) -> Result<R, Error> {
        let body = encode(body);
        let patience = Patience::lasting(self.shared.config.retry_for);
        self.call(
            operation,
            Method::POST,
            path,
            Pairs::default(),
            Some(body),
            &patience,
        )
        .await
    }

    async fn write<R: DeserializeOwned>(
        &self,
        operation: &'static str,
        method: Method,
        path: &str,
        body: &(impl Serialize + Sync),
    ) -> Result<R, Error> {
        let body = encode(body);
        let patience = Patience::lasting(self.shared.config.retry_for).unsent_only();
        self.call(operation, method, path, Pairs::default(), Some(body), &patience)
            .await
    }

    async fn post<R: DeserializeOwned>(
        &self,
        operation: &'static str,
        path: &str,
        body: &(impl Serialize + Sync),
    ) -> Result<R, Error> {
        self.write(operation, Method::POST, path, body).await
    }

    async fn call<R: DeserializeOwned>(
        &self,
        operation: &'static str,
        method: Method,
        path: &str,
        query: Pairs,
        body: Option<Vec<u8>>,
        patience: &Patience<'_>,
    ) -> Result<R, Error> {
        let query = query.into_vec();
        let mut attempts = 0;
        loop {
            attempts += 1;
            let request_id = Uuid::new_v4().to_string();
            let request = Request {
                method: method.clone(),
                path,
                query: &query,
                headers: &[],
                bearer: Some(&self.shared.config.token),
                body: body.as_deref(),
                timeout: patience.attempt(self.shared.config.request_timeout),
            };
            let failure = match self.shared.transport.send(&request, &request_id).await {
                Ok(Some(answer)) => return Ok(answer),
                Ok(None) => Failure::Unreadable("the answer is empty".into()),
                Err(failure) => failure,
            };
            let Some(pause) = patience.pause(attempts, &failure) else {
                return Err(Error::new(operation, attempts, request_id, failure));
            };
            tokio::time::sleep(pause).await;
        }
    }
}

fn encode(body: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec(body).expect("wire types have text keys and print to memory")
}
