//! What the next run makes of a runner that died: S §3.7, cell by cell.

use std::time::Duration;

use flamingock_domain::audit::{AuditState, RecoveryStrategy, TxStrategy};

use crate::support::{LEASE, World, rows};

// Entries that were written, `*` and the mark that was left, then what the next run does. An empty cell cannot happen.
const CRASHES: &str = "
| crash point                              | NON_TX                             | NO_MARKER                          | WITH_MARKER                        | SHARED                             |
| ---------------------------------------- | ---------------------------------- | ---------------------------------- | ---------------------------------- | ---------------------------------- |
| before STARTED write                     | > APPLY                            | > APPLY                            | > APPLY                            | > APPLY                            |
| after STARTED, before apply              | STARTED > MI                       | STARTED > MI                       | STARTED > MI                       | > APPLY                            |
| during apply                             | STARTED > MI                       | STARTED > MI                       | STARTED > MI                       | > APPLY                            |
| after apply, before commit               |                                    | STARTED > MI                       | STARTED > MI                       | > APPLY                            |
| after commit, before APPLIED             | STARTED > MI                       | STARTED > MI                       | STARTED *APPLIED > SKIP            | STARTED APPLIED > SKIP             |
| after APPLIED, before clear              |                                    |                                    | STARTED APPLIED *APPLIED > SKIP    |                                    |
| after apply failure, before FAILED       | STARTED > MI                       | STARTED > MI                       | STARTED > MI                       | > APPLY                            |
| after FAILED, before rollback or its entry | STARTED FAILED > MI              | STARTED FAILED > APPLY             | STARTED FAILED > APPLY             | > APPLY                            |
| during rollback                          | STARTED FAILED > MI                |                                    |                                    | STARTED FAILED ROLLED_BACK > APPLY |
| after rollback, before ROLLED_BACK       | STARTED FAILED > MI                |                                    |                                    | STARTED FAILED ROLLED_BACK > APPLY |
| after ROLLED_BACK                        | STARTED FAILED ROLLED_BACK > APPLY | STARTED FAILED ROLLED_BACK > APPLY | STARTED FAILED ROLLED_BACK > APPLY | STARTED FAILED ROLLED_BACK > APPLY |
| after ROLLBACK_FAILED                    | STARTED FAILED ROLLBACK_FAILED > MI | STARTED FAILED ROLLBACK_FAILED > MI | STARTED FAILED ROLLBACK_FAILED > MI | STARTED FAILED ROLLBACK_FAILED > MI |
";

const STRATEGIES: [TxStrategy; 4] = [
    TxStrategy::NonTx,
    TxStrategy::NoMarker,
    TxStrategy::WithMarker,
    TxStrategy::Shared,
];

/// Lets a runner get as far as the cell says and die; gives what the next one is told.
fn next_run(written: &str, tx_strategy: TxStrategy, recovery: RecoveryStrategy, trust: bool) -> String {
    let (entries, mark) = written.split_once('*').unwrap_or((written, ""));
    let mut world = World::with(tx_strategy, recovery);
    world.settings.trust_absent_marks = trust;
    world.ask("dead", "stage: it");
    for entry in entries.split_whitespace() {
        world.run("it", &[AuditState::from_wire(entry)]);
    }
    // The lock of the dead process stays until its lease ends.
    let submitted = if mark.is_empty() {
        "stage: it".to_owned()
    } else {
        format!("stage: it *{mark}")
    };
    if !entries.contains("APPLIED") {
        assert_eq!(world.ask_briefly("next", &submitted), "AWAIT dead");
    }
    world.pass(LEASE + Duration::from_secs(6));
    world.ask_briefly("next", &submitted)
}

fn each_cell(check: impl Fn(&str, TxStrategy, &str, &str)) {
    let mut cells = 0;
    for row in &rows(CRASHES)[1..] {
        for (cell, tx_strategy) in row.cells[1..].iter().zip(STRATEGIES) {
            let Some((written, action)) = cell.split_once('>') else {
                continue;
            };
            check(written.trim(), tx_strategy, action.trim(), row.cells[0]);
            cells += 1;
        }
    }
    assert_eq!(cells, 40, "no cell is skipped by mistake");
}

/// The answer in which the only change has this action.
fn answer(action: &str, written: &str) -> String {
    match action {
        "SKIP" if written.contains('*') => "CONTINUE, marks synchronized".to_owned(),
        "SKIP" => "CONTINUE".to_owned(),
        action => format!("EXECUTE\ndo stage: it {action}"),
    }
}

#[test]
fn every_crash_point_is_followed_by_what_the_table_says() {
    each_cell(|written, tx_strategy, action, point| {
        let told = next_run(written, tx_strategy, RecoveryStrategy::ManualIntervention, false);
        assert_eq!(told, answer(action, written), "{point}, {tx_strategy:?}");
    });
}

#[test]
fn with_always_retry_nobody_is_asked_and_what_is_committed_is_still_not_run_again() {
    each_cell(|written, tx_strategy, action, point| {
        let action = if action == "MI" { "APPLY" } else { action };
        let told = next_run(written, tx_strategy, RecoveryStrategy::AlwaysRetry, false);
        assert_eq!(told, answer(action, written), "{point}, {tx_strategy:?}");
    });
}

#[test]
fn where_absent_marks_are_trusted_a_started_change_with_a_marker_store_is_run_again() {
    each_cell(|written, tx_strategy, action, point| {
        let proves_non_commit = tx_strategy == TxStrategy::WithMarker && written == "STARTED";
        let action = if proves_non_commit { "APPLY" } else { action };
        let told = next_run(written, tx_strategy, RecoveryStrategy::ManualIntervention, true);
        assert_eq!(told, answer(action, written), "{point}, {tx_strategy:?}");
    });
}
