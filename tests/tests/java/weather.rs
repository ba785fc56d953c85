//! A network and gateways that misbehave between the SDK and the server: lost and repeated requests, lost answers, pages
//! of gateways. The SDK repeats no report, runs a change whose `STARTED` was not taken, and undoes one whose `APPLIED` was
//! not; so the record must take what comes, and the next start must be right.

use flamingock_tests::Mischief::{Garble, Refuse, Repeat};
use flamingock_tests::{Database, HttpProxy, Java, JavaApplication, PostgresProxy, Side, TestServer};

use crate::{applied, effects, entries, issues, recorded, seed};

const CHANGES: [&str; 3] = ["create-invoices", "add-due-date", "load-tax-rates"];

/// The path of a report and its state.
fn report<'a>(change: &'a str, state: &'a str) -> [&'a str; 3] {
    ["/change/", change, state]
}

async fn stormy() -> (TestServer, HttpProxy) {
    let server = TestServer::start().await;
    let proxy = HttpProxy::to(&[&server.address]).await;
    (server, proxy)
}

/// The next start, in fair weather, applies these.
async fn next_start_applies(server: &TestServer, shop: &JavaApplication, changes: &[&str]) {
    let (did, record) = (shop.effects(), recorded(server).await);
    shop.serves(&server.url()).await;
    assert_eq!(shop.effects(), [did, effects(changes)].concat());
    assert_eq!(recorded(server).await, [record, applied(changes)].concat());
    assert_eq!(issues(server).await, [""; 0]);
}

async fn change_whose_result_is_refused_is_undone_and_applied_by_the_next_start(java: &'static Java) {
    let (server, proxy) = stormy().await;
    let shop = java.application("shop");
    proxy.mischief(1, Refuse(503), &report("create-invoices", " APPLIED"));
    shop.refuses_to_start(&proxy.url()).await;
    assert!(proxy.has_done_its_mischief());
    let (now, later) = seed(java);
    let undone = ["applied create-invoices", "undone create-invoices"].map(str::to_owned);
    assert_eq!(shop.effects(), [undone.to_vec(), effects(now)].concat());
    let record = entries("create-invoices", &["STARTED", "ROLLED_BACK"]);
    assert_eq!(recorded(&server).await, [record, applied(now)].concat());
    let rest = [&CHANGES[..2], later].concat();
    next_start_applies(&server, &shop, &rest).await;
}

async fn change_whose_result_is_recorded_and_not_acknowledged_is_undone_and_applied_again(
    java: &'static Java,
) {
    let (server, proxy) = stormy().await;
    let shop = java.application("shop");
    let mut trap = proxy.trap(Side::Answer, &report("create-invoices", " APPLIED"));
    let jvm = shop.start(&proxy.url());
    trap.caught().await;
    drop(trap);
    jvm.refuses_to_start().await;
    let (now, later) = seed(java);
    let undone = ["applied create-invoices", "undone create-invoices"].map(str::to_owned);
    assert_eq!(shop.effects(), [undone.to_vec(), effects(now)].concat());
    let record = entries("create-invoices", &["STARTED", "APPLIED", "ROLLED_BACK"]);
    assert_eq!(recorded(&server).await, [record, applied(now)].concat());
    let rest = [&CHANGES[..2], later].concat();
    next_start_applies(&server, &shop, &rest).await;
}

async fn change_without_rollback_whose_result_is_recorded_and_not_acknowledged_is_not_run_again(
    java: &'static Java,
) {
    let (server, proxy) = stormy().await;
    let shop = java.application("shop");
    proxy.mischief(1, Garble(502), &report("add-due-date", " APPLIED"));
    shop.refuses_to_start(&proxy.url()).await;
    assert!(proxy.has_done_its_mischief());
    let (now, later) = seed(java);
    let done = [&CHANGES[..2], now].concat();
    assert_eq!(shop.effects(), effects(&done));
    assert_eq!(recorded(&server).await, applied(&done));
    next_start_applies(&server, &shop, later).await;
}

async fn change_without_rollback_whose_result_was_lost_waits_for_a_person(java: &'static Java) {
    let (server, proxy) = stormy().await;
    let shop = java.application("shop");
    let mut trap = proxy.trap(Side::Message, &report("add-due-date", " APPLIED"));
    let jvm = shop.start(&proxy.url());
    trap.caught().await;
    drop(trap);
    jvm.refuses_to_start().await;
    assert_eq!(issues(&server).await, ["add-due-date"]);
    let record = recorded(&server).await;
    let said = shop.refuses_to_start(&server.url()).await;
    assert!(said.contains("add-due-date"), "{said}");
    assert_eq!(recorded(&server).await, record);
    assert_eq!(record[2..3], entries("add-due-date", &["STARTED"]));
    let done = [&CHANGES[..2], seed(java).0].concat();
    assert_eq!(shop.effects(), effects(&done));
}

async fn change_whose_start_is_not_taken_runs_and_its_result_counts(java: &'static Java) {
    let (server, proxy) = stormy().await;
    let shop = java.application("shop");
    proxy.mischief(1, Refuse(503), &report("create-invoices", " STARTED"));
    let mut trap = proxy.trap(Side::Message, &report("add-due-date", " STARTED"));
    let jvm = shop.start(&proxy.url());
    trap.caught().await;
    drop(trap);
    jvm.serves().await;
    assert!(proxy.has_done_its_mischief());
    assert_eq!(shop.effects(), effects(&CHANGES));
    let record = [
        entries("create-invoices", &["APPLIED"]),
        entries("add-due-date", &["APPLIED"]),
        applied(&CHANGES[2..]),
    ]
    .concat();
    assert_eq!(recorded(&server).await, record);
    next_start_applies(&server, &shop, &[]).await;
}

async fn requests_that_arrive_twice_count_once(java: &'static Java) {
    let (server, proxy) = stormy().await;
    let shop = java.application("shop");
    // The SDK goes by the first answer, and the second one holds the later grant.
    proxy.mischief(1, Repeat, &["POST", "/execution?"]);
    proxy.mischief(usize::MAX, Repeat, &["/audit"]);
    proxy.mischief(usize::MAX, Repeat, &["DELETE"]);
    shop.serves(&proxy.url()).await;
    assert_eq!(shop.effects(), effects(&CHANGES));
    // Its starts belong to a grant that has been replaced, so they are not taken.
    let record = CHANGES.map(|change| entries(change, &["APPLIED"])).concat();
    assert_eq!(recorded(&server).await, record);
    assert_eq!(server.database.number("SELECT count(*) FROM executions").await, 2);
    next_start_applies(&server, &shop, &[]).await;
}

async fn lock_that_was_not_given_back_ends_with_its_lease(java: &'static Java) {
    let (server, proxy) = stormy().await;
    let shop = java.application("shop").lease_ms(2_000);
    proxy.mischief(usize::MAX, Refuse(502), &["DELETE"]);
    shop.serves(&proxy.url()).await;
    assert_eq!(recorded(&server).await, applied(&CHANGES));
    let held = "SELECT count(*) FROM locks WHERE owner IS NOT NULL";
    assert_eq!(server.database.number(held).await, 1);
    // Nothing to do needs no lock; something to do waits for the end of the lease.
    next_start_applies(&server, &shop, &[]).await;
    next_start_applies(&server, &shop.deployed("shop-later"), &["add-currency"]).await;
}

async fn plan_that_never_arrived_leaves_a_lock_that_ends_with_its_lease(java: &'static Java) {
    let (server, proxy) = stormy().await;
    let shop = java.application("shop").lease_ms(2_000);
    let mut trap = proxy.trap(Side::Answer, &["/execution?"]);
    let jvm = shop.start(&proxy.url());
    trap.caught().await;
    drop(trap);
    jvm.refuses_to_start().await;
    assert_eq!(server.database.number("SELECT count(*) FROM executions").await, 1);
    assert_eq!(recorded(&server).await, [""; 0]);
    assert_eq!(shop.effects(), [""; 0]);
    next_start_applies(&server, &shop, &CHANGES).await;
}

/// Its extensions and its report of the start are held up; meanwhile another does everything.
async fn instance_that_is_cut_off_past_its_lease_does_not_run_what_another_has_done(java: &'static Java) {
    let (server, proxy) = stormy().await;
    let shop = java.application("shop").lease_ms(2_000);
    proxy.mischief(usize::MAX, Refuse(502), &["/lock/extension"]);
    let mut trap = proxy.trap(Side::Message, &report("add-due-date", " STARTED"));
    let cut_off = shop.start(&proxy.url());
    trap.caught().await;
    shop.serves(&server.url()).await;
    assert_eq!(shop.effects(), effects(&CHANGES));
    assert_eq!(recorded(&server).await, applied(&CHANGES));
    trap.go_on();
    cut_off.ended().await;
    assert_eq!(shop.effects(), effects(&CHANGES), "nothing runs twice");
    let record = recorded(&server).await;
    assert_eq!(record[..6], applied(&CHANGES));
    assert!(
        record[6..].iter().all(|entry| entry.starts_with("late ")),
        "{record:?}"
    );
    next_start_applies(&server, &shop, &[]).await;
}

async fn committed_change_whose_result_was_not_taken_is_proven_by_its_mark(java: &'static Java) {
    let (server, proxy) = stormy().await;
    let target = Database::empty().await;
    let jdbc = PostgresProxy::to(&target).await;
    let ledger = java.application("sql").database(&jdbc.database());
    proxy.mischief(1, Refuse(503), &report("load-invoices", " APPLIED"));
    ledger.refuses_to_start(&proxy.url()).await;
    assert!(proxy.has_done_its_mischief());
    ledger.serves(&server.url()).await;
    assert_eq!(target.number("SELECT count(*) FROM invoices").await, 2);
    assert_eq!(
        target.number("SELECT count(*) FROM flamingock_audit_marks").await,
        0
    );
    assert_eq!(
        recorded(&server).await,
        applied(&["create-invoices", "load-invoices"])
    );
}

with_each_sdk!(
    change_whose_result_is_refused_is_undone_and_applied_by_the_next_start,
    change_whose_result_is_recorded_and_not_acknowledged_is_undone_and_applied_again,
    change_without_rollback_whose_result_is_recorded_and_not_acknowledged_is_not_run_again,
    change_without_rollback_whose_result_was_lost_waits_for_a_person,
    change_whose_start_is_not_taken_runs_and_its_result_counts,
    requests_that_arrive_twice_count_once,
    lock_that_was_not_given_back_ends_with_its_lease,
    plan_that_never_arrived_leaves_a_lock_that_ends_with_its_lease,
    instance_that_is_cut_off_past_its_lease_does_not_run_what_another_has_done,
    committed_change_whose_result_was_not_taken_is_proven_by_its_mark,
);
