use flamingock_api_types::lock::{LockPage, LockReleaseRequest, LockReleaseResponse};

use super::{Admin, PageQuery, ServiceScope, query::Pairs};
use crate::error::Error;

/// The locks of services. See [`Admin::locks`].
#[derive(Clone, Copy, Debug)]
pub struct Locks<'a> {
    pub(super) admin: &'a Admin,
}

impl Locks<'_> {
    /// A page of the locks of an environment, by service.
    pub async fn list(self, environment_id: i64, page: &PageQuery) -> Result<LockPage, Error> {
        let path = format!("/api/v1/admin/environment/{environment_id}/lock");
        self.admin.get("lock_list", &path, Pairs::page(page)).await
    }

    /// Frees the lock of a service by force. What its holder had begun and not ended then has an unknown outcome.
    pub async fn release(
        self,
        scope: ServiceScope,
        request: &LockReleaseRequest,
    ) -> Result<LockReleaseResponse, Error> {
        let path = format!("{}/lock/release", scope.admin_path());
        self.admin.post("lock_force_release", &path, request).await
    }
}
