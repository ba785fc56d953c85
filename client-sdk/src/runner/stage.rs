//! Carrying out the stages of one plan.

use std::{
    convert::Infallible,
    sync::{Arc, atomic::AtomicBool},
};

use tokio::time::Instant;
use tracing::Instrument as _;

use super::{
    audit::Job,
    offer::{Action, Offer, StageOffer},
    probing::Doubt,
    record::RunRecord,
    strategy,
};
use crate::{
    builder::Flamingock,
    cancellation::CancelReason,
    checkpoint::Attempt,
    client::Client,
    events::RunEvent,
    lease::Lease,
    report::{ChangeStatus, ErrorReport, StageState, millis},
    stage::LoadedChange,
    target::MarkScope,
};

/// Everything that the changes of one plan share.
pub(super) struct Execution<'a> {
    pub(super) app: &'a Flamingock,
    pub(super) client: &'a Client,
    pub(super) scope: MarkScope,
    pub(super) host: &'a str,
    pub(super) id: i64,
    pub(super) lease: &'a Lease,
    /// A change was cut off outside a transaction that the next process settles without a person. Until the lease ends, what
    /// it was doing can end too.
    pub(super) keeps_lock: AtomicBool,
}

pub(super) enum Pass {
    /// Each stage has run as far as it could.
    Finished,
    /// There was more to do.
    Stopped(CancelReason),
}

impl Execution<'_> {
    /// Passes a request to stop on to the running change while it carries the plan out.
    pub(super) async fn run_unless_stopped(&self, offer: &Offer, record: &mut RunRecord<'_>) -> Pass {
        let stopped = async {
            self.app.stop.requested().await;
            self.app.events.emit(|| RunEvent::Stopping {});
            self.lease.cancel(CancelReason::Shutdown);
            std::future::pending::<Infallible>().await
        };
        tokio::select! {
            // So that a request which is there already comes before the first change.
            biased;
            never = stopped => match never {},
            pass = self.run(offer, record) => pass,
        }
    }

    async fn run(&self, offer: &Offer, record: &mut RunRecord<'_>) -> Pass {
        for stage in &offer.stages {
            let span = tracing::info_span!(
                "flamingock.stage",
                stage = %record.stages()[stage.index].name,
                execution_id = self.id
            );
            let began = Instant::now();
            let name = record.stages()[stage.index].name.as_ref();
            let pass = self.stage(stage, record).instrument(span).await;
            let ended = record.stage(stage.index);
            ended.duration += began.elapsed();
            self.app.events.emit(|| RunEvent::StageEnded {
                stage: name.to_owned(),
                state: ended.state,
                duration_ms: millis(ended.duration),
            });
            if let Pass::Stopped(reason) = pass {
                return Pass::Stopped(reason);
            }
        }
        Pass::Finished
    }

    async fn stage(&self, offer: &StageOffer, record: &mut RunRecord<'_>) -> Pass {
        let stage = &record.stages()[offer.index];
        let doubts = match self.probe(offer, record).await {
            Ok(doubts) => doubts,
            Err(pass) => return pass,
        };
        let waiting: Vec<_> = stage
            .changes
            .iter()
            .zip(&offer.actions)
            .filter(|(_, action)| **action == Action::ManualIntervention)
            .map(|(change, _)| change.info.id().to_owned())
            .chain(doubts.iter().map(|doubt| doubt.change.to_owned()))
            .collect();
        if !waiting.is_empty() {
            self.app.events.emit(|| RunEvent::StageBlocked {
                stage: stage.name.to_string(),
                change_ids: waiting.clone(),
            });
            // Blocked as a whole: the changes before the doubtful one may build on what it left.
            tracing::error!(changes = ?waiting, "a person has to decide before this stage can run");
            let record = record.stage(offer.index);
            record.state = StageState::BlockedManualIntervention;
            record.error = Some(intervention(waiting, &doubts));
            return Pass::Finished;
        }
        if offer
            .actions
            .iter()
            .any(|action| matches!(action, Action::Probe { .. }))
        {
            // What was in doubt is known now: the next plan says what to do about it, by the policies of that moment.
            return Pass::Finished;
        }
        self.app.events.emit(|| RunEvent::StageStarted {
            stage: stage.name.to_string(),
        });
        let mut begun = false;
        for (position, (change, action)) in stage.changes.iter().zip(&offer.actions).enumerate() {
            if *action != Action::Apply {
                let status = &mut record.stage(offer.index).changes[position].status;
                if *status == ChangeStatus::NotReached {
                    *status = ChangeStatus::AlreadyApplied;
                }
                self.app.events.emit(|| RunEvent::ChangeSkipped {
                    stage: stage.name.to_string(),
                    change: change.info.id().to_owned(),
                });
                continue;
            }
            if let Err(reason) = self.lease.check() {
                if begun {
                    let record = record.stage(offer.index);
                    record.state = StageState::Failed;
                    let message = format!("{reason}, so the rest of the stage was not begun");
                    record.error = Some(ErrorReport::new(
                        "CANCELLED",
                        message,
                        vec![change.info.id().to_owned()],
                    ));
                }
                return Pass::Stopped(reason);
            }
            if let Some(missing) = record.unmet_dependency(change) {
                let error = unmet(change.info.id(), missing);
                tracing::error!(
                    change = change.info.id(),
                    depends_on = missing,
                    "not begun: {}",
                    error.message
                );
                let record = record.stage(offer.index);
                record.state = StageState::Failed;
                record.error = Some(error);
                return Pass::Finished;
            }
            begun = true;
            if !self.change(offer, change, record, position).await {
                return Pass::Finished;
            }
        }
        record.stage(offer.index).state = StageState::Completed;
        Pass::Finished
    }

    /// One change with what it needs to be run or asked. `cursor`: where an earlier attempt got to.
    pub(super) fn job<'a>(
        &'a self,
        stage: &'a str,
        change: &'a LoadedChange,
        cursor: Option<String>,
    ) -> Job<'a> {
        let info = &change.info;
        let target = self.app.targets.iter().find(|target| target.id == info.target);
        let attempt = Attempt::new(
            self.client,
            self.lease,
            self.id,
            info.id(),
            info.has_rollback && !info.keeps_steps,
            cursor,
        );
        Job {
            execution: self,
            stage,
            change,
            target: target.expect("the builder refuses changes whose target system is unknown"),
            failure_told: AtomicBool::new(false),
            attempt: Arc::new(attempt),
        }
    }

    /// False if it failed, and with it the stage.
    async fn change(
        &self,
        offer: &StageOffer,
        change: &LoadedChange,
        record: &mut RunRecord<'_>,
        position: usize,
    ) -> bool {
        let info = &change.info;
        let cursor = offer.cursors.get(info.id()).cloned();
        if let Some(cursor) = &cursor {
            tracing::info!(change = info.id(), %cursor, "going on where an earlier attempt got to");
        }
        let job = self.job(&record.stages()[offer.index].name, change, cursor);
        let span = tracing::info_span!(
            "flamingock.change",
            change = change.info.id(),
            target_system = %job.target.id,
            strategy = job.strategy_name(),
        );
        self.app.events.emit(|| RunEvent::ChangeStarted {
            stage: job.stage.to_owned(),
            change: change.info.id().to_owned(),
            target: job.target.id.to_string(),
        });
        let began = Instant::now();
        self.lease.is_at(&job.attempt);
        let outcome = strategy::execute(&job).instrument(span).await;
        job.tell_outcome(&outcome, began.elapsed());
        // Whatever the change left running tells nothing more: an extension must not meet the release.
        job.attempt.end().await;
        let stage = record.stage(offer.index);
        let slot = &mut stage.changes[position];
        slot.status = outcome.status;
        slot.duration = began.elapsed();
        slot.error.clone_from(&outcome.error);
        if outcome.status == ChangeStatus::Applied {
            return true;
        }
        stage.state = StageState::Failed;
        stage.error = outcome.error;
        false
    }
}

fn unmet(change_id: &str, missing: &str) -> ErrorReport {
    let message = format!(
        "`{change_id}` depends on `{missing}`, which is not applied, so neither it nor the rest of the stage was begun: \
         settle `{missing}`, then start again"
    );
    ErrorReport::new(
        "DEPENDENCY_NOT_APPLIED",
        message,
        vec![change_id.to_owned(), missing.to_owned()],
    )
}

pub(super) fn intervention(change_ids: Vec<String>, doubts: &[Doubt<'_>]) -> ErrorReport {
    let asked: String = doubts
        .iter()
        .flat_map(|doubt| ["; ", doubt.change, " was asked: ", doubt.why.as_str()])
        .collect();
    let message = format!(
        "it is not known in which state an earlier run left {}: check the target system, then record on the server \
         whether it is applied or rolled back{asked}",
        change_ids.join(", ")
    );
    ErrorReport::new("MANUAL_INTERVENTION_REQUIRED", message, change_ids)
}
