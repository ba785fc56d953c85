//! Pipelines, plans and tables as text, and a world that does with decisions what a server does.

mod text;
mod world;

pub(crate) use text::{
    action_text, mark, pipeline, reported_change, reported_stage, rows, show, status_text, tidy, verdict_text,
};
pub(crate) use world::World;

use std::time::Duration;

use flamingock_domain::audit::{AuditState, ChangeState, RecoveryStrategy, Source, TxStrategy};
use flamingock_domain::ids::{
    AcquisitionId, ChangeId, ExecutionId, Fence, LockKey, RunnerId, Seq, StageName,
};
use flamingock_domain::lock::{Lease, Lock};
use flamingock_domain::time::Timestamp;

pub(crate) const GRACE: Duration = Duration::from_secs(5);
pub(crate) const LEASE: Duration = Duration::from_mins(1);

pub(crate) fn change_id(text: &str) -> ChangeId {
    ChangeId::parse(text).expect("a change id")
}

pub(crate) fn stage_name(text: &str) -> StageName {
    StageName::parse(text).expect("a stage name")
}

pub(crate) fn runner_id(text: &str) -> RunnerId {
    RunnerId::parse(text).expect("a runner id")
}

pub(crate) fn at(seconds: i64) -> Timestamp {
    Timestamp::from_micros(seconds * 1_000_000)
}

/// A lock held by `owner` until `expires`, granted with `fence`.
pub(crate) fn held_by(owner: &str, fence: Fence, expires: Timestamp) -> Lock {
    let acquisition_id = AcquisitionId::parse(format!("{owner}-{fence}")).expect("an acquisition id");
    let lease = Lease {
        owner: runner_id(owner),
        acquisition_id,
        length: LEASE,
        expires_at: expires,
    };
    Lock {
        key: LockKey::of_service(340),
        fence,
        lease: Some(lease),
    }
}

/// A runner's entry of execution 1, not in a transaction, without retry.
pub(crate) fn state_of(seq: Seq, state: AuditState) -> ChangeState {
    ChangeState {
        seq,
        state,
        tx_strategy: TxStrategy::NonTx,
        recovery: RecoveryStrategy::ManualIntervention,
        execution: Some(ExecutionId(1)),
        source: Source::Runner,
    }
}
