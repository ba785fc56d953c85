//! Credentials that do not fit, or no longer.

use flamingock_tests::{Java, TestServer, Tokens, eventually, new_token, tokens};

use crate::{applied, entries, recorded};

async fn token_for_another_environment_is_refused_in_clear_words(java: &'static Java) {
    let server = TestServer::start().await;
    let shop = java.application("shop").with("SERVICE", "ledger");
    let narrow = shop.clone().with("TOKEN", &tokens().narrow);
    let said = narrow
        .clone()
        .with("ENVIRONMENT", "trusting")
        .refuses_to_start(&server.url())
        .await;
    // In the words of an environment that does not exist: what a token may not see is not there.
    assert!(said.contains("R_TENANT_01"), "{said}");
    assert!(said.contains("Environment `trusting` does not exist"), "{said}");
    assert_eq!(shop.effects(), [""; 0]);
    // It is good for its own.
    narrow.serves(&server.url()).await;
}

async fn revoked_token_opens_no_session(java: &'static Java) {
    let server = TestServer::start().await;
    let shop = java.application("shop");
    let replaced = Tokens {
        runner: new_token(),
        ..tokens().clone()
    };
    let server = server.replica_with_tokens(replaced.clone()).await;
    let said = shop.refuses_to_start(&server.url()).await;
    assert!(said.contains("R_AUTH_01"), "{said}");
    assert_eq!(shop.effects(), [""; 0]);
    assert_eq!(recorded(&server).await, [""; 0]);
    shop.with("TOKEN", &replaced.runner).serves(&server.url()).await;
}

/// Cut off in the middle of a run, the SDK cannot say what it did, and undoes it where it can.
async fn token_that_is_revoked_in_the_middle_of_a_run_ends_it_and_what_is_unknown_waits(java: &'static Java) {
    let server = TestServer::start().await;
    let shop = java.application("shop").lease_ms(2_000);
    let jvm = shop.clone().holding("add-due-date").start(&server.url());
    shop.has_effect("holding add-due-date").await;
    let runner = server.runner("billing").await;
    let replaced = Tokens {
        runner: new_token(),
        ..tokens().clone()
    };
    let replica = server.replica_with_tokens(replaced.clone()).await;
    eventually("the session is cut off", async || {
        (runner.lock().await.status == 401).then_some(())
    })
    .await;
    shop.go_on();
    let said = jvm.refuses_to_start().await;
    assert!(said.contains("R_AUTH_06"), "{said}");
    assert_eq!(
        recorded(&replica).await,
        [
            applied(&["create-invoices"]),
            entries("add-due-date", &["STARTED"])
        ]
        .concat()
    );
    let renewed = shop.clone().with("TOKEN", &replaced.runner);
    let said = renewed.refuses_to_start(&replica.url()).await;
    assert!(said.contains("add-due-date"), "{said}");
    let effect = "applied add-due-date";
    assert_eq!(shop.effects().iter().filter(|line| *line == effect).count(), 1);
}

with_each_sdk!(
    token_for_another_environment_is_refused_in_clear_words,
    revoked_token_opens_no_session,
    token_that_is_revoked_in_the_middle_of_a_run_ends_it_and_what_is_unknown_waits,
);
