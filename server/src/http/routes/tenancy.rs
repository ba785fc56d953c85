//! What the four resources of the tenancy have in common: their list's query, their cursor, their refusals.

use axum::http::StatusCode;
use flamingock_api_types::ErrorCode;
use serde::{Deserialize, Serialize};

use super::execution::page_limit;
use crate::app::auth::{Reach, UnitKind};
use crate::app::tenancy::{Change, Filter, Found, TenancyError};
use crate::http::cursor::Listing;
use crate::http::problem::Problem;
use crate::http::{Api, fields};

#[derive(Debug, Default, Deserialize)]
pub struct UnitQuery {
    name: Option<String>,
    archived: Option<String>,
    after: Option<String>,
    limit: Option<i64>,
}

/// What a list was asked for, in its cursor.
#[derive(Serialize)]
struct Asked<'a> {
    parent: Option<i64>,
    name: Option<&'a str>,
    archived: Option<bool>,
}

/// One page, and the cursor of the next.
pub async fn page(
    api: &Api,
    reach: &Reach,
    operation: &str,
    kind: UnitKind,
    parent: Option<i64>,
    query: UnitQuery,
) -> Result<(Vec<Found>, Option<String>), Problem> {
    let limit = page_limit(query.limit)?;
    let name = fields::filter("name", query.name)?;
    let archived = match query.archived.as_deref() {
        None | Some("false") => Some(false),
        Some("true") => Some(true),
        Some("any") => None,
        Some(other) => {
            return Err(Problem::malformed(format!(
                "The query parameter `archived` must be `false`, `true` or `any`, it is {other:?}."
            )));
        }
    };
    let listing = Listing::new(
        operation,
        &Asked {
            parent,
            name: name.as_deref(),
            archived,
        },
    );
    let filter = Filter {
        after: fields::filter("after", listing.position(query.after.as_deref())?)?,
        name,
        archived,
    };
    let mut found = api
        .app
        .tenancy
        .list(reach, kind, parent, &filter, limit + 1)
        .await
        .map_err(problem)?;
    let more = found.len() > usize::try_from(limit).unwrap_or(usize::MAX);
    if more {
        found.pop();
    }
    let next = found
        .last()
        .filter(|_| more)
        .map(|last| listing.cursor(&last.name));
    Ok((found, next))
}

/// Former names given up by one call; each is a statement.
const RELEASED_MAX: usize = 100;

/// A change that changes nothing is a mistyped one.
pub fn refuse_nothing(change: &Change<'_>) -> Result<(), Problem> {
    if change.release_former_names.len() > RELEASED_MAX {
        return Err(Problem::malformed(format!(
            "The field `releaseFormerNames` may have up to {RELEASED_MAX} names."
        )));
    }
    let asks = change.name.is_some()
        || change.archived.is_some()
        || change.setting.is_some()
        || !change.release_former_names.is_empty();
    if asks {
        Ok(())
    } else {
        Err(Problem::malformed(
            "The body names nothing that shall become different. The description of the call at /docs has the fields.",
        ))
    }
}

pub fn problem(error: TenancyError) -> Problem {
    let message = error.to_string();
    let code = match error {
        TenancyError::Fault(fault) => return fault.into(),
        TenancyError::NotFound { kind, .. } => not_found(kind),
        TenancyError::NotWhole { .. } | TenancyError::NotForNew { .. } | TenancyError::NotForName { .. } => {
            ErrorCode::OutOfScope
        }
        TenancyError::Name(_) | TenancyError::NotFormer { .. } => ErrorCode::RequestMalformed,
        TenancyError::NameTaken { .. } => ErrorCode::NameTaken,
        TenancyError::Archived { .. } => ErrorCode::Archived,
    };
    Problem::new(code, message)
}

pub fn not_found(kind: UnitKind) -> ErrorCode {
    match kind {
        UnitKind::Organisation => ErrorCode::OrganisationNotFound,
        UnitKind::Project => ErrorCode::ProjectNotFound,
        UnitKind::Environment => ErrorCode::EnvironmentNotFound,
        UnitKind::Service => ErrorCode::ServiceNotFound,
    }
}

/// What a creation answers with.
pub type Created<T> = (StatusCode, axum::Json<T>);
