//! Why a command did not do its work: what, because of what, what to do about it.

use std::error::Error;
use std::fmt;
use std::process::ExitCode;

#[derive(Debug)]
pub(super) struct Failure {
    what: String,
    cause: Option<Box<dyn Error + Send + Sync>>,
    help: Option<String>,
    is_usage: bool,
}

impl Failure {
    pub(super) fn new(what: impl Into<String>) -> Self {
        Self {
            what: what.into(),
            cause: None,
            help: None,
            is_usage: false,
        }
    }

    /// What was asked for does not make sense: exit code 2.
    pub(super) fn usage(error: impl Error) -> Self {
        Self {
            is_usage: true,
            ..Self::new(error.to_string())
        }
    }

    pub(super) fn because(mut self, cause: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        self.cause = Some(cause.into());
        self
    }

    pub(super) fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    /// Whether the database did not answer at all, which may pass by itself.
    pub(super) fn is_connection_trouble(&self) -> bool {
        let cause = self
            .cause
            .as_ref()
            .and_then(|cause| cause.downcast_ref::<sqlx::Error>());
        match cause {
            Some(sqlx::Error::Io(_)) => true,
            // cannot_connect_now: it is starting, or recovering from a crash.
            Some(sqlx::Error::Database(error)) => error.code().as_deref() == Some("57P03"),
            _ => false,
        }
    }

    pub(super) fn cause_text(&self) -> String {
        self.cause.as_ref().map(ToString::to_string).unwrap_or_default()
    }

    pub(super) fn exit_code(&self) -> ExitCode {
        ExitCode::from(if self.is_usage { 2 } else { 1 })
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "error: {}", self.what)?;
        let mut last = self.what.clone();
        let mut cause: Option<&dyn Error> = self.cause.as_ref().map(|cause| &**cause as &dyn Error);
        while let Some(error) = cause {
            let text = error.to_string();
            // Errors of libraries often repeat their source.
            if !last.contains(&text) {
                writeln!(f, "  because: {text}")?;
            }
            last = text;
            cause = error.source();
        }
        if let Some(help) = &self.help {
            writeln!(f, "  help: {help}")?;
        }
        Ok(())
    }
}

impl From<flamingock_server::config::ConfigError> for Failure {
    fn from(error: flamingock_server::config::ConfigError) -> Self {
        Self::usage(error)
    }
}
