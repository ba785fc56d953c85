//! One change made of steps on several target systems, each with its compensation.

use std::{borrow::Cow, panic::AssertUnwindSafe, time::Duration};

use futures_util::FutureExt as _;

use crate::{
    cancellation::CancelReason,
    change::{Change, ChangeError, ChangeFuture, ChangeInfo, Probed, Recovery},
    checkpoint::{Checkpoint, CheckpointError},
    context::{Context, InjectionError, Requirement},
    trace,
};

mod left_open;
mod log;
mod step;

pub(crate) use left_open::LeftOpen;
use log::StepLog;
use step::Function;
pub use step::Step;

/// How long a probe may look.
const LONGEST_LOOK: Duration = Duration::from_secs(30);
/// What the names of all steps may need of a cursor.
const NAMES_MAX_BYTES: usize = 6 * 1024;

/// A change of several steps on different target systems: either all of them take effect, or those that did are undone.
///
/// Which steps are finished is kept by the coordination server, before each step and after the last. So:
///
/// * If a step fails, exactly the finished ones are compensated, the last one first. The change is then rolled back, and
///   the next start begins anew.
/// * If the process dies, the next start goes on behind the finished steps. The one step that was under way is in doubt:
///   its [probe](Step::probe) is asked, or it is [repeated](Step::idempotent), or a person is asked.
/// * If a compensation fails, or a step stays in doubt, a person has to decide; the issue says what is there and what is
///   not.
///
/// ```
/// use flamingock::{ChangeError, Saga, Step, TargetClient};
///
/// # #[derive(Clone)] struct Bucket; #[derive(Clone)] struct Queue;
/// # impl Bucket { async fn create(&self) -> Result<(), std::io::Error> { Ok(()) } async fn delete(&self) -> Result<(), std::io::Error> { Ok(()) } }
/// # impl Queue { async fn create(&self) -> Result<(), std::io::Error> { Ok(()) } async fn delete(&self) -> Result<(), std::io::Error> { Ok(()) } }
/// async fn create_bucket(bucket: TargetClient<Bucket>) -> Result<(), ChangeError> { Ok(bucket.create().await?) }
/// async fn delete_bucket(bucket: TargetClient<Bucket>) -> Result<(), ChangeError> { Ok(bucket.delete().await?) }
/// async fn create_queue(queue: TargetClient<Queue>) -> Result<(), ChangeError> { Ok(queue.create().await?) }
/// async fn delete_queue(queue: TargetClient<Queue>) -> Result<(), ChangeError> { Ok(queue.delete().await?) }
///
/// fn uploads() -> Saga {
///     Saga::new("uploads", "0007", "objects")
///         .author("mara")
///         .step(Step::new("bucket", "objects", create_bucket, delete_bucket).idempotent())
///         .step(Step::new("queue", "queues", create_queue, delete_queue).idempotent())
/// }
/// ```
///
/// It runs outside transactions, also where a target system has some. A step keeps no checkpoint of its own. The server
/// must know cursors; an older one refuses the first, and then no step has begun.
#[derive(Debug)]
pub struct Saga {
    info: ChangeInfo,
    steps: Vec<Step>,
}

impl Saga {
    /// A saga by its identity, its place in the stage and the target system under which it is recorded. Its steps name
    /// theirs.
    pub fn new(
        id: impl Into<Cow<'static, str>>,
        order: impl Into<Cow<'static, str>>,
        target: impl Into<Cow<'static, str>>,
    ) -> Self {
        let mut info = ChangeInfo::new(id, order, target)
            .transactional(false)
            // A crash is settled by the steps' log, step by step.
            .recovery(Recovery::AlwaysRetry)
            .with_rollback();
        info.keeps_steps = true;
        Self {
            info,
            steps: Vec::new(),
        }
    }

    /// Who wrote it; recorded in the audit.
    #[must_use]
    pub fn author(mut self, author: impl Into<Cow<'static, str>>) -> Self {
        self.info = self.info.author(author);
        self
    }

    /// Limits it to profiles, as [`ChangeInfo::profiles`].
    #[must_use]
    pub fn profiles<S: Into<String>>(mut self, profiles: impl IntoIterator<Item = S>) -> Self {
        self.info = self.info.profiles(profiles);
        self
    }

    /// Adds a step, behind those that are there.
    #[must_use]
    pub fn step(mut self, step: Step) -> Self {
        self.steps.push(step);
        self
    }

    fn requirements_of(&self, of: impl Fn(&Step) -> Vec<Requirement>) -> Vec<Requirement> {
        let of_step = |step: &Step| {
            let mut requirements = of(step);
            // That the target system is there, also where its client is not taken.
            requirements.push(Requirement::nothing());
            let target = step.target;
            requirements
                .into_iter()
                .map(move |requirement| requirement.of_step(target))
        };
        self.steps.iter().flat_map(of_step).collect()
    }

    fn step_named(&self, name: &str) -> Option<(usize, &Step)> {
        self.steps.iter().enumerate().find(|(_, step)| step.name == name)
    }

    fn read_log(&self, checkpoint: &Checkpoint) -> Result<StepLog, SagaError> {
        let log: StepLog = checkpoint.load().map_err(SagaError::Log)?.unwrap_or_default();
        let unknown = log.mentioned().find(|name| self.step_named(name).is_none());
        match unknown.map(str::to_owned) {
            Some(step) => Err(SagaError::UnknownStep { step, log }),
            None => Ok(log),
        }
    }

    /// Finds out what became of the step that was under way.
    async fn settle(&self, log: &mut StepLog, context: &mut Context, way: Way) -> Result<(), SagaError> {
        let Some((position, step)) = log.in_doubt().and_then(|name| self.step_named(name)) else {
            return Ok(());
        };
        match (look(position, step, context).await, way) {
            (Some(Probed::Applied), _) => log.took_effect(),
            (Some(Probed::NotApplied), _) => log.left_nothing(),
            _ if !step.is_idempotent => return Err(SagaError::InDoubt { log: log.clone() }),
            (Some(Probed::Unknown) | None, Way::Forward) => log.left_nothing(),
            (Some(Probed::Unknown) | None, Way::Back) => log.took_effect(),
        }
        tracing::info!(step = %step.name, done = ?log.done(), "the step that an earlier attempt left in doubt is settled");
        Ok(())
    }

    async fn forward(&self, context: &mut Context) -> Result<(), SagaError> {
        let checkpoint = context.checkpoint()?;
        let mut log = self.read_log(&checkpoint)?;
        self.settle(&mut log, context, Way::Forward).await?;
        for (position, step) in self.steps.iter().enumerate() {
            if log.is_done(&step.name) {
                continue;
            }
            // Between steps nothing is half done.
            if let Some(reason) = context.cancellation().reason() {
                checkpoint.save(&log).await.map_err(SagaError::Log)?;
                return Err(SagaError::Stopped { reason, log });
            }
            log.begin(&step.name);
            checkpoint.save(&log).await.map_err(SagaError::Log)?;
            tracing::info!(step = %step.name, target_system = step.target, "applying a step");
            match call(&*step.apply, position, step, context).await {
                Ok(()) => log.took_effect(),
                Err(failed) => {
                    after_failure(&mut log, &failed, position, step, context).await;
                    // If this is lost, the step is in doubt, which is less than is known and not wrong.
                    if let Err(error) = checkpoint.save(&log).await {
                        tracing::warn!(%error, "that the step has failed is not kept");
                    }
                    return Err(SagaError::Step {
                        step: step.name.to_string(),
                        log,
                        cause: failed.error,
                    });
                }
            }
        }
        checkpoint.save(&log).await.map_err(SagaError::Log)
    }

    async fn back(&self, context: &mut Context) -> Result<(), SagaError> {
        let checkpoint = context.checkpoint()?;
        let mut log = self.read_log(&checkpoint)?;
        let mut kept = log.clone();
        self.settle(&mut log, context, Way::Back).await?;
        while let Some(name) = log.last_done() {
            let (position, step) = self.step_named(name).ok_or_else(|| SagaError::UnknownStep {
                step: name.to_owned(),
                log: log.clone(),
            })?;
            log.begin_undoing(&step.name);
            checkpoint.save(&log).await.map_err(SagaError::Log)?;
            kept.clone_from(&log);
            tracing::info!(step = %step.name, target_system = step.target, "compensating a step");
            match call(&*step.compensate, position, step, context).await {
                Ok(()) => log.left_nothing(),
                Err(failed) => {
                    return Err(SagaError::Compensation {
                        step: step.name.to_string(),
                        log,
                        cause: failed.error,
                    });
                }
            }
        }
        // Where there was nothing to undo, there is nothing that a person would have to know if it cannot be kept.
        if log != kept {
            checkpoint.save(&log).await.map_err(SagaError::Log)?;
        }
        Ok(())
    }
}

#[derive(Clone, Copy)]
enum Way {
    Forward,
    Back,
}

struct Failed {
    error: ChangeError,
    has_panicked: bool,
}

/// A step that returns an error is believed to have left nothing, unless it has a probe or may be repeated.
async fn after_failure(
    log: &mut StepLog,
    failed: &Failed,
    position: usize,
    step: &Step,
    context: &mut Context,
) {
    match look(position, step, context).await {
        Some(Probed::Applied) => log.took_effect(),
        Some(Probed::NotApplied) => log.left_nothing(),
        // One that may be repeated promises no more than that: it may have left a part.
        None if !failed.has_panicked && !step.is_idempotent => log.left_nothing(),
        // Stays in doubt.
        Some(Probed::Unknown) | None => {}
    }
}

/// Asks the step's probe; `None` where it has none.
async fn look(position: usize, step: &Step, context: &mut Context) -> Option<Probed> {
    let probe = step.probe.as_deref()?;
    let of_step = context.of_step(position, &step.name, step.target);
    let asked = async { probe.call(&mut of_step?).await };
    let answered = tokio::time::timeout(LONGEST_LOOK, AssertUnwindSafe(asked).catch_unwind()).await;
    let why = match answered {
        Ok(Ok(Ok(found))) => return Some(found),
        Ok(Ok(Err(error))) => trace::one_line(&error),
        Ok(Err(payload)) => trace::one_line(&trace::of_panic(&*payload)),
        Err(_) => format!("no answer within {LONGEST_LOOK:?}"),
    };
    tracing::warn!(step = %step.name, why, "the step's probe does not know");
    Some(Probed::Unknown)
}

async fn call(
    function: &dyn Function,
    position: usize,
    step: &Step,
    context: &mut Context,
) -> Result<(), Failed> {
    let returned = |error| Failed {
        error,
        has_panicked: false,
    };
    let mut context = context
        .of_step(position, &step.name, step.target)
        .map_err(|error| returned(error.into()))?;
    let called = AssertUnwindSafe(async { function.call(&mut context).await });
    match called.catch_unwind().await {
        Ok(result) => result.map_err(returned),
        Err(payload) => Err(Failed {
            error: trace::of_panic(&*payload),
            has_panicked: true,
        }),
    }
}

impl Change for Saga {
    fn info(&self) -> ChangeInfo {
        self.info.clone()
    }

    fn requirements(&self) -> Vec<Requirement> {
        self.requirements_of(|step| {
            let mut requirements = step.apply.requirements();
            requirements.extend(step.probe.iter().flat_map(|probe| probe.requirements()));
            requirements
        })
    }

    fn rollback_requirements(&self) -> Vec<Requirement> {
        self.requirements_of(|step| step.compensate.requirements())
    }

    fn problems(&self) -> Vec<String> {
        let mut problems = Vec::new();
        if self.steps.is_empty() {
            problems.push("a saga needs at least one step".to_owned());
        }
        for (position, step) in self.steps.iter().enumerate() {
            let name = step.name.trim();
            if name.is_empty() {
                problems.push(format!("its step {} has no name", position + 1));
            } else if self
                .step_named(&step.name)
                .is_some_and(|(first, _)| first < position)
            {
                problems.push(format!("step `{name}` is there more than once"));
            }
        }
        let bytes: usize = self.steps.iter().map(|step| step.name.len() + 3).sum();
        if bytes > NAMES_MAX_BYTES {
            problems.push(format!(
                "the names of its steps have {bytes} bytes together, and may have {NAMES_MAX_BYTES}"
            ));
        }
        problems
    }

    fn apply<'a>(&'a self, context: &'a mut Context) -> ChangeFuture<'a> {
        Box::pin(async move { self.forward(context).await.map_err(SagaError::into_change_error) })
    }

    fn rollback<'a>(&'a self, context: &'a mut Context) -> ChangeFuture<'a> {
        Box::pin(async move { self.back(context).await.map_err(SagaError::into_change_error) })
    }
}

/// Why a saga, or its undoing, did not get to its end.
#[derive(Debug, thiserror::Error)]
enum SagaError {
    #[error("step `{step}` failed; {}", standing(log))]
    Step {
        step: String,
        log: StepLog,
        cause: ChangeError,
    },
    #[error(
        "the compensation of step `{step}` failed, so it may be there in part; {}",
        standing(log)
    )]
    Compensation {
        step: String,
        log: StepLog,
        cause: ChangeError,
    },
    #[error(
        "nobody knows whether step `{}` took effect: an earlier attempt began it and was not heard of again; {}",
        log.in_doubt().unwrap_or_default(),
        standing(log)
    )]
    InDoubt { log: StepLog },
    #[error("{reason}; {}", standing(log))]
    Stopped { reason: CancelReason, log: StepLog },
    #[error(
        "an earlier attempt speaks of step `{step}`, which this version of the saga does not have; {}",
        standing(log)
    )]
    UnknownStep { step: String, log: StepLog },
    #[error("which steps are finished could not be read or kept")]
    Log(#[source] CheckpointError),
    #[error(transparent)]
    Injection(#[from] InjectionError),
}

impl SagaError {
    /// With the cause's type, which is what people look for in the audit.
    fn into_change_error(self) -> ChangeError {
        let text = self.to_string();
        match self {
            Self::Step { cause, .. } | Self::Compensation { cause, .. } => {
                let message = format!("{text}: {}", trace::one_line(&cause));
                ChangeError::named(cause.type_name(), message.into())
            }
            other => ChangeError::named("saga", other.into()),
        }
    }
}

fn standing(log: &StepLog) -> String {
    let mut text = match log.done() {
        [] => "no step is finished".to_owned(),
        done => format!("finished: {}", done.join(", ")),
    };
    if let Some(step) = log.in_doubt() {
        text = format!("{text}; in doubt: {step}");
    }
    text
}
