//! Child processes: started in groups of their own, so that Ctrl-C reaches this program alone and it can stop them in order.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, Command};

/// Time to stop before a child is killed.
const PATIENCE: Duration = Duration::from_secs(25);

pub struct Process {
    name: &'static str,
    child: Child,
}

impl Process {
    /// What it prints goes to a log file, which is named in every complaint about it.
    pub fn start(name: &'static str, mut command: Command, log: &Path) -> Result<Self> {
        let output = std::fs::File::create(log).with_context(|| format!("creating {}", log.display()))?;
        command
            .stdin(Stdio::null())
            .stdout(Stdio::from(output.try_clone()?))
            .stderr(Stdio::from(output))
            .process_group(0)
            .kill_on_drop(true);
        let child = command.spawn().with_context(|| format!("starting {name}"))?;
        Ok(Self { name, child })
    }

    /// As [`Process::start`], but the first line that it prints is waited for and returned.
    pub async fn start_and_read_line(name: &'static str, mut command: Command) -> Result<(Self, String)> {
        command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .process_group(0)
            .kill_on_drop(true);
        let mut child = command.spawn().with_context(|| format!("starting {name}"))?;
        let output = child.stdout.take().context("the output was piped")?;
        let mut lines = BufReader::new(output).lines();
        let line = tokio::time::timeout(Duration::from_secs(10), lines.next_line())
            .await
            .with_context(|| format!("{name} did not come up"))??
            .with_context(|| format!("{name} ended without a word"))?;
        Ok((Self { name, child }, line))
    }

    /// Fails when the process has ended, with what its log says last.
    pub fn must_run(&mut self, log: &Path) -> Result<()> {
        if let Some(status) = self.child.try_wait()? {
            let text = std::fs::read_to_string(log).unwrap_or_default();
            let lines: Vec<&str> = text.lines().collect();
            let last = lines[lines.len().saturating_sub(12)..].join("\n");
            bail!(
                "{} ended ({status}). The end of {}:\n{last}",
                self.name,
                log.display()
            );
        }
        Ok(())
    }

    pub async fn ended(&mut self) -> Result<()> {
        let status = self.child.wait().await?;
        bail!("{} ended by itself ({status})", self.name)
    }

    /// Asks it to stop, and waits.
    pub async fn stop(mut self) -> Result<()> {
        let Some(pid) = self.child.id() else { return Ok(()) };
        // `kill` is on every system that this runs on, and spares the demo any unsafe code.
        Command::new("kill")
            .args(["-TERM", &pid.to_string()])
            .status()
            .await?;
        if tokio::time::timeout(PATIENCE, self.child.wait()).await.is_err() {
            self.child.kill().await?;
        }
        Ok(())
    }
}
