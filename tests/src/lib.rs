//! What the black-box tests stand on: the server's binary as a process, a real PostgreSQL, callers as types, an
//! application that uses the SDK, and proxies that stop the world at an exact message.
//!
//! Nothing here knows the inside of the server. What is asserted is what a client, an operator or the database sees.
//!
//! * [`TestServer`]: one replica, on a database of its own or shared with others.
//! * [`Runner`], [`Person`], [`Call`]: who calls, and how; a runner speaks like the Java client.
//! * [`Pipeline`]: what a runner submits.
//! * [`Scenario`], [`RunnerProcess`]: an application as a process that can be killed.
//! * [`Java`], [`JavaApplication`]: the same with the Java SDK.
//! * [`GeneratedClient`]: a small runner in another language, on a client generated from the OpenAPI document.
//! * [`ServerCommand`]: the server's program with another command than `serve`.
//! * [`CommandLine`]: somebody who types `flamingock …`.
//! * [`HttpProxy`], [`PostgresProxy`]: between a process and what it talks to, with [`Trap`]s; the former also do
//!   [`Mischief`].
//! * [`World`]: all of that for one service and one application.
//! * [`EventStream`]: somebody who listens to live events.
//! * [`eventually`]: waits for a state, never for a duration.

mod application;
mod callers;
mod changes;
mod cli;
mod command;
mod events;
mod files;
mod generated;
mod http;
mod java;
mod long;
mod pipeline;
mod postgres;
mod process;
mod proxy;
mod saga;
mod scenario;
mod server;
mod skip;
mod tenants;
mod waiting;
mod world;

pub use application::{Outcome, RunnerProcess, start_from_environment};
pub use callers::{Person, Runner, exchange, percent_encoded, report_body};
pub use changes::{BareTransactions, Effect, Effects};
pub use cli::CommandLine;
pub use command::{Ran, ServerCommand, scratch_directory, scratch_file};
pub use events::{Block, EventStream, outline};
pub use files::night_transcript;
pub use generated::GeneratedClient;
pub use http::{Answer, Call, read_answer};
pub use java::{Java, JavaApplication, Jvm};
pub use long::Long;
pub use pipeline::Pipeline;
pub use postgres::{Cluster, Database};
pub use proxy::{HttpProxy, Mischief, PostgresProxy, Side, Trap};
pub use scenario::{Ending, Kind, Probing, Scenario, Undo};
pub use server::TestServer;
pub use tenants::{Tokens, generate as new_token, tokens};
pub use waiting::{eventually, eventually_within, repeatedly};
pub use world::World;
