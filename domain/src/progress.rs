//! What a long change tells while it runs: who may tell it, and whether a later attempt may go on where it got to.

use crate::audit::{AuditState, ChangeState, Source, TxStrategy};
use crate::ids::{ExecutionId, Seq};

/// Whether an execution may tell of a change: it has begun it, by its own word, and it has not ended. Failed is not the end:
/// the rollback that follows may take long, too.
pub fn is_under_way(latest: Option<&ChangeState>, execution: ExecutionId) -> bool {
    latest.is_some_and(|latest| {
        latest.execution == Some(execution)
            && latest.source == Source::Runner
            && matches!(latest.state, AuditState::Started | AuditState::Failed)
    })
}

/// A cursor that was kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Kept {
    /// The attempt that saved it, or was given it to go on from.
    pub execution: ExecutionId,
    /// That attempt undoes, once it has failed, what the cursor counts.
    pub void_when_failed: bool,
    /// The change's latest entry when the attempt was given the cursor: it held then.
    pub handed_on_at: Option<Seq>,
}

/// Whether work that the cursor counts is still there, as far as anybody knows, so that the next attempt may go on from it.
///
/// Going on is never right where the work was, or may have been, undone: then the next attempt would leave it out. To begin at
/// the beginning is right everywhere, since only a change that may be repeated is offered again.
pub fn goes_on(latest: Option<&ChangeState>, kept: Kept) -> bool {
    let Some(latest) = latest else { return false };
    // Of the latest attempt that was begun, or of one that was granted after it and never began. Ids of one stream grow.
    let is_of_latest = latest.execution.is_some_and(|attempt| attempt <= kept.execution);
    is_of_latest
        && latest.source == Source::Runner
        // What ran in a transaction is undone with it.
        && latest.tx_strategy == TxStrategy::NonTx
        && match latest.state {
            AuditState::Started => true,
            AuditState::Failed if latest.execution == Some(kept.execution) => !kept.void_when_failed,
            // An earlier attempt's failure, if it was known when the cursor was handed on. One that came to be known since may
            // have been followed by a rollback.
            AuditState::Failed => kept.handed_on_at == Some(latest.seq),
            AuditState::Applied
            | AuditState::RolledBack
            | AuditState::RollbackFailed
            | AuditState::MarkedApplied
            | AuditState::MarkedRolledBack
            | AuditState::Unknown => false,
        }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit::RecoveryStrategy;

    const ALL: [AuditState; 8] = [
        AuditState::Started,
        AuditState::Applied,
        AuditState::Failed,
        AuditState::RolledBack,
        AuditState::RollbackFailed,
        AuditState::MarkedApplied,
        AuditState::MarkedRolledBack,
        AuditState::Unknown,
    ];

    fn state(state: AuditState, execution: i64) -> ChangeState {
        ChangeState {
            seq: 5,
            state,
            tx_strategy: TxStrategy::NonTx,
            recovery: RecoveryStrategy::AlwaysRetry,
            execution: Some(ExecutionId(execution)),
            source: Source::Runner,
        }
    }

    fn kept(execution: i64, void_when_failed: bool) -> Kept {
        Kept {
            execution: ExecutionId(execution),
            void_when_failed,
            handed_on_at: None,
        }
    }

    #[test]
    fn only_the_execution_that_has_begun_a_change_and_not_ended_it_may_tell_of_it() {
        for latest in ALL {
            let may = matches!(latest, AuditState::Started | AuditState::Failed);
            assert_eq!(
                is_under_way(Some(&state(latest, 7)), ExecutionId(7)),
                may,
                "{latest:?}"
            );
            assert!(
                !is_under_way(Some(&state(latest, 8)), ExecutionId(7)),
                "{latest:?} of another"
            );
            for source in [
                Source::Mark,
                Source::Person,
                Source::Probe,
                Source::Import,
                Source::Unknown,
            ] {
                let latest = ChangeState {
                    source,
                    ..state(latest, 7)
                };
                assert!(!is_under_way(Some(&latest), ExecutionId(7)), "{latest:?}");
            }
        }
        assert!(!is_under_way(None, ExecutionId(7)));
    }

    #[test]
    fn a_cursor_ends_with_the_work_that_it_counts() {
        for latest in ALL {
            for void in [false, true] {
                let goes = match latest {
                    AuditState::Started => true,
                    AuditState::Failed => !void,
                    _ => false,
                };
                assert_eq!(
                    goes_on(Some(&state(latest, 7)), kept(7, void)),
                    goes,
                    "{latest:?}, {void}"
                );
            }
        }
        assert!(!goes_on(None, kept(7, false)));
    }

    #[test]
    fn a_cursor_is_the_latest_attempts_or_of_one_that_was_granted_after_it_and_never_began() {
        let latest = state(AuditState::Started, 7);
        // The seventh attempt was begun without being given what the sixth had saved: that was undone.
        assert!(!goes_on(Some(&latest), kept(6, false)));
        assert!(goes_on(Some(&latest), kept(7, false)));
        assert!(goes_on(Some(&latest), kept(8, false)));
    }

    #[test]
    fn an_attempt_that_never_began_passes_on_what_it_was_given_unless_the_one_before_failed_meanwhile() {
        // The fifth entry is the seventh attempt's failure.
        let latest = state(AuditState::Failed, 7);
        for void_when_failed in [false, true] {
            let handed_on = |seq| Kept {
                handed_on_at: Some(seq),
                ..kept(8, void_when_failed)
            };
            assert!(goes_on(Some(&latest), handed_on(5)));
            assert!(!goes_on(Some(&latest), handed_on(4)));
        }
    }

    #[test]
    fn no_cursor_outlives_a_transaction_or_another_source_than_the_runner() {
        for tx_strategy in [TxStrategy::Shared, TxStrategy::WithMarker, TxStrategy::NoMarker] {
            let latest = ChangeState {
                tx_strategy,
                ..state(AuditState::Started, 7)
            };
            assert!(!goes_on(Some(&latest), kept(7, false)), "{tx_strategy:?}");
        }
        for source in [
            Source::Mark,
            Source::Person,
            Source::Probe,
            Source::Import,
            Source::Unknown,
        ] {
            let latest = ChangeState {
                source,
                ..state(AuditState::Started, 7)
            };
            assert!(!goes_on(Some(&latest), kept(7, false)), "{source:?}");
        }
        let latest = ChangeState {
            execution: None,
            ..state(AuditState::Started, 7)
        };
        assert!(!goes_on(Some(&latest), kept(7, false)));
    }
}
