//! Freeze windows: times in which no work is granted.

use chrono::{DateTime, Utc};
use serde_json::{Value, json};
use sqlx::PgPool;

use super::actor::{Action, Actor, Place};
use super::fault::Fault;
use crate::store::freezes::{self, NewFreeze};
use crate::store::{self, StoreError};

pub use crate::store::freezes::FreezeRow;

/// What an operator asks for.
#[derive(Clone, Debug)]
pub struct Wanted {
    pub environment_id: i64,
    /// `None`: all services.
    pub service_ids: Option<Vec<i64>>,
    /// `None`: now.
    pub starts_at: Option<DateTime<Utc>>,
    /// `None`: until a person ends it.
    pub ends_at: Option<DateTime<Utc>>,
    pub reason: String,
}

#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error("it would end before it starts")]
    EndsBeforeStart,
    #[error(transparent)]
    Fault(#[from] Fault),
}

#[derive(Clone)]
pub struct Freezes {
    pool: PgPool,
}

impl Freezes {
    pub(super) fn new(pool: PgPool) -> Self {
        Self { pool }
    }

    /// Newest first; `before` is the last id of the page before. With `services`, only those that concern one of them.
    pub async fn list(
        &self,
        environment_id: i64,
        services: Option<&[i64]>,
        active: Option<bool>,
        before: Option<i64>,
        limit: i64,
    ) -> Result<Vec<FreezeRow>, Fault> {
        let mut conn = self.pool.acquire().await?;
        Ok(freezes::list(&mut conn, environment_id, services, active, before, limit).await?)
    }

    /// One, by its id alone: whether the caller may see its environment is for the caller's gate to say.
    pub async fn find(&self, id: i64) -> Result<Option<FreezeRow>, Fault> {
        let mut conn = self.pool.acquire().await?;
        Ok(freezes::load(&mut conn, id).await?)
    }

    /// Sets a window, or finds the one that the very same call has set: then its answer was lost, and true is told.
    pub async fn start(&self, actor: &Actor, wanted: &Wanted) -> Result<(FreezeRow, bool), StartError> {
        let mut tx = store::begin(&self.pool).await.map_err(Fault::from)?;
        let who = actor.to_string();
        let new = NewFreeze {
            environment_id: wanted.environment_id,
            service_ids: wanted.service_ids.as_deref(),
            starts_at: wanted.starts_at,
            ends_at: wanted.ends_at,
            reason: &wanted.reason,
            created_by: &who,
        };
        freezes::lock_environment(&mut tx, wanted.environment_id)
            .await
            .map_err(Fault::from)?;
        if let Some(id) = freezes::load_same(&mut tx, &new).await.map_err(Fault::from)? {
            let row = freezes::load(&mut tx, id).await.map_err(Fault::from)?;
            return Ok((row.ok_or_else(|| Fault::from(vanished()))?, true));
        }
        let made = freezes::insert(&mut tx, &new).await;
        let id = match made {
            Err(error) if error.is_constraint("freeze_windows_ends_at_check") => {
                return Err(StartError::EndsBeforeStart);
            }
            made => made.map_err(Fault::from)?,
        };
        let row = freezes::load(&mut tx, id).await.map_err(Fault::from)?;
        let row = row.ok_or_else(|| Fault::from(vanished()))?;
        let action = Action {
            action: "freeze_start",
            place: Place::Environment(wanted.environment_id),
            target: &id.to_string(),
            reason: Some(&wanted.reason),
            before: None,
            after: Some(recorded(&row)),
        };
        actor.record(&mut tx, &action).await.map_err(Fault::from)?;
        tx.commit().await.map_err(Fault::from)?;
        tracing::info!(freeze.id = id, environment.id = wanted.environment_id, %actor, "a freeze was set");
        Ok((row, false))
    }

    /// Ends one before its time. One that is over already stays as it is, and is given as it is: whoever ends it a second
    /// time has what they want.
    pub async fn end(&self, actor: &Actor, freeze: &FreezeRow, reason: &str) -> Result<FreezeRow, Fault> {
        let mut tx = store::begin(&self.pool).await?;
        let who = actor.to_string();
        let ended = freezes::update_ended(&mut tx, freeze.environment_id, freeze.id, &who, reason).await?;
        let row = freezes::load(&mut tx, freeze.id).await?.ok_or_else(vanished)?;
        if ended {
            let action = Action {
                action: "freeze_end",
                place: Place::Environment(freeze.environment_id),
                target: &freeze.id.to_string(),
                reason: Some(reason),
                before: Some(recorded(freeze)),
                after: Some(recorded(&row)),
            };
            actor.record(&mut tx, &action).await?;
            tracing::info!(freeze.id = freeze.id, environment.id = freeze.environment_id, %actor, "a freeze was ended");
        }
        tx.commit().await?;
        Ok(row)
    }
}

pub(super) fn recorded(row: &FreezeRow) -> Value {
    json!({
        "serviceIds": row.service_ids,
        "startsAt": row.starts_at,
        "endsAt": row.ends_at,
        "endedAt": row.ended_at,
    })
}

fn vanished() -> StoreError {
    StoreError::Corrupt {
        table: "freeze_windows",
        detail: "a window has vanished".to_owned(),
    }
}
