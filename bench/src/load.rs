//! Callers that do one thing over and over, and how many times they did it.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::Result;
use futures_util::future::try_join_all;

/// Runs every caller until time is up; each call of `step` is one unit of work. Units per second of all together.
pub async fn rate<C, F, Fut>(callers: Vec<C>, span: Duration, step: F) -> Result<(f64, Vec<C>)>
where
    C: Send + 'static,
    F: Fn(C) -> Fut + Clone + Send + 'static,
    Fut: Future<Output = Result<C>> + Send,
{
    let over = Arc::new(AtomicBool::new(false));
    let count = Arc::new(AtomicU64::new(0));
    let started = Instant::now();
    let tasks: Vec<_> = callers
        .into_iter()
        .map(|mut caller| {
            let (over, count, step) = (Arc::clone(&over), Arc::clone(&count), step.clone());
            tokio::spawn(async move {
                while !over.load(Ordering::Relaxed) {
                    caller = step(caller).await?;
                    count.fetch_add(1, Ordering::Relaxed);
                }
                Ok::<C, anyhow::Error>(caller)
            })
        })
        .collect();
    tokio::time::sleep(span).await;
    #[expect(clippy::cast_precision_loss, reason = "counts of a few seconds")]
    let rate = count.load(Ordering::Relaxed) as f64 / started.elapsed().as_secs_f64();
    over.store(true, Ordering::Relaxed);
    let callers = try_join_all(tasks)
        .await?
        .into_iter()
        .collect::<Result<Vec<_>>>()?;
    Ok((rate, callers))
}

pub fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}
