//! What the tests share: the double of the server, changes that do as told, a target with transactions.

mod changes;
mod database;
#[cfg(feature = "templates")]
mod files;
mod server;

pub(crate) use changes::{Log, Step, step};
pub(crate) use database::{Commit, Contents, FakeDatabase, FakeTx};
#[cfg(feature = "templates")]
pub(crate) use files::Files;
pub(crate) use server::{Call, FakeServer, IMPATIENT, Kind, Reply};

/// Waits for a state; fails when it does not come.
pub(crate) async fn eventually(what: &str, is_so: impl Fn() -> bool) {
    let until = tokio::time::Instant::now() + std::time::Duration::from_secs(20);
    while !is_so() {
        assert!(tokio::time::Instant::now() < until, "not in time: {what}");
        tokio::time::sleep(std::time::Duration::from_millis(2)).await;
    }
}
