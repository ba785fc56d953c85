//! What a runner submits, and what it reports of its run.

use flamingock_api_types::execution::{
    BlockSubmission, BlockType, ChangeStatusReport, ChangeSubmission, MarkStatus, StageStatus,
    StageSubmission,
};
use serde_json::{Value, json};

/// A pipeline as submitted. Stages are built one after the other; what a run reports is set by name.
#[derive(Clone, Debug)]
pub struct Pipeline {
    pub blocks: Vec<BlockSubmission>,
    lease_ms: i64,
}

impl Pipeline {
    /// One stage in one block.
    pub fn of(stage: &str, changes: &[&str]) -> Self {
        Self::empty().block(BlockType::Default).stage(stage, changes)
    }

    pub fn empty() -> Self {
        Self {
            blocks: Vec::new(),
            lease_ms: 60_000,
        }
    }

    /// Opens a block for the stages that follow.
    #[must_use]
    pub fn block(mut self, kind: BlockType) -> Self {
        self.blocks.push(BlockSubmission {
            kind,
            stages: Vec::new(),
        });
        self
    }

    /// A further stage in the last block.
    #[must_use]
    pub fn stage(mut self, name: &str, changes: &[&str]) -> Self {
        let order = self.blocks.iter().map(|block| block.stages.len()).sum::<usize>();
        let block = self.blocks.last_mut().expect("a block is open");
        block.stages.push(StageSubmission {
            name: name.to_owned(),
            order: i64::try_from(order).ok(),
            status: None,
            changes: changes
                .iter()
                .map(|id| ChangeSubmission {
                    id: (*id).to_owned(),
                    ongoing_status: Some(MarkStatus::None),
                    transactional: Some(true),
                    ..ChangeSubmission::default()
                })
                .collect(),
        });
        self
    }

    #[must_use]
    pub fn lease_ms(mut self, lease_ms: i64) -> Self {
        self.lease_ms = lease_ms;
        self
    }

    /// What the run reports of a stage.
    #[must_use]
    pub fn stage_is(mut self, name: &str, status: StageStatus) -> Self {
        let mut stages = self.blocks.iter_mut().flat_map(|block| &mut block.stages);
        stages
            .find(|stage| stage.name == name)
            .expect("a stage of the pipeline")
            .status = Some(status);
        self
    }

    /// What the run reports of a change.
    #[must_use]
    pub fn change_is(mut self, id: &str, status: ChangeStatusReport) -> Self {
        self.change(id).current_status = Some(status);
        self
    }

    /// The mark found in the target system.
    #[must_use]
    pub fn mark(mut self, id: &str, mark: MarkStatus) -> Self {
        self.change(id).ongoing_status = Some(mark);
        self
    }

    /// As our SDK sends it: the name of its content.
    #[must_use]
    pub fn checksum(mut self, id: &str, checksum: &str) -> Self {
        self.change(id).checksum = Some(checksum.to_owned());
        self
    }

    /// As our SDK sends it: it can be asked what became of it.
    #[must_use]
    pub fn probe(mut self, id: &str) -> Self {
        self.change(id).has_probe = Some(true);
        self
    }

    /// As our SDK sends it: who wrote it.
    #[must_use]
    pub fn author(mut self, id: &str, author: &str) -> Self {
        self.change(id).author = Some(author.to_owned());
        self
    }

    /// As our SDK sends it: whether there is a rollback, and whether the cursor outlives it.
    #[must_use]
    pub fn rollback(mut self, id: &str, has_rollback: bool, cursor_outlives_failure: bool) -> Self {
        let change = self.change(id);
        change.has_rollback = Some(has_rollback);
        change.cursor_outlives_failure = cursor_outlives_failure.then_some(true);
        self
    }

    /// As our SDK sends it: it goes on from a cursor.
    #[must_use]
    pub fn cursor(mut self, id: &str) -> Self {
        self.change(id).takes_cursor = Some(true);
        self
    }

    fn change(&mut self, id: &str) -> &mut ChangeSubmission {
        let stages = self.blocks.iter_mut().flat_map(|block| &mut block.stages);
        let mut changes = stages.flat_map(|stage| &mut stage.changes);
        changes
            .find(|change| change.id == id)
            .expect("a change of the pipeline")
    }

    /// As the present Java client sends it.
    pub fn body(&self) -> Value {
        json!({"clientSubmission": {"blocks": self.blocks}, "lockAcquiredForMillis": self.lease_ms})
    }

    /// As generation 1.3 sends it: stages without blocks, and no status of changes.
    pub fn body_of_generation_1(&self) -> Value {
        let mut body = self.body_of_generation_2();
        let stages: Vec<Value> = self
            .blocks
            .iter()
            .flat_map(|block| &block.stages)
            .map(|stage| json!(stage))
            .collect();
        body["clientSubmission"] = json!({"stages": stages});
        body
    }

    /// As generation 1.4 sends it: no status of changes.
    pub fn body_of_generation_2(&self) -> Value {
        let mut older = self.clone();
        for change in older
            .blocks
            .iter_mut()
            .flat_map(|block| &mut block.stages)
            .flat_map(|stage| &mut stage.changes)
        {
            change.current_status = None;
        }
        older.body()
    }
}
