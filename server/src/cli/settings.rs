//! Settings, the bootstrap file and the environment, checked before anything is started.

use flamingock_server::app::bootstrap::{BootstrapError, Declaration};
use flamingock_server::config::{Config, check_environment};
use flamingock_server::telemetry;

use super::failure::Failure;

/// Checks everything that can be checked without a database, and starts the log.
pub(super) fn check(config: &Config) -> Result<Option<Declaration>, Failure> {
    config.check()?;
    let declaration = read_bootstrap(config)?;
    let used = declaration
        .as_ref()
        .map(Declaration::variables)
        .unwrap_or_default();
    check_environment(std::env::vars_os().map(|(name, _)| name), used)?;
    telemetry::init(&config.log).map_err(|detail| Failure::new("cannot start the log").because(detail))?;
    Ok(declaration)
}

fn read_bootstrap(config: &Config) -> Result<Option<Declaration>, Failure> {
    let Some(path) = &config.bootstrap else {
        return Ok(None);
    };
    let variable = |name: &str| std::env::var(name).ok();
    Declaration::read(path, variable)
        .map(Some)
        .map_err(bootstrap_failure)
}

pub(super) fn bootstrap_failure(error: BootstrapError) -> Failure {
    let help = match &error {
        BootstrapError::Read { .. } => {
            "is the path right (FLAMINGOCK_BOOTSTRAP, --bootstrap), and may this user read it?"
        }
        BootstrapError::Invalid { .. } => "nothing was written; correct the file and start again",
        BootstrapError::Fault(_) => "nothing was written; starting again is safe",
    };
    match error {
        // The chain begins with its source, not with itself.
        BootstrapError::Fault(fault) => Failure::new("the bootstrap file cannot be applied")
            .because(fault)
            .help(help),
        BootstrapError::Read { path, source } => {
            Failure::new(format!("cannot read the bootstrap file {}", path.display()))
                .because(source)
                .help(help)
        }
        error @ BootstrapError::Invalid { .. } => Failure::new(error.to_string()).help(help),
    }
}
