//! Each target system of the SDK, against the real one. See `./run-targets`.

#[cfg(feature = "mysql")]
mod mysql;
#[cfg(feature = "sqlite")]
mod sqlite;
