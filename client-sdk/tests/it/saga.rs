//! Changes of several steps on several target systems.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use flamingock::{
    Builder, Cancellation, ChangeError, ChangeKey, Checkpoint, Dep, Flamingock, Probed, Report, Saga, Stage,
    StartError, Step, Target, TargetClient,
};

use crate::support::{FakeServer, Kind, Reply, eventually};

/// A target system: what is there, and what was done to it.
#[derive(Clone, Default)]
struct System(Arc<Mutex<Contents>>);

#[derive(Default)]
struct Contents {
    there: Vec<String>,
    calls: Vec<String>,
    /// Calls that fail, as they are written down.
    failing: Vec<&'static str>,
    panicking: Vec<&'static str>,
    /// How many calls and effects may still come before the process dies.
    left: Option<usize>,
    is_dead: bool,
    looks: Vec<String>,
    sees: Sees,
}

/// What probes find.
#[derive(Clone, Copy, Debug, Default)]
enum Sees {
    /// What is there.
    #[default]
    What,
    Nobody,
    Error,
    Panic,
}

impl System {
    fn with<T>(&self, look: impl FnOnce(&mut Contents) -> T) -> T {
        look(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn calls(&self) -> Vec<String> {
        self.with(|contents| contents.calls.clone())
    }

    fn there(&self) -> Vec<String> {
        self.with(|contents| contents.there.clone())
    }

    /// A moment in which the process may die.
    async fn moment(&self) {
        let dies = self.with(|contents| match &mut contents.left {
            Some(0) => {
                contents.is_dead = true;
                true
            }
            Some(left) => {
                *left -= 1;
                false
            }
            None => false,
        });
        if dies {
            std::future::pending::<()>().await;
        }
    }

    async fn call(&self, call: String, effect: impl FnOnce(&mut Contents)) -> Result<(), ChangeError> {
        self.moment().await;
        let (fails, panics) = self.with(|contents| {
            let is = |listed: &[&str]| listed.contains(&call.as_str());
            let (fails, panics) = (is(&contents.failing), is(&contents.panicking));
            contents.calls.push(call.clone());
            (fails, panics)
        });
        assert!(!panics, "out of cheese");
        if fails {
            return Err(format!("{call} is refused").into());
        }
        self.with(effect);
        self.moment().await;
        Ok(())
    }

    async fn create(&self, thing: &str) -> Result<(), ChangeError> {
        self.call(format!("create {thing}"), |contents| {
            contents.there.push(thing.to_owned());
        })
        .await
    }

    fn look(&self, thing: &str) -> Result<Probed, ChangeError> {
        self.with(|contents| {
            contents.looks.push(thing.to_owned());
            match contents.sees {
                Sees::What => Ok(if contents.there.iter().any(|there| there == thing) {
                    Probed::Applied
                } else {
                    Probed::NotApplied
                }),
                Sees::Nobody => Ok(Probed::Unknown),
                Sees::Error => Err("cannot look".into()),
                Sees::Panic => panic!("out of cheese"),
            }
        })
    }

    async fn delete(&self, thing: &str) -> Result<(), ChangeError> {
        self.call(format!("delete {thing}"), |contents| {
            contents.there.retain(|there| there != thing);
        })
        .await
    }
}

#[derive(Clone)]
struct Flags(System);

async fn create_table(db: TargetClient<System>) -> Result<(), ChangeError> {
    db.create("table").await
}

async fn drop_table(db: TargetClient<System>) -> Result<(), ChangeError> {
    db.delete("table").await
}

async fn create_flag(flags: TargetClient<Flags>) -> Result<(), ChangeError> {
    flags.0.create("flag").await
}

async fn delete_flag(flags: TargetClient<Flags>) -> Result<(), ChangeError> {
    flags.0.delete("flag").await
}

async fn fill(db: TargetClient<System>) -> Result<(), ChangeError> {
    db.create("rows").await
}

async fn empty(db: TargetClient<System>) -> Result<(), ChangeError> {
    db.delete("rows").await
}

async fn table_is_there(db: TargetClient<System>) -> Result<Probed, ChangeError> {
    db.look("table")
}

async fn flag_is_there(flags: TargetClient<Flags>) -> Result<Probed, ChangeError> {
    flags.0.look("flag")
}

async fn rows_are_there(db: TargetClient<System>) -> Probed {
    db.look("rows").unwrap_or(Probed::Unknown)
}

fn table() -> Step {
    Step::new("table", "db", create_table, drop_table)
}

fn flag() -> Step {
    Step::new("flag", "flags", create_flag, delete_flag)
}

fn rows() -> Step {
    Step::new("rows", "db", fill, empty)
}

fn saga(steps: impl IntoIterator<Item = Step>) -> Saga {
    let saga = Saga::new("open-shop", "0001", "db").author("mara");
    steps.into_iter().fold(saga, Saga::step)
}

fn with_systems(builder: Builder, system: &System) -> Builder {
    builder
        .target(Target::non_transactional("db", system.clone()))
        .target(Target::non_transactional("flags", Flags(system.clone())))
}

fn app(server: &FakeServer, system: &System, saga: Saga) -> Flamingock {
    with_systems(server.app(), system)
        .stage(Stage::new("s").change(saga))
        .build()
        .unwrap()
}

async fn run(
    server: &FakeServer,
    system: &System,
    steps: impl IntoIterator<Item = Step>,
) -> Result<Report, StartError> {
    app(server, system, saga(steps)).run().await
}

fn message(error: &StartError) -> String {
    let change = error.report().change("open-shop").unwrap();
    change.error.as_ref().unwrap().message.clone()
}

/// What the audit was told last: state, recovery, the error's text.
fn last_entry(server: &FakeServer) -> (String, String, String) {
    let calls = server.calls();
    let last = calls
        .iter()
        .rev()
        .find(|call| matches!(call.kind, Kind::Audit(_)))
        .expect("something was reported");
    let text = |field: &str| last.body[field].as_str().unwrap_or_default().to_owned();
    (text("state"), text("recoveryStrategy"), text("errorTrace"))
}

/// What was saved as cursors, in order.
fn saved(server: &FakeServer) -> Vec<String> {
    server
        .calls_of(&Kind::Extend)
        .iter()
        .filter_map(|call| call.body["progress"]["cursor"].as_str().map(str::to_owned))
        .collect()
}

#[tokio::test]
async fn each_step_works_on_its_own_target_and_is_kept_before_it_begins() {
    let (server, system) = (FakeServer::start().await, System::default());
    let report = run(&server, &system, [table(), flag(), rows()]).await.unwrap();
    assert_eq!(report.applied_changes, 1);
    assert_eq!(system.calls(), ["create table", "create flag", "create rows"]);
    assert_eq!(
        saved(&server),
        [
            r#"{"done":[],"underWay":"table"}"#,
            r#"{"done":["table"],"underWay":"flag"}"#,
            r#"{"done":["table","flag"],"underWay":"rows"}"#,
            r#"{"done":["table","flag","rows"]}"#,
        ]
    );
    let void = |call: &crate::support::Call| call.body["progress"]["voidWhenFailed"] == true;
    assert!(
        !server.calls_of(&Kind::Extend).iter().any(void),
        "what is finished stays so when the saga has failed, until it is compensated"
    );
    let submitted = &server.calls_of(&Kind::Plan)[0].body["clientSubmission"]["blocks"][0]["stages"][0];
    assert_eq!(
        submitted["changes"][0]["cursorOutlivesFailure"], true,
        "between a failure and the first compensation the steps are still there"
    );
    let started = &server.calls_of(&Kind::Audit("STARTED".to_owned()))[0].body;
    assert_eq!(started["recoveryStrategy"], "ALWAYS_RETRY");
    assert_eq!(started["txStrategy"], "NON_TX");
}

#[tokio::test]
async fn exactly_the_finished_steps_are_compensated_the_last_first() {
    let (server, system) = (FakeServer::start().await, System::default());
    system.with(|contents| contents.failing.push("create rows"));
    let error = run(&server, &system, [table(), flag(), rows()])
        .await
        .unwrap_err();
    assert_eq!(
        system.calls(),
        [
            "create table",
            "create flag",
            "create rows",
            "delete flag",
            "delete table"
        ]
    );
    assert_eq!(system.there(), Vec::<String>::new());
    assert_eq!(
        server.audit(),
        ["open-shop STARTED", "open-shop FAILED", "open-shop ROLLED_BACK"]
    );
    assert_eq!(
        message(&error),
        "step `rows` failed; finished: table, flag: create rows is refused"
    );
    assert_eq!(saved(&server).last().unwrap(), r#"{"done":[]}"#);
}

#[tokio::test]
async fn what_could_not_be_compensated_is_left_to_a_person_who_is_told_what_remains() {
    let (server, system) = (FakeServer::start().await, System::default());
    system.with(|contents| contents.failing.extend(["create rows", "delete flag"]));
    run(&server, &system, [table(), flag(), rows()])
        .await
        .unwrap_err();
    assert_eq!(system.there(), ["table", "flag"], "not even tried to go on");
    let (state, recovery, trace) = last_entry(&server);
    assert_eq!(
        (state.as_str(), recovery.as_str()),
        ("ROLLBACK_FAILED", "MANUAL_INTERVENTION")
    );
    assert!(
        trace.contains("the compensation of step `flag` failed, so it may be there in part; finished: table; in doubt: flag"),
        "{trace}"
    );
    assert_eq!(
        server.cursor("open-shop").unwrap(),
        r#"{"done":["table"],"underWay":"flag","undoing":true}"#
    );
}

#[tokio::test]
async fn a_successor_goes_on_behind_the_finished_steps() {
    let (server, system) = (FakeServer::start().await, System::default());
    server.set_cursor("open-shop", r#"{"done":["table","flag"]}"#);
    run(&server, &system, [table(), flag(), rows()]).await.unwrap();
    assert_eq!(system.calls(), ["create rows"]);
}

#[tokio::test]
async fn a_successor_compensates_what_its_predecessor_finished() {
    let (server, system) = (FakeServer::start().await, System::default());
    server.set_cursor("open-shop", r#"{"done":["table","flag"]}"#);
    system.with(|contents| contents.failing.push("create rows"));
    run(&server, &system, [table(), flag(), rows()])
        .await
        .unwrap_err();
    assert_eq!(system.calls(), ["create rows", "delete flag", "delete table"]);
}

#[tokio::test]
async fn a_step_in_doubt_is_touched_by_nobody_and_a_person_is_asked_which() {
    for doubt in [
        r#"{"done":["table"],"underWay":"flag"}"#,
        r#"{"done":["table"],"underWay":"flag","undoing":true}"#,
    ] {
        let (server, system) = (FakeServer::start().await, System::default());
        server.set_cursor("open-shop", doubt);
        let error = run(&server, &system, [table(), flag(), rows()])
            .await
            .unwrap_err();
        assert_eq!(system.calls(), Vec::<String>::new());
        assert!(message(&error).contains("nobody knows whether step `flag` took effect"));
        let (state, recovery, trace) = last_entry(&server);
        assert_eq!(
            (state.as_str(), recovery.as_str()),
            ("ROLLBACK_FAILED", "MANUAL_INTERVENTION")
        );
        assert!(trace.contains("finished: table; in doubt: flag"), "{trace}");
        assert_eq!(server.cursor("open-shop").unwrap(), doubt, "people see it");
    }
}

#[tokio::test]
async fn an_idempotent_step_in_doubt_is_repeated_in_either_direction() {
    for doubt in [
        r#"{"done":["table"],"underWay":"flag"}"#,
        r#"{"done":["table"],"underWay":"flag","undoing":true}"#,
    ] {
        let (server, system) = (FakeServer::start().await, System::default());
        server.set_cursor("open-shop", doubt);
        run(&server, &system, [table(), flag().idempotent(), rows()])
            .await
            .unwrap();
        assert_eq!(system.calls(), ["create flag", "create rows"], "{doubt}");
    }
    let (server, system) = (FakeServer::start().await, System::default());
    system.with(|contents| contents.panicking.push("create flag"));
    run(&server, &system, [table(), flag().idempotent()])
        .await
        .unwrap_err();
    assert_eq!(
        system.calls(),
        ["create table", "create flag", "delete flag", "delete table"],
        "how far it came before the panic is not known"
    );
}

#[tokio::test]
async fn a_probe_settles_the_doubt() {
    for (there, undoing, expected) in [
        (true, "", ["create rows"].as_slice()),
        (false, "", &["create flag", "create rows"]),
        (true, r#","undoing":true"#, &["create rows"]),
        (false, r#","undoing":true"#, &["create flag", "create rows"]),
    ] {
        let (server, system) = (FakeServer::start().await, System::default());
        server.set_cursor(
            "open-shop",
            &format!(r#"{{"done":["table"],"underWay":"flag"{undoing}}}"#),
        );
        system.with(|contents| contents.there.extend(there.then(|| "flag".to_owned())));
        run(&server, &system, [table(), flag().probe(flag_is_there), rows()])
            .await
            .unwrap();
        assert_eq!(system.calls(), expected, "{there} {undoing}");
        assert_eq!(
            system.with(|contents| contents.looks.clone()),
            ["flag"],
            "asked once"
        );
    }
}

#[tokio::test]
async fn a_probe_that_does_not_know_leaves_the_doubt_unless_the_step_is_idempotent() {
    for sees in [Sees::Nobody, Sees::Error, Sees::Panic] {
        for idempotent in [false, true] {
            let (server, system) = (FakeServer::start().await, System::default());
            server.set_cursor("open-shop", r#"{"done":["table"],"underWay":"flag"}"#);
            system.with(|contents| contents.sees = sees);
            let step = flag().probe(flag_is_there);
            let step = if idempotent { step.idempotent() } else { step };
            let ended = run(&server, &system, [table(), step]).await;
            if idempotent {
                ended.unwrap();
                assert_eq!(system.calls(), ["create flag"], "{sees:?}");
            } else {
                assert!(message(&ended.unwrap_err()).contains("nobody knows"), "{sees:?}");
                assert_eq!(system.calls(), Vec::<String>::new(), "{sees:?}");
            }
        }
    }
}

#[tokio::test]
async fn a_step_that_returns_an_error_and_took_effect_all_the_same_is_compensated() {
    async fn takes_effect_and_fails(flags: TargetClient<Flags>) -> Result<(), ChangeError> {
        flags.0.create("flag").await?;
        Err("the answer was lost".into())
    }
    let step = || Step::new("flag", "flags", takes_effect_and_fails, delete_flag);
    for (step, left, why) in [
        (step(), &["flag"][..], "it is believed to have left nothing"),
        (step().probe(flag_is_there), &[], "it was found"),
        (
            step().idempotent(),
            &[],
            "it may have left a part, and bears to be undone",
        ),
    ] {
        let (server, system) = (FakeServer::start().await, System::default());
        run(&server, &system, [table(), step]).await.unwrap_err();
        assert_eq!(system.there(), left, "{why}");
        assert_eq!(last_entry(&server).0, "ROLLED_BACK", "{why}");
    }
}

#[tokio::test]
async fn a_step_that_panics_is_in_doubt() {
    let (server, system) = (FakeServer::start().await, System::default());
    system.with(|contents| contents.panicking.push("create flag"));
    let error = run(&server, &system, [table(), flag()]).await.unwrap_err();
    assert_eq!(system.there(), ["table"], "neither compensated");
    assert!(message(&error).contains("out of cheese"), "{}", message(&error));
    assert_eq!(last_entry(&server).1, "MANUAL_INTERVENTION");
}

#[tokio::test]
async fn a_saga_that_is_cut_off_within_a_step_undoes_nothing_and_the_next_start_settles_the_step() {
    async fn takes_effect_and_hangs(flags: TargetClient<Flags>) -> Result<(), ChangeError> {
        flags.0.create("flag").await?;
        std::future::pending().await
    }
    let (server, system) = (FakeServer::start().await, System::default());
    let hangs = Step::new("flag", "flags", takes_effect_and_hangs, delete_flag);
    let stuck = with_systems(server.app(), &system)
        .stop_grace(Duration::from_millis(50))
        .stage(Stage::new("s").change(saga([table(), hangs, rows()])))
        .build()
        .unwrap();
    let there = system.clone();
    let cut_off = eventually("it hangs", || there.there() == ["table", "flag"]);
    assert!(stuck.run_until(cut_off).await.unwrap_err().is_interrupted());
    // Its probe would look before the call has come to its end.
    assert_eq!(server.audit(), ["open-shop STARTED", "open-shop FAILED"]);
    assert_eq!(system.calls(), ["create table", "create flag"]);
    assert_eq!(
        server.cursor("open-shop").unwrap(),
        r#"{"done":["table"],"underWay":"flag"}"#
    );
    run(&server, &system, [table(), flag().probe(flag_is_there), rows()])
        .await
        .unwrap();
    assert_eq!(system.there(), ["table", "flag", "rows"]);
}

#[tokio::test]
async fn a_saga_whose_run_was_dropped_is_not_gone_on_with_by_the_same_process() {
    async fn is_on_its_way(flags: TargetClient<Flags>) -> Result<(), ChangeError> {
        flags
            .0
            .with(|contents| contents.calls.push("create flag".to_owned()));
        std::future::pending().await
    }
    let (server, system) = (FakeServer::start().await, System::default());
    let slow = Step::new("flag", "flags", is_on_its_way, delete_flag).probe(flag_is_there);
    let app = app(&server, &system, saga([table(), slow, rows()]));
    let asked = system.clone();
    tokio::select! {
        _ = app.run() => unreachable!("it is never answered"),
        () = eventually("it is asked for", || asked.calls().len() == 2) => {}
    }
    let again = tokio::time::timeout(Duration::from_secs(5), app.run()).await;
    let error = again.expect("nothing is asked for again").unwrap_err();
    let failed = error.report().change("open-shop").unwrap().error.clone().unwrap();
    assert_eq!(failed.error_type, "OWN_ATTEMPT");
    assert!(
        failed.message.contains("the next one goes on"),
        "{}",
        failed.message
    );
    let looks = system.with(|contents| contents.looks.clone());
    assert_eq!(looks, Vec::<String>::new(), "a look would be too early");
    assert_eq!(system.calls(), ["create table", "create flag"]);
    assert_eq!(
        server.audit(),
        ["open-shop STARTED"],
        "people and the next process see a crash"
    );
    run(&server, &system, [table(), flag().probe(flag_is_there), rows()])
        .await
        .unwrap();
    assert_eq!(system.there(), ["table", "flag", "rows"]);
}

#[tokio::test]
async fn a_log_of_another_version_of_the_saga_is_not_guessed_at() {
    for cursor in [
        r#"{"done":["tabel"]}"#,
        r#"{"done":[],"underWay":"tabel"}"#,
        "[1]",
    ] {
        let (server, system) = (FakeServer::start().await, System::default());
        server.set_cursor("open-shop", cursor);
        let error = run(&server, &system, [table()]).await.unwrap_err();
        assert_eq!(system.calls(), Vec::<String>::new());
        let text = message(&error);
        assert!(
            text.contains("step `tabel`, which this version of the saga does not have")
                || text.contains("is no"),
            "{text}"
        );
    }
}

#[tokio::test]
async fn no_step_is_begun_that_is_not_kept() {
    let (server, system) = (FakeServer::start().await, System::default());
    // As a server answers that knows no cursors.
    let lock = serde_json::json!({
        "key": "340", "owner": "x", "acquisitionId": "x-1", "acquiredForMillis": 3000, "fence": 7
    });
    server.always(
        Kind::Extend,
        Reply::Json(200, serde_json::json!({"status": "EXTENDED", "lock": lock})),
    );
    let app =
        with_systems(server.app().runner_id("x"), &system).stage(Stage::new("s").change(saga([table()])));
    let error = app.build().unwrap().run().await.unwrap_err();
    assert_eq!(system.calls(), Vec::<String>::new());
    assert!(
        message(&error).contains("keeps no cursors"),
        "{}",
        message(&error)
    );
    assert_eq!(last_entry(&server).0, "ROLLED_BACK", "nothing has happened");
}

#[tokio::test]
async fn asked_to_stop_it_ends_between_two_steps_and_leaves_nothing() {
    async fn until_told(stop: Cancellation, db: TargetClient<System>) -> Result<(), ChangeError> {
        stop.cancelled().await;
        db.create("table").await
    }
    let (server, system) = (FakeServer::start().await, System::default());
    let app = app(
        &server,
        &system,
        saga([Step::new("table", "db", until_told, drop_table), flag()]),
    );
    let saved_once = server.clone();
    let shutdown = async move {
        eventually("the first step begins", || !saved(&saved_once).is_empty()).await;
    };
    let error = app.run_until(shutdown).await.unwrap_err();
    assert!(error.is_interrupted());
    assert_eq!(system.calls(), ["create table", "delete table"]);
    assert_eq!(last_entry(&server).0, "ROLLED_BACK");
    assert!(
        message(&error).contains("asked to stop; finished: table"),
        "{}",
        message(&error)
    );
}

#[tokio::test]
async fn keys_are_the_steps_own() {
    async fn note(key: ChangeKey, keys: Dep<Mutex<Vec<String>>>) -> Result<(), ChangeError> {
        keys.lock().expect("nothing panics here").push(key.step("create"));
        Ok(())
    }
    async fn nothing() -> Result<(), ChangeError> {
        Ok(())
    }
    async fn compare(keys: Dep<Mutex<Vec<String>>>) -> Result<(), ChangeError> {
        let keys = keys.lock().expect("nothing panics here");
        assert_eq!(keys.len(), 2);
        assert_ne!(keys[0], keys[1]);
        Ok(())
    }
    let (server, system) = (FakeServer::start().await, System::default());
    let steps = [
        Step::new("one", "db", note, nothing),
        Step::new("two", "db", note, nothing),
        Step::new("three", "db", compare, nothing),
    ];
    let app = with_systems(server.app(), &system)
        .dependency(Mutex::new(Vec::<String>::new()))
        .stage(Stage::new("s").change(saga(steps)));
    app.build().unwrap().run().await.unwrap();
}

#[test]
fn what_is_wrong_with_a_saga_is_found_before_it_runs() {
    async fn keeps_a_cursor(_: Checkpoint) -> Result<(), ChangeError> {
        Ok(())
    }
    async fn nothing() -> Result<(), ChangeError> {
        Ok(())
    }
    let builder = Flamingock::builder("http://127.0.0.1:1")
        .token("t")
        .environment("e")
        .service("s");
    let stage = Stage::new("s").change(Saga::new("empty", "0001", "db")).change(
        Saga::new("odd", "0002", "db")
            .step(Step::new("a", "db", create_flag, drop_table))
            .step(Step::new("a", "nowhere", nothing, nothing))
            .step(Step::new(" ", "db", keeps_a_cursor, nothing)),
    );
    let error = with_systems(builder, &System::default())
        .stage(stage)
        .build()
        .unwrap_err();
    let problems: Vec<_> = error.problems().iter().map(ToString::to_string).collect();
    let expected = [
        "change `empty`: a saga needs at least one step",
        "change `odd`: step `a` is there more than once",
        "change `odd`: its step 3 has no name",
        "change `odd`: apply takes TargetClient<it::saga::Flags>, but the client of target system `db` is it::saga::System",
        "change `odd`: apply takes target system `nowhere`, but there is no target system `nowhere`; given are db, flags",
        "change `odd`: apply takes Checkpoint, but a saga has one of its own, which says what steps are finished",
        "change `odd`: rollback takes target system `nowhere`, but there is no target system `nowhere`; given are db, flags",
    ];
    assert_eq!(problems, expected);
}

/// The process dies at every moment in turn: before a call, between its effect and its return, in both directions. With
/// probes each step takes effect exactly once; idempotent steps are repeated where nobody could know.
#[tokio::test]
async fn a_process_that_dies_at_any_moment_leaves_nothing_done_twice_or_forgotten() {
    for (fails, probed) in [(false, false), (false, true), (true, false), (true, true)] {
        for moment in 0.. {
            let (server, system) = (FakeServer::start().await, System::default());
            system.with(|contents| {
                contents.left = Some(moment);
                if fails {
                    contents.failing.push("create rows");
                }
            });
            let steps = || {
                if probed {
                    [
                        table().probe(table_is_there),
                        flag().probe(flag_is_there),
                        rows().probe(rows_are_there),
                    ]
                } else {
                    [table().idempotent(), flag().idempotent(), rows().idempotent()]
                }
            };
            let first = app(&server, &system, saga(steps()));
            let dying = system.clone();
            let survived = tokio::select! {
                _ = first.run() => true,
                () = eventually("it dies", || dying.with(|contents| contents.is_dead)) => false,
            };
            drop(first);
            system.with(|contents| contents.left = None);
            if survived {
                assert!(moment > 3, "each call has two moments");
                break;
            }
            let ended = run(&server, &system, steps()).await;
            let mut there = system.there();
            if !probed {
                there.dedup();
            }
            let what = format!("at {moment}, fails: {fails}, probed: {probed}");
            assert_eq!(ended.is_ok(), !fails, "{what}");
            if fails {
                assert_eq!(there, Vec::<String>::new(), "{what}: all is undone");
            } else {
                assert_eq!(
                    there,
                    ["table", "flag", "rows"],
                    "{what}: each step once, in order"
                );
            }
        }
    }
}
