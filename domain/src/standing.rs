//! How a service stands, as far as can be known without its pipeline.

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
        // A lock that was left behind by a runner that had done everything is nobody's trouble.
        Holder::Silent if it.failed + it.open > 0 => Standing::HolderSilent,
        _ if it.failed > 0 => Standing::Failed,
        _ if it.open > 0 => Standing::Pending,
        _ if it.has_history => Standing::UpToDate,
        _ => Standing::NeverStarted,
    }
}
