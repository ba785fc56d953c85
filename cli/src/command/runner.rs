//! Processes that asked for a plan lately.

use clap::Subcommand;
use flamingock::wire::history::RunnerActivity;

use crate::context::Context;
use crate::failure::{Exit, Outcome};
use crate::output::{BAD, DIM, GOOD, WARN};
use crate::table::{Cell, Table};
use crate::time;

/// Processes of a service that work, wait, or were there lately
#[derive(Debug, Subcommand)]
pub enum Runner {
    /// Who works, who waits, and who was there in the last hour
    #[command(visible_alias = "ls")]
    List,
}

impl Runner {
    pub async fn run(self, context: &Context) -> Outcome {
        let Self::List = self;
        let admin = context.admin()?;
        let service = context.service(&admin).await?;
        let answer = admin.standing(service.scope).runners().await?;
        if context.out.is_json() {
            context.out.json(&answer)?;
            return Ok(Exit::Ok);
        }
        let now = answer.as_of;
        let mut table = Table::new(&[
            "DOES",
            "SINCE",
            "SEEN",
            "EXECUTION",
            "AT",
            "HOST",
            "VERSION",
            "RUNNER",
            "WAITS FOR",
        ]);
        for runner in &answer.runners {
            let (does, style) = match runner.activity {
                RunnerActivity::Working => ("works", GOOD),
                RunnerActivity::Waiting => ("waits", WARN),
                RunnerActivity::Silent => ("silent", BAD),
                RunnerActivity::Seen => ("was there", DIM),
                RunnerActivity::Unknown => ("unknown", DIM),
            };
            let guess = if runner.is_guess { " (guess)" } else { "" };
            let facts = runner.facts.as_ref();
            let version =
                facts.and_then(|facts| facts.application_version.as_deref().or(facts.sdk.as_deref()));
            table.row([
                Cell::styled(format!("{does}{guess}"), style),
                Cell::time(runner.since, now),
                time::relative(runner.last_seen_at, now).into(),
                runner.execution_id.into(),
                runner.under_way.as_ref().map(crate::progress::short).into(),
                runner.host.as_deref().into(),
                version.into(),
                runner.runner_id.as_str().into(),
                runner.waits_for.as_deref().into(),
            ]);
        }
        context.out.table(
            &table,
            &format!("No runner of {service} was told to work or to wait in the last hour."),
        )?;
        Ok(Exit::Ok)
    }
}
