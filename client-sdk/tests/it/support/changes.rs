//! Changes that do as told, and a log of what they did.

use std::sync::{Arc, Mutex};

use flamingock::{Change, ChangeError, ChangeFuture, ChangeInfo, Context, Recovery, TargetClient};

use super::FakeTx;

/// The client of the tests' target systems: it notes what is done to them.
#[derive(Clone, Default)]
pub(crate) struct Log(Arc<Mutex<Vec<String>>>);

impl Log {
    pub(crate) fn note(&self, what: impl Into<String>) {
        self.0.lock().expect("no test panics inside").push(what.into());
    }

    pub(crate) fn lines(&self) -> Vec<String> {
        self.0.lock().expect("no test panics inside").clone()
    }
}

type Apply = Arc<dyn Fn(Option<TargetClient<Log>>) -> ChangeFuture<'static> + Send + Sync>;

/// A change written by hand.
#[derive(Clone)]
pub(crate) struct Step {
    id: &'static str,
    order: &'static str,
    target: &'static str,
    transactional: Option<bool>,
    recovery: Recovery,
    apply: Apply,
    rollback: Option<Result<(), &'static str>>,
    depends_on: &'static [&'static str],
    profiles: &'static [&'static str],
}

/// A change on the target `shell` that succeeds.
pub(crate) fn step(id: &'static str, order: &'static str) -> Step {
    Step {
        id,
        order,
        target: "shell",
        transactional: None,
        recovery: Recovery::default(),
        apply: Arc::new(|_| Box::pin(async { Ok(()) })),
        rollback: None,
        depends_on: &[],
        profiles: &[],
    }
}

impl Step {
    pub(crate) fn on(self, target: &'static str) -> Self {
        Self { target, ..self }
    }

    pub(crate) fn depends_on(self, depends_on: &'static [&'static str]) -> Self {
        Self { depends_on, ..self }
    }

    pub(crate) fn profiles(self, profiles: &'static [&'static str]) -> Self {
        Self { profiles, ..self }
    }

    pub(crate) fn recovery(self, recovery: Recovery) -> Self {
        Self { recovery, ..self }
    }

    pub(crate) fn transactional(self, transactional: bool) -> Self {
        Self {
            transactional: Some(transactional),
            ..self
        }
    }

    pub(crate) fn fails(self, why: &'static str) -> Self {
        self.does(move |_| Box::pin(async move { Err(ChangeError::from(why)) }))
    }

    pub(crate) fn panics(self) -> Self {
        self.does(|_| Box::pin(async { panic!("out of cheese") }))
    }

    pub(crate) fn does(
        mut self,
        apply: impl Fn(Option<TargetClient<Log>>) -> ChangeFuture<'static> + Send + Sync + 'static,
    ) -> Self {
        self.apply = Arc::new(apply);
        self
    }

    pub(crate) fn rollback(self, result: Result<(), &'static str>) -> Self {
        Self {
            rollback: Some(result),
            ..self
        }
    }
}

impl Change for Step {
    fn info(&self) -> ChangeInfo {
        let mut info = ChangeInfo::new(self.id, self.order, self.target)
            .author("mara")
            .recovery(self.recovery)
            .depends_on(self.depends_on.iter().copied())
            .profiles(self.profiles.iter().copied());
        if let Some(transactional) = self.transactional {
            info = info.transactional(transactional);
        }
        if self.rollback.is_some() {
            info.with_rollback()
        } else {
            info
        }
    }

    fn apply<'a>(&'a self, context: &'a mut Context) -> ChangeFuture<'a> {
        Box::pin(async move {
            let client = context.client::<Log>().ok();
            if let Some(log) = &client {
                log.note(format!("apply {}", self.id));
            }
            if let Ok(transaction) = context.transaction::<FakeTx>() {
                transaction.write(self.id);
            }
            (self.apply)(client).await
        })
    }

    fn rollback<'a>(&'a self, context: &'a mut Context) -> ChangeFuture<'a> {
        Box::pin(async move {
            context.client::<Log>()?.note(format!("rollback {}", self.id));
            self.rollback
                .expect("only called where announced")
                .map_err(ChangeError::from)
        })
    }
}
