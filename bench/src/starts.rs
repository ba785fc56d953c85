//! Row 8: what a start costs an application whose thousand changes are all applied, against the same start with sqlx's and
//! with refinery's migrator on the same PostgreSQL.
//!
//! Each side does what its users' applications do at every start, from nothing to knowing that there is nothing to do and
//! having a connection to the database. The migrators begin with that. Ours asks the server, which needs no connection; it
//! is made afterwards all the same, because the application needs one.

use std::str::FromStr as _;
use std::time::Instant;

use anyhow::{Context as _, Result};
use flamingock::{
    Change, ChangeFuture, ChangeInfo, Context, Flamingock, PgTx, PostgresTarget, Requirement, Stage,
};
use refinery::{Migration, Runner};
use sqlx::migrate::{Migration as SqlxMigration, MigrationType, Migrator};
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sqlx::{AssertSqlSafe, Connection as _, PgConnection, SqlSafeStr as _};

use crate::load::median;
use crate::rows::Figure;
use crate::stand::Stand;

const APPLIED: u32 = 1_000;
/// Starts of each side, in turns.
const STARTS: usize = 41;

/// The same statement for all sides: what a change does is not the question.
const EFFECT: &str = "INSERT INTO effects VALUES (1)";

pub async fn starts(stand: &Stand) -> Result<[Figure; 2]> {
    let pool = stand.pool(1).await?;
    for name in ["starts_ours", "starts_sqlx", "starts_refinery"] {
        sqlx::raw_sql(AssertSqlSafe(format!("DROP DATABASE IF EXISTS {name}")))
            .execute(&pool)
            .await?;
        sqlx::raw_sql(AssertSqlSafe(format!("CREATE DATABASE {name}")))
            .execute(&pool)
            .await?;
        let mut conn = PgConnection::connect_with(&options(stand, name)?).await?;
        sqlx::raw_sql("CREATE TABLE effects (number int)")
            .execute(&mut conn)
            .await?;
    }
    let names: Vec<Names> = (1..=APPLIED).map(Names::of).collect();
    // As `migrate!` leaves them in the program: read and hashed when it was compiled.
    let migrator = Migrator {
        migrations: (1..=APPLIED).map(sqlx_migration).collect::<Vec<_>>().into(),
        ..Migrator::DEFAULT
    };

    ours(stand, &names).await?;
    with_sqlx(stand, &migrator).await?;
    with_refinery(stand, &names).await?;
    let (mut flamingock, mut sqlx, mut refinery) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..STARTS {
        flamingock.push(ours(stand, &names).await?);
        sqlx.push(with_sqlx(stand, &migrator).await?);
        refinery.push(with_refinery(stand, &names).await?);
    }
    let ours = median(flamingock);
    let figure = |name, reference: f64| Figure {
        name,
        ours,
        reference,
        ratio: ours / reference,
        unit: "µs",
        goal: 1.0,
        at_most: true,
    };
    Ok([
        figure("8 start, 1,000 changes applied | sqlx's migrator", median(sqlx)),
        figure("8 start, 1,000 changes applied | refinery", median(refinery)),
    ])
}

/// What stands in a program's text. Leaked, because there it is static.
struct Names {
    id: &'static str,
    order: &'static str,
    migration: &'static str,
}

impl Names {
    fn of(number: u32) -> Self {
        Self {
            id: format!("change-{number}").leak(),
            order: format!("{number:04}").leak(),
            migration: format!("V{number}__change").leak(),
        }
    }
}

struct Effect {
    id: &'static str,
    order: &'static str,
}

impl Change for Effect {
    fn info(&self) -> ChangeInfo {
        ChangeInfo::new(self.id, self.order, "database")
    }

    fn requirements(&self) -> Vec<Requirement> {
        vec![Requirement::transaction::<PgTx>()]
    }

    fn apply<'a>(&'a self, context: &'a mut Context) -> ChangeFuture<'a> {
        Box::pin(async move {
            let tx = context.transaction::<PgTx>()?;
            sqlx::query(EFFECT).execute(&mut **tx).await?;
            Ok(())
        })
    }
}

fn sqlx_migration(number: u32) -> SqlxMigration {
    SqlxMigration::new(
        i64::from(number),
        "change".into(),
        MigrationType::Simple,
        EFFECT.into_sql_str(),
        false,
    )
}

fn options(stand: &Stand, database: &str) -> Result<PgConnectOptions> {
    Ok(PgConnectOptions::from_str(&stand.database_url)?.database(database))
}

/// Microseconds.
async fn ours(stand: &Stand, names: &[Names]) -> Result<f64> {
    let began = Instant::now();
    let pool = PgPoolOptions::new().connect_lazy_with(options(stand, "starts_ours")?);
    let stage = names.iter().fold(Stage::new("changes"), |stage, names| {
        stage.change(Effect {
            id: names.id,
            order: names.order,
        })
    });
    let report = Flamingock::builder(format!("http://{}", stand.address))
        .token(stand.runner_token())
        .environment("production")
        .service("starts")
        .target(PostgresTarget::new("database", pool.clone()))
        .stage(stage)
        .build()?
        .run()
        .await?;
    let conn = pool.acquire().await?;
    let took = micros(began);
    drop(conn);
    anyhow::ensure!(report.total_changes == APPLIED as usize, "{report}");
    pool.close().await;
    Ok(took)
}

/// Microseconds.
async fn with_sqlx(stand: &Stand, migrator: &Migrator) -> Result<f64> {
    let began = Instant::now();
    let mut conn = PgConnection::connect_with(&options(stand, "starts_sqlx")?).await?;
    migrator.run(&mut conn).await?;
    let took = micros(began);
    conn.close().await?;
    Ok(took)
}

/// Microseconds.
async fn with_refinery(stand: &Stand, names: &[Names]) -> Result<f64> {
    let began = Instant::now();
    let mut config = tokio_postgres::Config::from_str(&stand.database_url)?;
    config.dbname("starts_refinery");
    let (mut client, connection) = config.connect(tokio_postgres::NoTls).await?;
    let connection = tokio::spawn(connection);
    // As `embed_migrations!` makes them: their texts are in the program, the rest is done at every start.
    let migrations = names
        .iter()
        .map(|names| Migration::unapplied(names.migration, EFFECT))
        .collect::<Result<Vec<_>, _>>()?;
    Runner::new(&migrations).run_async(&mut client).await?;
    let took = micros(began);
    drop(client);
    connection.await.context("the connection ends")??;
    Ok(took)
}

fn micros(began: Instant) -> f64 {
    began.elapsed().as_secs_f64() * 1e6
}
