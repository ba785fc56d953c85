//! The guard: a server, started and stopped.

use std::{
    path::{Path, PathBuf},
    process::Stdio,
    thread,
    time::{Duration, Instant},
};

pub use crate::binaries::Binaries;
use crate::{
    Options,
    binaries::{Found, Search},
    cluster::{self, Hold},
    error::{During, Error},
    leftover, obtain, privileges,
    process::{self, Privileges},
    server::Server,
    socket,
    wire::{self, Connection},
};

/// A running server. Dropping it stops the server, as [`stop`](Self::stop) does, without telling how that went.
///
/// Close pools first: a stop ends the sessions that are open.
#[derive(Debug)]
pub struct EmbeddedPostgres {
    // Before `hold`: fields are dropped in order, and the hold must outlive the server.
    server: Option<Server>,
    options: Options,
    data_dir: PathBuf,
    cluster: PathBuf,
    log: PathBuf,
    binaries: Binaries,
    privileges: Privileges,
    socket_dir: PathBuf,
    _hold: Hold,
}

impl EmbeddedPostgres {
    /// Starts a server on [`Options::data_dir`], creating a cluster there if there is none, and returns when it
    /// accepts connections: usually in a tenth of a second, the first time and after a crash in a few.
    ///
    /// May be called from any thread, also one that ends before the server does.
    pub fn start(options: Options) -> Result<Self, Error> {
        let progress = &*options.progress;
        let data_dir = cluster::prepare_data_dir(&options.data_dir)?;
        let hold = Hold::take(&data_dir)?;
        let key = socket::key(&data_dir);

        progress("looking for PostgreSQL");
        let binaries = choose_binaries(&data_dir, &options)?;
        progress(&format!(
            "using PostgreSQL {} in {}",
            binaries.version,
            binaries.bin_dir.display()
        ));

        let decision = privileges::decide(&data_dir, &key, &binaries, progress)?;
        let cluster = decision.parent.join(binaries.major.to_string());
        leftover::clear(&cluster, progress)?;
        let sync = !options
            .extra_settings
            .iter()
            .any(|(name, value)| name == "fsync" && value == "off");
        cluster::ensure(&cluster, &binaries, &decision.privileges, sync, progress)?;

        let log = data_dir.join(format!("postgres-{}.log", binaries.major));
        let mut postgres = EmbeddedPostgres {
            server: None,
            socket_dir: socket::prepare(&key, &decision.privileges)?,
            privileges: decision.privileges,
            options,
            data_dir,
            cluster,
            log,
            binaries,
            _hold: hold,
        };
        postgres.launch()?;
        postgres.say(
            "PostgreSQL is ready. This embedded one is meant for development and trials, not for production: \
             set DATABASE_URL there",
        );
        Ok(postgres)
    }

    /// The URL of a database, in the form `postgres://postgres@localhost:5432/NAME?host=DIR&sslmode=disable`,
    /// percent-encoded. `DIR` is the socket's directory; `localhost` and the port are not connected to, the port
    /// is part of the socket's name.
    pub fn url(&self, database: &str) -> String {
        url(&self.socket_dir, database)
    }

    /// The directory of the server's socket. It stays the same over restarts and over runs by the same user.
    pub fn socket_dir(&self) -> &Path {
        &self.socket_dir
    }

    /// The version of the server in full, for example `18.6`.
    pub fn version(&self) -> &str {
        &self.binaries.version
    }

    /// [`Options::data_dir`] as a full path.
    pub fn data_dir(&self) -> &Path {
        &self.data_dir
    }

    /// PostgreSQL's own data directory: a subdirectory of [`data_dir`](Self::data_dir) named by the major
    /// version, or elsewhere if the server's user cannot reach that.
    pub fn cluster_dir(&self) -> &Path {
        &self.cluster
    }

    /// The server's log file.
    pub fn log_file(&self) -> &Path {
        &self.log
    }

    /// The process id of the postmaster; `None` if it is not running.
    pub fn pid(&self) -> Option<u32> {
        self.server.as_ref().and_then(Server::pid)
    }

    /// Creates a database unless it exists. The name is taken literally, capital letters and all.
    pub fn create_database(&self, name: &str) -> Result<(), Error> {
        if name.is_empty() || name.len() > 63 || name.contains('\0') {
            return Err(Error::DatabaseName {
                name: name.to_owned(),
            });
        }
        let mut session = self.connect("postgres")?;
        let literal = name.replace('\'', "''");
        let exists = format!("SELECT 1 FROM pg_database WHERE datname = '{literal}'");
        let create = format!("CREATE DATABASE \"{}\"", name.replace('"', "\"\""));
        let mut attempts = 0;
        while session.query(&exists)? == 0 {
            match session.query(&create) {
                Ok(_) => break,
                // Somebody else is creating this one, or just any one (the template admits one at a time).
                Err(wire::Failure::Server { sqlstate, .. })
                    if attempts < 100 && ["42P04", "23505", "55006"].contains(&sqlstate.as_str()) =>
                {
                    attempts += 1;
                    thread::sleep(Duration::from_millis(50));
                }
                Err(failure) => return Err(failure.into()),
            }
        }
        Ok(())
    }

    /// Runs one or more statements in a database, as superuser, in one implicit transaction. Rows they return are
    /// discarded. No limit of time.
    pub fn execute(&self, database: &str, sql: &str) -> Result<(), Error> {
        self.connect(database)?.query(sql)?;
        Ok(())
    }

    /// Stops the server in order: sessions are ended, everything is written. If it takes more than 20 s it is
    /// stopped without order, which is an error but loses nothing.
    pub fn stop(mut self) -> Result<(), Error> {
        self.shut_down()
    }

    /// Kills the postmaster with SIGKILL, as a crash would; for tests. Its sessions end a moment later.
    pub fn kill(&self) {
        if let Some(server) = &self.server {
            server.kill();
        }
    }

    /// Starts the server again on the same data and the same socket, after [`kill`](Self::kill) or a crash; one
    /// that runs is stopped first.
    pub fn restart(&mut self) -> Result<(), Error> {
        self.shut_down().or_else(|error| match error {
            Error::UncleanStop { .. } => Ok(()), // the start below recovers, or says why it cannot
            other => Err(other),
        })?;
        self.launch()
    }

    fn say(&self, message: &str) {
        (self.options.progress)(message);
    }

    fn connect(&self, database: &str) -> Result<Connection, Error> {
        if self.pid().is_none() {
            return Err(Error::NotRunning);
        }
        Ok(Connection::open(
            &self.socket_dir,
            database,
            Duration::from_secs(10),
        )?)
    }

    fn launch(&mut self) -> Result<(), Error> {
        leftover::clear(&self.cluster, &*self.options.progress)?;
        leftover::remove_misleading_lock_files(&self.cluster, &self.socket_dir);
        self.say("starting PostgreSQL");
        let (log, log_length) = cluster::open_log(&self.log)?;
        let mut command = cluster::server_command(
            &self.binaries,
            &self.cluster,
            &self.socket_dir,
            self.options.max_connections,
            &self.options.extra_settings,
        );
        let second = log.try_clone().at("opening", &self.log)?;
        command.stdin(Stdio::null()).stdout(second).stderr(log);
        process::confine(&mut command, &self.privileges, &[]).during("starting PostgreSQL")?;
        let server = self.server.insert(Server::spawn(command)?);
        let ready = await_ready(server, &self.socket_dir, &self.log, log_length, &self.options);
        if ready.is_err() {
            let _ = self.shut_down();
        }
        ready
    }

    fn shut_down(&mut self) -> Result<(), Error> {
        let Some(server) = self.server.take() else {
            return Ok(());
        };
        server.stop()
    }
}

impl Drop for EmbeddedPostgres {
    fn drop(&mut self) {
        let _ = self.shut_down();
        let _ = std::fs::remove_dir(&self.socket_dir); // succeeds if the server cleaned up after itself
    }
}

/// Blocks SIGINT and SIGTERM in this thread and those it starts from now on, and returns a function that waits for
/// one of them. For a `main` without an async runtime; call it before any thread is started.
pub fn catch_stop_signals() -> std::io::Result<impl FnOnce() + Send> {
    process::catch_stop_signals()
}

/// Looks for a PostgreSQL to run, without obtaining one: `PG_BIN`, installed ones, those obtained earlier.
pub fn find_binaries() -> Result<Binaries, Error> {
    match Search::from_env(None).find(None)? {
        Found::Yes(binaries) => Ok(binaries),
        Found::No(seen) => Err(obtain::not_found(&seen)),
    }
}

fn choose_binaries(data_dir: &Path, options: &Options) -> Result<Binaries, Error> {
    let parent = cluster::relocation(data_dir).unwrap_or_else(|| data_dir.to_owned());
    let existing = cluster::existing_majors(&parent).first().copied();
    if let Some(major) = existing {
        cluster::check_version(&parent.join(major.to_string()), major)?;
    }
    let other_version = |data: u32, available: String| Error::OtherMajorVersion {
        data_dir: parent.join(data.to_string()),
        data,
        available,
    };
    let search = Search::from_env(Some(data_dir));
    let found = match search.find(existing)? {
        Found::Yes(binaries) => binaries,
        Found::No(seen) => match (
            existing,
            obtain::obtain(
                options.allow_download,
                existing,
                seen,
                &search,
                &*options.progress,
            ),
        ) {
            (_, Ok(binaries)) => binaries,
            (Some(data), Err(Error::NotFound { tried, .. })) => {
                return Err(other_version(
                    data,
                    format!("no PostgreSQL {data} was found:\n{}", tried.trim_end()),
                ));
            }
            (_, Err(error)) => return Err(error),
        },
    };
    match existing {
        Some(data) if data != found.major => Err(other_version(
            data,
            format!("PG_BIN is PostgreSQL {}", found.version),
        )),
        _ => Ok(found),
    }
}

/// Waits until a session can be opened. A socket that accepts is not enough: the server may still be recovering.
fn await_ready(
    server: &Server,
    socket_dir: &Path,
    log: &Path,
    log_length: u64,
    options: &Options,
) -> Result<(), Error> {
    const POLL: Duration = Duration::from_millis(15);
    const PATIENCE: Duration = Duration::from_millis(200);
    const SLOW: Duration = Duration::from_secs(1);
    let start = Instant::now();
    let mut said = false;
    loop {
        if let Some(status) = server.ended() {
            let output = cluster::log_since(log, log_length);
            return Err(Error::StartFailed {
                status,
                log: log.to_owned(),
                output,
            });
        }
        let failure = match Connection::open(socket_dir, "postgres", PATIENCE) {
            Ok(_) => return Ok(()),
            Err(failure) if failure.is_not_yet() => Error::from(failure),
            Err(failure) => return Err(failure.into()),
        };
        let waited = start.elapsed();
        if waited > options.start_timeout {
            return Err(Error::NotReady {
                waited,
                last: failure.to_string(),
                log: log.to_owned(),
            });
        }
        if !said && waited > SLOW {
            said = true;
            (options.progress)("PostgreSQL is still starting; after a crash it first recovers from its log");
        }
        thread::sleep(POLL);
    }
}

fn url(socket_dir: &Path, database: &str) -> String {
    format!(
        "postgres://{}@localhost:{}/{}?host={}&sslmode=disable",
        wire::USER,
        wire::PORT,
        percent_encode(database.as_bytes(), b""),
        percent_encode(socket_dir.as_os_str().as_encoded_bytes(), b"/"),
    )
}

/// Leaves the unreserved characters of RFC 3986 and those of `also` as they are.
fn percent_encode(bytes: &[u8], also: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::new(), |mut encoded, byte| {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(byte) || also.contains(byte) {
            encoded.push(char::from(*byte));
        } else {
            let _ = write!(encoded, "%{byte:02X}"); // writing to a string cannot fail
        }
        encoded
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_percent_encoded() {
        assert_eq!(
            url(Path::new("/tmp/a b&c"), "my db/é?"),
            "postgres://postgres@localhost:5432/my%20db%2F%C3%A9%3F?host=/tmp/a%20b%26c&sslmode=disable"
        );
    }

    #[test]
    fn the_guard_can_be_shared_between_threads() {
        fn shared<T: Send + Sync + 'static>() {}
        shared::<EmbeddedPostgres>();
        shared::<Error>();
    }
}
