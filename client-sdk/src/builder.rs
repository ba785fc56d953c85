//! From what an application declares to something that runs.

use std::{fmt, future::Future, sync::Arc, time::Duration};

use flamingock_api_types::execution::BlockSubmission;
use tokio::sync::Mutex;

use crate::{
    client::{Client, ClientConfig},
    context::Dependencies,
    events::{EventStream, Events, Listener, RunEvent},
    readiness::{self, Readiness},
    report::Report,
    runner,
    saga::LeftOpen,
    settings::{LockSettings, RunSettings},
    stage::Stage,
    start_error::StartError,
    stop::StopHandle,
    target::Target,
    transport::without_credentials,
    validate::{self, BuildError, Pipeline, Problem},
};

/// An application's changes, checked and ready to run.
///
/// Call [`run`](Self::run) at start, before serving; or [`spawn`](Self::spawn), to answer probes meanwhile.
pub struct Flamingock {
    pub(crate) client: Option<Client>,
    pub(crate) settings: RunSettings,
    pub(crate) stages: Vec<Stage>,
    pub(crate) targets: Arc<[Target]>,
    pub(crate) dependencies: Arc<Dependencies>,
    #[cfg(feature = "testing")]
    pub(crate) script: Option<Arc<crate::testing::Script>>,
    pub(crate) events: Events,
    pub(crate) stop: StopHandle,
    /// Held by a run: to the server two runs of one value are the same runner, which would be granted its own lock.
    running: Mutex<()>,
    /// Sagas that a run of this value was dropped in.
    pub(crate) left_open: LeftOpen,
}

impl Flamingock {
    /// Begins with the coordination server's address, such as `http://127.0.0.1:8080`.
    pub fn builder(server: impl Into<String>) -> Builder {
        Builder {
            server: Some(server.into()),
            ..Builder::empty()
        }
    }

    /// Begins with `FLAMINGOCK_SERVER`, `FLAMINGOCK_TOKEN`, `FLAMINGOCK_ENVIRONMENT` and `FLAMINGOCK_SERVICE`. What is
    /// not set can still be given by the builder's methods.
    pub fn from_env() -> Builder {
        let variable = |name| std::env::var(name).ok().filter(|value| !value.is_empty());
        Builder {
            server: variable("FLAMINGOCK_SERVER"),
            token: variable("FLAMINGOCK_TOKEN"),
            environment: variable("FLAMINGOCK_ENVIRONMENT"),
            service: variable("FLAMINGOCK_SERVICE"),
            ..Builder::empty()
        }
    }

    /// Brings the target systems up to date: applies what is pending, in order, each change exactly once over all
    /// runners of the service.
    ///
    /// The error carries the report of what was done all the same, and says what to do next. Dropping the future stops
    /// the run at once, in the middle of a change: prefer to let it end.
    ///
    /// Needs the tokio runtime, with time and network enabled. A change that blocks its thread for long keeps a
    /// single-threaded runtime from extending the lock.
    ///
    /// Of several calls at once, one runs and the others wait for it; then each asks anew what is left to do.
    pub async fn run(&self) -> Result<Report, StartError> {
        let _turn = self.running.lock().await;
        runner::run(self).await
    }

    /// The same, until `shutdown` ends: then as if by [`StopHandle::stop`]. With the feature `signal`,
    /// `shutdown_signal` makes a future that ends with SIGTERM.
    ///
    /// # Errors
    ///
    /// As [`run`](Self::run); [`Interrupted`](crate::StartErrorKind::Interrupted) if `shutdown` ended before the run.
    pub async fn run_until(&self, shutdown: impl Future<Output = ()>) -> Result<Report, StartError> {
        tokio::select! {
            biased;
            never = self.stop.when(shutdown) => match never {},
            ended = self.run() => ended,
        }
    }

    /// Runs in a task of its own, so that the application can listen, and answer probes, meanwhile. It must not serve
    /// before [`Readiness::ready`].
    ///
    /// # Panics
    ///
    /// Outside a tokio runtime, as [`tokio::spawn`] does.
    pub fn spawn(self) -> Readiness {
        self.spawn_until(std::future::pending())
    }

    /// The same, until `shutdown` ends, as [`run_until`](Self::run_until).
    ///
    /// # Panics
    ///
    /// Outside a tokio runtime, as [`tokio::spawn`] does.
    pub fn spawn_until(self, shutdown: impl Future<Output = ()> + Send + 'static) -> Readiness {
        readiness::spawn(self, shutdown)
    }

    /// What asks the runs of this value to stop.
    pub fn stop_handle(&self) -> StopHandle {
        self.stop.clone()
    }

    /// What happens in the runs of this value, from now on. Each call makes a stream of its own.
    pub fn events(&self) -> EventStream {
        self.events.subscribe()
    }

    /// Who this runner is to the server; `None` when switched off.
    pub fn runner_id(&self) -> Option<&str> {
        self.client.as_ref().map(Client::runner_id)
    }
}

impl fmt::Debug for Flamingock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Flamingock")
            .field("client", &self.client)
            .field("stages", &self.stages)
            .field("targets", &self.targets)
            .finish_non_exhaustive()
    }
}

/// Declares what an application has, and how it is run.
#[must_use = "call `build` and `run`"]
pub struct Builder {
    server: Option<String>,
    token: Option<String>,
    environment: Option<String>,
    service: Option<String>,
    connection: Connection,
    settings: RunSettings,
    stages: Vec<Stage>,
    targets: Vec<Target>,
    dependencies: Dependencies,
    profiles: Vec<String>,
    listeners: Vec<Listener>,
    #[cfg(feature = "templates")]
    loader: crate::templates::Loader,
    #[cfg(feature = "testing")]
    pub(crate) script: Option<Arc<crate::testing::Script>>,
    problems: Vec<Problem>,
}

/// Overrides of the client's defaults.
#[derive(Default)]
struct Connection {
    connect_timeout: Option<Duration>,
    request_timeout: Option<Duration>,
    retry_for: Option<Duration>,
    runner_id: Option<String>,
}

impl Builder {
    fn empty() -> Self {
        Self {
            server: None,
            token: None,
            environment: None,
            service: None,
            connection: Connection::default(),
            settings: RunSettings::default(),
            stages: Vec::new(),
            targets: Vec::new(),
            dependencies: Dependencies::default(),
            profiles: Vec::new(),
            listeners: Vec::new(),
            #[cfg(feature = "templates")]
            loader: crate::templates::Loader::default(),
            #[cfg(feature = "testing")]
            script: None,
            problems: Vec::new(),
        }
    }

    /// Another server than the one that it began with.
    #[cfg(feature = "testing")]
    pub(crate) fn server(mut self, server: impl Into<String>) -> Self {
        self.server = Some(server.into());
        self
    }

    /// The API token.
    pub fn token(mut self, token: impl Into<String>) -> Self {
        self.token = Some(token.into());
        self
    }

    /// Name of the environment, as the server knows it.
    pub fn environment(mut self, name: impl Into<String>) -> Self {
        self.environment = Some(name.into());
        self
    }

    /// Name of the service. Runners of one service in one environment take turns.
    pub fn service(mut self, name: impl Into<String>) -> Self {
        self.service = Some(name.into());
        self
    }

    /// A system that changes work on.
    pub fn target(mut self, target: impl Into<Target>) -> Self {
        self.targets.push(target.into());
        self
    }

    /// A value that changes take as [`Dep<T>`](crate::Dep), by its type.
    pub fn dependency<T: Send + Sync + 'static>(mut self, value: T) -> Self {
        if !self.dependencies.insert(value) {
            self.problems.push(Problem::DependencyDuplicate {
                type_name: std::any::type_name::<T>(),
            });
        }
        self
    }

    /// A stage. Stages run in the order in which they are added, within their [kind](crate::StageKind).
    pub fn stage(mut self, stage: Stage) -> Self {
        self.stages.push(stage);
        self
    }

    /// The profiles that are active, such as `production`. A change that names profiles is left out unless one of them is
    /// active; one that names `!test` is left out while `test` is. Changes that are left out are not part of the run, but
    /// are checked all the same.
    pub fn profiles<S: Into<String>>(mut self, profiles: impl IntoIterator<Item = S>) -> Self {
        self.profiles.extend(profiles.into_iter().map(Into::into));
        self
    }

    /// A template of your own, for change files that name it.
    #[cfg(feature = "templates")]
    pub fn template<T: crate::templates::Template>(mut self, template: T) -> Self {
        if !self.loader.registry.add(template) {
            self.problems
                .push(Problem::TemplateDuplicate { template: T::NAME });
        }
        self
    }

    /// Where the values of `${NAME}` in change files come from. Default: the process's environment.
    #[cfg(feature = "templates")]
    pub fn placeholders(mut self, placeholders: crate::templates::Placeholders) -> Self {
        self.loader.placeholders = placeholders;
        self
    }

    /// How the lock is taken and kept.
    pub fn lock(mut self, settings: LockSettings) -> Self {
        self.settings.lock = settings;
        self
    }

    /// How long the lock outlives a runner that died. Default: 60 s.
    pub fn lease(mut self, lease: Duration) -> Self {
        self.settings.lock.lease = lease;
        self
    }

    /// How long to wait while another runner works. Default: 180 s.
    pub fn wait_for_lock(mut self, wait: Duration) -> Self {
        self.settings.lock.wait = wait;
        self
    }

    /// How often to ask while another runner works. Default: 1 s.
    pub fn poll_every(mut self, poll: Duration) -> Self {
        self.settings.lock.poll = poll;
        self
    }

    /// Whether waiting in vain for the lock is an error, the default. If not, [`Flamingock::run`] then returns a
    /// report whose status is failed, and the application starts without its changes.
    pub fn fail_if_lock_unavailable(mut self, fail: bool) -> Self {
        self.settings.fail_if_lock_unavailable = fail;
        self
    }

    /// Switched off, a run does nothing and connects to nothing. Default: on.
    pub fn enabled(mut self, enabled: bool) -> Self {
        self.settings.enabled = enabled;
        self
    }

    /// Applies nothing: a run with pending changes is an error that lists them, be they the whole pipeline's. Takes no lock and
    /// leaves nothing behind, also in target systems; while another runner works, waits as a start would. For checks in a
    /// delivery pipeline, and for applications whose changes are applied by a job. A server without the admin API answers 404.
    pub fn validate_only(mut self, validate_only: bool) -> Self {
        self.settings.validate_only = validate_only;
        self
    }

    /// Lets the application start although the server cannot be reached, if the server has certified this very pipeline as
    /// fully applied. Default: it does not start.
    #[cfg(feature = "certificate")]
    pub fn start_certificate(mut self, certificate: crate::StartCertificate) -> Self {
        self.settings.certificate = Some(certificate);
        self
    }

    /// Whether the report is logged at the end of a run, under the target `flamingock::report`. Default: yes.
    pub fn log_report(mut self, log: bool) -> Self {
        self.settings.log_report = log;
        self
    }

    /// Calls a function for everything that happens in a run. May be called several times; listeners are called in this
    /// order.
    ///
    /// It is called on the run's own path, so it must not block nor take long: for anything that waits there are
    /// [`Flamingock::events`]. One that panics is not called again, and the run goes on.
    ///
    /// ```
    /// use flamingock::{Flamingock, RunEvent};
    ///
    /// let builder = Flamingock::from_env().on_event(|event| {
    ///     if let RunEvent::ChangeApplied { change, duration_ms, .. } = event {
    ///         println!("{change} was applied in {duration_ms} ms");
    ///     }
    /// });
    /// ```
    pub fn on_event(mut self, listener: impl Fn(&RunEvent) + Send + Sync + 'static) -> Self {
        self.listeners.push(Listener::new(listener));
        self
    }

    /// How long a running change may go on after the application was [asked to stop](Flamingock::run_until), at most
    /// 24 h. Default: 20 s. Then it is cut off at its next await, which is a failure of the change. In a transaction it is
    /// rolled back. Outside it is not, for what it had asked its target system for may still take effect: the next process
    /// asks its [probe](crate::Change::probe), or repeats it where it may be
    /// [repeated](crate::Recovery::AlwaysRetry), and else a person decides. Where no person does, the lock is not given back,
    /// so that it has the rest of the lease to take effect. A rollback is not cut off. So the platform must leave more time
    /// than this.
    pub fn stop_grace(mut self, grace: Duration) -> Self {
        self.settings.stop_grace = grace;
        self
    }

    /// A fact recorded with every audit entry of the run.
    pub fn metadata(mut self, key: impl Into<String>, value: impl Into<serde_json::Value>) -> Self {
        self.settings.metadata.insert(key.into(), value.into());
        self
    }

    /// The application's version, shown with its executions.
    pub fn application_version(mut self, version: impl Into<String>) -> Self {
        self.settings.application_version = Some(version.into());
        self
    }

    /// The commit that the application was built from, shown with its executions.
    pub fn commit(mut self, commit: impl Into<String>) -> Self {
        self.settings.commit = Some(commit.into());
        self
    }

    /// Time to make a connection to the server, between 10 ms and 1 h. Default: 5 s.
    pub fn connect_timeout(mut self, timeout: Duration) -> Self {
        self.connection.connect_timeout = Some(timeout);
        self
    }

    /// Time for the server to answer, between 10 ms and 1 h; an attempt of a call gets at most half of the time that
    /// the call has left. Default: 30 s.
    pub fn request_timeout(mut self, timeout: Duration) -> Self {
        self.connection.request_timeout = Some(timeout);
        self
    }

    /// Time in which an unanswered call is repeated, at most 24 h. Default: 30 s. Results of changes are repeated for as
    /// long as the lock is held.
    pub fn retry_for(mut self, retry_for: Duration) -> Self {
        self.connection.retry_for = Some(retry_for);
        self
    }

    /// Names this runner, instead of `<service>@<host>#<random>`. It must be unique to the process and not outlive it: what
    /// an earlier one of the same name began is taken for this one's own, and is not settled by a
    /// [probe](crate::Change::probe).
    pub fn runner_id(mut self, id: impl Into<String>) -> Self {
        self.connection.runner_id = Some(id.into());
        self
    }

    /// Checks everything that can be checked without a connection, and reports all that is wrong. Change files are read
    /// here.
    pub fn build(mut self) -> Result<Flamingock, BuildError> {
        let mut problems = std::mem::take(&mut self.problems);
        self.load(&mut problems);
        self.settings.check(&mut problems);
        let pipeline = Pipeline {
            stages: &self.stages,
            targets: &self.targets,
            dependencies: &self.dependencies,
            profiles: &self.profiles,
        };
        pipeline.check(&mut problems);
        if problems.is_empty() {
            pipeline.warn();
        }
        let events = Events::new(std::mem::take(&mut self.listeners));
        let client = if self.settings.enabled {
            self.client(&events, &mut problems)
        } else {
            None
        };
        validate::finish(problems)?;
        self.filter();
        Ok(Flamingock {
            client,
            settings: self.settings,
            stages: self.stages,
            targets: self.targets.into(),
            dependencies: Arc::new(self.dependencies),
            #[cfg(feature = "testing")]
            script: self.script,
            events,
            stop: StopHandle::new(),
            running: Mutex::new(()),
            left_open: LeftOpen::default(),
        })
    }

    /// What the pipeline is, as it would be submitted to the server: for asking what would be done, without target
    /// systems or a run. Checks everything but what needs target systems and a server: the SQL of change files is taken for
    /// PostgreSQL's, and not checked.
    pub fn submission(mut self) -> Result<Vec<BlockSubmission>, BuildError> {
        let mut problems = std::mem::take(&mut self.problems);
        self.load(&mut problems);
        let pipeline = Pipeline {
            stages: &self.stages,
            targets: &[],
            dependencies: &self.dependencies,
            profiles: &self.profiles,
        };
        pipeline.check_structure(&mut problems);
        validate::finish(problems)?;
        self.filter();
        Ok(runner::submission(&self.stages))
    }

    /// Completes the stages and puts them, and their changes, in order.
    #[cfg_attr(
        not(feature = "templates"),
        expect(
            unused_variables,
            clippy::ptr_arg,
            reason = "only change files have problems here"
        )
    )]
    fn load(&mut self, problems: &mut Vec<Problem>) {
        #[cfg(feature = "templates")]
        for stage in &mut self.stages {
            stage.load(&self.loader, &self.targets, problems);
        }
        // Stable, so that within a block stages keep their order, and changes of equal order theirs.
        self.stages.sort_by_key(|stage| stage.kind);
        for stage in &mut self.stages {
            stage.changes.sort_by(|a, b| a.info.order.cmp(&b.info.order));
        }
    }

    /// Leaves out the changes of profiles that are not active, and stages that are empty then.
    fn filter(&mut self) {
        let profiles = &self.profiles;
        self.stages.retain_mut(|stage| {
            let had_some = !stage.changes.is_empty();
            stage.changes.retain(|change| change.info.is_active(profiles));
            !(had_some && stage.changes.is_empty())
        });
    }

    fn client(&self, events: &Events, problems: &mut Vec<Problem>) -> Option<Client> {
        let mut given = |value: &Option<String>, name, method, variable| {
            let value = value
                .as_deref()
                .filter(|value| !value.trim().is_empty())
                .map(str::to_owned);
            if value.is_none() {
                problems.push(Problem::Missing {
                    name,
                    method,
                    variable,
                });
            }
            value
        };
        let server = given(
            &self.server,
            "the server's address",
            "builder",
            "FLAMINGOCK_SERVER",
        );
        let token = given(&self.token, "the API token", "token", "FLAMINGOCK_TOKEN");
        let environment = given(
            &self.environment,
            "the environment",
            "environment",
            "FLAMINGOCK_ENVIRONMENT",
        );
        let service = given(&self.service, "the service", "service", "FLAMINGOCK_SERVICE");
        let mut config = ClientConfig::new(server?, token?, environment?, service?);
        let Connection {
            connect_timeout,
            request_timeout,
            retry_for,
            runner_id,
        } = &self.connection;
        config.connect_timeout = connect_timeout.unwrap_or(config.connect_timeout);
        config.request_timeout = request_timeout.unwrap_or(config.request_timeout);
        config.retry_for = retry_for.unwrap_or(config.retry_for);
        config.runner_id.clone_from(runner_id);
        let odd = config.odd_durations().into_iter();
        problems.extend(odd.map(|(name, text)| Problem::Setting { name, text }));
        Client::of_checked(config, events.clone())
            .map_err(|text| problems.push(Problem::Server(text)))
            .ok()
    }
}

impl fmt::Debug for Builder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Builder")
            .field("server", &self.server.as_deref().map(without_credentials))
            .field("environment", &self.environment)
            .field("service", &self.service)
            .field("stages", &self.stages)
            .field("targets", &self.targets)
            .finish_non_exhaustive()
    }
}
