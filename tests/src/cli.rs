//! A person at a command line: the real program, with profiles of their own.

use std::fmt::Write as _;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};

use serde_json::Value;

use crate::command::Ran;
use crate::files;

/// Somebody who types `flamingock …`.
#[derive(Clone, Debug)]
pub struct CommandLine {
    home: PathBuf,
    variables: Vec<(String, String)>,
    /// What was typed and what came back.
    transcript: Arc<Mutex<String>>,
}

impl CommandLine {
    /// With a token in the environment, and a folder for profiles that nobody else has.
    pub fn new(server: &str, token: &str) -> Self {
        let home = files::scratch().join(files::unique("home"));
        std::fs::create_dir_all(&home).expect("the scratch directory can be written to");
        Self {
            home,
            variables: vec![
                ("FLAMINGOCK_SERVER".to_owned(), server.to_owned()),
                ("FLAMINGOCK_TOKEN".to_owned(), token.to_owned()),
            ],
            transcript: Arc::default(),
        }
    }

    /// The same person at another service.
    #[must_use]
    pub fn about(&self, environment: &str, service: &str) -> Self {
        self.with("FLAMINGOCK_ENVIRONMENT", environment)
            .with("FLAMINGOCK_SERVICE", service)
    }

    #[must_use]
    pub fn with(&self, variable: &str, value: &str) -> Self {
        let mut other = self.clone();
        other.variables.retain(|(name, _)| name != variable);
        other.variables.push((variable.to_owned(), value.to_owned()));
        other
    }

    #[must_use]
    pub fn without(&self, variable: &str) -> Self {
        let mut other = self.clone();
        other.variables.retain(|(name, _)| name != variable);
        other
    }

    /// Where they are: names of files on the command line count from here.
    pub fn folder(&self) -> &Path {
        &self.home
    }

    /// Where profiles are.
    pub fn profiles(&self) -> PathBuf {
        self.home.join("flamingock").join("profiles.toml")
    }

    pub async fn run(&self, arguments: &[&str]) -> Ran {
        self.run_with_input(arguments, "").await
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(files::command_line_program());
        command
            .args(arguments)
            .env_clear()
            .current_dir(self.folder())
            .env("XDG_CONFIG_HOME", &self.home)
            .envs(self.variables.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }

    /// One that goes on while the test does something else.
    pub fn start(&self, arguments: &[&str]) -> Child {
        let mut command = self.command(arguments);
        command
            .stdin(Stdio::null())
            .spawn()
            .expect("the command line's program starts")
    }

    pub async fn run_with_input(&self, arguments: &[&str], input: &str) -> Ran {
        let mut command = self.command(arguments);
        let input = input.to_owned();
        let ran = tokio::task::spawn_blocking(move || {
            let mut child = command.spawn().expect("the command line's program starts");
            let mut stdin = child.stdin.take().expect("it is piped");
            // A program that does not read is no mistake of the test.
            let _ = stdin.write_all(input.as_bytes());
            drop(stdin);
            child.wait_with_output().expect("a child can be waited for")
        })
        .await
        .expect("it ran to its end");
        let ran = Ran {
            code: ran.status.code(),
            output: String::from_utf8(ran.stdout).expect("it prints UTF-8"),
            log: String::from_utf8(ran.stderr).expect("it prints UTF-8"),
        };
        self.note(arguments, &ran);
        ran
    }

    /// Which must do what it was asked.
    pub async fn ok(&self, arguments: &[&str]) -> String {
        self.ends(0, arguments).await.output
    }

    /// Which must end with this exit code.
    pub async fn ends(&self, code: i32, arguments: &[&str]) -> Ran {
        let ran = self.run(arguments).await;
        assert_eq!(
            ran.code,
            Some(code),
            "flamingock {arguments:?}\n{}{}",
            ran.output,
            ran.log
        );
        ran
    }

    /// With `--json`: nothing but one document.
    pub async fn json(&self, arguments: &[&str]) -> Value {
        let output = self.ok(&[arguments, &["--json"]].concat()).await;
        serde_json::from_str(&output).unwrap_or_else(|error| panic!("{arguments:?}: {error}: {output}"))
    }

    /// Everything that was typed so far and what came back, as a terminal would show it.
    pub fn transcript(&self) -> String {
        self.transcript
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Takes everything out of the transcript: what a test only waited with.
    pub fn forget(&self) {
        self.transcript
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clear();
    }

    /// Takes the last command out of the transcript.
    pub fn forget_last(&self) {
        let mut transcript = self.transcript.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(at) = transcript.rfind("$ flamingock ") {
            transcript.truncate(at);
        }
    }

    /// A remark between two commands.
    pub fn remark(&self, text: &str) {
        let mut transcript = self.transcript.lock().unwrap_or_else(PoisonError::into_inner);
        writeln!(transcript, "# {text}\n").expect("writing to a string does not fail");
    }

    fn note(&self, arguments: &[&str], ran: &Ran) {
        let words: Vec<String> = arguments
            .iter()
            .map(|word| {
                if word.contains([' ', ':', ';']) {
                    format!("'{word}'")
                } else {
                    (*word).to_owned()
                }
            })
            .collect();
        let code = match ran.code {
            Some(0) => String::new(),
            code => format!("[exit code {}]\n", code.unwrap_or(-1)),
        };
        let mut transcript = self.transcript.lock().unwrap_or_else(PoisonError::into_inner);
        writeln!(
            transcript,
            "$ flamingock {}\n{}{}{code}",
            words.join(" "),
            ran.output,
            ran.log
        )
        .expect("writing to a string does not fail");
    }
}
