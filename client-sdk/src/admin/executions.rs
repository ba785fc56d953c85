use flamingock_api_types::execution::{ExecutionDetail, ExecutionSummary};

use super::{Admin, ServiceScope, query::Pairs};
use crate::error::Error;

/// The runs of a service. See [`Admin::executions`].
#[derive(Clone, Copy, Debug)]
pub struct Executions<'a> {
    pub(super) admin: &'a Admin,
    pub(super) scope: ServiceScope,
}

impl Executions<'_> {
    /// The newest runs, newest first.
    pub async fn list(self, limit: Option<u32>) -> Result<Vec<ExecutionSummary>, Error> {
        let path = format!("{}/execution", self.scope.path());
        let query = Pairs::default().with("limit", limit);
        self.admin.get("execution_list", &path, query).await
    }

    /// One run: what was submitted, what was offered, and why.
    pub async fn view(self, execution_id: i64) -> Result<ExecutionDetail, Error> {
        let path = format!("{}/execution/{execution_id}", self.scope.path());
        self.admin.get("execution_view", &path, Pairs::default()).await
    }
}
