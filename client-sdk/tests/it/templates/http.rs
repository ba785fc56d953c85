//! `http-template` against an API on a real socket.

use std::sync::{Arc, Mutex};

use axum::{
    Router,
    body::Bytes,
    extract::State,
    http::{HeaderMap, Method, StatusCode, Uri},
};
use flamingock::{HttpTarget, Report, Stage, StartError, templates::Placeholders};
use tokio::net::TcpListener;

use crate::support::{FakeServer, Files, Kind};

#[derive(Clone, Debug)]
struct Request {
    /// `POST /path?query body`
    line: String,
    headers: HeaderMap,
}

impl Request {
    fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .get(name)
            .map(|value| value.to_str().expect("a text"))
    }
}

/// Answers with the status in the last segment of the path, or 200, and remembers what it was asked.
#[derive(Clone, Default)]
pub(super) struct Api(Arc<Mutex<Vec<Request>>>);

impl Api {
    pub(super) async fn start() -> (String, Self) {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let url = format!("http://{}/api/", listener.local_addr().expect("bound"));
        let api = Self::default();
        let app = Router::new().fallback(answer).with_state(api.clone());
        tokio::spawn(async move { axum::serve(listener, app).await });
        (url, api)
    }

    fn requests(&self) -> Vec<Request> {
        self.0.lock().expect("no test panics inside").clone()
    }

    pub(super) fn lines(&self) -> Vec<String> {
        self.requests().into_iter().map(|request| request.line).collect()
    }
}

async fn answer(
    State(api): State<Api>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> (StatusCode, String) {
    let body = String::from_utf8_lossy(&body);
    let line = format!("{method} {uri} {body}").trim().to_owned();
    api.0
        .lock()
        .expect("no test panics inside")
        .push(Request { line, headers });
    let status = uri
        .path()
        .rsplit('/')
        .next()
        .and_then(|code| code.parse::<u16>().ok());
    let status = status
        .and_then(|code| StatusCode::from_u16(code).ok())
        .unwrap_or(StatusCode::OK);
    (status, format!("because of\n  {body}"))
}

struct Run {
    server: FakeServer,
    api: Api,
    result: Result<Report, StartError>,
}

async fn run(rest: &str) -> Run {
    let (server, (url, api)) = (FakeServer::start().await, Api::start().await);
    let target = HttpTarget::new("api", &url)
        .and_then(|target| target.bearer("t0ken"))
        .expect("a target");
    let files = Files::new(&[(
        "_0001__a.yaml",
        format!("id: asked\ntemplate: http-template\ntargetSystem: api\n{rest}"),
    )]);
    let app = server
        .app()
        .target(target)
        .placeholders(Placeholders::none().with("SECRET", "hunter2 & \"more\""))
        .stage(Stage::from_dir("files", files.path()))
        .build()
        .unwrap();
    let result = app.run().await;
    Run { server, api, result }
}

impl Run {
    fn message(&self) -> String {
        let error = self.result.as_ref().expect_err("it fails");
        let change = error.report().change("asked").expect("it is in the report");
        change.error.as_ref().expect("it has failed").message.clone()
    }
}

#[tokio::test]
async fn a_request_is_sent_as_the_file_says() {
    let done = run("configuration:
  headers: { X-One: all, X-Two: all }
apply:
  method: POST
  path: /flags
  query: { 'a b': 'c&d' }
  headers: { X-Two: this, X-Password: '${SECRET}' }
  body: { name: checkout, enabled: false, rules: [1, 2.5, null], password: '${SECRET}' }
")
    .await;
    done.result.as_ref().expect("it works");
    let request = &done.api.requests()[0];
    assert_eq!(
        request.line,
        r#"POST /api/flags?a+b=c%26d {"enabled":false,"name":"checkout","password":"hunter2 & \"more\"","rules":[1,2.5,null]}"#
    );
    for (name, value) in [
        ("authorization", "Bearer t0ken"),
        ("content-type", "application/json"),
        ("x-one", "all"),
        ("x-two", "this"),
        ("x-password", "hunter2 & \"more\""),
    ] {
        assert_eq!(request.header(name), Some(value), "{name}");
    }
    assert_eq!(request.header("idempotency-key").map(str::len), Some(64));
    let started = &done.server.calls_of(&Kind::Audit("STARTED".into()))[0].body;
    assert_eq!(started["txStrategy"], "NON_TX");
    assert_eq!(started["className"], "http-template");
}

#[tokio::test]
async fn a_text_is_sent_as_it_is() {
    let done =
        run("apply: {method: PUT, path: /x?y=z, headers: {Content-Type: text/x-rules}, body: 'a: b'}\n")
            .await;
    done.result.as_ref().expect("it works");
    let request = &done.api.requests()[0];
    assert_eq!(request.line, "PUT /api/x?y=z a: b");
    assert_eq!(request.header("content-type"), Some("text/x-rules"));
}

#[tokio::test]
async fn an_unexpected_answer_is_a_failure_and_shows_no_secret() {
    let done =
        run("apply: {method: POST, path: '/${SECRET}/500?key=${SECRET}', body: 'with ${SECRET}'}\n").await;
    assert_eq!(
        done.message(),
        "POST /${SECRET}/500?key=${SECRET} was answered with 500 Internal Server Error: because of\n  with ${SECRET}"
    );
    assert_eq!(done.server.audit(), ["asked STARTED", "asked FAILED"]);
    assert!(!format!("{:?}", done.server.calls()).contains("hunter2"));
}

#[tokio::test]
async fn what_is_expected_is_no_failure_and_a_redirect_is_not_followed() {
    for (apply, works) in [
        ("{method: POST, path: /409, expect: [201, 409]}", true),
        ("{method: DELETE, path: /404, expect: 404}", true),
        ("{method: DELETE, path: /200, expect: 404}", false),
        ("{method: GET, path: /204}", true),
        ("{method: GET, path: /302}", false),
    ] {
        let done = run(&format!("apply: {apply}\n")).await;
        assert_eq!(done.result.is_ok(), works, "{apply}");
        assert_eq!(done.api.lines().len(), 1, "{apply}");
    }
}

#[tokio::test]
async fn steps_are_undone_from_the_failing_one_back() {
    let done = run("steps:
  - apply: {method: PUT, path: /a}
    rollback: {method: DELETE, path: /a}
  - apply: {method: PUT, path: /b/500}
    rollback: {method: DELETE, path: /b/404, expect: [204, 404]}
  - apply: {method: PUT, path: /c}
    rollback: {method: DELETE, path: /c}
")
    .await;
    assert!(
        done.message()
            .starts_with("step 2 of 3: PUT /b/500 was answered with 500"),
        "{}",
        done.message()
    );
    assert_eq!(
        done.api.lines(),
        [
            "PUT /api/a",
            "PUT /api/b/500",
            "DELETE /api/b/404",
            "DELETE /api/a"
        ]
    );
    assert_eq!(
        done.server.audit(),
        ["asked STARTED", "asked FAILED", "asked ROLLED_BACK"]
    );
}

#[tokio::test]
async fn the_idempotency_key_is_of_change_step_and_direction() {
    let keys = |done: &Run| -> Vec<Option<String>> {
        let requests = done.api.requests();
        requests
            .iter()
            .map(|request| request.header("idempotency-key").map(str::to_owned))
            .collect()
    };
    let steps = "steps:
  - apply: {method: POST, path: /same}
    rollback: {method: POST, path: /same}
  - apply: {method: POST, path: /same}
  - apply: {method: GET, path: /500}
    rollback: {method: POST, path: /same}
";
    let first = keys(&run(steps).await);
    assert_eq!(first.len(), 5, "three there, two back");
    assert_eq!(first[2], None, "reading needs none");
    let mut different: Vec<_> = first.iter().flatten().collect();
    different.sort();
    different.dedup();
    assert_eq!(different.len(), 4);
    assert_eq!(
        keys(&run(steps).await),
        first,
        "the next attempt repeats the same requests"
    );

    let none = run("configuration: {idempotencyKey: none}\napply: {method: POST, path: /a}\n").await;
    assert_eq!(keys(&none), [None]);
    let of_attempt = run("configuration: {idempotencyKey: attempt}\napply: {method: POST, path: /a}\n").await;
    assert!(keys(&of_attempt)[0].is_some());
    let odd = "apply: {method: POST, path: /a, headers: {Idempotency-Key: mine}}\n";
    assert_eq!(keys(&run(odd).await), [Some("mine".to_owned())]);
}

#[tokio::test]
async fn nobody_there_is_a_failure_that_hides_the_query() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let url = format!("http://{}", listener.local_addr().expect("bound"));
    drop(listener);
    let server = FakeServer::start().await;
    let files = Files::new(&[(
        "_0001__a.yaml",
        "id: asked\ntemplate: http-template\ntargetSystem: api\napply: {method: GET, path: /a, query: {k: '${SECRET}'}}\n",
    )]);
    let app = server
        .app()
        .target(HttpTarget::new("api", &url).expect("a target"))
        .placeholders(Placeholders::none().with("SECRET", "hunter2 & \"more\""))
        .stage(Stage::from_dir("files", files.path()));
    let error = app.build().unwrap().run().await.expect_err("nobody there");
    let message = error
        .report()
        .change("asked")
        .unwrap()
        .error
        .clone()
        .unwrap()
        .message;
    assert!(message.starts_with("GET /a was not answered: "), "{message}");
    assert!(!format!("{:?}", server.calls()).contains("hunter2"));
}

/// 429 and 503 mean "not now": nothing was done.
#[tokio::test]
async fn an_api_that_is_busy_is_asked_again_unless_that_is_expected() {
    let done = run("apply: {method: PUT, path: /429}\n").await;
    assert!(
        done.message().contains("was answered with 429"),
        "{}",
        done.message()
    );
    assert_eq!(done.api.lines(), ["PUT /api/429"; 5]);
    let keys: std::collections::BTreeSet<_> = done
        .api
        .requests()
        .iter()
        .map(|request| request.header("idempotency-key").map(str::to_owned))
        .collect();
    assert_eq!(keys.len(), 1, "the same request, five times");
    let done = run("apply: {method: PUT, path: /503, expect: [200, 503]}\n").await;
    assert!(done.result.is_ok());
    assert_eq!(done.api.lines().len(), 1);
}
