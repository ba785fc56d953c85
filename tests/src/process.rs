//! A child process: its output kept, its end always certain, its log shown when the test fails.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};

use crate::files;

/// Lines of a log that are shown when a test fails; all of it is in its file.
const SHOWN: usize = 25;

pub struct Process {
    child: Child,
    log: PathBuf,
    output: PathBuf,
}

impl Process {
    /// Starts a program; standard error goes to the log, standard output to a file of its own.
    pub fn start(name: &str, command: &mut Command) -> Self {
        let name = files::unique(name);
        let log = files::scratch().join(format!("{name}.log"));
        let output = files::scratch().join(format!("{name}.out"));
        let create = |path: &Path| File::create(path).expect("the scratch directory can be written to");
        let child = clean(command)
            .stdin(Stdio::null())
            .stdout(create(&output))
            .stderr(create(&log))
            .spawn()
            .unwrap_or_else(|error| panic!("{name} cannot be started: {error}"));
        Self { child, log, output }
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Kills it, as a crash of its machine would, and waits until it is gone.
    pub fn kill(&mut self) {
        let _ = self.child.kill();
        self.child.wait().expect("a killed process ends");
    }

    /// Freezes it where it is: as a long pause of a virtual machine.
    pub fn pause(&self) {
        signal(self.pid(), "STOP");
    }

    pub fn resume(&self) {
        signal(self.pid(), "CONT");
    }

    /// How it ended, if it has.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().expect("a child can be waited for")
    }

    pub fn log(&self) -> String {
        read(&self.log)
    }

    pub fn output(&self) -> String {
        read(&self.output)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            let log = self.log();
            let lines: Vec<&str> = log.lines().collect();
            let last = lines[lines.len().saturating_sub(SHOWN)..].join("\n");
            eprintln!("--- the end of {}\n{last}\n---", self.log.display());
        }
    }
}

/// Without the settings of whoever runs the tests.
fn clean(command: &mut Command) -> &mut Command {
    let given: Vec<_> = command.get_envs().map(|(name, _)| name.to_owned()).collect();
    for (name, _) in std::env::vars_os() {
        let ours = name
            .to_str()
            .is_some_and(|name| name.starts_with("FLAMINGOCK_") || name == "DATABASE_URL");
        if ours && !given.contains(&name) {
            command.env_remove(name);
        }
    }
    command
}

fn read(path: &Path) -> String {
    String::from_utf8_lossy(&std::fs::read(path).unwrap_or_default()).into_owned()
}

/// Asks a process to end.
pub fn terminate(pid: u32) {
    signal(pid, "TERM");
}

fn signal(pid: u32, signal: &str) {
    let sent = Command::new("kill")
        .args([&format!("-{signal}"), &pid.to_string()])
        .status();
    assert!(
        sent.is_ok_and(|status| status.success()),
        "SIG{signal} cannot be sent to {pid}"
    );
}

pub fn is_alive(pid: u32) -> bool {
    Command::new("kill")
        .args(["-0", &pid.to_string()])
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success())
}
