//! W 5.1 to 5.5, replayed: what the Java client sends, byte for byte, and the answers, field by field.

use flamingock_api_types::execution::PlanAction;
use flamingock_api_types::issue::ResolutionKind;
use flamingock_tests::{Pipeline, TestServer};
use serde_json::{Value, json};

use super::bodies::{GENERATIONS, Generation, Stage, Written, change, plan_body, stage};
use super::client::JavaClient;
use super::comparison::{abort, comparable, execute, lock, offered, proceed, result, wait_for};

pub const SCHEMA: [&str; 2] = ["create-invoices", "add-due-date"];
pub const SEED: [&str; 1] = ["load-tax-rates"];

/// `schema` and `seed`, with nothing to say of them.
pub fn pipeline() -> [Stage; 2] {
    [
        stage("schema", SCHEMA.map(change)),
        stage("seed", SEED.map(change)),
    ]
}

/// What is written for a change of the example.
pub fn written<'a>(change: &'a str, state: &'a str) -> Written<'a> {
    let (its_stage, class, order) = match change {
        "create-invoices" => ("schema", "com.acme.billing.schema._0001__CreateInvoices", "0001"),
        "add-due-date" => ("schema", "com.acme.billing.schema._0002__AddDueDate", "0002"),
        _ => ("seed", "com.acme.billing.seed._0001__LoadTaxRates", "0001"),
    };
    Written {
        change,
        stage: its_stage,
        state,
        class,
        order,
        millis: if state == "STARTED" { 0 } else { 171 },
        ..Written::default()
    }
}

/// Writes states of a change, each of which must be new.
pub async fn write(client: &mut JavaClient, execution: i64, change: &str, states: &[&str]) {
    for state in states {
        let body = written(change, state).body();
        client.report(execution, change, &body).await.expect(201);
    }
}

/// A plan that grants: everything beside the id of its execution is compared.
pub async fn granted(client: &mut JavaClient, body: &str, stages: Value, verdicts: Value) -> i64 {
    let answer = client.plan(body).await;
    let (key, owner) = (client.runner.key(), client.runner.id.clone());
    assert_eq!(
        comparable(&answer),
        execute(&key, &owner, stages, verdicts, false)
    );
    answer["executionId"].as_i64().expect("an integer")
}

/// The result where nothing of this run is known: each change is either applied in the log or not reached.
pub fn by_the_log(applied: &[&str]) -> Value {
    let of = |name, ids: &[&str]| {
        let status = |id: &&str| {
            if applied.contains(id) {
                "ALREADY_APPLIED"
            } else {
                "NOT_REACHED"
            }
        };
        let changes: Vec<(&str, &str)> = ids.iter().map(|id| (*id, status(id))).collect();
        let done = ids.iter().all(|id| applied.contains(id));
        result(name, if done { "UP_TO_DATE" } else { "NEEDS_WORK" }, &changes)
    };
    json!([of("schema", &SCHEMA), of("seed", &SEED)])
}

/// First start, up to the release: three changes in two stages, all of which work.
async fn first_plan(client: &mut JavaClient, generation: Generation) -> i64 {
    let stages = json!([
        offered(
            "schema",
            0,
            &[("create-invoices", "APPLY"), ("add-due-date", "APPLY")]
        ),
        offered("seed", 1, &[("load-tax-rates", "APPLY")]),
    ]);
    granted(
        client,
        &plan_body(generation, &pipeline()),
        stages,
        by_the_log(&[]),
    )
    .await
}

async fn first_start(client: &mut JavaClient, generation: Generation) {
    let execution = first_plan(client, generation).await;
    let extended = client.extend().await.expect(200).json();
    assert_eq!(extended["status"], "EXTENDED");
    let (key, owner) = (client.runner.key(), client.runner.id.clone());
    assert_eq!(comparable(&extended)["lock"], lock(&key, &owner));
    for change in SCHEMA.iter().chain(&SEED) {
        write(client, execution, change, &["STARTED", "APPLIED"]).await;
    }
    let released = json!({"lock": client.release().await.expect(200).json()});
    assert_eq!(comparable(&released)["lock"], lock(&key, &owner));
}

#[tokio::test]
async fn w_5_1_the_first_start_in_every_generation() {
    let server = TestServer::start().await;
    for generation in GENERATIONS {
        let mut client = JavaClient::build(&server, &format!("billing-{generation:?}")).await;
        first_start(&mut client, generation).await;
        let done = [
            stage("schema", SCHEMA.map(|id| change(id).is("APPLIED"))).is("COMPLETED"),
            stage("seed", SEED.map(|id| change(id).is("APPLIED"))).is("COMPLETED"),
        ];
        let answer = client.plan(&plan_body(generation, &done)).await;
        // Whoever reports no change is told what the log says; whoever reports a stage as completed is believed.
        let status = if generation == Generation::G3 {
            "APPLIED"
        } else {
            "ALREADY_APPLIED"
        };
        let expected = json!([
            result("schema", "UP_TO_DATE", &SCHEMA.map(|id| (id, status))),
            result("seed", "UP_TO_DATE", &SEED.map(|id| (id, status))),
        ]);
        assert_eq!(comparable(&answer), proceed(expected, false), "{generation:?}");
        client.lock().await.expect_problem(404, "R_LOCK_03");
        let entries = server.operator().audit(&client.runner).await;
        assert_eq!(entries.len(), 6);
    }
}

#[tokio::test]
async fn w_5_2_the_second_start_even_while_another_runner_holds_the_lock() {
    let server = TestServer::start().await;
    for generation in GENERATIONS {
        let mut client = JavaClient::build(&server, &format!("billing-{generation:?}")).await;
        first_start(&mut client, generation).await;
        let other = client.next_start();
        other
            .runner
            .granted(&Pipeline::of("new", &["something-else"]))
            .await;
        let mut second = client.next_start();
        let answer = second.plan(&plan_body(generation, &pipeline())).await;
        let expected = proceed(
            by_the_log(&["create-invoices", "add-due-date", "load-tax-rates"]),
            false,
        );
        assert_eq!(comparable(&answer), expected, "{generation:?}");
    }
}

#[tokio::test]
async fn w_5_3_a_concurrent_start_waits_and_takes_over_from_one_that_was_killed() {
    let server = TestServer::with(&[("FLAMINGOCK_LOCK_TAKEOVER_GRACE", "1h")]).await;
    for generation in GENERATIONS {
        let mut a = JavaClient::build(&server, &format!("billing-{generation:?}")).await;
        let body = plan_body(generation, &pipeline());
        let execution = first_plan(&mut a, generation).await;
        write(&mut a, execution, "create-invoices", &["STARTED", "APPLIED"]).await;
        let mut b = a.next_start();
        let key = a.runner.key();
        let first = b.plan(&body).await;
        assert_eq!(comparable(&first), wait_for(&key, &a.runner.id));
        let id = |answer: &Value| {
            answer["lock"]["acquisitionId"]
                .as_str()
                .expect("a text")
                .to_owned()
        };
        let again = b.plan_after(&id(&first), 1_003, &body).await;
        assert_eq!(again["lock"], first["lock"], "the same answer");
        a.extend().await.expect(200);
        let extended = b.plan_after(&id(&first), 2_006, &body).await;
        assert_eq!(comparable(&extended), wait_for(&key, &a.runner.id));
        assert_ne!(id(&extended), id(&first));

        // A is killed between two changes. A minute later, on the clock that counts:
        let minute = "UPDATE locks SET expires_at = expires_at - interval '61 s'";
        server.database.execute(minute).await;
        let id = id(&extended);
        assert_eq!(
            b.plan_after(&id, 60_000, &body).await["action"],
            "AWAIT",
            "not strictly greater"
        );
        let answer = b.plan_after(&id, 60_003, &body).await;
        let stages = json!([
            offered("schema", 0, &[("add-due-date", "APPLY")]),
            offered("seed", 1, &[("load-tax-rates", "APPLY")]),
        ]);
        let expected = execute(
            &key,
            &b.runner.id,
            stages,
            by_the_log(&["create-invoices"]),
            false,
        );
        assert_eq!(comparable(&answer), expected, "{generation:?}");

        // A comes back to life.
        a.extend().await.expect_problem(409, "R_LOCK_01");
        assert_eq!(a.lock().await.expect(200).json()["owner"], json!(b.runner.id));
        let body = written("add-due-date", "APPLIED").body();
        a.report(execution, "add-due-date", &body).await.expect(201);
    }
}

#[tokio::test]
async fn w_5_4_a_failure_aborts_the_run_and_the_next_start_asks_a_person() {
    let server = TestServer::start().await;
    for generation in GENERATIONS {
        for (kind, word) in [
            (ResolutionKind::RolledBack, "undone"),
            (ResolutionKind::Applied, "done"),
        ] {
            let mut client = JavaClient::build(&server, &format!("billing-{generation:?}-{word}")).await;
            let body = plan_body(generation, &pipeline());
            let execution = first_plan(&mut client, generation).await;
            write(&mut client, execution, "create-invoices", &["STARTED", "APPLIED"]).await;
            write(&mut client, execution, "add-due-date", &["STARTED"]).await;
            let failed = Written {
                error_trace: concat!(
                    r#"{"type": "io.example.ChangeFailed", "message": "column exists", "rootCause": {"type": "#,
                    r#""java.sql.SQLException", "message": "column exists"}, "stackTrace": [{"className": "#,
                    r#""com.acme.billing.schema._0002__AddDueDate", "methodName": "apply", "fileName": "#,
                    r#""_0002__AddDueDate.java", "lineNumber": 31}]}"#
                ),
                ..written("add-due-date", "FAILED")
            };
            client
                .report(execution, "add-due-date", &failed.body())
                .await
                .expect(201);
            write(&mut client, execution, "load-tax-rates", &["STARTED", "APPLIED"]).await;
            client.release().await.expect(200);
            // The oldest generation ends its run at the first failure, without another word.
            if generation != Generation::G1 {
                let schema = [
                    change("create-invoices").is("APPLIED"),
                    change("add-due-date").is("FAILED"),
                ];
                let reported = [
                    stage("schema", schema).is("FAILED"),
                    stage("seed", [change("load-tax-rates").is("APPLIED")]).is("COMPLETED"),
                ];
                let answer = client.plan(&plan_body(generation, &reported)).await;
                assert_eq!(comparable(&answer), abort(false), "{generation:?}");
            }

            let mut client = client.next_start();
            let stages = json!([offered("schema", 0, &[("add-due-date", "MANUAL_INTERVENTION")])]);
            granted(
                &mut client,
                &body,
                stages,
                by_the_log(&["create-invoices", "load-tax-rates"]),
            )
            .await;
            client.extend().await.expect(200);
            client.release().await.expect(200);
            if generation != Generation::G1 {
                let schema = [
                    change("create-invoices").is("ALREADY_APPLIED"),
                    change("add-due-date"),
                ];
                let reported = [
                    stage("schema", schema).is("BLOCKED_MANUAL_INTERVENTION"),
                    stage("seed", [change("load-tax-rates").is("ALREADY_APPLIED")]),
                ];
                let answer = client.plan(&plan_body(generation, &reported)).await;
                assert_eq!(comparable(&answer), abort(false), "{generation:?}");
            }

            let operator = server.operator();
            let seq = operator.issues(&client.runner).await[0].seq;
            let decided = operator
                .resolve(&client.runner, &[("add-due-date", kind, seq)])
                .await;
            decided.expect(201);
            let mut client = client.next_start();
            if kind == ResolutionKind::Applied {
                let all = by_the_log(&["create-invoices", "add-due-date", "load-tax-rates"]);
                assert_eq!(comparable(&client.plan(&body).await), proceed(all, false));
            } else {
                let stages = json!([offered("schema", 0, &[("add-due-date", "APPLY")])]);
                granted(
                    &mut client,
                    &body,
                    stages,
                    by_the_log(&["create-invoices", "load-tax-rates"]),
                )
                .await;
            }
        }
    }
}

#[tokio::test]
async fn w_5_5_a_change_that_may_be_retried_is_retried_by_the_next_start_and_not_by_this_one() {
    let server = TestServer::start().await;
    for generation in GENERATIONS {
        let mut client = JavaClient::build(&server, &format!("billing-{generation:?}")).await;
        let execution = first_plan(&mut client, generation).await;
        for id in SCHEMA {
            write(&mut client, execution, id, &["STARTED", "APPLIED"]).await;
        }
        client.release().await.expect(200);

        let mut client = client.next_start();
        let body = plan_body(generation, &pipeline());
        let stages = json!([offered("seed", 1, &[("load-tax-rates", "APPLY")])]);
        let execution = granted(&mut client, &body, stages.clone(), by_the_log(&SCHEMA)).await;
        for state in ["STARTED", "FAILED"] {
            let body = Written {
                recovery: "ALWAYS_RETRY",
                ..written("load-tax-rates", state)
            };
            client
                .report(execution, "load-tax-rates", &body.body())
                .await
                .expect(201);
        }
        client.release().await.expect(200);
        if generation != Generation::G1 {
            let reported = [
                stage("schema", SCHEMA.map(|id| change(id).is("ALREADY_APPLIED"))),
                stage("seed", [change("load-tax-rates").is("FAILED")]).is("FAILED"),
            ];
            let answer = client.plan(&plan_body(generation, &reported)).await;
            assert_eq!(comparable(&answer), abort(false), "{generation:?}");
        }
        let mut client = client.next_start();
        granted(&mut client, &body, stages, by_the_log(&SCHEMA)).await;
        assert_eq!(
            client.runner.plan(&Pipeline::empty()).await.action,
            PlanAction::Continue
        );
    }
}
