//! What is said of the domain's decisions, in codes and sentences: the edge of the server, shared with the SDK's testing kit,
//! so that an application under test is told what it will be told in production.
//!
//! Takes decisions, gives what crosses the wire. Decides nothing.

pub mod preview;
pub mod reasons;
pub mod rulings;
