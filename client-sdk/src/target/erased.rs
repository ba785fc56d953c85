//! The same, without the associated types: targets of different kinds in one list.

use std::{
    any::{Any, TypeId, type_name},
    future::Future,
    pin::Pin,
    time::Duration,
};

use super::{CommitError, Mark, MarkError, MarkScope, RollbackError, TargetFuture, TransactionalTarget};

/// An open transaction of some target.
pub(crate) type AnyTransaction = Box<dyn Any + Send>;

pub(crate) trait AnyTarget: Send + Sync {
    fn transaction_type(&self) -> (TypeId, &'static str);
    fn keeps_marks(&self) -> bool;
    fn marks(&self, scope: MarkScope) -> TargetFuture<'_, Vec<Mark>>;
    fn prepare(&self) -> TargetFuture<'_, ()>;
    fn begin(&self) -> TargetFuture<'_, AnyTransaction>;
    fn write_mark<'a>(
        &'a self,
        transaction: &'a mut AnyTransaction,
        scope: MarkScope,
        change_id: &'a str,
    ) -> Pin<Box<dyn Future<Output = Result<(), MarkError>> + Send + 'a>>;
    fn commit(
        &self,
        transaction: AnyTransaction,
    ) -> Pin<Box<dyn Future<Output = Result<(), CommitError>> + Send + '_>>;
    fn rollback(
        &self,
        transaction: AnyTransaction,
    ) -> Pin<Box<dyn Future<Output = Result<(), RollbackError>> + Send + '_>>;
    fn was_committed<'a>(
        &'a self,
        scope: MarkScope,
        change_id: &'a str,
        patience: Duration,
    ) -> TargetFuture<'a, bool>;
    fn clear_marks<'a>(&'a self, scope: MarkScope, change_ids: &'a [String]) -> TargetFuture<'a, ()>;
}

impl<T: TransactionalTarget> AnyTarget for T {
    fn transaction_type(&self) -> (TypeId, &'static str) {
        (TypeId::of::<T::Transaction>(), type_name::<T::Transaction>())
    }

    fn keeps_marks(&self) -> bool {
        TransactionalTarget::keeps_marks(self)
    }

    fn marks(&self, scope: MarkScope) -> TargetFuture<'_, Vec<Mark>> {
        TransactionalTarget::marks(self, scope)
    }

    fn prepare(&self) -> TargetFuture<'_, ()> {
        TransactionalTarget::prepare(self)
    }

    fn begin(&self) -> TargetFuture<'_, AnyTransaction> {
        Box::pin(async move {
            let transaction = TransactionalTarget::begin(self).await?;
            Ok(Box::new(transaction) as AnyTransaction)
        })
    }

    fn write_mark<'a>(
        &'a self,
        transaction: &'a mut AnyTransaction,
        scope: MarkScope,
        change_id: &'a str,
    ) -> Pin<Box<dyn Future<Output = Result<(), MarkError>> + Send + 'a>> {
        let transaction = transaction
            .downcast_mut()
            .expect("a transaction goes back to the target that began it");
        TransactionalTarget::write_mark(self, transaction, scope, change_id)
    }

    fn commit(
        &self,
        transaction: AnyTransaction,
    ) -> Pin<Box<dyn Future<Output = Result<(), CommitError>> + Send + '_>> {
        TransactionalTarget::commit(self, own::<T>(transaction))
    }

    fn rollback(
        &self,
        transaction: AnyTransaction,
    ) -> Pin<Box<dyn Future<Output = Result<(), RollbackError>> + Send + '_>> {
        TransactionalTarget::rollback(self, own::<T>(transaction))
    }

    fn was_committed<'a>(
        &'a self,
        scope: MarkScope,
        change_id: &'a str,
        patience: Duration,
    ) -> TargetFuture<'a, bool> {
        TransactionalTarget::was_committed(self, scope, change_id, patience)
    }

    fn clear_marks<'a>(&'a self, scope: MarkScope, change_ids: &'a [String]) -> TargetFuture<'a, ()> {
        TransactionalTarget::clear_marks(self, scope, change_ids)
    }
}

fn own<T: TransactionalTarget>(transaction: AnyTransaction) -> T::Transaction {
    *transaction
        .downcast()
        .expect("a transaction goes back to the target that began it")
}
