//! The texts of the audit enums. Reading ignores case, as the Java client's own reader does, and never fails: a text
//! that we do not know is a fact all the same.

use super::{AuditState, RecoveryStrategy, Source, TxStrategy};

impl AuditState {
    /// Every state that this version knows.
    pub const ALL: [Self; 7] = [
        Self::Started,
        Self::Applied,
        Self::Failed,
        Self::RolledBack,
        Self::RollbackFailed,
        Self::MarkedApplied,
        Self::MarkedRolledBack,
    ];

    /// Texts of the states that nobody has to do anything about: nothing runs them again, and no mark speaks against them.
    pub const SETTLED_TEXTS: [&str; 3] = ["APPLIED", "EXECUTED", "MANUAL_MARKED_AS_APPLIED"];

    pub fn as_wire(&self) -> &'static str {
        match self {
            Self::Started => "STARTED",
            Self::Applied => "APPLIED",
            Self::Failed => "FAILED",
            Self::RolledBack => "ROLLED_BACK",
            Self::RollbackFailed => "ROLLBACK_FAILED",
            Self::MarkedApplied => "MANUAL_MARKED_AS_APPLIED",
            Self::MarkedRolledBack => "MANUAL_MARKED_AS_ROLLED_BACK",
            Self::Unknown => "UNKNOWN",
        }
    }

    /// Knows the names of older generations too: imported history is full of them.
    pub fn from_wire(text: &str) -> Self {
        match text.to_ascii_uppercase().as_str() {
            "STARTED" => Self::Started,
            "APPLIED" | "EXECUTED" => Self::Applied,
            "FAILED" | "EXECUTION_FAILED" => Self::Failed,
            "ROLLED_BACK" => Self::RolledBack,
            "ROLLBACK_FAILED" => Self::RollbackFailed,
            "MANUAL_MARKED_AS_APPLIED" => Self::MarkedApplied,
            "MANUAL_MARKED_AS_ROLLED_BACK" => Self::MarkedRolledBack,
            _ => Self::Unknown,
        }
    }
}

impl TxStrategy {
    pub fn as_wire(&self) -> &'static str {
        match self {
            Self::NonTx => "NON_TX",
            Self::Shared => "TX_SHARED",
            Self::WithMarker => "TX_SEPARATE_WITH_MARKER",
            Self::NoMarker => "TX_SEPARATE_NO_MARKER",
        }
    }

    pub fn from_wire(text: &str) -> Self {
        match text.to_ascii_uppercase().as_str() {
            "TX_SHARED" => Self::Shared,
            "TX_SEPARATE_WITH_MARKER" => Self::WithMarker,
            "TX_SEPARATE_NO_MARKER" => Self::NoMarker,
            _ => Self::NonTx,
        }
    }
}

impl RecoveryStrategy {
    pub fn as_wire(&self) -> &'static str {
        match self {
            Self::ManualIntervention => "MANUAL_INTERVENTION",
            Self::AlwaysRetry => "ALWAYS_RETRY",
        }
    }

    pub fn from_wire(text: &str) -> Self {
        match text.to_ascii_uppercase().as_str() {
            "ALWAYS_RETRY" => Self::AlwaysRetry,
            _ => Self::ManualIntervention,
        }
    }
}

impl Source {
    pub fn as_wire(&self) -> &'static str {
        match self {
            Self::Runner => "RUNNER",
            Self::Mark => "MARK",
            Self::Person => "PERSON",
            Self::Probe => "PROBE",
            Self::Import => "IMPORT",
            Self::Unknown => "UNKNOWN",
        }
    }

    pub fn from_wire(text: &str) -> Self {
        match text.to_ascii_uppercase().as_str() {
            "RUNNER" => Self::Runner,
            "MARK" => Self::Mark,
            "PERSON" => Self::Person,
            "PROBE" => Self::Probe,
            "IMPORT" => Self::Import,
            _ => Self::Unknown,
        }
    }
}
