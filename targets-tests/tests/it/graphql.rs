//! A schema registry on GraphQL Yoga. It has one schema, so one test at a time.

use flamingock::{Builder, ChangeKey, ChangeStatus, GraphQl};
use flamingock_targets_tests::{Fidelity, System, World, message};
use serde_json::{Value, json};
use tokio::sync::{Mutex, MutexGuard};

#[expect(dead_code, reason = "its main function")]
#[path = "../../../client-sdk/examples/graphql.rs"]
mod example;

static ALONE: Mutex<()> = Mutex::const_new(());

struct Registry {
    _alone: MutexGuard<'static, ()>,
    _system: System,
    url: String,
    client: GraphQl,
}

impl Registry {
    async fn new() -> Option<Self> {
        let url = System::address("GraphQL", "GRAPHQL_URL")?;
        let alone = ALONE.lock().await;
        let client = client(&format!("{url}/admin"));
        let is: Value = client
            .execute("{ version categories { id } }", json!({}))
            .await
            .unwrap();
        let version = format!("GraphQL Yoga {}", is["version"].as_str().unwrap_or("?"));
        let registry = Self {
            _alone: alone,
            _system: System::new("GraphQL", Fidelity::Real, version),
            url,
            client,
        };
        registry.publish(example::BEFORE).await;
        for category in is["categories"].as_array().unwrap() {
            registry
                .admin(
                    "mutation ($id: ID!) { deleteCategory(id: $id) }",
                    json!({"id": category["id"]}),
                )
                .await;
        }
        Some(registry)
    }

    async fn admin(&self, operation: &str, variables: Value) -> Value {
        self.client.execute(operation, variables).await.unwrap()
    }

    async fn publish(&self, sdl: &str) {
        let revision = self.admin("{ revision }", json!({})).await["revision"].clone();
        let publish = "mutation ($sdl: String!, $expected: Int!) { publish(sdl: $sdl, expected: $expected, force: true) }";
        self.admin(publish, json!({"sdl": sdl, "expected": revision}))
            .await;
    }

    /// Whether the endpoint that serves the schema knows the field.
    async fn serves_orders(&self) -> bool {
        let served = client(&format!("{}/graphql", self.url));
        let schema: Value = served
            .execute("{ __type(name: \"Query\") { fields { name } } }", json!({}))
            .await
            .unwrap();
        schema.to_string().contains("orders")
    }

    async fn categories(&self) -> usize {
        let found = self.admin("{ categories { id } }", json!({})).await;
        found["categories"].as_array().unwrap().len()
    }

    fn app(&self, world: &World) -> Builder {
        let target = example::target(&format!("{}/admin", self.url)).unwrap();
        world
            .app()
            .target(target)
            .dependency(example::Ours::default())
            .stage(example::stage())
    }
}

fn client(url: &str) -> GraphQl {
    GraphQl::new(&example::target(url).unwrap(), ChangeKey::new("test"))
}

#[tokio::test]
async fn the_example_is_applied_once_and_the_schema_is_served() {
    let Some(registry) = Registry::new().await else {
        return;
    };
    let world = World::new().await;
    assert!(!registry.serves_orders().await);
    for expected in [ChangeStatus::Applied, ChangeStatus::AlreadyApplied] {
        let report = world.start(registry.app(&world)).await.unwrap();
        assert_eq!(report.change("schema-with-orders").unwrap().status, expected);
    }
    assert!(registry.serves_orders().await);
    assert_eq!(registry.categories().await, 2);
}

#[tokio::test]
async fn a_refusal_in_the_middle_is_an_error_and_undone() {
    let Some(registry) = Registry::new().await else {
        return;
    };
    let world = World::new().await;
    let create = "mutation { createCategory(name: \"coffee\") { id } }";
    registry.admin(create, json!({})).await;
    let error = world.start(registry.app(&world)).await.unwrap_err();
    let told = message(&error, "hot-drinks");
    assert!(told.contains("there is a category coffee"), "{told}");
    assert_eq!(world.history("hot-drinks").await, "STARTED FAILED ROLLED_BACK");
    let left = registry.admin("{ categories { id name } }", json!({})).await["categories"].clone();
    assert_eq!(left.as_array().unwrap().len(), 1, "{left}");
    assert_eq!(left[0]["name"], "coffee", "what somebody else made stays");
    let delete = "mutation ($id: ID!) { deleteCategory(id: $id) }";
    registry.admin(delete, json!({"id": left[0]["id"]})).await;
    world.start(registry.app(&world)).await.unwrap();
    assert_eq!(registry.categories().await, 2);
}

#[tokio::test]
async fn a_breaking_or_stale_schema_is_refused_with_its_code() {
    let Some(registry) = Registry::new().await else {
        return;
    };
    let publish = "mutation ($sdl: String!, $expected: Int!) { publish(sdl: $sdl, expected: $expected) }";
    let revision = registry.admin("{ revision }", json!({})).await["revision"]
        .as_i64()
        .unwrap();
    for (sdl, expected, code) in [
        ("type Query { other: String }", revision, "BREAKING"),
        (example::BEFORE, revision - 1, "REVISION"),
    ] {
        let variables = json!({"sdl": sdl, "expected": expected});
        let refused = registry
            .client
            .execute::<Value>(publish, variables)
            .await
            .unwrap_err();
        assert_eq!(refused.code(), Some(code), "{refused}");
    }
}

#[tokio::test]
async fn after_a_death_the_repetition_finds_it_done_and_drift_is_left_alone() {
    let Some(registry) = Registry::new().await else {
        return;
    };
    let world = World::new().await;
    world.die_before_the_report(registry.app(&world)).await;
    assert!(registry.serves_orders().await);
    registry.publish("type Query { ping: String theirs: Int }").await;
    let error = world.start(registry.app(&world)).await.unwrap_err();
    assert!(message(&error, "schema-with-orders").contains("another schema"));
    assert!(!registry.serves_orders().await, "somebody's schema stays");
    assert_eq!(
        world.history("schema-with-orders").await,
        "STARTED STARTED FAILED ROLLBACK_FAILED"
    );
    // It may be repeated, as its author says, so nobody has to be asked.
    registry.publish(example::BEFORE).await;
    world.start(registry.app(&world)).await.unwrap();
    assert!(registry.serves_orders().await);
}
