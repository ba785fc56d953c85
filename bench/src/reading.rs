//! Reading the audit against the length of the history: each question is asked of services with ever longer ones, and
//! should take the same time.

use std::io::Write as _;
use std::time::Instant;

use anyhow::{Context as _, Result};
use sqlx::PgPool;

use crate::http::{Connection, Runner};
use crate::load::median;
use crate::stand::Stand;

/// Times that each question is asked; the median counts.
const ASKED: usize = 31;

/// One question, and its query for a history of some length.
type Question = (&'static str, fn(i64) -> String);

const QUESTIONS: &[Question] = &[
    ("first page", |_| "audit?limit=50".to_owned()),
    ("newest page", |_| "audit?limit=50&order=desc".to_owned()),
    ("page from the middle", |length| {
        format!("audit?limit=50&after={}", length / 2)
    }),
    ("one change", |length| {
        format!("audit?limit=50&changeId=change-{}", length / 2)
    }),
    ("one execution", |length| {
        format!("audit?limit=50&executionId={}", length / 20)
    }),
    ("failures, newest first", |_| {
        "audit?limit=50&state=FAILED&order=desc".to_owned()
    }),
    ("people's decisions", |_| "audit?limit=50&manual=true".to_owned()),
    ("since a time", |_| {
        "audit?limit=50&since=2026-01-01T00:10:00Z".to_owned()
    }),
    ("an author without entries, one stretch", |_| {
        "audit?limit=50&author=nobody".to_owned()
    }),
    ("snapshot", |_| "audit?limit=50&view=snapshot".to_owned()),
    ("snapshot as of the middle", |length| {
        format!("audit?limit=50&view=snapshot&asOfSeq={}", length / 2)
    }),
    ("snapshot as of a time", |_| {
        "audit?limit=50&view=snapshot&asOf=2026-01-01T00:10:00Z".to_owned()
    }),
];

/// Prints a table: a line for each question, a column for each length.
pub async fn measure(stand: &Stand, pool: &PgPool, lengths: &[i64]) -> Result<()> {
    let mut runners = Vec::new();
    for &length in lengths {
        let _ = writeln!(std::io::stderr(), "… writing a history of {length} entries");
        let runner = stand.runner(&format!("history-{length}")).await?;
        write_history(pool, &runner, length).await?;
        runners.push((length, runner));
    }
    sqlx::query("VACUUM ANALYZE audit_entries").execute(pool).await?;
    sqlx::query("VACUUM ANALYZE change_states").execute(pool).await?;

    let mut out = std::io::stdout().lock();
    write!(out, "{:<42}", "ms, median of one caller")?;
    for (length, _) in &runners {
        write!(out, " {:>14}", format!("{length} entries"))?;
    }
    writeln!(out)?;
    for (name, query) in QUESTIONS {
        write!(out, "{name:<42}")?;
        for (length, runner) in &runners {
            write!(out, " {:>14.2}", asked(stand, runner, &query(*length)).await?)?;
        }
        writeln!(out)?;
        out.flush()?;
    }
    for (name, query) in [
        ("export, entries/s", "audit/export"),
        ("export with proofs, entries/s", "audit/export?proofs=true"),
        ("export as CSV, entries/s", "audit/export?format=csv"),
    ] {
        write!(out, "{name:<42}")?;
        for (length, runner) in &runners {
            write!(out, " {:>14.0}", exported(stand, runner, query, *length).await?)?;
        }
        writeln!(out)?;
        out.flush()?;
    }
    write!(out, "{:<42}", "verification, entries/s")?;
    for (length, runner) in &runners {
        write!(out, " {:>14.0}", verified(stand, runner, *length).await?)?;
    }
    writeln!(out)?;
    writeln!(
        out,
        "server memory, highest so far: {:.0} MB",
        stand.server_peak_mb()?
    )?;
    Ok(())
}

/// Entries of a plausible year, one a second, with a chain that holds: two for each change, one in a thousand fails, one in
/// ten thousand is a person's decision.
async fn write_history(pool: &PgPool, runner: &Runner, length: i64) -> Result<()> {
    let stream: i64 = sqlx::query_scalar(
        "INSERT INTO audit_streams (environment_id, service_id) VALUES ($1, $2)
         ON CONFLICT ON CONSTRAINT audit_streams_environment_id_service_id_key DO UPDATE SET head_seq = 0
         RETURNING id",
    )
    .bind(runner.environment_id)
    .bind(runner.service_id)
    .fetch_one(pool)
    .await?;
    sqlx::query(
        "CREATE OR REPLACE FUNCTION bench_history(of_stream bigint, length bigint) RETURNS void LANGUAGE plpgsql AS $$
         DECLARE e audit_entries; h bytea := decode(repeat('00', 32), 'hex');
         BEGIN
             SELECT s.id, s.environment_id, s.service_id INTO e.stream_id, e.environment_id, e.service_id
               FROM audit_streams s WHERE s.id = of_stream;
             e.late := false; e.actor := 'credential:1'; e.stage_id := 'schema'; e.author := 'mara';
             e.class_name := 'com.acme.billing.schema._0001__CreateInvoices'; e.method_name := 'apply';
             e.metadata := '{}'; e.execution_hostname := 'node-a'; e.change_type := 'STANDARD_CODE';
             e.tx_strategy := 'NON_TX'; e.target_system_id := 'shell'; e.runner_id := 'billing@node-a#5f0c';
             FOR n IN 1 .. length LOOP
                 e.seq := n; e.change_id := 'change-' || (n + 1) / 2; e.execution_ref := (n / 10)::text;
                 e.state := CASE WHEN n % 2 = 1 THEN 'STARTED' WHEN n % 1000 = 0 THEN 'FAILED' ELSE 'APPLIED' END;
                 e.source := CASE WHEN n % 10000 = 2 THEN 'PERSON' ELSE 'RUNNER' END;
                 e.received_at := timestamptz '2026-01-01 00:00:00Z' + n * interval '1 second';
                 e.prev_hash := h; h := sha256(h || audit_canonical(e)); e.hash := h;
                 INSERT INTO audit_entries SELECT e.*;
             END LOOP;
             INSERT INTO change_states (stream_id, change_id, seq, state, source)
             SELECT stream_id, change_id, seq, state, source FROM audit_entries
              WHERE stream_id = of_stream AND (seq % 2 = 0 OR seq = length);
             UPDATE audit_streams SET head_seq = length, head_hash = h WHERE id = of_stream;
         END $$",
    )
    .execute(pool)
    .await?;
    sqlx::query("SELECT bench_history($1, $2)")
        .bind(stream)
        .bind(length)
        .execute(pool)
        .await?;
    Ok(())
}

fn request(runner: &Runner, query: &str, extra: &str) -> Vec<u8> {
    let path = format!(
        "/api/v1/admin/environment/{}/service/{}/{query}",
        runner.environment_id, runner.service_id
    );
    runner.request("GET", &path, extra, "")
}

/// Milliseconds.
async fn asked(stand: &Stand, runner: &Runner, query: &str) -> Result<f64> {
    let mut connection = Connection::open(&stand.address).await?;
    let request = request(runner, query, "");
    connection.send(&request).await?.expect(200)?;
    let mut times = Vec::with_capacity(ASKED);
    for _ in 0..ASKED {
        let began = Instant::now();
        connection.send(&request).await?.expect(200)?;
        times.push(began.elapsed().as_secs_f64() * 1e3);
    }
    Ok(median(times))
}

#[expect(clippy::cast_precision_loss, reason = "counts of entries")]
async fn exported(stand: &Stand, runner: &Runner, query: &str, length: i64) -> Result<f64> {
    let began = Instant::now();
    Connection::open(&stand.address)
        .await?
        .drain(&request(runner, query, "connection: close\r\n"))
        .await?;
    Ok(length as f64 / began.elapsed().as_secs_f64())
}

#[expect(clippy::cast_precision_loss, reason = "counts of entries")]
async fn verified(stand: &Stand, runner: &Runner, length: i64) -> Result<f64> {
    let began = Instant::now();
    let mut connection = Connection::open(&stand.address).await?;
    let mut after = String::new();
    loop {
        let request = request(runner, &format!("audit/verification{after}"), "");
        let answer = connection.send(&request).await?.expect(200)?.json()?;
        anyhow::ensure!(answer["intact"] == true, "{answer}");
        if answer["complete"] == true {
            return Ok(length as f64 / began.elapsed().as_secs_f64());
        }
        after = format!("?after={}", answer["next"].as_str().context("next")?);
    }
}
