//! Lock decisions: acquire, renew, take over, extend, release. All on the database's clock.

use std::time::Duration;

use crate::ids::{AcquisitionId, Fence, LockKey, RunnerId};
use crate::time::Timestamp;

/// A hold with an end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lease {
    pub owner: RunnerId,
    pub acquisition_id: AcquisitionId,
    /// The length asked for and granted: on the wire `acquiredForMillis`.
    pub length: Duration,
    pub expires_at: Timestamp,
}

/// The row of a lock. It outlives its holders, because its fence may never go back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lock {
    pub key: LockKey,
    /// Fence of the latest grant; 0 before the first.
    pub fence: Fence,
    pub lease: Option<Lease>,
}

/// "I saw this acquisition id unchanged for this long" (W §2.7).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proof {
    pub acquisition_id: AcquisitionId,
    pub elapsed: Duration,
}

/// Shortest and longest lease that is granted; outside, the request is clamped (W 6.20).
pub const LEASE_MIN: Duration = Duration::from_secs(1);
pub const LEASE_MAX: Duration = Duration::from_hours(1);

/// How a lock stands towards one runner.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// Never taken, or released.
    Free,
    /// Recorded for the asking runner, run out or not.
    Mine,
    /// Another runner's, and not to be taken.
    Other,
    /// Another runner's, run out on the database's clock, and either the grace has passed too or the asking runner
    /// proves that it watched the lease run out.
    OtherExpired,
}

/// What a grant is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GrantKind {
    /// The lock was free.
    Fresh,
    /// The same owner asks again: new acquisition id, new fence.
    Renewal,
    /// The holder's lease ended.
    TakeOver,
}

/// What acquiring comes to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Acquire {
    Grant { kind: GrantKind, fence: Fence },
    HeldByOther { holder: Lease, retry_after: Duration },
}

/// Everything that acquiring depends on.
#[derive(Clone, Copy, Debug)]
pub struct Claim<'a> {
    /// `None`: no row yet.
    pub lock: Option<&'a Lock>,
    pub runner: &'a RunnerId,
    pub proof: Option<&'a Proof>,
    pub now: Timestamp,
    /// Time after a lease's end in which only a proven claim may take over.
    pub grace: Duration,
}

/// How the claim's lock stands towards its runner.
///
/// Only the database's clock ends a lease. A [`Proof`] waives the grace, which is there for a holder whose clock runs
/// one network delay behind ours; it never replaces the clock, or a waiter with a fast stopwatch would take the lock
/// from a living holder.
pub fn standing(claim: &Claim<'_>) -> Standing {
    match recorded(claim) {
        None => Standing::Free,
        Some(lease) if lease.owner == *claim.runner => Standing::Mine,
        Some(lease) if is_over(lease, claim) => Standing::OtherExpired,
        Some(_) => Standing::Other,
    }
}

/// Decides an acquisition. Every grant has a fence of its own, a renewal too: what was granted before it is stale.
pub fn acquire(claim: &Claim<'_>) -> Acquire {
    let kind = match recorded(claim) {
        None => GrantKind::Fresh,
        Some(lease) if lease.owner == *claim.runner => GrantKind::Renewal,
        Some(lease) if is_over(lease, claim) => GrantKind::TakeOver,
        Some(lease) => {
            let free_at = lease.expires_at.plus(claim.grace);
            // Never zero: a caller that takes it literally would ask again in a hot loop.
            let retry_after = free_at.since(claim.now).max(Duration::from_millis(1));
            return Acquire::HeldByOther {
                holder: lease.clone(),
                retry_after,
            };
        }
    };
    Acquire::Grant {
        kind,
        fence: claim.lock.map_or(0, |lock| lock.fence) + 1,
    }
}

fn recorded<'a>(claim: &Claim<'a>) -> Option<&'a Lease> {
    claim.lock.and_then(|lock| lock.lease.as_ref())
}

fn is_over(lease: &Lease, claim: &Claim<'_>) -> bool {
    let grace_is_over = claim.now > lease.expires_at.plus(claim.grace);
    grace_is_over
        || (claim.now >= lease.expires_at && claim.proof.is_some_and(|proof| proves_end(proof, lease)))
}

/// Strictly longer than the lease, as the wire contract has it: an equal time proves nothing.
fn proves_end(proof: &Proof, lease: &Lease) -> bool {
    proof.acquisition_id == lease.acquisition_id && proof.elapsed > lease.length
}

/// The lease that is granted when this one is asked for.
pub fn clamp_lease(asked: Duration) -> Duration {
    asked.clamp(LEASE_MIN, LEASE_MAX)
}

/// What extending comes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Extend {
    /// New acquisition id, same length, same fence.
    Extended,
    /// Absent, released, or somebody else's.
    NotHeld,
}

/// Decides an extension. A lease that has run out is still extended as long as nobody else took it: refusing would
/// stop a runner in the middle of a change for the sake of nobody.
pub fn extend(lock: Option<&Lock>, runner: &RunnerId) -> Extend {
    if is_recorded_for(lock, runner) {
        Extend::Extended
    } else {
        Extend::NotHeld
    }
}

/// What releasing comes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Release {
    Released,
    /// Absent, released before, or somebody else's.
    NotHeld,
    /// The caller holds it by a grant that is newer than the one it gives back.
    Overtaken,
}

/// Everything that releasing depends on.
#[derive(Clone, Copy, Debug)]
pub struct GivingBack<'a> {
    pub lock: Option<&'a Lock>,
    pub runner: &'a RunnerId,
    /// When the lock was granted last.
    pub granted_at: Option<Timestamp>,
    /// When the request arrived.
    pub asked_at: Timestamp,
    /// Fence of the grant that is given back, where the caller says so.
    pub fence: Option<Fence>,
}

/// Decides a release. It frees the grant that the caller had when it asked, and no later one: a request that was held up
/// on its way, while its runner gave up waiting and asked for the next plan, would free a lock that is being worked under.
pub fn release(asked: &GivingBack<'_>) -> Release {
    if !is_recorded_for(asked.lock, asked.runner) {
        return Release::NotHeld;
    }
    let is_of_another_grant = asked
        .fence
        .is_some_and(|fence| asked.lock.is_some_and(|lock| lock.fence != fence));
    let was_granted_since = asked
        .granted_at
        .is_some_and(|granted_at| granted_at > asked.asked_at);
    if is_of_another_grant || was_granted_since {
        Release::Overtaken
    } else {
        Release::Released
    }
}

fn is_recorded_for(lock: Option<&Lock>, runner: &RunnerId) -> bool {
    lock.and_then(|lock| lock.lease.as_ref())
        .is_some_and(|lease| lease.owner == *runner)
}

/// What a person's wish to free a lock comes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Force {
    /// It is freed. `was_live`: its holder may be at work this very moment.
    Freed { was_live: bool },
    /// Nobody holds it.
    Free,
    /// The person looked at another grant than the present one, whose fence this is.
    Moved { fence: Fence },
    /// The lease is live, and the person does not insist.
    Live { expires_at: Timestamp },
}

/// Decides a forced release. The fence stays as it is: the next grant raises it, and until then nobody holds the lock, so
/// the old holder may start nothing either way.
pub fn force(lock: Option<&Lock>, expected: Fence, insists: bool, now: Timestamp) -> Force {
    let Some((lock, lease)) = lock.and_then(|lock| Some((lock, lock.lease.as_ref()?))) else {
        return Force::Free;
    };
    if lock.fence != expected {
        return Force::Moved { fence: lock.fence };
    }
    let is_live = now < lease.expires_at;
    if is_live && !insists {
        Force::Live {
            expires_at: lease.expires_at,
        }
    } else {
        Force::Freed { was_live: is_live }
    }
}
