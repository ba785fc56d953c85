//! Long changes: a cursor that outlives a crash, and progress for people.
//!
//! Both travel with the lock's heartbeat. A cursor does not wait for the next one: it is sent at once, and kept when
//! `save` returns. Progress is noted in memory and goes along with the next heartbeat.

use std::{
    any::type_name,
    borrow::Cow,
    fmt,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use flamingock_api_types::progress::{
    CURSOR_MAX_BYTES, LockExtensionRequest, MESSAGE_MAX_CHARS, ProgressWrite,
};
use serde::{Serialize, de::DeserializeOwned};

use crate::{
    client::Client,
    context::{Context, FromContext, InjectionError, Requirement},
    error::Error,
    events::RunEvent,
    lease::{Heard, Lease},
    retry::Patience,
};

/// Where a long change has got to, so that after a crash the next attempt goes on from there.
///
/// ```
/// use flamingock::{ChangeError, Checkpoint, Progress, change};
/// # async fn copy_batch(_: i64) -> Result<Option<i64>, std::io::Error> { Ok(None) }
///
/// #[change(id = "copy-orders", order = "0003", target = "archive", transactional = false, recovery = "always_retry")]
/// async fn copy_orders(checkpoint: Checkpoint, progress: Progress) -> Result<(), ChangeError> {
///     let mut after = checkpoint.load::<i64>()?.unwrap_or(0);
///     while let Some(last) = copy_batch(after).await? {
///         after = last;
///         checkpoint.save(&after).await?;
///         progress.report(after.unsigned_abs(), 1_000_000, "orders");
///     }
///     Ok(())
/// }
/// ```
///
/// The cursor is for changes outside a transaction that are retried by themselves
/// ([`AlwaysRetry`](crate::Recovery::AlwaysRetry)). What was done after the last `save` may be done again, so a step must
/// bear being repeated. A cursor ends with what it describes: once the change is applied, was rolled back or a person has
/// decided about it, the next attempt begins without one.
#[derive(Clone)]
pub struct Checkpoint {
    attempt: Arc<Attempt>,
}

impl Checkpoint {
    /// Keeps a position, in place of the one before: as JSON, at most 8 KiB. Durable when it returns.
    ///
    /// It is an early heartbeat as well: it extends the lock, and brings the signal to [stop](crate::Cancellation).
    ///
    /// # Errors
    ///
    /// Nothing was kept, or at least nobody can say so. Return the error: after [`LockLost`](CheckpointError::LockLost)
    /// another runner may be doing the same work.
    pub async fn save<T: Serialize + ?Sized>(&self, cursor: &T) -> Result<(), CheckpointError> {
        let text = serde_json::to_string(cursor).map_err(CheckpointError::Encode)?;
        if text.len() > CURSOR_MAX_BYTES {
            return Err(CheckpointError::TooLong { bytes: text.len() });
        }
        self.attempt.save(text).await
    }

    /// What was saved last: in this attempt, or else in the one that it goes on from. `None`: begin at the beginning.
    ///
    /// # Errors
    ///
    /// What is there is no `T`. It is not dropped silently, since the work that it stands for would be done again.
    pub fn load<T: DeserializeOwned>(&self) -> Result<Option<T>, CheckpointError> {
        let Some(text) = self.attempt.notes().cursor.clone() else {
            return Ok(None);
        };
        serde_json::from_str(&text)
            .map(Some)
            .map_err(|source| CheckpointError::Decode {
                type_name: type_name::<T>(),
                cursor: text,
                source,
            })
    }

    /// One that keeps its cursor in memory, for calling a change function in a test. Begins empty; clones share it.
    pub fn in_memory() -> Self {
        Self {
            attempt: Arc::new(Attempt::detached()),
        }
    }

    pub(crate) fn of(attempt: Arc<Attempt>) -> Self {
        Self { attempt }
    }
}

impl fmt::Debug for Checkpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Checkpoint")
            .field(&self.attempt.notes().cursor)
            .finish()
    }
}

/// Why a cursor was not saved, or could not be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CheckpointError {
    /// More than 8 KiB.
    #[error("the cursor has {bytes} bytes and may have {CURSOR_MAX_BYTES}: save a position, not the data")]
    TooLong {
        /// As JSON.
        bytes: usize,
    },
    /// It has no form as JSON.
    #[error("the cursor cannot be written as JSON")]
    Encode(#[source] serde_json::Error),
    /// The cursor that is there is of another type, perhaps one that an earlier version of the change saved.
    #[error(
        "the cursor {cursor} of an earlier attempt is no {type_name}: let the change read it, or have an operator record \
         what became of that attempt"
    )]
    Decode {
        /// What was asked for.
        type_name: &'static str,
        /// What is there.
        cursor: String,
        /// In what they differ.
        source: serde_json::Error,
    },
    /// Another runner may be at work. Nothing was saved; stop at once.
    #[error("the lock was lost, so the cursor was not saved; another runner may be at work already")]
    LockLost,
    /// The change has returned. Only what runs on behind its back gets this.
    #[error("the change has ended, and its cursor with it")]
    Ended,
    /// The coordination server knows no cursors.
    #[error("the coordination server keeps no cursors: it is older than this SDK")]
    Unsupported,
    /// The coordination server has not recorded that the change is under way in this execution.
    #[error("the coordination server does not know that the change is under way, so it kept no cursor")]
    NotUnderWay,
    /// The call failed for as long as the lock was held.
    #[error("the cursor could not be saved")]
    Server(#[from] Error),
}

/// Tells people how far a long change is. It costs no call: the latest report goes along with the next heartbeat, one
/// third of the lock's lease apart at most, and earlier ones are dropped. Listeners of this process hear of each.
#[derive(Clone)]
pub struct Progress {
    attempt: Arc<Attempt>,
}

impl Progress {
    /// `done` of `total`, in whatever unit the change counts in (`None` if the total is not known), and a word about it: up
    /// to 300 characters are kept.
    pub fn report(&self, done: u64, total: impl Into<Option<u64>>, message: impl Into<Cow<'static, str>>) {
        let report = Report {
            done,
            total: total.into(),
            message: message.into(),
        };
        if let Some(link) = &self.attempt.link {
            link.client.events().emit(|| RunEvent::ChangeProgress {
                change: self.attempt.change_id.clone(),
                done,
                total: report.total,
                message: report.message.to_string(),
            });
        }
        let mut notes = self.attempt.notes();
        notes.version += 1;
        notes.progress = Some(report);
    }

    /// One that nobody hears, for calling a change function in a test.
    pub fn unheard() -> Self {
        Self {
            attempt: Arc::new(Attempt::detached()),
        }
    }

    pub(crate) fn of(attempt: Arc<Attempt>) -> Self {
        Self { attempt }
    }
}

impl fmt::Debug for Progress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Progress")
            .field(&self.attempt.notes().progress)
            .finish()
    }
}

impl FromContext for Checkpoint {
    fn requirement() -> Requirement {
        Requirement::checkpoint()
    }

    fn from_context(context: &Context) -> Result<Self, InjectionError> {
        context.checkpoint()
    }
}

impl FromContext for Progress {
    fn requirement() -> Requirement {
        Requirement::nothing()
    }

    fn from_context(context: &Context) -> Result<Self, InjectionError> {
        Ok(context.progress())
    }
}

/// One attempt of one change, and what it has to tell.
pub(crate) struct Attempt {
    /// `None` in a test of the change's function.
    link: Option<Link>,
    change_id: String,
    execution_id: i64,
    has_rollback: bool,
    is_rolling_back: AtomicBool,
    notes: Mutex<Notes>,
    /// Held while something is told, so that nothing overtakes what was told before.
    voice: tokio::sync::Mutex<Voice>,
}

struct Link {
    client: Client,
    lease: Lease,
}

#[derive(Default)]
struct Notes {
    cursor: Option<String>,
    progress: Option<Report>,
    /// Grows with each report.
    version: u64,
}

#[derive(Clone, Debug)]
struct Report {
    done: u64,
    total: Option<u64>,
    message: Cow<'static, str>,
}

struct Voice {
    /// Of the last write.
    sequence: i64,
    /// Version of the last progress that was sent.
    sent: u64,
    is_open: bool,
}

/// What a heartbeat takes along. While it is there, no cursor is saved.
pub(crate) struct News<'a> {
    voice: tokio::sync::MutexGuard<'a, Voice>,
    version: u64,
    pub(crate) request: LockExtensionRequest,
}

impl News<'_> {
    /// It arrived, or never will.
    pub(crate) fn told(mut self) {
        if let Some(told) = &self.request.progress {
            tracing::info!(
                change = %told.change_id, done = told.done, total = told.total,
                about = told.message.as_deref(), "progress"
            );
        }
        self.voice.sent = self.voice.sent.max(self.version);
    }
}

impl Attempt {
    /// `cursor`: where the server says that an earlier attempt got to.
    pub(crate) fn new(
        client: &Client,
        lease: &Lease,
        execution_id: i64,
        change_id: &str,
        has_rollback: bool,
        cursor: Option<String>,
    ) -> Self {
        Self {
            link: Some(Link {
                client: client.clone(),
                lease: lease.clone(),
            }),
            change_id: change_id.to_owned(),
            execution_id,
            has_rollback,
            notes: Mutex::new(Notes {
                cursor,
                ..Notes::default()
            }),
            ..Self::detached()
        }
    }

    /// One whose cursors are kept in memory.
    pub(crate) fn detached() -> Self {
        Self {
            link: None,
            change_id: String::new(),
            execution_id: 0,
            has_rollback: false,
            is_rolling_back: AtomicBool::new(false),
            notes: Mutex::default(),
            voice: tokio::sync::Mutex::new(Voice {
                sequence: 0,
                sent: 0,
                is_open: true,
            }),
        }
    }

    /// A cursor is there, be it this attempt's own.
    pub(crate) fn has_cursor(&self) -> bool {
        self.notes().cursor.is_some()
    }

    /// From here on a cursor says what the rollback has left.
    pub(crate) fn rolls_back(&self) {
        self.is_rolling_back.store(true, Ordering::Relaxed);
    }

    /// When it returns, nothing of this attempt is on its way to the server, and nothing follows.
    pub(crate) async fn end(&self) {
        self.voice.lock().await.is_open = false;
    }

    /// What the heartbeat should take along: nothing if there is no news, or while a cursor is on its way, which takes
    /// the progress along itself.
    pub(crate) fn news(&self) -> Option<News<'_>> {
        let mut voice = self.voice.try_lock().ok()?;
        let version = self.notes().version;
        if !voice.is_open || version <= voice.sent {
            return None;
        }
        let request = self.next_write(&mut voice, None);
        Some(News {
            voice,
            version,
            request,
        })
    }

    fn notes(&self) -> MutexGuard<'_, Notes> {
        self.notes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn next_write(&self, voice: &mut Voice, cursor: Option<String>) -> LockExtensionRequest {
        voice.sequence += 1;
        let number = |value: u64| i64::try_from(value).unwrap_or(i64::MAX);
        let progress = self.notes().progress.clone();
        LockExtensionRequest {
            progress: Some(ProgressWrite {
                execution_id: self.execution_id,
                change_id: self.change_id.clone(),
                sequence: voice.sequence,
                cursor,
                void_when_failed: self.has_rollback && !self.is_rolling_back.load(Ordering::Relaxed),
                done: progress.as_ref().map(|progress| number(progress.done)),
                total: progress.as_ref().and_then(|progress| progress.total).map(number),
                message: progress.as_ref().and_then(|progress| shown(&progress.message)),
            }),
        }
    }

    async fn save(&self, cursor: String) -> Result<(), CheckpointError> {
        let mut voice = self.voice.lock().await;
        if !voice.is_open {
            return Err(CheckpointError::Ended);
        }
        if let Some(link) = &self.link {
            let version = self.notes().version;
            let request = self.next_write(&mut voice, Some(cursor.clone()));
            link.tell(&request).await?;
            voice.sent = voice.sent.max(version);
        }
        self.notes().cursor = Some(cursor);
        Ok(())
    }
}

impl Link {
    async fn tell(&self, request: &LockExtensionRequest) -> Result<(), CheckpointError> {
        let lease = &self.lease;
        if lease.is_lost() {
            return Err(CheckpointError::LockLost);
        }
        // The heartbeat goes on beside this and moves the end.
        let patience = Patience::until(|| lease.end());
        let answered = self.client.extend_timed(lease.key(), request, &patience).await;
        match lease.hear(&answered, self.client.runner_id()) {
            Heard::Lost => Err(CheckpointError::LockLost),
            Heard::Nothing if lease.is_lost() => Err(CheckpointError::LockLost),
            Heard::Extended | Heard::Nothing => match answered?.answer.progress {
                Some(receipt) if receipt.recorded => Ok(()),
                Some(_) => Err(CheckpointError::NotUnderWay),
                None => Err(CheckpointError::Unsupported),
            },
        }
    }
}

/// A message that the server takes: without NUL, and not too long.
fn shown(message: &str) -> Option<String> {
    let shown: String = message
        .chars()
        .filter(|char| *char != '\0')
        .take(MESSAGE_MAX_CHARS)
        .collect();
    (!shown.is_empty()).then_some(shown)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_cursor_in_memory_is_loaded_as_it_was_saved_and_its_clones_share_it() {
        let checkpoint = Checkpoint::in_memory();
        assert_eq!(checkpoint.load::<u64>().expect("nothing is there"), None);
        let clone = checkpoint.clone();
        clone.save(&(7, "seven")).await.expect("saved");
        assert_eq!(
            checkpoint.load::<(u64, String)>().expect("a pair"),
            Some((7, "seven".to_owned()))
        );
        let error = checkpoint.load::<u64>().expect_err("it is a pair");
        assert!(error.to_string().contains(r#"[7,"seven"]"#), "{error}");
    }

    #[tokio::test]
    async fn a_cursor_of_eight_kibibytes_is_kept_and_a_longer_one_is_not() {
        let checkpoint = Checkpoint::in_memory();
        let longest = "x".repeat(CURSOR_MAX_BYTES - 2);
        checkpoint.save(&longest).await.expect("with its quotes it fits");
        let error = checkpoint
            .save(&format!("{longest}x"))
            .await
            .expect_err("one byte too many");
        assert!(
            matches!(error, CheckpointError::TooLong { bytes } if bytes == CURSOR_MAX_BYTES + 1),
            "{error}"
        );
        assert_eq!(checkpoint.load::<String>().expect("text"), Some(longest));
    }

    #[tokio::test]
    async fn after_the_end_of_the_change_nothing_is_saved() {
        let checkpoint = Checkpoint::in_memory();
        checkpoint.attempt.end().await;
        let error = checkpoint.save(&1).await.expect_err("it has ended");
        assert!(matches!(error, CheckpointError::Ended), "{error}");
    }

    #[tokio::test]
    async fn news_is_told_once_and_the_latest_report_is_the_one_that_is_told() {
        let attempt = Arc::new(Attempt::detached());
        let progress = Progress::of(attempt.clone());
        assert!(attempt.news().is_none());
        progress.report(1, 10, "one");
        progress.report(2, None, "two\0");
        let news = attempt.news().expect("there is news");
        let write = news.request.progress.clone().expect("a progress");
        assert_eq!(
            (write.sequence, write.done, write.total, write.message.as_deref()),
            (1, Some(2), None, Some("two"))
        );
        drop(news);
        // It did not arrive, so it is told again, as a later write.
        let again = attempt.news().expect("still news");
        assert_eq!(again.request.progress.as_ref().expect("a progress").sequence, 2);
        again.told();
        assert!(attempt.news().is_none());
        attempt.end().await;
        progress.report(3, 10, "three");
        assert!(attempt.news().is_none(), "nothing is told of what has ended");
    }
}
