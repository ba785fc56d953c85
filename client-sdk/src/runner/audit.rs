//! One change under execution, and its audit entries.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use chrono::Utc;
use flamingock_api_types::audit::{AuditState, AuditWrite, AuditWriteResponse, TxStrategy};
use tokio::time::Instant;

use super::{stage::Execution, strategy::Outcome};
use crate::{
    change::{ChangeError, Recovery},
    checkpoint::Attempt,
    context::Context,
    error::Error,
    events::RunEvent,
    report::{ChangeStatus, ErrorReport, millis},
    retry::Patience,
    stage::LoadedChange,
    target::{AnyTarget, AnyTransaction, Target},
    trace,
};

/// How long the start of a change is reported. Nothing is lost by giving up: nothing has happened yet.
const START_PATIENCE: Duration = Duration::from_secs(30);

pub(super) struct Job<'a> {
    pub(super) execution: &'a Execution<'a>,
    pub(super) stage: &'a str,
    pub(super) change: &'a LoadedChange,
    pub(super) target: &'a Target,
    /// Listeners have heard of the failure.
    pub(super) failure_told: AtomicBool,
    /// What the change tells while it runs.
    pub(super) attempt: Arc<Attempt>,
}

/// What happened, as the audit wants it.
pub(super) struct Fact<'a> {
    state: AuditState,
    method: &'static str,
    took: Duration,
    error: Option<&'a ChangeError>,
}

impl<'a> Fact<'a> {
    pub(super) fn applied(took: Duration) -> Self {
        Self {
            state: AuditState::Applied,
            method: "apply",
            took,
            error: None,
        }
    }

    pub(super) fn failed(took: Duration, error: &'a ChangeError) -> Self {
        Self {
            state: AuditState::Failed,
            method: "apply",
            took,
            error: Some(error),
        }
    }

    /// By the target system itself.
    pub(super) fn rolled_back_natively() -> Self {
        Self {
            state: AuditState::RolledBack,
            method: "native_db_engine",
            took: Duration::ZERO,
            error: None,
        }
    }

    /// The change had committed part of what it did, so the target system could not undo it.
    pub(super) fn rollback_impossible(took: Duration, error: &'a ChangeError) -> Self {
        Self {
            state: AuditState::RollbackFailed,
            method: "native_db_engine",
            took,
            error: Some(error),
        }
    }

    /// There was nothing to undo.
    fn never_begun() -> Self {
        Self {
            state: AuditState::RolledBack,
            method: "never_begun",
            took: Duration::ZERO,
            error: None,
        }
    }

    /// By the change's own rollback.
    pub(super) fn rollback(took: Duration, result: &'a Result<(), ChangeError>) -> Self {
        let state = if result.is_ok() {
            AuditState::RolledBack
        } else {
            AuditState::RollbackFailed
        };
        Self {
            state,
            method: "rollback",
            took,
            error: result.as_ref().err(),
        }
    }
}

impl Job<'_> {
    /// The target, if the change runs in its transaction.
    pub(super) fn transactions(&self) -> Option<&Arc<dyn AnyTarget>> {
        self.target
            .transactions
            .as_ref()
            .filter(|_| self.change.info.is_transactional())
    }

    fn tx_strategy(&self) -> TxStrategy {
        match self.transactions() {
            None => TxStrategy::NonTx,
            Some(target) if target.keeps_marks() => TxStrategy::TxSeparateWithMarker,
            Some(_) => TxStrategy::TxSeparateNoMarker,
        }
    }

    pub(super) fn strategy_name(&self) -> &'static str {
        match self.tx_strategy() {
            TxStrategy::TxSeparateWithMarker => "TX_SEPARATE_WITH_MARKER",
            TxStrategy::TxSeparateNoMarker => "TX_SEPARATE_NO_MARKER",
            _ => "NON_TX",
        }
    }

    /// Inside a transaction there is no client, so that nothing escapes it.
    pub(super) fn context(&self, transaction: Option<AnyTransaction>) -> Context {
        Context {
            change: self.change.info.clone(),
            scope: self.execution.scope,
            dependencies: self.execution.app.dependencies.clone(),
            targets: self.execution.app.targets.clone(),
            client: transaction.is_none().then(|| self.target.client.value.clone()),
            transaction,
            cancellation: self.execution.lease.cancellation(),
            lease: self.execution.lease.clone(),
            attempt: self.attempt.clone(),
            saga_step: None,
            execution_id: self.execution.id,
            #[cfg(feature = "templates")]
            step: 0,
        }
    }

    /// Reports that the change is about to be applied. Without an answer to this, it must not be.
    pub(super) async fn report_start(&self) -> Result<(), Error> {
        let fact = Fact {
            state: AuditState::Started,
            method: "apply",
            took: Duration::ZERO,
            error: None,
        };
        let lease = self.execution.lease;
        let until = Instant::now() + START_PATIENCE;
        let patience = Patience::until(move || until.min(lease.end()));
        self.write(&fact, &patience).await?;
        Ok(())
    }

    /// Reports what has happened, as long as it makes sense. It happened, whatever the answer.
    pub(super) async fn report(&self, fact: &Fact<'_>) -> Result<AuditWriteResponse, Error> {
        self.report_until(fact, self.execution.lease.report_until()).await
    }

    /// Reports that a change whose start was permitted, or may have been, was not begun. One deadline for both facts:
    /// where the server does not answer, nobody gains from an application that takes twice as long to say so.
    pub(super) async fn report_never_begun(&self, error: &ChangeError) {
        // It was to go on from work that is there. `STARTED` with its cursor says so; "rolled back" would have that work done
        // once more.
        if self.attempt.has_cursor() {
            return;
        }
        let until = self.execution.lease.report_until();
        // Without them the log stays at `STARTED`, and a person has to decide about a change that never ran.
        let _ = self
            .report_until(&Fact::failed(Duration::ZERO, error), &until)
            .await;
        let _ = self.report_until(&Fact::never_begun(), &until).await;
    }

    async fn report_until(
        &self,
        fact: &Fact<'_>,
        until: impl Fn() -> Instant + Send + Sync,
    ) -> Result<AuditWriteResponse, Error> {
        self.tell(fact);
        let written = self.write(fact, &Patience::until(until).insisting()).await;
        match &written {
            Ok(answer) if answer.late => {
                tracing::warn!(state = ?fact.state, "recorded as late: another execution or a person has written since");
            }
            Ok(_) => tracing::debug!(state = ?fact.state, "recorded"),
            Err(error) => tracing::error!(state = ?fact.state, %error, "what happened could not be recorded"),
        }
        written
    }

    /// Tells listeners of a failure and of what became of it; success is told when it is recorded.
    fn tell(&self, fact: &Fact<'_>) {
        let events = &self.execution.app.events;
        let (stage, change) = (|| self.stage.to_owned(), || self.change.info.id().to_owned());
        if let Some(error) = fact.error.filter(|_| fact.state != AuditState::Applied) {
            self.tell_failure(|| self.error_report(error));
        }
        match fact.state {
            AuditState::RolledBack => events.emit(|| RunEvent::ChangeRolledBack {
                stage: stage(),
                change: change(),
            }),
            AuditState::RollbackFailed => {
                if let Some(error) = fact.error {
                    events.emit(|| RunEvent::ChangeRollbackFailed {
                        stage: stage(),
                        change: change(),
                        error: self.error_report(error),
                    });
                }
            }
            _ => {}
        }
    }

    fn tell_failure(&self, error: impl FnOnce() -> ErrorReport) {
        if !self.failure_told.swap(true, Ordering::Relaxed) {
            self.execution.app.events.emit(|| RunEvent::ChangeFailed {
                stage: self.stage.to_owned(),
                change: self.change.info.id().to_owned(),
                error: error(),
            });
        }
    }

    /// Tells listeners what the change came to, as far as they have not heard it yet.
    pub(super) fn tell_outcome(&self, outcome: &Outcome, took: Duration) {
        if outcome.status == ChangeStatus::Applied {
            self.execution.app.events.emit(|| RunEvent::ChangeApplied {
                stage: self.stage.to_owned(),
                change: self.change.info.id().to_owned(),
                duration_ms: millis(took),
            });
        } else if let Some(error) = &outcome.error {
            self.tell_failure(|| error.clone());
        }
    }

    fn error_report(&self, error: &ChangeError) -> ErrorReport {
        ErrorReport::new(
            error.type_name(),
            trace::one_line(error),
            vec![self.change.info.id().to_owned()],
        )
    }

    async fn write(&self, fact: &Fact<'_>, patience: &Patience<'_>) -> Result<AuditWriteResponse, Error> {
        let entry = self.entry(fact);
        self.execution
            .client
            .audit_patiently(self.execution.id, &entry, patience)
            .await
    }

    /// The run's, and the name of the change file, for which the entry has no field of its own.
    fn metadata(&self) -> serde_json::Map<String, serde_json::Value> {
        let mut metadata = self.execution.app.settings.metadata.clone();
        if let Some(file) = &self.change.info.file {
            let name = file
                .rsplit(['/', std::path::MAIN_SEPARATOR])
                .next()
                .unwrap_or(file);
            metadata.entry("sourceFile").or_insert_with(|| name.into());
        }
        metadata
    }

    /// What may follow by itself. A saga is gone on with after a crash; what it could not undo is a person's.
    fn recovery(&self, fact: &Fact<'_>) -> Recovery {
        let info = &self.change.info;
        if info.keeps_steps && fact.state == AuditState::RollbackFailed {
            Recovery::ManualIntervention
        } else {
            info.recovery
        }
    }

    fn entry(&self, fact: &Fact<'_>) -> AuditWrite {
        let (execution, info) = (self.execution, &self.change.info);
        AuditWrite {
            change_id: info.id().to_owned(),
            stage_id: Some(self.stage.to_owned()),
            author: Some(info.author.to_string()),
            applied_at_epoch_millis: Some(Utc::now().timestamp_millis()),
            state: fact.state,
            class_name: Some(info.source.to_string()),
            method_name: Some(fact.method.to_owned()),
            metadata: Some(self.metadata().into()),
            execution_millis: i64::try_from(millis(fact.took)).ok(),
            execution_hostname: Some(execution.host.to_owned()),
            error_trace: Some(fact.error.map(trace::of).unwrap_or_default()),
            change_type: Some(info.kind),
            tx_strategy: Some(self.tx_strategy()),
            target_system_id: Some(self.target.id.to_string()),
            order: Some(info.order().to_owned()),
            recovery_strategy: Some(self.recovery(fact).into()),
            transaction_flag: Some(info.is_transactional()),
            system_change: Some(false),
            fence: execution.lease.fence(),
        }
    }
}
