//! The certificate of a start: the server's signed word that a pipeline was fully applied.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

/// What precedes the document in the signed bytes: a signature over anything else cannot be taken for one of these.
pub const SIGNED_PREFIX: &str = "flamingock-start-certificate-v1\n";

/// The only format there is.
pub const VERSION: u32 = 1;

/// Text of a `CertificateDocument` with its signature: handed out with `CONTINUE`, kept by the runner.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct SignedCertificate {
    /// JSON of a `CertificateDocument`, to be verified byte for byte before it is read.
    pub document: String,
    /// First 8 bytes of SHA-256 over the public key, lowercase hex.
    pub key_id: String,
    /// The 32 bytes of the public key (Ed25519), lowercase hex. Trust it only as far as you trust where you have it from.
    pub public_key: String,
    /// Ed25519 over `flamingock-start-certificate-v1`, a line feed and the document's bytes, lowercase hex.
    pub signature: String,
}

/// What is certified: at `issuedAt`, every change of this pipeline was applied in this environment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct CertificateDocument {
    /// Of the format: 1.
    pub version: u32,
    pub organisation: String,
    pub environment_id: i64,
    pub environment: String,
    pub service_id: i64,
    pub service: String,
    /// Of the pipeline, as of [`crate::digest`].
    pub pipeline_digest: String,
    /// The audit's head that it was judged at: position and hash of the newest entry (0 and zeros before the first).
    pub head_seq: i64,
    pub head_hash: String,
    /// The database's clock.
    pub issued_at: DateTime<Utc>,
    pub expires_at: DateTime<Utc>,
    pub key_id: String,
}

/// The bytes that are signed for a document.
pub fn signed_bytes(document: &str) -> Vec<u8> {
    [SIGNED_PREFIX.as_bytes(), document.as_bytes()].concat()
}
