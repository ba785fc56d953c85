//! One step of a saga, and its functions without their types.

use std::{borrow::Cow, fmt, marker::PhantomData};

use crate::{
    change::{ChangeFuture, ProbeFuture},
    context::{Context, Requirement},
    handler::Handler,
    probe::ProbeHandler,
};

/// One step of a [`Saga`](crate::Saga): what it does on which target system, and how that is undone.
///
/// Its functions are async and take what they need as parameters, as a change's rollback does; a
/// [`TargetClient`](crate::TargetClient) is that of the step's own target system, and a
/// [`ChangeKey`](crate::ChangeKey) is the step's own.
///
/// A step that returns an error says that it has left nothing. One that cannot promise that should have a
/// [probe](Self::probe), which is then asked, or be [idempotent](Self::idempotent).
pub struct Step {
    pub(super) name: Cow<'static, str>,
    pub(super) target: &'static str,
    pub(super) apply: Box<dyn Function>,
    pub(super) compensate: Box<dyn Function>,
    pub(super) probe: Option<Box<dyn Look>>,
    pub(super) is_idempotent: bool,
}

impl Step {
    /// A step by its name, which no other step of the saga has, and the target system that it works on.
    ///
    /// `compensate` undoes what `apply` has done as a whole. It is called for a finished step if a later one fails.
    /// Names are kept with the finished steps: do not rename one that may be under way somewhere.
    pub fn new<MA, A, MC, C>(
        name: impl Into<Cow<'static, str>>,
        target: &'static str,
        apply: A,
        compensate: C,
    ) -> Self
    where
        A: Handler<MA> + 'static,
        C: Handler<MC> + 'static,
        MA: 'static,
        MC: 'static,
    {
        Self {
            name: name.into(),
            target,
            apply: Typed::boxed(apply),
            compensate: Typed::boxed(compensate),
            probe: None,
            is_idempotent: false,
        }
    }

    /// A function that says whether the step's effect is there: an `async fn` that answers
    /// [`Probed`](crate::Probed), or a `Result` with it, and changes nothing. It is asked after a crash in the middle of the
    /// step, and when the step has returned an error, and has 30 s. An error, a panic or no answer is
    /// [`Unknown`](crate::Probed::Unknown).
    #[must_use]
    pub fn probe<M: 'static, P: ProbeHandler<M> + 'static>(mut self, probe: P) -> Self {
        self.probe = Some(Box::new(Typed {
            handler: probe,
            parameters: PhantomData::<fn() -> M>,
        }));
        self
    }

    /// Says that both of its functions can be called whatever is there: nothing, all, or something in between that the
    /// other one, or an earlier call, has left. Then nobody is asked about the step after a crash: going forward it is
    /// applied again, going back it is compensated.
    #[must_use]
    pub fn idempotent(mut self) -> Self {
        self.is_idempotent = true;
        self
    }
}

impl fmt::Debug for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Step")
            .field("name", &self.name)
            .field("target", &self.target)
            .field("is_idempotent", &self.is_idempotent)
            .finish_non_exhaustive()
    }
}

/// A [`Handler`] of whatever parameters.
pub(super) trait Function: Send + Sync {
    fn requirements(&self) -> Vec<Requirement>;
    fn call<'a>(&'a self, context: &'a mut Context) -> ChangeFuture<'a>;
}

/// A [`ProbeHandler`] of whatever parameters.
pub(super) trait Look: Send + Sync {
    fn requirements(&self) -> Vec<Requirement>;
    fn call<'a>(&'a self, context: &'a mut Context) -> ProbeFuture<'a>;
}

struct Typed<H, M> {
    handler: H,
    parameters: PhantomData<fn() -> M>,
}

impl<M: 'static, H: Handler<M> + 'static> Typed<H, M> {
    fn boxed(handler: H) -> Box<dyn Function> {
        Box::new(Self {
            handler,
            parameters: PhantomData,
        })
    }
}

impl<M, H: Handler<M>> Function for Typed<H, M> {
    fn requirements(&self) -> Vec<Requirement> {
        self.handler.requirements()
    }

    fn call<'a>(&'a self, context: &'a mut Context) -> ChangeFuture<'a> {
        self.handler.call(context)
    }
}

impl<M, P: ProbeHandler<M>> Look for Typed<P, M> {
    fn requirements(&self) -> Vec<Requirement> {
        self.handler.requirements()
    }

    fn call<'a>(&'a self, context: &'a mut Context) -> ProbeFuture<'a> {
        self.handler.call(context)
    }
}
