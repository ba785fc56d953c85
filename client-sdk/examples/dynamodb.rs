//! An index, and reference data in one transaction, on DynamoDB.
//!
//! Needs `FLAMINGOCK_SERVER`, `FLAMINGOCK_TOKEN`, `FLAMINGOCK_ENVIRONMENT`, `FLAMINGOCK_SERVICE`, and AWS credentials with a
//! region; with `AWS_ENDPOINT_URL_DYNAMODB` it works against DynamoDB Local:
//!
//! ```text
//! cargo run -p flamingock --features dynamodb --example dynamodb
//! ```

use std::time::Duration;

use aws_sdk_dynamodb::{
    Client,
    error::ProvideErrorMetadata,
    types::{
        AttributeDefinition, AttributeValue, BillingMode, CreateGlobalSecondaryIndexAction,
        DeleteGlobalSecondaryIndexAction, GlobalSecondaryIndexDescription, GlobalSecondaryIndexUpdate,
        IndexStatus, KeySchemaElement, KeyType, Projection, ProjectionType, Put, ScalarAttributeType,
        TableDescription,
    },
};
use flamingock::{
    Cancellation, ChangeError, DynamoDbTarget, DynamoDbTx, Flamingock, Stage, TargetClient, change,
};

const INDEX: &str = "by_customer";
const BETWEEN_LOOKS: Duration = Duration::from_millis(500);

#[change(
    id = "orders-table",
    order = "0001",
    author = "mara",
    target = "orders-db",
    transactional = false,
    recovery = "always_retry"
)]
pub async fn orders_table(db: TargetClient<Client>, stop: Cancellation) -> Result<(), ChangeError> {
    for table in ["orders", "countries"] {
        let id = AttributeDefinition::builder()
            .attribute_name("id")
            .attribute_type(ScalarAttributeType::S);
        let key = KeySchemaElement::builder()
            .attribute_name("id")
            .key_type(KeyType::Hash);
        let created = db
            .create_table()
            .table_name(table)
            .billing_mode(BillingMode::PayPerRequest)
            .attribute_definitions(id.build()?)
            .key_schema(key.build()?)
            .send()
            .await;
        // An earlier attempt may have made it.
        if let Err(error) = created
            && error.code() != Some("ResourceInUseException")
        {
            return Err(error.into());
        }
        until(&stop, || async {
            let status = describe(&db, table).await?.table_status;
            Ok(status.is_some_and(|status| status.as_str() == "ACTIVE"))
        })
        .await?;
    }
    Ok(())
}

/// DynamoDB builds it in the background, and refuses a second one meanwhile: the change waits until it can be used.
#[change(
    id = "orders-by-customer",
    order = "0002",
    author = "mara",
    target = "orders-db",
    transactional = false,
    recovery = "always_retry",
    rollback = no_index
)]
pub async fn orders_by_customer(db: TargetClient<Client>, stop: Cancellation) -> Result<(), ChangeError> {
    add_index(&db, &stop).await
}

pub async fn add_index(db: &Client, stop: &Cancellation) -> Result<(), ChangeError> {
    if index(db).await?.is_none() {
        let customer = AttributeDefinition::builder()
            .attribute_name("customer")
            .attribute_type(ScalarAttributeType::S);
        let id = AttributeDefinition::builder()
            .attribute_name("id")
            .attribute_type(ScalarAttributeType::S);
        let key = KeySchemaElement::builder()
            .attribute_name("customer")
            .key_type(KeyType::Hash);
        let all = Projection::builder().projection_type(ProjectionType::All);
        let create = CreateGlobalSecondaryIndexAction::builder()
            .index_name(INDEX)
            .key_schema(key.build()?)
            .projection(all.build());
        db.update_table()
            .table_name("orders")
            .attribute_definitions(id.build()?)
            .attribute_definitions(customer.build()?)
            .global_secondary_index_updates(
                GlobalSecondaryIndexUpdate::builder()
                    .create(create.build()?)
                    .build(),
            )
            .send()
            .await?;
    }
    until(stop, || async {
        let status = index(db).await?.and_then(|index| index.index_status);
        Ok(status == Some(IndexStatus::Active))
    })
    .await
}

pub async fn no_index(db: TargetClient<Client>, stop: Cancellation) -> Result<(), ChangeError> {
    if index(&db).await?.is_some() {
        let delete = DeleteGlobalSecondaryIndexAction::builder().index_name(INDEX);
        db.update_table()
            .table_name("orders")
            .global_secondary_index_updates(
                GlobalSecondaryIndexUpdate::builder()
                    .delete(delete.build()?)
                    .build(),
            )
            .send()
            .await?;
    }
    until(&stop, || async { Ok(index(&db).await?.is_none()) }).await
}

/// All of them, or none; and none that somebody else has written is overwritten. What it reads is as it was before.
#[change(id = "countries-2027", order = "0003", author = "lin", target = "orders-db")]
pub async fn countries(tx: &mut DynamoDbTx) -> Result<(), ChangeError> {
    let union = tx.get_item().table_name("countries");
    let union = union
        .key("id", AttributeValue::S("EU".to_owned()))
        .send()
        .await?
        .item;
    let currency = union.and_then(|union| union.get("currency").cloned());
    let currency = currency.unwrap_or_else(|| AttributeValue::S("EUR".to_owned()));
    for (code, percent) in [("DE", 19), ("ES", 21), ("LU", 17)] {
        let country = Put::builder()
            .table_name("countries")
            .item("id", AttributeValue::S(code.to_owned()))
            .item("currency", currency.clone())
            .item("tax_percent", AttributeValue::N(percent.to_string()))
            .condition_expression("attribute_not_exists(id)");
        tx.put(country.build()?)?;
    }
    Ok(())
}

async fn describe(db: &Client, table: &str) -> Result<TableDescription, ChangeError> {
    let answer = db.describe_table().table_name(table).send().await?;
    answer.table.ok_or_else(|| "an answer without a table".into())
}

pub async fn index(db: &Client) -> Result<Option<GlobalSecondaryIndexDescription>, ChangeError> {
    let indexes = describe(db, "orders").await?.global_secondary_indexes;
    let ours = |index: &GlobalSecondaryIndexDescription| index.index_name.as_deref() == Some(INDEX);
    Ok(indexes.unwrap_or_default().into_iter().find(ours))
}

/// Waits for a state, unless the change is to stop: the next start then goes on waiting.
async fn until<F: Future<Output = Result<bool, ChangeError>>>(
    stop: &Cancellation,
    reached: impl Fn() -> F,
) -> Result<(), ChangeError> {
    while !reached().await? {
        if stop.is_cancelled() {
            return Err("told to stop while DynamoDB is still at it".into());
        }
        tokio::time::sleep(BETWEEN_LOOKS).await;
    }
    Ok(())
}

pub fn target(client: Client) -> DynamoDbTarget {
    DynamoDbTarget::new("orders-db", client)
}

pub fn stage() -> Stage {
    Stage::new("data")
        .change(orders_table)
        .change(orders_by_customer)
        .change(countries)
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    tracing_subscriber::fmt().init();
    let aws = aws_config::load_defaults(aws_config::BehaviorVersion::latest()).await;
    let app = Flamingock::from_env()
        .target(target(Client::new(&aws)))
        .stage(stage());
    app.build()?.run().await?;
    Ok(())
}
