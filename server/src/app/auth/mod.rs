//! Who calls, and what for: API tokens, the sessions they open, the keys that sign those.
//!
//! A request with a session costs one digest and one look-up in memory; the signature is checked the first time.
//! Expiry and revocation are judged every time.

mod bearer;
mod exchange;
mod keys;
mod session;
pub mod token;

use std::collections::HashSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use sqlx::PgPool;
use tokio::sync::Mutex;

pub use bearer::BearerError;
pub use exchange::{ExchangeError, Exchanged, Field, NameError, Remedy, check_name};
pub use flamingock_domain::access::{Reach, Role, Unit, UnitKind};
pub use token::{ApiToken, TokenFormatError};

use crate::app::{Fault, Scope};
use crate::store::tokens::Token;
use crate::store::{StoreError, tokens, units};

/// A verified session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Session {
    pub credential_id: i64,
    /// As it was when the session was opened; sessions of an older server do not say.
    pub credential_name: Option<String>,
    pub organisation_id: i64,
    pub project_id: i64,
    pub environment_id: i64,
    pub service_id: i64,
    pub role: Role,
    /// It has ended; its runner may still report while it holds the lock.
    pub expired: bool,
}

impl Session {
    /// Whose doing it is that this session is used for: `credential:7 (orders-runner)`.
    pub fn actor(&self) -> String {
        match &self.credential_name {
            Some(name) => format!("credential:{} ({name})", self.credential_id),
            None => format!("credential:{}", self.credential_id),
        }
    }

    pub fn scope(&self) -> Scope {
        Scope {
            environment_id: self.environment_id,
            service_id: self.service_id,
        }
    }

    pub fn reach(&self) -> Reach {
        Reach {
            organisation: Some(self.organisation_id),
            project: Some(self.project_id),
            environments: Some(vec![self.environment_id]),
            services: Some(vec![self.service_id]),
        }
    }
}

/// Somebody who shows an API token itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenHolder {
    pub credential_id: i64,
    pub name: String,
    pub role: Role,
    /// `None`: server-wide.
    pub organisation_id: Option<i64>,
    /// `None`: the whole organisation.
    pub project_id: Option<i64>,
    /// `None`: all.
    pub environment_ids: Option<Vec<i64>>,
    pub service_ids: Option<Vec<i64>>,
}

impl TokenHolder {
    pub fn reach(&self) -> Reach {
        Reach {
            organisation: self.organisation_id,
            project: self.project_id,
            environments: self.environment_ids.clone(),
            services: self.service_ids.clone(),
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Caller {
    Session(Arc<Session>),
    Token(Arc<TokenHolder>),
}

impl Caller {
    pub fn role(&self) -> Role {
        match self {
            Self::Session(session) => session.role,
            Self::Token(holder) => holder.role,
        }
    }

    pub fn reach(&self) -> Reach {
        match self {
            Self::Session(session) => session.reach(),
            Self::Token(holder) => holder.reach(),
        }
    }

    pub fn credential_id(&self) -> i64 {
        match self {
            Self::Session(session) => session.credential_id,
            Self::Token(holder) => holder.credential_id,
        }
    }
}

#[derive(Clone, Debug)]
pub struct AuthSettings {
    pub session_lifetime: Duration,
    /// Age at which a key gets a successor.
    pub key_rotation: Duration,
    /// How long a new key is known before it signs. Longer than [`Auth::rotate_keys`] is apart on any replica.
    pub key_lead: Duration,
    pub issuer: String,
    pub audience: String,
}

impl Default for AuthSettings {
    fn default() -> Self {
        Self {
            session_lifetime: Duration::from_hours(24),
            key_rotation: Duration::from_hours(30 * 24),
            key_lead: Duration::from_mins(2),
            issuer: "flamingock".to_owned(),
            audience: "flamingock-runner-api".to_owned(),
        }
    }
}

/// The gate. Cheap to clone.
#[derive(Clone)]
pub struct Auth {
    inner: Arc<Inner>,
}

struct Inner {
    pool: PgPool,
    settings: AuthSettings,
    started: Instant,
    keys: ArcSwap<keys::KeySet>,
    last_reload: Mutex<Option<Instant>>,
    revoked: ArcSwap<HashSet<i64>>,
    archived: ArcSwap<HashSet<(UnitKind, i64)>>,
    /// By digest of the text.
    sessions: quick_cache::sync::Cache<[u8; 32], session::Verified>,
    /// By period and digest of the text.
    holders: quick_cache::sync::Cache<(u128, [u8; 32]), Arc<TokenHolder>>,
    /// (project, organisation)
    owners: quick_cache::sync::Cache<Scope, (i64, i64)>,
}

impl Auth {
    /// Reads the keys that sign sessions, or makes the first one, and what was revoked.
    pub async fn start(pool: PgPool, settings: AuthSettings) -> Result<Self, Fault> {
        let keys = keys::load(&pool, &settings).await?;
        let auth = Self {
            inner: Arc::new(Inner {
                pool,
                settings,
                started: Instant::now(),
                keys: ArcSwap::from_pointee(keys),
                last_reload: Mutex::new(None),
                revoked: ArcSwap::default(),
                archived: ArcSwap::default(),
                sessions: quick_cache::sync::Cache::new(20_000),
                holders: quick_cache::sync::Cache::new(1_000),
                owners: quick_cache::sync::Cache::new(20_000),
            }),
        };
        auth.refresh_revocations().await?;
        Ok(auth)
    }

    /// Learns which credentials were revoked and what was archived. Called every second: that is how fast either cuts.
    pub async fn refresh_revocations(&self) -> Result<(), Fault> {
        let mut conn = self.inner.pool.acquire().await?;
        let revoked = tokens::list_revoked(&mut conn).await?;
        self.inner.revoked.store(Arc::new(revoked.into_iter().collect()));
        let archived = units::list_archived(&mut conn).await?;
        self.inner
            .archived
            .store(Arc::new(archived.into_iter().collect()));
        Ok(())
    }

    /// Learns of new keys, makes one when it is due, removes those that nobody needs.
    pub async fn rotate_keys(&self) -> Result<(), Fault> {
        let keys = keys::load(&self.inner.pool, &self.inner.settings).await?;
        self.replace_keys(keys);
        Ok(())
    }

    fn replace_keys(&self, keys: keys::KeySet) {
        let before = self.inner.keys.swap(Arc::new(keys));
        // A key that an operator removed, because somebody stole it, must not live on in remembered sessions.
        if !self.inner.keys.load().covers(&before) {
            self.inner.sessions.clear();
        }
    }

    /// What of a session's surroundings was archived since it was opened, outermost first. A look into memory, because every
    /// plan asks.
    pub fn archived(&self, session: &Session) -> Option<UnitKind> {
        let archived = self.inner.archived.load();
        if archived.is_empty() {
            return None;
        }
        [
            (UnitKind::Organisation, session.organisation_id),
            (UnitKind::Project, session.project_id),
            (UnitKind::Environment, session.environment_id),
            (UnitKind::Service, session.service_id),
        ]
        .into_iter()
        .find(|unit| archived.contains(unit))
        .map(|(kind, _)| kind)
    }

    fn is_revoked(&self, credential_id: i64) -> bool {
        self.inner.revoked.load().contains(&credential_id)
    }
}

fn role_of(token: &Token) -> Result<Role, Fault> {
    Role::parse(&token.role).ok_or_else(|| {
        Fault::from(StoreError::Corrupt {
            table: "api_tokens",
            detail: format!("token {} has role {:?}", token.id, token.role),
        })
    })
}
