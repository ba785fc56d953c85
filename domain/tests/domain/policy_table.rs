//! What policies say to a plan: a table, and laws over arbitrary pipelines, states and policies.

use std::collections::HashMap;

use flamingock_domain::audit::{AuditState, States};
use flamingock_domain::ids::{ChangeId, Checksum, ExecutionId};
use flamingock_domain::lock::Claim;
use flamingock_domain::pipeline::Pipeline;
use flamingock_domain::plan::policy::{
    Approval, Approver, Finding, Found, Freeze, Mode, Policy, PolicyInput, contradicts, judge, stops,
};
use flamingock_domain::plan::{Action, Plan, PlanAction, PlanInput, Preview, Settings, plan, preview};
use proptest::prelude::*;

use crate::support::{GRACE, at, change_id, held_by, pipeline, runner_id, state_of};

fn checksum(text: &str) -> Checksum {
    Checksum::parse(text).expect("a checksum")
}

/// A pipeline with a history, and all that policies lean on.
#[derive(Clone, Debug)]
struct Case {
    pipeline: Pipeline,
    states: States,
    policy: Policy,
    accepted: HashMap<ChangeId, Vec<Checksum>>,
    approvals: Vec<Approval>,
    freezes: Vec<Freeze>,
    credential: Option<i64>,
    run_under_way: bool,
}

impl Case {
    /// A pipeline as text; changes of which `applied` names some.
    fn of(text: &str, applied: &[&str]) -> Self {
        let applied = applied.iter().enumerate();
        Self {
            pipeline: pipeline(text),
            states: applied
                .map(|(at, id)| {
                    (
                        change_id(id),
                        state_of(i64::try_from(at).expect("few") + 1, AuditState::Applied),
                    )
                })
                .collect(),
            policy: Policy::default(),
            accepted: HashMap::new(),
            approvals: Vec::new(),
            freezes: Vec::new(),
            credential: None,
            run_under_way: false,
        }
    }

    fn with(mut self, policy: Policy) -> Self {
        self.policy = policy;
        self
    }

    fn submitting(mut self, id: &str, checksum_of: &str, author: Option<&str>) -> Self {
        let stages = self
            .pipeline
            .blocks
            .iter_mut()
            .flat_map(|block| &mut block.stages);
        for change in stages.flat_map(|stage| &mut stage.changes) {
            if change.id.as_str() == id {
                change.checksum = Some(checksum(checksum_of));
                change.author = author.map(str::to_owned);
            }
        }
        self
    }

    fn accepting(mut self, id: &str, these: &[&str]) -> Self {
        self.accepted
            .insert(change_id(id), these.iter().map(|it| checksum(it)).collect());
        self
    }

    fn approved(mut self, id: &str, checksum_of: Option<&str>, credential: i64, name: &str) -> Self {
        self.approvals.push(Approval {
            change: change_id(id),
            checksum: checksum_of.map(checksum),
            approver: Approver {
                credential: Some(credential),
                name: Some(name.to_owned()),
            },
        });
        self
    }

    fn frozen(mut self, from: i64, until: Option<i64>) -> Self {
        self.freezes.push(Freeze {
            id: 1,
            starts_at: at(from),
            ends_at: until.map(at),
            reason: "because".to_owned(),
        });
        self
    }

    fn plan(&self, lock: Option<&flamingock_domain::lock::Lock>) -> Plan {
        plan(&PlanInput {
            pipeline: &self.pipeline,
            states: &self.states,
            claim: Claim {
                lock,
                runner: &runner_id("me"),
                proof: None,
                now: at(0),
                grace: GRACE,
            },
            executions_of_run: &[] as &[ExecutionId],
            own_attempts: &[],
            marks_seen: &HashMap::new(),
            settings: Settings::default(),
        })
    }

    fn judge(&self) -> Vec<Finding> {
        self.judge_plan(&self.plan(None))
    }

    fn judge_plan(&self, plan: &Plan) -> Vec<Finding> {
        judge(&PolicyInput {
            policy: self.policy,
            pipeline: &self.pipeline,
            plan,
            accepted: &self.accepted,
            approvals: &self.approvals,
            freezes: &self.freezes,
            credential: self.credential,
            run_under_way: self.run_under_way,
            now: at(0),
        })
    }

    /// `!` stops, `?` warns.
    fn words(&self) -> Vec<String> {
        let word = |finding: &Finding| {
            let what = match &finding.what {
                Found::ChecksumMismatch { change, .. } => format!("edited {change}"),
                Found::OutOfOrder { change, before } => format!("{change} before {before}"),
                Found::ApprovalMissing {
                    change,
                    only_by_author: false,
                    ..
                } => format!("unapproved {change}"),
                Found::ApprovalMissing { change, .. } => format!("self-approved {change}"),
                Found::Frozen(_) => "frozen".to_owned(),
            };
            format!("{}{what}", if finding.stops { "!" } else { "?" })
        };
        self.judge().iter().map(word).collect()
    }
}

const ORDER: Policy = Policy {
    checksum_mismatch: Mode::Allow,
    out_of_order: Mode::Refuse,
    approval_required: false,
};
const CHECKSUM: Policy = Policy {
    checksum_mismatch: Mode::Refuse,
    out_of_order: Mode::Allow,
    approval_required: false,
};
const APPROVAL: Policy = Policy {
    checksum_mismatch: Mode::Allow,
    out_of_order: Mode::Allow,
    approval_required: true,
};

#[test]
fn the_table_of_findings() {
    let warn = |policy: Policy| Policy {
        checksum_mismatch: if policy.checksum_mismatch == Mode::Allow {
            Mode::Allow
        } else {
            Mode::Warn
        },
        out_of_order: if policy.out_of_order == Mode::Allow {
            Mode::Allow
        } else {
            Mode::Warn
        },
        ..policy
    };
    let out = || Case::of("s: a, b, c\nt: d", &["b"]);
    let edited = || {
        Case::of("s: a", &["a"])
            .submitting("a", "v1:new", None)
            .accepting("a", &["v1:old"])
    };
    let pending = || Case::of("s: a, b", &["a"]).submitting("b", "v1:x", Some("mara"));
    let table: &[(&str, Case, &[&str])] = &[
        ("the default never looks", out(), &[]),
        (
            "a stands before b, c behind it, d elsewhere",
            out().with(ORDER),
            &["!a before b"],
        ),
        ("the same as a warning", out().with(warn(ORDER)), &["?a before b"]),
        (
            "the nearest is named",
            Case::of("s: a, b, c, d", &["c", "d"]).with(ORDER),
            &["!a before c", "!b before c"],
        ),
        (
            "an approved change may be out of order",
            out().with(ORDER).approved("a", None, 7, "ada"),
            &[],
        ),
        (
            "nothing is applied yet",
            Case::of("s: a, b", &[]).with(ORDER),
            &[],
        ),
        ("edited, and nobody looks", edited(), &[]),
        ("edited", edited().with(CHECKSUM), &["!edited a"]),
        (
            "edited, as a warning",
            edited().with(warn(CHECKSUM)),
            &["?edited a"],
        ),
        (
            "accepted beside the old one",
            edited().accepting("a", &["v1:old", "v1:new"]).with(CHECKSUM),
            &[],
        ),
        (
            "applied without a checksum",
            Case::of("s: a", &["a"])
                .submitting("a", "v1:x", None)
                .with(CHECKSUM),
            &[],
        ),
        (
            "another algorithm proves nothing",
            edited().accepting("a", &["v2:old"]).with(CHECKSUM),
            &[],
        ),
        (
            "a pending change has nothing to differ from",
            pending().accepting("b", &["v1:old"]).with(CHECKSUM),
            &[],
        ),
        ("waits for approval", pending().with(APPROVAL), &["!unapproved b"]),
        (
            "approved",
            pending().with(APPROVAL).approved("b", Some("v1:x"), 7, "ada"),
            &[],
        ),
        (
            "another content was approved",
            pending().with(APPROVAL).approved("b", Some("v1:y"), 7, "ada"),
            &["!unapproved b"],
        ),
        (
            "no content was approved",
            pending().with(APPROVAL).approved("b", None, 7, "ada"),
            &["!unapproved b"],
        ),
        (
            "another change was approved",
            pending().with(APPROVAL).approved("a", Some("v1:x"), 7, "ada"),
            &["!unapproved b"],
        ),
        (
            "by its author",
            pending().with(APPROVAL).approved("b", Some("v1:x"), 7, " MARA "),
            &["!self-approved b"],
        ),
        (
            "by its author and by somebody else",
            pending()
                .with(APPROVAL)
                .approved("b", Some("v1:x"), 7, "mara")
                .approved("b", Some("v1:x"), 8, "ada"),
            &[],
        ),
        (
            "by the credential that runs it",
            Case {
                credential: Some(7),
                ..pending().with(APPROVAL).approved("b", Some("v1:x"), 7, "ada")
            },
            &["!self-approved b"],
        ),
        ("frozen", Case::of("s: a", &[]).frozen(0, Some(1)), &["!frozen"]),
        (
            "frozen without end",
            Case::of("s: a", &[]).frozen(-9, None),
            &["!frozen"],
        ),
        (
            "it begins with its start and ends before its end",
            Case::of("s: a", &[]).frozen(-1, Some(0)),
            &[],
        ),
        ("not yet", Case::of("s: a", &[]).frozen(1, None), &[]),
        ("nothing to do", Case::of("s: a", &["a"]).frozen(-1, None), &[]),
        (
            "a run under way is not left half done",
            Case {
                run_under_way: true,
                ..Case::of("s: a", &[]).frozen(-1, None)
            },
            &[],
        ),
        (
            "a run under way still needs its approvals",
            Case {
                run_under_way: true,
                ..pending().with(APPROVAL).frozen(-1, None)
            },
            &["!unapproved b"],
        ),
        (
            "later blocks count",
            Case::of("s: a\n-- DEFAULT\nt: b", &[]).with(APPROVAL),
            &["!unapproved a", "!unapproved b"],
        ),
        (
            "a change in two stages is named once",
            Case::of("s: a\nt: a", &[]).with(APPROVAL),
            &["!unapproved a"],
        ),
    ];
    for (name, case, expected) in table {
        assert_eq!(case.words(), *expected, "{name}");
    }
}

#[test]
fn what_waits_for_another_runner_is_judged_when_its_turn_comes() {
    let policy = Policy {
        out_of_order: Mode::Refuse,
        ..APPROVAL
    };
    let case = Case::of("s: a, b", &["b"]).with(policy).frozen(-1, None);
    let lock = held_by("other", 3, at(60));
    let plan = case.plan(Some(&lock));
    assert!(matches!(plan.action, PlanAction::Await { .. }));
    assert_eq!(case.judge_plan(&plan), []);
}

#[test]
fn the_verdict_of_a_dry_run() {
    let pending = Case::of("s: a", &[]).plan(None);
    let done = Case::of("s: a", &["a"]).plan(None);
    let mut stuck = Case::of("s: a, b", &[]);
    stuck
        .states
        .insert(change_id("a"), state_of(1, AuditState::Started));
    let stuck = stuck.plan(None);
    // (plan, stopped, held) -> verdict
    for (plan, stopped, held, expected) in [
        (&done, false, false, Preview::UpToDate),
        (&done, false, true, Preview::UpToDate),
        (&done, true, false, Preview::StoppedByPolicy),
        (&done, true, true, Preview::StoppedByPolicy),
        (&pending, false, false, Preview::Pending),
        (&pending, false, true, Preview::Held),
        (&pending, true, false, Preview::StoppedByPolicy),
        (&pending, true, true, Preview::Held),
        (&stuck, false, false, Preview::NeedsPerson),
        (&stuck, false, true, Preview::Held),
        (&stuck, true, false, Preview::StoppedByPolicy),
    ] {
        assert_eq!(
            preview(plan, stopped, held),
            expected,
            "{:?} {stopped} {held}",
            plan.reason
        );
    }
}

#[test]
fn a_checksum_is_compared_within_its_algorithm() {
    let accepted = [checksum("v1:a"), checksum("v2:b")];
    for (submitted, differs_from) in [
        ("v1:a", None),
        ("v2:b", None),
        ("v1:x", Some("v1:a")),
        ("v2:x", Some("v2:b")),
        ("v3:x", None),
    ] {
        let found = contradicts(&checksum(submitted), &accepted).map(Checksum::as_str);
        assert_eq!(found, differs_from, "{submitted}");
    }
    assert_eq!(
        contradicts(&checksum("bare"), &[checksum("other")]).map(Checksum::as_str),
        Some("other")
    );
}

fn any<T: Clone + std::fmt::Debug + 'static>(of: &[T]) -> impl Strategy<Value = T> + use<T> {
    prop::sample::select(of.to_vec())
}

fn arb_case() -> impl Strategy<Value = Case> {
    let mode = || any(&[Mode::Allow, Mode::Warn, Mode::Refuse]);
    let policy =
        (mode(), mode(), prop::bool::ANY).prop_map(|(checksum_mismatch, out_of_order, approval_required)| {
            Policy {
                checksum_mismatch,
                out_of_order,
                approval_required,
            }
        });
    let sum = || any(&["v1:a", "v1:b", "v2:a"]);
    let change = (
        0..6_usize,
        prop::option::of(sum()),
        any(&[None, Some("mara"), Some("ada")]),
    );
    let stages = prop::collection::vec(prop::collection::vec(change, 1..5), 1..4);
    let state = any(&[
        None,
        Some(AuditState::Applied),
        Some(AuditState::Applied),
        Some(AuditState::MarkedApplied),
        Some(AuditState::Started),
        Some(AuditState::RolledBack),
    ]);
    let history = prop::collection::vec(state, 6);
    let accepted = prop::collection::hash_map(0..6_usize, prop::collection::vec(sum(), 1..3), 0..6);
    let approvals = prop::collection::vec(
        (
            0..6_usize,
            prop::option::of(sum()),
            1..4_i64,
            any(&["mara", "ada"]),
        ),
        0..8,
    );
    let freezes = prop::collection::vec((-5..5_i64, prop::option::of(0..5_i64)), 0..3);
    let id = |index: usize| format!("change{index}");
    (
        (policy, stages, history),
        (accepted, approvals, freezes),
        (prop::option::of(1..4_i64), prop::bool::ANY),
    )
        .prop_map(
            move |(
                (policy, stages, history),
                (accepted, approvals, freezes),
                (credential, run_under_way),
            )| {
                let lines: Vec<String> = stages
                    .iter()
                    .enumerate()
                    .map(|(at, changes)| {
                        let ids: Vec<String> = changes.iter().map(|(index, ..)| id(*index)).collect();
                        format!("stage{at}: {}", ids.join(", "))
                    })
                    .collect();
                let mut case = Case::of(&lines.join("\n"), &[]).with(policy);
                let submitted = case
                    .pipeline
                    .blocks
                    .iter_mut()
                    .flat_map(|block| &mut block.stages);
                for (change, (_, sum, author)) in submitted
                    .flat_map(|stage| &mut stage.changes)
                    .zip(stages.iter().flatten())
                {
                    change.checksum = sum.map(checksum);
                    change.author = author.map(str::to_owned);
                }
                for (index, state) in history.into_iter().enumerate() {
                    if let Some(state) = state {
                        case.states.insert(
                            change_id(&id(index)),
                            state_of(i64::try_from(index).expect("few") + 1, state),
                        );
                    }
                }
                for (index, sums) in accepted {
                    case = case.accepting(&id(index), &sums);
                }
                for (index, sum, credential, name) in approvals {
                    case = case.approved(&id(index), sum, credential, name);
                }
                for (from, length) in freezes {
                    case = case.frozen(from, length.map(|length| from + length + 1));
                }
                Case {
                    credential,
                    run_under_way,
                    ..case
                }
            },
        )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1500))]

    #[test]
    fn a_pipeline_that_is_fully_applied_starts_unless_an_edited_change_is_refused(mut case in arb_case()) {
        for change in case.pipeline.changes() {
            case.states.insert(change.id.clone(), state_of(1, AuditState::Applied));
        }
        let findings = case.judge();
        let edited = |finding: &Finding| matches!(finding.what, Found::ChecksumMismatch { .. });
        prop_assert!(findings.iter().all(edited));
        if case.policy.checksum_mismatch != Mode::Refuse {
            prop_assert!(!stops(&findings));
        }
    }

    #[test]
    fn findings_are_about_what_the_plan_says_and_each_is_told_once(case in arb_case()) {
        let plan = case.plan(None);
        let findings = case.judge_plan(&plan);
        let action = |id: &ChangeId| {
            let mut changes = plan.findings.iter().flat_map(|stage| &stage.changes);
            changes.find(|change| change.id == *id).map(|change| change.action)
        };
        let mut seen = std::collections::HashSet::new();
        for finding in &findings {
            let (kind, id, wanted) = match &finding.what {
                Found::ChecksumMismatch { change, .. } => (0, change, Action::Skip),
                Found::OutOfOrder { change, .. } => (1, change, Action::Apply),
                Found::ApprovalMissing { change, .. } => (2, change, Action::Apply),
                Found::Frozen(_) => continue,
            };
            prop_assert_eq!(action(id), Some(wanted));
            prop_assert!(seen.insert((kind, id.clone())), "{} twice", id);
        }
    }

    #[test]
    fn what_allows_finds_nothing_and_what_warns_stops_nothing(case in arb_case()) {
        let allowing = Case { policy: Policy::default(), freezes: Vec::new(), ..case.clone() };
        prop_assert_eq!(allowing.judge(), []);
        let warning = Policy { checksum_mismatch: Mode::Warn, out_of_order: Mode::Warn, approval_required: false };
        let warning = Case { policy: warning, freezes: Vec::new(), ..case };
        prop_assert!(!stops(&warning.judge()));
    }

    #[test]
    fn approving_what_waits_lets_it_go_and_settles_its_order(case in arb_case()) {
        let mut approved = Case { freezes: Vec::new(), ..case };
        for change in approved.pipeline.clone().changes() {
            approved.approvals.push(Approval {
                change: change.id.clone(),
                checksum: change.checksum.clone(),
                approver: Approver { credential: Some(99), name: Some("somebody else".to_owned()) },
            });
        }
        let edited = |finding: &Finding| matches!(finding.what, Found::ChecksumMismatch { .. });
        prop_assert!(approved.judge().iter().all(edited));
    }

    #[test]
    fn a_stricter_policy_finds_no_less(case in arb_case()) {
        let strict = Policy { checksum_mismatch: Mode::Refuse, out_of_order: Mode::Refuse, approval_required: true };
        let stricter = Case { policy: strict, ..case.clone() }.judge();
        for finding in case.judge() {
            prop_assert!(stricter.iter().any(|other| other.what == finding.what));
        }
    }
}
