//! Reading the audit page by page. A request looks at a bounded number of entries, however many there are and however
//! rare those are that it asks for: a page that found little says where to go on.

use chrono::{DateTime, Duration, Utc};
use flamingock_domain::ids::Seq;
use futures_util::TryStreamExt as _;
use futures_util::stream::BoxStream;
use sqlx::postgres::{PgArguments, PgRow};
use sqlx::query::Query;
use sqlx::{PgConnection, Postgres, Row};

use super::audit::{Entry, Weighing, entry_columns, entry_of_row};
use super::{Scope, StoreError};

/// How far the database's clock may go back without hiding entries from a search by time. Times are looked for by
/// bisection over positions, which supposes that both grow together; what lies this close to a bound is compared itself.
const CLOCK_STEP_MAX: Duration = Duration::hours(1);

/// Entries that one page looks at, at most.
pub const EXAMINED_MAX: i64 = 10_000;
/// Of entries that an index names, which are looked up one by one.
const CANDIDATES_MAX: i64 = 1_000;
/// Changes that one page of a snapshot looks at, at most; each is a look-up.
pub const CHANGES_EXAMINED_MAX: i64 = 2_000;

/// What an entry must be. Empty lists and `None` ask for nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    pub change_ids: Vec<String>,
    pub stage_ids: Vec<String>,
    pub states: Vec<String>,
    pub target_system_ids: Vec<String>,
    pub authors: Vec<String>,
    pub execution_ids: Vec<String>,
    pub runner_ids: Vec<String>,
    pub late: Option<bool>,
    /// A person's decision.
    pub manual: Option<bool>,
    /// Received at this time or after.
    pub since: Option<DateTime<Utc>>,
    /// Received before this time.
    pub until: Option<DateTime<Utc>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    OldestFirst,
    NewestFirst,
}

/// Where in a stream a list may find something: behind `from`, up to `to`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    pub stream_id: i64,
    pub head_seq: Seq,
    pub from: Seq,
    pub to: Seq,
}

/// Some entries, and where to go on: behind this position or change; `None` at the end.
#[derive(Debug)]
pub struct Page<P> {
    pub entries: Vec<Entry>,
    pub next: Option<P>,
}

/// The part of a stream that was received in a time; `None` where the stream does not exist.
pub async fn load_window(
    conn: &mut PgConnection,
    scope: Scope,
    since: Option<DateTime<Utc>>,
    until: Option<DateTime<Utc>>,
) -> Result<Option<Window>, StoreError> {
    let row = sqlx::query(
        "SELECT s.id, s.head_seq,
                CASE WHEN $3::timestamptz IS NULL THEN 0 ELSE audit_seq_at(s.id, $3) END AS from_seq,
                CASE WHEN $4::timestamptz IS NULL THEN s.head_seq ELSE audit_seq_at(s.id, $4) END AS to_seq
           FROM audit_streams s WHERE s.environment_id = $1 AND s.service_id = $2",
    )
    .bind(scope.environment_id)
    .bind(scope.service_id)
    .bind(since.and_then(|at| at.checked_sub_signed(CLOCK_STEP_MAX)))
    .bind(until.and_then(|at| at.checked_add_signed(CLOCK_STEP_MAX)))
    .fetch_optional(conn)
    .await?;
    row.map(|row| {
        Ok(Window {
            stream_id: row.try_get("id")?,
            head_seq: row.try_get("head_seq")?,
            from: row.try_get("from_seq")?,
            to: row.try_get("to_seq")?,
        })
    })
    .transpose()
}

/// How many entries a stream had at a time.
pub async fn load_seq_at(
    conn: &mut PgConnection,
    stream_id: i64,
    at: DateTime<Utc>,
) -> Result<Seq, StoreError> {
    Ok(sqlx::query_scalar("SELECT audit_seq_at($1, $2)")
        .bind(stream_id)
        .bind(at)
        .fetch_one(conn)
        .await?)
}

/// What an entry `a` must be, beyond its position: parameters 6 to 16.
macro_rules! matching {
    () => {
        "($6::text[] IS NULL OR a.change_id = ANY($6))
         AND ($7::text[] IS NULL OR a.stage_id = ANY($7))
         AND ($8::text[] IS NULL OR a.state = ANY($8))
         AND ($9::text[] IS NULL OR a.target_system_id = ANY($9))
         AND ($10::text[] IS NULL OR a.author = ANY($10))
         AND ($11::text[] IS NULL OR a.execution_ref = ANY($11))
         AND ($12::text[] IS NULL OR a.runner_id = ANY($12))
         AND ($13::boolean IS NULL OR a.late = $13)
         AND ($14::boolean IS NULL OR (a.source = 'PERSON') = $14)
         AND ($15::timestamptz IS NULL OR a.received_at >= $15)
         AND ($16::timestamptz IS NULL OR a.received_at < $16)"
    };
}

/// Everything in the window, in stretches of $4 entries.
macro_rules! in_stretches {
    ($direction:literal, $edge:literal, $within:literal) => {
        concat!(
            "SELECT w.edge, w.looked_at, ",
            entry_columns!(),
            "
               FROM (SELECT ",
            $edge,
            "(c.seq) AS edge, count(*) AS looked_at
                       FROM (SELECT a.seq FROM audit_entries a
                              WHERE a.stream_id = $1 AND a.seq > $2 AND a.seq <= $3
                              ORDER BY a.seq ",
            $direction,
            " LIMIT $4) c) w
               LEFT JOIN LATERAL (
                     SELECT a.* FROM audit_entries a
                      WHERE a.stream_id = $1 AND a.seq > $2 AND a.seq <= $3 AND a.seq ",
            $within,
            " w.edge
                        AND ",
            matching!(),
            "
                      ORDER BY a.seq ",
            $direction,
            " LIMIT $5) a ON true
              ORDER BY a.seq ",
            $direction
        )
    };
}

/// Candidates that an index knows, at most $4 of them.
macro_rules! of_candidates {
    ($candidates:expr, $direction:literal, $edge:literal) => {
        concat!(
            "WITH c AS MATERIALIZED (
                  SELECT x.seq FROM (", $candidates, ") x ORDER BY x.seq ", $direction, " LIMIT $4),
                  w AS (SELECT ", $edge, "(c.seq) AS edge, count(*) AS looked_at FROM c)
             SELECT w.edge, w.looked_at, ", entry_columns!(), "
               FROM w
               LEFT JOIN LATERAL (
                     SELECT a.* FROM c CROSS JOIN LATERAL (
                            SELECT * FROM audit_entries e WHERE e.stream_id = $1 AND e.seq = c.seq LIMIT 1) a
                      WHERE ", matching!(), "
                      ORDER BY c.seq ", $direction, " LIMIT $5) a ON true
              ORDER BY a.seq ", $direction
        )
    };
}

macro_rules! of_changes {
    ($direction:literal) => {
        concat!(
            "SELECT a.seq FROM unnest($6::text[]) AS q (id) CROSS JOIN LATERAL (
                    SELECT e.seq FROM audit_entries e
                     WHERE e.stream_id = $1 AND e.change_id = q.id AND e.seq > $2 AND e.seq <= $3
                     ORDER BY e.seq ",
            $direction,
            " LIMIT $4) a"
        )
    };
}

/// An execution's reports are as many as its pipeline has changes, so they may be sorted; what was derived for it is less.
macro_rules! of_executions {
    ($direction:literal) => {
        concat!(
            "SELECT a.seq FROM unnest($11::text[]) AS q (id) CROSS JOIN LATERAL (
                    SELECT e.seq FROM audit_entries e
                     WHERE e.stream_id = $1 AND e.execution_ref = q.id AND e.source IN ('RUNNER', 'IMPORT')
                       AND e.seq > $2 AND e.seq <= $3
                     UNION ALL
                    SELECT e.seq FROM audit_entries e
                     WHERE e.stream_id = $1 AND e.execution_ref = q.id AND e.source NOT IN ('RUNNER', 'IMPORT')
                       AND e.seq > $2 AND e.seq <= $3) a"
        )
    };
}

/// In the words of the index `audit_entries_notable_idx`.
macro_rules! notable {
    ($direction:literal) => {
        concat!(
            "SELECT e.seq FROM audit_entries e
              WHERE e.stream_id = $1 AND e.seq > $2 AND e.seq <= $3
                AND (e.late OR e.source NOT IN ('RUNNER', 'IMPORT') OR e.state NOT IN ('STARTED', 'APPLIED'))
              ORDER BY e.seq ", $direction, " LIMIT $4"
        )
    };
}

/// How the database finds what a filter asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    Changes,
    Executions,
    Notable,
    Stretches,
}

impl Filter {
    fn way(&self) -> Way {
        let daily = |state: &String| state == "STARTED" || state == "APPLIED";
        if !self.change_ids.is_empty() {
            Way::Changes
        } else if !self.execution_ids.is_empty() {
            Way::Executions
        } else if self.late == Some(true)
            || self.manual == Some(true)
            || (!self.states.is_empty() && !self.states.iter().any(daily))
        {
            Way::Notable
        } else {
            Way::Stretches
        }
    }

    fn asks_for_nothing(&self) -> bool {
        *self == Self::default()
    }

    fn bind<'q>(&'q self, query: Query<'q, Postgres, PgArguments>) -> Query<'q, Postgres, PgArguments> {
        fn list(texts: &[String]) -> Option<&[String]> {
            (!texts.is_empty()).then_some(texts)
        }
        query
            .bind(list(&self.change_ids))
            .bind(list(&self.stage_ids))
            .bind(list(&self.states))
            .bind(list(&self.target_system_ids))
            .bind(list(&self.authors))
            .bind(list(&self.execution_ids))
            .bind(list(&self.runner_ids))
            .bind(self.late)
            .bind(self.manual)
            .bind(self.since)
            .bind(self.until)
    }
}

/// Entries of a window that a filter lets through, by position.
pub async fn list(
    conn: &mut PgConnection,
    window: Window,
    filter: &Filter,
    order: Order,
    limit: i64,
) -> Result<Page<Seq>, StoreError> {
    let sql = match (filter.way(), order) {
        (Way::Changes, Order::OldestFirst) => of_candidates!(of_changes!("ASC"), "ASC", "max"),
        (Way::Changes, Order::NewestFirst) => of_candidates!(of_changes!("DESC"), "DESC", "min"),
        (Way::Executions, Order::OldestFirst) => of_candidates!(of_executions!("ASC"), "ASC", "max"),
        (Way::Executions, Order::NewestFirst) => of_candidates!(of_executions!("DESC"), "DESC", "min"),
        (Way::Notable, Order::OldestFirst) => of_candidates!(notable!("ASC"), "ASC", "max"),
        (Way::Notable, Order::NewestFirst) => of_candidates!(notable!("DESC"), "DESC", "min"),
        (Way::Stretches, Order::OldestFirst) => in_stretches!("ASC", "max", "<="),
        (Way::Stretches, Order::NewestFirst) => in_stretches!("DESC", "min", ">="),
    };
    // One more than the page tells whether there is another. Where nothing is filtered out, that is all to look at.
    let wanted = limit + 1;
    let examined = match filter.way() {
        Way::Stretches if filter.asks_for_nothing() => wanted,
        Way::Stretches => EXAMINED_MAX,
        Way::Changes | Way::Executions | Way::Notable => CANDIDATES_MAX,
    };
    let query = sqlx::query(sql)
        .bind(window.stream_id)
        .bind(window.from)
        .bind(window.to)
        .bind(examined)
        .bind(wanted);
    page_of(filter.bind(query).fetch(conn), limit, examined, |entry| entry.seq).await
}

/// The state of a stream at a position: the latest entry of each change that counts, by change.
pub async fn list_snapshot(
    conn: &mut PgConnection,
    stream_id: i64,
    as_of: Seq,
    filter: &Filter,
    after: &str,
    limit: i64,
) -> Result<Page<String>, StoreError> {
    macro_rules! snapshot {
        ($changes:literal) => {
            concat!(
                "WITH c AS MATERIALIZED (", $changes, " ORDER BY change_id LIMIT $4),
                      w AS (SELECT max(c.change_id) AS edge, count(*) AS looked_at FROM c)
                 SELECT w.edge, w.looked_at, ", entry_columns!(), "
                   FROM w
                   LEFT JOIN LATERAL (
                         SELECT a.* FROM c CROSS JOIN LATERAL (
                                SELECT * FROM audit_entries e
                                 WHERE e.stream_id = $1 AND e.change_id = c.change_id AND e.seq <= $3 AND NOT e.late
                                 ORDER BY e.seq DESC LIMIT 1) a
                          WHERE ", matching!(), "
                          ORDER BY c.change_id LIMIT $5) a ON true
                  ORDER BY a.change_id"
            )
        };
    }
    // Every change that has an entry that counts has a state, whatever it was at the time.
    let sql = if filter.change_ids.is_empty() {
        snapshot!("SELECT change_id FROM change_states WHERE stream_id = $1 AND change_id > $2")
    } else {
        snapshot!("SELECT DISTINCT q.id AS change_id FROM unnest($6::text[]) AS q (id) WHERE q.id > $2")
    };
    let wanted = limit + 1;
    let query = sqlx::query(sql)
        .bind(stream_id)
        .bind(after)
        .bind(as_of)
        .bind(CHANGES_EXAMINED_MAX)
        .bind(wanted);
    page_of(
        filter.bind(query).fetch(conn),
        limit,
        CHANGES_EXAMINED_MAX,
        |entry| entry.fact.change_id.clone(),
    )
    .await
}

/// Row by row: a page that has become too heavy ends before the next, and what the database still sends is not kept.
async fn page_of<P>(
    mut rows: BoxStream<'_, Result<PgRow, sqlx::Error>>,
    limit: i64,
    examined: i64,
    position: impl Fn(&Entry) -> P,
) -> Result<Page<P>, StoreError>
where
    P: for<'r> sqlx::Decode<'r, Postgres> + sqlx::Type<Postgres>,
{
    let mut weighing = Weighing::default();
    let mut entries: Vec<Entry> = Vec::new();
    let mut edge = None;
    let mut looked_at: i64 = 0;
    while let Some(row) = rows.try_next().await? {
        looked_at = row.try_get("looked_at")?;
        edge = row.try_get::<Option<P>, _>("edge")?;
        // Nothing let through: one row that has no entry.
        if row.try_get::<Option<Seq>, _>("seq")?.is_none() {
            continue;
        }
        if !weighing.fits(&row) {
            let next = entries.last().map(&position);
            return Ok(Page { entries, next });
        }
        entries.push(entry_of_row(&row)?);
    }
    let next = if i64::try_from(entries.len()).is_ok_and(|count| count > limit) {
        entries.pop();
        entries.last().map(position)
    } else if looked_at == examined {
        edge
    } else {
        None
    };
    Ok(Page { entries, next })
}
