//! Long changes: what a runner tells of one with its heartbeat, what people see of it, and their request to stop.
//!
//! All of it is additive. A client that sends `{}` to the lock extension is answered as ever.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

/// Longest cursor, in bytes of UTF-8.
pub const CURSOR_MAX_BYTES: usize = 8 * 1024;
/// Longest message of a progress, in characters; what is longer is cut.
pub const MESSAGE_MAX_CHARS: usize = 300;

/// `POST /api/v1/{key}/lock/extension`: a heartbeat, with what there is to tell. Other fields are ignored.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct LockExtensionRequest {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub progress: Option<ProgressWrite>,
}

/// How far a running change is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ProgressWrite {
    /// The execution that the lock was granted for. With any other the extension is refused: the caller has lost it.
    pub execution_id: i64,
    pub change_id: String,
    /// Grows with each write about the change in the execution, from 1: what arrives out of order is not taken.
    pub sequence: i64,
    /// From where a later attempt can go on, in the change's own words; at most 8,192 bytes, without NUL. Replaces the one
    /// before. Absent: that one stays.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cursor: Option<String>,
    /// The cursor says nothing any more once the change has failed, because its rollback then undoes what it counts.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub void_when_failed: bool,
    /// How much is done, in the change's own unit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub done: Option<i64>,
    /// Of how much, where it is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub total: Option<i64>,
    /// For people; cut after 300 characters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
}

/// What became of a [`ProgressWrite`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ProgressReceipt {
    /// The write's own.
    pub sequence: i64,
    /// It is recorded durably, or a newer one is. False where the change is not under way in the execution.
    pub recorded: bool,
}

/// How far a change was when it was last heard of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ChangeProgress {
    pub change_id: String,
    /// The attempt that it is about: the latest that told something, or was given the cursor to go on from.
    pub execution_id: i64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub done: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub total: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// When `done`, `total` and `message` arrived, by the database's clock. Absent while none has.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reported_at: Option<DateTime<Utc>>,
    /// From where the next attempt goes on, if there is one and nothing was undone meanwhile.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cursor: Option<String>,
    /// When the cursor was saved, by the database's clock.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cursor_saved_at: Option<DateTime<Utc>>,
}

impl ChangeProgress {
    /// Whole percent, where `done` and a positive `total` are known: at most 100.
    pub fn percent(&self) -> Option<u8> {
        let (done, total) = (self.done?.max(0), self.total.filter(|total| *total > 0)?);
        u8::try_from(i128::from(done.min(total)) * 100 / i128::from(total)).ok()
    }

    /// The later of the two times.
    pub fn last_heard_at(&self) -> Option<DateTime<Utc>> {
        self.reported_at.max(self.cursor_saved_at)
    }
}

/// A person's request that an execution stop, as its runner is told of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct CancellationNotice {
    /// Who asked.
    pub requested_by: String,
    pub reason: String,
    pub requested_at: DateTime<Utc>,
}

/// `POST …/execution/{executionId}/cancellation`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ExecutionCancellationRequest {
    /// Why; kept for good, and told to the runner.
    pub reason: String,
}

/// An execution was asked to stop. It stops by itself, as soon as it safely can, or not at all.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ExecutionCancellation {
    pub execution_id: i64,
    pub runner_id: String,
    /// The first request stands; a repetition changes nothing.
    #[serde(flatten)]
    pub notice: CancellationNotice,
    /// Who heeds it, and when it will be heard of.
    pub message: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percent_is_whole_and_never_more_than_a_hundred() {
        let of = |done, total| {
            let progress = ChangeProgress {
                change_id: "c".to_owned(),
                execution_id: 1,
                done,
                total,
                message: None,
                reported_at: None,
                cursor: None,
                cursor_saved_at: None,
            };
            progress.percent()
        };
        assert_eq!(of(Some(399), Some(1000)), Some(39));
        assert_eq!(of(Some(2000), Some(1000)), Some(100));
        assert_eq!(of(Some(i64::MAX), Some(i64::MAX)), Some(100));
        assert_eq!(of(Some(-5), Some(10)), Some(0));
        for unknown in [
            of(None, Some(1)),
            of(Some(1), None),
            of(Some(1), Some(0)),
            of(Some(1), Some(-1)),
        ] {
            assert_eq!(unknown, None);
        }
    }
}
