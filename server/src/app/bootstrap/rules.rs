//! What an environment is declared to refuse: its policies, and times in which no work is granted. Approvals are not here: a
//! person gives them, each time.

use chrono::{DateTime, SubsecRound as _, Utc};
use flamingock_domain::access::UnitKind;
use flamingock_domain::plan::policy::{Mode, Policy};
use serde_json::{Value, json};
use sqlx::PgConnection;

use super::Position;
use super::step::{BootstrapStep, FreezeStep, Note};
use crate::app::actor::{Action, Actor, Place};
use crate::app::{freezes as people_freezes, policies as people_policies};
use crate::store::freezes::{self, NewFreeze};
use crate::store::tenancy::{FreezeRow, Tenancy};
use crate::store::{StoreError, policies};

/// Why it is so, in the log of actions: the file has no place for reasons.
const REASON: &str = "declared in the bootstrap file";

/// `None`: as it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct PolicyDeclaration {
    pub(super) checksum_mismatch: Option<Mode>,
    pub(super) out_of_order: Option<Mode>,
    pub(super) approval_required: Option<bool>,
}

impl PolicyDeclaration {
    /// What is declared, and the rest as it is.
    fn over(self, now: Policy) -> Policy {
        Policy {
            checksum_mismatch: self.checksum_mismatch.unwrap_or(now.checksum_mismatch),
            out_of_order: self.out_of_order.unwrap_or(now.out_of_order),
            approval_required: self.approval_required.unwrap_or(now.approval_required),
        }
    }
}

#[derive(Clone, Debug)]
pub(super) struct FreezeDeclaration {
    /// Names; `None`: all services, those yet to come included.
    pub(super) services: Option<Vec<String>>,
    pub(super) starts_at: DateTime<Utc>,
    pub(super) ends_at: Option<DateTime<Utc>>,
    pub(super) reason: String,
    pub(super) position: Position,
}

pub(super) fn mode(text: &str) -> Option<Mode> {
    match text {
        "allow" => Some(Mode::Allow),
        "warn" => Some(Mode::Warn),
        "refuse" => Some(Mode::Refuse),
        _ => None,
    }
}

pub(super) fn mode_word(mode: Mode) -> &'static str {
    match mode {
        Mode::Allow => "allow",
        Mode::Warn => "warn",
        Mode::Refuse => "refuse",
    }
}

/// An environment as far as it is known.
#[derive(Clone, Copy)]
pub(super) struct Site<'a> {
    pub(super) organisation: &'a str,
    pub(super) project: &'a str,
    pub(super) environment: &'a str,
    /// Of project and environment; `None`: yet to be made.
    pub(super) project_id: Option<i64>,
    pub(super) id: Option<i64>,
}

impl Site<'_> {
    fn path(&self) -> String {
        format!("{}/{}/{}", self.organisation, self.project, self.environment)
    }
}

pub(super) fn policy_step(site: Site<'_>, now: Policy, declared: PolicyDeclaration) -> Option<BootstrapStep> {
    let policy = declared.over(now);
    (policy != now).then(|| BootstrapStep::SetPolicy {
        organisation: site.organisation.to_owned(),
        project: site.project.to_owned(),
        environment: site.environment.to_owned(),
        policy,
    })
}

/// What becomes of a declared window. It is known by all that the file says of it: another reason makes another window.
pub(super) fn freeze(
    current: &Tenancy,
    site: Site<'_>,
    declared: &FreezeDeclaration,
) -> (Option<BootstrapStep>, Option<Note>) {
    let step = FreezeStep {
        organisation: site.organisation.to_owned(),
        project: site.project.to_owned(),
        environment: site.environment.to_owned(),
        services: declared.services.clone(),
        // What the database keeps of it.
        starts_at: declared.starts_at.trunc_subsecs(6),
        ends_at: declared.ends_at.map(|at| at.trunc_subsecs(6)),
        reason: declared.reason.clone(),
    };
    let (path, reason) = (site.path(), declared.reason.clone());
    let same = site.id.and_then(|id| {
        let mut of_environment = current.freezes.iter().filter(|row| row.environment_id == id);
        of_environment.find(|row| is_this(current, site, &step, row))
    });
    match same {
        Some(FreezeRow {
            ended_by: Some(by), ..
        }) => {
            let by = by.clone();
            (None, Some(Note::FreezeEnded { path, reason, by }))
        }
        Some(_) => (None, None),
        None if step.ends_at.is_some_and(|at| at <= current.now) => {
            (None, Some(Note::FreezeOver { path, reason }))
        }
        None => (Some(BootstrapStep::StartFreeze(step)), None),
    }
}

fn is_this(current: &Tenancy, site: Site<'_>, step: &FreezeStep, row: &FreezeRow) -> bool {
    let services = match (&step.services, &row.service_ids) {
        (None, None) => true,
        (Some(names), Some(ids)) => {
            let within = site.project_id.unwrap_or_default();
            names.len() == ids.len()
                && names.iter().all(|name| {
                    current
                        .unit(UnitKind::Service, within, name)
                        .is_some_and(|id| ids.contains(&id))
                })
        }
        _ => false,
    };
    services && row.starts_at == step.starts_at && row.ends_at == step.ends_at && row.reason == step.reason
}

/// Sets a policy as an administrator would, and records it.
pub(super) async fn set_policy(
    conn: &mut PgConnection,
    actor: &Actor,
    environment_id: i64,
    policy: Policy,
) -> Result<(), StoreError> {
    let before = policies::lock(conn, environment_id)
        .await?
        .ok_or_else(|| missing("an environment"))?;
    let who = actor.to_string();
    let after = policies::update(conn, environment_id, policy, before.trust_absent_marks, &who).await?;
    let (before, after) = (
        people_policies::recorded(&before),
        people_policies::recorded(&after),
    );
    let action = action("policy_set", environment_id, "policy", Some(before), after);
    actor.record(conn, &action).await
}

/// Sets a window as an operator would, and records it.
pub(super) async fn start_freeze(
    conn: &mut PgConnection,
    actor: &Actor,
    environment_id: i64,
    service_ids: Option<&[i64]>,
    step: &FreezeStep,
) -> Result<(), StoreError> {
    let who = actor.to_string();
    let new = NewFreeze {
        environment_id,
        service_ids,
        starts_at: Some(step.starts_at),
        ends_at: step.ends_at,
        reason: &step.reason,
        created_by: &who,
    };
    let id = freezes::insert(conn, &new).await?;
    let row = freezes::load(conn, id)
        .await?
        .ok_or_else(|| missing("a freeze window"))?;
    let target = id.to_string();
    let after = json!({"reason": step.reason, "window": people_freezes::recorded(&row)});
    let action = action("freeze_start", environment_id, &target, None, after);
    actor.record(conn, &action).await
}

fn action<'a>(
    action: &'static str,
    environment_id: i64,
    target: &'a str,
    before: Option<Value>,
    after: Value,
) -> Action<'a> {
    Action {
        action,
        place: Place::Environment(environment_id),
        target,
        reason: Some(REASON),
        before,
        after: Some(after),
    }
}

fn missing(what: &str) -> StoreError {
    StoreError::Corrupt {
        table: "environments",
        detail: format!("{what} that was just there is missing"),
    }
}
