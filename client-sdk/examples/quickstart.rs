//! A table and its first row, on PostgreSQL.
//!
//! Needs `FLAMINGOCK_SERVER`, `FLAMINGOCK_TOKEN`, `FLAMINGOCK_ENVIRONMENT`, `FLAMINGOCK_SERVICE` and `DATABASE_URL`:
//!
//! ```text
//! cargo run -p flamingock --features postgres --example quickstart
//! ```

use std::env;

use flamingock::{Dep, Flamingock, PgTx, PostgresTarget, Stage, change};
use sqlx::PgPool;

struct Shop {
    name: String,
}

#[change(id = "create-shops", order = "0001", author = "mara", target = "shop-db")]
async fn create_shops(tx: &mut PgTx) -> Result<(), sqlx::Error> {
    sqlx::query("CREATE TABLE shops (name text PRIMARY KEY)")
        .execute(&mut **tx)
        .await?;
    Ok(())
}

#[change(id = "first-shop", order = "0002", author = "mara", target = "shop-db")]
async fn first_shop(tx: &mut PgTx, shop: Dep<Shop>) -> Result<(), sqlx::Error> {
    sqlx::query("INSERT INTO shops VALUES ($1)")
        .bind(&shop.name)
        .execute(&mut **tx)
        .await?;
    Ok(())
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    tracing_subscriber::fmt().init(); // the report is logged at the end of the run
    let url = env::var("DATABASE_URL")
        .map_err(|_| "DATABASE_URL is not set: such as postgres://postgres@127.0.0.1/shop")?;
    let pool = PgPool::connect(&url).await?;

    Flamingock::from_env()
        .target(PostgresTarget::new("shop-db", pool))
        .dependency(Shop {
            name: "corner".to_owned(),
        })
        .stage(Stage::new("schema").change(create_shops).change(first_shop))
        .build()?
        .run()
        .await?;
    Ok(())
}
