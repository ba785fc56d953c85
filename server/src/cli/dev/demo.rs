//! The demo tenant, and what a newcomer is told.

use std::fs;
use std::path::{Path, PathBuf};

use flamingock_server::app::auth::{ApiToken, Auth, AuthSettings};
use flamingock_server::app::bootstrap::Declaration;
use flamingock_server::config::DatabaseUrl;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sqlx::PgPool;

use crate::cli::failure::Failure;
use crate::cli::ready_file::write_private;
use crate::cli::settings;

const ORGANISATION: &str = "demo";
const PROJECT: &str = "demo";
const ENVIRONMENTS: [&str; 2] = ["development", "production"];
const SERVICE: &str = "demo";

/// Tokens that survive a restart.
pub(super) struct Demo {
    path: PathBuf,
    /// The administrator's alone, as `flamingock --token-file` takes it.
    admin_path: PathBuf,
    runner: ApiToken,
    operator: ApiToken,
    admin: ApiToken,
}

#[derive(Serialize, Deserialize)]
#[expect(clippy::struct_field_names, reason = "the names in the file")]
struct Kept {
    runner_token: String,
    operator_token: String,
    /// Older versions kept none.
    #[serde(default)]
    admin_token: Option<String>,
}

/// Ids of what the demo tenant has.
pub(super) struct Tenant {
    organisation_id: i64,
    project_id: i64,
    /// In the order of [`ENVIRONMENTS`].
    environment_ids: [i64; 2],
    service_id: i64,
}

impl Demo {
    pub(super) fn load_or_create(data: &Path) -> Result<Self, Failure> {
        let path = data.join("dev-tokens.json");
        let kept = match fs::read_to_string(&path) {
            Ok(text) => Some(Self::parse(&text).ok_or_else(|| {
                Failure::new(format!("{} does not hold the demo's tokens", path.display()))
                    .help("remove it: new tokens are made, and the old ones are revoked")
            })?),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => None,
            Err(error) => return Err(Failure::new(format!("cannot read {}", path.display())).because(error)),
        };
        let (runner, operator, admin) = match kept {
            Some((runner, operator, admin)) => (runner, operator, admin),
            None => (ApiToken::generate(), ApiToken::generate(), None),
        };
        let demo = Self {
            // Told to people who may be in another folder when they use it.
            admin_path: fs::canonicalize(data)
                .unwrap_or_else(|_| data.to_owned())
                .join("admin.token"),
            path,
            runner,
            operator,
            admin: admin.unwrap_or_else(ApiToken::generate),
        };
        let kept = Kept {
            runner_token: demo.runner.expose().to_owned(),
            operator_token: demo.operator.expose().to_owned(),
            admin_token: Some(demo.admin.expose().to_owned()),
        };
        write_private(&demo.path, &format!("{:#}\n", json!(kept)))?;
        write_private(&demo.admin_path, &format!("{}\n", demo.admin.expose()))?;
        Ok(demo)
    }

    fn parse(text: &str) -> Option<(ApiToken, ApiToken, Option<ApiToken>)> {
        let kept: Kept = serde_json::from_str(text).ok()?;
        let admin = match &kept.admin_token {
            Some(text) => Some(ApiToken::parse(text).ok()?),
            None => None,
        };
        Some((
            ApiToken::parse(&kept.runner_token).ok()?,
            ApiToken::parse(&kept.operator_token).ok()?,
            admin,
        ))
    }

    /// The tenant as a bootstrap file: the same way in as for everybody else.
    pub(super) fn declaration(&self) -> Result<Option<Declaration>, Failure> {
        let text = format!(
            r#"
            [[organisations]]
            name = "{ORGANISATION}"
            tokens = [{{ name = "dev-admin", role = "admin", value = "{}" }}]
            [[organisations.projects]]
            name = "{PROJECT}"
            self_register_services = true
            environments = [{{ name = "{}" }}, {{ name = "{}" }}]
            services = [{{ name = "{SERVICE}" }}]
            tokens = [
                {{ name = "dev-runner", role = "runner", value = "{}" }},
                {{ name = "dev-operator", role = "operator", value = "{}" }},
            ]
            "#,
            self.admin.expose(),
            ENVIRONMENTS[0],
            ENVIRONMENTS[1],
            self.runner.expose(),
            self.operator.expose(),
        );
        Declaration::parse(Path::new("the demo tenant"), &text, |_| None)
            .map(Some)
            .map_err(settings::bootstrap_failure)
    }

    pub(super) fn as_json(&self, tenant: &Tenant, url: &str, database: &DatabaseUrl) -> Value {
        let [development, production] = tenant.environment_ids;
        json!({
            "url": url,
            "docs_url": format!("{url}/docs"),
            "metrics_url": format!("{url}/metrics"),
            "database_url": database.expose(),
            "runner_token": self.runner.expose(),
            "operator_token": self.operator.expose(),
            "admin_token": self.admin.expose(),
            "admin_token_file": self.admin_path,
            "organisation_id": tenant.organisation_id,
            "organisation_name": ORGANISATION,
            "project_id": tenant.project_id,
            "project_name": PROJECT,
            "environment_id": development,
            "environment_name": ENVIRONMENTS[0],
            "environments": { (ENVIRONMENTS[0]): development, (ENVIRONMENTS[1]): production },
            "service_id": tenant.service_id,
            "service_name": SERVICE,
        })
    }

    pub(super) fn welcome(&self, tenant: &Tenant, url: &str, data: &str) -> String {
        let (runner, operator, admin) = (self.runner.expose(), self.operator.expose(), self.admin.expose());
        let admin_file = quoted(&self.admin_path);
        let (environment, service) = (tenant.environment_ids[0], tenant.service_id);
        format!(
            "
Flamingock is ready, for development and trials. This is not how to run it in production: see `serve`.

  API        {url}
  API docs   {url}/docs
  metrics    {url}/metrics
  data       {data}

Tenant: organisation {ORGANISATION}, project {PROJECT}, environments {} and {}; services register themselves.
The tokens stay the same; they are kept in {}.

  for applications   {runner}
  for people         {operator}
  to administer      {admin}

Look around with the command line (in this repository `cargo run -p flamingock-cli --` stands for `flamingock`):

  flamingock login --server {url} --token-file {admin_file} -e {} -s {SERVICE}
  flamingock status --everywhere --all

Open a session, as the SDK does:

  curl -s {url}/api/v1/auth/exchange-token -H 'Content-Type: application/json' \\
    -d '{{\"apiToken\": \"{runner}\", \"environmentName\": \"{}\", \"serviceName\": \"{SERVICE}\"}}'

Read the audit of service {SERVICE} in {}:

  curl -s {url}/api/v1/admin/environment/{environment}/service/{service}/audit \\
    -H 'Authorization: Bearer {operator}'

Stop with Ctrl-C; the data stays.

",
            ENVIRONMENTS[0],
            ENVIRONMENTS[1],
            self.path.display(),
            ENVIRONMENTS[0],
            ENVIRONMENTS[0],
            ENVIRONMENTS[0],
        )
    }
}

/// One word for a shell.
fn quoted(path: &Path) -> String {
    format!("'{}'", path.display().to_string().replace('\'', r"'\''"))
}

impl Tenant {
    /// Learns the ids as any application does: by exchanging the token.
    pub(super) async fn load(pool: &PgPool, demo: &Demo) -> Result<Self, Failure> {
        let failure = |error| Failure::new("cannot read the demo tenant").because(error);
        let auth = Auth::start(pool.clone(), AuthSettings::default())
            .await
            .map_err(|error| Failure::new("cannot load the keys that sign sessions").because(error))?;
        let exchange = async |environment: &str| {
            auth.exchange(Some(demo.runner.expose()), Some(environment), Some(SERVICE))
                .await
        };
        let development = exchange(ENVIRONMENTS[0]).await.map_err(failure)?;
        let production = exchange(ENVIRONMENTS[1]).await.map_err(failure)?;
        Ok(Self {
            organisation_id: development.organisation_id,
            project_id: development.project_id,
            environment_ids: [development.environment_id, production.environment_id],
            service_id: development.service_id,
        })
    }
}
