use flamingock_api_types::issue::{IssueDetail, IssuePage, ResolutionRequest, ResolutionResponse};

use super::{Admin, PageQuery, ServiceScope, query::Pairs};
use crate::error::Error;

/// Changes that stop their service until a person decides. See [`Admin::issues`].
#[derive(Clone, Copy, Debug)]
pub struct Issues<'a> {
    pub(super) admin: &'a Admin,
    pub(super) scope: ServiceScope,
}

impl Issues<'_> {
    /// A page of issues, by change id.
    pub async fn list(self, page: &PageQuery) -> Result<IssuePage, Error> {
        let path = format!("{}/issue", self.scope.admin_path());
        self.admin.get("issue_list", &path, Pairs::page(page)).await
    }

    /// Everything that is known of one change whose outcome is open.
    pub async fn view(self, change_id: &str) -> Result<IssueDetail, Error> {
        let path = format!("{}/issue/detail", self.scope.admin_path());
        let query = Pairs::default().with("changeId", Some(change_id));
        self.admin.get("issue_view", &path, query).await
    }

    /// Records decisions: all of them or none.
    ///
    /// When no answer came, it is not known whether they were recorded. To send the same again is safe: it is refused
    /// as outdated (`R_ISSUE_03`) if they were.
    pub async fn resolve(self, request: &ResolutionRequest) -> Result<ResolutionResponse, Error> {
        let path = format!("{}/resolution", self.scope.admin_path());
        self.admin.post("issue_resolve", &path, request).await
    }
}
