//! Why an application should not start, and what a person can do about it.

use std::{error::Error as StdError, fmt, time::Duration};

use flamingock_api_types::{ErrorCode, progress::CancellationNotice};

use crate::{cancellation::CancelReason, causes, error::Error, report::Report, target::TargetError};

/// A run that failed. Carries the report of what was done all the same.
///
/// `Display` gives the report's line and, on the next lines, what to do.
pub struct StartError {
    inner: Box<Inner>,
}

struct Inner {
    kind: StartErrorKind,
    report: Report,
}

/// What ended the run.
#[derive(Debug)]
#[non_exhaustive]
pub enum StartErrorKind {
    /// Changes failed; the report says which and why.
    ChangesFailed,
    /// Nothing failed now, but a person has to decide about changes that failed earlier.
    ManualIntervention {
        /// Their ids.
        change_ids: Vec<String>,
    },
    /// Only validating, and these changes are pending.
    PendingChanges {
        /// Their ids.
        change_ids: Vec<String>,
    },
    /// Another runner held the lock all the time.
    LockUnavailable {
        /// Who.
        holder: String,
        /// How long was waited.
        waited: Duration,
    },
    /// The lock was lost, or the server asked to stop; pending changes were not begun.
    Cancelled {
        /// Which of the two.
        reason: CancelReason,
        /// Who asked, when and why, where somebody did and the server says so.
        notice: Option<CancellationNotice>,
    },
    /// This process was asked to stop; pending changes were not begun.
    Interrupted,
    /// The run panicked: an error of the SDK or of a target, not of a change. Only of a run in the background.
    Panicked {
        /// What it said.
        message: String,
    },
    /// A policy of the environment refuses the start: a freeze, a missing approval, a change out of order or edited after
    /// it was applied. Nothing more was begun; what the run applied before it, in earlier blocks, stays applied.
    StoppedByPolicy {
        /// Which policy: one of the codes `R_POLICY_…`.
        code: ErrorCode,
        /// In the server's words, with what to do.
        reason: String,
        /// The changes that it is about; none for a freeze.
        change_ids: Vec<String>,
    },
    /// A call to the server failed.
    Server(Error),
    /// The server could not be reached, and no certificate allows a start without it.
    NotCertified {
        /// Of the call.
        error: Error,
        /// What is wrong with the certificate.
        reason: String,
    },
    /// The server stopped the run although nothing had failed.
    Aborted {
        /// In the server's words.
        reason: String,
    },
    /// An answer that makes no sense: nothing was done on it.
    Protocol(String),
    /// The marks of a target system could not be read, so what is pending cannot be told; or not be removed, so what is
    /// applied now would look as if it had been applied before.
    Target {
        /// Its id.
        target: String,
        /// Why.
        error: TargetError,
    },
}

impl StartError {
    pub(crate) fn new(kind: StartErrorKind, report: Report) -> Self {
        Self {
            inner: Box::new(Inner { kind, report }),
        }
    }

    /// What was done before the end.
    pub fn report(&self) -> &Report {
        &self.inner.report
    }

    /// What was done before the end.
    pub fn into_report(self) -> Report {
        self.inner.report
    }

    /// What ended the run.
    pub fn kind(&self) -> &StartErrorKind {
        &self.inner.kind
    }

    /// Another runner held the lock all the time.
    pub fn is_lock_unavailable(&self) -> bool {
        matches!(self.inner.kind, StartErrorKind::LockUnavailable { .. })
    }

    /// Only validating, and changes are pending.
    pub fn is_pending_changes(&self) -> bool {
        matches!(self.inner.kind, StartErrorKind::PendingChanges { .. })
    }

    /// This process was asked to stop.
    pub fn is_interrupted(&self) -> bool {
        matches!(self.inner.kind, StartErrorKind::Interrupted)
    }

    /// A policy of the environment refuses the start.
    pub fn is_stopped_by_policy(&self) -> bool {
        matches!(self.inner.kind, StartErrorKind::StoppedByPolicy { .. })
    }

    /// A person has to decide about a change before the next start can go on.
    pub fn is_manual_intervention(&self) -> bool {
        !self.inner.report.manual_intervention().is_empty()
    }

    /// What a person can do.
    pub fn next_steps(&self) -> String {
        self.inner.kind.next_steps(&self.inner.report)
    }
}

impl StartErrorKind {
    /// A plan that the server refused.
    pub(crate) fn of_plan(error: Error) -> Self {
        let policy = error.code().filter(|code| {
            matches!(
                code,
                ErrorCode::Frozen
                    | ErrorCode::ApprovalMissing
                    | ErrorCode::ChecksumMismatch
                    | ErrorCode::OutOfOrder
            )
        });
        match (policy, error.problem()) {
            (Some(code), Some(problem)) => Self::StoppedByPolicy {
                code,
                reason: problem.message.clone(),
                change_ids: problem.details.clone(),
            },
            _ => Self::Server(error),
        }
    }

    /// The kind's name in capitals, as in the report's error: `CHANGES_FAILED`, `INTERRUPTED`, …
    pub fn name(&self) -> &'static str {
        self.describe().0
    }

    /// Name for programs, and what happened.
    pub(crate) fn describe(&self) -> (&'static str, String) {
        match self {
            Self::ChangesFailed => ("CHANGES_FAILED", "changes failed".to_owned()),
            Self::ManualIntervention { change_ids } => (
                "MANUAL_INTERVENTION_REQUIRED",
                format!("a person has to decide about {}", change_ids.join(", ")),
            ),
            Self::PendingChanges { change_ids } => (
                "PENDING_CHANGES",
                format!(
                    "validating only, and changes are pending: {}",
                    change_ids.join(", ")
                ),
            ),
            Self::LockUnavailable { holder, waited } => {
                let waited = waited.as_millis();
                (
                    "LOCK_UNAVAILABLE",
                    format!("Quit trying to acquire the lock after {waited} millis; it is held by {holder}"),
                )
            }
            Self::Cancelled { reason, notice } => {
                let what = match notice {
                    Some(notice) => format!(
                        "{} asked the run to stop ({})",
                        notice.requested_by, notice.reason
                    ),
                    None => reason.to_string(),
                };
                ("CANCELLED", format!("{what}, so pending changes were not begun"))
            }
            Self::Interrupted => (
                "INTERRUPTED",
                "the application was asked to stop, so pending changes were not begun".to_owned(),
            ),
            Self::Panicked { message } => ("PANICKED", format!("the run panicked: {message}")),
            Self::StoppedByPolicy { reason, .. } => ("STOPPED_BY_POLICY", reason.clone()),
            Self::Server(error) => ("SERVER_ERROR", error.to_string()),
            Self::NotCertified { error, reason } => (
                "SERVER_ERROR",
                format!("{error}; and the application cannot start without it: {reason}"),
            ),
            Self::Aborted { reason } => ("ABORTED", format!("the server stopped the run: {reason}")),
            Self::Protocol(text) => (
                "PROTOCOL_ERROR",
                format!("the server's answer makes no sense: {text}"),
            ),
            Self::Target { target, error } => (
                "TARGET_ERROR",
                format!("target system `{target}`: {}", causes::one_line(error)),
            ),
        }
    }

    fn next_steps(&self, report: &Report) -> String {
        match self {
            Self::ChangesFailed | Self::ManualIntervention { .. } => after_failures(report),
            Self::PendingChanges { .. } => {
                "Start the application without `validate_only` to apply them.".to_owned()
            }
            Self::LockUnavailable { holder, .. } => format!(
                "Wait until {holder} has finished and start again. If it has died, its lease ends by itself; raise \
                 `wait_for_lock` above the lease to outlast it."
            ),
            Self::Cancelled { reason, .. } => after_cancellation(*reason, report),
            Self::Interrupted => after_cancellation(CancelReason::Shutdown, report),
            Self::Panicked { .. } => {
                "Report the panic, with the log above it, to whoever wrote the target system's code or the SDK.".to_owned()
            }
            Self::StoppedByPolicy { code, .. } => match code {
                ErrorCode::Frozen => {
                    "Start again when the freeze has ended, or ask an operator to end it.".to_owned()
                }
                ErrorCode::ApprovalMissing => {
                    "Ask an operator who did not write the changes to approve them, then start again."
                        .to_owned()
                }
                _ => "Correct the changes, or ask an operator to accept them as they are, then start again."
                    .to_owned(),
            },
            Self::Server(error) if error.is_unauthorized() => {
                "Check the API token, its expiry, and whether it reaches this environment and service."
                    .to_owned()
            }
            Self::NotCertified { .. } => {
                "Check that the coordination server runs and can be reached from here, then start again."
                    .to_owned()
            }
            Self::Server(error) if error.is_unanswered() => {
                "Check that the coordination server runs and can be reached from here, then start again."
                    .to_owned()
            }
            Self::Server(error) => {
                format!(
                    "See the server's log for request {}, then start again.",
                    error.request_id()
                )
            }
            Self::Aborted { .. } => {
                "Ask whoever runs the coordination server; its reason is above.".to_owned()
            }
            Self::Protocol(_) => {
                "Check that the address is a coordination server and that its version fits this SDK's."
                    .to_owned()
            }
            Self::Target { target, .. } => {
                format!(
                    "Check that target system `{target}` runs, can be reached from here and lets this application read \
                     and delete its marks, then start again."
                )
            }
        }
    }
}

/// A change that was running when the lock was lost may have failed, or its result may have come too late to count.
fn after_cancellation(reason: CancelReason, report: &Report) -> String {
    let again = match reason {
        CancelReason::LockLost => {
            "Check the connection to the coordination server and whether a change blocks its thread, then start again."
        }
        CancelReason::Requested => "Start again when the reason for the request is gone.",
        CancelReason::Shutdown => "The next start goes on with what is pending.",
    };
    if report.failed_changes == 0 {
        again.to_owned()
    } else {
        format!("{again} For what failed: {}", after_failures(report))
    }
}

fn after_failures(report: &Report) -> String {
    let waiting = report.manual_intervention();
    if waiting.is_empty() {
        return "Correct the cause and start again. Changes that were rolled back are tried again; if the state of a \
                target is unknown, the next start asks for a person's decision."
            .to_owned();
    }
    format!(
        "For each of {}: 1. read what is known of it (`flamingock issue get`); 2. check in the target system whether the \
         change took effect, and complete or undo it by hand; 3. record that it is applied or rolled back (`flamingock issue \
         resolve`); 4. start again.",
        waiting.join(", ")
    )
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}\n{}", self.inner.report.one_line(), self.next_steps())
    }
}

/// Written for people as well, because `main` prints errors this way.
impl fmt::Debug for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl StdError for StartError {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        match &self.inner.kind {
            StartErrorKind::Server(error) | StartErrorKind::NotCertified { error, .. } => error.source(),
            _ => None,
        }
    }
}
