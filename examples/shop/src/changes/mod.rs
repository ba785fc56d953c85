//! The changes in code: a module for each stage.

pub mod messaging;
pub mod rollout;
pub mod schema;
pub mod secrets;
pub mod services;
