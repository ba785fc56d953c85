//! Starts in which everything works.

use flamingock_tests::{Database, HttpProxy, Java, PostgresProxy, TestServer};

use crate::{applied, effects, entries, recorded};

const CHANGES: [&str; 3] = ["create-invoices", "add-due-date", "load-tax-rates"];

async fn first_start_applies_all_and_second_start_is_two_requests(java: &'static Java) {
    let server = TestServer::start().await;
    let shop = java.application("shop");
    shop.serves(&server.url()).await;
    assert_eq!(shop.effects(), effects(&CHANGES));
    assert_eq!(recorded(&server).await, applied(&CHANGES));

    let rows = "SELECT (SELECT count(*) FROM executions) + (SELECT count(*) FROM audit_entries)";
    let before = server.database.number(rows).await;
    let proxy = HttpProxy::to(&[&server.address]).await;
    shop.serves(&proxy.url()).await;
    let asked = proxy.seen();
    assert_eq!(asked.len(), 2, "{asked:?}");
    assert!(
        asked[0].starts_with("POST /api/v1/auth/exchange-token"),
        "{asked:?}"
    );
    assert!(asked[1].contains("/execution?elapsedMillis=0"), "{asked:?}");
    assert_eq!(shop.effects(), effects(&CHANGES));
    assert_eq!(recorded(&server).await, applied(&CHANGES));
    assert_eq!(server.database.number(rows).await, before);
}

async fn change_that_is_added_later_is_applied_alone(java: &'static Java) {
    let server = TestServer::start().await;
    let shop = java.application("shop");
    shop.serves(&server.url()).await;
    let later = shop.deployed("shop-later");
    later.serves(&server.url()).await;
    let all = [&CHANGES[..], &["add-currency"]].concat();
    assert_eq!(shop.effects(), effects(&all));
    assert_eq!(recorded(&server).await, applied(&all));
    // An instance of the version before, started again: it does not know of the change.
    shop.serves(&server.url()).await;
    assert_eq!(shop.effects(), effects(&all));
    assert_eq!(recorded(&server).await, applied(&all));
}

async fn change_from_a_template_is_applied_once(java: &'static Java) {
    let server = TestServer::start().await;
    let target = Database::empty().await;
    let proxy = PostgresProxy::to(&target).await;
    let rates = java.application("template").database(&proxy.database());
    for _ in 0..2 {
        rates.serves(&server.url()).await;
        assert_eq!(target.number("SELECT sum(percent) FROM rates").await, 26);
        assert_eq!(recorded(&server).await, applied(&["create-rates"]));
    }
    let runner = server.runner("billing").await;
    let entries = server.operator().audit(&runner).await;
    assert_eq!(entries[1].change_type.as_deref(), Some("STANDARD_TEMPLATE"));
}

async fn spring_boot_application_starts_when_its_changes_are_applied(java: &'static Java) {
    let server = TestServer::start().await;
    let application = java.application("spring");
    let said = application
        .clone()
        .failing("create-invoices")
        .refuses_to_start(&server.url())
        .await;
    assert!(said.contains("create-invoices"), "{said}");
    let failed = entries("create-invoices", &["STARTED", "FAILED", "ROLLED_BACK"]);
    assert_eq!(recorded(&server).await, failed);
    for _ in 0..2 {
        application.serves(&server.url()).await;
        assert_eq!(application.effects()[2..], effects(&CHANGES[..2]));
        assert_eq!(
            recorded(&server).await,
            [failed.clone(), applied(&CHANGES[..2])].concat()
        );
    }
}

async fn validation_refuses_what_is_pending_and_writes_nothing(java: &'static Java) {
    let server = TestServer::start().await;
    let shop = java.application("shop");
    let validating = shop.clone().with("VALIDATION_ONLY", true);
    let said = validating.refuses_to_start(&server.url()).await;
    assert!(said.contains("pending changes"), "{said}");
    assert_eq!(shop.effects(), [""; 0]);
    assert_eq!(recorded(&server).await, [""; 0]);
    // It had the lock, and gave it back.
    let held = "SELECT count(*) FROM locks WHERE owner IS NOT NULL";
    assert_eq!(server.database.number(held).await, 0);
    shop.serves(&server.url()).await;
    validating.serves(&server.url()).await;
    assert_eq!(shop.effects(), effects(&CHANGES));
    assert_eq!(recorded(&server).await, applied(&CHANGES));
}

with_each_sdk!(
    first_start_applies_all_and_second_start_is_two_requests,
    change_that_is_added_later_is_applied_alone,
    change_from_a_template_is_applied_once,
    spring_boot_application_starts_when_its_changes_are_applied,
    validation_refuses_what_is_pending_and_writes_nothing,
);

/// Versions between and after the two that everything is tested with.
#[tokio::test]
async fn first_and_second_start_with_1_4_0() {
    if let Some(java) = Java::of("1.4.0").await {
        first_start_applies_all_and_second_start_is_two_requests(java).await;
    }
}

#[tokio::test]
async fn first_and_second_start_with_1_5_0_snapshot() {
    if let Some(java) = Java::of("1.5.0-SNAPSHOT").await {
        first_start_applies_all_and_second_start_is_two_requests(java).await;
    }
}
