//! What was in the systems before the shop knew of Flamingock, and what somebody has done by hand.

use flamingock::{
    ChangeKey, GraphQl, GraphQlTarget, RabbitMqTarget, RedisTarget, UnleashTarget, VaultTarget,
};
use redis::AsyncTypedCommands as _;
use reqwest::{Client, Method, Url};
use serde_json::{Value, json};

use crate::changes::{messaging, rollout, secrets, services};
use crate::{BoxError, Systems, VHOST};

/// Puts all systems there. What an earlier run of this example has left is removed.
pub async fn prepare(systems: &Systems) -> Result<(), BoxError> {
    sqlx::raw_sql(
        "DROP TABLE IF EXISTS orders, gift_cards, flamingock_marks;
         CREATE TABLE orders (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, customer text NOT NULL, cents bigint NOT NULL);
         INSERT INTO orders (customer, cents) VALUES ('ada', 1250), ('grace', 990), ('ada', 300);",
    )
    .execute(&systems.database)
    .await?;

    let redis = RedisTarget::new("cache", systems.redis.clone()).client();
    let mut connection = redis.connection().await?;
    for left in redis.keys("shop:").await? {
        connection.del(left).await?;
    }
    connection.set("shop:cart:ada", "tea").await?;
    connection.set("shop:cart:grace", "coffee").await?;

    // Whatever hangs on it goes with the virtual host.
    broker(systems, Method::DELETE, &["vhosts", VHOST], &Value::Null).await?;
    broker(systems, Method::PUT, &["vhosts", VHOST], &json!({})).await?;

    let _ = systems.nats.delete_stream(messaging::STREAM).await; // mostly not there

    let vault = VaultTarget::new("secrets", &systems.vault, &systems.vault_token)?.client();
    vault
        .delete_path(&format!("secret/metadata/{}", secrets::SECRET))
        .await?;
    vault.delete_policy("shop-gift-cards").await?;

    let target = GraphQlTarget::new("registry", &systems.registry)?;
    let registry = GraphQl::new(&target, ChangeKey::new("before"));
    let revision: Value = registry.execute("{ revision }", json!({})).await?;
    let publish =
        "mutation ($sdl: String!, $expected: Int!) { publish(sdl: $sdl, expected: $expected, force: true) }";
    let variables = json!({"sdl": services::SDL_BEFORE, "expected": revision["revision"]});
    registry.execute::<Value>(publish, variables).await?;

    tokio::fs::create_dir_all(&systems.config).await?;
    tokio::fs::write(systems.config.join("shop.conf"), "listen 443\n").await?;
    match tokio::fs::remove_file(systems.config.join("gift-cards.conf")).await {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error.into()),
        _ => {}
    }

    let unleash = UnleashTarget::new("flags", &systems.unleash, &systems.unleash_token)?.client();
    unleash.remove_flag(rollout::FLAG).await?;
    Ok(())
}

/// Somebody has tried gift cards by hand: there is a queue of that name and of another type, with a message that nobody
/// may lose.
pub async fn somebody_was_here(systems: &Systems) -> Result<(), BoxError> {
    let (user, password) = systems.rabbitmq_login();
    let rabbitmq = RabbitMqTarget::new("broker", &systems.rabbitmq, &user, &password)?.vhost(VHOST);
    rabbitmq
        .client()
        .declare_queue(messaging::QUEUE, json!({}))
        .await?;
    let path = ["exchanges", VHOST, "amq.default", "publish"];
    let message = json!({
        "properties": {"delivery_mode": 2}, "routing_key": messaging::QUEUE,
        "payload": "a card of 20 EUR for ada", "payload_encoding": "string"
    });
    broker(systems, Method::POST, &path, &message).await
}

/// A person has dealt with that message, and takes the queue away.
pub async fn somebody_cleans_up(systems: &Systems) -> Result<(), BoxError> {
    let path = ["queues", VHOST, messaging::QUEUE];
    broker(systems, Method::DELETE, &path, &Value::Null).await
}

/// One call of the broker's own API. What is not there needs no removal.
async fn broker(systems: &Systems, method: Method, path: &[&str], body: &Value) -> Result<(), BoxError> {
    let mut url: Url = systems.rabbitmq.parse()?;
    url.path_segments_mut()
        .map_err(|()| "RABBITMQ_URL has no path")?
        .pop_if_empty()
        .push("api")
        .extend(path);
    let (user, password) = systems.rabbitmq_login();
    let absent_is_fine = method == Method::DELETE;
    let answer = Client::new()
        .request(method, url)
        .basic_auth(user, Some(password))
        .json(body)
        .send()
        .await?;
    if !(absent_is_fine && answer.status() == reqwest::StatusCode::NOT_FOUND) {
        answer.error_for_status()?;
    }
    Ok(())
}
