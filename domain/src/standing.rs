//! How a service stands, as far as can be known without its pipeline, and what its runners are doing.

use std::time::Duration;

/// How the lock stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Holder {
    None,
    Live,
    /// Its lease has run out, and nobody has taken over.
    Silent,
}

/// Everything that the judgement depends on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Situation {
    pub holder: Holder,
    /// Somebody was told to wait a moment ago.
    pub is_awaited: bool,
    /// Changes that wait for a person.
    pub issues: usize,
    /// Changes that failed, and that the next start repeats by itself.
    pub failed: usize,
    /// Other changes that the next start takes up: rolled back by a person's word, interrupted and repeatable, offered and
    /// not reached.
    pub open: usize,
    /// What policies refused and still refuse: changes that want approval, starts for their content or their order.
    pub refused: usize,
    /// No work is granted at the moment.
    pub is_frozen: bool,
    /// Anything was ever recorded or granted.
    pub has_history: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Standing {
    NeverStarted,
    UpToDate,
    Running,
    Waiting,
    HolderSilent,
    NeedsPerson,
    StoppedByPolicy,
    Failed,
    Pending,
}

/// A live holder comes first: what looks like an issue may be its work. Then what stops every start, then what the next
/// start takes care of by itself.
pub fn standing(it: &Situation) -> Standing {
    match it.holder {
        Holder::Live if it.is_awaited => Standing::Waiting,
        Holder::Live => Standing::Running,
        _ if it.issues > 0 => Standing::NeedsPerson,
        // What is frozen and has nothing to do starts all the same.
        _ if it.refused > 0 || (it.is_frozen && it.failed + it.open > 0) => Standing::StoppedByPolicy,
        // A lock that was left behind by a runner that had done everything is nobody's trouble.
        Holder::Silent if it.failed + it.open > 0 => Standing::HolderSilent,
        _ if it.failed > 0 => Standing::Failed,
        _ if it.open > 0 => Standing::Pending,
        _ if it.has_history => Standing::UpToDate,
        _ => Standing::NeverStarted,
    }
}

/// What a runner is doing, as far as can be told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Activity {
    /// Holds the lock under a live lease.
    Working,
    /// Holds the lock, and its lease has run out.
    Silent,
    /// Was told to wait for the present holder, and is believed to be there.
    Waiting,
    /// Was there once.
    Seen,
}

/// What is known of a runner.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Presence {
    /// How it holds the lock itself.
    pub holder: Holder,
    /// Another runner holds the lock.
    pub is_locked_out: bool,
    /// What it heard last was to wait.
    pub told_to_wait: bool,
    /// Its request is parked at a replica.
    pub is_parked: bool,
    pub silent_for: Duration,
}

/// How long a runner that polls is believed to be there: clients ask again every second or few.
pub const POLLS_WITHIN: Duration = Duration::from_secs(15);

/// What it does, and whether that is a guess: nobody tells the server that he has gone.
pub fn activity(it: &Presence) -> (Activity, bool) {
    match it.holder {
        Holder::Live => (Activity::Working, false),
        Holder::Silent => (Activity::Silent, false),
        Holder::None if it.is_locked_out && it.told_to_wait && it.is_parked => (Activity::Waiting, false),
        Holder::None if it.is_locked_out && it.told_to_wait && it.silent_for < POLLS_WITHIN => {
            (Activity::Waiting, true)
        }
        Holder::None => (Activity::Seen, false),
    }
}
