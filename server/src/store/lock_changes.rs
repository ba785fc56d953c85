//! Who held a lock: one row for each change of hands, written by a trigger on the lock itself.

use chrono::{DateTime, Utc};
use sqlx::{PgConnection, Row};

use super::StoreError;

/// How a lock changed hands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChangeKind {
    Granted,
    Renewed,
    TakenOver,
    Released,
    /// Released by a person.
    Forced,
    /// In a way that a newer version of the server knows.
    Unknown,
}

#[derive(Clone, Debug)]
pub struct LockChange {
    pub environment_id: i64,
    pub key: String,
    pub number: i64,
    pub kind: ChangeKind,
    pub changed_at: DateTime<Utc>,
    pub fence: i64,
    pub owner: String,
    pub previous_owner: Option<String>,
    pub execution_id: Option<i64>,
    pub ended_execution_id: Option<i64>,
    /// Head of the service's audit at that moment.
    pub audit_seq: i64,
}

/// A range of a lock's changes: after the first number, up to the second.
#[derive(Clone, Debug)]
pub struct Range<'a> {
    pub environment_id: i64,
    pub key: &'a str,
    pub after: i64,
    pub up_to: i64,
}

/// The changes of some locks in ranges, oldest first; of each range at most `limit`. Each with its range's place in `ranges`.
pub async fn list(
    conn: &mut PgConnection,
    ranges: &[Range<'_>],
    limit: i64,
) -> Result<Vec<(usize, LockChange)>, StoreError> {
    if ranges.is_empty() {
        return Ok(Vec::new());
    }
    let rows = sqlx::query(
        "SELECT q.place, c.environment_id, c.key, c.number, c.kind, c.changed_at, c.fence, c.owner, c.previous_owner,
                c.execution_id, c.ended_execution_id, c.audit_seq
           FROM unnest($1::bigint[], $2::text[], $3::bigint[], $4::bigint[])
                WITH ORDINALITY AS q (environment_id, key, after, up_to, place)
          CROSS JOIN LATERAL (
                SELECT * FROM lock_changes l
                 WHERE l.environment_id = q.environment_id AND l.key = q.key
                   AND l.number > q.after AND l.number <= q.up_to
                 ORDER BY l.number LIMIT $5) AS c
          ORDER BY q.place, c.number",
    )
    .bind(
        ranges
            .iter()
            .map(|range| range.environment_id)
            .collect::<Vec<_>>(),
    )
    .bind(ranges.iter().map(|range| range.key).collect::<Vec<_>>())
    .bind(ranges.iter().map(|range| range.after).collect::<Vec<_>>())
    .bind(ranges.iter().map(|range| range.up_to).collect::<Vec<_>>())
    .bind(limit)
    .fetch_all(conn)
    .await?;
    rows.iter()
        .map(|row| {
            let place: i64 = row.try_get("place")?;
            let change = LockChange {
                environment_id: row.try_get("environment_id")?,
                key: row.try_get("key")?,
                number: row.try_get("number")?,
                kind: kind_of(row.try_get("kind")?),
                changed_at: row.try_get("changed_at")?,
                fence: row.try_get("fence")?,
                owner: row.try_get("owner")?,
                previous_owner: row.try_get("previous_owner")?,
                execution_id: row.try_get("execution_id")?,
                ended_execution_id: row.try_get("ended_execution_id")?,
                audit_seq: row.try_get("audit_seq")?,
            };
            Ok((usize::try_from(place - 1).unwrap_or_default(), change))
        })
        .collect()
}

fn kind_of(text: &str) -> ChangeKind {
    match text {
        "GRANTED" => ChangeKind::Granted,
        "RENEWED" => ChangeKind::Renewed,
        "TAKEN_OVER" => ChangeKind::TakenOver,
        "RELEASED" => ChangeKind::Released,
        "FORCED" => ChangeKind::Forced,
        _ => ChangeKind::Unknown,
    }
}
