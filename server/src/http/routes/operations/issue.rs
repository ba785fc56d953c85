//! One issue, with all that is known of it.

use axum::Json;
use axum::extract::State;
use flamingock_api_types::explanation::Remedy;
use flamingock_api_types::issue::{IssueDetail, IssueStanding, ResolutionKind};
use flamingock_api_types::{ErrorCode, ProblemDetails};
use flamingock_domain::audit::Source;
use flamingock_domain::ids::ChangeId;
use serde::Deserialize;

use crate::app::Scope;
use crate::app::operations::{Found, IssueReport, Operations};
use crate::http::Api;
use crate::http::commands::Subject;
use crate::http::extract::{ApiPath, ApiQuery, Reader};
use crate::http::guidance::{self, Known, Open};
use crate::http::operations::{attempt, change_progress, lock_record, refused_start, timeline_entry};
use crate::http::problem::Problem;
use crate::http::trace;

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct DetailQuery {
    change_id: String,
}

/// View an issue
///
/// Everything that is known of a change whose outcome is open: its whole history with the executions and their locks, late
/// reports and refused starts as evidence, its error taken apart, who holds the lock now, what to check in the target system
/// for exactly this state and way of using transactions, and the commands that record what was found. A change that its
/// runner is working on this moment is shown as such.
#[utoipa::path(
    get,
    path = "/api/v1/admin/environment/{environmentId}/service/{serviceId}/issue/detail",
    operation_id = "issue_view",
    tag = "issues",
    params(
        ("environmentId" = i64, Path, description = "Environment"),
        ("serviceId" = i64, Path, description = "Service"),
        ("changeId" = String, Query, description = "The change; its id may hold `/`"),
    ),
    responses(
        (status = 200, description = "The issue, or the change in progress", body = IssueDetail, example = json!({
            "changeId": "add-due-date", "standing": "NEEDS_DECISION", "state": "FAILED", "seq": 12,
            "since": "2026-09-14T02:58:13Z", "stageId": "schema", "targetSystemId": "billing-db", "txStrategy": "NON_TX",
            "error": {"seq": 12, "text": "org.postgresql.util.PSQLException: column \"due\" exists",
                      "errorType": "org.postgresql.util.PSQLException", "message": "column \"due\" exists"},
            "history": [{"seq": 12, "changeId": "add-due-date", "state": "FAILED", "source": "RUNNER",
                         "receivedAt": "2026-09-14T02:58:13Z", "executionRef": "9001", "actor": "credential:5"}],
            "attempts": [{"executionId": 9001, "runnerId": "billing@node-a#5f0c", "fence": 7,
                          "startedAt": "2026-09-14T02:58:12Z", "endedAt": "2026-09-14T02:58:14Z", "endedBy": "RELEASED"}],
            "guidance": {"whatHappened": "It failed on target system billing-db outside a transaction, …",
                "possible": ["Parts of it took effect, up to where it failed."],
                "check": ["Look in target system billing-db for each thing that the change makes or alters: …"],
                "then": ["Is all of it in place, … record APPLIED about entry 12. It never runs again."]},
            "remedies": [{"purpose": "Record that change add-due-date is in place there: it never runs again.",
                "command": "flamingock issue resolve add-due-date --as applied --expect-seq 12 --reason '…' -e production -s billing"}]
        })),
        (status = 400, description = "`R_GEN_02`: no `changeId`, or a malformed one", body = ProblemDetails),
        (status = 401, description = "`R_AUTH_…`: no usable token", body = ProblemDetails),
        (status = 403, description = "`R_AUTH_03`, `R_AUTH_04`: outside the session's scope or role", body = ProblemDetails),
        (status = 404, description = "`R_ISSUE_04`: nobody has to decide about it; the message says how it stands. \
            `R_TENANT_02`: nothing of that id within the token's reach", body = ProblemDetails),
    ),
)]
pub async fn issue_view(
    State(api): State<Api>,
    reader: Reader,
    ApiPath((environment_id, service_id)): ApiPath<(i64, i64)>,
    ApiQuery(query): ApiQuery<DetailQuery>,
) -> Result<Json<IssueDetail>, Problem> {
    let change = ChangeId::parse(query.change_id)
        .map_err(|error| Problem::malformed(format!("The query parameter `changeId` {error}.")))?;
    let scope = reader.scope(&api, environment_id, service_id).await?;
    match api.app.operations.issue(scope, &change).await? {
        Found::Open(report) => Ok(Json(detail(&api.app.operations, scope, &report))),
        Found::Closed(latest) => Err(Problem::new(
            ErrorCode::NoSuchIssue,
            format!(
                "Nobody has to decide about change {change}: its latest state is {}, entry {}.",
                latest.state.as_wire(),
                latest.seq
            ),
        )),
        Found::Unheard => Err(Problem::new(
            ErrorCode::NoSuchIssue,
            format!(
                "Nothing was ever recorded of change {change} in this service and environment. Is the id right, to the letter?"
            ),
        )),
    }
}

fn detail(operations: &Operations, scope: Scope, report: &IssueReport) -> IssueDetail {
    let fact = &report.fact;
    let (environment, service) = &report.names;
    let subject = Subject {
        scope,
        environment,
        service,
    };
    let error = report
        .history
        .iter()
        .rev()
        .find_map(|entry| trace::view(entry.seq, entry.fact.error_trace.as_deref()));
    let guidance = guidance::of(&Known {
        latest: &report.latest,
        open: match (report.in_progress, report.contradicted_by_mark) {
            (true, _) => Open::InProgress,
            (false, true) => Open::ByMark,
            (false, false) => Open::ByRecord,
        },
        was_refused: !report.refusals.is_empty(),
        has_late_reports: report
            .history
            .iter()
            .any(|entry| entry.late && entry.source != Source::Probe),
        was_asked: report
            .history
            .iter()
            .any(|entry| entry.late && entry.source == Source::Probe),
        has_error: error.is_some(),
        target: fact.target_system_id.as_deref(),
    });
    IssueDetail {
        change_id: report.change.to_string(),
        standing: if report.in_progress {
            IssueStanding::InProgress
        } else {
            IssueStanding::NeedsDecision
        },
        state: fact.state.clone(),
        seq: report.latest.seq,
        since: report.since,
        contradicted_by_mark: report.contradicted_by_mark,
        stage_id: fact.stage_id.clone(),
        target_system_id: fact.target_system_id.clone(),
        author: fact.author.clone(),
        change_type: fact.change_type.clone(),
        class_name: fact.class_name.clone(),
        method_name: fact.method_name.clone(),
        tx_strategy: fact.tx_strategy.clone(),
        recovery_strategy: fact.recovery_strategy.clone(),
        error,
        history: report.history.iter().map(timeline_entry).collect(),
        history_is_cut: report.history_is_cut,
        attempts: report.attempts.iter().map(attempt).collect(),
        refused_starts: report.refusals.iter().map(refused_start).collect(),
        lock: report.lock.as_ref().map(|facts| lock_record(operations, facts)),
        progress: report.progress.as_ref().map(change_progress),
        guidance,
        remedies: remedies(&subject, report),
    }
}

fn remedies(subject: &Subject<'_>, report: &IssueReport) -> Vec<Remedy> {
    if report.in_progress {
        let fence = report.lock.as_ref().map(|facts| facts.lock.fence);
        return fence
            .map(|fence| subject.release_lock(fence, true))
            .into_iter()
            .collect();
    }
    [ResolutionKind::Applied, ResolutionKind::RolledBack]
        .into_iter()
        .map(|kind| subject.resolve(report.change.as_str(), kind, report.latest.seq))
        .collect()
}
