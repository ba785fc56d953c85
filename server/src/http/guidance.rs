//! What a person should know and do about a change whose outcome is open: for each state and way of using transactions
//! (the crash table of the reference, read backwards).

use flamingock_api_types::issue::Guidance;
use flamingock_domain::audit::{AuditState, ChangeState, RecoveryStrategy, TxStrategy};

/// Why its outcome is open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Open {
    /// Its runner is at it under a live lease.
    InProgress,
    /// A marker says that it was applied, against the record.
    ByMark,
    /// Its latest entry.
    ByRecord,
}

/// What is known of the change.
#[derive(Clone, Copy, Debug)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "facts that hold or do not, each by itself"
)]
pub struct Known<'a> {
    pub latest: &'a ChangeState,
    pub open: Open,
    /// Somebody asked to start it without the right to.
    pub was_refused: bool,
    /// Something was reported of it too late to count.
    pub has_late_reports: bool,
    /// Its own probe was asked, and could not tell.
    pub was_asked: bool,
    /// An error was reported with one of its entries.
    pub has_error: bool,
    pub target: Option<&'a str>,
}

const FULLY: &str = "It took effect fully.";
const NOTHING: &str = "Nothing of it took effect.";
const PARTLY: &str = "Parts of it took effect.";

pub fn of(known: &Known<'_>) -> Guidance {
    let target = known.target.map_or_else(
        || "its target system".to_owned(),
        |target| format!("target system {target}"),
    );
    let (what_happened, possible) = situation(known, &target);
    let mut check = checks(known, &target);
    if known.was_refused {
        check.push(
            "A start of it was refused, and the Java client runs a change all the same: see who asked, under \
             refusedStarts, and what that process's log says."
                .to_owned(),
        );
    }
    if known.has_late_reports {
        check.push(
            "Somebody reported a result too late to count: it may be what really happened. Compare it with the target."
                .to_owned(),
        );
    }
    if known.was_asked {
        check.push(
            "Its own probe was asked and could not tell: what it said stands beside its entries in the history."
                .to_owned(),
        );
    }
    Guidance {
        what_happened,
        possible: possible.iter().map(|&text| text.to_owned()).collect(),
        check,
        then: remedies(known),
    }
}

fn situation(known: &Known<'_>, target: &str) -> (String, &'static [&'static str]) {
    if known.open == Open::InProgress {
        let at_it = match known.latest.state {
            AuditState::Failed => "It failed, and its runner, which is alive, may be undoing it this moment.",
            _ => "Its runner is alive and working on it.",
        };
        return (
            at_it.to_owned(),
            &["It ends by itself. Nobody has to do anything yet."],
        );
    }
    if known.open == Open::ByMark {
        return contradicted(known.latest.state, target);
    }
    match (known.latest.state, known.latest.tx_strategy) {
        (AuditState::Started, TxStrategy::NonTx) => (
            format!(
                "It was started on {target} without a transaction, and no result was recorded: its process died, or could \
                 not reach the server."
            ),
            &[NOTHING, PARTLY, FULLY],
        ),
        (AuditState::Started, TxStrategy::WithMarker) => (
            format!(
                "It was started in a transaction on {target}, which writes a marker with it, and no result was recorded. No \
                 marker has been reported since."
            ),
            &[
                "Nothing of it took effect: the transaction was never committed. Most likely, where there is no marker.",
                "It took effect fully: the transaction was committed, and no start has reported the marker yet.",
            ],
        ),
        (AuditState::Started, TxStrategy::NoMarker | TxStrategy::Shared) => (
            format!("It was started in a transaction on {target}, and no result was recorded."),
            &[
                "Nothing of it took effect: the transaction was never committed.",
                "It took effect fully: the transaction was committed, and its process died before it could say so.",
            ],
        ),
        (AuditState::Failed, _) => (
            format!(
                "It failed on {target} outside a transaction, and no rollback was recorded: it has none, or its process died \
                 while it undid the change or right after."
            ),
            &[
                "Parts of it took effect, up to where it failed.",
                "Parts of it were undone: the rollback was interrupted.",
                "Nothing is left of it: the rollback had ended and could not be recorded.",
            ],
        ),
        (AuditState::RollbackFailed, _) => (
            format!(
                "It failed on {target}, and undoing it failed too: the target is known to be in between."
            ),
            &["Parts of it are in place, and parts of its rollback."],
        ),
        (
            AuditState::Applied
            | AuditState::RolledBack
            | AuditState::MarkedApplied
            | AuditState::MarkedRolledBack
            | AuditState::Unknown,
            _,
        ) => (
            "Its latest entry has a state that this server does not know.".to_owned(),
            &[NOTHING, PARTLY, FULLY],
        ),
    }
}

fn contradicted(state: AuditState, target: &str) -> (String, &'static [&'static str]) {
    let record = match state {
        AuditState::MarkedRolledBack => {
            "a person decided, without knowing of the marker, that nothing is left of it"
        }
        AuditState::RolledBack => "the audit says that it was rolled back",
        AuditState::RollbackFailed => "the audit says that undoing it failed",
        AuditState::Failed => "the audit says that it failed",
        AuditState::Started | AuditState::Applied | AuditState::MarkedApplied | AuditState::Unknown => {
            "the audit says something else"
        }
    };
    (
        format!("Its marker in {target} says that its transaction was committed, while {record}."),
        &[
            "It took effect fully, and the record is wrong.",
            "It was undone by hand, and the marker was left behind.",
        ],
    )
}

fn checks(known: &Known<'_>, target: &str) -> Vec<String> {
    if known.open == Open::InProgress {
        return vec!["Is its process alive and getting on? Its log says so.".to_owned()];
    }
    let mut checks = vec![
        if known.has_error {
            "Read the error, and the log of the process that ran it, around the time of the latest entry."
        } else {
            "Read the log of the process that ran it, around the time of the latest entry: no error was reported."
        }
        .to_owned(),
        format!(
            "Look in {target} for each thing that the change makes or alters: is it there, wholly or partly?"
        ),
    ];
    let in_transaction = !matches!(known.latest.tx_strategy, TxStrategy::NonTx);
    if known.latest.tx_strategy == TxStrategy::WithMarker || known.open == Open::ByMark {
        checks.push(format!(
            "Look in {target} for the marker of this change (in SQL databases a row of the table flamingock_audit_marks): \
             it is written in the change's own transaction, so where it is, the change was committed."
        ));
    }
    if in_transaction && known.open != Open::ByMark {
        checks.push(
            "Does that database commit DDL by itself, as MySQL and Oracle do? Then parts may be in place in spite of the \
             transaction."
                .to_owned(),
        );
    }
    checks
}

fn remedies(known: &Known<'_>) -> Vec<String> {
    if known.open == Open::InProgress {
        return vec![
            "Wait until it reports or its lease has run out.".to_owned(),
            "Is its process hanging: stop it, then wait for the end of its lease, or release the lock by force.".to_owned(),
        ];
    }
    let seq = known.latest.seq;
    let mut then = vec![
        format!(
            "Is all of it in place, or can you complete it by hand: do so, and record APPLIED about entry {seq}. It never \
             runs again."
        ),
        format!(
            "Is nothing of it there, or can you undo what is left by hand: do so, and record ROLLED_BACK about entry {seq}. \
             It runs at the next start."
        ),
    ];
    if known.open == Open::ByMark {
        then.push("If you undid it by hand, remove its marker too.".to_owned());
    }
    then.push("Then start the service again.".to_owned());
    if known.latest.recovery == RecoveryStrategy::ManualIntervention {
        then.push(
            "Can this change safely be repeated from any point, always? Then declare ALWAYS_RETRY in its code, and nobody \
             is called the next time."
                .to_owned(),
        );
    }
    then
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use flamingock_domain::audit::{Source, is_issue};

    use super::*;

    const STRATEGIES: [TxStrategy; 4] = [
        TxStrategy::NonTx,
        TxStrategy::Shared,
        TxStrategy::WithMarker,
        TxStrategy::NoMarker,
    ];

    fn latest(state: AuditState, tx_strategy: TxStrategy) -> ChangeState {
        ChangeState {
            seq: 12,
            state,
            tx_strategy,
            recovery: RecoveryStrategy::ManualIntervention,
            execution: None,
            source: Source::Runner,
        }
    }

    fn guidance(latest: &ChangeState) -> Guidance {
        of(&Known {
            latest,
            open: Open::ByRecord,
            was_refused: false,
            has_late_reports: false,
            was_asked: false,
            has_error: latest.state == AuditState::Failed,
            target: Some("billing-db"),
        })
    }

    #[test]
    fn every_issue_of_the_crash_table_is_told_apart_and_names_target_and_entry() {
        let mut told: HashMap<(String, Vec<String>), (AuditState, TxStrategy)> = HashMap::new();
        for state in [
            AuditState::Started,
            AuditState::Failed,
            AuditState::RollbackFailed,
            AuditState::Unknown,
        ] {
            for strategy in STRATEGIES {
                let latest = latest(state, strategy);
                if !is_issue(&latest) {
                    continue;
                }
                let text = guidance(&latest);
                assert!(!text.possible.is_empty() && text.check.len() >= 2 && text.then.len() >= 3);
                assert!(text.then[0].contains("APPLIED") && text.then[0].contains("12"));
                assert!(text.then[1].contains("ROLLED_BACK") && text.then[1].contains("12"));
                assert!(text.check[1].contains("billing-db"));
                if state == AuditState::Started && strategy != TxStrategy::Shared {
                    let before = told.insert(
                        (text.what_happened.clone(), text.possible.clone()),
                        (state, strategy),
                    );
                    assert_eq!(before, None, "{strategy:?} reads like another");
                }
            }
        }
    }

    #[test]
    fn only_outside_a_transaction_may_a_start_without_result_be_half_done() {
        for strategy in STRATEGIES {
            let text = guidance(&latest(AuditState::Started, strategy));
            let partly = text.possible.iter().any(|it| it == PARTLY);
            assert_eq!(partly, strategy == TxStrategy::NonTx, "{strategy:?}");
            let marker = text.check.iter().any(|it| it.contains("flamingock_audit_marks"));
            assert_eq!(marker, strategy == TxStrategy::WithMarker, "{strategy:?}");
        }
    }

    #[test]
    fn nobody_is_sent_to_an_error_that_was_not_reported() {
        let died = guidance(&latest(AuditState::Started, TxStrategy::NonTx));
        assert!(died.check[0].starts_with("Read the log"), "{died:?}");
        let failed = guidance(&latest(AuditState::Failed, TxStrategy::NonTx));
        assert!(failed.check[0].starts_with("Read the error"), "{failed:?}");
    }

    #[test]
    fn what_is_in_progress_is_left_alone() {
        let latest = latest(AuditState::Started, TxStrategy::NonTx);
        let text = of(&Known {
            latest: &latest,
            open: Open::InProgress,
            was_refused: false,
            has_late_reports: false,
            was_asked: false,
            has_error: false,
            target: None,
        });
        assert!(text.then[0].starts_with("Wait"), "{text:?}");
        assert!(!text.then.iter().any(|it| it.contains("record")), "{text:?}");
    }
}
