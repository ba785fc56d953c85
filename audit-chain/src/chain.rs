//! The hash chain of a stream: `hash(n)` covers `hash(n-1)` and every recorded field of entry `n`.
//!
//! # The format, version 1
//!
//! ```text
//! hash(0) = 32 zero bytes
//! hash(n) = SHA-256( hash(n-1) as 32 raw bytes || canonical(n) )
//! canonical(n) = "flamingock-audit-v1\n" field(1) field(2) … field(29)
//! ```
//!
//! A field with a value is a netstring: the length of the value in bytes as decimal digits, `:`, the value, `,`. A
//! field without a value is `-,`. The empty text is `0:,` and differs from no value. So no two different entries have
//! the same canonical bytes, whatever their texts hold. The values:
//!
//! * text: its UTF-8 bytes as stored, no normalisation, no escapes; `metadata` is the JSON text as stored, not printed
//!   anew;
//! * integer: decimal digits, `-` in front if negative, no leading zeros, no `+`;
//! * boolean: `true` or `false`;
//! * instant: microseconds since 1970-01-01T00:00:00Z, as an integer.
//!
//! The fields, in this order; `?` marks those that may be absent:
//!
//! | # | field | # | field | # | field |
//! | --- | --- | --- | --- | --- | --- |
//! | 1 | `environment_id` integer | 11 | `class_name`? text | 21 | `recovery_strategy`? text |
//! | 2 | `service_id` integer | 12 | `method_name`? text | 22 | `transaction_flag`? boolean |
//! | 3 | `seq` integer | 13 | `metadata`? text | 23 | `system_change`? boolean |
//! | 4 | `source` text | 14 | `execution_millis`? integer | 24 | `runner_id`? text |
//! | 5 | `execution_ref` text | 15 | `execution_hostname`? text | 25 | `fence`? integer |
//! | 6 | `change_id` text | 16 | `error_trace`? text | 26 | `late` boolean |
//! | 7 | `stage_id`? text | 17 | `change_type`? text | 27 | `actor` text |
//! | 8 | `author`? text | 18 | `tx_strategy`? text | 28 | `note`? text |
//! | 9 | `applied_at_ms`? integer | 19 | `target_system_id`? text | 29 | `received_at` instant |
//! | 10 | `state` text | 20 | `change_order`? text | | |
//!
//! The format never changes; a version 2 would have another first line.

use std::fmt::Write as _;

use sha2::{Digest, Sha256};

/// Position in a stream: from 1, without gaps.
pub type Seq = i64;

pub type Hash = [u8; 32];

/// What stands before the first entry.
pub const GENESIS: Hash = [0; 32];

const HEADER: &str = "flamingock-audit-v1\n";

/// Every recorded field of an entry, in the order of the canonical form.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry<'a> {
    pub environment_id: i64,
    pub service_id: i64,
    pub seq: Seq,
    pub source: &'a str,
    /// The execution id as reported, which need not be a number; empty for none.
    pub execution_ref: &'a str,
    pub change_id: &'a str,
    pub stage_id: Option<&'a str>,
    pub author: Option<&'a str>,
    pub applied_at_ms: Option<i64>,
    /// As reported, known to us or not.
    pub state: &'a str,
    pub class_name: Option<&'a str>,
    pub method_name: Option<&'a str>,
    /// The JSON text as stored.
    pub metadata: Option<&'a str>,
    pub execution_millis: Option<i64>,
    pub execution_hostname: Option<&'a str>,
    pub error_trace: Option<&'a str>,
    pub change_type: Option<&'a str>,
    pub tx_strategy: Option<&'a str>,
    pub target_system_id: Option<&'a str>,
    pub change_order: Option<&'a str>,
    pub recovery_strategy: Option<&'a str>,
    pub transaction_flag: Option<bool>,
    pub system_change: Option<bool>,
    pub runner_id: Option<&'a str>,
    pub fence: Option<i64>,
    pub late: bool,
    pub actor: &'a str,
    pub note: Option<&'a str>,
    /// Microseconds since the Unix epoch, on the database's clock.
    pub received_at_micros: i64,
}

/// The bytes that are hashed for an entry. One pattern names every field, so a field that is added to [`Entry`] and
/// forgotten here does not compile.
pub fn canonical(entry: &Entry<'_>) -> Vec<u8> {
    let Entry {
        environment_id,
        service_id,
        seq,
        source,
        execution_ref,
        change_id,
        stage_id,
        author,
        applied_at_ms,
        state,
        class_name,
        method_name,
        metadata,
        execution_millis,
        execution_hostname,
        error_trace,
        change_type,
        tx_strategy,
        target_system_id,
        change_order,
        recovery_strategy,
        transaction_flag,
        system_change,
        runner_id,
        fence,
        late,
        actor,
        note,
        received_at_micros,
    } = *entry;
    let mut out = Canonical::new(HEADER);
    out.integer(Some(environment_id));
    out.integer(Some(service_id));
    out.integer(Some(seq));
    out.text(Some(source));
    out.text(Some(execution_ref));
    out.text(Some(change_id));
    out.text(stage_id);
    out.text(author);
    out.integer(applied_at_ms);
    out.text(Some(state));
    out.text(class_name);
    out.text(method_name);
    out.text(metadata);
    out.integer(execution_millis);
    out.text(execution_hostname);
    out.text(error_trace);
    out.text(change_type);
    out.text(tx_strategy);
    out.text(target_system_id);
    out.text(change_order);
    out.text(recovery_strategy);
    out.boolean(transaction_flag);
    out.boolean(system_change);
    out.text(runner_id);
    out.integer(fence);
    out.boolean(Some(late));
    out.text(Some(actor));
    out.text(note);
    out.integer(Some(received_at_micros));
    out.into_bytes()
}

/// Values one after the other, so that no two different sequences of values have the same bytes.
pub(crate) struct Canonical(String);

impl Canonical {
    /// `header` says what the bytes are of, so that a signature over one kind is none over another.
    pub(crate) fn new(header: &str) -> Self {
        let mut text = String::with_capacity(1024);
        text.push_str(header);
        Self(text)
    }

    pub(crate) fn into_bytes(self) -> Vec<u8> {
        self.0.into_bytes()
    }

    pub(crate) fn text(&mut self, value: Option<&str>) {
        match value {
            Some(text) => write!(self.0, "{}:{text},", text.len()).expect("writing to a String never fails"),
            None => self.0.push_str("-,"),
        }
    }

    pub(crate) fn integer(&mut self, value: Option<i64>) {
        self.text(value.map(|number| number.to_string()).as_deref());
    }

    pub(crate) fn boolean(&mut self, value: Option<bool>) {
        self.text(value.map(|flag| if flag { "true" } else { "false" }));
    }
}

/// The hash of an entry that follows `prev`.
pub fn link(prev: &Hash, entry: &Entry<'_>) -> Hash {
    let mut sha = Sha256::new();
    sha.update(prev);
    sha.update(canonical(entry));
    sha.finalize().into()
}

/// The first place where a stream is not what was recorded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Broken {
    #[error("entry {expected} is missing: {found} comes in its place")]
    Gap { expected: Seq, found: Seq },
    #[error("entry {seq} does not follow the entry before it")]
    PrevHash { seq: Seq },
    #[error("entry {seq} is not what was recorded")]
    Hash { seq: Seq },
    #[error("the stream ends at {found}, the head says {expected}")]
    Head { expected: Seq, found: Seq },
}

impl Broken {
    /// The first sequence that cannot be trusted.
    pub fn seq(&self) -> Seq {
        match *self {
            Self::Gap { expected, .. } => expected,
            Self::PrevHash { seq } | Self::Hash { seq } => seq,
            Self::Head { expected, found } if expected == found => expected,
            Self::Head { expected, found } => expected.min(found) + 1,
        }
    }
}

/// Walks a stream entry by entry, so that a long one need not be held in memory.
#[derive(Clone, Copy, Debug)]
pub struct Verifier {
    seq: Seq,
    hash: Hash,
}

impl Default for Verifier {
    fn default() -> Self {
        Self::after(0, GENESIS)
    }
}

impl Verifier {
    /// Goes on behind an entry that is trusted already, such as a signed checkpoint.
    pub fn after(seq: Seq, hash: Hash) -> Self {
        Self { seq, hash }
    }

    /// The last entry that was found good.
    pub fn head(&self) -> (Seq, Hash) {
        (self.seq, self.hash)
    }

    /// Takes the next entry with the two hashes recorded beside it.
    pub fn push(&mut self, entry: &Entry<'_>, prev: &Hash, hash: &Hash) -> Result<(), Broken> {
        let expected = self.seq + 1;
        if entry.seq != expected {
            return Err(Broken::Gap {
                expected,
                found: entry.seq,
            });
        }
        if *prev != self.hash {
            return Err(Broken::PrevHash { seq: entry.seq });
        }
        if *hash != link(prev, entry) {
            return Err(Broken::Hash { seq: entry.seq });
        }
        (self.seq, self.hash) = (entry.seq, *hash);
        Ok(())
    }

    /// Compares the end with the head that is recorded elsewhere: a stream cut short is whole in itself.
    pub fn finish(self, head: (Seq, Hash)) -> Result<(), Broken> {
        if self.head() == head {
            Ok(())
        } else {
            Err(Broken::Head {
                expected: head.0,
                found: self.seq,
            })
        }
    }
}

/// Verifies a whole stream: entries in order, each with its recorded previous hash and hash.
pub fn verify<'a>(
    entries: impl IntoIterator<Item = (Entry<'a>, Hash, Hash)>,
    head: (Seq, Hash),
) -> Result<(), Broken> {
    let mut verifier = Verifier::default();
    for (entry, prev, hash) in entries {
        verifier.push(&entry, &prev, &hash)?;
    }
    verifier.finish(head)
}
