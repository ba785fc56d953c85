//! The planner: decides what a runner may do next. Pure and complete: S tables P1–P5, W §4.2–4.6.
//!
//! `survey` merges what repeats in the pipeline, `rules` holds the tables, `decide` walks from the one through the
//! other to a [`Plan`]. `policy` refuses what the plan would allow, `preview` sums both up for a dry run. `check` knows nothing of all that: it holds a finished plan against what must be true of any.

mod check;
mod decide;
mod inconsistency;
mod input;
mod outcome;
pub mod policy;
mod preview;
mod rules;
mod survey;

pub use check::check;
pub use decide::plan;
pub use inconsistency::Inconsistency;
pub use input::{PlanInput, Settings};
pub use outcome::{
    Action, ChangeFinding, ChangeReason, ChangeStatus, Derived, OfferedStage, Plan, PlanAction, PlanReason,
    StageFinding, Verdict,
};
pub use preview::{Preview, preview};
pub use rules::base_action;
