//! What a change's own probe found, where the audit does not know whether the change took effect.

use serde::{Deserialize, Serialize};

/// `POST …/execution/{executionId}/change/{changeId}/probe`: the answer of a change that was asked whether it took effect.
///
/// A decision and no fact: it is about one entry, and is refused when that is not the latest of the change any more, or
/// when the lock is not the execution's.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ProbeReport {
    pub verdict: ProbeVerdict,
    /// The entry that the plan named with `PROBE`.
    pub expected_seq: i64,
    /// Fencing number of the grant; refused when it is not the lock's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fence: Option<i64>,
    /// What the probe has to say for people, such as why it does not know. Cut after 2,000 bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
    /// The runner's wall clock, milliseconds since the Unix epoch.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub probed_at_epoch_millis: Option<i64>,
    /// How long the probe took, in milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub execution_millis: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub execution_hostname: Option<String>,
}

/// What a probe says of its change.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum ProbeVerdict {
    /// All of it is in effect.
    Applied,
    /// Nothing of it is left: it may be applied from its beginning.
    NotApplied,
    /// Neither can be said: a person has to decide.
    Unknown,
}

/// What became of the report.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ProbeAnswer {
    /// The doubt is settled: ask for the next plan. If not, the issue stays for a person, with the report as evidence.
    pub settled: bool,
    /// The entry that holds the verdict.
    pub seq: i64,
}
