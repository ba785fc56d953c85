//! RabbitMQ, in a virtual host of its own for each test.

use flamingock::{Builder, ChangeStatus, RabbitMq, RabbitMqPolicy};
use flamingock_targets_tests::{Fidelity, System, World, message};
use reqwest::{Client, Method, Url};
use serde_json::{Value, json};
use uuid::Uuid;

#[expect(dead_code, reason = "its main function")]
#[path = "../../../client-sdk/examples/rabbitmq.rs"]
mod example;

struct Broker {
    _system: System,
    url: Url,
    vhost: String,
}

impl Broker {
    /// The variable holds user and password, as `http://guest:guest@127.0.0.1:15672`.
    async fn new() -> Option<Self> {
        let url: Url = System::address("RabbitMQ", "RABBITMQ_URL")?.parse().unwrap();
        let vhost = format!("t/{}", Uuid::new_v4());
        let overview = call(&url, Method::GET, &["overview"], Value::Null).await;
        let version = overview["rabbitmq_version"].as_str().unwrap_or("?");
        call(&url, Method::PUT, &["vhosts", &vhost], json!({})).await;
        Some(Self {
            _system: System::new("RabbitMQ", Fidelity::Real, version),
            url,
            vhost,
        })
    }

    async fn call(&self, method: Method, path: &[&str], body: Value) -> Value {
        call(&self.url, method, path, body).await
    }

    fn target(&self) -> flamingock::RabbitMqTarget {
        let mut address = self.url.clone();
        address.set_username("").unwrap();
        address.set_password(None).unwrap();
        let password = self.url.password().unwrap_or_default();
        example::target(address.as_str(), self.url.username(), password, &self.vhost).unwrap()
    }

    fn app(&self, world: &World) -> Builder {
        world.app().target(self.target()).stage(example::stage())
    }

    fn client(&self) -> RabbitMq {
        self.target().client()
    }

    async fn publish(&self, routing_key: &str) {
        let body = json!({"properties": {"delivery_mode": 2}, "routing_key": routing_key, "payload": "x", "payload_encoding": "string"});
        let path = ["exchanges", &self.vhost, "orders", "publish"];
        let answer = self.call(Method::POST, &path, body).await;
        assert_eq!(answer["routed"], true, "it arrives");
    }
}

async fn call(broker: &Url, method: Method, path: &[&str], body: Value) -> Value {
    let mut url = broker.clone();
    url.path_segments_mut()
        .unwrap()
        .pop_if_empty()
        .push("api")
        .extend(path);
    let request = Client::new().request(method, url).json(&body);
    let answer = request.send().await.unwrap().error_for_status().unwrap();
    let text = answer.text().await.unwrap();
    serde_json::from_str(&text).unwrap_or_default()
}

#[tokio::test]
async fn the_example_is_applied_once_and_messages_arrive() {
    let Some(broker) = Broker::new().await else { return };
    let world = World::new().await;
    for expected in [ChangeStatus::Applied, ChangeStatus::AlreadyApplied] {
        let report = world.start(broker.app(&world)).await.unwrap();
        assert_eq!(report.change("orders-for-billing").unwrap().status, expected);
    }
    broker.publish("order.placed").await;
    let policy = broker.client().policy("billing").await.unwrap().unwrap();
    assert_eq!(policy.definition["message-ttl"], 3_600_000);
}

#[tokio::test]
async fn a_failure_in_the_middle_is_undone_and_the_next_start_goes_on() {
    let Some(broker) = Broker::new().await else { return };
    let (world, client) = (World::new().await, broker.client());
    // A queue of that name of another type: the exchange is made, and then the queue refused.
    client.declare_queue("billing", json!({})).await.unwrap();
    let error = world.start(broker.app(&world)).await.unwrap_err();
    let told = message(&error, "orders-for-billing");
    assert!(told.contains("inequivalent arg"), "{told}");
    assert!(!client.has_exchange("orders").await.unwrap());
    assert_eq!(
        world.history("orders-for-billing").await,
        "STARTED FAILED ROLLED_BACK"
    );
    // The rollback has removed the empty queue as well, so the next start succeeds.
    world.start(broker.app(&world)).await.unwrap();
    assert!(client.is_bound("orders", "billing", "order.*").await.unwrap());
}

#[tokio::test]
async fn a_queue_with_messages_is_not_deleted() {
    let Some(broker) = Broker::new().await else { return };
    let (world, client) = (World::new().await, broker.client());
    client.declare_exchange("orders", "topic").await.unwrap();
    client.declare_queue("billing", json!({})).await.unwrap();
    client.bind("orders", "billing", "order.*").await.unwrap();
    broker.publish("order.placed").await;
    let error = world.start(broker.app(&world)).await.unwrap_err();
    assert!(message(&error, "orders-for-billing").contains("inequivalent arg"));
    assert!(client.has_queue("billing").await.unwrap(), "it holds a message");
    assert_eq!(
        world.history("orders-for-billing").await,
        "STARTED FAILED ROLLBACK_FAILED"
    );
    let path = ["queues", &broker.vhost, "billing", "contents"];
    broker.call(Method::DELETE, &path, Value::Null).await;
    client.delete_empty_queue("billing").await.unwrap();
    world.start(broker.app(&world)).await.unwrap();
}

#[tokio::test]
async fn a_queue_of_either_type_is_deleted_only_if_it_is_empty() {
    let Some(broker) = Broker::new().await else { return };
    let client = broker.client();
    client.declare_exchange("orders", "topic").await.unwrap();
    for (queue, arguments) in [
        ("classic", json!({})),
        ("quorum", json!({"x-queue-type": "quorum"})),
    ] {
        client.declare_queue(queue, arguments).await.unwrap();
        client.bind("orders", queue, queue).await.unwrap();
        broker.publish(queue).await;
        let error = client.delete_empty_queue(queue).await.unwrap_err();
        assert!(error.to_string().contains("holds messages"), "{error}");
        let path = ["queues", &broker.vhost, queue, "contents"];
        broker.call(Method::DELETE, &path, Value::Null).await;
        client.delete_empty_queue(queue).await.unwrap();
        assert!(!client.has_queue(queue).await.unwrap());
        client.delete_empty_queue(queue).await.unwrap();
    }
}

#[tokio::test]
async fn after_a_death_the_policy_from_before_the_first_attempt_can_be_put_back() {
    let Some(broker) = Broker::new().await else { return };
    let (world, client) = (World::new().await, broker.client());
    let before = RabbitMqPolicy {
        pattern: "^bill".to_owned(),
        definition: json!({"max-length": 10}),
        priority: 0,
        apply_to: "queues".to_owned(),
    };
    client.put_policy("billing", &before).await.unwrap();
    let stage = || flamingock::Stage::new("topology").change(example::late_orders_expire);
    let app = || world.app().target(broker.target()).stage(stage());
    world.die_before_the_report(app()).await;
    world.start(app()).await.unwrap();
    assert_eq!(
        world.history("late-orders-expire").await,
        "STARTED STARTED APPLIED"
    );
    let kept = broker
        .call(Method::GET, &["global-parameters"], Value::Null)
        .await;
    let ours = kept
        .as_array()
        .unwrap()
        .iter()
        .filter(|parameter| parameter["value"]["kept"]["definition"]["max-length"] == 10);
    assert!(ours.count() >= 1, "not that of the first attempt: {kept}");
}
