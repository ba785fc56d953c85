//! Where the eight systems are.

use std::env;
use std::path::PathBuf;

use async_nats::jetstream;
use reqwest::Url;
use sqlx::PgPool;

/// Whatever went wrong, with everything below it.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// The systems that the shop is made of.
#[derive(Clone)]
pub struct Systems {
    /// The shop's own database.
    pub database: PgPool,
    pub redis: redis::Client,
    /// Address of the management API, without credentials.
    pub rabbitmq: String,
    /// User and password, as they stand in an address.
    login: (String, String),
    pub nats: jetstream::Context,
    pub vault: String,
    pub vault_token: String,
    /// Where schemas are published.
    pub registry: String,
    pub unleash: String,
    pub unleash_token: String,
    /// Folder of the configuration files.
    pub config: PathBuf,
}

/// What [`Systems::from_env`] reads, besides the shop's database and folder.
pub const VARIABLES: [&str; 8] = [
    "REDIS_URL",
    "RABBITMQ_URL",
    "NATS_URL",
    "VAULT_ADDR",
    "VAULT_TOKEN",
    "GRAPHQL_URL",
    "UNLEASH_URL",
    "UNLEASH_TOKEN",
];

impl Systems {
    /// By the variables that `./run-targets --keep` prints, and `SHOP_DATABASE_URL` and `SHOP_CONFIG`.
    pub async fn from_env() -> Result<Self, BoxError> {
        let database = PgPool::connect(&variable("SHOP_DATABASE_URL")?).await?;
        Self::new(database, variable("SHOP_CONFIG")?.into()).await
    }

    /// With this database and this folder; the others by their variables.
    pub async fn new(database: PgPool, config: PathBuf) -> Result<Self, BoxError> {
        let mut rabbitmq: Url = variable("RABBITMQ_URL")?.parse()?;
        let login = (
            rabbitmq.username().to_owned(),
            rabbitmq.password().unwrap_or_default().to_owned(),
        );
        if rabbitmq
            .set_username("")
            .and_then(|()| rabbitmq.set_password(None))
            .is_err()
        {
            return Err("RABBITMQ_URL must look like http://guest:guest@127.0.0.1:15672".into());
        }
        Ok(Self {
            database,
            redis: redis::Client::open(variable("REDIS_URL")?)?,
            rabbitmq: rabbitmq.into(),
            login,
            nats: jetstream::new(async_nats::connect(variable("NATS_URL")?).await?),
            vault: variable("VAULT_ADDR")?,
            vault_token: variable("VAULT_TOKEN")?,
            registry: format!("{}/admin", variable("GRAPHQL_URL")?),
            unleash: variable("UNLEASH_URL")?,
            unleash_token: variable("UNLEASH_TOKEN")?,
            config,
        })
    }

    pub fn rabbitmq_login(&self) -> (String, String) {
        self.login.clone()
    }
}

fn variable(name: &str) -> Result<String, BoxError> {
    env::var(name)
        .ok()
        .filter(|value| !value.is_empty())
        .ok_or_else(|| format!("{name} is not set: ./run-shop sets it").into())
}
