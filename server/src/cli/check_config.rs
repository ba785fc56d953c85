//! `check-config`

use clap::Args;
use flamingock_server::app::bootstrap::{self, Declaration, Plan};
use flamingock_server::config::Config;
use flamingock_server::store;

use super::database::{self, Schema};
use super::failure::Failure;
use super::{settings, terminal};

#[derive(Args)]
pub(super) struct CheckConfig {
    #[command(flatten)]
    config: Config,
    /// Also connect to the database, check its schema, and print what the bootstrap file would change.
    #[arg(long)]
    database: bool,
}

impl CheckConfig {
    pub(super) async fn run(self) -> Result<(), Failure> {
        let declaration = settings::check(&self.config)?;
        terminal::answer(&self.config.to_string());
        if let Some(path) = &self.config.bootstrap {
            terminal::answer(&format!("# the bootstrap file {} can be read\n", path.display()));
        }
        if self.database {
            self.check_database(declaration.as_ref()).await?;
        }
        Ok(())
    }

    async fn check_database(&self, declaration: Option<&Declaration>) -> Result<(), Failure> {
        let url = database::required_url(self.config.database.url.as_ref())?;
        let mut conn = database::connect(url).await?;
        terminal::answer("# the database answers\n");
        let expected = store::expected_schema_version();
        match database::schema(&mut conn).await? {
            Schema::Current => {
                terminal::answer(&format!("# its schema is up to date (version {expected})\n"));
            }
            Schema::Ahead(actual) => {
                terminal::answer(&format!("# its schema is of a newer server (version {actual})\n"));
            }
            Schema::Behind(_) => return database::require_current(&mut conn).await,
        }
        drop(conn);
        let Some(declaration) = declaration else {
            return Ok(());
        };
        let pool = database::pool(&self.config, url)?;
        let plan = bootstrap::preview(&pool, declaration)
            .await
            .map_err(settings::bootstrap_failure)?;
        pool.close().await;
        for line in would(&plan) {
            terminal::answer(&format!("# {line}\n"));
        }
        Ok(())
    }
}

/// What a plan would do and what it leaves alone, a line each.
pub(super) fn would(plan: &Plan) -> Vec<String> {
    let mut lines: Vec<String> = plan
        .steps
        .iter()
        .map(|step| format!("the bootstrap file would {step}"))
        .collect();
    if lines.is_empty() {
        lines.push("the bootstrap file would change nothing".to_owned());
    }
    lines.extend(remarks(plan));
    lines
}

/// What a plan leaves alone, a line each.
pub(super) fn remarks(plan: &Plan) -> impl Iterator<Item = String> {
    plan.notes.iter().map(|note| {
        let kind = if note.is_warning() { "warning" } else { "note" };
        format!("{kind}: {note}")
    })
}
