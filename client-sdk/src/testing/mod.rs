//! The testing kit, behind the feature `testing`: put it among the `[dev-dependencies]`.
//!
//! * [`check`]: is the pipeline sound? One line in a unit test.
//! * [`Trial`]: call one change with what it takes.
//! * [`Coordinator`]: run an application against a coordination server in memory, which decides by the server's own rules;
//!   have the process die, its lock be lost, an answer get lost at any [`Step`]; have a policy stop it, or the coordinator be
//!   out of reach; look at what was recorded.
//! * [`each_crash_point`]: have it die once at every point, start it again, and compare what has come of it.
//!
//! What a change does to its target system is up to the test: a real system, or a client that keeps its state in memory.

#[cfg(feature = "certificate")]
mod certifying;
mod check;
mod convert;
mod coordinator;
mod crashes;
mod ledger;
mod script;
mod serve;
mod trial;

pub(crate) use script::Script;

pub use self::{
    check::{Checked, CheckedChange, check},
    coordinator::{Coordinator, Ended, NothingToDecide},
    crashes::{AfterCrash, CannotTry, Crash, Crashes, each_crash_point, each_crash_point_with},
    ledger::{Entry, Origin},
    script::{Accident, Point, Step},
    trial::Trial,
};
