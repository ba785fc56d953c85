//! How a command ends: an exit code that scripts may rely on, and for people what went wrong and what to do.

use std::error::Error as StdError;
use std::process::ExitCode;

use flamingock::Error;
use flamingock::wire::ErrorCode;
use serde::Serialize;

use crate::context::TOKEN_VARIABLE;

/// Exit codes. They are documented (`flamingock help exit-codes`, docs/cli.md) and do not change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    Ok = 0,
    /// Refused, or found to be wrong.
    Failed = 1,
    Usage = 2,
    /// A person has to decide something.
    NeedsPerson = 3,
    /// Changes are pending.
    Pending = 4,
    /// Another runner has the lock.
    LockHeld = 5,
    /// No answer from the server.
    Unreachable = 6,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

pub type Outcome = Result<Exit, Failure>;

#[derive(Debug)]
pub struct Failure(Box<Inner>);

#[derive(Debug)]
struct Inner {
    exit: Exit,
    message: String,
    hint: Option<String>,
    details: Vec<String>,
    /// The server's code.
    code: Option<String>,
    status: Option<u16>,
    request_id: Option<String>,
    /// Nobody reads what we print any more: that is no news for anybody.
    quiet: bool,
}

/// A failure as `--json` prints it, on standard error.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub struct FailureView<'a> {
    message: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    hint: Option<&'a str>,
    exit_code: u8,
    #[serde(skip_serializing_if = "Option::is_none")]
    code: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<u16>,
    #[serde(skip_serializing_if = "Option::is_none")]
    request_id: Option<&'a str>,
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    details: &'a [String],
}

impl Failure {
    fn new(exit: Exit, message: impl Into<String>) -> Self {
        Self(Box::new(Inner {
            exit,
            message: message.into(),
            hint: None,
            details: Vec::new(),
            code: None,
            status: None,
            request_id: None,
            quiet: false,
        }))
    }

    pub fn failed(message: impl Into<String>) -> Self {
        Self::new(Exit::Failed, message)
    }

    pub fn usage(message: impl Into<String>) -> Self {
        Self::new(Exit::Usage, message)
    }

    /// With an exit code of its own.
    pub fn with(exit: Exit, message: impl Into<String>) -> Self {
        Self::new(exit, message)
    }

    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.0.hint = Some(hint.into());
        self
    }

    #[must_use]
    pub fn with_details(mut self, details: impl IntoIterator<Item = String>) -> Self {
        self.0.details = details.into_iter().collect();
        self
    }

    pub fn exit(&self) -> Exit {
        self.0.exit
    }

    pub fn is_quiet(&self) -> bool {
        self.0.quiet
    }

    /// The server answered, and refused.
    pub fn is_answer(&self) -> bool {
        self.0.status.is_some()
    }

    pub fn message(&self) -> &str {
        &self.0.message
    }

    pub fn hint_text(&self) -> Option<&str> {
        self.0.hint.as_deref()
    }

    pub fn details(&self) -> &[String] {
        &self.0.details
    }

    /// What to quote when asking for help: only where the server itself is at a loss.
    pub fn quotable_request(&self) -> Option<&str> {
        self.0
            .request_id
            .as_deref()
            .filter(|_| self.0.status.is_some_and(|status| status >= 500))
    }

    pub fn view(&self) -> FailureView<'_> {
        FailureView {
            message: &self.0.message,
            hint: self.0.hint.as_deref(),
            exit_code: self.0.exit as u8,
            code: self.0.code.as_deref(),
            status: self.0.status,
            request_id: self.0.request_id.as_deref(),
            details: &self.0.details,
        }
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        let unreachable = error.is_unanswered()
            || matches!(error.status(), Some(408 | 429 | 502..=504))
            || error.is_unreadable();
        let message = match error.problem() {
            Some(problem) => problem.message.clone(),
            None => without_operation(&chain(&error)).to_owned(),
        };
        Self(Box::new(Inner {
            exit: if unreachable {
                Exit::Unreachable
            } else {
                Exit::Failed
            },
            message,
            hint: hint(&error).map(str::to_owned),
            details: error
                .problem()
                .map(|problem| problem.details.clone())
                .unwrap_or_default(),
            code: error.code().map(|code| code.as_str().to_owned()),
            status: error.status(),
            request_id: Some(error.request_id().to_owned()),
            quiet: false,
        }))
    }
}

impl From<std::io::Error> for Failure {
    /// Of writing to standard output: `… | head` has read enough.
    fn from(error: std::io::Error) -> Self {
        let quiet = error.kind() == std::io::ErrorKind::BrokenPipe;
        let exit = if quiet { Exit::Ok } else { Exit::Failed };
        let mut failure = Self::new(exit, format!("the output cannot be written: {error}"));
        failure.0.quiet = quiet;
        failure
    }
}

fn hint(error: &Error) -> Option<&'static str> {
    if error.is_connect() {
        return Some("is the server running, and is --server (or the profile's server) right?");
    }
    if error.is_unreadable() {
        return Some(
            "something answers there, but not a Flamingock server of this generation; check --server",
        );
    }
    if error.is_unanswered() {
        return Some("it is not known whether it was done; look before you repeat it");
    }
    match error.code()? {
        ErrorCode::ApiTokenRefused | ErrorCode::CredentialRevoked | ErrorCode::BearerMissing => {
            Some("`flamingock login` stores another token; `flamingock whoami` says which one is used")
        }
        // In an application's terminal it is the application's.
        ErrorCode::RoleInsufficient | ErrorCode::OutOfScope if std::env::var_os(TOKEN_VARIABLE).is_some() => {
            Some(
                "FLAMINGOCK_TOKEN is set, and goes before the profile's token; `flamingock whoami` says which one is used, and \
             what it may do",
            )
        }
        ErrorCode::RoleInsufficient | ErrorCode::OutOfScope => {
            Some("`flamingock whoami` says what this token may do; an administrator can make another one")
        }
        ErrorCode::DecisionOutdated => Some("`flamingock issue get CHANGE` shows where it stands now"),
        ErrorCode::ChangeInProgress => Some("`flamingock explain` says who is working on it, and until when"),
        ErrorCode::LockIsLive => {
            Some("stop the holder's process, then wait for that end or repeat the command with --insist")
        }
        ErrorCode::IssueNotFound | ErrorCode::NoSuchIssue => Some(
            "`flamingock issue list` shows what needs a decision; `flamingock audit list` shows what happened",
        ),
        ErrorCode::Unavailable => Some("try again shortly"),
        ErrorCode::RouteNotFound => {
            Some("the server may be older than this program: it does not know this call")
        }
        _ => None,
    }
}

/// Without the name of the API's operation in front: that is for logs, and the person named a command.
fn without_operation(message: &str) -> &str {
    match message.split_once(": ") {
        Some((operation, rest))
            if operation
                .chars()
                .all(|character| character.is_ascii_lowercase() || character == '_') =>
        {
            rest
        }
        _ => message,
    }
}

fn chain(error: &dyn StdError) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        // reqwest's errors repeat the address; what is said once is enough.
        if !text.contains(&cause_text) {
            text = format!("{text}: {cause_text}");
        }
        source = cause.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_operation_is_not_told_to_people() {
        assert_eq!(
            without_operation("identity_view: the server cannot be reached: refused"),
            "the server cannot be reached: refused"
        );
        assert_eq!(
            without_operation("Nothing was done: why"),
            "Nothing was done: why"
        );
        assert_eq!(without_operation("plain"), "plain");
    }
}
