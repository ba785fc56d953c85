//! Each target system of the SDK, against the real one. See `./run-targets`.

#[cfg(feature = "apigateway")]
mod apigateway;
#[cfg(feature = "dynamodb")]
mod dynamodb;
#[cfg(feature = "graphql")]
mod graphql;
#[cfg(feature = "kafka")]
mod kafka;
#[cfg(feature = "lambda")]
mod lambda;
#[cfg(all(feature = "local", target_os = "linux"))]
mod local;
#[cfg(feature = "mongodb")]
mod mongodb;
#[cfg(feature = "mysql")]
mod mysql;
#[cfg(feature = "nats")]
mod nats;
#[cfg(feature = "rabbitmq")]
mod rabbitmq;
#[cfg(feature = "redis")]
mod redis;
#[cfg(feature = "rest")]
mod rest;
#[cfg(feature = "s3")]
mod s3;
#[cfg(feature = "sqlite")]
mod sqlite;
#[cfg(feature = "sqs")]
mod sqs;
#[cfg(feature = "unleash")]
mod unleash;
#[cfg(feature = "vault")]
mod vault;
