//! Running changes from files, without an application.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use flamingock::{
    ChangeStatus, Flamingock, Report, RunStatus, StageReport, StageState, StartError, StartErrorKind,
};

use crate::context::Context;
use crate::failure::{Exit, Failure, Outcome};
use crate::output::{BAD, BOLD, DIM, GOOD, WARN};
use crate::sheet::Sheet;
use crate::table::{Cell, Table};
use crate::{pipeline, progress, targets, text, time};

use super::plan;

/// The token has to be a runner's. Ends with 0 when everything is applied, 1 if a change failed, 3 if a person has to
/// decide or a policy stops it, 4 if changes are pending (--check), 5 if another runner held the lock all the time, 6
/// if the server gave no answer.
#[derive(Debug, Args)]
pub struct Apply {
    /// Directory of change files. Each directory in it that has change files is a stage of its own
    #[arg(value_name = "DIR")]
    directory: PathBuf,
    /// The target systems that the files name: a TOML file with a table for each
    #[arg(long, value_name = "FILE")]
    targets: PathBuf,
    /// Apply nothing, take no lock and leave nothing behind: show what would be done, and end as `plan` does (4: changes
    /// are pending). The targets are asked for the marks of changes
    #[arg(long)]
    check: bool,
    /// Profiles of changes that are active, with commas between them
    #[arg(long = "active", value_delimiter = ',', value_name = "PROFILES")]
    profiles: Vec<String>,
    /// How long to wait while another runner works
    #[arg(long, default_value = "3m", value_parser = humantime::parse_duration, value_name = "DURATION")]
    wait: Duration,
    /// How long the lock outlives this program if it dies
    #[arg(long, default_value = "60s", value_parser = humantime::parse_duration, value_name = "DURATION")]
    lease: Duration,
    /// How long the running change may still take after Ctrl-C or SIGTERM, before it is cut off. A transaction is
    /// rolled back then; outside one the change is not, and a person decides. Where a platform ends processes: less than it
    /// leaves them
    #[arg(long, default_value = "24h", value_parser = humantime::parse_duration, value_name = "DURATION")]
    grace: Duration,
}

impl Apply {
    pub async fn run(self, context: &Context) -> Outcome {
        let stages = pipeline::stages(&self.directory)?;
        let (server, token) = context.credentials()?;
        let wanted = context.wanted()?;
        let named = |name: Option<String>, what: &str| {
            name.ok_or_else(|| {
                Failure::usage(format!("no {what} is named"))
                    .hint(format!("name it with --{what}, or in the profile"))
            })
        };
        let mut builder = Flamingock::builder(server)
            .token(token)
            .environment(named(wanted.environment, "environment")?)
            .service(named(wanted.service, "service")?)
            .application_version(concat!("flamingock apply ", env!("CARGO_PKG_VERSION")))
            .profiles(self.profiles)
            .wait_for_lock(self.wait)
            .lease(self.lease)
            .stop_grace(self.grace)
            .log_report(false);
        builder = targets::add(builder, &self.targets)?;
        for stage in stages {
            builder = builder.stage(stage);
        }
        let application = builder.build().map_err(pipeline::unbuildable)?;
        if self.check {
            return check(context, &application).await;
        }
        progress::show();
        match run(&application).await? {
            Ok(report) => {
                show(context, &report)?;
                Ok(Exit::Ok)
            }
            Err(error) => {
                // Without any stage begun there is nothing to see but the error.
                if error
                    .report()
                    .stages
                    .iter()
                    .any(|stage| stage.state != StageState::NotStarted)
                    || context.out.is_json()
                {
                    show(context, error.report())?;
                }
                Err(failure(&error))
            }
        }
    }
}

async fn check(context: &Context, application: &Flamingock) -> Outcome {
    match application.preview().await {
        Ok(Some(preview)) => plan::tell(context, &preview, false),
        // Nothing here switches it off.
        Ok(None) => Err(Failure::failed("nothing was asked")),
        Err(error) => Err(failure(&error)),
    }
}

/// Runs until it ends, or is asked to: after the first Ctrl-C or SIGTERM as soon as the running change has ended, after the
/// second at once. The failure is that of the second.
async fn run(application: &Flamingock) -> Result<Result<Report, StartError>, Failure> {
    let (tell, told) = tokio::sync::oneshot::channel();
    let twice = async {
        asked_to_end().await;
        anstream::eprintln!(
            "{WARN}Stopping{WARN:#} as soon as the running change has ended; its result is reported, and the lock given \
             back. Ctrl-C once more stops in the middle of it."
        );
        // Where nobody listens any more, it is ending already.
        let _ = tell.send(());
        asked_to_end().await;
    };
    let once = async {
        if told.await.is_err() {
            std::future::pending::<()>().await;
        }
    };
    tokio::select! {
        biased;
        () = twice => Err(Failure::failed(
            "stopped in the middle: what became of the running change is not known",
        )
        .hint("the lock ends with its lease; `flamingock explain` says then how things stand")),
        ended = application.run_until(once) => Ok(ended),
    }
}

/// Where signals cannot be heard, the system's own way stays: they end the process.
async fn asked_to_end() {
    match flamingock::shutdown_signal() {
        Ok(signal) => signal.await,
        Err(_) => std::future::pending().await,
    }
}

fn failure(error: &StartError) -> Failure {
    let report = error.report();
    let exit = match error.kind() {
        _ if error.is_stopped_by_policy() || error.is_manual_intervention() => Exit::NeedsPerson,
        StartErrorKind::PendingChanges { .. } => Exit::Pending,
        StartErrorKind::Interrupted if report.failed_changes == 0 => Exit::Pending,
        StartErrorKind::LockUnavailable { .. } => Exit::LockHeld,
        StartErrorKind::Server(error)
            if error.is_unanswered() || matches!(error.status(), Some(429 | 502..=504)) =>
        {
            Exit::Unreachable
        }
        _ => Exit::Failed,
    };
    let message = match &report.error {
        Some(_) if error.is_interrupted() => "it was stopped before all changes were applied".to_owned(),
        Some(error) => error.message.clone(),
        None => report.one_line(),
    };
    // The SDK speaks to whoever builds an application; where that is not what stands in the way here, in our own words.
    let hint = match error.kind() {
        StartErrorKind::PendingChanges { .. } => "`flamingock apply` without --check applies them".to_owned(),
        StartErrorKind::Interrupted => "`flamingock apply` goes on where it stopped".to_owned(),
        StartErrorKind::LockUnavailable { holder, .. } => {
            format!(
                "wait until {holder} has finished, or raise --wait; `flamingock lock list` shows who holds what"
            )
        }
        StartErrorKind::Server(error) if error.status() == Some(403) => {
            "`apply` needs a token with the role runner or admin for this environment and service".to_owned()
        }
        _ => error.next_steps(),
    };
    Failure::with(exit, message).hint(hint)
}

fn show(context: &Context, report: &Report) -> Result<(), Failure> {
    if context.out.is_json() {
        return context.out.json(report);
    }
    context.out.print(&sheet(report))
}

fn sheet(report: &Report) -> String {
    let mut sheet = Sheet::default();
    let (word, style) = match report.status {
        RunStatus::Success => ("Applied", GOOD),
        RunStatus::NoChanges => ("Up to date", GOOD),
        _ => ("Failed", BAD),
    };
    let took = i64::try_from(report.total_duration_ms).unwrap_or(i64::MAX);
    sheet.title(word, style, &format!("after {}", time::millis(took)));
    sheet.fact(
        "changes",
        format!(
            "{} applied now, {} before, {} failed, {} not reached",
            report.applied_changes,
            report.already_applied_changes,
            report.failed_changes,
            report.not_reached_changes
        ),
    );
    let mut table = Table::new(&["STAGE", "CHANGE", "TARGET", "RESULT", "TOOK"]);
    for stage in &report.stages {
        add_rows(&mut table, stage);
    }
    if !table.is_empty() {
        sheet.section("Changes");
        sheet.table(&table);
    }
    for stage in &report.stages {
        for change in &stage.changes {
            if let Some(error) = &change.error {
                sheet.section(&format!("Error of {}", text::safe(&change.change_id, false)));
                sheet.paragraph(&text::safe(&error.message, true));
            }
        }
    }
    sheet.into_text()
}

/// What was applied before is counted, and not listed.
fn add_rows(table: &mut Table, stage: &StageReport) {
    for change in &stage.changes {
        let result = match change.status {
            ChangeStatus::AlreadyApplied => continue,
            ChangeStatus::Applied => Cell::styled("applied", GOOD),
            ChangeStatus::Failed => Cell::styled("failed", BAD),
            ChangeStatus::RolledBack => Cell::styled("failed, rolled back", WARN),
            ChangeStatus::NotReached => Cell::styled("not reached", DIM),
            _ => Cell::from("unknown"),
        };
        let took = i64::try_from(change.duration_ms).unwrap_or(i64::MAX);
        table.row([
            text::safe(&stage.name, false).into(),
            Cell::styled(text::safe(&change.change_id, false), BOLD),
            text::safe(&change.target_system_id, false).into(),
            result,
            time::millis(took).into(),
        ]);
    }
}
