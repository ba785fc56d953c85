//! Two tenants, so that there is always somebody else; one bootstrap file for all tests.

use std::path::PathBuf;
use std::process::Command;
use std::sync::OnceLock;

use crate::files;

/// The credentials of the bootstrap file. Secrets of a database that lives as long as a test.
#[derive(Clone, Debug)]
pub struct Tokens {
    /// Runs every service of acme/payments.
    pub runner: String,
    /// Reads acme/payments.
    pub viewer: String,
    /// Decides in acme/payments.
    pub operator: String,
    /// Runs service `ledger` in environment `production` of acme/payments, and nothing else.
    pub narrow: String,
    /// Everything of acme.
    pub admin: String,
    /// Everything of the whole server.
    pub root: String,
    /// Runs every service of globex/logistics.
    pub other_runner: String,
    /// Decides in globex/logistics.
    pub other_operator: String,
    /// Well-formed, and in no file.
    pub unknown: String,
}

/// The same in every database of this test program.
pub fn tokens() -> &'static Tokens {
    static TOKENS: OnceLock<Tokens> = OnceLock::new();
    TOKENS.get_or_init(|| Tokens {
        runner: generate(),
        viewer: generate(),
        operator: generate(),
        narrow: generate(),
        admin: generate(),
        root: generate(),
        other_runner: generate(),
        other_operator: generate(),
        unknown: generate(),
    })
}

/// A new API token, made by the server's program.
pub fn generate() -> String {
    let made = Command::new(files::server_program())
        .arg("generate-token")
        .output()
        .expect("the server's program starts");
    let token = String::from_utf8_lossy(&made.stdout).trim().to_owned();
    assert!(
        !token.is_empty(),
        "no token: {}",
        String::from_utf8_lossy(&made.stderr)
    );
    token
}

/// Writes the bootstrap file.
pub fn bootstrap_file(tokens: &Tokens) -> PathBuf {
    let path = files::scratch().join(format!("{}.toml", files::unique("bootstrap")));
    std::fs::write(&path, bootstrap(tokens)).expect("the scratch directory can be written to");
    path
}

fn bootstrap(tokens: &Tokens) -> String {
    let Tokens {
        runner,
        viewer,
        operator,
        narrow,
        admin,
        root,
        other_runner,
        other_operator,
        unknown: _,
    } = tokens;
    format!(
        r#"
tokens = [{{ name = "root", role = "root", value = "{root}" }}]

[[organisations]]
name = "acme"
tokens = [{{ name = "admin", role = "admin", value = "{admin}" }}]

[[organisations.projects]]
name = "payments"
self_register_services = true
environments = [{{ name = "production" }}, {{ name = "trusting", trust_absent_marks = true }}]
services = [{{ name = "ledger" }}]
tokens = [
    {{ name = "runner", role = "runner", value = "{runner}" }},
    {{ name = "viewer", role = "viewer", value = "{viewer}" }},
    {{ name = "operator", role = "operator", value = "{operator}" }},
    {{ name = "narrow", role = "runner", value = "{narrow}", environments = ["production"], services = ["ledger"] }},
]

[[organisations]]
name = "globex"

[[organisations.projects]]
name = "logistics"
self_register_services = true
environments = [{{ name = "production" }}]
tokens = [
    {{ name = "runner", role = "runner", value = "{other_runner}" }},
    {{ name = "operator", role = "operator", value = "{other_operator}" }},
]
"#
    )
}
