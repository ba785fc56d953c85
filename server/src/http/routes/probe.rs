//! `POST …/change/{changeId}/probe`: what a change said when it was asked what became of it.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use flamingock_api_types::probe::{ProbeAnswer, ProbeReport, ProbeVerdict};
use flamingock_api_types::{ErrorCode, ProblemDetails};
use flamingock_domain::audit::ProbeVerdict as Verdict;

use crate::app::probes::Told;
use crate::app::reports::NamedExecution;
use crate::http::problem::Problem;
use crate::http::written::Written;
use crate::http::{Api, body, reasons};

/// Report a probe
///
/// What a change says of itself, where the plan asked for it with `PROBE`: whether an earlier attempt took effect, of which
/// nobody knows how it ended. `APPLIED` and `NOT_APPLIED` settle it, and the next plan goes by that; with `UNKNOWN` the issue stays
/// for a person, with this as evidence. Counts only under the lock of the execution, and about the change's latest entry. The
/// same report again is answered with 200 and writes nothing.
#[utoipa::path(
    post,
    path = "/api/v1/environment/{environmentId}/service/{serviceId}/execution/{executionId}/change/{changeId}/probe",
    operation_id = "probe_report",
    tag = "runner",
    params(
        ("environmentId" = i64, Path, description = "From the token exchange"),
        ("serviceId" = i64, Path, description = "From the token exchange"),
        ("executionId" = String, Path, description = "From the plan"),
        ("changeId" = String, Path, description = "The change, `/` included"),
        ("flamingock-runner-id" = String, Header, description = "The process that calls"),
    ),
    request_body(content = ProbeReport, example = json!({
        "verdict": "APPLIED", "expectedSeq": 12, "fence": 8, "probedAtEpochMillis": 1_789_374_067_688_i64,
        "executionMillis": 41, "executionHostname": "node-b"
    })),
    responses(
        (status = 201, description = "Recorded", body = ProbeAnswer, example = json!({"settled": true, "seq": 13})),
        (status = 200, description = "Recorded before", body = ProbeAnswer),
        (status = 400, description = "`R_GEN_01`, `R_GEN_02`: no runner id, or a malformed report", body = ProblemDetails),
        (status = 401, description = "`R_AUTH_…`: no usable session", body = ProblemDetails),
        (status = 403, description = "`R_AUTH_03`: out of scope", body = ProblemDetails),
        (status = 409, description = "`R_AUDIT_02`: the verdict does not count", body = ProblemDetails),
        (status = 413, description = "`R_GEN_05`: the body is too large", body = ProblemDetails),
        (status = 503, description = "`R_GEN_08`: repeat it", body = ProblemDetails),
    ),
)]
pub async fn probe_report(State(api): State<Api>, written: Written) -> Result<Response, Problem> {
    let Written {
        path,
        scope,
        runner,
        text,
    } = written;
    let report: ProbeReport = body::parse(&text)?;
    let told = Told {
        scope,
        runner: runner.id.clone(),
        change: path.change.clone(),
        execution: match path.execution {
            NamedExecution::Number(id) => Some(id),
            NamedExecution::Text(_) => None,
        },
        verdict: match report.verdict {
            ProbeVerdict::Applied => Verdict::Applied,
            ProbeVerdict::NotApplied => Verdict::NotApplied,
            ProbeVerdict::Unknown => Verdict::Unknown,
        },
        about: report.expected_seq,
        fence: report.fence,
        detail: report.detail,
        probed_at_ms: report.probed_at_epoch_millis,
        millis: report.execution_millis,
        hostname: report.execution_hostname,
        actor: format!("credential:{}", runner.session.credential_id),
    };
    let recorded = api.app.probes.tell(&told).await?.map_err(|refusal| {
        Problem::new(
            ErrorCode::ProbeRefused,
            reasons::of_probe_refusal(refusal, told.about, path.change.as_str()),
        )
    })?;
    let status = if recorded.is_repetition {
        StatusCode::OK
    } else {
        StatusCode::CREATED
    };
    Ok((
        status,
        Json(ProbeAnswer {
            settled: recorded.settled,
            seq: recorded.seq,
        }),
    )
        .into_response())
}
