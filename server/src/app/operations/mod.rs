//! What people see and do of a service that runs, waits or is stopped.

mod cancel;
mod executions;
mod explain;
mod issue;
mod locks;
mod runners;

use std::time::Duration;

use flamingock_domain::plan::Action;
use flamingock_domain::time::Timestamp;
use sqlx::PgPool;

pub use cancel::{Asked, CancelError};
pub use executions::{
    Cancellation, ChangeProgress, ExecutionFilter, ExecutionPage, ExecutionReport, Outcome, Progress,
    Recorded,
};
pub use explain::{Explained, Holder, Stop, StopKind};
pub use issue::{Found, IssueReport};
pub use locks::{ForceError, Freed, LockListing};
pub use runners::{Activity, RunnerFacts, Seen};

pub use super::situation::OpenChange;
pub use crate::store::executions::End;
pub use crate::store::locks::LockFacts;
pub use crate::store::policy_stops::{Refusing, StopRow};
pub use crate::store::refusals::Refusal;
pub use crate::store::runs::Run;

use super::waiting::Waiting;
use crate::metrics::Metrics;

/// Reads from an execution's plan, which is the edge's JSON, what was offered: changes with their actions.
pub type ReadOffer = fn(&str) -> Option<Vec<(String, Action)>>;

#[derive(Clone)]
pub struct Operations {
    pool: PgPool,
    waiting: Waiting,
    grace: Duration,
    metrics: Metrics,
}

impl Operations {
    pub(super) fn new(pool: PgPool, waiting: Waiting, grace: Duration, metrics: &Metrics) -> Self {
        Self {
            pool,
            waiting,
            grace,
            metrics: metrics.clone(),
        }
    }

    /// When anybody may take a lock over whose lease ends then.
    pub fn takeable_at(&self, expires_at: Timestamp) -> Timestamp {
        expires_at.plus(self.grace)
    }
}
