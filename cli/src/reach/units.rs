//! Environments and services of projects: among what the identity shows, and else from their lists.

use flamingock::admin::{Admin, Archived, PageQuery, UnitQuery};
use flamingock::wire::identity::{IdentityView, NamedId, ReachableProject};

use super::not_found_near;
use crate::failure::Failure;

#[derive(Clone, Copy, Debug)]
pub enum Unit {
    Environment,
    Service,
}

impl Unit {
    pub fn word(self) -> &'static str {
        match self {
            Self::Environment => "environment",
            Self::Service => "service",
        }
    }
}

/// By name or number, among what the identity shows; where that is cut or the name a former one, from the list.
pub async fn find(
    admin: &Admin,
    identity: &IdentityView,
    project: &ReachableProject,
    unit: Unit,
    name: &str,
) -> Result<Vec<NamedId>, Failure> {
    let shown = match unit {
        Unit::Environment => &project.environments,
        Unit::Service => &project.services,
    };
    // A name before a number: `2026` may be either.
    let by_name: Vec<_> = shown.iter().filter(|one| one.name == name).cloned().collect();
    if !by_name.is_empty() {
        return Ok(by_name);
    }
    let by_number: Vec<_> = shown
        .iter()
        .filter(|one| one.id.to_string() == name)
        .cloned()
        .collect();
    if !by_number.is_empty() {
        return Ok(by_number);
    }
    listed(admin, identity, project, unit, Some(name)).await
}

pub async fn all(
    admin: &Admin,
    identity: &IdentityView,
    project: &ReachableProject,
    unit: Unit,
    name: Option<&str>,
) -> Result<Vec<NamedId>, Failure> {
    match name {
        Some(name) => find(admin, identity, project, unit, name).await,
        None if identity.truncated => listed(admin, identity, project, unit, None).await,
        None => Ok(match unit {
            Unit::Environment => project.environments.clone(),
            Unit::Service => project.services.clone(),
        }),
    }
}

/// Archived ones too where one is named: their history is what is asked for.
async fn listed(
    admin: &Admin,
    identity: &IdentityView,
    project: &ReachableProject,
    unit: Unit,
    name: Option<&str>,
) -> Result<Vec<NamedId>, Failure> {
    // A runner's token may not list; what the identity shows is all that it has.
    if identity.role == "runner" {
        return Ok(Vec::new());
    }
    let mut found = Vec::new();
    let mut query = UnitQuery {
        page: PageQuery {
            after: None,
            limit: Some(500),
        },
        name: name.map(str::to_owned),
        archived: if name.is_some() {
            Archived::Any
        } else {
            Archived::No
        },
    };
    loop {
        let next = match unit {
            Unit::Environment => {
                let page = admin.environments().list(project.project_id, &query).await?;
                found.extend(page.environments.into_iter().map(|one| NamedId {
                    id: one.environment_id,
                    name: one.name,
                }));
                page.next
            }
            Unit::Service => {
                let page = admin.services().list(project.project_id, &query).await?;
                found.extend(page.services.into_iter().map(|one| NamedId {
                    id: one.service_id,
                    name: one.name,
                }));
                page.next
            }
        };
        if next.is_none() || next == query.page.after {
            return Ok(found);
        }
        query.page.after = next;
    }
}

/// With the names of these projects that come near.
pub fn unknown(what: &str, unit: Unit, written: &str, projects: &[&ReachableProject]) -> Failure {
    let known = projects.iter().flat_map(|project| match unit {
        Unit::Environment => &project.environments,
        Unit::Service => &project.services,
    });
    not_found_near(what, written, known.map(|one| one.name.as_str()))
}
