//! What a start would come to, without starting anything.

use std::path::PathBuf;

use clap::Args;
use flamingock::wire::execution::Verdict;
use flamingock::wire::preview::{PlanPreview, PreviewAction, PreviewVerdict};

use crate::context::Context;
use crate::failure::{Exit, Outcome};
use crate::output::{BAD, BOLD, DIM, GOOD, WARN};
use crate::sheet::Sheet;
use crate::table::{Cell, Table};
use crate::{pipeline, time};

#[derive(Debug, Args)]
pub struct Plan {
    /// The pipeline: a directory of change files, or a JSON file as an application submits it, or `-` for standard input
    #[arg(value_name = "FILE")]
    pipeline: PathBuf,
    /// Also show changes that are applied already
    #[arg(long)]
    all: bool,
}

impl Plan {
    pub async fn run(self, context: &Context) -> Outcome {
        let pipeline = pipeline::read(&self.pipeline)?;
        let admin = context.admin()?;
        let service = context.service(&admin).await?;
        let preview = admin.standing(service.scope).preview(&pipeline).await?;
        tell(context, &preview, self.all)
    }
}

pub fn tell(context: &Context, preview: &PlanPreview, all: bool) -> Outcome {
    if context.out.is_json() {
        context.out.json(preview)?;
    } else {
        context.out.print(&sheet(preview, all))?;
    }
    Ok(exit(preview.verdict))
}

/// What a verdict means for a script. A stop by policy is lifted by a person, like an issue.
pub fn exit(verdict: PreviewVerdict) -> Exit {
    match verdict {
        PreviewVerdict::UpToDate => Exit::Ok,
        PreviewVerdict::Pending => Exit::Pending,
        PreviewVerdict::NeedsPerson | PreviewVerdict::StoppedByPolicy => Exit::NeedsPerson,
        PreviewVerdict::Held => Exit::LockHeld,
        PreviewVerdict::Unknown => Exit::Failed,
    }
}

fn sheet(preview: &PlanPreview, all: bool) -> String {
    let mut sheet = Sheet::default();
    let (word, style) = match preview.verdict {
        PreviewVerdict::UpToDate => ("Up to date.", GOOD),
        PreviewVerdict::Pending => ("Pending.", WARN),
        PreviewVerdict::NeedsPerson => ("Needs a person.", BAD),
        PreviewVerdict::StoppedByPolicy => ("Stopped by policy.", BAD),
        PreviewVerdict::Held => ("Held.", WARN),
        PreviewVerdict::Unknown => ("Unknown.", DIM),
    };
    sheet.title(word, style, "");
    sheet.paragraph(&preview.message);
    if let Some(lock) = &preview.held_by {
        let until = lock
            .expires_at
            .map(|end| format!(", until {}", time::shown(end, preview.judged_at)));
        sheet.fact(
            "lock",
            format!("held by {}{}", lock.owner, until.unwrap_or_default()),
        );
    }
    let counts = preview.counts;
    sheet.fact(
        "changes",
        format!(
            "{} applied, {} pending, {} in progress, {} for a person",
            counts.applied, counts.pending, counts.in_progress, counts.needs_person
        ),
    );
    let mut table = Table::new(&["STAGE", "CHANGE", "ACTION", "WHY"]);
    for stage in &preview.stages {
        for change in &stage.changes {
            let action = match change.action {
                PreviewAction::Skip if !all => continue,
                PreviewAction::Skip => Cell::styled("skip", DIM),
                PreviewAction::Apply => Cell::styled("apply", BOLD),
                PreviewAction::ManualIntervention => Cell::styled("a person", BAD),
                PreviewAction::Probe => Cell::styled("ask its probe", WARN),
                PreviewAction::InProgress => Cell::styled("in progress", WARN),
                PreviewAction::Unknown => Cell::from("unknown"),
            };
            let stage_name = match stage.verdict {
                Verdict::NotEvaluated => format!("{} (not reached)", stage.name),
                _ => stage.name.clone(),
            };
            table.row([
                stage_name.into(),
                change.id.as_str().into(),
                action,
                change.message.as_str().into(),
            ]);
        }
    }
    if !table.is_empty() {
        sheet.section("Changes");
        sheet.table(&table);
    }
    if !preview.policy.is_empty() {
        sheet.section("Policies");
        for finding in &preview.policy {
            let stops = if finding.stops { "stops" } else { "warning" };
            sheet.item(&format!("{stops}: {}", finding.message));
        }
    }
    if !preview.missing_changes.is_empty() {
        sheet.section("Recorded, and not in this pipeline");
        for change in &preview.missing_changes {
            sheet.item(&format!("{} ({})", change.id, change.state));
        }
    }
    for stage in &preview.repeated_stages {
        sheet.paragraph(&format!(
            "The stage {stage} is there more than once: judged as one."
        ));
    }
    sheet.into_text()
}
