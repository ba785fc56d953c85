//! Everything that can go wrong, each with what to do about it.

use std::{io, path::PathBuf, time::Duration};

/// Why an embedded PostgreSQL could not be started, reached or stopped.
///
/// The messages are written for the person at the terminal: they say what was found and what to do next.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// No usable PostgreSQL on this machine, and none could be obtained.
    #[error(
        "no PostgreSQL {supported} to run was found\n{tried}\
         Set DATABASE_URL to the URL of a PostgreSQL server, or install one: {install}\n\
         (PG_BIN names the directory that holds `postgres` and `initdb`, where they are somewhere unusual.)"
    )]
    NotFound {
        /// The supported major versions, for people: `15 to 18`.
        supported: String,
        /// One line for each place or route that was tried, each ending in a newline.
        tried: String,
        /// The command that installs PostgreSQL here, or the package's usual name.
        install: String,
    },

    /// `PG_BIN` is set and does not lead to a supported PostgreSQL. An explicit choice is never ignored.
    #[error("PG_BIN is {path:?}, which cannot be used: {reason}")]
    PgBin {
        /// The value of `PG_BIN`.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },

    /// The data directory holds a cluster of a major version for which there are no binaries here.
    #[error(
        "{data_dir:?} holds the data of PostgreSQL {data}, but {available}\n\
         Install PostgreSQL {data} (or point PG_BIN at its binaries) to go on with that data; or dump it with \
         that version and restore it into a new data directory; or, if it is not needed, move {data_dir:?} \
         away to start empty"
    )]
    OtherMajorVersion {
        /// The cluster's directory.
        data_dir: PathBuf,
        /// Its major version.
        data: u32,
        /// What there is instead, as the second half of a sentence.
        available: String,
    },

    /// A cluster's directory is named for one major version, its `PG_VERSION` file says another.
    #[error(
        "{data_dir:?} should hold the data of PostgreSQL {expected}, but its PG_VERSION says {found:?}\n\
         It will not be touched: move it away to start empty, or back to where it came from"
    )]
    VersionMismatch {
        /// The cluster's directory.
        data_dir: PathBuf,
        /// The major version its name and the binaries have.
        expected: u32,
        /// What the file says.
        found: String,
    },

    /// Another application holds this data directory.
    #[error(
        "the embedded PostgreSQL in {data_dir:?} is in use by {holder}\n\
         Stop that application, or choose another data directory, or set DATABASE_URL to share one server"
    )]
    InUse {
        /// The data directory.
        data_dir: PathBuf,
        /// `process 1234`, or `another process` where it did not leave its id.
        holder: String,
    },

    /// A server left over by an earlier application does not stop.
    #[error(
        "a PostgreSQL left over by an earlier run (process {pid}) still uses {data_dir:?} and does not stop"
    )]
    LeftOver {
        /// The cluster's directory.
        data_dir: PathBuf,
        /// The process that will not go.
        pid: u32,
    },

    /// A directory cannot be used: for the data, the socket or the cache of binaries.
    #[error("{path:?} cannot be used: {reason}")]
    Directory {
        /// The directory.
        path: PathBuf,
        /// Why, and what to do.
        reason: String,
    },

    /// Running as root, and no way was found to run PostgreSQL, which refuses root, as somebody else.
    #[error(
        "PostgreSQL refuses to run as root, and no other user could be used: {reason}\n\
         Run as an ordinary user, or set DATABASE_URL"
    )]
    Privileges {
        /// What was tried and what it answered.
        reason: String,
    },

    /// `initdb` failed.
    #[error("initdb could not create a database cluster in {data_dir:?}:\n{output}")]
    Initdb {
        /// Where the cluster should have come to be.
        data_dir: PathBuf,
        /// What `initdb` said.
        output: String,
    },

    /// The server ended before it answered.
    #[error("PostgreSQL ended while starting ({status}); the end of {log:?}:\n{output}")]
    StartFailed {
        /// How the process ended.
        status: String,
        /// Its log file.
        log: PathBuf,
        /// The last lines of it that belong to this start.
        output: String,
    },

    /// The server runs but did not accept connections in time.
    #[error("PostgreSQL did not accept connections within {waited:?} ({last}); its log is {log:?}")]
    NotReady {
        /// How long was waited.
        waited: Duration,
        /// The last answer, or the lack of one.
        last: String,
        /// The server's log file.
        log: PathBuf,
    },

    /// The server refused a statement.
    #[error("PostgreSQL answered: {message} (SQLSTATE {sqlstate})")]
    Server {
        /// The five-character code, for example `42P04`.
        sqlstate: String,
        /// The server's message, with its detail if it gave one.
        message: String,
    },

    /// The server broke off or said something this crate does not understand.
    #[error("the connection to PostgreSQL failed: {reason}")]
    Connection {
        /// What happened.
        reason: String,
    },

    /// A database name PostgreSQL cannot have.
    #[error("{name:?} cannot be a database name: it must have 1 to 63 bytes and no NUL")]
    DatabaseName {
        /// The name.
        name: String,
    },

    /// The server is not running: it was killed or stopped, or it crashed.
    #[error("the embedded PostgreSQL is not running")]
    NotRunning,

    /// The server ended, but not by an orderly shutdown. The next start recovers from its write-ahead log.
    #[error("PostgreSQL did not shut down in order ({status}); the next start will recover")]
    UncleanStop {
        /// How the process ended.
        status: String,
    },

    /// An operation of the operating system failed.
    #[error("{action}")]
    Io {
        /// What was being done, for example `opening /x/lock`.
        action: String,
        /// The operating system's answer.
        source: io::Error,
    },

    /// This operating system has no way to run it (it needs Unix sockets and signals).
    #[error("the embedded PostgreSQL runs on Linux and macOS only; set DATABASE_URL")]
    Unsupported,
}

/// Adds to an I/O error what was being done.
#[cfg(unix)]
pub(crate) trait During<T> {
    /// `action` in the form "starting a thread".
    fn during(self, action: &str) -> Result<T, Error>;

    /// `verb` in the form "opening"; what follows it is the path.
    fn at(self, verb: &str, path: &std::path::Path) -> Result<T, Error>;
}

#[cfg(unix)]
impl<T> During<T> for Result<T, io::Error> {
    fn during(self, action: &str) -> Result<T, Error> {
        self.map_err(|source| Error::Io {
            action: action.to_owned(),
            source,
        })
    }

    fn at(self, verb: &str, path: &std::path::Path) -> Result<T, Error> {
        self.map_err(|source| Error::Io {
            action: format!("{verb} {}", path.display()),
            source,
        })
    }
}
