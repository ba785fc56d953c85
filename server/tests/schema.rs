//! What the database itself guarantees: append-only, fences, the chain's twin, and rules about the schema that hold for
//! tables not yet written.

mod support;

use flamingock_audit_chain::GENESIS;
use flamingock_domain::audit::Source;
use flamingock_domain::time::Timestamp;
use flamingock_server::store::audit::{self, Fact};
use flamingock_server::store::refusals::{self, NewRefusal};
use flamingock_server::store::{Scope, StoreError, checkpoints, streams};
use sqlx::{AssertSqlSafe, PgConnection, PgPool, Row as _};

/// An organisation with everything down to a service.
async fn scope(pool: &PgPool) -> Scope {
    let row = sqlx::query(
        "WITH o AS (INSERT INTO organisations (name) VALUES ('acme') RETURNING id),
              p AS (INSERT INTO projects (organisation_id, name) SELECT id, 'payments' FROM o RETURNING id),
              e AS (INSERT INTO environments (project_id, name) SELECT id, 'production' FROM p RETURNING id),
              s AS (INSERT INTO services (project_id, name) SELECT id, 'billing' FROM p RETURNING id)
         SELECT e.id, s.id FROM e, s",
    )
    .fetch_one(pool)
    .await
    .expect("the tenancy is written");
    Scope {
        environment_id: row.get(0),
        service_id: row.get(1),
    }
}

/// Every field in use, with texts that are awkward to measure and to quote.
fn rich(change: &str) -> Fact {
    let some = |text: &str| Some(text.to_owned());
    Fact {
        execution_ref: "9001".to_owned(),
        change_id: change.to_owned(),
        stage_id: some("schéma ✓"),
        author: some(""),
        applied_at_ms: Some(-1),
        state: "APPLIED".to_owned(),
        class_name: some("com.acme._0001__Créer"),
        method_name: some("it's \"quoted\", 3:abc,"),
        metadata: some("{\"a\": [1, 2]}"),
        execution_millis: Some(i64::MAX),
        execution_hostname: some("node-a\nnode-b"),
        error_trace: some("🦩"),
        change_type: some("STANDARD_CODE"),
        tx_strategy: some("NON_TX"),
        target_system_id: some("shell"),
        change_order: some("0001"),
        recovery_strategy: some("ALWAYS_RETRY"),
        transaction_flag: Some(true),
        system_change: Some(false),
        runner_id: some("billing@a#1"),
        fence: Some(7),
        actor: "credential:1".to_owned(),
        note: some("-,"),
    }
}

/// Nothing that may be absent is there.
fn bare(change: &str) -> Fact {
    Fact {
        change_id: change.to_owned(),
        state: "STARTED".to_owned(),
        actor: "server".to_owned(),
        ..Fact::default()
    }
}

async fn append(pool: &PgPool, scope: Scope, facts: Vec<Fact>) {
    let mut tx = pool.begin().await.expect("it begins");
    let mut stream = streams::lock(&mut tx, &[scope])
        .await
        .expect("it is locked")
        .remove(0);
    let now = Timestamp::from_micros(1_789_374_067_512_345);
    let entries: Vec<_> = facts
        .into_iter()
        .enumerate()
        .map(|(at, fact)| stream.link(fact, Source::Runner, at % 2 == 1, now))
        .collect();
    audit::append(&mut tx, &entries).await.expect("it is appended");
    streams::update_heads(&mut tx, &[stream])
        .await
        .expect("the head moves");
    tx.commit().await.expect("it commits");
}

async fn broken(pool: &PgPool, scope: Scope) -> Option<i64> {
    let mut conn = pool.acquire().await.expect("a connection");
    let whole = checkpoints::verify_stretch(&mut conn, scope, (0, GENESIS), 1_000)
        .await
        .expect("it is verified")
        .expect("the stream is there");
    assert!(whole.complete);
    // Operators ask the database itself by the older function: the two must agree.
    let by_hand: Option<i64> = sqlx::query_scalar("SELECT broken_seq FROM audit_verify($1)")
        .bind(whole.stream_id)
        .fetch_optional(&mut *conn)
        .await
        .expect("it is verified");
    let broken = whole.broken.map(|(seq, _)| seq);
    assert_eq!(broken.is_some(), by_hand.is_some());
    broken
}

/// As somebody who owns the database and switches its guards off.
async fn tamper(conn: &mut PgConnection, statement: &str) {
    let script = format!(
        "SET session_replication_role = replica; {statement}; SET session_replication_role = origin;"
    );
    sqlx::raw_sql(AssertSqlSafe(script))
        .execute(conn)
        .await
        .expect(statement);
}

/// Invariant 8. The chain is linked in Rust and recomputed in SQL: both must mean the same bytes.
#[tokio::test]
async fn the_database_recomputes_the_chain_that_the_server_linked() {
    let pool = support::database().await;
    let scope = scope(&pool).await;
    append(&pool, scope, vec![rich("a/b"), bare("c"), rich("é")]).await;
    append(&pool, scope, vec![bare("d")]).await;
    assert_eq!(broken(&pool, scope).await, None);
}

/// Invariant 8. One test for every column that is hashed, so that none can be forgotten on either side.
#[tokio::test]
async fn a_change_to_any_recorded_field_breaks_the_chain_at_that_entry() {
    let pool = support::database().await;
    let scope = scope(&pool).await;
    append(&pool, scope, vec![bare("a"), rich("b"), bare("c")]).await;
    let columns: Vec<(String, String)> = sqlx::query_as(
        "SELECT column_name::text, data_type::text FROM information_schema.columns
          WHERE table_name = 'audit_entries' AND column_name NOT IN ('stream_id', 'seq')",
    )
    .fetch_all(&pool)
    .await
    .expect("the catalogue answers");
    assert!(columns.len() > 25, "{columns:?}");
    let mut conn = pool.acquire().await.expect("a connection");
    for (column, kind) in columns {
        let other = match kind.as_str() {
            "bigint" => format!("coalesce({column}, 0) - 1"),
            "boolean" => format!("NOT coalesce({column}, false)"),
            "timestamp with time zone" => format!("{column} + interval '1 microsecond'"),
            "bytea" => format!("sha256({column})"),
            "text" if column == "source" => "'IMPORT'".to_owned(),
            _ => format!("coalesce({column}, '') || 'x'"),
        };
        tamper(
            &mut conn,
            &format!(
                "CREATE TEMP TABLE kept AS SELECT * FROM audit_entries WHERE seq = 2;
                 UPDATE audit_entries SET {column} = {other} WHERE seq = 2"
            ),
        )
        .await;
        let found = broken(&pool, scope).await;
        // A hash that was altered shows where it is; one that follows from it, where it is followed.
        assert!(found == Some(2), "{column}: {found:?}");
        tamper(
            &mut conn,
            "DELETE FROM audit_entries WHERE seq = 2; INSERT INTO audit_entries SELECT * FROM kept; DROP TABLE kept",
        )
        .await;
        assert_eq!(broken(&pool, scope).await, None, "{column} was put back");
    }
}

/// Invariant 8.
#[tokio::test]
async fn an_entry_taken_out_and_a_tail_cut_off_are_both_seen() {
    let pool = support::database().await;
    let scope = scope(&pool).await;
    append(&pool, scope, vec![bare("a"), bare("b"), bare("c")]).await;
    let mut conn = pool.acquire().await.expect("a connection");
    tamper(
        &mut conn,
        "CREATE TEMP TABLE kept AS SELECT * FROM audit_entries WHERE seq = 2; DELETE FROM audit_entries WHERE seq = 2",
    )
    .await;
    assert_eq!(broken(&pool, scope).await, Some(2));
    tamper(
        &mut conn,
        "INSERT INTO audit_entries SELECT * FROM kept; DELETE FROM audit_entries WHERE seq = 3",
    )
    .await;
    assert_eq!(broken(&pool, scope).await, Some(3));
}

async fn refusal(pool: &PgPool, statement: &str) -> String {
    match sqlx::raw_sql(AssertSqlSafe(statement.to_owned()))
        .execute(pool)
        .await
    {
        Err(error) => match StoreError::from(error) {
            StoreError::Constraint { name, .. } => name,
            other => panic!("{statement}: {other:?}"),
        },
        Ok(_) => panic!("{statement} was accepted"),
    }
}

/// The data model's promise: not even the owner of the tables changes an entry by an ordinary statement.
#[tokio::test]
async fn audit_entries_cannot_be_updated_deleted_or_truncated() {
    let pool = support::database().await;
    let scope = scope(&pool).await;
    append(&pool, scope, vec![bare("a")]).await;
    let partition: String = sqlx::query_scalar("SELECT tableoid::regclass::text FROM audit_entries")
        .fetch_one(&pool)
        .await
        .expect("the entry is in a partition");
    for statement in [
        "UPDATE audit_entries SET author = 'me'".to_owned(),
        "DELETE FROM audit_entries".to_owned(),
        "TRUNCATE audit_entries".to_owned(),
        format!("UPDATE {partition} SET author = 'me'"),
        format!("DELETE FROM {partition}"),
        format!("TRUNCATE {partition}"),
    ] {
        assert_eq!(
            refusal(&pool, &statement).await,
            "audit_entries_append_only",
            "{statement}"
        );
    }
    assert_eq!(broken(&pool, scope).await, None);
}

/// What people approved and accepted is corrected by a further decision, never by editing.
#[tokio::test]
async fn approvals_and_accepted_checksums_cannot_be_updated_deleted_or_truncated() {
    let pool = support::database().await;
    let scope = scope(&pool).await;
    append(&pool, scope, vec![bare("a")]).await;
    for statement in [
        "INSERT INTO change_approvals (stream_id, change_id, decision, reason, actor)
         SELECT id, 'a', 'APPROVED', 'read it', 'ada' FROM audit_streams",
        "INSERT INTO change_checksums (stream_id, change_id, seq, checksum, source)
         SELECT id, 'a', 1, 'sha256-v1:1', 'RUNNER' FROM audit_streams",
    ] {
        sqlx::query(statement).execute(&pool).await.expect(statement);
    }
    for (table, edit) in [
        ("change_approvals", "decision = 'WITHDRAWN'"),
        ("change_checksums", "checksum = 'sha256-v1:2'"),
    ] {
        for statement in [
            format!("UPDATE {table} SET {edit}"),
            format!("DELETE FROM {table}"),
            format!("TRUNCATE {table}"),
        ] {
            assert_eq!(
                refusal(&pool, &statement).await,
                format!("{table}_append_only"),
                "{statement}"
            );
        }
    }
}

/// Invariant 1, kept by the database whoever asks.
#[tokio::test]
async fn a_refused_start_is_kept_once_and_cannot_be_updated_deleted_or_truncated() {
    let pool = support::database().await;
    let scope = scope(&pool).await;
    append(&pool, scope, Vec::new()).await;
    let refusal_of = |reason| NewRefusal {
        change_id: "a",
        execution_ref: "9001",
        runner_id: "billing@node-a#5f0c",
        reason,
        fence: None,
        lock_owner: None,
        lock_fence: None,
    };
    let mut conn = pool.acquire().await.expect("a connection");
    for reason in [
        "lease_expired",
        "lease_expired",
        "not_the_holder",
        "lease_expired",
    ] {
        refusals::append(&mut conn, scope, &refusal_of(reason))
            .await
            .expect("it is kept, or was before");
    }
    let kept: i64 = sqlx::query_scalar("SELECT count(*) FROM refused_starts")
        .fetch_one(&mut *conn)
        .await
        .expect("a number");
    assert_eq!(kept, 2);
    for statement in [
        "UPDATE refused_starts SET reason = 'x'",
        "DELETE FROM refused_starts",
        "TRUNCATE refused_starts",
    ] {
        assert_eq!(
            refusal(&pool, statement).await,
            "refused_starts_append_only",
            "{statement}"
        );
    }
}

#[tokio::test]
async fn a_fence_never_goes_back_and_grows_with_every_other_owner() {
    let pool = support::database().await;
    let scope = scope(&pool).await;
    sqlx::query(
        "INSERT INTO locks (environment_id, key, fence, owner, acquisition_id, lease_ms, expires_at)
         VALUES ($1, '1', 5, 'a', 'a-1', 60000, clock_timestamp())",
    )
    .bind(scope.environment_id)
    .execute(&pool)
    .await
    .expect("the lock is written");
    for statement in [
        "UPDATE locks SET fence = 4",
        "UPDATE locks SET owner = 'b'",
        "DELETE FROM locks",
        "TRUNCATE locks",
    ] {
        assert_eq!(
            refusal(&pool, statement).await,
            "locks_fence_guard",
            "{statement}"
        );
    }
    for statement in [
        "UPDATE locks SET expires_at = clock_timestamp(), acquisition_id = 'a-2'",
        "UPDATE locks SET owner = 'b', fence = 6",
        "UPDATE locks SET owner = NULL, acquisition_id = NULL, lease_ms = NULL, expires_at = NULL",
    ] {
        sqlx::query(statement).execute(&pool).await.expect(statement);
    }
}

/// Live events lean on it: no change of hands is missing, whoever makes it, and an extension is none.
#[tokio::test]
async fn the_database_keeps_who_held_a_lock_without_gaps_and_for_good() {
    let pool = support::database().await;
    let scope = scope(&pool).await;
    append(&pool, scope, vec![bare("a"), bare("b")]).await;
    sqlx::query("INSERT INTO locks (environment_id, key) VALUES ($1, $2)")
        .bind(scope.environment_id)
        .bind(scope.service_id.to_string())
        .execute(&pool)
        .await
        .expect("the lock is written");
    for statement in [
        "UPDATE locks SET fence = 1, owner = 'a', acquisition_id = 'a-1', lease_ms = 1000, execution_id = 7,
                          expires_at = clock_timestamp()",
        "UPDATE locks SET acquisition_id = 'a-2', expires_at = clock_timestamp()",
        "UPDATE locks SET fence = 2, acquisition_id = 'a-3', execution_id = 8",
        "UPDATE locks SET fence = 3, owner = 'b', acquisition_id = 'b-1', execution_id = NULL",
        "UPDATE locks SET owner = NULL, acquisition_id = NULL, lease_ms = NULL, expires_at = NULL",
        "UPDATE locks SET fence = 4",
    ] {
        sqlx::query(statement).execute(&pool).await.expect(statement);
    }
    let kept: Vec<String> = sqlx::query_scalar(
        "SELECT concat_ws(' ', number, kind, owner, previous_owner, execution_id, 'ended', ended_execution_id, 'at', audit_seq)
           FROM lock_changes ORDER BY number",
    )
    .fetch_all(&pool)
    .await
    .expect("it is kept");
    assert_eq!(
        kept,
        [
            "1 GRANTED a 7 ended at 2",
            "2 RENEWED a 8 ended 7 at 2",
            "3 TAKEN_OVER b a ended 8 at 2",
            "4 RELEASED b ended at 2",
        ]
    );
    for statement in [
        "UPDATE lock_changes SET owner = 'c'",
        "DELETE FROM lock_changes",
        "TRUNCATE lock_changes",
    ] {
        assert_eq!(
            refusal(&pool, statement).await,
            "lock_changes_append_only",
            "{statement}"
        );
    }
}

/// A stream that changed hands would let a service plan on another's history.
#[tokio::test]
async fn a_stream_keeps_its_service_and_its_head_never_goes_back() {
    let pool = support::database().await;
    let scope = scope(&pool).await;
    append(&pool, scope, vec![bare("a")]).await;
    for statement in [
        "UPDATE audit_streams SET service_id = service_id + 1",
        "UPDATE audit_streams SET environment_id = environment_id + 1",
        "UPDATE audit_streams SET head_seq = 0",
        "DELETE FROM audit_streams",
        "TRUNCATE audit_streams CASCADE",
    ] {
        assert_eq!(
            refusal(&pool, statement).await,
            "audit_streams_guard",
            "{statement}"
        );
    }
    assert_eq!(broken(&pool, scope).await, None);
}

/// Who did what is kept as it was written, whoever owns the table.
#[tokio::test]
async fn admin_actions_cannot_be_updated_deleted_or_truncated() {
    let pool = support::database().await;
    sqlx::query("INSERT INTO admin_actions (action, target, actor, role) VALUES ('token_revoke', 'ci', 'token:1', 'admin')")
        .execute(&pool)
        .await
        .expect("it is recorded");
    for statement in [
        "UPDATE admin_actions SET actor = 'somebody else'",
        "DELETE FROM admin_actions",
        "TRUNCATE admin_actions",
    ] {
        assert_eq!(
            refusal(&pool, statement).await,
            "admin_actions_append_only",
            "{statement}"
        );
    }
}

/// A second one under a name that is or was another's would begin with an empty history and run everything again.
#[tokio::test]
async fn nothing_gets_a_name_that_something_else_has_or_had() {
    let pool = support::database().await;
    scope(&pool).await;
    for (table, kind, columns) in [
        (
            "organisations",
            "organisation",
            "name) SELECT name FROM unit_names WHERE kind = 'organisation'",
        ),
        (
            "projects",
            "project",
            "organisation_id, name) SELECT within_id, name FROM unit_names WHERE kind = 'project'",
        ),
        (
            "environments",
            "environment",
            "project_id, name) SELECT within_id, name FROM unit_names WHERE kind = 'environment'",
        ),
        (
            "services",
            "service",
            "project_id, name) SELECT within_id, name FROM unit_names WHERE kind = 'service'",
        ),
    ] {
        for statement in [
            format!("UPDATE {table} SET name = name || ' (renamed)'"),
            // Its own name may always come back.
            format!("UPDATE {table} SET name = replace(name, ' (renamed)', '')"),
            format!("UPDATE {table} SET name = 'another'"),
        ] {
            sqlx::raw_sql(AssertSqlSafe(statement.clone()))
                .execute(&pool)
                .await
                .expect("it is renamed");
        }
        let twin = format!("INSERT INTO {table} ({columns} AND name <> 'another' LIMIT 1");
        assert_eq!(refusal(&pool, &twin).await, "unit_names_pkey", "{kind}");
    }
}

/// Rules for every table, those not yet written included.
#[tokio::test]
async fn every_table_has_a_key_and_every_reference_an_index_and_every_constraint_a_telling_name() {
    let pool = support::database().await;
    let faults: Vec<String> = sqlx::query_scalar(
        "WITH ours AS (
             SELECT c.oid, c.relname FROM pg_class c
              WHERE c.relnamespace = 'public'::regnamespace AND c.relkind IN ('r', 'p') AND NOT c.relispartition
                AND c.relname NOT LIKE '\\_sqlx%')
         SELECT format('%s has no primary key', o.relname) FROM ours o
          WHERE NOT EXISTS (SELECT FROM pg_constraint k WHERE k.conrelid = o.oid AND k.contype = 'p')
         UNION ALL
         SELECT format('%s: %s has no index', o.relname, k.conname) FROM ours o JOIN pg_constraint k ON k.conrelid = o.oid
          WHERE k.contype = 'f'
            AND NOT EXISTS (SELECT FROM pg_index i WHERE i.indrelid = o.oid AND i.indkey[0] = k.conkey[1])
         UNION ALL
         SELECT format('%s: %s is named by nobody', o.relname, k.conname)
           FROM ours o JOIN pg_constraint k ON k.conrelid = o.oid
          WHERE k.contype <> 'n' AND k.conname !~ ('^' || o.relname || '(_.+)?_(pkey|key|fkey|check)$')",
    )
    .fetch_all(&pool)
    .await
    .expect("the catalogue answers");
    assert_eq!(faults, Vec::<String>::new());
}
