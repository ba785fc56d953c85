//! The table of the marks.
//!
//! An item is a mark if its `operation` says so. One with `RULED_OUT` says only which attempts can't be committed any more;
//! it stays, as long as one of them may be on its way.

use std::{collections::HashMap, time::Duration};

use aws_sdk_dynamodb::{
    Client,
    error::{BuildError, ProvideErrorMetadata, SdkError},
    operation::{create_table::CreateTableError, delete_item::DeleteItemError, update_item::UpdateItemError},
    types::{
        AttributeDefinition, AttributeValue, BillingMode, KeySchemaElement, KeyType, ScalarAttributeType,
        TableStatus, TransactWriteItem, Update,
    },
};

use super::super::{MarkScope, TargetError};

const APPLIED: &str = "APPLIED";
const RULED_OUT: &str = "RULED_OUT";

/// No mark, and no word against this attempt.
const MAY_BE_MARKED: &str =
    "(attribute_not_exists(#operation) OR #operation = :ruled_out) AND NOT contains(#attempts, :attempt)";
const IS_NO_MARK: &str = "attribute_not_exists(#operation) OR #operation = :ruled_out";

const BETWEEN_LOOKS: Duration = Duration::from_millis(250);
/// DynamoDB takes some seconds to make a table.
const LOOKS: usize = 240;

#[derive(Debug)]
pub(super) struct Marks {
    client: Client,
    table: String,
}

type Key = HashMap<String, AttributeValue>;

impl Marks {
    pub(super) fn new(client: Client, table: String) -> Self {
        Self { client, table }
    }

    /// The table, made unless it is there: a role that may use it need not be allowed to make one.
    pub(super) async fn make_table(&self) -> Result<(), TargetError> {
        let doing = format!("creating the table {}", self.table);
        for _ in 0..LOOKS {
            match self
                .status()
                .await
                .map_err(|error| TargetError::new(doing.clone(), error))?
            {
                Some(TableStatus::Active | TableStatus::Updating) => return Ok(()),
                None => self
                    .create()
                    .await
                    .map_err(|error| TargetError::new(doing.clone(), error))?,
                Some(_) => {}
            }
            tokio::time::sleep(BETWEEN_LOOKS).await;
        }
        Err(TargetError::new(doing, "it does not become active"))
    }

    async fn status(&self) -> Result<Option<TableStatus>, crate::error::BoxError> {
        match self.client.describe_table().table_name(&self.table).send().await {
            Ok(found) => Ok(found.table.and_then(|table| table.table_status)),
            Err(error) if is_absent(&error) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    async fn create(&self) -> Result<(), crate::error::BoxError> {
        let mut create = self
            .client
            .create_table()
            .table_name(&self.table)
            .billing_mode(BillingMode::PayPerRequest);
        for (name, kind) in [("scope", KeyType::Hash), ("change_id", KeyType::Range)] {
            let definition = AttributeDefinition::builder()
                .attribute_name(name)
                .attribute_type(ScalarAttributeType::S);
            let key = KeySchemaElement::builder().attribute_name(name).key_type(kind);
            create = create
                .attribute_definitions(definition.build()?)
                .key_schema(key.build()?);
        }
        match create.send().await {
            Ok(_) => Ok(()),
            // Another runner makes it.
            Err(error)
                if matches!(
                    error.as_service_error(),
                    Some(CreateTableError::ResourceInUseException(_))
                ) =>
            {
                Ok(())
            }
            Err(error) => Err(error.into()),
        }
    }

    pub(super) async fn applied(&self, scope: MarkScope) -> Result<Vec<String>, TargetError> {
        let failed = |error| TargetError::new("reading the marks", error);
        let mut pages = self
            .client
            .query()
            .table_name(&self.table)
            .consistent_read(true)
            .key_condition_expression("#scope = :scope")
            .expression_attribute_names("#scope", "scope")
            .expression_attribute_values(":scope", scope_key(scope))
            .into_paginator()
            .items()
            .send();
        let mut applied = Vec::new();
        while let Some(item) = pages.next().await {
            let item = match item {
                Ok(item) => item,
                Err(error) if is_absent(&error) => return Ok(Vec::new()),
                Err(error) => return Err(TargetError::new("reading the marks", error)),
            };
            let text = |name: &str| {
                let text = item.get(name).and_then(|value| value.as_s().ok()).cloned();
                text.ok_or_else(|| failed(format!("an item without `{name}`")))
            };
            match text("operation")?.as_str() {
                APPLIED => applied.push(text("change_id")?),
                RULED_OUT => {}
                other => return Err(failed(format!("`{other}` is no operation of a mark"))),
            }
        }
        Ok(applied)
    }

    /// The operation that writes a mark.
    pub(super) fn write(
        &self,
        scope: MarkScope,
        change_id: &str,
        attempt: &str,
    ) -> Result<TransactWriteItem, TargetError> {
        let update = Update::builder()
            .table_name(&self.table)
            .set_key(Some(key(scope, change_id)))
            .update_expression("SET #operation = :applied, #committed_at = :now")
            .condition_expression(MAY_BE_MARKED)
            .expression_attribute_names("#operation", "operation")
            .expression_attribute_names("#committed_at", "committed_at")
            .expression_attribute_names("#attempts", "ruled_out")
            .expression_attribute_values(":applied", text(APPLIED))
            .expression_attribute_values(":ruled_out", text(RULED_OUT))
            .expression_attribute_values(":attempt", text(attempt))
            .expression_attribute_values(":now", text(&chrono::Utc::now().to_rfc3339()));
        let update = update
            .build()
            .map_err(|error: BuildError| TargetError::new("writing the mark", error))?;
        Ok(TransactWriteItem::builder().update(update).build())
    }

    /// Whether the mark is there. If not, this attempt can't write it any more.
    pub(super) async fn rule_out(
        &self,
        scope: MarkScope,
        change_id: &str,
        attempt: &str,
    ) -> Result<bool, TargetError> {
        let ruled_out = self
            .client
            .update_item()
            .table_name(&self.table)
            .set_key(Some(key(scope, change_id)))
            .update_expression("SET #operation = :ruled_out ADD #attempts :attempts")
            .condition_expression(IS_NO_MARK)
            .expression_attribute_names("#operation", "operation")
            .expression_attribute_names("#attempts", "ruled_out")
            .expression_attribute_values(":ruled_out", text(RULED_OUT))
            .expression_attribute_values(":attempts", AttributeValue::Ss(vec![attempt.to_owned()]))
            .send()
            .await;
        match ruled_out {
            Ok(_) => Ok(false),
            Err(error)
                if matches!(
                    error.as_service_error(),
                    Some(UpdateItemError::ConditionalCheckFailedException(_))
                ) =>
            {
                Ok(true)
            }
            Err(error) => Err(TargetError::new("looking for the mark", error)),
        }
    }

    /// Removes a mark; what it says of attempts that are ruled out stays.
    pub(super) async fn clear(&self, scope: MarkScope, change_id: &str) -> Result<(), TargetError> {
        let deleted = self
            .client
            .delete_item()
            .table_name(&self.table)
            .set_key(Some(key(scope, change_id)))
            .condition_expression("attribute_not_exists(#attempts)")
            .expression_attribute_names("#attempts", "ruled_out")
            .send()
            .await;
        match deleted {
            Ok(_) => return Ok(()),
            Err(error) if is_absent(&error) => return Ok(()),
            Err(error)
                if matches!(
                    error.as_service_error(),
                    Some(DeleteItemError::ConditionalCheckFailedException(_))
                ) => {}
            Err(error) => return Err(TargetError::new("clearing the marks", error)),
        }
        self.client
            .update_item()
            .table_name(&self.table)
            .set_key(Some(key(scope, change_id)))
            .update_expression("SET #operation = :ruled_out")
            .expression_attribute_names("#operation", "operation")
            .expression_attribute_values(":ruled_out", text(RULED_OUT))
            .send()
            .await
            .map_err(|error| TargetError::new("clearing the marks", error))?;
        Ok(())
    }
}

fn key(scope: MarkScope, change_id: &str) -> Key {
    HashMap::from([
        ("scope".to_owned(), scope_key(scope)),
        ("change_id".to_owned(), text(change_id)),
    ])
}

fn scope_key(scope: MarkScope) -> AttributeValue {
    text(&format!("{}:{}", scope.environment_id, scope.service_id))
}

fn text(value: &str) -> AttributeValue {
    AttributeValue::S(value.to_owned())
}

/// There is no such table.
fn is_absent<E: ProvideErrorMetadata, R>(error: &SdkError<E, R>) -> bool {
    error.as_service_error().and_then(ProvideErrorMetadata::code) == Some("ResourceNotFoundException")
}
