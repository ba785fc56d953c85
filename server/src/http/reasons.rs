//! Sentences for people about issues and kept refusals. Those for plans are shared with the SDK's testing kit.

use flamingock_domain::audit::{AuditState, ChangeState, Source, TxStrategy};
pub use flamingock_wording::reasons::{of, of_probe_refusal, of_refusal};

/// What is said of a refused start later; `reason` is what was kept of it.
pub fn of_kept_refusal(reason: &str) -> &'static str {
    match reason {
        "unknown_execution" => "Its execution is not one that this server granted to this service.",
        "not_its_runner" => "Its execution had been granted to another runner.",
        "not_the_holder" => "The runner did not hold the lock.",
        "stale_fence" => "The lock had been granted anew since its plan.",
        "lease_expired" => "The runner's lease had run out.",
        "cursor_outdated" => {
            "The attempt whose cursor it was to go on from had been heard of since its plan."
        }
        "state_forbids" => "The change's latest entry allowed no start.",
        _ => "For a reason that this version does not know.",
    }
}

/// What a person should check, for this state and this way of using transactions.
pub fn guidance(
    change: &str,
    latest: &ChangeState,
    contradicted_by_mark: bool,
    target: Option<&str>,
) -> String {
    let target = target.map_or_else(
        || "its target system".to_owned(),
        |target| format!("target system {target}"),
    );
    let what = what(latest, contradicted_by_mark);
    format!(
        "Look at {target} for change {change}: {what}. Complete it there by hand and record APPLIED, or undo what is left of \
         it by hand and record ROLLED_BACK, with expectedSeq {}. Then start the service again.",
        latest.seq
    )
}

/// What is known of an issue, in half a sentence.
pub fn what(latest: &ChangeState, contradicted_by_mark: bool) -> &'static str {
    if contradicted_by_mark {
        "its marker there says that it was committed, while the audit says otherwise"
    } else if latest.source == Source::Unknown {
        "its latest entry is of a source that this server does not know, so a newer version of the server wrote it"
    } else {
        match (latest.state, latest.tx_strategy) {
            (AuditState::Started, TxStrategy::NonTx) => {
                "it was started and no result was recorded: it may have taken effect fully, partly or not at all"
            }
            (AuditState::Started, _) => {
                "it was started in a transaction and no result was recorded: either all of it was committed, or nothing"
            }
            (AuditState::Failed, _) => "it failed and no rollback was recorded: it may be half done",
            (AuditState::RollbackFailed, _) => {
                "it failed, and undoing it failed too: parts of it are in place"
            }
            (
                AuditState::Applied
                | AuditState::RolledBack
                | AuditState::MarkedApplied
                | AuditState::MarkedRolledBack
                | AuditState::Unknown,
                _,
            ) => "its state cannot be judged by this server",
        }
    }
}
