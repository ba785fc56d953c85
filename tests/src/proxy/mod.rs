//! Proxies that stop the world at an exact message.
//!
//! A trap waits for one message. It holds it before it is passed on, or holds the answer to it; the test is told, does
//! what it wants (kills the sender, mostly), and then either lets the message go on or, by dropping the trap, breaks the
//! connection. So a window of a microsecond inside an application is hit every time, without a hook in it.

mod http;
mod mischief;
mod postgres;

use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::oneshot;

pub use http::HttpProxy;
pub use mischief::Mischief;
pub use postgres::PostgresProxy;

/// Which side of the message is held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// The message itself: its receiver never sees it, unless it is let go on.
    Message,
    /// The answer: the receiver has done what the message says, and the sender does not know.
    Answer,
}

/// A trap that was set. Dropping it breaks the connection of what it caught.
pub struct Trap {
    what: String,
    caught: oneshot::Receiver<()>,
    go_on: Option<oneshot::Sender<()>>,
}

impl Trap {
    /// Waits until it has caught its message.
    pub async fn caught(&mut self) {
        let limit = Duration::from_mins(2);
        let caught = tokio::time::timeout(limit, &mut self.caught).await;
        assert!(
            matches!(caught, Ok(Ok(()))),
            "waited {limit:?} in vain for {}",
            self.what
        );
    }

    /// Lets the message go on.
    pub fn go_on(mut self) {
        if let Some(go_on) = self.go_on.take() {
            let _ = go_on.send(()); // whoever waited may be gone
        }
    }
}

/// The proxy's end of a trap.
struct Snare {
    side: Side,
    /// Parts of a message that must have gone by before.
    after: Vec<String>,
    parts: Vec<String>,
    caught: oneshot::Sender<()>,
    go_on: oneshot::Receiver<()>,
}

impl Snare {
    /// Tells the test, and waits for its decision.
    async fn hold(self) -> io::Result<()> {
        let _ = self.caught.send(()); // the test may have given up
        self.go_on
            .await
            .map_err(|_| io::ErrorKind::ConnectionAborted.into())
    }
}

/// Traps that have caught nothing yet, and everything that went by.
#[derive(Clone, Default)]
struct Traps {
    set: Arc<Mutex<Vec<Snare>>>,
    seen: Arc<Mutex<Vec<String>>>,
}

impl Traps {
    fn set(&self, after: &[&str], side: Side, parts: &[&str]) -> Trap {
        let (told, caught) = oneshot::channel();
        let (decide, go_on) = oneshot::channel();
        let owned = |parts: &[&str]| parts.iter().map(|part| (*part).to_owned()).collect();
        let (after, parts): (Vec<String>, Vec<String>) = (owned(after), owned(parts));
        let what = format!("{side:?} {}", parts.join(" … "));
        lock(&self.set).push(Snare {
            side,
            after,
            parts,
            caught: told,
            go_on,
        });
        Trap {
            what,
            caught,
            go_on: Some(decide),
        }
    }

    /// The trap for this message, if there is one.
    fn spring(&self, side: Side, message: &str) -> Option<Snare> {
        let mut set = lock(&self.set);
        let holds = |parts: &[String]| parts.iter().all(|part| message.contains(part));
        let at = set
            .iter()
            .position(|snare| snare.side == side && snare.after.is_empty() && holds(&snare.parts));
        for snare in set.iter_mut() {
            if holds(&snare.after) {
                snare.after.clear();
            }
        }
        at.map(|at| set.remove(at))
    }

    fn note(&self, message: &str) {
        lock(&self.seen).push(message.to_owned());
    }

    fn seen(&self) -> Vec<String> {
        lock(&self.seen).clone()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
