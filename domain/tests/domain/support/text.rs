//! Text in, text out.

use flamingock_domain::pipeline::{
    Block, BlockType, Change, Mark, Pipeline, ReportedChange, ReportedStage, Stage,
};
use flamingock_domain::plan::{Action, ChangeStatus, Plan, PlanAction, Verdict};

use super::{change_id, stage_name};

/// Reads a pipeline: one stage a line, `-- SYSTEM` opens a block (the first may go without).
///
/// ```text
/// -- LEGACY
/// old COMPLETED: a=APPLIED, b *APPLIED, c=FAILED *ROLLED_BACK
/// ```
///
/// `?` behind its id says that the change has a probe; `=` gives what the runner reports of a change, `*` the mark found in the target system.
pub(crate) fn pipeline(text: &str) -> Pipeline {
    let mut blocks: Vec<Block> = Vec::new();
    for line in lines(text) {
        if let Some(kind) = line.strip_prefix("-- ") {
            blocks.push(Block {
                kind: block_type(kind),
                stages: Vec::new(),
            });
            continue;
        }
        if blocks.is_empty() {
            blocks.push(Block {
                kind: BlockType::Default,
                stages: Vec::new(),
            });
        }
        let (head, changes) = line.split_once(':').expect("a stage line has a colon");
        let (name, reported) = head
            .split_once(' ')
            .map_or((head, None), |(name, it)| (name, Some(it)));
        let changes = changes
            .split(',')
            .map(str::trim)
            .filter(|it| !it.is_empty())
            .map(change)
            .collect();
        let stage = Stage {
            name: stage_name(name),
            reported: reported.map(reported_stage),
            changes,
        };
        blocks.last_mut().expect("a block is open").stages.push(stage);
    }
    Pipeline { blocks }
}

fn change(text: &str) -> Change {
    let (text, mark) = text
        .split_once(" *")
        .map_or((text, Mark::None), |(text, it)| (text, mark(it)));
    let (id, reported) = text
        .split_once('=')
        .map_or((text, None), |(id, it)| (id, Some(it)));
    let (id, has_probe) = id.strip_suffix('?').map_or((id, false), |id| (id, true));
    Change {
        id: change_id(id),
        mark,
        reported: reported.map(reported_change),
        transactional: true,
        author: None,
        has_probe,
        takes_cursor: false,
        checksum: None,
    }
}

fn block_type(text: &str) -> BlockType {
    match text {
        "SYSTEM" => BlockType::System,
        "LEGACY" => BlockType::Legacy,
        "DEFAULT" => BlockType::Default,
        other => panic!("no block type: {other}"),
    }
}

pub(crate) fn mark(text: &str) -> Mark {
    match text {
        "NONE" => Mark::None,
        "APPLIED" => Mark::Applied,
        "ROLLED_BACK" => Mark::RolledBack,
        other => panic!("no mark: {other}"),
    }
}

pub(crate) fn reported_change(text: &str) -> ReportedChange {
    match text {
        "APPLIED" => ReportedChange::Applied,
        "ALREADY_APPLIED" => ReportedChange::AlreadyApplied,
        "FAILED" => ReportedChange::Failed,
        "ROLLED_BACK" => ReportedChange::RolledBack,
        other => panic!("no change report: {other}"),
    }
}

pub(crate) fn reported_stage(text: &str) -> ReportedStage {
    match text {
        "STARTED" => ReportedStage::Started,
        "COMPLETED" => ReportedStage::Completed,
        "FAILED" => ReportedStage::Failed,
        "BLOCKED" => ReportedStage::Blocked,
        other => panic!("no stage report: {other}"),
    }
}

/// Prints a plan.
///
/// ```text
/// EXECUTE, marks synchronized
/// do schema: a SKIP, b APPLY
/// schema NEEDS_WORK: a ALREADY_APPLIED, b NOT_REACHED
/// write a APPLIED
/// ```
pub(crate) fn show(plan: &Plan) -> String {
    let mut lines = vec![match &plan.action {
        PlanAction::Continue => "CONTINUE".to_owned(),
        PlanAction::Abort => "ABORT".to_owned(),
        PlanAction::Await { holder } => format!("AWAIT {}", holder.owner),
        PlanAction::Execute { .. } => "EXECUTE".to_owned(),
    }];
    if plan.synchronized_marks {
        lines[0].push_str(", marks synchronized");
    }
    if let PlanAction::Execute { stages, .. } = &plan.action {
        for stage in stages {
            let changes = stage
                .changes
                .iter()
                .map(|(id, action)| format!("{id} {}", action_text(*action)));
            lines.push(format!("do {}: {}", stage.name, list(changes)));
        }
    }
    for finding in &plan.findings {
        let changes = finding
            .changes
            .iter()
            .map(|it| format!("{} {}", it.id, status_text(it.status)));
        lines.push(
            format!(
                "{} {}: {}",
                finding.name,
                verdict_text(finding.verdict),
                list(changes)
            )
            .trim()
            .into(),
        );
    }
    lines.extend(
        plan.derived
            .iter()
            .map(|it| format!("write {} {}", it.id, it.state.as_wire())),
    );
    lines.join("\n")
}

fn list(items: impl Iterator<Item = String>) -> String {
    items.collect::<Vec<_>>().join(", ")
}

pub(crate) fn action_text(action: Action) -> &'static str {
    match action {
        Action::Apply => "APPLY",
        Action::Skip => "SKIP",
        Action::ManualIntervention => "MI",
        Action::Probe { .. } => "PROBE",
        Action::Withhold => "WITHHOLD",
    }
}

pub(crate) fn status_text(status: ChangeStatus) -> &'static str {
    match status {
        ChangeStatus::NotReached => "NOT_REACHED",
        ChangeStatus::Applied => "APPLIED",
        ChangeStatus::AlreadyApplied => "ALREADY_APPLIED",
        ChangeStatus::Failed => "FAILED",
        ChangeStatus::RolledBack => "ROLLED_BACK",
    }
}

pub(crate) fn verdict_text(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::NeedsWork => "NEEDS_WORK",
        Verdict::UpToDate => "UP_TO_DATE",
    }
}

/// The lines that say something, without their indentation.
pub(crate) fn lines(text: &str) -> impl Iterator<Item = &str> {
    text.lines().map(str::trim).filter(|line| !line.is_empty())
}

pub(crate) fn tidy(text: &str) -> String {
    lines(text).collect::<Vec<_>>().join("\n")
}

/// A line of a table, cut at its bars.
pub(crate) struct Row<'a> {
    pub(crate) line: &'a str,
    pub(crate) cells: Vec<&'a str>,
}

impl<'a> Row<'a> {
    fn cut(line: &'a str) -> Self {
        Self {
            line,
            cells: line.trim_matches('|').split('|').map(str::trim).collect(),
        }
    }
}

/// The rows of a table of text. Its first line is the heading; a line of dashes is none.
pub(crate) fn rows(text: &str) -> Vec<Row<'_>> {
    let is_row = |line: &&str| !line.chars().all(|c| matches!(c, '|' | '-' | ' '));
    let all: Vec<Row<'_>> = lines(text).filter(is_row).map(Row::cut).collect();
    let width = all.first().expect("a table has a heading").cells.len();
    for row in &all {
        assert_eq!(
            row.cells.len(),
            width,
            "this row has another width than the heading: {}",
            row.line
        );
    }
    all
}
