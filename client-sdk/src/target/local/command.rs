//! Commands of this machine, with an end: they succeed, fail or take too long.

use std::{
    borrow::Cow,
    ffi::{OsStr, OsString},
    io,
    path::PathBuf,
    process::{ExitStatus, Stdio},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncReadExt as _},
    process::{Child, Command},
};

use super::super::Target;

const TIMEOUT: Duration = Duration::from_mins(5);

/// How much of each stream is kept: its end, where the reason for a failure is.
const KEPT: usize = 64 * 1024;
/// How much of that is in an error.
const QUOTED: usize = 1000;

/// Where commands run. Changes take `TargetClient<Commands>`.
#[derive(Debug)]
pub struct CommandsTarget {
    id: Cow<'static, str>,
    commands: Commands,
}

/// Runs commands, without a shell: what is an argument stays one.
///
/// ```
/// use flamingock::{CommandError, Commands, TargetClient, change};
///
/// #[change(id = "reindex", order = "0001", target = "machine", recovery = "always_retry")]
/// async fn reindex(commands: TargetClient<Commands>) -> Result<(), CommandError> {
///     commands.run("reindex-catalogue", ["--all"]).await?;
///     Ok(())
/// }
/// ```
#[derive(Clone, Debug)]
pub struct Commands {
    directory: Option<PathBuf>,
    variables: Vec<(OsString, OsString)>,
    timeout: Duration,
}

/// What a command that succeeded has written: the last 64 KiB of each.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CommandOutput {
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
}

/// Why a command failed.
#[derive(Debug, thiserror::Error)]
pub enum CommandError {
    /// It could not be started.
    #[error("`{program}` cannot be started")]
    NotStarted {
        /// Its name.
        program: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// It ended with another status than 0.
    #[error("`{program}` ended with {status}: {}", last_words(.output))]
    Failed {
        /// Its name.
        program: String,
        /// Exit code or signal.
        status: ExitStatus,
        /// What it had written.
        output: CommandOutput,
    },
    /// It took too long, and was killed with all that it had started.
    #[error("`{program}` was killed, because it took longer than {timeout:?}: {}", last_words(.output))]
    TimedOut {
        /// Its name.
        program: String,
        /// The time it had.
        timeout: Duration,
        /// What it had written.
        output: CommandOutput,
    },
    /// Its output could not be read.
    #[error("what `{program}` says cannot be read")]
    Unreadable {
        /// Its name.
        program: String,
        /// Why.
        #[source]
        source: io::Error,
    },
}

impl CommandsTarget {
    /// Commands run where the application runs, and have five minutes.
    pub fn new(id: impl Into<Cow<'static, str>>) -> Self {
        Self {
            id: id.into(),
            commands: Commands {
                directory: None,
                variables: Vec::new(),
                timeout: TIMEOUT,
            },
        }
    }

    /// Where they run.
    #[must_use]
    pub fn directory(mut self, directory: impl Into<PathBuf>) -> Self {
        self.commands.directory = Some(directory.into());
        self
    }

    /// A variable of their environment, besides those of the application.
    #[must_use]
    pub fn variable(mut self, name: impl Into<OsString>, value: impl Into<OsString>) -> Self {
        self.commands.variables.push((name.into(), value.into()));
        self
    }

    /// How long each may take.
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.commands.timeout = timeout;
        self
    }

    /// The client, for calling a change function in a test.
    pub fn client(&self) -> Commands {
        self.commands.clone()
    }
}

impl From<CommandsTarget> for Target {
    fn from(target: CommandsTarget) -> Self {
        Self::non_transactional(target.id, target.commands)
    }
}

impl Commands {
    /// Runs a program to its end. If the change is dropped meanwhile, the program is killed.
    pub async fn run(
        &self,
        program: impl AsRef<OsStr>,
        arguments: impl IntoIterator<Item = impl AsRef<OsStr>>,
    ) -> Result<CommandOutput, CommandError> {
        let name = program.as_ref().to_string_lossy().into_owned();
        let mut command = Command::new(&program);
        command
            .args(arguments)
            .envs(self.variables.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        if let Some(directory) = &self.directory {
            command.current_dir(directory);
        }
        // A group of its own, so that what it starts is killed with it.
        #[cfg(unix)]
        command.process_group(0);
        let child = command.spawn().map_err(|source| CommandError::NotStarted {
            program: name.clone(),
            source,
        })?;
        self.supervise(Group(child), name).await
    }

    async fn supervise(&self, mut group: Group, program: String) -> Result<CommandOutput, CommandError> {
        let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
        let (out, err) = (group.0.stdout.take(), group.0.stderr.take());
        let ended = tokio::time::timeout(self.timeout, async {
            let (out, err, status) = tokio::join!(
                read_end(out, &mut stdout),
                read_end(err, &mut stderr),
                group.0.wait()
            );
            out.and(err).and(status)
        })
        .await;
        if ended.is_err() {
            group.kill();
            let _ = group.0.wait().await;
        }
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let output = CommandOutput {
            stdout: text(&stdout),
            stderr: text(&stderr),
        };
        match ended {
            Ok(Ok(status)) if status.success() => Ok(output),
            Ok(Ok(status)) => Err(CommandError::Failed {
                program,
                status,
                output,
            }),
            Ok(Err(source)) => Err(CommandError::Unreadable { program, source }),
            Err(_) => Err(CommandError::TimedOut {
                program,
                timeout: self.timeout,
                output,
            }),
        }
    }
}

/// A program with all that it has started.
struct Group(Child);

impl Group {
    fn kill(&mut self) {
        #[cfg(unix)]
        if let Some(pid) = self
            .0
            .id()
            .and_then(|id| rustix::process::Pid::from_raw(i32::try_from(id).ok()?))
        {
            // It may have ended meanwhile.
            let _ = rustix::process::kill_process_group(pid, rustix::process::Signal::KILL);
        }
        let _ = self.0.start_kill();
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        // The id of a child that was waited for is gone, so nobody else's group is meant.
        if self.0.id().is_some() {
            self.kill();
        }
    }
}

/// Reads everything and keeps the end, so that a talkative program neither stops nor fills the memory.
async fn read_end(stream: Option<impl AsyncRead + Unpin>, kept: &mut Vec<u8>) -> io::Result<()> {
    let Some(mut stream) = stream else { return Ok(()) };
    let mut chunk = vec![0; 16 * 1024];
    loop {
        let length = stream.read(&mut chunk).await?;
        if length == 0 {
            return Ok(());
        }
        kept.extend_from_slice(&chunk[..length]);
        let surplus = kept.len().saturating_sub(KEPT);
        kept.drain(..surplus);
    }
}

fn last_words(output: &CommandOutput) -> String {
    let text = [output.stderr.trim(), output.stdout.trim()]
        .into_iter()
        .find(|text| !text.is_empty())
        .unwrap_or("it said nothing");
    let surplus = text.chars().count().saturating_sub(QUOTED);
    let end: String = text.chars().skip(surplus).collect();
    if surplus == 0 { end } else { format!("…{end}") }
}
