//! Prints one table: our rate, the reference's rate on the same PostgreSQL in the same run, and the ratio.
//!
//! `cargo build --release --workspace --bins && target/release/flamingock-bench`

mod http;
mod load;
mod reading;
mod rows;
mod stand;
mod starts;

use std::io::Write as _;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, Result};
use clap::Parser;

use rows::Figure;
use stand::Stand;

/// Load benchmarks of the coordination server. Brings its own PostgreSQL unless `DATABASE_URL` names one, which must be
/// empty.
#[derive(Parser)]
struct Arguments {
    /// The server's binary; by default the one beside this program.
    #[arg(long)]
    server: Option<PathBuf>,
    /// Seconds of each turn; every side of every row has three.
    #[arg(long, default_value_t = 3.0)]
    seconds: f64,
    /// Only these rows, for example `3,4`.
    #[arg(long, value_delimiter = ',', default_values_t = [1_u8, 2, 3, 4, 5, 6, 7, 8])]
    rows: Vec<u8>,
    /// Requests parked at once in the last row.
    #[arg(long, default_value_t = 1_000)]
    waiters: usize,
    /// Instead of the table: reading the audit of services with histories of these lengths, for example
    /// `1000,100000,10000000`. A million takes some minutes to write.
    #[arg(long, value_delimiter = ',', num_args = 0..=1, default_missing_value = "1000,100000,1000000")]
    reading: Option<Vec<i64>>,
}

#[tokio::main]
async fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let beside = std::env::current_exe()?
        .parent()
        .context("the program has no folder")?
        .to_owned();
    let binary = arguments
        .server
        .unwrap_or_else(|| beside.join("flamingock-server"));
    let data = beside.join(format!("bench-data-{}", std::process::id()));
    let span = Duration::from_secs_f64(arguments.seconds);
    say("starting PostgreSQL and the server");
    let stand = Stand::start(&binary, &data).await?;
    let result = match &arguments.reading {
        Some(lengths) => reading::measure(&stand, &stand.pool(2).await?, lengths).await,
        None => measure(&stand, span, arguments.waiters, &arguments.rows).await,
    };
    stand.stop().await?;
    result
}

async fn measure(stand: &Stand, span: Duration, waiters: usize, rows: &[u8]) -> Result<()> {
    let idle_mb = stand.server_rss_mb()?;
    let pool = stand.pool(2).await?;
    let mut out = std::io::stdout().lock();
    writeln!(
        out,
        "{:<62} {:>12} {:>12} {:>7}  goal",
        "measured | reference", "ours", "reference", "ratio"
    )?;
    let wanted = |row: u8| rows.contains(&row);
    // First, while the server's memory is its own.
    let crowd = if wanted(7) {
        say("row 7: parked waiters");
        Some(rows::waiters(stand, &pool, waiters).await?)
    } else {
        None
    };
    if wanted(1) || wanted(2) {
        say("rows 1 and 2: plans with nothing to do");
        for figure in rows::no_op(stand, span).await? {
            print(&mut out, &figure)?;
        }
    }
    if wanted(3) {
        say("row 3: audit appends");
        print(&mut out, &rows::append(stand, span).await?)?;
    }
    if wanted(4) {
        say("row 4: locks");
        print(&mut out, &rows::lock_cycle(stand, span).await?)?;
    }
    if wanted(5) {
        say("row 5: length of the pipeline (10,000 changes are applied first)");
        print(&mut out, &rows::pipeline_size(stand, span).await?)?;
    }
    if wanted(6) {
        say("row 6: length of the history (a million entries are written first)");
        print(&mut out, &rows::history_size(stand, &pool, span).await?)?;
    }
    if wanted(8) {
        say("row 8: starts of an application (a thousand changes and migrations are applied first)");
        for figure in starts::starts(stand).await? {
            print(&mut out, &figure)?;
        }
    }
    if wanted(9) {
        say("row 9: starts with nothing to do");
        print(&mut out, &rows::start_requests(stand, span).await?)?;
    }
    if let Some(crowd) = crowd {
        writeln!(
            out,
            "7 {} parked waiters released: all answered in {:.0} ms (goal <= 1000), {} database connections \
             (goal <= 20), server memory {:.0} MB (goal < 100); idle {:.0} MB (goal < 40)",
            crowd.parked, crowd.answered_ms, crowd.connections, crowd.rss_mb, idle_mb
        )?;
    }
    Ok(())
}

fn print(out: &mut impl std::io::Write, figure: &Figure) -> Result<()> {
    writeln!(
        out,
        "{:<62} {:>12} {:>12} {:>7.2}  {} {} {}",
        figure.name,
        format!("{:.0} {}", figure.ours, figure.unit),
        format!("{:.0} {}", figure.reference, figure.unit),
        figure.ratio,
        if figure.at_most { "<=" } else { ">=" },
        figure.goal,
        if figure.met() { "met" } else { "MISSED" },
    )?;
    Ok(())
}

fn say(what: &str) {
    // Progress is not the result: it goes to the terminal, not into a pipe.
    let _ = writeln!(std::io::stderr(), "… {what}");
}
