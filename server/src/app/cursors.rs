//! Cursors of long changes, handed on to the next attempt with the plan that offers it.

use std::collections::HashMap;

use flamingock_domain::audit::States;
use flamingock_domain::ids::{ChangeId, ExecutionId};
use flamingock_domain::pipeline::Pipeline;
use flamingock_domain::plan::{Action, Plan, PlanAction};
use flamingock_domain::progress::{Kept, goes_on};
use sqlx::PgConnection;

use crate::store::StoreError;
use crate::store::progress::{self, HandedOn};

/// Where changes of a plan have got to, by id.
pub type Cursors = HashMap<ChangeId, String>;

/// Those that attempts of this plan may go on from. Reads nothing where no attempt was left open, which is the usual plan.
pub(super) async fn of_plan(
    conn: &mut PgConnection,
    stream_id: i64,
    plan: &Plan,
    pipeline: &Pipeline,
    states: &States,
) -> Result<Cursors, StoreError> {
    let PlanAction::Execute { stages, .. } = &plan.action else {
        return Ok(Cursors::new());
    };
    let latest = |change: &ChangeId| states.get(change);
    // With the best that a row could say. Whether there is one, and what it says, is read then.
    let might_go_on = |change: &ChangeId| {
        let best = Kept {
            execution: ExecutionId(i64::MAX),
            void_when_failed: false,
            handed_on_at: latest(change).map(|latest| latest.seq),
        };
        goes_on(latest(change), best)
    };
    let asked: HashMap<&str, &ChangeId> = stages
        .iter()
        .flat_map(|stage| &stage.changes)
        .filter(|(change, action)| *action == Action::Apply && might_go_on(change))
        // Of an attempt that begins at its beginning, the row stays the one before's: its `STARTED` voids it.
        .filter(|(change, _)| pipeline.takes_cursor(change))
        .map(|(change, _)| (change.as_str(), change))
        .collect();
    if asked.is_empty() {
        return Ok(Cursors::new());
    }
    let ids: Vec<&str> = asked.keys().copied().collect();
    let rows = progress::load_some(conn, stream_id, &ids).await?;
    Ok(rows
        .into_iter()
        .filter_map(|row| {
            let change = *asked.get(row.change_id.as_str())?;
            let kept = Kept {
                execution: row.execution,
                void_when_failed: row.void_when_failed,
                handed_on_at: row.handed_on_at,
            };
            let cursor = row.cursor.filter(|_| goes_on(latest(change), kept))?;
            Some((change.clone(), cursor))
        })
        .collect())
}

/// Makes them the new attempt's. `failure_voids` says of which changes a failure voids the
/// cursor.
pub(super) async fn hand_on(
    conn: &mut PgConnection,
    stream_id: i64,
    execution: ExecutionId,
    cursors: &Cursors,
    states: &States,
    failure_voids: &(dyn Fn(&ChangeId) -> bool + Sync),
) -> Result<(), StoreError> {
    if cursors.is_empty() {
        return Ok(());
    }
    let handed_on: Vec<HandedOn<'_>> = cursors
        .keys()
        .filter_map(|change| {
            Some(HandedOn {
                change,
                void_when_failed: failure_voids(change),
                at: states.get(change)?.seq,
            })
        })
        .collect();
    progress::update_attempt(conn, stream_id, execution, &handed_on).await
}
