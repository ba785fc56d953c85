//! What an environment demands of a start.

use clap::{ArgGroup, Args, Subcommand, ValueEnum};
use flamingock::wire::policy::{PolicyMode, PolicyRequest, PolicyView};

use crate::args;
use crate::context::Context;
use crate::failure::{Exit, Failure, Outcome};
use crate::output::{BAD, DIM, Output, WARN};
use crate::reach::Named;
use crate::sheet::Sheet;
use crate::{text, time};

/// What an environment demands of a start
#[derive(Debug, Subcommand)]
pub enum Policy {
    /// The environment's policy
    Get,
    /// Change it; what is not named stays
    Set(Set),
}

#[derive(Debug, Args)]
#[command(group = ArgGroup::new("what").required(true).multiple(true))]
pub struct Set {
    /// An applied change comes with another content
    #[arg(
        long,
        value_enum,
        group = "what",
        value_name = "allow|warn|refuse",
        hide_possible_values = true
    )]
    checksum_mismatch: Option<Mode>,
    /// A pending change stands before an applied one of its stage
    #[arg(
        long,
        value_enum,
        group = "what",
        value_name = "allow|warn|refuse",
        hide_possible_values = true
    )]
    out_of_order: Option<Mode>,
    /// Pending changes wait until an operator who is not their author has approved them
    #[arg(long, group = "what", value_name = "true|false", action = clap::ArgAction::Set, hide_possible_values = true)]
    approval_required: Option<bool>,
    /// An absent marker proves that a transactional change did not commit
    #[arg(long, group = "what", value_name = "true|false", action = clap::ArgAction::Set, hide_possible_values = true)]
    trust_absent_marks: Option<bool>,
    /// Why; kept for good
    #[arg(long, value_parser = args::reason)]
    reason: String,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Mode {
    #[value(alias = "ignore")]
    Allow,
    Warn,
    Refuse,
}

impl From<Mode> for PolicyMode {
    fn from(mode: Mode) -> Self {
        match mode {
            Mode::Allow => Self::Allow,
            Mode::Warn => Self::Warn,
            Mode::Refuse => Self::Refuse,
        }
    }
}

impl Policy {
    pub async fn run(self, context: &Context) -> Outcome {
        let admin = context.admin()?;
        let environment = context.environment(&admin).await?;
        let policies = admin.policies(environment.id);
        let before = policies.view().await?;
        let policy = match self {
            Self::Get => before,
            Self::Set(set) => {
                let request = PolicyRequest {
                    checksum_mismatch: set.checksum_mismatch.map_or(before.checksum_mismatch, Into::into),
                    out_of_order: set.out_of_order.map_or(before.out_of_order, Into::into),
                    approval_required: set.approval_required.unwrap_or(before.approval_required),
                    trust_absent_marks: set.trust_absent_marks.unwrap_or(before.trust_absent_marks),
                    // What was not named was read a moment ago: somebody may have changed it since.
                    expected_revision: Some(before.revision),
                    reason: set.reason,
                };
                policies.set(&request).await?
            }
        };
        print(context.out, &environment, &policy)?;
        Ok(Exit::Ok)
    }
}

fn print(out: Output, environment: &Named, policy: &PolicyView) -> Result<(), Failure> {
    if out.is_json() {
        return out.json(policy);
    }
    let mut sheet = Sheet::default();
    sheet.title(
        &format!("Policy of {}", environment.name),
        crate::output::BOLD,
        &format!("(revision {})", policy.revision),
    );
    let mut mode = |name: &str, mode: PolicyMode| {
        let (word, style) = match mode {
            PolicyMode::Allow => ("allow", DIM),
            PolicyMode::Warn => ("warn", WARN),
            PolicyMode::Refuse => ("refuse", BAD),
        };
        sheet.styled_fact(name, word, style);
    };
    mode("checksum-mismatch", policy.checksum_mismatch);
    mode("out-of-order", policy.out_of_order);
    sheet.fact("approval-required", policy.approval_required.to_string());
    sheet.fact("trust-absent-marks", policy.trust_absent_marks.to_string());
    if let Some(at) = policy.changed_at {
        let by = policy
            .changed_by
            .as_deref()
            .map_or_else(|| "unknown".to_owned(), text::who);
        sheet.fact("changed", format!("{} by {by}", time::shown(at, Context::now())));
    }
    out.print(&sheet.into_text())
}
