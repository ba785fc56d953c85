//! The append-only audit: linking, appending, reading.

use std::borrow::Cow;

use chrono::{DateTime, Utc};
use flamingock_audit_chain as chain;
use flamingock_domain::audit::Source;
use flamingock_domain::ids::Seq;
use flamingock_domain::time::Timestamp;
use futures_util::TryStreamExt as _;
use futures_util::stream::BoxStream;
use sqlx::postgres::PgRow;
use sqlx::{PgConnection, Row};

use super::streams::{Stream, hash_of, instant};
use super::{Scope, StoreError};

/// What [`entry_of_row`] reads of `a`, by name: a running server's prepared statements must survive a column that a
/// migration adds.
macro_rules! entry_columns {
    () => {
        "a.stream_id, a.seq, a.environment_id, a.service_id, a.source, a.execution_ref, a.change_id, a.stage_id, a.author,
         a.applied_at_ms, a.state, a.class_name, a.method_name, a.metadata, a.execution_millis, a.execution_hostname,
         a.error_trace, a.change_type, a.tx_strategy, a.target_system_id, a.change_order, a.recovery_strategy,
         a.transaction_flag, a.system_change, a.runner_id, a.fence, a.late, a.actor, a.note, a.received_at, a.prev_hash,
         a.hash"
    };
}
pub(super) use entry_columns;

/// What a writer says; the rest of an entry (sequence, time, hashes) is the stream's.
#[derive(Clone, Debug, Default)]
pub struct Fact {
    pub execution_ref: String,
    pub change_id: String,
    pub stage_id: Option<String>,
    pub author: Option<String>,
    pub applied_at_ms: Option<i64>,
    /// As reported, known to us or not.
    pub state: String,
    pub class_name: Option<String>,
    pub method_name: Option<String>,
    /// JSON text.
    pub metadata: Option<String>,
    pub execution_millis: Option<i64>,
    pub execution_hostname: Option<String>,
    pub error_trace: Option<String>,
    pub change_type: Option<String>,
    pub tx_strategy: Option<String>,
    pub target_system_id: Option<String>,
    pub change_order: Option<String>,
    pub recovery_strategy: Option<String>,
    pub transaction_flag: Option<bool>,
    pub system_change: Option<bool>,
    pub runner_id: Option<String>,
    pub fence: Option<i64>,
    /// Who wrote it.
    pub actor: String,
    pub note: Option<String>,
}

/// An entry in its place.
#[derive(Clone, Debug)]
pub struct Entry {
    pub stream_id: i64,
    pub scope: Scope,
    pub seq: Seq,
    pub source: Source,
    /// As it is recorded, hashed and shown, whether or not this version knows it.
    pub source_text: Cow<'static, str>,
    pub late: bool,
    pub received_at: DateTime<Utc>,
    pub prev_hash: [u8; 32],
    pub hash: [u8; 32],
    pub fact: Fact,
}

impl Entry {
    /// The fields that the hash covers.
    pub fn hashed(&self) -> chain::Entry<'_> {
        let fact = &self.fact;
        chain::Entry {
            environment_id: self.scope.environment_id,
            service_id: self.scope.service_id,
            seq: self.seq,
            source: &self.source_text,
            execution_ref: &fact.execution_ref,
            change_id: &fact.change_id,
            stage_id: fact.stage_id.as_deref(),
            author: fact.author.as_deref(),
            applied_at_ms: fact.applied_at_ms,
            state: &fact.state,
            class_name: fact.class_name.as_deref(),
            method_name: fact.method_name.as_deref(),
            metadata: fact.metadata.as_deref(),
            execution_millis: fact.execution_millis,
            execution_hostname: fact.execution_hostname.as_deref(),
            error_trace: fact.error_trace.as_deref(),
            change_type: fact.change_type.as_deref(),
            tx_strategy: fact.tx_strategy.as_deref(),
            target_system_id: fact.target_system_id.as_deref(),
            change_order: fact.change_order.as_deref(),
            recovery_strategy: fact.recovery_strategy.as_deref(),
            transaction_flag: fact.transaction_flag,
            system_change: fact.system_change,
            runner_id: fact.runner_id.as_deref(),
            fence: fact.fence,
            late: self.late,
            actor: &fact.actor,
            note: fact.note.as_deref(),
            received_at_micros: self.received_at.timestamp_micros(),
        }
    }
}

impl Stream {
    /// Puts a fact at the end of the locked stream and moves its head; written by [`append`] and
    /// [`super::streams::update_heads`] in the same transaction.
    pub fn link(&mut self, fact: Fact, source: Source, late: bool, now: Timestamp) -> Entry {
        let mut entry = Entry {
            stream_id: self.id,
            scope: self.scope,
            seq: self.head_seq + 1,
            source,
            source_text: Cow::Borrowed(source.as_wire()),
            late,
            received_at: instant(now),
            prev_hash: self.head_hash,
            hash: chain::GENESIS,
            fact,
        };
        entry.hash = chain::link(&entry.prev_hash, &entry.hashed());
        self.head_seq = entry.seq;
        self.head_hash = entry.hash;
        entry
    }
}

pub async fn append(conn: &mut PgConnection, entries: &[Entry]) -> Result<(), StoreError> {
    if entries.is_empty() {
        return Ok(());
    }
    macro_rules! column {
        ($entry:ident => $value:expr) => {
            entries.iter().map(|$entry| $value).collect::<Vec<_>>()
        };
    }
    sqlx::query(
        "INSERT INTO audit_entries
                (stream_id, seq, environment_id, service_id, source, execution_ref, change_id, stage_id, author,
                 applied_at_ms, state, class_name, method_name, metadata, execution_millis, execution_hostname,
                 error_trace, change_type, tx_strategy, target_system_id, change_order, recovery_strategy,
                 transaction_flag, system_change, runner_id, fence, late, actor, note, received_at, prev_hash, hash)
         SELECT * FROM unnest($1::bigint[], $2::bigint[], $3::bigint[], $4::bigint[], $5::text[], $6::text[],
                $7::text[], $8::text[], $9::text[], $10::bigint[], $11::text[], $12::text[], $13::text[],
                $14::text[], $15::bigint[], $16::text[], $17::text[], $18::text[], $19::text[], $20::text[],
                $21::text[], $22::text[], $23::boolean[], $24::boolean[], $25::text[], $26::bigint[],
                $27::boolean[], $28::text[], $29::text[], $30::timestamptz[], $31::bytea[], $32::bytea[])",
    )
    .bind(column!(e => e.stream_id))
    .bind(column!(e => e.seq))
    .bind(column!(e => e.scope.environment_id))
    .bind(column!(e => e.scope.service_id))
    .bind(column!(e => &*e.source_text))
    .bind(column!(e => e.fact.execution_ref.as_str()))
    .bind(column!(e => e.fact.change_id.as_str()))
    .bind(column!(e => e.fact.stage_id.as_deref()))
    .bind(column!(e => e.fact.author.as_deref()))
    .bind(column!(e => e.fact.applied_at_ms))
    .bind(column!(e => e.fact.state.as_str()))
    .bind(column!(e => e.fact.class_name.as_deref()))
    .bind(column!(e => e.fact.method_name.as_deref()))
    .bind(column!(e => e.fact.metadata.as_deref()))
    .bind(column!(e => e.fact.execution_millis))
    .bind(column!(e => e.fact.execution_hostname.as_deref()))
    .bind(column!(e => e.fact.error_trace.as_deref()))
    .bind(column!(e => e.fact.change_type.as_deref()))
    .bind(column!(e => e.fact.tx_strategy.as_deref()))
    .bind(column!(e => e.fact.target_system_id.as_deref()))
    .bind(column!(e => e.fact.change_order.as_deref()))
    .bind(column!(e => e.fact.recovery_strategy.as_deref()))
    .bind(column!(e => e.fact.transaction_flag))
    .bind(column!(e => e.fact.system_change))
    .bind(column!(e => e.fact.runner_id.as_deref()))
    .bind(column!(e => e.fact.fence))
    .bind(column!(e => e.late))
    .bind(column!(e => e.fact.actor.as_str()))
    .bind(column!(e => e.fact.note.as_deref()))
    .bind(column!(e => e.received_at))
    .bind(column!(e => e.prev_hash.as_slice()))
    .bind(column!(e => e.hash.as_slice()))
    .execute(conn)
    .await?;
    Ok(())
}

/// A report that may have been recorded before.
#[derive(Clone, Copy, Debug)]
pub struct ReportKey<'a> {
    pub stream_id: i64,
    pub change_id: &'a str,
    pub execution_ref: &'a str,
    pub state: &'a str,
}

/// Positions of reports that were recorded before: (stream, change, execution, state, seq, late).
pub async fn load_recorded(
    conn: &mut PgConnection,
    keys: &[ReportKey<'_>],
) -> Result<Vec<(i64, String, String, String, i64, bool)>, StoreError> {
    if keys.is_empty() {
        return Ok(Vec::new());
    }
    Ok(sqlx::query_as(
        "SELECT a.stream_id, a.change_id, a.execution_ref, a.state, a.seq, a.late
           FROM unnest($1::bigint[], $2::text[], $3::text[], $4::text[])
                AS q (stream_id, change_id, execution_ref, state)
          -- At most one each, by audit_entries_report_key. LIMIT keeps the planner from turning this into a join of
          -- everything, which it does while the table is small, and would then stay with.
          CROSS JOIN LATERAL (
                SELECT e.* FROM audit_entries e
                 WHERE e.stream_id = q.stream_id AND e.change_id = q.change_id
                   AND e.execution_ref = q.execution_ref AND e.state = q.state
                   AND e.source IN ('RUNNER', 'IMPORT')
                 LIMIT 1) AS a",
    )
    .bind(keys.iter().map(|key| key.stream_id).collect::<Vec<_>>())
    .bind(keys.iter().map(|key| key.change_id).collect::<Vec<_>>())
    .bind(keys.iter().map(|key| key.execution_ref).collect::<Vec<_>>())
    .bind(keys.iter().map(|key| key.state).collect::<Vec<_>>())
    .fetch_all(conn)
    .await?)
}

/// When the entries at some positions happened, by the clock of whoever told: (stream, seq, time).
pub async fn load_times(
    conn: &mut PgConnection,
    positions: &[(i64, Seq)],
) -> Result<Vec<(i64, Seq, Option<i64>)>, StoreError> {
    if positions.is_empty() {
        return Ok(Vec::new());
    }
    Ok(sqlx::query_as(
        "SELECT q.stream_id, q.seq, a.applied_at_ms
           FROM unnest($1::bigint[], $2::bigint[]) AS q (stream_id, seq)
          CROSS JOIN LATERAL (
                SELECT e.applied_at_ms FROM audit_entries e
                 WHERE e.stream_id = q.stream_id AND e.seq = q.seq LIMIT 1) AS a",
    )
    .bind(positions.iter().map(|(stream, _)| *stream).collect::<Vec<_>>())
    .bind(positions.iter().map(|(_, seq)| *seq).collect::<Vec<_>>())
    .fetch_all(conn)
    .await?)
}

/// Entries at positions.
pub async fn load_at(
    conn: &mut PgConnection,
    stream_id: i64,
    seqs: &[i64],
) -> Result<Vec<Entry>, StoreError> {
    sqlx::query(concat!(
        "SELECT ",
        entry_columns!(),
        " FROM audit_entries a
          WHERE a.stream_id = $1 AND a.seq = ANY($2) ORDER BY a.seq"
    ))
    .bind(stream_id)
    .bind(seqs)
    .fetch_all(conn)
    .await?
    .iter()
    .map(entry_of_row)
    .collect()
}

/// Position of the entry of a change that counted before another.
pub async fn load_before(
    conn: &mut PgConnection,
    stream_id: i64,
    change_id: &str,
    seq: Seq,
) -> Result<Option<Seq>, StoreError> {
    Ok(sqlx::query_scalar(
        "SELECT a.seq FROM audit_entries a
          WHERE a.stream_id = $1 AND a.change_id = $2 AND a.seq < $3 AND NOT a.late ORDER BY a.seq DESC LIMIT 1",
    )
    .bind(stream_id)
    .bind(change_id)
    .bind(seq)
    .fetch_optional(conn)
    .await?)
}

/// Entries of a change, from the newest on, among which late ones are looked for.
const LATE_EXAMINED_MAX: i64 = 1_000;

/// The newest late entries of each of some changes, oldest first.
pub async fn list_late(
    conn: &mut PgConnection,
    stream_id: i64,
    changes: &[&str],
    per_change: i64,
) -> Result<Vec<Entry>, StoreError> {
    sqlx::query(concat!(
        "SELECT ",
        entry_columns!(),
        " FROM unnest($2::text[]) AS q (change_id)
          CROSS JOIN LATERAL (
                SELECT * FROM (
                       SELECT * FROM audit_entries e
                        WHERE e.stream_id = $1 AND e.change_id = q.change_id
                        ORDER BY e.seq DESC LIMIT $4) AS newest
                 WHERE newest.late
                 ORDER BY newest.seq DESC LIMIT $3) AS a
          ORDER BY a.change_id, a.seq"
    ))
    .bind(stream_id)
    .bind(changes)
    .bind(per_change)
    .bind(LATE_EXAMINED_MAX)
    .fetch_all(conn)
    .await?
    .iter()
    .map(entry_of_row)
    .collect()
}

/// Bytes of entries that are read for one answer: what comes beyond is left for the next one. The longest entries have some
/// hundred kilobytes each, and a page of them would be a hundred megabytes.
pub(super) const ANSWER_MAX_BYTES: usize = 2 * 1024 * 1024;

/// Whether a row of entries still fits into an answer; the first always does.
#[derive(Debug, Default)]
pub(super) struct Weighing {
    bytes: usize,
}

impl Weighing {
    pub fn fits(&mut self, row: &PgRow) -> bool {
        let is_first = self.bytes == 0;
        let own: usize = (0..row.len())
            .filter_map(|column| row.try_get_raw(column).ok()?.as_bytes().ok().map(<[u8]>::len))
            .sum();
        self.bytes += own.max(1);
        is_first || self.bytes <= ANSWER_MAX_BYTES
    }
}

/// What a source means, and the text that stays of it.
pub(super) fn source_of(text: &str) -> (Source, Cow<'static, str>) {
    let source = Source::from_wire(text);
    let text = if source.as_wire() == text {
        Cow::Borrowed(source.as_wire())
    } else {
        Cow::Owned(text.to_owned())
    };
    (source, text)
}

/// The entries of some rows as far as they fit into an answer; true where some did not.
pub(super) async fn fitting(
    mut rows: BoxStream<'_, Result<PgRow, sqlx::Error>>,
) -> Result<(Vec<Entry>, bool), StoreError> {
    let mut weighing = Weighing::default();
    let mut entries = Vec::new();
    while let Some(row) = rows.try_next().await? {
        if !weighing.fits(&row) {
            return Ok((entries, true));
        }
        entries.push(entry_of_row(&row)?);
    }
    Ok((entries, false))
}

pub(super) fn entry_of_row(row: &PgRow) -> Result<Entry, StoreError> {
    let (source, source_text) = source_of(row.try_get("source")?);
    Ok(Entry {
        stream_id: row.try_get("stream_id")?,
        scope: Scope {
            environment_id: row.try_get("environment_id")?,
            service_id: row.try_get("service_id")?,
        },
        seq: row.try_get("seq")?,
        source,
        source_text,
        late: row.try_get("late")?,
        received_at: row.try_get("received_at")?,
        prev_hash: hash_of(row.try_get("prev_hash")?, "audit_entries")?,
        hash: hash_of(row.try_get("hash")?, "audit_entries")?,
        fact: Fact {
            execution_ref: row.try_get("execution_ref")?,
            change_id: row.try_get("change_id")?,
            stage_id: row.try_get("stage_id")?,
            author: row.try_get("author")?,
            applied_at_ms: row.try_get("applied_at_ms")?,
            state: row.try_get("state")?,
            class_name: row.try_get("class_name")?,
            method_name: row.try_get("method_name")?,
            metadata: row.try_get("metadata")?,
            execution_millis: row.try_get("execution_millis")?,
            execution_hostname: row.try_get("execution_hostname")?,
            error_trace: row.try_get("error_trace")?,
            change_type: row.try_get("change_type")?,
            tx_strategy: row.try_get("tx_strategy")?,
            target_system_id: row.try_get("target_system_id")?,
            change_order: row.try_get("change_order")?,
            recovery_strategy: row.try_get("recovery_strategy")?,
            transaction_flag: row.try_get("transaction_flag")?,
            system_change: row.try_get("system_change")?,
            runner_id: row.try_get("runner_id")?,
            fence: row.try_get("fence")?,
            actor: row.try_get("actor")?,
            note: row.try_get("note")?,
        },
    })
}
