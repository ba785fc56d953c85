//! Plain async functions as probes: `async fn(…extractors…)` that answers [`Probed`], or a `Result` with it.

use std::{future::Future, marker::PhantomData};

use crate::{
    change::{ChangeError, ProbeFuture, Probed},
    context::{Context, FromContext, Requirement},
};

/// What the function of a probe may return.
#[diagnostic::on_unimplemented(
    message = "a probe does not answer with `{Self}`",
    note = "it is an `async fn` that returns `Probed`, or `Result<Probed, E>` with any error"
)]
pub trait ProbeAnswer {
    /// As the probe of a change returns it.
    fn into_answer(self) -> Result<Probed, ChangeError>;
}

impl ProbeAnswer for Probed {
    fn into_answer(self) -> Result<Probed, ChangeError> {
        Ok(self)
    }
}

impl<E: Into<ChangeError>> ProbeAnswer for Result<Probed, E> {
    fn into_answer(self) -> Result<Probed, ChangeError> {
        self.map_err(Into::into)
    }
}

/// An async function whose parameters can be taken from the context. `M` is inferred.
#[diagnostic::on_unimplemented(
    message = "this cannot be the probe of a change",
    note = "a probe is an `async fn` that returns `Probed` or `Result<Probed, E>` and takes up to 6 of `Dep<T>`, \
            `TargetClient<T>`, `Cancellation`, but no transaction"
)]
pub trait ProbeHandler<M>: Send + Sync {
    /// What the parameters need.
    fn requirements(&self) -> Vec<Requirement>;

    /// Takes the parameters and runs the function.
    fn call<'a>(&'a self, context: &'a mut Context) -> ProbeFuture<'a>;
}

/// A probe, whatever it takes.
pub trait Look {
    /// What the parameters need.
    fn requirements(&self) -> Vec<Requirement>;

    /// Takes the parameters and runs the function.
    fn call<'a>(&self, context: &'a mut Context) -> ProbeFuture<'a>;
}

struct Looks<M, P: 'static>(&'static P, PhantomData<fn() -> M>);

impl<M, P: ProbeHandler<M>> Look for Looks<M, P> {
    fn requirements(&self) -> Vec<Requirement> {
        self.0.requirements()
    }

    fn call<'a>(&self, context: &'a mut Context) -> ProbeFuture<'a> {
        self.0.call(context)
    }
}

/// This function says whether a change took effect.
pub fn looks<M, P: ProbeHandler<M>>(probe: &'static P) -> impl Look {
    Looks(probe, PhantomData)
}

macro_rules! probes {
    ($($parameter:ident)*) => {
        impl<F, R, $($parameter),*> ProbeHandler<($($parameter,)*)> for F
        where
            F: Fn($($parameter),*) -> R + Send + Sync,
            R: Future + Send,
            R::Output: ProbeAnswer,
            $($parameter: FromContext,)*
        {
            fn requirements(&self) -> Vec<Requirement> {
                vec![$($parameter::requirement()),*]
            }

            fn call<'a>(&'a self, context: &'a mut Context) -> ProbeFuture<'a> {
                Box::pin(async move {
                    let _ = &context;
                    self($($parameter::from_context(&*context)?),*).await.into_answer()
                })
            }
        }
    };
}

probes!();
probes!(A);
probes!(A B);
probes!(A B C);
probes!(A B C D);
probes!(A B C D G);
probes!(A B C D G I);
