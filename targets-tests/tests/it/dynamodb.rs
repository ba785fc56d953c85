//! DynamoDB. DynamoDB Local keeps the tables of each access key apart, so each test has its own.

use std::sync::Arc;

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::config::{BehaviorVersion, Config, Credentials, Region};
use aws_sdk_dynamodb::types::{AttributeValue, Put, Select, Update};
use flamingock::{Builder, ChangeError, ChangeStatus, Dep, DynamoDbTx, Stage, TargetClient, change};
use flamingock_targets_tests::{Cut, Fidelity, System, TcpProxy, World, message};
use futures_util::future::join_all;
use tokio::sync::Barrier;
use uuid::Uuid;

#[expect(dead_code, reason = "its main function")]
#[path = "../../../client-sdk/examples/dynamodb.rs"]
mod example;

struct Db {
    _system: System,
    url: String,
    account: String,
    client: Client,
}

impl Db {
    /// The variable holds an address without a path, as `http://127.0.0.1:8000`, of a DynamoDB Local.
    async fn new() -> Option<Self> {
        let url = System::address("DynamoDB", "DYNAMODB_URL")?;
        let account = Uuid::new_v4().simple().to_string();
        let client = client(&url, &account);
        client.list_tables().send().await.unwrap();
        Some(Self {
            _system: System::new(
                "DynamoDB",
                Fidelity::VendorLocal,
                System::version_of("DYNAMODB_URL"),
            ),
            url,
            account,
            client,
        })
    }

    /// With the tables of the example.
    async fn with_tables(world: &World) -> Option<Self> {
        let db = Self::new().await?;
        let tables = Stage::new("tables").change(example::orders_table);
        world.start(db.app(world).stage(tables)).await.unwrap();
        Some(db)
    }

    fn app(&self, world: &World) -> Builder {
        world.app().target(example::target(self.client.clone()))
    }

    /// Through a proxy, which may cut.
    fn app_through(&self, world: &World, proxy: &TcpProxy) -> Builder {
        let url = format!("http://127.0.0.1:{}", proxy.port());
        world.app().target(example::target(client(&url, &self.account)))
    }

    async fn proxy(&self) -> TcpProxy {
        TcpProxy::to(self.url.trim_start_matches("http://").trim_end_matches('/')).await
    }

    async fn count(&self, table: &str) -> i32 {
        let all = self.client.scan().table_name(table).consistent_read(true);
        all.select(Select::Count).send().await.unwrap().count
    }

    async fn put(&self, id: &str) {
        let id = AttributeValue::S(id.to_owned());
        self.client
            .put_item()
            .table_name("countries")
            .item("id", id)
            .send()
            .await
            .unwrap();
    }

    async fn delete(&self, id: &str) {
        let id = AttributeValue::S(id.to_owned());
        self.client
            .delete_item()
            .table_name("countries")
            .key("id", id)
            .send()
            .await
            .unwrap();
    }

    /// What there is in place of marks: `APPLIED`, `RULED_OUT`.
    async fn marks(&self) -> Vec<String> {
        let all = self
            .client
            .scan()
            .table_name("flamingock_marks")
            .consistent_read(true);
        let items = all.send().await.unwrap().items.unwrap_or_default();
        let operation = |item: &std::collections::HashMap<String, AttributeValue>| {
            item["operation"].as_s().cloned().unwrap_or_default()
        };
        items.iter().map(operation).collect()
    }

    async fn visits(&self) -> Option<String> {
        let id = AttributeValue::S("visits".to_owned());
        let get = self
            .client
            .get_item()
            .table_name("countries")
            .key("id", id)
            .consistent_read(true);
        let item = get.send().await.unwrap().item?;
        item["n"].as_n().ok().cloned()
    }
}

fn client(url: &str, account: &str) -> Client {
    let config = Config::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::new("eu-central-1"))
        .endpoint_url(url)
        .credentials_provider(Credentials::new(account, "secret", None, None, "test"));
    Client::from_conf(config.build())
}

#[tokio::test]
async fn the_example_is_applied_once() {
    let Some(db) = Db::new().await else { return };
    let world = World::new().await;
    for expected in [ChangeStatus::Applied, ChangeStatus::AlreadyApplied] {
        let report = world.start(db.app(&world).stage(example::stage())).await.unwrap();
        for change in ["orders-table", "orders-by-customer", "countries-2027"] {
            assert_eq!(report.change(change).unwrap().status, expected, "{change}");
        }
    }
    assert_eq!(db.count("countries").await, 3);
    let found = db.client.query().table_name("orders").index_name("by_customer");
    found
        .key_condition_expression("customer = :c")
        .expression_attribute_values(":c", AttributeValue::S("ann".to_owned()))
        .send()
        .await
        .expect("the index can be used");
    assert_eq!(db.marks().await, [""; 0]);
}

#[tokio::test]
async fn a_failure_in_the_middle_of_a_transaction_leaves_nothing_and_says_which_operation() {
    let world = World::new().await;
    let Some(db) = Db::with_tables(&world).await else {
        return;
    };
    let start = || {
        world.start(
            db.app(&world)
                .stage(Stage::new("data").change(example::countries)),
        )
    };
    db.put("ES").await;
    let error = start().await.unwrap_err();
    let told = message(&error, "countries-2027");
    assert!(
        told.contains("operation 2 of the change: ConditionalCheckFailed"),
        "{told}"
    );
    assert_eq!(
        world.history("countries-2027").await,
        "STARTED FAILED ROLLED_BACK"
    );
    assert_eq!((db.count("countries").await, db.marks().await.len()), (1, 0));

    db.delete("ES").await;
    start().await.unwrap();
    assert_eq!(
        world.history("countries-2027").await,
        "STARTED FAILED ROLLED_BACK STARTED APPLIED"
    );
    assert_eq!(db.count("countries").await, 3);
}

#[tokio::test]
async fn an_index_of_a_change_that_fails_is_removed_and_the_next_start_goes_on() {
    /// The index, and then something that fails for as long as a country is missing.
    #[change(
        id = "index-and-more",
        order = "0001",
        target = "orders-db",
        transactional = false,
        rollback = example::no_index
    )]
    async fn index_and_more(
        db: TargetClient<Client>,
        stop: flamingock::Cancellation,
    ) -> Result<(), ChangeError> {
        example::add_index(&db, &stop).await?;
        let id = AttributeValue::S("FR".to_owned());
        let put = db.put_item().table_name("countries").item("id", id);
        put.condition_expression("attribute_exists(id)").send().await?;
        Ok(())
    }
    let world = World::new().await;
    let Some(db) = Db::with_tables(&world).await else {
        return;
    };
    let start = || world.start(db.app(&world).stage(Stage::new("data").change(index_and_more)));
    start().await.unwrap_err();
    assert!(example::index(&db.client).await.unwrap().is_none());
    assert_eq!(
        world.history("index-and-more").await,
        "STARTED FAILED ROLLED_BACK"
    );
    db.put("FR").await;
    start().await.unwrap();
    assert!(example::index(&db.client).await.unwrap().is_some());
}

#[tokio::test]
async fn after_a_death_the_index_that_is_there_is_enough() {
    let world = World::new().await;
    let Some(db) = Db::with_tables(&world).await else {
        return;
    };
    let app = || {
        db.app(&world)
            .stage(Stage::new("data").change(example::orders_by_customer))
    };
    world.die_before_the_report(app()).await;
    world.start(app()).await.unwrap();
    assert_eq!(
        world.history("orders-by-customer").await,
        "STARTED STARTED APPLIED"
    );
}

#[change(id = "visit", order = "0001", target = "orders-db")]
async fn visit(tx: &mut DynamoDbTx) -> Result<(), ChangeError> {
    let one = Update::builder()
        .table_name("countries")
        .key("id", AttributeValue::S("visits".to_owned()))
        .update_expression("ADD n :one")
        .expression_attribute_values(":one", AttributeValue::N("1".to_owned()));
    tx.update(one.build()?)?;
    Ok(())
}

fn visiting() -> Stage {
    Stage::new("visits").change(visit)
}

#[tokio::test]
async fn after_a_death_between_commit_and_report_the_mark_tells() {
    let world = World::new().await;
    let Some(db) = Db::with_tables(&world).await else {
        return;
    };
    world
        .die_before_the_report(db.app(&world).stage(visiting()))
        .await;
    assert_eq!(db.visits().await.as_deref(), Some("1"));
    assert_eq!(db.marks().await, ["APPLIED"]);

    world.start(db.app(&world).stage(visiting())).await.unwrap();
    assert_eq!(world.history("visit").await, "STARTED APPLIED");
    assert_eq!(db.visits().await.as_deref(), Some("1"), "not again");
    assert_eq!(db.marks().await, [""; 0]);
}

#[tokio::test]
async fn a_connection_lost_at_commit_is_settled_by_the_mark() {
    for (cut, committed) in [(Cut::BeforeMessage, false), (Cut::AfterAnswer, true)] {
        let world = World::new().await;
        let Some(db) = Db::with_tables(&world).await else {
            return;
        };
        let proxy = db.proxy().await;
        proxy.cut(cut, b"TransactWriteItems");
        let outcome = world
            .start(db.app_through(&world, &proxy).stage(visiting()))
            .await;
        assert!(proxy.has_cut());
        assert_eq!(outcome.is_ok(), committed, "{cut:?}: {outcome:?}");
        let (history, visits) = if committed {
            ("STARTED APPLIED", Some("1"))
        } else {
            ("STARTED FAILED ROLLED_BACK", None)
        };
        assert_eq!(world.history("visit").await, history);
        assert_eq!(db.visits().await.as_deref(), visits);
    }
}

/// The transaction that nobody has answered arrives when it was given up, and even when the next start has applied the
/// change and has removed its mark.
#[tokio::test]
async fn a_commit_that_arrives_late_does_nothing_any_more() {
    for after_the_next_start in [false, true] {
        let world = World::new().await;
        let Some(db) = Db::with_tables(&world).await else {
            return;
        };
        let proxy = db.proxy().await;
        proxy.cut(Cut::Held, b"TransactWriteItems");
        let error = world
            .start(db.app_through(&world, &proxy).stage(visiting()))
            .await
            .unwrap_err();
        assert_eq!(
            error.report().change("visit").unwrap().status,
            ChangeStatus::RolledBack
        );
        assert_eq!(world.history("visit").await, "STARTED FAILED ROLLED_BACK");
        assert_eq!(db.marks().await, ["RULED_OUT"]);
        if after_the_next_start {
            world.start(db.app(&world).stage(visiting())).await.unwrap();
            assert_eq!(db.visits().await.as_deref(), Some("1"));
        }
        let answer = proxy.deliver().await;
        assert!(answer.contains("TransactionCanceledException"), "{answer}");
        let expected = after_the_next_start.then_some("1");
        assert_eq!(db.visits().await.as_deref(), expected);
        world.start(db.app(&world).stage(visiting())).await.unwrap();
        assert_eq!(db.visits().await.as_deref(), Some("1"));
        assert_eq!(db.marks().await, ["RULED_OUT"]);
    }
}

/// DynamoDB takes a request's token for the same request for ten minutes, and would do nothing.
#[tokio::test]
async fn what_was_undone_by_hand_is_really_applied_again() {
    let world = World::new().await;
    let Some(db) = Db::with_tables(&world).await else {
        return;
    };
    let stage = || Stage::new("data").change(example::countries);
    world.start(db.app(&world).stage(stage())).await.unwrap();
    for code in ["DE", "ES", "LU"] {
        db.delete(code).await;
    }
    // Of a server that knows nothing of it, and has the same ids.
    let again = World::new().await;
    again.start(db.app(&again).stage(stage())).await.unwrap();
    assert_eq!(db.count("countries").await, 3);
}

#[tokio::test]
async fn several_that_all_believe_in_their_lock_apply_it_once() {
    /// Each waits for the others, so that all are in the middle at once.
    #[change(id = "visit", order = "0001", target = "orders-db")]
    async fn together(tx: &mut DynamoDbTx, all: Dep<Arc<Barrier>>) -> Result<(), ChangeError> {
        let one = Update::builder()
            .table_name("countries")
            .key("id", AttributeValue::S("visits".to_owned()))
            .update_expression("ADD n :one")
            .expression_attribute_values(":one", AttributeValue::N("1".to_owned()));
        tx.update(one.build()?)?;
        all.wait().await;
        Ok(())
    }
    let Some(db) = Db::with_tables(&World::new().await).await else {
        return;
    };
    let all = Arc::new(Barrier::new(3));
    // Each has a server of its own, with the same ids.
    let starts = (0..3).map(|_| async {
        let world = World::new().await;
        let app = db
            .app(&world)
            .dependency(all.clone())
            .stage(Stage::new("s").change(together));
        world.die_before_the_report_if_it_commits(app).await;
    });
    join_all(starts).await;
    assert_eq!(db.visits().await.as_deref(), Some("1"));
}

#[tokio::test]
async fn ninety_nine_operations_fit_beside_the_mark_and_one_more_is_refused_before_anything_is_sent() {
    #[change(id = "many", order = "0001", target = "orders-db")]
    async fn many(tx: &mut DynamoDbTx, count: Dep<usize>) -> Result<(), ChangeError> {
        for number in 0..*count {
            let id = AttributeValue::S(number.to_string());
            tx.put(Put::builder().table_name("countries").item("id", id).build()?)?;
        }
        Ok(())
    }
    let world = World::new().await;
    let Some(db) = Db::with_tables(&world).await else {
        return;
    };
    let app = |count: usize| {
        let app = db.app(&world).dependency(count);
        app.stage(Stage::new("s").change(many))
    };
    let error = world.start(app(100)).await.unwrap_err();
    assert!(
        message(&error, "many").contains("split the change"),
        "{}",
        message(&error, "many")
    );
    assert_eq!(db.count("countries").await, 0);
    world.start(app(99)).await.unwrap();
    assert_eq!(db.count("countries").await, 99);
}
