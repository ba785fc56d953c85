//! API tokens, as people manage them: made, listed, rotated with an overlap, revoked.
//!
//! Nobody makes or renews a token that may do more than their own. The value leaves here once, with the call that made it.

use std::time::Duration;

use chrono::{DateTime, SubsecRound as _, Utc};
use flamingock_domain::access::{Excess, Reach, UnitKind, may_hand_on, may_live_until};
use serde_json::{Value, json};
use sqlx::{PgConnection, PgPool};

use super::actor::{Action, Actor, Place};
use super::auth::{ApiToken, NameError, Role, check_name};
use super::fault::Fault;
use super::retry;
use crate::store::tokens::{self, NewToken, TokenFilter, TokenSummary};
use crate::store::units::{self, UnitRow};
use crate::store::{self, StoreError, tenancy};

pub use crate::store::tokens::{TokenFilter as Filter, TokenSummary as Summary};

/// Every message may be shown to the caller, but for the fault's.
#[derive(Debug, thiserror::Error)]
pub enum TokenError {
    #[error("No token {id} is within this token's reach.")]
    NotFound { id: i64 },
    #[error("No {kind} {id} is within this token's reach.")]
    UnitNotFound { kind: UnitKind, id: i64 },
    #[error(
        "The {kind} `{name}` is archived: no token is made for it. Take it back first, with `\"archived\": false`."
    )]
    Archived { kind: UnitKind, name: String },
    #[error("{}", excess(*.0))]
    Beyond(Excess),
    #[error("The field `name` is not usable: {0}.")]
    Name(#[from] NameError),
    #[error("{0}")]
    Terms(&'static str),
    #[error(
        "The name `{name}` is taken by another token of the same owner that was not revoked. Rotate that one for a new value, \
         revoke it, or choose another name."
    )]
    NameTaken { name: String },
    #[error("Token {id} {}", ended(.how))]
    Ended { id: i64, how: Ended },
    #[error(
        "Token {id} is the last root token that opens anything: without it nobody could administer this server. Make another \
         one first."
    )]
    LastRoot { id: i64 },
    #[error(transparent)]
    Fault(#[from] Fault),
}

/// Why a token cannot be rotated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    Revoked,
    Expired,
    ReplacedBy(i64),
}

fn ended(how: &Ended) -> String {
    match how {
        Ended::Revoked => "was revoked, and what is revoked stays so. Create a new one.".to_owned(),
        Ended::Expired => "has expired. Create a new one.".to_owned(),
        Ended::ReplacedBy(id) => format!("was replaced by token {id} already. Rotate that one."),
    }
}

fn excess(excess: Excess) -> &'static str {
    match excess {
        Excess::Role => {
            "This token may not hand on that role: an admin makes every role but root, and only root makes root."
        }
        Excess::Organisation => {
            "The token would reach further than this one: it is for another organisation, or for all."
        }
        Excess::Project => {
            "The token would reach further than this one, which is for one project: ask for one of that project."
        }
        Excess::Environments => {
            "The token would reach further than this one, which is restricted to environments: name some of those."
        }
        Excess::Services => {
            "The token would reach further than this one, which is restricted to services: name some of those."
        }
        Excess::Lifetime => {
            "The token would live longer than this one, which has an end: `expiresAt` must be that end, or before it."
        }
    }
}

impl From<StoreError> for TokenError {
    fn from(error: StoreError) -> Self {
        Self::Fault(error.into())
    }
}

/// A token as it is asked for.
#[derive(Clone, Debug)]
pub struct Wish<'a> {
    pub name: &'a str,
    pub role: Role,
    /// `None`: a root token.
    pub organisation_id: Option<i64>,
    pub project_id: Option<i64>,
    pub environment_ids: Option<Vec<i64>>,
    pub service_ids: Option<Vec<i64>>,
    pub expires_at: Option<DateTime<Utc>>,
    pub reason: Option<&'a str>,
}

impl Wish<'_> {
    fn reach(&self) -> Reach {
        Reach {
            organisation: self.organisation_id,
            project: self.project_id,
            environments: self.environment_ids.clone(),
            services: self.service_ids.clone(),
        }
    }

    /// As the database keeps it.
    fn expires_at(&self) -> Option<DateTime<Utc>> {
        self.expires_at.map(|at| at.trunc_subsecs(6))
    }

    /// What the database would refuse, in words.
    fn check(&self, now: DateTime<Utc>) -> Result<(), TokenError> {
        let refuse = |words| Err(TokenError::Terms(words));
        if (self.role == Role::Root) != self.organisation_id.is_none() {
            return refuse(
                "The field `role` does not fit: a root token is made for the server (`POST /api/v1/admin/token`), every other \
                 one for an organisation.",
            );
        }
        if self.role == Role::Runner && self.project_id.is_none() {
            return refuse("The field `projectId` is missing: a runner's token is for one project.");
        }
        if self.project_id.is_none() && (self.environment_ids.is_some() || self.service_ids.is_some()) {
            return refuse(
                "The field `projectId` is missing: only a token of a project is restricted to parts of it.",
            );
        }
        let is_empty = |list: &Option<Vec<i64>>| list.as_ref().is_some_and(Vec::is_empty);
        if is_empty(&self.environment_ids) || is_empty(&self.service_ids) {
            return refuse(
                "The fields `environmentIds` and `serviceIds` must not be empty lists, which would allow nothing. Leave them \
                 out to allow all.",
            );
        }
        if self.expires_at.is_some_and(|at| at <= now) {
            return refuse("The field `expiresAt` is in the past.");
        }
        Ok(())
    }
}

/// Somebody who manages tokens.
#[derive(Clone, Copy, Debug)]
pub struct Manager<'a> {
    pub role: Role,
    pub reach: &'a Reach,
    pub actor: &'a Actor,
}

impl Manager<'_> {
    /// What it does not see answers like what is not there.
    fn sees(&self, token: &TokenSummary) -> bool {
        self.reach.contains(&reach_of(token))
    }

    fn may_hand_on(&self, role: Role, reach: &Reach) -> Result<(), TokenError> {
        may_hand_on(self.role, self.reach, role, reach).map_err(TokenError::Beyond)
    }

    /// A credential that ends makes none that lives on: whoever keeps the one of an hour would keep what it opens.
    async fn may_make_until(
        &self,
        conn: &mut PgConnection,
        end: Option<DateTime<Utc>>,
    ) -> Result<(), TokenError> {
        let own = match self.actor.credential_id {
            Some(id) => loaded(conn, id).await?.expires_at,
            None => None,
        };
        may_live_until(own, end).map_err(TokenError::Beyond)
    }

    async fn look(&self, conn: &mut PgConnection, id: i64) -> Result<TokenSummary, TokenError> {
        tokens::load(conn, id)
            .await?
            .filter(|token| self.sees(token))
            .ok_or(TokenError::NotFound { id })
    }

    /// Whether it may end or renew one, which is not held: nobody makes others wait for what they may do nothing about. What a
    /// token may and where never changes, so this needs no second look once it is held.
    async fn may_touch(&self, conn: &mut PgConnection, id: i64) -> Result<(), TokenError> {
        let token = self.look(conn, id).await?;
        self.may_hand_on(role_of(&token)?, &reach_of(&token))
    }
}

/// A token that was just made, and the one time that its value is seen.
#[derive(Debug)]
pub struct Made {
    pub token: TokenSummary,
    pub value: ApiToken,
}

#[derive(Debug)]
pub struct Rotated {
    pub made: Made,
    pub replaced: TokenSummary,
}

#[derive(Clone)]
pub struct Tokens {
    pool: PgPool,
}

impl Tokens {
    pub(super) fn new(pool: PgPool) -> Self {
        Self { pool }
    }

    /// One that a manager sees.
    pub async fn view(&self, manager: Manager<'_>, id: i64) -> Result<TokenSummary, TokenError> {
        let mut conn = self.pool.acquire().await.map_err(Fault::from)?;
        manager.look(&mut conn, id).await
    }

    /// The credential that asks.
    pub async fn own(&self, id: i64) -> Result<Option<TokenSummary>, Fault> {
        let mut conn = self.pool.acquire().await?;
        Ok(tokens::load(&mut conn, id).await?)
    }

    /// Those of an organisation (`None`: of the server), newest first, ended ones among them.
    pub async fn list(
        &self,
        manager: Manager<'_>,
        organisation_id: Option<i64>,
        filter: &TokenFilter,
        limit: i64,
    ) -> Result<Vec<TokenSummary>, TokenError> {
        let mut conn = self.pool.acquire().await.map_err(Fault::from)?;
        if let Some(id) = organisation_id {
            seen(&mut conn, manager.reach, UnitKind::Organisation, id).await?;
        }
        Ok(tokens::list(&mut conn, organisation_id, manager.reach, filter, limit).await?)
    }

    pub async fn create(&self, manager: Manager<'_>, wish: &Wish<'_>) -> Result<Made, TokenError> {
        check_name(wish.name)?;
        retry::on_contention("token create", || self.try_create(manager, wish)).await?
    }

    async fn try_create(
        &self,
        manager: Manager<'_>,
        wish: &Wish<'_>,
    ) -> Result<Result<Made, TokenError>, Fault> {
        let mut tx = store::begin(&self.pool).await?;
        if let Err(refusal) = admissible(&mut tx, manager, wish).await {
            return split(refusal);
        }
        let value = ApiToken::generate();
        let new = NewToken {
            organisation_id: wish.organisation_id,
            project_id: wish.project_id,
            name: wish.name,
            role: wish.role.as_str(),
            sha256: value.sha256(),
            hint: value.hint(),
            environment_ids: wish.environment_ids.clone(),
            service_ids: wish.service_ids.clone(),
            expires_at: wish.expires_at(),
        };
        let id = match tokens::insert(&mut tx, &new).await {
            Ok(id) => id,
            Err(error) if error.is_constraint(NAME_TAKEN) => {
                return Ok(Err(TokenError::NameTaken {
                    name: wish.name.to_owned(),
                }));
            }
            Err(error) => return Err(error.into()),
        };
        let token = loaded(&mut tx, id).await?;
        record(
            &mut tx,
            manager.actor,
            "token_create",
            &token,
            wish.reason,
            None,
            Some(described(&token)),
        )
        .await?;
        tx.commit().await?;
        tracing::info!(token.id = id, name = wish.name, role = %wish.role, actor = %manager.actor, "a token was made");
        Ok(Ok(Made { token, value }))
    }

    /// A new value under the same name and terms. The old one works on for `overlap`, or is revoked at once.
    pub async fn rotate(
        &self,
        manager: Manager<'_>,
        id: i64,
        overlap: Duration,
        reason: Option<&str>,
    ) -> Result<Rotated, TokenError> {
        retry::on_contention("token rotate", || self.try_rotate(manager, id, overlap, reason)).await?
    }

    async fn try_rotate(
        &self,
        manager: Manager<'_>,
        id: i64,
        overlap: Duration,
        reason: Option<&str>,
    ) -> Result<Result<Rotated, TokenError>, Fault> {
        let mut tx = store::begin(&self.pool).await?;
        if let Err(refusal) = manager.may_touch(&mut tx, id).await {
            return split(refusal);
        }
        let old = match tokens::lock(&mut tx, id).await? {
            Some(token) if manager.sees(&token) => token,
            _ => return Ok(Err(TokenError::NotFound { id })),
        };
        if let Err(refusal) = manager.may_make_until(&mut tx, old.expires_at).await {
            return split(refusal);
        }
        let how = match (old.revoked_at, old.replaced_by, old.is_expired) {
            (Some(_), ..) => Some(Ended::Revoked),
            (None, Some(by), _) => Some(Ended::ReplacedBy(by)),
            (None, None, true) => Some(Ended::Expired),
            (None, None, false) => None,
        };
        if let Some(how) = how {
            return Ok(Err(TokenError::Ended { id, how }));
        }
        // First: a name is unique among those that were not replaced.
        tokens::reserve_replacement(&mut tx, id).await?;
        let value = ApiToken::generate();
        let new = NewToken {
            organisation_id: old.organisation_id,
            project_id: old.project_id,
            name: &old.name,
            role: &old.role,
            sha256: value.sha256(),
            hint: value.hint(),
            environment_ids: old.environment_ids.clone(),
            service_ids: old.service_ids.clone(),
            expires_at: old.expires_at,
        };
        let new_id = tokens::insert(&mut tx, &new).await?;
        tokens::update_replaced(&mut tx, id, new_id, overlap).await?;
        if overlap.is_zero() {
            tokens::revoke(&mut tx, id).await?;
        }
        let token = loaded(&mut tx, new_id).await?;
        let replaced = loaded(&mut tx, id).await?;
        record(
            &mut tx,
            manager.actor,
            "token_rotate",
            &replaced,
            reason,
            Some(described(&old)),
            Some(json!({"old": described(&replaced), "new": described(&token)})),
        )
        .await?;
        tx.commit().await?;
        tracing::info!(token.id = id, new = new_id, name = old.name, actor = %manager.actor, "a token was rotated");
        Ok(Ok(Rotated {
            made: Made { token, value },
            replaced,
        }))
    }

    /// Ends a token for good; sessions that it opened end within seconds. One that has ended already is left as it is.
    pub async fn revoke(
        &self,
        manager: Manager<'_>,
        id: i64,
        reason: Option<&str>,
    ) -> Result<TokenSummary, TokenError> {
        retry::on_contention("token revoke", || self.try_revoke(manager, id, reason)).await?
    }

    async fn try_revoke(
        &self,
        manager: Manager<'_>,
        id: i64,
        reason: Option<&str>,
    ) -> Result<Result<TokenSummary, TokenError>, Fault> {
        let mut tx = store::begin(&self.pool).await?;
        if let Err(refusal) = manager.may_touch(&mut tx, id).await {
            return split(refusal);
        }
        // Two root tokens that revoke each other at once do it one after the other: so does whoever applies a bootstrap file.
        tenancy::lock_all(&mut tx).await?;
        let token = match tokens::lock(&mut tx, id).await? {
            Some(token) if manager.sees(&token) => token,
            _ => return Ok(Err(TokenError::NotFound { id })),
        };
        if token.role == Role::Root.as_str()
            && token.is_alive()
            && tokens::count_other_roots(&mut tx, id).await? == 0
        {
            return Ok(Err(TokenError::LastRoot { id }));
        }
        if !tokens::revoke(&mut tx, id).await? {
            tx.rollback().await?;
            return Ok(Ok(token));
        }
        let revoked = loaded(&mut tx, id).await?;
        record(
            &mut tx,
            manager.actor,
            "token_revoke",
            &revoked,
            reason,
            Some(described(&token)),
            Some(described(&revoked)),
        )
        .await?;
        tx.commit().await?;
        tracing::info!(token.id = id, name = token.name, actor = %manager.actor, "a token was revoked");
        Ok(Ok(revoked))
    }
}

/// The constraint that speaks where two tokens of one owner would have one name.
const NAME_TAKEN: &str = "api_tokens_owner_current_name_key";

/// Whether a token may be made so, by this manager, where it is asked for.
async fn admissible(
    conn: &mut PgConnection,
    manager: Manager<'_>,
    wish: &Wish<'_>,
) -> Result<(), TokenError> {
    let reach = manager.reach;
    // What does not exist for the manager comes before what is wrong with the wish: nothing is told of the former.
    let mut around = Vec::new();
    if let Some(id) = wish.organisation_id {
        around.push(seen(conn, reach, UnitKind::Organisation, id).await?);
    }
    if let Some(id) = wish.project_id {
        let project = seen(conn, reach, UnitKind::Project, id).await?;
        if Some(project.organisation_id) != wish.organisation_id {
            return Err(TokenError::UnitNotFound {
                kind: UnitKind::Project,
                id,
            });
        }
        around.push(project);
    }
    for (kind, ids) in [
        (UnitKind::Environment, &wish.environment_ids),
        (UnitKind::Service, &wish.service_ids),
    ] {
        for id in ids.iter().flatten() {
            let unit = seen(conn, reach, kind, *id).await?;
            if unit.project_id != wish.project_id {
                return Err(TokenError::UnitNotFound { kind, id: *id });
            }
        }
    }
    wish.check(tenancy::load_now(conn).await?)?;
    manager.may_hand_on(wish.role, &wish.reach())?;
    manager.may_make_until(conn, wish.expires_at()).await?;
    match around.into_iter().find(|unit| unit.archived_at.is_some()) {
        Some(unit) => Err(TokenError::Archived {
            kind: unit.kind,
            name: unit.name,
        }),
        None => Ok(()),
    }
}

async fn seen(
    conn: &mut PgConnection,
    reach: &Reach,
    kind: UnitKind,
    id: i64,
) -> Result<UnitRow, TokenError> {
    units::load(conn, kind, id)
        .await?
        .filter(|row| reach.sees(row.unit()))
        .ok_or(TokenError::UnitNotFound { kind, id })
}

async fn loaded(conn: &mut PgConnection, id: i64) -> Result<TokenSummary, StoreError> {
    tokens::load(conn, id).await?.ok_or_else(|| StoreError::Corrupt {
        table: "api_tokens",
        detail: format!("token {id} is gone, and nothing removes one"),
    })
}

/// A fault may be retried, any other refusal is the answer.
fn split<T>(refusal: TokenError) -> Result<Result<T, TokenError>, Fault> {
    match refusal {
        TokenError::Fault(fault) => Err(fault),
        refusal => Ok(Err(refusal)),
    }
}

fn role_of(token: &TokenSummary) -> Result<Role, StoreError> {
    Role::parse(&token.role).ok_or_else(|| StoreError::Corrupt {
        table: "api_tokens",
        detail: format!("token {} has role {:?}", token.id, token.role),
    })
}

fn reach_of(token: &TokenSummary) -> Reach {
    Reach {
        organisation: token.organisation_id,
        project: token.project_id,
        environments: token.environment_ids.clone(),
        services: token.service_ids.clone(),
    }
}

/// Where an action on a token of this owner belongs.
pub(super) fn place(organisation_id: Option<i64>, project_id: Option<i64>) -> Place {
    match (organisation_id, project_id) {
        (_, Some(project)) => Place::Project(project),
        (Some(organisation), None) => Place::Organisation(organisation),
        (None, None) => Place::Server,
    }
}

async fn record(
    conn: &mut PgConnection,
    actor: &Actor,
    action: &'static str,
    token: &TokenSummary,
    reason: Option<&str>,
    before: Option<Value>,
    after: Option<Value>,
) -> Result<(), StoreError> {
    let action = Action {
        action,
        place: place(token.organisation_id, token.project_id),
        target: &token.name,
        reason,
        before,
        after,
    };
    actor.record(conn, &action).await
}

/// As the log of actions has it, under the names of the wire: never the value, nor its digest.
pub(super) fn described(token: &TokenSummary) -> Value {
    json!({
        "tokenId": token.id, "name": token.name, "role": token.role, "hint": token.hint, "projectId": token.project_id,
        "environmentIds": token.environment_ids, "serviceIds": token.service_ids, "expiresAt": token.expires_at,
        "revokedAt": token.revoked_at, "replacedBy": token.replaced_by,
    })
}
