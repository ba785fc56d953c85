//! A small service with an HTTP API that does what real ones do only now and then: it remembers idempotency keys, refuses
//! stale versions, is busy, fails, and loses answers, each on demand.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axum::extract::State;
use axum::http::{HeaderMap, Method, StatusCode, Uri, header};
use axum::response::{IntoResponse as _, Response};
use axum::{Json, Router};
use serde_json::{Value, json};
use tokio::net::TcpListener;

/// How the service takes one call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mood {
    /// Says "not now", to come back at once.
    Busy,
    /// Does nothing, and says that it failed.
    Fails,
    /// Does it, and the answer is lost.
    LosesTheAnswer,
    /// Somebody else changes it first.
    TooLate,
}

#[derive(Default)]
struct Inner {
    /// By path.
    resources: BTreeMap<String, (u64, Value)>,
    answers: HashMap<String, (StatusCode, Value)>,
    moods: Vec<(String, Mood)>,
    keys: Vec<String>,
}

/// The service, on a free port.
#[derive(Clone)]
pub struct Billing {
    pub url: String,
    inner: Arc<Mutex<Inner>>,
}

impl Billing {
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port is free");
        let url = format!("http://{}/api", listener.local_addr().expect("it is bound"));
        let billing = Self {
            url,
            inner: Arc::default(),
        };
        billing.put("limits/api", json!({"requests": 100}));
        let app = Router::new().fallback(answer).with_state(billing.clone());
        tokio::spawn(async move { axum::serve(listener, app).await });
        billing
    }

    /// The next call whose `METHOD path` begins so is taken in this mood.
    pub fn next(&self, call: &str, mood: Mood) {
        self.lock().moods.push((call.to_owned(), mood));
    }

    /// What there is.
    pub fn get(&self, path: &str) -> Option<Value> {
        self.lock().resources.get(path).map(|(_, value)| value.clone())
    }

    pub fn paths(&self) -> Vec<String> {
        self.lock().resources.keys().cloned().collect()
    }

    pub fn put(&self, path: &str, value: Value) {
        self.lock().put(path, value);
    }

    /// The idempotency keys of all calls so far.
    pub fn keys(&self) -> Vec<String> {
        self.lock().keys.clone()
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    fn put(&mut self, path: &str, value: Value) -> u64 {
        let version = self.resources.get(path).map_or(0, |(version, _)| *version) + 1;
        self.resources.insert(path.to_owned(), (version, value));
        version
    }

    fn mood(&mut self, call: &str) -> Option<Mood> {
        let at = self
            .moods
            .iter()
            .position(|(begin, _)| call.starts_with(begin.as_str()))?;
        Some(self.moods.remove(at).1)
    }
}

async fn answer(
    State(billing): State<Billing>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Option<Json<Value>>,
) -> Response {
    let path = uri.path().trim_start_matches("/api/").to_owned();
    let mood = billing.lock().mood(&format!("{method} {path}"));
    let problem = |status: StatusCode, detail: &str| {
        (status, Json(json!({"title": "refused", "detail": detail}))).into_response()
    };
    match mood {
        Some(Mood::Busy) => {
            return (StatusCode::TOO_MANY_REQUESTS, [(header::RETRY_AFTER, "0")]).into_response();
        }
        Some(Mood::Fails) => return problem(StatusCode::INTERNAL_SERVER_ERROR, "out of cheese"),
        Some(Mood::TooLate) => {
            let current = billing.get(&path).unwrap_or_default();
            billing.put(&path, current);
        }
        Some(Mood::LosesTheAnswer) | None => {}
    }
    let key = headers
        .get("idempotency-key")
        .and_then(|key| key.to_str().ok())
        .map(str::to_owned);
    let body = body.map(|Json(body)| body).unwrap_or_default();
    let done = {
        let mut inner = billing.lock();
        inner.keys.extend(key.clone());
        match key.as_ref().and_then(|key| inner.answers.get(key)) {
            Some((status, body)) => (*status, Json(body.clone())).into_response(),
            None => act(&mut inner, &method, &path, &headers, body, key),
        }
    };
    if mood == Some(Mood::LosesTheAnswer) {
        std::future::pending::<()>().await;
    }
    done
}

fn act(
    inner: &mut Inner,
    method: &Method,
    path: &str,
    headers: &HeaderMap,
    body: Value,
    key: Option<String>,
) -> Response {
    let problem =
        |status: StatusCode, detail: &str| (status, Json(json!({"detail": detail}))).into_response();
    let text = |name: &str| body[name].as_str().unwrap_or_default().to_owned();
    match *method {
        Method::POST => {
            let name = match path {
                "plans" => text("id"),
                _ => format!("{}-{}", text("plan"), text("seat")),
            };
            let created = format!("{path}/{name}");
            if inner.resources.contains_key(&created) {
                return problem(StatusCode::CONFLICT, &format!("{created} exists"));
            }
            inner.put(&created, body.clone());
            if let Some(key) = key {
                inner.answers.insert(key, (StatusCode::CREATED, body.clone()));
            }
            (StatusCode::CREATED, Json(body)).into_response()
        }
        Method::DELETE => match inner.resources.remove(path) {
            Some(_) => StatusCode::NO_CONTENT.into_response(),
            None => problem(StatusCode::NOT_FOUND, "not there"),
        },
        _ => {
            let Some((version, value)) = inner.resources.get(path).cloned() else {
                return problem(StatusCode::NOT_FOUND, "not there");
            };
            let etag = |version: u64| [(header::ETAG, format!("\"{version}\""))];
            if *method == Method::GET {
                return (etag(version), Json(value)).into_response();
            }
            let expected = headers
                .get(header::IF_MATCH)
                .and_then(|value| value.to_str().ok());
            if expected.is_some_and(|expected| expected != format!("\"{version}\"")) {
                return problem(StatusCode::PRECONDITION_FAILED, "it was changed since");
            }
            let version = inner.put(path, body.clone());
            (etag(version), Json(body)).into_response()
        }
    }
}
