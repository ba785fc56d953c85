//! `bootstrap`

use clap::Args;
use flamingock_server::app::bootstrap::{self, Plan};
use flamingock_server::config::Config;

use super::check_config::{remarks, would};
use super::failure::Failure;
use super::{database, settings, terminal};

#[derive(Args)]
pub(super) struct Bootstrap {
    #[command(flatten)]
    config: Config,
    /// Say what would be done, and do nothing: exit code 0 if that is nothing, 3 if there is something to do.
    #[arg(long)]
    dry_run: bool,
}

/// A dry run found something to do.
const WOULD_CHANGE: u8 = 3;

impl Bootstrap {
    pub(super) async fn run(self) -> Result<(), Failure> {
        let Some(declaration) = settings::check(&self.config)? else {
            return Err(Failure::new("there is no bootstrap file to apply")
                .help("name it by --bootstrap or FLAMINGOCK_BOOTSTRAP"));
        };
        let url = database::required_url(self.config.database.url.as_ref())?;
        let mut conn = database::connect(url).await?;
        database::require_current(&mut conn).await?;
        drop(conn);
        let pool = database::pool(&self.config, url)?;
        let done = if self.dry_run {
            bootstrap::preview(&pool, &declaration).await
        } else {
            bootstrap::apply(&pool, &declaration).await
        };
        pool.close().await;
        let plan = done.map_err(settings::bootstrap_failure)?;
        let lines = if self.dry_run { would(&plan) } else { did(&plan) };
        for line in lines {
            terminal::answer(&format!("{line}\n"));
        }
        if self.dry_run && !plan.steps.is_empty() {
            return Err(Failure::finding(
                format!("dry run, nothing was written; {} to do", plan.steps.len()),
                WOULD_CHANGE,
            ));
        }
        Ok(())
    }
}

fn did(plan: &Plan) -> Vec<String> {
    let mut lines: Vec<String> = plan.steps.iter().map(|step| format!("done: {step}")).collect();
    if lines.is_empty() {
        lines.push("nothing to do".to_owned());
    }
    lines.extend(remarks(plan));
    lines
}
