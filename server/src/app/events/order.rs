//! Putting what is new into an order that every replica tells alike.
//!
//! Sequences and times are taken before a commit and become visible after it, so no column of what is written hot says what a
//! reader has seen. The order is made by the reader instead: whoever holds an organisation's log appends to it what has moved
//! beyond its position, in a transaction that takes nothing from anybody. Nothing is ordered while nobody listens; what came
//! meanwhile then makes one row for each service, however much it is.

use sqlx::PgPool;

use super::super::fault::Fault;
use crate::store::events::{self, LogRow, Moved, Names};
use crate::store::{self, StoreError};

/// Services and actions that one transaction puts into the order.
pub const ROUND_MAX: i64 = 5_000;

/// How long the order is kept, and so for how long somebody who was away can go on where they were.
pub const KEPT_DAYS: i32 = 30;

/// Makes an organisation's log at the first listener; what was before is no event.
pub async fn begin(pool: &PgPool, organisation_id: i64) -> Result<(), StoreError> {
    let mut tx = store::begin(pool).await?;
    if events::insert_log(&mut tx, organisation_id).await? {
        events::allow_whole_tables(&mut tx).await?;
        events::insert_baseline(&mut tx, organisation_id).await?;
        tx.commit().await?;
    }
    Ok(())
}

/// Puts into the order what is new in these organisations. What another replica is ordering at this moment is left to it.
pub async fn catch_up(pool: &PgPool, organisations: &[i64]) -> Result<(), Fault> {
    loop {
        let mut tx = store::begin(pool).await?;
        events::allow_whole_tables(&mut tx).await?;
        // The look that finds nothing, which is nearly every one, writes nothing.
        let idle = events::list_moved(&mut tx, organisations, 1).await?.is_empty()
            && !events::has_actions(&mut tx, organisations).await?;
        if idle {
            tx.commit().await?;
            return Ok(());
        }
        let heads = events::lock_logs(&mut tx, organisations).await?;
        let held: Vec<i64> = heads.iter().map(|(organisation, _)| *organisation).collect();
        // Looked at again: only now nobody else moves the positions.
        let moved = events::list_moved(&mut tx, &held, ROUND_MAX).await?;
        let actions = events::take_actions(&mut tx, &held, ROUND_MAX).await?;
        let full = [moved.len(), actions.len()]
            .into_iter()
            .any(|count| i64::try_from(count).unwrap_or(ROUND_MAX) >= ROUND_MAX);
        let mut rows: Vec<LogRow> = moved.into_iter().map(row_of_moved).collect();
        rows.extend(actions.into_iter().map(|action| LogRow {
            organisation_id: action.organisation_id,
            id: 0,
            ordered_at: chrono::DateTime::UNIX_EPOCH,
            project_id: action.project_id,
            environment_id: action.environment_id,
            service_id: action.service_id,
            names: Names::default(),
            lock_key: None,
            stream_id: None,
            seqs: (0, 0),
            changes: (0, 0),
            action_id: Some(action.id),
        }));
        if rows.is_empty() {
            tx.commit().await?;
            return Ok(());
        }
        number(&mut rows, &heads);
        events::append(&mut tx, &rows).await?;
        tx.commit().await?;
        if !full {
            return Ok(());
        }
    }
}

fn row_of_moved(moved: Moved) -> LogRow {
    LogRow {
        organisation_id: moved.organisation_id,
        id: 0,
        // The database's, when it is written.
        ordered_at: chrono::DateTime::UNIX_EPOCH,
        project_id: Some(moved.project_id),
        environment_id: Some(moved.environment_id),
        service_id: moved.lock_key.parse().ok(),
        names: Names::default(),
        lock_key: Some(moved.lock_key),
        stream_id: moved.stream_id,
        seqs: moved.seqs,
        changes: moved.changes,
        action_id: None,
    }
}

/// Contiguous ids from each log's head on.
fn number(rows: &mut [LogRow], heads: &[(i64, i64)]) {
    rows.sort_by_key(|row| row.organisation_id);
    let mut next: std::collections::HashMap<i64, i64> = heads.iter().copied().collect();
    for row in rows {
        let head = next.entry(row.organisation_id).or_default();
        *head += 1;
        row.id = *head;
    }
}
