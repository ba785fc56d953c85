//! Which doubts a change's own probe may settle, and by whose word.

use flamingock_domain::audit::{
    AuditState, ChangeState, ProbeJudgement, ProbeRefusal, ProbeVerdict, Probed, ProbedUnder, RecordedProbe,
    RecoveryStrategy, Source, TxStrategy, is_acted_on, is_in_doubt, is_issue, judge_probe, repeats_probe,
    resolve,
};
use flamingock_domain::audit::{Resolution, ResolveRefusal};
use flamingock_domain::ids::{ExecutionId, Seq};
use flamingock_domain::lock::Lock;
use proptest::prelude::*;

use crate::support::{World, at, held_by, rows, runner_id, state_of};

// As in the tables of reports: execution 5 of runner `me`, fence 4, and a lease until second 60. The verdict is about entry 8. Execution 3
// was granted to `me` as well, every other one to `other`.
const VERDICTS: &str = "
| runner | lock           | echo | now | latest                   | verdict     | answer             |
| ------ | -------------- | ---- | --- | ------------------------ | ----------- | ------------------ |
| me     | me, fence 4    | -    | 0   | STARTED @8 of 2          | APPLIED     | Settle APPLIED     |
| me     | me, fence 4    | 4    | 59  | STARTED @8 of 2          | NOT_APPLIED | Settle ROLLED_BACK |
| me     | me, fence 4    | -    | 0   | STARTED @8 of 2          | UNKNOWN     | KeepDoubt          |
| me     | me, fence 4    | -    | 0   | FAILED @8 of 2           | APPLIED     | Settle APPLIED     |
| me     | me, fence 4    | -    | 0   | FAILED @8 of 2           | NOT_APPLIED | Settle ROLLED_BACK |
| me     | me, fence 4    | -    | 0   | STARTED @9 of 2          | APPLIED     | Outdated 9         |
| me     | me, fence 4    | -    | 0   | APPLIED @9 of 6          | NOT_APPLIED | Outdated 9         |
| me     | me, fence 4    | -    | 0   | APPLIED @8 of 2          | NOT_APPLIED | NotInDoubt APPLIED |
| me     | me, fence 4    | -    | 0   | ROLLED_BACK @8 of 2      | APPLIED     | NotInDoubt ROLLED_BACK |
| me     | me, fence 4    | -    | 0   | ROLLBACK_FAILED @8 of 2  | APPLIED     | NotInDoubt ROLLBACK_FAILED |
| me     | me, fence 4    | -    | 0   | ROLLBACK_FAILED @8 of 2  | UNKNOWN     | NotInDoubt ROLLBACK_FAILED |
| me     | me, fence 4    | -    | 0   | MANUAL_MARKED_AS_ROLLED_BACK @8 of 2 | APPLIED | NotInDoubt MANUAL_MARKED_AS_ROLLED_BACK |
| me     | me, fence 4    | -    | 0   | UNHEARD_OF @8 of 2       | APPLIED     | NotInDoubt UNKNOWN |
| me     | me, fence 4    | -    | 0   | none                     | APPLIED     | NotInDoubt nothing |
| me     | me, fence 4    | -    | 0   | STARTED @8 of 5          | NOT_APPLIED | OwnAttempt |
| me     | me, fence 4    | -    | 0   | STARTED @8 of 3          | NOT_APPLIED | OwnAttempt         |
| me     | me, fence 4    | -    | 0   | FAILED @8 of 3           | APPLIED     | OwnAttempt         |
| me     | me, fence 4    | -    | 0   | STARTED @8 of 3          | UNKNOWN     | OwnAttempt         |
| me     | me, fence 4    | -    | 0   | APPLIED @8 of 3          | NOT_APPLIED | NotInDoubt APPLIED |
| me     | me, fence 4    | -    | 0   | STARTED @9 of 3          | APPLIED     | Outdated 9         |
| me     | me, fence 5    | -    | 0   | STARTED @8 of 2          | APPLIED     | StaleFence         |
| me     | me, fence 4    | 3    | 0   | STARTED @8 of 2          | APPLIED     | StaleFence         |
| me     | me, fence 4    | -    | 60  | STARTED @8 of 2          | APPLIED     | LeaseExpired       |
| me     | other, fence 5 | -    | 0   | STARTED @8 of 2          | APPLIED     | NotTheHolder       |
| me     | none           | -    | 0   | STARTED @8 of 2          | APPLIED     | NotTheHolder       |
| other  | me, fence 4    | -    | 0   | STARTED @8 of 2          | APPLIED     | NotItsRunner       |
| other  | other, fence 5 | -    | 0   | STARTED @8 of 2          | UNKNOWN     | NotItsRunner       |
";

fn latest(text: &str) -> Option<ChangeState> {
    let (state, rest) = text.split_once(" @")?;
    let (seq, of) = rest.split_once(" of ").expect("of which execution");
    Some(ChangeState {
        execution: of.parse().ok().map(ExecutionId),
        ..state_of(seq.parse().expect("a sequence"), AuditState::from_wire(state))
    })
}

fn lock(text: &str) -> Option<Lock> {
    let (owner, fence) = text.split_once(", fence ")?;
    Some(held_by(owner, fence.parse().expect("a fence"), at(60)))
}

fn verdict(text: &str) -> ProbeVerdict {
    [
        ProbeVerdict::Applied,
        ProbeVerdict::NotApplied,
        ProbeVerdict::Unknown,
    ]
    .into_iter()
    .find(|verdict| verdict.as_wire() == text)
    .expect("a verdict")
}

fn show(judged: Result<ProbeJudgement, ProbeRefusal>) -> String {
    match judged {
        Ok(ProbeJudgement::Settle(state)) => format!("Settle {}", state.as_wire()),
        Ok(ProbeJudgement::KeepDoubt) => "KeepDoubt".to_owned(),
        Err(ProbeRefusal::Unfenced(refusal)) => format!("{refusal:?}"),
        Err(ProbeRefusal::Outdated { actual }) => format!("Outdated {actual}"),
        Err(ProbeRefusal::OwnAttempt) => "OwnAttempt".to_owned(),
        Err(ProbeRefusal::NotInDoubt(state)) => {
            format!("NotInDoubt {}", state.map_or("nothing", |state| state.as_wire()))
        }
    }
}

#[test]
fn every_row_of_the_verdict_table_holds() {
    let (me, other) = (runner_id("me"), runner_id("other"));
    let is_mine = |it: &ChangeState| [Some(ExecutionId(3)), Some(ExecutionId(5))].contains(&it.execution);
    for row in &rows(VERDICTS)[1..] {
        let [runner, held, echo, now, known, said, answer] = row.cells[..] else {
            panic!("seven cells: {}", row.line)
        };
        let (lock, latest) = (lock(held), latest(known));
        let judged = judge_probe(&Probed {
            verdict: verdict(said),
            about: 8,
            execution: Some(ProbedUnder {
                id: ExecutionId(5),
                runner: &me,
                fence: 4,
            }),
            runner: &runner_id(runner),
            fence: echo.parse().ok(),
            latest: latest.as_ref(),
            attempted_by: latest.map(|it| if is_mine(&it) { &me } else { &other }),
            contradicted_by_mark: false,
            lock: lock.as_ref(),
            now: at(now.parse().expect("seconds")),
        });
        assert_eq!(show(judged), answer, "{}", row.line);
    }
}

fn probed<'a>(
    latest: &'a ChangeState,
    lock: &'a Lock,
    me: &'a flamingock_domain::ids::RunnerId,
) -> Probed<'a> {
    Probed {
        verdict: ProbeVerdict::Applied,
        about: latest.seq,
        execution: Some(ProbedUnder {
            id: ExecutionId(5),
            runner: me,
            fence: 4,
        }),
        runner: me,
        fence: None,
        latest: Some(latest),
        attempted_by: None,
        contradicted_by_mark: false,
        lock: Some(lock),
        now: at(0),
    }
}

#[test]
fn a_mark_that_speaks_against_the_entry_and_an_execution_of_nobody_are_not_overruled() {
    let (me, lock, latest) = (
        runner_id("me"),
        held_by("me", 4, at(60)),
        state_of(8, AuditState::Failed),
    );
    let asked = probed(&latest, &lock, &me);
    assert_eq!(show(judge_probe(&asked)), "Settle APPLIED");
    let by_mark = Probed {
        contradicted_by_mark: true,
        ..asked
    };
    assert_eq!(show(judge_probe(&by_mark)), "NotInDoubt FAILED");
    let of_nobody = Probed {
        execution: None,
        ..asked
    };
    assert_eq!(show(judge_probe(&of_nobody)), "UnknownExecution");
}

#[test]
fn a_change_is_asked_only_where_a_person_would_be_for_want_of_knowledge() {
    // The offer for a change with a probe, and for the same without.
    for (recorded, with, without) in [
        (&[AuditState::Started][..], "it PROBE", "it MI"),
        (&[AuditState::Started, AuditState::Failed], "it PROBE", "it MI"),
        (
            &[
                AuditState::Started,
                AuditState::Failed,
                AuditState::RollbackFailed,
            ],
            "it MI",
            "it MI",
        ),
        (
            &[AuditState::Started, AuditState::Failed, AuditState::RolledBack],
            "it APPLY",
            "it APPLY",
        ),
    ] {
        for (submitted, expected) in [("stage: it?", with), ("stage: it", without)] {
            let mut world = World::default();
            world.ask("old", "stage: it");
            world.run("it", recorded);
            world.release("old");
            assert_eq!(
                world.ask_briefly("new", submitted),
                format!("EXECUTE\ndo stage: {expected}"),
                "{recorded:?}"
            );
        }
    }
}

#[test]
fn a_process_is_not_asked_about_what_it_began_itself_and_the_next_one_is() {
    for recorded in [
        &[AuditState::Started][..],
        &[AuditState::Started, AuditState::Failed],
    ] {
        let mut world = World::default();
        world.ask("same", "stage: it?");
        world.run("it", recorded);
        world.release("same");
        let offer = |action| format!("EXECUTE\ndo stage: it {action}");
        assert_eq!(
            world.ask_briefly("same", "stage: it?"),
            offer("MI"),
            "{recorded:?}"
        );
        world.release("same");
        assert_eq!(
            world.ask_briefly("next", "stage: it?"),
            offer("PROBE"),
            "{recorded:?}"
        );
        world.release("next");
        // To have asked is not to have begun.
        assert_eq!(
            world.ask_briefly("next", "stage: it?"),
            offer("PROBE"),
            "{recorded:?}"
        );
    }
}

#[test]
fn a_mark_is_asked_before_the_probe() {
    let mut world = World::default();
    world.ask("old", "stage: it");
    world.run("it", &[AuditState::Started]);
    world.release("old");
    assert!(world.ask("new", "stage: it? *APPLIED").starts_with("CONTINUE"));
}

#[test]
fn what_a_probe_decided_a_person_may_decide_again_but_not_under_a_run_that_acts_on_it() {
    let decided = ChangeState {
        source: Source::Probe,
        execution: None,
        ..state_of(8, AuditState::Applied)
    };
    assert_eq!(
        resolve(Some(&decided), 8, false, Resolution::RolledBack),
        Ok(AuditState::MarkedRolledBack)
    );
    let by_runner = state_of(8, AuditState::Applied);
    assert_eq!(
        resolve(Some(&by_runner), 8, false, Resolution::RolledBack),
        Err(ResolveRefusal::NoIssue)
    );
    let lock = held_by("me", 5, at(60));
    // Planned on the verdict; or its plan is older, for it is the one that asked.
    for planned_at in [8, 7] {
        assert!(is_acted_on(&decided, Some(&lock), Some(planned_at), at(0)));
        assert!(!is_acted_on(&decided, Some(&lock), Some(planned_at), at(60)));
    }
    // The lock is held for something else.
    assert!(!is_acted_on(&decided, Some(&lock), None, at(0)));
    // What a person decided since the plan, nobody acts on.
    let by_person = ChangeState {
        source: Source::Person,
        ..state_of(8, AuditState::MarkedApplied)
    };
    assert!(is_acted_on(&by_person, Some(&lock), Some(8), at(0)));
    assert!(!is_acted_on(&by_person, Some(&lock), Some(7), at(0)));
}

#[test]
fn only_the_same_word_of_the_same_runner_about_the_same_entry_is_a_repetition() {
    let recorded = RecordedProbe {
        source: Source::Probe,
        state: "APPLIED",
        execution_ref: "5",
        runner: Some("me"),
        note: Some("about 8"),
    };
    assert!(repeats_probe(&recorded, &recorded));
    for other in [
        RecordedProbe {
            state: "ROLLED_BACK",
            ..recorded
        },
        RecordedProbe {
            execution_ref: "6",
            ..recorded
        },
        RecordedProbe {
            runner: Some("other"),
            ..recorded
        },
        RecordedProbe {
            note: Some("about 9"),
            ..recorded
        },
    ] {
        assert!(!repeats_probe(&recorded, &other), "{other:?}");
    }
    let by_runner = RecordedProbe {
        source: Source::Runner,
        ..recorded
    };
    assert!(!repeats_probe(&by_runner, &by_runner));
}

fn any_latest() -> impl Strategy<Value = ChangeState> {
    let states = prop::sample::select(
        AuditState::ALL
            .into_iter()
            .chain([AuditState::Unknown])
            .collect::<Vec<_>>(),
    );
    let tx = prop::sample::select(vec![
        TxStrategy::NonTx,
        TxStrategy::Shared,
        TxStrategy::WithMarker,
        TxStrategy::NoMarker,
    ]);
    let recovery = prop::sample::select(vec![
        RecoveryStrategy::ManualIntervention,
        RecoveryStrategy::AlwaysRetry,
    ]);
    (states, tx, recovery, 1..10_i64, 1..9_i64).prop_map(|(state, tx_strategy, recovery, seq, execution)| {
        ChangeState {
            tx_strategy,
            recovery,
            execution: Some(ExecutionId(execution)),
            ..state_of(seq, state)
        }
    })
}

proptest! {
    #[test]
    fn no_verdict_turns_what_is_known(
        latest in any_latest(),
        about in 1..10_i64,
        said in prop::sample::select(vec!["APPLIED", "NOT_APPLIED", "UNKNOWN"]),
        by_mark in prop::bool::ANY,
        (fence, now) in (3..6_i64, 50..70_i64),
        is_own in prop::bool::ANY,
    ) {
        let (me, lock) = (runner_id("me"), held_by("me", fence, at(60)));
        let asked = Probed {
            verdict: verdict(said),
            about: about as Seq,
            contradicted_by_mark: by_mark,
            attempted_by: is_own.then_some(&me),
            now: at(now),
            ..probed(&latest, &lock, &me)
        };
        if judge_probe(&asked).is_ok() {
            // Nothing but an open outcome, looked at as it stands, under the very grant and a live lease.
            prop_assert!(matches!(latest.state, AuditState::Started | AuditState::Failed));
            prop_assert!(is_in_doubt(&latest) && is_issue(&latest));
            prop_assert_eq!(latest.seq, about);
            prop_assert!(!by_mark && fence == 4 && now < 60);
            // And never by the process that may still be at it.
            prop_assert!(!is_own && latest.execution != Some(ExecutionId(5)));
        }
        // Whoever is not asked would be applied, skipped or known dirty without a probe, too.
        if is_in_doubt(&latest) {
            prop_assert!(is_issue(&latest));
        }
    }
}
