//! What an operator can set, read once: from flags, and from the environment where a flag is absent.
//!
//! Every value has a unit in its type, is checked before anything is started, and can be printed: [`Config`]'s
//! `Display` shows all of it but the password.

mod database_url;
mod error;
mod limits;
mod parse;

use std::ffi::OsString;
use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::{ArgAction, Args, FromArgMatches, ValueEnum};

pub use database_url::DatabaseUrl;
pub use error::{ConfigError, check_environment, explain};
use error::{unexplained, unknown_variable};
use parse::{address, boolean, byte_size, connections, count, duration, file, print_bytes};

/// The server's settings.
#[derive(Clone, Debug, Args)]
pub struct Config {
    /// Address and port to serve on; port 0 takes a free one.
    #[arg(
        long,
        env = "FLAMINGOCK_LISTEN",
        value_name = "ADDRESS",
        default_value = "127.0.0.1:8080",
        value_parser = address
    )]
    pub listen: SocketAddr,
    #[command(flatten)]
    pub database: DatabaseConfig,
    #[command(flatten)]
    pub http: HttpConfig,
    #[command(flatten)]
    pub locks: LockConfig,
    #[command(flatten)]
    pub auth: AuthConfig,
    #[command(flatten)]
    pub checkpoints: CheckpointConfig,
    #[command(flatten)]
    pub certificates: CertificateConfig,
    /// File that says which organisations, projects, environments, services and tokens there are; applied at start.
    #[arg(
        long,
        env = "FLAMINGOCK_BOOTSTRAP",
        value_name = "FILE",
        value_parser = file,
        help_heading = "Tenancy"
    )]
    pub bootstrap: Option<PathBuf>,
    #[command(flatten)]
    pub log: LogConfig,
    #[command(flatten)]
    pub compatibility: CompatibilityConfig,
}

#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Database")]
pub struct DatabaseConfig {
    /// `postgres://user:password@host:port/database`. Prefer the variable: other users of the machine see flags.
    #[arg(
        id = "database_url",
        long = "database-url",
        env = "DATABASE_URL",
        value_name = "URL",
        hide_env_values = true
    )]
    pub url: Option<DatabaseUrl>,
    /// Connections that a replica holds at most.
    #[arg(
        id = "database_max_connections",
        long = "database-max-connections",
        env = "FLAMINGOCK_DATABASE_MAX_CONNECTIONS",
        value_name = "COUNT",
        default_value = "16",
        value_parser = connections
    )]
    pub max_connections: u32,
    /// How long a request waits for a connection before it is told to come back later.
    #[arg(
        id = "database_acquire_timeout",
        long = "database-acquire-timeout",
        env = "FLAMINGOCK_DATABASE_ACQUIRE_TIMEOUT",
        value_name = "DURATION",
        default_value = "5s",
        value_parser = duration
    )]
    pub acquire_timeout: Duration,
    /// How long one statement may take.
    #[arg(
        id = "database_statement_timeout",
        long = "database-statement-timeout",
        env = "FLAMINGOCK_DATABASE_STATEMENT_TIMEOUT",
        value_name = "DURATION",
        default_value = "15s",
        value_parser = duration
    )]
    pub statement_timeout: Duration,
}

#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "HTTP")]
pub struct HttpConfig {
    /// Largest request body that is read.
    #[arg(
        id = "http_max_body",
        long = "http-max-body",
        env = "FLAMINGOCK_HTTP_MAX_BODY",
        value_name = "SIZE",
        default_value = "16MiB",
        value_parser = byte_size
    )]
    pub max_body_bytes: usize,
    /// How long a request may take, waiting that it asked for not counted.
    #[arg(
        id = "http_request_timeout",
        long = "http-request-timeout",
        env = "FLAMINGOCK_HTTP_REQUEST_TIMEOUT",
        value_name = "DURATION",
        default_value = "30s",
        value_parser = duration
    )]
    pub request_timeout: Duration,
    /// Requests in work at once; more are told to come back later.
    #[arg(
        id = "http_max_in_flight",
        long = "http-max-in-flight",
        env = "FLAMINGOCK_HTTP_MAX_IN_FLIGHT",
        value_name = "COUNT",
        default_value = "512",
        value_parser = count
    )]
    pub max_in_flight: usize,
    /// Requests that wait for a lock at once; more are answered without waiting.
    #[arg(
        id = "http_max_waiters",
        long = "http-max-waiters",
        env = "FLAMINGOCK_HTTP_MAX_WAITERS",
        value_name = "COUNT",
        default_value = "10000",
        value_parser = count
    )]
    pub max_waiters: usize,
    /// Streams of live events open at once; more are told to come back later.
    #[arg(
        id = "http_max_listeners",
        long = "http-max-listeners",
        env = "FLAMINGOCK_HTTP_MAX_LISTENERS",
        value_name = "COUNT",
        default_value = "1000",
        value_parser = count
    )]
    pub max_listeners: usize,
    /// Longest time that a client may ask to wait for a lock.
    #[arg(
        id = "http_wait_max",
        long = "http-wait-max",
        env = "FLAMINGOCK_HTTP_WAIT_MAX",
        value_name = "DURATION",
        default_value = "60s",
        value_parser = duration
    )]
    pub wait_max: Duration,
    /// How long one export of the audit may take, however slow its reader is; then it is cut.
    #[arg(
        id = "http_export_max",
        long = "http-export-max",
        env = "FLAMINGOCK_HTTP_EXPORT_MAX",
        value_name = "DURATION",
        default_value = "1h",
        value_parser = duration
    )]
    pub export_max: Duration,
    /// How long requests in work may take to end after the signal to stop.
    #[arg(
        id = "http_shutdown_grace",
        long = "http-shutdown-grace",
        env = "FLAMINGOCK_HTTP_SHUTDOWN_GRACE",
        value_name = "DURATION",
        default_value = "20s",
        value_parser = duration
    )]
    pub shutdown_grace: Duration,
}

#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Locks")]
pub struct LockConfig {
    /// How long after the end of its lease a lock is still its holder's: covers the delay of the holder's network.
    #[arg(
        id = "lock_takeover_grace",
        long = "lock-takeover-grace",
        env = "FLAMINGOCK_LOCK_TAKEOVER_GRACE",
        value_name = "DURATION",
        default_value = "5s",
        value_parser = duration
    )]
    pub takeover_grace: Duration,
}

#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Authentication")]
pub struct AuthConfig {
    /// How long a session lasts. The Java client cannot renew it: it must outlast the longest run.
    #[arg(
        id = "auth_session_lifetime",
        long = "auth-session-lifetime",
        env = "FLAMINGOCK_AUTH_SESSION_LIFETIME",
        value_name = "DURATION",
        default_value = "24h",
        value_parser = duration
    )]
    pub session_lifetime: Duration,
    /// Age at which the key that signs sessions is followed by a new one.
    #[arg(
        id = "auth_key_rotation",
        long = "auth-key-rotation",
        env = "FLAMINGOCK_AUTH_KEY_ROTATION",
        value_name = "DURATION",
        default_value = "30days",
        value_parser = duration
    )]
    pub key_rotation: Duration,
    /// Issuer named in sessions; sessions of another issuer are refused.
    #[arg(
        id = "auth_issuer",
        long = "auth-issuer",
        env = "FLAMINGOCK_AUTH_ISSUER",
        value_name = "NAME",
        default_value = "flamingock"
    )]
    pub issuer: String,
    /// Audience named in sessions; sessions for another audience are refused.
    #[arg(
        id = "auth_audience",
        long = "auth-audience",
        env = "FLAMINGOCK_AUTH_AUDIENCE",
        value_name = "NAME",
        default_value = "flamingock-runner-api"
    )]
    pub audience: String,
}

#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Checkpoints of the audit")]
pub struct CheckpointConfig {
    /// How often the audit of every service that went on is signed; 0s: never.
    #[arg(
        id = "checkpoint_interval",
        long = "checkpoint-interval",
        env = "FLAMINGOCK_CHECKPOINT_INTERVAL",
        value_name = "DURATION",
        default_value = "60s",
        value_parser = duration
    )]
    pub interval: Duration,
    /// File with the Ed25519 private key (PKCS #8, PEM) that signs checkpoints. Without it a key is made and kept in the
    /// database, where who can rewrite the audit finds it too.
    #[arg(
        id = "checkpoint_key_file",
        long = "checkpoint-key-file",
        env = "FLAMINGOCK_CHECKPOINT_KEY_FILE",
        value_name = "FILE",
        value_parser = file
    )]
    pub key_file: Option<PathBuf>,
    /// Age at which a key in the database is followed by a new one.
    #[arg(
        id = "checkpoint_key_rotation",
        long = "checkpoint-key-rotation",
        env = "FLAMINGOCK_CHECKPOINT_KEY_ROTATION",
        value_name = "DURATION",
        default_value = "365days",
        value_parser = duration
    )]
    pub key_rotation: Duration,
}

#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Certificates of starts")]
pub struct CertificateConfig {
    /// How long an application may start by its certificate while the server cannot be reached, where it asks for one; at most
    /// 30 days, 0s: none are handed out. They are signed with the key of the checkpoints.
    #[arg(
        id = "certificate_validity",
        long = "certificate-validity",
        env = "FLAMINGOCK_CERTIFICATE_VALIDITY",
        value_name = "DURATION",
        default_value = "24h",
        value_parser = duration
    )]
    pub validity: Duration,
}

#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Log")]
pub struct LogConfig {
    /// One line of text for people, or one JSON object, for each event.
    #[arg(
        id = "log_format",
        long = "log-format",
        env = "FLAMINGOCK_LOG_FORMAT",
        value_name = "FORMAT",
        default_value = "text"
    )]
    pub format: LogFormat,
    /// What is logged: levels, also for parts, such as `info,flamingock_server=debug`.
    #[arg(
        id = "log_filter",
        long = "log-filter",
        env = "FLAMINGOCK_LOG_FILTER",
        value_name = "FILTER",
        default_value = "info,sqlx=warn,hyper=warn"
    )]
    pub filter: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    Text,
    Json,
}

#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Compatibility")]
pub struct CompatibilityConfig {
    /// Answer writes with an empty body: the Java client reuses its connection only then.
    #[arg(
        long,
        env = "FLAMINGOCK_EMPTY_WRITE_ANSWERS",
        value_name = "BOOL",
        default_value = "false",
        default_missing_value = "true",
        num_args = 0..=1,
        action = ArgAction::Set,
        value_parser = boolean
    )]
    pub empty_write_answers: bool,
    /// Refuse ids with a `?` where the client declared no charset: the Java client sends one for each character
    /// outside Latin-1, and would silently skip the change.
    #[arg(
        long,
        env = "FLAMINGOCK_REFUSE_DAMAGED_IDS",
        value_name = "BOOL",
        default_value = "true",
        default_missing_value = "true",
        num_args = 0..=1,
        action = ArgAction::Set,
        value_parser = boolean
    )]
    pub refuse_damaged_ids: bool,
}

impl Config {
    /// A configuration from variables alone, those of the process not among them.
    pub fn from_pairs<'a>(pairs: impl IntoIterator<Item = (&'a str, &'a str)>) -> Result<Self, ConfigError> {
        let command = command();
        let mut arguments = vec![OsString::from("flamingock-server")];
        for (name, value) in pairs {
            let argument = command
                .get_arguments()
                .find(|argument| argument.get_env() == Some(name.as_ref()));
            let Some(flag) = argument.and_then(clap::Arg::get_long) else {
                return Err(unknown_variable(name));
            };
            arguments.push(format!("--{flag}={value}").into());
        }
        let matches = command
            .mut_args(|argument| argument.env(None))
            .try_get_matches_from(arguments)
            .map_err(|error| explain(&error, |_| true).unwrap_or_else(|| unexplained(&error)))?;
        let config = Self::from_arg_matches(&matches).map_err(|error| unexplained(&error))?;
        config.check()?;
        Ok(config)
    }

    /// Every setting as its variable and a value that the variable would take.
    pub fn settings(&self) -> Vec<(&'static str, String)> {
        let print = |value: Duration| humantime::format_duration(value).to_string().replace(' ', "");
        let (database, http, auth) = (&self.database, &self.http, &self.auth);
        let format = self.log.format.to_possible_value().expect("no format is hidden");
        vec![
            ("FLAMINGOCK_LISTEN", self.listen.to_string()),
            (
                "DATABASE_URL",
                database.url.as_ref().map(ToString::to_string).unwrap_or_default(),
            ),
            (
                "FLAMINGOCK_DATABASE_MAX_CONNECTIONS",
                database.max_connections.to_string(),
            ),
            (
                "FLAMINGOCK_DATABASE_ACQUIRE_TIMEOUT",
                print(database.acquire_timeout),
            ),
            (
                "FLAMINGOCK_DATABASE_STATEMENT_TIMEOUT",
                print(database.statement_timeout),
            ),
            ("FLAMINGOCK_HTTP_MAX_BODY", print_bytes(http.max_body_bytes)),
            ("FLAMINGOCK_HTTP_REQUEST_TIMEOUT", print(http.request_timeout)),
            ("FLAMINGOCK_HTTP_MAX_IN_FLIGHT", http.max_in_flight.to_string()),
            ("FLAMINGOCK_HTTP_MAX_WAITERS", http.max_waiters.to_string()),
            ("FLAMINGOCK_HTTP_MAX_LISTENERS", http.max_listeners.to_string()),
            ("FLAMINGOCK_HTTP_WAIT_MAX", print(http.wait_max)),
            ("FLAMINGOCK_HTTP_EXPORT_MAX", print(http.export_max)),
            ("FLAMINGOCK_HTTP_SHUTDOWN_GRACE", print(http.shutdown_grace)),
            ("FLAMINGOCK_LOCK_TAKEOVER_GRACE", print(self.locks.takeover_grace)),
            ("FLAMINGOCK_AUTH_SESSION_LIFETIME", print(auth.session_lifetime)),
            ("FLAMINGOCK_AUTH_KEY_ROTATION", print(auth.key_rotation)),
            ("FLAMINGOCK_AUTH_ISSUER", auth.issuer.clone()),
            ("FLAMINGOCK_AUTH_AUDIENCE", auth.audience.clone()),
            (
                "FLAMINGOCK_CERTIFICATE_VALIDITY",
                print(self.certificates.validity),
            ),
            ("FLAMINGOCK_CHECKPOINT_INTERVAL", print(self.checkpoints.interval)),
            (
                "FLAMINGOCK_CHECKPOINT_KEY_FILE",
                self.checkpoints
                    .key_file
                    .as_ref()
                    .map(|path| path.display().to_string())
                    .unwrap_or_default(),
            ),
            (
                "FLAMINGOCK_CHECKPOINT_KEY_ROTATION",
                print(self.checkpoints.key_rotation),
            ),
            (
                "FLAMINGOCK_BOOTSTRAP",
                self.bootstrap
                    .as_ref()
                    .map(|path| path.display().to_string())
                    .unwrap_or_default(),
            ),
            ("FLAMINGOCK_LOG_FORMAT", format.get_name().to_owned()),
            ("FLAMINGOCK_LOG_FILTER", self.log.filter.clone()),
            (
                "FLAMINGOCK_EMPTY_WRITE_ANSWERS",
                self.compatibility.empty_write_answers.to_string(),
            ),
            (
                "FLAMINGOCK_REFUSE_DAMAGED_IDS",
                self.compatibility.refuse_damaged_ids.to_string(),
            ),
        ]
    }
}

impl fmt::Display for Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (name, value) in self.settings() {
            writeln!(f, "{name}={value}")?;
        }
        Ok(())
    }
}

fn command() -> clap::Command {
    Config::augment_args(clap::Command::new("flamingock-server"))
}
