use flamingock_api_types::{
    history::{ExecutionOutcome, ExecutionPage, ExecutionReport},
    progress::{ExecutionCancellation, ExecutionCancellationRequest},
};

use super::{
    Admin, PageQuery, ServiceScope,
    query::{Pairs, wire_text},
};
use crate::error::Error;

/// The runs of a service. See [`Admin::executions`].
#[derive(Clone, Copy, Debug)]
pub struct Executions<'a> {
    pub(super) admin: &'a Admin,
    pub(super) scope: ServiceScope,
}

/// Which executions.
#[derive(Clone, Debug, Default)]
pub struct ExecutionQuery {
    /// The page.
    pub page: PageQuery,
    /// Only what became this.
    pub outcome: Option<ExecutionOutcome>,
    /// Only this runner's.
    pub runner_id: Option<String>,
    /// Started at or after.
    pub since: Option<String>,
    /// Started before.
    pub until: Option<String>,
}

impl Executions<'_> {
    /// A page of executions, newest first.
    pub async fn list(self, query: &ExecutionQuery) -> Result<ExecutionPage, Error> {
        let path = format!("{}/execution", self.scope.admin_path());
        let pairs = Pairs::page(&query.page)
            .with("outcome", query.outcome.map(wire_text))
            .with("runner", query.runner_id.as_ref())
            .with("since", query.since.as_ref())
            .with("until", query.until.as_ref());
        self.admin.get("execution_report_list", &path, pairs).await
    }

    /// One execution: plan, reasons, timeline, outcome.
    pub async fn view(self, execution_id: i64) -> Result<ExecutionReport, Error> {
        let path = format!("{}/execution/{execution_id}", self.scope.admin_path());
        self.admin
            .get("execution_report_view", &path, Pairs::default())
            .await
    }

    /// Asks an execution to stop: its runner is told with its next heartbeat, and stops by itself as soon as it safely can.
    /// Asked again, the first request stands.
    ///
    /// # Errors
    ///
    /// `R_EXEC_02`: it is over.
    pub async fn cancel(
        self,
        execution_id: i64,
        request: &ExecutionCancellationRequest,
    ) -> Result<ExecutionCancellation, Error> {
        let path = format!(
            "{}/execution/{execution_id}/cancellation",
            self.scope.admin_path()
        );
        self.admin.post("execution_cancel", &path, request).await
    }
}
