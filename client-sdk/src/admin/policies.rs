use flamingock_api_types::policy::{
    ApprovalPage, ApprovalRequest, ApprovalView, ChecksumPage, ChecksumRequest, ChecksumView,
    FreezeEndRequest, FreezePage, FreezeRequest, FreezeView, PolicyRequest, PolicyView,
};
use reqwest::Method;

use super::{Admin, PageQuery, ServiceScope, query::Pairs};
use crate::error::Error;

/// What an environment demands of a start. See [`Admin::policies`].
#[derive(Clone, Copy, Debug)]
pub struct Policies<'a> {
    pub(super) admin: &'a Admin,
    pub(super) environment_id: i64,
}

impl Policies<'_> {
    fn path(self, rest: &str) -> String {
        format!("/api/v1/admin/environment/{}/{rest}", self.environment_id)
    }

    /// The policy.
    pub async fn view(self) -> Result<PolicyView, Error> {
        self.admin
            .get("policy_view", &self.path("policy"), Pairs::default())
            .await
    }

    /// Replaces the whole policy.
    pub async fn set(self, request: &PolicyRequest) -> Result<PolicyView, Error> {
        self.admin
            .write("policy_set", Method::PUT, &self.path("policy"), request)
            .await
    }

    /// A page of freeze windows, newest first.
    pub async fn freezes(self, page: &PageQuery) -> Result<FreezePage, Error> {
        self.admin
            .get("freeze_list", &self.path("freeze"), Pairs::page(page))
            .await
    }

    /// Lets no work be granted for a time.
    pub async fn freeze(self, request: &FreezeRequest) -> Result<FreezeView, Error> {
        self.admin
            .post("freeze_start", &self.path("freeze"), request)
            .await
    }
}

/// Freeze windows by number. See [`Admin::freezes`].
#[derive(Clone, Copy, Debug)]
pub struct Freezes<'a> {
    pub(super) admin: &'a Admin,
}

impl Freezes<'_> {
    /// Ends a window before its time.
    pub async fn end(self, freeze_id: i64, request: &FreezeEndRequest) -> Result<FreezeView, Error> {
        let path = format!("/api/v1/admin/freeze/{freeze_id}/end");
        self.admin.post("freeze_end", &path, request).await
    }
}

/// People's word on the content of changes. See [`Admin::reviews`].
#[derive(Clone, Copy, Debug)]
pub struct Reviews<'a> {
    pub(super) admin: &'a Admin,
    pub(super) scope: ServiceScope,
}

impl Reviews<'_> {
    /// What waits for approval, and a page of the decisions, newest first.
    pub async fn approvals(self, page: &PageQuery) -> Result<ApprovalPage, Error> {
        let path = format!("{}/approval", self.scope.admin_path());
        self.admin.get("approval_list", &path, Pairs::page(page)).await
    }

    /// Approves the content of a change, or withdraws what was approved.
    pub async fn approve(self, request: &ApprovalRequest) -> Result<ApprovalView, Error> {
        let path = format!("{}/approval", self.scope.admin_path());
        self.admin.post("approval_decide", &path, request).await
    }

    /// A page of accepted checksums, newest first.
    pub async fn checksums(self, page: &PageQuery) -> Result<ChecksumPage, Error> {
        let path = format!("{}/checksum", self.scope.admin_path());
        self.admin.get("checksum_list", &path, Pairs::page(page)).await
    }

    /// Accepts another content of an applied change.
    pub async fn accept_checksum(self, request: &ChecksumRequest) -> Result<ChecksumView, Error> {
        let path = format!("{}/checksum", self.scope.admin_path());
        self.admin.post("checksum_accept", &path, request).await
    }
}
