//! `GET …/audit`

use axum::Json;
use axum::extract::State;
use flamingock_api_types::ProblemDetails;
use flamingock_api_types::audit::{AuditPage, AuditView};
use serde::{Deserialize, Serialize};

use super::question::{SELECTING, question};
use crate::app::reading::{Order, Place, View};
use crate::http::cursor::Listing;
use crate::http::extract::{ApiPath, Reader};
use crate::http::parameters::Parameters;
use crate::http::problem::Problem;
use crate::http::routes::execution::page_limit;
use crate::http::{Api, wire};

/// Parameters that choose a page, not entries.
const PAGE: &[&str] = &["after", "limit"];

/// The last row of a page.
#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum Position {
    Seq(i64),
    Change(String, i64),
}

/// List audit entries
///
/// The history of a service by position, oldest first unless `order=desc`; or, with `view=snapshot`, the latest entry of
/// each change that counts, by change id, now or as of a past moment. Filters are combined with "and"; one that is repeated
/// means any of its values. A parameter that is not known is refused.
///
/// For the next page pass `next` as `after`, with the same filters. The work for one page is bounded, so a page of a rare
/// kind of entry may hold few or none and still have a `next`: go on until there is none. A page of entries with long texts
/// ends early, too, at about 2 MiB. What was once on a page of the past never changes.
///
/// Times: `2026-01-31` is its first moment in UTC; `2026-01-31T08:00:00Z`, `2026-01-31T09:00:00+01:00`,
/// `2026-01-31 08:00` (without a zone: UTC) and seconds or milliseconds since 1970 are taken too.
#[utoipa::path(
    get,
    path = "/api/v1/admin/environment/{environmentId}/service/{serviceId}/audit",
    operation_id = "audit_list",
    tag = "history",
    params(
        ("environmentId" = i64, Path, description = "Environment"),
        ("serviceId" = i64, Path, description = "Service"),
        ("after" = Option<String>, Query, description = "`next` of the page before; of a history in ascending order also a \
                                                         seq: only entries behind it"),
        ("limit" = Option<i64>, Query, description = "1 to 500, default 50"),
        ("view" = Option<AuditView>, Query, description = "`history` (default) or `snapshot`"),
        ("order" = Option<String>, Query, description = "Of a history: `asc` (default) or `desc`"),
        ("asOf" = Option<String>, Query, description = "Of a snapshot: the state at this time, from what had been received"),
        ("asOfSeq" = Option<i64>, Query, description = "Of a snapshot: the state at this position"),
        ("changeId" = Option<Vec<String>>, Query, description = "Of these changes"),
        ("stageId" = Option<Vec<String>>, Query, description = "In these stages"),
        ("state" = Option<Vec<String>>, Query, description = "In these states, such as `FAILED`"),
        ("targetSystemId" = Option<Vec<String>>, Query, description = "In these target systems"),
        ("author" = Option<Vec<String>>, Query, description = "By these authors"),
        ("executionId" = Option<Vec<String>>, Query, description = "Of these executions"),
        ("runnerId" = Option<Vec<String>>, Query, description = "Reported by these runners"),
        ("late" = Option<bool>, Query, description = "Late ones, or all but those"),
        ("manual" = Option<bool>, Query, description = "People's decisions, or all but those"),
        ("since" = Option<String>, Query, description = "Received at this time or later, on the database's clock"),
        ("until" = Option<String>, Query, description = "Received before this time"),
    ),
    responses(
        (status = 200, description = "Entries", body = AuditPage, example = json!({
            "entries": [{
                "seq": 12, "environmentId": 12, "serviceId": 340, "changeId": "create-invoices", "state": "FAILED",
                "source": "RUNNER", "late": false, "executionId": "9001", "stageId": "schema", "author": "mara",
                "receivedAt": "2026-09-14T08:21:08.004211Z", "targetSystemId": "shell",
                "runnerId": "billing@node-a#5f0c", "actor": "credential:7",
                "prevHash": "0fa8d87859cd09f3c147a91af91434229f3512001876a2909dbbaa56331f2748",
                "hash": "b09807d0257a61e095e926382e3228d6a12604dab68d279f4562898db2c14fd1"
            }],
            "next": "eyJsIjoiM1lQd3JxVXFjdDZUIiwicCI6MTJ9"
        })),
        (status = 400, description = "`R_GEN_02`: a parameter that is not known or does not fit, or a cursor of another list", body = ProblemDetails),
        (status = 401, description = "`R_AUTH_…`: no usable token", body = ProblemDetails),
        (status = 403, description = "`R_AUTH_03`, `R_AUTH_04`: outside the session's scope or role", body = ProblemDetails),
        (status = 404, description = "`R_TENANT_02`: nothing of that name within the token's reach", body = ProblemDetails),
        (status = 503, description = "`R_GEN_08`: try again", body = ProblemDetails),
    ),
)]
pub async fn audit_list(
    State(api): State<Api>,
    reader: Reader,
    ApiPath((environment_id, service_id)): ApiPath<(i64, i64)>,
    parameters: Parameters,
) -> Result<Json<AuditPage>, Problem> {
    let scope = reader.scope(&api, environment_id, service_id).await?;
    let parameters = parameters.only(&[SELECTING, PAGE].concat())?;
    let question = question(&parameters)?;
    let limit = page_limit(parameters.number("limit")?)?;
    let listing = Listing::new(
        "audit_list",
        &(environment_id, service_id, parameters.selecting(PAGE)),
    );
    let after = parameters.one("after")?;
    let place = match (question.view, after.as_deref().map(str::parse::<i64>)) {
        (View::History(Order::OldestFirst), Some(Ok(seq))) => Some(Place::Seq(seq)),
        _ => listing
            .position::<Position>(after.as_deref())?
            .map(|position| match position {
                Position::Seq(seq) => Place::Seq(seq),
                Position::Change(id, as_of) => Place::Change { id, as_of },
            }),
    };
    let answer = api
        .app
        .reading
        .page(scope, &question, place.as_ref(), limit)
        .await?;
    let next = answer.next.map(|place| {
        listing.cursor(&match place {
            Place::Seq(seq) => Position::Seq(seq),
            Place::Change { id, as_of } => Position::Change(id, as_of),
        })
    });
    Ok(Json(AuditPage {
        entries: answer.entries.into_iter().map(wire::audit_entry).collect(),
        next,
        as_of_seq: answer.as_of,
    }))
}
