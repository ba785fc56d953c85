//! Start certificates, signed with a key of the coordinator's own: what the SDK verifies of them is what it verifies of the
//! server's.

use std::time::Duration;

use chrono::{SubsecRound as _, TimeDelta, Utc};
use data_encoding::HEXLOWER;
use flamingock_api_types::{
    certificate::{CertificateDocument, SignedCertificate, VERSION, signed_bytes},
    digest,
    execution::{PlanAction, PlanRequest, PlanResponse, Verdict},
};
use flamingock_audit_chain::Signer;

use super::ledger::{ENVIRONMENT_ID, SERVICE_ID};

/// The server's own, unless it is told otherwise.
const VALIDITY: Duration = Duration::from_hours(24);

pub(super) struct Certifier {
    signer: Signer,
    pub(super) validity: Duration,
}

impl Certifier {
    pub(super) fn new() -> Self {
        let key = Signer::generate_pkcs8();
        Self {
            signer: Signer::from_pkcs8(&key).expect("a key that was just made"),
            validity: VALIDITY,
        }
    }

    pub(super) fn key(&self) -> String {
        self.signer.public_key().to_hex()
    }

    /// Where it is asked for, and nothing is left to do by the audit's word.
    pub(super) fn certify_plan(
        &self,
        request: &PlanRequest,
        answer: &PlanResponse,
        head_seq: i64,
    ) -> Option<SignedCertificate> {
        let stages = answer.pipeline_result.iter().flat_map(|result| &result.stages);
        let is_applied = answer.action == PlanAction::Continue && { stages }
            .all(|stage| stage.verdict == Verdict::UpToDate);
        if !request.certificate || !is_applied {
            return None;
        }
        let submission = &request.client_submission;
        let blocks = submission.blocks.as_ref();
        let digest = submission
            .digest
            .clone()
            .or_else(|| blocks.map(|blocks| digest::of_blocks(blocks)))?;
        Some(self.certify(digest, head_seq))
    }

    /// A pipeline that is fully applied.
    pub(super) fn certify(&self, digest: String, head_seq: i64) -> SignedCertificate {
        let issued_at = Utc::now().trunc_subsecs(0);
        let document = CertificateDocument {
            version: VERSION,
            organisation: "testing".to_owned(),
            environment_id: ENVIRONMENT_ID,
            environment: "testing".to_owned(),
            service_id: SERVICE_ID,
            service: "testing".to_owned(),
            pipeline_digest: digest,
            head_seq,
            // This audit is not chained.
            head_hash: "0".repeat(64),
            issued_at,
            expires_at: issued_at + TimeDelta::from_std(self.validity).unwrap_or(TimeDelta::days(1)),
            key_id: self.signer.key_id().to_owned(),
        };
        let document = serde_json::to_string(&document).expect("texts and numbers print to memory");
        SignedCertificate {
            key_id: self.signer.key_id().to_owned(),
            public_key: self.key(),
            signature: HEXLOWER.encode(&self.signer.sign_bytes(&signed_bytes(&document))),
            document,
        }
    }
}
