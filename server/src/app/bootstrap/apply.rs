//! Doing what was planned: all of it, or nothing.

use std::collections::HashMap;

use sqlx::{PgConnection, PgPool};

use super::BootstrapError;
use super::declaration::{Declaration, Owner};
use super::plan::{BootstrapStep, TokenStep, plan};
use crate::app::Fault;
use crate::store::tenancy::Tenancy;
use crate::store::tokens::NewToken;
use crate::store::{self, StoreError, tenancy, tokens};

/// What would be done now.
pub async fn preview(pool: &PgPool, declaration: &Declaration) -> Result<Vec<BootstrapStep>, BootstrapError> {
    let mut conn = pool.acquire().await.map_err(Fault::from)?;
    let current = tenancy::load_all(&mut conn).await.map_err(Fault::from)?;
    plan(declaration, &current)
}

/// Makes it so. Replicas that start together do it one after the other, and the second finds nothing to do.
pub async fn apply(pool: &PgPool, declaration: &Declaration) -> Result<Vec<BootstrapStep>, BootstrapError> {
    let mut tx = store::begin(pool).await.map_err(Fault::from)?;
    tenancy::lock_all(&mut tx).await.map_err(Fault::from)?;
    let current = tenancy::load_all(&mut tx).await.map_err(Fault::from)?;
    let steps = plan(declaration, &current)?;
    let mut known = Known::new(&current);
    for step in &steps {
        known.apply(&mut tx, step).await.map_err(Fault::from)?;
    }
    tx.commit().await.map_err(Fault::from)?;
    for step in &steps {
        tracing::info!(step = %step, "bootstrap");
    }
    Ok(steps)
}

/// Ids by names, those just made among them.
struct Known {
    organisations: HashMap<String, i64>,
    projects: HashMap<(i64, String), i64>,
    environments: HashMap<(i64, String), i64>,
    services: HashMap<(i64, String), i64>,
}

impl Known {
    fn new(current: &Tenancy) -> Self {
        let Tenancy {
            organisations,
            projects,
            environments,
            services,
            ..
        } = current.clone();
        Self {
            organisations: organisations.into_iter().map(|(id, name)| (name, id)).collect(),
            projects: projects
                .into_iter()
                .map(|row| ((row.organisation_id, row.name), row.id))
                .collect(),
            environments: environments
                .into_iter()
                .map(|row| ((row.project_id, row.name), row.id))
                .collect(),
            services: services
                .into_iter()
                .map(|row| ((row.project_id, row.name), row.id))
                .collect(),
        }
    }

    async fn apply(&mut self, conn: &mut PgConnection, step: &BootstrapStep) -> Result<(), StoreError> {
        match step {
            BootstrapStep::CreateOrganisation { name } => {
                let id = tenancy::insert_organisation(conn, name).await?;
                self.organisations.insert(name.clone(), id);
            }
            BootstrapStep::CreateProject {
                organisation,
                name,
                self_register_services,
            } => {
                let organisation = self.organisation(organisation)?;
                let id = tenancy::insert_project(conn, organisation, name, *self_register_services).await?;
                self.projects.insert((organisation, name.clone()), id);
            }
            BootstrapStep::UpdateProject {
                id,
                self_register_services,
                ..
            } => {
                tenancy::update_project(conn, *id, *self_register_services).await?;
            }
            BootstrapStep::CreateEnvironment {
                organisation,
                project,
                name,
                trust_absent_marks,
            } => {
                let project = self.project(organisation, project)?;
                let id = tenancy::insert_environment(conn, project, name, *trust_absent_marks).await?;
                self.environments.insert((project, name.clone()), id);
            }
            BootstrapStep::UpdateEnvironment {
                id,
                trust_absent_marks,
                ..
            } => {
                tenancy::update_environment(conn, *id, *trust_absent_marks).await?;
            }
            BootstrapStep::CreateService {
                organisation,
                project,
                name,
            } => {
                let project = self.project(organisation, project)?;
                // It may have registered itself since it was planned.
                let (id, _) = tenancy::insert_service(conn, project, name).await?;
                self.services.insert((project, name.clone()), id);
            }
            BootstrapStep::CreateToken(token) => {
                tokens::insert(conn, &self.new_token(token)?).await?;
            }
            BootstrapStep::RotateToken { old_id, new } => {
                // First: a name is unique among the living.
                tokens::revoke(conn, *old_id).await?;
                tokens::insert(conn, &self.new_token(new)?).await?;
            }
            BootstrapStep::UpdateToken { id, terms } => {
                let token = self.new_token(terms)?;
                tokens::update_terms(
                    conn,
                    *id,
                    token.environment_ids.as_deref(),
                    token.service_ids.as_deref(),
                    token.expires_at,
                )
                .await?;
            }
        }
        Ok(())
    }

    fn new_token<'a>(&self, token: &'a TokenStep) -> Result<NewToken<'a>, StoreError> {
        let (organisation_id, project_id) = match &token.owner {
            Owner::Server => (None, None),
            Owner::Organisation(organisation) => (Some(self.organisation(organisation)?), None),
            Owner::Project(organisation, project) => (
                Some(self.organisation(organisation)?),
                Some(self.project(organisation, project)?),
            ),
        };
        let ids = |names: &Option<Vec<String>>, known: &HashMap<(i64, String), i64>| {
            let (Some(names), Some(project)) = (names, project_id) else {
                return Ok(None);
            };
            names
                .iter()
                .map(|name| {
                    known
                        .get(&(project, name.clone()))
                        .copied()
                        .ok_or_else(|| unknown(name))
                })
                .collect::<Result<Vec<_>, _>>()
                .map(Some)
        };
        Ok(NewToken {
            organisation_id,
            project_id,
            name: &token.name,
            role: token.role.as_str(),
            sha256: token.sha256,
            hint: &token.hint,
            environment_ids: ids(&token.environments, &self.environments)?,
            service_ids: ids(&token.services, &self.services)?,
            expires_at: token.expires_at,
        })
    }

    fn organisation(&self, name: &str) -> Result<i64, StoreError> {
        self.organisations.get(name).copied().ok_or_else(|| unknown(name))
    }

    fn project(&self, organisation: &str, name: &str) -> Result<i64, StoreError> {
        let organisation = self.organisation(organisation)?;
        self.projects
            .get(&(organisation, name.to_owned()))
            .copied()
            .ok_or_else(|| unknown(name))
    }
}

/// The plan makes or finds everything before it is used: this is a bug of ours.
fn unknown(name: &str) -> StoreError {
    StoreError::Corrupt {
        table: "projects",
        detail: format!("`{name}` is used before it is made"),
    }
}
