//! ADR 021: what a change depends on is checked before anything runs, and again before the change is begun.

use flamingock::{Builder, ChangeStatus, Problem, Stage, StageKind, StageState, Target, change};
use serde_json::json;

use crate::support::{FakeServer, Kind, Log, Reply, step};

fn app(server: &FakeServer, log: &Log) -> Builder {
    server
        .app()
        .target(Target::non_transactional("shell", log.clone()))
}

fn problems(builder: Builder) -> Vec<String> {
    let error = builder.build().expect_err("refused");
    assert!(
        error
            .problems()
            .iter()
            .all(|problem| matches!(problem, Problem::Dependency { .. }))
    );
    error.problems().iter().map(ToString::to_string).collect()
}

#[change(id = "in-macro", order = "0002", target = "shell", depends_on = ["a", "b"])]
async fn in_macro() -> Result<(), std::fmt::Error> {
    Ok(())
}

#[tokio::test]
async fn it_is_submitted_with_the_change() {
    let (server, log) = (FakeServer::start().await, Log::default());
    let app = app(&server, &log)
        .stage(Stage::new("one").change(step("a", "0001")))
        .stage(
            Stage::new("two")
                .change(step("b", "0001").depends_on(&["a"]))
                .change(in_macro),
        );
    app.build().unwrap().run().await.unwrap();
    let submitted = &server.calls_of(&Kind::Plan)[0].body["clientSubmission"]["blocks"][0]["stages"];
    assert_eq!(submitted[0]["changes"][0].get("dependsOn"), None);
    assert_eq!(submitted[1]["changes"][0]["dependsOn"], json!(["a"]));
    assert_eq!(submitted[1]["changes"][1]["dependsOn"], json!(["a", "b"]));
    assert_eq!(log.lines(), ["apply a", "apply b"]);
}

#[tokio::test]
async fn what_cannot_come_first_is_refused() {
    let (server, log) = (FakeServer::start().await, Log::default());
    let app = || app(&server, &log).profiles(["eu"]);
    let one = |step| Stage::new("one").change(step);
    assert_eq!(
        problems(app().stage(one(step("a", "0001").depends_on(&["b", "a"])))),
        [
            "change `a`: depends on `b`, which is not in the pipeline",
            "change `a`: depends on `a`, which is itself"
        ]
    );
    let circle = one(step("a", "0001").depends_on(&["b"])).change(step("b", "0002").depends_on(&["a"]));
    assert_eq!(
        problems(app().stage(circle)),
        [
            "change `a`: depends on `b`, which comes later, in stage `one`: give one of them another order, or another stage"
        ]
    );
    // By the order in which they run, which is not that of the declaration.
    let system = Stage::new("system").kind(StageKind::System);
    let ok = app()
        .stage(one(step("b", "0002").depends_on(&["a", "s"])).change(step("a", "0001")))
        .stage(system.change(step("s", "0001")));
    ok.build().unwrap();
    let system = Stage::new("system").kind(StageKind::System);
    let stages = app()
        .stage(one(step("a", "0001")))
        .stage(system.change(step("s", "0001").depends_on(&["a"])));
    assert_eq!(
        problems(stages),
        [
            "change `s`: depends on `a`, which comes later, in stage `one`: give one of them another order, or another stage"
        ]
    );
}

#[tokio::test]
async fn a_profile_cannot_take_away_what_is_depended_on() {
    let (server, log) = (FakeServer::start().await, Log::default());
    let app = |dependent: &'static [&'static str]| {
        app(&server, &log).profiles(["eu"]).stage(
            Stage::new("one")
                .change(step("a", "0001").profiles(&["us"]))
                .change(step("b", "0002").depends_on(&["a"]).profiles(dependent))
                .change(step("c", "0003")),
        )
    };
    assert_eq!(
        problems(app(&["eu"])),
        ["change `b`: depends on `a`, which the active profiles leave out"]
    );
    // Left out with it.
    app(&["us"]).build().unwrap();
}

#[tokio::test]
async fn what_depends_on_a_failure_is_not_begun_and_the_report_says_why() {
    let (server, log) = (FakeServer::start().await, Log::default());
    let app = app(&server, &log)
        .stage(Stage::new("one").change(step("a", "0001").fails("no")))
        .stage(
            Stage::new("two")
                .change(step("before", "0001"))
                .change(step("b", "0002").depends_on(&["before", "a"]))
                .change(step("after", "0003")),
        )
        .stage(Stage::new("three").change(step("c", "0001")))
        .build()
        .unwrap();
    let error = app.run().await.unwrap_err();
    assert_eq!(log.lines(), ["apply a", "apply before", "apply c"]);
    assert_eq!(
        server.audit(),
        [
            "a STARTED",
            "a FAILED",
            "before STARTED",
            "before APPLIED",
            "c STARTED",
            "c APPLIED"
        ]
    );
    let report = error.report();
    assert_eq!(report.stages[1].state, StageState::Failed);
    let why = report.stages[1].error.as_ref().unwrap();
    assert_eq!(why.error_type, "DEPENDENCY_NOT_APPLIED");
    assert_eq!(why.change_ids, ["b", "a"]);
    assert!(
        why.message.contains("`b` depends on `a`, which is not applied"),
        "{}",
        why.message
    );
    assert_eq!(report.change("before").unwrap().status, ChangeStatus::Applied);
    for id in ["b", "after"] {
        assert_eq!(report.change(id).unwrap().status, ChangeStatus::NotReached);
    }
}

#[tokio::test]
async fn what_was_applied_before_counts_and_what_waits_for_a_person_does_not() {
    let (server, log) = (FakeServer::start().await, Log::default());
    server.set_applied(&["a"]);
    let app = |server: &FakeServer| {
        app(server, &log)
            .stage(
                Stage::new("one")
                    .change(step("a", "0001"))
                    .change(step("m", "0002")),
            )
            .stage(Stage::new("two").change(step("b", "0001").depends_on(&["a"])))
            .stage(Stage::new("three").change(step("c", "0001").depends_on(&["m"])))
            .build()
            .unwrap()
    };
    let plan = json!({
        "action": "EXECUTE", "executionId": 5,
        "lock": {"key": "340", "owner": "me", "acquisitionId": "x", "acquiredForMillis": 3000},
        "stages": [
            {"name": "one", "order": 0, "changes": [{"id": "a", "action": "SKIP"}, {"id": "m", "action": "MANUAL_INTERVENTION"}]},
            {"name": "two", "order": 1, "changes": [{"id": "b", "action": "APPLY"}]},
            {"name": "three", "order": 2, "changes": [{"id": "c", "action": "APPLY"}]},
        ],
        "pipelineResult": {"stages": [{"name": "one", "verdict": "NEEDS_WORK", "changes": [
            {"id": "a", "status": "ALREADY_APPLIED"}, {"id": "m", "status": "NOT_REACHED"}]}]},
    });
    server.next(Kind::Plan, [Reply::Json(201, plan)]);
    let error = app(&server).run().await.unwrap_err();
    assert_eq!(log.lines(), ["apply b"]);
    let report = error.report();
    assert_eq!(report.stages[0].state, StageState::BlockedManualIntervention);
    let why = report.stages[2].error.as_ref().unwrap();
    assert!(
        why.message.contains("`c` depends on `m`, which is not applied"),
        "{}",
        why.message
    );
    assert!(error.is_manual_intervention());
}
