//! What goes wrong, and where.

use std::{
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::sync::watch;

use super::ledger::Ledger;
pub use crate::runner::step::Step;

/// What can go wrong at a [`Point`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Accident {
    /// The process dies.
    Crash,
    /// Another runner takes the lock, as after a lease that ran out unseen. At the runner's own steps it goes on when it
    /// knows; while it [applies](Step::Applying) it learns of it by its cancellation.
    LoseLock,
    /// The answer gets lost, at a step that ends in `Recorded`. Elsewhere nothing.
    LoseAnswer,
}

/// A point in the life of one change.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Point {
    /// Which change.
    pub change_id: String,
    /// How far it is.
    pub step: Step,
}

impl Point {
    /// A point of this change.
    pub fn of(change_id: impl Into<String>, step: Step) -> Self {
        Self {
            change_id: change_id.into(),
            step,
        }
    }
}

impl fmt::Display for Point {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}` at {:?}", self.change_id, self.step)
    }
}

/// Shared by the coordinator and the run: what is to go wrong, and what was passed.
pub(crate) struct Script {
    ledger: Arc<Mutex<Ledger>>,
    told: Mutex<Told>,
    #[cfg(feature = "certificate")]
    certifier: Mutex<super::certifying::Certifier>,
    died: watch::Sender<Option<Point>>,
}

#[derive(Default)]
struct Told {
    is_unreachable: bool,
    planned: Vec<(Point, Accident)>,
    passed: Vec<Point>,
}

impl Script {
    pub(super) fn new() -> Self {
        Self {
            ledger: Arc::new(Mutex::new(Ledger::new())),
            told: Mutex::default(),
            #[cfg(feature = "certificate")]
            certifier: Mutex::new(super::certifying::Certifier::new()),
            died: watch::channel(None).0,
        }
    }

    pub(super) fn ledger(&self) -> MutexGuard<'_, Ledger> {
        self.ledger.lock().unwrap_or_else(PoisonError::into_inner)
    }

    #[cfg(feature = "certificate")]
    pub(super) fn certifier(&self) -> MutexGuard<'_, super::certifying::Certifier> {
        self.certifier.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn told(&self) -> MutexGuard<'_, Told> {
        self.told.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn plan(&self, point: Point, accident: Accident) {
        self.told().planned.push((point, accident));
    }

    pub(super) fn set_unreachable(&self, is_unreachable: bool) {
        self.told().is_unreachable = is_unreachable;
    }

    pub(super) fn is_unreachable(&self) -> bool {
        self.told().is_unreachable
    }

    /// What was planned and did not happen.
    pub(super) fn left_over(&self) -> Vec<Point> {
        self.told()
            .planned
            .iter()
            .map(|(point, _)| point.clone())
            .collect()
    }

    pub(super) fn passed(&self) -> Vec<Point> {
        self.told().passed.clone()
    }

    /// A new process. Gives the end that the script has for it, if it comes.
    pub(super) fn begin(&self) -> impl Future<Output = Point> + use<> {
        self.told().passed.clear();
        self.died.send_replace(None);
        let mut died = self.died.subscribe();
        async move {
            let point = died.wait_for(Option::is_some).await.ok();
            match point.and_then(|point| point.clone()) {
                Some(point) => point,
                None => std::future::pending().await,
            }
        }
    }

    /// Says what happens here. Each accident happens once.
    pub(crate) fn reached(&self, change_id: &str, step: Step) -> Option<Accident> {
        let point = Point::of(change_id, step);
        let accident = {
            let mut told = self.told();
            told.passed.push(point.clone());
            let at = told.planned.iter().position(|(planned, _)| *planned == point)?;
            told.planned.remove(at).1
        };
        match accident {
            Accident::Crash => {
                self.died.send_replace(Some(point));
            }
            Accident::LoseLock => self.ledger().take_lock_away(),
            Accident::LoseAnswer => {}
        }
        Some(accident)
    }
}
