//! The topology of RabbitMQ, by its management API: exchanges, queues, bindings, policies.

use std::borrow::Cow;

use reqwest::Method;
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::{Value, json};

use super::{
    Target,
    http::{Api, HttpError},
};

/// A virtual host of a RabbitMQ. Changes take `TargetClient<RabbitMq>`.
#[derive(Debug)]
pub struct RabbitMqTarget {
    id: Cow<'static, str>,
    client: RabbitMq,
}

/// The topology of one virtual host.
///
/// Declaring is safe to repeat; what exists with other properties is refused. Removing what is not there is no error.
///
/// ```
/// use flamingock::{HttpError, RabbitMq, TargetClient, change};
/// use serde_json::json;
///
/// #[change(id = "orders-queue", order = "0001", target = "broker", recovery = "always_retry", rollback = remove_queue)]
/// async fn orders_queue(broker: TargetClient<RabbitMq>) -> Result<(), HttpError> {
///     broker.declare_exchange("orders", "topic").await?;
///     broker.declare_queue("billing", json!({"x-queue-type": "quorum"})).await?;
///     broker.bind("orders", "billing", "order.*").await
/// }
///
/// async fn remove_queue(broker: TargetClient<RabbitMq>) -> Result<(), HttpError> {
///     broker.unbind("orders", "billing", "order.*").await?;
///     broker.delete_empty_queue("billing").await?;
///     broker.delete_unused_exchange("orders").await
/// }
/// ```
#[derive(Clone, Debug)]
pub struct RabbitMq {
    api: Api,
    vhost: String,
}

/// A policy: what holds for the queues or exchanges whose names match.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RabbitMqPolicy {
    /// A regular expression for names.
    pub pattern: String,
    /// What holds, such as `{"message-ttl": 60000}`.
    pub definition: Value,
    /// Of several that match, that of the highest holds.
    #[serde(default)]
    pub priority: i64,
    /// `queues`, `exchanges` or `all`.
    #[serde(rename = "apply-to")]
    pub apply_to: String,
}

#[derive(Deserialize)]
struct Binding {
    routing_key: String,
    properties_key: String,
}

impl RabbitMqTarget {
    /// The virtual host `/`, by the address of the management API, such as `http://127.0.0.1:15672`.
    pub fn new(
        id: impl Into<Cow<'static, str>>,
        address: &str,
        user: &str,
        password: &str,
    ) -> Result<Self, HttpError> {
        let api = Api::new(address)?.basic(user, password)?;
        Ok(Self {
            id: id.into(),
            client: RabbitMq {
                api,
                vhost: "/".to_owned(),
            },
        })
    }

    /// Another virtual host.
    #[must_use]
    pub fn vhost(mut self, name: impl Into<String>) -> Self {
        self.client.vhost = name.into();
        self
    }

    /// The client, for calling a change function in a test.
    pub fn client(&self) -> RabbitMq {
        self.client.clone()
    }
}

impl From<RabbitMqTarget> for Target {
    fn from(target: RabbitMqTarget) -> Self {
        Self::non_transactional(target.id, target.client)
    }
}

impl RabbitMq {
    /// A durable exchange of this type.
    pub async fn declare_exchange(&self, name: &str, kind: &str) -> Result<(), HttpError> {
        let body = json!({"type": kind, "durable": true, "auto_delete": false, "arguments": {}});
        self.put(&["exchanges", &self.vhost, name], &body).await
    }

    /// A durable queue with these arguments, such as `{"x-queue-type": "quorum"}`.
    pub async fn declare_queue(&self, name: &str, arguments: Value) -> Result<(), HttpError> {
        let body = json!({"durable": true, "auto_delete": false, "arguments": arguments});
        self.put(&["queues", &self.vhost, name], &body).await
    }

    /// Leads messages from an exchange to a queue.
    pub async fn bind(&self, exchange: &str, queue: &str, routing_key: &str) -> Result<(), HttpError> {
        let body = json!({"routing_key": routing_key, "arguments": {}});
        let path = ["api", "bindings", &self.vhost, "e", exchange, "q", queue];
        self.api
            .call_segments(Method::POST, &path)
            .json(&body)
            .send()
            .await?;
        Ok(())
    }

    /// Whether the exchange leads messages of this routing key to the queue.
    pub async fn is_bound(&self, exchange: &str, queue: &str, routing_key: &str) -> Result<bool, HttpError> {
        let bindings = self.bindings(exchange, queue).await?;
        Ok(bindings.iter().any(|binding| binding.routing_key == routing_key))
    }

    /// Removes a binding.
    pub async fn unbind(&self, exchange: &str, queue: &str, routing_key: &str) -> Result<(), HttpError> {
        for binding in self.bindings(exchange, queue).await? {
            if binding.routing_key == routing_key {
                let key = &binding.properties_key;
                self.delete(&["bindings", &self.vhost, "e", exchange, "q", queue, key])
                    .await?;
            }
        }
        Ok(())
    }

    /// Whether there is such a queue.
    pub async fn has_queue(&self, name: &str) -> Result<bool, HttpError> {
        let queue: Option<Value> = self.get(&["queues", &self.vhost, name]).await?;
        Ok(queue.is_some())
    }

    /// Removes a queue, unless it holds messages.
    ///
    /// RabbitMQ cannot be asked to do that for quorum queues in one step, and what it says of their lengths is some
    /// seconds old. So a message is taken out and put back at once, which counts as one delivery of it.
    pub async fn delete_empty_queue(&self, name: &str) -> Result<(), HttpError> {
        let path = ["api", "queues", &self.vhost, name, "get"];
        let one = json!({"count": 1, "ackmode": "reject_requeue_true", "encoding": "auto", "truncate": 1});
        let answer = self
            .api
            .call_segments(Method::POST, &path)
            .json(&one)
            .send_if_there()
            .await?;
        let Some(answer) = answer else { return Ok(()) };
        if !answer.json::<Vec<Value>>()?.is_empty() {
            return Err(HttpError::NotDone(format!(
                "the queue `{name}` is not deleted, because it holds messages"
            )));
        }
        self.delete(&["queues", &self.vhost, name]).await
    }

    /// Whether there is such an exchange.
    pub async fn has_exchange(&self, name: &str) -> Result<bool, HttpError> {
        let exchange: Option<Value> = self.get(&["exchanges", &self.vhost, name]).await?;
        Ok(exchange.is_some())
    }

    /// Removes an exchange; refused where something is bound to it.
    pub async fn delete_unused_exchange(&self, name: &str) -> Result<(), HttpError> {
        let path = ["api", "exchanges", &self.vhost, name];
        self.api
            .call_segments(Method::DELETE, &path)
            .query("if-unused", "true")
            .send_if_there()
            .await?;
        Ok(())
    }

    /// A policy.
    pub async fn policy(&self, name: &str) -> Result<Option<RabbitMqPolicy>, HttpError> {
        self.get(&["policies", &self.vhost, name]).await
    }

    /// Writes a policy, whatever there was of that name.
    pub async fn put_policy(&self, name: &str, policy: &RabbitMqPolicy) -> Result<(), HttpError> {
        self.put(&["policies", &self.vhost, name], policy).await
    }

    /// Removes a policy.
    pub async fn delete_policy(&self, name: &str) -> Result<(), HttpError> {
        self.delete(&["policies", &self.vhost, name]).await
    }

    /// Keeps a value in the broker for the rollback, unless one is kept under this key already: that of an attempt before
    /// this one is from before the change, and so the right one. Take a [`ChangeKey`](crate::ChangeKey) for the key.
    pub async fn keep(&self, key: &str, value: &impl Serialize) -> Result<(), HttpError> {
        if self.kept::<Value>(key).await?.is_some() {
            return Ok(());
        }
        // Wrapped, for the broker knows no parameter that is null.
        let name = self.kept_name(key);
        let body = json!({"name": name, "value": {"kept": value}});
        self.put(&["global-parameters", &name], &body).await
    }

    /// What was kept.
    pub async fn kept<T: DeserializeOwned>(&self, key: &str) -> Result<Option<T>, HttpError> {
        #[derive(Deserialize)]
        struct Parameter<T> {
            value: Kept<T>,
        }
        #[derive(Deserialize)]
        struct Kept<T> {
            kept: T,
        }
        let found: Option<Parameter<T>> = self.get(&["global-parameters", &self.kept_name(key)]).await?;
        Ok(found.map(|parameter| parameter.value.kept))
    }

    /// Removes what was kept.
    pub async fn forget(&self, key: &str) -> Result<(), HttpError> {
        self.delete(&["global-parameters", &self.kept_name(key)]).await
    }

    /// Such parameters belong to the broker and not to the virtual host.
    fn kept_name(&self, key: &str) -> String {
        format!("flamingock_{}_{key}", self.vhost)
    }

    async fn bindings(&self, exchange: &str, queue: &str) -> Result<Vec<Binding>, HttpError> {
        let found = self
            .get(&["bindings", &self.vhost, "e", exchange, "q", queue])
            .await?;
        Ok(found.unwrap_or_default())
    }

    async fn get<T: DeserializeOwned>(&self, path: &[&str]) -> Result<Option<T>, HttpError> {
        let path = [&["api"], path].concat();
        let answer = self.api.call_segments(Method::GET, &path).send_if_there().await?;
        answer.map(|answer| answer.json()).transpose()
    }

    async fn put(&self, path: &[&str], body: &impl Serialize) -> Result<(), HttpError> {
        let path = [&["api"], path].concat();
        self.api
            .call_segments(Method::PUT, &path)
            .json(body)
            .send()
            .await?;
        Ok(())
    }

    async fn delete(&self, path: &[&str]) -> Result<(), HttpError> {
        let path = [&["api"], path].concat();
        self.api
            .call_segments(Method::DELETE, &path)
            .send_if_there()
            .await?;
        Ok(())
    }
}
