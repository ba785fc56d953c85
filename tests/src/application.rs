//! The application: what it does when it runs, and how a test starts it as a process.

use std::collections::BTreeMap;
use std::process::Command;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use flamingock::{Flamingock, PostgresTarget, Recovery, Report, Stage, StartError, Target, shutdown_signal};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sqlx::postgres::PgPoolOptions;

use crate::changes::{BareTransactions, Effect};
use crate::files;
use crate::long::Long;
use crate::process::{Process, terminate};
use crate::saga::saga;
use crate::scenario::Scenario;
use crate::tenants::tokens;
use crate::waiting::eventually;

/// What a start came to.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Outcome {
    /// Whether the application may serve.
    pub may_start: bool,
    /// It was asked to stop before its end.
    pub interrupted: bool,
    /// Status of each change: `APPLIED`, `ALREADY_APPLIED`, …
    pub changes: BTreeMap<String, String>,
    /// Changes that wait for a person.
    pub manual_intervention: Vec<String>,
    /// The report's lines, for messages.
    pub report: String,
}

impl Outcome {
    pub fn of(result: Result<Report, StartError>) -> Self {
        let may_start = result.is_ok();
        let interrupted = result.as_ref().is_err_and(StartError::is_interrupted);
        let (report, error) = match result {
            Ok(report) => (report, String::new()),
            Err(error) => (error.report().clone(), error.to_string()),
        };
        let changes = report.stages.iter().flat_map(|stage| &stage.changes);
        let status = |status| match serde_json::to_value(status) {
            Ok(Value::String(text)) => text,
            other => panic!("a status is a text: {other:?}"),
        };
        Self {
            may_start,
            interrupted,
            changes: changes
                .map(|change| (change.change_id.clone(), status(change.status)))
                .collect(),
            manual_intervention: report
                .manual_intervention()
                .into_iter()
                .map(str::to_owned)
                .collect(),
            report: format!("{report}\n{error}"),
        }
    }
}

/// Variables of the process.
const SCENARIO: &str = "TEST_SCENARIO";
const SERVER: &str = "TEST_SERVER";
const TOKEN: &str = "TEST_TOKEN";
const TARGET: &str = "TEST_TARGET";

/// What the process does: one start.
pub async fn start_from_environment() -> Result<Outcome, Box<dyn std::error::Error>> {
    let scenario: Scenario = serde_json::from_str(&std::env::var(SCENARIO)?)?;
    let pool = PgPoolOptions::new()
        .max_connections(2)
        .acquire_timeout(Duration::from_secs(20))
        .connect_lazy(&std::env::var(TARGET)?)?;
    let tested = Effect {
        kind: scenario.kind,
        ending: scenario.ending,
        undo: scenario.undo,
        probing: scenario.probing,
        recovery: if scenario.always_retry {
            Recovery::AlwaysRetry
        } else {
            Recovery::ManualIntervention
        },
        ..Effect::new("tested", "0002")
    };
    let stage = if let Some(directory) = scenario.files {
        Stage::from_dir("work", directory)
    } else {
        let stage = Stage::new("work").change(Effect::new("before", "0001"));
        let stage = if scenario.saga {
            stage.change(saga(scenario.ending, scenario.undo, scenario.probing))
        } else if scenario.is_long {
            stage.change(Long {
                id: "tested",
                order: "0002",
            })
        } else {
            stage.change(tested)
        };
        stage.change(Effect::new("after", "0003"))
    };
    let application = Flamingock::builder(std::env::var(SERVER)?)
        .token(std::env::var(TOKEN)?)
        .environment(scenario.environment)
        .service(scenario.service)
        .lease(Duration::from_millis(scenario.lease_ms))
        .poll_every(Duration::from_millis(100))
        .wait_for_lock(Duration::from_secs(30))
        .stop_grace(Duration::from_millis(scenario.stop_grace_ms))
        .target(Target::non_transactional("plain", pool.clone()))
        .target(PostgresTarget::new("marking", pool.clone()))
        .target(Target::transactional("bare", BareTransactions(pool)))
        .stage(stage)
        .build()?;
    // Whoever kills it otherwise does so all the same.
    Ok(Outcome::of(application.run_until(shutdown_signal()?).await))
}

/// One start of the application, as a process.
pub struct RunnerProcess {
    process: Mutex<Process>,
}

impl RunnerProcess {
    /// `server` and `target` may be proxies.
    pub fn start(scenario: &Scenario, server: &str, target: &str) -> Self {
        let scenario = serde_json::to_string(scenario).expect("a scenario is plain data");
        let mut command = Command::new(files::runner_program());
        command
            .env(SCENARIO, scenario)
            .env(SERVER, server)
            .env(TOKEN, &tokens().runner)
            .env(TARGET, target);
        Self {
            process: Mutex::new(Process::start("runner", &mut command)),
        }
    }

    /// Starts it and waits for its end.
    pub async fn run(scenario: &Scenario, server: &str, target: &str) -> Outcome {
        Self::start(scenario, server, target).outcome().await
    }

    /// Kills it: nothing of it runs any more when this returns.
    pub fn kill(&self) {
        self.process().kill();
    }

    /// Asks it to end, by SIGTERM.
    pub fn terminate(&self) {
        terminate(self.process().pid());
    }

    /// Waits until it says so in its log.
    pub async fn has_logged(&self, text: &str) {
        let what = format!("the application's log says `{text}`");
        eventually(&what, async || self.process().log().contains(text).then_some(())).await;
    }

    pub fn pause(&self) {
        self.process().pause();
    }

    pub fn resume(&self) {
        self.process().resume();
    }

    /// Waits for its end.
    pub async fn outcome(&self) -> Outcome {
        eventually("the application's start ends", async || self.process().ended()).await;
        let process = self.process();
        let output = process.output();
        serde_json::from_str(&output).unwrap_or_else(|error| {
            panic!(
                "the application said nothing useful ({error}): {output}\n{}",
                process.log()
            )
        })
    }

    fn process(&self) -> MutexGuard<'_, Process> {
        self.process.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
