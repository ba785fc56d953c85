//! Settings and the command line, as an operator meets them: through the program itself.

mod support;

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use flamingock_server::app::auth::ApiToken;
use flamingock_server::config::{Config, LogFormat};
use sqlx::{AssertSqlSafe, PgPool};

fn program(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_flamingock-server"));
    command
        .args(arguments)
        .env_clear()
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    for name in [
        "PATH",
        "HOME",
        "PG_BIN",
        "XDG_CACHE_HOME",
        "FLAMINGOCK_PG_SEARCH",
        "FLAMINGOCK_PG_OBTAIN",
    ] {
        if let Some(value) = std::env::var_os(name) {
            command.env(name, value);
        }
    }
    command
}

fn text(output: &Output) -> (String, String, Option<i32>) {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (text(&output.stdout), text(&output.stderr), output.status.code())
}

fn run(arguments: &[&str], variables: &[(&str, &str)]) -> (String, String, Option<i32>) {
    let output = program(arguments)
        .envs(variables.iter().copied())
        .output()
        .expect("it runs");
    text(&output)
}

fn directory(name: &str) -> PathBuf {
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}-{}", std::process::id()));
    let _ = std::fs::remove_dir_all(&path);
    std::fs::create_dir_all(&path).expect("a directory");
    path
}

/// A server that ends with the test.
struct Running(Option<Child>);

impl Running {
    fn start(mut command: Command, ready_file: &Path) -> (Self, serde_json::Value) {
        let mut running = Self(Some(command.stdout(Stdio::null()).spawn().expect("it starts")));
        let begin = Instant::now();
        loop {
            if let Ok(text) = std::fs::read_to_string(ready_file) {
                return (running, serde_json::from_str(&text).expect("JSON"));
            }
            let child = running.0.as_mut().expect("it runs");
            if child.try_wait().expect("its state").is_some() || begin.elapsed() > Duration::from_mins(1) {
                let (_, err, code) = running.stop();
                panic!("it is not ready ({code:?}): {err}");
            }
            std::thread::sleep(Duration::from_millis(30));
        }
    }

    fn stop(&mut self) -> (String, String, Option<i32>) {
        let child = self.0.take().expect("it was not stopped before");
        let _ = Command::new("kill")
            .args(["-TERM", &child.id().to_string()])
            .status();
        text(&child.wait_with_output().expect("its output"))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if self.0.is_some() {
            let _ = self.stop();
        }
    }
}

#[test]
fn every_default_is_printed_in_a_form_that_can_be_set_again() {
    let config = Config::from_pairs([]).expect("the defaults do");
    let printed = config.settings();
    let pairs = printed
        .iter()
        .filter(|(_, value)| !value.is_empty())
        .map(|(name, value)| (*name, value.as_str()));
    assert_eq!(
        Config::from_pairs(pairs)
            .expect("it reads what it prints")
            .settings(),
        printed
    );
    assert_eq!(config.listen.to_string(), "127.0.0.1:8080");
    assert_eq!(config.http.max_body_bytes, 16 * 1024 * 1024);
    assert_eq!(config.http.wait_max, Duration::from_mins(1));
    assert_eq!(config.locks.takeover_grace, Duration::from_secs(5));
    assert!(config.compatibility.refuse_damaged_ids && !config.compatibility.empty_write_answers);
    assert_eq!(config.log.format, LogFormat::Text);
}

#[test]
fn every_setting_is_printed() {
    let (help, _, code) = run(&["serve", "--help"], &[]);
    assert_eq!(code, Some(0));
    let printed = Config::from_pairs([]).expect("the defaults do").to_string();
    // Long lines are wrapped.
    let help = help.split_whitespace().collect::<Vec<_>>().join(" ");
    let mut variables = 0;
    for rest in help.split("[env: ").skip(1) {
        let name = rest.split(['=', ']']).next().expect("a name");
        assert!(printed.contains(&format!("{name}=")), "{name}");
        variables += 1;
    }
    assert_eq!(variables, printed.lines().count());
}

#[test]
fn a_wrong_value_is_named_with_its_variable_and_what_was_expected() {
    for (name, value, expected) in [
        (
            "FLAMINGOCK_LISTEN",
            "localhost",
            "expected an IP address and a port",
        ),
        (
            "FLAMINGOCK_HTTP_REQUEST_TIMEOUT",
            "30",
            "expected a duration with its unit",
        ),
        ("FLAMINGOCK_HTTP_REQUEST_TIMEOUT", "", "expected a duration"),
        (
            "FLAMINGOCK_HTTP_REQUEST_TIMEOUT",
            "2h",
            "expected a duration from 1s to 1h",
        ),
        ("FLAMINGOCK_HTTP_MAX_BODY", "16 parsecs", "expected a size"),
        (
            "FLAMINGOCK_HTTP_MAX_BODY",
            "99999999999999999999GiB",
            "expected a size",
        ),
        (
            "FLAMINGOCK_HTTP_MAX_BODY",
            "2GiB",
            "expected a size from 1KiB to 1GiB",
        ),
        (
            "FLAMINGOCK_DATABASE_MAX_CONNECTIONS",
            "-1",
            "expected a whole number",
        ),
        (
            "FLAMINGOCK_DATABASE_MAX_CONNECTIONS",
            "1",
            "expected a number from 2 to 10000",
        ),
        ("FLAMINGOCK_LOG_FORMAT", "xml", "expected text or json"),
        (
            "FLAMINGOCK_LOG_FILTER",
            "flamingock=loud",
            "expected levels such as",
        ),
        (
            "FLAMINGOCK_EMPTY_WRITE_ANSWERS",
            "perhaps",
            "expected true or false",
        ),
        ("FLAMINGOCK_AUTH_ISSUER", " ", "expected a name"),
        (
            "FLAMINGOCK_LOCK_TAKOVER_GRACE",
            "5s",
            "did you mean FLAMINGOCK_LOCK_TAKEOVER_GRACE?",
        ),
        ("FLAMINGOCK_PORT", "80", "FLAMINGOCK_PORT is not a setting"),
    ] {
        let refused = Config::from_pairs([(name, value)]).expect_err(name).to_string();
        assert!(
            refused.starts_with(name) && refused.contains(expected),
            "{refused}"
        );

        let (out, err, code) = run(&["check-config"], &[(name, value)]);
        assert_eq!((code, out.as_str()), (Some(2), ""), "{err}");
        assert!(
            err.starts_with(&format!("error: {name}")) && err.contains(expected),
            "{err}"
        );
    }
    let (_, err, code) = run(&["serve", "--http-wait-max", "soon"], &[]);
    assert_eq!(code, Some(2));
    assert!(
        err.starts_with("error: --http-wait-max is `soon`: expected a duration"),
        "{err}"
    );
}

#[test]
fn variables_of_neighbours_and_of_the_bootstrap_file_are_no_mistakes() {
    let file = directory("neighbours").join("tenants.toml");
    std::fs::write(
        &file,
        "[[organisations]]\nname = \"acme\"\n[[organisations.tokens]]\nname = \"ops\"\nrole = \"admin\"\n\
         value_env = \"FLAMINGOCK_TOKEN_OPS\"\n",
    )
    .expect("a file");
    let token = ApiToken::generate();
    let path = file.to_str().expect("text");
    let variables = [
        ("FLAMINGOCK_BOOTSTRAP", path),
        ("FLAMINGOCK_TOKEN_OPS", token.expose()),
        ("FLAMINGOCK_CLIENT_ANYTHING", "1"),
        ("FLAMINGOCK_PG_SEARCH", "none"),
    ];
    let (out, err, code) = run(&["check-config"], &variables);
    assert_eq!(code, Some(0), "{err}");
    assert!(out.contains(&format!("FLAMINGOCK_BOOTSTRAP={path}\n")), "{out}");
    assert!(!out.contains(token.expose()) && !err.contains(token.expose()));
    // Without the file, nobody asked for that variable.
    let (_, err, code) = run(&["check-config"], &variables[1..]);
    assert_eq!(code, Some(2));
    assert!(err.contains("FLAMINGOCK_TOKEN_OPS is not a setting"), "{err}");
}

#[test]
fn the_password_is_never_printed() {
    for (url, printed) in [
        (
            "postgres://app:hunter2@db:5432/fl",
            "postgres://app:[redacted]@db:5432/fl",
        ),
        (
            "postgres://app:hun@ter2@db/fl?sslmode=require",
            "postgres://app:[redacted]@db/fl?sslmode=require",
        ),
        (
            "postgres://db/fl?user=app&password=hunter2",
            "postgres://db/fl?user=app&password=[redacted]",
        ),
        ("postgres://app@db/fl", "postgres://app@db/fl"),
    ] {
        let (out, err, code) = run(&["check-config"], &[("DATABASE_URL", url)]);
        assert_eq!(code, Some(0), "{err}");
        assert!(out.contains(&format!("DATABASE_URL={printed}\n")), "{out}");
        assert!(!out.contains("ter2"), "{out}");
    }
    for url in [
        "mysql://app:hunter2@db/fl",
        "hunter2",
        "postgres//app:hunter2@db/fl",
    ] {
        let (out, err, code) = run(&["check-config"], &[("DATABASE_URL", url)]);
        assert_eq!(code, Some(2));
        assert!(err.contains("DATABASE_URL") && err.contains("expected"), "{err}");
        assert!(!out.contains("hunter2") && !err.contains("hunter2"), "{err}");
    }
    // A port where nobody listens; a URL that the driver does not understand.
    for url in [
        "postgres://app:hunter2@127.0.0.1:1/fl",
        "postgres://app:hunter2@db:port/fl",
    ] {
        let (out, err, code) = run(&["check-config", "--database"], &[("DATABASE_URL", url)]);
        assert_eq!(code, Some(1), "{err}");
        assert!(
            err.contains("help:") && !err.contains("hunter2") && !out.contains("hunter2"),
            "{err}"
        );
    }
    let (help, ..) = run(
        &["serve", "--help"],
        &[("DATABASE_URL", "postgres://app:hunter2@db/fl")],
    );
    assert!(!help.contains("hunter2"));
}

#[test]
fn a_generated_token_is_one_and_comes_alone() {
    let (out, err, code) = run(&["generate-token"], &[]);
    assert_eq!((err.as_str(), code), ("", Some(0)));
    assert!(ApiToken::parse(out.trim_end()).is_ok());
    assert_eq!(out.lines().count(), 1);
}

#[test]
fn the_api_document_needs_no_database_and_is_compared_exactly() {
    let (document, _, code) = run(&["openapi"], &[]);
    assert_eq!(code, Some(0));
    assert!(serde_json::from_str::<serde_json::Value>(&document).expect("JSON")["paths"].is_object());
    let file = directory("openapi").join("openapi.json");
    let path = file.to_str().expect("text");
    assert_eq!(run(&["openapi", "--write", path], &[]).2, Some(0));
    assert_eq!(run(&["openapi", "--check", path], &[]).2, Some(0));
    std::fs::write(&file, document.replacen('\n', "\n\n", 1)).expect("a change");
    let (_, err, code) = run(&["openapi", "--check", path], &[]);
    assert_eq!(code, Some(1));
    assert!(
        err.contains("from line 2 on") && err.contains("openapi --write"),
        "{err}"
    );
}

#[test]
fn usage_errors_have_their_own_exit_code() {
    for arguments in [&["serve", "--colour"][..], &["fly"], &[]] {
        assert_eq!(run(arguments, &[]).2, Some(2), "{arguments:?}");
    }
    let (_, err, code) = run(&["serve"], &[]);
    assert_eq!(code, Some(1));
    assert!(
        err.contains("DATABASE_URL is not set") && err.contains("dev"),
        "{err}"
    );
    assert_eq!(run(&["healthcheck", "http://127.0.0.1:1"], &[]).2, Some(1));
    assert_eq!(run(&["healthcheck", "https://example.com"], &[]).2, Some(1));
}

#[tokio::test]
async fn serving_wants_the_schema_and_says_how_to_get_it() {
    let url = support::empty_database_url().await;
    let variables = [("DATABASE_URL", url.as_str())];
    let (_, err, code) = run(&["serve", "--listen", "127.0.0.1:0"], &variables);
    assert_eq!(code, Some(1));
    assert!(err.contains("`flamingock-server migrate`"), "{err}");
    let (out, err, code) = run(&["check-config", "--database"], &variables);
    assert_eq!(code, Some(1), "{out}");
    assert!(err.contains("`flamingock-server migrate`"), "{err}");
    let (out, _, code) = run(&["migrate"], &variables);
    assert_eq!(code, Some(0));
    assert!(out.starts_with("made the schema"), "{out}");
    assert!(
        run(&["migrate"], &variables)
            .0
            .starts_with("the schema is up to date")
    );
    let (out, err, code) = run(&["check-config", "--database"], &variables);
    assert_eq!(code, Some(0), "{err}");
    assert!(out.contains("# its schema is up to date"), "{out}");
}

#[tokio::test]
async fn a_server_starts_says_where_and_stops_in_order() {
    let url = support::empty_database_url().await;
    let home = directory("serve");
    let ready = home.join("ready.json");
    let token = ApiToken::generate();
    let file = home.join("tenants.toml");
    std::fs::write(
        &file,
        format!(
            "[[organisations]]\nname = \"acme\"\n[[organisations.projects]]\nname = \"shop\"\n\
             tokens = [{{ name = \"ci\", role = \"runner\", value = \"{}\" }}]\n",
            token.expose()
        ),
    )
    .expect("a file");
    let file = file.to_str().expect("text");
    let (out, ..) = run(&["migrate"], &[("DATABASE_URL", &url)]);
    assert!(out.starts_with("made"));
    let variables = [("DATABASE_URL", url.as_str()), ("FLAMINGOCK_BOOTSTRAP", file)];
    let (out, err, _) = run(&["check-config", "--database"], &variables);
    assert!(
        out.contains("# the bootstrap file would create project acme/shop"),
        "{out}{err}"
    );

    let (out, err, code) = run(&["bootstrap", "--dry-run"], &variables);
    assert_eq!(code, Some(3), "{err}");
    assert!(
        out.contains("the bootstrap file would create organisation acme"),
        "{out}"
    );
    assert!(err.starts_with("dry run, nothing was written; 3 to do"), "{err}");
    let (out, err, code) = run(&["bootstrap"], &variables);
    assert_eq!(code, Some(0), "{err}");
    assert!(
        out.contains("done: create token ci of project acme/shop"),
        "{out}"
    );
    let (out, _, code) = run(&["bootstrap", "--dry-run"], &variables);
    assert_eq!(code, Some(0));
    assert!(out.contains("the bootstrap file would change nothing"), "{out}");
    let (_, err, code) = run(&["bootstrap"], &variables[..1]);
    assert_eq!(code, Some(1));
    assert!(err.contains("FLAMINGOCK_BOOTSTRAP"), "{err}");

    let mut command = program(&["serve", "--listen", "127.0.0.1:0", "--ready-file"]);
    command
        .arg(&ready)
        .envs(variables)
        .env("FLAMINGOCK_LOG_FORMAT", "json");
    let (mut server, said) = Running::start(command, &ready);
    let at = said["url"].as_str().expect("a URL");
    assert_eq!(run(&["healthcheck", at], &[]).2, Some(0));
    let (_, err, code) = server.stop();
    assert_eq!(code, Some(0), "{err}");
    assert!(!ready.exists(), "it went with the server");
    assert!(!err.contains(token.expose()));
    for line in err.lines() {
        serde_json::from_str::<serde_json::Value>(line).expect("the log is JSON, line by line");
    }
    assert_eq!(run(&["healthcheck", at], &[]).2, Some(1));
    let (out, ..) = run(&["check-config", "--database"], &variables);
    assert!(out.contains("# the bootstrap file would change nothing"), "{out}");
}

#[test]
fn dev_needs_nothing_and_keeps_its_data_and_its_tokens() {
    let home = directory("dev");
    let (ready, data) = (home.join("ready.json"), home.join("data"));
    let start = || {
        let mut command = program(&["dev", "--listen", "127.0.0.1:0", "--ready-file"]);
        command.arg(&ready).arg("--data").arg(&data);
        Running::start(command, &ready)
    };
    let (mut server, first) = start();
    for name in [
        "url",
        "database_url",
        "runner_token",
        "operator_token",
        "admin_token",
        "docs_url",
        "metrics_url",
    ] {
        assert!(first[name].is_string(), "{name}");
    }
    assert!(first["environments"]["development"].is_i64() && first["environments"]["production"].is_i64());
    assert_eq!(
        run(&["healthcheck", first["url"].as_str().expect("a URL")], &[]).2,
        Some(0)
    );
    {
        use std::os::unix::fs::PermissionsExt as _;
        let mode = |path: &Path| std::fs::metadata(path).expect("it is there").permissions().mode() & 0o777;
        assert_eq!(
            (
                mode(&data),
                mode(&data.join("dev-tokens.json")),
                mode(&data.join("admin.token")),
                mode(&ready)
            ),
            (0o700, 0o600, 0o600, 0o600)
        );
    }
    let (_, err, code) = server.stop();
    assert_eq!(code, Some(0), "{err}");
    for name in ["runner_token", "operator_token", "admin_token"] {
        assert!(
            !err.contains(first[name].as_str().expect("a token")),
            "the log holds no token"
        );
    }

    let (mut server, second) = start();
    for name in [
        "runner_token",
        "operator_token",
        "admin_token",
        "environments",
        "service_id",
        "database_url",
    ] {
        assert_eq!(second[name], first[name], "{name}");
    }
    let (_, err, code) = server.stop();
    assert_eq!(code, Some(0), "{err}");
    let _ = std::fs::remove_dir_all(&home);
}

#[tokio::test]
async fn a_server_s_role_can_append_to_the_audit_and_not_change_it() {
    let url = support::database_url().await;
    let pool = support::connect(&url).await;
    // Roles are the whole server's, other tests' as well.
    let role = format!("fl_role_{}", std::process::id());
    let execute = async |statement: &str| {
        let mut tx = pool.begin().await.expect("a transaction");
        let done = sqlx::query(AssertSqlSafe(format!("SET LOCAL ROLE {role}")))
            .execute(&mut *tx)
            .await;
        done.expect("the role is there");
        let done = sqlx::query(AssertSqlSafe(statement.to_owned()))
            .execute(&mut *tx)
            .await;
        done.map(|done| done.rows_affected()).map_err(|error| {
            error
                .as_database_error()
                .and_then(sqlx::error::DatabaseError::code)
                .map(std::borrow::Cow::into_owned)
        })
    };
    let (_, err, code) = run(&["migrate", "--grant-to", &role], &[("DATABASE_URL", &url)]);
    assert_eq!(code, Some(1));
    assert!(err.contains(&format!("there is no role {role}")), "{err}");
    sqlx::query(AssertSqlSafe(format!("CREATE ROLE {role}")))
        .execute(&pool)
        .await
        .expect("a role");
    for _ in 0..2 {
        let (out, err, code) = run(&["migrate", "--grant-to", &role], &[("DATABASE_URL", &url)]);
        assert_eq!(code, Some(0), "{err}");
        assert!(out.contains(&format!("role {role} may now work")), "{out}");
    }

    // What it must not.
    let denied = Err(Some("42501".to_owned()));
    for statement in [
        "UPDATE audit_entries SET state = 'APPLIED'",
        "DELETE FROM audit_entries",
        "TRUNCATE audit_entries",
        "UPDATE audit_entries_p00 SET state = 'APPLIED'",
        "INSERT INTO audit_entries_p00 SELECT * FROM audit_entries_p00",
        "TRUNCATE audit_entries_p00",
        "DROP TABLE audit_entries",
        "ALTER TABLE audit_entries DISABLE TRIGGER ALL",
        "DELETE FROM api_tokens",
        "DELETE FROM locks",
        "DELETE FROM executions",
        "DELETE FROM organisations",
        "UPDATE signing_keys SET private_pkcs8 = ''",
        "TRUNCATE signing_keys",
        "DELETE FROM _sqlx_migrations",
        "CREATE TRIGGER t BEFORE INSERT ON audit_entries FOR EACH ROW EXECUTE FUNCTION audit_entries_append_only()",
    ] {
        assert_eq!(execute(statement).await, denied, "{statement}");
    }
    // What it needs.
    for statement in [
        "INSERT INTO organisations (name) VALUES ('acme')",
        "SELECT * FROM audit_entries, _sqlx_migrations",
        "SELECT * FROM audit_verify(1)",
        "UPDATE api_tokens SET revoked_at = now()",
        "DELETE FROM mark_reports",
        "DELETE FROM signing_keys",
        "SELECT FROM audit_streams FOR UPDATE",
        "SELECT pg_advisory_xact_lock(1)",
    ] {
        assert!(execute(statement).await.is_ok(), "{statement}");
    }
    assert_every_table_is_decided(&pool, &role).await;
    sqlx::query(AssertSqlSafe(format!("DROP OWNED BY {role}")))
        .execute(&pool)
        .await
        .expect("no rights");
    sqlx::query(AssertSqlSafe(format!("DROP ROLE {role}")))
        .execute(&pool)
        .await
        .expect("no role");
}

/// A table that a later migration adds must get its line in the grants: a server that cannot read it fails.
async fn assert_every_table_is_decided(pool: &PgPool, role: &str) {
    let forgotten: Vec<String> = sqlx::query_scalar(
        "SELECT c.relname::text FROM pg_class c
          WHERE c.relnamespace = current_schema()::regnamespace AND c.relkind IN ('r', 'p') AND NOT c.relispartition
            AND NOT has_table_privilege($1, c.oid, 'SELECT')",
    )
    .bind(role)
    .fetch_all(pool)
    .await
    .expect("tables");
    assert!(
        forgotten.is_empty(),
        "without a grant in cli/grants.rs: {forgotten:?}"
    );
}
