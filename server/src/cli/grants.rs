//! The least rights that a server needs, for a role that does not own the tables.
//!
//! The triggers that keep the audit append-only bind everybody, but who owns a table can drop them. A server that
//! connects as a role with these rights cannot.

use sqlx::{AssertSqlSafe, Connection as _, PgConnection};

use super::failure::Failure;

/// Every table has its line: a new one without a decision is refused here and by a test.
const GRANTS: &[(&str, &str)] = &[
    ("_sqlx_migrations", "SELECT"),
    ("organisations", "SELECT, INSERT, UPDATE"),
    ("projects", "SELECT, INSERT, UPDATE"),
    ("environments", "SELECT, INSERT, UPDATE"),
    ("services", "SELECT, INSERT, UPDATE"),
    ("api_tokens", "SELECT, INSERT, UPDATE"),
    // Made, and removed when no session needs them; a key never changes.
    ("signing_keys", "SELECT, INSERT, DELETE"),
    ("audit_streams", "SELECT, INSERT, UPDATE"),
    ("executions", "SELECT, INSERT, UPDATE"),
    ("locks", "SELECT, INSERT, UPDATE"),
    // Appended to, and nothing else. Its partitions are reached through it only.
    ("audit_entries", "SELECT, INSERT"),
    // Appended to; of a key, the private half is forgotten by an update.
    ("checkpoint_keys", "SELECT, INSERT, UPDATE"),
    ("checkpoints", "SELECT, INSERT"),
    ("change_states", "SELECT, INSERT, UPDATE"),
    // Forgotten when they are accounted for.
    ("mark_reports", "SELECT, INSERT, UPDATE, DELETE"),
    // Appended to, and nothing else.
    ("admin_actions", "SELECT, INSERT"),
    // Made, and ended once.
    ("freeze_windows", "SELECT, INSERT, UPDATE"),
    // Appended to, and nothing else.
    ("change_approvals", "SELECT, INSERT"),
    ("approval_requests", "SELECT, INSERT, UPDATE"),
    ("policy_stops", "SELECT, INSERT, UPDATE"),
    // Appended to, and nothing else.
    ("change_checksums", "SELECT, INSERT"),
    // Written by triggers in the name of whoever names something; a former name may be given up.
    ("unit_names", "SELECT, INSERT, DELETE"),
    ("refused_starts", "SELECT, INSERT"),
    // Forgotten after a while.
    ("runner_sightings", "SELECT, INSERT, UPDATE, DELETE"),
    // Appended to by the triggers, and nothing else.
    ("lock_changes", "SELECT, INSERT"),
    ("event_logs", "SELECT, INSERT, UPDATE"),
    // Ordered once; forgotten after a while.
    ("event_log", "SELECT, INSERT, DELETE"),
    ("event_positions", "SELECT, INSERT, UPDATE"),
    // Taken out when they are put into the order.
    ("event_actions", "SELECT, INSERT, DELETE"),
    // Overwritten in place.
    ("change_progress", "SELECT, INSERT, UPDATE"),
    // Appended to, and nothing else.
    ("execution_cancellations", "SELECT, INSERT"),
];

pub(super) async fn grant(conn: &mut PgConnection, role: &str) -> Result<(), Failure> {
    let failure =
        |error: sqlx::Error| Failure::new(format!("cannot grant rights to role {role}")).because(error);

    let known: Option<(String, String, bool, bool)> = sqlx::query_as(
        "SELECT quote_ident(r.rolname), quote_ident(current_schema()), r.rolsuper,
                EXISTS (SELECT 1 FROM pg_class c
                         WHERE c.oid = 'audit_entries'::regclass AND pg_has_role(r.oid, c.relowner, 'MEMBER'))
           FROM pg_roles r WHERE r.rolname = $1",
    )
    .bind(role)
    .fetch_optional(&mut *conn)
    .await
    .map_err(failure)?;
    let Some((quoted, schema, is_superuser, is_owner)) = known else {
        return Err(Failure::new(format!("there is no role {role} in the database"))
            .help("make it first: CREATE ROLE name LOGIN PASSWORD '…'"));
    };
    if is_superuser || is_owner {
        return Err(Failure::new(format!(
            "role {role} owns the tables or is a superuser: no grant can restrict it"
        ))
        .help("use a role of its own for the server, and run `migrate` as another"));
    }
    let undecided: Vec<String> = sqlx::query_scalar(
        "SELECT c.relname::text FROM pg_class c
          WHERE c.relnamespace = current_schema()::regnamespace AND c.relkind IN ('r', 'p') AND NOT c.relispartition
            AND c.relname <> ALL($1)
            AND pg_has_role(c.relowner, 'MEMBER')
          ORDER BY 1",
    )
    .bind(GRANTS.iter().map(|(table, _)| *table).collect::<Vec<_>>())
    .fetch_all(&mut *conn)
    .await
    .map_err(failure)?;
    if !undecided.is_empty() {
        tracing::warn!(
            tables = undecided.join(", "),
            "tables that are not this server's get no rights"
        );
    }

    let mut tx = conn.begin().await.map_err(failure)?;
    let mut statements = vec![
        // What was given before and is not needed any more.
        format!("REVOKE ALL ON ALL TABLES IN SCHEMA {schema} FROM {quoted}"),
        format!("GRANT USAGE ON SCHEMA {schema} TO {quoted}"),
    ];
    statements.extend(
        GRANTS
            .iter()
            .map(|(table, rights)| format!("GRANT {rights} ON {schema}.{table} TO {quoted}")),
    );
    for statement in statements {
        // Safe: names come quoted from the database, the rest is ours.
        sqlx::query(AssertSqlSafe(statement))
            .execute(&mut *tx)
            .await
            .map_err(failure)?;
    }
    tx.commit().await.map_err(failure)
}
