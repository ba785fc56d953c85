//! An export with proofs: one JSON document a line, and everything that is needed to verify it without server or database.
//!
//! ```text
//! {"kind":"header", …}    whose audit it is, where it ended when the export began, the newest checkpoint, public keys
//! {"kind":"entry", …}     every entry from the first to the last, in order, each field as it was hashed
//! {"kind":"trailer", …}   how many entries there are: without this line the file was cut
//! ```

use std::io::BufRead;

use chrono::{DateTime, Utc};
use data_encoding::HEXLOWER;
use serde::{Deserialize, Serialize};

use crate::chain::{Broken, Entry, Hash, Seq, Verifier};
use crate::checkpoint::{Checkpoint, PublicKey, SignedCheckpoint};

/// Named in the header. Another one would be another format.
pub const FORMAT: &str = "flamingock-audit-export-v1";

/// Longer lines are none of ours: an entry's texts are bounded.
const LINE_MAX_BYTES: usize = 4 * 1024 * 1024;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
pub enum Line {
    Header(Header),
    Entry(Box<EntryLine>),
    Trailer(Trailer),
}

impl Line {
    pub fn to_json(&self) -> String {
        serde_json::to_string(self).expect("texts and numbers under text keys become JSON")
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Header {
    pub format: String,
    pub environment_id: i64,
    pub service_id: i64,
    /// The database's clock.
    pub exported_at: DateTime<Utc>,
    /// Where the stream ended then; the export goes so far.
    pub head_seq: Seq,
    pub head_hash: String,
    /// The newest signed statement about the stream.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub checkpoint: Option<CheckpointLine>,
    /// The keys of the server. Who rewrites the file rewrites these too: trust keys that you got another way.
    pub keys: Vec<KeyLine>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct KeyLine {
    pub key_id: String,
    /// Lowercase hex.
    pub public_key: String,
}

/// As `GET …/audit/checkpoint` lists them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct CheckpointLine {
    pub environment_id: i64,
    pub service_id: i64,
    pub seq: Seq,
    pub hash: String,
    pub signed_at: DateTime<Utc>,
    pub key_id: String,
    pub signature: String,
}

impl CheckpointLine {
    pub fn of(signed: &SignedCheckpoint) -> Self {
        let at = &signed.checkpoint;
        Self {
            environment_id: at.environment_id,
            service_id: at.service_id,
            seq: at.seq,
            hash: HEXLOWER.encode(&at.hash),
            signed_at: DateTime::from_timestamp_micros(at.signed_at_micros)
                .unwrap_or(DateTime::<Utc>::MAX_UTC),
            key_id: signed.key_id.clone(),
            signature: HEXLOWER.encode(&signed.signature),
        }
    }

    fn parse(&self) -> Option<SignedCheckpoint> {
        Some(SignedCheckpoint {
            checkpoint: Checkpoint {
                environment_id: self.environment_id,
                service_id: self.service_id,
                seq: self.seq,
                hash: hash_of(&self.hash)?,
                signed_at_micros: whole_micros(self.signed_at)?,
            },
            key_id: self.key_id.clone(),
            signature: HEXLOWER.decode(self.signature.as_bytes()).ok()?,
        })
    }
}

/// An entry, every hashed field as it was hashed. A field that the hash does not cover is refused: it would be believed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct EntryLine {
    /// Version of the canonical form.
    pub canonical: u32,
    pub seq: Seq,
    pub environment_id: i64,
    pub service_id: i64,
    pub change_id: String,
    pub state: String,
    pub source: String,
    pub late: bool,
    pub execution_id: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stage_id: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub author: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub applied_at_epoch_millis: Option<i64>,
    pub received_at: DateTime<Utc>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub class_name: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub method_name: Option<String>,
    /// The JSON document as the text that was hashed: printed anew it could differ.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metadata_text: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub execution_millis: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub execution_hostname: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error_trace: Option<String>,
    #[serde(rename = "type", default, skip_serializing_if = "Option::is_none")]
    pub change_type: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tx_strategy: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target_system_id: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub order: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recovery_strategy: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub transaction_flag: Option<bool>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub system_change: Option<bool>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub runner_id: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fence: Option<i64>,
    pub actor: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
    pub prev_hash: String,
    pub hash: String,
}

impl EntryLine {
    /// What the hash covers; `None` if the time is finer than any that we record.
    fn hashed(&self) -> Option<Entry<'_>> {
        Some(Entry {
            environment_id: self.environment_id,
            service_id: self.service_id,
            seq: self.seq,
            source: &self.source,
            execution_ref: &self.execution_id,
            change_id: &self.change_id,
            stage_id: self.stage_id.as_deref(),
            author: self.author.as_deref(),
            applied_at_ms: self.applied_at_epoch_millis,
            state: &self.state,
            class_name: self.class_name.as_deref(),
            method_name: self.method_name.as_deref(),
            metadata: self.metadata_text.as_deref(),
            execution_millis: self.execution_millis,
            execution_hostname: self.execution_hostname.as_deref(),
            error_trace: self.error_trace.as_deref(),
            change_type: self.change_type.as_deref(),
            tx_strategy: self.tx_strategy.as_deref(),
            target_system_id: self.target_system_id.as_deref(),
            change_order: self.order.as_deref(),
            recovery_strategy: self.recovery_strategy.as_deref(),
            transaction_flag: self.transaction_flag,
            system_change: self.system_change,
            runner_id: self.runner_id.as_deref(),
            fence: self.fence,
            late: self.late,
            actor: &self.actor,
            note: self.note.as_deref(),
            received_at_micros: whole_micros(self.received_at)?,
        })
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Trailer {
    pub entries: i64,
    pub head_seq: Seq,
    pub head_hash: String,
}

/// What the verifier believes without proof.
#[derive(Clone, Debug, Default)]
pub struct Trust {
    /// Public keys that you got otherwise than with the export. With them the export must carry a checkpoint that one of
    /// them signed. Without, the keys in the file are taken, which shows damage but no forger.
    pub keys: Vec<PublicKey>,
    /// Checkpoints that you kept: the export must hold each of them.
    pub checkpoints: Vec<CheckpointLine>,
}

/// What a verified export is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    pub environment_id: i64,
    pub service_id: i64,
    pub exported_at: DateTime<Utc>,
    pub head_seq: Seq,
    pub head_hash: String,
    /// The checkpoint in the export, if any. What comes after it is chained, but nobody has signed it.
    pub checkpoint: Option<CheckpointLine>,
    /// The checkpoint's key is one that you brought.
    pub key_is_trusted: bool,
    /// How many checkpoints that you kept were found as they were.
    pub kept_checkpoints: usize,
}

/// The first thing that is wrong with an export.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Finding {
    #[error("line {line}: {broken}")]
    Broken { line: u64, broken: Broken },
    #[error("line {line}: entry {seq} belongs to another environment or service")]
    Foreign { line: u64, seq: Seq },
    #[error(
        "line {line}: entry {seq} is not the one that was signed at {signed_at}: the history was rewritten"
    )]
    Rewritten {
        line: u64,
        seq: Seq,
        signed_at: DateTime<Utc>,
    },
    #[error(
        "the export ends at entry {head}, but entry {seq} was signed at {signed_at}: its end was cut off"
    )]
    TailCut {
        head: Seq,
        seq: Seq,
        signed_at: DateTime<Utc>,
    },
    #[error("the signature of the checkpoint at entry {seq} is not of key {key_id}")]
    Forged { seq: Seq, key_id: String },
    #[error("the checkpoint at entry {seq} is signed by key {key_id}, which is none of those that you trust")]
    UnknownKey { seq: Seq, key_id: String },
    #[error("the export carries no checkpoint, so the keys that you trust prove nothing")]
    NoCheckpoint,
    #[error("line {line} {what}")]
    Malformed { line: u64, what: String },
    #[error("the export was cut: it ends after line {lines} without its last line")]
    Cut { lines: u64 },
}

impl Finding {
    /// The first entry that cannot be trusted, where it is about one.
    pub fn seq(&self) -> Option<Seq> {
        match self {
            Self::Broken { broken, .. } => Some(broken.seq()),
            Self::Foreign { seq, .. } | Self::Rewritten { seq, .. } => Some(*seq),
            Self::TailCut { head, .. } => Some(head + 1),
            Self::Forged { .. }
            | Self::UnknownKey { .. }
            | Self::NoCheckpoint
            | Self::Malformed { .. }
            | Self::Cut { .. } => None,
        }
    }
}

/// Why there is no report.
#[derive(Debug, thiserror::Error)]
pub enum VerifyError {
    #[error("the export is not what was recorded")]
    Finding(#[from] Finding),
    #[error("the export cannot be read")]
    Read(#[from] std::io::Error),
}

/// Takes an export line by line, so that one of any length needs no memory.
pub struct ExportVerifier {
    trust: Trust,
    line: u64,
    state: State,
}

enum State {
    Header,
    Entries(Box<Reading>),
    Done(Box<Report>),
}

struct Reading {
    header: Header,
    chain: Verifier,
    /// What must be found on the way, lowest position first.
    expected: Vec<SignedCheckpoint>,
    key_is_trusted: bool,
}

impl ExportVerifier {
    pub fn new(trust: Trust) -> Self {
        Self {
            trust,
            line: 0,
            state: State::Header,
        }
    }

    /// Takes the next line, without its line feed.
    pub fn push(&mut self, text: &str) -> Result<(), Finding> {
        self.line += 1;
        let line = self.line;
        let malformed = |what: String| Finding::Malformed { line, what };
        let parsed: Line =
            serde_json::from_str(text).map_err(|error| malformed(format!("cannot be read: {error}")))?;
        match (&mut self.state, parsed) {
            (State::Header, Line::Header(header)) => {
                self.state = State::Entries(Box::new(begin(&self.trust, header, line)?));
                Ok(())
            }
            (State::Header, _) => Err(malformed(
                "is not the header: this is no export with proofs".to_owned(),
            )),
            (State::Entries(reading), Line::Entry(entry)) => reading.entry(&entry, line),
            (State::Entries(reading), Line::Trailer(trailer)) => {
                let report = reading.end(&trailer, line, self.trust.checkpoints.len())?;
                self.state = State::Done(Box::new(report));
                Ok(())
            }
            (State::Entries(_), Line::Header(_)) => Err(malformed("is a second header".to_owned())),
            (State::Done(_), _) => Err(malformed("comes after the last line".to_owned())),
        }
    }

    /// After the last line.
    pub fn finish(self) -> Result<Report, Finding> {
        match self.state {
            State::Done(report) => Ok(*report),
            State::Header | State::Entries(_) => Err(Finding::Cut { lines: self.line }),
        }
    }
}

fn begin(trust: &Trust, header: Header, line: u64) -> Result<Reading, Finding> {
    let malformed = |what: &str| Finding::Malformed {
        line,
        what: what.to_owned(),
    };
    if header.format != FORMAT {
        return Err(Finding::Malformed {
            line,
            what: format!("names the format {:?}, this reads {FORMAT:?}", header.format),
        });
    }
    let of_file = header
        .keys
        .iter()
        .map(|key| PublicKey::parse(&key.public_key).ok())
        .collect::<Option<Vec<_>>>()
        .ok_or_else(|| malformed("holds a key that is none"))?;
    let pinned = !trust.keys.is_empty();
    // Also of an empty one: that there is nothing is as easily said as anything else that nobody signed.
    if pinned && header.checkpoint.is_none() {
        return Err(Finding::NoCheckpoint);
    }
    let keys = if pinned { &trust.keys } else { &of_file };
    let mut expected = Vec::new();
    for kept in header.checkpoint.iter().chain(&trust.checkpoints) {
        if (kept.environment_id, kept.service_id) != (header.environment_id, header.service_id) {
            return Err(malformed(
                "is of another environment or service than a checkpoint",
            ));
        }
        let signed = Some(kept)
            .filter(|kept| kept.seq > 0)
            .and_then(CheckpointLine::parse)
            .ok_or_else(|| malformed("goes with a checkpoint that cannot be read"))?;
        let Some(key) = keys.iter().find(|key| key.id() == kept.key_id) else {
            return Err(Finding::UnknownKey {
                seq: kept.seq,
                key_id: kept.key_id.clone(),
            });
        };
        if !signed.is_signed_by(key) {
            return Err(Finding::Forged {
                seq: kept.seq,
                key_id: kept.key_id.clone(),
            });
        }
        if kept.seq > header.head_seq {
            return Err(Finding::TailCut {
                head: header.head_seq,
                seq: kept.seq,
                signed_at: kept.signed_at,
            });
        }
        expected.push(signed);
    }
    // Taken from the end.
    expected.sort_by_key(|signed| std::cmp::Reverse(signed.checkpoint.seq));
    Ok(Reading {
        key_is_trusted: pinned && header.checkpoint.is_some(),
        header,
        chain: Verifier::default(),
        expected,
    })
}

impl Reading {
    fn entry(&mut self, entry: &EntryLine, line: u64) -> Result<(), Finding> {
        let malformed = |what: String| Finding::Malformed { line, what };
        if entry.canonical != 1 {
            return Err(malformed(format!(
                "has version {} of the canonical form, this knows 1",
                entry.canonical
            )));
        }
        if (entry.environment_id, entry.service_id) != (self.header.environment_id, self.header.service_id) {
            return Err(Finding::Foreign { line, seq: entry.seq });
        }
        let (Some(hashed), Some(prev), Some(hash)) =
            (entry.hashed(), hash_of(&entry.prev_hash), hash_of(&entry.hash))
        else {
            return Err(malformed(
                "holds a hash or a time that is none of ours".to_owned(),
            ));
        };
        self.chain
            .push(&hashed, &prev, &hash)
            .map_err(|broken| Finding::Broken { line, broken })?;
        while let Some(signed) = self.expected.last()
            && signed.checkpoint.seq == entry.seq
        {
            if signed.checkpoint.hash != hash {
                return Err(Finding::Rewritten {
                    line,
                    seq: entry.seq,
                    signed_at: DateTime::from_timestamp_micros(signed.checkpoint.signed_at_micros)
                        .unwrap_or_default(),
                });
            }
            self.expected.pop();
        }
        Ok(())
    }

    fn end(&self, trailer: &Trailer, line: u64, kept: usize) -> Result<Report, Finding> {
        let head = hash_of(&self.header.head_hash).ok_or_else(|| Finding::Malformed {
            line: 1,
            what: "holds a hash that is none".to_owned(),
        })?;
        self.chain
            .finish((self.header.head_seq, head))
            .map_err(|broken| Finding::Broken { line, broken })?;
        let told = (trailer.entries, trailer.head_seq, &trailer.head_hash);
        if told != (self.header.head_seq, self.header.head_seq, &self.header.head_hash) {
            return Err(Finding::Malformed {
                line,
                what: "does not agree with the header".to_owned(),
            });
        }
        Ok(Report {
            environment_id: self.header.environment_id,
            service_id: self.header.service_id,
            exported_at: self.header.exported_at,
            head_seq: self.header.head_seq,
            head_hash: self.header.head_hash.clone(),
            checkpoint: self.header.checkpoint.clone(),
            key_is_trusted: self.key_is_trusted,
            kept_checkpoints: kept,
        })
    }
}

/// Verifies a whole export. Reads a line at a time; a line that never ends is refused before it fills the memory.
pub fn verify(mut export: impl BufRead, trust: Trust) -> Result<Report, VerifyError> {
    let mut verifier = ExportVerifier::new(trust);
    let mut line = Vec::new();
    let mut number = 0;
    loop {
        line.clear();
        number += 1;
        let read = std::io::Read::take(&mut export, LINE_MAX_BYTES as u64).read_until(b'\n', &mut line)?;
        if read == 0 {
            return Ok(verifier.finish()?);
        }
        let malformed = |what: &str| Finding::Malformed {
            line: number,
            what: what.to_owned(),
        };
        if line.last() == Some(&b'\n') {
            line.pop();
        } else if read == LINE_MAX_BYTES {
            return Err(malformed("is longer than any of ours").into());
        }
        let text = std::str::from_utf8(&line).map_err(|_| malformed("is not UTF-8"))?;
        verifier.push(text)?;
    }
}

fn hash_of(hex: &str) -> Option<Hash> {
    HEXLOWER.decode(hex.as_bytes()).ok()?.try_into().ok()
}

/// Microseconds, unless there is something finer that the hash would not cover.
fn whole_micros(at: DateTime<Utc>) -> Option<i64> {
    at.timestamp_subsec_nanos()
        .is_multiple_of(1000)
        .then(|| at.timestamp_micros())
}
