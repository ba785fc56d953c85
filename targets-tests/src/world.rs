//! A coordination server and the starts of one application.

use std::time::Duration;

use flamingock::{Builder, Flamingock, Report, StartError};
use flamingock_api_types::issue::ResolutionKind;
use flamingock_tests::{HttpProxy, Runner, Side, TestServer, tokens};

/// Short, so that the successor of a dead process need not wait long, and still long enough for a machine with other work.
const LEASE: Duration = Duration::from_secs(6);

/// The server, and a service of which every start goes through a proxy.
pub struct World {
    server: TestServer,
    proxy: HttpProxy,
    /// Knows the paths of the service.
    runner: Runner,
}

impl World {
    pub async fn new() -> Self {
        let server = TestServer::start().await;
        let proxy = HttpProxy::to(&[server.address.as_str()]).await;
        let runner = server.runner("shop").await;
        Self {
            server,
            proxy,
            runner,
        }
    }

    /// An application to be, of this service.
    pub fn app(&self) -> Builder {
        Flamingock::builder(self.proxy.url())
            .token(&tokens().runner)
            .environment("production")
            .service("shop")
            .lease(LEASE)
            .poll_every(Duration::from_millis(100))
            .wait_for_lock(Duration::from_secs(30))
    }

    /// One start.
    pub async fn start(&self, app: Builder) -> Result<Report, StartError> {
        app.build().expect("the pipeline is in order").run().await
    }

    /// One start, during which the process dies: between what the target has done and the report of it.
    pub async fn die_before_the_report(&self, app: Builder) {
        self.die(app, &["/audit", "APPLIED"]).await;
    }

    /// One start, during which the process dies at a message to the server.
    pub async fn die(&self, app: Builder, message: &[&str]) {
        let mut trap = self.proxy.trap(Side::Message, message);
        let app = app.build().expect("the pipeline is in order");
        let start =
            tokio::spawn(async move { app.run().await.map(|_| ()).map_err(|error| error.to_string()) });
        trap.caught().await;
        start.abort();
        assert!(
            start.await.is_err_and(|error| error.is_cancelled()),
            "it was in the middle of its start"
        );
    }

    /// As [`die_before_the_report`](Self::die_before_the_report), for a start that another may have made needless. True if
    /// it came as far as to report.
    pub async fn die_before_the_report_if_it_commits(&self, app: Builder) -> bool {
        let mut trap = self.proxy.trap(Side::Message, &["/audit", "APPLIED"]);
        let app = app.build().expect("the pipeline is in order");
        tokio::select! {
            () = trap.caught() => true,
            _ = app.run() => false,
        }
    }

    /// What the server knows of a change: `STARTED APPLIED`.
    pub async fn history(&self, change: &str) -> String {
        let operator = self.server.operator();
        operator.states(&self.runner, change).await.join(" ")
    }

    /// A person has looked at the target system, and decides.
    pub async fn resolve(&self, change: &str, decision: ResolutionKind) {
        let operator = self.server.operator();
        let issues = operator.issues(&self.runner).await;
        let seq = issues
            .iter()
            .find(|issue| issue.change_id == change)
            .unwrap_or_else(|| panic!("{change} waits for nobody: {issues:?}"))
            .seq;
        operator
            .resolve(&self.runner, &[(change, decision, seq)])
            .await
            .expect(201);
    }
}

/// What a failed start says about a change.
pub fn message(error: &StartError, change: &str) -> String {
    let report = error.report().change(change);
    let error = report.and_then(|change| change.error.as_ref());
    error.map(|error| error.message.clone()).unwrap_or_default()
}
