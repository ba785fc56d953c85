//! A resource that is deployed to a stage, and a variable of the stage, in AWS API Gateway. The REST API and its stage `prod` are
//! there before.
//!
//! Needs `FLAMINGOCK_SERVER`, `FLAMINGOCK_TOKEN`, `FLAMINGOCK_ENVIRONMENT`, `FLAMINGOCK_SERVICE` and `REST_API`, the API's name, and
//! whatever the AWS SDK needs: `AWS_REGION`, credentials, and for another service than AWS `AWS_ENDPOINT_URL`:
//!
//! ```text
//! cargo run -p flamingock --features apigateway --example apigateway
//! ```

use std::env;

use aws_config::BehaviorVersion;
use aws_sdk_apigateway::{Client, types::IntegrationType};
use flamingock::{
    ApiGateway, ApiGatewayTarget, AwsError, ChangeError, ChangeKey, Dep, Flamingock, Stage, TargetClient,
    change,
};

const STAGE: &str = "prod";

/// Id of the REST API.
pub struct Api(pub String);

/// Every call writes what should be there, whatever an earlier attempt has left.
#[change(
    id = "refunds",
    order = "0001",
    author = "mara",
    target = "api",
    recovery = "always_retry",
    rollback = no_refunds
)]
pub async fn refunds(
    gateway: TargetClient<ApiGateway>,
    api: Dep<Api>,
    key: ChangeKey,
) -> Result<(), ChangeError> {
    let resource = gateway.ensure_resource(&api.0, "/refunds").await?;
    gateway.ensure_method(&api.0, &resource, "GET", "NONE").await?;
    // An answer from the gateway itself, until there is somebody behind it.
    let sdk = gateway.sdk();
    sdk.put_integration()
        .rest_api_id(&api.0)
        .resource_id(&resource)
        .http_method("GET")
        .r#type(IntegrationType::Mock)
        .request_templates("application/json", r#"{"statusCode": 200}"#)
        .send()
        .await?;
    gateway
        .ensure_method_response(&api.0, &resource, "GET", "200")
        .await?;
    sdk.put_integration_response()
        .rest_api_id(&api.0)
        .resource_id(&resource)
        .http_method("GET")
        .status_code("200")
        .response_templates("application/json", r#"{"refunds": []}"#)
        .send()
        .await?;
    Ok(gateway.deploy(&api.0, STAGE, &key.step("refunds")).await?)
}

/// First what is served, then what is edited.
async fn no_refunds(
    gateway: TargetClient<ApiGateway>,
    api: Dep<Api>,
    key: ChangeKey,
) -> Result<(), AwsError> {
    gateway
        .deployment_as_before(&api.0, STAGE, &key.step("refunds"))
        .await?;
    gateway.delete_resource(&api.0, "/refunds").await
}

/// From one known value to another. If somebody has chosen a third, it is left alone, and the change fails.
#[change(
    id = "refunds-open",
    order = "0002",
    author = "lin",
    target = "api",
    recovery = "always_retry",
    rollback = refunds_closed
)]
async fn refunds_open(gateway: TargetClient<ApiGateway>, api: Dep<Api>) -> Result<(), AwsError> {
    gateway
        .move_variable(&api.0, STAGE, "refunds", Some("closed"), Some("open"))
        .await
}

async fn refunds_closed(gateway: TargetClient<ApiGateway>, api: Dep<Api>) -> Result<(), AwsError> {
    gateway
        .move_variable(&api.0, STAGE, "refunds", Some("open"), Some("closed"))
        .await
}

pub fn target(client: Client) -> ApiGatewayTarget {
    ApiGatewayTarget::new("api", client)
}

pub fn stage() -> Stage {
    Stage::new("api").change(refunds).change(refunds_open)
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    tracing_subscriber::fmt().init();
    let config = aws_config::load_defaults(BehaviorVersion::latest()).await;
    let target = target(Client::new(&config));
    let name = env::var("REST_API").map_err(|_| "REST_API is not set: the name of the API")?;
    let api = target.client().api(&name).await?;
    let app = Flamingock::from_env()
        .target(target)
        .dependency(Api(api.ok_or(format!("there is no REST API called {name}"))?))
        .stage(stage());
    app.build()?.run().await?;
    Ok(())
}
