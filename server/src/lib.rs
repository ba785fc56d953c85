//! The Flamingock coordination server.
//!
//! Floors, top to bottom; arrows only point down (`tests/floors.rs` keeps them): `http` and `jobs` speak and tick, `import`
//! reads history that others wrote, `app` holds the use cases and owns the transactions, `store` is SQL, and `flamingock-domain` decides.

pub mod app;
pub mod config;
pub mod http;
pub mod import;
pub mod jobs;
pub mod lifecycle;
pub mod metrics;
pub mod store;
pub mod telemetry;
