//! Several instances at once; instances that die, or freeze, with the lock.

use std::time::Duration;

use flamingock_tests::{HttpProxy, Java, Jvm, Side, TestServer, Trap, eventually_within};
use futures_util::future::join_all;

use crate::{applied, effects, entries, issues, recorded, seed};

const CHANGES: [&str; 3] = ["create-invoices", "add-due-date", "load-tax-rates"];

/// Not longer than a test can wait for its end; longer than a JVM is kept from extending it by its neighbours.
const LEASE_MS: u64 = 3_000;

/// All of them ask for their first plan in the same moment: the proxy holds each until the last has come.
async fn start_at_once(java: &'static Java, instances: usize) {
    let server = TestServer::start().await;
    let proxy = HttpProxy::to(&[&server.address]).await;
    let held: Vec<_> = (0..instances)
        .map(|_| proxy.trap(Side::Message, &["/execution?"]))
        .collect();
    let shop = java.application("shop");
    let started: Vec<_> = (0..instances).map(|_| shop.start(&proxy.url())).collect();
    eventually_within(Duration::from_mins(3), "all ask for a plan", async || {
        let seen = proxy.seen();
        let plans = seen.iter().filter(|line| line.contains("/execution?"));
        (plans.count() == instances).then_some(())
    })
    .await;
    held.into_iter().for_each(Trap::go_on);
    join_all(started.iter().map(Jvm::serves)).await;
    assert_eq!(shop.effects(), effects(&CHANGES));
    assert_eq!(recorded(&server).await, applied(&CHANGES));
    assert_eq!(server.database.number("SELECT count(*) FROM executions").await, 1);
}

async fn of_two_instances_that_start_at_once_exactly_one_applies(java: &'static Java) {
    start_at_once(java, 2).await;
}

async fn of_twenty_instances_that_start_at_once_exactly_one_applies(java: &'static Java) {
    start_at_once(java, 20).await;
}

async fn waiting_instance_takes_over_from_one_that_was_killed(java: &'static Java) {
    let server = TestServer::start().await;
    // Characters that the SDK replaces in the runner id, and that have a meaning in a URL.
    let shop = java
        .application("shop")
        .with("RUNNER", "bill#ing@home/é")
        .lease_ms(LEASE_MS);
    let killed = shop.clone().holding("load-tax-rates").start(&server.url());
    shop.has_effect("holding load-tax-rates").await;
    let proxy = HttpProxy::to(&[&server.address]).await;
    let waiting = shop.start(&proxy.url());
    eventually_within(
        Duration::from_mins(1),
        "it waits, and says for what",
        async || {
            let proof = ["/execution?", "lastAcquisitionId=bill_ing_home__%40", "%23"];
            let seen = proxy.seen();
            let proven = seen
                .iter()
                .any(|line| proof.iter().all(|part| line.contains(part)));
            proven.then_some(())
        },
    )
    .await;
    killed.kill();
    waiting.serves().await;

    assert_eq!(
        shop.effects(),
        [
            "applied create-invoices",
            "applied add-due-date",
            "holding load-tax-rates",
            "applied load-tax-rates",
        ]
    );
    let record = [
        applied(&CHANGES[..2]),
        entries("load-tax-rates", &["STARTED", "STARTED", "APPLIED"]),
    ]
    .concat();
    assert_eq!(recorded(&server).await, record);
}

async fn change_of_a_killed_instance_waits_for_a_person(java: &'static Java) {
    let server = TestServer::start().await;
    let shop = java.application("shop").lease_ms(LEASE_MS);
    let killed = shop.clone().holding("add-due-date").start(&server.url());
    shop.has_effect("holding add-due-date").await;
    killed.kill();
    let said = shop.refuses_to_start(&server.url()).await;
    assert!(said.contains("add-due-date"), "{said}");
    let (others, _) = seed(java);
    let half = ["applied create-invoices", "holding add-due-date"].map(str::to_owned);
    assert_eq!(shop.effects(), [half.to_vec(), effects(others)].concat());
    let record = [
        applied(&CHANGES[..1]),
        entries("add-due-date", &["STARTED"]),
        applied(others),
    ]
    .concat();
    assert_eq!(recorded(&server).await, record);
    assert_eq!(issues(&server).await, ["add-due-date"]);
}

async fn frozen_instance_wakes_up_and_changes_nothing_that_another_has_done(java: &'static Java) {
    let server = TestServer::start().await;
    let shop = java.application("shop").lease_ms(LEASE_MS);
    let frozen = shop.clone().holding("load-tax-rates").start(&server.url());
    shop.has_effect("holding load-tax-rates").await;
    frozen.pause();
    shop.serves(&server.url()).await;
    let record = [
        applied(&CHANGES[..2]),
        entries("load-tax-rates", &["STARTED", "STARTED", "APPLIED"]),
    ]
    .concat();
    assert_eq!(recorded(&server).await, record);
    shop.go_on();
    frozen.resume();
    frozen.ended().await;
    // It was in the middle of a change that is declared repeatable; what it says of it is evidence.
    let mut evidence = record.clone();
    evidence.push("late load-tax-rates APPLIED".to_owned());
    assert_eq!(recorded(&server).await, evidence);
    shop.serves(&server.url()).await;
    assert_eq!(recorded(&server).await, evidence);
}

async fn result_of_a_frozen_instance_counts_as_long_as_nobody_has_written_since(java: &'static Java) {
    let server = TestServer::start().await;
    let shop = java.application("shop").lease_ms(LEASE_MS);
    let frozen = shop.clone().holding("add-due-date").start(&server.url());
    shop.has_effect("holding add-due-date").await;
    frozen.pause();
    let said = shop.refuses_to_start(&server.url()).await;
    assert!(said.contains("add-due-date"), "{said}");
    assert_eq!(issues(&server).await, ["add-due-date"]);
    shop.go_on();
    frozen.resume();
    frozen.ended().await;
    assert_eq!(issues(&server).await, [""; 0]);
    shop.serves(&server.url()).await;
    for change in CHANGES {
        let effect = format!("applied {change}");
        assert_eq!(
            shop.effects().iter().filter(|line| **line == effect).count(),
            1,
            "{change}"
        );
    }
    let record = recorded(&server).await;
    for change in CHANGES {
        let counts = |line: &&String| **line == format!("{change} APPLIED");
        assert_eq!(record.iter().filter(counts).count(), 1, "{record:?}");
    }
}

async fn run_longer_than_its_lease_keeps_the_lock_and_others_wait(java: &'static Java) {
    let server = TestServer::start().await;
    let shop = java.application("shop").lease_ms(LEASE_MS);
    let long = shop.clone().holding("add-due-date").start(&server.url());
    shop.has_effect("holding add-due-date").await;
    let waiting = shop.start(&server.url());
    let lasts = "SELECT (expires_at > clock_timestamp()
        AND acquired_at < clock_timestamp() - interval '5 seconds')::int::bigint FROM locks";
    eventually_within(
        Duration::from_mins(1),
        "it holds the lock for longer than its lease",
        async || (server.database.number(lasts).await == 1).then_some(()),
    )
    .await;
    shop.go_on();
    long.serves().await;
    waiting.serves().await;
    assert_eq!(recorded(&server).await, applied(&CHANGES));
    assert_eq!(
        shop.effects(),
        [
            "applied create-invoices",
            "holding add-due-date",
            "applied add-due-date",
            "applied load-tax-rates",
        ]
    );
    assert_eq!(server.database.number("SELECT count(*) FROM executions").await, 1);
}

with_each_sdk!(
    of_two_instances_that_start_at_once_exactly_one_applies,
    of_twenty_instances_that_start_at_once_exactly_one_applies,
    waiting_instance_takes_over_from_one_that_was_killed,
    change_of_a_killed_instance_waits_for_a_person,
    frozen_instance_wakes_up_and_changes_nothing_that_another_has_done,
    result_of_a_frozen_instance_counts_as_long_as_nobody_has_written_since,
    run_longer_than_its_lease_keeps_the_lock_and_others_wait,
);
