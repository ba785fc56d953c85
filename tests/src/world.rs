//! A server, a target system, and an application between them that can be stopped at an exact message.

use crate::application::{Outcome, RunnerProcess};
use crate::changes::Effects;
use crate::postgres::Database;
use crate::proxy::{HttpProxy, PostgresProxy, Trap};
use crate::scenario::Scenario;
use crate::server::TestServer;

/// One server, with one target database and what happened in it.
pub struct World {
    pub server: TestServer,
    pub target: Database,
    pub effects: Effects,
    /// To the server.
    pub http: HttpProxy,
    /// To the target.
    pub postgres: PostgresProxy,
}

impl World {
    pub async fn new() -> Self {
        let server = TestServer::start().await;
        let target = Database::empty().await;
        Self {
            effects: Effects::in_database(&target).await,
            http: HttpProxy::to(&[&server.address]).await,
            postgres: PostgresProxy::to(&target).await,
            server,
            target,
        }
    }

    /// Starts the application, through the proxies.
    pub fn start(&self, scenario: &Scenario) -> RunnerProcess {
        RunnerProcess::start(scenario, &self.http.url(), &self.postgres.url())
    }

    /// Starts it and kills it where the trap closes.
    pub async fn killed_at(&self, scenario: &Scenario, mut trap: Trap) {
        let process = self.start(scenario);
        trap.caught().await;
        process.kill();
    }

    /// Runs it to its end, past the proxies.
    pub async fn run(&self, scenario: &Scenario) -> Outcome {
        RunnerProcess::run(scenario, &self.server.url(), &self.target.url).await
    }

    /// The audit of a change of a service, in order.
    pub async fn states(&self, service: &str, change: &str) -> Vec<String> {
        let runner = self.server.runner(service).await;
        self.server.operator().states(&runner, change).await
    }
}
