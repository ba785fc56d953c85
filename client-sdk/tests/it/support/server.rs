//! A server on a real socket that records every call and answers as told, or else sensibly.

use std::{
    collections::{HashMap, HashSet, VecDeque},
    sync::{Arc, Mutex},
    time::Duration,
};

use axum::{
    Router,
    body::{Body, Bytes},
    extract::State,
    http::{HeaderMap, Method, Response, Uri},
};
use flamingock::{Builder, Flamingock};
use serde_json::{Value, json};
use tokio::{net::TcpListener, time::Instant};

/// How long a test waits for an answer that does not come.
pub(crate) const IMPATIENT: Duration = Duration::from_millis(500);

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Token,
    Plan,
    /// By state.
    Audit(String),
    Extend,
    Release,
    Other,
}

#[derive(Clone, Debug)]
pub(crate) struct Call {
    pub(crate) kind: Kind,
    pub(crate) path: String,
    pub(crate) query: String,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Value,
    pub(crate) at: Instant,
}

#[derive(Clone, Debug)]
pub(crate) enum Reply {
    /// What the server would do without a script.
    Usual,
    Json(u16, Value),
    Text(u16, &'static str),
    RetryAfter(u16, u64),
    /// The usual, after some time.
    Slow(Duration),
    /// Does nothing and never answers.
    Hang,
    /// Does what it should, and the answer is lost.
    Swallow,
}

type Matcher = Box<dyn Fn(&Call) -> bool + Send>;

struct Rule {
    matches: Matcher,
    replies: VecDeque<Reply>,
    for_ever: Option<Reply>,
}

#[derive(Default)]
struct Inner {
    calls: Vec<Call>,
    rules: Vec<Rule>,
    applied: HashSet<String>,
    /// Of changes, as they were saved.
    cursors: HashMap<String, String>,
    executions: i64,
    forgets_cursors: bool,
}

#[derive(Clone)]
pub(crate) struct FakeServer {
    pub(crate) url: String,
    inner: Arc<Mutex<Inner>>,
}

impl FakeServer {
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let url = format!("http://{}", listener.local_addr().expect("bound"));
        let inner = Arc::new(Mutex::new(Inner::default()));
        let app = Router::new().fallback(answer).with_state(inner.clone());
        tokio::spawn(async move { axum::serve(listener, app).await });
        Self { url, inner }
    }

    /// A builder for this server, with short times.
    pub(crate) fn app(&self) -> Builder {
        Flamingock::builder(&self.url)
            .token("fk_test")
            .environment("test")
            .service("orders")
            .lease(Duration::from_secs(3))
            .wait_for_lock(Duration::from_secs(5))
            .poll_every(Duration::from_millis(100))
            .request_timeout(Duration::from_secs(3))
            .retry_for(Duration::from_secs(2))
    }

    /// The next replies to calls of a kind; afterwards the usual ones.
    pub(crate) fn next(&self, kind: Kind, replies: impl IntoIterator<Item = Reply>) {
        self.rule(Box::new(move |call| call.kind == kind), replies, None);
    }

    /// The reply to all calls of a kind from now on.
    pub(crate) fn always(&self, kind: Kind, reply: Reply) {
        self.rule(Box::new(move |call| call.kind == kind), [], Some(reply));
    }

    fn rule(&self, matches: Matcher, replies: impl IntoIterator<Item = Reply>, for_ever: Option<Reply>) {
        let rule = Rule {
            matches,
            replies: replies.into_iter().collect(),
            for_ever,
        };
        self.lock().rules.push(rule);
    }

    pub(crate) fn set_applied(&self, ids: &[&str]) {
        self.lock().applied.extend(ids.iter().map(|id| (*id).to_owned()));
    }

    pub(crate) fn set_cursor(&self, change: &str, cursor: &str) {
        self.lock().cursors.insert(change.to_owned(), cursor.to_owned());
    }

    pub(crate) fn cursor(&self, change: &str) -> Option<String> {
        self.lock().cursors.get(change).cloned()
    }

    /// From now on it answers as servers do that do not know of long changes.
    pub(crate) fn forget_cursors(&self) {
        self.lock().forgets_cursors = true;
    }

    pub(crate) fn calls(&self) -> Vec<Call> {
        self.lock().calls.clone()
    }

    pub(crate) fn calls_of(&self, kind: &Kind) -> Vec<Call> {
        self.lock()
            .calls
            .iter()
            .filter(|call| call.kind == *kind)
            .cloned()
            .collect()
    }

    /// What was written to the audit, repetitions included: `change STATE`.
    pub(crate) fn audit(&self) -> Vec<String> {
        self.lock()
            .calls
            .iter()
            .filter_map(|call| match &call.kind {
                Kind::Audit(state) => Some(format!("{} {state}", call.body["changeId"].as_str()?)),
                _ => None,
            })
            .collect()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Inner> {
        self.inner.lock().expect("no test panics inside")
    }
}

async fn answer(
    State(inner): State<Arc<Mutex<Inner>>>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Response<Body> {
    let body: Value = serde_json::from_slice(&body).unwrap_or(Value::Null);
    let call = Call {
        kind: kind(&method, uri.path(), &body),
        path: uri.path().to_owned(),
        query: uri.query().unwrap_or_default().to_owned(),
        headers,
        body,
        at: Instant::now(),
    };
    let (reply, usual) = {
        let mut inner = inner.lock().expect("no test panics inside");
        inner.calls.push(call.clone());
        let reply = inner.reply(&call);
        let usual =
            matches!(reply, Reply::Usual | Reply::Slow(_) | Reply::Swallow).then(|| inner.usual(&call));
        (reply, usual)
    };
    if let Reply::Slow(takes) = reply {
        tokio::time::sleep(takes).await;
    }
    match reply {
        Reply::Usual | Reply::Slow(_) => usual
            .map(|(status, body)| json_response(status, &body))
            .expect("computed"),
        Reply::Json(status, body) => json_response(status, &body),
        Reply::Text(status, body) => Response::builder()
            .status(status)
            .header("content-type", "text/html")
            .body(body.into())
            .expect("valid"),
        Reply::RetryAfter(status, seconds) => Response::builder()
            .status(status)
            .header("retry-after", seconds.to_string())
            .body(Body::empty())
            .expect("valid"),
        Reply::Hang | Reply::Swallow => std::future::pending().await,
    }
}

fn json_response(status: u16, body: &Value) -> Response<Body> {
    let body = if body.is_null() {
        Body::empty()
    } else {
        body.to_string().into()
    };
    Response::builder()
        .status(status)
        .header("content-type", "application/json")
        .body(body)
        .expect("valid")
}

fn kind(method: &Method, path: &str, body: &Value) -> Kind {
    if path.ends_with("/exchange-token") {
        Kind::Token
    } else if path.ends_with("/execution") && *method == Method::POST {
        Kind::Plan
    } else if path.ends_with("/audit") {
        Kind::Audit(body["state"].as_str().unwrap_or_default().to_owned())
    } else if path.ends_with("/lock/extension") {
        Kind::Extend
    } else if path.ends_with("/lock") && *method == Method::DELETE {
        Kind::Release
    } else {
        Kind::Other
    }
}

impl Inner {
    fn reply(&mut self, call: &Call) -> Reply {
        for rule in &mut self.rules {
            if (rule.matches)(call) {
                if let Some(reply) = rule.replies.pop_front() {
                    return reply;
                }
                if let Some(reply) = &rule.for_ever {
                    return reply.clone();
                }
            }
        }
        Reply::Usual
    }

    fn usual(&mut self, call: &Call) -> (u16, Value) {
        match &call.kind {
            Kind::Token => {
                let asks = call.body.get("digest").is_some();
                (200, session(asks.then_some(false)))
            }
            Kind::Plan => (201, self.plan(call)),
            Kind::Audit(state) => {
                if state == "APPLIED" {
                    self.applied
                        .insert(call.body["changeId"].as_str().unwrap_or_default().to_owned());
                }
                (201, json!({"lock": null, "late": false, "seq": 1}))
            }
            Kind::Extend => {
                let mut answer = json!({"status": "EXTENDED", "lock": self.lock(call)});
                let told = &call.body["progress"];
                if told.is_object() && !self.forgets_cursors {
                    if let (Some(change), Some(cursor)) = (told["changeId"].as_str(), told["cursor"].as_str())
                    {
                        self.cursors.insert(change.to_owned(), cursor.to_owned());
                    }
                    answer["progress"] = json!({"sequence": told["sequence"], "recorded": true});
                }
                (200, answer)
            }
            Kind::Release => (200, self.lock(call)),
            Kind::Other => (404, problem("R_LOCK_03")),
        }
    }

    fn lock(&mut self, call: &Call) -> Value {
        let owner = call.headers["flamingock-runner-id"].to_str().unwrap_or_default();
        let millis = call.body["lockAcquiredForMillis"].as_i64().unwrap_or(3000);
        json!({
            "key": "340", "owner": owner, "acquisitionId": format!("{owner}-{}", self.calls.len()),
            "acquiredForMillis": millis, "fence": 7, "aFieldOfTheFuture": true
        })
    }

    /// Every pending stage of the first block that is not done.
    fn plan(&mut self, call: &Call) -> Value {
        let blocks = call.body["clientSubmission"]["blocks"]
            .as_array()
            .cloned()
            .unwrap_or_default();
        let stages = |block: &Value| block["stages"].as_array().cloned().unwrap_or_default();
        let done = |change: &Value| self.applied.contains(change["id"].as_str().unwrap_or_default());
        let result: Vec<Value> = blocks
            .iter()
            .flat_map(stages)
            .map(|stage| {
                let changes = stage["changes"].as_array().cloned().unwrap_or_default();
                let verdict = if changes.iter().all(done) { "UP_TO_DATE" } else { "NEEDS_WORK" };
                let changes = changes.iter().map(|change| {
                    json!({"id": change["id"], "status": if done(change) { "ALREADY_APPLIED" } else { "NOT_REACHED" }})
                });
                json!({"name": stage["name"], "verdict": verdict, "changes": changes.collect::<Vec<_>>()})
            })
            .collect();
        let result = json!({"stages": result});
        for block in &blocks {
            let failed = |stage: &Value| {
                matches!(
                    stage["status"].as_str(),
                    Some("FAILED" | "BLOCKED_MANUAL_INTERVENTION")
                )
            };
            let changes = |stage: &Value| stage["changes"].as_array().cloned().unwrap_or_default();
            let pending: Vec<_> = stages(block)
                .into_iter()
                .filter(|stage| !failed(stage) && !changes(stage).iter().all(done))
                .map(|stage| {
                    let actions = changes(&stage).into_iter().map(|change| {
                        let cursor = change["id"].as_str().and_then(|id| self.cursors.get(id));
                        let action = if done(&change) { "SKIP" } else { "APPLY" };
                        json!({"id": change["id"], "action": action, "cursor": cursor})
                    });
                    json!({"name": stage["name"], "order": stage["order"], "changes": actions.collect::<Vec<_>>()})
                })
                .collect();
            if !pending.is_empty() {
                self.executions += 1;
                let execution = 9000 + self.executions;
                let lock = self.lock(call);
                return json!({
                    "action": "EXECUTE", "executionId": execution, "lock": lock, "stages": pending,
                    "pipelineResult": result, "synchronizedMarks": false,
                    "reasons": {"code": "WORK_PENDING", "message": "there is work", "changes": []}
                });
            }
            if stages(block).iter().any(failed) {
                return json!({"action": "ABORT", "synchronizedMarks": false});
            }
        }
        json!({"action": "CONTINUE", "pipelineResult": result, "synchronizedMarks": false})
    }
}

fn session(all_applied: Option<bool>) -> Value {
    let mut session = json!({
        "jwt": "header.claims.signature", "organisationId": 1, "organisationName": "o", "projectId": 2,
        "projectName": "p", "environmentId": 12, "environmentName": "test", "serviceId": 340,
        "serviceName": "orders", "credentialId": 5, "aFieldOfTheFuture": {"x": [1]}
    });
    if let Some(all_applied) = all_applied {
        session["allApplied"] = all_applied.into();
    }
    session
}

pub(crate) fn problem(code: &str) -> Value {
    json!({"code": code, "message": format!("because of {code}"), "recoverable": false, "details": []})
}

impl Reply {
    /// A session. Servers that do not know digests do not say whether all is applied.
    pub(crate) fn session(all_applied: Option<bool>) -> Self {
        Self::Json(200, session(all_applied))
    }

    pub(crate) fn problem(status: u16, code: &str) -> Self {
        Self::Json(status, problem(code))
    }

    /// Another runner holds the lock.
    pub(crate) fn wait(acquisition_id: &str, lease_millis: i64) -> Self {
        Self::Json(
            201,
            json!({"action": "AWAIT", "lock": {
                "key": "340", "owner": "orders@other#1", "acquisitionId": acquisition_id, "acquiredForMillis": lease_millis
            }}),
        )
    }
}
