//! What `#[change]` makes of a function.

use flamingock::{Cancellation, Change, ChangeInfo, Dep, Probed, Stage, Target, TargetClient, change};

use crate::support::{FakeDatabase, FakeServer, FakeTx, Kind, Log};

struct Greeting(&'static str);

/// Documented, like any function.
#[change(
    id = "all of it",
    order = "20261125_01",
    author = "mara",
    target = "shell",
    transactional = false,
    recovery = "always_retry",
    rollback = undo::forget
)]
async fn all_of_it(
    log: TargetClient<Log>,
    greeting: Dep<Greeting>,
    absent: Option<Dep<u64>>,
    stop: Cancellation,
) -> Result<(), std::io::Error> {
    log.note(format!(
        "{} {} {}",
        greeting.0,
        absent.is_none(),
        stop.is_cancelled()
    ));
    Err(std::io::Error::other("on purpose"))
}

mod undo {
    use super::{Dep, Greeting, Log, TargetClient};

    pub(super) async fn forget(log: TargetClient<Log>, greeting: Dep<Greeting>) -> Result<(), String> {
        log.note(format!("forget {}", greeting.0));
        Ok(())
    }
}

#[change(id = "in-transaction", order = "0001", target = "db")]
async fn in_transaction(greeting: Dep<Greeting>, tx: &mut FakeTx) -> Result<(), flamingock::ChangeError> {
    tx.write(greeting.0);
    Ok(())
}

/// Answers by itself, and by way of a `Result`.
#[change(id = "asked", order = "0001", target = "shell", probe = is_there)]
async fn asked(_log: TargetClient<Log>) -> Result<(), String> {
    Ok(())
}

async fn is_there(log: TargetClient<Log>, greeting: Dep<Greeting>) -> Result<Probed, std::io::Error> {
    log.note(greeting.0);
    Ok(Probed::Applied)
}

#[change(id = "asked-plainly", order = "0002", target = "shell", probe = never_there)]
async fn asked_plainly() -> Result<(), String> {
    Ok(())
}

async fn never_there() -> Probed {
    Probed::NotApplied
}

#[test]
fn a_probe_is_announced_with_what_it_takes() {
    assert_eq!(
        format!("{:?}", asked.info()),
        format!(
            "{:?}",
            ChangeInfo::new("asked", "0001", "shell")
                .with_probe()
                .source("it::macros::asked")
        )
    );
    assert_eq!(asked.probe_requirements().len(), 2);
    assert!(asked_plainly.probe_requirements().is_empty());
    assert!(in_transaction.probe_requirements().is_empty());
}

#[test]
fn the_arguments_become_what_the_change_says_of_itself() {
    let info = all_of_it.info();
    let expected = ChangeInfo::new("all of it", "20261125_01", "shell")
        .author("mara")
        .transactional(false)
        .recovery(flamingock::Recovery::AlwaysRetry)
        .with_rollback()
        .source("it::macros::all_of_it");
    assert_eq!(format!("{info:?}"), format!("{expected:?}"));
    assert_eq!(all_of_it.requirements().len(), 4);
    assert_eq!(all_of_it.rollback_requirements().len(), 2);
    assert!(in_transaction.info().is_transactional());
    assert!(in_transaction.rollback_requirements().is_empty());
}

#[tokio::test]
async fn it_runs_with_what_it_takes() {
    let (server, log, database) = (FakeServer::start().await, Log::default(), FakeDatabase::new());
    let error = server
        .app()
        .target(Target::non_transactional("shell", log.clone()))
        .target(Target::transactional("db", database.clone()))
        .dependency(Greeting("hello"))
        .stage(Stage::new("one").change(all_of_it))
        .stage(Stage::new("two").change(in_transaction))
        .build()
        .unwrap()
        .run()
        .await
        .unwrap_err();
    assert_eq!(log.lines(), ["hello true false", "forget hello"]);
    assert_eq!(database.rows(), ["hello"]);
    let entry = &server.calls_of(&Kind::Audit("ROLLED_BACK".into()))[0].body;
    assert_eq!(entry["className"], "it::macros::all_of_it");
    assert_eq!(
        error
            .report()
            .change("all of it")
            .unwrap()
            .error
            .as_ref()
            .unwrap()
            .error_type,
        "std::io::error::Error"
    );
}

#[tokio::test]
async fn the_function_can_be_called_by_a_test() {
    let log = Log::default();
    let result = all_of_it::run(
        TargetClient::new(log.clone()),
        Dep::new(Greeting("hi")),
        None,
        Cancellation::never(),
    )
    .await;
    assert_eq!(result.unwrap_err().to_string(), "on purpose");
    assert_eq!(log.lines(), ["hi true false"]);
}
