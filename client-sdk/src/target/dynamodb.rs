//! DynamoDB: a change collects its operations, and they are committed together with its mark in one `TransactWriteItems`.
//!
//! Nothing is sent before the commit, so what fails before it leaves nothing. The mark is one operation of the transaction,
//! with the condition that there is none: another attempt that was committed cancels it as a whole.
//!
//! An answer that is lost leaves open whether the transaction will still be carried out. So the doubt is not settled by a
//! look but by a fence: the attempt is written down as ruled out where its mark would be, on the condition that there is no
//! mark. Either there is one, or this attempt cannot be committed any more, however late it arrives.
//!
//! The request's token is another with each attempt, though DynamoDB would take one that stays the same: for ten minutes it
//! answers a known token with success and does nothing. A change that was applied, undone by a person and applied again
//! would be recorded as applied, and nothing of it would be there.

use std::{
    borrow::Cow,
    collections::HashMap,
    fmt,
    future::Future,
    pin::Pin,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use aws_sdk_dynamodb::{
    Client,
    config::{self, retry::RetryConfig},
    error::SdkError,
    operation::{
        get_item::builders::GetItemFluentBuilder, query::builders::QueryFluentBuilder,
        scan::builders::ScanFluentBuilder, transact_write_items::TransactWriteItemsError,
    },
    types::{ConditionCheck, Delete, Put, TransactWriteItem, Update},
};
use uuid::Uuid;

use super::{
    CommitError, Mark, MarkError, MarkOperation, MarkScope, RollbackError, Target, TargetError, TargetFuture,
    TransactionalTarget,
};
use crate::context::TransactionHandle;

mod table;

use table::Marks;

/// What DynamoDB takes in one transaction; one is the mark.
const OPERATIONS: usize = 100;

/// DynamoDB in one account and region. Changes take the transaction as [`&mut DynamoDbTx`](DynamoDbTx), those declared
/// `transactional = false` (for tables and indexes) the client as `TargetClient<aws_sdk_dynamodb::Client>`.
///
/// The table `flamingock_marks` is created, billed by request, when the first transactional change has to run. Where the
/// role may not create tables, make one with the partition key `scope` and the sort key `change_id`, both texts.
#[derive(Debug)]
pub struct DynamoDbTarget {
    id: Cow<'static, str>,
    database: Database,
}

#[derive(Debug)]
struct Database {
    client: Client,
    marks: Marks,
    /// Attempts whose commit was not answered, until it is known what became of them.
    unsettled: Mutex<HashMap<(MarkScope, String), String>>,
}

/// The operations of a change, which are carried out together when it returns `Ok`, or not at all.
///
/// ```
/// use aws_sdk_dynamodb::types::{AttributeValue, Put};
/// use flamingock::{ChangeError, DynamoDbTx, change};
///
/// #[change(id = "countries", order = "0001", target = "shop")]
/// async fn countries(tx: &mut DynamoDbTx) -> Result<(), ChangeError> {
///     for code in ["DE", "ES", "LU"] {
///         let country = Put::builder()
///             .table_name("countries")
///             .item("code", AttributeValue::S(code.into()))
///             .condition_expression("attribute_not_exists(code)")
///             .build()?;
///         tx.put(country)?;
///     }
///     Ok(())
/// }
/// ```
///
/// DynamoDB's limits: 99 operations beside the mark, 4 MB together, no item twice. What is read is as it was before.
pub struct DynamoDbTx {
    client: Client,
    items: Vec<TransactWriteItem>,
    attempt: String,
    /// Of which change, once its mark is among the items.
    marked: Option<(MarkScope, String)>,
}

/// A change has more operations than fit into one transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "a transaction of DynamoDB takes 100 operations, of which one is the mark: split the change into several, or declare it \
     `transactional = false` and write it so that it can be repeated"
)]
pub struct DynamoDbTxFull;

impl DynamoDbTarget {
    /// DynamoDB by its client.
    pub fn new(id: impl Into<Cow<'static, str>>, client: Client) -> Self {
        Self {
            id: id.into(),
            database: Database {
                marks: Marks::new(client.clone(), "flamingock_marks".to_owned()),
                client,
                unsettled: Mutex::default(),
            },
        }
    }

    /// Another name for the table of the marks. Every service and environment may use the same.
    #[must_use]
    pub fn marks_table(mut self, name: impl Into<String>) -> Self {
        self.database.marks = Marks::new(self.database.client.clone(), name.into());
        self
    }
}

impl From<DynamoDbTarget> for Target {
    fn from(target: DynamoDbTarget) -> Self {
        Self::transactional(target.id, target.database)
    }
}

impl DynamoDbTx {
    /// A transaction of your own, for calling a change function in a test. Nothing is marked, and nothing is sent.
    pub fn new(client: Client) -> Self {
        Self {
            client,
            items: Vec::new(),
            attempt: Uuid::new_v4().to_string(),
            marked: None,
        }
    }

    /// The operations so far.
    pub fn into_items(self) -> Vec<TransactWriteItem> {
        self.items
    }

    /// Writes an item, whatever there was, if its condition holds.
    pub fn put(&mut self, put: Put) -> Result<(), DynamoDbTxFull> {
        self.add(TransactWriteItem::builder().put(put).build())
    }

    /// Changes attributes of an item, if its condition holds.
    pub fn update(&mut self, update: Update) -> Result<(), DynamoDbTxFull> {
        self.add(TransactWriteItem::builder().update(update).build())
    }

    /// Removes an item, if its condition holds.
    pub fn delete(&mut self, delete: Delete) -> Result<(), DynamoDbTxFull> {
        self.add(TransactWriteItem::builder().delete(delete).build())
    }

    /// Lets the transaction take effect only if a condition holds for an item that it does not write.
    pub fn check(&mut self, check: ConditionCheck) -> Result<(), DynamoDbTxFull> {
        self.add(TransactWriteItem::builder().condition_check(check).build())
    }

    /// Reads an item as it is before the transaction, with the last writes of others.
    pub fn get_item(&self) -> GetItemFluentBuilder {
        self.client.get_item().consistent_read(true)
    }

    /// Reads items of one partition, as they are before the transaction.
    pub fn query(&self) -> QueryFluentBuilder {
        self.client.query()
    }

    /// Reads all items of a table, as they are before the transaction.
    pub fn scan(&self) -> ScanFluentBuilder {
        self.client.scan()
    }

    fn add(&mut self, item: TransactWriteItem) -> Result<(), DynamoDbTxFull> {
        if self.items.len() + 1 >= OPERATIONS {
            return Err(DynamoDbTxFull);
        }
        self.items.push(item);
        Ok(())
    }
}

impl TransactionHandle for DynamoDbTx {}

impl fmt::Debug for DynamoDbTx {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DynamoDbTx")
            .field("operations", &self.items.len())
            .finish_non_exhaustive()
    }
}

impl TransactionalTarget for Database {
    type Transaction = DynamoDbTx;
    type Client = Client;

    fn client(&self) -> Client {
        self.client.clone()
    }

    fn marks(&self, scope: MarkScope) -> TargetFuture<'_, Vec<Mark>> {
        Box::pin(async move {
            let applied = self.marks.applied(scope).await?;
            let mark = |change_id| Mark {
                change_id,
                operation: MarkOperation::Applied,
            };
            Ok(applied.into_iter().map(mark).collect())
        })
    }

    fn prepare(&self) -> TargetFuture<'_, ()> {
        Box::pin(self.marks.make_table())
    }

    fn begin(&self) -> TargetFuture<'_, DynamoDbTx> {
        Box::pin(async move { Ok(DynamoDbTx::new(self.client.clone())) })
    }

    fn write_mark<'a>(
        &'a self,
        transaction: &'a mut DynamoDbTx,
        scope: MarkScope,
        change_id: &'a str,
    ) -> Pin<Box<dyn Future<Output = Result<(), MarkError>> + Send + 'a>> {
        Box::pin(async move {
            let mark = self.marks.write(scope, change_id, &transaction.attempt)?;
            transaction.items.push(mark);
            transaction.marked = Some((scope, change_id.to_owned()));
            Ok(())
        })
    }

    fn commit(
        &self,
        transaction: DynamoDbTx,
    ) -> Pin<Box<dyn Future<Output = Result<(), CommitError>> + Send + '_>> {
        Box::pin(async move {
            let DynamoDbTx {
                items,
                attempt,
                marked,
                ..
            } = transaction;
            // Nor does the client repeat it by itself: of two tries the answer to the last would say nothing of the first.
            let once = config::Builder::new().retry_config(RetryConfig::disabled());
            let sent = self
                .client
                .transact_write_items()
                .set_transact_items(Some(items))
                .client_request_token(&attempt)
                .customize()
                .config_override(once)
                .send()
                .await;
            let Err(error) = sent else { return Ok(()) };
            Err(match meaning(&error) {
                Meaning::MarkIsThere => CommitError::AlreadyThere,
                Meaning::Refused => CommitError::Definite(failed(error)),
                Meaning::Unknown => {
                    if let Some(marked) = marked {
                        self.unsettled().insert(marked, attempt);
                    }
                    CommitError::Ambiguous(failed(error))
                }
            })
        })
    }

    fn rollback(
        &self,
        _transaction: DynamoDbTx,
    ) -> Pin<Box<dyn Future<Output = Result<(), RollbackError>> + Send + '_>> {
        Box::pin(async { Ok(()) }) // nothing of it was sent
    }

    fn was_committed<'a>(
        &'a self,
        scope: MarkScope,
        change_id: &'a str,
        patience: Duration,
    ) -> TargetFuture<'a, bool> {
        Box::pin(async move {
            let key = (scope, change_id.to_owned());
            let attempt = self.unsettled().get(&key).cloned();
            let attempt = attempt.ok_or_else(|| {
                TargetError::new("looking for the mark", "no commit of this change is in doubt")
            })?;
            let looked = self.marks.rule_out(scope, change_id, &attempt);
            let committed = tokio::time::timeout(patience, looked)
                .await
                .map_err(|elapsed| TargetError::new("looking for the mark", elapsed))??;
            self.unsettled().remove(&key);
            Ok(committed)
        })
    }

    fn clear_marks<'a>(&'a self, scope: MarkScope, change_ids: &'a [String]) -> TargetFuture<'a, ()> {
        Box::pin(async move {
            for change_id in change_ids {
                self.marks.clear(scope, change_id).await?;
            }
            Ok(())
        })
    }
}

impl Database {
    fn unsettled(&self) -> MutexGuard<'_, HashMap<(MarkScope, String), String>> {
        self.unsettled.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What an error of a commit says.
enum Meaning {
    MarkIsThere,
    Refused,
    Unknown,
}

fn meaning<R>(error: &SdkError<TransactWriteItemsError, R>) -> Meaning {
    match error {
        SdkError::ConstructionFailure(_) => Meaning::Refused,
        SdkError::ServiceError(context) => match context.err() {
            TransactWriteItemsError::TransactionCanceledException(canceled) => {
                // One reason for each operation, and the mark is the last.
                let mark = canceled.cancellation_reasons().last();
                match mark.and_then(|reason| reason.code()) {
                    Some("ConditionalCheckFailed") => Meaning::MarkIsThere,
                    // Another attempt is writing its mark at this moment.
                    Some("TransactionConflict") => Meaning::Unknown,
                    _ => Meaning::Refused,
                }
            }
            // It is being carried out, or DynamoDB does not know itself.
            TransactWriteItemsError::TransactionInProgressException(_)
            | TransactWriteItemsError::InternalServerError(_) => Meaning::Unknown,
            error => match error.meta().code() {
                // Not of this service: a proxy or a load balancer may have answered.
                None | Some("ServiceUnavailable" | "InternalFailure") => Meaning::Unknown,
                Some(_) => Meaning::Refused,
            },
        },
        _ => Meaning::Unknown,
    }
}

/// The cause of a cancelled transaction is in its reasons only.
fn failed<R>(error: SdkError<TransactWriteItemsError, R>) -> TargetError
where
    R: fmt::Debug + Send + Sync + 'static,
{
    if let Some(TransactWriteItemsError::TransactionCanceledException(canceled)) = error.as_service_error() {
        let reasons = canceled.cancellation_reasons().iter().enumerate();
        let told: Vec<_> = reasons
            .filter(|(_, reason)| reason.code() != Some("None"))
            .map(|(at, reason)| {
                let code = reason.code().unwrap_or("unknown");
                let message = reason.message().unwrap_or_default();
                format!("operation {} of the change: {code} {message}", at + 1)
            })
            .collect();
        return TargetError::new("committing", told.join("; "));
    }
    TargetError::new("committing", error)
}

#[cfg(test)]
mod tests {
    use aws_sdk_dynamodb::{
        error::ErrorMetadata,
        types::{
            AttributeValue, CancellationReason,
            error::{InternalServerError, TransactionCanceledException, TransactionInProgressException},
        },
    };

    use super::*;

    fn service(error: TransactWriteItemsError) -> SdkError<TransactWriteItemsError, ()> {
        SdkError::service_error(error, ())
    }

    fn canceled(codes: &[&str]) -> SdkError<TransactWriteItemsError, ()> {
        let reasons = codes
            .iter()
            .map(|code| CancellationReason::builder().code(*code).build());
        let canceled =
            TransactionCanceledException::builder().set_cancellation_reasons(Some(reasons.collect()));
        service(TransactWriteItemsError::TransactionCanceledException(
            canceled.build(),
        ))
    }

    fn other(code: Option<&str>) -> SdkError<TransactWriteItemsError, ()> {
        let mut meta = ErrorMetadata::builder();
        if let Some(code) = code {
            meta = meta.code(code);
        }
        service(TransactWriteItemsError::generic(meta.build()))
    }

    #[test]
    fn only_a_clear_word_of_dynamodb_is_a_definite_failure() {
        assert!(matches!(
            meaning(&canceled(&["None", "ConditionalCheckFailed"])),
            Meaning::MarkIsThere
        ));
        for refused in [
            canceled(&["ConditionalCheckFailed", "None"]),
            canceled(&["TransactionConflict", "None"]),
            other(Some("ValidationException")),
            other(Some("ThrottlingException")),
            other(Some("AccessDeniedException")),
            SdkError::construction_failure("no region"),
        ] {
            assert!(matches!(meaning(&refused), Meaning::Refused), "{refused:?}");
        }
        let unknown = InternalServerError::builder().build();
        let running = TransactionInProgressException::builder().build();
        for unknown in [
            service(TransactWriteItemsError::InternalServerError(unknown)),
            service(TransactWriteItemsError::TransactionInProgressException(running)),
            canceled(&["None", "TransactionConflict"]),
            other(None),
            other(Some("ServiceUnavailable")),
            SdkError::timeout_error("no answer"),
            SdkError::response_error("half an answer", ()),
        ] {
            assert!(matches!(meaning(&unknown), Meaning::Unknown), "{unknown:?}");
        }
    }

    #[test]
    fn the_hundredth_operation_is_the_marks() {
        let config = config::Config::builder().behavior_version(config::BehaviorVersion::latest());
        let mut tx = DynamoDbTx::new(Client::from_conf(config.build()));
        let put = || {
            let item = Put::builder()
                .table_name("t")
                .item("id", AttributeValue::N("1".to_owned()));
            item.build().expect("it has all that is required")
        };
        for _ in 0..99 {
            tx.put(put()).expect("it fits");
        }
        assert_eq!(tx.put(put()), Err(DynamoDbTxFull));
        assert_eq!(tx.into_items().len(), 99);
    }
}
