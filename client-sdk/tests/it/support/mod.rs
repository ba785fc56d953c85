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
