//! A target system, and the line about it in the table of outcomes.

use std::env;
use std::fs::OpenOptions;
use std::io::Write as _;

/// The file to which each test adds a line: system, fidelity, version, test, outcome; separated by tabs.
const REPORT: &str = "FLAMINGOCK_TARGETS_REPORT";
const STRICT: &str = "FLAMINGOCK_TARGETS_STRICT";

/// How close what answers is to what the test is about. A green run against an emulator is no proof of the real system.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fidelity {
    Real,
    /// The vendor's own, for development.
    VendorLocal,
    /// Somebody else's, which speaks the same API.
    Emulator,
    /// Ours, for failures that no real one produces on demand.
    Sample,
}

/// What a test runs against. Its outcome is reported when it is dropped.
pub struct System {
    name: &'static str,
    fidelity: Fidelity,
    version: String,
}

impl System {
    /// The server that a variable names. Without it there is none, and the test is skipped.
    pub fn address(name: &'static str, variable: &str) -> Option<String> {
        let found = env::var(variable).ok().filter(|value| !value.is_empty());
        if found.is_none() {
            let reason = format!("{variable} is not set; ./run-targets starts a server, or name your own");
            assert!(
                env::var_os(STRICT).is_none(),
                "{name} must not be skipped: {reason}"
            );
            note(&format!("SKIPPED {name}: {reason}"));
            report(&[name, "-", "-", &test(), &format!("skipped: {reason}")]);
        }
        found
    }

    /// Of a server that does not tell its own version, from a variable beside that of its address.
    pub fn version_of(variable: &str) -> String {
        env::var(format!("{variable}_VERSION")).unwrap_or_else(|_| "?".to_owned())
    }

    pub fn new(name: &'static str, fidelity: Fidelity, version: impl Into<String>) -> Self {
        Self {
            name,
            fidelity,
            version: version.into(),
        }
    }
}

impl Drop for System {
    fn drop(&mut self) {
        let outcome = if std::thread::panicking() {
            "FAILED"
        } else {
            "passed"
        };
        let fidelity = match self.fidelity {
            Fidelity::Real => "real",
            Fidelity::VendorLocal => "vendor-local",
            Fidelity::Emulator => "emulator",
            Fidelity::Sample => "sample",
        };
        report(&[self.name, fidelity, &self.version, &test(), outcome]);
    }
}

/// The test harness names the threads after the tests.
fn test() -> String {
    let thread = std::thread::current();
    thread.name().unwrap_or("?").to_owned()
}

/// Past the harness, which swallows what passing tests print.
fn note(line: &str) {
    let _ = writeln!(std::io::stderr(), "{line}"); // nobody may be listening
}

fn report(fields: &[&str]) {
    let Some(path) = env::var_os(REPORT) else { return };
    let line = fields
        .iter()
        .map(|field| field.replace(['\t', '\n'], " "))
        .collect::<Vec<_>>()
        .join("\t");
    let file = OpenOptions::new().create(true).append(true).open(path);
    // One write for each line, so that those of several tests do not mix.
    file.and_then(|mut file| file.write_all(format!("{line}\n").as_bytes()))
        .expect("the report can be written to");
}
