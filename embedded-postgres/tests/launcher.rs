//! The launcher against a real PostgreSQL, whichever this machine has. Each test has a data directory of its own.
#![cfg(unix)]

use std::{
    env, fs,
    io::{BufRead, BufReader, Read},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{
        Arc, Mutex,
        atomic::{AtomicU32, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use flamingock_embedded_postgres::{EmbeddedPostgres, Error, Options, find_binaries};

/// A directory that is removed at the end.
struct Scratch(PathBuf);

impl Scratch {
    fn new() -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let name = format!(
            "flamingock-epg-{}-{}",
            std::process::id(),
            NUMBER.fetch_add(1, Ordering::Relaxed)
        );
        let path = env::temp_dir().join(name);
        fs::create_dir(&path).expect("the temporary directory can be written");
        Scratch(path)
    }

    /// A data directory deeper than a socket's path could be.
    fn data(&self) -> PathBuf {
        self.0.join("a directory, rather deep".repeat(4)).join("postgres")
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Remembers what the launcher said.
#[derive(Clone, Default)]
struct Said(Arc<Mutex<Vec<String>>>);

impl Said {
    fn has(&self, words: &str) -> bool {
        self.0
            .lock()
            .expect("no panic while it is held")
            .iter()
            .any(|line| line.contains(words))
    }
}

fn options(data: &Path, said: &Said) -> Options {
    let said = said.clone();
    let mut options = Options::new(data);
    options.progress = Box::new(move |line| {
        said.0
            .lock()
            .expect("no panic while it is held")
            .push(line.to_owned());
    });
    options
}

/// Quickly: the machine is not going to crash.
fn start(data: &Path) -> EmbeddedPostgres {
    let mut options = Options::new(data);
    options.extra_settings = vec![("fsync".into(), "off".into())];
    EmbeddedPostgres::start(options).expect("it starts")
}

fn refusal(data: &Path) -> Error {
    let mut options = Options::new(data);
    options.allow_download = false;
    EmbeddedPostgres::start(options).expect_err("a refusal")
}

/// Fails unless the SQL condition holds.
fn assert_sql(postgres: &EmbeddedPostgres, condition: &str) {
    let sql = format!("DO $$ BEGIN ASSERT ({condition}); END $$");
    postgres
        .execute("postgres", &sql)
        .unwrap_or_else(|error| panic!("{condition}: {error}"));
}

/// Waits for a state, not for a time; the limit is for a machine that is busy.
fn within_reason(what: &str, mut done: impl FnMut() -> bool) {
    const LIMIT: Duration = Duration::from_mins(1);
    let start = Instant::now();
    while !done() {
        assert!(start.elapsed() < LIMIT, "not within {LIMIT:?}: {what}");
        thread::sleep(Duration::from_millis(10));
    }
}

fn major() -> u32 {
    find_binaries().expect("a PostgreSQL to test with").major
}

/// The program of this crate, running: its process and the URL it printed.
fn run_program(data: &Path) -> (Child, String) {
    let mut child = Command::new(env!("CARGO_BIN_EXE_flamingock-embedded-postgres"))
        .args(["run", "--database", "orders", "--data"])
        .arg(data)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("the program starts");
    let mut url = String::new();
    let output = child.stdout.as_mut().expect("it is piped");
    BufReader::new(output)
        .read_line(&mut url)
        .expect("it prints a line");
    (child, url.trim_end().to_owned())
}

fn signal(name: &str, pid: u32) {
    let status = Command::new("kill")
        .args([name, &pid.to_string()])
        .status()
        .expect("there is a kill");
    assert!(status.success(), "kill {name} {pid}");
}

/// What the server's log holds of this text.
fn logged(data: &Path, text: &str) -> usize {
    let log = data.join(format!("postgres-{}.log", major()));
    fs::read_to_string(log).unwrap_or_default().matches(text).count()
}

#[test]
fn data_is_kept_over_stop_and_start() {
    let scratch = Scratch::new();
    let said = Said::default();
    let first = EmbeddedPostgres::start(options(&scratch.data(), &said)).expect("it starts");
    assert!(said.has("initdb"));
    assert!(said.has("not for production"));
    let socket_dir = first.socket_dir().to_owned();
    first
        .execute("postgres", "CREATE TABLE t (n int); INSERT INTO t VALUES (42)")
        .expect("SQL runs");
    first.stop().expect("it stops");
    assert!(!socket_dir.exists(), "the socket's directory is removed");

    let said = Said::default();
    let second = EmbeddedPostgres::start(options(&scratch.data(), &said)).expect("it starts again");
    assert!(!said.has("initdb"));
    assert_eq!(second.socket_dir(), socket_dir);
    assert_sql(&second, "(SELECT sum(n) FROM t) = 42");
}

#[test]
fn what_was_committed_survives_a_kill_of_the_server() {
    let scratch = Scratch::new();
    let mut postgres = EmbeddedPostgres::start(Options::new(scratch.data())).expect("it starts");
    postgres
        .execute("postgres", "CREATE TABLE t (n int)")
        .expect("SQL runs");
    for round in 1..=3 {
        for _ in 0..20 {
            postgres
                .execute("postgres", &format!("INSERT INTO t VALUES ({round})"))
                .expect("SQL runs");
        }
        let (url, killed) = (postgres.url("postgres"), postgres.pid());
        postgres.kill();
        assert_eq!(postgres.pid(), None);
        assert!(matches!(
            postgres.execute("postgres", "SELECT 1"),
            Err(Error::NotRunning)
        ));
        postgres.restart().expect("it starts again");
        assert_ne!(postgres.pid(), killed);
        assert_eq!(postgres.url("postgres"), url);
        assert_sql(&postgres, &format!("(SELECT count(*) FROM t) = {}", 20 * round));
    }
    postgres.stop().expect("it stops");
}

#[test]
fn a_running_server_can_be_restarted() {
    let scratch = Scratch::new();
    let mut postgres = start(&scratch.data());
    postgres.restart().expect("it restarts");
    postgres.execute("postgres", "SELECT 1").expect("SQL runs");
    postgres.stop().expect("it stops");
}

#[test]
fn sessions_that_outlive_a_killed_server_do_not_prevent_the_next() {
    let scratch = Scratch::new();
    let postgres = start(&scratch.data());
    let sleeping = "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'PgSleep'";
    thread::scope(|scope| {
        scope.spawn(|| {
            postgres
                .execute("postgres", "SELECT pg_sleep(60)")
                .expect_err("it is killed")
        });
        within_reason("the session begins", || {
            postgres
                .execute(
                    "postgres",
                    &format!("DO $$ BEGIN ASSERT ({sleeping}) = 1; END $$"),
                )
                .is_ok()
        });
        postgres.kill();
        assert!(
            matches!(refusal(&scratch.data()), Error::InUse { .. }),
            "the guard still holds the directory"
        );
    });
    drop(postgres);
    start(&scratch.data()).stop().expect("it stops");
}

#[test]
fn a_second_application_is_told_who_has_the_directory() {
    let scratch = Scratch::new();
    let (mut first, _) = run_program(&scratch.data());
    let error = refusal(&scratch.data());
    assert!(matches!(error, Error::InUse { .. }), "{error}");
    assert!(
        error.to_string().contains(&format!("process {}", first.id())),
        "{error}"
    );
    assert!(error.to_string().contains("DATABASE_URL"), "{error}");
    signal("-TERM", first.id());
    assert!(first.wait().expect("it ends").success());
    start(&scratch.data())
        .stop()
        .expect("the directory is free again");
}

#[test]
fn a_second_start_in_the_same_process_is_refused_too() {
    let scratch = Scratch::new();
    let first = start(&scratch.data());
    let error = refusal(&scratch.data());
    assert!(
        error
            .to_string()
            .contains(&format!("this process ({})", std::process::id())),
        "{error}"
    );
    first
        .execute("postgres", "SELECT 1")
        .expect("the first is unharmed");
}

#[test]
fn a_cluster_of_another_version_than_its_name_is_refused() {
    let scratch = Scratch::new();
    start(&scratch.data()).stop().expect("it stops");
    let version = scratch.data().join(major().to_string()).join("PG_VERSION");
    fs::write(&version, "9.6\n").expect("it can be written");
    let error = refusal(&scratch.data());
    assert!(
        matches!(&error, Error::VersionMismatch { found, .. } if found == "9.6"),
        "{error}"
    );
    assert_eq!(fs::read_to_string(&version).expect("it is still there"), "9.6\n");
}

#[test]
fn data_of_another_version_is_not_passed_over_in_favour_of_an_empty_cluster() {
    let scratch = Scratch::new();
    let other = scratch.data().join("14");
    fs::create_dir_all(other.join("global")).expect("it can be written");
    fs::write(other.join("PG_VERSION"), "14\n").expect("it can be written");
    fs::write(other.join("global/pg_control"), "").expect("it can be written");
    let error = refusal(&scratch.data());
    assert!(
        matches!(error, Error::OtherMajorVersion { data: 14, .. }),
        "{error}"
    );
    assert!(error.to_string().contains("dump"), "{error}");
}

#[test]
fn a_half_made_cluster_is_made_anew() {
    let scratch = Scratch::new();
    let said = Said::default();
    let cluster = scratch.data().join(major().to_string());
    let unfinished = scratch.data().join(format!(".init-{}-1", major()));
    for directory in [&cluster, &unfinished] {
        fs::create_dir_all(directory.join("base")).expect("it can be written");
        fs::write(directory.join("PG_VERSION"), format!("{}\n", major())).expect("it can be written");
    }
    let postgres = EmbeddedPostgres::start(options(&scratch.data(), &said)).expect("it starts");
    assert!(said.has("half-made"));
    assert!(said.has("not a complete"));
    assert!(!unfinished.exists());
    assert!(
        cluster.with_extension("incomplete-1").join("base").exists(),
        "nothing is thrown away"
    );
    postgres.stop().expect("it stops");
}

#[test]
fn an_initdb_killed_in_the_middle_is_made_anew() {
    let scratch = Scratch::new();
    let mut program = Command::new(env!("CARGO_BIN_EXE_flamingock-embedded-postgres"))
        .args(["run", "--data"])
        .arg(scratch.data())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("the program starts");
    let unfinished = || {
        let entries = fs::read_dir(scratch.data()).into_iter().flatten().flatten();
        entries
            .map(|entry| entry.path())
            .find(|path| path.join("PG_VERSION").exists())
    };
    within_reason("initdb begins", || unfinished().is_some());
    program.kill().expect("it can be killed");
    program.wait().expect("it ends");
    assert!(
        !scratch.data().join(major().to_string()).exists(),
        "killed too late for this test"
    );
    let postgres = start(&scratch.data());
    postgres.execute("postgres", "SELECT 1").expect("SQL runs");
    postgres.stop().expect("it stops");
}

#[test]
fn the_data_directory_of_another_postgresql_is_not_touched() {
    let scratch = Scratch::new();
    fs::write(scratch.0.join("PG_VERSION"), "15\n").expect("it can be written");
    let error = refusal(&scratch.0);
    assert!(matches!(error, Error::Directory { .. }), "{error}");
    assert_eq!(fs::read_dir(&scratch.0).expect("it can be read").count(), 1);
}

#[test]
fn a_killed_application_leaves_a_server_that_shuts_down_in_order() {
    let scratch = Scratch::new();
    let (mut program, _) = run_program(&scratch.data());
    let cluster = scratch.data().join(major().to_string());
    assert!(cluster.join("postmaster.pid").exists());
    program.kill().expect("it can be killed");
    program.wait().expect("it ends");
    if cfg!(target_os = "linux") {
        within_reason("the server ends", || !cluster.join("postmaster.pid").exists());
        within_reason("the server logs its end", || {
            logged(&scratch.data(), "database system is shut down") == 1
        });
    }
    start(&scratch.data()).stop().expect("it stops");
    assert_eq!(logged(&scratch.data(), "automatic recovery"), 0);
}

#[test]
fn the_next_application_may_come_while_the_server_of_a_killed_one_still_runs() {
    let scratch = Scratch::new();
    let (mut program, _) = run_program(&scratch.data());
    let pid_file = scratch.data().join(major().to_string()).join("postmaster.pid");
    let pid_file = fs::read_to_string(pid_file).expect("it runs");
    let postmaster: u32 = pid_file
        .lines()
        .next()
        .and_then(|pid| pid.parse().ok())
        .expect("a process id");
    signal("-STOP", postmaster);
    program.kill().expect("it can be killed");
    program.wait().expect("it ends");
    let said = Said::default();
    let next = thread::scope(|scope| {
        let next = scope.spawn(|| EmbeddedPostgres::start(options(&scratch.data(), &said)));
        within_reason("it is noticed", || said.has("left over"));
        signal("-CONT", postmaster);
        next.join().expect("no panic").expect("it starts")
    });
    next.execute("orders", "SELECT 1").expect("the database is there");
    next.stop().expect("it stops");
    assert_eq!(logged(&scratch.data(), "automatic recovery"), 0);
}

#[test]
fn a_lock_file_that_names_a_stranger_is_seen_through() {
    let scratch = Scratch::new();
    let postgres = start(&scratch.data());
    postgres.kill();
    let pid_file = postgres.cluster_dir().join("postmaster.pid");
    drop(postgres);
    // As after a restart of a container: the id belongs to somebody else now.
    let mut stranger = Command::new("sleep").arg("60").spawn().expect("there is a sleep");
    let text = fs::read_to_string(&pid_file).expect("a killed server leaves it");
    let (_, rest) = text.split_once('\n').expect("it has lines");
    fs::write(&pid_file, format!("{}\n{rest}", stranger.id())).expect("it can be written");
    let result = EmbeddedPostgres::start(Options::new(scratch.data()));
    assert!(
        stranger.try_wait().expect("it is ours").is_none(),
        "strangers are left alone"
    );
    stranger.kill().expect("it can be killed");
    stranger.wait().expect("it ends");
    result.expect("it starts").stop().expect("it stops");
}

#[test]
fn the_program_prints_the_url_alone_and_stops_on_sigterm() {
    let scratch = Scratch::new();
    let (mut program, url) = run_program(&scratch.data());
    assert!(
        url.starts_with("postgres://postgres@localhost:5432/orders?host=/"),
        "{url}"
    );
    signal("-TERM", program.id());
    assert!(program.wait().expect("it ends").success());
    let mut rest = String::new();
    program
        .stdout
        .take()
        .expect("it is piped")
        .read_to_string(&mut rest)
        .expect("it can be read");
    assert_eq!(rest, "");
    assert_eq!(logged(&scratch.data(), "database system is shut down"), 1);
}

#[test]
fn the_server_outlives_the_thread_that_started_it() {
    let scratch = Scratch::new();
    let data = scratch.data();
    let postgres = thread::spawn(move || start(&data)).join().expect("no panic");
    thread::sleep(Duration::from_millis(300));
    postgres.execute("postgres", "SELECT 1").expect("it still runs");
    postgres.stop().expect("it stops");
}

#[test]
fn databases_are_created_once_however_they_are_called_and_however_many_ask() {
    let scratch = Scratch::new();
    let postgres = start(&scratch.data());
    let name = "Été; \"quoted\" 'n' spaced";
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| postgres.create_database(name).expect("it is created"));
            scope.spawn(|| postgres.create_database("orders").expect("it is created"));
        }
    });
    postgres
        .create_database("orders")
        .expect("a second time is no error");
    postgres
        .execute(name, "CREATE TABLE t (n int)")
        .expect("SQL runs");
    assert!(matches!(
        postgres.create_database(""),
        Err(Error::DatabaseName { .. })
    ));
    assert!(matches!(
        postgres.create_database(&"x".repeat(64)),
        Err(Error::DatabaseName { .. })
    ));
}

#[test]
fn errors_carry_the_servers_message() {
    let scratch = Scratch::new();
    let postgres = start(&scratch.data());
    let error = postgres
        .execute("postgres", "SELECT * FROM nothing")
        .expect_err("no such table");
    assert!(
        matches!(&error, Error::Server { sqlstate, .. } if sqlstate == "42P01"),
        "{error}"
    );
    assert!(
        error.to_string().contains("relation \"nothing\" does not exist"),
        "{error}"
    );
    let error = postgres
        .execute("nowhere", "SELECT 1")
        .expect_err("no such database");
    assert!(
        matches!(&error, Error::Server { sqlstate, .. } if sqlstate == "3D000"),
        "{error}"
    );
}

#[test]
fn the_settings_are_safe_and_can_be_added_to() {
    let scratch = Scratch::new();
    let mut options = Options::new(scratch.data());
    options.max_connections = 23;
    options.extra_settings = vec![
        ("work_mem".into(), "7MB".into()),
        ("shared_buffers".into(), "16MB".into()),
    ];
    let postgres = EmbeddedPostgres::start(options).expect("it starts");
    for (name, value) in [
        ("fsync", "on"),
        ("full_page_writes", "on"),
        ("data_checksums", "on"),
        ("listen_addresses", ""),
        ("server_encoding", "UTF8"),
        ("max_connections", "23"),
        ("work_mem", "7MB"),
        ("shared_buffers", "16MB"),
        ("TimeZone", "UTC"),
    ] {
        assert_sql(&postgres, &format!("current_setting('{name}') = '{value}'"));
    }
    assert_sql(
        &postgres,
        "'B' < 'a' AND 'z' < 'é' AND sha256('x') IS NOT NULL AND gen_random_uuid() IS NOT NULL",
    );
    assert_sql(
        &postgres,
        &format!("current_setting('server_version_num')::int / 10000 = {}", major()),
    );
    assert!(postgres.version().starts_with(&format!("{}.", major())));
}

#[test]
fn a_server_that_cannot_start_shows_the_end_of_its_log() {
    let scratch = Scratch::new();
    let mut options = Options::new(scratch.data());
    options.extra_settings = vec![("no_such_setting".into(), "1".into())];
    let error = EmbeddedPostgres::start(options).expect_err("an unknown setting");
    assert!(matches!(error, Error::StartFailed { .. }), "{error}");
    assert!(error.to_string().contains("no_such_setting"), "{error}");
}
