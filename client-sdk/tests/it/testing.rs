//! The testing kit, tried on changes whose worth is known.

use std::sync::{Arc, Mutex};

use flamingock::{
    Builder, Cancellation, ChangeError, ChangeStatus, Checkpoint, Dep, Flamingock, Probed, RunEvent, Stage,
    StageKind, StartErrorKind, Target, TargetClient, change,
    testing::{self, AfterCrash, Coordinator, Origin, Step, Trial, each_crash_point, each_crash_point_with},
    wire::{ErrorCode, audit::AuditState, issue::ResolutionKind, policy::PolicyMode},
};

use crate::support::{FakeDatabase, FakeTx, step};

use AuditState::{Applied, Failed, ManualMarkedAsApplied, RolledBack, Started};

/// A queue that never forgets, and knows what it has.
#[derive(Clone, Default)]
struct Queue(Arc<Mutex<Vec<String>>>);

impl Queue {
    async fn put(&self, text: &str) {
        tokio::task::yield_now().await;
        self.0.lock().unwrap().push(text.to_owned());
        tokio::task::yield_now().await;
    }

    fn texts(&self) -> Vec<String> {
        self.0.lock().unwrap().clone()
    }
}

#[change(id = "put", order = "0001", target = "queue", recovery = "always_retry")]
async fn put(queue: TargetClient<Queue>) -> Result<(), std::fmt::Error> {
    if !queue.texts().contains(&"put".to_owned()) {
        queue.put("put").await;
    }
    Ok(())
}

#[change(id = "put-again", order = "0002", target = "queue", recovery = "always_retry")]
async fn put_again(queue: TargetClient<Queue>) -> Result<(), std::fmt::Error> {
    queue.put("again").await;
    Ok(())
}

#[change(id = "put-carefully", order = "0003", target = "queue")]
async fn put_carefully(queue: TargetClient<Queue>) -> Result<(), std::fmt::Error> {
    queue.put("carefully").await;
    Ok(())
}

#[change(id = "put-and-fail", order = "0004", target = "queue", rollback = remove)]
async fn put_and_fail(queue: TargetClient<Queue>) -> Result<(), std::io::Error> {
    queue.put("failed").await;
    Err(std::io::Error::other("the queue is full"))
}

async fn remove(queue: TargetClient<Queue>) -> Result<(), std::fmt::Error> {
    tokio::task::yield_now().await;
    queue.0.lock().unwrap().retain(|text| text != "failed");
    Ok(())
}

#[change(id = "rows", order = "0001", target = "db")]
async fn rows(tx: &mut FakeTx) -> Result<(), std::fmt::Error> {
    tokio::task::yield_now().await;
    tx.write("one");
    tokio::task::yield_now().await;
    tx.write("two");
    Ok(())
}

fn on_queue(queue: &Queue, builder: Builder) -> Builder {
    builder.target(Target::non_transactional("queue", queue.clone()))
}

fn with(queue: &Queue, coordinator: &Coordinator, stage: Stage) -> Builder {
    on_queue(queue, coordinator.builder()).stage(stage)
}

fn with_rows(database: &FakeDatabase, builder: Builder) -> Builder {
    builder
        .target(Target::transactional("db", database.clone()))
        .stage(Stage::new("data").change(rows))
}

#[tokio::test]
async fn what_is_safe_to_repeat_survives_every_crash() {
    let crashes = each_crash_point(
        async || Queue::default(),
        |queue, builder| on_queue(queue, builder).stage(Stage::new("one").change(put)),
        async |queue| queue.texts(),
    )
    .await
    .unwrap();
    crashes.assert_recovered();
    assert_eq!(crashes.expected, ["put"]);
    let steps: Vec<_> = crashes.points.iter().map(|crash| crash.point.step).collect();
    assert_eq!(
        steps,
        [
            Step::Starting,
            Step::StartRecorded,
            Step::Started,
            Step::Applying(1),
            Step::Applying(2),
            Step::Applied,
            Step::SuccessRecorded,
            Step::Ended,
        ]
    );
}

#[tokio::test]
async fn what_is_done_twice_is_found_and_named() {
    let crashes = each_crash_point(
        async || Queue::default(),
        |queue, builder| on_queue(queue, builder).stage(Stage::new("one").change(put_again)),
        async |queue| queue.texts(),
    )
    .await
    .unwrap();
    let twice: Vec<_> = crashes
        .points
        .iter()
        .filter(|crash| crash.outcome == AfterCrash::Differs(vec!["again".to_owned(), "again".to_owned()]))
        .map(|crash| crash.point.step)
        .collect();
    assert_eq!(twice, [Step::Applying(2), Step::Applied], "{crashes}");
    let complaint = std::panic::catch_unwind(|| crashes.assert_recovered_or_asked()).unwrap_err();
    let complaint = complaint.downcast::<String>().unwrap();
    assert!(
        complaint.starts_with("2 of 8 crashes end in something else"),
        "{complaint}"
    );
    assert!(
        complaint.contains(r#"`put-again` at Applied: ["again", "again"]"#),
        "{complaint}"
    );
}

#[tokio::test]
async fn a_person_is_asked_where_nobody_can_know_and_nowhere_else() {
    let crashes = each_crash_point(
        async || Queue::default(),
        |queue, builder| on_queue(queue, builder).stage(Stage::new("one").change(put_carefully)),
        async |queue| queue.texts(),
    )
    .await
    .unwrap();
    crashes.assert_recovered_or_asked();
    let steps: Vec<_> = crashes.asking().iter().map(|point| point.step).collect();
    assert_eq!(
        steps,
        [
            Step::StartRecorded,
            Step::Started,
            Step::Applying(1),
            Step::Applying(2),
            Step::Applied
        ]
    );
    assert!(std::panic::catch_unwind(|| crashes.assert_recovered()).is_err());
}

#[tokio::test]
async fn a_transaction_with_a_mark_leaves_all_or_nothing_and_the_mark_says_which() {
    for trust in [false, true] {
        let crashes = each_crash_point_with(
            |coordinator| coordinator.trust_absent_marks(trust),
            async || FakeDatabase::new(),
            with_rows,
            async |database| (database.rows(), database.marks()),
        )
        .await
        .unwrap();
        assert_eq!(crashes.expected.0, ["one", "two"]);
        assert!(crashes.expected.1.is_empty(), "the mark is cleared");
        if trust {
            crashes.assert_recovered();
        } else {
            crashes.assert_recovered_or_asked();
            let steps: Vec<_> = crashes.asking().iter().map(|point| point.step).collect();
            // From the commit on, the mark speaks.
            assert!(
                !steps.contains(&Step::Committed) && steps.contains(&Step::Applied),
                "{crashes}"
            );
        }
    }
}

#[tokio::test]
async fn a_crash_after_the_commit_is_settled_by_the_mark() {
    let (coordinator, database) = (Coordinator::start().await.unwrap(), FakeDatabase::new());
    coordinator.crash_at("rows", Step::Committed);
    let app = || with_rows(&database, coordinator.builder());
    let point = coordinator.run(app()).await.unwrap().crashed();
    assert_eq!(point.to_string(), "`rows` at Committed");
    assert_eq!((database.rows().len(), database.marks().len()), (2, 1));
    assert_eq!(coordinator.state_of("rows"), Some(Started));

    let report = coordinator.run(app()).await.unwrap().completed();
    assert_eq!(
        report.change("rows").unwrap().status,
        ChangeStatus::AlreadyApplied
    );
    coordinator.assert_results([("rows", Applied)]);
    assert_eq!(coordinator.audit().last().unwrap().origin, Origin::Mark);
    assert_eq!((database.rows().len(), database.marks().len()), (2, 0));
}

#[tokio::test]
async fn failures_are_undone_and_a_crash_meanwhile_asks_a_person() {
    let (coordinator, queue) = (Coordinator::start().await.unwrap(), Queue::default());
    let stage = || Stage::new("one").change(put_and_fail);
    let error = coordinator
        .run(with(&queue, &coordinator, stage()))
        .await
        .unwrap()
        .refused();
    assert!(matches!(error.kind(), StartErrorKind::ChangesFailed));
    coordinator.assert_results([("put-and-fail", Failed), ("put-and-fail", RolledBack)]);
    assert_eq!(coordinator.rolled_back(), ["put-and-fail"]);
    assert!(queue.texts().is_empty());

    coordinator.crash_at("put-and-fail", Step::RollingBack(1));
    let died = coordinator
        .run(with(&queue, &coordinator, stage()))
        .await
        .unwrap()
        .crashed();
    assert_eq!(died.step, Step::RollingBack(1));
    assert_eq!(queue.texts(), ["failed"]);
    assert_eq!(coordinator.waiting_for_person(), ["put-and-fail"]);
    let error = coordinator
        .run(with(&queue, &coordinator, stage()))
        .await
        .unwrap()
        .refused();
    assert!(error.is_manual_intervention());

    coordinator
        .resolve("put-and-fail", ResolutionKind::Applied)
        .unwrap();
    coordinator
        .run(with(&queue, &coordinator, stage()))
        .await
        .unwrap()
        .completed();
    coordinator.assert_applied(["put-and-fail"]);
    assert_eq!(coordinator.state_of("put-and-fail"), Some(ManualMarkedAsApplied));
    assert!(coordinator.resolve("absent", ResolutionKind::Applied).is_err());
}

#[tokio::test]
async fn a_history_can_be_given() {
    let (coordinator, queue) = (Coordinator::start().await.unwrap(), Queue::default());
    coordinator.given("put", Applied);
    coordinator.given("put-carefully", Started);
    let stages = Stage::new("one").change(put).change(put_again);
    let app = with(&queue, &coordinator, stages).stage(Stage::new("two").change(put_carefully));
    let error = coordinator.run(app).await.unwrap().refused();
    assert_eq!(error.report().manual_intervention(), ["put-carefully"]);
    assert_eq!(queue.texts(), ["again"]);
    coordinator.assert_results([("put-again", Applied)]);
    let complaint = std::panic::catch_unwind(|| coordinator.assert_results([("put", Applied)])).unwrap_err();
    let complaint = complaint.downcast::<String>().unwrap();
    assert!(
        complaint.contains("found:    [(\"put-again\", Applied)]"),
        "{complaint}"
    );
    let settled = coordinator.resolve("put", ResolutionKind::Applied).unwrap_err();
    assert!(
        settled.to_string().contains("`put` needs no decision"),
        "{settled}"
    );
}

#[tokio::test]
async fn a_lock_lost_before_the_work_leaves_nothing_and_one_lost_after_it_leaves_the_truth() {
    let (coordinator, queue) = (Coordinator::start().await.unwrap(), Queue::default());
    let app = || with(&queue, &coordinator, Stage::new("one").change(put_carefully));
    coordinator.lose_lock_at("put-carefully", Step::Started);
    let error = coordinator.run(app()).await.unwrap().refused();
    let failed = error.report().change("put-carefully").unwrap().error.clone();
    assert_eq!(failed.unwrap().error_type, "LOCK_LOST");
    assert!(queue.texts().is_empty());
    coordinator.assert_results([("put-carefully", Failed), ("put-carefully", RolledBack)]);

    coordinator.lose_lock_at("put-carefully", Step::Applied);
    coordinator.run(app()).await.unwrap();
    assert_eq!(coordinator.state_of("put-carefully"), Some(Applied));
    assert_eq!(queue.texts(), ["carefully"]);

    let database = FakeDatabase::new();
    coordinator.lose_lock_at("rows", Step::Applied);
    let app = with_rows(&database, coordinator.builder());
    coordinator.run(app).await.unwrap().refused();
    assert!(database.rows().is_empty(), "not committed without the lock");
    assert_eq!(coordinator.rolled_back(), ["rows"]);
}

#[tokio::test]
async fn a_lost_answer_is_asked_for_again_and_changes_nothing() {
    let (coordinator, queue) = (Coordinator::start().await.unwrap(), Queue::default());
    for step in [Step::StartRecorded, Step::SuccessRecorded] {
        coordinator.lose_answer_at("put-again", step);
    }
    let app = with(&queue, &coordinator, Stage::new("one").change(put_again));
    coordinator.run(app).await.unwrap().completed();
    assert_eq!(queue.texts(), ["again"]);
    let states: Vec<_> = coordinator.audit().iter().map(|entry| entry.state).collect();
    assert_eq!(states, [Started, Applied]);
    assert_eq!(coordinator.left_over(), []);
    coordinator.crash_at("nowhere", Step::Started);
    assert_eq!(coordinator.left_over()[0].change_id, "nowhere");
}

#[change(id = "waits", order = "0001", target = "queue")]
async fn waits(stop: Cancellation) -> Result<(), ChangeError> {
    Err(stop.cancelled().await.to_string().into())
}

#[tokio::test]
async fn a_run_can_be_asked_to_stop() {
    let (coordinator, queue) = (Coordinator::start().await.unwrap(), Queue::default());
    coordinator.ask_to_stop(true);
    let app = with(
        &queue,
        &coordinator,
        Stage::new("one").change(waits).change(put_again),
    );
    let error = coordinator.run(app).await.unwrap().refused();
    assert!(error.to_string().contains("asked the run to stop"), "{error}");
    assert!(queue.texts().is_empty());
}

#[change(
    id = "copy",
    order = "0001",
    target = "queue",
    transactional = false,
    recovery = "always_retry"
)]
async fn copy(queue: TargetClient<Queue>, checkpoint: Checkpoint) -> Result<(), ChangeError> {
    let mut done = checkpoint.load::<u32>()?.unwrap_or(0);
    while done < 3 {
        queue.put(&done.to_string()).await;
        done += 1;
        checkpoint.save(&done).await?;
    }
    Ok(())
}

#[tokio::test]
async fn a_checkpoint_is_gone_on_from() {
    let (coordinator, queue) = (Coordinator::start().await.unwrap(), Queue::default());
    let app = || with(&queue, &coordinator, Stage::new("one").change(copy));
    coordinator.crash_at("copy", Step::Applied);
    coordinator.run(app()).await.unwrap().crashed();
    coordinator.run(app()).await.unwrap().completed();
    assert_eq!(queue.texts(), ["0", "1", "2"], "nothing is copied twice");

    let (queue, trial) = (Queue::default(), Trial::of(copy));
    let trial = trial.client(queue.clone());
    trial.apply().await.unwrap();
    trial.apply().await.unwrap();
    assert_eq!(queue.texts(), ["0", "1", "2"]);
}

#[change(id = "asked", order = "0001", target = "queue", probe = is_there)]
async fn asked(queue: TargetClient<Queue>) -> Result<(), std::fmt::Error> {
    queue.put("asked").await;
    Ok(())
}

async fn is_there(queue: TargetClient<Queue>) -> Probed {
    if queue.texts().contains(&"asked".to_owned()) {
        Probed::Applied
    } else {
        Probed::NotApplied
    }
}

#[tokio::test]
async fn a_change_that_can_be_asked_needs_no_person() {
    let crashes = each_crash_point(
        async || Queue::default(),
        |queue, builder| on_queue(queue, builder).stage(Stage::new("one").change(asked)),
        async |queue| queue.texts(),
    )
    .await
    .unwrap();
    crashes.assert_recovered();

    let (coordinator, queue) = (Coordinator::start().await.unwrap(), Queue::default());
    let app = || with(&queue, &coordinator, Stage::new("one").change(asked));
    coordinator.crash_at("asked", Step::Applied);
    coordinator.run(app()).await.unwrap().crashed();
    coordinator.run(app()).await.unwrap().completed();
    assert_eq!(coordinator.audit().last().unwrap().origin, Origin::Probe);
    coordinator.assert_results([("asked", Applied)]);
    let found = Trial::of(asked).client(queue).probe().await.unwrap();
    assert_eq!(found, Probed::Applied);
}

struct Name(&'static str);

#[change(id = "named", order = "0001", target = "db", rollback = unname)]
async fn named(name: Dep<Name>, tx: &mut FakeTx) -> Result<(), std::fmt::Error> {
    tx.write(name.0);
    Ok(())
}

async fn unname(name: Dep<Name>) -> Result<(), String> {
    Err(format!("{} stays", name.0))
}

#[tokio::test]
async fn one_change_can_be_called_with_what_it_takes() {
    let database = FakeDatabase::new();
    let begun = flamingock::TransactionalTarget::begin(&database).await.unwrap();
    let trial = Trial::of(named).dependency(Name("orders"));
    let (result, tx) = trial.apply_in(begun).await;
    result.unwrap();
    flamingock::TransactionalTarget::commit(&database, tx)
        .await
        .unwrap();
    assert_eq!(database.rows(), ["orders"]);
    assert_eq!(trial.rollback().await.unwrap_err().to_string(), "orders stays");
    let error = Trial::of(named).apply().await.unwrap_err();
    assert!(error.to_string().contains("no dependency of type"), "{error}");
}

#[test]
fn a_pipeline_is_checked_in_one_line() {
    let pipeline = |builder: Builder| {
        on_queue(&Queue::default(), builder)
            .target(Target::transactional("db", FakeDatabase::new()))
            .stage(
                Stage::new("one")
                    .change(put)
                    .change(put_carefully)
                    .change(put_and_fail)
                    .change(step("after", "0009").on("queue").depends_on(&["put"])),
            )
            .stage(Stage::new("two").change(rows))
    };
    let checked = testing::check(pipeline(Flamingock::from_env())).unwrap();
    assert_eq!(
        checked.ids(),
        ["put", "put-carefully", "put-and-fail", "after", "rows"]
    );
    assert_eq!(checked.without_net(), ["put-carefully", "after"]);
    let change = checked.change("rows").unwrap();
    assert!(change.in_transaction && change.checksum.as_ref().unwrap().starts_with("rust-tokens-v1:"));
    assert_eq!(checked.change("after").unwrap().depends_on, ["put"]);
    assert!(checked.change("absent").is_none());
    let broken = pipeline(Flamingock::from_env()).stage(Stage::new("two"));
    let error = testing::check(broken).unwrap_err();
    assert_eq!(error.problems().len(), 2, "{error}");
}

#[tokio::test]
async fn an_application_that_is_led_there_keeps_its_own_settings() {
    let (coordinator, queue) = (Coordinator::start().await.unwrap(), Queue::default());
    let own = || {
        on_queue(&queue, Flamingock::builder("http://nowhere.invalid"))
            .validate_only(true)
            .stage(Stage::new("one").change(put))
    };
    let error = coordinator.run(own()).await.unwrap().refused();
    assert!(error.is_pending_changes());
    assert!(coordinator.audit().is_empty());
    let app = coordinator.connect(own()).build().unwrap();
    let preview = app.preview().await.unwrap().expect("it is switched on");
    assert_eq!(preview.stages[0].changes[0].code, "NEVER_RUN");
    coordinator.given("put", Applied);
    coordinator.run(own()).await.unwrap().completed();
}

fn one(queue: &Queue, coordinator: &Coordinator) -> Builder {
    on_queue(queue, coordinator.builder()).stage(Stage::new("one").change(put).change(put_again))
}

#[tokio::test]
async fn a_freeze_stops_what_has_work_and_says_why() {
    let (coordinator, queue) = (Coordinator::start().await.unwrap(), Queue::default());
    coordinator.freeze("The sale is on.");
    let error = coordinator
        .run(one(&queue, &coordinator))
        .await
        .unwrap()
        .refused();
    assert!(
        matches!(error.kind(), StartErrorKind::StoppedByPolicy { code: ErrorCode::Frozen, reason, .. }
            if reason.contains("The sale is on.")),
        "{error}"
    );
    assert!(queue.texts().is_empty() && coordinator.audit().is_empty());
    coordinator.end_freezes();
    coordinator
        .run(one(&queue, &coordinator))
        .await
        .unwrap()
        .completed();
    coordinator.freeze("Once more.");
    coordinator
        .run(one(&queue, &coordinator))
        .await
        .unwrap()
        .completed();
}

#[tokio::test]
async fn a_run_under_way_is_not_left_half_done_by_a_freeze() {
    let (coordinator, queue) = (Coordinator::start().await.unwrap(), Queue::default());
    let later = Stage::new("two").change(put_again).kind(StageKind::Default);
    let app = coordinator
        .builder()
        .target(Target::non_transactional("queue", queue.clone()))
        .stage(Stage::new("one").kind(StageKind::System).change(put))
        .stage(later);
    let coordinator = Arc::new(coordinator);
    let freezing = coordinator.clone();
    let app = app.on_event(move |event| {
        if let RunEvent::ChangeApplied { .. } = event {
            freezing.freeze("The sale is on.");
        }
    });
    coordinator.run(app).await.unwrap().completed();
    coordinator.assert_applied(["put", "put-again"]);
}

#[tokio::test]
async fn what_a_mark_proves_is_not_written_where_a_policy_stops_the_start() {
    let (coordinator, database, queue) = (
        Coordinator::start().await.unwrap(),
        FakeDatabase::new(),
        Queue::default(),
    );
    let app = || {
        with_rows(&database, on_queue(&queue, coordinator.builder())).stage(Stage::new("more").change(put))
    };
    coordinator.crash_at("rows", Step::Committed);
    coordinator.run(app()).await.unwrap().crashed();
    coordinator.freeze("The sale is on.");
    coordinator.run(app()).await.unwrap().refused();
    assert_eq!(coordinator.state_of("rows"), Some(Started));
    coordinator.end_freezes();
    coordinator.run(app()).await.unwrap().completed();
    coordinator.assert_results([("rows", Applied), ("put", Applied)]);
    assert_eq!(coordinator.audit()[1].origin, Origin::Mark);
}

#[tokio::test]
async fn changes_wait_until_somebody_else_than_their_author_has_approved_them() {
    let (coordinator, queue) = (Coordinator::start().await.unwrap(), Queue::default());
    coordinator.approval_required(true);
    let stopped = async || {
        let error = coordinator
            .run(one(&queue, &coordinator))
            .await
            .unwrap()
            .refused();
        match error.kind() {
            StartErrorKind::StoppedByPolicy {
                code: ErrorCode::ApprovalMissing,
                change_ids,
                ..
            } => change_ids.clone(),
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(stopped().await, ["put", "put-again"]);
    coordinator.approve("put", "lin");
    assert_eq!(stopped().await, ["put-again"]);
    coordinator.approve("put-again", "lin");
    coordinator
        .run(one(&queue, &coordinator))
        .await
        .unwrap()
        .completed();
}

/// The change `put`, edited after it was applied.
#[change(id = "put", order = "0001", target = "queue", recovery = "always_retry")]
async fn edited(queue: TargetClient<Queue>) -> Result<(), std::fmt::Error> {
    queue.put("something else").await;
    Ok(())
}

#[tokio::test]
async fn an_edited_change_is_found_by_its_checksum() {
    let (coordinator, queue) = (Coordinator::start().await.unwrap(), Queue::default());
    let app = |stage: Stage| on_queue(&queue, coordinator.builder()).stage(stage);
    let first = app(Stage::new("one").change(put));
    coordinator.run(first).await.unwrap().completed();
    for (mode, stops) in [
        (PolicyMode::Allow, false),
        (PolicyMode::Warn, false),
        (PolicyMode::Refuse, true),
    ] {
        coordinator.checksum_mismatch(mode);
        let ended = coordinator
            .run(app(Stage::new("one").change(edited)))
            .await
            .unwrap();
        if stops {
            let error = ended.refused();
            assert!(
                matches!(error.kind(), StartErrorKind::StoppedByPolicy { code: ErrorCode::ChecksumMismatch, change_ids, .. }
                    if *change_ids == ["put"]),
                "{error}"
            );
        } else {
            ended.completed();
        }
    }
    assert_eq!(queue.texts(), ["put"]);
}

#[cfg(feature = "certificate")]
mod certificates {
    use std::time::Duration;

    use flamingock::{CertificateFuture, CertificateStore, RunStatus, StartCertificate};

    use super::*;

    #[derive(Clone, Default)]
    struct InMemory(Arc<Mutex<Option<String>>>);

    impl CertificateStore for InMemory {
        fn load(&self) -> CertificateFuture<'_, Option<String>> {
            Box::pin(async { Ok(self.0.lock().unwrap().clone()) })
        }

        fn save<'a>(&'a self, text: &'a str) -> CertificateFuture<'a, ()> {
            Box::pin(async move {
                *self.0.lock().unwrap() = Some(text.to_owned());
                Ok(())
            })
        }
    }

    #[tokio::test]
    async fn the_application_starts_without_the_server_by_its_certificate_and_by_no_other() {
        let (coordinator, queue) = (Coordinator::start().await.unwrap(), Queue::default());
        let kept = InMemory::default();
        let app = |certificate: StartCertificate| {
            one(&queue, &coordinator)
                .retry_for(Duration::from_millis(200))
                .start_certificate(certificate)
        };
        let pinned = || StartCertificate::in_store(kept.clone()).pinned_key(coordinator.certificate_key());
        let reason = async |app: Builder| {
            let error = coordinator.run(app).await.unwrap().refused();
            match error.kind() {
                StartErrorKind::NotCertified { reason, .. } => reason.clone(),
                other => panic!("{other:?}"),
            }
        };
        coordinator.unreachable(true);
        assert!(reason(app(pinned())).await.contains("no certificate was kept"));
        coordinator.unreachable(false);
        coordinator.run(app(pinned())).await.unwrap().completed();

        coordinator.unreachable(true);
        let report = coordinator.run(app(pinned())).await.unwrap().completed();
        assert_eq!(report.status, RunStatus::Certified);
        let other = Coordinator::start().await.unwrap().certificate_key();
        let foreign = StartCertificate::in_store(kept.clone()).pinned_key(other);
        assert!(reason(app(foreign)).await.contains("not pinned"));
        let more = app(pinned()).stage(Stage::new("two").change(put_carefully));
        assert!(reason(more).await.contains("another pipeline"));

        coordinator.unreachable(false);
        coordinator.certificate_validity(Duration::from_secs(2));
        // Known by its digest by now.
        coordinator.run(app(pinned())).await.unwrap().completed();
        coordinator.unreachable(true);
        let ends = async {
            while let testing::Ended::Completed(report) = coordinator.run(app(pinned())).await.unwrap() {
                assert_eq!(report.status, RunStatus::Certified);
            }
        };
        tokio::time::timeout(Duration::from_secs(30), ends)
            .await
            .expect("it ends");
        assert!(reason(app(pinned())).await.contains("ended at"));
    }

    #[tokio::test]
    async fn none_is_handed_out_while_something_is_left_to_do() {
        let (coordinator, queue) = (Coordinator::start().await.unwrap(), Queue::default());
        let kept = InMemory::default();
        let app = on_queue(&queue, coordinator.builder())
            .stage(Stage::new("one").change(put_and_fail))
            .start_certificate(StartCertificate::in_store(kept.clone()));
        coordinator.run(app).await.unwrap().refused();
        assert!(kept.0.lock().unwrap().as_deref().is_none_or(str::is_empty));
    }
}
