//! Where two environments do not agree about a change.

use super::AuditState;

/// How a change stands in one environment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Standing<'a> {
    pub state: AuditState,
    /// Of the content that was applied, where it is known.
    pub checksum: Option<&'a str>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Difference {
    /// The other environment has no entry of it.
    OnlyHere,
    /// The first environment has no entry of it.
    OnlyThere,
    /// Both have, and they do not come to the same.
    State,
    /// In effect in both, with another content.
    Checksum,
}

/// What a state comes to in the target system.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Effect {
    Applied,
    NotApplied,
    /// Nobody knows; equal states leave the same open.
    Open(AuditState),
}

fn effect(state: AuditState) -> Effect {
    match state {
        AuditState::Applied | AuditState::MarkedApplied => Effect::Applied,
        AuditState::RolledBack | AuditState::MarkedRolledBack => Effect::NotApplied,
        AuditState::Started | AuditState::Failed | AuditState::RollbackFailed | AuditState::Unknown => {
            Effect::Open(state)
        }
    }
}

/// Compares what a change comes to, not how: applied by a runner here and marked as applied by a person there is the same.
/// Checksums are compared where both are known.
pub fn difference(here: Option<Standing<'_>>, there: Option<Standing<'_>>) -> Option<Difference> {
    match (here, there) {
        (None, None) => None,
        (Some(_), None) => Some(Difference::OnlyHere),
        (None, Some(_)) => Some(Difference::OnlyThere),
        (Some(here), Some(there)) => match (effect(here.state), effect(there.state)) {
            (Effect::Applied, Effect::Applied) => match (here.checksum, there.checksum) {
                (Some(a), Some(b)) if a != b => Some(Difference::Checksum),
                _ => None,
            },
            // Two texts that we do not know need not mean the same.
            (Effect::Open(AuditState::Unknown), Effect::Open(AuditState::Unknown)) => Some(Difference::State),
            (a, b) if a == b => None,
            _ => Some(Difference::State),
        },
    }
}
