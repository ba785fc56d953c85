//! The answer to a start that policies refuse.

use flamingock_domain::plan::policy::Finding;
pub use flamingock_wording::rulings::finding;
use flamingock_wording::rulings::{self, Stop};

use super::problem::Problem;

pub fn stopped(findings: &[Finding], is_start_of_run: bool) -> Problem {
    let Stop {
        code,
        message,
        details,
    } = rulings::stopped(findings, is_start_of_run);
    Problem::new(code, message).with_details(details)
}
