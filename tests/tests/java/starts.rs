//! Starts in which everything works.

use flamingock_tests::{HttpProxy, Java, TestServer};

use crate::recorded;

const EFFECTS: [&str; 3] = [
    "applied create-invoices",
    "applied add-due-date",
    "applied load-tax-rates",
];

const RECORD: [&str; 6] = [
    "create-invoices STARTED",
    "create-invoices APPLIED",
    "add-due-date STARTED",
    "add-due-date APPLIED",
    "load-tax-rates STARTED",
    "load-tax-rates APPLIED",
];

async fn first_start_applies_all_and_second_start_is_two_requests(java: &'static Java) {
    let server = TestServer::start().await;
    let shop = java.application("shop");
    shop.serves(&server.url()).await;
    assert_eq!(shop.effects(), EFFECTS);
    assert_eq!(recorded(&server).await, RECORD);

    let rows = "SELECT (SELECT count(*) FROM executions) + (SELECT count(*) FROM audit_entries)";
    let before = server.database.number(rows).await;
    let proxy = HttpProxy::to(&[&server.address]).await;
    shop.serves(&proxy.url()).await;
    let asked = proxy.seen();
    assert_eq!(asked.len(), 2, "{asked:?}");
    assert!(asked[0].starts_with("POST /api/v1/auth/exchange-token"), "{asked:?}");
    assert!(asked[1].contains("/execution?elapsedMillis=0"), "{asked:?}");
    assert_eq!(shop.effects(), EFFECTS);
    assert_eq!(recorded(&server).await, RECORD);
    assert_eq!(server.database.number(rows).await, before);
}

async fn change_that_is_added_later_is_applied_alone(java: &'static Java) {
    let server = TestServer::start().await;
    let shop = java.application("shop");
    shop.serves(&server.url()).await;
    let later = shop.deployed("shop-later");
    later.serves(&server.url()).await;
    let effects = [&EFFECTS[..], &["applied add-currency"]].concat();
    let record = [&RECORD[..], &["add-currency STARTED", "add-currency APPLIED"]].concat();
    assert_eq!(shop.effects(), effects);
    assert_eq!(recorded(&server).await, record);
    // An instance of the version before, started again: it does not know of the change.
    shop.serves(&server.url()).await;
    assert_eq!(shop.effects(), effects);
    assert_eq!(recorded(&server).await, record);
}

with_each_sdk!(
    first_start_applies_all_and_second_start_is_two_requests,
    change_that_is_added_later_is_applied_alone,
);
