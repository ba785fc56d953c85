//! The commands: one file each.

mod action;
mod apply;
mod audit;
mod audit_export;
mod audit_verify;
mod events;
mod execution;
mod explain;
mod freeze;
mod issue;
mod lock;
mod manual;
mod plan;
mod policy;
mod profile;
mod review;
mod runner;
mod status;
mod tenancy;
mod token;
mod token_owner;
mod wait;
mod whoami;

use clap::Subcommand;

use crate::context::Context;
use crate::failure::Outcome;

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Store a server and a token as a profile
    Login(profile::Login),
    #[command(subcommand)]
    Profile(profile::ProfileCommand),
    /// Who the token belongs to, and what it reaches
    Whoami,
    /// How every service within reach stands
    Status(status::Status),
    /// Why the service is waiting or stopped, since when, on whom, and what would unblock it
    Explain(explain::Explain),
    /// Wait until the service is up to date
    Wait(wait::Wait),
    /// Apply the changes of a directory of YAML and SQL files, without an application
    Apply(apply::Apply),
    /// What a start with this pipeline would come to, without starting anything
    Plan(plan::Plan),
    #[command(subcommand)]
    Audit(audit::Audit),
    #[command(subcommand)]
    Issue(issue::Issue),
    #[command(subcommand)]
    Execution(execution::Execution),
    #[command(subcommand)]
    Runner(runner::Runner),
    #[command(subcommand)]
    Lock(lock::Lock),
    /// What happens, as it happens
    Events(events::Events),
    #[command(subcommand)]
    Policy(policy::Policy),
    #[command(subcommand)]
    Freeze(freeze::Freeze),
    /// Approve the content of a change
    Approve(review::Approve),
    #[command(subcommand)]
    Approval(review::Approval),
    #[command(subcommand)]
    Checksum(review::Checksum),
    /// Organisations of the server
    #[command(subcommand)]
    Organisation(tenancy::Units<tenancy::Create, tenancy::Set>),
    /// Projects of an organisation
    #[command(subcommand)]
    Project(tenancy::Units<tenancy::CreateProject, tenancy::SetProject>),
    /// Environments of a project
    #[command(subcommand, name = "environment", visible_alias = "env")]
    Environment(tenancy::Units<tenancy::CreateEnvironment, tenancy::SetEnvironment>),
    /// Services of a project
    #[command(subcommand)]
    Service(tenancy::Units<tenancy::Create, tenancy::Set>),
    #[command(subcommand)]
    Token(token::Token),
    #[command(subcommand)]
    Action(action::Action),
    /// Print a script that completes command lines
    Completions(manual::Completions),
    /// Write the manual pages into a folder
    Man(manual::Man),
    /// What the exit codes mean
    #[command(override_help = manual::EXIT_CODES)]
    ExitCodes,
    /// Which variables are read
    #[command(override_help = manual::VARIABLES)]
    Variables,
}

pub async fn run(command: Command, context: &Context) -> Outcome {
    match command {
        Command::Login(command) => command.run(context).await,
        Command::Profile(command) => command.run(context),
        Command::Whoami => whoami::run(context).await,
        Command::Status(command) => command.run(context).await,
        Command::Explain(command) => command.run(context).await,
        Command::Wait(command) => command.run(context).await,
        Command::Apply(command) => command.run(context).await,
        Command::Plan(command) => command.run(context).await,
        Command::Audit(command) => command.run(context).await,
        Command::Issue(command) => command.run(context).await,
        Command::Execution(command) => command.run(context).await,
        Command::Runner(command) => command.run(context).await,
        Command::Events(command) => command.run(context).await,
        Command::Lock(command) => command.run(context).await,
        Command::Policy(command) => command.run(context).await,
        Command::Freeze(command) => command.run(context).await,
        Command::Approve(command) => command.run(context).await,
        Command::Approval(command) => command.run(context).await,
        Command::Checksum(command) => command.run(context).await,
        Command::Organisation(command) => tenancy::organisations(command, context).await,
        Command::Project(command) => tenancy::projects(command, context).await,
        Command::Environment(command) => tenancy::environments(command, context).await,
        Command::Service(command) => tenancy::services(command, context).await,
        Command::Token(command) => command.run(context).await,
        Command::Action(command) => command.run(context).await,
        Command::Completions(command) => command.run(context),
        Command::Man(command) => command.run(context),
        Command::ExitCodes => manual::page(manual::EXIT_CODES, context),
        Command::Variables => manual::page(manual::VARIABLES, context),
    }
}
