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

/// A longer history repeats its changes: a service has seldom more.
const CHANGES_MAX: i64 = 100_000;

/// Longer ones are written without a chain: hashing them takes longer than all that is measured.
const CHAINED_MAX: i64 = 1_000_000;

fn changes(length: i64) -> i64 {
    (length / 2).min(CHANGES_MAX)
}

/// One question, and its query for a history of some length.
type Question = (&'static str, fn(i64) -> String);

const QUESTIONS: &[Question] = &[
    ("first page", |_| "audit?limit=50".to_owned()),
    ("newest page", |_| "audit?limit=50&order=desc".to_owned()),
    ("page from the middle", |length| {
        format!("audit?limit=50&after={}", length / 2)
    }),
    ("one change", |length| {
        format!("audit?limit=50&changeId=change-{}", changes(length) / 2)
    }),
    ("one execution", |length| {
        format!("audit?limit=50&executionId={}", length / 20)
    }),
    ("failures, newest first", |_| {
        "audit?limit=50&state=FAILED&order=desc".to_owned()
    }),
    ("people's decisions", |_| "audit?limit=50&manual=true".to_owned()),
    ("late ones (none)", |_| "audit?limit=50&late=true".to_owned()),
    ("of an author (everything)", |_| {
        "audit?limit=50&author=mara".to_owned()
    }),
    ("of a runner (everything)", |_| {
        "audit?limit=50&runnerId=billing@node-a%235f0c".to_owned()
    }),
    ("of a target system (everything)", |_| {
        "audit?limit=50&targetSystemId=shell".to_owned()
    }),
    ("of a stage (everything)", |_| {
        "audit?limit=50&stageId=schema".to_owned()
    }),
    ("in a daily state, newest first", |_| {
        "audit?limit=50&state=APPLIED&order=desc".to_owned()
    }),
    ("in a state that nothing has", |_| {
        "audit?limit=50&state=ROLLBACK_FAILED".to_owned()
    }),
    ("since a time", |_| {
        "audit?limit=50&since=2026-01-01T00:10:00Z".to_owned()
    }),
    ("an author without entries, one stretch", |_| {
        "audit?limit=50&author=nobody".to_owned()
    }),
    ("a runner without entries, one stretch", |_| {
        "audit?limit=50&runnerId=nobody".to_owned()
    }),
    ("a target system without entries, one stretch", |_| {
        "audit?limit=50&targetSystemId=nothing".to_owned()
    }),
    ("a stage without entries, one stretch", |_| {
        "audit?limit=50&stageId=none".to_owned()
    }),
    ("snapshot", |_| "audit?limit=50&view=snapshot".to_owned()),
    ("snapshot as of the middle", |length| {
        format!("audit?limit=50&view=snapshot&asOfSeq={}", length / 2)
    }),
    ("snapshot as of a time", |_| {
        "audit?limit=50&view=snapshot&asOf=2026-01-01T00:10:00Z".to_owned()
    }),
    ("executions", |_| "execution?limit=50".to_owned()),
    ("executions of a runner without any", |_| {
        "execution?limit=50&runner=nobody".to_owned()
    }),
];

/// What looks at every change of a service, as its next start does: the time goes with their number, not with the history.
const BY_CHANGES: &[Question] = &[
    ("issues, the first (by changes)", |_| "issue?limit=1".to_owned()),
    ("explanation (by changes)", |_| "explanation".to_owned()),
];

/// Prints a table: a line for each question, a column for each length.
pub async fn measure(stand: &Stand, pool: &PgPool, lengths: &[i64]) -> Result<()> {
    let mut runners = Vec::new();
    for &length in lengths {
        let _ = writeln!(std::io::stderr(), "… writing a history of {length} entries");
        let runner = stand.runner(&format!("history-{length}")).await?;
        write_history(pool, &runner, length).await?;
        write_executions(pool, &runner, length / 100).await?;
        // The same service in another environment, to compare with: always short.
        let other = stand.runner_in("staging", &format!("history-{length}")).await?;
        write_history(pool, &other, 1_000.min(length)).await?;
        runners.push((length, runner));
    }
    for table in ["audit_entries", "change_states", "executions"] {
        sqlx::raw_sql(sqlx::AssertSqlSafe(format!("VACUUM ANALYZE {table}")))
            .execute(pool)
            .await?;
    }

    let mut out = std::io::stdout().lock();
    write!(out, "{:<42}", "ms, median of one caller")?;
    for (length, _) in &runners {
        write!(out, " {:>14}", format!("{length} entries"))?;
    }
    writeln!(out)?;
    for (name, query) in QUESTIONS.iter().chain(BY_CHANGES) {
        write!(out, "{name:<42}")?;
        for (length, runner) in &runners {
            write!(out, " {:>14.2}", asked(stand, runner, &query(*length)).await?)?;
        }
        writeln!(out)?;
        out.flush()?;
    }
    write!(out, "{:<42}", "difference to another environment")?;
    for (_, runner) in &runners {
        write!(out, " {:>14.2}", compared(stand, pool, runner).await?)?;
    }
    writeln!(out)?;
    for (name, query) in ACTION_QUESTIONS {
        write!(out, "{name:<42}")?;
        for (length, _) in &runners {
            write_actions(pool, length / 10).await?;
            write!(out, " {:>14.2}", actions_asked(stand, pool, query).await?)?;
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
        let mut peaks = Vec::new();
        for (length, runner) in &runners {
            stand.forget_server_peak()?;
            write!(out, " {:>14.0}", exported(stand, runner, query, *length).await?)?;
            out.flush()?;
            peaks.push(stand.server_peak_mb()?);
        }
        write!(out, "\n{:<42}", "  the server's memory at most, MB")?;
        for peak in peaks {
            write!(out, " {peak:>14.1}")?;
        }
        writeln!(out)?;
    }
    write!(out, "{:<42}", "verification, entries/s")?;
    for (length, runner) in &runners {
        if *length <= CHAINED_MAX {
            write!(out, " {:>14.0}", verified(stand, runner, *length).await?)?;
        } else {
            write!(out, " {:>14}", "not chained")?;
        }
    }
    writeln!(out)?;
    Ok(())
}

/// Of the log of what people did, which has a tenth of the history's length. It is the organisation's, and only ever grows.
const ACTION_QUESTIONS: &[(&str, &str)] = &[
    ("actions", "limit=50"),
    (
        "actions, a target without any, one stretch",
        "limit=50&target=nothing",
    ),
];

async fn write_actions(pool: &PgPool, wanted: i64) -> Result<()> {
    sqlx::query(
        "INSERT INTO admin_actions (action, organisation_id, target, actor, role)
         SELECT 'issue_resolve', o.id, 'change-' || n, 'token:1 (mara)', 'operator'
           FROM organisations o, generate_series(1, $1 - (SELECT count(*) FROM admin_actions)) AS n
          WHERE o.name = 'bench'",
    )
    .bind(wanted)
    .execute(pool)
    .await?;
    sqlx::query("VACUUM ANALYZE admin_actions").execute(pool).await?;
    Ok(())
}

async fn actions_asked(stand: &Stand, pool: &PgPool, query: &str) -> Result<f64> {
    let organisation: i64 = sqlx::query_scalar("SELECT id FROM organisations WHERE name = 'bench'")
        .fetch_one(pool)
        .await?;
    let path = format!("/api/v1/admin/organisation/{organisation}/action?{query}");
    timed(stand, &stand.administrator_request(&path)).await
}

async fn compared(stand: &Stand, pool: &PgPool, runner: &Runner) -> Result<f64> {
    let (project, other): (i64, i64) = sqlx::query_as(
        "SELECT e.project_id, e.id FROM environments e JOIN environments own ON own.project_id = e.project_id
          WHERE own.id = $1 AND e.name = 'staging'",
    )
    .bind(runner.environment_id)
    .fetch_one(pool)
    .await?;
    let path = format!(
        "/api/v1/admin/project/{project}/audit/difference?environmentId={}&otherEnvironmentId={other}&serviceId={}&limit=50",
        runner.environment_id, runner.service_id
    );
    timed(stand, &stand.administrator_request(&path)).await
}

async fn write_executions(pool: &PgPool, runner: &Runner, count: i64) -> Result<()> {
    sqlx::query(
        "INSERT INTO executions (stream_id, runner_id, credential_id, fence, planned_at_seq, starts_run, submission, plan,
                                 started_at, ended_at)
         SELECT s.id, 'billing@node-a#5f0c', 1, n, n, true, '{}', '{\"action\":\"EXECUTE\",\"stages\":[]}',
                timestamptz '2026-01-01 00:00:00Z' + n * interval '100 seconds',
                timestamptz '2026-01-01 00:00:10Z' + n * interval '100 seconds'
           FROM audit_streams s, generate_series(1, $3) AS n
          WHERE s.environment_id = $1 AND s.service_id = $2",
    )
    .bind(runner.environment_id)
    .bind(runner.service_id)
    .bind(count)
    .execute(pool)
    .await?;
    Ok(())
}

/// Entries of a plausible year, one a second, with a chain that holds unless there are very many: two for each change, one in
/// a thousand fails, one in ten thousand is a person's decision.
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
    if length > CHAINED_MAX {
        return write_unchained(pool, stream, length).await;
    }
    sqlx::query(
        "CREATE OR REPLACE FUNCTION bench_history(of_stream bigint, length bigint, changes bigint) RETURNS void LANGUAGE plpgsql AS $$
         DECLARE e audit_entries; h bytea := decode(repeat('00', 32), 'hex');
         BEGIN
             SELECT s.id, s.environment_id, s.service_id INTO e.stream_id, e.environment_id, e.service_id
               FROM audit_streams s WHERE s.id = of_stream;
             e.late := false; e.actor := 'credential:1'; e.stage_id := 'schema'; e.author := 'mara';
             e.class_name := 'com.acme.billing.schema._0001__CreateInvoices'; e.method_name := 'apply';
             e.metadata := '{}'; e.execution_hostname := 'node-a'; e.change_type := 'STANDARD_CODE';
             e.tx_strategy := 'NON_TX'; e.target_system_id := 'shell'; e.runner_id := 'billing@node-a#5f0c';
             FOR n IN 1 .. length LOOP
                 e.seq := n; e.change_id := 'change-' || ((n + 1) / 2) % changes; e.execution_ref := (n / 10)::text;
                 e.state := CASE WHEN n % 2 = 1 THEN 'STARTED' WHEN n % 1000 = 0 THEN 'FAILED' ELSE 'APPLIED' END;
                 e.source := CASE WHEN n % 10000 = 2 THEN 'PERSON' ELSE 'RUNNER' END;
                 e.received_at := timestamptz '2026-01-01 00:00:00Z' + n * interval '1 second';
                 e.prev_hash := h; h := sha256(h || audit_canonical(e)); e.hash := h;
                 INSERT INTO audit_entries SELECT e.*;
             END LOOP;
             INSERT INTO change_states (stream_id, change_id, seq, state, source)
             SELECT stream_id, change_id, seq, state, source FROM audit_entries
              WHERE stream_id = of_stream AND seq > length - 2 * changes AND seq % 2 = 0;
             UPDATE audit_streams SET head_seq = length, head_hash = h WHERE id = of_stream;
         END $$",
    )
    .execute(pool)
    .await?;
    sqlx::query("SELECT bench_history($1, $2, $3)")
        .bind(stream)
        .bind(length)
        .bind(changes(length))
        .execute(pool)
        .await?;
    Ok(())
}

/// The same entries, each with a hash that fits no other.
async fn write_unchained(pool: &PgPool, stream: i64, length: i64) -> Result<()> {
    sqlx::query(
        "INSERT INTO audit_entries (stream_id, seq, environment_id, service_id, source, execution_ref, change_id, stage_id,
                                    author, state, class_name, method_name, metadata, execution_hostname, change_type,
                                    tx_strategy, target_system_id, runner_id, late, actor, received_at, prev_hash, hash)
         SELECT s.id, n, s.environment_id, s.service_id,
                CASE WHEN n % 10000 = 2 THEN 'PERSON' ELSE 'RUNNER' END, (n / 10)::text,
                'change-' || ((n + 1) / 2) % $3, 'schema', 'mara',
                CASE WHEN n % 2 = 1 THEN 'STARTED' WHEN n % 1000 = 0 THEN 'FAILED' ELSE 'APPLIED' END,
                'com.acme.billing.schema._0001__CreateInvoices', 'apply', '{}', 'node-a', 'STANDARD_CODE', 'NON_TX', 'shell',
                'billing@node-a#5f0c', false, 'credential:1',
                timestamptz '2026-01-01 00:00:00Z' + n * interval '1 second', s.head_hash, s.head_hash
           FROM audit_streams s, generate_series(1, $2) AS n WHERE s.id = $1",
    )
    .bind(stream)
    .bind(length)
    .bind(changes(length))
    .execute(pool)
    .await?;
    sqlx::query(
        "WITH written AS (
             INSERT INTO change_states (stream_id, change_id, seq, state, source)
             SELECT stream_id, change_id, seq, state, source FROM audit_entries
              WHERE stream_id = $1 AND seq > $2 - 2 * $3 AND seq % 2 = 0)
         UPDATE audit_streams SET head_seq = $2 WHERE id = $1",
    )
    .bind(stream)
    .bind(length)
    .bind(changes(length))
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
    timed(stand, &request(runner, query, "")).await
}

async fn timed(stand: &Stand, request: &[u8]) -> Result<f64> {
    let mut connection = Connection::open(&stand.address).await?;
    connection.send(request).await?.expect(200)?;
    let mut times = Vec::with_capacity(ASKED);
    for _ in 0..ASKED {
        let began = Instant::now();
        connection.send(request).await?.expect(200)?;
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
