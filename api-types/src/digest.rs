//! The digest of a pipeline: a short name for "exactly this", computed by runner and server alike.
//!
//! `sha256-v1:<64 hex digits>` over the submitted blocks, without what changes from run to run (marks and statuses).
//! Nor with what only matters to work that is granted (probe, cursor): a digest is only ever answered where there is none.
//! The hashed bytes are defined here and not left to a JSON printer: for each value its kind, its length and its bytes.

use sha2::{Digest as _, Sha256};

use crate::execution::{BlockSubmission, BlockType, ChangeSubmission, RecoveryStrategy};

/// Prefix that names the algorithm and its version.
pub const PREFIX: &str = "sha256-v1:";

/// Whether a text can be a digest of this algorithm.
pub fn is_well_formed(text: &str) -> bool {
    let hex = text.strip_prefix(PREFIX);
    hex.is_some_and(|hex| {
        hex.len() == 64 && hex.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
    })
}

/// Digest of a pipeline as submitted.
pub fn of_blocks(blocks: &[BlockSubmission]) -> String {
    let mut hasher = Hasher::new();
    hasher.count(blocks.len());
    for block in blocks {
        hasher.text(Some(match block.kind {
            BlockType::System => "SYSTEM",
            BlockType::Legacy => "LEGACY",
            BlockType::Default => "DEFAULT",
        }));
        hasher.count(block.stages.len());
        for stage in &block.stages {
            hasher.text(Some(&stage.name));
            hasher.count(stage.changes.len());
            for change in &stage.changes {
                hasher.change(change);
            }
        }
    }
    format!("{PREFIX}{}", hasher.finish())
}

/// Collects before it hashes: a pipeline is thousands of short texts, and both sides hash it at every start.
struct Hasher {
    sha256: Sha256,
    pending: Vec<u8>,
}

impl Hasher {
    const AT_ONCE: usize = 16 * 1024;

    fn new() -> Self {
        Self {
            sha256: Sha256::new(),
            pending: Vec::with_capacity(Self::AT_ONCE + 256),
        }
    }

    fn count(&mut self, count: usize) {
        self.pending.push(b'[');
        self.number(count);
    }

    fn text(&mut self, text: Option<&str>) {
        match text {
            Some(text) => {
                self.pending.push(b'"');
                self.number(text.len());
                self.pending.push(b':');
                self.pending.extend_from_slice(text.as_bytes());
            }
            None => self.pending.push(b'-'),
        }
        if self.pending.len() >= Self::AT_ONCE {
            self.sha256.update(&self.pending);
            self.pending.clear();
        }
    }

    /// In decimal digits.
    fn number(&mut self, number: usize) {
        let start = self.pending.len();
        let mut rest = number;
        loop {
            self.pending.push(b"0123456789"[rest % 10]);
            rest /= 10;
            if rest == 0 {
                break;
            }
        }
        self.pending[start..].reverse();
    }

    fn finish(mut self) -> String {
        self.sha256.update(&self.pending);
        data_encoding::HEXLOWER.encode(&self.sha256.finalize())
    }

    fn flag(&mut self, flag: Option<bool>) {
        self.text(flag.map(|flag| if flag { "true" } else { "false" }));
    }

    fn change(&mut self, change: &ChangeSubmission) {
        self.text(Some(&change.id));
        self.flag(change.transactional);
        self.text(change.order.as_deref());
        self.text(change.author.as_deref());
        self.text(change.target_system_id.as_deref());
        self.text(change.recovery_strategy.map(|strategy| match strategy {
            RecoveryStrategy::AlwaysRetry => "ALWAYS_RETRY",
            RecoveryStrategy::ManualIntervention => "MANUAL_INTERVENTION",
        }));
        self.flag(change.has_rollback);
        self.text(change.checksum.as_deref());
        let depends_on = change.depends_on.as_deref().unwrap_or_default();
        self.count(depends_on.len());
        for id in depends_on {
            self.text(Some(id));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::execution::{ChangeStatusReport, MarkStatus, StageSubmission};

    fn pipeline(ids: &[&str]) -> Vec<BlockSubmission> {
        vec![BlockSubmission {
            kind: BlockType::Default,
            stages: vec![StageSubmission {
                name: "schema".into(),
                order: Some(0),
                status: None,
                changes: ids
                    .iter()
                    .map(|id| ChangeSubmission {
                        id: (*id).into(),
                        ..Default::default()
                    })
                    .collect(),
            }],
        }]
    }

    #[test]
    fn the_digest_is_pinned_because_two_versions_must_agree() {
        assert_eq!(
            of_blocks(&pipeline(&["create-invoices", "add-due-date"])),
            "sha256-v1:5924aa7bc7a5a0174403760fc7b1fdb18f754806054981ffff08a22062269080"
        );
    }

    #[test]
    fn a_pipeline_of_any_length_has_the_digest_that_it_always_had() {
        let ids: Vec<String> = (0..2_000).map(|number| format!("change-{number}")).collect();
        let ids: Vec<&str> = ids.iter().map(String::as_str).collect();
        assert_eq!(
            of_blocks(&pipeline(&ids)),
            "sha256-v1:f95244c12b1f17e97f9282f2e8624fd3270a55a94e290b362cc040bd78ceaddd"
        );
    }

    #[test]
    fn order_and_boundaries_of_texts_count() {
        assert_ne!(
            of_blocks(&pipeline(&["a", "b"])),
            of_blocks(&pipeline(&["b", "a"]))
        );
        assert_ne!(
            of_blocks(&pipeline(&["ab", "c"])),
            of_blocks(&pipeline(&["a", "bc"]))
        );
    }

    #[test]
    fn what_changes_from_run_to_run_does_not_count() {
        let mut reported = pipeline(&["a"]);
        reported[0].stages[0].changes[0].ongoing_status = Some(MarkStatus::Applied);
        reported[0].stages[0].changes[0].current_status = Some(ChangeStatusReport::Applied);
        assert_eq!(of_blocks(&reported), of_blocks(&pipeline(&["a"])));
    }

    #[test]
    fn what_only_matters_to_granted_work_does_not_count() {
        let mut able = pipeline(&["a"]);
        let change = &mut able[0].stages[0].changes[0];
        change.has_probe = Some(true);
        change.takes_cursor = Some(true);
        change.cursor_outlives_failure = Some(true);
        assert_eq!(of_blocks(&able), of_blocks(&pipeline(&["a"])));
    }
}
