//! An application with the Java SDK: what it is told, its starts, and what its changes really did.

use std::ffi::OsString;
use std::fmt::Display;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::Java;
use crate::files;
use crate::postgres::Database;
use crate::process::Process;
use crate::tenants::tokens;
use crate::waiting::eventually_within;

/// Twenty of them may start at once on a small machine.
const LIMIT: Duration = Duration::from_mins(3);

/// As small as they go: what counts is how many fit on a machine, and how fast they start.
const OPTIONS: &[&str] = &[
    "-Xmx96m",
    "-Xshare:auto",
    "-XX:TieredStopAtLevel=1",
    "-XX:+UseSerialGC",
    "-Dorg.slf4j.simpleLogger.showThreadName=false",
];

/// One application: of a service, with a file for the effects of all its starts.
#[derive(Clone, Debug)]
pub struct JavaApplication {
    java: &'static Java,
    module: &'static str,
    effects: PathBuf,
    settings: Vec<(&'static str, String)>,
}

impl JavaApplication {
    pub(super) fn new(java: &'static Java, module: &'static str) -> Self {
        let settings = [
            ("TOKEN", tokens().runner.as_str()),
            ("ENVIRONMENT", "production"),
            ("SERVICE", "billing"),
            ("RUNNER", "billing"),
            ("LEASE_MS", "10000"),
            ("QUIT_MS", "60000"),
            ("POLL_MS", "200"),
            ("VALIDATION_ONLY", "false"),
        ];
        Self {
            java,
            module,
            effects: files::scratch().join(files::unique("effects")),
            settings: settings.map(|(name, value)| (name, value.to_owned())).into(),
        }
    }

    /// The same service, deployed with another program.
    #[must_use]
    pub fn deployed(&self, module: &'static str) -> Self {
        Self {
            module,
            ..self.clone()
        }
    }

    #[must_use]
    pub fn with(mut self, name: &'static str, value: impl Display) -> Self {
        self.settings.retain(|(known, _)| *known != name);
        self.settings.push((name, value.to_string()));
        self
    }

    #[must_use]
    pub fn failing(self, change: &str) -> Self {
        self.with("FAIL", change)
    }

    #[must_use]
    pub fn failing_to_roll_back(self, change: &str) -> Self {
        self.with("FAIL_ROLLBACK", change)
    }

    /// In the middle of this change it waits for [`go_on`](Self::go_on).
    #[must_use]
    pub fn holding(self, change: &str) -> Self {
        self.with("HOLD", change)
    }

    #[must_use]
    pub fn lease_ms(self, lease: u64) -> Self {
        self.with("LEASE_MS", lease)
    }

    /// With this target system.
    #[must_use]
    pub fn database(self, database: &Database) -> Self {
        let url = database.jdbc_url();
        self.with("DATABASE", url)
    }

    pub fn go_on(&self) {
        let mut path = self.effects.clone().into_os_string();
        path.push(".go");
        std::fs::write(path, "").expect("the scratch directory can be written to");
    }

    /// What its changes really did, in all starts so far.
    pub fn effects(&self) -> Vec<String> {
        let text = std::fs::read_to_string(&self.effects).unwrap_or_default();
        text.lines().map(str::to_owned).collect()
    }

    /// Waits for an effect.
    pub async fn has_effect(&self, effect: &str) {
        eventually_within(LIMIT, effect, async || {
            self.effects().iter().any(|line| line == effect).then_some(())
        })
        .await;
    }

    /// Starts it; `server` may be a proxy's URL.
    pub fn start(&self, server: &str) -> Jvm {
        let archive = self.archive();
        let options = if archive.exists() {
            vec![option("SharedArchiveFile", &archive)]
        } else {
            Vec::new()
        };
        let name = format!("{}-{}", self.module, self.java.version);
        Jvm {
            process: Mutex::new(Process::start(&name, &mut self.command(server, &options))),
        }
    }

    /// A JVM that finds its classes in an archive needs a third less of the processor. One that is too old to make one
    /// starts without.
    pub(super) fn archive_classes(&self) {
        let archive = self.archive();
        if !archive.exists() {
            let nowhere = "http://127.0.0.1:1";
            let _ = self
                .command(nowhere, &[option("ArchiveClassesAtExit", &archive)])
                .output();
        }
    }

    fn archive(&self) -> PathBuf {
        self.java.directory.join(self.module).join("app.jsa")
    }

    fn command(&self, server: &str, options: &[OsString]) -> Command {
        let paths = self.java.directory.join(self.module).join("classpath");
        let paths = std::fs::read_to_string(paths).expect("a module that was built");
        let mut command = Command::new("java");
        command
            .args(OPTIONS)
            .args(options)
            .arg("-cp")
            .arg(paths)
            .arg(format!(
                "{}.Main",
                self.module.split('-').next().unwrap_or_default()
            ))
            // What the variables hold is UTF-8.
            .env("LC_ALL", "C.UTF-8")
            .env("INTEROP_SERVER", server)
            .env("INTEROP_EFFECTS", &self.effects);
        for (name, value) in &self.settings {
            command.env(format!("INTEROP_{name}"), value);
        }
        command
    }

    /// A start that lets the application serve.
    pub async fn serves(&self, server: &str) {
        self.start(server).serves().await;
    }

    /// A start that fails; what it said.
    pub async fn refuses_to_start(&self, server: &str) -> String {
        self.start(server).refuses_to_start().await
    }
}

fn option(name: &str, value: &Path) -> OsString {
    let mut option = OsString::from(format!("-XX:{name}="));
    option.push(value);
    option
}

/// One start, as a process.
pub struct Jvm {
    process: Mutex<Process>,
}

impl Jvm {
    /// Waits for its end. Whether the application may serve, and what it said.
    pub async fn ended(&self) -> (bool, String) {
        let status = eventually_within(LIMIT, "the JVM ends", async || self.process().ended()).await;
        let process = self.process();
        (status.success(), format!("{}{}", process.output(), process.log()))
    }

    pub async fn serves(&self) {
        let (serves, said) = self.ended().await;
        assert!(serves, "{said}");
    }

    pub async fn refuses_to_start(&self) -> String {
        let (serves, said) = self.ended().await;
        assert!(!serves, "it serves:\n{said}");
        said
    }

    /// As `kill -9` does: nothing of it runs any more when this returns.
    pub fn kill(&self) {
        self.process().kill();
    }

    pub fn pause(&self) {
        self.process().pause();
    }

    pub fn resume(&self) {
        self.process().resume();
    }

    fn process(&self) -> MutexGuard<'_, Process> {
        self.process.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
