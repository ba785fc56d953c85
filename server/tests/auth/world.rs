//! Who calls in these tests, and what there is.

use std::sync::Arc;

use data_encoding::BASE64URL_NOPAD;
use flamingock_server::app::auth::{ApiToken, Auth, AuthSettings, Caller, ExchangeError, Exchanged, Session};
use flamingock_server::app::bootstrap::{self, Declaration};
use serde_json::Value;
use sqlx::PgPool;

use crate::support;

/// Two tenants: `acme` is the one that calls, `other` the one that must stay out of sight.
pub struct World {
    pub pool: PgPool,
    pub auth: Auth,
    pub runner: ApiToken,
    pub narrow: ApiToken,
    pub viewer: ApiToken,
    pub admin: ApiToken,
    pub root: ApiToken,
    pub expired: ApiToken,
    pub closed: ApiToken,
    pub foreign: ApiToken,
}

impl World {
    pub async fn new() -> Self {
        Self::with(AuthSettings::default()).await
    }

    pub async fn with(settings: AuthSettings) -> Self {
        let pool = support::database().await;
        let [runner, narrow, viewer, admin, root, expired, closed, foreign] =
            std::array::from_fn(|_| ApiToken::generate());
        let text = format!(
            r#"
            tokens = [{{ name = "root", role = "root", value = "{root}" }}]

            [[organisations]]
            name = "acme"
            tokens = [{{ name = "admin", role = "admin", value = "{admin}" }}]

            [[organisations.projects]]
            name = "shop"
            self_register_services = true
            environments = [{{ name = "production" }}, {{ name = "staging" }}]
            services = [{{ name = "orders" }}, {{ name = "billing" }}]
            tokens = [
                {{ name = "runner", role = "runner", value = "{runner}" }},
                {{ name = "narrow", role = "runner", value = "{narrow}", environments = ["staging"], services = ["orders"] }},
                {{ name = "viewer", role = "viewer", value = "{viewer}" }},
                {{ name = "expired", role = "runner", value = "{expired}", expires_at = 2020-01-01T00:00:00Z }},
            ]

            [[organisations.projects]]
            name = "closed"
            environments = [{{ name = "production" }}]
            tokens = [{{ name = "runner", role = "runner", value = "{closed}" }}]

            [[organisations]]
            name = "other"
            [[organisations.projects]]
            name = "shop"
            environments = [{{ name = "secret" }}, {{ name = "production" }}]
            services = [{{ name = "orders" }}, {{ name = "hidden" }}]
            tokens = [{{ name = "runner", role = "runner", value = "{foreign}" }}]
            "#,
            root = root.expose(),
            admin = admin.expose(),
            runner = runner.expose(),
            narrow = narrow.expose(),
            viewer = viewer.expose(),
            expired = expired.expose(),
            closed = closed.expose(),
            foreign = foreign.expose(),
        );
        let declaration =
            Declaration::parse("world.toml".as_ref(), &text, |_| None).expect("the file is right");
        bootstrap::apply(&pool, &declaration).await.expect("it applies");
        let auth = Auth::start(pool.clone(), settings).await.expect("it starts");
        Self {
            pool,
            auth,
            runner,
            narrow,
            viewer,
            admin,
            root,
            expired,
            closed,
            foreign,
        }
    }

    pub async fn exchange(
        &self,
        token: &ApiToken,
        environment: &str,
        service: &str,
    ) -> Result<Exchanged, ExchangeError> {
        self.auth
            .exchange(Some(token.expose()), Some(environment), Some(service))
            .await
    }

    pub async fn session(&self) -> Exchanged {
        self.exchange(&self.runner, "production", "orders")
            .await
            .expect("a session")
    }

    pub async fn replica(&self) -> Auth {
        Auth::start(self.pool.clone(), AuthSettings::default())
            .await
            .expect("it starts")
    }

    pub async fn revoke(&self, token: &ApiToken) {
        let done = sqlx::query("UPDATE api_tokens SET revoked_at = clock_timestamp() WHERE sha256 = $1")
            .bind(token.sha256().as_slice())
            .execute(&self.pool)
            .await
            .expect("it is revoked");
        assert_eq!(done.rows_affected(), 1);
    }

    pub async fn age_keys(&self, hours: f64) {
        sqlx::query("UPDATE signing_keys SET created_at = created_at - make_interval(secs => $1 * 3600)")
            .bind(hours)
            .execute(&self.pool)
            .await
            .expect("the keys age");
    }

    pub async fn kids(&self) -> Vec<String> {
        sqlx::query_scalar("SELECT kid FROM signing_keys ORDER BY created_at")
            .fetch_all(&self.pool)
            .await
            .expect("keys")
    }
}

pub fn session_of(caller: Caller) -> Arc<Session> {
    match caller {
        Caller::Session(session) => session,
        Caller::Token(holder) => panic!("a token: {holder:?}"),
    }
}

pub fn part(jwt: &str, index: usize) -> Value {
    let part = jwt.split('.').nth(index).expect("three parts");
    serde_json::from_slice(&BASE64URL_NOPAD.decode(part.as_bytes()).expect("base64url")).expect("JSON")
}

pub fn encoded(value: &Value) -> String {
    BASE64URL_NOPAD.encode(value.to_string().as_bytes())
}
