//! `flamingock apply`: a team without any Rust, with a directory of change files, a real database and a real HTTP API.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use axum::Router;
use axum::extract::State;
use axum::http::{HeaderMap, Method, StatusCode, Uri};
use flamingock_tests::{CommandLine, Database, TestServer, scratch_directory, tokens};
use tokio::net::TcpListener;

/// An API that keeps names. `PUT` adds one and `DELETE` removes it; without the right credentials it does nothing.
#[derive(Clone, Default)]
struct Flags(Arc<Mutex<Contents>>);

#[derive(Default)]
struct Contents {
    names: BTreeSet<String>,
    /// Answers 500 to all that is about this one.
    broken: Option<&'static str>,
}

impl Flags {
    async fn start() -> (String, Self) {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let url = format!("http://{}/flags", listener.local_addr().expect("bound"));
        let flags = Self::default();
        let app = Router::new().fallback(answer).with_state(flags.clone());
        tokio::spawn(async move { axum::serve(listener, app).await });
        (url, flags)
    }

    fn with<T>(&self, look: impl FnOnce(&mut Contents) -> T) -> T {
        look(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn names(&self) -> Vec<String> {
        self.with(|contents| contents.names.iter().cloned().collect())
    }
}

async fn answer(State(flags): State<Flags>, method: Method, uri: Uri, headers: HeaderMap) -> StatusCode {
    if headers
        .get("authorization")
        .is_none_or(|value| value != "Bearer flags-t0ken")
    {
        return StatusCode::UNAUTHORIZED;
    }
    let name = uri.path().trim_start_matches("/flags/").to_owned();
    flags.with(|contents| {
        if contents.broken == Some(&name) {
            return StatusCode::INTERNAL_SERVER_ERROR;
        }
        let found = match method {
            Method::PUT => contents.names.insert(name),
            Method::DELETE => contents.names.remove(&name),
            _ => return StatusCode::METHOD_NOT_ALLOWED,
        };
        if found {
            StatusCode::OK
        } else {
            StatusCode::NOT_FOUND
        }
    })
}

struct World {
    server: TestServer,
    database: Database,
    flags: Flags,
    directory: PathBuf,
    /// Holds a runner's token.
    pipeline: CommandLine,
    targets: String,
}

const ORDERS: &str = "id: create-orders\nauthor: mara\ntemplate: sql-template\ntargetSystem: orders-db\napply: |\n  \
                      CREATE TABLE orders (id bigint PRIMARY KEY, region text NOT NULL DEFAULT '${REGION}');\n  \
                      INSERT INTO orders VALUES (1);\n";

const INDEX: &str = "-- flamingock:\n--   id: index-orders\n--   targetSystem: orders-db\n\n\
                     CREATE INDEX CONCURRENTLY orders_by_region ON orders (region);\n";

/// Three requests; the rollback of the first may be left out.
fn rollout(first_rollback: &str) -> String {
    let step = |name: &str| {
        format!(
            "  - apply: {{method: PUT, path: /{name}}}\n    rollback: {{method: DELETE, path: /{name}, expect: [200, 404, 500]}}\n"
        )
    };
    format!(
        "id: rollout\nauthor: lin\ntemplate: http-template\ntargetSystem: flags\nsteps:\n  \
         - apply: {{method: PUT, path: /one}}\n{first_rollback}{}{}",
        step("two"),
        step("three")
    )
}

const UNDO_ONE: &str = "    rollback: {method: DELETE, path: /one}\n";

impl World {
    async fn new(first_rollback: &str) -> Self {
        let (server, database) = (TestServer::start().await, Database::empty().await);
        let (url, flags) = Flags::start().await;
        let directory = scratch_directory(&[]);
        for (stage, name, text) in [
            ("1_schema", "_0001__create_orders.yaml", ORDERS.to_owned()),
            ("1_schema", "_0002__index_orders.sql", INDEX.to_owned()),
            ("2_rollout", "_0001__rollout.yaml", rollout(first_rollback)),
        ] {
            std::fs::create_dir_all(directory.join(stage)).expect("made");
            std::fs::write(directory.join(stage).join(name), text).expect("written");
        }
        std::fs::write(directory.join("targets.toml"), targets_of_the_guide()).expect("written");
        let pipeline = CommandLine::new(&server.url(), &tokens().runner)
            .about("production", "ledger")
            .with("ORDERS_DB_URL", &database.url)
            .with("FLAGS_URL", &url)
            .with("FLAGS_TOKEN", "flags-t0ken")
            .with("REGION", "eu-central");
        Self {
            targets: text(&directory.join("targets.toml")),
            server,
            database,
            flags,
            directory,
            pipeline,
        }
    }

    fn apply<'a>(&'a self, directory: &'a str, more: &[&'a str]) -> Vec<&'a str> {
        [&["apply", directory, "--targets", &self.targets], more].concat()
    }

    fn operator(&self) -> CommandLine {
        CommandLine::new(&self.server.url(), &tokens().operator)
            .about("production", "ledger")
            .with("REGION", "eu-central")
    }
}

/// As `docs/templates.md` shows it.
fn targets_of_the_guide() -> String {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/templates.md");
    let guide = std::fs::read_to_string(path).expect("the guide is in the repository");
    let block = guide
        .split("```toml\n")
        .nth(1)
        .and_then(|rest| rest.split("```").next());
    block.expect("it shows a file of targets").to_owned()
}

fn text(path: &Path) -> String {
    path.to_str().expect("a scratch path is a text").to_owned()
}

#[tokio::test]
async fn a_failure_in_the_middle_is_undone_and_the_next_run_goes_on() {
    let world = World::new(UNDO_ONE).await;
    let directory = text(&world.directory);
    world.flags.with(|contents| contents.broken = Some("two"));

    world.operator().ends(4, &["plan", &directory]).await;
    let ran = world.pipeline.ends(1, &world.apply(&directory, &[])).await;
    for expected in [
        "create-orders",
        "index-orders",
        "failed",
        "step 2 of 3: PUT /two was answered with 500",
    ] {
        assert!(ran.output.contains(expected), "{expected}: {}", ran.output);
    }
    assert!(ran.log.contains("hint:"), "{}", ran.log);
    assert!(!format!("{}{}", ran.output, ran.log).contains("flags-t0ken"));
    assert_eq!(world.flags.names(), Vec::<String>::new(), "undone");
    assert_eq!(
        world
            .database
            .number("SELECT count(*) FROM orders WHERE region = 'eu-central'")
            .await,
        1
    );
    let valid =
        "SELECT count(*) FROM pg_index WHERE indexrelid = 'orders_by_region'::regclass AND indisvalid";
    assert_eq!(world.database.number(valid).await, 1);
    let operator = world.server.operator();
    let runner = world.server.runner("ledger").await;
    assert_eq!(
        operator.states(&runner, "rollout").await,
        ["STARTED", "FAILED", "ROLLED_BACK"]
    );

    let check = world.apply(&directory, &["--check"]);
    world.pipeline.ends(4, &check).await;
    world.flags.with(|contents| contents.broken = None);
    let output = world.pipeline.ok(&world.apply(&directory, &[])).await;
    assert!(
        output.starts_with("Applied ") && output.contains("1 applied now, 2 before"),
        "{output}"
    );
    assert_eq!(world.flags.names(), ["one", "three", "two"]);

    let report = world.pipeline.json(&world.apply(&directory, &[])).await;
    assert_eq!(report["status"], "NO_CHANGES");
    assert_eq!(report["stages"][1]["name"], "2_rollout");
    world.pipeline.ok(&check).await;
    world.operator().ok(&["plan", &directory]).await;
    assert!(operator.verification(&runner).await.intact);
}

#[tokio::test]
async fn what_could_not_be_undone_waits_for_a_person_and_then_goes_on() {
    let world = World::new("").await;
    let directory = text(&world.directory);
    world.flags.with(|contents| contents.broken = Some("two"));
    let ran = world.pipeline.run(&world.apply(&directory, &[])).await;
    assert_eq!(ran.code, Some(1), "{}{}", ran.output, ran.log);
    assert_eq!(world.flags.names(), ["one"], "it has no rollback");

    let ran = world.pipeline.ends(3, &world.apply(&directory, &[])).await;
    assert!(ran.log.contains("rollout"), "{}", ran.log);
    assert_eq!(world.flags.names(), ["one"]);

    world.flags.with(|contents| {
        contents.broken = None;
        contents.names.clear();
    });
    let operator = world.operator();
    let issue = &operator.json(&["issue", "get", "rollout"]).await;
    let seq = issue["seq"].to_string();
    operator
        .ok(&[
            "issue",
            "resolve",
            "rollout",
            "--as",
            "rolled-back",
            "--expect-seq",
            &seq,
            "--reason",
            "cleared by hand",
        ])
        .await;
    world.pipeline.ok(&world.apply(&directory, &[])).await;
    assert_eq!(world.flags.names(), ["one", "three", "two"]);
}

#[tokio::test]
async fn what_is_wrong_is_said_before_anything_is_done() {
    let world = World::new(UNDO_ONE).await;
    let directory = text(&world.directory);
    let broken = scratch_directory(&[
        (
            "_0001__a.yaml",
            "id: a\ntemplate: sql-template\ntargetSystem: orders-db\naply: SELECT 1\n".to_owned(),
        ),
        (
            "_0002__b.yaml",
            "id: b\ntemplate: sql-template\ntargetSystem: other\napply: SELECT '${ABSENT}'\n".to_owned(),
        ),
    ]);
    let broken = text(&broken);
    let ran = world.pipeline.ends(2, &world.apply(&broken, &[])).await;
    for expected in [
        "_0001__a.yaml:4: unknown field `aply`; did you mean `apply`?",
        "_0002__b.yaml:4: `${ABSENT}`",
    ] {
        assert!(ran.log.contains(expected), "{expected}: {}", ran.log);
    }
    let operator = world.operator();
    operator.ends(2, &["plan", &broken]).await;

    for (file, expected) in [
        ("", "describes no target system"),
        (
            "[orders-db]\nkind = \"oracle\"\nurl = \"x\"\n",
            ":2: unknown variant `oracle`",
        ),
        (
            "[orders-db]\nkind = \"postgres\"\nurl = \"hunter2-nonsense\"\n",
            "reading the address of a database failed",
        ),
        (
            "[orders-db]\nkind = \"postgres\"\nurl = \"${ABSENT}\"\n",
            "`${ABSENT}` has no value",
        ),
        (
            "[orders-db]\nkind = \"mariadb\"\nurl = \"hunter2-nonsense\"\n",
            "reading the address of a database failed",
        ),
        (
            "[a]\nkind = \"http\"\nurl = \"hunter2-nonsense\"\n",
            "that is no address of an API",
        ),
        (
            "[a]\nkind = \"http\"\nurl = \"http://h\"\nuser = \"hunter2\"\n",
            "`user` and `password` go together",
        ),
        (
            "[a]\nkind = \"http\"\nurl = \"http://h\"\nbearer = hunter2\n",
            ":4: ",
        ),
        (
            "[a]\nkind = \"http\"\nurl = \"http://h\"\nbeare = \"hunter2\"\n",
            "unknown field `beare`",
        ),
    ] {
        let targets = text(&scratch_directory(&[("targets.toml", file.to_owned())]).join("targets.toml"));
        let ran = world
            .pipeline
            .ends(2, &["apply", &directory, "--targets", &targets])
            .await;
        assert!(ran.log.contains(expected), "{file}: {}", ran.log);
        assert!(!ran.log.contains("hunter2"), "{file}: {}", ran.log);
    }
    let nowhere = world
        .pipeline
        .with("ORDERS_DB_URL", "postgres://nobody:hunter2@127.0.0.1:1/none");
    let ran = nowhere.ends(1, &world.apply(&directory, &[])).await;
    assert!(
        ran.log.contains("target system `orders-db`") && !ran.log.contains("hunter2"),
        "{}",
        ran.log
    );

    let unknown = world.pipeline.with("FLAMINGOCK_TOKEN", &tokens().unknown);
    unknown.ends(1, &world.apply(&directory, &[])).await;
    let absent = world.pipeline.without("FLAMINGOCK_SERVICE");
    absent.ends(2, &world.apply(&directory, &[])).await;
    assert_eq!(world.flags.names(), Vec::<String>::new());
    assert_eq!(
        world
            .database
            .number("SELECT count(*) FROM pg_tables WHERE schemaname = 'public'")
            .await,
        0
    );
}

#[tokio::test]
async fn a_file_of_sqlite_is_a_target_system_too() {
    let server = TestServer::start().await;
    let front = |id: &str| format!("-- flamingock:\n--   id: {id}\n--   targetSystem: notes\n\n");
    let directory = scratch_directory(&[
        (
            "_0001__create.sql",
            format!(
                "{}CREATE TABLE notes (id INTEGER, [a;b] TEXT);\nCREATE TRIGGER closed BEFORE DELETE ON notes BEGIN\n  \
                 SELECT RAISE(ABORT, 'closed');\nEND;\nINSERT INTO notes VALUES (1, ';');\n",
                front("create")
            ),
        ),
        (
            "targets.toml",
            "[notes]\nkind = \"sqlite\"\nurl = \"${NOTES_URL}\"\n".to_owned(),
        ),
    ]);
    let url = format!("sqlite://{}/notes.db?mode=rwc", directory.display());
    let pipeline = CommandLine::new(&server.url(), &tokens().runner)
        .about("production", "ledger")
        .with("NOTES_URL", &url);
    let (directory, targets) = (text(&directory), text(&directory.join("targets.toml")));
    let command = ["apply", &directory, "--targets", &targets];
    for _ in 0..2 {
        pipeline.ends(0, &command).await;
    }
    let write = |name: &str, sql: &str| {
        let path = Path::new(&directory).join(name);
        std::fs::write(path, format!("{}{sql}", front(name))).expect("written");
    };
    write("_0002__vacuum.sql", "VACUUM;");
    write(
        "_0003__delete.sql",
        "UPDATE notes SET [a;b] = NULL;\nDELETE FROM notes;",
    );
    let ran = pipeline.ends(1, &command).await;
    assert!(
        ran.output
            .contains("statement 2 of 2 (line 6 of the SQL): closed (SQLite's code 1811)"),
        "{}",
        ran.output
    );
    write("_0003__delete.sql", "DELETE FROM notes WHERE [a;b] IS NULL;");
    pipeline.ends(0, &command).await;
}
