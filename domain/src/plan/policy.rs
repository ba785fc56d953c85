//! Policies of an environment: they refuse a start that the plan would allow, or warn of it. They never change a plan.
//!
//! What a freeze, a missing approval or a change out of order stops is work: a pipeline that is fully applied starts
//! whatever they say. Only the content of applied changes is judged there too.

use std::collections::{HashMap, HashSet};

use super::outcome::{Action, Plan, PlanAction};
use crate::ids::{ChangeId, Checksum};
use crate::pipeline::{Change, Pipeline};
use crate::time::Timestamp;

/// What a policy does where it finds something.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Mode {
    /// It does not look.
    #[default]
    Allow,
    Warn,
    Refuse,
}

/// The policies of one environment. By default none of them looks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Policy {
    /// An applied change is submitted with another checksum than it was applied with.
    pub checksum_mismatch: Mode,
    /// A pending change stands before an applied one of its stage.
    pub out_of_order: Mode,
    /// A pending change waits for somebody else than its author.
    pub approval_required: bool,
}

impl Policy {
    /// Names, of all revisions, the one that a pipeline with nothing left to do is judged by. Where checksums are not
    /// compared, none of them has a say in that.
    pub fn key(self, revision: i64) -> i64 {
        match self.checksum_mismatch {
            Mode::Allow => 0,
            Mode::Warn | Mode::Refuse => revision,
        }
    }
}

/// A time in which no work is granted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Freeze {
    pub id: i64,
    pub starts_at: Timestamp,
    /// `None`: until a person ends it.
    pub ends_at: Option<Timestamp>,
    pub reason: String,
}

impl Freeze {
    pub fn is_open(&self, now: Timestamp) -> bool {
        self.starts_at <= now && self.ends_at.is_none_or(|end| now < end)
    }
}

/// Somebody's word that a change of this content may run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Approval {
    pub change: ChangeId,
    /// `None`: given for a change without one, whatever it contains.
    pub checksum: Option<Checksum>,
    pub approver: Approver,
}

/// Who approved: a credential, and the name that it goes by.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Approver {
    pub credential: Option<i64>,
    pub name: Option<String>,
}

impl Approver {
    /// Whether this is the author that a change names, as far as names can tell.
    pub fn is_author(&self, author: Option<&str>) -> bool {
        let same = |name: &str, author: &str| {
            let (name, author) = (name.trim(), author.trim());
            !author.is_empty() && name.to_lowercase() == author.to_lowercase()
        };
        matches!((&self.name, author), (Some(name), Some(author)) if same(name, author))
    }
}

/// Everything that the policies' judgement of a plan depends on.
#[derive(Clone, Copy, Debug)]
pub struct PolicyInput<'a> {
    pub policy: Policy,
    pub pipeline: &'a Pipeline,
    pub plan: &'a Plan,
    /// Checksums accepted for changes that are applied now. A change that is not in it was applied without one.
    pub accepted: &'a HashMap<ChangeId, Vec<Checksum>>,
    /// Approvals that were not taken back.
    pub approvals: &'a [Approval],
    /// Those that may be open.
    pub freezes: &'a [Freeze],
    /// The credential that asks for the plan; its own approvals do not count. `None`: nobody in particular.
    pub credential: Option<i64>,
    /// The run was granted work before. It began before the freeze did, and is not left half done for its sake.
    pub run_under_way: bool,
    pub now: Timestamp,
}

/// What a policy found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    pub what: Found,
    /// The start is refused; else this is a warning.
    pub stops: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Found {
    ChecksumMismatch {
        change: ChangeId,
        submitted: Checksum,
        /// One of those that are accepted.
        accepted: Checksum,
    },
    OutOfOrder {
        change: ChangeId,
        /// The first applied change behind it.
        before: ChangeId,
    },
    ApprovalMissing {
        change: ChangeId,
        checksum: Option<Checksum>,
        author: Option<String>,
        /// It was approved, but only by its author or by the credential that runs it.
        only_by_author: bool,
    },
    Frozen(Freeze),
}

/// Judges a plan. Empty for `AWAIT` and `ABORT`: the one is judged when its turn comes, the other runs nothing anyway.
pub fn judge(input: &PolicyInput<'_>) -> Vec<Finding> {
    let mut found = Vec::new();
    let is_execute = match &input.plan.action {
        PlanAction::Await { .. } | PlanAction::Abort => return found,
        PlanAction::Continue => false,
        PlanAction::Execute { .. } => true,
    };
    if input.policy.checksum_mismatch != Mode::Allow {
        find_mismatches(input, &mut found);
    }
    if is_execute {
        if input.policy.out_of_order != Mode::Allow {
            find_out_of_order(input, &mut found);
        }
        if input.policy.approval_required {
            find_unapproved(input, &mut found);
        }
        let open = input.freezes.iter().filter(|freeze| freeze.is_open(input.now));
        found.extend(open.filter(|_| !input.run_under_way).map(|freeze| Finding {
            what: Found::Frozen(freeze.clone()),
            stops: true,
        }));
    }
    found
}

pub fn stops(findings: &[Finding]) -> bool {
    findings.iter().any(|finding| finding.stops)
}

/// Whether a submitted checksum contradicts those that are accepted: there is one of its algorithm, and it is none of
/// them. Another algorithm proves nothing.
pub fn contradicts<'a>(submitted: &Checksum, accepted: &'a [Checksum]) -> Option<&'a Checksum> {
    if accepted.contains(submitted) {
        return None;
    }
    let mut comparable = accepted
        .iter()
        .filter(|known| known.algorithm() == submitted.algorithm());
    comparable.next_back()
}

/// Whether a submitted checksum of an applied change passed without being known: the comparison would come out differently
/// once one is recorded, which moves neither the audit's head nor the policy.
pub fn leans_on_absence(input: &PolicyInput<'_>) -> bool {
    if input.policy.checksum_mismatch == Mode::Allow {
        return false;
    }
    let skipped = ids(input.plan, |action| action == Action::Skip);
    input.pipeline.changes().any(|change| {
        change.checksum.as_ref().is_some_and(|submitted| {
            let is_known = input
                .accepted
                .get(&change.id)
                .is_some_and(|accepted| accepted.contains(submitted));
            !is_known && skipped.contains(&change.id)
        })
    })
}

fn find_mismatches(input: &PolicyInput<'_>, found: &mut Vec<Finding>) {
    if input.accepted.is_empty() {
        return;
    }
    let skipped = ids(input.plan, |action| action == Action::Skip);
    let mut seen = HashSet::new();
    for change in input.pipeline.changes() {
        let (Some(submitted), Some(accepted)) = (&change.checksum, input.accepted.get(&change.id)) else {
            continue;
        };
        let Some(accepted) = contradicts(submitted, accepted) else {
            continue;
        };
        if skipped.contains(&change.id) && seen.insert(&change.id) {
            found.push(Finding {
                what: Found::ChecksumMismatch {
                    change: change.id.clone(),
                    submitted: submitted.clone(),
                    accepted: accepted.clone(),
                },
                stops: input.policy.checksum_mismatch == Mode::Refuse,
            });
        }
    }
}

/// The list of a stage is the order in which every client generation carries it out; so it is the order meant here,
/// whatever the changes' own `order` texts say.
fn find_out_of_order(input: &PolicyInput<'_>, found: &mut Vec<Finding>) {
    let submitted = submitted(input.pipeline);
    let approvals = Approvals::of(input);
    let is_approved = |id: &ChangeId| {
        let change = submitted.get(id);
        change.is_some_and(|change| approvals.standing(change) == Standing::Approved)
    };
    let mut seen = HashSet::new();
    for stage in &input.plan.findings {
        let mut behind = None;
        let mut of_stage = Vec::new();
        for change in stage.changes.iter().rev() {
            match (change.action, behind) {
                (Action::Skip, _) => behind = Some(&change.id),
                (Action::Apply, Some(before)) if !is_approved(&change.id) && seen.insert(&change.id) => {
                    of_stage.push(Finding {
                        what: Found::OutOfOrder {
                            change: change.id.clone(),
                            before: before.clone(),
                        },
                        stops: input.policy.out_of_order == Mode::Refuse,
                    });
                }
                // What a probe settles is judged when the next plan offers it.
                (Action::Apply | Action::ManualIntervention | Action::Withhold | Action::Probe { .. }, _) => {
                }
            }
        }
        found.extend(of_stage.into_iter().rev());
    }
}

/// All that is pending, in later blocks too: a run that must stop half way is better not begun.
fn find_unapproved(input: &PolicyInput<'_>, found: &mut Vec<Finding>) {
    let pending = ids(input.plan, |action| action == Action::Apply);
    let approvals = Approvals::of(input);
    let mut seen = HashSet::new();
    for change in input.pipeline.changes() {
        if !pending.contains(&change.id) || !seen.insert(&change.id) {
            continue;
        }
        let only_by_author = match approvals.standing(change) {
            Standing::Approved => continue,
            Standing::OnlyByAuthor => true,
            Standing::Missing => false,
        };
        found.push(Finding {
            what: Found::ApprovalMissing {
                change: change.id.clone(),
                checksum: change.checksum.clone(),
                author: change.author.clone(),
                only_by_author,
            },
            stops: true,
        });
    }
}

#[derive(PartialEq, Eq)]
enum Standing {
    Approved,
    OnlyByAuthor,
    Missing,
}

/// The approvals by their change: a pipeline may have very many of both.
struct Approvals<'a> {
    of: HashMap<&'a ChangeId, Vec<&'a Approval>>,
    credential: Option<i64>,
}

impl<'a> Approvals<'a> {
    fn of(input: &PolicyInput<'a>) -> Self {
        let mut of: HashMap<_, Vec<_>> = HashMap::new();
        for approval in input.approvals {
            of.entry(&approval.change).or_default().push(approval);
        }
        Self {
            of,
            credential: input.credential,
        }
    }

    fn standing(&self, change: &Change) -> Standing {
        let given = self.of.get(&change.id).into_iter().flatten();
        let mut given = given
            .filter(|approval| approval.checksum == change.checksum)
            .peekable();
        if given.peek().is_none() {
            return Standing::Missing;
        }
        let is_somebody_else = |approver: &Approver| {
            let runs_it = approver.credential.is_some() && approver.credential == self.credential;
            !runs_it && !approver.is_author(change.author.as_deref())
        };
        if given.any(|approval| is_somebody_else(&approval.approver)) {
            Standing::Approved
        } else {
            Standing::OnlyByAuthor
        }
    }
}

fn ids(plan: &Plan, wanted: impl Fn(Action) -> bool) -> HashSet<&ChangeId> {
    let changes = plan.findings.iter().flat_map(|stage| &stage.changes);
    changes
        .filter(|change| wanted(change.action))
        .map(|change| &change.id)
        .collect()
}

/// A change by its id, as it was submitted first.
fn submitted(pipeline: &Pipeline) -> HashMap<&ChangeId, &Change> {
    let mut known = HashMap::new();
    for change in pipeline.changes() {
        known.entry(&change.id).or_insert(change);
    }
    known
}
