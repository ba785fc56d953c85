//! Runs of a service.

use chrono::{DateTime, Utc};
use clap::{Args, Subcommand, ValueEnum};
use flamingock::admin::{ExecutionQuery, PageQuery};
use flamingock::wire::execution::ChangeAction;
use flamingock::wire::history::{ExecutionOutcome, ExecutionPage, ExecutionReport, TimelineEntry};
use flamingock::wire::progress::ExecutionCancellationRequest;

use crate::args::Paging;
use crate::context::Context;
use crate::failure::{Exit, Outcome};
use crate::output::{BAD, BOLD, DIM, GOOD, WARN, state_style};
use crate::sheet::Sheet;
use crate::table::{Cell, Table};
use crate::{moment, paging, progress, text, time};

/// Runs of a service, and what became of them
#[derive(Debug, Subcommand)]
pub enum Execution {
    /// Runs, newest first, and what became of them
    #[command(visible_alias = "ls")]
    List(List),
    /// One run: what was offered and why, and what was reported
    #[command(visible_alias = "describe")]
    Get(Get),
    /// Ask a run to stop as soon as it safely can
    Cancel(Cancel),
}

/// Its runner is told with its next heartbeat. It begins no further change; the change that it is at stops when it next
/// looks, or finishes. Nothing is stopped by force, and the next start goes on as after any other. A runner of the Java SDK
/// does not look: to stop it, stop its process.
#[derive(Debug, Args)]
pub struct Cancel {
    /// Its number
    execution: i64,
    /// Why; kept for good, and told to the runner
    #[arg(long)]
    reason: String,
}

#[derive(Debug, Args)]
pub struct List {
    /// Only what became this
    #[arg(long, value_enum)]
    outcome: Option<Became>,
    /// Only this runner's
    #[arg(long, value_name = "RUNNER")]
    runner: Option<String>,
    /// Started at or after: 2026-01-31, 2026-01-31T08:00Z, -2h, …
    #[arg(long, value_parser = moment::parse, allow_hyphen_values = true, value_name = "TIME")]
    since: Option<DateTime<Utc>>,
    /// Started before
    #[arg(long, value_parser = moment::parse, allow_hyphen_values = true, value_name = "TIME")]
    until: Option<DateTime<Utc>>,
    #[command(flatten)]
    paging: Paging,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Became {
    Running,
    Succeeded,
    Failed,
    Blocked,
    Abandoned,
}

#[derive(Debug, Args)]
pub struct Get {
    /// Its number
    execution: i64,
    /// Also print the pipeline as it was submitted
    #[arg(long)]
    submission: bool,
}

impl Execution {
    pub async fn run(self, context: &Context) -> Outcome {
        match self {
            Self::List(command) => command.run(context).await,
            Self::Get(command) => command.run(context).await,
            Self::Cancel(command) => command.run(context).await,
        }
    }
}

fn outcome(outcome: ExecutionOutcome) -> Cell {
    let (text, style) = match outcome {
        ExecutionOutcome::Running => ("running", WARN),
        ExecutionOutcome::Succeeded => ("succeeded", GOOD),
        ExecutionOutcome::Failed => ("failed", BAD),
        ExecutionOutcome::Blocked => ("blocked", BAD),
        ExecutionOutcome::Abandoned => ("abandoned", BAD),
        ExecutionOutcome::Unknown => ("unknown", DIM),
    };
    Cell::styled(text, style)
}

impl List {
    async fn run(self, context: &Context) -> Outcome {
        let admin = context.admin()?;
        let service = context.service(&admin).await?;
        let query = ExecutionQuery {
            page: PageQuery::default(),
            outcome: self.outcome.map(|became| match became {
                Became::Running => ExecutionOutcome::Running,
                Became::Succeeded => ExecutionOutcome::Succeeded,
                Became::Failed => ExecutionOutcome::Failed,
                Became::Blocked => ExecutionOutcome::Blocked,
                Became::Abandoned => ExecutionOutcome::Abandoned,
            }),
            runner_id: self.runner,
            since: self.since.map(moment::wire),
            until: self.until.map(moment::wire),
        };
        let listed = paging::list(&self.paging, async |page| {
            let query = ExecutionQuery {
                page: page.clone(),
                ..query.clone()
            };
            let page = admin.executions(service.scope).list(&query).await?;
            Ok((page.executions, page.next))
        })
        .await?;
        if context.out.is_json() {
            context.out.json(&ExecutionPage {
                executions: listed.items,
                next: listed.next,
            })?;
            return Ok(Exit::Ok);
        }
        let now = Context::now();
        let mut table = Table::new(&[
            "EXECUTION",
            "OUTCOME",
            "STARTED",
            "TOOK",
            "APPLIED",
            "FAILED",
            "OPEN",
            "AT",
            "RUNNER",
        ]);
        for execution in &listed.items {
            let counts = execution.progress;
            let took = execution.ended_at.map(|end| end - execution.started_at);
            table.row([
                execution.execution_id.into(),
                outcome(execution.outcome),
                Cell::time(execution.started_at, now),
                took.map(|took| time::millis(took.num_milliseconds())).into(),
                format!("{}/{}", counts.applied, counts.offered).into(),
                counts.failed.into(),
                (counts.started + counts.not_reached).into(),
                execution.under_way.first().map(progress::short).into(),
                execution.runner_id.as_str().into(),
            ]);
        }
        context.out.table(
            &table,
            &format!("There is no execution of {service} that fits: a plan is recorded when it is granted."),
        )?;
        listed.remark(context.out, "executions");
        Ok(Exit::Ok)
    }
}

impl Cancel {
    async fn run(self, context: &Context) -> Outcome {
        let admin = context.admin()?;
        let service = context.service(&admin).await?;
        let request = ExecutionCancellationRequest { reason: self.reason };
        let asked = admin
            .executions(service.scope)
            .cancel(self.execution, &request)
            .await?;
        if context.out.is_json() {
            context.out.json(&asked)?;
            return Ok(Exit::Ok);
        }
        let mut sheet = Sheet::default();
        sheet.title("Asked to stop.", GOOD, &asked.message);
        sheet.fact("runner", &asked.runner_id);
        sheet.fact("by", &asked.notice.requested_by);
        sheet.fact("at", time::shown(asked.notice.requested_at, Context::now()));
        sheet.fact("reason", &asked.notice.reason);
        context.out.print(&sheet.into_text())?;
        Ok(Exit::Ok)
    }
}

impl Get {
    async fn run(self, context: &Context) -> Outcome {
        let admin = context.admin()?;
        let service = context.service(&admin).await?;
        let report = admin.executions(service.scope).view(self.execution).await?;
        if context.out.is_json() {
            context.out.json(&report)?;
        } else {
            let text = sheet(&report, self.submission, Context::now());
            context.out.print(&text)?;
        }
        Ok(Exit::Ok)
    }
}

fn sheet(report: &ExecutionReport, submission: bool, now: DateTime<Utc>) -> String {
    let mut sheet = Sheet::default();
    facts(&mut sheet, report, now);
    if let Some(reasons) = &report.reasons {
        sheet.section("Why");
        sheet.paragraph(&reasons.message);
        for reason in &reasons.changes {
            sheet.item(&format!("{}: {}", reason.id, reason.message));
        }
        for finding in &reasons.policy {
            sheet.item(&finding.message);
        }
    }
    sheet.section("What was offered");
    let mut table = Table::new(&["STAGE", "CHANGE", "ACTION"]);
    for stage in &report.stages {
        for change in &stage.changes {
            let action = match change.action {
                ChangeAction::Apply => Cell::styled("apply", BOLD),
                ChangeAction::Skip => Cell::styled("skip", DIM),
                ChangeAction::ManualIntervention => Cell::styled("a person", BAD),
                ChangeAction::Probe => Cell::styled("ask its probe", BOLD),
                ChangeAction::Unknown => Cell::from("unknown"),
            };
            table.row([stage.name.as_str().into(), change.id.as_str().into(), action]);
        }
    }
    sheet.table(&table);
    if !report.timeline.is_empty() {
        sheet.section("What was reported");
        let mut table = Table::new(&["CHANGE", "SEQ", "WHEN", "STATE", "TOOK", "BY", "REMARK"]);
        for entry in &report.timeline {
            let [seq, when, state, took, _, by, remark] = timeline_row(entry, now);
            table.row([
                entry.change_id.as_str().into(),
                seq,
                when,
                state,
                took,
                by,
                remark,
            ]);
        }
        sheet.table(&table);
        if report.timeline_is_cut {
            sheet.paragraph("And more; `flamingock audit list --history --execution N` has it.");
        }
    }
    for refused in &report.refused_starts {
        sheet.item(&format!(
            "{}: the start of {} was refused: {}",
            time::shown(refused.refused_at, now),
            refused.change_id,
            refused.message
        ));
    }
    if submission {
        sheet.section("What was submitted");
        sheet.verbatim(&format!("{:#}", report.submission));
    }
    sheet.into_text()
}

fn facts(sheet: &mut Sheet, report: &ExecutionReport, now: DateTime<Utc>) {
    let record = &report.record;
    let (word, style) = match record.outcome {
        ExecutionOutcome::Running => ("is running", WARN),
        ExecutionOutcome::Succeeded => ("succeeded", GOOD),
        ExecutionOutcome::Failed => ("failed", BAD),
        ExecutionOutcome::Blocked => ("was stopped by changes that wait for a person", BAD),
        ExecutionOutcome::Abandoned => ("was abandoned: it did not tell what became of its changes", BAD),
        ExecutionOutcome::Unknown => ("has an outcome that this program does not know", DIM),
    };
    sheet.title(&format!("Execution {}", record.execution_id), style, word);
    sheet.fact("runner", &record.runner_id);
    if let Some(facts) = &record.runner {
        sheet.optional_fact("version", facts.application_version.as_deref());
        sheet.optional_fact("commit", facts.commit.as_deref());
        sheet.optional_fact("host", facts.host.as_deref());
        sheet.optional_fact("sdk", facts.sdk.as_deref());
    }
    sheet.fact("started", time::shown(record.started_at, now));
    sheet.optional_fact("ended", record.ended_at.map(|end| time::shown(end, now)));
    sheet.fact("fence", record.fence.to_string());
    let counts = record.progress;
    let named = [
        (counts.applied, "applied"),
        (counts.failed, "failed"),
        (counts.started, "begun without a result"),
        (counts.not_reached, "not reached"),
        (counts.waiting_for_person, "waiting for a person"),
    ];
    let shown: Vec<String> = named
        .into_iter()
        .filter(|(count, _)| *count > 0)
        .map(|(count, what)| format!("{count} {what}"))
        .collect();
    sheet.fact(
        "changes",
        format!("{} offered: {}", counts.offered, shown.join(", ")),
    );
    if let Some(notice) = &record.cancellation {
        let asked = time::shown(notice.requested_at, now);
        sheet.fact(
            "asked to stop",
            format!("by {} at {asked}: {}", notice.requested_by, notice.reason),
        );
    }
    for told in &record.under_way {
        sheet.fact("under way", progress::sentence(told, now));
    }
}

/// SEQ, WHEN, STATE, TOOK, EXECUTION, BY, REMARK.
pub fn timeline_row(entry: &TimelineEntry, now: DateTime<Utc>) -> [Cell; 7] {
    let state = if entry.late {
        Cell::styled(format!("{} (late)", entry.state), DIM)
    } else {
        Cell::styled(&entry.state, state_style(&entry.state))
    };
    let runner = entry.runner_id.as_deref().filter(|_| entry.source != "PERSON");
    [
        entry.seq.into(),
        Cell::time(entry.received_at, now),
        state,
        entry.duration_millis.map(time::millis).into(),
        entry.execution_ref.as_deref().into(),
        runner
            .map_or_else(|| text::who(&entry.actor), str::to_owned)
            .into(),
        entry.note.as_deref().or(entry.error_summary.as_deref()).into(),
    ]
}
