//! A pipeline that dies once at every point at which it can.

use std::fmt::{self, Debug};

use super::{Coordinator, Ended, Point};
use crate::{Builder, validate::BuildError};

/// What became of a pipeline that died at each point, and was started again.
#[derive(Debug)]
#[non_exhaustive]
pub struct Crashes<S> {
    /// What there is after a run without a crash.
    pub expected: S,
    /// Each point at which it was made to die.
    pub points: Vec<Crash<S>>,
}

/// One of them.
#[derive(Debug)]
#[non_exhaustive]
pub struct Crash<S> {
    /// Where it died.
    pub point: Point,
    /// What came of starting it again.
    pub outcome: AfterCrash<S>,
}

/// What came of starting again after a crash.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum AfterCrash<S> {
    /// The same as without the crash.
    Recovered,
    /// The start says that a person has to look into the target system, about these changes.
    Asks(Vec<String>),
    /// Something else than without the crash.
    Differs(S),
    /// This run did not come to the point.
    NotReached,
}

/// Runs a pipeline once without a crash, and then, for every point that it passed, once with a crash there and once more,
/// as its process would be started again. What there is afterwards is compared with what there was without a crash.
///
/// `new_world` makes what a pipeline works on, afresh for each crash; `pipeline` adds targets and stages to a builder that
/// leads to the test's own coordinator; `observe` says what has come of it, as a value that can be compared.
///
/// ```
/// # use std::sync::{Arc, Mutex};
/// # use flamingock::{Stage, Target, TargetClient, change, testing::each_crash_point};
/// #[derive(Clone, Default)]
/// struct Flags(Arc<Mutex<Vec<String>>>);
///
/// // Safe to repeat: what is there is not created again.
/// #[change(id = "flag-checkout", order = "0001", target = "flags", recovery = "always_retry")]
/// async fn flag_checkout(flags: TargetClient<Flags>) -> Result<(), std::io::Error> {
///     let mut flags = flags.0.lock().unwrap();
///     if !flags.contains(&"checkout-v2".to_owned()) {
///         flags.push("checkout-v2".to_owned());
///     }
///     Ok(())
/// }
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let crashes = each_crash_point(
///     async || Flags::default(),
///     |flags, builder| {
///         builder
///             .target(Target::non_transactional("flags", flags.clone()))
///             .stage(Stage::new("flags").change(flag_checkout))
///     },
///     async |flags| flags.0.lock().unwrap().clone(),
/// )
/// .await?;
/// crashes.assert_recovered();
/// # Ok(())
/// # }
/// ```
///
/// The errors are those of building the pipeline and of making a port for the coordinator.
pub async fn each_crash_point<W, S: PartialEq + Debug>(
    new_world: impl AsyncFn() -> W,
    pipeline: impl Fn(&W, Builder) -> Builder,
    observe: impl AsyncFn(&W) -> S,
) -> Result<Crashes<S>, CannotTry> {
    each_crash_point_with(|_| (), new_world, pipeline, observe).await
}

/// The same, with every coordinator prepared: a history that it begins with, a setting of its environment, a second
/// accident.
pub async fn each_crash_point_with<W, S: PartialEq + Debug>(
    prepare: impl Fn(&Coordinator),
    new_world: impl AsyncFn() -> W,
    pipeline: impl Fn(&W, Builder) -> Builder,
    observe: impl AsyncFn(&W) -> S,
) -> Result<Crashes<S>, CannotTry> {
    let prepared = async || {
        let coordinator = Coordinator::start().await?;
        prepare(&coordinator);
        Ok::<_, CannotTry>(coordinator)
    };
    let (world, coordinator) = (new_world().await, prepared().await?);
    coordinator.run(pipeline(&world, coordinator.builder())).await?;
    let expected = observe(&world).await;
    let mut points = Vec::new();
    for point in coordinator.passed() {
        let (world, coordinator) = (new_world().await, prepared().await?);
        coordinator.crash_at(&point.change_id, point.step);
        let app = || pipeline(&world, coordinator.builder());
        let outcome = match coordinator.run(app()).await? {
            Ended::Crashed(_) => match coordinator.run(app()).await? {
                Ended::Refused(error) if error.is_manual_intervention() => {
                    let waiting = error.report().manual_intervention();
                    AfterCrash::Asks(waiting.into_iter().map(str::to_owned).collect())
                }
                _ => {
                    let found = observe(&world).await;
                    if found == expected {
                        AfterCrash::Recovered
                    } else {
                        AfterCrash::Differs(found)
                    }
                }
            },
            _ => AfterCrash::NotReached,
        };
        points.push(Crash { point, outcome });
    }
    Ok(Crashes { expected, points })
}

/// The pipeline cannot be tried.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CannotTry {
    /// It cannot be built.
    #[error(transparent)]
    Build(#[from] BuildError),
    /// There is no port for the coordinator.
    #[error("the coordinator of the test cannot listen")]
    Listen(#[from] std::io::Error),
}

impl<S: Debug> Crashes<S> {
    /// After each crash the next start did the rest, and nobody had to look.
    ///
    /// # Panics
    ///
    /// If not; says for which points.
    #[track_caller]
    pub fn assert_recovered(&self) {
        self.assert(|outcome| matches!(outcome, AfterCrash::Recovered | AfterCrash::NotReached));
    }

    /// After each crash the next start did the rest, or said that a person has to look: nothing was done twice or lost
    /// unseen.
    ///
    /// # Panics
    ///
    /// If not; says for which points.
    #[track_caller]
    pub fn assert_recovered_or_asked(&self) {
        self.assert(|outcome| !matches!(outcome, AfterCrash::Differs(_)));
    }

    #[track_caller]
    fn assert(&self, is_fine: impl Fn(&AfterCrash<S>) -> bool) {
        let wrong = self
            .points
            .iter()
            .filter(|crash| !is_fine(&crash.outcome))
            .count();
        assert!(
            wrong == 0,
            "{wrong} of {} crashes end in something else than without a crash\n{self}",
            self.points.len()
        );
    }

    /// Where a person is asked.
    pub fn asking(&self) -> Vec<&Point> {
        let asks = |crash: &&Crash<S>| matches!(crash.outcome, AfterCrash::Asks(_));
        self.points
            .iter()
            .filter(asks)
            .map(|crash| &crash.point)
            .collect()
    }
}

impl<S: Debug> fmt::Display for Crashes<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "without a crash: {:?}", self.expected)?;
        for Crash { point, outcome } in &self.points {
            match outcome {
                AfterCrash::Recovered => write!(f, "\n  {point}: the same")?,
                AfterCrash::Asks(ids) => {
                    write!(f, "\n  {point}: a person is asked about {}", ids.join(", "))?;
                }
                AfterCrash::Differs(found) => write!(f, "\n  {point}: {found:?}")?,
                AfterCrash::NotReached => write!(f, "\n  {point}: not reached this time")?,
            }
        }
        Ok(())
    }
}
