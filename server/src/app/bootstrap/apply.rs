//! Doing what was planned: all of it, or nothing.

use std::collections::HashMap;

use flamingock_domain::access::UnitKind;
use serde_json::{Value, json};
use sqlx::{PgConnection, PgPool};

use super::BootstrapError;
use super::declaration::{Declaration, Owner};
use super::plan::{Plan, plan};
use super::rules;
use super::step::{BootstrapStep, TokenStep};
use crate::app::Fault;
use crate::app::actor::{Action, Actor};
use crate::app::tenancy::{created, place, updated};
use crate::app::tokens::{described, place as place_of_token};
use crate::store::tokens::NewToken;
use crate::store::{self, StoreError, tenancy, tokens, units};

/// Who does it.
fn bootstrap() -> Actor {
    Actor::server("bootstrap")
}

/// What would be done now.
pub async fn preview(pool: &PgPool, declaration: &Declaration) -> Result<Plan, BootstrapError> {
    let mut conn = pool.acquire().await.map_err(Fault::from)?;
    let current = tenancy::load_all(&mut conn, &bootstrap().to_string())
        .await
        .map_err(Fault::from)?;
    plan(declaration, &current)
}

/// Makes it so. Replicas that start together do it one after the other, and the second finds nothing to do.
pub async fn apply(pool: &PgPool, declaration: &Declaration) -> Result<Plan, BootstrapError> {
    let mut tx = store::begin(pool).await.map_err(Fault::from)?;
    tenancy::lock_all(&mut tx).await.map_err(Fault::from)?;
    let current = tenancy::load_all(&mut tx, &bootstrap().to_string())
        .await
        .map_err(Fault::from)?;
    let done = plan(declaration, &current)?;
    let mut known = Known {
        names: current.names,
        actor: bootstrap(),
    };
    for step in &done.steps {
        known.apply(&mut tx, step).await.map_err(Fault::from)?;
    }
    tx.commit().await.map_err(Fault::from)?;
    for step in &done.steps {
        tracing::info!(step = %step, "bootstrap");
    }
    for note in done.notes.iter().filter(|note| note.is_warning()) {
        tracing::warn!(note = %note, "bootstrap");
    }
    Ok(done)
}

/// Ids by names, those just made among them, and who is recorded as having made them.
struct Known {
    names: HashMap<(String, i64, String), i64>,
    actor: Actor,
}

impl Known {
    async fn apply(&mut self, conn: &mut PgConnection, step: &BootstrapStep) -> Result<(), StoreError> {
        match step {
            BootstrapStep::CreateOrganisation { name } => {
                let id = tenancy::insert_organisation(conn, name).await?;
                self.made(conn, UnitKind::Organisation, 0, name, id, json!({}))
                    .await
            }
            BootstrapStep::CreateProject {
                organisation,
                name,
                self_register_services,
            } => {
                let within = self.organisation(organisation)?;
                let id = tenancy::insert_project(conn, within, name, *self_register_services).await?;
                let more = json!({"selfRegisterServices": self_register_services});
                self.made(conn, UnitKind::Project, within, name, id, more).await
            }
            BootstrapStep::UpdateProject {
                id,
                name,
                self_register_services,
                ..
            } => {
                tenancy::update_project(conn, *id, *self_register_services).await?;
                let setting = ("selfRegisterServices", *self_register_services);
                self.changed(conn, UnitKind::Project, *id, name, setting).await
            }
            BootstrapStep::CreateEnvironment {
                organisation,
                project,
                name,
                trust_absent_marks,
            } => {
                let within = self.project(organisation, project)?;
                let id = tenancy::insert_environment(conn, within, name, *trust_absent_marks).await?;
                let more = json!({"trustAbsentMarks": trust_absent_marks});
                self.made(conn, UnitKind::Environment, within, name, id, more)
                    .await
            }
            BootstrapStep::UpdateEnvironment {
                id,
                name,
                trust_absent_marks,
                ..
            } => {
                let by = self.actor.to_string();
                tenancy::update_environment(conn, *id, *trust_absent_marks, &by).await?;
                let setting = ("trustAbsentMarks", *trust_absent_marks);
                self.changed(conn, UnitKind::Environment, *id, name, setting)
                    .await
            }
            BootstrapStep::SetPolicy {
                organisation,
                project,
                environment,
                policy,
            } => {
                let within = self.project(organisation, project)?;
                let id = self.id(UnitKind::Environment, within, environment)?;
                rules::set_policy(conn, &self.actor, id, *policy).await
            }
            BootstrapStep::StartFreeze(step) => {
                let within = self.project(&step.organisation, &step.project)?;
                let id = self.id(UnitKind::Environment, within, &step.environment)?;
                let services = step
                    .services
                    .iter()
                    .flatten()
                    .map(|name| self.id(UnitKind::Service, within, name))
                    .collect::<Result<Vec<_>, _>>()?;
                let services = step.services.is_some().then_some(services);
                rules::start_freeze(conn, &self.actor, id, services.as_deref(), step).await
            }
            BootstrapStep::CreateService {
                organisation,
                project,
                name,
            } => {
                let within = self.project(organisation, project)?;
                // It may have registered itself since it was planned.
                let (id, _) = tenancy::insert_service(conn, within, name).await?;
                self.made(conn, UnitKind::Service, within, name, id, json!({}))
                    .await
            }
            BootstrapStep::Archive {
                kind,
                id,
                path,
                archived,
            } => {
                units::update_archived(conn, *kind, *id, *archived).await?;
                self.changed(conn, *kind, *id, path, ("archived", *archived))
                    .await
            }
            BootstrapStep::CreateToken(token) => {
                let id = tokens::insert(conn, &self.new_token(token)?).await?;
                self.token(conn, "token_create", id, token, None).await
            }
            BootstrapStep::RotateToken { old_id, new } => {
                // First: a name is unique among the living.
                tokens::revoke(conn, *old_id).await?;
                let id = tokens::insert(conn, &self.new_token(new)?).await?;
                self.token(conn, "token_rotate", id, new, Some(json!({"tokenId": old_id})))
                    .await
            }
            BootstrapStep::UpdateToken { id, terms } => {
                let token = self.new_token(terms)?;
                let before = tokens::load(conn, *id).await?;
                tokens::update_terms(
                    conn,
                    *id,
                    token.environment_ids.as_deref(),
                    token.service_ids.as_deref(),
                    token.expires_at,
                )
                .await?;
                self.token(conn, "token_update", *id, terms, before.as_ref().map(described))
                    .await
            }
        }
    }

    /// Something new: it is known from here on, and recorded.
    async fn made(
        &mut self,
        conn: &mut PgConnection,
        kind: UnitKind,
        within: i64,
        name: &str,
        id: i64,
        more: Value,
    ) -> Result<(), StoreError> {
        self.names
            .insert((kind.as_str().to_owned(), within, name.to_owned()), id);
        let mut after = more;
        after["name"] = json!(name);
        let action = Action {
            action: created(kind),
            place: place(kind, id),
            target: name,
            reason: None,
            before: None,
            after: Some(after),
        };
        self.actor.record(conn, &action).await
    }

    /// A flag, which is the other way round now.
    async fn changed(
        &self,
        conn: &mut PgConnection,
        kind: UnitKind,
        id: i64,
        target: &str,
        (flag, value): (&str, bool),
    ) -> Result<(), StoreError> {
        let action = Action {
            action: updated(kind),
            place: place(kind, id),
            target,
            reason: None,
            before: Some(json!({flag: !value})),
            after: Some(json!({flag: value})),
        };
        self.actor.record(conn, &action).await
    }

    async fn token(
        &self,
        conn: &mut PgConnection,
        action: &'static str,
        id: i64,
        token: &TokenStep,
        before: Option<Value>,
    ) -> Result<(), StoreError> {
        let now = tokens::load(conn, id).await?;
        let action = Action {
            action,
            place: place_of_token(
                now.as_ref().and_then(|token| token.organisation_id),
                now.as_ref().and_then(|token| token.project_id),
            ),
            target: &token.name,
            reason: None,
            before,
            after: now.as_ref().map(described),
        };
        self.actor.record(conn, &action).await
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
        let ids = |kind: UnitKind, names: &Option<Vec<String>>| {
            let (Some(names), Some(project)) = (names, project_id) else {
                return Ok(None);
            };
            names
                .iter()
                .map(|name| self.id(kind, project, name))
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
            environment_ids: ids(UnitKind::Environment, &token.environments)?,
            service_ids: ids(UnitKind::Service, &token.services)?,
            expires_at: token.expires_at,
        })
    }

    fn organisation(&self, name: &str) -> Result<i64, StoreError> {
        self.id(UnitKind::Organisation, 0, name)
    }

    fn project(&self, organisation: &str, name: &str) -> Result<i64, StoreError> {
        self.id(UnitKind::Project, self.organisation(organisation)?, name)
    }

    fn id(&self, kind: UnitKind, within: i64, name: &str) -> Result<i64, StoreError> {
        self.names
            .get(&(kind.as_str().to_owned(), within, name.to_owned()))
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
