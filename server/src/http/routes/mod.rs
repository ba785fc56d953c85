//! Handlers: in, do, out. One file for each resource.

pub mod approval;
pub mod audit;
pub mod auth;
pub mod checksum;
pub mod execution;
pub mod freeze;
pub mod health;
pub mod issue;
pub mod lock;
pub mod plan;
pub mod policy;
pub mod preview;
