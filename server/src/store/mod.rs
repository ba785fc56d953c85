//! SQL, row types and conversions. A store function takes its caller's connection: the use case decides what is one
//! transaction. Names start with what happens to the database (`load_`, `lock_`, `insert_`, `append_`, `update_`,
//! `list_`); every function on a tenant's data takes the scope first.

pub mod actions;
pub mod approvals;
pub mod audit;
pub mod audit_tail;
pub mod cancellations;
pub mod checkpoints;
pub mod checksums;
pub mod difference;
pub mod entries;
pub mod error;
pub mod events;
pub mod executions;
pub mod freezes;
pub mod keys;
pub mod lock_changes;
pub mod locks;
pub mod policies;
pub mod policy_stops;
pub mod progress;
pub mod refusals;
pub mod runs;
pub mod sightings;
pub mod states;
pub mod streams;
pub mod tenancy;
pub mod tokens;
pub mod units;

use std::borrow::Cow;
use std::time::Duration;

use sqlx::migrate::{Migration, MigrationType, Migrator};
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sqlx::{Connection as _, PgConnection, PgPool, Postgres, Transaction};

pub use error::StoreError;

/// The scope that every runner call works in; comes from the caller's session, never from path or body.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Scope {
    pub environment_id: i64,
    pub service_id: i64,
}

/// The migrations, compiled in: version, description, SQL.
const MIGRATIONS: &[(i64, &str, &str)] = &[
    (1, "tenancy", include_str!("../../../migrations/0001_tenancy.sql")),
    (
        2,
        "coordination",
        include_str!("../../../migrations/0002_coordination.sql"),
    ),
    (
        3,
        "audit chain",
        include_str!("../../../migrations/0003_audit_chain.sql"),
    ),
    (4, "guards", include_str!("../../../migrations/0004_guards.sql")),
    (
        5,
        "admin actions",
        include_str!("../../../migrations/0005_admin_actions.sql"),
    ),
    (
        6,
        "tenancy by people",
        include_str!("../../../migrations/0006_tenancy_by_people.sql"),
    ),
    (
        7,
        "audit reading",
        include_str!("../../../migrations/0007_audit_reading.sql"),
    ),
    (
        8,
        "operations",
        include_str!("../../../migrations/0008_operations.sql"),
    ),
    (
        9,
        "policies",
        include_str!("../../../migrations/0009_policies.sql"),
    ),
    (10, "events", include_str!("../../../migrations/0010_events.sql")),
    (12, "probes", include_str!("../../../migrations/0012_probes.sql")),
    (
        13,
        "long changes",
        include_str!("../../../migrations/0013_long_changes.sql"),
    ),
];

/// Runs them, each in a transaction, under an advisory lock: replicas that start together do not meet.
pub fn migrator() -> Migrator {
    let migrations = MIGRATIONS
        .iter()
        .map(|(version, description, sql)| {
            Migration::new(
                *version,
                Cow::Borrowed(*description),
                MigrationType::Simple,
                sqlx::SqlStr::from_static(sql),
                false,
            )
        })
        .collect::<Vec<_>>();
    Migrator {
        migrations: Cow::Owned(migrations),
        ..Migrator::DEFAULT
    }
}

/// How to reach the database.
#[derive(Clone, Copy, Debug)]
pub struct PoolSettings {
    pub max_connections: u32,
    /// How long a request waits for a connection before it is told to come back later.
    pub acquire_timeout: Duration,
    /// How long one statement may take.
    pub statement_timeout: Duration,
}

/// A pool whose connections acknowledge only what is durable: `synchronous_commit` is set on each of them, so that a
/// careless server default cannot lose an acknowledged record.
pub fn connect(url: &str, settings: PoolSettings) -> Result<PgPool, StoreError> {
    let options: PgConnectOptions = url.parse().map_err(StoreError::from)?;
    let options = options.application_name("flamingock-server").options([
        ("synchronous_commit", "on".to_owned()),
        (
            "statement_timeout",
            settings.statement_timeout.as_millis().to_string(),
        ),
        ("idle_in_transaction_session_timeout", "30000".to_owned()),
        ("TimeZone", "UTC".to_owned()),
        // Every statement is a look-up by key for a handful of values: one plan fits all, and planning anew each time costs
        // more than the statement, above all over the partitions of the audit. A plan that is kept must not be one that was
        // made for a nearly empty table, though: scanning and hashing whole tables is never what we want.
        ("plan_cache_mode", "force_generic_plan".to_owned()),
        ("enable_seqscan", "off".to_owned()),
        ("enable_hashjoin", "off".to_owned()),
        ("enable_mergejoin", "off".to_owned()),
        // A plan that scans all the same, for want of another, is priced so high by that as to be compiled first, which
        // takes a hundred times longer than to run it.
        ("jit", "off".to_owned()),
    ]);
    Ok(PgPoolOptions::new()
        .max_connections(settings.max_connections)
        .acquire_timeout(settings.acquire_timeout)
        .max_lifetime(Duration::from_mins(30))
        // A ping for every statement would cost as much as the statement. A connection that has rested is asked first: a
        // restarted database or an impatient firewall kills just those, and each would cost a whole batch its answer.
        .test_before_acquire(false)
        .before_acquire(|conn, meta| {
            Box::pin(async move {
                if meta.idle_for > RESTED {
                    conn.ping().await?;
                }
                Ok(true)
            })
        })
        .connect_lazy_with(options))
}

/// How long a connection may rest without being asked whether it lives.
const RESTED: Duration = Duration::from_secs(1);

/// Dead connections that may be met one after the other: as many as a pool usually has.
const DEAD_CONNECTIONS_MAX: usize = 32;

/// Runs `work`, which takes a connection for itself and may be done twice, until it meets one that lives. A dead one is
/// thrown away by the pool, and the next is tried.
pub async fn past_dead_connections<T, Fut>(mut work: impl FnMut() -> Fut) -> Result<T, StoreError>
where
    Fut: Future<Output = Result<T, StoreError>>,
{
    let mut dead = 0;
    loop {
        match work().await {
            Err(error) if error.is_dead_connection() && dead < DEAD_CONNECTIONS_MAX => dead += 1,
            done => return done,
        }
    }
}

/// Begins a transaction, past dead connections: nothing was sent yet that could happen twice.
///
/// In a task of its own, because the caller may be dropped (its client hung up) while the database has already begun: the
/// connection would go back to the pool inside a transaction that nobody knows of, and take the next caller's work with it
/// when it is rolled back.
pub async fn begin(pool: &PgPool) -> Result<Transaction<'static, Postgres>, StoreError> {
    let pool = pool.clone();
    let begun =
        tokio::spawn(async move { past_dead_connections(|| async { Ok(pool.begin().await?) }).await });
    match begun.await {
        Ok(begun) => begun,
        Err(_) => Err(StoreError::Unavailable(sqlx::Error::WorkerCrashed)),
    }
}

/// Begins a look at several things that belong together: all of them as of one moment. Writes nothing.
pub async fn look(pool: &PgPool) -> Result<Transaction<'static, Postgres>, StoreError> {
    let pool = pool.clone();
    // In a task of its own, as above.
    let begun = tokio::spawn(async move {
        past_dead_connections(|| async {
            Ok(pool
                .begin_with("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
                .await?)
        })
        .await
    });
    match begun.await {
        Ok(begun) => begun,
        Err(_) => Err(StoreError::Unavailable(sqlx::Error::WorkerCrashed)),
    }
}

/// Whether the database answers and has exactly the migrations of this binary.
pub async fn load_schema_version(conn: &mut PgConnection) -> Result<i64, StoreError> {
    Ok(
        sqlx::query_scalar("SELECT coalesce(max(version), 0) FROM _sqlx_migrations WHERE success")
            .fetch_one(conn)
            .await?,
    )
}

/// The schema version that this binary works with.
pub fn expected_schema_version() -> i64 {
    MIGRATIONS.last().map_or(0, |(version, ..)| *version)
}
