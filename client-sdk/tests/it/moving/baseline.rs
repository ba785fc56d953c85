// Shown by docs/moving.md, and included by the tests of each tool beside what differs between them.

use flamingock::{ChangeError, PgTx, change};
use sqlx::{AssertSqlSafe, Row};

/// All of it is one transaction: a new database has everything or nothing.
#[change(id = "baseline", order = "0000", author = "mara", target = "shop-db")]
async fn baseline(tx: &mut PgTx) -> Result<(), ChangeError> {
    match latest(tx).await?.as_deref() {
        Some(LAST) => Ok(()),
        Some(earlier) => Err(format!(
            "the database is at {earlier}, not at {LAST}: start the last version that had the old tool first"
        )
        .into()),
        None => {
            sqlx::raw_sql(SCHEMA).execute(&mut **tx).await?;
            // A dump sets the search path, and more, for the whole session, which is one of the application's pool.
            sqlx::raw_sql("RESET ALL").execute(&mut **tx).await?;
            Ok(())
        }
    }
}

/// The old tool's last migration that is complete. `None` where it has done nothing.
async fn latest(tx: &mut PgTx) -> Result<Option<String>, sqlx::Error> {
    let was_here: bool = sqlx::query_scalar("SELECT to_regclass($1) IS NOT NULL")
        .bind(OLD_TABLE)
        .fetch_one(&mut **tx)
        .await?;
    if !was_here {
        return Ok(None);
    }
    let row = sqlx::query(AssertSqlSafe(OLD_LATEST))
        .fetch_optional(&mut **tx)
        .await?;
    row.map_or(Ok(None), |row| row.try_get(0))
}
