//! Everything within the token's reach, a line each.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use clap::Args;
use flamingock::wire::explanation::{Explanation, ServiceStanding};
use futures_util::StreamExt as _;
use serde::Serialize;

use super::explain;
use crate::context::{Context, Limit};
use crate::failure::{Exit, Failure, Outcome};
use crate::reach::{self, Wanted};
use crate::table::{Cell, Table};
use crate::text;

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
    /// All that the token reaches, whatever the profile or variables name; flags still count
    #[arg(long)]
    everywhere: bool,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct StatusView {
    services: Vec<Line>,
    /// How many more there are, beyond the limit.
    not_asked: usize,
}

/// A service, and where it is.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Line {
    organisation_name: String,
    project_name: String,
    #[serde(flatten)]
    explanation: Explanation,
}

impl Status {
    pub async fn run(self, context: &Context) -> Outcome {
        let admin = context.admin()?;
        let mut limits = context.limits()?;
        if self.everywhere {
            limits.retain(|limit| limit.source.starts_with("--"));
        }
        let named = |what: &str| {
            let limit = limits.iter().find(|limit| limit.what == what);
            limit.map(|limit| limit.name.clone())
        };
        let wanted = Wanted {
            organisation: named("organisation"),
            project: named("project"),
            environment: named("environment"),
            service: named("service"),
        };
        let mut services = reach::services(&admin, &wanted).await?;
        let known = services.len();
        // A script is told about all of them or about none.
        let limit = if self.check || self.limit == 0 {
            known
        } else {
            self.limit.min(known)
        };
        services.truncate(limit);
        let asked = futures_util::stream::iter(services)
            .map(async |service| {
                let explanation = admin.standing(service.scope).explain().await?;
                Ok::<_, Failure>(Line {
                    organisation_name: service.organisation,
                    project_name: service.project,
                    explanation,
                })
            })
            .buffered(AT_ONCE);
        let answers: Vec<_> = asked.collect().await;
        let mut lines = answers.into_iter().collect::<Result<Vec<_>, _>>()?;
        let worst = lines
            .iter()
            .map(|line| line.explanation.standing)
            .max_by_key(|standing| gravity(*standing));
        if !self.all && !context.out.is_json() {
            lines.retain(|line| line.explanation.standing != ServiceStanding::NeverStarted);
        }
        let shown = lines.len();
        print(context, lines, known - limit)?;
        remark(context, &limits);
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

/// Whoever sees few services must see why.
fn remark(context: &Context, limits: &[Limit]) {
    if limits.is_empty() {
        return;
    }
    let mut limited = String::new();
    for (position, limit) in limits.iter().enumerate() {
        if position > 0 {
            limited.push_str(", ");
        }
        let name = text::safe(&limit.name, false);
        write!(limited, "{} {name}", limit.what).expect("writing to a string does not fail");
        // Said once for all that come from the same place.
        let next = limits.get(position + 1);
        if next.is_none_or(|next| next.source != limit.source) {
            write!(limited, " ({})", limit.source).expect("writing to a string does not fail");
        }
    }
    let more = if limits.iter().any(|limit| !limit.source.starts_with("--")) {
        ". --everywhere shows all that the token reaches"
    } else {
        ""
    };
    context.out.note(&format!("Limited to {limited}{more}."));
}

fn print(context: &Context, services: Vec<Line>, not_asked: usize) -> Result<(), Failure> {
    if context.out.is_json() {
        return context.out.json(&StatusView { services, not_asked });
    }
    let mut table = Table::new(&[
        "PROJECT",
        "ENVIRONMENT",
        "SERVICE",
        "STANDING",
        "SINCE",
        "STOPS",
        "WAITING",
        "AT",
        "HOLDER",
    ]);
    let organisations: BTreeSet<&str> = services
        .iter()
        .map(|line| line.organisation_name.as_str())
        .collect();
    for line in &services {
        let explanation = &line.explanation;
        table.row([
            if organisations.len() > 1 {
                format!("{}/{}", line.organisation_name, line.project_name).into()
            } else {
                line.project_name.as_str().into()
            },
            explanation.environment_name.as_str().into(),
            explanation.service_name.as_str().into(),
            explain::standing(explanation.standing),
            explanation
                .since
                .map(|since| Cell::time(since, explanation.as_of))
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

fn count(count: usize) -> Cell {
    if count == 0 {
        "-".into()
    } else {
        count.to_string().into()
    }
}
