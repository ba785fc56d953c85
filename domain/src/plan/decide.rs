//! From the input to the plan.

use super::input::PlanInput;
use super::outcome::{
    Action, ChangeFinding, Derived, OfferedStage, Plan, PlanAction, PlanReason, StageFinding, Verdict,
};
use super::rules::{self, Judged, StageStanding, Step, Told};
use super::survey::{Named, Occurrence, Seen, Survey};
use crate::lock::{Acquire, Standing, acquire, standing};
use crate::pipeline::Mark;

/// Decides what the runner may do next.
///
/// Depends on its argument alone, so it may be asked twice: once without the lock, to find out that there is nothing to
/// do, and again in the transaction that took it.
pub fn plan(input: &PlanInput<'_>) -> Plan {
    let survey = Survey::of(input.pipeline);
    // A lock that is not to be had makes its holder's marks and `STARTED`s work in progress: the log alone speaks.
    let takes_marks = standing(&input.claim) != Standing::Other;
    let mut judged: Vec<Judged> = survey
        .changes
        .iter()
        .map(|seen| judge(input, seen, takes_marks))
        .collect();
    let failed = fail_stages(&survey, &mut judged);
    let run = Run {
        survey,
        judged,
        failed,
    };

    let step = rules::step(run.survey.blocks.iter().map(|block| {
        run.survey.occurrences[block.clone()]
            .iter()
            .map(|occurrence| run.standing(occurrence))
    }));
    let (action, reason) = match step {
        Step::Nothing => (PlanAction::Continue, PlanReason::NothingToDo),
        Step::Closed { block } => (PlanAction::Abort, PlanReason::BlockFailed { block }),
        Step::Work { block } => match acquire(&input.claim) {
            Acquire::HeldByOther { holder, .. } => (PlanAction::Await { holder }, PlanReason::HeldByOther),
            Acquire::Grant { kind, fence } => {
                let stages = run.offer(block);
                let reason = if stages.iter().all(waits_for_a_person) {
                    PlanReason::PersonNeeded { block }
                } else {
                    PlanReason::WorkPending { block }
                };
                (PlanAction::Execute { kind, fence, stages }, reason)
            }
        },
    };

    let repeated = run.survey.stages.iter().filter(|stage| stage.repeated);
    Plan {
        action,
        reason,
        findings: run.survey.stages.iter().map(|stage| run.finding(stage)).collect(),
        derived: run.derived(input),
        synchronized_marks: takes_marks && run.accounts_for_marks(),
        repeated_stages: repeated.map(|stage| stage.name.clone()).collect(),
    }
}

/// P1 to P3 for one change.
fn judge(input: &PlanInput<'_>, seen: &Seen<'_>, takes_marks: bool) -> Judged {
    let latest = input.states.get(seen.id);
    let by_mark = if takes_marks {
        // Looked up for the few that need it only: most changes have no mark.
        let is_applied = seen.mark == Mark::Applied;
        let first_seen = is_applied
            .then(|| input.marks_seen.get(seen.id).copied())
            .flatten();
        rules::with_mark(latest, seen.mark, first_seen, input.settings.trust_absent_marks)
    } else {
        Judged::by_log(latest)
    };
    let is_of_run = |id| input.executions_of_run.contains(&id);
    let left_by_run = latest
        .filter(|it| it.execution.is_some_and(is_of_run))
        .map(|it| it.state);
    let told = Told {
        reported: seen.reported,
        completion: seen.completion,
        left_by_run,
    };
    let is_own = latest
        .and_then(|it| it.execution)
        .is_some_and(|id| input.own_attempts.contains(&id));
    let by_probe = rules::with_probe(by_mark, latest, seen.has_probe, is_own);
    rules::with_report(by_probe, told)
}

/// Which merged stages have failed in this run; withholds all that is open in them.
///
/// A change that stands in two stages carries the failure of the one into the other, for it cannot be both withheld
/// and offered. Hence the work list.
fn fail_stages(survey: &Survey<'_>, judged: &mut [Judged]) -> Vec<bool> {
    let mut failed: Vec<bool> = survey.stages.iter().map(|stage| stage.reported_failed).collect();
    for (seen, judged) in survey.changes.iter().zip(judged.iter()) {
        if judged.fails_stage {
            seen.stages().for_each(|stage| failed[stage] = true);
        }
    }
    let mut spreading: Vec<usize> = (0..failed.len()).filter(|&stage| failed[stage]).collect();
    while let Some(stage) = spreading.pop() {
        for &change in &survey.stages[stage].changes {
            if !judged[change].is_open() {
                continue;
            }
            judged[change].withhold();
            for other in survey.changes[change].stages() {
                if !failed[other] {
                    failed[other] = true;
                    spreading.push(other);
                }
            }
        }
    }
    failed
}

fn waits_for_a_person(stage: &OfferedStage) -> bool {
    stage
        .changes
        .iter()
        .any(|&(_, action)| action == Action::ManualIntervention)
}

/// A judged pipeline. The three lists go by the survey's indexes.
struct Run<'a> {
    survey: Survey<'a>,
    judged: Vec<Judged>,
    failed: Vec<bool>,
}

impl Run<'_> {
    fn standing(&self, occurrence: &Occurrence) -> StageStanding {
        let open = || {
            self.survey
                .changes_of(occurrence)
                .any(|change| self.judged[change].is_open())
        };
        let failed = self.failed[occurrence.stage];
        rules::stage_standing(failed, !failed && open())
    }

    /// The pending stages of a block, one for each name, each with all its changes in this block.
    ///
    /// A stage that shares an open change with a stage offered before it waits for the next plan: listed twice, the
    /// change would run twice, and left out of the second list it would count as applied there before it is.
    fn offer(&self, block: usize) -> Vec<OfferedStage> {
        let block = self.survey.blocks[block].clone();
        let mut names: Vec<Offer> = Vec::new();
        let mut place = vec![None; self.survey.stages.len()];
        for order in block {
            let occurrence = &self.survey.occurrences[order];
            let at = *place[occurrence.stage].get_or_insert_with(|| {
                names.push(Offer {
                    stage: occurrence.stage,
                    order,
                    changes: Vec::new(),
                    pending: false,
                });
                names.len() - 1
            });
            names[at].changes.extend(self.survey.changes_of(occurrence));
            names[at].pending |= self.standing(occurrence) == StageStanding::Pending;
        }

        let mut taken = vec![false; self.survey.changes.len()];
        let mut listed_by = vec![None; self.survey.changes.len()];
        let mut offered = Vec::new();
        for offer in names {
            let open = || {
                offer
                    .changes
                    .iter()
                    .filter(|&&change| self.judged[change].is_open())
            };
            if !offer.pending || open().any(|&change| taken[change]) {
                continue;
            }
            open().for_each(|&change| taken[change] = true);
            let mut is_first = |change: usize| listed_by[change].replace(offer.stage) != Some(offer.stage);
            let changes = offer.changes.iter().copied().filter(|&change| is_first(change));
            let changes = changes
                .map(|change| (self.survey.changes[change].id.clone(), self.judged[change].action))
                .collect();
            let name = self.survey.stages[offer.stage].name.clone();
            offered.push(OfferedStage {
                name,
                order: offer.order,
                changes,
            });
        }
        offered
    }

    fn finding(&self, stage: &Named<'_>) -> StageFinding {
        let needs_work = stage.changes.iter().any(|&change| !self.judged[change].applied);
        let verdict = if needs_work {
            Verdict::NeedsWork
        } else {
            Verdict::UpToDate
        };
        let changes = stage.changes.iter().map(|&change| {
            let (seen, judged) = (&self.survey.changes[change], &self.judged[change]);
            ChangeFinding {
                id: seen.id.clone(),
                action: judged.action,
                status: rules::status(seen.reported, seen.completion, judged.applied),
                reason: judged.reason,
            }
        });
        StageFinding {
            name: stage.name.clone(),
            verdict,
            changes: changes.collect(),
        }
    }

    fn derived(&self, input: &PlanInput<'_>) -> Vec<Derived> {
        let both = self.survey.changes.iter().zip(&self.judged);
        both.filter_map(|(seen, judged)| {
            let state = judged.derived?;
            Some(Derived {
                id: seen.id.clone(),
                stage: self.survey.stages[seen.stage].name.clone(),
                state,
                execution: input.states.get(seen.id).and_then(|latest| latest.execution),
            })
        })
        .collect()
    }

    /// One flag speaks for all marks of the request: at "yes" the client clears every one.
    fn accounts_for_marks(&self) -> bool {
        let marked = || {
            self.survey
                .changes
                .iter()
                .zip(&self.judged)
                .filter(|(seen, _)| seen.mark != Mark::None)
        };
        marked().next().is_some() && marked().all(|(_, judged)| judged.accounted)
    }
}

/// A stage name of the active block, before its list is made.
struct Offer {
    stage: usize,
    order: usize,
    changes: Vec<usize>,
    pending: bool,
}
