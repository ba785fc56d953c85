//! S3, in a bucket of its own for each test.

use aws_sdk_s3::{
    Client,
    config::retry::RetryConfig,
    primitives::ByteStream,
    types::{
        BucketLifecycleConfiguration, ExpirationStatus, LifecycleExpiration, LifecycleRule,
        LifecycleRuleFilter,
    },
};
use flamingock::{Builder, ChangeStatus, S3, Stage};
use flamingock_targets_tests::{Cut, System, TcpProxy, World, aws, message};
use uuid::Uuid;

#[expect(dead_code, reason = "its main function")]
#[path = "../../../client-sdk/examples/s3.rs"]
mod example;

struct Bucket {
    _system: System,
    url: String,
    sdk: Client,
    name: String,
}

const INVOICES: [(&str, &str); 3] = [
    ("invoices/1", "one"),
    ("invoices/2", "two"),
    ("invoices/3 für ä", "three"),
];

impl Bucket {
    async fn new() -> Option<Self> {
        let (system, url) = aws::system("AWS S3", "AWS_ENDPOINT_URL_S3").await?;
        let sdk = example::client(true).await;
        let name = format!("flamingock-{}", Uuid::new_v4());
        sdk.create_bucket().bucket(&name).send().await.unwrap();
        let bucket = Self {
            _system: system,
            url,
            sdk,
            name,
        };
        for (key, content) in INVOICES {
            bucket.put(key, content).await;
        }
        bucket.put("other", "thing").await;
        bucket.put_rule(rule("logs-expire", "logs/", 30)).await;
        Some(bucket)
    }

    fn client(&self) -> S3 {
        example::target(self.sdk.clone(), &self.name).client()
    }

    fn app(&self, world: &World) -> Builder {
        let target = example::target(self.sdk.clone(), &self.name);
        world.app().target(target).stage(example::stage())
    }

    async fn put(&self, key: &str, content: &str) {
        let body = ByteStream::from(content.as_bytes().to_vec());
        let put = self.sdk.put_object().bucket(&self.name).key(key).body(body);
        put.send().await.unwrap();
    }

    async fn put_rule(&self, rule: LifecycleRule) {
        let configuration = BucketLifecycleConfiguration::builder()
            .rules(rule)
            .build()
            .unwrap();
        self.sdk
            .put_bucket_lifecycle_configuration()
            .bucket(&self.name)
            .lifecycle_configuration(configuration)
            .send()
            .await
            .unwrap();
    }

    async fn rules(&self) -> Vec<String> {
        let rules = self.client().lifecycle().await.unwrap();
        let mut ids: Vec<_> = rules.into_iter().filter_map(|rule| rule.id).collect();
        ids.sort();
        ids
    }

    /// Keys and contents, without what is kept for rollbacks.
    async fn objects(&self) -> Vec<(String, String)> {
        let client = self.client();
        let mut objects = Vec::new();
        for key in client.keys("").await.unwrap() {
            if !key.starts_with(".flamingock/") {
                let content = client.object(&key).await.unwrap().unwrap();
                objects.push((key, String::from_utf8(content).unwrap()));
            }
        }
        objects
    }

    async fn must_hold(&self, prefix: &str) {
        let mut expected: Vec<_> = INVOICES
            .iter()
            .map(|(key, content)| (key.replace("invoices/", prefix), (*content).to_owned()))
            .collect();
        expected.push(("other".to_owned(), "thing".to_owned()));
        assert_eq!(self.objects().await, expected);
    }
}

fn rule(id: &str, prefix: &str, days: i32) -> LifecycleRule {
    LifecycleRule::builder()
        .id(id)
        .status(ExpirationStatus::Enabled)
        .filter(LifecycleRuleFilter::builder().prefix(prefix).build())
        .expiration(LifecycleExpiration::builder().days(days).build())
        .build()
        .unwrap()
}

fn invoices() -> Stage {
    Stage::new("files").change(example::invoices_v2)
}

#[tokio::test]
async fn the_example_is_applied_once() {
    let Some(bucket) = Bucket::new().await else { return };
    let world = World::new().await;
    for expected in [ChangeStatus::Applied, ChangeStatus::AlreadyApplied] {
        let report = world.start(bucket.app(&world)).await.unwrap();
        assert_eq!(report.change("invoices-v2").unwrap().status, expected);
    }
    assert_eq!(bucket.rules().await, ["logs-expire", "uploads-expire"]);
    bucket.must_hold("invoices/v2/").await;
}

#[tokio::test]
async fn a_failure_in_the_middle_is_undone_and_the_next_start_goes_on() {
    let Some(bucket) = Bucket::new().await else { return };
    let world = World::new().await;
    let proxy = TcpProxy::to(bucket.url.trim_start_matches("http://")).await;
    let through = bucket
        .sdk
        .config()
        .to_builder()
        .endpoint_url(format!("http://127.0.0.1:{}", proxy.port()))
        .retry_config(RetryConfig::disabled())
        .build();
    let through = example::target(Client::from_conf(through), &bucket.name);
    // All are copied by then, and the first is removed from its old place.
    proxy.cut(
        Cut::BeforeMessage,
        format!("DELETE /{}/invoices/2", bucket.name).as_bytes(),
    );
    let error = world
        .start(world.app().target(through).stage(invoices()))
        .await
        .unwrap_err();
    let told = message(&error, "invoices-v2");
    assert!(told.contains("removing invoices/2 failed"), "{told}");
    assert!(proxy.has_cut());
    assert_eq!(world.history("invoices-v2").await, "STARTED FAILED ROLLED_BACK");
    bucket.must_hold("invoices/").await;
    assert!(bucket.client().keys(".flamingock/").await.unwrap().is_empty());

    let target = example::target(bucket.sdk.clone(), &bucket.name);
    world
        .start(world.app().target(target).stage(invoices()))
        .await
        .unwrap();
    bucket.must_hold("invoices/v2/").await;
}

#[tokio::test]
async fn after_a_death_the_repetition_moves_no_others_and_finds_done_what_is_done() {
    let Some(bucket) = Bucket::new().await else { return };
    let world = World::new().await;
    let app = || {
        let target = example::target(bucket.sdk.clone(), &bucket.name);
        world.app().target(target).stage(invoices())
    };
    world.die_before_the_report(app()).await;
    bucket.must_hold("invoices/v2/").await;
    // Written by an old instance, that knows nothing of the new keys.
    bucket.put("invoices/4", "four").await;
    world.start(app()).await.unwrap();
    assert_eq!(world.history("invoices-v2").await, "STARTED STARTED APPLIED");
    let there = bucket.objects().await;
    assert_eq!(there.len(), 5);
    assert!(there.contains(&("invoices/4".to_owned(), "four".to_owned())));
}

#[tokio::test]
async fn what_stands_in_the_way_is_left_alone() {
    let Some(bucket) = Bucket::new().await else { return };
    let (world, client) = (World::new().await, bucket.client());
    bucket.put_rule(rule("uploads-expire", "uploads/", 1)).await;
    bucket.put("invoices/v2/2", "somebody's").await;
    let error = world.start(bucket.app(&world)).await.unwrap_err();
    let told = message(&error, "uploads-expire");
    assert!(told.contains("another lifecycle rule"), "{told}");
    // The rollback leaves it alone as well, so a person is asked.
    assert_eq!(
        world.history("uploads-expire").await,
        "STARTED FAILED ROLLBACK_FAILED"
    );
    let days = client.lifecycle().await.unwrap()[0]
        .expiration
        .as_ref()
        .unwrap()
        .days;
    assert_eq!(days, Some(1));

    let error = client
        .rekey("key", "invoices/", "invoices/v2/")
        .await
        .unwrap_err();
    assert!(
        error.to_string().contains("an object invoices/v2/2 already"),
        "{error}"
    );
    assert_eq!(bucket.objects().await.len(), 5, "nothing was moved");
    assert!(!client.put_new("invoices/v2/2", "ours").await.unwrap());
    assert_eq!(
        client.object("invoices/v2/2").await.unwrap().unwrap(),
        b"somebody's"
    );
}

#[tokio::test]
async fn the_last_rule_goes_with_the_configuration_and_an_object_that_differs_is_not_removed() {
    let Some(bucket) = Bucket::new().await else { return };
    let client = bucket.client();
    client
        .remove_lifecycle_rule(&rule("logs-expire", "logs/", 30))
        .await
        .unwrap();
    client
        .remove_lifecycle_rule(&rule("logs-expire", "logs/", 30))
        .await
        .unwrap();
    assert!(bucket.rules().await.is_empty());

    client.rekey("key", "invoices/", "archive/").await.unwrap();
    bucket.must_hold("archive/").await;
    bucket.put("invoices/2", "a later two").await;
    let error = client.rekey_back("key").await.unwrap_err();
    assert!(error.to_string().contains("are not the same"), "{error}");
    assert_eq!(client.object("archive/2").await.unwrap().unwrap(), b"two");
    client.remove("invoices/2").await.unwrap();
    client.rekey_back("key").await.unwrap();
    client.rekey_back("key").await.unwrap();
    bucket.must_hold("invoices/").await;
}
