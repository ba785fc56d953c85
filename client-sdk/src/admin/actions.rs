use flamingock_api_types::action::ActionPage;

use super::{Admin, PageQuery, query::Pairs};
use crate::error::Error;

/// What people and automation did. See [`Admin::actions`].
#[derive(Clone, Copy, Debug)]
pub struct Actions<'a> {
    pub(super) admin: &'a Admin,
}

/// Which actions.
#[derive(Clone, Debug, Default)]
pub struct ActionQuery {
    /// The page.
    pub page: PageQuery,
    /// Only this operation, such as `token_revoke`.
    pub action: Option<String>,
    /// Only by this credential.
    pub credential_id: Option<i64>,
    /// Only in this environment.
    pub environment_id: Option<i64>,
    /// Only on this service.
    pub service_id: Option<i64>,
    /// Only on this target.
    pub target: Option<String>,
    /// At or after.
    pub since: Option<String>,
    /// Before.
    pub until: Option<String>,
}

impl Actions<'_> {
    /// A page of the log of an organisation, newest first.
    pub async fn list(self, organisation_id: i64, query: &ActionQuery) -> Result<ActionPage, Error> {
        let path = format!("/api/v1/admin/organisation/{organisation_id}/action");
        self.admin.get("action_list", &path, query.pairs()).await
    }

    /// A page of the log of the whole server, with what belongs to no organisation. For root tokens.
    pub async fn list_all(self, query: &ActionQuery) -> Result<ActionPage, Error> {
        let path = "/api/v1/admin/action";
        self.admin.get("server_action_list", path, query.pairs()).await
    }
}

impl ActionQuery {
    fn pairs(&self) -> Pairs {
        Pairs::page(&self.page)
            .with("action", self.action.as_ref())
            .with("credentialId", self.credential_id)
            .with("environmentId", self.environment_id)
            .with("serviceId", self.service_id)
            .with("target", self.target.as_ref())
            .with("since", self.since.as_ref())
            .with("until", self.until.as_ref())
    }
}
