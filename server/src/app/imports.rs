//! History from before this server becomes audit entries: judged, linked and projected like reports, in one transaction.
//!
//! One transaction, however long the history: a runner that planned on half of it would run again what the other half says
//! was applied. Meanwhile the service's stream is held, so its runners wait. Other services do not.

use flamingock_domain::audit::{AuditState, ChangeState};
use flamingock_domain::ids::{ChangeId, LockKey, RunnerId};
use flamingock_domain::time::Timestamp;
use serde_json::json;
use sqlx::{PgPool, Postgres, Transaction};

use super::actor::{Action, Actor, Place};
use super::auth::{NameError, check_name};
use super::fault::Fault;
use super::reports::{Ledger, NamedExecution, Outcome, Told};
use crate::store::audit::Fact;
use crate::store::locks::{self, Hold};
use crate::store::{self, Scope, StoreError, streams, tenancy};

/// Where history goes, by names.
#[derive(Clone, Debug)]
pub struct Destination {
    pub organisation: String,
    pub project: String,
    pub environment: String,
    pub service: String,
}

#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    #[error("the service's name {name:?} is not usable: {reason}")]
    ServiceName { name: String, reason: NameError },
    #[error("there is no project {project} in an organisation {organisation}")]
    ProjectNotFound { organisation: String, project: String },
    #[error("there is no environment {environment} in project {project}")]
    EnvironmentNotFound { environment: String, project: String },
    /// It may be running the very changes whose history comes.
    #[error("runner {owner} holds the lock of service {service}")]
    Held { service: String, owner: RunnerId },
    #[error(transparent)]
    Fault(#[from] Fault),
}

impl From<StoreError> for ImportError {
    fn from(error: StoreError) -> Self {
        Self::Fault(error.into())
    }
}

/// One piece of history.
#[derive(Clone, Debug)]
pub struct HistoricFact {
    pub change: ChangeId,
    pub state: AuditState,
    pub fact: Fact,
}

/// What became of one.
#[derive(Clone, Copy, Debug)]
pub struct Imported {
    pub outcome: Outcome,
    /// The change's latest state after it.
    pub latest: Option<ChangeState>,
}

/// An import under way. Nothing is written until [`commit`](Self::commit); dropped, it leaves nothing.
pub struct Import {
    tx: Transaction<'static, Postgres>,
    scope: Scope,
    runner: RunnerId,
    service_is_new: bool,
}

impl Import {
    /// Makes the service if there is none. Never an environment: a mistyped one would look like a fresh start.
    pub async fn begin(pool: &PgPool, into: &Destination) -> Result<Self, ImportError> {
        check_name(&into.service).map_err(|reason| ImportError::ServiceName {
            name: into.service.clone(),
            reason,
        })?;
        let mut tx = store::begin(pool).await?;
        let project = tenancy::load_project(&mut tx, &into.organisation, &into.project)
            .await?
            .ok_or_else(|| ImportError::ProjectNotFound {
                organisation: into.organisation.clone(),
                project: into.project.clone(),
            })?;
        let (environment, service) =
            tenancy::load_names(&mut tx, project, &into.environment, &into.service).await?;
        let environment_id = environment
            .ok_or_else(|| ImportError::EnvironmentNotFound {
                environment: into.environment.clone(),
                project: into.project.clone(),
            })?
            .id;
        let (service_id, service_is_new) = match service {
            Some(service) => (service.id, false),
            None => tenancy::insert_service(&mut tx, project, &into.service).await?,
        };
        let scope = Scope {
            environment_id,
            service_id,
        };
        streams::lock(&mut tx, &[scope]).await?;
        // Shared: a lock that was ever taken is not taken again, by whatever way, before the history is whole.
        let key = LockKey::of_service(service_id);
        let (rows, clock) = locks::lock_rows(&mut tx, &[(environment_id, key.as_str())], Hold::Share).await?;
        if let Some(owner) = rows.into_iter().find_map(|(_, row)| holder(row.lock, clock.now)) {
            return Err(ImportError::Held {
                service: into.service.clone(),
                owner,
            });
        }
        Ok(Self {
            tx,
            scope,
            runner: RunnerId::parse("import").map_err(|error| StoreError::Corrupt {
                table: "audit_entries",
                detail: format!("the importer's runner id {error}"),
            })?,
            service_is_new,
        })
    }

    /// The service is made by this import.
    pub fn service_is_new(&self) -> bool {
        self.service_is_new
    }

    /// Takes the next pieces, in the order in which the source tells them. Says for each what became of it.
    pub async fn take(&mut self, facts: Vec<HistoricFact>) -> Result<Vec<Imported>, Fault> {
        let told: Vec<Told> = facts
            .into_iter()
            .map(|it| Told {
                scope: self.scope,
                runner: self.runner.clone(),
                change: it.change,
                execution: NamedExecution::Text(it.fact.execution_ref.clone()),
                state: it.state,
                fence: None,
                fact: it.fact,
            })
            .collect();
        let streams = streams::lock(&mut self.tx, &[self.scope]).await?;
        let mut ledger = Ledger::load(&mut self.tx, streams, &told).await?;
        let mut imported = Vec::with_capacity(told.len());
        for one in &told {
            let outcome = ledger.record(one)?.outcome;
            imported.push(Imported {
                outcome,
                latest: ledger.latest(self.scope, &one.change),
            });
        }
        ledger.save(&mut self.tx).await?;
        Ok(imported)
    }

    /// Keeps it, and records who took it over: `source` is what it came from.
    pub async fn commit(mut self, by: &str, source: &str, entries: u64) -> Result<(), Fault> {
        let action = Action {
            action: "history_import",
            place: Place::Scope(self.scope),
            target: source,
            reason: None,
            before: None,
            after: Some(json!({"entries": entries, "newService": self.service_is_new})),
        };
        Actor::server(&format!("import {by}"))
            .record(&mut self.tx, &action)
            .await?;
        Ok(self.tx.commit().await?)
    }

    /// As if nothing had been taken.
    pub async fn roll_back(self) -> Result<(), Fault> {
        Ok(self.tx.rollback().await?)
    }
}

fn holder(lock: flamingock_domain::lock::Lock, now: Timestamp) -> Option<RunnerId> {
    lock.lease
        .filter(|lease| now < lease.expires_at)
        .map(|lease| lease.owner)
}
