//! Flamingock Community's audit: its table in a PostgreSQL, and its collection, exported.

use flamingock_api_types::execution::{ChangeAction, PlanAction};
use flamingock_tests::{Database, Pipeline, ServerCommand, TestServer};

use super::{actions, done, file, import};

/// As its SQL audit store makes it.
pub const TABLE: &str = "CREATE TABLE IF NOT EXISTS flamingockAuditLog (
    id SERIAL PRIMARY KEY, execution_id VARCHAR(255), stage_id VARCHAR(255), change_id VARCHAR(255),
    author VARCHAR(255), created_at TIMESTAMP, state VARCHAR(32), invoked_class VARCHAR(255),
    invoked_method VARCHAR(255), source_file VARCHAR(255), metadata TEXT, execution_millis BIGINT,
    execution_hostname VARCHAR(255), error_trace TEXT, type VARCHAR(32), tx_strategy VARCHAR(32),
    target_system_id VARCHAR(255), change_order VARCHAR(255), recovery_strategy VARCHAR(32), transaction_flag BOOLEAN,
    system_change BOOLEAN)";

/// (change, state, strategy of transactions, recovery)
const ROWS: &[(&str, &str, &str, &str)] = &[
    ("applied", "STARTED", "TX_SHARED", "MANUAL_INTERVENTION"),
    ("applied", "APPLIED", "TX_SHARED", "MANUAL_INTERVENTION"),
    ("crashed", "STARTED", "NON_TX", "MANUAL_INTERVENTION"),
    ("retried", "STARTED", "NON_TX", "ALWAYS_RETRY"),
    (
        "failed-in-transaction",
        "FAILED",
        "TX_SHARED",
        "MANUAL_INTERVENTION",
    ),
    ("half-done", "FAILED", "NON_TX", "MANUAL_INTERVENTION"),
    ("decided", "FAILED", "NON_TX", "MANUAL_INTERVENTION"),
    (
        "decided",
        "MANUAL_MARKED_AS_APPLIED",
        "NON_TX",
        "MANUAL_INTERVENTION",
    ),
    ("undone", "FAILED", "NON_TX", "MANUAL_INTERVENTION"),
    ("undone", "ROLLED_BACK", "NON_TX", "MANUAL_INTERVENTION"),
];

async fn with_table() -> Database {
    let source = Database::empty().await;
    source.execute(TABLE).await;
    for (at, (change, state, tx_strategy, recovery)) in ROWS.iter().enumerate() {
        source
            .execute(&format!(
                "INSERT INTO flamingockAuditLog (execution_id, stage_id, change_id, author, created_at, state,
                     invoked_class, invoked_method, metadata, execution_millis, execution_hostname, error_trace, type,
                     tx_strategy, target_system_id, change_order, recovery_strategy, transaction_flag, system_change)
                 VALUES ('e-{at}', 'schema', '{change}', 'lin', '2026-07-01 12:00:00.25', '{state}', 'com.acme.C',
                     'apply', '{{tier=gold}}', 17, 'node-a', NULL, 'STANDARD_CODE', '{tx_strategy}', 'db', '0001',
                     '{recovery}', true, false)"
            ))
            .await;
    }
    source
}

#[tokio::test]
async fn a_table_of_community_becomes_the_history_of_the_service() {
    let server = TestServer::start().await;
    let source = with_table().await;
    let arguments = import(&[
        "--community-table",
        "flamingockAuditLog",
        "--source-time-zone",
        "Europe/Berlin",
    ]);
    let environment = [
        ("DATABASE_URL", server.database.url.as_str()),
        ("SOURCE_DATABASE_URL", source.url.as_str()),
    ];
    let ran = ServerCommand::run(&arguments, &environment).await;
    assert_eq!(ran.code, Some(0), "{}{}", ran.output, ran.log);
    assert!(ran.output.contains("10 records: 10 entries"), "{}", ran.output);

    let runner = server.runner("billing").await;
    let plan = runner
        .plan(&Pipeline::of("schema", &["applied", "decided"]))
        .await;
    assert_eq!(plan.action, PlanAction::Continue, "{plan:?}");
    let rest = [
        "crashed",
        "retried",
        "failed-in-transaction",
        "half-done",
        "undone",
    ];
    let plan = runner.granted(&Pipeline::of("schema", &rest)).await;
    assert_eq!(
        actions(&plan),
        [
            ("crashed", ChangeAction::ManualIntervention),
            ("retried", ChangeAction::Apply),
            ("failed-in-transaction", ChangeAction::Apply),
            ("half-done", ChangeAction::ManualIntervention),
            ("undone", ChangeAction::Apply),
        ]
    );

    let entries = server.operator().audit(&runner).await;
    let told: Vec<_> = entries
        .iter()
        .map(|entry| (entry.change_id.as_str(), entry.state.as_str()))
        .collect();
    let expected: Vec<_> = ROWS.iter().map(|(change, state, ..)| (*change, *state)).collect();
    assert_eq!(told, expected);
    let entry = &entries[1];
    // Noon in Berlin's summer.
    assert_eq!(entry.applied_at_epoch_millis, Some(1_782_900_000_250));
    assert_eq!(entry.execution_id, "e-1");
    assert_eq!(entry.stage_id.as_deref(), Some("schema"));
    assert_eq!(entry.class_name.as_deref(), Some("com.acme.C"));
    assert_eq!(entry.metadata, Some(serde_json::json!("{tier=gold}")));
    assert_eq!(entry.tx_strategy.as_deref(), Some("TX_SHARED"));
    assert_eq!(entry.order.as_deref(), Some("0001"));
    assert_eq!(
        (entry.transaction_flag, entry.system_change),
        (Some(true), Some(false))
    );
    let note = entry.note.as_deref().unwrap_or_default();
    assert!(
        note.contains("table flamingockauditlog of postgres") && note.ends_with("row 2"),
        "{note}"
    );
    assert!(server.operator().verification(&runner).await.intact);

    runner.release().await.expect(200);
    let again = ServerCommand::run(&arguments, &environment).await;
    assert!(
        again.output.starts_with("nothing was written: "),
        "{}",
        again.output
    );
    assert!(again.output.contains("10 recorded before"), "{}", again.output);
}

#[tokio::test]
async fn clocks_that_disagree_are_read_as_community_reads_them() {
    // Written first, by a host whose clock is a minute ahead: for Community, and so here, it is the latest word.
    let server = TestServer::start().await;
    let source = Database::empty().await;
    source.execute(TABLE).await;
    source
        .execute(
            "INSERT INTO flamingockAuditLog (execution_id, change_id, created_at, state) VALUES
                 ('e-1', 'a', '2026-07-01 12:01:00', 'APPLIED'),
                 ('e-2', 'a', '2026-07-01 12:00:10', 'MANUAL_MARKED_AS_ROLLED_BACK')",
        )
        .await;
    let arguments = import(&["--community-table", "public.flamingockAuditLog"]);
    let environment = [
        ("DATABASE_URL", server.database.url.as_str()),
        ("SOURCE_DATABASE_URL", source.url.as_str()),
    ];
    let ran = ServerCommand::run(&arguments, &environment).await;
    assert_eq!(ran.code, Some(0), "{}{}", ran.output, ran.log);
    assert!(
        ran.output.contains("a  APPLIED: is not run again"),
        "{}",
        ran.output
    );
    let runner = server.runner("billing").await;
    assert_eq!(
        server.operator().states(&runner, "a").await,
        ["APPLIED", "late MANUAL_MARKED_AS_ROLLED_BACK"]
    );
}

#[tokio::test]
async fn a_collection_of_community_becomes_the_history_of_the_service() {
    let server = TestServer::start().await;
    let record = |change: &str, state: &str, tx_strategy: &str| {
        format!(
            r#"{{"_id":{{"$oid":"6872c5b07f2a3b0001c0ffee"}},"executionId":"e-1","stageId":"schema","changeId":"{change}","author":"lin","createdAt":{{"$date":"2026-07-01T12:00:00.250Z"}},"state":"{state}","type":"STANDARD_TEMPLATE","invokedClass":"com.acme.T","invokedMethod":"apply","sourceFile":"t.yaml","metadata":{{"tier":"gold"}},"executionMillis":17,"executionHostname":"node-a","errorTrace":null,"systemChange":false,"txStrategy":"{tx_strategy}","targetSystemId":"db","changeOrder":"0001","recoveryStrategy":"MANUAL_INTERVENTION","transactionFlag":true}}"#
        )
    };
    let export = file(&[
        record("a", "STARTED", "NON_TX"),
        record("a", "APPLIED", "NON_TX"),
        record("b", "FAILED", "TX_SHARED"),
    ]);
    done(&server.database, &["--community", &export]).await;
    let runner = server.runner("billing").await;
    let plan = runner.granted(&Pipeline::of("schema", &["a", "b"])).await;
    assert_eq!(
        actions(&plan),
        [("a", ChangeAction::Skip), ("b", ChangeAction::Apply)]
    );
    let entries = server.operator().audit(&runner).await;
    assert_eq!(entries[0].applied_at_epoch_millis, Some(1_782_907_200_250));
    assert_eq!(entries[0].metadata, Some(serde_json::json!({"tier": "gold"})));
    assert_eq!(entries[0].change_type.as_deref(), Some("STANDARD_TEMPLATE"));
}
