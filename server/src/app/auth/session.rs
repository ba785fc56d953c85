//! Sessions as signed tokens (JWT, Ed25519).

use std::sync::Arc;

use chrono::Utc;
use data_encoding::HEXLOWER;
use jsonwebtoken::{Algorithm, Header, Validation};
use serde::{Deserialize, Serialize};

use super::keys::KeySet;
use super::{AuthSettings, Role, Session};

/// Clocks of replicas may differ by this much.
const SKEW_SECONDS: i64 = 5;

#[derive(Serialize, Deserialize)]
struct Claims {
    iss: String,
    aud: String,
    /// The credential.
    sub: String,
    /// Its name, for people who read what was reported. A session of an older server has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    name: Option<String>,
    org: i64,
    prj: i64,
    env: i64,
    svc: i64,
    role: String,
    iat: i64,
    /// Somewhat before `iat`: a replica whose clock is behind must not refuse a session that was just given.
    nbf: i64,
    exp: i64,
    jti: String,
}

/// What a session is for.
#[derive(Clone, Debug)]
pub(super) struct Grant {
    pub(super) credential_id: i64,
    pub(super) credential_name: String,
    pub(super) organisation_id: i64,
    pub(super) project_id: i64,
    pub(super) environment_id: i64,
    pub(super) service_id: i64,
    pub(super) role: Role,
}

/// `None`: there is no key, which [`super::Auth`] does not let happen.
pub(super) fn sign(grant: &Grant, keys: &KeySet, settings: &AuthSettings) -> Option<String> {
    let signer = keys.signer()?;
    let now = Utc::now().timestamp();
    let mut id = [0; 16];
    getrandom::fill(&mut id).expect("the operating system has random bytes");
    let claims = Claims {
        iss: settings.issuer.clone(),
        aud: settings.audience.clone(),
        sub: grant.credential_id.to_string(),
        name: Some(grant.credential_name.clone()),
        org: grant.organisation_id,
        prj: grant.project_id,
        env: grant.environment_id,
        svc: grant.service_id,
        role: grant.role.as_str().to_owned(),
        iat: now,
        nbf: now - 60,
        exp: now.saturating_add_unsigned(settings.session_lifetime.as_secs()),
        jti: HEXLOWER.encode(&id),
    };
    let mut header = Header::new(Algorithm::EdDSA);
    header.kid = Some(signer.kid.clone());
    jsonwebtoken::encode(&header, &claims, &signer.key).ok()
}

/// A session whose signature was verified. Its end is judged at each use.
#[derive(Clone)]
pub(super) struct Verified {
    expires_at: i64,
    live: Arc<Session>,
    ended: Arc<Session>,
}

impl Verified {
    pub(super) fn now(&self) -> &Arc<Session> {
        if Utc::now().timestamp() > self.expires_at + SKEW_SECONDS {
            &self.ended
        } else {
            &self.live
        }
    }
}

#[derive(Debug, PartialEq, Eq)]
pub(super) enum VerifyError {
    /// Not a signed token at all.
    Malformed,
    UnknownKey,
    /// Signature, algorithm, issuer, audience or claims.
    Refused,
}

pub(super) fn verify(bearer: &str, keys: &KeySet, settings: &AuthSettings) -> Result<Verified, VerifyError> {
    if bearer.split('.').count() != 3 {
        return Err(VerifyError::Malformed);
    }
    // An algorithm that the library does not know, `none` above all, ends here.
    let header = jsonwebtoken::decode_header(bearer).map_err(|_| VerifyError::Refused)?;
    if header.alg != Algorithm::EdDSA {
        return Err(VerifyError::Refused);
    }
    let kid = header.kid.ok_or(VerifyError::Refused)?;
    let key = keys.verifier(&kid).ok_or(VerifyError::UnknownKey)?;

    let mut validation = Validation::new(Algorithm::EdDSA);
    validation.set_required_spec_claims(&["iss", "aud", "sub", "nbf", "exp"]);
    validation.set_issuer(&[&settings.issuer]);
    validation.set_audience(&[&settings.audience]);
    validation.leeway = SKEW_SECONDS.unsigned_abs();
    validation.validate_nbf = true;
    // Not here: the end of a session is not the end of its meaning.
    validation.validate_exp = false;
    let claims = jsonwebtoken::decode::<Claims>(bearer, key, &validation)
        .map_err(|_| VerifyError::Refused)?
        .claims;
    let session = Session {
        credential_id: claims.sub.parse().map_err(|_| VerifyError::Refused)?,
        credential_name: claims.name,
        organisation_id: claims.org,
        project_id: claims.prj,
        environment_id: claims.env,
        service_id: claims.svc,
        role: Role::parse(&claims.role).ok_or(VerifyError::Refused)?,
        expired: false,
    };
    Ok(Verified {
        expires_at: claims.exp,
        ended: Arc::new(Session {
            expired: true,
            ..session.clone()
        }),
        live: Arc::new(session),
    })
}
