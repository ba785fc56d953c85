//! Audit entries: written by runners (wire contract §2.3), read by people and programs.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use crate::execution::RecoveryStrategy;
use crate::lock::LockView;

/// `POST …/execution/{executionId}/change/{changeId}/audit`: one fact about one change.
///
/// The server is strict about `state` being there and lenient about everything else: an enum text that it does not know
/// is kept as text, a trace that is too long is cut, an odd field never refuses a fact that has happened.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct AuditWrite {
    pub change_id: String,
    /// Name of the stage.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stage_id: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub author: Option<String>,
    /// The runner's wall clock, milliseconds since the Unix epoch. Information only: the order is ours.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub applied_at_epoch_millis: Option<i64>,
    pub state: AuditState,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub class_name: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub method_name: Option<String>,
    /// Free data of the application, normally an object.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metadata: Option<serde_json::Value>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub execution_millis: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub execution_hostname: Option<String>,
    /// Empty when there is no error, else a JSON document inside the text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error_trace: Option<String>,
    #[serde(rename = "type", default, skip_serializing_if = "Option::is_none")]
    pub change_type: Option<ChangeType>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tx_strategy: Option<TxStrategy>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target_system_id: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub order: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recovery_strategy: Option<RecoveryStrategy>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub transaction_flag: Option<bool>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub system_change: Option<bool>,
    /// Additive: the fence of the execution's grant, echoed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fence: Option<i64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum AuditState {
    Started,
    Applied,
    Failed,
    RolledBack,
    RollbackFailed,
    ManualMarkedAsApplied,
    ManualMarkedAsRolledBack,
    /// A text that this version does not know.
    #[serde(other)]
    Unknown,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum ChangeType {
    StandardCode,
    StandardTemplate,
    MongockExecution,
    MongockBefore,
    #[serde(other)]
    Unknown,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum TxStrategy {
    NonTx,
    TxShared,
    TxSeparateWithMarker,
    TxSeparateNoMarker,
    #[serde(other)]
    Unknown,
}

/// Answer to an audit write: 201 for a new entry, 200 when the same was there before.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct AuditWriteResponse {
    /// The service's lock as it stands, or null.
    pub lock: Option<LockView>,
    /// Additive: recorded as evidence only, because another execution (or a person) has written since.
    #[serde(default)]
    pub late: bool,
    /// Additive: the entry's position in its stream.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seq: Option<i64>,
}

/// An entry as recorded. Enum texts are as reported, so they may be ones that this version does not know.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct AuditEntryView {
    /// Position in the stream of (environment, service): from 1, without gaps. Latest is highest.
    pub seq: i64,
    pub environment_id: i64,
    pub service_id: i64,
    pub change_id: String,
    pub state: String,
    /// `RUNNER`, `MARK` (derived from a marker), `PERSON`, `PROBE` (found by the change's own probe) or `IMPORT`; another where a
    /// newer version of the server wrote the entry.
    pub source: String,
    /// Changes no state: another execution or a person had written before it arrived.
    pub late: bool,
    /// The execution as reported; empty for a person's decision.
    pub execution_id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stage_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub author: Option<String>,
    /// The runner's clock. Information only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub applied_at_epoch_millis: Option<i64>,
    /// The database's clock.
    pub received_at: DateTime<Utc>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub class_name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub method_name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub metadata: Option<serde_json::Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub execution_millis: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub execution_hostname: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error_trace: Option<String>,
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    pub change_type: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tx_strategy: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub target_system_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub order: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub recovery_strategy: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub transaction_flag: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub system_change: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub runner_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fence: Option<i64>,
    /// Who wrote it: a credential or a person.
    pub actor: String,
    /// A person's reason, or the server's remark.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
    /// Lowercase hex SHA-256 of the entry before; 64 zeros for the first.
    pub prev_hash: String,
    /// Lowercase hex SHA-256 over `prevHash` and every recorded field.
    pub hash: String,
}

/// `GET …/audit`: a page of entries.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct AuditPage {
    pub entries: Vec<AuditEntryView>,
    /// Pass as `after` to go on; absent on the last page. A page may hold few entries or none and still have a next one:
    /// a request looks at a bounded number of entries, however rare those are that were asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
    /// Of a snapshot: the position that it is the state at. The same on every page.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub as_of_seq: Option<i64>,
}

/// Which entries a list of the audit is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum AuditView {
    /// Every entry, by position.
    History,
    /// The latest entry of each change that counts, by change.
    Snapshot,
}

/// `GET …/audit/verification`: the chain recomputed by the database, a stretch at a time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ChainVerification {
    /// Nothing wrong was found up to `verifiedSeq`. It speaks for the whole chain only where `complete` is true.
    pub intact: bool,
    /// The whole chain was looked at, or the first broken entry was found.
    #[serde(default)]
    pub complete: bool,
    /// The last entry that was found good.
    #[serde(default)]
    pub verified_seq: i64,
    /// Sequence of the head: the number of entries.
    pub head_seq: i64,
    /// Lowercase hex.
    pub head_hash: String,
    /// First entry that does not fit, where `intact` is false.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub first_broken_seq: Option<i64>,
    /// What is wrong with it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub finding: Option<String>,
    /// The newest signed checkpoint of the chain, if there is one. Everything up to it is what was signed, if `intact`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub checkpoint: Option<CheckpointView>,
    /// Pass as `after` to go on; absent when `complete`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

/// A signed statement: at this time the entry at this position had this hash, and so had all before it theirs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct CheckpointView {
    pub environment_id: i64,
    pub service_id: i64,
    pub seq: i64,
    /// Hash of the entry at `seq`, lowercase hex.
    pub hash: String,
    /// The database's clock.
    pub signed_at: DateTime<Utc>,
    pub key_id: String,
    /// Ed25519 over the canonical form of the fields above, lowercase hex.
    pub signature: String,
}

/// `GET …/audit/checkpoint`: newest first.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct CheckpointPage {
    pub checkpoints: Vec<CheckpointView>,
    /// Pass as `after` to go on; absent on the last page.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

/// A public key that checkpoints were signed with. Keys are never removed: old checkpoints need theirs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct CheckpointKeyView {
    /// First 8 bytes of SHA-256 over the key, lowercase hex.
    pub key_id: String,
    /// `Ed25519`.
    pub algorithm: String,
    /// The 32 bytes of the key, lowercase hex.
    pub public_key: String,
    /// The same as a PEM document, for other tools.
    pub pem: String,
    pub created_at: DateTime<Utc>,
}

/// `GET …/checkpoint-key`: newest first.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct CheckpointKeys {
    pub keys: Vec<CheckpointKeyView>,
}

/// `GET …/audit/difference`: where two environments of a project do not agree, by service and change.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct DifferencePage {
    pub environment_id: i64,
    pub other_environment_id: i64,
    pub services: Vec<ServiceDifference>,
    /// Pass as `after` to go on; absent on the last page. A page may be empty and still have a next one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ServiceDifference {
    pub service_id: i64,
    pub service_name: String,
    /// By change id. A service with many goes on on the next page.
    pub changes: Vec<ChangeDifference>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ChangeDifference {
    pub change_id: String,
    pub kind: DifferenceKind,
    /// In the first environment; absent where it has no entry of the change.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub here: Option<ChangeStanding>,
    /// In the other environment.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub there: Option<ChangeStanding>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum DifferenceKind {
    /// The other environment has no entry of the change.
    OnlyHere,
    /// The first environment has no entry of the change.
    OnlyThere,
    /// Both have, and they do not come to the same: applied here, not applied or uncertain there.
    State,
    /// In effect in both, with another content.
    Checksum,
    /// A text that this version does not know.
    #[serde(other)]
    Unknown,
}

/// The latest entry of a change that counts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ChangeStanding {
    pub seq: i64,
    pub state: String,
    pub source: String,
    /// The database's clock.
    pub received_at: DateTime<Utc>,
    /// Of the content that was applied, where it is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub checksum: Option<String>,
}
