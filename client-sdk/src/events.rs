//! What happens in a run, as it happens: to listeners and to streams.

use std::{
    fmt,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, Ordering},
    },
};

use flamingock_api_types::{execution::PlanAction, probe::ProbeVerdict};
use serde::Serialize;
use tokio::sync::broadcast;

use crate::{
    readiness::Tracker,
    report::{ErrorReport, Report, StageState},
    trace,
};

/// Something that happened in a run.
///
/// A run is told from [`RunStarted`](Self::RunStarted) to [`RunEnded`](Self::RunEnded). Each
/// [`ChangeStarted`](Self::ChangeStarted) is followed by exactly one of [`ChangeApplied`](Self::ChangeApplied) and
/// [`ChangeFailed`](Self::ChangeFailed); what became of the attempt to undo a failed one comes after that. A run that is
/// dropped in the middle tells nothing more.
///
/// As JSON each has its name in `event`, and its fields beside it. Names, ids and texts of errors are those of the
/// application; they are not secrets unless its errors say some.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(
    tag = "event",
    rename_all = "SCREAMING_SNAKE_CASE",
    rename_all_fields = "camelCase"
)]
#[non_exhaustive]
pub enum RunEvent {
    /// A run begins.
    #[non_exhaustive]
    RunStarted {
        /// Who this runner is to the server.
        runner_id: String,
        /// How many stages the pipeline has.
        stages: usize,
        /// How many changes.
        changes: usize,
    },
    /// The server has answered what to do. While waiting for the lock, each of its answers.
    #[non_exhaustive]
    PlanReceived {
        /// What.
        action: PlanAction,
        /// The server's id of what is to be carried out, for `EXECUTE`.
        execution_id: Option<i64>,
    },
    /// Another runner holds the lock; told again when the lock changes hands.
    #[non_exhaustive]
    WaitingForLock {
        /// Its runner id.
        holder: String,
    },
    /// This runner holds the lock.
    #[non_exhaustive]
    LockGranted {
        /// The server's id of the execution.
        execution_id: i64,
        /// The lock's key.
        key: String,
        /// Grows with each grant.
        fence: Option<i64>,
    },
    /// A stage begins.
    #[non_exhaustive]
    StageStarted {
        /// Its name.
        stage: String,
    },
    /// A stage is not begun, because a person has to decide about some of its changes first.
    #[non_exhaustive]
    StageBlocked {
        /// Its name.
        stage: String,
        /// The ids of these changes.
        change_ids: Vec<String>,
    },
    /// A stage ends, in whichever way.
    #[non_exhaustive]
    StageEnded {
        /// Its name.
        stage: String,
        /// How far it got: [`NotStarted`](StageState::NotStarted) if the run was stopped before its first change.
        state: StageState,
        /// How long it took.
        duration_ms: u64,
    },
    /// A change of a stage with work was applied earlier. Stages without work, and their changes, are not told.
    #[non_exhaustive]
    ChangeSkipped {
        /// The stage.
        stage: String,
        /// The change's id.
        change: String,
    },
    /// The probe of a change was asked what became of an earlier attempt. That it counts is recorded after this.
    #[non_exhaustive]
    ChangeProbed {
        /// The stage.
        stage: String,
        /// The change's id.
        change: String,
        /// What it found.
        verdict: ProbeVerdict,
    },
    /// A change is about to be applied. Its start is not recorded yet.
    #[non_exhaustive]
    ChangeStarted {
        /// The stage.
        stage: String,
        /// The change's id.
        change: String,
        /// The target system's id.
        target: String,
    },
    /// A long change says how far it is, by [`Progress`](crate::Progress): as often as it does.
    #[non_exhaustive]
    ChangeProgress {
        /// The change's id.
        change: String,
        /// How much is done, in the change's own unit.
        done: u64,
        /// Of how much, where it is known.
        total: Option<u64>,
        /// For people.
        message: String,
    },
    /// A change was applied, and that is recorded.
    #[non_exhaustive]
    ChangeApplied {
        /// The stage.
        stage: String,
        /// The change's id.
        change: String,
        /// How long it took, its audit entries included.
        duration_ms: u64,
    },
    /// A change failed. Also: it was not begun, or what it came to is not known or could not be recorded.
    #[non_exhaustive]
    ChangeFailed {
        /// The stage.
        stage: String,
        /// The change's id.
        change: String,
        /// Why.
        error: ErrorReport,
    },
    /// A failed change was undone, by its transaction or its rollback. The report of it to the server follows.
    #[non_exhaustive]
    ChangeRolledBack {
        /// The stage.
        stage: String,
        /// The change's id.
        change: String,
    },
    /// A failed change could not be undone: some of it may have stayed.
    #[non_exhaustive]
    ChangeRollbackFailed {
        /// The stage.
        stage: String,
        /// The change's id.
        change: String,
        /// Why.
        error: ErrorReport,
    },
    /// A call to the server failed and is repeated.
    #[non_exhaustive]
    CallRepeated {
        /// Which: `plan request`, `audit write`, …
        operation: String,
        /// How often it was tried so far.
        attempts: u32,
        /// What went wrong.
        error: String,
        /// How long until it is tried again.
        pause_ms: u64,
    },
    /// The run was asked to stop, by this process.
    #[non_exhaustive]
    Stopping {},
    /// A run ended.
    #[non_exhaustive]
    RunEnded {
        /// What it did; its `error` and those of its stages say why it failed.
        report: Box<Report>,
    },
    /// Only from a stream: its reader was too slow, and this many events before the next one are lost to it.
    #[non_exhaustive]
    Missed {
        /// How many.
        events: u64,
    },
}

/// Whom to tell.
#[derive(Clone, Default)]
pub(crate) struct Events {
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    listeners: Vec<Listener>,
    /// Made when somebody wants to read one.
    stream: OnceLock<broadcast::Sender<RunEvent>>,
    tracker: Tracker,
}

pub(crate) struct Listener {
    call: Box<dyn Fn(&RunEvent) + Send + Sync>,
    is_broken: AtomicBool,
}

impl Listener {
    pub(crate) fn new(call: impl Fn(&RunEvent) + Send + Sync + 'static) -> Self {
        Self {
            call: Box::new(call),
            is_broken: AtomicBool::new(false),
        }
    }

    fn tell(&self, event: &RunEvent) {
        if self.is_broken.load(Ordering::Relaxed) {
            return;
        }
        // Whatever it left half done is its own, and it is not called again.
        let told = catch_unwind(AssertUnwindSafe(|| (self.call)(event)));
        if let Err(payload) = told
            && !self.is_broken.swap(true, Ordering::Relaxed)
        {
            let error = trace::one_line(&trace::of_panic(&*payload));
            tracing::warn!(%error, "a listener panicked: it is told no more events; the run goes on");
        }
    }
}

impl Events {
    pub(crate) fn new(listeners: Vec<Listener>) -> Self {
        Self {
            shared: Arc::new(Shared {
                listeners,
                ..Shared::default()
            }),
        }
    }

    pub(crate) fn tracker(&self) -> &Tracker {
        &self.shared.tracker
    }

    /// Tells everybody, in the order in which they came. Where nobody listens, the event is not even made.
    pub(crate) fn emit(&self, event: impl FnOnce() -> RunEvent) {
        let Shared {
            listeners,
            stream,
            tracker,
        } = &*self.shared;
        let stream = stream.get().filter(|stream| stream.receiver_count() > 0);
        if listeners.is_empty() && stream.is_none() && !tracker.is_watched() {
            return;
        }
        let event = event();
        tracker.note(&event);
        for listener in listeners {
            listener.tell(&event);
        }
        if let Some(stream) = stream {
            // That the last reader has gone meanwhile is no matter.
            let _ = stream.send(event);
        }
    }

    pub(crate) fn subscribe(&self) -> EventStream {
        let stream = self
            .shared
            .stream
            .get_or_init(|| broadcast::Sender::new(EventStream::CAPACITY));
        EventStream {
            receiver: stream.subscribe(),
        }
    }
}

/// The events of a [`Flamingock`](crate::Flamingock)'s runs, from when it was asked for; made by
/// [`events`](crate::Flamingock::events).
///
/// The run never waits for a reader. One that is behind by more than [`CAPACITY`](Self::CAPACITY) events loses the
/// oldest and is told how many, by [`RunEvent::Missed`].
pub struct EventStream {
    receiver: broadcast::Receiver<RunEvent>,
}

impl EventStream {
    /// How many events are kept for the slowest reader.
    pub const CAPACITY: usize = 1024;

    /// Waits for the next event. `None` when the [`Flamingock`](crate::Flamingock) is gone; a run's last event is
    /// [`RunEvent::RunEnded`]. Dropping the future loses nothing.
    pub async fn next(&mut self) -> Option<RunEvent> {
        match self.receiver.recv().await {
            Ok(event) => Some(event),
            Err(broadcast::error::RecvError::Lagged(events)) => Some(RunEvent::Missed { events }),
            Err(broadcast::error::RecvError::Closed) => None,
        }
    }

    /// The same for the combinators of streams.
    pub fn into_stream(self) -> impl futures_util::Stream<Item = RunEvent> + Send + use<> {
        futures_util::stream::unfold(self, |mut events| async move {
            let event = events.next().await?;
            Some((event, events))
        })
    }
}

impl fmt::Debug for EventStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EventStream")
            .field("waiting", &self.receiver.len())
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    fn missed(events: u64) -> RunEvent {
        RunEvent::Missed { events }
    }

    #[test]
    fn a_listener_that_panics_is_told_no_more_and_the_others_are() {
        let (calls, told) = (Arc::new(Mutex::new(0)), Arc::new(Mutex::new(Vec::new())));
        let (counted, noted) = (calls.clone(), told.clone());
        let events = Events::new(vec![
            Listener::new(move |_| {
                *counted.lock().expect("not poisoned: the panic comes after") += 1;
                panic!("out of cheese");
            }),
            Listener::new(move |event| noted.lock().expect("nothing panics here").push(event.clone())),
        ]);
        events.emit(|| missed(1));
        events.emit(|| missed(2));
        assert_eq!(*calls.lock().expect("the guard is dropped before the panic"), 1);
        assert_eq!(*told.lock().expect("nothing panics here"), [missed(1), missed(2)]);
    }

    #[test]
    fn an_event_that_nobody_hears_is_not_made() {
        let events = Events::default();
        events.emit(|| panic!("made for nobody"));
        drop(events.subscribe());
        events.emit(|| panic!("made for a reader that has gone"));
    }

    #[tokio::test]
    async fn a_slow_reader_loses_the_oldest_and_is_told_how_many() {
        let events = Events::default();
        let mut stream = events.subscribe();
        let all = u64::try_from(EventStream::CAPACITY).expect("small") + 3;
        for number in 0..all {
            events.emit(|| missed(1000 + number));
        }
        assert_eq!(stream.next().await, Some(missed(3)), "told how many");
        assert_eq!(stream.next().await, Some(missed(1003)), "the oldest that is left");
        for _ in 1004..1000 + all {
            stream.next().await.expect("still there");
        }
        drop(events);
        assert_eq!(stream.next().await, None);
    }

    #[test]
    fn events_are_json_objects_with_their_name() {
        let event = RunEvent::ChangeApplied {
            stage: "s".to_owned(),
            change: "c".to_owned(),
            duration_ms: 7,
        };
        let expected =
            serde_json::json!({"event": "CHANGE_APPLIED", "stage": "s", "change": "c", "durationMs": 7});
        assert_eq!(serde_json::to_value(event).expect("plain data"), expected);
    }
}
