//! What the tests of the target systems stand on: the real coordination server, and the real target system.
//!
//! * [`World`]: a server, a service of one's own, starts of an application, and deaths of one at an exact message.
//! * [`System`]: what a test runs against. Where it cannot be had the test says so, loudly, and passes; with
//!   `FLAMINGOCK_TARGETS_STRICT=1` it fails. `./run-targets` starts what it can and prints a table of the outcomes.
//! * [`Billing`]: a service with an HTTP API whose failures are told beforehand.
//! * [`TcpProxy`]: cuts the connection to a target system at one message.

#[cfg(any(feature = "apigateway", feature = "lambda", feature = "s3", feature = "sqs"))]
pub mod aws;
mod billing;
mod proxy;
mod system;
mod world;

pub use billing::{Billing, Mood};
pub use flamingock_tests::{eventually, repeatedly};
pub use proxy::{Cut, TcpProxy};
pub use system::{Fidelity, System};
pub use world::{World, message};
