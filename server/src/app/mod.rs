//! Use cases. They own the transactions and know nothing of HTTP.

pub mod actions;
pub mod actor;
pub mod admission;
pub mod approvals;
pub mod auth;
pub mod bootstrap;
pub mod certificates;
pub mod checkpoints;
pub mod checksums;
mod combine;
pub mod cursors;
pub mod differences;
pub mod events;
pub mod exports;
pub mod facts;
pub mod fault;
pub mod freezes;
mod heads;
pub mod history;
pub mod imports;
pub mod issues;
pub mod locks;
pub mod operations;
pub mod plans;
pub mod policies;
pub mod previews;
pub mod probes;
pub mod reading;
pub mod reports;
mod retry;
mod rulings;
mod sightings;
mod situation;
pub mod tenancy;
pub mod tokens;
mod turns;
pub mod verification;
mod waiting;

use std::time::Duration;

use sqlx::PgPool;

pub use fault::Fault;
pub use heads::Heads;
pub use turns::Busy;
pub use waiting::Waiting;

use crate::metrics::Metrics;
use crate::store::{self, PoolSettings};

// What the edges need to name, so that they never reach into the store.
pub use crate::store::Scope;
pub use crate::store::audit::{Entry, Fact};
pub use crate::store::audit_tail::TailEntry;
pub use crate::store::executions::{ExecutionDetail, ExecutionSummary};
pub use crate::store::lock_changes::{ChangeKind, LockChange};
pub use crate::store::streams::{Head, Position};

/// Settings of the use cases.
#[derive(Clone, Copy, Debug)]
pub struct AppSettings {
    /// Time after a lease's end in which only a proven claim may take over.
    pub takeover_grace: Duration,
    /// Longest time that one batch may take.
    pub batch_limit: Duration,
    /// Most requests parked at once.
    pub max_waiters: usize,
    /// Most who listen to live events at once.
    pub max_listeners: usize,
    /// Longest time that one export may take.
    pub export_limit: Duration,
}

/// The use cases of one process, over one pool. Cheap to clone.
#[derive(Clone)]
pub struct App {
    pub heads: Heads,
    pub plans: plans::Plans,
    pub previews: previews::Previews,
    pub policies: policies::Policies,
    pub freezes: freezes::Freezes,
    pub approvals: approvals::Approvals,
    pub checksums: checksums::Checksums,
    pub reports: reports::Reports,
    pub probes: probes::Probes,
    pub locks: locks::Locks,
    pub issues: issues::Issues,
    pub history: history::History,
    pub reading: reading::Reading,
    pub exports: exports::Exports,
    pub verification: verification::Verification,
    pub signed: checkpoints::SignedHistory,
    /// `None`: nothing is signed here.
    pub certificates: Option<certificates::Certificates>,
    pub differences: differences::Differences,
    pub tenancy: tenancy::Tenancy,
    pub tokens: tokens::Tokens,
    pub actions: actions::Actions,
    pub operations: operations::Operations,
    pub waiting: Waiting,
    sightings: sightings::Sightings,
    pub events: events::Events,
    pool: PgPool,
}

impl App {
    /// Must be called inside a runtime: the combiners are tasks. They end when the last clone is dropped.
    pub fn new(pool: PgPool, settings: AppSettings, metrics: &Metrics) -> Self {
        metrics.declare(reports::RESULTS, reports::REFUSALS, locks::EVENTS);
        metrics.declare_policies(rulings::labels());
        let heads = Heads::new(pool.clone(), settings.batch_limit);
        let waiting = Waiting::new(
            metrics.waiters.clone(),
            settings.max_waiters,
            settings.takeover_grace,
        );
        let reading = reading::Reading::new(pool.clone());
        let sightings = sightings::Sightings::default();
        Self {
            plans: plans::Plans::new(
                pool.clone(),
                heads.clone(),
                waiting.clone(),
                sightings.clone(),
                settings.takeover_grace,
                metrics,
            ),
            previews: previews::Previews::new(pool.clone(), heads.clone(), settings.takeover_grace),
            policies: policies::Policies::new(pool.clone()),
            freezes: freezes::Freezes::new(pool.clone()),
            approvals: approvals::Approvals::new(pool.clone()),
            checksums: checksums::Checksums::new(pool.clone()),
            reports: reports::Reports::new(&pool, settings.batch_limit, metrics),
            probes: probes::Probes::new(pool.clone(), metrics),
            locks: locks::Locks::new(pool.clone(), heads.clone(), waiting.clone(), settings, metrics),
            issues: issues::Issues::new(pool.clone(), metrics),
            history: history::History::new(pool.clone()),
            exports: exports::Exports::new(pool.clone(), reading.clone(), settings.export_limit),
            reading,
            verification: verification::Verification::new(pool.clone()),
            signed: checkpoints::SignedHistory::new(pool.clone()),
            certificates: None,
            differences: differences::Differences::new(pool.clone()),
            tenancy: tenancy::Tenancy::new(pool.clone()),
            tokens: tokens::Tokens::new(pool.clone()),
            actions: actions::Actions::new(pool.clone()),
            operations: operations::Operations::new(
                pool.clone(),
                waiting.clone(),
                settings.takeover_grace,
                metrics,
            ),
            sightings,
            events: events::Events::new(
                pool.clone(),
                settings.batch_limit,
                metrics.listeners.clone(),
                settings.max_listeners,
            ),
            heads,
            waiting,
            pool,
        }
    }

    /// Looks after those who wait, and writes down who they are, for ever; run by one task of the process.
    pub async fn look_after_waiters(&self) {
        tokio::join!(self.waiting.poll(&self.heads), self.sightings.keep(&self.pool));
    }

    /// Whether the database answers and has the schema of this binary.
    pub async fn ready(&self) -> Result<(), NotReady> {
        let mut conn = self
            .pool
            .acquire()
            .await
            .map_err(|error| NotReady::Database(error.into()))?;
        let actual = store::load_schema_version(&mut conn)
            .await
            .map_err(NotReady::Database)?;
        let expected = store::expected_schema_version();
        if actual < expected {
            Err(NotReady::Schema { actual, expected })
        } else {
            Ok(())
        }
    }

    /// (connections in use, idle connections)
    pub fn pool_state(&self) -> (u32, u32) {
        let idle = u32::try_from(self.pool.num_idle()).unwrap_or(u32::MAX);
        (self.pool.size().saturating_sub(idle), idle)
    }
}

/// Why the server cannot serve.
#[derive(Debug, thiserror::Error)]
pub enum NotReady {
    #[error("the database does not answer")]
    Database(#[source] store::StoreError),
    #[error("the database has schema version {actual}, this server needs {expected}")]
    Schema { actual: i64, expected: i64 },
}

/// The pool that the use cases work on. Opens no connection yet.
pub fn connect(
    url: &str,
    max_connections: u32,
    acquire_timeout: Duration,
    statement_timeout: Duration,
) -> Result<PgPool, Fault> {
    Ok(store::connect(
        url,
        PoolSettings {
            max_connections,
            acquire_timeout,
            statement_timeout,
        },
    )?)
}
