//! The lock calls of runners, `/api/v1/{key}/lock…` (wire contract §2.4–2.8), and what people see and do of locks.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use crate::progress::{CancellationNotice, ChangeProgress, ProgressReceipt};

/// A lock as its holder or a waiter sees it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct LockView {
    /// Path key of the lock calls: the service id as decimal text.
    pub key: String,
    /// Runner id of the holder.
    pub owner: String,
    /// Changes at every acquisition and every extension.
    pub acquisition_id: String,
    /// Length of the lease in milliseconds; not a remaining time.
    pub acquired_for_millis: i64,
    /// Additive: fencing number of the grant. Only ever grows for one lock.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fence: Option<i64>,
    /// Additive: end of the lease on the database's clock. For people; a runner counts from the answer's arrival.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<DateTime<Utc>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum LockStatus {
    Acquired,
    LockedByOther,
    Extended,
    #[serde(other)]
    Unknown,
}

/// `POST /api/v1/{key}/lock/acquisition`
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct LockAcquisitionRequest {
    /// Lease asked for, in milliseconds; clamped to 1 000 … 3 600 000.
    pub acquired_for_millis: i64,
    /// The acquisition id that the caller saw on the lock.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_acquisition_id: Option<String>,
    /// Milliseconds since the caller first saw that id, on its own monotonic clock.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub elapsed_millis: Option<i64>,
}

/// Answer of acquisition and extension.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct LockResponse {
    pub status: LockStatus,
    pub lock: LockView,
    /// Additive: the server asks the holder to stop as soon as it safely can. Never set without a person's request.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub cancel: bool,
    /// Additive: with `cancel`, whose request it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cancellation: Option<CancellationNotice>,
    /// Additive: what became of the progress that an extension brought.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub progress: Option<ProgressReceipt>,
}

/// How a lock stands, judged by the database's clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum LockStanding {
    /// Its holder's lease is live.
    Held,
    /// The lease has run out, and nobody has taken the lock since.
    Expired,
    Free,
    #[serde(other)]
    Unknown,
}

/// A service's lock in an environment, for people.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct LockRecord {
    pub environment_id: i64,
    pub service_id: i64,
    pub service_name: String,
    pub standing: LockStanding,
    /// Fence of the latest grant. Pass it as `expectedFence` to release the lock by force.
    pub fence: i64,
    /// Runner id of the holder; absent where the lock is free.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner: Option<String>,
    /// The execution that the lock was granted for, where it was granted with a plan.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub execution_id: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lease_millis: Option<i64>,
    /// When it was granted to its holder.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub held_since: Option<DateTime<Utc>>,
    /// The holder's last sign of life: when the lock was granted or extended last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_beat_at: Option<DateTime<Utc>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<DateTime<Utc>>,
    /// When anybody may take it, if the holder gives no further sign: its end, and a grace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub takeable_at: Option<DateTime<Utc>>,
}

/// Locks of an environment, by service id.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct LockPage {
    pub locks: Vec<LockRecord>,
    /// The database's clock, by which the locks were judged.
    pub as_of: DateTime<Utc>,
    /// Pass it as `after` for the next page; absent on the last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

/// `POST …/lock/release`: frees a lock whose holder does not.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct LockReleaseRequest {
    /// Fence of the grant that is meant. If the lock was granted anew since you looked, nothing happens.
    pub expected_fence: i64,
    /// Why; kept for good.
    pub reason: String,
    /// Release it although the holder's lease is live. It may be at work this very moment: stop it first.
    #[serde(default)]
    pub insist: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct LockReleaseResponse {
    /// The lock as it was.
    pub released: LockRecord,
    /// The holder's lease was live.
    pub was_live: bool,
    /// Changes that the holder had begun and not ended. Their outcome is unknown: those that do not declare that they may
    /// be repeated wait for a person now.
    pub in_progress: Vec<OpenChange>,
    /// What to do next.
    pub message: String,
}

/// A change without a recorded end.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct OpenChange {
    pub change_id: String,
    pub state: String,
    /// Sequence of its latest entry.
    pub seq: i64,
    /// It waits for a person; otherwise the next start repeats it.
    pub needs_person: bool,
    /// How far it is, where it tells.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub progress: Option<ChangeProgress>,
}
