//! Handlers: in, do, out. One file for each resource.

pub mod audit;
pub mod auth;
pub mod execution;
pub mod health;
pub mod issue;
pub mod lock;
pub mod plan;
pub mod preview;
