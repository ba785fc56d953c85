//! The outer loop: marks, plan request, waiting for the lock, carrying out, release.

use std::{sync::atomic::AtomicBool, time::Duration};

use flamingock_api_types::{
    auth::TokenResponse,
    execution::{PlanAction, PlanRequest, PlanResponse, RunnerFacts, Submission},
    lock::LockView,
};
use tokio::time::Instant;

use super::{
    marks::MarkSnapshot,
    offer::Offer,
    record::RunRecord,
    stage::{Execution, Pass},
};
use crate::{
    builder::Flamingock,
    cancellation::CancelReason,
    client::{Client, PlanOptions, Timed},
    events::RunEvent,
    lease::{Heartbeat, Lease},
    runner_id,
    start_error::StartErrorKind,
    target::MarkScope,
};

/// Between two plan requests, whatever the server answers.
const SHORTEST_PAUSE: Duration = Duration::from_millis(100);
/// Between two looks for a lock that may have been granted to a request which nobody waits for any more.
const SECOND_LOOK: Duration = Duration::from_millis(200);
/// What the server is asked to hold a request at most.
const LONGEST_HOLD: Duration = Duration::from_secs(20);

pub(super) async fn run<'a>(
    app: &'a Flamingock,
    client: &'a Client,
    session: &TokenResponse,
    record: &mut RunRecord<'_>,
) -> Result<(), StartErrorKind> {
    let scope = MarkScope {
        environment_id: session.environment_id,
        service_id: session.service_id,
    };
    let mut planner = Planner {
        app,
        client,
        scope,
        host: runner_id::host(),
        last_request: None,
        asking: None,
    };
    loop {
        let next = planner.next_unless_stopped(record).await?;
        let plan = &next.timed.answer;
        match plan.action {
            PlanAction::Continue => {
                let result = plan
                    .pipeline_result
                    .as_ref()
                    .ok_or_else(|| protocol("it has no pipelineResult"))?;
                record.finish(result)?;
                note_certificate(record, next.timed.answer);
                return Ok(());
            }
            PlanAction::Abort if record.failure().is_some() => return Ok(()),
            // An application must not start because the server stopped it for a reason of its own.
            PlanAction::Abort => {
                return Err(StartErrorKind::Aborted { reason: reason(plan) });
            }
            PlanAction::Execute => planner.carry_out(next, record).await?,
            PlanAction::Await | PlanAction::Unknown => return Err(protocol("its action is unknown")),
        }
    }
}

struct Planner<'a> {
    app: &'a Flamingock,
    client: &'a Client,
    scope: MarkScope,
    host: String,
    last_request: Option<Instant>,
    /// The key of the lock that the request under way may be granted.
    asking: Option<String>,
}

/// A plan that is not `AWAIT`.
struct Planned<'a> {
    timed: Timed<PlanResponse>,
    /// What the server has accounted for in an `EXECUTE`, to be removed before that is carried out.
    settled: MarkSnapshot<'a>,
}

/// What is watched of another runner's lock.
struct Watched {
    acquisition_id: String,
    since: Instant,
}

impl<'a> Planner<'a> {
    /// As [`next`](Self::next), until the application is asked to stop.
    async fn next_unless_stopped(&mut self, record: &RunRecord<'_>) -> Result<Planned<'a>, StartErrorKind> {
        let stop = self.app.stop.clone();
        tokio::select! {
            biased;
            _ = stop.requested() => {}
            next = self.next(record) => return next,
        }
        self.app.events.emit(|| RunEvent::Stopping {});
        if let Some(key) = self.asking.take() {
            give_back(self.client, &key).await;
        }
        Err(StartErrorKind::Interrupted)
    }

    /// The next plan that is not `AWAIT`.
    async fn next(&mut self, record: &RunRecord<'_>) -> Result<Planned<'a>, StartErrorKind> {
        let settings = self.app.settings.lock;
        // Where the server has not named it yet, it is that of the service.
        let mut key = self.scope.service_id.to_string();
        let began = Instant::now();
        let left = || settings.wait.saturating_sub(began.elapsed());
        let mut watched: Option<Watched> = None;
        loop {
            self.pace().await;
            let marks = MarkSnapshot::read(self.app, self.scope).await?;
            let options = PlanOptions {
                waited_for: watched
                    .as_ref()
                    .map(|lock| (lock.acquisition_id.clone(), lock.since.elapsed())),
                // A held answer tells nothing about when in between the lock was granted, and the lease is counted
                // from the request. So no longer than what leaves most of the lease.
                wait: LONGEST_HOLD.min(left()).min(settings.lease / 3),
            };
            let asked_at = Instant::now();
            self.asking = Some(key.clone());
            let answered = self.ask(record, &marks, &options).await;
            self.asking = None;
            let timed = answered?;
            self.app.events.emit(|| RunEvent::PlanReceived {
                action: timed.answer.action,
                execution_id: timed.answer.execution_id,
            });
            let mut settled = MarkSnapshot::default();
            if timed.answer.synchronized_marks {
                settled = marks;
            }
            // With a lock in hand they are removed once its heartbeat runs.
            if timed.answer.action != PlanAction::Execute {
                std::mem::take(&mut settled).clear_if_possible(self.scope).await;
            }
            if timed.answer.action != PlanAction::Await {
                return Ok(Planned { timed, settled });
            }
            let lock = timed
                .answer
                .lock
                .ok_or_else(|| protocol("it says to wait, but not for which lock"))?;
            key.clone_from(&lock.key);
            // Who is told to wait is told that there is work.
            #[cfg(feature = "certificate")]
            if watched.is_none()
                && let Some(certificate) = &self.app.settings.certificate
            {
                certificate.forget().await;
            }
            if watched
                .as_ref()
                .is_none_or(|watched| watched.acquisition_id != lock.acquisition_id)
            {
                tracing::info!(holder = %lock.owner, "waiting for the lock");
                self.app.events.emit(|| RunEvent::WaitingForLock {
                    holder: lock.owner.clone(),
                });
                watched = Some(Watched {
                    acquisition_id: lock.acquisition_id.clone(),
                    since: Instant::now(),
                });
            }
            if left().is_zero() {
                return Err(StartErrorKind::LockUnavailable {
                    holder: lock.owner,
                    waited: began.elapsed(),
                });
            }
            let seen_for = watched
                .as_ref()
                .map_or(Duration::ZERO, |watched| watched.since.elapsed());
            tokio::time::sleep(pause(&lock, seen_for, settings.poll, asked_at.elapsed()).min(left())).await;
        }
    }

    /// Asks once.
    async fn ask(
        &mut self,
        record: &RunRecord<'_>,
        marks: &MarkSnapshot<'_>,
        options: &PlanOptions,
    ) -> Result<Timed<PlanResponse>, StartErrorKind> {
        let whole = Submission {
            blocks: Some(record.submission(|id| marks.status(id))),
            ..Submission::default()
        };
        let plan = self.client.plan_timed(&self.request(whole), options).await;
        self.last_request = Some(Instant::now());
        #[cfg(feature = "certificate")]
        if is_word(plan.as_ref().err()) {
            record.note_heard();
        }
        let plan = plan.map_err(StartErrorKind::of_plan)?;
        for found in plan.answer.reasons.iter().flat_map(|reasons| &reasons.policy) {
            let change = found.change_id.as_deref().unwrap_or_default();
            tracing::warn!(policy = ?found.policy, change, "{}", found.message);
        }
        Ok(plan)
    }

    fn request(&self, client_submission: Submission) -> PlanRequest {
        let settings = &self.app.settings;
        PlanRequest {
            lock_acquired_for_millis: i64::try_from(settings.lock.lease.as_millis()).ok(),
            client_submission,
            runner: Some(RunnerFacts {
                sdk: Some(concat!("flamingock-rust/", env!("CARGO_PKG_VERSION")).to_owned()),
                application_version: settings.application_version.clone(),
                host: Some(self.host.clone()),
                commit: settings.commit.clone(),
            }),
            certificate: settings.wants_certificate(),
        }
    }

    async fn pace(&self) {
        if let Some(last) = self.last_request {
            tokio::time::sleep_until(last + SHORTEST_PAUSE).await;
        }
    }

    /// Carries out an `EXECUTE` and gives the lock back, unless something may still be under way.
    async fn carry_out(
        &self,
        planned: Planned<'_>,
        record: &mut RunRecord<'_>,
    ) -> Result<(), StartErrorKind> {
        let Planned { timed, settled } = planned;
        let plan = &timed.answer;
        let (ended, keeps_lock) = match accept(plan, record) {
            Ok(offer) => self.execute(&offer, timed.sent_at, settled, record).await,
            Err(error) => {
                settled.clear_if_possible(self.scope).await;
                (Err(error), false)
            }
        };
        match &plan.lock {
            // The next process settles it by itself, and must not do so while it may still take effect: as after a crash.
            Some(lock) if keeps_lock => {
                tracing::warn!(lock = %lock.key, "not given back, for what was cut off may still be under way: it ends with its lease");
            }
            Some(lock) => self.release(lock).await,
            None => {}
        }
        ended
    }

    /// The flag: the lock is not given back, for a change that was cut off may still take effect, and needs no person.
    async fn execute(
        &self,
        offer: &Offer,
        sent_at: Instant,
        settled: MarkSnapshot<'_>,
        record: &mut RunRecord<'_>,
    ) -> (Result<(), StartErrorKind>, bool) {
        tracing::info!(
            execution_id = offer.execution_id,
            stages = offer.stages.len(),
            "carrying out a plan"
        );
        self.app.events.emit(|| RunEvent::LockGranted {
            execution_id: offer.execution_id,
            key: offer.lock.key.clone(),
            fence: offer.lock.fence,
        });
        let lease = Lease::granted(&offer.lock, sent_at);
        // Before anything that takes time, such as removing marks.
        let heartbeat = Heartbeat::start(self.client.clone(), lease.clone());
        let execution = Execution {
            app: self.app,
            client: self.client,
            scope: self.scope,
            host: &self.host,
            id: offer.execution_id,
            lease: &lease,
            keeps_lock: AtomicBool::new(false),
        };
        // There is work: should this process die over it, nobody may start by what was certified before.
        #[cfg(feature = "certificate")]
        if let Some(certificate) = &self.app.settings.certificate {
            certificate.forget().await;
        }
        let pass = match settled.clear(self.scope).await {
            Ok(()) => Ok(execution.run_unless_stopped(offer, record).await),
            Err(error) => Err(error),
        };
        heartbeat.stop().await;
        let ended = match pass {
            Ok(Pass::Finished)
                if lease.check() != Err(CancelReason::Requested) || record.is_all_applied() =>
            {
                Ok(())
            }
            // What was under way has stopped or ended, and what is pending is not begun.
            Ok(Pass::Finished) => Err(cancelled(CancelReason::Requested, &lease)),
            Ok(Pass::Stopped(CancelReason::Shutdown)) => Err(StartErrorKind::Interrupted),
            Ok(Pass::Stopped(reason)) => Err(cancelled(reason, &lease)),
            Err(error) => Err(error),
        };
        (ended, execution.keeps_lock.into_inner())
    }

    async fn release(&self, lock: &LockView) {
        // Not fatal: the lease ends by itself, only later.
        if let Err(error) = self.client.release(&lock.key, lock.fence).await {
            tracing::warn!(lock = %lock.key, %error, "the lock could not be given back; it ends with its lease");
        }
    }
}

fn accept(plan: &PlanResponse, record: &mut RunRecord<'_>) -> Result<Offer, StartErrorKind> {
    let offer = Offer::read(plan, record).map_err(StartErrorKind::Protocol)?;
    record.merge(
        plan.pipeline_result
            .as_ref()
            .ok_or_else(|| protocol("it has no pipelineResult"))?,
    )?;
    Ok(offer)
}

/// After a plan request that was dropped unanswered: the server may grant it the lock all the same, in that very moment or
/// in the next, where a proxy has yet to notice. The lease would end it too, only later.
async fn give_back(client: &Client, key: &str) {
    for pause in [Duration::ZERO, SECOND_LOOK] {
        tokio::time::sleep(pause).await;
        match client.release(key, None).await {
            Ok(()) => return tracing::info!(lock = key, "granted while stopping, and given back"),
            Err(error) if error.is_lock_held() => {}
            Err(error) => tracing::warn!(lock = key, %error, "whether the lock was granted is not known"),
        }
    }
}

#[cfg(feature = "certificate")]
fn note_certificate(record: &RunRecord<'_>, plan: PlanResponse) {
    record.note_certificate(plan.certificate);
}

#[cfg(not(feature = "certificate"))]
fn note_certificate(_: &RunRecord<'_>, _: PlanResponse) {}

/// Whether an answer came from the server itself, be it a refusal, and not from what stands before it.
#[cfg(feature = "certificate")]
fn is_word(error: Option<&crate::Error>) -> bool {
    error.is_none_or(|error| !error.is_unreachable())
}

/// How long to wait before the next request, given how long the last one took: a server that held it has waited for us.
fn pause(lock: &LockView, seen_for: Duration, poll: Duration, request_took: Duration) -> Duration {
    let lease = Duration::from_millis(u64::try_from(lock.acquired_for_millis).unwrap_or(0));
    // Taking over wants more than the lease, not as much.
    let until_lease_ends = (lease + Duration::from_millis(1)).saturating_sub(seen_for);
    until_lease_ends
        .min(poll.saturating_sub(request_took))
        .max(SHORTEST_PAUSE)
}

fn cancelled(reason: CancelReason, lease: &Lease) -> StartErrorKind {
    let notice = lease.notice().filter(|_| reason == CancelReason::Requested);
    StartErrorKind::Cancelled { reason, notice }
}

fn protocol(text: &str) -> StartErrorKind {
    StartErrorKind::Protocol(text.to_owned())
}

fn reason(plan: &PlanResponse) -> String {
    plan.reasons.as_ref().map_or_else(
        || "it gave no reason".to_owned(),
        |reasons| reasons.message.clone(),
    )
}
