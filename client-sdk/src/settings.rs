//! What can be set about a run.

use std::time::Duration;

use crate::validate::Problem;

/// How the lock is taken and kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct LockSettings {
    /// How long the lock outlives a runner that died. Extended by a heartbeat while changes run. Default: 60 s.
    pub lease: Duration,
    /// How long to wait for a lock that another runner holds. Zero: not at all. Default: 180 s.
    pub wait: Duration,
    /// How often to ask while waiting. Default: 1 s; the server usually answers sooner by itself.
    pub poll: Duration,
}

impl Default for LockSettings {
    fn default() -> Self {
        Self {
            lease: Duration::from_mins(1),
            wait: Duration::from_mins(3),
            poll: Duration::from_secs(1),
        }
    }
}

impl LockSettings {
    const SHORTEST_LEASE: Duration = Duration::from_secs(1);
    const LONGEST_LEASE: Duration = Duration::from_hours(1);
    const LONGEST_WAIT: Duration = Duration::from_hours(24);
    const SHORTEST_POLL: Duration = Duration::from_millis(100);

    pub(crate) fn check(&self, problems: &mut Vec<Problem>) {
        let mut require = |right: bool, name: &'static str, value: Duration, expected: &'static str| {
            if !right {
                problems.push(Problem::Setting {
                    name,
                    text: format!("{value:?} is not {expected}"),
                });
            }
        };
        let lease = (Self::SHORTEST_LEASE..=Self::LONGEST_LEASE).contains(&self.lease);
        require(lease, "lease", self.lease, "between 1 s and 1 h");
        require(
            self.wait <= Self::LONGEST_WAIT,
            "wait for the lock",
            self.wait,
            "at most 24 h",
        );
        let poll = (Self::SHORTEST_POLL..=Duration::from_mins(1)).contains(&self.poll);
        require(poll, "poll interval", self.poll, "between 100 ms and 1 min");
    }
}

/// How long a change may go on at most after the application was asked to stop.
const LONGEST_STOP_GRACE: Duration = Duration::from_hours(24);

/// Everything else about a run.
#[derive(Clone, Debug)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a switch of its own, named by a method of the builder"
)]
pub(crate) struct RunSettings {
    pub(crate) lock: LockSettings,
    pub(crate) enabled: bool,
    pub(crate) validate_only: bool,
    pub(crate) fail_if_lock_unavailable: bool,
    pub(crate) log_report: bool,
    pub(crate) stop_grace: Duration,
    pub(crate) metadata: serde_json::Map<String, serde_json::Value>,
    pub(crate) application_version: Option<String>,
    pub(crate) commit: Option<String>,
    #[cfg(feature = "certificate")]
    pub(crate) certificate: Option<crate::certificate::StartCertificate>,
}

impl RunSettings {
    #[cfg(feature = "certificate")]
    pub(crate) fn wants_certificate(&self) -> bool {
        self.certificate.is_some()
    }

    #[cfg(not(feature = "certificate"))]
    #[expect(clippy::unused_self, reason = "with the feature it says")]
    pub(crate) fn wants_certificate(&self) -> bool {
        false
    }

    pub(crate) fn check(&self, problems: &mut Vec<Problem>) {
        self.lock.check(problems);
        #[cfg(feature = "certificate")]
        if let Some(certificate) = &self.certificate {
            certificate.check(problems);
        }
        if self.stop_grace > LONGEST_STOP_GRACE {
            problems.push(Problem::Setting {
                name: "grace for stopping",
                text: format!("{:?} is not at most 24 h", self.stop_grace),
            });
        }
    }
}

impl Default for RunSettings {
    fn default() -> Self {
        Self {
            lock: LockSettings::default(),
            enabled: true,
            validate_only: false,
            fail_if_lock_unavailable: true,
            log_report: true,
            stop_grace: Duration::from_secs(20),
            metadata: serde_json::Map::new(),
            application_version: None,
            commit: None,
            #[cfg(feature = "certificate")]
            certificate: None,
        }
    }
}
