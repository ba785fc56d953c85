//! What `#[change]` must not compile, each beside a sibling that it must. The words of the refusals are tested in the
//! macro's own crate.
//!
//! ```
//! use flamingock::{Dep, TargetClient, change};
//! #[change(id = "a", order = "0001", target = "t", rollback = undo)]
//! async fn apply(_client: TargetClient<u8>, _config: Dep<u16>) -> Result<(), std::fmt::Error> { Ok(()) }
//! async fn undo(_config: Dep<u16>) -> Result<(), String> { Ok(()) }
//! ```
//!
//! A parameter that cannot be taken from the context:
//!
//! ```compile_fail,E0277
//! use flamingock::change;
//! #[change(id = "a", order = "0001", target = "t")]
//! async fn apply(_config: u16) -> Result<(), std::fmt::Error> { Ok(()) }
//! ```
//!
//! A borrow of something that is no transaction:
//!
//! ```compile_fail,E0277
//! use flamingock::change;
//! #[change(id = "a", order = "0001", target = "t")]
//! async fn apply(_config: &mut u16) -> Result<(), std::fmt::Error> { Ok(()) }
//! ```
//!
//! A rollback that is not async:
//!
//! ```compile_fail,E0277
//! use flamingock::change;
//! #[change(id = "a", order = "0001", target = "t", rollback = undo)]
//! async fn apply() -> Result<(), std::fmt::Error> { Ok(()) }
//! fn undo() -> Result<(), String> { Ok(()) }
//! ```
//!
//! A result that is none:
//!
//! ```compile_fail,E0308
//! use flamingock::change;
//! #[change(id = "a", order = "0001", target = "t")]
//! async fn apply() -> Option<()> { None }
//! ```
//!
//! An argument with a typing error:
//!
//! ```compile_fail
//! use flamingock::change;
//! #[change(id = "a", ordre = "0001", target = "t")]
//! async fn apply() -> Result<(), std::fmt::Error> { Ok(()) }
//! ```
