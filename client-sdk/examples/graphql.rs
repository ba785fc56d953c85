//! A revision of a schema, and data, at a GraphQL endpoint (`targets-tests/servers/schema-registry.mjs` is one).
//!
//! Needs `FLAMINGOCK_SERVER`, `FLAMINGOCK_TOKEN`, `FLAMINGOCK_ENVIRONMENT`, `FLAMINGOCK_SERVICE` and `REGISTRY_URL`, which is
//! `$GRAPHQL_URL/admin` where `./run-targets --install --keep --only graphql` has started that one:
//!
//! ```text
//! cargo run -p flamingock --features graphql --example graphql
//! ```

use std::env;

use flamingock::{ChangeError, Flamingock, GraphQl, GraphQlError, GraphQlTarget, HttpError, Stage, change};
use serde::Deserialize;
use serde_json::{Value, json};

pub const BEFORE: &str = "type Query { ping: String }";
const AFTER: &str = "type Query { ping: String orders: [Order!]! } type Order { id: ID! }";

#[derive(Deserialize)]
struct Published {
    revision: u64,
    sdl: String,
}

/// Refused by the registry if somebody else publishes between the look and the change.
#[change(
    id = "schema-with-orders",
    order = "0001",
    author = "mara",
    target = "registry",
    recovery = "always_retry",
    rollback = schema_without_orders
)]
async fn schema_with_orders(registry: GraphQl) -> Result<(), ChangeError> {
    publish(&registry, BEFORE, AFTER, false).await
}

/// Taking a field away is breaking, so the registry must be told that it is meant.
async fn schema_without_orders(registry: GraphQl) -> Result<(), ChangeError> {
    publish(&registry, AFTER, BEFORE, true).await
}

async fn publish(registry: &GraphQl, from: &str, to: &str, force: bool) -> Result<(), ChangeError> {
    let published: Published = registry.execute("{ revision sdl }", json!({})).await?;
    if published.sdl == to {
        return Ok(());
    }
    if published.sdl != from {
        return Err("another schema was published than this change begins from".into());
    }
    let publish = "mutation ($sdl: String!, $expected: Int!, $force: Boolean!) { \
                   publish(sdl: $sdl, expected: $expected, force: $force) }";
    let variables = json!({"sdl": to, "expected": published.revision, "force": force});
    registry.execute::<Value>(publish, variables).await?;
    Ok(())
}

const CATEGORIES: [&str; 2] = ["tea", "coffee"];

#[change(
    id = "hot-drinks",
    order = "0002",
    author = "lin",
    target = "registry",
    rollback = no_hot_drinks
)]
async fn hot_drinks(registry: GraphQl) -> Result<(), GraphQlError> {
    for name in CATEGORIES {
        let create = "mutation ($name: String!) { createCategory(name: $name) { id } }";
        registry.execute::<Value>(create, json!({"name": name})).await?;
    }
    Ok(())
}

/// By the ids that the endpoint has given; one that is gone counts as done.
async fn no_hot_drinks(registry: GraphQl) -> Result<(), GraphQlError> {
    let found: Value = registry.execute("{ categories { id name } }", json!({})).await?;
    for category in found["categories"].as_array().into_iter().flatten() {
        if CATEGORIES.iter().any(|name| category["name"] == *name) {
            let delete = "mutation ($id: ID!) { deleteCategory(id: $id) }";
            registry
                .execute::<Value>(delete, json!({"id": category["id"]}))
                .await?;
        }
    }
    Ok(())
}

pub fn target(address: &str) -> Result<GraphQlTarget, HttpError> {
    GraphQlTarget::new("registry", address)
}

pub fn stage() -> Stage {
    Stage::new("schema").change(schema_with_orders).change(hot_drinks)
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    tracing_subscriber::fmt().init();
    let target = target(&env::var("REGISTRY_URL")?)?;
    let app = Flamingock::from_env().target(target).stage(stage());
    app.build()?.run().await?;
    Ok(())
}
