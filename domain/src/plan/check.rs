//! What must be true of any plan, checked on the finished plan without the rules that made it.
//!
//! The oracle of the property tests. Plain rather than fast: quadratic in places, so not for the request path. An
//! inconsistent plan runs something twice, or never, or strands a lock.

use std::collections::{HashMap, HashSet};

use super::inconsistency::{Inconsistency, Inconsistency as I};
use super::{
    Action, ChangeFinding, ChangeReason, OfferedStage, Plan, PlanAction, PlanInput, PlanReason, StageFinding,
    Verdict,
};
use crate::audit::{AuditState, ChangeState};
use crate::ids::{ChangeId, Fence, Seq, StageName};
use crate::lock::{GrantKind, Lease, Standing, standing};
use crate::pipeline::{Block, Mark, ReportedChange, ReportedStage, Stage};

/// Everything that is wrong with the plan. Empty for every plan that [`plan`](super::plan) makes.
pub fn check(input: &PlanInput<'_>, plan: &Plan) -> Vec<Inconsistency> {
    let facts = Facts::of(input, plan);
    let mut found = Vec::new();
    facts.check_findings(&mut found);
    facts.check_marks(&mut found);
    match &plan.action {
        PlanAction::Continue => facts.check_continue(&mut found),
        PlanAction::Abort => facts.check_abort(&mut found),
        PlanAction::Await { holder } => facts.check_await(holder, &mut found),
        PlanAction::Execute { kind, fence, stages } => {
            facts.check_grant(*kind, *fence, &mut found);
            facts.check_offer(stages, &mut found);
        }
    }
    found
}

struct Facts<'a> {
    input: &'a PlanInput<'a>,
    plan: &'a Plan,
    standing: Standing,
    /// Applied in the log, derived entries of this plan included.
    applied: HashSet<&'a ChangeId>,
    /// Reported failed or rolled back, and reported applied, wherever the change stands.
    failed: HashSet<&'a ChangeId>,
    reported_applied: HashSet<&'a ChangeId>,
    /// In a stage that is reported completed under a name of its own, and under a name that repeats.
    completed: HashSet<&'a ChangeId>,
    doubtful: HashSet<&'a ChangeId>,
    findings: HashMap<&'a ChangeId, &'a ChangeFinding>,
    /// The submitted changes of each name, each once, in order of first appearance.
    by_name: Vec<(&'a StageName, Vec<&'a ChangeId>)>,
}

impl<'a> Facts<'a> {
    fn of(input: &'a PlanInput<'a>, plan: &'a Plan) -> Self {
        let recorded = input
            .states
            .iter()
            .filter(|(_, it)| is_applied(it.state))
            .map(|(id, _)| id);
        let derived = plan
            .derived
            .iter()
            .filter(|it| it.state == AuditState::Applied)
            .map(|it| &it.id);
        let all = plan.findings.iter().flat_map(|stage| &stage.changes);
        let reported = |these: fn(ReportedChange) -> bool| {
            let those = input
                .pipeline
                .changes()
                .filter(move |change| change.reported.is_some_and(these));
            those.map(|change| &change.id).collect::<HashSet<_>>()
        };
        let names_itself =
            |stage: &Stage| input.pipeline.stages().filter(|it| it.name == stage.name).count() == 1;
        let completed = |alone: bool| {
            let stages = input
                .pipeline
                .stages()
                .filter(|it| it.reported == Some(ReportedStage::Completed));
            let stages = stages.filter(move |stage| names_itself(stage) == alone);
            stages
                .flat_map(|stage| &stage.changes)
                .map(|change| &change.id)
                .collect::<HashSet<_>>()
        };
        let (completed, doubtful) = (completed(true), completed(false));
        Self {
            input,
            plan,
            failed: reported(|it| matches!(it, ReportedChange::Failed | ReportedChange::RolledBack)),
            reported_applied: reported(|it| it == ReportedChange::Applied),
            doubtful: doubtful.difference(&completed).copied().collect(),
            completed,
            standing: standing(&input.claim),
            applied: recorded.chain(derived).collect(),
            findings: all.map(|finding| (&finding.id, finding)).collect(),
            by_name: by_name(input.pipeline.stages()),
        }
    }

    fn action(&self, id: &ChangeId) -> Option<Action> {
        self.findings.get(id).map(|finding| finding.action)
    }

    /// The entry named is the latest, leaves the outcome open, is not of the runner's own attempt, and the runner can ask the change wherever it stands.
    fn is_in_doubt(&self, id: &ChangeId, about: Seq) -> bool {
        let latest = self.input.states.get(id);
        latest
            .is_some_and(|it| it.seq == about && matches!(it.state, AuditState::Started | AuditState::Failed))
            && latest
                .and_then(|it| it.execution)
                .is_none_or(|id| !self.input.own_attempts.contains(&id))
            && self
                .input
                .pipeline
                .changes()
                .filter(|change| change.id == *id)
                .all(|change| change.has_probe && (change.mark != Mark::Applied || !self.marks_count()))
    }

    /// While another runner holds the lock no mark is looked at: the findings say what the log alone does, and nothing is
    /// offered.
    fn marks_count(&self) -> bool {
        self.standing != Standing::Other
    }

    fn is_open(&self, id: &ChangeId) -> bool {
        matches!(
            self.action(id),
            Some(Action::Apply | Action::ManualIntervention | Action::Probe { .. })
        )
    }

    /// Cause to call its stage failed: the runner does not say that it is applied, and an execution of this run left it
    /// undone, or it stands in a stage whose `COMPLETED` may be another's. Against a `COMPLETED` that is its own, only
    /// a recorded failure counts.
    fn is_unfinished(&self, id: &ChangeId) -> bool {
        use AuditState::{Failed, RollbackFailed, RolledBack};
        if self.applied.contains(id) || self.reported_applied.contains(id) {
            return false;
        }
        let is_of_run = |id| self.input.executions_of_run.contains(&id);
        let latest = self
            .input
            .states
            .get(id)
            .filter(|latest| latest.execution.is_some_and(is_of_run));
        let is_failure = |latest: &ChangeState| matches!(latest.state, Failed | RollbackFailed | RolledBack);
        self.doubtful.contains(id)
            || latest.is_some_and(|latest| !self.completed.contains(id) || is_failure(latest))
    }

    /// Whether a submitted stage itself gives cause to call it failed in this run.
    fn has_failed(&self, stage: &Stage) -> bool {
        matches!(
            stage.reported,
            Some(ReportedStage::Failed | ReportedStage::Blocked)
        ) || stage
            .changes
            .iter()
            .map(|change| &change.id)
            .any(|id| self.failed.contains(id) || self.is_unfinished(id))
    }

    /// Failed itself, or closed because it shares a change with a failed one.
    fn is_closed(&self, stage: &Stage) -> bool {
        let same_name = || self.input.pipeline.stages().filter(|it| it.name == stage.name);
        same_name().any(|it| self.has_failed(it))
            || same_name()
                .flat_map(|it| &it.changes)
                .any(|it| self.action(&it.id) == Some(Action::Withhold))
    }

    fn check_findings(&self, found: &mut Vec<Inconsistency>) {
        let names: Vec<_> = self.plan.findings.iter().map(|finding| &finding.name).collect();
        if names != self.by_name.iter().map(|(name, _)| *name).collect::<Vec<_>>() {
            found.push(I::FindingsMissStages);
        }
        for (finding, (_, ids)) in self.plan.findings.iter().zip(&self.by_name) {
            if finding
                .changes
                .iter()
                .map(|change| &change.id)
                .collect::<Vec<_>>()
                != *ids
            {
                found.push(I::FindingMissesChanges(finding.name.clone()));
            }
            self.check_finding(finding, found);
        }
        let count = |name: &StageName| self.input.pipeline.stages().filter(|it| it.name == *name).count();
        let repeated = self
            .by_name
            .iter()
            .map(|(name, _)| *name)
            .filter(|name| count(name) > 1);
        if !self.plan.repeated_stages.iter().eq(repeated) {
            found.push(I::WrongRepeatedStages);
        }
    }

    fn check_finding(&self, stage: &StageFinding, found: &mut Vec<Inconsistency>) {
        let all_applied = stage
            .changes
            .iter()
            .all(|change| self.applied.contains(&change.id));
        if (stage.verdict == Verdict::UpToDate) != all_applied {
            found.push(I::WrongVerdict(stage.name.clone()));
        }
        for change in &stage.changes {
            let id = &change.id;
            if self.findings.get(id).is_some_and(|known| *known != change) {
                found.push(I::FindingsDisagree(id.clone()));
            }
            let is_applied = self.applied.contains(id);
            let is_believed = self.reported_applied.contains(id) || self.completed.contains(id);
            match change.action {
                Action::Skip if !is_applied && !is_believed => {
                    found.push(I::SkippedWithoutProof(id.clone()));
                }
                Action::Withhold if !self.input.pipeline.stages().any(|it| self.has_failed(it)) => {
                    found.push(I::WithheldWithoutFailure(id.clone()));
                }
                Action::Apply | Action::ManualIntervention | Action::Withhold | Action::Probe { .. }
                    if is_applied =>
                {
                    found.push(I::AppliesApplied(id.clone()));
                }
                Action::Probe { about } if !self.is_in_doubt(id, about) => {
                    found.push(I::ProbesKnown(id.clone()));
                }
                _ => {}
            }
        }
    }

    fn check_marks(&self, found: &mut Vec<Inconsistency>) {
        let plan = self.plan;
        let marks: Vec<_> = self
            .input
            .pipeline
            .changes()
            .filter(|it| it.mark != Mark::None)
            .collect();
        if self.standing == Standing::Other && (!plan.derived.is_empty() || plan.synchronized_marks) {
            found.push(I::TookMarksOfOther);
        }
        let mut seen = HashSet::new();
        for derived in &plan.derived {
            let mark = match derived.state {
                AuditState::Applied => Some(Mark::Applied),
                AuditState::RolledBack => Some(Mark::RolledBack),
                _ => None,
            };
            let is_marked = marks
                .iter()
                .any(|it| it.id == derived.id && Some(it.mark) == mark);
            let latest = self.input.states.get(&derived.id);
            let is_missing = latest.is_none_or(|latest| latest.state == AuditState::Started);
            let is_its_attempt = derived.execution == latest.and_then(|latest| latest.execution);
            if !(is_marked && is_missing && is_its_attempt && seen.insert(&derived.id)) {
                found.push(I::DerivedWithoutProof(derived.id.clone()));
            }
        }
        let contradicts = |finding: &&ChangeFinding| {
            matches!(
                finding.reason,
                ChangeReason::MarkContradictsPerson | ChangeReason::MarkContradictsRecord
            )
        };
        if plan.synchronized_marks && (marks.is_empty() || self.findings.values().any(contradicts)) {
            found.push(I::ClaimsMarks);
        }
    }

    fn check_continue(&self, found: &mut Vec<Inconsistency>) {
        if self.plan.reason != PlanReason::NothingToDo {
            found.push(I::WrongBlock);
        }
        if self.input.pipeline.stages().any(|stage| self.has_failed(stage)) {
            found.push(I::ContinuesAfterFailure);
        }
        let undone = self
            .findings
            .values()
            .filter(|finding| finding.action != Action::Skip);
        found.extend(undone.map(|finding| I::LeavesWork(finding.id.clone())));
    }

    fn check_abort(&self, found: &mut Vec<Inconsistency>) {
        let PlanReason::BlockFailed { block } = self.plan.reason else {
            return found.push(I::WrongBlock);
        };
        let Some(closed) = self.block(block, found) else {
            return;
        };
        if !closed.stages.iter().any(|stage| self.is_closed(stage)) {
            found.push(I::AbortsWithoutFailure);
        }
        let open = closed
            .stages
            .iter()
            .flat_map(|stage| &stage.changes)
            .filter(|it| self.is_open(&it.id));
        found.extend(open.map(|change| I::LeavesWork(change.id.clone())));
    }

    fn check_await(&self, holder: &Lease, found: &mut Vec<Inconsistency>) {
        let lease = self.input.claim.lock.and_then(|lock| lock.lease.as_ref());
        if self.standing != Standing::Other || lease != Some(holder) {
            found.push(I::WrongLock);
        }
        if self.plan.reason != PlanReason::HeldByOther {
            found.push(I::WrongBlock);
        }
        if !self.findings.values().any(|finding| self.is_open(&finding.id)) {
            found.push(I::NothingOffered);
        }
    }

    fn check_grant(&self, kind: GrantKind, fence: Fence, found: &mut Vec<Inconsistency>) {
        let expected = match self.standing {
            Standing::Free => Some(GrantKind::Fresh),
            Standing::Mine => Some(GrantKind::Renewal),
            Standing::OtherExpired => Some(GrantKind::TakeOver),
            Standing::Other => None,
        };
        let before = self.input.claim.lock.map_or(0, |lock| lock.fence);
        if expected != Some(kind) || fence <= before {
            found.push(I::WrongLock);
        }
    }

    fn check_offer(&self, offered: &[OfferedStage], found: &mut Vec<Inconsistency>) {
        let (PlanReason::WorkPending { block } | PlanReason::PersonNeeded { block }) = self.plan.reason
        else {
            return found.push(I::WrongBlock);
        };
        let Some(active) = self.block(block, found) else {
            return;
        };
        if offered.is_empty() {
            found.push(I::NothingOffered);
        }
        let before: usize = self.input.pipeline.blocks[..block]
            .iter()
            .map(|it| it.stages.len())
            .sum();
        let first = |name: &StageName| {
            active
                .stages
                .iter()
                .position(|it| it.name == *name)
                .map(|position| before + position)
        };
        let mut last = None;
        for stage in offered {
            if first(&stage.name) != Some(stage.order) || last.is_some_and(|last| last >= stage.order) {
                found.push(I::StageMisplaced(stage.name.clone()));
            }
            last = Some(stage.order);
            self.check_offered_stage(stage, active, found);
        }

        let mut taken = HashSet::new();
        for (id, action) in offered.iter().flat_map(|stage| &stage.changes) {
            if *action == Action::Apply && !taken.insert(id) {
                found.push(I::AppliedTwice(id.clone()));
            }
        }
        // A stage that shares an open change with an offered one may wait: both cannot have it at once.
        for stage in active.stages.iter().filter(|it| !self.is_closed(it)) {
            let is_offered = offered.iter().any(|it| it.name == stage.name);
            let open = || stage.changes.iter().filter(|change| self.is_open(&change.id));
            let shares = offered
                .iter()
                .flat_map(|it| &it.changes)
                .any(|(id, _)| self.is_open(id) && changes_named(&stage.name, active).contains(&id));
            if open().next().is_some() && !is_offered && !shares {
                found.push(I::StageForgotten(stage.name.clone()));
            }
        }
        let waits = |it: &OfferedStage| it.changes.iter().any(|(_, it)| *it == Action::ManualIntervention);
        if offered.iter().all(waits) != matches!(self.plan.reason, PlanReason::PersonNeeded { .. }) {
            found.push(I::WrongBlock);
        }
    }

    fn check_offered_stage(&self, stage: &OfferedStage, active: &Block, found: &mut Vec<Inconsistency>) {
        let submitted = active.stages.iter().filter(|it| it.name == stage.name);
        if submitted.clone().any(|it| self.has_failed(it))
            || submitted
                .clone()
                .all(|it| it.reported == Some(ReportedStage::Completed))
        {
            found.push(I::StageIsOver(stage.name.clone()));
        }
        let listed: Vec<_> = stage.changes.iter().map(|(id, _)| id).collect();
        if listed != changes_named(&stage.name, active) {
            found.push(I::OfferedListWrong(stage.name.clone()));
        }
        if stage.changes.iter().all(|(_, action)| *action == Action::Skip) {
            found.push(I::NothingToDo(stage.name.clone()));
        }
        for (id, action) in &stage.changes {
            if *action == Action::Withhold || self.action(id) != Some(*action) {
                found.push(I::OfferDisagrees(id.clone()));
            }
            let reported = submitted
                .clone()
                .flat_map(|it| &it.changes)
                .filter(|it| it.id == *id);
            let is_over = reported
                .filter_map(|it| it.reported)
                .any(|reported| reported != ReportedChange::AlreadyApplied);
            if is_over && *action != Action::Skip {
                found.push(I::OffersReported(id.clone()));
            }
        }
    }

    /// The block of the reason, if all before it is done and nothing failed there.
    fn block(&self, index: usize, found: &mut Vec<Inconsistency>) -> Option<&'a Block> {
        let blocks = &self.input.pipeline.blocks;
        let Some(block) = blocks.get(index) else {
            found.push(I::WrongBlock);
            return None;
        };
        let is_through = |stage: &Stage| {
            !self.is_closed(stage)
                && stage
                    .changes
                    .iter()
                    .all(|change| self.action(&change.id) == Some(Action::Skip))
        };
        if !blocks[..index]
            .iter()
            .flat_map(|block| &block.stages)
            .all(is_through)
        {
            found.push(I::WrongBlock);
        }
        Some(block)
    }
}

fn changes_named<'a>(name: &StageName, block: &'a Block) -> Vec<&'a ChangeId> {
    let mut named = by_name(block.stages.iter().filter(|stage| stage.name == *name));
    named.pop().map_or_else(Vec::new, |(_, ids)| ids)
}

fn is_applied(state: AuditState) -> bool {
    matches!(state, AuditState::Applied | AuditState::MarkedApplied)
}

fn by_name<'a>(stages: impl Iterator<Item = &'a Stage>) -> Vec<(&'a StageName, Vec<&'a ChangeId>)> {
    let mut names: Vec<(&StageName, Vec<&ChangeId>)> = Vec::new();
    for stage in stages {
        let at = names
            .iter()
            .position(|(name, _)| *name == &stage.name)
            .unwrap_or_else(|| {
                names.push((&stage.name, Vec::new()));
                names.len() - 1
            });
        for change in &stage.changes {
            if !names[at].1.contains(&&change.id) {
                names[at].1.push(&change.id);
            }
        }
    }
    names
}
