//! `POST …/change/{changeId}/audit`. Reading the audit is in `audit_read`.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use flamingock_api_types::audit::{AuditWrite, AuditWriteResponse};
use flamingock_api_types::{ErrorCode, ProblemDetails};
use flamingock_domain::audit::AuditState;
use serde_json::{Map, Value};

use super::probe::probe_report;
use crate::app::Fact;
use crate::app::facts::{self, STATE_MAX_BYTES, TEXT_MAX_BYTES, TRACE_MAX_BYTES, cut};
use crate::app::reports::{Outcome, Told};
use crate::http::extract::Runner;
use crate::http::problem::Problem;
use crate::http::written::{WriteKind, WritePath, Written};
use crate::http::{Api, body, reasons, wire};

/// Either of the two.
pub async fn write(api: State<Api>, written: Written) -> Result<Response, Problem> {
    match written.path.kind {
        WriteKind::Probe => probe_report(api, written).await,
        WriteKind::Report => audit_append(api, written).await,
    }
}

/// Report
///
/// Records one fact about one change. `STARTED` asks for permission and can be refused with 409: then nothing was written
/// and the change must not run. A result is never refused, lock or no lock: the fact has happened. The same report again is
/// answered with 200 and writes nothing.
#[utoipa::path(
    post,
    path = "/api/v1/environment/{environmentId}/service/{serviceId}/execution/{executionId}/change/{changeId}/audit",
    operation_id = "audit_append",
    tag = "runner",
    params(
        ("environmentId" = i64, Path, description = "From the token exchange"),
        ("serviceId" = i64, Path, description = "From the token exchange"),
        ("executionId" = String, Path, description = "From the plan; an importer's own text for history"),
        ("changeId" = String, Path, description = "The change, `/` included"),
        ("flamingock-runner-id" = String, Header, description = "The process that calls"),
    ),
    request_body(content = AuditWrite, example = json!({
        "changeId": "create-invoices", "stageId": "schema", "author": "mara", "appliedAtEpochMillis": 1_789_374_067_688_i64,
        "state": "APPLIED", "className": "com.acme.billing._0001__CreateInvoices", "methodName": "apply", "metadata": {},
        "executionMillis": 171, "executionHostname": "node-a", "errorTrace": "", "type": "STANDARD_CODE",
        "txStrategy": "NON_TX", "targetSystemId": "shell", "order": "0001", "recoveryStrategy": "MANUAL_INTERVENTION",
        "transactionFlag": true, "systemChange": false
    })),
    responses(
        (status = 201, description = "Recorded", body = AuditWriteResponse, example = json!({
            "lock": {"key": "340", "owner": "billing@node-a#5f0c", "acquisitionId": "billing@node-a#5f0c-71e0",
                     "acquiredForMillis": 60000, "fence": 7}, "late": false, "seq": 12
        })),
        (status = 200, description = "Recorded before", body = AuditWriteResponse),
        (status = 400, description = "`R_GEN_01`, `R_GEN_02`: no runner id, or no readable state", body = ProblemDetails),
        (status = 401, description = "`R_AUTH_…`: no usable session", body = ProblemDetails),
        (status = 403, description = "`R_AUTH_03`, `R_AUTH_04`: out of scope, or a decision that is a person's", body = ProblemDetails),
        (status = 409, description = "`R_AUDIT_01`: the change must not be started", body = ProblemDetails),
        (status = 503, description = "`R_GEN_08`: repeat it", body = ProblemDetails),
    ),
)]
pub async fn audit_append(State(api): State<Api>, written: Written) -> Result<Response, Problem> {
    let Written {
        path,
        scope,
        runner,
        text,
    } = written;
    let told: Map<String, Value> = body::parse(&text)?;
    let (state, state_text) = state(&told)?;
    if matches!(state, AuditState::MarkedApplied | AuditState::MarkedRolledBack) {
        return Err(Problem::new(
            ErrorCode::RoleInsufficient,
            format!(
                "{state_text} is a person's decision: record it with an operator's token at \
                 /api/v1/admin/environment/{}/service/{}/resolution.",
                path.environment_id, path.service_id
            ),
        ));
    }
    let fact = fact(&told, &path, state_text, &runner);
    let recorded = api
        .app
        .reports
        .tell(Told {
            scope,
            runner: runner.id.clone(),
            change: path.change.clone(),
            execution: path.execution,
            state,
            fence: integer(&told, "fence"),
            fact,
        })
        .await?;
    let (status, seq, late) = match recorded.outcome {
        Outcome::Appended { seq, late } => (StatusCode::CREATED, seq, late),
        Outcome::Duplicate { seq, late } => (StatusCode::OK, seq, late),
        Outcome::Refused(refusal) => {
            return Err(Problem::new(
                ErrorCode::StartRefused,
                reasons::of_refusal(refusal, path.change.as_str()),
            ));
        }
    };
    if api.settings.empty_write_answers {
        return Ok(status.into_response());
    }
    let lock = recorded.lock.as_ref().and_then(wire::lock_view);
    Ok((
        status,
        Json(AuditWriteResponse {
            lock,
            late,
            seq: Some(seq),
        }),
    )
        .into_response())
}

fn state(told: &Map<String, Value>) -> Result<(AuditState, String), Problem> {
    let text = match told.get("state") {
        Some(Value::String(text)) if !text.trim().is_empty() => text.trim(),
        Some(Value::Null) | None => {
            return Err(Problem::malformed(
                "The field `state` is missing: without it there is nothing to record.",
            ));
        }
        Some(_) => return Err(Problem::malformed("The field `state` must be a non-empty text.")),
    };
    let state = AuditState::from_wire(text);
    let known = state != AuditState::Unknown && text.eq_ignore_ascii_case(state.as_wire());
    Ok((
        state,
        if known {
            state.as_wire().to_owned()
        } else {
            cut(text, STATE_MAX_BYTES)
        },
    ))
}

/// Everything else is taken as it comes (W §4.7, item 43).
fn fact(told: &Map<String, Value>, path: &WritePath, state: String, runner: &Runner) -> Fact {
    let text = |name: &str| text(told, name).map(|text| cut(&text, TEXT_MAX_BYTES));
    Fact {
        execution_ref: path.execution_ref.clone(),
        change_id: path.change.to_string(),
        stage_id: text("stageId"),
        author: text("author"),
        applied_at_ms: integer(told, "appliedAtEpochMillis"),
        state,
        class_name: text("className"),
        method_name: text("methodName"),
        metadata: metadata(told),
        execution_millis: integer(told, "executionMillis"),
        execution_hostname: text("executionHostname"),
        error_trace: self::text(told, "errorTrace")
            .filter(|trace| !trace.is_empty())
            .map(|trace| cut(&trace, TRACE_MAX_BYTES)),
        change_type: text("type"),
        tx_strategy: text("txStrategy"),
        target_system_id: text("targetSystemId"),
        change_order: text("order"),
        recovery_strategy: text("recoveryStrategy"),
        transaction_flag: flag(told, "transactionFlag"),
        system_change: flag(told, "systemChange"),
        runner_id: Some(runner.id.to_string()),
        fence: integer(told, "fence"),
        actor: runner.session.actor(),
        note: None,
    }
}

fn text(told: &Map<String, Value>, name: &str) -> Option<String> {
    match told.get(name)? {
        Value::Null => None,
        Value::String(text) => Some(text.clone()),
        other => Some(other.to_string()),
    }
}

fn integer(told: &Map<String, Value>, name: &str) -> Option<i64> {
    match told.get(name)? {
        Value::Number(number) => number.as_i64(),
        Value::String(text) => text.trim().parse().ok(),
        _ => None,
    }
}

fn flag(told: &Map<String, Value>, name: &str) -> Option<bool> {
    match told.get(name)? {
        Value::Bool(flag) => Some(*flag),
        Value::String(text) if text.eq_ignore_ascii_case("true") => Some(true),
        Value::String(text) if text.eq_ignore_ascii_case("false") => Some(false),
        _ => None,
    }
}

fn metadata(told: &Map<String, Value>) -> Option<String> {
    let value = told.get("metadata").filter(|value| !value.is_null())?;
    Some(facts::metadata(&value.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn odd_fields_refuse_nothing() {
        let told: Map<String, Value> = serde_json::from_str(
            r#"{"executionMillis": "12", "transactionFlag": "TRUE", "author": 7, "className": "a\u0000b", "order": null}"#,
        )
        .unwrap_or_default();
        assert_eq!(integer(&told, "executionMillis"), Some(12));
        assert_eq!(flag(&told, "transactionFlag"), Some(true));
        assert_eq!(text(&told, "author").as_deref(), Some("7"));
        assert_eq!(text(&told, "order"), None);
        assert_eq!(
            cut(&text(&told, "className").unwrap_or_default(), 10),
            "a\u{FFFD}b"
        );
        assert_eq!(cut("ééé", 3), "é");
    }
}
