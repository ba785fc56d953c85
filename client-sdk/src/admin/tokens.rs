use flamingock_api_types::token::{
    CreatedToken, RootTokenCreateRequest, RotatedToken, TokenCreateRequest, TokenPage,
    TokenRevocationRequest, TokenRotationRequest, TokenView,
};

use super::{Admin, PageQuery, query::Pairs};
use crate::error::Error;

/// API tokens. See [`Admin::tokens`].
#[derive(Clone, Copy, Debug)]
pub struct Tokens<'a> {
    pub(super) admin: &'a Admin,
}

/// Which tokens.
#[derive(Clone, Debug, Default)]
pub struct TokenQuery {
    /// The page.
    pub page: PageQuery,
    /// Only those with exactly this name.
    pub name: Option<String>,
    /// Only those that are accepted now (`true`), or that have ended (`false`).
    pub alive: Option<bool>,
}

impl TokenQuery {
    fn pairs(&self) -> Pairs {
        Pairs::page(&self.page)
            .with("name", self.name.as_ref())
            .with("alive", self.alive)
    }
}

impl Tokens<'_> {
    /// A page of an organisation's tokens, newest first. Values are never in it.
    pub async fn list(self, organisation_id: i64, query: &TokenQuery) -> Result<TokenPage, Error> {
        let path = format!("/api/v1/admin/organisation/{organisation_id}/token");
        self.admin.get("token_list", &path, query.pairs()).await
    }

    /// A page of the server's own tokens, likewise. For root tokens.
    pub async fn list_root(self, query: &TokenQuery) -> Result<TokenPage, Error> {
        self.admin
            .get("root_token_list", "/api/v1/admin/token", query.pairs())
            .await
    }

    /// Makes a root token, for the whole server. The answer is the only one with its value. For root tokens.
    pub async fn create_root(self, request: &RootTokenCreateRequest) -> Result<CreatedToken, Error> {
        self.admin
            .post("root_token_create", "/api/v1/admin/token", request)
            .await
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
