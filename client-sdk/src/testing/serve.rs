//! The runner API on a socket of this machine, so that what a test runs is the client as it is, up to the last byte.

use std::{convert::Infallible, net::SocketAddr, sync::Arc, time::Duration};

use bytes::Bytes;
use flamingock_api_types::{
    ErrorCode, ProblemDetails,
    audit::{AuditState, AuditWrite},
    auth::{TokenRequest, TokenResponse},
    digest,
    execution::PlanRequest,
    headers,
    probe::ProbeReport,
};
use flamingock_domain::{
    ids::{AcquisitionId, ChangeId, RunnerId},
    lock::Proof,
};
use http_body_util::{BodyExt as _, Full};
use hyper::{Method, Request, Response, body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use serde::{Serialize, de::DeserializeOwned};
use tokio::{net::TcpListener, task::JoinSet};

use super::{
    Accident, Step, convert,
    ledger::{ENVIRONMENT_ID, Refusal, SERVICE_ID},
    script::Script,
};

/// Ends the connection without an answer.
#[derive(Debug, thiserror::Error)]
#[error("the answer is lost, as the script has it")]
struct AnswerLost;

/// What is answered: status and JSON.
type Answer = (u16, Vec<u8>);

pub(super) struct Server {
    pub(super) address: SocketAddr,
    task: tokio::task::JoinHandle<Infallible>,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

pub(super) async fn start(script: Arc<Script>) -> std::io::Result<Server> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    let task = tokio::spawn(accept(listener, script));
    Ok(Server { address, task })
}

/// The connections end with it.
async fn accept(listener: TcpListener, script: Arc<Script>) -> Infallible {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                let Ok((stream, _)) = accepted else { continue };
                let script = script.clone();
                let service = service_fn(move |request| answer(script.clone(), request));
                let connection = http1::Builder::new().serve_connection(TokioIo::new(stream), service);
                connections.spawn(async move {
                    // It ends where the script has it end.
                    let _ = connection.await;
                });
            }
            Some(_) = connections.join_next() => {}
        }
    }
}

async fn answer(
    script: Arc<Script>,
    request: Request<Incoming>,
) -> Result<Response<Full<Bytes>>, AnswerLost> {
    let (head, body) = request.into_parts();
    // The caller is gone.
    let body = body.collect().await.map_err(|_| AnswerLost)?.to_bytes();
    if script.is_unreachable() {
        return Err(AnswerLost);
    }
    let runner = head
        .headers
        .get(headers::RUNNER_ID)
        .and_then(|value| RunnerId::parse(value.to_str().ok()?).ok());
    let call = Call {
        script: &script,
        method: head.method,
        query: head.uri.query().unwrap_or_default().to_owned(),
        runner,
        body,
    };
    let (status, body) = match call.answer(head.uri.path()).await? {
        Ok(answer) => answer,
        Err(refusal) => (refusal.code.status(), json(&problem(refusal))),
    };
    let answer = Response::builder()
        .status(status)
        .header(hyper::header::CONTENT_TYPE, "application/json")
        .body(Full::new(Bytes::from(body)));
    Ok(answer.expect("status and header are plain"))
}

struct Call<'a> {
    script: &'a Script,
    method: Method,
    query: String,
    runner: Option<RunnerId>,
    body: Bytes,
}

impl Call<'_> {
    async fn answer(&self, path: &str) -> Result<Result<Answer, Refusal>, AnswerLost> {
        let scope = format!("/api/v1/environment/{ENVIRONMENT_ID}/service/{SERVICE_ID}/execution");
        if let Some(rest) = path.strip_prefix(&scope) {
            let about = rest
                .strip_prefix('/')
                .and_then(|rest| rest.split_once("/change/"));
            let told = |kind| about.and_then(|(execution, rest)| Some((execution, rest.strip_suffix(kind)?)));
            return match (told("/audit"), told("/probe")) {
                (Some((execution, change)), _) => self.report(execution, change).await,
                (None, Some((execution, change))) => Ok(self.probe(execution, change)),
                (None, None) if rest.is_empty() && self.method == Method::POST => Ok(self.plan()),
                (None, None) => Ok(Err(no_such_path())),
            };
        }
        let dry_run = format!("/api/v1/admin/environment/{ENVIRONMENT_ID}/service/{SERVICE_ID}/plan");
        if path == dry_run && self.method == Method::POST {
            return Ok(self.preview());
        }
        let answer = match path
            .strip_prefix("/api/v1/")
            .map(|rest| rest.split('/').collect::<Vec<_>>())
        {
            Some(parts) => match (self.method.as_str(), parts.as_slice()) {
                ("POST", ["auth", "exchange-token"]) => self.exchange(),
                ("POST", [key, "lock", "extension"]) => self
                    .runner()
                    .and_then(|runner| {
                        let request = self.read()?;
                        self.script.ledger().extend(runner, key, &request)
                    })
                    .map(|answer| (200, json(&answer))),
                ("DELETE", [key, "lock"]) => self
                    .runner()
                    .and_then(|runner| {
                        let fence = self.parameter("fence").and_then(|fence| fence.parse().ok());
                        self.script.ledger().release(runner, key, fence)
                    })
                    .map(|answer| (200, json(&answer))),
                ("GET", [key, "lock"]) => {
                    let lock = self.script.ledger().view(key);
                    lock.map(|lock| (200, json(&lock)))
                }
                _ => Err(no_such_path()),
            },
            None => Err(no_such_path()),
        };
        Ok(answer)
    }

    fn exchange(&self) -> Result<Answer, Refusal> {
        let request: TokenRequest = self.read()?;
        let digest = request.digest.filter(|digest| digest.starts_with(digest::PREFIX));
        if let Some(digest) = &digest {
            convert::check_digest(digest)?;
        }
        let ledger = self.script.ledger();
        let all_applied = digest.as_ref().map(|digest| ledger.knows(digest));
        Ok((
            200,
            json(&TokenResponse {
                all_applied,
                #[cfg(feature = "certificate")]
                certificate: digest
                    .filter(|_| request.certificate && all_applied == Some(true))
                    .map(|digest| self.script.certifier().certify(digest, ledger.head())),
                ..session()
            }),
        ))
    }

    fn plan(&self) -> Result<Answer, Refusal> {
        let request: PlanRequest = self.read()?;
        let proof = self.parameter("lastAcquisitionId").and_then(|id| {
            let elapsed = self
                .parameter("elapsedMillis")
                .and_then(|millis| millis.parse().ok());
            Some(Proof {
                acquisition_id: AcquisitionId::parse(id).ok()?,
                elapsed: Duration::from_millis(elapsed.unwrap_or(0)),
            })
        });
        let mut ledger = self.script.ledger();
        let plan = ledger.plan(self.runner()?, proof.as_ref(), &request)?;
        #[cfg(feature = "certificate")]
        let plan = flamingock_api_types::execution::PlanResponse {
            certificate: self
                .script
                .certifier()
                .certify_plan(&request, &plan, ledger.head()),
            ..plan
        };
        Ok((201, json(&plan)))
    }

    fn preview(&self) -> Result<Answer, Refusal> {
        let preview = self.script.ledger().preview(&self.read()?)?;
        Ok((200, json(&preview)))
    }

    fn probe(&self, execution: &str, change: &str) -> Result<Answer, Refusal> {
        let change = ChangeId::parse(percent_decoded(change)).map_err(convert::malformed)?;
        let told: ProbeReport = self.read()?;
        let mut ledger = self.script.ledger();
        let (is_new, answer) = ledger.probe(self.runner()?, execution, &change, &told)?;
        Ok((if is_new { 201 } else { 200 }, json(&answer)))
    }

    async fn report(&self, execution: &str, change: &str) -> Result<Result<Answer, Refusal>, AnswerLost> {
        let recorded = self.record(execution, &percent_decoded(change));
        let (change, told, is_new, answer) = match recorded {
            Ok(recorded) => recorded,
            Err(refusal) => return Ok(Err(refusal)),
        };
        let step = match told.state {
            AuditState::Started => Some(Step::StartRecorded),
            AuditState::Applied => Some(Step::SuccessRecorded),
            AuditState::Failed => Some(Step::FailureRecorded),
            AuditState::RolledBack | AuditState::RollbackFailed => Some(Step::RollbackRecorded),
            _ => None,
        };
        let accident = step
            .filter(|_| is_new)
            .and_then(|step| self.script.reached(change.as_str(), step));
        match accident {
            Some(Accident::Crash) => std::future::pending().await,
            Some(Accident::LoseAnswer) => Err(AnswerLost),
            Some(Accident::LoseLock) | None => Ok(Ok((if is_new { 201 } else { 200 }, answer))),
        }
    }

    fn record(
        &self,
        execution: &str,
        change: &str,
    ) -> Result<(ChangeId, AuditWrite, bool, Vec<u8>), Refusal> {
        let change = ChangeId::parse(change).map_err(convert::malformed)?;
        let told: AuditWrite = self.read()?;
        let recorded = self
            .script
            .ledger()
            .report(self.runner()?, execution, &change, &told);
        let (is_new, answer) = recorded?;
        Ok((change, told, is_new, json(&answer)))
    }

    fn runner(&self) -> Result<&RunnerId, Refusal> {
        self.runner.as_ref().ok_or_else(|| {
            let text = format!("The header `{}` is missing.", headers::RUNNER_ID);
            Refusal::new(ErrorCode::RunnerIdMissing, text)
        })
    }

    fn read<T: DeserializeOwned>(&self) -> Result<T, Refusal> {
        serde_json::from_slice(&self.body)
            .map_err(|error| Refusal::new(ErrorCode::RequestMalformed, error.to_string()))
    }

    fn parameter(&self, name: &str) -> Option<String> {
        let mut pairs = self.query.split('&').filter_map(|pair| pair.split_once('='));
        pairs
            .find(|(key, _)| *key == name)
            .map(|(_, value)| percent_decoded(&value.replace('+', " ")))
    }
}

fn session() -> TokenResponse {
    TokenResponse {
        jwt: "testing".to_owned(),
        organisation_id: 1,
        organisation_name: "testing".to_owned(),
        project_id: 1,
        project_name: "testing".to_owned(),
        environment_id: ENVIRONMENT_ID,
        environment_name: "testing".to_owned(),
        service_id: SERVICE_ID,
        service_name: "testing".to_owned(),
        credential_id: 1,
        expires_in_seconds: None,
        all_applied: None,
        certificate: None,
    }
}

fn no_such_path() -> Refusal {
    let text = "The testing kit answers the calls of a run, and no others.";
    Refusal::new(ErrorCode::RouteNotFound, text)
}

fn problem(refusal: Refusal) -> ProblemDetails {
    let code = refusal.code;
    ProblemDetails {
        code,
        message: refusal.message,
        recoverable: code.recoverable(),
        details: refusal.details,
        type_: String::new(),
        title: code.title().to_owned(),
        status: code.status(),
        instance: String::new(),
    }
}

fn json(value: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec(value).expect("wire types have text keys and print to memory")
}

fn percent_decoded(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        let hex = |digits: &[u8]| u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok();
        if let (b'%', Some(byte)) = (first, tail.get(..2).and_then(hex)) {
            bytes.push(byte);
            rest = &tail[2..];
        } else {
            bytes.push(*first);
            rest = tail;
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}
