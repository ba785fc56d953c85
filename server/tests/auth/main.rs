//! Exchanging tokens, verifying bearers, rotation and revocation, against a real database.

mod bearers;
mod exchange;
mod keys;
mod sessions;
#[path = "../support/mod.rs"]
mod support;
mod world;
