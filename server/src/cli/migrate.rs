//! `migrate`

use clap::Args;
use flamingock_server::config::DatabaseUrl;
use flamingock_server::store;

use super::database::{self, Schema};
use super::failure::Failure;
use super::{grants, terminal};

#[derive(Args)]
pub(super) struct Migrate {
    /// `postgres://user:password@host:port/database`, with a user who may create tables.
    #[arg(long, env = "DATABASE_URL", value_name = "URL", hide_env_values = true)]
    database_url: Option<DatabaseUrl>,
    /// Let this role of the database work with the schema, with the least rights that a server needs: it cannot
    /// change or remove audit entries. Let the server connect as this role.
    #[arg(long, value_name = "ROLE")]
    grant_to: Option<String>,
}

impl Migrate {
    pub(super) async fn run(self) -> Result<(), Failure> {
        let url = database::required_url(self.database_url.as_ref())?;
        let mut conn = database::connect(url).await?;
        let expected = store::expected_schema_version();
        let line = match database::migrate(&mut conn).await? {
            Schema::Current => format!("the schema is up to date (version {expected})"),
            Schema::Ahead(actual) => {
                format!(
                    "nothing done: the schema is of a newer server (version {actual}; this one needs {expected})"
                )
            }
            Schema::Behind(None) => format!("made the schema (version {expected})"),
            Schema::Behind(Some(before)) => format!("brought the schema from version {before} to {expected}"),
        };
        terminal::answer(&format!("{line}\n"));
        if let Some(role) = &self.grant_to {
            grants::grant(&mut conn, role).await?;
            terminal::answer(&format!(
                "role {role} may now work with the schema, and nothing beyond\n"
            ));
        }
        Ok(())
    }
}
