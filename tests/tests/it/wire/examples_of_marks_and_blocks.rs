//! W 5.6 to 5.8, replayed.

use flamingock_tests::{Call, TestServer};
use serde_json::json;

use super::bodies::{GENERATIONS, Generation, Stage, Written, change, plan_body, plan_body_of_blocks, stage};
use super::client::JavaClient;
use super::comparison::{abort, comparable, execute, offered, proceed, result};
use super::examples::{by_the_log, granted, pipeline, write, written};

/// `schema` on a target with marks; `add-due-date` has this one.
fn marked(mark: &'static str) -> [Stage; 2] {
    let schema = [change("create-invoices"), change("add-due-date").mark(mark)];
    [stage("schema", schema), stage("seed", [change("load-tax-rates")])]
}

/// A first start whose process dies after `add-due-date` was started, and before `load-tax-rates` unless it `also` ran.
async fn dies_after_the_start(client: &mut JavaClient, generation: Generation, also: bool) -> i64 {
    let body = plan_body(generation, &pipeline());
    let plan = client.plan(&body).await;
    let execution = plan["executionId"].as_i64().expect("granted");
    write(client, execution, "create-invoices", &["STARTED", "APPLIED"]).await;
    let started = Written {
        tx_strategy: "TX_SEPARATE_WITH_MARKER",
        ..written("add-due-date", "STARTED")
    };
    client
        .report(execution, "add-due-date", &started.body())
        .await
        .expect(201);
    if also {
        write(client, execution, "load-tax-rates", &["STARTED", "APPLIED"]).await;
    }
    client.release().await.expect(200);
    execution
}

#[tokio::test]
async fn w_5_6_a_the_mark_of_a_process_that_died_after_its_commit_is_the_missing_entry() {
    let server = TestServer::start().await;
    for generation in GENERATIONS {
        let mut client = JavaClient::build(&server, &format!("billing-{generation:?}")).await;
        dies_after_the_start(&mut client, generation, false).await;
        let mut client = client.next_start();
        let answer = client.plan(&plan_body(generation, &marked("APPLIED"))).await;
        let expected = execute(
            &client.runner.key(),
            &client.runner.id,
            json!([offered("seed", 1, &[("load-tax-rates", "APPLY")])]),
            by_the_log(&["create-invoices", "add-due-date"]),
            true,
        );
        assert_eq!(comparable(&answer), expected, "{generation:?}");
        let states = server.operator().states(&client.runner, "add-due-date").await;
        assert_eq!(states, ["STARTED", "APPLIED"]);
        client.release().await.expect(200);

        // Had nothing else been pending.
        let mut client = JavaClient::build(&server, &format!("ledger-{generation:?}")).await;
        dies_after_the_start(&mut client, generation, true).await;
        let mut client = client.next_start();
        let answer = client.plan(&plan_body(generation, &marked("APPLIED"))).await;
        let all = by_the_log(&["create-invoices", "add-due-date", "load-tax-rates"]);
        assert_eq!(comparable(&answer), proceed(all, true), "{generation:?}");
    }
}

#[tokio::test]
async fn w_5_6_b_a_run_whose_report_was_refused_fails_although_its_mark_is_believed() {
    let server = TestServer::start().await;
    for generation in [Generation::G2, Generation::G3] {
        let mut client = JavaClient::build(&server, &format!("billing-{generation:?}")).await;
        dies_after_the_start(&mut client, generation, true).await;
        let schema = [
            change("create-invoices").is("APPLIED"),
            change("add-due-date").mark("APPLIED").is("FAILED"),
        ];
        let reported = [
            stage("schema", schema).is("FAILED"),
            stage("seed", [change("load-tax-rates").is("APPLIED")]).is("COMPLETED"),
        ];
        let answer = client.plan(&plan_body(generation, &reported)).await;
        assert_eq!(comparable(&answer), abort(true), "{generation:?}");
        let mut client = client.next_start();
        let answer = client.plan(&plan_body(generation, &pipeline())).await;
        let all = by_the_log(&["create-invoices", "add-due-date", "load-tax-rates"]);
        assert_eq!(comparable(&answer), proceed(all, false), "{generation:?}");
    }
}

#[tokio::test]
async fn w_5_6_c_a_rolled_back_mark_lets_the_change_run_again() {
    let server = TestServer::start().await;
    for generation in GENERATIONS {
        let mut client = JavaClient::build(&server, &format!("billing-{generation:?}")).await;
        dies_after_the_start(&mut client, generation, false).await;
        let mut client = client.next_start();
        let answer = client.plan(&plan_body(generation, &marked("ROLLED_BACK"))).await;
        let expected = execute(
            &client.runner.key(),
            &client.runner.id,
            json!([
                offered("schema", 0, &[("add-due-date", "APPLY")]),
                offered("seed", 1, &[("load-tax-rates", "APPLY")]),
            ]),
            by_the_log(&["create-invoices"]),
            true,
        );
        assert_eq!(comparable(&answer), expected, "{generation:?}");
    }
}

/// A system block, an empty legacy block, the user's stages.
fn blocks(generation: Generation, system: Stage) -> String {
    let legacy = [stage("flamingock-legacy-stage", [])];
    let schema = [stage(
        "schema",
        [change("create-invoices"), change("add-due-date")],
    )];
    let blocks = [
        ("SYSTEM", &[system][..]),
        ("LEGACY", &legacy),
        ("DEFAULT", &schema),
    ];
    plan_body_of_blocks(generation, &blocks, 60_000)
}

#[tokio::test]
async fn w_5_7_a_system_block_that_fails_stops_everything_behind_it() {
    let server = TestServer::start().await;
    let system = || stage("flamingock-system-stage", [change("import-history")]);
    let pending = |verdict: &str, status: &str| {
        json!([
            result("flamingock-system-stage", verdict, &[("import-history", status)]),
            result("flamingock-legacy-stage", "UP_TO_DATE", &[]),
            result(
                "schema",
                "NEEDS_WORK",
                &[
                    ("create-invoices", "NOT_REACHED"),
                    ("add-due-date", "NOT_REACHED")
                ]
            ),
        ])
    };
    let import = |state| Written {
        change: "import-history",
        stage: "flamingock-system-stage",
        state,
        ..Written::default()
    };
    for generation in [Generation::G2, Generation::G3] {
        for works in [false, true] {
            let mut client = JavaClient::build(&server, &format!("billing-{generation:?}-{works}")).await;
            let stages = json!([offered(
                "flamingock-system-stage",
                0,
                &[("import-history", "APPLY")]
            )]);
            let execution = granted(
                &mut client,
                &blocks(generation, system()),
                stages,
                pending("NEEDS_WORK", "NOT_REACHED"),
            )
            .await;
            let (state, change_status, stage_status) = if works {
                ("APPLIED", "APPLIED", "COMPLETED")
            } else {
                ("FAILED", "FAILED", "FAILED")
            };
            for state in ["STARTED", state] {
                let body = import(state).body();
                client
                    .report(execution, "import-history", &body)
                    .await
                    .expect(201);
            }
            client.release().await.expect(200);
            let reported = stage(
                "flamingock-system-stage",
                [change("import-history").is(change_status)],
            );
            let body = blocks(generation, reported.is(stage_status));
            if works {
                let status = if generation == Generation::G3 {
                    "APPLIED"
                } else {
                    "ALREADY_APPLIED"
                };
                let stages = json!([offered(
                    "schema",
                    2,
                    &[("create-invoices", "APPLY"), ("add-due-date", "APPLY")]
                )]);
                granted(&mut client, &body, stages, pending("UP_TO_DATE", status)).await;
            } else {
                assert_eq!(
                    comparable(&client.plan(&body).await),
                    abort(false),
                    "{generation:?}"
                );
            }
        }
    }
}

#[tokio::test]
async fn w_5_8_the_errors_of_the_lock() {
    let server = TestServer::start().await;
    let mut a = JavaClient::build(&server, "billing").await;
    let mut b = a.next_start();
    // Without a lock.
    a.lock().await.expect_problem(404, "R_LOCK_03");
    a.release().await.expect_problem(409, "R_LOCK_02");
    // With somebody else's.
    b.plan(&plan_body(Generation::G3, &pipeline())).await;
    a.extend().await.expect_problem(409, "R_LOCK_01");
    a.release().await.expect_problem(409, "R_LOCK_02");
    let call = Call::get(format!("/api/v1/{}/lock", a.runner.key())).bearer(&a.runner.jwt);
    call.send(&server.address).await.expect_problem(400, "R_GEN_01");
    b.release().await.expect(200);
}
