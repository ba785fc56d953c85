//! What records of other products mean here: tables, without a database.

use flamingock_domain::audit::{AuditState, ChangeState, RecoveryStrategy, Source, TxStrategy};
use flamingock_server::app::imports::Imported;
use flamingock_server::app::reports::Outcome;
use flamingock_server::import::mongock::Meaning;
use flamingock_server::import::{Origin, RawRecord, Summary, Unusable, community, extended_json, mongock};
use serde_json::{Map, Value, json};

fn object(value: &Value) -> Map<String, Value> {
    value.as_object().expect("an object").clone()
}

fn origin() -> Origin {
    Origin {
        by: "mara".to_owned(),
        source: "Mongock's change log, log.jsonl".to_owned(),
        unit: "line",
    }
}

#[test]
fn times_are_read_in_every_form_that_exports_have() {
    let at = 1_551_435_072_123_i64;
    for told in [
        json!({"$date": "2019-03-01T10:11:12.123Z"}),
        json!({"$date": {"$numberLong": "1551435072123"}}),
        json!({"$date": 1_551_435_072_123_i64}),
        json!({"$date": "2019-03-01T11:11:12.123+01:00"}),
        json!({"$date": "2019-03-01T11:11:12.123+0100"}),
        json!({"$numberLong": "1551435072123"}),
        json!(1_551_435_072_123_i64),
        json!("1551435072123"),
        json!("2019-03-01T10:11:12.123"),
        json!("2019-03-01T10:11:12.123Z"),
    ] {
        assert_eq!(extended_json::time(&told), Some(at), "{told}");
    }
    for told in [
        json!(null),
        json!(true),
        json!("yesterday"),
        json!({}),
        json!({"$date": "2019"}),
        json!([1]),
    ] {
        assert_eq!(extended_json::time(&told), None, "{told}");
    }
}

#[test]
fn numbers_are_read_in_every_form_that_exports_have() {
    for (told, number) in [
        (json!(12), Some(12)),
        (json!(12.0), Some(12)),
        (json!({"$numberLong": "12"}), Some(12)),
        (json!({"$numberInt": "12"}), Some(12)),
        (json!({"$numberDouble": "12"}), Some(12)),
        (json!("12"), Some(12)),
        (json!("many"), None),
        (json!(null), None),
    ] {
        assert_eq!(
            extended_json::integer(&object(&json!({"n": told})), "n"),
            number,
            "{told}"
        );
    }
}

#[test]
fn every_state_of_mongock_has_a_meaning() {
    for (told, state, kept) in [
        ("EXECUTED", AuditState::Applied, "APPLIED"),
        ("executed", AuditState::Applied, "APPLIED"),
        ("FAILED", AuditState::Failed, "FAILED"),
        ("ROLLED_BACK", AuditState::RolledBack, "ROLLED_BACK"),
        ("ROLLBACK_FAILED", AuditState::RollbackFailed, "ROLLBACK_FAILED"),
        // Not one of Mongock's. Kept, so that a person is asked; left out, its change would never have run.
        ("PAUSED", AuditState::Unknown, "PAUSED"),
    ] {
        let document = object(&json!({"changeId": "a", "timestamp": 5, "state": told}));
        let Ok(Meaning::Record(record)) = mongock::read(&document) else {
            panic!("{told} is no record")
        };
        let fact = record.into_fact(&origin(), 3).expect("usable");
        assert_eq!((fact.state, fact.fact.state.as_str()), (state, kept), "{told}");
    }
    let ignored = object(&json!({"changeId": "a", "state": "IGNORED"}));
    assert_eq!(
        mongock::read(&ignored),
        Ok(Meaning::Ignored {
            change: "a".to_owned()
        })
    );
}

#[test]
fn a_record_of_mongock_keeps_all_that_it_says() {
    let document = object(&json!({
        "_id": {"$oid": "5c7905b07f2a3b0001c0ffee"}, "executionId": "2019-03-01T10:11:12.123-7f", "changeId": "a_before",
        "author": "mara", "timestamp": {"$date": "2019-03-01T10:11:12.123Z"}, "state": "EXECUTED",
        "type": "BEFORE_EXECUTION", "changeLogClass": "com.acme.A", "changeSetMethod": "before",
        "metadata": {"k": 1}, "executionMillis": {"$numberLong": "17"}, "executionHostName": "host-1",
        "errorTrace": "", "systemChange": true
    }));
    let Ok(Meaning::Record(record)) = mongock::read(&document) else {
        panic!("no record")
    };
    let fact = record.into_fact(&origin(), 3).expect("usable").fact;
    let text = |text: &str| Some(text.to_owned());
    assert_eq!(fact.execution_ref, "2019-03-01T10:11:12.123-7f");
    assert_eq!(fact.change_id, "a_before");
    assert_eq!(fact.stage_id, text("flamingock-legacy-stage"));
    assert_eq!(fact.author, text("mara"));
    assert_eq!(fact.applied_at_ms, Some(1_551_435_072_123));
    assert_eq!(fact.class_name, text("com.acme.A"));
    assert_eq!(fact.method_name, text("before"));
    assert_eq!(fact.metadata, text("{\"k\":1}"));
    assert_eq!(fact.execution_millis, Some(17));
    assert_eq!(fact.execution_hostname, text("host-1"));
    assert_eq!(fact.error_trace, None);
    assert_eq!(fact.change_type, text("MONGOCK_BEFORE"));
    assert_eq!((fact.tx_strategy, fact.target_system_id), (None, None));
    assert_eq!(fact.recovery_strategy, text("MANUAL_INTERVENTION"));
    assert_eq!((fact.system_change, fact.transaction_flag), (Some(true), None));
    assert_eq!((fact.runner_id, fact.fence), (None, None));
    assert_eq!(fact.actor, "import:mara");
    assert_eq!(
        fact.note,
        text("imported from Mongock's change log, log.jsonl, line 3")
    );
}

#[test]
fn a_record_of_community_keeps_all_that_it_says() {
    let document = object(&json!({
        "executionId": "2026-01-02-x", "stageId": "schema", "changeId": "a", "author": "lin", "createdAt": {"$date": 7},
        "state": "FAILED", "type": "STANDARD_TEMPLATE", "invokedClass": "T", "invokedMethod": "apply",
        "sourceFile": "a.yaml", "metadata": null, "executionMillis": 2, "executionHostname": "h", "errorTrace": "{}",
        "systemChange": false, "txStrategy": "TX_SHARED", "targetSystemId": "db", "changeOrder": "0001",
        "recoveryStrategy": "ALWAYS_RETRY", "transactionFlag": true
    }));
    let record = community::read(&document).expect("a record");
    let text = |text: &str| Some(text.to_owned());
    assert_eq!(
        record,
        RawRecord {
            execution: text("2026-01-02-x"),
            change: text("a"),
            stage: text("schema"),
            author: text("lin"),
            at_ms: Some(7),
            state: text("FAILED"),
            class_name: text("T"),
            method_name: text("apply"),
            metadata: None,
            execution_millis: Some(2),
            execution_hostname: text("h"),
            error_trace: text("{}"),
            change_type: text("STANDARD_TEMPLATE"),
            tx_strategy: text("TX_SHARED"),
            target_system: text("db"),
            order: text("0001"),
            recovery_strategy: text("ALWAYS_RETRY"),
            transaction_flag: Some(true),
            system_change: Some(false),
        }
    );
}

#[test]
fn what_a_record_lacks_is_named() {
    let long = "x".repeat(2_000);
    for (document, why) in [
        (
            json!({"timestamp": 1, "state": "EXECUTED"}),
            Unusable::Missing("changeId"),
        ),
        (
            json!({"changeId": " ", "timestamp": 1, "state": "EXECUTED"}),
            Unusable::Missing("changeId"),
        ),
        (
            json!({"changeId": "a", "state": "EXECUTED"}),
            Unusable::Missing("timestamp"),
        ),
        (
            json!({"changeId": "a", "timestamp": 1}),
            Unusable::Missing("state"),
        ),
        (json!({"state": "IGNORED"}), Unusable::Missing("changeId")),
        (
            json!({"changeId": "a", "timestamp": "soon", "state": "EXECUTED"}),
            Unusable::NotATime {
                field: "timestamp",
                found: "\"soon\"".to_owned(),
            },
        ),
    ] {
        let read = mongock::read(&object(&document)).and_then(|meaning| match meaning {
            Meaning::Record(record) => record.into_fact(&origin(), 1).map(|_| ()),
            Meaning::Ignored { .. } => Ok(()),
        });
        assert_eq!(read, Err(why), "{document}");
    }
    for id in ["a\nb", long.as_str()] {
        let record = RawRecord {
            change: Some(id.to_owned()),
            state: Some("APPLIED".to_owned()),
            ..RawRecord::default()
        };
        let refused = record.into_fact(&origin(), 1).err();
        assert!(matches!(refused, Some(Unusable::ChangeId(_))), "{refused:?}");
    }
}

#[test]
fn an_execution_is_the_same_with_every_import_and_never_one_of_ours() {
    for (told, at_ms, expected) in [
        (Some("2019-03-01, x"), Some(5), "2019-03-01, x"),
        (Some("17"), Some(5), "imported-17"),
        (Some("017"), Some(5), "imported-017"),
        (Some(" "), Some(5), "imported-at-5"),
        (None, Some(5), "imported-at-5"),
        (None, None, "imported-at-0"),
    ] {
        let record = RawRecord {
            execution: told.map(str::to_owned),
            change: Some("a".to_owned()),
            state: Some("APPLIED".to_owned()),
            at_ms,
            ..RawRecord::default()
        };
        let fact = record.into_fact(&origin(), 1).expect("usable").fact;
        assert_eq!(fact.execution_ref, expected, "{told:?}");
    }
}

fn stands(state: AuditState, source: Source) -> ChangeState {
    ChangeState {
        seq: 1,
        state,
        tx_strategy: TxStrategy::NonTx,
        recovery: RecoveryStrategy::ManualIntervention,
        execution: None,
        source,
    }
}

#[test]
fn the_account_says_what_becomes_of_every_change_and_what_is_left_out() {
    let appended = |late| Outcome::Appended { seq: 1, late };
    let mut summary = Summary::new("line");
    for (change, outcome, latest) in [
        ("a", appended(false), stands(AuditState::Failed, Source::Import)),
        ("a", appended(false), stands(AuditState::Applied, Source::Import)),
        (
            "undone",
            appended(false),
            stands(AuditState::RolledBack, Source::Import),
        ),
        (
            "broken",
            appended(false),
            stands(AuditState::Failed, Source::Import),
        ),
        ("ran", appended(true), stands(AuditState::Applied, Source::Runner)),
        (
            "again",
            Outcome::Duplicate { seq: 1, late: false },
            stands(AuditState::Applied, Source::Import),
        ),
    ] {
        let latest = Some(latest);
        summary.imported(change, Imported { outcome, latest });
    }
    summary.ignored("a");
    assert_eq!(
        summary.objections(),
        0,
        "an IGNORED beside an EXECUTED says nothing new"
    );
    assert_eq!(summary.written(), 5);
    summary.ignored("silent");
    for line in 0..22 {
        summary.unusable(line + 8, Unusable::Missing("state"));
    }
    assert_eq!(summary.objections(), 23);
    let text = summary.to_string();
    let expected = [
        "  a       APPLIED: is not run again",
        "  undone  ROLLED_BACK: runs at the next start",
        "  broken  FAILED: stops the next start until a person decides",
        "  ran     stays APPLIED: is not run again; a runner reported it here, 1 imported as evidence only",
        "  again   APPLIED: is not run again",
        "30 records: 4 entries, 1 more as evidence that changes no state, 1 recorded before, 2 IGNORED",
        "cannot be taken:",
        "  line 8: `state` is missing or empty",
    ];
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines[..8], expected, "{text}");
    assert_eq!(lines[26], "  line 27: `state` is missing or empty");
    assert_eq!(lines[27], "  and 2 more");
    assert!(
        lines[28].starts_with("  change silent: only IGNORED records"),
        "{text}"
    );
}
