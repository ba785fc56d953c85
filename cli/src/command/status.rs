//! Everything within the token's reach, a line each.

use clap::Args;
use flamingock::wire::explanation::{Explanation, ServiceStanding};
use futures_util::StreamExt as _;
use serde::Serialize;

use super::explain;
use crate::context::Context;
use crate::failure::{Exit, Failure, Outcome};
use crate::table::Table;
use crate::{reach, text, time};

/// How many are asked about at the same time.
const AT_ONCE: usize = 8;

#[derive(Debug, Args)]
pub struct Status {
    /// Say the worst with the exit code too: 3 a person has to decide, 1 failed, 4 changes are pending, 5 somebody holds a lock
    #[arg(long)]
    check: bool,
    /// Most services to ask about; 0: all. With --check all are asked about
    #[arg(long, default_value_t = 200, value_name = "N")]
    limit: usize,
    /// Also those that never started
    #[arg(long)]
    all: bool,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct StatusView {
    services: Vec<Explanation>,
    /// How many more there are, beyond the limit.
    not_asked: usize,
}

impl Status {
    pub async fn run(self, context: &Context) -> Outcome {
        let admin = context.admin()?;
        let mut services = reach::services(&admin, &context.wanted()?).await?;
        let known = services.len();
        // A script is told about all of them or about none.
        let limit = if self.check || self.limit == 0 {
            known
        } else {
            self.limit.min(known)
        };
        services.truncate(limit);
        let asked = futures_util::stream::iter(services)
            .map(async |service| admin.standing(service.scope).explain().await)
            .buffered(AT_ONCE);
        let answers: Vec<_> = asked.collect().await;
        let mut explanations = answers.into_iter().collect::<Result<Vec<_>, _>>()?;
        let worst = explanations
            .iter()
            .map(|explanation| explanation.standing)
            .max_by_key(|standing| gravity(*standing));
        if !self.all && !context.out.is_json() {
            explanations.retain(|explanation| explanation.standing != ServiceStanding::NeverStarted);
        }
        let shown = explanations.len();
        print(context, explanations, known - limit)?;
        if known > limit {
            context.out.note(&format!(
                "Not asked about: {}. --limit N asks about more (0: about all), --environment and --service about fewer.",
                text::counted(known - limit, "service")
            ));
        } else if shown < known {
            context.out.note(&format!(
                "{} never started there: --all shows them.",
                text::counted(known - shown, "service")
            ));
        }
        Ok(match worst {
            Some(worst) if self.check => match worst {
                ServiceStanding::NeverStarted => Exit::Ok,
                worst => explain::exit(worst),
            },
            _ => Exit::Ok,
        })
    }
}

/// The higher, the sooner somebody should look.
fn gravity(standing: ServiceStanding) -> u8 {
    match standing {
        ServiceStanding::NeverStarted => 0,
        ServiceStanding::UpToDate => 1,
        ServiceStanding::Running | ServiceStanding::Waiting => 2,
        ServiceStanding::Pending => 3,
        ServiceStanding::Unknown => 4,
        ServiceStanding::HolderSilent => 5,
        ServiceStanding::Failed => 6,
        ServiceStanding::StoppedByPolicy => 7,
        ServiceStanding::NeedsPerson => 8,
    }
}

fn print(context: &Context, services: Vec<Explanation>, not_asked: usize) -> Result<(), Failure> {
    if context.out.is_json() {
        return context.out.json(&StatusView { services, not_asked });
    }
    let mut table = Table::new(&[
        "ENVIRONMENT",
        "SERVICE",
        "STANDING",
        "SINCE",
        "STOPS",
        "WAITING",
        "AT",
        "HOLDER",
    ]);
    for explanation in &services {
        table.row([
            explanation.environment_name.as_str().into(),
            explanation.service_name.as_str().into(),
            explain::standing(explanation.standing),
            explanation
                .since
                .map(|since| time::relative(since, explanation.as_of))
                .into(),
            count(explanation.stops.len()),
            count(explanation.waiting.len()),
            explanation
                .holder
                .iter()
                .flat_map(|holder| &holder.changes)
                .find_map(|change| change.progress.as_ref().map(crate::progress::short))
                .into(),
            explanation
                .holder
                .as_ref()
                .map(|holder| holder.runner_id.as_str())
                .into(),
        ]);
    }
    context
        .out
        .table(&table, "No service within reach has ever started.")
}

fn count(count: usize) -> crate::table::Cell {
    if count == 0 {
        "-".into()
    } else {
        count.to_string().into()
    }
}
