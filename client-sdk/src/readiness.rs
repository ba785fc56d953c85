//! A run in the background, and what can be known of it from outside.

use std::{fmt, future::Future, pin::Pin, sync::Arc};

use chrono::{DateTime, Utc};
use tokio::sync::watch;

use crate::{
    builder::Flamingock,
    events::RunEvent,
    report::Report,
    runner,
    start_error::{StartError, StartErrorKind},
    stop::StopHandle,
    trace,
};

/// How a run in the background goes; made by [`Flamingock::spawn`]. Cheap to clone; everybody who holds one sees the
/// same.
///
/// Dropping it stops nothing: ask by [`stop`](Self::stop), or keep a [guard](Self::stop_on_drop). `await` it, or its
/// [`ready`](Self::ready), to wait for the end:
///
/// ```no_run
/// # use flamingock::Flamingock;
/// # async fn start(app: Flamingock) -> Result<(), Box<dyn std::error::Error>> {
/// let readiness = app.spawn();
/// // … listen, answer probes …
/// let report = readiness.ready().await?;
/// println!("{}", report.one_line());
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Readiness {
    state: watch::Receiver<ReadinessState>,
    stop: StopHandle,
}

/// Where a run in the background stands.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum ReadinessState {
    /// It is running.
    Pending(Pending),
    /// It has ended well: the application may serve.
    Ready(Arc<Report>),
    /// It has failed: the application must not serve.
    Failed(Arc<StartError>),
}

/// What a run is doing.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Pending {
    /// What.
    pub activity: Activity,
    /// Since when it has been doing that.
    pub since: DateTime<Utc>,
    /// When the run began.
    pub started: DateTime<Utc>,
    /// When something last happened: a plan, a change's begin or end, a repeated call.
    pub last_event: DateTime<Utc>,
}

/// One thing that a run can be doing.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Activity {
    /// Asking the server what there is to do.
    Planning,
    /// Another runner is at work.
    WaitingForLock {
        /// Its runner id.
        holder: String,
    },
    /// A change is being applied.
    Applying {
        /// Its stage.
        stage: String,
        /// Its id.
        change: String,
    },
    /// A change has failed, and what it left is being undone.
    RollingBack {
        /// Its stage.
        stage: String,
        /// Its id.
        change: String,
    },
}

impl fmt::Display for Activity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Planning => f.write_str("asking the server what there is to do"),
            Self::WaitingForLock { holder } => write!(f, "waiting for {holder}, which is at work"),
            Self::Applying { stage, change } => write!(f, "applying change `{change}` of stage `{stage}`"),
            Self::RollingBack { stage, change } => {
                write!(
                    f,
                    "undoing change `{change}` of stage `{stage}`, which has failed"
                )
            }
        }
    }
}

impl Readiness {
    /// Where it stands now.
    pub fn state(&self) -> ReadinessState {
        self.state.borrow().clone()
    }

    /// Waits for the end.
    ///
    /// # Errors
    ///
    /// Why the application must not serve. A run that panicked, or whose runtime was shut down, is one that failed.
    pub async fn ready(&self) -> Result<Arc<Report>, Arc<StartError>> {
        let mut state = self.state.clone();
        let ended = state
            .wait_for(|state| !matches!(state, ReadinessState::Pending(_)))
            .await;
        // The sender tells the end before it goes, so what is there is the end either way.
        let last = ended.map(|state| state.clone());
        match last.unwrap_or_else(|_| self.state()) {
            ReadinessState::Ready(report) => Ok(report),
            ReadinessState::Failed(error) => Err(error),
            ReadinessState::Pending(_) => std::future::pending().await,
        }
    }

    /// May the application serve?
    pub fn is_ready(&self) -> bool {
        matches!(*self.state.borrow(), ReadinessState::Ready(_))
    }

    /// Has it failed?
    pub fn is_failed(&self) -> bool {
        matches!(*self.state.borrow(), ReadinessState::Failed(_))
    }

    /// Waits until the state, or what it says, is another than when this was last awaited on this handle. False when
    /// the run has ended.
    pub async fn changed(&mut self) -> bool {
        self.state.changed().await.is_ok()
    }

    /// Asks the run to stop, as [`StopHandle::stop`].
    pub fn stop(&self) {
        self.stop.stop();
    }

    /// Something that asks the run to stop when it is dropped.
    pub fn stop_on_drop(&self) -> StopGuard {
        StopGuard {
            stop: self.stop.clone(),
        }
    }
}

/// Asks a run to stop when it is dropped; made by [`Readiness::stop_on_drop`].
#[derive(Debug)]
#[must_use = "dropping it stops the run"]
pub struct StopGuard {
    stop: StopHandle,
}

impl Drop for StopGuard {
    fn drop(&mut self) {
        self.stop.stop();
    }
}

impl IntoFuture for Readiness {
    type Output = Result<Arc<Report>, Arc<StartError>>;
    type IntoFuture = Pin<Box<dyn Future<Output = Self::Output> + Send>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(async move { self.ready().await })
    }
}

impl fmt::Debug for Readiness {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Readiness").field("state", &self.state()).finish()
    }
}

/// Keeps the state, by what happens.
pub(crate) struct Tracker {
    state: watch::Sender<ReadinessState>,
}

impl Default for Tracker {
    fn default() -> Self {
        let now = Utc::now();
        Self {
            state: watch::Sender::new(ReadinessState::Pending(Pending {
                activity: Activity::Planning,
                since: now,
                started: now,
                last_event: now,
            })),
        }
    }
}

impl Tracker {
    pub(crate) fn is_watched(&self) -> bool {
        self.state.receiver_count() > 0
    }

    pub(crate) fn note(&self, event: &RunEvent) {
        if self.is_watched() {
            let now = Utc::now();
            self.state.send_modify(|state| state.note(event, now));
        }
    }

    fn end(&self, ended: Result<Report, StartError>) {
        self.state.send_replace(match ended {
            Ok(report) => ReadinessState::Ready(Arc::new(report)),
            Err(error) => ReadinessState::Failed(Arc::new(error)),
        });
    }
}

impl ReadinessState {
    fn note(&mut self, event: &RunEvent, now: DateTime<Utc>) {
        let Self::Pending(pending) = self else { return };
        pending.last_event = now;
        let activity = match event {
            RunEvent::RunStarted { .. } => {
                pending.started = now;
                Some(Activity::Planning)
            }
            RunEvent::WaitingForLock { holder } => Some(Activity::WaitingForLock {
                holder: holder.clone(),
            }),
            RunEvent::LockGranted { .. } | RunEvent::StageEnded { .. } => Some(Activity::Planning),
            RunEvent::ChangeStarted { stage, change, .. } => Some(Activity::Applying {
                stage: stage.clone(),
                change: change.clone(),
            }),
            RunEvent::ChangeFailed { stage, change, .. } => Some(Activity::RollingBack {
                stage: stage.clone(),
                change: change.clone(),
            }),
            _ => None,
        };
        if let Some(activity) = activity.filter(|activity| *activity != pending.activity) {
            pending.activity = activity;
            pending.since = now;
        }
    }
}

/// Runs in a task of its own.
pub(crate) fn spawn(app: Flamingock, shutdown: impl Future<Output = ()> + Send + 'static) -> Readiness {
    let readiness = Readiness {
        state: app.events.tracker().state.subscribe(),
        stop: app.stop.clone(),
    };
    let mut running = Running {
        app,
        has_ended: false,
    };
    tokio::spawn(async move {
        use futures_util::FutureExt as _;

        let run = std::panic::AssertUnwindSafe(running.app.run_until(shutdown)).catch_unwind();
        let ended = run.await.unwrap_or_else(|payload| {
            let message = trace::one_line(&trace::of_panic(&*payload));
            Err(runner::failed(&running.app, StartErrorKind::Panicked { message }))
        });
        running.has_ended = true;
        running.app.events.tracker().end(ended);
    });
    readiness
}

/// Says so when the task is dropped with its runtime: somebody may wait in another one.
struct Running {
    app: Flamingock,
    has_ended: bool,
}

impl Drop for Running {
    fn drop(&mut self) {
        if !self.has_ended {
            let ended = runner::failed(&self.app, StartErrorKind::Interrupted);
            self.app.events.tracker().end(Err(ended));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::ErrorReport;

    #[test]
    fn the_activity_follows_the_events_and_its_time_only_changes_with_it() {
        let (of_stage, change) = (|| "s".to_owned(), || "c".to_owned());
        let at = |second| DateTime::from_timestamp(second, 0).expect("valid");
        let mut state = ReadinessState::Pending(Pending {
            activity: Activity::Planning,
            since: at(0),
            started: at(0),
            last_event: at(0),
        });
        let waiting = |holder: &str| RunEvent::WaitingForLock {
            holder: holder.to_owned(),
        };
        let started = RunEvent::ChangeStarted {
            stage: of_stage(),
            change: change(),
            target: "t".to_owned(),
        };
        let failed = RunEvent::ChangeFailed {
            stage: of_stage(),
            change: change(),
            error: ErrorReport::new("E", "e", Vec::new()),
        };
        let rolled_back = RunEvent::ChangeRolledBack {
            stage: of_stage(),
            change: change(),
        };
        let steps = [
            (waiting("a"), "waiting for a, which is at work", 1),
            (waiting("a"), "waiting for a, which is at work", 1),
            (waiting("b"), "waiting for b, which is at work", 3),
            (started, "applying change `c` of stage `s`", 4),
            (RunEvent::Stopping {}, "applying change `c` of stage `s`", 4),
            (failed, "undoing change `c` of stage `s`, which has failed", 6),
            (
                rolled_back,
                "undoing change `c` of stage `s`, which has failed",
                6,
            ),
        ];
        for (second, (event, activity, since)) in (1..).zip(steps) {
            state.note(&event, at(second));
            let ReadinessState::Pending(pending) = &state else {
                panic!("it has not ended")
            };
            let found = (pending.activity.to_string(), pending.since, pending.last_event);
            assert_eq!(found, (activity.to_owned(), at(since), at(second)), "{event:?}");
        }
    }
}
