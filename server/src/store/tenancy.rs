//! Organisations, projects, environments, services.

use std::collections::HashMap;

use flamingock_domain::access::UnitKind;
use flamingock_domain::plan::policy::Policy;
use sqlx::postgres::PgRow;
use sqlx::{PgConnection, Row};

use super::{Scope, StoreError, policies};

/// The constraint that speaks where a name is or was somebody else's.
pub const NAME_TAKEN: &str = "unit_names_pkey";

/// Something found by a name that it has or had.
#[derive(Clone, Debug)]
pub struct Named {
    pub id: i64,
    /// The name that it has now.
    pub name: String,
    pub is_archived: bool,
}

/// An environment and a service of a project by their present or former names, as far as they exist.
pub async fn load_names(
    conn: &mut PgConnection,
    project_id: i64,
    environment: &str,
    service: &str,
) -> Result<(Option<Named>, Option<Named>), StoreError> {
    let row = sqlx::query(
        "SELECT e.id AS environment_id, e.name AS environment, e.archived_at IS NOT NULL AS environment_archived,
                s.id AS service_id, s.name AS service, s.archived_at IS NOT NULL AS service_archived
           FROM (SELECT) AS one
           LEFT JOIN unit_names en ON en.kind = 'environment' AND en.within_id = $1 AND en.name = $2
           LEFT JOIN environments e ON e.id = en.unit_id
           LEFT JOIN unit_names sn ON sn.kind = 'service' AND sn.within_id = $1 AND sn.name = $3
           LEFT JOIN services s ON s.id = sn.unit_id",
    )
    .bind(project_id)
    .bind(environment)
    .bind(service)
    .fetch_one(conn)
    .await?;
    names_of_row(&row)
}

/// Environment and service of a row that has them as [`load_names`] does.
pub(super) fn names_of_row(row: &PgRow) -> Result<(Option<Named>, Option<Named>), StoreError> {
    let named = |id: &str, name: &str, archived: &str| -> Result<Option<Named>, StoreError> {
        Ok(match row.try_get::<Option<i64>, _>(id)? {
            Some(id) => Some(Named {
                id,
                name: row.try_get(name)?,
                is_archived: row.try_get(archived)?,
            }),
            None => None,
        })
    };
    Ok((
        named("environment_id", "environment", "environment_archived")?,
        named("service_id", "service", "service_archived")?,
    ))
}

/// A project by the present or former names of it and its organisation.
pub async fn load_project(
    conn: &mut PgConnection,
    organisation: &str,
    project: &str,
) -> Result<Option<i64>, StoreError> {
    Ok(sqlx::query_scalar(
        "SELECT p.unit_id FROM unit_names o
           JOIN unit_names p ON p.kind = 'project' AND p.within_id = o.unit_id AND p.name = $2
          WHERE o.kind = 'organisation' AND o.within_id = 0 AND o.name = $1",
    )
    .bind(organisation)
    .bind(project)
    .fetch_optional(conn)
    .await?)
}

/// Project and organisation that a scope lies in: `None` if one of its ids does not exist, or they do not belong
/// together.
pub async fn load_owner(conn: &mut PgConnection, scope: Scope) -> Result<Option<(i64, i64)>, StoreError> {
    Ok(sqlx::query_as(
        "SELECT p.id, p.organisation_id
           FROM environments e
           JOIN services s ON s.project_id = e.project_id
           JOIN projects p ON p.id = e.project_id
          WHERE e.id = $1 AND s.id = $2",
    )
    .bind(scope.environment_id)
    .bind(scope.service_id)
    .fetch_optional(conn)
    .await?)
}

/// The organisation of a project, if all these environments are the project's.
pub async fn load_organisation_of(
    conn: &mut PgConnection,
    project_id: i64,
    environments: &[i64],
) -> Result<Option<i64>, StoreError> {
    Ok(sqlx::query_scalar(
        "SELECT p.organisation_id FROM projects p
          WHERE p.id = $1
            AND NOT EXISTS (
                SELECT 1 FROM unnest($2::bigint[]) AS q (id)
                 WHERE NOT EXISTS (SELECT 1 FROM environments e WHERE e.id = q.id AND e.project_id = p.id))",
    )
    .bind(project_id)
    .bind(environments)
    .fetch_optional(conn)
    .await?)
}

/// Names of a scope's environment and service, for commands that people paste.
pub async fn load_scope_names(
    conn: &mut PgConnection,
    scope: Scope,
) -> Result<Option<(String, String)>, StoreError> {
    Ok(sqlx::query_as(
        "SELECT e.name, s.name FROM environments e JOIN services s ON s.project_id = e.project_id
          WHERE e.id = $1 AND s.id = $2",
    )
    .bind(scope.environment_id)
    .bind(scope.service_id)
    .fetch_optional(conn)
    .await?)
}

/// Names of a scope's organisation, environment and service, and the clock.
pub async fn load_scope_identity(
    conn: &mut PgConnection,
    scope: Scope,
) -> Result<Option<(String, String, String, chrono::DateTime<chrono::Utc>)>, StoreError> {
    Ok(sqlx::query_as(
        "SELECT o.name, e.name, s.name, clock_timestamp()
           FROM environments e
           JOIN services s ON s.project_id = e.project_id
           JOIN projects p ON p.id = e.project_id
           JOIN organisations o ON o.id = p.organisation_id
          WHERE e.id = $1 AND s.id = $2",
    )
    .bind(scope.environment_id)
    .bind(scope.service_id)
    .fetch_optional(conn)
    .await?)
}

/// Project and organisation of an environment.
pub async fn load_environment_owner(
    conn: &mut PgConnection,
    environment_id: i64,
) -> Result<Option<(i64, i64)>, StoreError> {
    Ok(sqlx::query_as(
        "SELECT p.id, p.organisation_id FROM environments e JOIN projects p ON p.id = e.project_id WHERE e.id = $1",
    )
    .bind(environment_id)
    .fetch_optional(conn)
    .await?)
}

/// Makes a service unless somebody else just did. Gives its id and whether it was made here.
pub async fn insert_service(
    conn: &mut PgConnection,
    project_id: i64,
    name: &str,
) -> Result<(i64, bool), StoreError> {
    let made: Option<i64> = sqlx::query_scalar(
        "INSERT INTO services (project_id, name) VALUES ($1, $2)
         ON CONFLICT ON CONSTRAINT services_project_id_name_key DO NOTHING
         RETURNING id",
    )
    .bind(project_id)
    .bind(name)
    .fetch_optional(&mut *conn)
    .await?;
    if let Some(id) = made {
        return Ok((id, true));
    }
    // The statement above waited for whoever was making it; this one sees it, also if it was renamed at once.
    let id = sqlx::query_scalar(
        "SELECT unit_id FROM unit_names WHERE kind = 'service' AND within_id = $1 AND name = $2",
    )
    .bind(project_id)
    .bind(name)
    .fetch_one(conn)
    .await?;
    Ok((id, false))
}

/// Makes a service. That the name is taken is an error, unlike in [`insert_service`].
pub async fn insert_new_service(
    conn: &mut PgConnection,
    project_id: i64,
    name: &str,
) -> Result<i64, StoreError> {
    Ok(
        sqlx::query_scalar("INSERT INTO services (project_id, name) VALUES ($1, $2) RETURNING id")
            .bind(project_id)
            .bind(name)
            .fetch_one(conn)
            .await?,
    )
}

pub async fn insert_organisation(conn: &mut PgConnection, name: &str) -> Result<i64, StoreError> {
    Ok(
        sqlx::query_scalar("INSERT INTO organisations (name) VALUES ($1) RETURNING id")
            .bind(name)
            .fetch_one(conn)
            .await?,
    )
}

pub async fn insert_project(
    conn: &mut PgConnection,
    organisation_id: i64,
    name: &str,
    self_register_services: bool,
) -> Result<i64, StoreError> {
    Ok(sqlx::query_scalar(
        "INSERT INTO projects (organisation_id, name, self_register_services) VALUES ($1, $2, $3) RETURNING id",
    )
    .bind(organisation_id)
    .bind(name)
    .bind(self_register_services)
    .fetch_one(conn)
    .await?)
}

pub async fn update_project(
    conn: &mut PgConnection,
    project_id: i64,
    self_register_services: bool,
) -> Result<(), StoreError> {
    sqlx::query("UPDATE projects SET self_register_services = $2 WHERE id = $1")
        .bind(project_id)
        .bind(self_register_services)
        .execute(conn)
        .await?;
    Ok(())
}

pub async fn insert_environment(
    conn: &mut PgConnection,
    project_id: i64,
    name: &str,
    trust_absent_marks: bool,
) -> Result<i64, StoreError> {
    Ok(sqlx::query_scalar(
        "INSERT INTO environments (project_id, name, trust_absent_marks) VALUES ($1, $2, $3) RETURNING id",
    )
    .bind(project_id)
    .bind(name)
    .bind(trust_absent_marks)
    .fetch_one(conn)
    .await?)
}

/// The setting is a part of the policy: answers that were judged by the one before must not outlive it.
pub async fn update_environment(
    conn: &mut PgConnection,
    environment_id: i64,
    trust_absent_marks: bool,
    changed_by: &str,
) -> Result<(), StoreError> {
    sqlx::query(
        "UPDATE environments
            SET trust_absent_marks = $2, policy_revision = policy_revision + 1,
                policy_changed_at = clock_timestamp(), policy_changed_by = $3
          WHERE id = $1 AND trust_absent_marks IS DISTINCT FROM $2",
    )
    .bind(environment_id)
    .bind(trust_absent_marks)
    .bind(changed_by)
    .execute(conn)
    .await?;
    Ok(())
}

/// Whoever applies a declaration holds this until the end of the transaction.
pub async fn lock_all(conn: &mut PgConnection) -> Result<(), StoreError> {
    sqlx::query("SELECT pg_advisory_xact_lock(hashtextextended('flamingock.tenancy', 0))")
        .execute(conn)
        .await?;
    Ok(())
}

/// All that a declaration may name; read at a start and by operators, not by requests.
#[derive(Clone, Debug, Default)]
pub struct Tenancy {
    pub organisations: Vec<OrganisationRow>,
    pub projects: Vec<ProjectRow>,
    pub environments: Vec<EnvironmentRow>,
    pub services: Vec<ServiceRow>,
    pub tokens: Vec<TokenRow>,
    /// Windows that a declaration has set, whatever became of them.
    pub freezes: Vec<FreezeRow>,
    /// On the database's clock, when all this was read.
    pub now: chrono::DateTime<chrono::Utc>,
    /// Kind, what the name is unique in, and the name, present or former: of whom it is.
    pub names: HashMap<(String, i64, String), i64>,
}

#[derive(Clone, Debug)]
pub struct OrganisationRow {
    pub id: i64,
    pub name: String,
    pub is_archived: bool,
}

#[derive(Clone, Debug)]
pub struct ProjectRow {
    pub id: i64,
    pub organisation_id: i64,
    pub name: String,
    pub self_register_services: bool,
    pub is_archived: bool,
}

#[derive(Clone, Debug)]
pub struct EnvironmentRow {
    pub project_id: i64,
    pub id: i64,
    pub name: String,
    pub trust_absent_marks: bool,
    pub policy: Policy,
    pub is_archived: bool,
}

#[derive(Clone, Debug)]
pub struct FreezeRow {
    pub environment_id: i64,
    pub service_ids: Option<Vec<i64>>,
    pub starts_at: chrono::DateTime<chrono::Utc>,
    pub ends_at: Option<chrono::DateTime<chrono::Utc>>,
    pub reason: String,
    pub ended_by: Option<String>,
}

#[derive(Clone, Debug)]
pub struct ServiceRow {
    pub project_id: i64,
    pub id: i64,
    pub name: String,
    pub is_archived: bool,
}

#[derive(Clone, Debug)]
pub struct TokenRow {
    pub id: i64,
    pub organisation_id: Option<i64>,
    pub project_id: Option<i64>,
    pub name: String,
    pub role: String,
    pub sha256: Vec<u8>,
    pub environment_ids: Option<Vec<i64>>,
    pub service_ids: Option<Vec<i64>>,
    pub expires_at: Option<chrono::DateTime<chrono::Utc>>,
    pub is_revoked: bool,
    pub is_replaced: bool,
}

impl Tenancy {
    /// Whose a name is or was.
    pub fn unit(&self, kind: UnitKind, within: i64, name: &str) -> Option<i64> {
        self.names
            .get(&(kind.as_str().to_owned(), within, name.to_owned()))
            .copied()
    }
}

/// `declared_by`: whose freeze windows are a declaration's.
pub async fn load_all(conn: &mut PgConnection, declared_by: &str) -> Result<Tenancy, StoreError> {
    let organisations =
        sqlx::query_as("SELECT id, name, archived_at IS NOT NULL FROM organisations ORDER BY id")
            .fetch_all(&mut *conn)
            .await?
            .into_iter()
            .map(|(id, name, is_archived)| OrganisationRow {
                id,
                name,
                is_archived,
            })
            .collect();
    let projects = sqlx::query_as(
        "SELECT id, organisation_id, name, self_register_services, archived_at IS NOT NULL FROM projects ORDER BY id",
    )
    .fetch_all(&mut *conn)
    .await?
    .into_iter()
    .map(
        |(id, organisation_id, name, self_register_services, is_archived)| ProjectRow {
            id,
            organisation_id,
            name,
            self_register_services,
            is_archived,
        },
    )
    .collect();
    let environments = sqlx::query(
        "SELECT project_id, id, name, trust_absent_marks, checksum_mismatch, out_of_order, approval_required,
                archived_at IS NOT NULL AS is_archived
           FROM environments ORDER BY id",
    )
    .fetch_all(&mut *conn)
    .await?
    .iter()
    .map(|row| {
        Ok(EnvironmentRow {
            project_id: row.try_get("project_id")?,
            id: row.try_get("id")?,
            name: row.try_get("name")?,
            trust_absent_marks: row.try_get("trust_absent_marks")?,
            policy: policies::policy_of_row(row)?,
            is_archived: row.try_get("is_archived")?,
        })
    })
    .collect::<Result<_, StoreError>>()?;
    let freezes = sqlx::query_as(
        "SELECT environment_id, service_ids, starts_at, ends_at, reason, ended_by
           FROM freeze_windows WHERE created_by = $1 ORDER BY id DESC",
    )
    .bind(declared_by)
    .fetch_all(&mut *conn)
    .await?
    .into_iter()
    .map(
        |(environment_id, service_ids, starts_at, ends_at, reason, ended_by)| FreezeRow {
            environment_id,
            service_ids,
            starts_at,
            ends_at,
            reason,
            ended_by,
        },
    )
    .collect();
    let now = load_now(conn).await?;
    let services =
        sqlx::query_as("SELECT project_id, id, name, archived_at IS NOT NULL FROM services ORDER BY id")
            .fetch_all(&mut *conn)
            .await?
            .into_iter()
            .map(|(project_id, id, name, is_archived)| ServiceRow {
                project_id,
                id,
                name,
                is_archived,
            })
            .collect();
    let names: Vec<(String, i64, String, i64)> =
        sqlx::query_as("SELECT kind, within_id, name, unit_id FROM unit_names")
            .fetch_all(&mut *conn)
            .await?;
    let tokens = sqlx::query(
        "SELECT id, organisation_id, project_id, name, role, sha256, environment_ids, service_ids, expires_at,
                revoked_at IS NOT NULL AS is_revoked, replaced_by IS NOT NULL AS is_replaced
           FROM api_tokens ORDER BY id",
    )
    .fetch_all(conn)
    .await?
    .iter()
    .map(|row| {
        Ok(TokenRow {
            id: row.try_get("id")?,
            organisation_id: row.try_get("organisation_id")?,
            project_id: row.try_get("project_id")?,
            name: row.try_get("name")?,
            role: row.try_get("role")?,
            sha256: row.try_get("sha256")?,
            environment_ids: row.try_get("environment_ids")?,
            service_ids: row.try_get("service_ids")?,
            expires_at: row.try_get("expires_at")?,
            is_revoked: row.try_get("is_revoked")?,
            is_replaced: row.try_get("is_replaced")?,
        })
    })
    .collect::<Result<_, StoreError>>()?;
    Ok(Tenancy {
        organisations,
        projects,
        environments,
        services,
        tokens,
        freezes,
        now,
        names: names
            .into_iter()
            .map(|(kind, within, name, id)| ((kind, within, name), id))
            .collect(),
    })
}

/// The database's clock.
pub async fn load_now(conn: &mut PgConnection) -> Result<chrono::DateTime<chrono::Utc>, StoreError> {
    Ok(sqlx::query_scalar("SELECT clock_timestamp()")
        .fetch_one(conn)
        .await?)
}
