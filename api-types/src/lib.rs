//! What crosses the wire between runners, people and the coordination server, and nothing else.
//!
//! The runner API is Flamingock's own (`/api/v1`): names, enum texts and numbers are its contract. What we add is
//! additive: every client ignores fields that it does not know, so a field may be added, never renamed, narrowed or
//! removed. Enums in *answers* have an `Unknown` variant, so that an older SDK survives a newer server; enums in
//! *requests* have none, so that a text nobody knows is refused by name.
//!
//! Nothing here decides anything: the decisions are `flamingock-domain`'s, and neither crate imports the other.

pub mod action;
pub mod audit;
pub mod auth;
pub mod certificate;
pub mod digest;
pub mod event;
pub mod execution;
pub mod explanation;
pub mod headers;
pub mod history;
pub mod identity;
pub mod issue;
pub mod lock;
pub mod policy;
pub mod preview;
pub mod probe;
pub mod problem;
pub mod progress;
pub mod tenancy;
pub mod token;

pub use problem::{ErrorCode, ProblemDetails};
