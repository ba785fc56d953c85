//! When a call is repeated, and after how long.

use std::time::Duration;

use tokio::time::Instant;

use crate::error::Failure;

const FIRST_BACKOFF: Duration = Duration::from_millis(100);
const LONGEST_BACKOFF: Duration = Duration::from_secs(5);
/// What an attempt gets at least, however little time is left: less would only fail. A call overruns its budget by no
/// more than this.
const SHORTEST_ATTEMPT: Duration = Duration::from_millis(250);
/// When so little is left for a fact, the last attempt has been made.
const LAST_MOMENT: Duration = Duration::from_millis(20);

/// How long one call may be tried. The end is asked for anew after each attempt, because a lease that is extended
/// meanwhile gives more time.
pub(crate) struct Patience<'a> {
    until: Box<dyn Fn() -> Instant + Send + Sync + 'a>,
    repeats: Repeats,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Repeats {
    Never,
    /// No connection could be made, so nothing can have been done.
    #[cfg_attr(not(feature = "admin"), expect(dead_code, reason = "the admin API's writes"))]
    Unsent,
    /// What may pass by itself: no connection, no answer, an overloaded server.
    Transient,
    /// Refusals as well: a fact that has happened is reported as long as there is time.
    Everything,
}

impl<'a> Patience<'a> {
    pub(crate) fn none() -> Self {
        Self {
            until: Box::new(Instant::now),
            repeats: Repeats::Never,
        }
    }

    pub(crate) fn lasting(budget: Duration) -> Self {
        let end = Instant::now() + budget;
        Self {
            until: Box::new(move || end),
            repeats: Repeats::Transient,
        }
    }

    pub(crate) fn until(end: impl Fn() -> Instant + Send + Sync + 'a) -> Self {
        Self {
            until: Box::new(end),
            repeats: Repeats::Transient,
        }
    }

    /// Repeats only what never left, for calls that must not be done twice.
    #[cfg(feature = "admin")]
    pub(crate) fn unsent_only(mut self) -> Self {
        self.repeats = Repeats::Unsent;
        self
    }

    /// Also repeats what the server refuses.
    pub(crate) fn insisting(mut self) -> Self {
        self.repeats = Repeats::Everything;
        self
    }

    /// How long an attempt may stay unanswered, given what one usually may: half of the time that is left at most.
    /// An attempt that may take all of it is the only one: one lost packet would lose the call, and with it a lease.
    pub(crate) fn attempt(&self, usual: Duration) -> Duration {
        match self.repeats {
            Repeats::Never | Repeats::Unsent => usual,
            Repeats::Transient | Repeats::Everything => usual.min((self.left() / 2).max(SHORTEST_ATTEMPT)),
        }
    }

    fn left(&self) -> Duration {
        (self.until)().saturating_duration_since(Instant::now())
    }

    /// How long to sleep before the next attempt; `None` to give up.
    pub(crate) fn pause(&self, attempts: u32, failure: &Failure) -> Option<Duration> {
        let worth_it = match self.repeats {
            Repeats::Never => false,
            Repeats::Unsent => matches!(failure, Failure::Connect(_)),
            Repeats::Transient => failure.is_transient(),
            Repeats::Everything => true,
        };
        if !worth_it {
            return None;
        }
        // The server's word is a minimum; the jitter on top keeps those it spoke to from coming back together.
        let pause = failure
            .retry_after()
            .unwrap_or_default()
            .saturating_add(backoff(attempts, random_fraction()));
        let left = self.left();
        let pause = match self.repeats {
            // To wait for longer than there is time would give a fact up that can still be told.
            Repeats::Everything => pause.min(left / 2).min(LONGEST_BACKOFF).max(LAST_MOMENT),
            Repeats::Never | Repeats::Unsent | Repeats::Transient => pause,
        };
        (pause < left).then_some(pause)
    }
}

/// Full jitter: anything between nothing and an exponentially growing limit.
fn backoff(attempts: u32, fraction: f64) -> Duration {
    let limit = FIRST_BACKOFF
        .saturating_mul(1 << attempts.saturating_sub(1).min(10))
        .min(LONGEST_BACKOFF);
    limit.mul_f64(fraction).max(Duration::from_millis(5))
}

fn random_fraction() -> f64 {
    // Without randomness there is no jitter, which is better than no retry.
    f64::from(getrandom::u32().unwrap_or(u32::MAX)) / f64::from(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(status: u16) -> Failure {
        Failure::Refused {
            status,
            code: None,
            problem: None,
            retry_after: None,
        }
    }

    #[test]
    fn only_what_may_pass_by_itself_is_repeated() {
        let patience = Patience::lasting(Duration::from_mins(1));
        for status in [408, 429, 502, 503, 504] {
            assert!(patience.pause(1, &refused(status)).is_some(), "{status}");
        }
        for status in [300, 400, 401, 403, 404, 405, 409, 413, 422, 500, 501] {
            assert!(patience.pause(1, &refused(status)).is_none(), "{status}");
        }
        assert!(patience.pause(1, &Failure::Connect("gone".into())).is_some());
        assert!(patience.pause(1, &Failure::TimedOut("slow".into())).is_some());
        assert!(patience.pause(1, &Failure::Unreadable("odd".into())).is_none());
        assert!(
            patience.insisting().pause(1, &refused(400)).is_some(),
            "a result is insisted on"
        );
        assert!(Patience::none().pause(1, &refused(503)).is_none());
    }

    #[cfg(feature = "admin")]
    #[test]
    fn what_must_not_be_done_twice_is_repeated_only_when_it_was_never_sent() {
        let patience = Patience::lasting(Duration::from_mins(1)).unsent_only();
        assert!(patience.pause(1, &Failure::Connect("gone".into())).is_some());
        assert!(patience.pause(1, &Failure::TimedOut("slow".into())).is_none());
        assert!(patience.pause(1, &Failure::Broken("cut".into())).is_none());
        assert!(
            patience.pause(1, &refused(503)).is_none(),
            "a commit may have gone through"
        );
        assert_eq!(
            patience.attempt(Duration::from_secs(30)),
            Duration::from_secs(30),
            "an attempt cut short is in doubt"
        );
    }

    fn overloaded(seconds: u64) -> Failure {
        Failure::Refused {
            status: 503,
            code: None,
            problem: None,
            retry_after: Some(Duration::from_secs(seconds)),
        }
    }

    #[test]
    fn retry_after_is_a_minimum_and_gives_up_when_it_is_too_long() {
        let patience = Patience::lasting(Duration::from_secs(10));
        let failure = overloaded;
        assert!(
            patience
                .pause(1, &failure(2))
                .is_some_and(|pause| pause >= Duration::from_secs(2))
        );
        assert!(patience.pause(1, &failure(30)).is_none());
        assert!(
            patience.pause(1, &failure(u64::MAX)).is_none(),
            "whatever a server writes there"
        );
    }

    #[test]
    fn a_fact_is_not_given_up_for_a_long_retry_after() {
        let patience = |seconds| Patience::lasting(Duration::from_secs(seconds)).insisting();
        let pause = |seconds| patience(seconds).pause(1, &overloaded(120));
        assert_eq!(pause(60), Some(Duration::from_secs(5)));
        assert!(pause(4).is_some_and(|pause| pause <= Duration::from_secs(2)));
        assert_eq!(pause(0), None, "the time is over");
    }

    #[test]
    fn an_attempt_leaves_time_for_another() {
        let usual = Duration::from_secs(30);
        let attempt = |left| Patience::lasting(Duration::from_secs(left)).attempt(usual);
        assert_eq!(attempt(300), usual);
        assert!(attempt(30) <= Duration::from_secs(15) && attempt(30) > Duration::from_secs(14));
        assert_eq!(attempt(0), SHORTEST_ATTEMPT);
        assert_eq!(Patience::none().attempt(usual), usual, "the only one anyway");
    }

    #[test]
    fn backoff_grows_to_a_limit() {
        assert_eq!(backoff(1, 1.0), Duration::from_millis(100));
        assert_eq!(backoff(3, 1.0), Duration::from_millis(400));
        assert_eq!(backoff(30, 1.0), Duration::from_secs(5));
        assert_eq!(backoff(30, 0.5), Duration::from_millis(2500));
        assert_eq!(backoff(1, 0.0), Duration::from_millis(5));
    }
}
