//! The postmaster as a child process: one thread spawns it, waits for it and does nothing else.

use std::{
    fmt,
    process::{Command, ExitStatus},
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, mpsc},
    thread,
    time::{Duration, Instant},
};

use crate::{
    error::{During, Error},
    process::{self, Signal},
};

#[derive(Debug, Clone, Copy)]
enum State {
    Running { pid: u32 },
    Ended(End),
}

#[derive(Debug, Clone, Copy)]
enum End {
    Status(ExitStatus),
    /// The application ignores SIGCHLD, so nobody is told.
    Unknown,
}

impl End {
    fn is_orderly(self) -> bool {
        match self {
            End::Status(status) => status.success(),
            End::Unknown => true,
        }
    }
}

impl fmt::Display for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            End::Status(status) => status.fmt(f),
            End::Unknown => f.write_str("it ended in an unknown way"),
        }
    }
}

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A postmaster that this process started.
#[derive(Debug)]
pub(crate) struct Server {
    shared: Arc<Shared>,
}

impl Server {
    /// Starts it from a thread that lives as long as it does: the kernel takes the end of the spawning *thread*
    /// for the death of the parent, so a thread of somebody's pool would not do.
    pub(crate) fn spawn(mut command: Command) -> Result<Self, Error> {
        let (report, result) = mpsc::sync_channel(1);
        let supervise = move || {
            let mut child = match command.spawn() {
                Ok(child) => child,
                Err(error) => {
                    let _ = report.send(Err(error));
                    return;
                }
            };
            drop(command); // and with it this process's copy of the log file
            let pid = child.id();
            let shared = Arc::new(Shared {
                state: Mutex::new(State::Running { pid }),
                changed: Condvar::new(),
            });
            let _ = report.send(Ok(Arc::clone(&shared)));
            let _ = process::wait_without_reaping(pid);
            let mut state = shared.state();
            // Reaped under the lock: nobody can signal an id that may already be somebody else's.
            *state = State::Ended(child.wait().map_or(End::Unknown, End::Status));
            shared.changed.notify_all();
        };
        thread::Builder::new()
            .name("embedded-postgres".to_owned())
            .spawn(supervise)
            .during("starting a thread for PostgreSQL")?;
        let shared = result
            .recv()
            .map_err(|_| std::io::Error::other("the thread ended early"))
            .flatten()
            .during("starting PostgreSQL")?;
        Ok(Server { shared })
    }

    /// Its process id, while it runs.
    pub(crate) fn pid(&self) -> Option<u32> {
        match *self.shared.state() {
            State::Running { pid } => Some(pid),
            State::Ended(_) => None,
        }
    }

    /// How it ended, for people, once it has.
    pub(crate) fn ended(&self) -> Option<String> {
        match *self.shared.state() {
            State::Running { .. } => None,
            State::Ended(end) => Some(end.to_string()),
        }
    }

    fn signal(&self, signal: Signal) {
        if let State::Running { pid } = *self.shared.state() {
            let _ = process::send(pid, signal);
        }
    }

    fn wait(&self, patience: Duration) -> Option<End> {
        let deadline = Instant::now() + patience;
        let mut state = self.shared.state();
        loop {
            if let State::Ended(end) = *state {
                return Some(end);
            }
            let left = deadline.checked_duration_since(Instant::now())?;
            (state, _) = self
                .shared
                .changed
                .wait_timeout(state, left)
                .unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Fast shutdown; immediate after 20 s; SIGKILL after 5 s more.
    pub(crate) fn stop(&self) -> Result<(), Error> {
        for (signal, patience_s) in [(Signal::Interrupt, 20), (Signal::Quit, 5), (Signal::Kill, 5)] {
            self.signal(signal);
            match self.wait(Duration::from_secs(patience_s)) {
                Some(end) if end.is_orderly() => return Ok(()),
                Some(end) => {
                    return Err(Error::UncleanStop {
                        status: end.to_string(),
                    });
                }
                None => {}
            }
        }
        Err(Error::UncleanStop {
            status: "it does not react to SIGKILL".to_owned(),
        })
    }

    /// SIGKILL, and waits until it is gone (its sessions follow on their own).
    pub(crate) fn kill(&self) {
        self.signal(Signal::Kill);
        self.wait(Duration::from_secs(5));
    }
}
