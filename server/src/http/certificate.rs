//! Certificates of starts as they cross the wire.

use flamingock_api_types::certificate::{self, CertificateDocument, SignedCertificate};

use crate::app::certificates::Subject;
use crate::app::{Position, Scope};
use crate::http::Api;

/// The certificate for a pipeline that was found fully applied at this position. Without one the application starts all the
/// same: nothing that goes wrong here may keep it from that.
pub async fn issue(api: &Api, scope: Scope, position: Position, digest: &str) -> Option<SignedCertificate> {
    let certificates = api.app.certificates.as_ref()?;
    match certificates
        .issue(scope, position, digest, document, certificate::signed_bytes)
        .await
    {
        Ok(signed) => signed.map(|signed| SignedCertificate {
            document: signed.document.clone(),
            key_id: signed.key_id.clone(),
            public_key: signed.public_key.clone(),
            signature: data_encoding::HEXLOWER.encode(&signed.signature),
        }),
        Err(fault) => {
            tracing::warn!(
                environment.id = scope.environment_id,
                service.id = scope.service_id,
                error = &fault as &dyn std::error::Error,
                "a start was not certified"
            );
            None
        }
    }
}

fn document(subject: &Subject<'_>) -> String {
    serde_json::to_string(&CertificateDocument {
        version: certificate::VERSION,
        organisation: subject.organisation.clone(),
        environment_id: subject.scope.environment_id,
        environment: subject.environment.clone(),
        service_id: subject.scope.service_id,
        service: subject.service.clone(),
        pipeline_digest: subject.digest.to_owned(),
        head_seq: subject.position.seq,
        head_hash: data_encoding::HEXLOWER.encode(&subject.position.hash),
        issued_at: subject.issued_at,
        expires_at: subject.expires_at,
        key_id: subject.key_id.clone(),
    })
    .unwrap_or_default()
}
