//! The planner: decides what a runner may do next. Pure and complete: S tables P1–P5, W §4.2–4.6.

mod input;
mod outcome;

pub use input::{PlanInput, Settings};
pub use outcome::{
    Action, ChangeFinding, ChangeReason, ChangeStatus, Derived, OfferedStage, Plan, PlanAction, PlanReason, StageFinding,
    Verdict,
};
