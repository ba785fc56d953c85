//! Organisations, projects, environments and services, as people manage them.
//!
//! What a credential does not see answers like what is not there: one look at the row, whoever asks, and then the same words.

use flamingock_domain::access::{Reach, UnitKind};
use serde_json::{Map, Value, json};
use sqlx::{PgConnection, PgPool};

use super::actor::{Action, Actor, Place};
use super::auth::{NameError, check_name};
use super::fault::Fault;
use super::retry;
use crate::store::units::{self, UnitFilter, UnitRow};
use crate::store::{self, StoreError, tenancy};

pub use crate::store::units::{Reachable, UnitFilter as Filter, UnitRow as Found};

/// Every message may be shown to the caller, but for the fault's.
#[derive(Debug, thiserror::Error)]
pub enum TenancyError {
    #[error("No {kind} {id} is within this token's reach.")]
    NotFound { kind: UnitKind, id: i64 },
    /// It is seen, and a change to it would concern what the credential does not reach.
    #[error(
        "This token sees {kind} {id} and may not change it, because it is restricted to a part of it. Use a token that reaches \
         all of it."
    )]
    NotWhole { kind: UnitKind, id: i64 },
    #[error(
        "This token may not create a {kind}: it is restricted to a part of what there is. Use a token without that restriction."
    )]
    NotForNew { kind: UnitKind },
    #[error(
        "This token may not rename {kind} {id}: whether a name is taken concerns everything beside it. {}",
        who_renames(*.kind)
    )]
    NotForName { kind: UnitKind, id: i64 },
    #[error("The field `name` is not usable: {0}.")]
    Name(#[from] NameError),
    #[error(
        "The name `{name}` is taken: another {kind} has it, or had it before and is still found by it. Choose another name, or \
         let the other one give up its former name (`releaseFormerNames`)."
    )]
    NameTaken { kind: UnitKind, name: String },
    #[error(
        "The {kind} `{name}` is archived: nothing is made in it. Take it back first, with `\"archived\": false`."
    )]
    Archived { kind: UnitKind, name: String },
    #[error("`{name}` is not a former name of {kind} {id}, so it cannot be released.")]
    NotFormer { kind: UnitKind, id: i64, name: String },
    #[error(transparent)]
    Fault(#[from] Fault),
}

fn who_renames(kind: UnitKind) -> &'static str {
    match kind {
        UnitKind::Organisation => "Only a root token renames an organisation.",
        UnitKind::Project => "Use a token of the whole organisation.",
        UnitKind::Environment => "Use a token that is not restricted to environments.",
        UnitKind::Service => "Use a token that is not restricted to services.",
    }
}

impl From<StoreError> for TenancyError {
    fn from(error: StoreError) -> Self {
        Self::Fault(error.into())
    }
}

/// What there shall be.
#[derive(Clone, Debug)]
pub struct NewUnit<'a> {
    pub kind: UnitKind,
    /// What it lies in; nothing for an organisation.
    pub parent: Option<i64>,
    pub name: &'a str,
    /// A project's `self_register_services`, an environment's `trust_absent_marks`.
    pub setting: Option<bool>,
    pub reason: Option<&'a str>,
}

/// What of something shall become different; `None`: as it is.
#[derive(Clone, Copy, Debug, Default)]
pub struct Change<'a> {
    pub name: Option<&'a str>,
    pub archived: Option<bool>,
    pub setting: Option<bool>,
    pub release_former_names: &'a [String],
    pub reason: Option<&'a str>,
}

#[derive(Clone)]
pub struct Tenancy {
    pool: PgPool,
}

impl Tenancy {
    pub(super) fn new(pool: PgPool) -> Self {
        Self { pool }
    }

    pub async fn view(&self, reach: &Reach, kind: UnitKind, id: i64) -> Result<UnitRow, TenancyError> {
        let mut conn = self.pool.acquire().await.map_err(Fault::from)?;
        seen(&mut conn, reach, kind, id).await
    }

    /// Those that lie in `parent`, by name.
    pub async fn list(
        &self,
        reach: &Reach,
        kind: UnitKind,
        parent: Option<i64>,
        filter: &UnitFilter,
        limit: i64,
    ) -> Result<Vec<UnitRow>, TenancyError> {
        let mut conn = self.pool.acquire().await.map_err(Fault::from)?;
        if let (Some(parent_kind), Some(parent)) = (parent_kind(kind), parent) {
            seen(&mut conn, reach, parent_kind, parent).await?;
        }
        Ok(units::list(&mut conn, reach, kind, parent.unwrap_or(0), filter, limit).await?)
    }

    /// What a credential reaches, as far as it fits.
    pub async fn reachable(
        &self,
        reach: &Reach,
        projects_max: i64,
        parts_max: i64,
    ) -> Result<Reachable, Fault> {
        let mut conn = self.pool.acquire().await?;
        Ok(units::load_reachable(&mut conn, reach, projects_max, parts_max).await?)
    }

    pub async fn create(
        &self,
        reach: &Reach,
        actor: &Actor,
        new: &NewUnit<'_>,
    ) -> Result<UnitRow, TenancyError> {
        check_name(new.name)?;
        // The refusal travels inside the result: it is an answer, not a fault to be retried.
        retry::on_contention("create", || self.try_create(reach, actor, new)).await?
    }

    async fn try_create(
        &self,
        reach: &Reach,
        actor: &Actor,
        new: &NewUnit<'_>,
    ) -> Result<Result<UnitRow, TenancyError>, Fault> {
        let mut tx = store::begin(&self.pool).await?;
        if let Err(refusal) = room_for(&mut tx, reach, new).await {
            return split(refusal);
        }
        let kind = new.kind;
        let id = match insert(&mut tx, new).await {
            Ok(id) => id,
            Err(error) if is_taken(&error) => {
                return Ok(Err(TenancyError::NameTaken {
                    kind,
                    name: new.name.to_owned(),
                }));
            }
            Err(error) => return Err(error.into()),
        };
        let made = loaded(&mut tx, kind, id).await?;
        actor
            .record(
                &mut tx,
                &Action {
                    action: created(kind),
                    place: place(kind, id),
                    target: new.name,
                    reason: new.reason,
                    before: None,
                    after: Some(described(&made)),
                },
            )
            .await?;
        tx.commit().await?;
        tracing::info!(kind = kind.as_str(), id, name = new.name, %actor, "created");
        Ok(Ok(made))
    }

    pub async fn update(
        &self,
        reach: &Reach,
        actor: &Actor,
        kind: UnitKind,
        id: i64,
        change: &Change<'_>,
    ) -> Result<UnitRow, TenancyError> {
        if let Some(name) = change.name {
            check_name(name)?;
        }
        retry::on_contention("update", || self.try_update(reach, actor, kind, id, change)).await?
    }

    async fn try_update(
        &self,
        reach: &Reach,
        actor: &Actor,
        kind: UnitKind,
        id: i64,
        change: &Change<'_>,
    ) -> Result<Result<UnitRow, TenancyError>, Fault> {
        let mut tx = store::begin(&self.pool).await?;
        // Judged first and held then, or anybody could make the owner of a row wait. What it lies in never changes.
        let found = match may_change(&mut tx, reach, kind, id).await {
            Ok(found) => found,
            Err(refusal) => return split(refusal),
        };
        if !may_be_named(reach, &found, change) {
            return Ok(Err(TenancyError::NotForName { kind, id }));
        }
        let Some(before) = units::lock(&mut tx, kind, id).await? else {
            return Ok(Err(TenancyError::NotFound { kind, id }));
        };
        // Its name may have become another meanwhile: then what asked for no new name asks for one now.
        if !may_be_named(reach, &before, change) {
            return Ok(Err(TenancyError::NotForName { kind, id }));
        }
        if let Err(refusal) = apply(&mut tx, &before, change, actor).await {
            return split(refusal);
        }
        let after = loaded(&mut tx, kind, id).await?;
        let (was, is) = difference(&described(&before), &described(&after));
        if is.is_empty() {
            // Asked for what is there already: nothing was done, so there is nothing to record.
            tx.rollback().await?;
            return Ok(Ok(after));
        }
        actor
            .record(
                &mut tx,
                &Action {
                    action: updated(kind),
                    place: place(kind, id),
                    target: &before.name,
                    reason: change.reason,
                    before: Some(Value::Object(was)),
                    after: Some(Value::Object(is.clone())),
                },
            )
            .await?;
        tx.commit().await?;
        let change = Value::Object(is);
        tracing::info!(kind = kind.as_str(), id, %change, %actor, "changed");
        Ok(Ok(after))
    }
}

/// A fault may be retried, any other refusal is the answer.
fn split<T>(refusal: TenancyError) -> Result<Result<T, TenancyError>, Fault> {
    match refusal {
        TenancyError::Fault(fault) => Err(fault),
        refusal => Ok(Err(refusal)),
    }
}

/// The row, if the credential sees it.
async fn seen(
    conn: &mut PgConnection,
    reach: &Reach,
    kind: UnitKind,
    id: i64,
) -> Result<UnitRow, TenancyError> {
    units::load(conn, kind, id)
        .await?
        .filter(|row| reach.sees(row.unit()))
        .ok_or(TenancyError::NotFound { kind, id })
}

fn may_be_named(reach: &Reach, row: &UnitRow, change: &Change<'_>) -> bool {
    change.name.is_none_or(|name| name == row.name) || reach.may_rename(row.unit())
}

async fn may_change(
    conn: &mut PgConnection,
    reach: &Reach,
    kind: UnitKind,
    id: i64,
) -> Result<UnitRow, TenancyError> {
    let found = seen(conn, reach, kind, id).await?;
    if reach.holds(found.unit()) {
        Ok(found)
    } else {
        Err(TenancyError::NotWhole { kind, id })
    }
}

async fn loaded(conn: &mut PgConnection, kind: UnitKind, id: i64) -> Result<UnitRow, StoreError> {
    units::load(conn, kind, id)
        .await?
        .ok_or_else(|| StoreError::Corrupt {
            table: "unit_names",
            detail: format!("{kind} {id} is gone, and nothing removes one"),
        })
}

/// Whether something new may be made there, by this credential.
async fn room_for(conn: &mut PgConnection, reach: &Reach, new: &NewUnit<'_>) -> Result<(), TenancyError> {
    let (Some(parent_kind), Some(parent)) = (parent_kind(new.kind), new.parent) else {
        // An organisation. That only root makes one is the edge's to see to; here nothing restricted passes.
        return if *reach == Reach::everything() {
            Ok(())
        } else {
            Err(TenancyError::NotForNew { kind: new.kind })
        };
    };
    let parent = seen(conn, reach, parent_kind, parent).await?;
    let holds = match new.kind {
        UnitKind::Environment => reach.holds_new_environments(parent.id, parent.organisation_id),
        UnitKind::Service => reach.holds_new_services(parent.id, parent.organisation_id),
        UnitKind::Organisation | UnitKind::Project => reach.holds(parent.unit()),
    };
    if !holds {
        return Err(TenancyError::NotForNew { kind: new.kind });
    }
    if parent.archived_at.is_some() {
        return Err(TenancyError::Archived {
            kind: parent_kind,
            name: parent.name,
        });
    }
    Ok(())
}

async fn insert(conn: &mut PgConnection, new: &NewUnit<'_>) -> Result<i64, StoreError> {
    let parent = new.parent.unwrap_or_default();
    let setting = new.setting.unwrap_or(false);
    match new.kind {
        UnitKind::Organisation => tenancy::insert_organisation(conn, new.name).await,
        UnitKind::Project => tenancy::insert_project(conn, parent, new.name, setting).await,
        UnitKind::Environment => tenancy::insert_environment(conn, parent, new.name, setting).await,
        UnitKind::Service => tenancy::insert_new_service(conn, parent, new.name).await,
    }
}

async fn apply(
    conn: &mut PgConnection,
    before: &UnitRow,
    change: &Change<'_>,
    actor: &Actor,
) -> Result<(), TenancyError> {
    let (kind, id) = (before.kind, before.id);
    for name in change.release_former_names {
        // What cannot be a name never was one, and the database cannot even be asked for some of it.
        if check_name(name).is_err() || !units::delete_former_name(conn, before, name).await? {
            return Err(TenancyError::NotFormer {
                kind,
                id,
                name: name.clone(),
            });
        }
    }
    if let Some(name) = change.name
        && name != before.name
    {
        units::update_name(conn, kind, id, name).await.map_err(|error| {
            if is_taken(&error) {
                TenancyError::NameTaken {
                    kind,
                    name: name.to_owned(),
                }
            } else {
                error.into()
            }
        })?;
    }
    if let Some(archived) = change.archived {
        units::update_archived(conn, kind, id, archived).await?;
    }
    match (kind, change.setting) {
        (UnitKind::Project, Some(setting)) => tenancy::update_project(conn, id, setting).await?,
        (UnitKind::Environment, Some(setting)) => {
            tenancy::update_environment(conn, id, setting, &actor.to_string()).await?;
        }
        _ => {}
    }
    Ok(())
}

fn is_taken(error: &StoreError) -> bool {
    [
        tenancy::NAME_TAKEN,
        "organisations_name_key",
        "projects_organisation_id_name_key",
        "environments_project_id_name_key",
        "services_project_id_name_key",
    ]
    .iter()
    .any(|constraint| error.is_constraint(constraint))
}

pub fn parent_kind(kind: UnitKind) -> Option<UnitKind> {
    match kind {
        UnitKind::Organisation => None,
        UnitKind::Project => Some(UnitKind::Organisation),
        UnitKind::Environment | UnitKind::Service => Some(UnitKind::Project),
    }
}

/// Where an action on it belongs.
pub(super) fn place(kind: UnitKind, id: i64) -> Place {
    match kind {
        UnitKind::Organisation => Place::Organisation(id),
        UnitKind::Project => Place::Project(id),
        UnitKind::Environment => Place::Environment(id),
        UnitKind::Service => Place::Service(id),
    }
}

pub(super) fn created(kind: UnitKind) -> &'static str {
    match kind {
        UnitKind::Organisation => "organisation_create",
        UnitKind::Project => "project_create",
        UnitKind::Environment => "environment_create",
        UnitKind::Service => "service_create",
    }
}

pub(super) fn updated(kind: UnitKind) -> &'static str {
    match kind {
        UnitKind::Organisation => "organisation_update",
        UnitKind::Project => "project_update",
        UnitKind::Environment => "environment_update",
        UnitKind::Service => "service_update",
    }
}

/// As the log of actions has it, under the names of the wire.
fn described(row: &UnitRow) -> Value {
    let mut value = json!({
        "name": row.name, "archived": row.archived_at.is_some(), "formerNames": row.former_names,
    });
    let setting = match row.kind {
        UnitKind::Project => Some("selfRegisterServices"),
        UnitKind::Environment => Some("trustAbsentMarks"),
        UnitKind::Organisation | UnitKind::Service => None,
    };
    if let (Some(name), Some(setting)) = (setting, row.setting) {
        value[name] = json!(setting);
    }
    value
}

/// The fields that differ, as they were and as they are.
fn difference(before: &Value, after: &Value) -> (Map<String, Value>, Map<String, Value>) {
    let (mut was, mut is) = (Map::new(), Map::new());
    for (field, value) in after.as_object().into_iter().flatten() {
        if before[field] != *value {
            was.insert(field.clone(), before[field].clone());
            is.insert(field.clone(), value.clone());
        }
    }
    (was, is)
}
