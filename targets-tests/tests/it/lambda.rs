//! AWS Lambda. The function has one name, so one test at a time.

use aws_config::BehaviorVersion;
use aws_sdk_lambda::{
    Client,
    primitives::Blob,
    types::{Environment, FunctionCode, Runtime},
};
use flamingock::{Builder, ChangeStatus, Lambda, Stage};
use flamingock_targets_tests::{System, World, aws, message};
use serde_json::Value;
use tokio::sync::{Mutex, MutexGuard};

#[expect(dead_code, reason = "its main function")]
#[path = "../../../client-sdk/examples/lambda.rs"]
mod example;

static ALONE: Mutex<()> = Mutex::const_new(());

const CODE: &str = "import os\ndef handle(event, context):\n    return os.environ.get('CURRENCY', 'none')\n";

struct Functions {
    _alone: MutexGuard<'static, ()>,
    _system: System,
    sdk: Client,
    client: Lambda,
}

impl Functions {
    /// A function with one version, and the alias `live` at it.
    async fn new() -> Option<Self> {
        let (system, _) = aws::system("AWS Lambda", "AWS_ENDPOINT_URL_LAMBDA").await?;
        let alone = ALONE.lock().await;
        let sdk = Client::new(&aws_config::load_defaults(BehaviorVersion::latest()).await);
        let functions = Self {
            _alone: alone,
            _system: system,
            client: example::target(sdk.clone()).client(),
            sdk,
        };
        let sdk = &functions.sdk;
        let _ = sdk.delete_function().function_name("invoices").send().await; // mostly not there
        let code = Blob::new(aws::zip("invoices.py", CODE.as_bytes()));
        sdk.create_function()
            .function_name("invoices")
            .runtime(Runtime::Python312)
            .handler("invoices.handle")
            .role("arn:aws:iam::000000000000:role/invoices")
            .memory_size(128)
            .timeout(3)
            .environment(Environment::builder().variables("LANGUAGE", "de").build())
            .code(FunctionCode::builder().zip_file(code).build())
            .send()
            .await
            .unwrap();
        let version = functions.client.publish_version("invoices").await.unwrap();
        functions.create_alias(&version).await;
        Some(functions)
    }

    fn app(&self, world: &World, stage: Stage) -> Builder {
        world.app().target(example::target(self.sdk.clone())).stage(stage)
    }

    async fn create_alias(&self, version: &str) {
        let create = self.sdk.create_alias().function_name("invoices").name("live");
        create.function_version(version).send().await.unwrap();
    }

    async fn alias(&self) -> Option<String> {
        self.client.alias("invoices", "live").await.unwrap()
    }

    /// What the function answers behind the alias.
    async fn live(&self) -> Value {
        let invoke = self.sdk.invoke().function_name("invoices").qualifier("live");
        let answer = invoke.send().await.unwrap();
        serde_json::from_slice(answer.payload.unwrap().as_ref()).unwrap()
    }

    /// Memory, timeout, and the names of the variables.
    async fn settings(&self) -> (i32, i32, Vec<String>) {
        let there = self.client.configuration("invoices", None).await.unwrap();
        let variables = there.environment.and_then(|environment| environment.variables);
        let mut names: Vec<_> = variables.unwrap_or_default().into_keys().collect();
        names.sort();
        (there.memory_size.unwrap(), there.timeout.unwrap(), names)
    }

    async fn keys(&self) -> Vec<String> {
        let arn = self
            .client
            .configuration("invoices", None)
            .await
            .unwrap()
            .function_arn;
        let tags = self.sdk.list_tags().resource(arn.unwrap()).send().await.unwrap();
        let tags = tags.tags.unwrap_or_default();
        tags.into_keys()
            .filter_map(|tag| tag.strip_prefix("flamingock:").map(str::to_owned))
            .collect()
    }
}

fn before() -> (i32, i32, Vec<String>) {
    (128, 3, vec!["LANGUAGE".to_owned()])
}

fn after() -> (i32, i32, Vec<String>) {
    (256, 20, vec!["CURRENCY".to_owned(), "LANGUAGE".to_owned()])
}

#[tokio::test]
async fn the_example_is_applied_once_and_the_new_version_answers() {
    let Some(functions) = Functions::new().await else {
        return;
    };
    let world = World::new().await;
    assert_eq!(functions.live().await, "none");
    for expected in [ChangeStatus::Applied, ChangeStatus::AlreadyApplied] {
        let report = world
            .start(functions.app(&world, example::stage()))
            .await
            .unwrap();
        assert_eq!(report.change("euros-go-live").unwrap().status, expected);
    }
    assert_eq!(functions.settings().await, after());
    assert_eq!(functions.live().await, "EUR");
}

#[tokio::test]
async fn a_failure_in_the_middle_is_undone_and_the_next_start_goes_on() {
    let Some(functions) = Functions::new().await else {
        return;
    };
    let world = World::new().await;
    let delete = functions
        .sdk
        .delete_alias()
        .function_name("invoices")
        .name("live");
    delete.send().await.unwrap();
    // The version is published, and then there is no alias to move.
    let error = world
        .start(functions.app(&world, example::stage()))
        .await
        .unwrap_err();
    let told = message(&error, "euros-go-live");
    assert!(told.contains("ResourceNotFoundException"), "{told}");
    assert_eq!(world.history("euros-go-live").await, "STARTED FAILED ROLLED_BACK");
    functions.create_alias("1").await;
    world
        .start(functions.app(&world, example::stage()))
        .await
        .unwrap();
    assert_eq!(functions.live().await, "EUR");
}

#[tokio::test]
async fn after_a_death_the_settings_from_before_the_first_attempt_can_be_put_back() {
    let Some(functions) = Functions::new().await else {
        return;
    };
    let world = World::new().await;
    let stage = || Stage::new("functions").change(example::invoices_in_euros);
    world.die_before_the_report(functions.app(&world, stage())).await;
    assert_eq!(functions.settings().await, after());
    world.start(functions.app(&world, stage())).await.unwrap();
    assert_eq!(
        world.history("invoices-in-euros").await,
        "STARTED STARTED APPLIED"
    );
    let [key] = <[String; 1]>::try_from(functions.keys().await).unwrap();
    functions
        .client
        .settings_as_before("invoices", &key)
        .await
        .unwrap();
    assert_eq!(functions.settings().await, before());
    assert_eq!(functions.keys().await, [""; 0]);
}

#[tokio::test]
async fn an_alias_that_somebody_has_moved_is_left_there() {
    let Some(functions) = Functions::new().await else {
        return;
    };
    let client = &functions.client;
    let edit = |memory: i32| {
        let update = functions.sdk.update_function_configuration();
        update.function_name("invoices").memory_size(memory).send()
    };
    edit(192).await.unwrap();
    let second = client.publish_version("invoices").await.unwrap();
    assert_eq!(
        client.publish_version("invoices").await.unwrap(),
        second,
        "nothing was edited"
    );
    client
        .move_alias("invoices", "live", &second, "key")
        .await
        .unwrap();
    client
        .move_alias("invoices", "live", &second, "key")
        .await
        .unwrap();
    assert_eq!(functions.alias().await.unwrap(), second);

    edit(320).await.unwrap();
    let third = client.publish_version("invoices").await.unwrap();
    let update = functions
        .sdk
        .update_alias()
        .function_name("invoices")
        .name("live");
    update.function_version(&third).send().await.unwrap();
    for result in [
        client.move_alias("invoices", "live", &second, "key").await,
        client.alias_as_before("invoices", "live", "key").await,
    ] {
        let error = result.unwrap_err().to_string();
        assert!(error.contains("it was left there"), "{error}");
    }
    assert_eq!(functions.alias().await.unwrap(), third);
    // An attempt with mended code may go on from where the first one was.
    let update = functions
        .sdk
        .update_alias()
        .function_name("invoices")
        .name("live");
    update.function_version(&second).send().await.unwrap();
    client
        .move_alias("invoices", "live", &third, "key")
        .await
        .unwrap();
    client.alias_as_before("invoices", "live", "key").await.unwrap();
    assert_eq!(
        functions.alias().await.unwrap(),
        "1",
        "that of before the first attempt"
    );
}
