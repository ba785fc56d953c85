//! Plain async functions as rollbacks: `async fn(…extractors…)`, or with the transaction as first parameter.
//!
//! The attribute sees the parameters of the function that it stands on, but of the rollback only the name, so here
//! the compiler's inference finds them.

use std::{future::Future, marker::PhantomData};

use crate::{
    change::{ChangeError, ChangeFuture},
    context::{Context, FromContext, Requirement, TransactionHandle},
};

/// An async function whose parameters can be taken from the context. `M` is inferred.
#[diagnostic::on_unimplemented(
    message = "this cannot be the rollback of a change",
    note = "a rollback is an `async fn` that returns `Result<(), E>` and takes, in this order, the `&mut` transaction \
            if it needs it, then up to 6 of `Dep<T>`, `TargetClient<T>`, `Cancellation`, `Checkpoint`, `Progress`"
)]
pub trait Handler<M>: Send + Sync {
    /// What the parameters need.
    fn requirements(&self) -> Vec<Requirement>;

    /// Takes the parameters and runs the function.
    fn call<'a>(&'a self, context: &'a mut Context) -> ChangeFuture<'a>;
}

/// What a change returns.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be the result of a change",
    note = "a change is an `async fn` that returns `Result<(), E>`; `E` is an error, a text, or `flamingock::ChangeError`, into \
            which `?` turns every error"
)]
pub trait Outcome {
    /// With the error as the runner wants it.
    fn into_outcome(self) -> Result<(), ChangeError>;
}

impl<E: Into<ChangeError>> Outcome for Result<(), E> {
    fn into_outcome(self) -> Result<(), ChangeError> {
        self.map_err(Into::into)
    }
}

/// A rollback, whatever it takes.
pub trait Undo {
    /// What the parameters need.
    fn requirements(&self) -> Vec<Requirement>;

    /// Takes the parameters and runs the function.
    fn call<'a>(&self, context: &'a mut Context) -> ChangeFuture<'a>;
}

struct Undoes<M, H: 'static>(&'static H, PhantomData<fn() -> M>);

impl<M, H: Handler<M>> Undo for Undoes<M, H> {
    fn requirements(&self) -> Vec<Requirement> {
        self.0.requirements()
    }

    fn call<'a>(&self, context: &'a mut Context) -> ChangeFuture<'a> {
        self.0.call(context)
    }
}

/// This function undoes a change.
pub fn undoes<M, H: Handler<M>>(handler: &'static H) -> impl Undo {
    Undoes(handler, PhantomData)
}

/// A function that begins with a borrowed transaction, for one lifetime: what a bound with `for<'t>` needs, because
/// the future's type depends on that lifetime.
pub trait BorrowingFn<'t, H: 'static, A>: Send + Sync {
    /// Its error.
    type Error;
    /// Its future.
    type Future: Future<Output = Result<(), Self::Error>> + Send + 't;

    /// Runs the function.
    fn run(&self, handle: &'t mut H, parameters: A) -> Self::Future;
}

/// Marks functions of extractors only.
#[derive(Debug)]
pub struct Plain<A>(PhantomData<A>);

/// Marks functions that begin with a transaction.
#[derive(Debug)]
pub struct Borrowing<H, A>(PhantomData<(H, A)>);

macro_rules! handlers {
    ($($parameter:ident)*) => {
        impl<F, R, E, $($parameter),*> Handler<Plain<($($parameter,)*)>> for F
        where
            F: Fn($($parameter),*) -> R + Send + Sync,
            R: Future<Output = Result<(), E>> + Send,
            E: Into<ChangeError>,
            $($parameter: FromContext,)*
        {
            fn requirements(&self) -> Vec<Requirement> {
                vec![$($parameter::requirement()),*]
            }

            fn call<'a>(&'a self, context: &'a mut Context) -> ChangeFuture<'a> {
                Box::pin(async move {
                    let _ = &context;
                    self($($parameter::from_context(&*context)?),*).await.map_err(Into::into)
                })
            }
        }

        #[allow(non_snake_case, clippy::allow_attributes, reason = "the macro names values as their types")]
        impl<'t, F, R, E, H, $($parameter),*> BorrowingFn<'t, H, ($($parameter,)*)> for F
        where
            F: Fn(&'t mut H, $($parameter),*) -> R + Send + Sync,
            R: Future<Output = Result<(), E>> + Send + 't,
            H: 'static,
        {
            type Error = E;
            type Future = R;

            fn run(&self, handle: &'t mut H, ($($parameter,)*): ($($parameter,)*)) -> R {
                self(handle, $($parameter),*)
            }
        }

        impl<F, E, H, $($parameter),*> Handler<Borrowing<H, ($($parameter,)*)>> for F
        where
            F: for<'t> BorrowingFn<'t, H, ($($parameter,)*), Error = E>,
            E: Into<ChangeError>,
            H: TransactionHandle,
            $($parameter: FromContext,)*
        {
            fn requirements(&self) -> Vec<Requirement> {
                vec![Requirement::transaction::<H>(), $($parameter::requirement()),*]
            }

            fn call<'a>(&'a self, context: &'a mut Context) -> ChangeFuture<'a> {
                Box::pin(async move {
                    let parameters = ($($parameter::from_context(&*context)?,)*);
                    self.run(context.transaction::<H>()?, parameters).await.map_err(Into::into)
                })
            }
        }
    };
}

handlers!();
handlers!(A);
handlers!(A B);
handlers!(A B C);
handlers!(A B C D);
handlers!(A B C D G);
handlers!(A B C D G I);
