//! The SDK's SQL target system, on a real PostgreSQL: changes in transactions, with the mark that proves a commit.

use flamingock_tests::{Database, HttpProxy, Java, JavaApplication, PostgresProxy, Side, TestServer};

use crate::{applied, entries, issues, recorded};

struct Ledger {
    server: TestServer,
    target: Database,
    /// JDBC knows TCP only.
    _proxy: PostgresProxy,
    application: JavaApplication,
}

impl Ledger {
    async fn with(java: &'static Java) -> Self {
        let target = Database::empty().await;
        let proxy = PostgresProxy::to(&target).await;
        let application = java.application("sql").database(&proxy.database());
        Self {
            server: TestServer::start().await,
            target,
            _proxy: proxy,
            application: application.lease_ms(2_000),
        }
    }

    async fn invoices(&self) -> i64 {
        self.target.number("SELECT count(*) FROM invoices").await
    }

    async fn marks(&self) -> i64 {
        self.target
            .number("SELECT count(*) FROM flamingock_audit_marks")
            .await
    }
}

async fn change_that_was_committed_before_its_instance_was_killed_is_proven_by_its_mark(java: &'static Java) {
    let ledger = Ledger::with(java).await;
    let proxy = HttpProxy::to(&[&ledger.server.address]).await;
    let mut trap = proxy.trap(Side::Message, &["/change/load-invoices/audit", " APPLIED"]);
    let jvm = ledger.application.start(&proxy.url());
    trap.caught().await;
    jvm.kill();
    assert_eq!((ledger.invoices().await, ledger.marks().await), (2, 1));
    let before = [
        applied(&["create-invoices"]),
        entries("load-invoices", &["STARTED"]),
    ]
    .concat();
    assert_eq!(recorded(&ledger.server).await, before);

    for _ in 0..2 {
        ledger.application.serves(&ledger.server.url()).await;
        assert_eq!((ledger.invoices().await, ledger.marks().await), (2, 0));
        let record = applied(&["create-invoices", "load-invoices"]);
        assert_eq!(recorded(&ledger.server).await, record);
    }
    let runner = ledger.server.runner("billing").await;
    let entries = ledger.server.operator().audit(&runner).await;
    assert_eq!(entries[3].source, "MARK");
}

async fn change_whose_instance_was_killed_in_its_transaction_waits_for_a_person(java: &'static Java) {
    let ledger = Ledger::with(java).await;
    let jvm = ledger
        .application
        .clone()
        .holding("load-invoices")
        .start(&ledger.server.url());
    ledger.application.has_effect("holding load-invoices").await;
    jvm.kill();
    assert_eq!((ledger.invoices().await, ledger.marks().await), (0, 0));
    let said = ledger.application.refuses_to_start(&ledger.server.url()).await;
    assert!(said.contains("load-invoices"), "{said}");
    assert_eq!((ledger.invoices().await, ledger.marks().await), (0, 0));
    assert_eq!(issues(&ledger.server).await, ["load-invoices"]);
}

async fn failed_transaction_is_rolled_back_and_the_next_start_applies_it(java: &'static Java) {
    let ledger = Ledger::with(java).await;
    let failing = ledger.application.clone().failing("load-invoices");
    failing.refuses_to_start(&ledger.server.url()).await;
    assert_eq!((ledger.invoices().await, ledger.marks().await), (0, 0));
    let failed = [
        applied(&["create-invoices"]),
        entries("load-invoices", &["STARTED", "FAILED", "ROLLED_BACK"]),
    ]
    .concat();
    assert_eq!(recorded(&ledger.server).await, failed);
    assert_eq!(issues(&ledger.server).await, [""; 0]);
    ledger.application.serves(&ledger.server.url()).await;
    assert_eq!((ledger.invoices().await, ledger.marks().await), (2, 0));
    let record = [failed, applied(&["load-invoices"])].concat();
    assert_eq!(recorded(&ledger.server).await, record);
}

with_each_sdk!(
    change_that_was_committed_before_its_instance_was_killed_is_proven_by_its_mark,
    change_whose_instance_was_killed_in_its_transaction_waits_for_a_person,
    failed_transaction_is_rolled_back_and_the_next_start_applies_it,
);
