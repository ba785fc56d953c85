//! What marks of target systems prove, put on record.

use std::collections::HashMap;

use flamingock_domain::audit::{AuditState, Source};
use flamingock_domain::ids::{ChangeId, ExecutionId, RunnerId};
use flamingock_domain::pipeline::{Mark, Pipeline};
use flamingock_domain::plan::{Derived, Plan};
use flamingock_domain::time::Timestamp;
use sqlx::PgConnection;

use super::Ask;
use crate::app::fault::Fault;
use crate::app::heads::Fold;
use crate::app::rulings;
use crate::store::StoreError;
use crate::store::audit::{self, Fact};
use crate::store::states::{self, NewState};
use crate::store::streams::{self, Stream};

/// Records what the marks prove, and remembers those that contradict the record.
pub(super) async fn account_for(
    tx: &mut PgConnection,
    ask: &Ask<'_>,
    plan: &Plan,
    fold: &Fold,
    stream: &mut Stream,
    now: Timestamp,
) -> Result<(), Fault> {
    let reported_at = stream.head_seq;
    let attempts: Vec<i64> = plan
        .derived
        .iter()
        .filter_map(|derived| fold.states.get(&derived.id))
        .map(|state| state.seq)
        .collect();
    let attempts = audit::load_at(tx, stream.id, &attempts).await?;
    let mut entries = Vec::with_capacity(plan.derived.len());
    let mut projected = Vec::with_capacity(plan.derived.len());
    for derived in &plan.derived {
        let attempt = attempts
            .iter()
            .find(|entry| entry.fact.change_id == derived.id.as_str());
        if attempt.is_none() {
            tracing::warn!(
                change.id = %derived.id, runner.id = %ask.runner,
                "a mark says applied where the audit has no entry: the start was never recorded, or history was lost"
            );
        }
        let fact = derived_fact(derived, attempt.map(|entry| &entry.fact), ask.runner);
        let entry = stream.link(fact, Source::Mark, false, now);
        projected.push(NewState::of(&entry, derived.execution));
        entries.push(entry);
    }
    audit::append(tx, &entries).await?;
    states::upsert(tx, &projected).await?;
    streams::update_heads(tx, std::slice::from_ref(stream)).await?;
    let applied: Vec<(&str, i64, ExecutionId)> = plan
        .derived
        .iter()
        .zip(&entries)
        .filter(|(derived, _)| derived.state == AuditState::Applied)
        .filter_map(|(derived, entry)| Some((derived.id.as_str(), entry.seq, derived.execution?)))
        .collect();
    rulings::note_derived(tx, stream.id, &applied).await?;
    if plan.synchronized_marks {
        states::delete_all_mark_reports(tx, stream.id).await?;
    } else {
        let applied = ids_of(ask.pipeline, |mark| mark == Mark::Applied);
        states::insert_mark_reports(tx, stream.id, reported_at, &applied).await?;
    }
    Ok(())
}

pub(super) fn ids_of(pipeline: &Pipeline, wanted: impl Fn(Mark) -> bool) -> Vec<&str> {
    pipeline
        .changes()
        .filter(|change| wanted(change.mark))
        .map(|change| change.id.as_str())
        .collect()
}

pub(in crate::app) async fn load_marks_seen(
    tx: &mut PgConnection,
    stream_id: i64,
) -> Result<HashMap<ChangeId, i64>, Fault> {
    let rows = states::load_mark_reports(tx, stream_id).await?;
    rows.into_iter()
        .map(|(id, seq)| {
            ChangeId::parse(id).map(|id| (id, seq)).map_err(|error| {
                StoreError::Corrupt {
                    table: "mark_reports",
                    detail: format!("change_id {error}"),
                }
                .into()
            })
        })
        .collect()
}

/// The entry that a mark proves: what the attempt said of itself, where it is known.
fn derived_fact(derived: &Derived, attempt: Option<&Fact>, runner: &RunnerId) -> Fact {
    let note = match derived.state {
        AuditState::RolledBack => "derived from a ROLLED_BACK mark in the target system",
        _ => "derived from an APPLIED mark in the target system",
    };
    Fact {
        execution_ref: derived.execution.map(|id| id.to_string()).unwrap_or_default(),
        change_id: derived.id.to_string(),
        stage_id: Some(derived.stage.to_string()),
        state: derived.state.as_wire().to_owned(),
        error_trace: None,
        execution_millis: None,
        runner_id: Some(runner.to_string()),
        fence: None,
        actor: "server".to_owned(),
        note: Some(note.to_owned()),
        ..attempt.cloned().unwrap_or_default()
    }
}
