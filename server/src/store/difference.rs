//! Where two environments of a project stand differently.

use chrono::{DateTime, Utc};
use flamingock_domain::audit::AuditState;
use flamingock_domain::ids::Seq;
use sqlx::postgres::PgRow;
use sqlx::{PgConnection, Row};

use super::StoreError;

/// The latest entry of a change that counts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Standing {
    pub seq: Seq,
    /// As reported, known to us or not.
    pub state_text: String,
    pub state: AuditState,
    pub source: String,
    pub received_at: DateTime<Utc>,
    /// With what content it was applied, as accepted last; nothing where no runner sent any.
    pub checksum: Option<String>,
}

/// A change as two streams have it.
#[derive(Clone, Debug)]
pub struct Pair {
    pub change_id: String,
    pub here: Option<Standing>,
    pub there: Option<Standing>,
}

/// A service with its streams in two environments, as far as there are any.
#[derive(Clone, Debug)]
pub struct PairedService {
    pub service_id: i64,
    pub name: String,
    pub here: Option<i64>,
    pub there: Option<i64>,
}

/// Services of a project from an id on that have history in one of two environments; `only` restricts them.
pub async fn list_services(
    conn: &mut PgConnection,
    project_id: i64,
    (here, there): (i64, i64),
    only: Option<&[i64]>,
    from_service: i64,
    limit: i64,
) -> Result<Vec<PairedService>, StoreError> {
    let rows = sqlx::query(
        "SELECT v.id, v.name, h.id AS here, t.id AS there
           FROM services v
           LEFT JOIN LATERAL (
                SELECT id FROM audit_streams WHERE environment_id = $2 AND service_id = v.id LIMIT 1) h ON true
           LEFT JOIN LATERAL (
                SELECT id FROM audit_streams WHERE environment_id = $3 AND service_id = v.id LIMIT 1) t ON true
          WHERE v.project_id = $1 AND v.id >= $5 AND ($4::bigint[] IS NULL OR v.id = ANY($4))
            AND (h.id IS NOT NULL OR t.id IS NOT NULL)
          ORDER BY v.id LIMIT $6",
    )
    .bind(project_id)
    .bind(here)
    .bind(there)
    .bind(only)
    .bind(from_service)
    .bind(limit)
    .fetch_all(conn)
    .await?;
    rows.iter()
        .map(|row| {
            Ok(PairedService {
                service_id: row.try_get("id")?,
                name: row.try_get("name")?,
                here: row.try_get("here")?,
                there: row.try_get("there")?,
            })
        })
        .collect()
}

/// Changes of either stream behind an id, as both have them, by id. The first `limit` of each side hold the first `limit`
/// of both together.
pub async fn list_pairs(
    conn: &mut PgConnection,
    service: &PairedService,
    after: &str,
    limit: i64,
) -> Result<Vec<Pair>, StoreError> {
    let rows = sqlx::query(
        "WITH ids AS MATERIALIZED (
              SELECT u.change_id FROM (
                    (SELECT change_id FROM change_states
                      WHERE stream_id = $1 AND change_id > $3 ORDER BY change_id LIMIT $4)
                    UNION
                    (SELECT change_id FROM change_states
                      WHERE stream_id = $2 AND change_id > $3 ORDER BY change_id LIMIT $4)) u
               ORDER BY u.change_id LIMIT $4)
         SELECT ids.change_id,
                h.seq AS here_seq, h.state AS here_state, h.source AS here_source, h.received_at AS here_received_at,
                h.checksum AS here_checksum,
                t.seq AS there_seq, t.state AS there_state, t.source AS there_source,
                t.received_at AS there_received_at, t.checksum AS there_checksum
           FROM ids
           LEFT JOIN LATERAL (
                SELECT c.seq, c.state, c.source, e.received_at,
                       (SELECT k.checksum FROM change_checksums k
                         WHERE k.stream_id = c.stream_id AND k.change_id = c.change_id AND k.seq = c.seq
                         ORDER BY k.id DESC LIMIT 1) AS checksum
                  FROM change_states c
                  JOIN audit_entries e ON e.stream_id = c.stream_id AND e.seq = c.seq
                 WHERE c.stream_id = $1 AND c.change_id = ids.change_id LIMIT 1) h ON true
           LEFT JOIN LATERAL (
                SELECT c.seq, c.state, c.source, e.received_at,
                       (SELECT k.checksum FROM change_checksums k
                         WHERE k.stream_id = c.stream_id AND k.change_id = c.change_id AND k.seq = c.seq
                         ORDER BY k.id DESC LIMIT 1) AS checksum
                  FROM change_states c
                  JOIN audit_entries e ON e.stream_id = c.stream_id AND e.seq = c.seq
                 WHERE c.stream_id = $2 AND c.change_id = ids.change_id LIMIT 1) t ON true
          ORDER BY ids.change_id",
    )
    .bind(service.here)
    .bind(service.there)
    .bind(after)
    .bind(limit)
    .fetch_all(conn)
    .await?;
    rows.iter()
        .map(|row| {
            Ok(Pair {
                change_id: row.try_get("change_id")?,
                here: standing(
                    row,
                    [
                        "here_seq",
                        "here_state",
                        "here_source",
                        "here_received_at",
                        "here_checksum",
                    ],
                )?,
                there: standing(
                    row,
                    [
                        "there_seq",
                        "there_state",
                        "there_source",
                        "there_received_at",
                        "there_checksum",
                    ],
                )?,
            })
        })
        .collect()
}

fn standing(
    row: &PgRow,
    [seq, state, source, received_at, checksum]: [&str; 5],
) -> Result<Option<Standing>, StoreError> {
    let Some(seq) = row.try_get::<Option<Seq>, _>(seq)? else {
        return Ok(None);
    };
    let state_text: String = row.try_get(state)?;
    Ok(Some(Standing {
        seq,
        state: AuditState::from_wire(&state_text),
        state_text,
        source: row.try_get(source)?,
        received_at: row.try_get(received_at)?,
        checksum: row.try_get(checksum)?,
    }))
}
