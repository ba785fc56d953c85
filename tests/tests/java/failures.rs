//! Changes that fail, what the next start does about it, and what a person decides.

use flamingock_api_types::issue::ResolutionKind;
use flamingock_tests::{Java, JavaApplication, TestServer};

use crate::{applied, despite_the_failure, entries, issues, recorded, resolve};

const SEED: [&str; 1] = ["load-tax-rates"];

fn seed_effect() -> Vec<String> {
    vec!["applied load-tax-rates".to_owned()]
}

/// A start that fails in the change, and says which.
async fn fails(server: &TestServer, shop: JavaApplication, change: &str) {
    let said = shop.failing(change).refuses_to_start(&server.url()).await;
    assert!(said.contains(change), "{said}");
}

/// A start that asks for a person, as long as nobody has decided; it does nothing of the stage.
async fn asks_for_a_person(server: &TestServer, shop: &JavaApplication, change: &str) {
    assert_eq!(issues(server).await, [change]);
    let (effects, record) = (shop.effects(), recorded(server).await);
    for _ in 0..2 {
        let said = shop.refuses_to_start(&server.url()).await;
        assert!(said.contains(change), "{said}");
    }
    // 1.3 has not come to the other stage before.
    let effects: Vec<_> = shop.effects().split_off(effects.len());
    let record: Vec<_> = recorded(server).await.split_off(record.len());
    assert!(effects == [""; 0] || effects == seed_effect(), "{effects:?}");
    assert!(record.is_empty() || record == applied(&SEED), "{record:?}");
    assert_eq!(issues(server).await, [change]);
}

async fn failed_change_is_rolled_back_and_the_next_start_applies_it(java: &'static Java) {
    let server = TestServer::start().await;
    let shop = java.application("shop");
    fails(&server, shop.clone(), "create-invoices").await;
    let failed = [
        entries("create-invoices", &["STARTED", "FAILED", "ROLLED_BACK"]),
        despite_the_failure(java, &applied(&SEED)).to_vec(),
    ]
    .concat();
    assert_eq!(recorded(&server).await, failed);
    assert_eq!(shop.effects()[..2], ["half create-invoices", "undone create-invoices"]);
    assert_eq!(shop.effects()[2..], *despite_the_failure(java, &seed_effect()));
    assert_eq!(issues(&server).await, [""; 0]);

    shop.serves(&server.url()).await;
    let record = recorded(&server).await;
    let mut expected = [failed, applied(&["create-invoices", "add-due-date"])].concat();
    if despite_the_failure(java, &seed_effect()).is_empty() {
        expected.extend(applied(&SEED));
    }
    assert_eq!(record, expected);
    for effect in ["applied create-invoices", "applied add-due-date", "applied load-tax-rates"] {
        assert_eq!(shop.effects().iter().filter(|line| *line == effect).count(), 1, "{effect}");
    }
}

async fn failed_rollback_waits_for_a_person_who_finds_it_undone(java: &'static Java) {
    let server = TestServer::start().await;
    let shop = java.application("shop");
    fails(&server, shop.clone().failing_to_roll_back("create-invoices"), "create-invoices").await;
    let failed = entries("create-invoices", &["STARTED", "FAILED", "ROLLBACK_FAILED"]);
    assert_eq!(recorded(&server).await[..3], failed);
    assert_eq!(shop.effects()[..1], ["half create-invoices"]);
    asks_for_a_person(&server, &shop, "create-invoices").await;

    resolve(&server, "create-invoices", ResolutionKind::RolledBack).await;
    let (before, done) = (recorded(&server).await, shop.effects());
    shop.serves(&server.url()).await;
    assert_eq!(
        recorded(&server).await[before.len()..],
        applied(&["create-invoices", "add-due-date"])
    );
    assert_eq!(
        shop.effects()[done.len()..],
        ["applied create-invoices", "applied add-due-date"]
    );
    assert_eq!(issues(&server).await, [""; 0]);
}

async fn failure_without_rollback_waits_for_a_person_who_finds_it_applied(java: &'static Java) {
    let server = TestServer::start().await;
    let shop = java.application("shop");
    fails(&server, shop.clone(), "add-due-date").await;
    let failed = [
        applied(&["create-invoices"]),
        entries("add-due-date", &["STARTED", "FAILED"]),
    ]
    .concat();
    assert_eq!(recorded(&server).await[..4], failed);
    assert_eq!(shop.effects()[..2], ["applied create-invoices", "half add-due-date"]);
    asks_for_a_person(&server, &shop, "add-due-date").await;

    resolve(&server, "add-due-date", ResolutionKind::Applied).await;
    let (record, effects) = (recorded(&server).await, shop.effects());
    for _ in 0..2 {
        shop.serves(&server.url()).await;
        assert_eq!(recorded(&server).await, record);
        assert_eq!(shop.effects(), effects);
    }
    assert!(effects.contains(&seed_effect()[0]), "{effects:?}");
    assert_eq!(record.last().expect("a record"), "add-due-date MANUAL_MARKED_AS_APPLIED");
}

async fn change_declared_repeatable_is_tried_again_by_every_start_and_never_twice_in_one(java: &'static Java) {
    let server = TestServer::start().await;
    let shop = java.application("shop");
    let mut record = applied(&["create-invoices", "add-due-date"]);
    for _ in 0..2 {
        fails(&server, shop.clone(), "load-tax-rates").await;
        record.extend(entries("load-tax-rates", &["STARTED", "FAILED"]));
        assert_eq!(recorded(&server).await, record);
        assert_eq!(issues(&server).await, [""; 0]);
    }
    shop.serves(&server.url()).await;
    record.extend(applied(&SEED));
    assert_eq!(recorded(&server).await, record);
    assert_eq!(
        shop.effects(),
        [
            "applied create-invoices",
            "applied add-due-date",
            "half load-tax-rates",
            "half load-tax-rates",
            "applied load-tax-rates",
        ]
    );
}

with_each_sdk!(
    failed_change_is_rolled_back_and_the_next_start_applies_it,
    failed_rollback_waits_for_a_person_who_finds_it_undone,
    failure_without_rollback_waits_for_a_person_who_finds_it_applied,
    change_declared_repeatable_is_tried_again_by_every_start_and_never_twice_in_one,
);
