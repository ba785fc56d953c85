//! The projection: the latest state of each change that counts.

use flamingock_domain::audit::{AuditState, ChangeState, RecoveryStrategy, Source, States, TxStrategy};
use flamingock_domain::ids::{ChangeId, ExecutionId};
use sqlx::postgres::PgRow;
use sqlx::{PgConnection, Row};

use super::StoreError;
use super::audit::Entry;

/// A row to be projected. Texts are the entry's own: a state that this version does not know survives.
#[derive(Clone, Debug)]
pub struct NewState {
    pub stream_id: i64,
    pub change_id: String,
    pub seq: i64,
    pub state: String,
    pub tx_strategy: Option<String>,
    pub recovery_strategy: Option<String>,
    pub execution_id: Option<i64>,
    pub source: Source,
}

impl NewState {
    /// What an entry makes of its change. The execution is whose report about it still counts afterwards, if anyone's:
    /// not always the one that the entry names.
    pub fn of(entry: &Entry, execution: Option<ExecutionId>) -> Self {
        Self {
            stream_id: entry.stream_id,
            change_id: entry.fact.change_id.clone(),
            seq: entry.seq,
            state: entry.fact.state.clone(),
            tx_strategy: entry.fact.tx_strategy.clone(),
            recovery_strategy: entry.fact.recovery_strategy.clone(),
            execution_id: execution.map(|id| id.0),
            source: entry.source,
        }
    }
}

pub(super) fn state_of_row(row: &PgRow) -> Result<(ChangeId, ChangeState), StoreError> {
    let id: String = row.try_get("change_id")?;
    let id = ChangeId::parse(id).map_err(|error| StoreError::Corrupt {
        table: "change_states",
        detail: format!("change_id {error}"),
    })?;
    Ok((
        id,
        ChangeState {
            seq: row.try_get("seq")?,
            state: AuditState::from_wire(row.try_get("state")?),
            tx_strategy: TxStrategy::from_wire(
                row.try_get::<Option<&str>, _>("tx_strategy")?.unwrap_or_default(),
            ),
            recovery: RecoveryStrategy::from_wire(
                row.try_get::<Option<&str>, _>("recovery_strategy")?
                    .unwrap_or_default(),
            ),
            execution: row.try_get::<Option<i64>, _>("execution_id")?.map(ExecutionId),
            source: Source::from_wire(row.try_get("source")?),
        },
    ))
}

/// Latest states of some changes, each asked for by stream and id. Meant for locked streams.
pub async fn load_some(
    conn: &mut PgConnection,
    asked: &[(i64, &str)],
) -> Result<Vec<(i64, ChangeId, ChangeState)>, StoreError> {
    let streams: Vec<i64> = asked.iter().map(|(stream, _)| *stream).collect();
    let changes: Vec<&str> = asked.iter().map(|(_, change)| *change).collect();
    let rows = sqlx::query(
        "SELECT c.stream_id, c.change_id, c.seq, c.state, c.tx_strategy, c.recovery_strategy, c.execution_id, c.source
           FROM unnest($1::bigint[], $2::text[]) AS q (stream_id, change_id)
          CROSS JOIN LATERAL (
                SELECT * FROM change_states c
                 WHERE c.stream_id = q.stream_id AND c.change_id = q.change_id LIMIT 1) AS c",
    )
    .bind(streams)
    .bind(changes)
    .fetch_all(conn)
    .await?;
    rows.iter()
        .map(|row| {
            let (id, state) = state_of_row(row)?;
            Ok((row.try_get("stream_id")?, id, state))
        })
        .collect()
}

/// Latest states of those changes of a stream that are not settled.
pub async fn load_unsettled(conn: &mut PgConnection, stream_id: i64) -> Result<States, StoreError> {
    let rows = sqlx::query(
        "SELECT c.change_id, c.seq, c.state, c.tx_strategy, c.recovery_strategy, c.execution_id, c.source
           FROM change_states c
          WHERE c.stream_id = $1 AND upper(c.state COLLATE \"C\") <> ALL($2)",
    )
    .bind(stream_id)
    .bind(AuditState::SETTLED_TEXTS.as_slice())
    .fetch_all(conn)
    .await?;
    rows.iter().map(state_of_row).collect()
}

/// How many of some changes have no state: nothing that counts was ever recorded of them.
pub async fn count_absent(
    conn: &mut PgConnection,
    stream_id: i64,
    changes: &[&str],
) -> Result<usize, StoreError> {
    let count: i64 = sqlx::query_scalar(
        "SELECT count(*) FROM unnest($2::text[]) AS q (change_id)
          WHERE NOT EXISTS (SELECT FROM change_states c WHERE c.stream_id = $1 AND c.change_id = q.change_id)",
    )
    .bind(stream_id)
    .bind(changes)
    .fetch_one(conn)
    .await?;
    Ok(usize::try_from(count).unwrap_or(0))
}

/// Whether anything that counts was ever recorded in a stream.
pub async fn has_any(conn: &mut PgConnection, stream_id: i64) -> Result<bool, StoreError> {
    Ok(
        sqlx::query_scalar("SELECT EXISTS (SELECT FROM change_states WHERE stream_id = $1)")
            .bind(stream_id)
            .fetch_one(conn)
            .await?,
    )
}

/// Writes the projection. `states` holds each (stream, change) once: the last of the transaction.
pub async fn upsert(conn: &mut PgConnection, states: &[NewState]) -> Result<(), StoreError> {
    if states.is_empty() {
        return Ok(());
    }
    sqlx::query(
        "INSERT INTO change_states AS c
                (stream_id, change_id, seq, state, tx_strategy, recovery_strategy, execution_id, source)
         SELECT * FROM unnest($1::bigint[], $2::text[], $3::bigint[], $4::text[], $5::text[], $6::text[],
                              $7::bigint[], $8::text[])
         ON CONFLICT ON CONSTRAINT change_states_pkey DO UPDATE
            SET seq = excluded.seq, state = excluded.state, tx_strategy = excluded.tx_strategy,
                recovery_strategy = excluded.recovery_strategy, execution_id = excluded.execution_id,
                source = excluded.source
          WHERE c.seq < excluded.seq",
    )
    .bind(states.iter().map(|state| state.stream_id).collect::<Vec<_>>())
    .bind(
        states
            .iter()
            .map(|state| state.change_id.as_str())
            .collect::<Vec<_>>(),
    )
    .bind(states.iter().map(|state| state.seq).collect::<Vec<_>>())
    .bind(
        states
            .iter()
            .map(|state| state.state.as_str())
            .collect::<Vec<_>>(),
    )
    .bind(
        states
            .iter()
            .map(|state| state.tx_strategy.as_deref())
            .collect::<Vec<_>>(),
    )
    .bind(
        states
            .iter()
            .map(|state| state.recovery_strategy.as_deref())
            .collect::<Vec<_>>(),
    )
    .bind(states.iter().map(|state| state.execution_id).collect::<Vec<_>>())
    .bind(
        states
            .iter()
            .map(|state| state.source.as_wire())
            .collect::<Vec<_>>(),
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Positions at which `APPLIED` marks of a stream were first reported.
pub async fn load_mark_reports(
    conn: &mut PgConnection,
    stream_id: i64,
) -> Result<Vec<(String, i64)>, StoreError> {
    Ok(
        sqlx::query_as("SELECT change_id, head_seq FROM mark_reports WHERE stream_id = $1")
            .bind(stream_id)
            .fetch_all(conn)
            .await?,
    )
}

/// Remembers the first report; a later one changes nothing.
pub async fn insert_mark_reports(
    conn: &mut PgConnection,
    stream_id: i64,
    head_seq: i64,
    changes: &[&str],
) -> Result<(), StoreError> {
    sqlx::query(
        "INSERT INTO mark_reports (stream_id, change_id, head_seq)
         SELECT $1, change_id, $2 FROM unnest($3::text[]) AS q (change_id)
         ON CONFLICT ON CONSTRAINT mark_reports_pkey DO NOTHING",
    )
    .bind(stream_id)
    .bind(head_seq)
    .bind(changes)
    .execute(conn)
    .await?;
    Ok(())
}

/// The mark is gone from the target system, or a new attempt begins that may leave a new one: what is reported from now on
/// is a first report, which nobody who decided before can have known of.
pub async fn delete_mark_reports(
    conn: &mut PgConnection,
    stream_id: i64,
    changes: &[&str],
) -> Result<(), StoreError> {
    if changes.is_empty() {
        return Ok(());
    }
    sqlx::query("DELETE FROM mark_reports WHERE stream_id = $1 AND change_id = ANY($2)")
        .bind(stream_id)
        .bind(changes)
        .execute(conn)
        .await?;
    Ok(())
}

/// The marks are accounted for, and their runner clears them.
pub async fn delete_all_mark_reports(conn: &mut PgConnection, stream_id: i64) -> Result<(), StoreError> {
    sqlx::query("DELETE FROM mark_reports WHERE stream_id = $1")
        .bind(stream_id)
        .execute(conn)
        .await?;
    Ok(())
}
