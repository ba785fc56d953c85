//! S 7: everything that is wrong, at once, before anything is opened.

use std::time::Duration;

use flamingock::{
    Change, ChangeFuture, ChangeInfo, Context, Dep, Flamingock, Problem, Requirement, Stage, StageKind,
    Target, change,
};

use crate::support::{FakeDatabase, FakeTx, Log, step};

struct Config;
struct Region;

#[change(id = "in-tx", order = "0001", target = "db", rollback = undo)]
async fn in_tx(tx: &mut FakeTx, _config: Dep<Config>) -> Result<(), std::fmt::Error> {
    tx.write("row");
    Ok(())
}

async fn undo(tx: &mut FakeTx, _region: Dep<Region>, _maybe: Option<Dep<Region>>) -> Result<(), String> {
    tx.write("undone");
    Ok(())
}

struct Wants(&'static str, Requirement);

impl Change for Wants {
    fn info(&self) -> ChangeInfo {
        let info = ChangeInfo::new(
            format!("wants-{}", self.0),
            "0001",
            self.0.split('/').next().unwrap_or_default(),
        );
        if self.0.ends_with("outside") {
            info.transactional(false)
        } else {
            info
        }
    }

    fn requirements(&self) -> Vec<Requirement> {
        vec![self.1]
    }

    fn apply<'a>(&'a self, _: &'a mut Context) -> ChangeFuture<'a> {
        Box::pin(async { Ok(()) })
    }
}

fn problems(builder: flamingock::Builder) -> Vec<String> {
    let builder = builder.token("t").environment("e").service("s");
    builder.build().map_or_else(
        |error| error.problems().iter().map(ToString::to_string).collect(),
        |_| Vec::new(),
    )
}

fn builder() -> flamingock::Builder {
    Flamingock::builder("http://localhost:8080")
        .target(Target::non_transactional("shell", Log::default()))
        .target(Target::transactional("db", FakeDatabase::new()))
}

#[test]
fn everything_wrong_with_the_pipeline_is_said_at_once() {
    let pipeline = builder()
        .target(Target::non_transactional("shell", 1))
        .target(Target::non_transactional(" ", 1))
        .stage(
            Stage::new("one")
                .change(step("a", "0001"))
                .change(step("a", "0002"))
                .change(step("", "0003")),
        )
        .stage(Stage::new("one").change(step("b", "1")).change(step("..", "a_b")))
        .stage(Stage::new("").change(step("c", "0001").on("nowhere")))
        .stage(Stage::new("empty"))
        .stage(Stage::new("old").kind(StageKind::Legacy));
    assert_eq!(
        problems(pipeline),
        [
            "target system `shell` is there more than once",
            "a target system has an empty id",
            "stage `one` is there more than once",
            "change `b`: order `1` needs at least 3 letters or digits, such as `0001`",
            "change `..`: order `a_b` needs at least 3 letters or digits, such as `0001`",
            "a stage has an empty name",
            "stage `empty` has no change",
            "stage `one`: `` cannot be the id of a change",
            "stage `one`: `..` cannot be the id of a change",
            "change id `a` is used more than once, in `one`, `one`",
            "change `c`: there is no target system `nowhere`; given are shell, db, shell,  ",
        ]
    );
}

#[test]
fn what_a_change_takes_is_checked_for_apply_and_rollback() {
    let found = problems(builder().stage(Stage::new("s").change(in_tx)));
    assert_eq!(found.len(), 2);
    assert!(
        found[0].contains("change `in-tx`: apply takes Dep<it::validation::Config>, but no such dependency"),
        "{found:?}"
    );
    assert!(
        found[1].contains("rollback takes Dep<it::validation::Region>"),
        "{found:?}"
    );
    let good = builder()
        .dependency(Config)
        .dependency(Region)
        .stage(Stage::new("s").change(in_tx));
    assert_eq!(problems(good), Vec::<String>::new());
}

#[test]
fn clients_and_transactions_must_fit_the_target() {
    for (place, requirement, complaint) in [
        (
            "shell",
            Requirement::client::<u8>(),
            "the client of target system `shell` is it::support::changes::Log",
        ),
        (
            "shell",
            Requirement::transaction::<FakeTx>(),
            "target system `shell` has no transactions",
        ),
        (
            "db",
            Requirement::client::<Log>(),
            "it runs in a transaction, which work through the client would escape",
        ),
        (
            "db/outside",
            Requirement::transaction::<FakeTx>(),
            "it is declared `transactional = false`",
        ),
    ] {
        let found = problems(builder().stage(Stage::new("s").change(Wants(place, requirement))));
        assert_eq!(found.len(), 1, "{place}");
        assert!(found[0].contains(complaint), "{found:?}");
    }
    for (place, requirement) in [
        ("shell", Requirement::client::<Log>()),
        ("db", Requirement::transaction::<FakeTx>()),
        ("db/outside", Requirement::client::<Log>()),
        ("db", Requirement::nothing()),
    ] {
        assert_eq!(
            problems(builder().stage(Stage::new("s").change(Wants(place, requirement)))),
            Vec::<String>::new()
        );
    }
}

#[test]
fn settings_that_make_no_sense() {
    let found = problems(
        builder()
            .lease(Duration::from_millis(10))
            .wait_for_lock(Duration::from_hours(100))
            .poll_every(Duration::ZERO)
            .connect_timeout(Duration::ZERO)
            .request_timeout(Duration::MAX)
            .retry_for(Duration::MAX)
            .dependency(1u8)
            .dependency(2u8),
    );
    assert_eq!(
        found,
        [
            "there is more than one dependency of type u8; wrap one in a type of its own",
            "lease: 10ms is not between 1 s and 1 h",
            "wait for the lock: 360000s is not at most 24 h",
            "poll interval: 0ns is not between 100 ms and 1 min",
            "connect timeout: 0ns is not between 10 ms and 1 h",
            "request timeout: 18446744073709551615.999999999s is not between 10 ms and 1 h",
            "time to repeat calls: 18446744073709551615.999999999s is not at most 24 h",
        ]
    );
}

#[test]
fn what_is_missing_says_how_to_give_it() {
    let error = Flamingock::builder("").build().unwrap_err();
    assert_eq!(error.problems().len(), 4);
    assert!(error.problems().contains(&Problem::Missing {
        name: "the API token",
        method: "token",
        variable: "FLAMINGOCK_TOKEN"
    }));
    assert!(
        error
            .to_string()
            .contains("the service is missing: call `.service(…)` or set FLAMINGOCK_SERVICE"),
        "{error}"
    );
    let error = Flamingock::builder("localhost:8080")
        .token("t")
        .environment("e")
        .service("s")
        .build()
        .unwrap_err();
    assert!(matches!(error.problems(), [Problem::Server(_)]), "{error}");
}

#[test]
fn an_address_with_a_password_is_refused_and_never_shown() {
    let builder = Flamingock::builder("http://mara:geheim@localhost:8080");
    assert!(!format!("{builder:?}").contains("geheim"), "{builder:?}");
    let error = builder
        .token("t")
        .environment("e")
        .service("s")
        .build()
        .unwrap_err();
    assert!(matches!(error.problems(), [Problem::Server(_)]), "{error}");
    assert!(
        error
            .to_string()
            .contains("must not carry a user name or password"),
        "{error}"
    );
    assert!(!error.to_string().contains("geheim"), "{error}");
}
