//! A collection with a unique index, and documents in a new shape, in MongoDB.
//!
//! Needs `FLAMINGOCK_SERVER`, `FLAMINGOCK_TOKEN`, `FLAMINGOCK_ENVIRONMENT`, `FLAMINGOCK_SERVICE` and `MONGODB_URI`, of a
//! replica set:
//!
//! ```text
//! cargo run -p flamingock --features mongodb --example mongodb
//! ```

use std::env;

use flamingock::{Flamingock, MongoDbTarget, MongoDbTx, Stage, TargetClient, change};
use mongodb::{
    Client, Database, IndexModel,
    bson::{Document, doc},
    error::{ErrorKind, Result},
    options::IndexOptions,
};

const INDEX: &str = "sku_unique";
const NAMESPACE_EXISTS: i32 = 48;

#[change(
    id = "products-collection",
    order = "0001",
    author = "mara",
    target = "shop-db",
    transactional = false,
    recovery = "always_retry",
    rollback = no_products
)]
pub async fn products_collection(db: TargetClient<Database>) -> Result<()> {
    match db.create_collection("products").await {
        // An earlier attempt may have made it.
        Err(error) if matches!(&*error.kind, ErrorKind::Command(error) if error.code == NAMESPACE_EXISTS) => {
        }
        other => other?,
    }
    let options = IndexOptions::builder().name(INDEX.to_owned()).unique(true);
    let index = IndexModel::builder()
        .keys(doc! {"sku": 1})
        .options(options.build());
    db.collection::<Document>("products")
        .create_index(index.build())
        .await?;
    Ok(())
}

/// Somebody's documents stay, and with them the collection.
async fn no_products(db: TargetClient<Database>) -> Result<()> {
    let products = db.collection::<Document>("products");
    if db.list_collection_names().await?.contains(&"products".to_owned()) {
        if products.list_index_names().await?.contains(&INDEX.to_owned()) {
            products.drop_index(INDEX).await?;
        }
        if products.find_one(doc! {}).await?.is_none() {
            products.drop().await?;
        }
    }
    Ok(())
}

/// Products of schema 1 say `name` where they are to say `title`. Each operation is given the session: without it, it would
/// not be part of the transaction.
#[change(id = "products-schema-2", order = "0002", author = "lin", target = "shop-db")]
pub async fn products_schema_2(tx: &mut MongoDbTx) -> Result<()> {
    let products = tx.database().collection::<Document>("products");
    products
        .update_many(
            doc! {"schema": 1},
            doc! {"$rename": {"name": "title"}, "$set": {"schema": 2}},
        )
        .session(tx.session())
        .await?;
    let schemas = tx.database().collection::<Document>("schemas");
    schemas
        .insert_one(doc! {"_id": "products", "schema": 2})
        .session(tx.session())
        .await?;
    Ok(())
}

pub fn target(database: Database) -> MongoDbTarget {
    MongoDbTarget::new("shop-db", database)
}

pub fn stage() -> Stage {
    Stage::new("data")
        .change(products_collection)
        .change(products_schema_2)
}

#[tokio::main]
async fn main() -> std::result::Result<(), Box<dyn std::error::Error>> {
    tracing_subscriber::fmt().init();
    let uri = env::var("MONGODB_URI")
        .map_err(|_| "MONGODB_URI is not set: such as mongodb://127.0.0.1:27017/?replicaSet=rs0")?;
    let client = Client::with_uri_str(uri).await?;
    let app = Flamingock::from_env()
        .target(target(client.database("shop")))
        .stage(stage());
    app.build()?.run().await?;
    Ok(())
}
