//! The audit's chain, for whoever writes it and whoever doubts it: the server links entries with it, the command line
//! verifies an exported file with it, and both mean the same bytes.
//!
//! * [`chain`]: the canonical form of an entry, the hashes, and a [`Verifier`] that walks a stream.
//! * [`checkpoint`]: signed statements about a position of a stream.
//! * [`export`]: the lines of an export with proofs, and their verification without server or database.
//!
//! Nothing here does IO, reads a clock or decides what may run.

pub mod chain;
pub mod checkpoint;
pub mod export;

pub use chain::{Broken, Entry, GENESIS, Hash, Seq, Verifier, canonical, link, verify};
pub use checkpoint::{Checkpoint, PublicKey, SignedCheckpoint, Signer};
