//! A target with transactions and marks whose every step can be made to fail.

use std::{
    collections::BTreeMap,
    future::Future,
    pin::Pin,
    sync::{Arc, Mutex},
    time::Duration,
};

use flamingock::{
    CommitError, Mark, MarkError, MarkOperation, MarkScope, RollbackError, TargetError, TargetFuture,
    TransactionHandle, TransactionalTarget,
};

use super::Log;

/// What the next commit does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Commit {
    #[default]
    Works,
    Refused,
    /// The connection breaks, after it took effect.
    BreaksAfter,
    /// The connection breaks, before it took effect.
    BreaksBefore,
}

#[derive(Default)]
pub(crate) struct Contents {
    pub(crate) rows: Vec<String>,
    pub(crate) marks: BTreeMap<String, MarkOperation>,
    pub(crate) commit: Commit,
    pub(crate) broken: Vec<&'static str>,
    /// The change has executed a `COMMIT` of its own.
    pub(crate) ended_by_itself: bool,
    /// How long removing marks takes.
    pub(crate) clearing_takes: Duration,
    /// How often looking for a mark fails before it works.
    pub(crate) looks_that_fail: usize,
    pub(crate) prepared: usize,
}

#[derive(Clone)]
pub(crate) struct FakeDatabase {
    pub(crate) contents: Arc<Mutex<Contents>>,
    pub(crate) keeps_marks: bool,
}

pub(crate) struct FakeTx {
    rows: Vec<String>,
    mark: Option<String>,
}

impl TransactionHandle for FakeTx {}

impl FakeTx {
    pub(crate) fn write(&mut self, row: &str) {
        self.rows.push(row.to_owned());
    }
}

impl FakeDatabase {
    pub(crate) fn new() -> Self {
        Self {
            contents: Arc::default(),
            keeps_marks: true,
        }
    }

    pub(crate) fn without_marks() -> Self {
        Self {
            keeps_marks: false,
            ..Self::new()
        }
    }

    pub(crate) fn with(&self, change: impl FnOnce(&mut Contents)) -> &Self {
        change(&mut self.contents.lock().expect("no test panics inside"));
        self
    }

    pub(crate) fn rows(&self) -> Vec<String> {
        self.contents.lock().expect("no test panics inside").rows.clone()
    }

    pub(crate) fn marks(&self) -> Vec<String> {
        self.contents
            .lock()
            .expect("no test panics inside")
            .marks
            .keys()
            .cloned()
            .collect()
    }

    fn check(&self, operation: &'static str) -> Result<(), TargetError> {
        let contents = self.contents.lock().expect("no test panics inside");
        if contents.broken.contains(&operation) {
            Err(TargetError::new(operation, "made to fail"))
        } else {
            Ok(())
        }
    }
}

impl TransactionalTarget for FakeDatabase {
    type Transaction = FakeTx;
    type Client = Log;

    fn client(&self) -> Log {
        Log::default()
    }

    fn keeps_marks(&self) -> bool {
        self.keeps_marks
    }

    fn marks(&self, scope: MarkScope) -> TargetFuture<'_, Vec<Mark>> {
        assert_eq!(
            scope,
            MarkScope {
                environment_id: 12,
                service_id: 340
            }
        );
        assert!(self.keeps_marks, "not asked without a marker");
        Box::pin(async move {
            self.check("marks")?;
            let contents = self.contents.lock().expect("no test panics inside");
            let mark = |(id, operation): (&String, &MarkOperation)| Mark {
                change_id: id.clone(),
                operation: *operation,
            };
            Ok(contents.marks.iter().map(mark).collect())
        })
    }

    fn prepare(&self) -> TargetFuture<'_, ()> {
        Box::pin(async move {
            self.check("prepare")?;
            self.with(|contents| contents.prepared += 1);
            Ok(())
        })
    }

    fn begin(&self) -> TargetFuture<'_, FakeTx> {
        Box::pin(async move {
            self.check("begin")?;
            Ok(FakeTx {
                rows: Vec::new(),
                mark: None,
            })
        })
    }

    fn write_mark<'a>(
        &'a self,
        transaction: &'a mut FakeTx,
        _: MarkScope,
        change_id: &'a str,
    ) -> Pin<Box<dyn Future<Output = Result<(), MarkError>> + Send + 'a>> {
        Box::pin(async move {
            self.check("write_mark")?;
            if self.marks().iter().any(|id| id == change_id) {
                return Err(MarkError::AlreadyThere);
            }
            transaction.mark = Some(change_id.to_owned());
            Ok(())
        })
    }

    fn commit(
        &self,
        transaction: FakeTx,
    ) -> Pin<Box<dyn Future<Output = Result<(), CommitError>> + Send + '_>> {
        Box::pin(async move {
            let mut contents = self.contents.lock().expect("no test panics inside");
            let commit = std::mem::take(&mut contents.commit);
            if matches!(commit, Commit::Works | Commit::BreaksAfter) {
                contents.rows.extend(transaction.rows);
                contents
                    .marks
                    .extend(transaction.mark.map(|id| (id, MarkOperation::Applied)));
            }
            let error = || TargetError::new("committing", "made to fail");
            match commit {
                Commit::Works => Ok(()),
                Commit::Refused => Err(CommitError::Definite(error())),
                Commit::BreaksAfter | Commit::BreaksBefore => Err(CommitError::Ambiguous(error())),
            }
        })
    }

    fn rollback(&self, _: FakeTx) -> Pin<Box<dyn Future<Output = Result<(), RollbackError>> + Send + '_>> {
        Box::pin(async move {
            if self
                .contents
                .lock()
                .expect("no test panics inside")
                .ended_by_itself
            {
                return Err(RollbackError::TransactionEnded);
            }
            self.check("rollback").map_err(RollbackError::Unknown)
        })
    }

    fn was_committed<'a>(&'a self, _: MarkScope, change_id: &'a str, _: Duration) -> TargetFuture<'a, bool> {
        Box::pin(async move {
            self.check("was_committed")?;
            let mut contents = self.contents.lock().expect("no test panics inside");
            if contents.looks_that_fail > 0 {
                contents.looks_that_fail -= 1;
                return Err(TargetError::new("was_committed", "not yet"));
            }
            Ok(contents.marks.contains_key(change_id))
        })
    }

    fn clear_marks<'a>(&'a self, _: MarkScope, change_ids: &'a [String]) -> TargetFuture<'a, ()> {
        Box::pin(async move {
            let takes = self
                .contents
                .lock()
                .expect("no test panics inside")
                .clearing_takes;
            tokio::time::sleep(takes).await;
            self.check("clear_marks")?;
            self.with(|contents| contents.marks.retain(|id, _| !change_ids.contains(id)));
            Ok(())
        })
    }
}
