//! Which entries open an issue, and which close one. The columns: the change's state before and after the entry, whether both
//! are of one execution, whether the entry's runner had lost its lock, and what a listener is told.

use flamingock_domain::audit::{
    AuditState, ChangeState, IssueTurn, RecoveryStrategy, Source, Turn, TxStrategy, is_issue,
    is_issue_without_runner, issue_turn,
};

const TABLE: &str = "
    -                            | STARTED                      | other | in  | -
    -                            | FAILED                       | other | out | opened
    -                            | UNKNOWN                      | other | in  | opened
    STARTED                      | APPLIED                      | same  | in  | -
    STARTED                      | FAILED                       | same  | in  | -
    FAILED                       | ROLLED_BACK                  | same  | in  | -
    FAILED                       | ROLLBACK_FAILED              | same  | in  | opened
    STARTED                      | FAILED                       | same  | out | -
    STARTED                      | APPLIED                      | same  | out | closed
    FAILED                       | ROLLED_BACK                  | same  | out | closed
    FAILED                       | ROLLBACK_FAILED              | same  | out | -
    STARTED                      | APPLIED                      | other | in  | closed
    FAILED                       | MANUAL_MARKED_AS_APPLIED     | other | out | closed
    STARTED                      | MANUAL_MARKED_AS_ROLLED_BACK | other | out | closed
    ROLLBACK_FAILED              | MANUAL_MARKED_AS_ROLLED_BACK | other | out | closed
    ROLLBACK_FAILED              | APPLIED                      | same  | in  | closed
    MANUAL_MARKED_AS_APPLIED     | MANUAL_MARKED_AS_ROLLED_BACK | other | out | -
    MANUAL_MARKED_AS_ROLLED_BACK | STARTED                      | other | in  | -
    ROLLED_BACK                  | STARTED                      | other | in  | -
    APPLIED                      | APPLIED                      | other | out | -
    FAILED                       | STARTED                      | other | in  | -
    STARTED                      | STARTED                      | other | in  | -
";

fn state(text: &str) -> Option<ChangeState> {
    (text != "-").then(|| ChangeState {
        seq: 1,
        state: AuditState::from_wire(text),
        tx_strategy: TxStrategy::NonTx,
        recovery: RecoveryStrategy::ManualIntervention,
        execution: None,
        source: Source::Runner,
    })
}

#[test]
fn a_listener_is_told_of_issues_when_nobody_is_at_the_change_any_more() {
    let mut rows = 0;
    for line in TABLE.lines().filter(|line| !line.trim().is_empty()) {
        let cells: Vec<&str> = line.split('|').map(str::trim).collect();
        let [before, after, execution, runner, expected] = cells[..] else {
            panic!("{line}");
        };
        let (before, after) = (state(before), state(after).expect("there is an entry"));
        let told = issue_turn(&Turn {
            before: before.as_ref(),
            after: &after,
            same_execution: execution == "same",
            runner_is_out: runner == "out",
        });
        let told = match told {
            Some(IssueTurn::Opened) => "opened",
            Some(IssueTurn::Closed) => "closed",
            None => "-",
        };
        assert_eq!(told, expected, "{line}");
        rows += 1;
    }
    assert_eq!(rows, 22);
}

#[test]
fn what_a_lock_leaves_behind_is_an_issue_only_if_a_person_must_decide() {
    for (text, expected) in [
        ("STARTED", true),
        ("FAILED", true),
        ("ROLLBACK_FAILED", false),
        ("APPLIED", false),
        ("ROLLED_BACK", false),
    ] {
        let left = state(text).expect("a state");
        assert_eq!(is_issue_without_runner(&left), expected, "{text}");
        let retried = ChangeState {
            recovery: RecoveryStrategy::AlwaysRetry,
            ..left
        };
        assert!(!is_issue_without_runner(&retried), "{text}");
        assert!(!is_issue_without_runner(&left) || is_issue(&left), "{text}");
    }
}
