//! Who is it that shows this bearer token?

use std::sync::Arc;
use std::time::{Duration, Instant};

use flamingock_domain::access::listed;
use sha2::{Digest as _, Sha256};

use super::exchange::note_use;
use super::session::{self, VerifyError};
use super::token::{self, ApiToken};
use super::{Auth, Caller, Session, TokenHolder, keys};
use crate::app::{Fault, Scope};
use crate::store::{tenancy, tokens};

/// Sessions have about 400 characters.
const LONGEST: usize = 4096;

/// How long the answer about a token shown directly may be repeated.
pub(super) const HOLDER_MEMORY: Duration = Duration::from_secs(2);

/// How often a key that we do not know makes us look for it.
const RELOAD_INTERVAL: Duration = Duration::from_secs(1);

#[derive(Clone, Debug, thiserror::Error)]
pub enum BearerError {
    #[error("the bearer token is neither a session nor an API token")]
    Malformed,
    /// Not signed by us, or not for us.
    #[error("the session's signature is not accepted")]
    BadSignature,
    /// The credential that opened the session was revoked.
    #[error("the credential was revoked")]
    Revoked,
    /// An API token shown directly is unknown, expired or revoked.
    #[error("the API token is not accepted")]
    TokenRefused,
    #[error(transparent)]
    Unavailable(#[from] Fault),
}

impl Auth {
    /// Verifies a session or, for people with `curl`, an API token. A session that has expired is told as such and not
    /// refused: what it may still do is the caller's to decide.
    pub async fn verify(&self, bearer: &str) -> Result<Caller, BearerError> {
        if bearer.len() > LONGEST {
            return Err(BearerError::Malformed);
        }
        if bearer.starts_with(token::PREFIX) {
            return self.verify_api_token(bearer).await.map(Caller::Token);
        }

        // Kept by its digest: a dump of the memory holds no session that could be shown again.
        let digest: [u8; 32] = Sha256::digest(bearer).into();
        let verified = if let Some(verified) = self.inner.sessions.get(&digest) {
            verified
        } else {
            let verified = self.verify_session(bearer).await?;
            self.inner.sessions.insert(digest, verified.clone());
            verified
        };
        let session = verified.now();
        if self.is_revoked(session.credential_id) {
            return Err(BearerError::Revoked);
        }
        Ok(Caller::Session(Arc::clone(session)))
    }

    /// As [`Auth::verify`] of a session that was verified before, from memory: for whoever was let in, and is asked again
    /// after a wait.
    pub fn verify_again(&self, bearer: &str) -> Result<Arc<Session>, BearerError> {
        let digest: [u8; 32] = Sha256::digest(bearer).into();
        let verified = match self.inner.sessions.get(&digest) {
            Some(verified) => verified,
            None => session::verify(bearer, &self.inner.keys.load(), &self.inner.settings)
                .map_err(|_| BearerError::BadSignature)?,
        };
        let session = verified.now();
        if self.is_revoked(session.credential_id) {
            return Err(BearerError::Revoked);
        }
        Ok(Arc::clone(session))
    }

    async fn verify_session(&self, bearer: &str) -> Result<session::Verified, BearerError> {
        let settings = &self.inner.settings;
        let verified = match session::verify(bearer, &self.inner.keys.load(), settings) {
            Err(VerifyError::UnknownKey) => {
                self.look_for_new_keys().await?;
                session::verify(bearer, &self.inner.keys.load(), settings)
            }
            other => other,
        };
        verified.map_err(|error| match error {
            VerifyError::Malformed => BearerError::Malformed,
            VerifyError::UnknownKey | VerifyError::Refused => BearerError::BadSignature,
        })
    }

    /// Another replica may have made a key. Whoever sends unknown key ids costs us one query a second, no more.
    async fn look_for_new_keys(&self) -> Result<(), Fault> {
        // Held while reading: whoever comes meanwhile waits, and finds the work done.
        let mut last = self.inner.last_reload.lock().await;
        if last.is_some_and(|at| at.elapsed() < RELOAD_INTERVAL) {
            return Ok(());
        }
        let keys = keys::reload(&self.inner.pool, &self.inner.settings).await?;
        self.replace_keys(keys);
        *last = Some(Instant::now());
        Ok(())
    }

    async fn verify_api_token(&self, bearer: &str) -> Result<Arc<TokenHolder>, BearerError> {
        let token = ApiToken::parse(bearer).map_err(|_| BearerError::TokenRefused)?;
        // The period is part of the key, so an answer ends with it, and those who ask at once share one query.
        let period = self.inner.started.elapsed().as_millis() / HOLDER_MEMORY.as_millis();
        let key = (period, token.sha256());
        let holder = self
            .inner
            .holders
            .get_or_insert_async(&key, self.load_holder(&token))
            .await?;
        if self.is_revoked(holder.credential_id) {
            return Err(BearerError::TokenRefused);
        }
        Ok(holder)
    }

    async fn load_holder(&self, token: &ApiToken) -> Result<Arc<TokenHolder>, BearerError> {
        let mut conn = self.inner.pool.acquire().await.map_err(Fault::from)?;
        let token = tokens::load_by_sha256(&mut conn, &token.sha256())
            .await
            .map_err(Fault::from)?
            .filter(|token| !token.is_expired && !token.is_revoked)
            .ok_or(BearerError::TokenRefused)?;
        note_use(&mut conn, &token).await;
        Ok(Arc::new(TokenHolder {
            credential_id: token.id,
            role: super::role_of(&token)?,
            name: token.name,
            organisation_id: token.organisation.map(|organisation| organisation.id),
            project_id: token.project.map(|project| project.id),
            environment_ids: token.environment_ids,
            service_ids: token.service_ids,
        }))
    }

    /// Whether the environment is in the holder's scope. A foreign one is like an absent one.
    pub async fn may_enter(&self, holder: &TokenHolder, environment_id: i64) -> Result<bool, Fault> {
        if !listed(holder.environment_ids.as_deref(), environment_id) {
            return Ok(false);
        }
        let mut conn = self.inner.pool.acquire().await?;
        let owner = tenancy::load_environment_owner(&mut conn, environment_id).await?;
        Ok(owner.is_some_and(|(project, organisation)| {
            holder.organisation_id.is_none_or(|mine| mine == organisation)
                && holder.project_id.is_none_or(|mine| mine == project)
        }))
    }

    /// Whether all these environments are of the project, and in the holder's scope.
    pub async fn may_compare(
        &self,
        holder: &TokenHolder,
        project_id: i64,
        environments: [i64; 2],
    ) -> Result<bool, Fault> {
        let mut conn = self.inner.pool.acquire().await?;
        let owner = tenancy::load_organisation_of(&mut conn, project_id, &environments).await?;
        Ok(owner.is_some_and(|organisation| {
            environments
                .iter()
                .all(|id| listed(holder.environment_ids.as_deref(), *id))
                && holder.organisation_id.is_none_or(|id| id == organisation)
                && holder.project_id.is_none_or(|id| id == project_id)
        }))
    }

    /// Whether the two are of one project, and in the holder's scope. Foreign ones are like absent ones.
    pub async fn may_access(
        &self,
        holder: &TokenHolder,
        environment_id: i64,
        service_id: i64,
    ) -> Result<bool, Fault> {
        if !listed(holder.environment_ids.as_deref(), environment_id)
            || !listed(holder.service_ids.as_deref(), service_id)
        {
            return Ok(false);
        }
        let scope = Scope {
            environment_id,
            service_id,
        };
        let reaches = |(project, organisation): (i64, i64)| {
            holder.organisation_id.is_none_or(|id| id == organisation)
                && holder.project_id.is_none_or(|id| id == project)
        };
        // What is remembered shortens the way to what one reaches, and never to a refusal: a foreign scope that answered faster
        // than an absent one would tell that it exists.
        if self.inner.owners.get(&scope).is_some_and(reaches) {
            return Ok(true);
        }
        let mut conn = self.inner.pool.acquire().await?;
        let owner = tenancy::load_owner(&mut conn, scope).await?;
        let is_reached = owner.is_some_and(reaches);
        // Neither an environment nor a service ever moves; what does not exist yet may come.
        if let Some(owner) = owner.filter(|_| is_reached) {
            self.inner.owners.insert(scope, owner);
        }
        Ok(is_reached)
    }
}
