//! SQS. The queues have their names, so one test at a time.

use aws_config::BehaviorVersion;
use aws_sdk_sqs::Client;
use flamingock::{Builder, ChangeStatus, Sqs, Stage};
use flamingock_targets_tests::{System, World, aws, message};
use serde_json::Value;
use tokio::sync::{Mutex, MutexGuard};

#[expect(dead_code, reason = "its main function")]
#[path = "../../../client-sdk/examples/sqs.rs"]
mod example;

static ALONE: Mutex<()> = Mutex::const_new(());

struct Queues {
    _alone: MutexGuard<'static, ()>,
    _system: System,
    sdk: Client,
    client: Sqs,
}

impl Queues {
    async fn new() -> Option<Self> {
        let (system, _) = aws::system("AWS SQS", "AWS_ENDPOINT_URL_SQS").await?;
        let alone = ALONE.lock().await;
        let sdk = Client::new(&aws_config::load_defaults(BehaviorVersion::latest()).await);
        let queues = Self {
            _alone: alone,
            _system: system,
            client: example::target(sdk.clone()).client(),
            sdk,
        };
        for queue in ["orders", "orders-dead"] {
            queues.delete(queue).await;
        }
        Some(queues)
    }

    fn app(&self, world: &World, stage: Stage) -> Builder {
        world.app().target(example::target(self.sdk.clone())).stage(stage)
    }

    async fn delete(&self, queue: &str) {
        if let Some(url) = self.client.url(queue).await.unwrap() {
            self.sdk.delete_queue().queue_url(url).send().await.unwrap();
        }
    }

    async fn send(&self, queue: &str) {
        let url = self.client.url(queue).await.unwrap().unwrap();
        let send = self.sdk.send_message().queue_url(url).message_body("x");
        send.send().await.unwrap();
    }

    async fn attribute(&self, name: &str) -> String {
        let mut all = self.client.attributes("orders").await.unwrap();
        all.remove(name).unwrap_or_default()
    }
}

fn time_for_orders() -> Stage {
    Stage::new("queues").change(example::time_for_orders)
}

#[tokio::test]
async fn the_example_is_applied_once() {
    let Some(queues) = Queues::new().await else { return };
    let world = World::new().await;
    for expected in [ChangeStatus::Applied, ChangeStatus::AlreadyApplied] {
        let report = world.start(queues.app(&world, example::stage())).await.unwrap();
        assert_eq!(report.change("orders-queue").unwrap().status, expected);
    }
    let policy: Value = serde_json::from_str(&queues.attribute("RedrivePolicy").await).unwrap();
    let arn = policy["deadLetterTargetArn"].as_str().unwrap();
    assert!(arn.ends_with(":orders-dead"), "{arn}");
    assert_eq!(queues.attribute("VisibilityTimeout").await, "120");
}

#[tokio::test]
async fn a_failure_in_the_middle_is_undone_and_the_next_start_goes_on() {
    let Some(queues) = Queues::new().await else { return };
    let (world, client) = (World::new().await, &queues.client);
    // Another queue of that name: the one for dead letters is made, and then this one is left alone.
    client.create_queue("orders", &[]).await.unwrap();
    queues.send("orders").await;
    let error = world
        .start(queues.app(&world, example::stage()))
        .await
        .unwrap_err();
    let told = message(&error, "orders-queue");
    assert!(told.contains("whose RedrivePolicy is not"), "{told}");
    // It holds a message, so it stays, and a person is asked.
    assert_eq!(
        world.history("orders-queue").await,
        "STARTED FAILED ROLLBACK_FAILED"
    );
    assert!(client.url("orders").await.unwrap().is_some());

    // Without one the rollback removes both.
    queues.delete("orders").await;
    client.create_queue("orders", &[]).await.unwrap();
    world
        .start(queues.app(&world, example::stage()))
        .await
        .unwrap_err();
    assert_eq!(
        world.history("orders-queue").await,
        "STARTED FAILED ROLLBACK_FAILED STARTED FAILED ROLLED_BACK"
    );
    assert_eq!(client.url("orders").await.unwrap(), None);
    assert_eq!(client.url("orders-dead").await.unwrap(), None);
    world.start(queues.app(&world, example::stage())).await.unwrap();
}

#[tokio::test]
async fn after_a_death_the_attributes_from_before_the_first_attempt_can_be_put_back() {
    let Some(queues) = Queues::new().await else { return };
    let (world, client) = (World::new().await, &queues.client);
    client
        .create_queue("orders", &[("VisibilityTimeout", "45")])
        .await
        .unwrap();
    world
        .die_before_the_report(queues.app(&world, time_for_orders()))
        .await;
    assert_eq!(queues.attribute("VisibilityTimeout").await, "120");
    world.start(queues.app(&world, time_for_orders())).await.unwrap();
    assert_eq!(world.history("time-for-orders").await, "STARTED STARTED APPLIED");
    // The tag says by which key they are kept, which is the change's.
    let url = client.url("orders").await.unwrap().unwrap();
    let tags = queues.sdk.list_queue_tags().queue_url(url).send().await.unwrap();
    let tags = tags.tags.unwrap();
    let (tag, _) = tags.iter().next().unwrap();
    assert_eq!(tags.len(), 1);
    let key = tag.strip_prefix("flamingock:").unwrap();
    client.attributes_as_before("orders", key).await.unwrap();
    assert_eq!(queues.attribute("VisibilityTimeout").await, "45");
    assert_eq!(queues.attribute("ReceiveMessageWaitTimeSeconds").await, "0");
    // Once more: nothing is kept any more, and nothing is changed.
    client
        .change_attributes("orders", "other", &[("VisibilityTimeout", "50")])
        .await
        .unwrap();
    client.attributes_as_before("orders", key).await.unwrap();
    assert_eq!(queues.attribute("VisibilityTimeout").await, "50");
}

#[tokio::test]
async fn what_was_not_set_is_unset_again() {
    let Some(queues) = Queues::new().await else { return };
    let client = &queues.client;
    client.create_queue("orders", &[]).await.unwrap();
    client.create_queue("orders-dead", &[]).await.unwrap();
    let arn = client.attributes("orders-dead").await.unwrap()["QueueArn"].clone();
    let policy = format!(r#"{{"deadLetterTargetArn": "{arn}", "maxReceiveCount": 3}}"#);
    for _ in 0..2 {
        client
            .change_attributes("orders", "key", &[("RedrivePolicy", &policy)])
            .await
            .unwrap();
    }
    assert!(!queues.attribute("RedrivePolicy").await.is_empty());
    client.attributes_as_before("orders", "key").await.unwrap();
    assert_eq!(queues.attribute("RedrivePolicy").await, "");
}
