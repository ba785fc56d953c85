//! `serve`

use std::path::PathBuf;

use clap::Args;
use flamingock_server::app::bootstrap;
use flamingock_server::config::Config;
use flamingock_server::lifecycle::Shutdown;
use serde_json::json;

use super::failure::Failure;
use super::ready_file::ReadyFile;
use super::{database, running, settings};

#[derive(Args)]
pub(super) struct Serve {
    #[command(flatten)]
    config: Config,
    /// Bring the database's schema up to date first.
    #[arg(long)]
    migrate: bool,
    /// Write the server's URL to this file, as JSON, as soon as it serves.
    #[arg(long, value_name = "PATH", help_heading = "Start")]
    ready_file: Option<PathBuf>,
}

impl Serve {
    pub(super) async fn run(self) -> Result<(), Failure> {
        let declaration = settings::check(&self.config)?;
        let url = database::required_url(self.config.database.url.as_ref())?;
        let ready_file = ReadyFile::new(self.ready_file)?;
        let shutdown = Shutdown::on_signals(self.config.http.shutdown_grace)
            .map_err(|error| Failure::new("cannot listen to signals").because(error))?;

        let prepared = async {
            let mut conn = database::connect_patiently(url).await?;
            if self.migrate {
                database::migrate(&mut conn).await?;
            } else {
                database::require_current(&mut conn).await?;
            }
            let pool = database::pool(&self.config, url)?;
            if let Some(declaration) = &declaration {
                bootstrap::apply(&pool, declaration)
                    .await
                    .map_err(settings::bootstrap_failure)?;
            }
            Ok::<_, Failure>(pool)
        };
        let pool = tokio::select! {
            pool = prepared => pool?,
            () = shutdown.soft.cancelled() => return Ok(()),
        };
        running::serve(&self.config, pool, &shutdown, async |url: &str| {
            ready_file.write(&json!({ "url": url }))
        })
        .await
    }
}
