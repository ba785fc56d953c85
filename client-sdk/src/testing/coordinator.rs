//! The coordinator that tests run against.

use std::{fmt, io, sync::Arc, time::Duration};

use flamingock_api_types::{audit::AuditState, issue::ResolutionKind, policy::PolicyMode};
use flamingock_domain::{
    audit::{Resolution, ResolveRefusal},
    ids::ChangeId,
};

use super::{
    convert,
    ledger::Entry,
    script::{Accident, Point, Script, Step},
    serve::{self, Server},
};
use crate::{Builder, Flamingock, report::Report, start_error::StartError, validate::BuildError};

/// The shortest that a lease can be: a lost lock is noticed within a third of it.
const LEASE: Duration = Duration::from_secs(1);
const POLL: Duration = Duration::from_millis(100);
/// Nothing here is slow; only one that cannot be reached does not answer.
const PATIENCE: Duration = Duration::from_secs(2);

/// A coordination server in memory, for one service in one environment, on a port of this machine.
///
/// It decides with the server's own rules and is spoken to over HTTP, so a run in a test is a run as in production, from
/// the first call to the last. What it does not have: other services and environments, and anything for people beyond
/// [`resolve`](Self::resolve) and [`approve`](Self::approve). It ends when it is dropped.
///
/// ```
/// # use flamingock::{Stage, Target, TargetClient, change, testing::Coordinator, wire::audit::AuditState};
/// # #[derive(Clone, Default)] struct Flags;
/// # impl Flags { async fn create(&self, _: &str) -> Result<(), std::io::Error> { Ok(()) } }
/// #[change(id = "flag-checkout", order = "0001", target = "flags")]
/// async fn flag_checkout(flags: TargetClient<Flags>) -> Result<(), std::io::Error> {
///     flags.create("checkout-v2").await
/// }
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let coordinator = Coordinator::start().await?;
/// let app = coordinator
///     .builder()
///     .target(Target::non_transactional("flags", Flags::default()))
///     .stage(Stage::new("flags").change(flag_checkout));
/// coordinator.run(app).await?.completed();
/// coordinator.assert_results([("flag-checkout", AuditState::Applied)]);
/// # Ok(())
/// # }
/// ```
pub struct Coordinator {
    script: Arc<Script>,
    server: Server,
}

/// How a run ended.
#[derive(Debug)]
#[non_exhaustive]
pub enum Ended {
    /// By itself, and the application may start.
    Completed(Box<Report>),
    /// By itself, and the application must not start.
    Refused(StartError),
    /// By a crash that the test has asked for.
    Crashed(Point),
}

impl Ended {
    /// The report of a run that completed.
    ///
    /// # Panics
    ///
    /// If it ended otherwise.
    #[track_caller]
    pub fn completed(self) -> Report {
        match self {
            Self::Completed(report) => *report,
            Self::Refused(error) => panic!("the run should have completed, but failed: {error}"),
            Self::Crashed(point) => panic!("the run should have completed, but crashed: {point}"),
        }
    }

    /// The error of a run that failed.
    ///
    /// # Panics
    ///
    /// If it ended otherwise.
    #[track_caller]
    pub fn refused(self) -> StartError {
        match self {
            Self::Completed(report) => panic!("the run should have failed, but completed: {report}"),
            Self::Refused(error) => error,
            Self::Crashed(point) => panic!("the run should have failed, but crashed: {point}"),
        }
    }

    /// Where a run crashed.
    ///
    /// # Panics
    ///
    /// If it ended otherwise.
    #[track_caller]
    pub fn crashed(self) -> Point {
        match self {
            Self::Completed(report) => panic!("the run should have crashed, but completed: {report}"),
            Self::Refused(error) => panic!("the run should have crashed, but failed: {error}"),
            Self::Crashed(point) => point,
        }
    }
}

/// Why a person's decision is not taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{change_id}` needs no decision: the latest that is known of it is {latest:?}")]
pub struct NothingToDecide {
    change_id: String,
    latest: Option<AuditState>,
}

impl Coordinator {
    /// Starts one, on a free port.
    ///
    /// Needs a tokio runtime with network and time.
    pub async fn start() -> io::Result<Self> {
        let script = Arc::new(Script::new());
        let server = serve::start(script.clone()).await?;
        Ok(Self { script, server })
    }

    /// Its address, for what does not go through [`builder`](Self::builder). Any token opens a session, for any service and
    /// environment: it is the same one.
    pub fn url(&self) -> String {
        format!("http://{}", self.server.address)
    }

    /// A builder that leads here, with short times.
    pub fn builder(&self) -> Builder {
        self.connect(Flamingock::builder(self.url()))
            .lease(LEASE)
            .poll_every(POLL)
            .retry_for(PATIENCE)
            .log_report(false)
    }

    /// Leads a builder here, such as the one that the application itself has made. Its times stay.
    pub fn connect(&self, builder: Builder) -> Builder {
        let mut builder = builder
            .server(self.url())
            .token("testing")
            .environment("testing")
            .service("testing");
        builder.script = Some(self.script.clone());
        builder
    }

    /// Builds and runs an application, as a process of its own would: where the script has it crash, everything that it had
    /// in hand is dropped. A lease that an earlier process has left behind has run out by then.
    ///
    /// The error says what is wrong with the pipeline; nothing was run then.
    pub async fn run(&self, app: Builder) -> Result<Ended, BuildError> {
        let app = self.connect(app).build()?;
        self.script.ledger().let_lease_end();
        let death = self.script.begin();
        tokio::select! {
            biased;
            point = death => Ok(Ended::Crashed(point)),
            ended = app.run() => Ok(match ended {
                Ok(report) => Ended::Completed(Box::new(report)),
                Err(error) => Ended::Refused(error),
            }),
        }
    }

    /// Has the next run that comes there crash.
    pub fn crash_at(&self, change_id: &str, step: Step) {
        self.accident(change_id, step, Accident::Crash);
    }

    /// Has another runner take the lock when a run comes there.
    pub fn lose_lock_at(&self, change_id: &str, step: Step) {
        self.accident(change_id, step, Accident::LoseLock);
    }

    /// Has the answer to a report get lost: `step` is one that ends in `Recorded`.
    pub fn lose_answer_at(&self, change_id: &str, step: Step) {
        self.accident(change_id, step, Accident::LoseAnswer);
    }

    fn accident(&self, change_id: &str, step: Step, accident: Accident) {
        self.script.plan(Point::of(change_id, step), accident);
    }

    /// Accidents that were asked for and have not happened: usually a mistake in the test.
    pub fn left_over(&self) -> Vec<Point> {
        self.script.left_over()
    }

    /// What the latest run has passed, in order. Each is a point at which it could have crashed.
    pub fn passed(&self) -> Vec<Point> {
        self.script.passed()
    }

    /// Asks runs to stop, as a person can: the runner hears of it with its next sign of life.
    pub fn ask_to_stop(&self, stop: bool) {
        self.script.ledger().is_asked_to_stop = stop;
    }

    /// Whether an absent mark proves that a transactional change was not committed: the environment's setting of that name.
    /// Default: no.
    pub fn trust_absent_marks(&self, trust: bool) {
        self.script.ledger().settings.trust_absent_marks = trust;
    }

    /// Freezes the environment, as an operator does: no start is granted work, and `reason` is told to it.
    pub fn freeze(&self, reason: &str) {
        self.script.ledger().freeze(reason);
    }

    /// Ends every freeze.
    pub fn end_freezes(&self) {
        self.script.ledger().rules.end_freezes();
    }

    /// What is done about applied changes that were edited since: the environment's policy of that name. Default: nothing.
    pub fn checksum_mismatch(&self, mode: PolicyMode) {
        let mode = convert::mode(mode);
        self.script
            .ledger()
            .rules
            .set(|policy| policy.checksum_mismatch = mode);
    }

    /// What is done about pending changes that stand before applied ones of their stage. Default: nothing.
    pub fn out_of_order(&self, mode: PolicyMode) {
        let mode = convert::mode(mode);
        self.script
            .ledger()
            .rules
            .set(|policy| policy.out_of_order = mode);
    }

    /// Whether changes wait until somebody else than their author has approved them. Default: no.
    pub fn approval_required(&self, required: bool) {
        self.script
            .ledger()
            .rules
            .set(|policy| policy.approval_required = required);
    }

    /// Somebody approves a change, whatever it contains. The word of its author does not count.
    ///
    /// # Panics
    ///
    /// If the id cannot be one.
    #[track_caller]
    pub fn approve(&self, change_id: &str, by: &str) {
        self.script.ledger().rules.approve(id(change_id), by);
    }

    /// Whether it cannot be reached: no call is answered. A run tries for as long as its `retry_for` says, 2 seconds by
    /// [`builder`](Self::builder).
    pub fn unreachable(&self, unreachable: bool) {
        self.script.set_unreachable(unreachable);
    }

    /// The key that signs its start certificates, as hexadecimal digits: to be
    /// [pinned](crate::StartCertificate::pinned_key). Another for each coordinator.
    #[cfg(feature = "certificate")]
    pub fn certificate_key(&self) -> String {
        self.script.certifier().key()
    }

    /// How long its start certificates allow a start, from now on, in whole seconds. Default: 24 hours. The SDK does not keep
    /// one that has ended already.
    #[cfg(feature = "certificate")]
    pub fn certificate_validity(&self, validity: Duration) {
        self.script.certifier().validity = validity;
    }

    /// Begins with a history: an attempt outside a transaction, of which this is the latest that is known.
    ///
    /// # Panics
    ///
    /// If the id cannot be one.
    #[track_caller]
    pub fn given(&self, change_id: &str, state: AuditState) {
        self.script.ledger().give(&id(change_id), state);
    }

    /// A person says what they found in the target system, after the process that did it has died.
    ///
    /// # Panics
    ///
    /// If the id cannot be one.
    #[track_caller]
    pub fn resolve(&self, change_id: &str, found: ResolutionKind) -> Result<(), NothingToDecide> {
        let decision = match found {
            ResolutionKind::Applied => Resolution::Applied,
            ResolutionKind::RolledBack => Resolution::RolledBack,
        };
        let mut ledger = self.script.ledger();
        ledger.let_lease_end();
        let resolved = ledger.resolve(&id(change_id), decision);
        drop(ledger);
        resolved.map_err(|_: ResolveRefusal| NothingToDecide {
            change_id: change_id.to_owned(),
            latest: self.state_of(change_id),
        })
    }

    /// The audit, from the first entry on.
    pub fn audit(&self) -> Vec<Entry> {
        self.script.ledger().entries.clone()
    }

    /// The latest that is known of a change.
    pub fn state_of(&self, change_id: &str) -> Option<AuditState> {
        let ledger = self.script.ledger();
        let mut entries = ledger.entries.iter().rev();
        entries
            .find(|entry| entry.change_id == change_id && !entry.late)
            .map(|entry| entry.state)
    }

    /// Changes that are applied, in the order in which they became so.
    pub fn applied(&self) -> Vec<String> {
        self.latest(|state| matches!(state, AuditState::Applied | AuditState::ManualMarkedAsApplied))
    }

    /// Changes of which the latest that is known is that they were rolled back.
    pub fn rolled_back(&self) -> Vec<String> {
        self.latest(|state| {
            matches!(
                state,
                AuditState::RolledBack | AuditState::ManualMarkedAsRolledBack
            )
        })
    }

    /// Changes about which a person has to decide before a start goes on.
    pub fn waiting_for_person(&self) -> Vec<String> {
        self.script.ledger().issues()
    }

    fn latest(&self, wanted: impl Fn(AuditState) -> bool) -> Vec<String> {
        let audit = self.audit();
        let is_latest = |entry: &&Entry| {
            wanted(entry.state)
                && !entry.late
                && !audit
                    .iter()
                    .any(|other| other.change_id == entry.change_id && other.seq > entry.seq && !other.late)
        };
        audit
            .iter()
            .filter(is_latest)
            .map(|entry| entry.change_id.clone())
            .collect()
    }

    /// The audit holds exactly these results, in this order. `STARTED` and what was [`given`](Self::given) do not count.
    ///
    /// # Panics
    ///
    /// If not.
    #[track_caller]
    pub fn assert_results<'a>(&self, expected: impl IntoIterator<Item = (&'a str, AuditState)>) {
        let audit = self.audit();
        let found: Vec<_> = audit
            .iter()
            .filter(|entry| entry.state != AuditState::Started && entry.origin != super::Origin::Given)
            .map(|entry| (entry.change_id.as_str(), entry.state))
            .collect();
        let expected: Vec<_> = expected.into_iter().collect();
        assert!(
            found == expected,
            "the audit has other results than expected\n  expected: {expected:?}\n  found:    {found:?}\n  \
             all entries: {}",
            Lines(&audit)
        );
    }

    /// These changes and no others are applied, in this order.
    ///
    /// # Panics
    ///
    /// If not.
    #[track_caller]
    pub fn assert_applied<'a>(&self, expected: impl IntoIterator<Item = &'a str>) {
        let found = self.applied();
        let expected: Vec<_> = expected.into_iter().collect();
        assert!(
            found == expected,
            "other changes are applied than expected\n  expected: {expected:?}\n  found:    {found:?}\n  \
             all entries: {}",
            Lines(&self.audit())
        );
    }
}

impl fmt::Debug for Coordinator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Coordinator")
            .field("url", &self.url())
            .finish_non_exhaustive()
    }
}

#[track_caller]
fn id(text: &str) -> ChangeId {
    match ChangeId::parse(text) {
        Ok(id) => id,
        Err(error) => panic!("the id `{text}` {error}"),
    }
}

struct Lines<'a>(&'a [Entry]);

impl fmt::Display for Lines<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for entry in self.0 {
            let late = if entry.late { ", late" } else { "" };
            write!(
                f,
                "\n    {} {} {:?} ({:?}{late})",
                entry.seq, entry.change_id, entry.state, entry.origin
            )?;
        }
        Ok(())
    }
}
