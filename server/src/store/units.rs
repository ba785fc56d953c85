//! What people manage of the tenancy: organisations, projects, environments, services, by one set of questions.
//!
//! Names are looked up in `unit_names`, so that a former name leads to what bears another one now.

use chrono::{DateTime, Utc};
use flamingock_domain::access::{Reach, Unit, UnitKind};
use sqlx::postgres::PgRow;
use sqlx::{PgConnection, Row};

use super::StoreError;

#[derive(Clone, Debug)]
pub struct UnitRow {
    pub kind: UnitKind,
    pub id: i64,
    pub organisation_id: i64,
    /// Of an environment or a service.
    pub project_id: Option<i64>,
    pub name: String,
    /// A project's `self_register_services`, an environment's `trust_absent_marks`.
    pub setting: Option<bool>,
    pub created_at: DateTime<Utc>,
    pub archived_at: Option<DateTime<Utc>>,
    /// Names that it had before and that still lead to it, oldest first.
    pub former_names: Vec<String>,
}

impl UnitRow {
    /// The same as the domain has it.
    pub fn unit(&self) -> Unit {
        let (id, organisation) = (self.id, self.organisation_id);
        match (self.kind, self.project_id) {
            (UnitKind::Environment, Some(project)) => Unit::Environment {
                id,
                project,
                organisation,
            },
            (UnitKind::Service, Some(project)) => Unit::Service {
                id,
                project,
                organisation,
            },
            (UnitKind::Project, _) => Unit::Project { id, organisation },
            _ => Unit::Organisation { id },
        }
    }

    /// What its name is unique in.
    pub fn within(&self) -> i64 {
        match self.kind {
            UnitKind::Organisation => 0,
            UnitKind::Project => self.organisation_id,
            UnitKind::Environment | UnitKind::Service => self.project_id.unwrap_or(0),
        }
    }
}

/// Which of them to list.
#[derive(Clone, Debug, Default)]
pub struct UnitFilter {
    /// Exactly this name, present or former.
    pub name: Option<String>,
    /// `None`: both.
    pub archived: Option<bool>,
    /// Names after this one.
    pub after: Option<String>,
}

/// The statement for each kind: its columns are the same everywhere, its tail is given.
macro_rules! for_kind {
    ($kind:expr, $tail:literal) => {
        match $kind {
            UnitKind::Organisation => concat!(
                "SELECT u.id, u.id AS organisation_id, NULL::bigint AS project_id, u.name, NULL::boolean AS setting,
                        u.created_at, u.archived_at,
                        ARRAY(SELECT n.name FROM unit_names n
                               WHERE n.kind = 'organisation' AND n.unit_id = u.id AND n.name <> u.name
                               ORDER BY n.given_at, n.name) AS former_names
                   FROM (SELECT 0::bigint AS within_id, 'organisation' AS kind) k, organisations u ",
                $tail
            ),
            UnitKind::Project => concat!(
                "SELECT u.id, u.organisation_id, NULL::bigint AS project_id, u.name,
                        u.self_register_services AS setting, u.created_at, u.archived_at,
                        ARRAY(SELECT n.name FROM unit_names n
                               WHERE n.kind = 'project' AND n.unit_id = u.id AND n.name <> u.name
                               ORDER BY n.given_at, n.name) AS former_names
                   FROM (SELECT 'project' AS kind) k,
                        (SELECT *, organisation_id AS within_id FROM projects) u ",
                $tail
            ),
            UnitKind::Environment => concat!(
                "SELECT u.id, p.organisation_id, u.project_id, u.name, u.trust_absent_marks AS setting, u.created_at,
                        u.archived_at,
                        ARRAY(SELECT n.name FROM unit_names n
                               WHERE n.kind = 'environment' AND n.unit_id = u.id AND n.name <> u.name
                               ORDER BY n.given_at, n.name) AS former_names
                   FROM (SELECT 'environment' AS kind) k,
                        (SELECT *, project_id AS within_id FROM environments) u
                   JOIN projects p ON p.id = u.project_id ",
                $tail
            ),
            UnitKind::Service => concat!(
                "SELECT u.id, p.organisation_id, u.project_id, u.name, NULL::boolean AS setting, u.created_at,
                        u.archived_at,
                        ARRAY(SELECT n.name FROM unit_names n
                               WHERE n.kind = 'service' AND n.unit_id = u.id AND n.name <> u.name
                               ORDER BY n.given_at, n.name) AS former_names
                   FROM (SELECT 'service' AS kind) k,
                        (SELECT *, project_id AS within_id FROM services) u
                   JOIN projects p ON p.id = u.project_id ",
                $tail
            ),
        }
    };
}

/// One of them by its id, whoever asks: the caller of this compares it with the asker's reach, so that what is foreign costs
/// what is absent costs.
pub async fn load(conn: &mut PgConnection, kind: UnitKind, id: i64) -> Result<Option<UnitRow>, StoreError> {
    let row = sqlx::query(for_kind!(kind, "WHERE u.id = $1"))
        .bind(id)
        .fetch_optional(conn)
        .await?;
    row.as_ref().map(|row| unit_of_row(kind, row)).transpose()
}

/// As [`load`], held until the end of the transaction: names and flags are changed by one at a time.
pub async fn lock(conn: &mut PgConnection, kind: UnitKind, id: i64) -> Result<Option<UnitRow>, StoreError> {
    let statement = match kind {
        UnitKind::Organisation => "SELECT id FROM organisations WHERE id = $1 FOR NO KEY UPDATE",
        UnitKind::Project => "SELECT id FROM projects WHERE id = $1 FOR NO KEY UPDATE",
        UnitKind::Environment => "SELECT id FROM environments WHERE id = $1 FOR NO KEY UPDATE",
        UnitKind::Service => "SELECT id FROM services WHERE id = $1 FOR NO KEY UPDATE",
    };
    sqlx::query(statement).bind(id).fetch_optional(&mut *conn).await?;
    load(conn, kind, id).await
}

/// Those of a parent (0: of the server) that a credential sees, by name.
pub async fn list(
    conn: &mut PgConnection,
    reach: &Reach,
    kind: UnitKind,
    within: i64,
    filter: &UnitFilter,
    limit: i64,
) -> Result<Vec<UnitRow>, StoreError> {
    let only = match kind {
        UnitKind::Organisation => reach.organisation.map(|id| vec![id]),
        UnitKind::Project => reach.project.map(|id| vec![id]),
        UnitKind::Environment => reach.environments.clone(),
        UnitKind::Service => reach.services.clone(),
    };
    let rows = sqlx::query(for_kind!(
        kind,
        "WHERE within_id = $1
           AND ($2::bigint[] IS NULL OR u.id = ANY($2))
           AND ($3::boolean IS NULL OR (u.archived_at IS NOT NULL) = $3)
           AND ($4::text IS NULL OR u.name > $4)
           AND ($5::text IS NULL OR u.id = (
                SELECT n.unit_id FROM unit_names n WHERE n.kind = k.kind AND n.within_id = $1 AND n.name = $5))
         ORDER BY u.name LIMIT $6"
    ))
    .bind(within)
    .bind(only)
    .bind(filter.archived)
    .bind(filter.after.as_deref())
    .bind(filter.name.as_deref())
    .bind(limit)
    .fetch_all(conn)
    .await?;
    rows.iter().map(|row| unit_of_row(kind, row)).collect()
}

fn unit_of_row(kind: UnitKind, row: &PgRow) -> Result<UnitRow, StoreError> {
    Ok(UnitRow {
        kind,
        id: row.try_get("id")?,
        organisation_id: row.try_get("organisation_id")?,
        project_id: row.try_get("project_id")?,
        name: row.try_get("name")?,
        setting: row.try_get("setting")?,
        created_at: row.try_get("created_at")?,
        archived_at: row.try_get("archived_at")?,
        former_names: row.try_get("former_names")?,
    })
}

pub async fn update_name(
    conn: &mut PgConnection,
    kind: UnitKind,
    id: i64,
    name: &str,
) -> Result<(), StoreError> {
    sqlx::query(match kind {
        UnitKind::Organisation => "UPDATE organisations SET name = $2 WHERE id = $1",
        UnitKind::Project => "UPDATE projects SET name = $2 WHERE id = $1",
        UnitKind::Environment => "UPDATE environments SET name = $2 WHERE id = $1",
        UnitKind::Service => "UPDATE services SET name = $2 WHERE id = $1",
    })
    .bind(id)
    .bind(name)
    .execute(conn)
    .await?;
    Ok(())
}

/// Archives it or takes it back. What is archived keeps the time when it was.
pub async fn update_archived(
    conn: &mut PgConnection,
    kind: UnitKind,
    id: i64,
    archived: bool,
) -> Result<(), StoreError> {
    macro_rules! statement {
        ($table:literal) => {
            concat!(
                "UPDATE ",
                $table,
                " SET archived_at = CASE WHEN $2 THEN coalesce(archived_at, clock_timestamp()) END WHERE id = $1"
            )
        };
    }
    sqlx::query(match kind {
        UnitKind::Organisation => statement!("organisations"),
        UnitKind::Project => statement!("projects"),
        UnitKind::Environment => statement!("environments"),
        UnitKind::Service => statement!("services"),
    })
    .bind(id)
    .bind(archived)
    .execute(conn)
    .await?;
    Ok(())
}

/// Gives up a former name, so that something else may have it. `false`: it was not one.
pub async fn delete_former_name(
    conn: &mut PgConnection,
    unit: &UnitRow,
    name: &str,
) -> Result<bool, StoreError> {
    let done = sqlx::query(
        "DELETE FROM unit_names WHERE kind = $1 AND within_id = $2 AND name = $3 AND unit_id = $4 AND name <> $5",
    )
    .bind(unit.kind.as_str())
    .bind(unit.within())
    .bind(name)
    .bind(unit.id)
    .bind(&unit.name)
    .execute(conn)
    .await?;
    Ok(done.rows_affected() == 1)
}

/// What is archived, and was not long ago: see [`super::tokens::list_revoked`], whose bound is the same. Who opens a session
/// asks the database itself.
pub async fn list_archived(conn: &mut PgConnection) -> Result<Vec<(UnitKind, i64)>, StoreError> {
    let rows: Vec<(String, i64)> = sqlx::query_as(
        "WITH bound AS MATERIALIZED (SELECT min(created_at) - interval '1 hour' AS at FROM signing_keys)
         SELECT 'organisation', id FROM organisations WHERE archived_at >= (SELECT at FROM bound)
         UNION ALL SELECT 'project', id FROM projects WHERE archived_at >= (SELECT at FROM bound)
         UNION ALL SELECT 'environment', id FROM environments WHERE archived_at >= (SELECT at FROM bound)
         UNION ALL SELECT 'service', id FROM services WHERE archived_at >= (SELECT at FROM bound)",
    )
    .fetch_all(conn)
    .await?;
    Ok(rows
        .into_iter()
        .filter_map(|(kind, id)| {
            UnitKind::ALL
                .into_iter()
                .find(|known| known.as_str() == kind)
                .map(|kind| (kind, id))
        })
        .collect())
}

/// What a credential reaches, as far as it fits: (kind, id, project id, name), projects first.
#[derive(Clone, Debug, Default)]
pub struct Reachable {
    /// id, name, organisation id, organisation name
    pub projects: Vec<(i64, String, i64, String)>,
    /// project id, id, name
    pub environments: Vec<(i64, i64, String)>,
    pub services: Vec<(i64, i64, String)>,
}

/// Nothing that is archived. At most so many projects, and so many environments and services of all of them together.
pub async fn load_reachable(
    conn: &mut PgConnection,
    reach: &Reach,
    projects_max: i64,
    parts_max: i64,
) -> Result<Reachable, StoreError> {
    let projects: Vec<(i64, String, i64, String)> = sqlx::query_as(
        "SELECT p.id, p.name, o.id, o.name FROM projects p JOIN organisations o ON o.id = p.organisation_id
          WHERE ($1::bigint IS NULL OR p.organisation_id = $1) AND ($2::bigint IS NULL OR p.id = $2)
            AND p.archived_at IS NULL AND o.archived_at IS NULL
          ORDER BY p.id LIMIT $3",
    )
    .bind(reach.organisation)
    .bind(reach.project)
    .bind(projects_max)
    .fetch_all(&mut *conn)
    .await?;
    let ids: Vec<i64> = projects.iter().map(|(id, ..)| *id).collect();
    let environments = sqlx::query_as(
        "SELECT project_id, id, name FROM environments
          WHERE project_id = ANY($1) AND ($2::bigint[] IS NULL OR id = ANY($2)) AND archived_at IS NULL
          ORDER BY project_id, name LIMIT $3",
    )
    .bind(&ids)
    .bind(reach.environments.as_deref())
    .bind(parts_max)
    .fetch_all(&mut *conn)
    .await?;
    let services = sqlx::query_as(
        "SELECT project_id, id, name FROM services
          WHERE project_id = ANY($1) AND ($2::bigint[] IS NULL OR id = ANY($2)) AND archived_at IS NULL
          ORDER BY project_id, name LIMIT $3",
    )
    .bind(&ids)
    .bind(reach.services.as_deref())
    .bind(parts_max)
    .fetch_all(conn)
    .await?;
    Ok(Reachable {
        projects,
        environments,
        services,
    })
}
