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
        let pairs = Pairs::page(&query.page)
            .with("action", query.action.as_ref())
            .with("credentialId", query.credential_id)
            .with("environmentId", query.environment_id)
            .with("serviceId", query.service_id)
            .with("target", query.target.as_ref())
            .with("since", query.since.as_ref())
            .with("until", query.until.as_ref());
        self.admin.get("action_list", &path, pairs).await
    }
}
