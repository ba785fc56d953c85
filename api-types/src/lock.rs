//! The lock calls: `/api/v1/{key}/lock…` (wire contract §2.4–2.8).

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

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
}
