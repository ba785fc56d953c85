use std::fmt;

use flamingock_api_types::audit::{
    AuditPage, AuditView, ChainVerification, CheckpointKeys, CheckpointPage, DifferencePage,
};
use reqwest::Method;
use uuid::Uuid;

use super::{
    Admin, PageQuery, ServiceScope,
    query::{Pairs, wire_text},
};
use crate::{
    error::{Error, Failure},
    retry::Patience,
    transport::{Incoming, Request},
};

/// What was recorded. See [`Admin::audit`].
#[derive(Clone, Copy, Debug)]
pub struct Audit<'a> {
    pub(super) admin: &'a Admin,
    pub(super) scope: ServiceScope,
}

/// Which entries. Of several values of one field, any; of several fields, all.
#[derive(Clone, Debug, Default)]
pub struct AuditQuery {
    /// Every entry, or the latest of each change. The server's default is the history.
    pub view: Option<AuditView>,
    /// Of a history: newest first.
    pub descending: bool,
    /// Of a snapshot: the state at this time.
    pub as_of: Option<String>,
    /// Of a snapshot: the state at this position.
    pub as_of_seq: Option<i64>,
    /// Of these changes.
    pub change_ids: Vec<String>,
    /// In these stages.
    pub stage_ids: Vec<String>,
    /// In these states, such as `FAILED`.
    pub states: Vec<String>,
    /// In these target systems.
    pub target_system_ids: Vec<String>,
    /// By these authors.
    pub authors: Vec<String>,
    /// Of these executions, as they were reported.
    pub execution_ids: Vec<String>,
    /// Reported by these runners.
    pub runner_ids: Vec<String>,
    /// Late ones, or all but those.
    pub late: Option<bool>,
    /// People's decisions, or all but those.
    pub manual: Option<bool>,
    /// Received at this time or later, on the database's clock.
    pub since: Option<String>,
    /// Received before this time.
    pub until: Option<String>,
}

impl AuditQuery {
    fn pairs(&self) -> Pairs {
        Pairs::default()
            .with("view", self.view.map(wire_text))
            .with("order", self.descending.then_some("desc"))
            .with("asOf", self.as_of.as_ref())
            .with("asOfSeq", self.as_of_seq)
            .each("changeId", &self.change_ids)
            .each("stageId", &self.stage_ids)
            .each("state", &self.states)
            .each("targetSystemId", &self.target_system_ids)
            .each("author", &self.authors)
            .each("executionId", &self.execution_ids)
            .each("runnerId", &self.runner_ids)
            .with("late", self.late)
            .with("manual", self.manual)
            .with("since", self.since.as_ref())
            .with("until", self.until.as_ref())
    }
}

/// How entries are exported.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ExportFormat {
    /// One JSON document a line.
    #[default]
    Ndjson,
    /// One JSON document a line, between a header and a trailer, that [`proofs::export`](super::proofs::export) verifies
    /// without server or database. Of the whole history only.
    Proofs,
    /// Comma-separated values.
    Csv,
}

/// An export, read as it comes: it is never in memory as a whole.
pub struct AuditExport {
    incoming: Incoming,
    request_id: String,
}

impl fmt::Debug for AuditExport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AuditExport")
            .field("request_id", &self.request_id)
            .finish_non_exhaustive()
    }
}

impl AuditExport {
    /// The next bytes; `None` at the end. After an error the export is incomplete.
    pub async fn piece(&mut self) -> Result<Option<Vec<u8>>, Error> {
        let piece = self.incoming.piece().await;
        piece.map_err(|failure| Error::new("audit_export", 1, self.request_id.clone(), failure))
    }
}

impl Audit<'_> {
    /// A page of entries.
    pub async fn list(self, query: &AuditQuery, page: &PageQuery) -> Result<AuditPage, Error> {
        let path = format!("{}/audit", self.scope.admin_path());
        let pairs = query
            .pairs()
            .with("after", page.after.as_ref())
            .with("limit", page.limit);
        self.admin.get("audit_list", &path, pairs).await
    }

    /// All entries that fit, as a stream.
    pub async fn export(self, query: &AuditQuery, format: ExportFormat) -> Result<AuditExport, Error> {
        let path = format!("{}/audit/export", self.scope.admin_path());
        let (format, proofs) = match format {
            ExportFormat::Ndjson => ("ndjson", None),
            ExportFormat::Proofs => ("ndjson", Some(true)),
            ExportFormat::Csv => ("csv", None),
        };
        let query = query
            .pairs()
            .with("format", Some(format))
            .with("proofs", proofs)
            .into_vec();
        let patience = Patience::lasting(self.admin.shared.config.retry_for);
        let mut attempts = 0;
        loop {
            attempts += 1;
            let request_id = Uuid::new_v4().to_string();
            let request = Request {
                method: Method::GET,
                path: &path,
                query: &query,
                headers: &[],
                bearer: Some(&self.admin.shared.config.token),
                body: None,
                timeout: self.admin.shared.config.request_timeout,
            };
            let opened = self
                .admin
                .shared
                .transport
                .open(&request, &request_id, "application/json")
                .await;
            let failure: Failure = match opened {
                Ok(incoming) => {
                    return Ok(AuditExport { incoming, request_id });
                }
                Err(failure) => failure,
            };
            let Some(pause) = patience.pause(attempts, &failure) else {
                return Err(Error::new("audit_export", attempts, request_id, failure));
            };
            tokio::time::sleep(pause).await;
        }
    }

    /// Has a stretch of the chain of hashes recomputed, behind the `next` of the answer before.
    pub async fn verify(self, after: Option<&str>) -> Result<ChainVerification, Error> {
        let path = format!("{}/audit/verification", self.scope.admin_path());
        let query = Pairs::default().with("after", after);
        self.admin.get("audit_verify", &path, query).await
    }

    /// A page of signed checkpoints, newest first.
    pub async fn checkpoints(self, page: &PageQuery) -> Result<CheckpointPage, Error> {
        let path = format!("{}/audit/checkpoint", self.scope.admin_path());
        self.admin.get("checkpoint_list", &path, Pairs::page(page)).await
    }
}

impl Admin {
    /// The public keys that checkpoints were signed with.
    pub async fn checkpoint_keys(&self) -> Result<CheckpointKeys, Error> {
        self.get(
            "checkpoint_key_list",
            "/api/v1/admin/checkpoint-key",
            Pairs::default(),
        )
        .await
    }

    /// A page of what two environments of a project do not agree on.
    pub async fn audit_difference(
        &self,
        project_id: i64,
        environment_id: i64,
        other_environment_id: i64,
        service_id: Option<i64>,
        page: &PageQuery,
    ) -> Result<DifferencePage, Error> {
        let path = format!("/api/v1/admin/project/{project_id}/audit/difference");
        let query = Pairs::page(page)
            .with("environmentId", Some(environment_id))
            .with("otherEnvironmentId", Some(other_environment_id))
            .with("serviceId", service_id);
        self.get("audit_difference", &path, query).await
    }
}
