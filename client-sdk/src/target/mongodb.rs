//! MongoDB: changes run in one transaction each, with their mark in the same database, where the server has transactions.
//!
//! Only a replica set and a sharded cluster have. A server that stands alone takes the beginning of a transaction without a
//! word, for the client sends it with the first operation; so it is asked what it is before a change is recorded as started.
//!
//! Reads and writes of the marks are those of the majority: a mark that a new primary does not know was never there.

use std::{borrow::Cow, fmt, future::Future, pin::Pin, time::Duration};

use futures_util::TryStreamExt as _;
use mongodb::{
    ClientSession, Collection, Database as MongoDatabase,
    bson::{DateTime, Document, doc},
    error::{Error, ErrorKind, Result as MongoResult, TRANSIENT_TRANSACTION_ERROR, WriteFailure},
    options::{
        CollectionOptions, ReadConcern, ReadPreference, SelectionCriteria, TransactionOptions, WriteConcern,
    },
};
use tokio::sync::OnceCell;

use super::{
    CommitError, Mark, MarkError, MarkOperation, MarkScope, RollbackError, Target, TargetError, TargetFuture,
    TransactionalTarget,
};
use crate::context::TransactionHandle;

const MARKS: &str = "flamingock_marks";
const APPLIED: &str = "APPLIED";
const DUPLICATE_KEY: i32 = 11_000;
const NAMESPACE_EXISTS: i32 = 48;
const NO_SUCH_COMMAND: i32 = 59;
const WRITE_CONFLICT: i32 = 112;
/// A server ends a transaction after a minute, unless it was told otherwise, but looks for such only each half a minute.
const OPEN_AT_MOST: Duration = Duration::from_mins(2);
const BETWEEN_LOOKS: Duration = Duration::from_millis(100);

/// A MongoDB database. Changes take the transaction as [`&mut MongoDbTx`](MongoDbTx), those declared
/// `transactional = false` (for indexes, validators, and everything too large for a transaction) the database as
/// `TargetClient<mongodb::Database>`.
///
/// The collection `flamingock_marks` is created when the first transactional change has to run. Transactions need a replica
/// set or a sharded cluster, of MongoDB 4.4 or later; a transactional change is refused elsewhere, before it is begun.
#[derive(Debug)]
pub struct MongoDbTarget {
    id: Cow<'static, str>,
    database: Database,
}

#[derive(Debug)]
struct Database {
    inner: MongoDatabase,
    /// Whether it says so or not.
    has_transactions: bool,
    /// It has transactions, and the collection is there.
    ready: OnceCell<()>,
}

/// The open transaction of a change. What is to be part of it is given its session:
///
/// ```
/// use flamingock::{MongoDbTx, change};
/// use mongodb::bson::{Document, doc};
///
/// #[change(id = "tax-rates-2027", order = "0007", target = "shop-db")]
/// async fn tax_rates(tx: &mut MongoDbTx) -> mongodb::error::Result<()> {
///     let rates = tx.database().collection::<Document>("tax_rates");
///     rates.insert_one(doc! {"country": "DE", "year": 2027, "percent": 19}).session(tx.session()).await?;
///     Ok(())
/// }
/// ```
///
/// It commits when the change returns `Ok`, and only then. An operation **without** the session is not part of it: it takes
/// effect at once and stays when the change fails. After an error of one operation the server has aborted it, and refuses
/// what follows. A change that commits or aborts the session itself fails (`TRANSACTION_ENDED`), whatever it returns.
///
/// MongoDB's limits: a minute, unless the server was told otherwise, and 16 MB for one document; indexes can be created in it
/// only for collections that it has created itself, and not filled yet.
pub struct MongoDbTx {
    session: ClientSession,
    database: MongoDatabase,
}

impl MongoDbTarget {
    /// A database. Its client names the servers, the credentials and the time limits.
    pub fn new(id: impl Into<Cow<'static, str>>, database: MongoDatabase) -> Self {
        Self {
            id: id.into(),
            database: Database {
                inner: database,
                has_transactions: false,
                ready: OnceCell::new(),
            },
        }
    }

    /// Takes it for granted that there are transactions. For systems that are compatible with MongoDB, and do not say in
    /// their answer to `hello` that they are a replica set or a sharded cluster.
    #[must_use]
    pub fn has_transactions(mut self) -> Self {
        self.database.has_transactions = true;
        self
    }
}

impl From<MongoDbTarget> for Target {
    fn from(target: MongoDbTarget) -> Self {
        Self::transactional(target.id, target.database)
    }
}

impl MongoDbTx {
    /// A transaction of your own, already started, for calling a change function in a test. Nothing is marked.
    pub fn new(session: ClientSession, database: MongoDatabase) -> Self {
        Self { session, database }
    }

    /// What makes an operation part of the transaction.
    pub fn session(&mut self) -> &mut ClientSession {
        &mut self.session
    }

    /// The database that the target names.
    pub fn database(&self) -> &MongoDatabase {
        &self.database
    }

    /// Gives the session back.
    pub fn into_inner(self) -> ClientSession {
        self.session
    }

    /// The driver tells it only when it is asked to begin another one.
    async fn has_ended(&mut self) -> bool {
        if self.session.start_transaction().await.is_err() {
            return false;
        }
        // Of this one the server knows nothing yet.
        let _ = self.session.abort_transaction().await;
        true
    }
}

impl TransactionHandle for MongoDbTx {}

impl fmt::Debug for MongoDbTx {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MongoDbTx").finish_non_exhaustive()
    }
}

impl TransactionalTarget for Database {
    type Transaction = MongoDbTx;
    type Client = MongoDatabase;

    fn client(&self) -> MongoDatabase {
        self.inner.clone()
    }

    fn marks(&self, scope: MarkScope) -> TargetFuture<'_, Vec<Mark>> {
        Box::pin(async move {
            let filter = doc! {"environment_id": scope.environment_id, "service_id": scope.service_id};
            let found: MongoResult<Vec<Document>> = async {
                let cursor = self.collection().find(filter).await?;
                cursor.try_collect().await
            }
            .await;
            let found = found.map_err(|error| TargetError::new("reading the marks", error))?;
            found.iter().map(mark).collect()
        })
    }

    fn prepare(&self) -> TargetFuture<'_, ()> {
        Box::pin(async move {
            self.ready
                .get_or_try_init(|| async {
                    if !self.has_transactions {
                        self.ask_for_transactions().await?;
                    }
                    self.make_collection()
                        .await
                        .map_err(|error| TargetError::new("creating the collection flamingock_marks", error))
                })
                .await?;
            Ok(())
        })
    }

    fn begin(&self) -> TargetFuture<'_, MongoDbTx> {
        Box::pin(async move {
            let session = self.start().await;
            Ok(MongoDbTx {
                session: session.map_err(|error| TargetError::new("beginning a transaction", error))?,
                database: self.inner.clone(),
            })
        })
    }

    fn write_mark<'a>(
        &'a self,
        transaction: &'a mut MongoDbTx,
        scope: MarkScope,
        change_id: &'a str,
    ) -> Pin<Box<dyn Future<Output = Result<(), MarkError>> + Send + 'a>> {
        Box::pin(async move {
            if transaction.has_ended().await {
                return Err(MarkError::TransactionEnded);
            }
            let mark = document(scope, change_id);
            let marks = self.collection();
            match marks.insert_one(mark).session(&mut transaction.session).await {
                Ok(_) => Ok(()),
                Err(error) if has_code(&error, DUPLICATE_KEY) => Err(MarkError::AlreadyThere),
                // Another attempt has written it, and is open or has committed since this transaction began, which does
                // not see what came after that. Called a failure, it would contradict the mark.
                Err(error) if has_code(&error, WRITE_CONFLICT) => {
                    match self.was_committed(scope, change_id, OPEN_AT_MOST).await {
                        Ok(true) => Err(MarkError::AlreadyThere),
                        Ok(false) | Err(_) => Err(TargetError::new("writing the mark", error).into()),
                    }
                }
                Err(error) => Err(TargetError::new("writing the mark", error).into()),
            }
        })
    }

    fn commit(
        &self,
        mut transaction: MongoDbTx,
    ) -> Pin<Box<dyn Future<Output = Result<(), CommitError>> + Send + '_>> {
        Box::pin(async move {
            transaction.session.commit_transaction().await.map_err(|error| {
                let definite = is_definite(&error);
                let error = TargetError::new("committing", error);
                if definite {
                    CommitError::Definite(error)
                } else {
                    CommitError::Ambiguous(error)
                }
            })
        })
    }

    fn rollback(
        &self,
        mut transaction: MongoDbTx,
    ) -> Pin<Box<dyn Future<Output = Result<(), RollbackError>> + Send + '_>> {
        Box::pin(async move {
            // If the server does not hear it, it aborts by itself; only this session could have committed. What fails is
            // the driver's own word that the change has ended it.
            let aborted = transaction.session.abort_transaction().await;
            aborted.map_err(|_| RollbackError::TransactionEnded)
        })
    }

    fn was_committed<'a>(
        &'a self,
        scope: MarkScope,
        change_id: &'a str,
        patience: Duration,
    ) -> TargetFuture<'a, bool> {
        Box::pin(async move {
            tokio::time::timeout(patience, self.look_for_commit(scope, change_id))
                .await
                .map_err(|elapsed| TargetError::new("looking for the mark", elapsed))?
                .map_err(|error| TargetError::new("looking for the mark", error))
        })
    }

    fn clear_marks<'a>(&'a self, scope: MarkScope, change_ids: &'a [String]) -> TargetFuture<'a, ()> {
        Box::pin(async move {
            let ids: Vec<_> = change_ids.iter().map(|id| key(scope, id)).collect();
            self.collection()
                .delete_many(doc! {"_id": {"$in": ids}})
                .await
                .map_err(|error| TargetError::new("clearing the marks", error))?;
            Ok(())
        })
    }
}

impl Database {
    fn collection(&self) -> Collection<Document> {
        let options = CollectionOptions::builder()
            .read_concern(ReadConcern::majority())
            .write_concern(WriteConcern::majority())
            .selection_criteria(SelectionCriteria::ReadPreference(ReadPreference::Primary))
            .build();
        self.inner.collection_with_options(MARKS, options)
    }

    async fn ask_for_transactions(&self) -> Result<(), TargetError> {
        let doing = "asking the server whether it has transactions";
        let mut hello = self.inner.run_command(doc! {"hello": 1}).await;
        if hello
            .as_ref()
            .is_err_and(|error| has_code(error, NO_SUCH_COMMAND))
        {
            // Before 4.4.2. Newer ones may refuse that name.
            hello = self.inner.run_command(doc! {"isMaster": 1}).await;
        }
        let hello = hello.map_err(|error| TargetError::new(doing, error))?;
        if tells_transactions(&hello) {
            return Ok(());
        }
        Err(TargetError::new(
            doing,
            "it has none, as it is no replica set and no sharded cluster. Make it one (a set of one member will do), or \
             declare the change `transactional = false`, write it so that it can be repeated, and give it a rollback",
        ))
    }

    /// A role that may use the collection need not be allowed to create one, nor to see what others there are.
    async fn make_collection(&self) -> MongoResult<()> {
        let there = self
            .inner
            .list_collection_names()
            .filter(doc! {"name": MARKS})
            .authorized_collections(true)
            .await?;
        if !there.is_empty() {
            return Ok(());
        }
        match self.inner.create_collection(MARKS).await {
            Err(error) if !has_code(&error, NAMESPACE_EXISTS) => Err(error),
            _ => Ok(()),
        }
    }

    async fn start(&self) -> MongoResult<ClientSession> {
        let mut session = self.inner.client().start_session().await?;
        let options = TransactionOptions::builder()
            .read_concern(ReadConcern::snapshot())
            .write_concern(WriteConcern::majority())
            .selection_criteria(SelectionCriteria::ReadPreference(ReadPreference::Primary))
            .build();
        session.start_transaction().with_options(options).await?;
        Ok(session)
    }

    /// A read alone would not do: the lost transaction may still be open. Writing its mark is refused for as long as it is;
    /// and when a majority has agreed to a transaction that writes the mark and removes it, it has ended without effect.
    async fn look_for_commit(&self, scope: MarkScope, change_id: &str) -> MongoResult<bool> {
        let key = doc! {"_id": key(scope, change_id)};
        loop {
            if self.collection().find_one(key.clone()).await?.is_some() {
                return Ok(true);
            }
            let mut session = self.start().await?;
            let ended: MongoResult<()> = async {
                let mark = document(scope, change_id);
                self.collection().insert_one(mark).session(&mut session).await?;
                self.collection()
                    .delete_one(key.clone())
                    .session(&mut session)
                    .await?;
                session.commit_transaction().await
            }
            .await;
            match ended {
                Ok(()) => return Ok(false),
                // It is open, or committed and not yet known to the majority.
                Err(error)
                    if has_code(&error, DUPLICATE_KEY)
                        || error.contains_label(TRANSIENT_TRANSACTION_ERROR) => {}
                Err(error) => return Err(error),
            }
            tokio::time::sleep(BETWEEN_LOOKS).await;
        }
    }
}

/// A replica set has a name, and a router of a sharded cluster says that it is one.
fn tells_transactions(hello: &Document) -> bool {
    hello.get_str("setName").is_ok() || hello.get_str("msg").is_ok_and(|msg| msg == "isdbgrid")
}

/// Ids of environment and service are numbers, so no two changes have the same.
fn key(scope: MarkScope, change_id: &str) -> String {
    format!("{}:{}:{change_id}", scope.environment_id, scope.service_id)
}

fn document(scope: MarkScope, change_id: &str) -> Document {
    doc! {
        "_id": key(scope, change_id),
        "environment_id": scope.environment_id,
        "service_id": scope.service_id,
        "change_id": change_id,
        "operation": APPLIED,
        "created_at": DateTime::now(),
    }
}

fn mark(document: &Document) -> Result<Mark, TargetError> {
    let text = |name| {
        let text = document.get_str(name);
        text.map_err(|error| TargetError::new("reading the marks", error))
    };
    let operation = match text("operation")? {
        APPLIED => MarkOperation::Applied,
        other => {
            let error = format!("`{other}` is no operation of a mark");
            return Err(TargetError::new("reading the marks", error));
        }
    };
    Ok(Mark {
        change_id: text("change_id")?.to_owned(),
        operation,
    })
}

fn has_code(error: &Error, code: i32) -> bool {
    match error.kind.as_ref() {
        ErrorKind::Command(error) => error.code == code,
        ErrorKind::Write(WriteFailure::WriteError(error)) => error.code == code,
        _ => false,
    }
}

/// The server itself says that the transaction was aborted. Everything else may come after it has committed: a lost answer,
/// a write concern that was not reached in time, a new primary.
fn is_definite(error: &Error) -> bool {
    matches!(error.kind.as_ref(), ErrorKind::Command(_)) && error.contains_label(TRANSIENT_TRANSACTION_ERROR)
}

#[cfg(test)]
mod tests {
    use mongodb::bson;

    use super::*;

    #[test]
    fn a_replica_set_and_a_router_have_transactions_and_a_server_alone_has_none() {
        assert!(tells_transactions(
            &doc! {"isWritablePrimary": true, "setName": "rs0"}
        ));
        assert!(tells_transactions(
            &doc! {"isWritablePrimary": true, "msg": "isdbgrid"}
        ));
        assert!(!tells_transactions(
            &doc! {"isWritablePrimary": true, "msg": "hello"}
        ));
    }

    #[test]
    fn only_an_unknown_command_is_asked_by_its_former_name() {
        let refused = |code: i32| {
            let told = doc! {"code": code, "codeName": "", "errmsg": ""};
            Error::from(ErrorKind::Command(bson::deserialize_from_document(told).unwrap()))
        };
        assert!(has_code(&refused(59), NO_SUCH_COMMAND));
        assert!(!has_code(&refused(13), NO_SUCH_COMMAND));
    }

    #[test]
    fn a_lost_answer_is_no_definite_failure() {
        let lost = Error::from(std::io::Error::from(std::io::ErrorKind::ConnectionReset));
        assert!(!is_definite(&lost));
    }
}
