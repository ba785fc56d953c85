//! What is true of changes, audit entries and locks, and what follows from it.
//!
//! Nothing here does IO: no clock, no database, no randomness, no logging. Time, fresh ids and rows arrive as
//! values; decisions leave as values. `server::store` loads and writes, `server::http` speaks.

pub mod access;
pub mod audit;
pub mod execution;
pub mod ids;
pub mod lock;
pub mod pipeline;
pub mod plan;
pub mod progress;
pub mod standing;
pub mod time;
