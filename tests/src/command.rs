//! The server's other commands, run to their end.

use std::path::PathBuf;
use std::process::Command;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::files;
use crate::process::Process;
use crate::waiting::eventually;

/// A command of the server's program. Killed when dropped.
pub struct ServerCommand {
    process: Mutex<Process>,
}

/// How it ended.
#[derive(Clone, Debug)]
pub struct Ran {
    /// None if it was killed.
    pub code: Option<i32>,
    /// What it answered.
    pub output: String,
    /// What it complained of.
    pub log: String,
}

impl ServerCommand {
    pub fn start(arguments: &[&str], environment: &[(&str, &str)]) -> Self {
        let name = arguments.first().copied().unwrap_or("server");
        let mut command = Command::new(files::server_program());
        command.args(arguments).envs(environment.iter().copied());
        Self {
            process: Mutex::new(Process::start(name, &mut command)),
        }
    }

    pub async fn run(arguments: &[&str], environment: &[(&str, &str)]) -> Ran {
        Self::start(arguments, environment).ended().await
    }

    pub async fn ended(&self) -> Ran {
        let status = eventually("the command ends", async || self.process().ended()).await;
        let process = self.process();
        Ran {
            code: status.code(),
            output: process.output(),
            log: process.log(),
        }
    }

    /// Kills it, as a crash of its machine would.
    pub fn kill(&self) {
        self.process().kill();
    }

    fn process(&self) -> MutexGuard<'_, Process> {
        self.process.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A new directory with these files, which goes with the test program.
pub fn scratch_directory(files: &[(&str, String)]) -> PathBuf {
    let directory = files::scratch().join(files::unique("directory"));
    std::fs::create_dir(&directory).expect("the scratch directory can be written to");
    for (name, text) in files {
        std::fs::write(directory.join(name), text).expect("the scratch directory can be written to");
    }
    directory
}

/// A path for a file of a test, and nothing there yet.
pub fn scratch_file(name: &str) -> String {
    let path = files::scratch().join(format!("{}-{name}", files::unique("file")));
    path.to_string_lossy().into_owned()
}
