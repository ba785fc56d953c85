//! PostgreSQL: beside the files in `changes/schema`, and in one order with them.

use flamingock::{Dep, PgTx, change};

/// What the shop gives to each customer that it has.
pub struct Welcome {
    pub cents: i64,
}

/// A column, and a card for each customer, in the amount that the application knows. In one transaction with its mark.
#[change(
    id = "orders-take-gift-cards",
    order = "0002",
    author = "mara",
    target = "orders-db"
)]
pub async fn orders_take_gift_cards(tx: &mut PgTx, welcome: Dep<Welcome>) -> Result<(), sqlx::Error> {
    sqlx::query("ALTER TABLE orders ADD COLUMN gift_card text REFERENCES gift_cards")
        .execute(&mut **tx)
        .await?;
    sqlx::query(
        "INSERT INTO gift_cards (code, cents) SELECT DISTINCT 'WELCOME-' || upper(customer), $1 FROM orders",
    )
    .bind(welcome.cents)
    .execute(&mut **tx)
    .await?;
    Ok(())
}
