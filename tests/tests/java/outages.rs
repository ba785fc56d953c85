//! Servers that go away in the middle of a run.

use std::time::Duration;

use flamingock_tests::{HttpProxy, Java, JavaApplication, TestServer};

use crate::{applied, recorded};

/// The client's own HTTP library looks whether a connection is still there only if it was not used for two seconds, and does not
/// repeat what it sent on one that was not.
const CONNECTIONS_ARE_TRUSTED_FOR: Duration = Duration::from_millis(2_200);

async fn all_is_well(server: &TestServer, shop: &JavaApplication) {
    let changes = ["create-invoices", "add-due-date", "load-tax-rates"];
    assert_eq!(recorded(server).await, applied(&changes));
    assert_eq!(
        shop.effects(),
        [
            "applied create-invoices",
            "holding add-due-date",
            "applied add-due-date",
            "applied load-tax-rates",
        ]
    );
    shop.serves(&server.url()).await;
    assert_eq!(recorded(server).await, applied(&changes));
}

async fn server_that_crashes_and_comes_back_between_two_reports_is_not_noticed(java: &'static Java) {
    let server = TestServer::start().await;
    let shop = java.application("shop");
    let jvm = shop.clone().holding("add-due-date").start(&server.url());
    shop.has_effect("holding add-due-date").await;
    server.kill();
    server.restart().await;
    tokio::time::sleep(CONNECTIONS_ARE_TRUSTED_FOR).await;
    shop.go_on();
    jvm.serves().await;
    all_is_well(&server, &shop).await;
}

async fn server_that_is_replaced_between_two_reports_is_not_noticed(java: &'static Java) {
    let server = TestServer::start().await;
    let shop = java.application("shop");
    let jvm = shop.clone().holding("add-due-date").start(&server.url());
    shop.has_effect("holding add-due-date").await;
    assert!(server.stop().await, "it ends in order");
    server.restart().await;
    tokio::time::sleep(CONNECTIONS_ARE_TRUSTED_FOR).await;
    shop.go_on();
    jvm.serves().await;
    all_is_well(&server, &shop).await;
}

async fn replica_that_is_killed_behind_a_balancer_is_not_noticed(java: &'static Java) {
    let server = TestServer::start().await;
    let replica = server.replica().await;
    let balancer = HttpProxy::to(&[&replica.address, &server.address]).await;
    let shop = java.application("shop");
    let jvm = shop.clone().holding("add-due-date").start(&balancer.url());
    shop.has_effect("holding add-due-date").await;
    replica.kill();
    shop.go_on();
    jvm.serves().await;
    all_is_well(&server, &shop).await;
}

with_each_sdk!(
    server_that_crashes_and_comes_back_between_two_reports_is_not_noticed,
    server_that_is_replaced_between_two_reports_is_not_noticed,
    replica_that_is_killed_behind_a_balancer_is_not_noticed,
);
