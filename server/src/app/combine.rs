//! Requests that wait for the database at the same moment share its round trip.
//!
//! A combiner has a few lanes. A free lane takes all jobs that have queued as one batch; while every lane is under way, new
//! jobs queue. An idle server so answers a lone job at once, and a busy one pays for a round trip or a commit once for many.
//! Nothing waits for a timer. More than one lane, because otherwise nothing is worked on while a commit waits for the disk.

use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt as _;
use tokio::sync::{Mutex, mpsc, oneshot};

use super::fault::Fault;
use crate::store::StoreError;

type Job<J, R> = (J, oneshot::Sender<Result<R, Fault>>);

pub struct Combiner<J, R> {
    jobs: mpsc::Sender<Job<J, R>>,
}

impl<J, R> Clone for Combiner<J, R> {
    fn clone(&self) -> Self {
        Self {
            jobs: self.jobs.clone(),
        }
    }
}

impl<J: Send + 'static, R: Send + 'static> Combiner<J, R> {
    /// `run` answers a batch with as many results, in its order. A batch that takes longer than `limit` is given up: its
    /// jobs are told to come back, and whatever it wrote is found by the repetition.
    pub fn spawn<F, Fut>(name: &'static str, max_batch: usize, lanes: usize, limit: Duration, run: F) -> Self
    where
        F: Fn(Vec<J>) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Vec<Result<R, Fault>>> + Send,
    {
        let (jobs, queue) = mpsc::channel::<Job<J, R>>(max_batch * 4);
        let queue = Arc::new(Mutex::new(queue));
        let run = Arc::new(run);
        for _ in 0..lanes {
            let (queue, run) = (Arc::clone(&queue), Arc::clone(&run));
            tokio::spawn(async move {
                let mut batch = Vec::with_capacity(max_batch);
                // The lane that waits holds the queue; the others are at work or stand behind it.
                loop {
                    // Whoever can run now runs first: many that are about to ask are then one batch instead of several.
                    tokio::task::yield_now().await;
                    if queue.lock().await.recv_many(&mut batch, max_batch).await == 0 {
                        break;
                    }
                    work_off(name, limit, run.as_ref(), &mut batch).await;
                }
            });
        }
        Self { jobs }
    }

    pub async fn submit(&self, job: J) -> Result<R, Fault> {
        let (answer, result) = oneshot::channel();
        if self.jobs.send((job, answer)).await.is_err() {
            return Err(gone());
        }
        result.await.unwrap_or_else(|_| Err(gone()))
    }
}

async fn work_off<J, R, F, Fut>(name: &'static str, limit: Duration, run: &F, batch: &mut Vec<Job<J, R>>)
where
    F: Fn(Vec<J>) -> Fut,
    Fut: Future<Output = Vec<Result<R, Fault>>> + Send,
{
    let (work, answers): (Vec<J>, Vec<_>) = batch.drain(..).unzip();
    match tokio::time::timeout(limit, AssertUnwindSafe(run(work)).catch_unwind()).await {
        Ok(Ok(results)) => {
            for (answer, result) in answers.into_iter().zip(results) {
                // The asker may have gone: its work is done all the same.
                let _ = answer.send(result);
            }
        }
        Ok(Err(_panic)) => tracing::error!(combiner = name, "a batch panicked: its jobs fail"),
        Err(_elapsed) => {
            tracing::error!(combiner = name, "a batch took too long: its jobs are given up");
            for answer in answers {
                let _ = answer.send(Err(timed_out()));
            }
        }
    }
}

fn timed_out() -> Fault {
    Fault::Busy(Arc::new(StoreError::Unavailable(sqlx::Error::PoolTimedOut)))
}

fn gone() -> Fault {
    Fault::Broken(Arc::new(StoreError::Query(sqlx::Error::WorkerCrashed)))
}
