//! `generate-token`

use clap::Args;
use flamingock_server::app::auth::ApiToken;

use super::failure::Failure;
use super::terminal;

#[derive(Args)]
pub(super) struct GenerateToken {}

impl GenerateToken {
    #[expect(clippy::unnecessary_wraps, reason = "commands share one signature")]
    pub(super) fn run(self) -> Result<(), Failure> {
        let Self {} = self;
        terminal::answer(&format!("{}\n", ApiToken::generate().expose()));
        Ok(())
    }
}
