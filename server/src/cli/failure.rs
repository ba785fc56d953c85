//! Why a command did not do its work: what, because of what, what to do about it.

use std::error::Error;
use std::fmt;
use std::process::ExitCode;

/// What was asked for does not make sense.
const USAGE: u8 = 2;

#[derive(Debug)]
pub(super) struct Failure {
    what: String,
    cause: Option<Box<dyn Error + Send + Sync>>,
    help: Option<String>,
    code: u8,
}

impl Failure {
    pub(super) fn new(what: impl Into<String>) -> Self {
        Self {
            what: what.into(),
            cause: None,
            help: None,
            code: 1,
        }
    }

    /// Nothing failed; whoever reads exit codes is told something by this one.
    pub(super) fn finding(what: impl Into<String>, code: u8) -> Self {
        Self {
            code,
            ..Self::new(what)
        }
    }

    /// What was asked for does not make sense: exit code 2.
    pub(super) fn usage(error: impl Error) -> Self {
        Self {
            code: USAGE,
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
        ExitCode::from(self.code)
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.code > USAGE {
            return writeln!(f, "{}", self.what);
        }
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
