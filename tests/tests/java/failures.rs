//! Changes that fail, what the next start does about it, and what a person decides.

use flamingock_api_types::issue::ResolutionKind;
use flamingock_tests::{Java, JavaApplication, TestServer};

use crate::{applied, effects, entries, issues, recorded, resolve, seed};

/// A start that fails in the change, and says which.
async fn fails(server: &TestServer, shop: JavaApplication, change: &str) {
    let said = shop.failing(change).refuses_to_start(&server.url()).await;
    assert!(said.contains(change), "{said}");
}

/// A start that asks for a person, as long as nobody has decided, and does nothing.
async fn asks_for_a_person(server: &TestServer, shop: &JavaApplication, change: &str) {
    assert_eq!(issues(server).await, [change]);
    let (did, record) = (shop.effects(), recorded(server).await);
    let said = shop.refuses_to_start(&server.url()).await;
    assert!(said.contains(change), "{said}");
    assert_eq!(shop.effects(), did);
    assert_eq!(recorded(server).await, record);
    assert_eq!(issues(server).await, [change]);
}

async fn failed_change_is_rolled_back_and_the_next_start_applies_it(java: &'static Java) {
    let server = TestServer::start().await;
    let shop = java.application("shop");
    let (now, later) = seed(java);
    fails(&server, shop.clone(), "create-invoices").await;
    let failed = entries("create-invoices", &["STARTED", "FAILED", "ROLLED_BACK"]);
    let failed = [failed, applied(now)].concat();
    assert_eq!(recorded(&server).await, failed);
    let undone = ["half create-invoices", "undone create-invoices"].map(str::to_owned);
    let undone = [undone.to_vec(), effects(now)].concat();
    assert_eq!(shop.effects(), undone);
    assert_eq!(issues(&server).await, [""; 0]);

    shop.serves(&server.url()).await;
    let rest = [&["create-invoices", "add-due-date"], later].concat();
    assert_eq!(recorded(&server).await, [failed, applied(&rest)].concat());
    assert_eq!(shop.effects(), [undone, effects(&rest)].concat());
}

async fn failed_rollback_waits_for_a_person_who_finds_it_undone(java: &'static Java) {
    let server = TestServer::start().await;
    let shop = java.application("shop");
    let (now, later) = seed(java);
    let failing = shop.clone().failing_to_roll_back("create-invoices");
    fails(&server, failing, "create-invoices").await;
    let failed = entries("create-invoices", &["STARTED", "FAILED", "ROLLBACK_FAILED"]);
    let failed = [failed, applied(now)].concat();
    assert_eq!(recorded(&server).await, failed);
    let half = [vec!["half create-invoices".to_owned()], effects(now)].concat();
    assert_eq!(shop.effects(), half);
    asks_for_a_person(&server, &shop, "create-invoices").await;

    resolve(&server, "create-invoices", ResolutionKind::RolledBack).await;
    shop.serves(&server.url()).await;
    let decided = entries("create-invoices", &["MANUAL_MARKED_AS_ROLLED_BACK"]);
    let rest = [&["create-invoices", "add-due-date"], later].concat();
    assert_eq!(
        recorded(&server).await,
        [failed, decided, applied(&rest)].concat()
    );
    assert_eq!(shop.effects(), [half, effects(&rest)].concat());
    assert_eq!(issues(&server).await, [""; 0]);
}

/// 1.3.0 ends such a run with a `NullPointerException` of its own; what counts is that it ends, and what is recorded.
async fn failure_without_rollback_waits_for_a_person_who_finds_it_applied(java: &'static Java) {
    let server = TestServer::start().await;
    let shop = java.application("shop");
    let (now, later) = seed(java);
    fails(&server, shop.clone(), "add-due-date").await;
    let failed = [
        applied(&["create-invoices"]),
        entries("add-due-date", &["STARTED", "FAILED"]),
        applied(now),
    ]
    .concat();
    assert_eq!(recorded(&server).await, failed);
    let half = ["applied create-invoices", "half add-due-date"].map(str::to_owned);
    let half = [half.to_vec(), effects(now)].concat();
    assert_eq!(shop.effects(), half);
    asks_for_a_person(&server, &shop, "add-due-date").await;

    resolve(&server, "add-due-date", ResolutionKind::Applied).await;
    shop.serves(&server.url()).await;
    let decided = entries("add-due-date", &["MANUAL_MARKED_AS_APPLIED"]);
    assert_eq!(
        recorded(&server).await,
        [failed, decided, applied(later)].concat()
    );
    assert_eq!(shop.effects(), [half, effects(later)].concat());
}

async fn change_declared_repeatable_is_tried_again_by_every_start_and_never_twice_in_one(
    java: &'static Java,
) {
    let server = TestServer::start().await;
    let shop = java.application("shop");
    let first = ["create-invoices", "add-due-date"];
    let (mut did, mut record) = (effects(&first), applied(&first));
    for _ in 0..2 {
        fails(&server, shop.clone(), "load-tax-rates").await;
        record.extend(entries("load-tax-rates", &["STARTED", "FAILED"]));
        did.push("half load-tax-rates".to_owned());
        assert_eq!(recorded(&server).await, record);
        assert_eq!(shop.effects(), did);
        assert_eq!(issues(&server).await, [""; 0]);
    }
    shop.serves(&server.url()).await;
    let rest = ["load-tax-rates"];
    assert_eq!(recorded(&server).await, [record, applied(&rest)].concat());
    assert_eq!(shop.effects(), [did, effects(&rest)].concat());
}

with_each_sdk!(
    failed_change_is_rolled_back_and_the_next_start_applies_it,
    failed_rollback_waits_for_a_person_who_finds_it_undone,
    failure_without_rollback_waits_for_a_person_who_finds_it_applied,
    change_declared_repeatable_is_tried_again_by_every_start_and_never_twice_in_one,
);
