//! What the tests share: the double of the server, changes that do as told, a target with transactions.

mod changes;
mod database;
mod server;

pub(crate) use changes::{Log, Step, step};
pub(crate) use database::{Commit, Contents, FakeDatabase, FakeTx};
pub(crate) use server::{Call, FakeServer, IMPATIENT, Kind, Reply};
