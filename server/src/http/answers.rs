//! Answers that need no planning: the same question at the same head has the same answer.
//!
//! `CONTINUE` without marks depends on nothing but the pipeline, the audit up to its head, and the policy that has a say in
//! it, so its bytes are kept under (scope, head's position, policy, question), and never asked for again once the head has
//! moved or the policy was changed. What depends on more than that must not be kept: marks, warnings, a checksum that
//! passed because none is recorded. The question is either a body, byte for byte, or a
//! pipeline's digest.

use std::sync::Arc;

use axum::body::Bytes;
use quick_cache::Weighter;
use quick_cache::sync::Cache;
use sha2::{Digest as _, Sha256};

use crate::app::{Head, Position, Scope};

/// Names a question without keeping it.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Question([u8; 32]);

impl Question {
    /// A body may mean something else under another charset.
    pub fn body(bytes: &[u8], charset: Option<&str>) -> Self {
        let mut hasher = Sha256::new();
        hasher.update(b"body\0");
        hasher.update(charset.unwrap_or_default());
        hasher.update(b"\0");
        hasher.update(bytes);
        Self(hasher.finalize().into())
    }

    pub fn digest(digest: &str) -> Self {
        let mut hasher = Sha256::new();
        hasher.update(b"digest\0");
        hasher.update(digest);
        Self(hasher.finalize().into())
    }
}

#[derive(Clone, PartialEq, Eq, Hash)]
struct Key {
    place: Place,
    question: Question,
}

/// Where an answer holds: a scope as it stands.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Place {
    pub scope: Scope,
    pub position: Position,
    /// As of `Head::policy_key`.
    pub policy: i64,
}

impl Place {
    pub fn of(scope: Scope, head: &Head) -> Self {
        Self {
            scope,
            position: head.position,
            policy: head.policy_key(),
        }
    }
}

#[derive(Clone)]
struct ByBytes;

impl Weighter<Key, Bytes> for ByBytes {
    fn weight(&self, _: &Key, answer: &Bytes) -> u64 {
        answer.len() as u64 + 128
    }
}

const CAPACITY_BYTES: u64 = 8 * 1024 * 1024;

#[derive(Clone)]
pub struct Answers(Arc<Cache<Key, Bytes, ByBytes>>);

impl Answers {
    pub fn new() -> Self {
        Self(Arc::new(Cache::with_weighter(2_000, CAPACITY_BYTES, ByBytes)))
    }

    pub fn get(&self, place: Place, question: Question) -> Option<Bytes> {
        self.0.get(&Key { place, question })
    }

    pub fn keep(&self, place: Place, question: Question, answer: Bytes) {
        self.0.insert(Key { place, question }, answer);
    }
}
