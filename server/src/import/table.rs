//! The table of Flamingock Community's SQL audit store, in a PostgreSQL.

use sqlx::postgres::{PgConnectOptions, PgConnection, PgRow};
use sqlx::{AssertSqlSafe, ConnectOptions as _, Row};

use super::extended_json;
use super::record::{Origin, RawRecord};
use super::source::{Piece, Placed, SourceError};
use crate::config::DatabaseUrl;

/// The columns that are read. `created_at` has no time zone: it is the wall clock of whoever wrote it.
const COLUMNS: &[&str] = &[
    "id",
    "execution_id",
    "stage_id",
    "change_id",
    "author",
    "created_at",
    "state",
    "invoked_class",
    "invoked_method",
    "metadata",
    "execution_millis",
    "execution_hostname",
    "error_trace",
    "type",
    "tx_strategy",
    "target_system_id",
    "change_order",
    "recovery_strategy",
    "transaction_flag",
    "system_change",
];

/// Reads in one snapshot, by id: the order in which the entries were written.
pub struct Table {
    connection: PgConnection,
    /// As it may stand in a statement.
    quoted: String,
    origin: Origin,
    last_id: i64,
}

impl Table {
    /// `time_zone`: that of the applications that wrote the table.
    pub async fn open(
        url: &DatabaseUrl,
        table: &str,
        time_zone: &str,
        by: &str,
    ) -> Result<Self, SourceError> {
        let options: PgConnectOptions = url
            .expose()
            .parse()
            .map_err(|_: sqlx::Error| SourceError::Url(url.clone()))?;
        let mut connection = options
            .application_name("flamingock-server import")
            .connect()
            .await
            .map_err(|source| SourceError::Connect {
                url: url.clone(),
                source,
            })?;
        let failed = |source| SourceError::Query {
            table: table.to_owned(),
            source,
        };
        // Not an option of the connection: the driver itself sets UTC there.
        sqlx::query("SELECT set_config('TimeZone', $1, false)")
            .bind(time_zone)
            .execute(&mut connection)
            .await
            .map_err(|source| SourceError::TimeZone {
                zone: time_zone.to_owned(),
                source,
            })?;
        sqlx::query("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
            .execute(&mut connection)
            .await
            .map_err(failed)?;
        let quoted: Option<Option<String>> = optional(
            sqlx::query_scalar("SELECT to_regclass($1)::text")
                .bind(table)
                .fetch_one(&mut connection)
                .await,
        )
        .map_err(failed)?;
        let quoted = quoted.flatten().ok_or_else(|| SourceError::NoTable {
            table: table.to_owned(),
            url: url.clone(),
        })?;
        let present: Vec<String> = sqlx::query_scalar(
            "SELECT attname::text FROM pg_attribute
              WHERE attrelid = to_regclass($1) AND attnum > 0 AND NOT attisdropped",
        )
        .bind(table)
        .fetch_all(&mut connection)
        .await
        .map_err(failed)?;
        let missing: Vec<&str> = COLUMNS
            .iter()
            .copied()
            .filter(|column| present.iter().all(|name| name != column))
            .collect();
        if !missing.is_empty() {
            return Err(SourceError::Columns {
                table: quoted,
                missing: missing.join(", "),
            });
        }
        Ok(Self {
            connection,
            origin: Origin {
                by: by.to_owned(),
                source: format!("Flamingock Community's audit, table {quoted} of {url}"),
                unit: "row",
            },
            quoted,
            last_id: i64::MIN,
        })
    }

    pub fn origin(&self) -> &Origin {
        &self.origin
    }

    pub(super) async fn next(&mut self, limit: usize) -> Result<Vec<Placed>, SourceError> {
        // Safe: the name comes quoted from the database itself, the rest is ours. Casts, because a table that was moved
        // here from another database may have other types.
        let sql = format!(
            "SELECT id::bigint AS id, execution_id::text, stage_id::text, change_id::text, author::text,
                    (extract(epoch FROM created_at::timestamptz) * 1000)::bigint AS at_ms, state::text,
                    invoked_class::text, invoked_method::text, metadata::text, execution_millis::bigint,
                    execution_hostname::text, error_trace::text, type::text, tx_strategy::text,
                    target_system_id::text, change_order::text, recovery_strategy::text,
                    transaction_flag::text::boolean AS transaction_flag, system_change::text::boolean AS system_change
               FROM {} WHERE id > $1::bigint ORDER BY id LIMIT $2",
            self.quoted
        );
        let failed = |source| SourceError::Query {
            table: self.quoted.clone(),
            source,
        };
        let rows = sqlx::query(AssertSqlSafe(sql))
            .bind(self.last_id)
            .bind(i64::try_from(limit).unwrap_or(i64::MAX))
            .fetch_all(&mut self.connection)
            .await
            .map_err(failed)?;
        let mut pieces = Vec::with_capacity(rows.len());
        for row in &rows {
            let id: i64 = row.try_get("id").map_err(failed)?;
            let place = u64::try_from(id).unwrap_or_default();
            let record = record(row).map_err(failed)?;
            let piece = match record.into_fact(&self.origin, place) {
                Ok(fact) => Piece::Fact(Box::new(fact)),
                Err(why) => Piece::Unusable(why),
            };
            pieces.push(Placed { place, piece });
            self.last_id = id;
        }
        Ok(pieces)
    }
}

/// A name that cannot be one is, in some versions, an error and no absence.
fn optional<T>(found: Result<T, sqlx::Error>) -> Result<Option<T>, sqlx::Error> {
    match found {
        Ok(found) => Ok(Some(found)),
        // syntax_error, invalid_name, feature_not_supported (another database)
        Err(sqlx::Error::Database(error))
            if matches!(error.code().as_deref(), Some("42601" | "42602" | "0A000")) =>
        {
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

fn record(row: &PgRow) -> Result<RawRecord, sqlx::Error> {
    let metadata: Option<String> = row.try_get("metadata")?;
    Ok(RawRecord {
        execution: row.try_get("execution_id")?,
        change: row.try_get("change_id")?,
        stage: row.try_get("stage_id")?,
        author: row.try_get("author")?,
        at_ms: row.try_get("at_ms")?,
        state: row.try_get("state")?,
        class_name: row.try_get("invoked_class")?,
        method_name: row.try_get("invoked_method")?,
        // Written as a Java map prints itself.
        metadata: metadata.as_deref().and_then(extended_json::json_of_text),
        execution_millis: row.try_get("execution_millis")?,
        execution_hostname: row.try_get("execution_hostname")?,
        error_trace: row.try_get("error_trace")?,
        change_type: row.try_get("type")?,
        tx_strategy: row.try_get("tx_strategy")?,
        target_system: row.try_get("target_system_id")?,
        order: row.try_get("change_order")?,
        recovery_strategy: row.try_get("recovery_strategy")?,
        transaction_flag: row.try_get("transaction_flag")?,
        system_change: row.try_get("system_change")?,
    })
}
