//! Changes in files (S 8): what is read, what is refused, how it runs.

#[cfg(feature = "postgres")]
mod guide;
mod http;
mod note;
mod reading;
mod refusals;
#[cfg(feature = "postgres")]
mod sql;
mod steps;
