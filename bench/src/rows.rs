//! The rows of the table: each measures us and a reference in turn, so that both meet the same weather.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use flamingock_api_types::digest;
use flamingock_api_types::execution::{BlockSubmission, BlockType, ChangeSubmission, StageSubmission};
use futures_util::future::try_join_all;
use serde_json::{Value, json};
use sqlx::{Connection as _, PgConnection, PgPool, Row as _};

use crate::http::{Connection, Runner};
use crate::load::{median, rate};
use crate::stand::Stand;

/// Callers at once, ours and the reference's alike.
const CALLERS: usize = 16;
/// Turns of each side; the medians are compared.
const TURNS: usize = 3;

pub struct Figure {
    pub name: &'static str,
    pub ours: f64,
    pub reference: f64,
    pub ratio: f64,
    pub unit: &'static str,
    /// At least (or, for times, at most) this.
    pub goal: f64,
    pub at_most: bool,
}

impl Figure {
    pub fn met(&self) -> bool {
        if self.at_most {
            self.ratio <= self.goal
        } else {
            self.ratio >= self.goal
        }
    }
}

fn pipeline(changes: usize) -> Value {
    let stage = StageSubmission {
        name: "schema".to_owned(),
        order: Some(0),
        status: None,
        changes: (0..changes)
            .map(|at| ChangeSubmission {
                id: format!("change-{at:05}"),
                ongoing_status: Some(flamingock_api_types::execution::MarkStatus::None),
                transactional: Some(true),
                ..ChangeSubmission::default()
            })
            .collect(),
    };
    json!({"blocks": [BlockSubmission { kind: BlockType::Default, stages: vec![stage] }]})
}

fn digest_of(pipeline: &Value) -> Result<Value> {
    let blocks: Vec<BlockSubmission> = serde_json::from_value(pipeline["blocks"].clone())?;
    Ok(json!({"digest": digest::of_blocks(&blocks)}))
}

/// Plans a pipeline and reports every change applied.
async fn apply_all(stand: &Stand, runner: &Runner, pipeline: &Value) -> Result<()> {
    let mut connection = Connection::open(&stand.address).await?;
    let plan = connection
        .send(&runner.plan(pipeline, ""))
        .await?
        .expect(201)?
        .json()?;
    let execution = plan["executionId"].as_i64().with_context(|| plan.to_string())?;
    let ids: Vec<String> = plan["stages"][0]["changes"]
        .as_array()
        .context("changes")?
        .iter()
        .filter_map(|change| change["id"].as_str().map(str::to_owned))
        .collect();
    // Side by side, because one after the other would take longer than the benchmark.
    let chunks: Vec<Vec<String>> = ids
        .chunks(ids.len().div_ceil(CALLERS).max(1))
        .map(<[_]>::to_vec)
        .collect();
    try_join_all(chunks.into_iter().map(|ids| async move {
        let mut connection = Connection::open(&stand.address).await?;
        for id in ids {
            connection
                .send(&runner.report(execution, &id, "STARTED"))
                .await?
                .expect(201)?;
            connection
                .send(&runner.report(execution, &id, "APPLIED"))
                .await?
                .expect(201)?;
        }
        Ok::<_, anyhow::Error>(())
    }))
    .await?;
    connection
        .send(&runner.request("DELETE", &runner.lock_path(""), "", ""))
        .await?
        .expect(200)?;
    let plan = connection
        .send(&runner.plan(pipeline, ""))
        .await?
        .expect(201)?
        .json()?;
    anyhow::ensure!(plan["action"] == "CONTINUE", "{plan}");
    Ok(())
}

async fn connections(stand: &Stand) -> Result<Vec<Connection>> {
    try_join_all((0..CALLERS).map(|_| Connection::open(&stand.address))).await
}

async fn pg_connections(stand: &Stand) -> Result<Vec<PgConnection>> {
    let mut all = Vec::with_capacity(CALLERS);
    for _ in 0..CALLERS {
        all.push(PgConnection::connect(&stand.database_url).await?);
    }
    Ok(all)
}

async fn asks(stand: &Stand, request: Vec<u8>, span: Duration) -> Result<f64> {
    let callers: Vec<(Connection, Vec<u8>)> = connections(stand)
        .await?
        .into_iter()
        .map(|connection| (connection, request.clone()))
        .collect();
    let (rate, _) = rate(callers, span, |(mut connection, request)| async move {
        connection.send(&request).await?.expect(201)?;
        Ok((connection, request))
    })
    .await?;
    Ok(rate)
}

async fn selects(stand: &Stand, runner: &Runner, span: Duration) -> Result<f64> {
    let (environment, service) = (runner.environment_id, runner.service_id);
    let (rate, _) = rate(
        pg_connections(stand).await?,
        span,
        move |mut connection| async move {
            let row = sqlx::query(
                "SELECT head_seq FROM audit_streams WHERE environment_id = $1 AND service_id = $2",
            )
            .bind(environment)
            .bind(service)
            .fetch_one(&mut connection)
            .await?;
            let _: i64 = row.try_get(0)?;
            Ok(connection)
        },
    )
    .await?;
    Ok(rate)
}

/// Row 9: a start with nothing to do as our SDK makes it, in one request; and in two, as it was before, an exchange and a plan by
/// digest.
pub async fn start_requests(stand: &Stand, span: Duration) -> Result<Figure> {
    let runner = stand.runner("starting").await?;
    let pipeline = pipeline(100);
    apply_all(stand, &runner, &pipeline).await?;
    let digest = digest_of(&pipeline)?;
    let one = vec![stand.exchange("production", "starting", digest["digest"].as_str())];
    let two = vec![
        stand.exchange("production", "starting", None),
        runner.plan(&digest, ""),
    ];
    let (mut ours, mut reference) = (Vec::new(), Vec::new());
    for _ in 0..TURNS {
        reference.push(sequences(stand, two.clone(), span).await?);
        ours.push(sequences(stand, one.clone(), span).await?);
    }
    let (ours, reference) = (median(ours), median(reference));
    Ok(Figure {
        name: "9 start, nothing to do, one request | exchange, then plan",
        ours,
        reference,
        ratio: ours / reference,
        unit: "/s",
        goal: 1.0,
        at_most: false,
    })
}

async fn sequences(stand: &Stand, requests: Vec<Vec<u8>>, span: Duration) -> Result<f64> {
    let callers = connections(stand).await?;
    let (rate, _) = rate(callers, span, move |mut connection| {
        let requests = requests.clone();
        async move {
            for request in &requests {
                let answer = connection.send(request).await?;
                anyhow::ensure!(matches!(answer.status, 200 | 201), "{}", answer.status);
            }
            Ok(connection)
        }
    })
    .await?;
    Ok(rate)
}

/// Rows 1 and 2: nothing to do, asked by digest and with a body of 100 changes.
pub async fn no_op(stand: &Stand, span: Duration) -> Result<[Figure; 2]> {
    let runner = stand.runner("noop").await?;
    let pipeline = pipeline(100);
    apply_all(stand, &runner, &pipeline).await?;
    let (by_digest, whole) = (
        runner.plan(&digest_of(&pipeline)?, ""),
        runner.plan(&pipeline, ""),
    );
    let (mut digest, mut body, mut select) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..TURNS {
        select.push(selects(stand, &runner, span).await?);
        digest.push(asks(stand, by_digest.clone(), span).await?);
        body.push(asks(stand, whole.clone(), span).await?);
    }
    let select = median(select);
    let figure = |name, ours: f64, goal| Figure {
        name,
        ours,
        reference: select,
        ratio: ours / select,
        unit: "/s",
        goal,
        at_most: false,
    };
    Ok([
        figure(
            "1 plan, nothing to do, by digest | single-row SELECT",
            median(digest),
            0.5,
        ),
        figure(
            "2 plan, nothing to do, 100-change body | single-row SELECT",
            median(body),
            0.35,
        ),
    ])
}

struct Reporter {
    connection: Connection,
    runner: Runner,
    execution: i64,
    at: usize,
}

const REPORTED_CHANGES: usize = 20_000;

async fn reporters(stand: &Stand, turn: usize) -> Result<Vec<Reporter>> {
    let pipeline = pipeline(REPORTED_CHANGES);
    let mut all = Vec::with_capacity(CALLERS);
    for at in 0..CALLERS {
        let runner = stand.runner(&format!("append-{turn}-{at}")).await?;
        let mut connection = Connection::open(&stand.address).await?;
        let plan = connection
            .send(&runner.plan(&pipeline, ""))
            .await?
            .expect(201)?
            .json()?;
        let execution = plan["executionId"].as_i64().context("executionId")?;
        all.push(Reporter {
            connection,
            runner,
            execution,
            at: 0,
        });
    }
    Ok(all)
}

async fn report(mut reporter: Reporter) -> Result<Reporter> {
    let state = if reporter.at.is_multiple_of(2) {
        "STARTED"
    } else {
        "APPLIED"
    };
    let change = format!("change-{:05}", (reporter.at / 2) % REPORTED_CHANGES);
    let request = reporter.runner.report(reporter.execution, &change, state);
    reporter.connection.send(&request).await?.expect(201)?;
    reporter.at += 1;
    Ok(reporter)
}

/// The reference: the same row written, projected and counted by three statements in a transaction.
async fn bare_append(
    (mut connection, stream, mut seq): (PgConnection, i64, i64),
) -> Result<(PgConnection, i64, i64)> {
    seq += 1;
    let mut tx = connection.begin().await?;
    sqlx::query(
        "INSERT INTO audit_entries
                (stream_id, seq, environment_id, service_id, source, execution_ref, change_id, stage_id, author,
                 applied_at_ms, state, class_name, method_name, metadata, execution_millis, execution_hostname,
                 change_type, tx_strategy, target_system_id, change_order, recovery_strategy, transaction_flag,
                 system_change, runner_id, late, actor, received_at, prev_hash, hash)
         VALUES ($1, $2, 1, 1, 'RUNNER', $3, $4, 'schema', 'bench', 1789374067512, 'APPLIED',
                 'com.acme.billing.schema._0001__CreateInvoices', 'apply', '{}', 171, 'node-a', 'STANDARD_CODE',
                 'NON_TX', 'shell', '0001', 'MANUAL_INTERVENTION', true, false, 'bench@bench#1', false, 'credential:1',
                 clock_timestamp(), sha256('a'), sha256('b'))",
    )
    .bind(stream)
    .bind(seq)
    .bind(seq.to_string())
    .bind(format!("change-{:05}", seq % 20_000))
    .execute(&mut *tx)
    .await?;
    sqlx::query(
        "INSERT INTO change_states (stream_id, change_id, seq, state, tx_strategy, recovery_strategy, source)
         VALUES ($1, $2, $3, 'APPLIED', 'NON_TX', 'MANUAL_INTERVENTION', 'RUNNER')
         ON CONFLICT (stream_id, change_id) DO UPDATE SET seq = excluded.seq, state = excluded.state",
    )
    .bind(stream)
    .bind(format!("change-{:05}", seq % 20_000))
    .bind(seq)
    .execute(&mut *tx)
    .await?;
    sqlx::query("UPDATE audit_streams SET head_seq = $2, head_hash = sha256('b') WHERE id = $1")
        .bind(stream)
        .bind(seq)
        .execute(&mut *tx)
        .await?;
    tx.commit().await?;
    Ok((connection, stream, seq))
}

/// Row 3: appending to the audit.
pub async fn append(stand: &Stand, span: Duration) -> Result<Figure> {
    let mut pool = PgConnection::connect(&stand.database_url).await?;
    let (mut ours, mut bare) = (Vec::new(), Vec::new());
    let mut callers = Vec::new();
    for (at, connection) in pg_connections(stand).await?.into_iter().enumerate() {
        let runner = stand.runner(&format!("bare-{at}")).await?;
        let stream: i64 = sqlx::query_scalar(
            "INSERT INTO audit_streams (environment_id, service_id) VALUES ($1, $2) RETURNING id",
        )
        .bind(runner.environment_id)
        .bind(runner.service_id)
        .fetch_one(&mut pool)
        .await?;
        callers.push((connection, stream, 0));
    }
    for turn in 0..TURNS {
        let (bare_rate, back) = rate(callers, span, bare_append).await?;
        callers = back;
        bare.push(bare_rate);
        let (our_rate, _) = rate(reporters(stand, turn).await?, span, report).await?;
        ours.push(our_rate);
    }
    let (ours, bare) = (median(ours), median(bare));
    Ok(Figure {
        name: "3 audit append | bare three-statement transaction",
        ours,
        reference: bare,
        ratio: ours / bare,
        unit: "/s",
        goal: 0.6,
        at_most: false,
    })
}

/// Row 4: acquire and release.
pub async fn lock_cycle(stand: &Stand, span: Duration) -> Result<Figure> {
    let (mut ours, mut bare) = (Vec::new(), Vec::new());
    for turn in 0..TURNS {
        let mut callers = Vec::new();
        for (at, connection) in pg_connections(stand).await?.into_iter().enumerate() {
            let runner = stand.runner(&format!("bare-lock-{at}")).await?;
            callers.push((connection, runner.environment_id, runner.service_id.to_string()));
        }
        let (bare_rate, _) = rate(callers, span, |(mut connection, environment, key)| async move {
            sqlx::query(
                "INSERT INTO locks (environment_id, key, fence, owner, acquisition_id, lease_ms, expires_at)
                 VALUES ($1, $2, 1, 'bench@bench#1', 'bench@bench#1-1', 60000, clock_timestamp() + interval '1 min')
                 ON CONFLICT (environment_id, key) DO UPDATE
                    SET fence = locks.fence + 1, owner = excluded.owner, acquisition_id = excluded.acquisition_id,
                        lease_ms = excluded.lease_ms, expires_at = excluded.expires_at",
            )
            .bind(environment)
            .bind(&key)
            .execute(&mut connection)
            .await?;
            sqlx::query(
                "UPDATE locks SET owner = NULL, acquisition_id = NULL, lease_ms = NULL, expires_at = NULL
                  WHERE environment_id = $1 AND key = $2 AND owner = 'bench@bench#1'",
            )
            .bind(environment)
            .bind(&key)
            .execute(&mut connection)
            .await?;
            Ok((connection, environment, key))
        })
        .await?;
        bare.push(bare_rate);

        let mut callers = Vec::new();
        for (at, connection) in connections(stand).await?.into_iter().enumerate() {
            let runner = stand.runner(&format!("lock-{turn}-{at}")).await?;
            let acquire = runner.request(
                "POST",
                &runner.lock_path("/acquisition"),
                "",
                r#"{"acquiredForMillis":60000}"#,
            );
            let release = runner.request("DELETE", &runner.lock_path(""), "", "");
            callers.push((connection, acquire, release));
        }
        let (our_rate, _) = rate(callers, span, |(mut connection, acquire, release)| async move {
            connection.send(&acquire).await?.expect(201)?;
            connection.send(&release).await?.expect(200)?;
            Ok((connection, acquire, release))
        })
        .await?;
        ours.push(our_rate);
    }
    let (ours, bare) = (median(ours), median(bare));
    Ok(Figure {
        name: "4 acquire and release | two bare statements",
        ours,
        reference: bare,
        ratio: ours / bare,
        unit: "/s",
        goal: 0.6,
        at_most: false,
    })
}

/// Row 5: does a plan with nothing to do cost more when the pipeline is long?
pub async fn pipeline_size(stand: &Stand, span: Duration) -> Result<Figure> {
    let (short, long) = (stand.runner("short").await?, stand.runner("long").await?);
    let (ten, ten_thousand) = (pipeline(10), pipeline(10_000));
    apply_all(stand, &short, &ten).await?;
    apply_all(stand, &long, &ten_thousand).await?;
    let by = [
        short.plan(&digest_of(&ten)?, ""),
        long.plan(&digest_of(&ten_thousand)?, ""),
    ];
    compare_times(stand, by, span, "5 plan by digest, 10,000 changes | 10 changes").await
}

/// Row 6: does it cost more when the history is long?
pub async fn history_size(stand: &Stand, pool: &PgPool, span: Duration) -> Result<Figure> {
    let (young, old) = (stand.runner("young").await?, stand.runner("old").await?);
    let pipeline = pipeline(10);
    for (runner, entries) in [(&young, 1_000_i64), (&old, 1_000_000)] {
        apply_all(stand, runner, &pipeline).await?;
        lengthen(pool, runner, entries).await?;
        // Once whole, at the head that the history was given.
        let request = runner.plan(&pipeline, "");
        Connection::open(&stand.address)
            .await?
            .send(&request)
            .await?
            .expect(201)?;
    }
    let digest = digest_of(&pipeline)?;
    let by = [young.plan(&digest, ""), old.plan(&digest, "")];
    compare_times(
        stand,
        by,
        span,
        "6 plan by digest, 1,000,000 entries of history | 1,000",
    )
    .await
}

/// Old entries of changes that have left the pipeline. Their hashes are not the point here.
async fn lengthen(pool: &PgPool, runner: &Runner, entries: i64) -> Result<()> {
    let stream: i64 =
        sqlx::query_scalar("SELECT id FROM audit_streams WHERE environment_id = $1 AND service_id = $2")
            .bind(runner.environment_id)
            .bind(runner.service_id)
            .fetch_one(pool)
            .await?;
    sqlx::query(
        "INSERT INTO audit_entries (stream_id, seq, environment_id, service_id, source, execution_ref, change_id, state,
                                    late, actor, received_at, prev_hash, hash)
         SELECT s.id, s.head_seq + n, s.environment_id, s.service_id, 'RUNNER', n::text, 'gone-' || n % 5000, 'APPLIED',
                false, 'credential:1', clock_timestamp(), sha256('a'), sha256('b')
           FROM audit_streams s, generate_series(1, $2) AS n WHERE s.id = $1",
    )
    .bind(stream)
    .bind(entries)
    .execute(pool)
    .await?;
    sqlx::query("UPDATE audit_streams SET head_seq = head_seq + $2 WHERE id = $1")
        .bind(stream)
        .bind(entries)
        .execute(pool)
        .await?;
    sqlx::query("ANALYZE audit_entries").execute(pool).await?;
    Ok(())
}

async fn compare_times(
    stand: &Stand,
    by: [Vec<u8>; 2],
    span: Duration,
    name: &'static str,
) -> Result<Figure> {
    let (mut small, mut large) = (Vec::new(), Vec::new());
    for _ in 0..TURNS {
        small.push(asks(stand, by[0].clone(), span).await?);
        large.push(asks(stand, by[1].clone(), span).await?);
    }
    // Rates of the same number of callers: their inverse is the time of one.
    let (small, large) = (1e6 / median(small), 1e6 / median(large));
    Ok(Figure {
        name,
        ours: large,
        reference: small,
        ratio: large / small,
        unit: "µs",
        goal: 1.2,
        at_most: true,
    })
}

pub struct Waiters {
    pub parked: usize,
    pub answered_ms: f64,
    pub connections: i64,
    pub rss_mb: f64,
}

/// Row 7: a thousand parked waiters, released.
pub async fn waiters(stand: &Stand, pool: &PgPool, count: usize) -> Result<Waiters> {
    let holder = stand.runner("crowd").await?;
    let pipeline = pipeline(10);
    let mut connection = Connection::open(&stand.address).await?;
    let plan = connection
        .send(&holder.plan(&pipeline, ""))
        .await?
        .expect(201)?
        .json()?;
    let execution = plan["executionId"].as_i64().context("executionId")?;
    let mut parked = Vec::with_capacity(count);
    for at in 0..count {
        let mut waiter = holder.clone();
        waiter.id = format!("crowd@bench#{at}-waiter");
        let request = waiter.plan(&pipeline, "prefer: wait=60\r\n");
        let mut connection = Connection::open(&stand.address).await?;
        parked.push(tokio::spawn(async move {
            let answer = connection.send(&request).await?.expect(201)?.json()?;
            anyhow::ensure!(answer["action"] == "CONTINUE", "{answer}");
            Ok::<_, anyhow::Error>(Instant::now())
        }));
    }
    wait_until_parked(stand, count).await?;
    for at in 0..10 {
        let change = format!("change-{at:05}");
        connection
            .send(&holder.report(execution, &change, "STARTED"))
            .await?
            .expect(201)?;
        connection
            .send(&holder.report(execution, &change, "APPLIED"))
            .await?
            .expect(201)?;
    }
    let rss_mb = stand.server_rss_mb()?;
    let released = Instant::now();
    connection
        .send(&holder.request("DELETE", &holder.lock_path(""), "", ""))
        .await?
        .expect(200)?;
    let mut last = released;
    for waiter in parked {
        last = last.max(waiter.await??);
    }
    let connections: i64 = sqlx::query_scalar(
        "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'flamingock-server'",
    )
    .fetch_one(pool)
    .await?;
    Ok(Waiters {
        parked: count,
        answered_ms: last.duration_since(released).as_secs_f64() * 1e3,
        connections,
        rss_mb: rss_mb.max(stand.server_rss_mb()?),
    })
}

async fn wait_until_parked(stand: &Stand, count: usize) -> Result<()> {
    let request = format!(
        "GET /metrics HTTP/1.1\r\nhost: {}\r\ncontent-length: 0\r\n\r\n",
        stand.address
    );
    let started = Instant::now();
    loop {
        let answer = Connection::open(&stand.address)
            .await?
            .send(request.as_bytes())
            .await?
            .expect(200)?;
        let text = String::from_utf8(answer.body)?;
        let parked: usize = text
            .lines()
            .find_map(|line| line.strip_prefix("flamingock_plan_waiters "))
            .and_then(|value| value.trim().parse().ok())
            .unwrap_or(0);
        if parked == count {
            return Ok(());
        }
        anyhow::ensure!(
            started.elapsed() < Duration::from_mins(1),
            "{parked} of {count} waiters are parked"
        );
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}
