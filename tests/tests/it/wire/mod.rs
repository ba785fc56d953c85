//! The rules of the wire contract (W) that concern the server. A test's name begins with the numbers of the rules that
//! it holds: `w_1_12` is rule 12 of section 1, `w_4_item_16` is item 16 of section 4, `w_section_1_3` is the section of
//! that number. `docs/wire-compatibility.md` has the way from a rule to its tests, and [`table`] sees to it.

mod additions;
mod answers;
mod audit;
mod bodies;
mod client;
mod comparison;
mod endpoints;
mod examples;
mod examples_of_marks_and_blocks;
pub mod identity;
mod lock_endpoints;
mod locks;
mod marks;
mod mongock;
mod planning;
mod resolutions;
mod runs;
mod states;
mod table;
mod texts;
mod transport;

use flamingock_api_types::execution::{ChangeAction, PlanResponse};

fn execution(plan: &PlanResponse) -> i64 {
    plan.execution_id.expect("a grant has an execution")
}

/// What is offered, in order.
fn actions(plan: &PlanResponse) -> Vec<(String, ChangeAction)> {
    plan.stages
        .iter()
        .flatten()
        .flat_map(|stage| &stage.changes)
        .map(|change| (change.id.clone(), change.action))
        .collect()
}

/// The action offered for one change, where it is offered.
fn action_of(plan: &PlanResponse, change: &str) -> Option<ChangeAction> {
    let found = actions(plan).into_iter().find(|(id, _)| id == change);
    found.map(|(_, action)| action)
}
