//! A revision of a schema, and data, at a GraphQL endpoint (`targets-tests/servers/schema-registry.mjs` is one).
//!
//! Needs `FLAMINGOCK_SERVER`, `FLAMINGOCK_TOKEN`, `FLAMINGOCK_ENVIRONMENT`, `FLAMINGOCK_SERVICE` and `REGISTRY_URL`, which is
//! `$GRAPHQL_URL/admin` where `./run-targets --install --keep --only graphql` has started that one:
//!
//! ```text
//! cargo run -p flamingock --features graphql --example graphql
//! ```

use std::{collections::BTreeSet, env, sync::Mutex};

use flamingock::{
    ChangeError, Dep, Flamingock, GraphQl, GraphQlError, GraphQlTarget, HttpError, Stage, change,
};
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

/// Names of the categories that are this process's doing, also where the answer was lost. The rollback runs in the same
/// process, and must leave alone what somebody else has made under one of these names.
#[derive(Default)]
pub struct Ours(Mutex<BTreeSet<&'static str>>);

impl Ours {
    fn names(&self) -> BTreeSet<&'static str> {
        self.0.lock().expect("nothing panics inside").clone()
    }

    fn claim(&self, name: &'static str) {
        self.0.lock().expect("nothing panics inside").insert(name);
    }

    fn disclaim(&self, name: &str) {
        self.0.lock().expect("nothing panics inside").remove(name);
    }
}

#[change(
    id = "hot-drinks",
    order = "0002",
    author = "lin",
    target = "registry",
    rollback = no_hot_drinks
)]
async fn hot_drinks(registry: GraphQl, ours: Dep<Ours>) -> Result<(), GraphQlError> {
    for name in CATEGORIES {
        ours.claim(name);
        let create = "mutation ($name: String!) { createCategory(name: $name) { id } }";
        let made = registry.execute::<Value>(create, json!({"name": name})).await;
        if made.as_ref().is_err_and(|error| error.code() == Some("EXISTS")) {
            ours.disclaim(name);
        }
        made?;
    }
    Ok(())
}

/// By the ids that the endpoint has given; one that is gone counts as done.
async fn no_hot_drinks(registry: GraphQl, ours: Dep<Ours>) -> Result<(), GraphQlError> {
    let ours = ours.names();
    let found: Value = registry.execute("{ categories { id name } }", json!({})).await?;
    for category in found["categories"].as_array().into_iter().flatten() {
        if category["name"].as_str().is_some_and(|name| ours.contains(name)) {
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
    let url = env::var("REGISTRY_URL").map_err(|_| "REGISTRY_URL is not set: the GraphQL endpoint")?;
    let target = target(&url)?;
    let app = Flamingock::from_env()
        .target(target)
        .dependency(Ours::default())
        .stage(stage());
    app.build()?.run().await?;
    Ok(())
}
