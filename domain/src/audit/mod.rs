//! Audit states, the fold of entries into the latest state of each change, and the judgement of a report.
//!
//! Here are the types. `difference` compares environments, `latest` folds, `judge` decides what becomes of a runner's
//! report, `probe` what becomes of a probe's verdict, `resolve` what becomes of a person's decision, `turn` which issues an entry opens or closes, `wire` holds the
//! texts.

use std::collections::HashMap;

pub mod difference;
mod judge;
mod latest;
mod probe;
mod resolve;
mod turn;
mod wire;

pub use judge::judge;
pub use latest::{FoldEntry, fold};
pub use probe::{
    ProbeJudgement, ProbeRefusal, ProbeVerdict, Probed, ProbedUnder, RecordedProbe, is_in_doubt, judge_probe,
    repeats_probe,
};
pub use resolve::{
    Made, Resolution, ResolveRefusal, contradicts_mark, in_progress, is_acted_on, is_issue, repeats, resolve,
    resolve_marked,
};
pub use turn::{IssueTurn, Turn, is_issue_without_runner, issue_turn};

use crate::ids::{ChangeId, ExecutionId, Fence, RunnerId, Seq};
use crate::lock::Lock;
use crate::time::Timestamp;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum AuditState {
    Started,
    Applied,
    Failed,
    RolledBack,
    RollbackFailed,
    /// `MANUAL_MARKED_AS_APPLIED`
    MarkedApplied,
    /// `MANUAL_MARKED_AS_ROLLED_BACK`
    MarkedRolledBack,
    /// A text that this version does not know: kept as text in the log, judged with care (S P1).
    Unknown,
}

/// How the attempt used its target's transactions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum TxStrategy {
    /// Also what an absent or unknown text means: the reading that trusts the target least.
    #[default]
    NonTx,
    Shared,
    WithMarker,
    NoMarker,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum RecoveryStrategy {
    /// Also what an absent or unknown text means: a person is asked.
    #[default]
    ManualIntervention,
    AlwaysRetry,
}

/// Who says so.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Source {
    /// The runner that did it.
    Runner,
    /// Derived by the server from a marker in the target system.
    Mark,
    /// A person's decision.
    Person,
    /// The change's own probe, asked where the outcome was in doubt.
    Probe,
    /// History from before this server.
    Import,
    /// A text that this version does not know: a newer version wrote it. What that says is applied is not run again, and nothing
    /// else is taken from it without a person.
    Unknown,
}

/// The latest entry of a change that counts: what the planner reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ChangeState {
    pub seq: Seq,
    pub state: AuditState,
    pub tx_strategy: TxStrategy,
    pub recovery: RecoveryStrategy,
    /// `None` for imports, and for what a person or a probe decided.
    pub execution: Option<ExecutionId>,
    pub source: Source,
}

pub type States = HashMap<ChangeId, ChangeState>;

/// The execution that a report names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReportedExecution<'a> {
    /// Granted by us, for this service.
    Known {
        id: ExecutionId,
        runner: &'a RunnerId,
        fence: Fence,
        /// Head of the stream when the plan was decided: entries up to it are older than the execution. Those that
        /// the plan itself derived are among them.
        planned_at: Seq,
    },
    /// A number that we never issued: accepted and flagged (W 6.14).
    Unknown(ExecutionId),
    /// Not a number: history written by an importer (W §3.8).
    Import {
        /// When it happened, on a clock of those days.
        at_ms: Option<i64>,
        /// The same of the change's latest entry, where that was imported too.
        latest_at_ms: Option<i64>,
    },
}

/// Everything that the judgement of a report depends on.
#[derive(Clone, Copy, Debug)]
pub struct Report<'a> {
    pub state: AuditState,
    pub execution: ReportedExecution<'a>,
    /// Who reports: must hold the lock to start something.
    pub runner: &'a RunnerId,
    /// The fence that the runner echoes, where it does.
    pub fence: Option<Fence>,
    /// The change's latest state that counts.
    pub latest: Option<&'a ChangeState>,
    /// Sequence of an entry with the same (execution, change, state), if there is one.
    pub same: Option<Seq>,
    pub lock: Option<&'a Lock>,
    pub now: Timestamp,
    /// The environment takes an absent mark as proof that nothing was committed (M3): what the plan offered on these
    /// grounds may be started on them.
    pub trust_absent_marks: bool,
    /// The change's latest entry when the execution was handed a cursor of it, if it was.
    pub handed_on_at: Option<Seq>,
}

/// What becomes of a report.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Judgement {
    /// Append, and it is now the change's latest state.
    Append,
    /// Append flagged late: it changes no state and shows as evidence.
    AppendLate,
    /// The same was recorded before: nothing to write.
    Duplicate,
    /// Only a `STARTED` is ever refused.
    Refuse(StartRefusal),
}

/// Why a `STARTED` is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StartRefusal {
    /// The execution is not one of ours.
    UnknownExecution,
    /// The reporter is not the runner to which the execution was granted.
    NotItsRunner,
    /// Nobody, or somebody else, holds the lock.
    NotTheHolder,
    /// The lock was granted anew since: this execution's fence is stale.
    StaleFence,
    /// The lease has run out on the database's clock.
    LeaseExpired,
    /// The change's latest state allows no start.
    StateForbids(AuditState),
    /// The execution is to go on from a cursor, and since it was handed on more was recorded of the attempt that saved it.
    CursorOutdated,
}
