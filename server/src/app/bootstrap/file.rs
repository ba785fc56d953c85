//! The file as it is written: every field with its place, so that a complaint can point at it.

use serde::Deserialize;
use toml::Spanned;
use toml::value::Datetime;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct File {
    #[serde(default)]
    pub(super) organisations: Vec<Organisation>,
    #[serde(default)]
    pub(super) tokens: Vec<Token>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Organisation {
    pub(super) name: Spanned<String>,
    pub(super) archived: Option<bool>,
    #[serde(default)]
    pub(super) projects: Vec<Project>,
    #[serde(default)]
    pub(super) tokens: Vec<Token>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Project {
    pub(super) name: Spanned<String>,
    pub(super) self_register_services: Option<bool>,
    pub(super) archived: Option<bool>,
    #[serde(default)]
    pub(super) environments: Vec<Environment>,
    #[serde(default)]
    pub(super) services: Vec<Service>,
    #[serde(default)]
    pub(super) tokens: Vec<Token>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Environment {
    pub(super) name: Spanned<String>,
    pub(super) trust_absent_marks: Option<bool>,
    pub(super) archived: Option<bool>,
    #[serde(default)]
    pub(super) policy: Policy,
    #[serde(default)]
    pub(super) freezes: Vec<Freeze>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Policy {
    pub(super) checksum_mismatch: Option<Spanned<String>>,
    pub(super) out_of_order: Option<Spanned<String>>,
    pub(super) approval_required: Option<bool>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Freeze {
    pub(super) services: Option<Spanned<Vec<Spanned<String>>>>,
    pub(super) starts_at: Spanned<Datetime>,
    pub(super) ends_at: Option<Spanned<Datetime>>,
    pub(super) reason: Spanned<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Service {
    pub(super) name: Spanned<String>,
    pub(super) archived: Option<bool>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Token {
    pub(super) name: Spanned<String>,
    pub(super) role: Spanned<String>,
    pub(super) value: Option<Spanned<String>>,
    pub(super) value_env: Option<Spanned<String>>,
    pub(super) environments: Option<Spanned<Vec<Spanned<String>>>>,
    pub(super) services: Option<Spanned<Vec<Spanned<String>>>>,
    pub(super) expires_at: Option<Spanned<Datetime>>,
}
