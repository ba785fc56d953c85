//! What becomes of reports and decisions.

use flamingock_domain::audit::{
    AuditState, ChangeState, FoldEntry, Judgement, RecoveryStrategy, Report, ReportedExecution, Resolution,
    ResolveRefusal, Source, StartRefusal, States, TxStrategy, contradicts_mark, fold, in_progress,
    is_acted_on, is_issue, judge, resolve, resolve_marked,
};
use flamingock_domain::ids::{ExecutionId, RunnerId, Seq};
use flamingock_domain::lock::Lock;
use flamingock_domain::plan::{Action, base_action};
use proptest::prelude::*;

use crate::support::{at, change_id, held_by, rows, runner_id, state_of};

// Execution 5 of runner `me`, fence 4, was planned when the head was 10. The lease ends at second 60. `latest` is a state,
// `@` its sequence and `by` its execution or its source; `same` is the sequence of the same entry.
const STARTS: &str = "
| runner | lock            | echo | now | latest                       | same | answer               |
| ------ | --------------- | ---- | --- | ---------------------------- | ---- | -------------------- |
| me     | me, fence 4     | -    | 0   | none                         | -    | Append               |
| me     | me, fence 4     | 4    | 59  | none                         | -    | Append               |
| me     | me, fence 4     | -    | 0   | ROLLED_BACK @8 by 2          | -    | Append               |
| me     | me, fence 4     | -    | 0   | MANUAL_MARKED_AS_ROLLED_BACK @12 by PERSON | - | Append      |
| me     | me, fence 4     | -    | 0   | ROLLED_BACK @8 by MARK       | -    | Append               |
| me     | me, fence 4     | -    | 0   | ROLLED_BACK @8 by IMPORT     | -    | Append               |
| me     | me, fence 4     | -    | 0   | STARTED @11 by 5             | 11   | Duplicate            |
| me     | me, fence 4     | -    | 60  | STARTED @11 by 5             | 11   | LeaseExpired         |
| me     | me, fence 5     | -    | 0   | STARTED @11 by 5             | 11   | StaleFence           |
| me     | none            | -    | 0   | STARTED @11 by 5             | 11   | NotTheHolder         |
| me     | me, fence 4     | -    | 0   | APPLIED @12 by 5             | 11   | StateForbids APPLIED |
| me     | me, fence 4     | -    | 0   | ROLLED_BACK @13 by 5         | 11   | StateForbids ROLLED_BACK |
| me     | me, fence 4     | -    | 0   | MANUAL_MARKED_AS_ROLLED_BACK @12 by PERSON | 11 | StateForbids MANUAL_MARKED_AS_ROLLED_BACK |
| me     | me, fence 4     | -    | 0   | ROLLED_BACK @11 by 5         | -    | StateForbids ROLLED_BACK |
| other  | me, fence 4     | -    | 0   | none                         | -    | NotItsRunner         |
| other  | other, fence 5  | -    | 0   | none                         | -    | NotItsRunner         |
| me     | none            | -    | 0   | none                         | -    | NotTheHolder         |
| me     | released        | -    | 0   | none                         | -    | NotTheHolder         |
| me     | other, fence 5  | -    | 0   | none                         | -    | NotTheHolder         |
| me     | me, fence 5     | -    | 0   | none                         | -    | StaleFence           |
| me     | me, fence 4     | 3    | 0   | none                         | -    | StaleFence           |
| me     | me, fence 4     | -    | 60  | none                         | -    | LeaseExpired         |
| me     | me, fence 4     | -    | 0   | APPLIED @8 by 2              | -    | StateForbids APPLIED |
| me     | me, fence 4     | -    | 0   | APPLIED @8 by IMPORT         | -    | StateForbids APPLIED |
| me     | me, fence 4     | -    | 0   | APPLIED @8 by MARK           | -    | StateForbids APPLIED |
| me     | me, fence 4     | -    | 0   | STARTED @8 by 2              | -    | StateForbids STARTED |
| me     | me, fence 4     | -    | 0   | FAILED @8 by 2               | -    | StateForbids FAILED  |
| me     | me, fence 4     | -    | 0   | MANUAL_MARKED_AS_APPLIED @12 by PERSON | - | StateForbids MANUAL_MARKED_AS_APPLIED |
| me     | me, fence 4     | -    | 0   | UNKNOWN @8 by 2              | -    | StateForbids UNKNOWN |
| me     | me, fence 4     | -    | 0   | ROLLED_BACK @8 by ORACLE     | -    | StateForbids ROLLED_BACK |
| me     | me, fence 4     | -    | 0   | MANUAL_MARKED_AS_ROLLED_BACK @12 by ORACLE | - | StateForbids MANUAL_MARKED_AS_ROLLED_BACK |
| me     | me, fence 4     | -    | 0   | APPLIED @8 by ORACLE         | -    | StateForbids APPLIED |
";

// Nobody holds the lock: it does not matter to a result. `5` is the execution of above, `?9` a number that was never issued.
const RESULTS: &str = "
| report          | execution | latest                                | same | answer     |
| --------------- | --------- | ------------------------------------- | ---- | ---------- |
| APPLIED         | 5         | none                                  | -    | Append     |
| APPLIED         | 5         | STARTED @11 by 5                      | -    | Append     |
| FAILED          | 5         | STARTED @11 by 5                      | -    | Append     |
| ROLLED_BACK     | 5         | STARTED @11 by 5                      | -    | Append     |
| ROLLED_BACK     | 5         | FAILED @12 by 5                       | -    | Append     |
| ROLLBACK_FAILED | 5         | FAILED @12 by 5                       | -    | Append     |
| ROLLED_BACK     | 5         | APPLIED @12 by 5                      | -    | Append     |
| ROLLBACK_FAILED | 5         | APPLIED @12 by 5                      | -    | Append     |
| FAILED          | 5         | APPLIED @12 by 5                      | -    | Append     |
| UNKNOWN         | 5         | APPLIED @12 by 5                      | -    | Append     |
| APPLIED         | 5         | APPLIED @12 by 5                      | 12   | Duplicate  |
| FAILED          | 5         | ROLLED_BACK @13 by 5                  | 12   | Duplicate  |
| APPLIED         | 5         | ROLLED_BACK @13 by 5                  | -    | AppendLate |
| APPLIED         | 5         | FAILED @13 by 5                       | -    | AppendLate |
| FAILED          | 5         | ROLLED_BACK @13 by 5                  | -    | AppendLate |
| APPLIED         | 5         | STARTED @8 by 2                       | -    | Append     |
| APPLIED         | 5         | FAILED @10 by 2                       | -    | Append     |
| ROLLED_BACK     | 5         | APPLIED @8 by IMPORT                  | -    | Append     |
| APPLIED         | 5         | STARTED @11 by 6                      | -    | AppendLate |
| FAILED          | 5         | APPLIED @11 by 6                      | -    | AppendLate |
| APPLIED         | 5         | FAILED @11 by 2                       | -    | AppendLate |
| APPLIED         | 5         | FAILED @11 by 2                       | 12   | Duplicate  |
| FAILED          | 5         | MANUAL_MARKED_AS_APPLIED @12 by PERSON | -   | AppendLate |
| APPLIED         | 5         | MANUAL_MARKED_AS_ROLLED_BACK @9 by PERSON | - | Append    |
| APPLIED         | 5         | APPLIED @12 by MARK of 5              | -    | Append     |
| FAILED          | 5         | APPLIED @12 by MARK of 5              | -    | AppendLate |
| ROLLED_BACK     | 5         | APPLIED @12 by MARK of 5              | -    | AppendLate |
| ROLLBACK_FAILED | 5         | APPLIED @12 by MARK of 5              | -    | AppendLate |
| UNKNOWN         | 5         | APPLIED @12 by MARK of 5              | -    | AppendLate |
| APPLIED         | 5         | ROLLED_BACK @12 by MARK of 5          | -    | Append     |
| FAILED          | 5         | ROLLED_BACK @12 by MARK of 5          | -    | Append     |
| FAILED          | 5         | APPLIED @12 by MARK                   | -    | AppendLate |
| APPLIED         | ?9        | none                                  | -    | Append     |
| APPLIED         | ?9        | STARTED @3 by 9                       | -    | Append     |
| APPLIED         | ?9        | STARTED @3 by 2                       | -    | AppendLate |
| APPLIED         | ?9        | APPLIED @3 by IMPORT                  | -    | AppendLate |
| APPLIED         | ?9        | STARTED @3 by 2                       | 4    | Duplicate  |
| STARTED         | ?9        | none                                  | -    | UnknownExecution |
| STARTED         | ?9        | STARTED @3 by 9                       | 3    | UnknownExecution |
| APPLIED         | import    | none                                  | -    | Append     |
| FAILED          | import    | APPLIED @3 by IMPORT                  | -    | Append     |
| STARTED         | import    | none                                  | -    | Append     |
| APPLIED         | import    | STARTED @3 by 2                       | -    | AppendLate |
| APPLIED         | import    | APPLIED @3 by MARK                    | -    | AppendLate |
| APPLIED         | import    | MANUAL_MARKED_AS_APPLIED @3 by PERSON | -    | AppendLate |
| APPLIED         | import    | APPLIED @3 by IMPORT                  | 3    | Duplicate  |
| APPLIED         | 5         | FAILED @12 by IMPORT                  | -    | Append     |
| APPLIED         | 5         | ROLLED_BACK @12 by PROBE of 5         | -    | Append     |
| FAILED          | 5         | ROLLED_BACK @12 by PROBE of 5         | -    | Append     |
| ROLLED_BACK     | 5         | APPLIED @12 by PROBE of 5             | -    | Append     |
| FAILED          | 5         | APPLIED @12 by PROBE of 5             | -    | Append     |
| APPLIED         | 5         | ROLLED_BACK @12 by PROBE of 4         | -    | AppendLate |
| APPLIED         | 5         | ROLLED_BACK @12 by ORACLE of 5        | -    | Append     |
| FAILED          | 5         | APPLIED @12 by ORACLE of 5            | -    | AppendLate |
| APPLIED         | 5         | ROLLED_BACK @12 by ORACLE of 4        | -    | AppendLate |
";

/// `STATE @SEQ by EXECUTION`, or `by SOURCE`, or `by MARK of EXECUTION`.
fn latest(text: &str) -> Option<ChangeState> {
    let (state, rest) = text.split_once(" @")?;
    let (seq, by) = rest.split_once(" by ").expect("by whom");
    let (source, execution) = by.split_once(" of ").unwrap_or((by, by));
    let execution = execution.parse().ok().map(ExecutionId);
    let seq = seq.parse().expect("a sequence");
    let state = AuditState::from_wire(state);
    Some(ChangeState {
        execution,
        source: execution
            .filter(|_| source == by)
            .map_or(Source::from_wire(source), |_| Source::Runner),
        ..state_of(seq, state)
    })
}

fn lock(text: &str) -> Option<Lock> {
    match text {
        "none" => None,
        "released" => Some(Lock {
            lease: None,
            ..held_by("me", 4, at(60))
        }),
        held => {
            let (owner, fence) = held.split_once(", fence ").expect("owner and fence");
            Some(held_by(owner, fence.parse().expect("a fence"), at(60)))
        }
    }
}

fn show(judgement: Judgement) -> String {
    match judgement {
        Judgement::Refuse(StartRefusal::StateForbids(state)) => format!("StateForbids {}", state.as_wire()),
        Judgement::Refuse(refusal) => format!("{refusal:?}"),
        other => format!("{other:?}"),
    }
}

/// The execution that the tables call 5, with fence 4.
fn granted(runner: &RunnerId, planned_at: Seq) -> ReportedExecution<'_> {
    ReportedExecution::Known {
        id: ExecutionId(5),
        runner,
        fence: 4,
        planned_at,
    }
}

/// A report of a change of which nothing is known, while nobody holds the lock.
fn told<'a>(state: AuditState, execution: ReportedExecution<'a>, runner: &'a RunnerId) -> Report<'a> {
    Report {
        state,
        execution,
        runner,
        fence: None,
        latest: None,
        same: None,
        lock: None,
        now: at(0),
        trust_absent_marks: false,
        handed_on_at: None,
    }
}

#[test]
fn every_row_of_the_start_table_holds() {
    let me = runner_id("me");
    for row in &rows(STARTS)[1..] {
        let [runner, held, echo, now, known, same, answer] = row.cells[..] else {
            panic!("seven cells: {}", row.line)
        };
        let (lock, latest, runner) = (lock(held), latest(known), runner_id(runner));
        let report = Report {
            fence: echo.parse().ok(),
            latest: latest.as_ref(),
            same: same.parse().ok(),
            lock: lock.as_ref(),
            now: at(now.parse().expect("seconds")),
            ..told(AuditState::Started, granted(&me, 10), &runner)
        };
        assert_eq!(show(judge(&report)), answer, "{}", row.line);
    }
}

#[test]
fn every_row_of_the_result_table_holds() {
    let me = runner_id("me");
    for row in &rows(RESULTS)[1..] {
        let [state, execution, known, same, answer] = row.cells[..] else {
            panic!("five cells: {}", row.line)
        };
        let latest = latest(known);
        let execution = match execution {
            "5" => granted(&me, 10),
            "import" => ReportedExecution::Import {
                at_ms: None,
                latest_at_ms: None,
            },
            unknown => {
                let id = unknown.trim_start_matches('?').parse().expect("a number");
                ReportedExecution::Unknown(ExecutionId(id))
            }
        };
        let report = Report {
            latest: latest.as_ref(),
            same: same.parse().ok(),
            ..told(AuditState::from_wire(state), execution, &me)
        };
        assert_eq!(show(judge(&report)), answer, "{}", row.line);
        // Told by anybody but the execution's runner, the same is evidence at most.
        if let ReportedExecution::Known { .. } = execution {
            let stranger = runner_id("anybody");
            let by_stranger = Report {
                runner: &stranger,
                ..report
            };
            let expected = answer.replace("Append", "AppendLate").replace("LateLate", "Late");
            assert_eq!(show(judge(&by_stranger)), expected, "by a stranger: {}", row.line);
        }
    }
}

// Pieces of history, told one after the other; `-` has no time.
const HISTORY: &str = "
| told first               | told next                        | answer     |
| ------------------------ | -------------------------------- | ---------- |
| APPLIED 200              | ROLLED_BACK 100                  | AppendLate |
| FAILED 100               | APPLIED 200                      | Append     |
| APPLIED 200              | FAILED 300                       | Append     |
| FAILED 100               | ROLLED_BACK 100                  | Append     |
| ROLLED_BACK 100          | FAILED 100                       | AppendLate |
| STARTED 100              | APPLIED 100                      | Append     |
| APPLIED 100              | STARTED 100                      | AppendLate |
| ROLLBACK_FAILED 100      | MANUAL_MARKED_AS_APPLIED 100     | Append     |
| MANUAL_MARKED_AS_ROLLED_BACK 100 | MANUAL_MARKED_AS_APPLIED 100 | AppendLate |
| APPLIED 100              | UNKNOWN 100                      | Append     |
| UNKNOWN 100              | APPLIED 100                      | AppendLate |
| APPLIED 100              | APPLIED 100                      | Append     |
| APPLIED 200              | ROLLED_BACK -                    | Append     |
| APPLIED -                | ROLLED_BACK 100                  | Append     |
";

#[test]
fn of_two_pieces_of_history_the_one_that_happened_later_counts_whichever_is_told_first() {
    let me = runner_id("me");
    for row in &rows(HISTORY)[1..] {
        let [first, next, answer] = row.cells[..] else {
            panic!("three cells: {}", row.line)
        };
        let piece = |text: &str| {
            let (state, at) = text.split_once(' ').expect("a state and a time");
            (AuditState::from_wire(state), at.parse::<i64>().ok())
        };
        let ((first, latest_at_ms), (state, at_ms)) = (piece(first), piece(next));
        let latest = ChangeState {
            execution: None,
            source: Source::Import,
            ..state_of(3, first)
        };
        let report = Report {
            latest: Some(&latest),
            ..told(state, ReportedExecution::Import { at_ms, latest_at_ms }, &me)
        };
        assert_eq!(show(judge(&report)), answer, "{}", row.line);
        // It gains no say over what happened here, however late it happened.
        for source in [Source::Runner, Source::Mark, Source::Person] {
            let latest = ChangeState { source, ..latest };
            let report = Report {
                latest: Some(&latest),
                ..report
            };
            assert_eq!(judge(&report), Judgement::AppendLate, "{source:?}: {}", row.line);
        }
    }
}

#[test]
fn a_start_with_always_retry_may_follow_an_unknown_or_dirty_state_of_another_execution() {
    let me = runner_id("me");
    let lock = held_by("me", 4, at(60));
    for state in [
        AuditState::Started,
        AuditState::Failed,
        AuditState::RollbackFailed,
        AuditState::Unknown,
    ] {
        let latest = ChangeState {
            recovery: RecoveryStrategy::AlwaysRetry,
            ..state_of(3, state)
        };
        let report = Report {
            latest: Some(&latest),
            lock: Some(&lock),
            ..told(AuditState::Started, granted(&me, 10), &me)
        };
        assert_eq!(judge(&report), Judgement::Append, "{state:?}");
    }
}

#[test]
fn the_fold_takes_the_highest_sequence_that_is_not_late_and_prefers_anything_to_an_import() {
    let entry = |change, seq, state, source, late| FoldEntry {
        change: change_id(change),
        late,
        state: ChangeState {
            source,
            ..state_of(seq, state)
        },
    };
    let log = [
        entry("a", 1, AuditState::Started, Source::Runner, false),
        entry("a", 2, AuditState::Applied, Source::Runner, false),
        entry("a", 3, AuditState::Failed, Source::Runner, true),
        entry("b", 4, AuditState::RolledBack, Source::Runner, false),
        entry("b", 5, AuditState::Applied, Source::Import, false),
        entry("c", 6, AuditState::Failed, Source::Import, false),
        entry("c", 7, AuditState::Applied, Source::Import, false),
        entry("d", 8, AuditState::Applied, Source::Runner, true),
    ];
    let expected: Vec<(&str, Seq)> = vec![("a", 2), ("b", 4), ("c", 7)];
    let seqs = |states: States| {
        let mut all: Vec<_> = states.iter().map(|(id, it)| (id.to_string(), it.seq)).collect();
        all.sort();
        all
    };
    let expected: Vec<_> = expected
        .into_iter()
        .map(|(id, seq)| (id.to_owned(), seq))
        .collect();
    assert_eq!(seqs(fold(&log)), expected);
    assert_eq!(
        seqs(fold(log.iter().rev())),
        expected,
        "the order does not matter"
    );
}

#[test]
fn a_decision_needs_an_issue_the_latest_entry_and_nobody_at_work() {
    let stuck = state_of(7, AuditState::Started);
    let decide = |latest, expected, running| resolve(latest, expected, running, Resolution::Applied);
    assert_eq!(decide(Some(&stuck), 7, false), Ok(AuditState::MarkedApplied));
    assert_eq!(decide(Some(&stuck), 7, true), Err(ResolveRefusal::InProgress));
    assert_eq!(
        decide(Some(&stuck), 6, false),
        Err(ResolveRefusal::Outdated { actual: 7 })
    );
    assert_eq!(decide(None, 0, false), Err(ResolveRefusal::NoIssue));
    let rolled_back = resolve(Some(&stuck), 7, false, Resolution::RolledBack);
    assert_eq!(rolled_back, Ok(AuditState::MarkedRolledBack));
}

#[test]
fn what_is_applied_or_clean_is_no_issue_unless_a_person_decided_it_or_a_mark_contradicts_it() {
    for state in [AuditState::Applied, AuditState::RolledBack] {
        let latest = state_of(7, state);
        assert!(!is_issue(&latest));
        let refused = resolve(Some(&latest), 7, false, Resolution::Applied);
        assert_eq!(refused, Err(ResolveRefusal::NoIssue), "{state:?}");
    }
    for state in [AuditState::MarkedApplied, AuditState::MarkedRolledBack] {
        let again = resolve(Some(&state_of(7, state)), 7, false, Resolution::RolledBack);
        assert_eq!(again, Ok(AuditState::MarkedRolledBack), "{state:?}");
    }
    let contradicted = state_of(7, AuditState::RolledBack);
    assert!(contradicts_mark(&contradicted, Some(7)));
    let decided = resolve_marked(Some(&contradicted), 7, false, true, Resolution::Applied);
    assert_eq!(decided, Ok(AuditState::MarkedApplied));
}

#[test]
fn a_failed_transaction_is_no_issue_but_a_failed_change_without_one_is() {
    let failed = state_of(7, AuditState::Failed);
    assert!(is_issue(&failed));
    assert!(!is_issue(&ChangeState {
        tx_strategy: TxStrategy::NoMarker,
        ..failed
    }));
    assert!(!is_issue(&ChangeState {
        recovery: RecoveryStrategy::AlwaysRetry,
        ..failed
    }));
}

#[test]
fn a_change_is_in_progress_while_its_runner_holds_a_live_lease() {
    let lock = held_by("me", 4, at(60));
    let (me, other) = (runner_id("me"), runner_id("other"));
    let mine = Some(&me);
    let started = state_of(7, AuditState::Started);
    let running = |latest: &ChangeState, runner, now| in_progress(latest, runner, Some(&lock), at(now));
    assert!(running(&started, mine, 59));
    assert!(
        running(&state_of(7, AuditState::Failed), mine, 59),
        "on its way to the rollback"
    );
    assert!(!running(&started, mine, 60), "the lease is over");
    assert!(
        !running(&started, Some(&other), 0),
        "another runner holds the lock"
    );
    assert!(!running(&started, None, 0), "nobody's execution");
    assert!(
        !running(&state_of(7, AuditState::RollbackFailed), mine, 0),
        "the last word of its runner"
    );
    assert!(!in_progress(&started, mine, None, at(0)));
}

#[test]
fn a_decision_is_acted_on_while_a_run_that_was_planned_on_it_holds_a_live_lease() {
    let lock = held_by("me", 4, at(60));
    let decided = ChangeState {
        source: Source::Person,
        ..state_of(7, AuditState::MarkedRolledBack)
    };
    let acted_on = |planned_at, now| is_acted_on(&decided, Some(&lock), planned_at, at(now));
    assert!(acted_on(Some(7), 59));
    assert!(acted_on(Some(9), 59));
    assert!(!acted_on(Some(6), 59), "it was planned before the decision");
    assert!(!acted_on(Some(7), 60), "the lease is over");
    assert!(!acted_on(None, 59), "the lock was taken without a plan");
    assert!(!is_acted_on(&decided, None, Some(7), at(59)));
    let reported = state_of(7, AuditState::RollbackFailed);
    assert!(
        !is_acted_on(&reported, Some(&lock), Some(7), at(59)),
        "nobody decided"
    );
}

#[test]
fn wire_texts_are_read_as_they_are_written_in_any_case_and_by_their_old_names() {
    use {AuditState as S, RecoveryStrategy as R, TxStrategy as T};
    let states = [
        S::Started,
        S::Applied,
        S::Failed,
        S::RolledBack,
        S::RollbackFailed,
        S::MarkedApplied,
        S::MarkedRolledBack,
        S::Unknown,
    ];
    for state in states {
        assert_eq!(S::from_wire(state.as_wire()), state);
        assert_eq!(S::from_wire(&state.as_wire().to_lowercase()), state);
    }
    assert_eq!(S::from_wire("EXECUTED"), S::Applied);
    // Settled is what nothing is done about: people's looks leave these out.
    for state in states {
        let latest = ChangeState {
            seq: 1,
            state,
            tx_strategy: T::NonTx,
            recovery: R::AlwaysRetry,
            execution: None,
            source: Source::Runner,
        };
        let is_settled = base_action(Some(&latest)).0 == Action::Skip;
        assert!(!is_settled || !contradicts_mark(&latest, None), "{state:?}");
        assert_eq!(
            S::SETTLED_TEXTS.contains(&state.as_wire()),
            is_settled,
            "{state:?}"
        );
    }
    for text in S::SETTLED_TEXTS {
        assert!(
            matches!(S::from_wire(text), S::Applied | S::MarkedApplied),
            "{text}"
        );
    }
    assert_eq!(S::from_wire("Execution_Failed"), S::Failed);
    assert_eq!(S::from_wire("PAUSED"), S::Unknown);

    for strategy in [T::NonTx, T::Shared, T::WithMarker, T::NoMarker] {
        assert_eq!(T::from_wire(strategy.as_wire()), strategy);
    }
    assert_eq!((T::from_wire("TX_LATER"), T::default()), (T::NonTx, T::NonTx));

    for strategy in [R::ManualIntervention, R::AlwaysRetry] {
        assert_eq!(R::from_wire(strategy.as_wire()), strategy);
    }
    assert_eq!(
        (R::from_wire(""), R::default()),
        (R::ManualIntervention, R::ManualIntervention)
    );

    for source in [
        Source::Runner,
        Source::Mark,
        Source::Person,
        Source::Probe,
        Source::Import,
    ] {
        assert_eq!(Source::from_wire(source.as_wire()), source);
    }
    for text in ["", "ORACLE", "RUNNERS"] {
        assert_eq!(Source::from_wire(text), Source::Unknown, "{text}");
    }
}

/// A report by one of three executions, an unknown one or an importer.
#[derive(Clone, Debug)]
struct Said {
    state: AuditState,
    by: u8,
    change: u8,
}

fn reports() -> impl Strategy<Value = Vec<Said>> {
    let state = prop::sample::select(vec![
        AuditState::Started,
        AuditState::Applied,
        AuditState::Failed,
        AuditState::RolledBack,
        AuditState::RollbackFailed,
    ]);
    let said = (state, 0..5_u8, 0..2_u8).prop_map(|(state, by, change)| Said { state, by, change });
    prop::collection::vec(said, 1..40)
}

proptest! {
    /// The projection that is kept by judging one report after the other is the fold of the log.
    #[test]
    fn judging_and_folding_agree_and_no_result_is_refused(reports in reports()) {
        let me = runner_id("me");
        let lock = held_by("me", 3, at(60));
        let mut log: Vec<FoldEntry> = Vec::new();
        let mut projection = States::new();
        for said in reports {
            let change = change_id(["a", "b"][usize::from(said.change)]);
            let id = ExecutionId(i64::from(said.by));
            // Executions 1 to 3 have fences 1 to 3 and were planned at heads 0, 5 and 10.
            let planned_at = (i64::from(said.by) - 1) * 5;
            let (execution, recorded, source) = match said.by {
                0 => (ReportedExecution::Import { at_ms: None, latest_at_ms: None }, None, Source::Import),
                4 => (ReportedExecution::Unknown(id), Some(id), Source::Runner),
                by => {
                    let fence = i64::from(by);
                    (ReportedExecution::Known { id, runner: &me, fence, planned_at }, Some(id), Source::Runner)
                }
            };
            let is_same = |it: &&FoldEntry| {
                (&it.change, it.state.execution, it.state.state) == (&change, recorded, said.state)
            };
            let latest = projection.get(&change).copied();
            let judgement = judge(&Report {
latest: latest.as_ref(),
same: log.iter().find(is_same).map(|it| it.state.seq),
lock: Some(&lock),
..told(said.state, execution, &me)
});
            let seq = i64::try_from(log.len()).expect("few") + 1;
            let state = ChangeState { execution: recorded, source, ..state_of(seq, said.state) };
            match judgement {
                Judgement::Append => {
                    log.push(FoldEntry { change: change.clone(), late: false, state });
                    projection.insert(change, state);
                }
                Judgement::AppendLate => log.push(FoldEntry { change, late: true, state }),
                Judgement::Duplicate => {}
                Judgement::Refuse(_) => prop_assert_eq!(said.state, AuditState::Started),
            }
            if said.state == AuditState::Started && judgement == Judgement::Append && source == Source::Runner {
                prop_assert_eq!(recorded, Some(ExecutionId(3)), "only under the current fence");
                let applied = latest.is_some_and(|it| it.state == AuditState::Applied);
                prop_assert!(!applied, "what is applied is never started again");
            }
        }
        prop_assert_eq!(fold(&log), projection);
    }
}

/// M3: the plan offered the change because its mark is absent; the start that follows from it must be accepted.
#[test]
fn a_start_may_rest_on_an_absent_mark_only_where_the_environment_trusts_it() {
    let me = runner_id("me");
    let lock = lock("me, fence 4").expect("held");
    let answer = |trust_absent_marks, tx_strategy, planned_at| {
        judge(&Report {
            fence: Some(4),
            latest: Some(&ChangeState {
                seq: 10,
                state: AuditState::Started,
                tx_strategy,
                recovery: RecoveryStrategy::ManualIntervention,
                execution: Some(ExecutionId(3)),
                source: Source::Runner,
            }),
            lock: Some(&lock),
            trust_absent_marks,
            ..told(AuditState::Started, granted(&me, planned_at), &me)
        })
    };
    let refused = Judgement::Refuse(StartRefusal::StateForbids(AuditState::Started));
    assert_eq!(answer(true, TxStrategy::WithMarker, 10), Judgement::Append);
    assert_eq!(answer(false, TxStrategy::WithMarker, 10), refused);
    assert_eq!(answer(true, TxStrategy::NonTx, 10), refused);
    // Written after the plan was decided: the plan knows nothing of it.
    assert_eq!(answer(true, TxStrategy::WithMarker, 9), refused);
}

/// A forced release, and the attempt that was thought to be gone says that it has failed: it may be undoing what the cursor
/// counts, from which the next one was to go on.
#[test]
fn a_start_that_goes_on_from_a_cursor_is_refused_once_the_attempt_that_saved_it_was_heard_of() {
    let me = runner_id("me");
    let lock = lock("me, fence 4").expect("held");
    let answer = |latest: Option<ChangeState>, handed_on_at| {
        judge(&Report {
            latest: latest.as_ref(),
            lock: Some(&lock),
            handed_on_at,
            ..told(AuditState::Started, granted(&me, 10), &me)
        })
    };
    let latest = |state, seq| {
        Some(ChangeState {
            recovery: RecoveryStrategy::AlwaysRetry,
            ..state_of(seq, state)
        })
    };
    let refused = Judgement::Refuse(StartRefusal::CursorOutdated);
    for state in [AuditState::Started, AuditState::Failed] {
        assert_eq!(answer(latest(state, 8), Some(8)), Judgement::Append, "{state:?}");
    }
    for state in [
        AuditState::Failed,
        AuditState::RolledBack,
        AuditState::RollbackFailed,
    ] {
        assert_eq!(answer(latest(state, 11), Some(8)), refused, "{state:?}");
        // One that begins at its beginning may begin.
        assert_eq!(answer(latest(state, 11), None), Judgement::Append, "{state:?}");
    }
    assert_eq!(
        answer(latest(AuditState::Applied, 11), Some(8)),
        Judgement::Refuse(StartRefusal::StateForbids(AuditState::Applied))
    );
    assert_eq!(answer(None, None), Judgement::Append);
}

/// A newer version of the server writes what this one has not heard of, while both run: nothing is run again by that alone, and
/// what is applied stays so.
#[test]
fn of_a_source_that_is_not_known_only_applied_is_taken_without_a_person() {
    for state in AuditState::ALL.into_iter().chain([AuditState::Unknown]) {
        for tx_strategy in [TxStrategy::NonTx, TxStrategy::WithMarker, TxStrategy::NoMarker] {
            for recovery in [
                RecoveryStrategy::ManualIntervention,
                RecoveryStrategy::AlwaysRetry,
            ] {
                let latest = ChangeState {
                    tx_strategy,
                    recovery,
                    source: Source::Unknown,
                    ..state_of(8, state)
                };
                let is_applied = matches!(state, AuditState::Applied | AuditState::MarkedApplied);
                let expected = if is_applied {
                    Action::Skip
                } else {
                    Action::ManualIntervention
                };
                assert_eq!(base_action(Some(&latest)).0, expected, "{latest:?}");
                assert_eq!(is_issue(&latest), !is_applied, "{latest:?}");
                // It may be a decision that a run acts on.
                let lock = lock("me, fence 4").expect("held");
                assert!(is_acted_on(&latest, Some(&lock), Some(7), at(0)));
            }
        }
    }
}
