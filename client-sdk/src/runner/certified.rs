//! What becomes of a run where a certificate may stand in for the server.

use super::record::RunRecord;
use crate::{
    builder::Flamingock,
    certificate::{Asked, StartCertificate},
    client::Client,
    start_error::StartErrorKind,
};

/// Whether the server, which could be asked, did not find everything applied.
fn is_word_against(kind: &StartErrorKind) -> bool {
    matches!(
        kind,
        StartErrorKind::ChangesFailed
            | StartErrorKind::ManualIntervention { .. }
            | StartErrorKind::PendingChanges { .. }
            | StartErrorKind::LockUnavailable { .. }
            | StartErrorKind::Cancelled { .. }
            | StartErrorKind::StoppedByPolicy { .. }
            | StartErrorKind::Aborted { .. }
    )
}

/// Keeps what the server handed out; or, where it could not be asked at all, looks whether the application may start by what
/// it handed out before. Not after any word of the server about this pipeline, and not in the middle of a run: it may have
/// said that there is something to do.
pub(super) async fn conclude(
    app: &Flamingock,
    client: &Client,
    record: &mut RunRecord<'_>,
    digest: &str,
    certificate: &StartCertificate,
    ended: Result<(), StartErrorKind>,
) -> Result<(), StartErrorKind> {
    let (server, environment, service) = client.configured();
    let asked = Asked {
        server: &server,
        environment,
        service,
        digest,
    };
    match ended {
        Ok(()) => {
            if let Some(handed_out) = record.take_certificate() {
                certificate.keep(handed_out, &asked).await;
            }
            Ok(())
        }
        Err(StartErrorKind::Server(error))
            if error.is_unreachable() && !record.was_heard() && !app.settings.validate_only =>
        {
            match certificate.consult(&asked).await {
                Ok(certified) => {
                    let age = chrono::Utc::now() - certified.issued_at;
                    tracing::warn!(
                        target: "flamingock::certificate",
                        %error, age_minutes = age.num_minutes(), ends_at = %certified.expires_at,
                        "the server cannot be reached; this very pipeline was fully applied when it last said so, and the \
                         application starts by its certificate"
                    );
                    record.is_certified(certified);
                    Ok(())
                }
                Err(reason) => Err(StartErrorKind::NotCertified { error, reason }),
            }
        }
        Err(kind) => {
            if is_word_against(&kind) {
                certificate.forget().await;
            }
            Err(kind)
        }
    }
}
