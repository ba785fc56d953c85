//! What a runner writes about one change, reports and verdicts of probes alike: by whom, about what, and its text.

use axum::extract::{FromRequest, FromRequestParts as _, Request};
use flamingock_api_types::ErrorCode;
use flamingock_domain::ids::{ChangeId, ExecutionId};

use super::extract::Runner;
use super::problem::Problem;
use super::{Api, body};
use crate::app::Scope;
use crate::app::facts::{EXECUTION_REF_MAX_BYTES, cut};
use crate::app::reports::NamedExecution;

/// Route of what is written about a change. Everything between `/change/` and the final `/audit` or `/probe` is the change id,
/// `/` included (W §4.7).
pub const WRITE_ROUTE: &str = "/api/v1/environment/{environmentId}/service/{serviceId}/execution/{executionId}/change/{*changeIdAndAudit}";

/// Which of the two it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WriteKind {
    Report,
    Probe,
}

/// Something that the runner of a session writes within its scope.
pub struct Written {
    pub path: WritePath,
    pub scope: Scope,
    pub runner: Runner,
    /// The body, decoded.
    pub text: String,
}

impl FromRequest<Api> for Written {
    type Rejection = Problem;

    async fn from_request(request: Request, api: &Api) -> Result<Self, Problem> {
        let (mut parts, body) = request.into_parts();
        let runner = Runner::from_request_parts(&mut parts, api).await?;
        let path = WritePath::parse(parts.uri.path())?;
        let scope = runner.scope(path.environment_id, path.service_id)?;
        runner.refuse_expired_unless_holder(api).await?;
        let bytes = body::read(body, api.settings.max_body_bytes).await?;
        let text = body::decode(&bytes, &parts.headers)?.text;
        Ok(Self {
            path,
            scope,
            runner,
            text,
        })
    }
}

/// Where it is written to.
pub struct WritePath {
    pub environment_id: i64,
    pub service_id: i64,
    pub execution: NamedExecution,
    /// The execution's text, a number or not.
    pub execution_ref: String,
    pub change: ChangeId,
    pub kind: WriteKind,
}

impl WritePath {
    /// Takes the raw path apart: a `/` inside a change id is a real separator when the Java client sends it, and `%2F` when
    /// ours does.
    pub fn parse(path: &str) -> Result<Self, Problem> {
        let not_found = || {
            Problem::new(
                ErrorCode::RouteNotFound,
                "Reports are written to …/execution/{executionId}/change/{changeId}/audit, verdicts of probes to …/probe.",
            )
        };
        let rest = path.strip_prefix("/api/v1/environment/").ok_or_else(not_found)?;
        let (environment, rest) = rest.split_once("/service/").ok_or_else(not_found)?;
        let (service, rest) = rest.split_once("/execution/").ok_or_else(not_found)?;
        let (execution, rest) = rest.split_once("/change/").ok_or_else(not_found)?;
        let (change, kind) = rest
            .strip_suffix("/probe")
            .map(|change| (change, WriteKind::Probe))
            .or_else(|| Some((rest.strip_suffix("/audit")?, WriteKind::Report)))
            .filter(|(change, _)| !change.is_empty())
            .ok_or_else(not_found)?;
        let number = |name: &str, text: &str| {
            text.parse::<i64>().map_err(|_| {
                Problem::malformed(format!("The path's {name} must be a number, it is {text:?}."))
            })
        };
        let change = ChangeId::parse(percent_decoded(change))
            .map_err(|error| Problem::malformed(format!("The change id in the path {error}.")))?;
        let execution_ref = cut(&percent_decoded(execution), EXECUTION_REF_MAX_BYTES);
        // One number has one spelling: "007" is an importer's text, not our execution 7.
        let execution = match execution_ref.parse::<i64>() {
            Ok(id) if id.to_string() == execution_ref => NamedExecution::Number(ExecutionId(id)),
            _ => NamedExecution::Text(execution_ref.clone()),
        };
        Ok(Self {
            environment_id: number("environment id", environment)?,
            service_id: number("service id", service)?,
            execution,
            execution_ref,
            change,
            kind,
        })
    }
}

/// Percent-decodes as UTF-8; bytes that are not are read as Latin-1, like a body's.
fn percent_decoded(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        let hex = |b: u8| {
            char::from(b)
                .to_digit(16)
                .and_then(|digit| u8::try_from(digit).ok())
        };
        match (*first, tail) {
            (b'%', [high, low, after @ ..]) if hex(*high).is_some() && hex(*low).is_some() => {
                bytes.push(hex(*high).unwrap_or(0) * 16 + hex(*low).unwrap_or(0));
                rest = after;
            }
            _ => {
                bytes.push(*first);
                rest = tail;
            }
        }
    }
    String::from_utf8(bytes)
        .unwrap_or_else(|error| error.as_bytes().iter().copied().map(char::from).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn change_of(path: &str) -> String {
        WritePath::parse(path).map_or_else(
            |problem| problem.message.into_owned(),
            |path| path.change.to_string(),
        )
    }

    #[test]
    fn everything_between_change_and_the_final_audit_is_the_change_id() {
        let path = |id: &str| format!("/api/v1/environment/12/service/340/execution/9001/change/{id}/audit");
        for (sent, meant) in [
            ("create-invoices", "create-invoices"),
            ("a/b", "a/b"),
            ("a%2Fb", "a/b"),
            ("a/audit", "a/audit"),
            ("audit", "audit"),
            ("100%25+1", "100%+1"),
            ("caf%C3%A9", "café"),
            ("caf%E9", "café"),
            ("two%20words", "two words"),
            ("50%", "50%"),
            ("x/change/y", "x/change/y"),
        ] {
            assert_eq!(change_of(&path(sent)), meant, "{sent}");
        }
    }

    #[test]
    fn the_last_part_says_what_is_written() {
        let kind = |rest: &str| {
            let path = format!("/api/v1/environment/1/service/2/execution/3/change/{rest}");
            WritePath::parse(&path)
                .map(|path| (path.change.to_string(), path.kind))
                .ok()
        };
        assert_eq!(kind("c/probe"), Some(("c".to_owned(), WriteKind::Probe)));
        assert_eq!(kind("probe/audit"), Some(("probe".to_owned(), WriteKind::Report)));
        assert_eq!(kind("audit/probe"), Some(("audit".to_owned(), WriteKind::Probe)));
        for rest in ["c", "/probe", "/audit", "c/other"] {
            assert_eq!(kind(rest), None, "{rest}");
        }
    }

    #[test]
    fn a_number_has_one_spelling() {
        let execution = |id: &str| {
            WritePath::parse(&format!(
                "/api/v1/environment/1/service/2/execution/{id}/change/c/audit"
            ))
            .map(|path| path.execution)
            .ok()
        };
        assert_eq!(execution("7"), Some(NamedExecution::Number(ExecutionId(7))));
        assert_eq!(execution("007"), Some(NamedExecution::Text("007".to_owned())));
        assert_eq!(
            execution("2019-old"),
            Some(NamedExecution::Text("2019-old".to_owned()))
        );
    }
}
