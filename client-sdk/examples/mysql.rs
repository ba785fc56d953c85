//! A column with its values, and reference data, on MySQL or MariaDB.
//!
//! Needs `FLAMINGOCK_SERVER`, `FLAMINGOCK_TOKEN`, `FLAMINGOCK_ENVIRONMENT`, `FLAMINGOCK_SERVICE` and `MYSQL_URL`:
//!
//! ```text
//! cargo run -p flamingock --features mysql --example mysql
//! ```

use std::env;

use flamingock::{Flamingock, MySqlTarget, MySqlTx, Stage, TargetClient, change};
use sqlx::MySqlPool;

#[change(
    id = "create-tables",
    order = "0001",
    author = "mara",
    target = "shop-db",
    transactional = false,
    recovery = "always_retry",
    rollback = drop_tables
)]
async fn create_tables(pool: TargetClient<MySqlPool>) -> Result<(), sqlx::Error> {
    for statement in [
        "CREATE TABLE IF NOT EXISTS customers (id BIGINT PRIMARY KEY, spent BIGINT NOT NULL)",
        "CREATE TABLE IF NOT EXISTS tax_rates (country CHAR(2), year INT, percent INT NOT NULL, PRIMARY KEY (country, year))",
    ] {
        sqlx::query(statement).execute(&*pool).await?;
    }
    Ok(())
}

async fn drop_tables(pool: TargetClient<MySqlPool>) -> Result<(), sqlx::Error> {
    sqlx::query("DROP TABLE IF EXISTS tax_rates")
        .execute(&*pool)
        .await?;
    sqlx::query("DROP TABLE IF EXISTS customers")
        .execute(&*pool)
        .await?;
    Ok(())
}

/// DDL commits by itself here, so this is no transaction: each step looks for what an earlier attempt has done.
#[change(
    id = "customer-tiers",
    order = "0002",
    author = "mara",
    target = "shop-db",
    transactional = false,
    recovery = "always_retry",
    rollback = drop_tiers
)]
async fn customer_tiers(pool: TargetClient<MySqlPool>) -> Result<(), sqlx::Error> {
    if !has_tiers(&pool).await? {
        sqlx::query("ALTER TABLE customers ADD COLUMN tier VARCHAR(8)")
            .execute(&*pool)
            .await?;
    }
    // In batches by primary key, so that no lock is held for long.
    loop {
        let filled = sqlx::query(
            "UPDATE customers SET tier = IF(spent >= 1000, 'gold', 'basic') WHERE tier IS NULL ORDER BY id LIMIT 500",
        )
        .execute(&*pool)
        .await?;
        if filled.rows_affected() == 0 {
            break;
        }
    }
    // Repeating it changes nothing.
    sqlx::query("ALTER TABLE customers MODIFY tier VARCHAR(8) NOT NULL")
        .execute(&*pool)
        .await?;
    Ok(())
}

async fn drop_tiers(pool: TargetClient<MySqlPool>) -> Result<(), sqlx::Error> {
    if has_tiers(&pool).await? {
        sqlx::query("ALTER TABLE customers DROP COLUMN tier")
            .execute(&*pool)
            .await?;
    }
    Ok(())
}

async fn has_tiers(pool: &MySqlPool) -> Result<bool, sqlx::Error> {
    let found: i64 = sqlx::query_scalar(
        "SELECT COUNT(*) FROM information_schema.columns \
         WHERE table_schema = DATABASE() AND table_name = 'customers' AND column_name = 'tier'",
    )
    .fetch_one(pool)
    .await?;
    Ok(found > 0)
}

/// Rows only, so they take effect together, or not at all.
#[change(id = "tax-rates-2027", order = "0003", author = "lin", target = "shop-db")]
async fn tax_rates(tx: &mut MySqlTx) -> Result<(), sqlx::Error> {
    for (country, percent) in [("DE", 19), ("ES", 21), ("LU", 17)] {
        sqlx::query("INSERT INTO tax_rates (country, year, percent) VALUES (?, 2027, ?)")
            .bind(country)
            .bind(percent)
            .execute(&mut **tx)
            .await?;
    }
    Ok(())
}

pub fn target(pool: MySqlPool) -> MySqlTarget {
    MySqlTarget::new("shop-db", pool)
}

pub fn stage() -> Stage {
    Stage::new("schema")
        .change(create_tables)
        .change(customer_tiers)
        .change(tax_rates)
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    tracing_subscriber::fmt().init();
    let url =
        env::var("MYSQL_URL").map_err(|_| "MYSQL_URL is not set: such as mysql://root@127.0.0.1/shop")?;
    let pool = MySqlPool::connect(&url).await?;
    let app = Flamingock::from_env().target(target(pool)).stage(stage());
    app.build()?.run().await?;
    Ok(())
}
