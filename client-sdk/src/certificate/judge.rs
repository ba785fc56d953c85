//! Whether a kept certificate allows a start. Depends on its arguments alone.

use std::fmt;

use chrono::{DateTime, TimeDelta, Utc};
use data_encoding::HEXLOWER;
use flamingock_api_types::certificate::{CertificateDocument, SignedCertificate, VERSION, signed_bytes};
use flamingock_audit_chain::PublicKey;
use serde::{Deserialize, Serialize};

use crate::report::CertifiedStart;

/// What two clocks may differ by: the server's, which signed, and this process's.
const CLOCKS: TimeDelta = TimeDelta::minutes(5);

/// As it is kept.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Kept {
    /// Address of the server that handed it out, as configured.
    pub(crate) server: String,
    #[serde(flatten)]
    pub(crate) certificate: SignedCertificate,
}

impl Kept {
    pub(crate) fn to_text(&self) -> String {
        serde_json::to_string(self).expect("texts print to memory")
    }
}

/// What wants to start.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Asked<'a> {
    /// As configured.
    pub(crate) server: &'a str,
    pub(crate) environment: &'a str,
    pub(crate) service: &'a str,
    /// Of the pipeline.
    pub(crate) digest: &'a str,
}

/// Why a certificate allows nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    Unreadable,
    /// The signature is not the key's, or not of this text.
    Forged,
    /// By a key that is not pinned.
    OtherKey(String),
    OtherFormat(u32),
    /// What is other: the word, as certified, as wanted.
    Other(&'static str, String, String),
    /// Another pipeline.
    OtherPipeline,
    Expired(DateTime<Utc>),
    /// From the future: this clock is wrong, or was set back.
    NotYet(DateTime<Utc>),
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreadable => f.write_str("what was kept is no certificate"),
            Self::Forged => f.write_str("the certificate was altered: its signature does not fit"),
            Self::OtherKey(key) => write!(f, "the certificate is signed with key {key}, which is not pinned"),
            Self::OtherFormat(version) => write!(
                f,
                "the certificate has format {version}, and this SDK knows format {VERSION}"
            ),
            Self::Other(what, certified, wanted) => write!(
                f,
                "the certificate is for {what} `{certified}`, and this is `{wanted}`"
            ),
            Self::OtherPipeline => f.write_str(
                "the certificate is for another pipeline: changes were added, removed or edited since, and what is \
                 pending only the server can say",
            ),
            Self::Expired(at) => write!(f, "the certificate ended at {at}"),
            Self::NotYet(at) => write!(
                f,
                "the certificate is from {at}, which by this machine's clock is still to come"
            ),
        }
    }
}

/// The signature first: nothing of the document is believed before.
pub(crate) fn judge(
    kept: &str,
    asked: &Asked<'_>,
    pinned: &[PublicKey],
    now: DateTime<Utc>,
) -> Result<CertifiedStart, Refusal> {
    let kept: Kept = serde_json::from_str(kept).map_err(|_| Refusal::Unreadable)?;
    let certificate = &kept.certificate;
    let key = PublicKey::parse(&certificate.public_key).map_err(|_| Refusal::Unreadable)?;
    if !pinned.is_empty() && !pinned.contains(&key) {
        return Err(Refusal::OtherKey(key.id()));
    }
    let signature = HEXLOWER
        .decode(certificate.signature.as_bytes())
        .map_err(|_| Refusal::Forged)?;
    if !key.has_signed(&signed_bytes(&certificate.document), &signature) {
        return Err(Refusal::Forged);
    }
    let document: CertificateDocument =
        serde_json::from_str(&certificate.document).map_err(|_| Refusal::Unreadable)?;
    if document.version != VERSION {
        return Err(Refusal::OtherFormat(document.version));
    }
    for (what, certified, wanted) in [
        ("server", kept.server.as_str(), asked.server),
        ("environment", &document.environment, asked.environment),
        ("service", &document.service, asked.service),
    ] {
        if certified != wanted {
            return Err(Refusal::Other(what, certified.to_owned(), wanted.to_owned()));
        }
    }
    if document.pipeline_digest != asked.digest {
        return Err(Refusal::OtherPipeline);
    }
    if now >= document.expires_at {
        return Err(Refusal::Expired(document.expires_at));
    }
    if now + CLOCKS < document.issued_at {
        return Err(Refusal::NotYet(document.issued_at));
    }
    Ok(CertifiedStart {
        issued_at: document.issued_at,
        expires_at: document.expires_at,
        head_seq: document.head_seq,
        key_id: key.id(),
    })
}

#[cfg(test)]
mod tests {
    use flamingock_audit_chain::Signer;

    use super::*;

    const ASKED: Asked<'static> = Asked {
        server: "https://flamingock.example",
        environment: "production",
        service: "shop",
        digest: "sha256-v1:aa",
    };

    fn at(hour: i64) -> DateTime<Utc> {
        DateTime::from_timestamp(1_800_000_000 + hour * 3_600, 0).expect("a time")
    }

    fn signer() -> Signer {
        Signer::from_pkcs8(&Signer::generate_pkcs8()).expect("a key")
    }

    fn document() -> CertificateDocument {
        CertificateDocument {
            version: VERSION,
            organisation: "acme".into(),
            environment_id: 12,
            environment: "production".into(),
            service_id: 340,
            service: "shop".into(),
            pipeline_digest: ASKED.digest.into(),
            head_seq: 42,
            head_hash: "ab".repeat(32),
            issued_at: at(0),
            expires_at: at(24),
            key_id: "whatever it says".into(),
        }
    }

    fn kept(document: &CertificateDocument, signer: &Signer) -> Kept {
        let document = serde_json::to_string(document).expect("prints");
        Kept {
            server: ASKED.server.into(),
            certificate: SignedCertificate {
                key_id: signer.key_id().to_owned(),
                public_key: signer.public_key().to_hex(),
                signature: HEXLOWER.encode(&signer.sign_bytes(&signed_bytes(&document))),
                document,
            },
        }
    }

    #[test]
    fn it_allows_what_was_certified_until_it_ends() {
        let signer = signer();
        let text = kept(&document(), &signer).to_text();
        let allowed = judge(&text, &ASKED, &[], at(3)).expect("allowed");
        assert_eq!((allowed.issued_at, allowed.expires_at), (at(0), at(24)));
        assert_eq!(allowed.head_seq, 42);
        let pinned = [self::signer().public_key(), signer.public_key()];
        assert!(judge(&text, &ASKED, &pinned, at(3)).is_ok());
        assert!(judge(&text, &ASKED, &[], at(24) - TimeDelta::seconds(1)).is_ok());
        assert_eq!(judge(&text, &ASKED, &[], at(24)), Err(Refusal::Expired(at(24))));
        assert!(
            judge(&text, &ASKED, &[], at(0) - TimeDelta::minutes(4)).is_ok(),
            "two clocks"
        );
        assert_eq!(judge(&text, &ASKED, &[], at(-1)), Err(Refusal::NotYet(at(0))));
    }

    #[test]
    fn nothing_else_is_allowed_by_it() {
        let text = kept(&document(), &signer()).to_text();
        let refusal = |asked: Asked<'_>| judge(&text, &asked, &[], at(1)).expect_err("refused").to_string();
        let pipeline = refusal(Asked {
            digest: "sha256-v1:bb",
            ..ASKED
        });
        assert!(pipeline.contains("another pipeline"), "{pipeline}");
        for (asked, words) in [
            (
                Asked {
                    environment: "staging",
                    ..ASKED
                },
                "environment `production`, and this is `staging`",
            ),
            (
                Asked {
                    service: "till",
                    ..ASKED
                },
                "service `shop`, and this is `till`",
            ),
            (
                Asked {
                    server: "https://other.example",
                    ..ASKED
                },
                "and this is `https://other.example`",
            ),
        ] {
            let refusal = refusal(asked);
            assert!(refusal.contains(words), "{refusal}");
        }
    }

    #[test]
    fn whatever_was_altered_is_refused() {
        let signer = signer();
        let good = kept(&document(), &signer);
        let longer = serde_json::to_string(&CertificateDocument {
            expires_at: at(1_000),
            ..document()
        })
        .expect("prints");
        let altered = |change: &dyn Fn(&mut SignedCertificate)| {
            let mut kept = kept(&document(), &signer);
            change(&mut kept.certificate);
            judge(&kept.to_text(), &ASKED, &[], at(1)).expect_err("refused")
        };
        assert_eq!(altered(&|it| it.document.clone_from(&longer)), Refusal::Forged);
        assert_eq!(altered(&|it| it.document.push(' ')), Refusal::Forged);
        assert_eq!(altered(&|it| it.signature = "00".repeat(64)), Refusal::Forged);
        assert_eq!(altered(&|it| it.signature = "not hex".into()), Refusal::Forged);
        let other = self::signer();
        assert_eq!(
            altered(&|it| it.public_key = other.public_key().to_hex()),
            Refusal::Forged
        );
        assert_eq!(altered(&|it| it.public_key = "key".into()), Refusal::Unreadable);
        // With a key of one's own all of it fits together: what a pinned key is for.
        let own = kept(&document(), &other).to_text();
        assert!(judge(&own, &ASKED, &[], at(1)).is_ok());
        assert_eq!(
            judge(&own, &ASKED, &[signer.public_key()], at(1)),
            Err(Refusal::OtherKey(other.public_key().id()))
        );
        // A signature over something else, such as a checkpoint, is none over a document.
        let mut bare = kept(&document(), &signer);
        let bytes = bare.certificate.document.as_bytes().to_vec();
        bare.certificate.signature = HEXLOWER.encode(&signer.sign_bytes(&bytes));
        assert_eq!(judge(&bare.to_text(), &ASKED, &[], at(1)), Err(Refusal::Forged));
        for odd in ["", "{}", "null", &good.to_text()[..100]] {
            assert_eq!(judge(odd, &ASKED, &[], at(1)), Err(Refusal::Unreadable), "{odd}");
        }
        let newer = CertificateDocument {
            version: 2,
            ..document()
        };
        assert_eq!(
            judge(&kept(&newer, &signer).to_text(), &ASKED, &[], at(1)),
            Err(Refusal::OtherFormat(2))
        );
    }
}
