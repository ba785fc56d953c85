//! The calls of the runner API, one method each.

use std::{fmt, ops::RangeInclusive, sync::Arc, time::Duration};

#[cfg(feature = "certificate")]
use flamingock_api_types::certificate::SignedCertificate;
use flamingock_api_types::{
    ErrorCode,
    audit::{AuditWrite, AuditWriteResponse},
    auth::{TokenRequest, TokenResponse},
    execution::{PlanRequest, PlanResponse},
    headers,
    lock::{LockAcquisitionRequest, LockResponse, LockView},
    preview::PlanPreview,
    probe::{ProbeAnswer, ProbeReport},
    progress::LockExtensionRequest,
};
use reqwest::Method;
use serde::{Serialize, de::DeserializeOwned};
use tokio::{sync::Mutex, time::Instant};
use uuid::Uuid;

use crate::{
    error::{Error, Failure},
    events::{Events, RunEvent},
    report::millis,
    retry::Patience,
    runner_id,
    transport::{Request, Transport, segment, without_credentials},
};

/// How long a release is tried: an application should not start later because of it, the lease ends by itself.
const RELEASE_PATIENCE: Duration = Duration::from_secs(5);

const TOKEN_EXCHANGE: &str = "token exchange";

/// Whom to talk to, as whom.
#[derive(Clone)]
pub struct ClientConfig {
    /// Root of the server, such as `http://127.0.0.1:8080`. Without user name and password.
    pub server: String,
    /// The API token.
    pub token: String,
    /// Name of the environment.
    pub environment: String,
    /// Name of the service.
    pub service: String,
    /// Names this runner; made up from the service, the host and a random part when absent.
    pub runner_id: Option<String>,
    /// Time to make a connection, between 10 ms and 1 h. Default: 5 s.
    pub connect_timeout: Duration,
    /// Time for a request to be answered, besides what the server is asked to wait; between 10 ms and 1 h. A call that
    /// is repeated gives each attempt at most half of the time that it has left. Default: 30 s.
    pub request_timeout: Duration,
    /// Time in which a call that is safe to repeat is repeated, at most 24 h. Default: 30 s.
    pub retry_for: Duration,
}

impl ClientConfig {
    /// The defaults.
    pub fn new(
        server: impl Into<String>,
        token: impl Into<String>,
        environment: impl Into<String>,
        service: impl Into<String>,
    ) -> Self {
        Self {
            server: server.into(),
            token: token.into(),
            environment: environment.into(),
            service: service.into(),
            runner_id: None,
            connect_timeout: Duration::from_secs(5),
            request_timeout: Duration::from_secs(30),
            retry_for: Duration::from_secs(30),
        }
    }
}

impl ClientConfig {
    const TIMEOUTS: RangeInclusive<Duration> = Duration::from_millis(10)..=Duration::from_hours(1);
    const LONGEST_RETRY: Duration = Duration::from_hours(24);

    /// Durations that make no sense, by name. Unbounded ones would overflow the clock in the middle of a run.
    pub(crate) fn odd_durations(&self) -> Vec<(&'static str, String)> {
        let timeout = |value| (Self::TIMEOUTS.contains(&value), value, "between 10 ms and 1 h");
        let retry_for = (
            self.retry_for <= Self::LONGEST_RETRY,
            self.retry_for,
            "at most 24 h",
        );
        [
            ("connect timeout", timeout(self.connect_timeout)),
            ("request timeout", timeout(self.request_timeout)),
            ("time to repeat calls", retry_for),
        ]
        .into_iter()
        .filter(|(_, (right, ..))| !right)
        .map(|(name, (_, value, expected))| (name, format!("{value:?} is not {expected}")))
        .collect()
    }
}

impl fmt::Debug for ClientConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientConfig")
            .field("server", &without_credentials(&self.server))
            .field("token", &"[redacted]")
            .field("environment", &self.environment)
            .field("service", &self.service)
            .field("runner_id", &self.runner_id)
            .finish_non_exhaustive()
    }
}

/// The runner API, call by call. [`Flamingock`](crate::Flamingock) is built on it; use it for tools of your own.
///
/// It exchanges the token when the first call needs it, and once more when the session has expired. Calls that are
/// safe to repeat are repeated with back-off and jitter; `Retry-After` is honoured.
#[derive(Clone)]
pub struct Client {
    shared: Arc<Shared>,
}

struct Shared {
    transport: Transport,
    config: ClientConfig,
    runner_id: String,
    /// Told of calls that are repeated.
    events: Events,
    session: Mutex<Option<Arc<TokenResponse>>>,
}

/// What goes with a plan request besides its body.
#[derive(Clone, Debug, Default)]
pub struct PlanOptions {
    /// The acquisition id of the last `AWAIT`, and how long ago it was first seen.
    pub waited_for: Option<(String, Duration)>,
    /// How long the server may hold the request instead of answering `AWAIT` at once.
    pub wait: Duration,
}

/// What a run asks with the exchange of its token.
pub(crate) struct StartQuestion {
    /// Of the pipeline.
    pub(crate) digest: String,
    pub(crate) certificate: bool,
}

/// A session for a run.
pub(crate) struct Opened {
    pub(crate) session: Arc<TokenResponse>,
    /// Whether the server knows the whole pipeline to be applied: only then is there nothing to do. `None`: it has not said
    /// a word about it.
    pub(crate) all_applied: Option<bool>,
    #[cfg(feature = "certificate")]
    pub(crate) certificate: Option<SignedCertificate>,
}

/// An answer, and when the request for it was sent: what a lease is counted from.
pub(crate) struct Timed<T> {
    pub(crate) sent_at: Instant,
    pub(crate) answer: T,
}

struct Call<'a> {
    operation: &'static str,
    method: Method,
    path: &'a (dyn Fn(&TokenResponse) -> String + Send + Sync),
    query: Vec<(&'static str, String)>,
    headers: Vec<(&'static str, String)>,
    body: Option<Vec<u8>>,
    wait: Duration,
}

impl Client {
    /// A client. Nothing is sent yet; the error says what is wrong with the configuration.
    pub fn new(config: ClientConfig) -> Result<Self, String> {
        match config.odd_durations().first() {
            Some((name, text)) => Err(format!("{name}: {text}")),
            None => Self::of_checked(config, Events::default()),
        }
    }

    /// For a configuration whose durations are known to make sense.
    pub(crate) fn of_checked(config: ClientConfig, events: Events) -> Result<Self, String> {
        let transport = Transport::new(&config.server, config.connect_timeout)?;
        let runner_id = config
            .runner_id
            .clone()
            .unwrap_or_else(|| runner_id::new(&config.service));
        Ok(Self {
            shared: Arc::new(Shared {
                transport,
                config,
                runner_id,
                events,
                session: Mutex::new(None),
            }),
        })
    }

    /// Whom its runs tell.
    pub(crate) fn events(&self) -> &Events {
        &self.shared.events
    }

    /// Who this client is to the server: the owner of its locks.
    pub fn runner_id(&self) -> &str {
        &self.shared.runner_id
    }

    /// Server, environment and service, as configured.
    #[cfg(feature = "certificate")]
    pub(crate) fn configured(&self) -> (String, &str, &str) {
        let config = &self.shared.config;
        (
            without_credentials(&config.server).into_owned(),
            &config.environment,
            &config.service,
        )
    }

    /// The session: made by the first call that needs it, or now.
    pub async fn session(&self) -> Result<Arc<TokenResponse>, Error> {
        let mut session = self.shared.session.lock().await;
        if let Some(session) = &*session {
            return Ok(session.clone());
        }
        let fresh = Arc::new(self.exchange().await?);
        *session = Some(fresh.clone());
        Ok(fresh)
    }

    /// The session as [`session`](Self::session) gives it. If it is made now, the question goes along.
    pub(crate) async fn open(&self, question: &StartQuestion) -> Result<Opened, Error> {
        let mut session = self.shared.session.lock().await;
        if let Some(session) = &*session {
            return Ok(Opened {
                session: session.clone(),
                all_applied: None,
                #[cfg(feature = "certificate")]
                certificate: None,
            });
        }
        let mut fresh = self.exchange_asking(Some(question)).await?;
        // An answer for now, and the session is kept.
        let all_applied = fresh.all_applied.take();
        #[cfg(feature = "certificate")]
        let certificate = fresh.certificate.take();
        let fresh = Arc::new(fresh);
        *session = Some(fresh.clone());
        Ok(Opened {
            session: fresh,
            all_applied,
            #[cfg(feature = "certificate")]
            certificate,
        })
    }

    /// Exchanges the API token for a session, without keeping it.
    pub async fn exchange(&self) -> Result<TokenResponse, Error> {
        self.exchange_asking(None).await
    }

    async fn exchange_asking(&self, question: Option<&StartQuestion>) -> Result<TokenResponse, Error> {
        let patience = self.default_patience();
        let mut attempts = 0;
        loop {
            attempts += 1;
            let request_id = Uuid::new_v4().to_string();
            let limit = patience.attempt(self.shared.config.request_timeout);
            let failure = match self.exchange_once(question, limit, &request_id).await {
                Ok(session) => return Ok(session),
                Err(failure) => failure,
            };
            match patience.pause(attempts, &failure) {
                Some(pause) => self.pause(TOKEN_EXCHANGE, attempts, &failure, pause).await,
                None => return Err(Error::new(TOKEN_EXCHANGE, attempts, request_id, failure)),
            }
        }
    }

    async fn exchange_once(
        &self,
        question: Option<&StartQuestion>,
        timeout: Duration,
        request_id: &str,
    ) -> Result<TokenResponse, Failure> {
        let config = &self.shared.config;
        let body = encode(&TokenRequest {
            api_token: Some(config.token.clone()),
            service_name: Some(config.service.clone()),
            environment_name: Some(config.environment.clone()),
            digest: question.map(|question| question.digest.clone()),
            certificate: question.is_some_and(|question| question.certificate),
        });
        let request = Request {
            method: Method::POST,
            path: "/api/v1/auth/exchange-token",
            query: &[],
            headers: &[],
            bearer: None,
            body: Some(&body),
            timeout,
        };
        let session = self.shared.transport.send(&request, request_id).await?;
        session.ok_or_else(|| Failure::Unreadable("the answer is empty".into()))
    }

    /// Submits a pipeline and asks what to do.
    pub async fn plan(&self, request: &PlanRequest, options: &PlanOptions) -> Result<PlanResponse, Error> {
        Ok(self.plan_timed(request, options).await?.answer)
    }

    pub(crate) async fn plan_timed(
        &self,
        request: &PlanRequest,
        options: &PlanOptions,
    ) -> Result<Timed<PlanResponse>, Error> {
        let mut query = Vec::new();
        let elapsed = match &options.waited_for {
            Some((acquisition_id, elapsed)) => {
                query.push(("lastAcquisitionId", acquisition_id.clone()));
                *elapsed
            }
            None => Duration::ZERO,
        };
        query.push(("elapsedMillis", elapsed.as_millis().to_string()));
        let wait = options.wait.as_secs();
        let headers = if wait > 0 {
            vec![(headers::PREFER, format!("wait={wait}"))]
        } else {
            Vec::new()
        };
        let call = Call {
            query,
            headers,
            wait: Duration::from_secs(wait),
            ..Call::new(
                "plan request",
                Method::POST,
                &execution_path,
                Some(encode(request)),
            )
        };
        // An answer that the server was asked to hold back must not use up the time for a second attempt.
        let patience = Patience::lasting(self.shared.config.retry_for + call.wait);
        required(self.call(call, &patience).await?, "plan request")
    }

    /// What a plan request with this pipeline would come to now. Takes no lock and leaves nothing behind.
    pub async fn preview(&self, request: &PlanRequest) -> Result<PlanPreview, Error> {
        let path = |session: &TokenResponse| {
            format!(
                "/api/v1/admin/environment/{}/service/{}/plan",
                session.environment_id, session.service_id
            )
        };
        let call = Call::new("plan preview", Method::POST, &path, Some(encode(request)));
        let Timed { answer, .. } =
            required(self.call(call, &self.default_patience()).await?, "plan preview")?;
        Ok(answer)
    }

    /// Reports one fact about one change of an execution.
    pub async fn audit(&self, execution_id: i64, entry: &AuditWrite) -> Result<AuditWriteResponse, Error> {
        self.audit_patiently(execution_id, entry, &self.default_patience())
            .await
    }

    pub(crate) async fn audit_patiently(
        &self,
        execution_id: i64,
        entry: &AuditWrite,
        patience: &Patience<'_>,
    ) -> Result<AuditWriteResponse, Error> {
        let change = segment(&entry.change_id);
        let path = |session: &TokenResponse| {
            format!("{}/{execution_id}/change/{change}/audit", execution_path(session))
        };
        let call = Call {
            headers: vec![("idempotency-key", Uuid::new_v4().to_string())],
            ..Call::new("audit write", Method::POST, &path, Some(encode(entry)))
        };
        // An empty answer is allowed: it only saves bytes.
        let Timed { answer, .. } = self.call(call, patience).await?;
        Ok(answer.unwrap_or(AuditWriteResponse {
            lock: None,
            late: false,
            seq: None,
        }))
    }

    /// Reports what the probe of a change found, about the entry that the plan named.
    pub async fn probe(
        &self,
        execution_id: i64,
        change_id: &str,
        report: &ProbeReport,
    ) -> Result<ProbeAnswer, Error> {
        self.probe_patiently(execution_id, change_id, report, &self.default_patience())
            .await
    }

    pub(crate) async fn probe_patiently(
        &self,
        execution_id: i64,
        change_id: &str,
        report: &ProbeReport,
        patience: &Patience<'_>,
    ) -> Result<ProbeAnswer, Error> {
        let change = segment(change_id);
        let path = |session: &TokenResponse| {
            format!("{}/{execution_id}/change/{change}/probe", execution_path(session))
        };
        let call = Call::new("probe report", Method::POST, &path, Some(encode(report)));
        Ok(required(self.call(call, patience).await?, "probe report")?.answer)
    }

    /// Extends the lease of a lock that this runner holds.
    pub async fn extend(&self, key: &str) -> Result<LockResponse, Error> {
        Ok(self
            .extend_timed(key, &LockExtensionRequest::default(), &self.default_patience())
            .await?
            .answer)
    }

    pub(crate) async fn extend_timed(
        &self,
        key: &str,
        request: &LockExtensionRequest,
        patience: &Patience<'_>,
    ) -> Result<Timed<LockResponse>, Error> {
        let path = |_: &TokenResponse| format!("/api/v1/{}/lock/extension", segment(key));
        let call = Call::new("lock extension", Method::POST, &path, Some(encode(request)));
        required(self.call(call, patience).await?, "lock extension")
    }

    /// Gives a lock back: the grant of this [fence](LockView::fence) and no other. Without one, whatever grant this
    /// runner holds at the moment. So pass it where you know it: a release that was held up on its way would end a
    /// later grant under which work has begun.
    ///
    /// Repeated for at most 5 s when unanswered; a repetition that finds it gone is a success. The error of a grant
    /// that is not held any more [is a lost lock](Error::is_lock_held) (`R_LOCK_02`).
    pub async fn release(&self, key: &str, fence: Option<i64>) -> Result<(), Error> {
        let path = |_: &TokenResponse| format!("/api/v1/{}/lock", segment(key));
        let call = Call {
            query: fence
                .map(|fence| ("fence", fence.to_string()))
                .into_iter()
                .collect(),
            ..Call::new("lock release", Method::DELETE, &path, None)
        };
        let released: Result<Timed<Option<serde_json::Value>>, Error> =
            self.call(call, &Patience::lasting(RELEASE_PATIENCE)).await;
        match released {
            Err(error) if !(error.attempts() > 1 && error.code() == Some(ErrorCode::LockNotHeld)) => {
                Err(error)
            }
            _ => Ok(()),
        }
    }

    /// Takes a lock outside any plan. Not repeated.
    pub async fn acquire(&self, key: &str, request: &LockAcquisitionRequest) -> Result<LockResponse, Error> {
        let path = |_: &TokenResponse| format!("/api/v1/{}/lock/acquisition", segment(key));
        let call = Call::new("lock acquisition", Method::POST, &path, Some(encode(request)));
        Ok(required(self.call(call, &Patience::none()).await?, "lock acquisition")?.answer)
    }

    /// Reads a lock, of whoever it is; `None` when nobody holds it.
    pub async fn lock(&self, key: &str) -> Result<Option<LockView>, Error> {
        let path = |_: &TokenResponse| format!("/api/v1/{}/lock", segment(key));
        let call = Call::new("lock read", Method::GET, &path, None);
        match self.call(call, &self.default_patience()).await {
            Ok(Timed { answer, .. }) => Ok(answer),
            Err(error) if error.code() == Some(ErrorCode::LockNotFound) => Ok(None),
            Err(error) => Err(error),
        }
    }

    pub(crate) fn default_patience(&self) -> Patience<'static> {
        Patience::lasting(self.shared.config.retry_for)
    }

    async fn call<R: DeserializeOwned>(
        &self,
        call: Call<'_>,
        patience: &Patience<'_>,
    ) -> Result<Timed<Option<R>>, Error> {
        let mut session = self.session().await?;
        let mut headers = call.headers;
        headers.push((headers::RUNNER_ID, self.shared.runner_id.clone()));
        let (mut attempts, mut renewed, mut in_doubt) = (0, false, false);
        loop {
            attempts += 1;
            let request_id = Uuid::new_v4().to_string();
            let path = (call.path)(&session);
            let limit = patience.attempt(self.shared.config.request_timeout);
            let request = Request {
                method: call.method.clone(),
                path: &path,
                query: &call.query,
                headers: &headers,
                bearer: Some(&session.jwt),
                body: call.body.as_deref(),
                timeout: limit + call.wait,
            };
            let sent_at = Instant::now();
            let (mut operation, mut failure) = match self.shared.transport.send(&request, &request_id).await {
                Ok(answer) => return Ok(Timed { sent_at, answer }),
                Err(failure) => (call.operation, failure),
            };
            in_doubt |= failure.leaves_doubt();
            if failure.is_session_expired() && !renewed {
                renewed = true;
                // Not repeated here: how often and for how long is the call's affair, a fact is insisted on.
                match self.renew(&session, limit, &request_id).await {
                    Ok(fresh) => {
                        session = fresh;
                        continue;
                    }
                    Err(error) => (operation, failure) = (TOKEN_EXCHANGE, error),
                }
            }
            let Some(pause) = patience.pause(attempts, &failure) else {
                let error = Error::new(operation, attempts, request_id, failure);
                return Err(error.after_doubt(in_doubt));
            };
            self.pause(operation, attempts, &failure, pause).await;
            renewed = false;
        }
    }

    async fn pause(&self, operation: &'static str, attempts: u32, failure: &Failure, pause: Duration) {
        tracing::debug!(operation, attempts, ?failure, ?pause, "trying again");
        self.shared.events.emit(|| RunEvent::CallRepeated {
            operation: operation.to_owned(),
            attempts,
            error: failure.to_string(),
            pause_ms: millis(pause),
        });
        tokio::time::sleep(pause).await;
    }

    /// A new session in place of one that has expired, by one attempt. Of several calls that find out together, one
    /// exchanges; the others wait for it no longer than their own limit.
    async fn renew(
        &self,
        expired: &Arc<TokenResponse>,
        limit: Duration,
        request_id: &str,
    ) -> Result<Arc<TokenResponse>, Failure> {
        let renewal = async {
            let mut session = self.shared.session.lock().await;
            match &*session {
                Some(current) if !Arc::ptr_eq(current, expired) => Ok(current.clone()),
                _ => {
                    let fresh = Arc::new(self.exchange_once(None, limit, request_id).await?);
                    *session = Some(fresh.clone());
                    Ok(fresh)
                }
            }
        };
        match tokio::time::timeout(limit, renewal).await {
            Ok(renewed) => renewed,
            Err(elapsed) => Err(Failure::TimedOut(elapsed.into())),
        }
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client")
            .field("config", &self.shared.config)
            .field("runner_id", &self.shared.runner_id)
            .finish()
    }
}

impl<'a> Call<'a> {
    fn new(
        operation: &'static str,
        method: Method,
        path: &'a (dyn Fn(&TokenResponse) -> String + Send + Sync),
        body: Option<Vec<u8>>,
    ) -> Self {
        Self {
            operation,
            method,
            path,
            query: Vec::new(),
            headers: Vec::new(),
            body,
            wait: Duration::ZERO,
        }
    }
}

fn execution_path(session: &TokenResponse) -> String {
    format!(
        "/api/v1/environment/{}/service/{}/execution",
        session.environment_id, session.service_id
    )
}

fn encode(body: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec(body).expect("wire types have text keys and print to memory")
}

fn required<R>(timed: Timed<Option<R>>, operation: &'static str) -> Result<Timed<R>, Error> {
    let Some(answer) = timed.answer else {
        let failure = Failure::Unreadable("the answer is empty".into());
        return Err(Error::new(operation, 1, String::new(), failure));
    };
    Ok(Timed {
        sent_at: timed.sent_at,
        answer,
    })
}
