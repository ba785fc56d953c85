//! Clients generated from the OpenAPI document, each with a small runner on it.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, PoisonError};

use crate::command::Ran;
use crate::files;
use crate::process::Process;
use crate::skip::skip;
use crate::waiting::eventually;

/// `generate` ends with it where something is not to be had.
const MISSING: i32 = 3;

/// One language.
#[derive(Clone, Debug)]
pub struct GeneratedClient {
    directory: PathBuf,
    /// Program and first argument, in the directory.
    runner: [&'static str; 2],
}

impl GeneratedClient {
    /// Generates and type-checks it, once in a test program. Nothing, and a loud word on standard error, where that
    /// cannot be done here.
    pub async fn python() -> Option<Self> {
        Self::of("python", ["venv/bin/python", "runner.py"]).await
    }

    /// As [`python`](Self::python).
    pub async fn typescript() -> Option<Self> {
        Self::of("typescript", ["node", "built/runner.js"]).await
    }

    async fn of(language: &'static str, runner: [&'static str; 2]) -> Option<Self> {
        let directory = tokio::task::spawn_blocking(move || known(language))
            .await
            .expect("generating does not panic")
            .unwrap_or_else(|error| panic!("the {language} client cannot be generated:\n{error}"))?;
        Some(Self { directory, runner })
    }

    /// Runs it to its end.
    pub async fn run(&self, arguments: &[&str], environment: &[(&str, &str)]) -> Ran {
        let [program, script] = self.runner;
        let program = if program.contains('/') {
            self.directory.join(program)
        } else {
            PathBuf::from(program)
        };
        let mut command = Command::new(program);
        command
            .arg(script)
            .args(arguments)
            .envs(environment.iter().copied())
            .current_dir(&self.directory);
        let process = Mutex::new(Process::start("generated", &mut command));
        let held = || process.lock().unwrap_or_else(PoisonError::into_inner);
        let status = eventually("the runner ends", async || held().ended()).await;
        let process = held();
        Ran {
            code: status.code(),
            output: process.output(),
            log: process.log(),
        }
    }
}

/// A broken client is an error, and stays one.
fn known(language: &'static str) -> Result<Option<PathBuf>, String> {
    type Known = BTreeMap<&'static str, Result<Option<PathBuf>, String>>;
    static KNOWN: Mutex<Known> = Mutex::new(BTreeMap::new());
    let mut known = KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
    known
        .entry(language)
        .or_insert_with(|| generate(language))
        .clone()
}

fn generate(language: &str) -> Result<Option<PathBuf>, String> {
    let ours = Path::new(env!("CARGO_MANIFEST_DIR"));
    let (sources, document) = (
        ours.join("generated-clients"),
        ours.join("../openapi/openapi.json"),
    );
    let home = files::profile_dir().join("tmp").join("flamingock-generated");
    let directory = home.join(language);
    fs::create_dir_all(&directory).map_err(|error| error.to_string())?;
    // Another test program may be at it.
    let lock = File::create(home.join(format!("{language}.lock"))).map_err(|error| error.to_string())?;
    lock.lock().map_err(|error| error.to_string())?;
    let stamp = directory.join("stamp");
    let fresh = files::digest(&[&sources, &document], language);
    if fs::read_to_string(&stamp).is_ok_and(|stamp| stamp == fresh) {
        return Ok(Some(directory));
    }
    let output = Command::new(sources.join("generate"))
        .arg(language)
        .arg(&directory)
        .arg(&document)
        .output();
    let output = output.map_err(|error| error.to_string())?;
    let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    if output.status.success() {
        fs::write(&stamp, fresh).map_err(|error| error.to_string())?;
        return Ok(Some(directory));
    }
    if output.status.code() == Some(MISSING) {
        return skip(&format!("tests with a generated {language} client"), &said).map(|()| None);
    }
    Err(said)
}
