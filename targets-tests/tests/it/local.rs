//! Files and commands of this machine, in a directory of its own for each test.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use flamingock::{
    Builder, ChangeKey, ChangeStatus, CommandError, CommandsTarget, FileError, Files, FilesTarget,
};
use flamingock_targets_tests::{Fidelity, System, World, eventually, message};
use uuid::Uuid;

#[expect(dead_code, reason = "its main function")]
#[path = "../../../client-sdk/examples/local.rs"]
mod example;

struct Config {
    _system: System,
    directory: PathBuf,
}

impl Config {
    fn new() -> Self {
        let directory = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("config-{}", Uuid::new_v4()));
        fs::create_dir_all(&directory).unwrap();
        fs::write(directory.join("shop.conf"), "name shop\nlisten 80\n").unwrap();
        Self {
            _system: System::new("files, commands", Fidelity::Real, std::env::consts::OS),
            directory,
        }
    }

    fn app(&self, world: &World) -> Builder {
        let (files, commands) = example::targets(self.directory.clone());
        world.app().target(files).target(commands).stage(example::stage())
    }

    fn files(&self, change: &'static str) -> Files {
        Files::new(
            &FilesTarget::new("config", &self.directory),
            ChangeKey::new(change),
        )
    }

    fn text(&self, path: &str) -> Option<String> {
        fs::read_to_string(self.directory.join(path)).ok()
    }

    fn names(&self) -> Vec<String> {
        let entries = fs::read_dir(&self.directory).unwrap();
        let mut names: Vec<_> = entries
            .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned())
            .collect();
        names.sort_unstable();
        names
    }
}

impl Drop for Config {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.directory);
    }
}

const BEFORE: &str = "name shop\nlisten 80\n";
const AFTER: &str = "name shop\nlisten 443\n";

#[tokio::test]
async fn the_example_is_applied_once() {
    let (world, config) = (World::new().await, Config::new());
    for expected in [ChangeStatus::Applied, ChangeStatus::AlreadyApplied] {
        let report = world.start(config.app(&world)).await.unwrap();
        for change in ["shop-on-tls", "index-config"] {
            assert_eq!(report.change(change).unwrap().status, expected);
        }
    }
    assert_eq!(config.text("shop.conf").as_deref(), Some(AFTER));
    assert!(config.text("index").unwrap().contains("tls/ciphers.conf"));
}

#[tokio::test]
async fn a_failure_in_the_middle_is_undone_and_the_next_start_goes_on() {
    let (world, config) = (World::new().await, Config::new());
    // A file where a directory has to be: the first of the two files is written, the second cannot be.
    fs::write(config.directory.join("tls"), "").unwrap();
    let error = world.start(config.app(&world)).await.unwrap_err();
    assert!(
        message(&error, "shop-on-tls").contains("ciphers.conf"),
        "{}",
        message(&error, "shop-on-tls")
    );
    assert_eq!(config.text("shop.conf").as_deref(), Some(BEFORE));
    fs::remove_file(config.directory.join("tls")).unwrap();
    world.start(config.app(&world)).await.unwrap();
    assert_eq!(config.text("shop.conf").as_deref(), Some(AFTER));
}

#[tokio::test]
async fn after_a_death_what_is_kept_is_still_from_before_the_first_attempt() {
    let (world, config) = (World::new().await, Config::new());
    world.die_before_the_report(config.app(&world)).await;
    assert_eq!(config.text("shop.conf").as_deref(), Some(AFTER));
    world.start(config.app(&world)).await.unwrap();
    assert_eq!(world.history("shop-on-tls").await, "STARTED STARTED APPLIED");
    let kept = config
        .names()
        .into_iter()
        .find(|name| name.contains(".kept"))
        .unwrap();
    assert_eq!(config.text(&kept).as_deref(), Some(BEFORE));
}

#[tokio::test]
async fn files_are_written_whole_and_put_back_as_they_were() {
    let config = Config::new();
    let (files, other) = (config.files("one"), config.files("two"));
    let path = config.directory.join("shop.conf");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    for text in ["second", "third"] {
        files.write("shop.conf", text).await.unwrap();
        files.write("sub/new", text).await.unwrap();
    }
    files.remove("absent").await.unwrap();
    assert_eq!(config.text("shop.conf").as_deref(), Some("third"));
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    assert!(
        !other.restore("shop.conf").await.unwrap(),
        "another change keeps its own"
    );
    for path in ["shop.conf", "sub/new"] {
        assert!(files.restore(path).await.unwrap());
        assert!(!files.restore(path).await.unwrap(), "once");
    }
    assert_eq!(config.text("shop.conf").as_deref(), Some(BEFORE));
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(config.text("sub/new"), None);
    files.forget("absent").await.unwrap();
    assert_eq!(config.names(), ["shop.conf", "sub"]);
    // A removed one comes back too.
    files.remove("shop.conf").await.unwrap();
    assert_eq!(files.read("shop.conf").await.unwrap(), None);
    files.restore("shop.conf").await.unwrap();
    assert_eq!(
        files.read_text("shop.conf").await.unwrap().as_deref(),
        Some(BEFORE)
    );
}

#[tokio::test]
async fn paths_lead_nowhere_else() {
    let config = Config::new();
    for path in ["../outside", "/etc/outside", "a/../../outside", "", "."] {
        let error = config.files("one").write(path, "x").await.unwrap_err();
        assert!(matches!(error, FileError::Outside(_)), "{path}: {error}");
    }
}

#[tokio::test]
async fn commands_say_how_they_ended() {
    let config = Config::new();
    let target = CommandsTarget::new("machine")
        .directory(&config.directory)
        .variable("GREETING", "hello");
    let commands = target.client();
    let output = commands
        .run("sh", ["-c", "echo $GREETING; echo aside >&2; ls"])
        .await
        .unwrap();
    assert_eq!(
        (output.stdout.as_str(), output.stderr.as_str()),
        ("hello\nshop.conf\n", "aside\n")
    );
    let output = commands.run("echo", ["$GREETING; *"]).await.unwrap();
    assert_eq!(output.stdout, "$GREETING; *\n", "no shell");
    let error = commands
        .run("sh", ["-c", "echo no such thing >&2; exit 3"])
        .await
        .unwrap_err();
    let CommandError::Failed { status, .. } = &error else {
        panic!("{error:?}")
    };
    assert_eq!(status.code(), Some(3));
    assert!(error.to_string().contains("no such thing"), "{error}");
    let error = commands.run("sh", ["-c", "kill -9 $$"]).await.unwrap_err();
    assert!(error.to_string().contains("signal"), "{error}");
    let error = commands.run("no-such-program", [""; 0]).await.unwrap_err();
    assert!(matches!(error, CommandError::NotStarted { .. }), "{error:?}");
    // More than fits into the pipes, of which the end is kept.
    let output = commands
        .run("sh", ["-c", "seq 200000; seq 200000 >&2; echo last"])
        .await
        .unwrap();
    assert!(output.stdout.len() <= 64 * 1024 && output.stdout.ends_with("200000\nlast\n"));
}

#[tokio::test]
async fn a_command_that_takes_too_long_is_killed_with_all_that_it_started() {
    let config = Config::new();
    let target = CommandsTarget::new("machine")
        .directory(&config.directory)
        .timeout(Duration::from_millis(500));
    let began = Instant::now();
    let script = "sleep 60 & echo $! > child; echo waiting; wait";
    let error = target.client().run("sh", ["-c", script]).await.unwrap_err();
    assert!(
        matches!(&error, CommandError::TimedOut { output, .. } if output.stdout == "waiting\n"),
        "{error:?}"
    );
    assert!(began.elapsed() < Duration::from_secs(30), "it was not waited for");
    dies(&config).await;

    // And where the change is dropped.
    fs::remove_file(config.directory.join("child")).unwrap();
    let patient = CommandsTarget::new("machine")
        .directory(&config.directory)
        .client();
    let run = tokio::spawn(async move { patient.run("sh", ["-c", script]).await.is_ok() });
    eventually("the child is started", || async {
        config.text("child").filter(|text| text.ends_with('\n'))
    })
    .await;
    run.abort();
    dies(&config).await;
}

async fn dies(config: &Config) {
    let pid = config.text("child").unwrap().trim().to_owned();
    eventually("the child is gone", || async {
        // One that has ended and that nobody has waited for is as good as gone.
        let state = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        (state.is_empty() || state.contains(") Z ")).then_some(())
    })
    .await;
}
