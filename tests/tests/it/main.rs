//! One program for all subjects, so that they share a PostgreSQL and are linked once. Tests whose name begins with
//! `invariant_N` hold the design's invariant N; `docs/invariants.md` lists them.

mod apply;
mod audit_chain;
mod audit_reading;
mod authorisation;
mod bounds;
mod certificates;
mod change_files;
mod checkpoints;
mod command_line;
mod command_line_names;
mod crash_table;
mod durability;
mod events;
mod generated_clients;
mod hostile;
mod import;
mod isolation;
mod late_reports;
mod locks_and_takeover;
mod long_changes;
mod night;
mod operations;
mod policies;
mod preview;
mod probes;
mod replicas;
mod resolution;
mod saga;
mod starts;
mod stopping;
mod tenancy;
mod testing_kit;
mod tokens;
mod waiting;
mod wire;
