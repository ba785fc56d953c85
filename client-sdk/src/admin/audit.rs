use flamingock_api_types::audit::{AuditPage, ChainVerification};

use super::{Admin, PageQuery, ServiceScope, query::Pairs};
use crate::error::Error;

/// What was recorded. See [`Admin::audit`].
#[derive(Clone, Copy, Debug)]
pub struct Audit<'a> {
    pub(super) admin: &'a Admin,
    pub(super) scope: ServiceScope,
}

impl Audit<'_> {
    /// A page of entries.
    pub async fn list(self, page: &PageQuery) -> Result<AuditPage, Error> {
        let path = format!("{}/audit", self.scope.admin_path());
        self.admin.get("audit_list", &path, Pairs::page(page)).await
    }

    /// Has the chain of hashes recomputed.
    pub async fn verify(self) -> Result<ChainVerification, Error> {
        let path = format!("{}/audit/verification", self.scope.admin_path());
        self.admin.get("audit_verify", &path, Pairs::default()).await
    }
}
