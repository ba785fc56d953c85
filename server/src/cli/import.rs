//! `import`: history that others wrote, into the audit of one service.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueHint};
use flamingock_server::app;
use flamingock_server::app::imports::{Destination, Import, ImportError};
use flamingock_server::config::DatabaseUrl;
use flamingock_server::import::lines::{Dialect, Lines};
use flamingock_server::import::table::Table;
use flamingock_server::import::{Origin, Piece, Placed, Source, SourceError, Summary};
use sqlx::PgPool;

use super::failure::Failure;
use super::{database, terminal};

/// A person waits for this, and a runner may hold the stream for the moment of a plan.
const STATEMENT_TIMEOUT: Duration = Duration::from_secs(30);

#[derive(Args)]
pub(super) struct ImportHistory {
    /// `postgres://user:password@host:port/database` of this server.
    #[arg(long, env = "DATABASE_URL", value_name = "URL", hide_env_values = true)]
    database_url: Option<DatabaseUrl>,
    /// Organisation of the project.
    #[arg(long, value_name = "NAME")]
    organisation: String,
    /// Project of the environment and the service.
    #[arg(long, value_name = "NAME")]
    project: String,
    /// Environment that the history belongs to. It must exist.
    #[arg(long, value_name = "NAME")]
    environment: String,
    /// Service that the history belongs to. It is made if it does not exist.
    #[arg(long, value_name = "NAME")]
    service: String,
    /// Your name: every entry says who imported it.
    #[arg(long, value_name = "WHO")]
    by: String,
    #[command(flatten)]
    from: From,
    /// The database of --community-table: `postgres://user:password@host:port/database`.
    #[arg(long, env = "SOURCE_DATABASE_URL", value_name = "URL", hide_env_values = true)]
    source_database_url: Option<DatabaseUrl>,
    /// Time zone of the applications that wrote --community-table: its times are their wall clocks.
    #[arg(long, value_name = "ZONE", default_value = "UTC")]
    source_time_zone: String,
    /// Say what would be done, and write nothing.
    #[arg(long)]
    dry_run: bool,
    /// Import although some records cannot be taken. What they say is lost: their changes may run again.
    #[arg(long)]
    skip_unusable: bool,
}

#[derive(Args)]
#[group(required = true, multiple = false)]
struct From {
    /// Mongock's change log, one JSON document a line: mongoexport --collection mongockChangeLog --out FILE
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    mongock: Option<PathBuf>,
    /// Flamingock Community's audit in MongoDB, one JSON document a line: mongoexport --collection flamingockAuditLog
    /// --out FILE
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    community: Option<PathBuf>,
    /// The table of Flamingock Community's SQL audit store in a PostgreSQL, as written in SQL; flamingockAuditLog unless
    /// it was configured.
    #[arg(long, value_name = "TABLE")]
    community_table: Option<String>,
}

/// What was asked for makes no sense.
#[derive(Debug, thiserror::Error)]
enum Usage {
    #[error("--{option}: a running database cannot be read here, only a file")]
    LiveDatabase { option: &'static str },
    #[error("--community-table needs the database that it is in")]
    NoSourceDatabase,
    #[error("{url} is not a PostgreSQL")]
    NotPostgres { url: DatabaseUrl },
    #[error("--by must not be empty")]
    Nobody,
}

impl ImportHistory {
    pub(super) async fn run(self) -> Result<(), Failure> {
        if self.by.trim().is_empty() || self.by.chars().any(char::is_control) {
            return Err(Failure::usage(Usage::Nobody).help("your name goes with every entry"));
        }
        let url = database::required_url(self.database_url.as_ref())?;
        let (mut source, origin) = self.open().await?;
        // Before a transaction is open: a source may take long to begin.
        let first = source.next().await.map_err(unreadable)?;
        if first.is_empty() {
            return Err(Failure::new(format!(
                "there is nothing to import: no record in {}",
                origin.source
            ))
            .help("is it the right file or table?"));
        }
        let mut conn = database::connect(url).await?;
        database::require_current(&mut conn).await?;
        drop(conn);
        let pool = app::connect(url.expose(), 2, Duration::from_secs(10), STATEMENT_TIMEOUT)
            .map_err(|error| Failure::new(format!("cannot use the database {url}")).because(error))?;
        let done = self.import(&pool, source, &origin, first).await;
        pool.close().await;
        done
    }

    async fn open(&self) -> Result<(Source, Origin), Failure> {
        let From {
            mongock,
            community,
            community_table,
        } = &self.from;
        let file = mongock
            .as_ref()
            .map(|path| ("mongock", "mongockChangeLog", path, Dialect::Mongock))
            .or(community
                .as_ref()
                .map(|path| ("community", "flamingockAuditLog", path, Dialect::Community)));
        if let Some((option, collection, path, dialect)) = file {
            if path.to_string_lossy().contains("://") {
                return Err(Failure::usage(Usage::LiveDatabase { option }).help(format!(
                    "export it first: mongoexport --uri URL --collection {collection} --out changes.jsonl"
                )));
            }
            let lines = Lines::open(path, dialect, &self.by).await.map_err(unreadable)?;
            let origin = lines.origin().clone();
            return Ok((Source::Lines(lines), origin));
        }
        let table = community_table.as_deref().unwrap_or_default();
        let url = self.source_database_url.as_ref().ok_or_else(|| {
            Failure::usage(Usage::NoSourceDatabase).help("set SOURCE_DATABASE_URL or --source-database-url")
        })?;
        if !["postgres://", "postgresql://"]
            .iter()
            .any(|scheme| url.expose().starts_with(scheme))
        {
            return Err(Failure::usage(Usage::NotPostgres { url: url.clone() }).help(
                "copy the audit's table from the other database into any PostgreSQL, with the same columns, and name that",
            ));
        }
        let table = Table::open(url, table, &self.source_time_zone, &self.by)
            .await
            .map_err(unreadable)?;
        let origin = table.origin().clone();
        Ok((Source::Table(table), origin))
    }

    async fn import(
        &self,
        pool: &PgPool,
        mut source: Source,
        origin: &Origin,
        first: Vec<Placed>,
    ) -> Result<(), Failure> {
        let into = Destination {
            organisation: self.organisation.clone(),
            project: self.project.clone(),
            environment: self.environment.clone(),
            service: self.service.clone(),
        };
        let mut import = Import::begin(pool, &into).await.map_err(refused)?;
        let mut summary = Summary::new(origin.unit);
        let mut batch = first;
        while !batch.is_empty() {
            take(&mut import, batch, &mut summary).await?;
            batch = source.next().await.map_err(unreadable)?;
        }
        let is_new = if import.service_is_new() { " (new)" } else { "" };
        let objected = summary.objections() > 0 && !self.skip_unusable;
        let writes = summary.written() > 0 && !self.dry_run && !objected;
        if writes {
            import
                .commit(&origin.by, &origin.source, summary.written())
                .await
                .map_err(|error| {
                    Failure::new("the import could not be completed")
                        .because(error)
                        .help("repeat it: what was recorded already is not recorded again")
                })?;
        } else {
            import.roll_back().await.map_err(not_taken)?;
        }
        let what = match (self.dry_run, writes) {
            (true, _) => "dry run, nothing was written",
            (false, true) => "imported",
            (false, false) => "nothing was written",
        };
        terminal::answer(&format!(
            "{what}: {} into {}/{}, environment {}, service {}{is_new}\n{summary}",
            origin.source, into.organisation, into.project, into.environment, into.service
        ));
        if objected {
            return Err(Failure::new(format!(
                "{} of the source cannot be taken, so nothing was written",
                if summary.objections() == 1 { "one thing".to_owned() } else { format!("{} things", summary.objections()) }
            ))
            .help(
                "correct them in the export; or, if none of them tells of a change that ran, repeat with --skip-unusable",
            ));
        }
        Ok(())
    }
}

async fn take(import: &mut Import, batch: Vec<Placed>, summary: &mut Summary) -> Result<(), Failure> {
    let mut facts = Vec::with_capacity(batch.len());
    for Placed { place, piece } in batch {
        match piece {
            Piece::Fact(fact) => facts.push(*fact),
            Piece::Ignored { change } => summary.ignored(&change),
            Piece::Unusable(why) => summary.unusable(place, why),
        }
    }
    let changes: Vec<String> = facts.iter().map(|fact| fact.change.to_string()).collect();
    let imported = import.take(facts).await.map_err(not_taken)?;
    for (change, imported) in changes.iter().zip(imported) {
        summary.imported(change, imported);
    }
    Ok(())
}

fn not_taken(fault: app::Fault) -> Failure {
    Failure::new("the import failed, and nothing was written")
        .because(fault)
        .help("repeating it is safe")
}

fn unreadable(error: SourceError) -> Failure {
    let help = error.help();
    let what = format!("nothing was imported: {error}");
    let failure = match error {
        SourceError::Read { source, .. } => Failure::new(what).because(source),
        SourceError::Connect { source, .. }
        | SourceError::TimeZone { source, .. }
        | SourceError::Query { source, .. } => Failure::new(what).because(source),
        _ => Failure::new(what),
    };
    failure.help(help)
}

fn refused(error: ImportError) -> Failure {
    let help = match &error {
        ImportError::ServiceName { .. } => {
            "services have names of 1 to 200 characters, without white space around them"
        }
        ImportError::ProjectNotFound { .. } => {
            "correct the names, or declare the project in the bootstrap file and start the server once"
        }
        ImportError::EnvironmentNotFound { .. } => {
            "correct the name, or declare the environment in the bootstrap file and start the server once"
        }
        ImportError::Held { .. } => {
            "it may be running the changes whose history this is: stop the application, or wait until its lease ends"
        }
        ImportError::Fault(_) => "nothing was written; repeating it is safe",
    };
    match error {
        ImportError::Fault(fault) => Failure::new("the import failed").because(fault).help(help),
        error => Failure::new(format!("nothing was imported: {error}")).help(help),
    }
}
