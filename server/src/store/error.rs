//! What the database meant. The only place that reads SQLSTATEs and constraint names.

/// Why a store function did not do its work.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The database is away, refuses writes, or has no connection to spare: later may be better.
    #[error("the database is unavailable")]
    Unavailable(#[source] sqlx::Error),
    /// A race was lost (serialization failure, deadlock, lock time-out): the transaction may be repeated.
    #[error("the database reported contention")]
    Contention(#[source] sqlx::Error),
    /// A constraint spoke, by its name.
    #[error("constraint {name} was violated")]
    Constraint {
        name: String,
        #[source]
        source: sqlx::Error,
    },
    /// A row that this version cannot read.
    #[error("{table} holds a row that this version cannot read: {detail}")]
    Corrupt { table: &'static str, detail: String },
    /// Anything else is a bug of ours.
    #[error("a query failed")]
    Query(#[source] sqlx::Error),
}

impl StoreError {
    /// The connection died, as opposed to: the database said no, or cannot be reached at all.
    pub fn is_dead_connection(&self) -> bool {
        let Self::Unavailable(error) = self else {
            return false;
        };
        match error {
            sqlx::Error::Io(error) => error.kind() != std::io::ErrorKind::ConnectionRefused,
            // admin_shutdown, crash_shutdown: the last words that a connection hears.
            sqlx::Error::Database(database) => {
                matches!(database.code().as_deref(), Some("57P01" | "57P02"))
            }
            _ => false,
        }
    }

    pub fn is_constraint(&self, constraint: &str) -> bool {
        matches!(self, Self::Constraint { name, .. } if name == constraint)
    }
}

impl From<sqlx::Error> for StoreError {
    fn from(error: sqlx::Error) -> Self {
        use sqlx::Error as E;
        match &error {
            E::PoolTimedOut | E::PoolClosed | E::Io(_) | E::Tls(_) | E::WorkerCrashed | E::Protocol(_) => {
                Self::Unavailable(error)
            }
            E::Database(database) => {
                let code = database.code().unwrap_or_default().into_owned();
                let constraint = database.constraint().map(str::to_owned);
                match code.as_str() {
                    // serialization_failure, deadlock_detected, lock_not_available
                    "40001" | "40P01" | "55P03" => Self::Contention(error),
                    // read_only_sql_transaction, query_canceled (statement_timeout), too_many_connections and the
                    // classes connection, insufficient resources, operator intervention, system error
                    "25006" => Self::Unavailable(error),
                    code if ["08", "53", "57", "58"]
                        .iter()
                        .any(|class| code.starts_with(class)) =>
                    {
                        Self::Unavailable(error)
                    }
                    code if code.starts_with("23") => match constraint {
                        Some(name) => Self::Constraint { name, source: error },
                        None => Self::Query(error),
                    },
                    _ => Self::Query(error),
                }
            }
            _ => Self::Query(error),
        }
    }
}
