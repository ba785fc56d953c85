//! The application: a shop that keeps its orders in PostgreSQL and its feature flags in a service of their own.
//!
//! This file is what a user of the SDK writes. The change units say what is to change and where; the coordination server
//! says what may run now; the application serves once all of it is in place.

use std::time::{Duration, Instant};

use anyhow::Result;
use flamingock::{Dep, Flamingock, PgTx, PostgresTarget, Stage, Target, TargetClient, change};
use sqlx::PgPool;

use crate::flag_api::Flags;
use crate::{show, variable};

/// Something of the application's own that a change needs.
struct Shop {
    currency: &'static str,
}

#[change(id = "create-orders", order = "0001", author = "mara", target = "orders-db")]
async fn create_orders(tx: &mut PgTx) -> Result<(), sqlx::Error> {
    sqlx::raw_sql(
        "CREATE TABLE orders (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, customer text NOT NULL, cents bigint NOT NULL);
         INSERT INTO orders (customer, cents) VALUES ('ada', 1250), ('grace', 990);",
    )
    .execute(&mut **tx)
    .await?;
    Ok(())
}

#[change(
    id = "orders-have-a-currency",
    order = "0002",
    author = "mara",
    target = "orders-db"
)]
async fn orders_have_a_currency(tx: &mut PgTx, shop: Dep<Shop>) -> Result<(), sqlx::Error> {
    sqlx::query("ALTER TABLE orders ADD COLUMN currency text")
        .execute(&mut **tx)
        .await?;
    sqlx::query("UPDATE orders SET currency = $1")
        .bind(shop.currency)
        .execute(&mut **tx)
        .await?;
    sqlx::query("ALTER TABLE orders ALTER COLUMN currency SET NOT NULL")
        .execute(&mut **tx)
        .await?;
    Ok(())
}

/// No transaction spans an HTTP API: this one says how it is undone.
#[change(id = "announce-currencies", order = "0001", author = "lin", target = "flags", rollback = withdraw_currencies)]
async fn announce_currencies(flags: TargetClient<Flags>) -> Result<(), reqwest::Error> {
    flags.set("show-currency", true).await
}

async fn withdraw_currencies(flags: TargetClient<Flags>) -> Result<(), reqwest::Error> {
    flags.remove("show-currency").await
}

pub async fn run() -> Result<()> {
    tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        .with_env_filter("info,sqlx=warn")
        .without_time()
        .init();
    let pool = PgPool::connect(&variable("DATABASE_URL")?).await?;
    let flags = Flags::new(variable("FLAG_API_URL")?, Duration::from_secs(5))?;

    let started = Instant::now();
    let report = Flamingock::from_env()
        .target(PostgresTarget::new("orders-db", pool.clone()))
        .target(Target::non_transactional("flags", flags.clone()))
        .dependency(Shop { currency: "EUR" })
        .stage(
            Stage::new("schema")
                .change(create_orders)
                .change(orders_have_a_currency),
        )
        .stage(Stage::new("rollout").change(announce_currencies))
        .log_report(false)
        .build()?
        .run()
        .await;
    // A failed start carries the report of what was done before it, and what a person can do next.
    let report = match report {
        Ok(report) => report,
        Err(error) => {
            show::complain(&format!("{}\n{}", error.report(), error.next_steps()));
            return Err(error.into());
        }
    };
    show::say(&format!("{report}"));
    show::say(&format!(
        "changes settled in {} ms; the application starts",
        started.elapsed().as_millis()
    ));

    let (orders, currency): (i64, String) = sqlx::query_as("SELECT count(*), min(currency) FROM orders")
        .fetch_one(&pool)
        .await?;
    show::say(&format!(
        "the application sees {orders} orders in {currency}; flag show-currency is {}",
        flags
            .get("show-currency")
            .await?
            .map_or("absent", |on| if on { "on" } else { "off" })
    ));
    Ok(())
}
