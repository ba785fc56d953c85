//! The tables of the domain as tests, then stories, then laws.
//!
//! The tables are written as text that can be laid beside the reference without knowing Rust.

mod access_table;
mod crash_table;
mod difference_table;
mod execution_table;
mod issue_turns;
mod judge_table;
mod lock_table;
mod plan_properties;
mod plan_table;
mod policy_table;
mod probe_table;
mod scenarios;
mod standing_table;
mod support;
