//! Handlers: in, do, out. One file for each resource.

pub mod action;
pub mod approval;
pub mod audit;
pub mod audit_read;
pub mod auth;
pub mod checksum;
pub mod environment;
pub mod event;
pub mod execution;
pub mod freeze;
pub mod health;
pub mod identity;
pub mod issue;
pub mod lock;
pub mod operations;
pub mod organisation;
pub mod plan;
pub mod policy;
pub mod preview;
pub mod probe;
pub mod project;
pub mod service;
pub mod tenancy;
pub mod token;
