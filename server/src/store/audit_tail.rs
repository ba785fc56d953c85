//! Entries of the audit as events tell them: without what may be long, and with what their change was before.

use chrono::{DateTime, Utc};
use flamingock_domain::audit::{AuditState, ChangeState, RecoveryStrategy, Source, TxStrategy};
use sqlx::postgres::PgRow;
use sqlx::{PgConnection, Row};

use super::StoreError;

#[derive(Clone, Debug)]
pub struct TailEntry {
    pub seq: i64,
    pub received_at: DateTime<Utc>,
    pub source: Source,
    /// As recorded, known to us or not.
    pub source_text: String,
    pub late: bool,
    pub change_id: String,
    /// As reported, known to us or not.
    pub state: String,
    pub stage_id: Option<String>,
    pub target_system_id: Option<String>,
    pub author: Option<String>,
    pub execution_ref: String,
    pub runner_id: Option<String>,
    pub actor: String,
    pub note: Option<String>,
    /// What the entry makes of its change, if it counts.
    pub now: ChangeState,
    /// The change's state before it.
    pub before: Option<ChangeState>,
    /// Both are of one execution.
    pub same_execution: bool,
    /// Its execution held the lock no more when it was written, or there is none.
    pub runner_is_out: bool,
}

/// A range of a stream: after the first sequence, up to the second.
#[derive(Clone, Copy, Debug)]
pub struct Range {
    pub stream_id: i64,
    pub after: i64,
    pub up_to: i64,
}

/// The entries of some streams in ranges, oldest first; of each range at most `limit`. Each with its range's place in `ranges`.
pub async fn list(
    conn: &mut PgConnection,
    ranges: &[Range],
    limit: i64,
) -> Result<Vec<(usize, TailEntry)>, StoreError> {
    if ranges.is_empty() {
        return Ok(Vec::new());
    }
    let rows = sqlx::query(
        "SELECT q.place, a.seq, a.received_at, a.source, a.late, a.change_id, a.state, a.tx_strategy,
                a.recovery_strategy, a.stage_id, a.target_system_id, a.author, a.execution_ref, a.runner_id, a.actor,
                a.note, b.seq AS before_seq, b.state AS before_state, b.tx_strategy AS before_tx_strategy,
                b.recovery_strategy AS before_recovery_strategy, b.source AS before_source,
                coalesce(b.execution_ref = a.execution_ref, false) AS same_execution,
                coalesce(x.ended_at <= a.received_at, a.source <> 'RUNNER') AS runner_is_out
           FROM unnest($1::bigint[], $2::bigint[], $3::bigint[])
                WITH ORDINALITY AS q (stream_id, after, up_to, place)
          CROSS JOIN LATERAL (
                SELECT * FROM audit_entries e
                 WHERE e.stream_id = q.stream_id AND e.seq > q.after AND e.seq <= q.up_to
                 ORDER BY e.seq LIMIT $4) AS a
           LEFT JOIN LATERAL (
                SELECT e.seq, e.state, e.tx_strategy, e.recovery_strategy, e.source, e.execution_ref
                  FROM audit_entries e
                 WHERE e.stream_id = q.stream_id AND e.change_id = a.change_id AND e.seq < a.seq AND NOT e.late
                 ORDER BY e.seq DESC LIMIT 1) AS b ON true
           LEFT JOIN LATERAL (
                SELECT ended_at FROM executions
                 WHERE id = CASE WHEN a.source = 'RUNNER' AND a.execution_ref ~ '^[0-9]{1,18}$'
                                 THEN a.execution_ref::bigint END
                   AND stream_id = q.stream_id) AS x ON true
          ORDER BY q.place, a.seq",
    )
    .bind(ranges.iter().map(|range| range.stream_id).collect::<Vec<_>>())
    .bind(ranges.iter().map(|range| range.after).collect::<Vec<_>>())
    .bind(ranges.iter().map(|range| range.up_to).collect::<Vec<_>>())
    .bind(limit)
    .fetch_all(conn)
    .await?;
    placed(&rows)
}

fn entry_of_row(row: &PgRow) -> Result<TailEntry, StoreError> {
    let state = |seq, prefix: &str| -> Result<ChangeState, StoreError> {
        let text = |name: &str| -> Result<String, StoreError> {
            let name = format!("{prefix}{name}");
            Ok(row
                .try_get::<Option<String>, _>(name.as_str())?
                .unwrap_or_default())
        };
        Ok(ChangeState {
            seq,
            state: AuditState::from_wire(&text("state")?),
            tx_strategy: TxStrategy::from_wire(&text("tx_strategy")?),
            recovery: RecoveryStrategy::from_wire(&text("recovery_strategy")?),
            execution: None,
            source: Source::from_wire(&text("source")?),
        })
    };
    let seq = row.try_get("seq")?;
    let now = state(seq, "")?;
    let before = row
        .try_get::<Option<i64>, _>("before_seq")?
        .map(|seq| state(seq, "before_"))
        .transpose()?;
    Ok(TailEntry {
        seq,
        received_at: row.try_get("received_at")?,
        source: now.source,
        source_text: row.try_get("source")?,
        late: row.try_get("late")?,
        change_id: row.try_get("change_id")?,
        state: row.try_get("state")?,
        stage_id: row.try_get("stage_id")?,
        target_system_id: row.try_get("target_system_id")?,
        author: row.try_get("author")?,
        execution_ref: row.try_get("execution_ref")?,
        runner_id: row.try_get("runner_id")?,
        actor: row.try_get("actor")?,
        note: row.try_get("note")?,
        now,
        before,
        same_execution: row.try_get("same_execution")?,
        runner_is_out: row.try_get("runner_is_out")?,
    })
}

/// What the run of a lock's holder left behind: the latest of each change's entries in it, those in the given states only.
#[derive(Clone, Copy, Debug)]
pub struct EndOfRun<'a> {
    pub stream_id: i64,
    pub environment_id: i64,
    pub key: &'a str,
    /// The change of the lock that ended the run.
    pub number: i64,
    pub runner_id: &'a str,
    /// Head of the audit at that moment.
    pub audit_seq: i64,
}

/// Most changes of a run that are told when it ends; all of them are in the list of issues.
const LEFT_MAX: i64 = 1_000;

/// Entries before the end of a run that are searched: a run without a known beginning does not read a whole history.
const RUN_MAX: i64 = 20_000;

/// Changes that the runs left `STARTED` or `FAILED`, by id. Each with its run's place in `runs`.
pub async fn list_left(
    conn: &mut PgConnection,
    runs: &[EndOfRun<'_>],
) -> Result<Vec<(usize, TailEntry)>, StoreError> {
    if runs.is_empty() {
        return Ok(Vec::new());
    }
    let rows = sqlx::query(
        "SELECT q.place, a.seq, a.received_at, a.source, a.late, a.change_id, a.state, a.tx_strategy,
                a.recovery_strategy, a.stage_id, a.target_system_id, a.author, a.execution_ref, a.runner_id, a.actor,
                a.note, NULL::bigint AS before_seq, false AS same_execution, true AS runner_is_out
           FROM unnest($1::bigint[], $2::bigint[], $3::text[], $4::bigint[], $5::text[], $6::bigint[])
                WITH ORDINALITY AS q (stream_id, environment_id, key, number, runner_id, audit_seq, place)
          CROSS JOIN LATERAL (
                SELECT coalesce((SELECT g.audit_seq FROM lock_changes g
                                  WHERE g.environment_id = q.environment_id AND g.key = q.key
                                    AND g.number < q.number AND g.kind IN ('GRANTED', 'TAKEN_OVER')
                                  ORDER BY g.number DESC LIMIT 1), 0) AS seq) AS run
          CROSS JOIN LATERAL (
                SELECT DISTINCT ON (e.change_id) e.* FROM audit_entries e
                 WHERE e.stream_id = q.stream_id AND e.seq > greatest(run.seq, q.audit_seq - $8)
                   AND e.seq <= q.audit_seq AND NOT e.late
                 ORDER BY e.change_id, e.seq DESC) AS a
          WHERE a.state IN ('STARTED', 'FAILED', 'EXECUTION_FAILED') AND a.runner_id = q.runner_id
          ORDER BY q.place, a.change_id LIMIT $7",
    )
    .bind(runs.iter().map(|run| run.stream_id).collect::<Vec<_>>())
    .bind(runs.iter().map(|run| run.environment_id).collect::<Vec<_>>())
    .bind(runs.iter().map(|run| run.key).collect::<Vec<_>>())
    .bind(runs.iter().map(|run| run.number).collect::<Vec<_>>())
    .bind(runs.iter().map(|run| run.runner_id).collect::<Vec<_>>())
    .bind(runs.iter().map(|run| run.audit_seq).collect::<Vec<_>>())
    .bind(LEFT_MAX)
    .bind(RUN_MAX)
    .fetch_all(conn)
    .await?;
    placed(&rows)
}

fn placed(rows: &[PgRow]) -> Result<Vec<(usize, TailEntry)>, StoreError> {
    rows.iter()
        .map(|row| {
            let place: i64 = row.try_get("place")?;
            Ok((usize::try_from(place - 1).unwrap_or_default(), entry_of_row(row)?))
        })
        .collect()
}
