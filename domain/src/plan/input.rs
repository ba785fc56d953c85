//! Everything that a plan may depend on.

use std::collections::HashMap;

use crate::audit::States;
use crate::ids::{ChangeId, ExecutionId, Seq};
use crate::lock::Claim;
use crate::pipeline::Pipeline;

/// Settings of the environment that change a decision.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Settings {
    /// M3: an absent mark proves that a `STARTED` transactional change did not commit (W 6.4). Off by default.
    pub trust_absent_marks: bool,
}

#[derive(Clone, Copy, Debug)]
pub struct PlanInput<'a> {
    pub pipeline: &'a Pipeline,
    /// Latest state of each change of the service, whether or not it is in the pipeline.
    pub states: &'a States,
    /// The lock, the asking runner, its proof, and the time.
    pub claim: Claim<'a>,
    /// Executions that were granted to this runner since it last asked without any report: the changes that these left
    /// in a failed state are not offered again in this run (W item 9, W 6.19). Empty at the start of a run.
    pub executions_of_run: &'a [ExecutionId],
    /// Executions of the asking runner, of this run or an earlier one, that the latest entry of a change in doubt names: such
    /// a change is not asked, for what this process began may still be under way in it.
    pub own_attempts: &'a [ExecutionId],
    /// For changes whose `APPLIED` mark was reported before: the head of the stream at the first report. A person's
    /// decision above it was made in the knowledge of the mark (M7). To be noted with every plan but `AWAIT`, and
    /// forgotten with every plan that says `synchronized_marks`: a mark found after that is a new one.
    pub marks_seen: &'a HashMap<ChangeId, Seq>,
    pub settings: Settings,
}
