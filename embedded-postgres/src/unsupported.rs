//! In place of the launcher where there are no Unix sockets and signals: it can only be refused.

use std::{
    convert::Infallible,
    io,
    path::{Path, PathBuf},
};

use crate::{Error, Options};

/// A PostgreSQL that can be run; here there is none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Binaries {
    /// The directory of `postgres` and `initdb`.
    pub bin_dir: PathBuf,
    /// The version in full, for example `18.6`.
    pub version: String,
    /// The major version, for example `18`.
    pub major: u32,
}

/// A running server; here there never is one.
#[derive(Debug)]
pub struct EmbeddedPostgres {
    never: Infallible,
}

impl EmbeddedPostgres {
    /// Always [`Error::Unsupported`].
    pub fn start(_: Options) -> Result<Self, Error> {
        Err(Error::Unsupported)
    }

    /// The URL of a database.
    pub fn url(&self, _: &str) -> String {
        match self.never {}
    }

    /// The directory of the server's socket.
    pub fn socket_dir(&self) -> &Path {
        match self.never {}
    }

    /// The version of the server in full.
    pub fn version(&self) -> &str {
        match self.never {}
    }

    /// [`Options::data_dir`] as a full path.
    pub fn data_dir(&self) -> &Path {
        match self.never {}
    }

    /// PostgreSQL's own data directory.
    pub fn cluster_dir(&self) -> &Path {
        match self.never {}
    }

    /// The server's log file.
    pub fn log_file(&self) -> &Path {
        match self.never {}
    }

    /// The process id of the postmaster.
    pub fn pid(&self) -> Option<u32> {
        match self.never {}
    }

    /// Creates a database unless it exists.
    pub fn create_database(&self, _: &str) -> Result<(), Error> {
        match self.never {}
    }

    /// Runs one or more statements in a database.
    pub fn execute(&self, _: &str, _: &str) -> Result<(), Error> {
        match self.never {}
    }

    /// Stops the server in order.
    pub fn stop(self) -> Result<(), Error> {
        match self.never {}
    }

    /// Kills the postmaster.
    pub fn kill(&self) {
        match self.never {}
    }

    /// Starts the server again.
    pub fn restart(&mut self) -> Result<(), Error> {
        match self.never {}
    }
}

/// Always [`Error::Unsupported`].
pub fn find_binaries() -> Result<Binaries, Error> {
    Err(Error::Unsupported)
}

/// Always an error.
pub fn catch_stop_signals() -> io::Result<impl FnOnce() + Send> {
    Err::<fn(), _>(io::ErrorKind::Unsupported.into())
}
