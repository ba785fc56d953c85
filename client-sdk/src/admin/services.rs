use flamingock_api_types::{
    execution::PlanRequest, explanation::Explanation, history::RunnerList, preview::PlanPreview,
};

use super::{Admin, ServiceScope, query::Pairs};
use crate::error::Error;

/// How a service stands in an environment. See [`Admin::standing`].
#[derive(Clone, Copy, Debug)]
pub struct Standing<'a> {
    pub(super) admin: &'a Admin,
    pub(super) scope: ServiceScope,
}

impl Standing<'_> {
    /// Why it is waiting or stopped, since when, on whom, and what would unblock it.
    pub async fn explain(self) -> Result<Explanation, Error> {
        let path = format!("{}/explanation", self.scope.admin_path());
        self.admin.get("service_explain", &path, Pairs::default()).await
    }

    /// Who works, who waits, and who was there in the last hour.
    pub async fn runners(self) -> Result<RunnerList, Error> {
        let path = format!("{}/runner", self.scope.admin_path());
        self.admin.get("runner_list", &path, Pairs::default()).await
    }

    /// What a start with this pipeline would come to now. Takes no lock and leaves nothing behind, so it is repeated like
    /// a reading call.
    pub async fn preview(self, pipeline: &PlanRequest) -> Result<PlanPreview, Error> {
        let path = format!("{}/plan", self.scope.admin_path());
        self.admin.ask("plan_preview", &path, pipeline).await
    }
}
