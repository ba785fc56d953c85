//! AWS API Gateway, with a REST API of its own for each test.

use aws_config::BehaviorVersion;
use aws_sdk_apigateway::{
    Client,
    types::{IntegrationType, Op, PatchOperation},
};
use flamingock::{ApiGateway, Builder, ChangeStatus, Stage};
use flamingock_targets_tests::{System, World, aws, message};
use reqwest::StatusCode;
use uuid::Uuid;

#[expect(dead_code, reason = "its main function")]
#[path = "../../../client-sdk/examples/apigateway.rs"]
mod example;

struct Api {
    _system: System,
    url: String,
    sdk: Client,
    client: ApiGateway,
    id: String,
    /// What is served before any change.
    first: String,
}

impl Api {
    /// `/orders`, served on the stage `prod`, and the variable `refunds` there.
    async fn new() -> Option<Self> {
        let (system, url) = aws::system("AWS API Gateway", "AWS_ENDPOINT_URL_API_GATEWAY").await?;
        let sdk = Client::new(&aws_config::load_defaults(BehaviorVersion::latest()).await);
        let client = example::target(sdk.clone()).client();
        let name = format!("shop-{}", Uuid::new_v4());
        sdk.create_rest_api().name(&name).send().await.unwrap();
        let id = client.api(&name).await.unwrap().unwrap();
        let mut api = Self {
            _system: system,
            url,
            sdk,
            client,
            id,
            first: String::new(),
        };
        api.answer_on("/orders").await;
        api.first = api.deploy_by_hand().await;
        api.create_stage().await;
        Some(api)
    }

    fn app(&self, world: &World, stage: Stage) -> Builder {
        world
            .app()
            .target(example::target(self.sdk.clone()))
            .dependency(example::Api(self.id.clone()))
            .stage(stage)
    }

    async fn create_stage(&self) {
        let create = self.sdk.create_stage().rest_api_id(&self.id).stage_name("prod");
        let create = create.deployment_id(&self.first).variables("refunds", "closed");
        create.send().await.unwrap();
    }

    async fn deploy_by_hand(&self) -> String {
        let create = self.sdk.create_deployment().rest_api_id(&self.id);
        create.send().await.unwrap().id.unwrap()
    }

    async fn patch(&self, path: &str, value: &str) {
        let replace = PatchOperation::builder().op(Op::Replace).path(path).value(value);
        let update = self.sdk.update_stage().rest_api_id(&self.id).stage_name("prod");
        update.patch_operations(replace.build()).send().await.unwrap();
    }

    async fn answer_on(&self, path: &str) {
        let resource = self.client.ensure_resource(&self.id, path).await.unwrap();
        self.client
            .ensure_method(&self.id, &resource, "GET", "NONE")
            .await
            .unwrap();
        let integration = self.sdk.put_integration().rest_api_id(&self.id);
        integration
            .resource_id(&resource)
            .http_method("GET")
            .r#type(IntegrationType::Mock)
            .request_templates("application/json", r#"{"statusCode": 200}"#)
            .send()
            .await
            .unwrap();
        self.client
            .ensure_method_response(&self.id, &resource, "GET", "200")
            .await
            .unwrap();
        let answer = self.sdk.put_integration_response().rest_api_id(&self.id);
        let answer = answer
            .resource_id(&resource)
            .http_method("GET")
            .status_code("200");
        answer.send().await.unwrap();
    }

    /// Whether the gateway answers there, as it does for everybody.
    async fn serves(&self, path: &str) -> bool {
        let url = format!("{}/restapis/{}/prod/_user_request_{path}", self.url, self.id);
        reqwest::get(url).await.unwrap().status() == StatusCode::OK
    }

    async fn deployments(&self) -> usize {
        let get = self.sdk.get_deployments().rest_api_id(&self.id);
        get.send().await.unwrap().items.unwrap_or_default().len()
    }

    async fn deployment(&self) -> String {
        self.client.deployment(&self.id, "prod").await.unwrap().unwrap()
    }

    async fn variable(&self) -> String {
        let get = self.sdk.get_stage().rest_api_id(&self.id).stage_name("prod");
        let stage = get.send().await.unwrap();
        stage.variables.unwrap_or_default()["refunds"].clone()
    }
}

fn refunds() -> Stage {
    Stage::new("api").change(example::refunds)
}

#[tokio::test]
async fn the_example_is_applied_once_and_the_gateway_answers() {
    let Some(api) = Api::new().await else { return };
    let world = World::new().await;
    assert!(api.serves("/orders").await && !api.serves("/refunds").await);
    for expected in [ChangeStatus::Applied, ChangeStatus::AlreadyApplied] {
        let report = world.start(api.app(&world, example::stage())).await.unwrap();
        assert_eq!(report.change("refunds").unwrap().status, expected);
    }
    assert!(api.serves("/refunds").await);
    assert_eq!(api.variable().await, "open");
}

#[tokio::test]
async fn a_failure_in_the_middle_is_undone_and_the_next_start_goes_on() {
    let Some(api) = Api::new().await else { return };
    let world = World::new().await;
    let delete = api.sdk.delete_stage().rest_api_id(&api.id).stage_name("prod");
    delete.send().await.unwrap();
    // The resource is made, and then there is no stage to deploy it to.
    let error = world.start(api.app(&world, example::stage())).await.unwrap_err();
    let told = message(&error, "refunds");
    assert!(told.contains("has no stage prod"), "{told}");
    assert_eq!(world.history("refunds").await, "STARTED FAILED ROLLED_BACK");
    assert_eq!(api.client.resource(&api.id, "/refunds").await.unwrap(), None);

    api.create_stage().await;
    api.patch("/variables/refunds", "for-staff").await;
    let error = world.start(api.app(&world, example::stage())).await.unwrap_err();
    let told = message(&error, "refunds-open");
    assert!(told.contains("`for-staff`, and neither"), "{told}");
    assert_eq!(api.variable().await, "for-staff", "somebody's choice stays");
    assert_eq!(
        world.history("refunds-open").await,
        "STARTED FAILED ROLLBACK_FAILED"
    );
    api.patch("/variables/refunds", "closed").await;
    world.start(api.app(&world, example::stage())).await.unwrap();
    assert!(api.serves("/refunds").await);
}

#[tokio::test]
async fn after_a_death_the_stage_can_be_set_back_to_what_it_served_before_the_first_attempt() {
    let Some(api) = Api::new().await else { return };
    let world = World::new().await;
    world.die_before_the_report(api.app(&world, refunds())).await;
    assert!(api.serves("/refunds").await);
    world.start(api.app(&world, refunds())).await.unwrap();
    assert_eq!(world.history("refunds").await, "STARTED STARTED APPLIED");
    assert_eq!(
        api.deployments().await,
        2,
        "that of the first attempt was replaced"
    );
    let get = api.sdk.get_deployment().rest_api_id(&api.id);
    let ours = get.deployment_id(api.deployment().await).send().await.unwrap();
    let about = ours.description.unwrap();
    let (key, before) = about
        .strip_prefix("flamingock ")
        .and_then(|about| about.split_once(" after "))
        .unwrap();
    assert_eq!(before, api.first);
    api.client
        .deployment_as_before(&api.id, "prod", key)
        .await
        .unwrap();
    assert!(api.serves("/orders").await && !api.serves("/refunds").await);
    assert_eq!(
        (api.deployment().await, api.deployments().await),
        (api.first.clone(), 1)
    );
}

#[tokio::test]
async fn what_somebody_has_deployed_since_is_left_there() {
    let Some(api) = Api::new().await else { return };
    api.answer_on("/refunds").await;
    api.client.deploy(&api.id, "prod", "key").await.unwrap();
    let by_hand = api.deploy_by_hand().await;
    api.patch("/deploymentId", &by_hand).await;
    for result in [
        api.client.deploy(&api.id, "prod", "key").await,
        api.client.deployment_as_before(&api.id, "prod", "key").await,
    ] {
        let error = result.unwrap_err().to_string();
        assert!(error.contains("it was left there"), "{error}");
    }
    assert_eq!(api.deployment().await, by_hand);
    // What never came so far has nothing to undo.
    api.client
        .deployment_as_before(&api.id, "prod", "another")
        .await
        .unwrap();
    api.client.delete_resource(&api.id, "/nothing").await.unwrap();
}
