//! Starting when the coordination server is down, if nothing is pending: by a certificate that it signed before.
//!
//! Off unless the builder is given a [`StartCertificate`]. What is kept and what is checked is in `judge`; where it is kept
//! is a [`CertificateStore`]'s affair.

use std::{fmt, path::PathBuf, sync::Arc, time::Duration};

use flamingock_api_types::certificate::SignedCertificate;
use flamingock_audit_chain::PublicKey;

mod file;
mod judge;

pub(crate) use judge::{Asked, Kept, judge};

use crate::{error::BoxError, report::CertifiedStart, validate::Problem};

/// How long a store may take. A start does not hang for its sake.
const STORE_MAX: Duration = Duration::from_secs(5);

/// What a [`CertificateStore`] returns.
pub type CertificateFuture<'a, T> = std::pin::Pin<Box<dyn Future<Output = Result<T, BoxError>> + Send + 'a>>;

/// Where a certificate is kept between two starts of an application. It is one text of about 1 kB, no secret, and must come
/// back as it went.
///
/// Whoever can write it can have the application start without its changes while the server cannot be reached, unless the
/// server's key is [pinned](StartCertificate::pinned_key).
pub trait CertificateStore: Send + Sync + 'static {
    /// What was kept last, if anything.
    fn load(&self) -> CertificateFuture<'_, Option<String>>;

    /// Keeps a text in place of the one before; an empty one where nothing shall be kept. Must not leave half of it.
    fn save<'a>(&'a self, text: &'a str) -> CertificateFuture<'a, ()>;
}

/// Lets an application start although the coordination server cannot be reached, if its pipeline is exactly the one that the
/// server has certified as fully applied, and the certificate has not ended.
///
/// The certificate is handed out at a start that finds nothing (left) to do, and kept for the next. It ends after a time that
/// the server sets (24 h unless told otherwise); this process's clock judges that. What happened on the server since is not
/// known then: a revoked token, a freeze, an issue, a person's decision.
///
/// ```no_run
/// use flamingock::{Flamingock, StartCertificate};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let certificate = StartCertificate::in_file("/var/lib/shop/flamingock.certificate")
///     // From `GET /api/v1/admin/checkpoint-key`, or `flamingock audit keys`.
///     .pinned_key("3b6a27bcceb6a42d62a3a8d02a6f0d73653215771de243a63ac048a18b59da29");
/// let application = Flamingock::from_env()
///     .start_certificate(certificate)
///     // Here stages and target systems.
///     .build()?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct StartCertificate {
    store: Arc<dyn CertificateStore>,
    pinned: Vec<String>,
}

impl StartCertificate {
    /// Kept in a file that only its owner can read and write. Its directory must be there, and outlast the process.
    pub fn in_file(path: impl Into<PathBuf>) -> Self {
        Self::in_store(file::FileStore::new(path.into()))
    }

    /// Kept somewhere else.
    pub fn in_store(store: impl CertificateStore) -> Self {
        Self {
            store: Arc::new(store),
            pinned: Vec::new(),
        }
    }

    /// Trusts certificates of this key only: the 64 hex digits of the server's Ed25519 public key, or its PEM document. May be
    /// called more than once: a key is followed by another some day.
    ///
    /// Without it the key is believed that the server sent along with the certificate, which is kept beside it.
    #[must_use]
    pub fn pinned_key(mut self, key: impl Into<String>) -> Self {
        self.pinned.push(key.into());
        self
    }

    pub(crate) fn check(&self, problems: &mut Vec<Problem>) {
        for key in &self.pinned {
            if let Err(error) = PublicKey::parse(key) {
                problems.push(Problem::Setting {
                    name: "pinned key of the start certificate",
                    text: format!("`{key}` {error}"),
                });
            }
        }
    }

    fn trusted(&self) -> Vec<PublicKey> {
        self.pinned
            .iter()
            .filter_map(|key| PublicKey::parse(key).ok())
            .collect()
    }

    /// Keeps what the server handed out. It was a start like any other: what goes wrong here is only told.
    pub(crate) async fn keep(&self, certificate: SignedCertificate, asked: &Asked<'_>) {
        let kept = Kept {
            server: asked.server.to_owned(),
            certificate,
        };
        let text = kept.to_text();
        // What would not be believed in need is better told now.
        if let Err(refusal) = judge(&text, asked, &self.trusted(), chrono::Utc::now()) {
            tracing::warn!(target: "flamingock::certificate", %refusal, "the server's certificate is not kept");
            return;
        }
        match bounded(self.store.save(&text)).await {
            Ok(()) => tracing::debug!(target: "flamingock::certificate", "certificate kept"),
            Err(error) => {
                tracing::warn!(target: "flamingock::certificate", %error, "the certificate could not be kept");
            }
        }
    }

    /// The server's last word was not that all is applied: what it certified before is not leaned on any more.
    pub(crate) async fn forget(&self) {
        // One that cannot be read now may be readable when it is asked for.
        if let Ok(kept) = bounded(self.store.load()).await
            && kept.is_none_or(|kept| kept.is_empty())
        {
            return;
        }
        if let Err(error) = bounded(self.store.save("")).await {
            tracing::warn!(target: "flamingock::certificate", %error, "the certificate could not be removed");
        }
    }

    /// Whether the application may start without the server; the error says why not.
    pub(crate) async fn consult(&self, asked: &Asked<'_>) -> Result<CertifiedStart, String> {
        let text = bounded(self.store.load())
            .await
            .map_err(|error| format!("its certificate cannot be read: {error}"))?
            .filter(|text| !text.is_empty())
            .ok_or_else(|| {
                "no certificate was kept: the server hands one out at a start that finds nothing left to do"
                    .to_owned()
            })?;
        judge(&text, asked, &self.trusted(), chrono::Utc::now()).map_err(|refusal| refusal.to_string())
    }
}

async fn bounded<T>(work: CertificateFuture<'_, T>) -> Result<T, BoxError> {
    match tokio::time::timeout(STORE_MAX, work).await {
        Ok(done) => done,
        Err(_) => Err(format!("its store did not answer within {STORE_MAX:?}").into()),
    }
}

impl fmt::Debug for StartCertificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StartCertificate")
            .field("pinned", &self.pinned)
            .finish_non_exhaustive()
    }
}
