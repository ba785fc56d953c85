//! What a run would come to, without one.

use flamingock_api_types::{
    execution::{PlanRequest, Submission},
    preview::PlanPreview,
};

use super::{failed, marks::MarkSnapshot, record::RunRecord};
use crate::{
    builder::Flamingock,
    client::Client,
    start_error::{StartError, StartErrorKind},
    target::MarkScope,
};

impl Flamingock {
    /// What [`run`](Self::run) would come to now: each change with what would be done and why, and what stands in the way.
    /// Takes no lock, applies nothing and leaves nothing behind: for checks in a delivery pipeline.
    ///
    /// `None` where Flamingock is [switched off](crate::Builder::enabled). The errors are those of reaching the server and
    /// of reading marks in target systems; a server without the admin API answers 404.
    pub async fn preview(&self) -> Result<Option<PlanPreview>, StartError> {
        let Some(client) = &self.client else {
            return Ok(None);
        };
        match ask(self, client).await {
            Ok(preview) => Ok(Some(preview)),
            Err(kind) => Err(failed(self, kind)),
        }
    }
}

pub(super) async fn ask(app: &Flamingock, client: &Client) -> Result<PlanPreview, StartErrorKind> {
    let session = client.session().await.map_err(StartErrorKind::Server)?;
    let scope = MarkScope {
        environment_id: session.environment_id,
        service_id: session.service_id,
    };
    let marks = MarkSnapshot::read(app, scope).await?;
    let record = RunRecord::new(&app.stages);
    let request = PlanRequest {
        lock_acquired_for_millis: None,
        client_submission: Submission {
            blocks: Some(record.submission(|id| marks.status(id))),
            ..Submission::default()
        },
        runner: None,
        certificate: false,
    };
    client.preview(&request).await.map_err(StartErrorKind::of_plan)
}
