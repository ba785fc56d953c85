//! Signed checkpoints: "at this time the entry at this position had this hash". The hash covers everything before it, so
//! one signature holds the whole history up to there, and shows when its end was cut off afterwards.
//!
//! # The format, version 1
//!
//! The signature is Ed25519 (RFC 8032) over these bytes, with netstrings as in [`crate::chain`]:
//!
//! ```text
//! "flamingock-checkpoint-v1\n" environment_id service_id seq hash signed_at key_id
//! ```
//!
//! `hash` is lowercase hex, `signed_at` microseconds since 1970-01-01T00:00:00Z. `key_id` is the first 8 bytes of SHA-256
//! over the 32 bytes of the public key, as lowercase hex: whoever has the key can tell that the id is its own.

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ED25519, Ed25519KeyPair, KeyPair as _, UnparsedPublicKey};
use data_encoding::{BASE64, HEXLOWER, HEXLOWER_PERMISSIVE};
use sha2::{Digest as _, Sha256};

use crate::chain::{Canonical, Hash, Seq};

const HEADER: &str = "flamingock-checkpoint-v1\n";

/// What stands before the 32 bytes of an Ed25519 key in its `SubjectPublicKeyInfo` (RFC 8410).
const SPKI_PREFIX: [u8; 12] = [
    0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00,
];

/// What is signed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checkpoint {
    pub environment_id: i64,
    pub service_id: i64,
    pub seq: Seq,
    pub hash: Hash,
    /// Microseconds since the Unix epoch, on the database's clock.
    pub signed_at_micros: i64,
}

impl Checkpoint {
    fn signed_bytes(&self, key_id: &str) -> Vec<u8> {
        let mut out = Canonical::new(HEADER);
        out.integer(Some(self.environment_id));
        out.integer(Some(self.service_id));
        out.integer(Some(self.seq));
        out.text(Some(&HEXLOWER.encode(&self.hash)));
        out.integer(Some(self.signed_at_micros));
        out.text(Some(key_id));
        out.into_bytes()
    }
}

/// A checkpoint with its signature, which nobody has looked at yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignedCheckpoint {
    pub checkpoint: Checkpoint,
    pub key_id: String,
    pub signature: Vec<u8>,
}

impl SignedCheckpoint {
    /// Whether this key has signed exactly this.
    pub fn is_signed_by(&self, key: &PublicKey) -> bool {
        self.key_id == key.id()
            && UnparsedPublicKey::new(&ED25519, key.0)
                .verify(&self.checkpoint.signed_bytes(&self.key_id), &self.signature)
                .is_ok()
    }
}

/// An Ed25519 public key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct PublicKey([u8; 32]);

/// Why a text is no public key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("is neither the 64 hex digits of an Ed25519 public key nor a PEM document with one")]
pub struct NotAKey;

impl PublicKey {
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        bytes.try_into().ok().map(Self)
    }

    /// From 64 hex digits, or from PEM.
    pub fn parse(text: &str) -> Result<Self, NotAKey> {
        let text = text.trim();
        if let Some(body) = text
            .strip_prefix("-----BEGIN PUBLIC KEY-----")
            .and_then(|rest| rest.strip_suffix("-----END PUBLIC KEY-----"))
        {
            let base64: String = body.split_whitespace().collect();
            let der = BASE64.decode(base64.as_bytes()).map_err(|_| NotAKey)?;
            return der
                .strip_prefix(&SPKI_PREFIX)
                .and_then(Self::from_bytes)
                .ok_or(NotAKey);
        }
        HEXLOWER_PERMISSIVE
            .decode(text.as_bytes())
            .ok()
            .and_then(|bytes| Self::from_bytes(&bytes))
            .ok_or(NotAKey)
    }

    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// Whether this key has signed exactly these bytes.
    pub fn has_signed(&self, bytes: &[u8], signature: &[u8]) -> bool {
        UnparsedPublicKey::new(&ED25519, self.0)
            .verify(bytes, signature)
            .is_ok()
    }

    pub fn id(&self) -> String {
        HEXLOWER.encode(&Sha256::digest(self.0)[..8])
    }

    /// Lowercase hex.
    pub fn to_hex(&self) -> String {
        HEXLOWER.encode(&self.0)
    }

    pub fn to_pem(&self) -> String {
        let der = [SPKI_PREFIX.as_slice(), &self.0].concat();
        format!(
            "-----BEGIN PUBLIC KEY-----\n{}\n-----END PUBLIC KEY-----\n",
            BASE64.encode(&der)
        )
    }
}

/// The private half: what makes checkpoints.
pub struct Signer {
    pair: Ed25519KeyPair,
    public: PublicKey,
    key_id: String,
}

/// Why a key cannot sign.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("it is not an Ed25519 private key in PKCS #8")]
pub struct NotASigner;

impl Signer {
    /// A new key pair, in PKCS #8.
    pub fn generate_pkcs8() -> Vec<u8> {
        Ed25519KeyPair::generate_pkcs8(&SystemRandom::new())
            .expect("the operating system has random bytes")
            .as_ref()
            .to_vec()
    }

    /// From PKCS #8, with or without the public key in it.
    pub fn from_pkcs8(pkcs8: &[u8]) -> Result<Self, NotASigner> {
        let pair = Ed25519KeyPair::from_pkcs8_maybe_unchecked(pkcs8).map_err(|_| NotASigner)?;
        let public = PublicKey::from_bytes(pair.public_key().as_ref()).ok_or(NotASigner)?;
        Ok(Self {
            key_id: public.id(),
            pair,
            public,
        })
    }

    /// From a PEM document, such as `openssl genpkey -algorithm ed25519` writes.
    pub fn from_pem(text: &str) -> Result<Self, NotASigner> {
        let body = text
            .trim()
            .strip_prefix("-----BEGIN PRIVATE KEY-----")
            .and_then(|rest| rest.strip_suffix("-----END PRIVATE KEY-----"))
            .ok_or(NotASigner)?;
        let base64: String = body.split_whitespace().collect();
        let der = BASE64.decode(base64.as_bytes()).map_err(|_| NotASigner)?;
        Self::from_pkcs8(&der)
    }

    pub fn public_key(&self) -> PublicKey {
        self.public
    }

    pub fn key_id(&self) -> &str {
        &self.key_id
    }

    /// Signs something else than a checkpoint. The bytes begin with what they are, as a checkpoint's do, so that one signature
    /// cannot be taken for another's.
    pub fn sign_bytes(&self, bytes: &[u8]) -> Vec<u8> {
        self.pair.sign(bytes).as_ref().to_vec()
    }

    pub fn sign(&self, checkpoint: Checkpoint) -> SignedCheckpoint {
        let signature = self.pair.sign(&checkpoint.signed_bytes(&self.key_id));
        SignedCheckpoint {
            checkpoint,
            key_id: self.key_id.clone(),
            signature: signature.as_ref().to_vec(),
        }
    }
}
