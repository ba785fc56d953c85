//! A shop that begins to sell gift cards. That takes changes in eight systems, in an order, and each of them once: a table
//! and an index, a policy and a secret, a queue, a stream, keys of a cache, a published schema, files, and a feature flag
//! at the end of it all.
//!
//! * [`application`] is what a user of the SDK writes: the targets, and the stages of one pipeline;
//! * [`changes`] are the changes in code, a module for each stage; those in files are in the folder `changes` beside `src`;
//! * [`Systems`] is where the systems are;
//! * [`before`] makes what was there before the shop knew of Flamingock.
#![cfg(feature = "systems")]

pub mod before;
pub mod changes;
mod systems;

use flamingock::templates::EmbeddedDir;
use flamingock::{
    Builder, FilesTarget, GraphQlTarget, HttpTarget, NatsTarget, PostgresTarget, RabbitMqTarget, RedisTarget,
    Stage, UnleashTarget, VaultTarget, embed_dir,
};

pub use systems::{BoxError, Systems, VARIABLES};

const SCHEMA: EmbeddedDir = embed_dir!("changes/schema");
const SECRETS: EmbeddedDir = embed_dir!("changes/secrets");

/// Virtual host of RabbitMQ.
pub const VHOST: &str = "shop";

/// The shop: its systems, and what has to be so in them before it starts.
pub fn application(builder: Builder, systems: &Systems) -> Result<Builder, BoxError> {
    let (user, password) = systems.rabbitmq_login();
    let broker = RabbitMqTarget::new("broker", &systems.rabbitmq, &user, &password)?.vhost(VHOST);
    let secrets_api =
        HttpTarget::new("secrets-api", &systems.vault)?.header("x-vault-token", &systems.vault_token)?;
    Ok(builder
        .target(PostgresTarget::new("orders-db", systems.database.clone()))
        .target(RedisTarget::new("cache", systems.redis.clone()))
        .target(broker)
        .target(NatsTarget::new("events", systems.nats.clone()))
        .target(VaultTarget::new("secrets", &systems.vault, &systems.vault_token)?)
        .target(secrets_api)
        .target(GraphQlTarget::new("registry", &systems.registry)?)
        .target(FilesTarget::new("config", systems.config.clone()))
        .target(UnleashTarget::new(
            "flags",
            &systems.unleash,
            &systems.unleash_token,
        )?)
        .dependency(changes::schema::Welcome { cents: 500 })
        .stage(Stage::from_embedded("schema", SCHEMA).change(changes::schema::orders_take_gift_cards))
        .stage(Stage::from_embedded("secrets", SECRETS).change(changes::secrets::gift_card_key))
        .stage(
            Stage::new("messaging")
                .change(changes::messaging::gift_card_queue)
                .change(changes::messaging::gift_card_events),
        )
        .stage(
            Stage::new("services")
                .change(changes::services::carts_are_baskets)
                .change(changes::services::gift_cards_in_the_schema)
                .change(changes::services::gift_card_terms),
        )
        .stage(Stage::new("rollout").change(changes::rollout::gift_cards_for_a_quarter)))
}
