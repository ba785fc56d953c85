//! Why a service waits or is stopped.

use chrono::{DateTime, Utc};
use clap::Args;
use flamingock::wire::explanation::{Explanation, ServiceStanding};
use flamingock::wire::history::RunnerRecord;

use crate::context::Context;
use crate::failure::{Exit, Outcome};
use crate::output::{BAD, DIM, GOOD, WARN};
use crate::sheet::Sheet;
use crate::table::Cell;
use crate::{progress, time};

#[derive(Debug, Args)]
pub struct Explain {
    /// Say it with the exit code too: 3 a person has to decide, 4 changes are pending, 5 somebody holds the lock, 1 failed
    #[arg(long)]
    check: bool,
}

impl Explain {
    pub async fn run(self, context: &Context) -> Outcome {
        let admin = context.admin()?;
        let service = context.service(&admin).await?;
        let explanation = admin.standing(service.scope).explain().await?;
        if context.out.is_json() {
            context.out.json(&explanation)?;
        } else {
            context.out.print(&sheet(&explanation))?;
        }
        Ok(if self.check {
            exit(explanation.standing)
        } else {
            Exit::Ok
        })
    }
}

/// What a standing means for a script.
pub fn exit(standing: ServiceStanding) -> Exit {
    match standing {
        ServiceStanding::UpToDate => Exit::Ok,
        ServiceStanding::NeedsPerson | ServiceStanding::StoppedByPolicy => Exit::NeedsPerson,
        ServiceStanding::NeverStarted | ServiceStanding::Pending => Exit::Pending,
        ServiceStanding::Running | ServiceStanding::Waiting | ServiceStanding::HolderSilent => Exit::LockHeld,
        ServiceStanding::Failed | ServiceStanding::Unknown => Exit::Failed,
    }
}

pub fn standing(standing: ServiceStanding) -> Cell {
    let (text, style) = match standing {
        ServiceStanding::NeverStarted => ("never started", DIM),
        ServiceStanding::UpToDate => ("up to date", GOOD),
        ServiceStanding::Running => ("running", WARN),
        ServiceStanding::Waiting => ("running, others wait", WARN),
        ServiceStanding::HolderSilent => ("holder is silent", BAD),
        ServiceStanding::NeedsPerson => ("NEEDS A PERSON", BAD),
        ServiceStanding::StoppedByPolicy => ("stopped by policy", BAD),
        ServiceStanding::Failed => ("failed", BAD),
        ServiceStanding::Pending => ("pending", WARN),
        ServiceStanding::Unknown => ("unknown", DIM),
    };
    Cell::styled(text, style)
}

fn sheet(explanation: &Explanation) -> String {
    let now = explanation.as_of;
    let mut sheet = Sheet::default();
    let style = match explanation.standing {
        ServiceStanding::UpToDate => GOOD,
        ServiceStanding::NeverStarted | ServiceStanding::Unknown => DIM,
        ServiceStanding::Running | ServiceStanding::Waiting | ServiceStanding::Pending => WARN,
        ServiceStanding::HolderSilent
        | ServiceStanding::NeedsPerson
        | ServiceStanding::StoppedByPolicy
        | ServiceStanding::Failed => BAD,
    };
    let name = format!("{} in {}", explanation.service_name, explanation.environment_name);
    sheet.title(&name, style, "");
    sheet.paragraph(&explanation.message);
    sheet.optional_fact("since", explanation.since.map(|since| time::shown(since, now)));
    if let Some(holder) = &explanation.holder {
        sheet.section(if holder.is_live {
            "Who is at work"
        } else {
            "Who holds the lock and is silent"
        });
        sheet.fact("runner", &holder.runner_id);
        sheet.fact("since", time::shown(holder.since, now));
        sheet.fact("last beat", time::shown(holder.last_beat_at, now));
        sheet.fact("lease ends", time::shown(holder.expires_at, now));
        sheet.fact("free at latest", time::shown(holder.takeable_at, now));
        sheet.optional_fact("execution", holder.execution_id.map(|id| id.to_string()));
        let counts = holder.progress;
        sheet.fact(
            "progress",
            format!("{} of {} applied", counts.applied, counts.offered),
        );
        for change in &holder.changes {
            sheet.item(&format!(
                "{} is {} (entry {})",
                change.change_id, change.state, change.seq
            ));
            if let Some(told) = &change.progress {
                sheet.item(&progress::sentence(told, now));
            }
        }
    }
    if !explanation.waiting.is_empty() {
        sheet.section("Who waits");
        for runner in &explanation.waiting {
            sheet.item(&waiter(runner, now));
        }
    }
    if !explanation.stops.is_empty() {
        sheet.section("What stops it");
        for stop in &explanation.stops {
            let since = stop
                .since
                .map(|since| format!(" Since {}.", time::shown(since, now)));
            sheet.item(&format!("{}{}", stop.message, since.unwrap_or_default()));
        }
        if explanation.stops_are_cut {
            sheet.item("And more: `flamingock issue list`.");
        }
    }
    super::issue::remedies(&mut sheet, &explanation.remedies);
    sheet.into_text()
}

fn waiter(runner: &RunnerRecord, now: DateTime<Utc>) -> String {
    format!(
        "{} since {}, seen {}",
        runner.runner_id,
        time::shown(runner.since, now),
        time::relative(runner.last_seen_at, now)
    )
}
