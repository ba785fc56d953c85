use flamingock_api_types::token::{
    CreatedToken, RotatedToken, TokenCreateRequest, TokenPage, TokenRevocationRequest, TokenRotationRequest,
    TokenView,
};

use super::{Admin, PageQuery, query::Pairs};
use crate::error::Error;

/// API tokens. See [`Admin::tokens`].
#[derive(Clone, Copy, Debug)]
pub struct Tokens<'a> {
    pub(super) admin: &'a Admin,
}

impl Tokens<'_> {
    /// A page of an organisation's tokens, newest first. Values are never in it.
    pub async fn list(self, organisation_id: i64, page: &PageQuery) -> Result<TokenPage, Error> {
        let path = format!("/api/v1/admin/organisation/{organisation_id}/token");
        self.admin.get("token_list", &path, Pairs::page(page)).await
    }

    /// Makes one. The answer is the only one with its value.
    pub async fn create(
        self,
        organisation_id: i64,
        request: &TokenCreateRequest,
    ) -> Result<CreatedToken, Error> {
        let path = format!("/api/v1/admin/organisation/{organisation_id}/token");
        self.admin.post("token_create", &path, request).await
    }

    /// One by number.
    pub async fn view(self, token_id: i64) -> Result<TokenView, Error> {
        let path = format!("/api/v1/admin/token/{token_id}");
        self.admin.get("token_view", &path, Pairs::default()).await
    }

    /// Makes another value in its place; the old one works on for a while.
    pub async fn rotate(self, token_id: i64, request: &TokenRotationRequest) -> Result<RotatedToken, Error> {
        let path = format!("/api/v1/admin/token/{token_id}/rotation");
        self.admin.post("token_rotate", &path, request).await
    }

    /// Ends it for good, within seconds.
    pub async fn revoke(self, token_id: i64, request: &TokenRevocationRequest) -> Result<TokenView, Error> {
        let path = format!("/api/v1/admin/token/{token_id}/revocation");
        self.admin.post("token_revoke", &path, request).await
    }
}
