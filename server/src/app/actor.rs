//! Who does something to the server's own state, and the record of it.

use std::fmt;

use serde_json::Value;
use sqlx::PgConnection;

use super::auth::Role;
use crate::store::StoreError;
use crate::store::actions::{self, NewAction};

pub use crate::store::actions::Place;

/// Who acts, and from where: what is recorded of them.
#[derive(Clone, Debug)]
pub struct Actor {
    /// `None`: the server itself, from its bootstrap file or its command line.
    pub credential_id: Option<i64>,
    /// The credential's name, where it is known.
    pub name: Option<String>,
    pub role: Role,
    /// The address that the connection came from: a proxy's, behind a proxy.
    pub address: Option<String>,
    /// For whom the connection says it was forwarded. A claim, and kept as one.
    pub forwarded_for: Option<String>,
    pub request_id: Option<String>,
}

impl Actor {
    /// The server itself, at the word of whoever runs it. `by` says what of it, such as `bootstrap`.
    pub fn server(by: &str) -> Self {
        Self {
            credential_id: None,
            name: Some(by.to_owned()),
            role: Role::Root,
            address: None,
            forwarded_for: None,
            request_id: None,
        }
    }

    /// Records what this actor did, in the transaction that does it.
    pub async fn record(&self, conn: &mut PgConnection, action: &Action<'_>) -> Result<(), StoreError> {
        let actor = self.to_string();
        let before = action.before.as_ref().map(Value::to_string);
        let after = action.after.as_ref().map(Value::to_string);
        actions::append(
            conn,
            &NewAction {
                action: action.action,
                place: action.place,
                target: action.target,
                credential_id: self.credential_id,
                actor: &actor,
                role: self.role.as_str(),
                address: self.address.as_deref(),
                forwarded_for: self.forwarded_for.as_deref(),
                request_id: self.request_id.as_deref(),
                reason: action.reason,
                before: before.as_deref(),
                after: after.as_deref(),
            },
        )
        .await
    }
}

impl fmt::Display for Actor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.credential_id, &self.name) {
            (Some(id), Some(name)) => write!(f, "token:{id} ({name})"),
            (Some(id), None) => write!(f, "credential:{id}"),
            (None, Some(name)) => write!(f, "server:{name}"),
            (None, None) => f.write_str("server"),
        }
    }
}

/// What was done.
#[derive(Clone, Debug)]
pub struct Action<'a> {
    /// The operation's id, such as `token_revoke`.
    pub action: &'static str,
    pub place: Place,
    /// What it was done to, within its place.
    pub target: &'a str,
    pub reason: Option<&'a str>,
    /// State before and after, without secrets.
    pub before: Option<Value>,
    pub after: Option<Value>,
}
