//! The SDK against a scripted double of the coordination server: what it sends, and what it makes of the answers.
//!
//! The double plans in the simplest way that is right, and each test replaces the answers that it is about. The real
//! server is covered by black-box tests elsewhere.

mod support;

mod client;
mod depends;
mod events;
mod lock;
mod long_changes;
mod macros;
mod non_transactional;
mod readiness;
mod run_loop;
mod saga;
mod stopping;
mod transactional;
mod validation;

#[cfg(feature = "postgres")]
mod moving;
#[cfg(feature = "postgres")]
mod postgres;
#[cfg(feature = "templates")]
mod templates;
#[cfg(feature = "testing")]
mod testing;
