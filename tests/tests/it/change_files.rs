//! Changes in files, run by a process that is killed, against the real server.

use std::path::PathBuf;

use flamingock_api_types::audit::AuditEntryView;
use flamingock_api_types::issue::ResolutionKind;
use flamingock_tests::{
    Database, Effects, HttpProxy, Outcome, PostgresProxy, Runner, RunnerProcess, Scenario, Side, TestServer,
    scratch_directory,
};

const SERVICE: &str = "ledger";

/// `before`, `tested` and `after`. The tested change has three steps outside transactions.
fn of_steps(recovery: &str) -> PathBuf {
    let steps = ["one", "two", "three"].map(|step| {
        format!(
            "  - apply: INSERT INTO effects (change_id, step) VALUES ('tested', '{step}')\n    \
             rollback: DELETE FROM effects WHERE change_id = 'tested' AND step = '{step}'\n"
        )
    });
    directory(&format!(
        "transactional: false\nrecovery: {recovery}\nsteps:\n{}",
        steps.concat()
    ))
}

fn directory(tested: &str) -> PathBuf {
    let header =
        |id: &str| format!("id: {id}\nauthor: mara\ntemplate: sql-template\ntargetSystem: marking\n");
    let insert = |id: &str| {
        format!(
            "{}apply: INSERT INTO effects (change_id, step) VALUES ('{id}', 'all')\n",
            header(id)
        )
    };
    scratch_directory(&[
        ("_0001__before.yaml", insert("before")),
        ("_0002__tested.yaml", format!("{}{tested}", header("tested"))),
        ("_0003__after.yaml", insert("after")),
    ])
}

struct World {
    server: TestServer,
    target: Database,
    effects: Effects,
    scenario: Scenario,
}

impl World {
    async fn of(directory: PathBuf) -> Self {
        let (server, target) = (TestServer::start().await, Database::empty().await);
        let effects = Effects::in_database(&target).await;
        Self {
            server,
            effects,
            target,
            scenario: Scenario::of_files(&directory, SERVICE),
        }
    }

    /// Kills the application when it sends this statement, or gets its answer.
    async fn killed_at(&self, first: Option<&[&str]>, side: Side, parts: &'static [&'static str]) {
        let http = HttpProxy::to(&[&self.server.address]).await;
        let postgres = PostgresProxy::to(&self.target).await;
        let process = RunnerProcess::start(&self.scenario, &http.url(), &postgres.url());
        let mut trap = match first {
            Some(first) => postgres.trap_after(first, side, parts),
            None => postgres.trap(side, parts),
        };
        trap.caught().await;
        process.kill();
    }

    async fn started(&self) -> Outcome {
        RunnerProcess::run(&self.scenario, &self.server.url(), &self.target.url).await
    }

    async fn runner(&self) -> Runner {
        self.server.runner(SERVICE).await
    }

    async fn states(&self) -> Vec<String> {
        self.server
            .operator()
            .states(&self.runner().await, "tested")
            .await
    }
}

#[tokio::test]
async fn killed_between_two_steps_the_change_waits_for_a_person_and_then_goes_on() {
    let world = World::of(of_steps("MANUAL_INTERVENTION")).await;
    world
        .killed_at(None, Side::Message, &["INSERT INTO effects", "two"])
        .await;
    assert_eq!(world.states().await, ["STARTED"]);
    assert_eq!(world.effects.of("tested").await, ["one"]);

    let outcome = world.started().await;
    assert!(!outcome.may_start, "{}", outcome.report);
    assert_eq!(outcome.manual_intervention, ["tested"]);
    assert_eq!(world.effects.of("tested").await, ["one"], "nothing was touched");

    // A person removes what is there, and says so.
    world
        .target
        .execute("DELETE FROM effects WHERE change_id = 'tested'")
        .await;
    let (operator, runner) = (world.server.operator(), world.runner().await);
    let issue = operator.issues(&runner).await.remove(0);
    assert_eq!(issue.change_id, "tested");
    operator
        .resolve(&runner, &[("tested", ResolutionKind::RolledBack, issue.seq)])
        .await
        .expect(201);
    let outcome = world.started().await;
    assert!(outcome.may_start, "{}", outcome.report);
    assert_eq!(world.effects.of("tested").await, ["one", "two", "three"]);
    assert_eq!(world.effects.of("before").await, ["all"], "not repeated");
    assert_eq!(world.effects.of("after").await, ["all"]);
    assert!(operator.verification(&runner).await.intact);
}

#[tokio::test]
async fn killed_between_two_steps_a_change_that_may_be_repeated_begins_again_at_the_first() {
    let world = World::of(of_steps("ALWAYS_RETRY")).await;
    world
        .killed_at(None, Side::Message, &["INSERT INTO effects", "three"])
        .await;
    assert_eq!(world.effects.of("tested").await, ["one", "two"]);
    let outcome = world.started().await;
    assert!(outcome.may_start, "{}", outcome.report);
    assert_eq!(
        world.effects.of("tested").await,
        ["one", "two", "one", "two", "three"]
    );
    assert_eq!(world.states().await, ["STARTED", "STARTED", "APPLIED"]);
}

#[tokio::test]
async fn killed_after_the_commit_the_mark_tells_that_the_change_is_applied() {
    let world = World::of(directory(
        "steps:\n  - apply: INSERT INTO effects (change_id, step) VALUES ('tested', 'one')\n  \
         - apply: INSERT INTO effects (change_id, step) VALUES ('tested', 'two')\n",
    ))
    .await;
    world
        .killed_at(Some(&["'tested', 'two'"]), Side::Answer, &["COMMIT"])
        .await;
    assert_eq!(world.effects.of("tested").await, ["one", "two"]);
    assert_eq!(world.effects.marks().await, ["tested"]);
    let outcome = world.started().await;
    assert!(outcome.may_start, "{}", outcome.report);
    assert_eq!(outcome.changes["tested"], "ALREADY_APPLIED");
    assert_eq!(world.effects.of("tested").await, ["one", "two"], "not repeated");
    assert_eq!(world.effects.marks().await, Vec::<String>::new());
}

#[tokio::test]
async fn a_failure_in_the_second_of_three_steps_is_undone_and_tried_again_when_corrected() {
    let directory = of_steps("MANUAL_INTERVENTION");
    let file = directory.join("_0002__tested.yaml");
    let good = std::fs::read_to_string(&file).expect("written above");
    std::fs::write(&file, good.replace("('tested', 'two')", "('tested', NULL)")).expect("written");
    let world = World::of(directory).await;
    let outcome = world.started().await;
    assert!(!outcome.may_start, "{}", outcome.report);
    assert!(outcome.report.contains("step 2 of 3"), "{}", outcome.report);
    assert_eq!(world.states().await, ["STARTED", "FAILED", "ROLLED_BACK"]);
    assert_eq!(world.effects.of("tested").await, Vec::<String>::new());
    assert_eq!(outcome.manual_intervention, Vec::<String>::new());

    std::fs::write(&file, good).expect("written");
    let outcome = world.started().await;
    assert!(outcome.may_start, "{}", outcome.report);
    assert_eq!(world.effects.of("tested").await, ["one", "two", "three"]);
    let entries: Vec<AuditEntryView> = world.server.operator().audit(&world.runner().await).await;
    let last = entries
        .iter()
        .rev()
        .find(|entry| entry.change_id == "tested")
        .expect("it is there");
    let last = serde_json::to_value(last).expect("a view is plain data");
    assert_eq!(last["type"], "STANDARD_TEMPLATE", "{last}");
    assert_eq!(last["metadata"]["sourceFile"], "_0002__tested.yaml", "{last}");
}

/// Three steps outside transactions, and the question whether they took effect.
fn of_steps_with(probe: &str) -> PathBuf {
    let directory = of_steps("MANUAL_INTERVENTION");
    let file = directory.join("_0002__tested.yaml");
    let text = std::fs::read_to_string(&file).expect("written above");
    std::fs::write(&file, format!("{text}probe: |\n  {probe}\n")).expect("written");
    directory
}

/// All steps, none of them, or something between.
const ALL_OR_NONE: &str =
    "SELECT CASE count(*) WHEN 3 THEN true WHEN 0 THEN false END FROM effects WHERE change_id = 'tested'";

#[tokio::test]
async fn killed_after_its_last_step_the_change_is_found_applied_by_its_probe() {
    let world = World::of(of_steps_with(ALL_OR_NONE)).await;
    let http = HttpProxy::to(&[&world.server.address]).await;
    let mut trap = http.trap(Side::Message, &["/change/tested/audit", " APPLIED"]);
    let process = RunnerProcess::start(&world.scenario, &http.url(), &world.target.url);
    trap.caught().await;
    process.kill();
    assert_eq!(world.states().await, ["STARTED"]);

    let outcome = world.started().await;
    assert!(outcome.may_start, "{}", outcome.report);
    assert_eq!(outcome.changes["tested"], "ALREADY_APPLIED", "{}", outcome.report);
    assert_eq!(
        world.effects.of("tested").await,
        ["one", "two", "three"],
        "not repeated"
    );
    assert_eq!(world.effects.of("after").await, ["all"]);
    assert_eq!(world.states().await, ["STARTED", "APPLIED"]);
    let entries = world.server.operator().audit(&world.runner().await).await;
    let found = entries
        .iter()
        .find(|entry| entry.change_id == "tested" && entry.state == "APPLIED");
    assert_eq!(found.map(|entry| entry.source.as_str()), Some("PROBE"));
}

#[tokio::test]
async fn killed_before_its_first_step_the_change_is_applied_in_the_same_start() {
    let world = World::of(of_steps_with(ALL_OR_NONE)).await;
    world
        .killed_at(None, Side::Message, &["INSERT INTO effects", "'tested', 'one'"])
        .await;
    assert_eq!(world.states().await, ["STARTED"]);
    let outcome = world.started().await;
    assert!(outcome.may_start, "{}", outcome.report);
    assert_eq!(outcome.changes["tested"], "APPLIED", "{}", outcome.report);
    assert_eq!(world.effects.of("tested").await, ["one", "two", "three"]);
    assert_eq!(
        world.states().await,
        ["STARTED", "ROLLED_BACK", "STARTED", "APPLIED"]
    );
}

#[tokio::test]
async fn a_probe_that_does_not_know_or_would_write_leaves_it_to_a_person() {
    for (probe, said) in [
        (ALL_OR_NONE, "its probe does not know"),
        ("SELECT true WHERE false", "its probe does not know"),
        ("SELECT count(*) FROM effects", "its probe failed: the probe"),
        (
            "SELECT nextval('effects_seq') > 0",
            "cannot execute nextval() in a read-only transaction",
        ),
    ] {
        let world = World::of(of_steps_with(probe)).await;
        world.target.execute("CREATE SEQUENCE effects_seq").await;
        world
            .killed_at(None, Side::Message, &["INSERT INTO effects", "'tested', 'two'"])
            .await;
        let outcome = world.started().await;
        assert!(!outcome.may_start, "{probe}: {}", outcome.report);
        assert_eq!(outcome.manual_intervention, ["tested"], "{probe}");
        assert!(outcome.report.contains(said), "{probe}: {}", outcome.report);
        assert_eq!(world.effects.of("tested").await, ["one"], "{probe}");
    }
}
