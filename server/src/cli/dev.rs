//! `dev`: everything that is needed to try it, in one command.

mod demo;
mod postgres;

use std::fs;
use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use clap::Args;
use flamingock_server::app::bootstrap;
use flamingock_server::config::{Config, DatabaseUrl};
use flamingock_server::lifecycle::Shutdown;
use sqlx::PgPool;

use super::failure::Failure;
use super::ready_file::ReadyFile;
use super::{database, running, settings, terminal};
use demo::{Demo, Tenant};
use postgres::Postgres;

#[derive(Args)]
pub(super) struct Dev {
    #[command(flatten)]
    config: Config,
    /// Where the demo's tokens and, unless DATABASE_URL is set, the data are kept.
    #[arg(
        long,
        value_name = "DIR",
        default_value = ".flamingock",
        help_heading = "Development"
    )]
    data: PathBuf,
    /// Write URLs, tokens and ids to this file, as JSON, as soon as it serves.
    #[arg(long, value_name = "PATH", help_heading = "Development")]
    ready_file: Option<PathBuf>,
}

impl Dev {
    pub(super) async fn run(self) -> Result<(), Failure> {
        let declaration = settings::check(&self.config)?;
        let ready_file = ReadyFile::new(self.ready_file.clone())?;
        let shutdown = Shutdown::on_signals(self.config.http.shutdown_grace)
            .map_err(|error| Failure::new("cannot listen to signals").because(error))?;
        make_private_dir(&self.data)?;
        let demo = Demo::load_or_create(&self.data)?;

        let started = async {
            if let Some(url) = &self.config.database.url {
                return Ok::<_, Failure>((None, url.clone()));
            }
            let (postgres, url) = Postgres::start(&self.data, &self.config).await?;
            Ok((Some(postgres), url))
        };
        let (postgres, url) = tokio::select! {
            started = started => started?,
            () = shutdown.soft.cancelled() => return Ok(()),
        };
        let prepared = async {
            let mut conn = database::connect_patiently(&url).await?;
            database::migrate(&mut conn).await?;
            let pool = database::pool(&self.config, &url)?;
            for declaration in demo.declaration()?.iter().chain(&declaration) {
                bootstrap::apply(&pool, declaration)
                    .await
                    .map_err(settings::bootstrap_failure)?;
            }
            Ok::<_, Failure>(pool)
        };
        let served = tokio::select! {
            pool = prepared => match pool {
                Ok(pool) => self.serve(pool, &url, &demo, &shutdown, &ready_file).await,
                Err(failure) => Err(failure),
            },
            () = shutdown.soft.cancelled() => Ok(()),
        };
        // After the pool was closed, whatever happened.
        if let Some(postgres) = postgres {
            postgres.stop().await?;
        }
        served
    }

    async fn serve(
        &self,
        pool: PgPool,
        database: &DatabaseUrl,
        demo: &Demo,
        shutdown: &Shutdown,
        ready_file: &ReadyFile,
    ) -> Result<(), Failure> {
        let tenant = Tenant::load(&pool, demo).await?;
        running::serve(&self.config, pool, shutdown, async |url: &str| {
            ready_file.write(&demo.as_json(&tenant, url, database))?;
            let data = match self.config.database.url {
                Some(_) => format!("{database}, which DATABASE_URL names"),
                None => format!("an embedded PostgreSQL, in {}", self.data.display()),
            };
            terminal::answer(&demo.welcome(&tenant, url, &data));
            Ok(())
        })
        .await
    }
}

/// Tokens and data are nobody else's business.
fn make_private_dir(path: &Path) -> Result<(), Failure> {
    let made = match fs::metadata(path) {
        Ok(_) => Ok(()),
        Err(_) => fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(path)
            .and_then(|()| fs::set_permissions(path, fs::Permissions::from_mode(0o700))),
    };
    made.map_err(|error| {
        Failure::new(format!("cannot make the directory {}", path.display()))
            .because(error)
            .help("choose another with --data")
    })
}
