//! Asking changes what became of an earlier attempt, before a person is asked.

use std::{panic::AssertUnwindSafe, time::Duration};

use chrono::Utc;
use flamingock_api_types::probe::{ProbeReport, ProbeVerdict};
use futures_util::FutureExt as _;
use tokio::time::Instant;
use tracing::Instrument as _;

use super::{
    audit::Job,
    offer::{Action, StageOffer},
    record::RunRecord,
    stage::{Execution, Pass},
};
use crate::{
    change::Probed,
    events::RunEvent,
    report::{ErrorReport, StageState, millis},
    retry::Patience,
    trace,
};

/// How long a probe may take. The lock is held meanwhile, and everybody else waits.
const PROBE_MAX: Duration = Duration::from_secs(30);

/// A change that could not say what became of it.
pub(super) struct Doubt<'a> {
    pub(super) change: &'a str,
    pub(super) why: String,
}

/// What a probe said.
struct Said {
    verdict: ProbeVerdict,
    detail: Option<String>,
    took: Duration,
}

impl Execution<'_> {
    /// Asks every change of the stage that is to be asked, and reports what it says. Gives those that stay in doubt; the
    /// error: the stage ends here.
    pub(super) async fn probe<'a>(
        &self,
        offer: &StageOffer,
        record: &mut RunRecord<'a>,
    ) -> Result<Vec<Doubt<'a>>, Pass> {
        let stage = &record.stages()[offer.index];
        let mut doubts = Vec::new();
        for (change, action) in stage.changes.iter().zip(&offer.actions) {
            let Action::Probe { about } = *action else {
                continue;
            };
            self.lease.check().map_err(Pass::Stopped)?;
            let id = change.info.id();
            let job = self.job(&stage.name, change, None);
            record.note_probed(id);
            let span = tracing::info_span!("flamingock.probe", change = id, target_system = %job.target.id);
            let said = ask(&job).instrument(span).await;
            self.app.events.emit(|| RunEvent::ChangeProbed {
                stage: stage.name.to_string(),
                change: id.to_owned(),
                verdict: said.verdict,
            });
            // Whoever has the lock by now may have changed what was looked at.
            self.lease.check().map_err(Pass::Stopped)?;
            match self.report_probe(id, about, &said).await {
                Ok(true) => {
                    tracing::info!(change = id, verdict = ?said.verdict, "its probe settled what became of it");
                }
                Ok(false) => doubts.push(Doubt {
                    change: id,
                    why: said
                        .detail
                        .unwrap_or_else(|| "its probe does not know".to_owned()),
                }),
                Err(error) if error.is_probe_refused() => {
                    // Somebody has decided meanwhile: the next plan knows.
                    tracing::warn!(change = id, %error, "what its probe says does not count any more");
                }
                Err(error) => {
                    let message = format!("what its probe says could not be recorded: {error}");
                    tracing::error!(change = id, "{message}");
                    let record = record.stage(offer.index);
                    record.state = StageState::Failed;
                    record.error = Some(ErrorReport::new(
                        "PROBE_NOT_RECORDED",
                        format!("{id}: {message}"),
                        vec![id.to_owned()],
                    ));
                    return Err(Pass::Finished);
                }
            }
        }
        Ok(doubts)
    }

    /// Whether it settles the doubt.
    async fn report_probe(&self, id: &str, about: i64, said: &Said) -> Result<bool, crate::Error> {
        let report = ProbeReport {
            verdict: said.verdict,
            expected_seq: about,
            fence: self.lease.fence(),
            detail: said.detail.clone(),
            probed_at_epoch_millis: Some(Utc::now().timestamp_millis()),
            execution_millis: i64::try_from(millis(said.took)).ok(),
            execution_hostname: Some(self.host.to_owned()),
        };
        // A verdict is only worth something under the lock.
        let end = self.lease.clone();
        let patience = Patience::until(move || end.end());
        let answer = self
            .client
            .probe_patiently(self.id, id, &report, &patience)
            .await?;
        Ok(answer.settled)
    }
}

/// Runs the probe. Whatever goes wrong with it leaves the doubt.
async fn ask(job: &Job<'_>) -> Said {
    tracing::info!("asking the change what became of it");
    let began = Instant::now();
    let mut context = job.context(None);
    let probe = async { job.change.code.probe(&mut context).await };
    let answer = tokio::time::timeout(PROBE_MAX, AssertUnwindSafe(probe).catch_unwind()).await;
    let (verdict, detail) = match answer {
        Ok(Ok(Ok(Probed::Applied))) => (ProbeVerdict::Applied, None),
        Ok(Ok(Ok(Probed::NotApplied))) => (ProbeVerdict::NotApplied, None),
        Ok(Ok(Ok(Probed::Unknown))) => (ProbeVerdict::Unknown, None),
        Ok(Ok(Err(error))) => (
            ProbeVerdict::Unknown,
            Some(format!("its probe failed: {}", trace::one_line(&error))),
        ),
        Ok(Err(payload)) => (
            ProbeVerdict::Unknown,
            Some(format!(
                "its probe panicked: {}",
                trace::one_line(&trace::of_panic(&*payload))
            )),
        ),
        Err(_) => (
            ProbeVerdict::Unknown,
            Some(format!("its probe did not answer within {PROBE_MAX:?}")),
        ),
    };
    if let Some(detail) = &detail {
        tracing::error!("{detail}");
    }
    Said {
        verdict,
        detail,
        took: began.elapsed(),
    }
}
