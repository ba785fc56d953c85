//! `GET …/project/{projectId}/audit/difference`

use axum::Json;
use axum::extract::State;
use flamingock_api_types::ProblemDetails;
use flamingock_api_types::audit::{
    ChangeDifference, ChangeStanding, DifferenceKind, DifferencePage, ServiceDifference,
};
use flamingock_domain::audit::difference::Difference;

use crate::app::differences::{Comparison, Differing, DifferingService, Place, Standing};
use crate::http::Api;
use crate::http::cursor::Listing;
use crate::http::extract::{ApiPath, Reader};
use crate::http::parameters::Parameters;
use crate::http::problem::Problem;
use crate::http::routes::execution::page_limit;

/// Compare two environments
///
/// Where the changes of two environments of a project do not come to the same: not in the other one at all, or applied in
/// one and not in the other, or with another content. By service, then by change. Applied by a runner and marked as
/// applied by a person is the same. `limit` counts changes.
#[utoipa::path(
    get,
    path = "/api/v1/admin/project/{projectId}/audit/difference",
    operation_id = "audit_difference",
    tag = "history",
    params(
        ("projectId" = i64, Path, description = "Project"),
        ("environmentId" = i64, Query, description = "\"Here\", such as staging"),
        ("otherEnvironmentId" = i64, Query, description = "\"There\", such as production"),
        ("serviceId" = Option<i64>, Query, description = "Only this service"),
        ("after" = Option<String>, Query, description = "`next` of the page before"),
        ("limit" = Option<i64>, Query, description = "1 to 500, default 50"),
    ),
    responses(
        (status = 200, description = "What differs", body = DifferencePage, example = json!({
            "environmentId": 12, "otherEnvironmentId": 13,
            "services": [{"serviceId": 340, "serviceName": "billing", "changes": [
                {"changeId": "add-vat-column", "kind": "ONLY_HERE",
                 "here": {"seq": 14, "state": "APPLIED", "source": "RUNNER", "receivedAt": "2026-09-14T08:21:08.004211Z"}},
                {"changeId": "create-invoices", "kind": "STATE",
                 "here": {"seq": 2, "state": "APPLIED", "source": "RUNNER", "receivedAt": "2026-09-10T07:00:01.000250Z"},
                 "there": {"seq": 2, "state": "FAILED", "source": "RUNNER", "receivedAt": "2026-09-11T07:00:01.000250Z"}}
            ]}]
        })),
        (status = 400, description = "`R_GEN_02`: a parameter that is missing, not known or does not fit", body = ProblemDetails),
        (status = 401, description = "`R_AUTH_…`: no usable token", body = ProblemDetails),
        (status = 403, description = "`R_AUTH_03`, `R_AUTH_04`: a session, or a role that may not read", body = ProblemDetails),
        (status = 404, description = "`R_TENANT_01`, `R_TENANT_02`: nothing of that name within the token's reach", body = ProblemDetails),
        (status = 503, description = "`R_GEN_08`: try again", body = ProblemDetails),
    ),
)]
pub async fn audit_difference(
    State(api): State<Api>,
    reader: Reader,
    ApiPath(project_id): ApiPath<i64>,
    parameters: Parameters,
) -> Result<Json<DifferencePage>, Problem> {
    let parameters = parameters.only(&[
        "environmentId",
        "otherEnvironmentId",
        "serviceId",
        "after",
        "limit",
    ])?;
    let needed = |name: &str| {
        parameters
            .number(name)?
            .ok_or_else(|| Problem::malformed(format!("The query parameter `{name}` is missing.")))
    };
    let environment_id = needed("environmentId")?;
    let other_environment_id = needed("otherEnvironmentId")?;
    if environment_id == other_environment_id {
        return Err(Problem::malformed(
            "`environmentId` and `otherEnvironmentId` are the same: nothing can differ.",
        ));
    }
    let reachable = reader
        .comparison(&api, project_id, [environment_id, other_environment_id])
        .await?;
    let service_id = parameters.number("serviceId")?;
    let only = match service_id {
        Some(service_id) => {
            reader.scope(&api, environment_id, service_id).await?;
            Some(vec![service_id])
        }
        None => reachable,
    };
    let limit = page_limit(parameters.number("limit")?)?;
    let listing = Listing::new(
        "audit_difference",
        &(project_id, environment_id, other_environment_id, service_id),
    );
    let after = listing
        .position::<(i64, String)>(parameters.one("after")?.as_deref())?
        .map(|(service_id, change_id)| Place {
            service_id,
            change_id,
        });
    let (services, next) = api
        .app
        .differences
        .list(
            &Comparison {
                project_id,
                environment_id,
                other_environment_id,
                services: only.as_deref(),
            },
            after.as_ref(),
            usize::try_from(limit).unwrap_or_default(),
        )
        .await?;
    Ok(Json(DifferencePage {
        environment_id,
        other_environment_id,
        services: services.into_iter().map(service_view).collect(),
        next: next.map(|place| listing.cursor(&(place.service_id, place.change_id))),
    }))
}

fn service_view(service: DifferingService) -> ServiceDifference {
    ServiceDifference {
        service_id: service.service_id,
        service_name: service.name,
        changes: service.changes.into_iter().map(change_view).collect(),
    }
}

fn change_view(differing: Differing) -> ChangeDifference {
    ChangeDifference {
        change_id: differing.change_id,
        kind: match differing.difference {
            Difference::OnlyHere => DifferenceKind::OnlyHere,
            Difference::OnlyThere => DifferenceKind::OnlyThere,
            Difference::State => DifferenceKind::State,
            Difference::Checksum => DifferenceKind::Checksum,
        },
        here: differing.here.map(standing_view),
        there: differing.there.map(standing_view),
    }
}

fn standing_view(standing: Standing) -> ChangeStanding {
    ChangeStanding {
        seq: standing.seq,
        state: standing.state_text,
        source: standing.source,
        received_at: standing.received_at,
        checksum: standing.checksum,
    }
}
