//! The bootstrap file: idempotent, whole or not at all, and clear about what is wrong with it.

mod support;

use std::path::Path;

use flamingock_server::app::auth::{ApiToken, Auth, AuthSettings, BearerError};
use flamingock_server::app::bootstrap::{self, BootstrapError, Declaration};
use sqlx::PgPool;

fn parse(text: &str) -> Result<Declaration, BootstrapError> {
    Declaration::parse(Path::new("tenants.toml"), text, |_| None)
}

async fn apply(pool: &PgPool, text: &str) -> Result<Vec<String>, BootstrapError> {
    let done = bootstrap::apply(pool, &parse(text)?).await?;
    Ok(done.steps.iter().map(ToString::to_string).collect())
}

async fn rows(pool: &PgPool) -> i64 {
    sqlx::query_scalar(
        "SELECT (SELECT count(*) FROM organisations) + (SELECT count(*) FROM projects)
              + (SELECT count(*) FROM environments) + (SELECT count(*) FROM services)
              + (SELECT count(*) FROM api_tokens)",
    )
    .fetch_one(pool)
    .await
    .expect("a count")
}

/// A tenant whose only token has these fields.
fn tenant(token: &str) -> String {
    format!(
        r#"
[[organisations]]
name = "acme"

[[organisations.projects]]
name = "shop"
self_register_services = true
environments = [{{ name = "production" }}, {{ name = "staging", trust_absent_marks = true }}]
services = [{{ name = "orders" }}]
tokens = [{{ {token} }}]
"#
    )
}

#[tokio::test]
async fn applying_it_again_changes_nothing() {
    let pool = support::database().await;
    let value = ApiToken::generate();
    let text = tenant(&format!(
        r#"name = "ci", role = "runner", value = "{}", environments = ["staging"], services = ["orders"],
           expires_at = 2040-01-01T12:00:00.123456789+02:00"#,
        value.expose()
    ));
    let declaration = parse(&text.replace("\n           ", " ")).expect("it is right");
    let planned: Vec<_> = bootstrap::preview(&pool, &declaration)
        .await
        .expect("it can be planned")
        .steps
        .iter()
        .map(ToString::to_string)
        .collect();
    assert_eq!(rows(&pool).await, 0, "a plan writes nothing");
    assert_eq!(
        planned,
        [
            "create organisation acme",
            "create project acme/shop (self_register_services = true)",
            "create environment acme/shop/production (trust_absent_marks = false)",
            "create environment acme/shop/staging (trust_absent_marks = true)",
            "create service acme/shop/orders",
            "create token ci of project acme/shop (role runner, environments staging, services orders, until \
             2040-01-01T10:00:00Z)",
        ]
    );
    let applied = bootstrap::apply(&pool, &declaration).await.expect("it applies");
    assert_eq!(applied.steps.len(), planned.len());
    assert_eq!(
        bootstrap::apply(&pool, &declaration)
            .await
            .expect("it applies")
            .steps,
        []
    );
    assert_eq!(rows(&pool).await, 6);
}

#[tokio::test]
async fn replicas_that_start_at_once_apply_it_once() {
    let pool = support::database().await;
    let text = tenant(&format!(
        r#"name = "ci", role = "runner", value = "{}""#,
        ApiToken::generate().expose()
    ));
    let tasks: Vec<_> = (0..6)
        .map(|_| {
            let (pool, text) = (pool.clone(), text.clone());
            tokio::spawn(async move { apply(&pool, &text).await.expect("it applies").len() })
        })
        .collect();
    let mut steps = Vec::new();
    for task in tasks {
        steps.push(task.await.expect("no panic"));
    }
    steps.sort_unstable();
    assert_eq!(steps, [0, 0, 0, 0, 0, 6]);
}

#[tokio::test]
async fn flags_follow_the_file_where_it_names_them_and_nothing_is_deleted() {
    let pool = support::database().await;
    let value = ApiToken::generate();
    let token = format!(r#"name = "ci", role = "runner", value = "{}""#, value.expose());
    apply(&pool, &tenant(&token)).await.expect("it applies");
    let changed = tenant(&token)
        .replace("self_register_services = true", "self_register_services = false")
        .replace(
            "{ name = \"production\" }",
            "{ name = \"production\", trust_absent_marks = true }",
        );
    assert_eq!(
        apply(&pool, &changed).await.expect("it applies"),
        [
            "change project acme/shop: self_register_services = false",
            "change environment acme/shop/production: trust_absent_marks = true",
        ]
    );
    // Less in the file, and flags that it leaves out.
    let less = "[[organisations]]\nname = \"acme\"\n[[organisations.projects]]\nname = \"shop\"\n\
                environments = [{ name = \"staging\" }]";
    assert!(apply(&pool, less).await.expect("it applies").is_empty());
    assert_eq!(rows(&pool).await, 6);
    let flags: (bool, bool) = sqlx::query_as(
        "SELECT (SELECT bool_and(trust_absent_marks) FROM environments), (SELECT self_register_services FROM projects)",
    )
    .fetch_one(&pool)
    .await
    .expect("flags");
    assert_eq!(flags, (true, false));
}

#[tokio::test]
async fn another_value_under_the_same_name_replaces_the_old_one() {
    let pool = support::database().await;
    let (old, new) = (ApiToken::generate(), ApiToken::generate());
    let with = |value: &ApiToken| {
        tenant(&format!(
            r#"name = "ci", role = "runner", value = "{}""#,
            value.expose()
        ))
    };
    apply(&pool, &with(&old)).await.expect("it applies");
    let auth = Auth::start(pool.clone(), AuthSettings::default())
        .await
        .expect("it starts");
    let jwt = auth
        .exchange(Some(old.expose()), Some("production"), Some("orders"))
        .await
        .expect("a session")
        .jwt;

    let steps = apply(&pool, &with(&new)).await.expect("it applies");
    assert_eq!(
        steps,
        ["replace the value of token ci of project acme/shop (role runner); the old value is revoked"]
    );
    assert!(
        auth.exchange(Some(old.expose()), Some("production"), Some("orders"))
            .await
            .is_err()
    );
    assert!(
        auth.exchange(Some(new.expose()), Some("production"), Some("orders"))
            .await
            .is_ok()
    );
    auth.refresh_revocations().await.expect("it asks");
    assert!(matches!(auth.verify(&jwt).await, Err(BearerError::Revoked)));
    // A replica that still has the old file must not bring the old value back to life.
    let refused = apply(&pool, &with(&old)).await.expect_err("it was revoked");
    assert!(refused.to_string().contains("was revoked"), "{refused}");
    assert!(
        auth.exchange(Some(new.expose()), Some("production"), Some("orders"))
            .await
            .is_ok()
    );
}

#[tokio::test]
async fn terms_of_a_token_may_change_but_its_role_may_not() {
    let pool = support::database().await;
    let value = ApiToken::generate();
    let with = |rest: &str| tenant(&format!(r#"name = "ci", value = "{}", {rest}"#, value.expose()));
    apply(&pool, &with(r#"role = "runner", environments = ["staging"]"#))
        .await
        .expect("it applies");
    let auth = Auth::start(pool.clone(), AuthSettings::default())
        .await
        .expect("it starts");
    assert!(
        auth.exchange(Some(value.expose()), Some("production"), Some("orders"))
            .await
            .is_err()
    );
    let steps = apply(
        &pool,
        &with(r#"role = "runner", environments = ["production", "staging"]"#),
    )
    .await
    .expect("it applies");
    assert_eq!(steps.len(), 1);
    assert!(
        auth.exchange(Some(value.expose()), Some("production"), Some("orders"))
            .await
            .is_ok()
    );
    // The order of a list means nothing.
    let steps = apply(
        &pool,
        &with(r#"role = "runner", environments = ["staging", "production"]"#),
    )
    .await;
    assert!(steps.expect("it applies").is_empty());

    let refused = apply(&pool, &with(r#"role = "admin""#))
        .await
        .expect_err("the role is fixed");
    assert!(refused.to_string().contains("has role `runner`"), "{refused}");
}

#[tokio::test]
async fn a_file_that_cannot_be_applied_writes_nothing() {
    let pool = support::database().await;
    let taken = ApiToken::generate();
    let other = format!(
        "[[organisations]]\nname = \"other\"\ntokens = [{{ name = \"boss\", role = \"admin\", value = \"{}\" }}]",
        taken.expose()
    );
    apply(&pool, &other).await.expect("it applies");
    let before = rows(&pool).await;
    let fresh = ApiToken::generate();
    for (token, complaint) in [
        (
            format!(r#"name = "ci", role = "runner", value = "{}""#, taken.expose()),
            "the value of token `ci` is that of another token in the database",
        ),
        (
            format!(
                r#"name = "ci", role = "runner", value = "{}", environments = ["live"]"#,
                fresh.expose()
            ),
            "token `ci` is restricted to environment `live`, which neither the file nor the database has",
        ),
        (
            format!(
                r#"name = "ci", role = "runner", value = "{}", services = ["live"]"#,
                fresh.expose()
            ),
            "token `ci` is restricted to service `live`",
        ),
        (
            format!(
                r#"name = "a", role = "runner", value = "{0}" }}, {{ name = "b", role = "viewer", value = "{0}""#,
                fresh.expose()
            ),
            "token `b` has the value of token `a`",
        ),
    ] {
        let refused = apply(&pool, &tenant(&token))
            .await
            .expect_err("it cannot be applied")
            .to_string();
        assert!(refused.contains(complaint), "{refused}");
        assert!(refused.starts_with("tenants.toml, line 10, column "), "{refused}");
        assert!(
            !refused.contains(taken.expose()) && !refused.contains("boss"),
            "{refused}"
        );
        assert_eq!(rows(&pool).await, before, "{complaint}");
    }

    // The database refuses the last step: those before it are undone.
    sqlx::query("ALTER TABLE api_tokens ADD CONSTRAINT no_ci CHECK (name <> 'ci')")
        .execute(&pool)
        .await
        .expect("a trap");
    let text = tenant(&format!(
        r#"name = "ci", role = "runner", value = "{}""#,
        fresh.expose()
    ));
    assert!(matches!(apply(&pool, &text).await, Err(BootstrapError::Fault(_))));
    assert_eq!(rows(&pool).await, before);
}

#[test]
fn what_is_wrong_is_said_with_its_place_and_without_secrets() {
    let good = ApiToken::generate();
    let good = good.expose();
    let mistyped = format!("{}a", &good[..good.len() - 1]);
    let mistyped = if mistyped == good {
        format!("{}b", &good[..good.len() - 1])
    } else {
        mistyped
    };
    let token = |fields: &str| tenant(fields);
    let cases = [
        (String::new(), "line 1, column 1: it declares nothing"),
        ("# nothing yet\n".to_owned(), "it declares nothing"),
        ("[[organisations]]\nname = \"ac".to_owned(), "line 2, column 1"),
        ("[[organisations]]\n".to_owned(), "missing field `name`"),
        (
            "[[organisation]]\nname = \"acme\"".to_owned(),
            "line 1, column 3: unknown field `organisation`",
        ),
        (
            "[[organisations]]\nname = \"acme\"\ncolour = 1".to_owned(),
            "line 3, column 1: unknown field `colour`",
        ),
        (
            "[[organisations]]\nname = 7".to_owned(),
            "line 2, column 8: invalid type: integer `7`, expected a string",
        ),
        (
            "[[organisations]]\nname = \" acme\"".to_owned(),
            "line 2, column 8: ` acme` is not usable as the name",
        ),
        (
            "[[organisations]]\nname = \"\"".to_owned(),
            "is not usable as the name of an organisation: it is missing or empty",
        ),
        (
            "[[organisations]]\nname = \"a\"\n[[organisations]]\nname = \"a\"".to_owned(),
            "line 4, column 8: organisation `a` is here twice",
        ),
        (
            tenant("name = \"ci\", role = \"runner\"").replace("\"staging\"", "\"production\""),
            "environment `production` is here twice",
        ),
        (
            token("name = \"ci\", role = \"runner\""),
            "line 10, column 20: token `ci` has no value",
        ),
        (
            token(&format!(
                "name = \"ci\", role = \"runner\", value = \"{good}\", value_env = \"X\""
            )),
            "both `value` and `value_env`",
        ),
        (
            token("name = \"ci\", role = \"runner\", value_env = \"NOT_SET\""),
            "environment variable `NOT_SET`, which is not set",
        ),
        (
            token("name = \"ci\", role = \"runner\", value = \"hunter2\""),
            "`value` is no API token: an API token starts with `flk_`; make one with `flamingock-server generate-token`",
        ),
        (
            token(&format!(
                "name = \"ci\", role = \"runner\", value = \"{mistyped}\""
            )),
            "the checksum does not fit",
        ),
        (
            token(&format!("name = \"ci\", role = \"king\", value = \"{good}\"")),
            "the role of token `ci` is `king`: expected `runner` or `viewer` or `operator` or `admin` here",
        ),
        (
            token(&format!("name = \"ci\", role = \"root\", value = \"{good}\"")),
            "the role of token `ci` is `root`",
        ),
        (
            token(&format!("name = \"ci\", role = \"{good}\", value = \"{good}\"")),
            "is `[redacted]`",
        ),
        (
            token(&format!(
                "name = \"ci\", role = \"runner\", value = \"{good}\", environments = []"
            )),
            "an empty list allows no environment at all",
        ),
        (
            token(&format!(
                "name = \"ci\", role = \"runner\", value = \"{good}\", services = \"{good}\""
            )),
            "invalid type: string \"[redacted]\", expected a sequence",
        ),
        (
            token(&format!(
                "name = \"ci\", role = \"runner\", value = \"{good}\", expires_at = 2030-01-01"
            )),
            "`2030-01-01` is no moment",
        ),
        (
            token(&format!(
                "name = \"ci\", role = \"runner\", value = \"{good}\", expires_at = \"soon\""
            )),
            "line 10",
        ),
        (
            format!("tokens = [{{ name = \"r\", role = \"admin\", value = \"{good}\" }}]"),
            "expected `root` here",
        ),
        (
            format!(
                "tokens = [{{ name = \"r\", role = \"root\", value = \"{good}\", environments = [\"a\"] }}]"
            ),
            "only a token of a project can be restricted",
        ),
    ];
    for (text, complaint) in &cases {
        let refused = parse(text).expect_err(text).to_string();
        assert!(refused.starts_with("tenants.toml, line "), "{refused}");
        assert!(
            refused.contains(complaint),
            "expected {complaint:?} in {refused:?}"
        );
        assert!(
            !refused.contains(&good[4..]) && !refused.contains(&mistyped[4..]),
            "{refused}"
        );
        assert!(!refused.contains("hunter2"), "{refused}");
    }
}

#[test]
fn values_come_from_the_environment_and_the_variables_are_known() {
    let value = ApiToken::generate();
    let text = tenant(r#"name = "ci", role = "runner", value_env = "FLAMINGOCK_TOKEN_CI""#);
    let variable = |name: &str| (name == "FLAMINGOCK_TOKEN_CI").then(|| value.expose().to_owned());
    let declaration = Declaration::parse(Path::new("tenants.toml"), &text, variable).expect("it is right");
    assert_eq!(declaration.variables(), ["FLAMINGOCK_TOKEN_CI"]);
    assert!(!format!("{declaration:?}").contains(value.expose()));

    let wrong = |_: &str| Some("secret-but-no-token".to_owned());
    let refused = Declaration::parse(Path::new("tenants.toml"), &text, wrong)
        .expect_err("no token")
        .to_string();
    assert!(
        refused.contains("the value of `FLAMINGOCK_TOKEN_CI` is no API token"),
        "{refused}"
    );
    assert!(!refused.contains("secret-but-no-token"), "{refused}");
}

#[test]
fn a_file_that_is_not_there_is_said_so() {
    let refused =
        Declaration::read(Path::new("/nowhere/tenants.toml"), |_| None).expect_err("it is not there");
    assert!(refused.to_string().contains("/nowhere/tenants.toml"), "{refused}");
}

#[tokio::test]
async fn the_example_in_the_repository_applies() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/bootstrap.example.toml");
    let variable = |_: &str| Some(ApiToken::generate().expose().to_owned());
    let declaration = Declaration::read(&path, variable).expect("the example is right");
    let pool = support::database().await;
    assert!(
        !bootstrap::apply(&pool, &declaration)
            .await
            .expect("it applies")
            .steps
            .is_empty()
    );
    assert_eq!(
        bootstrap::apply(&pool, &declaration)
            .await
            .expect("it applies")
            .steps,
        []
    );
}

/// Steps and notes of what a file would do now.
async fn preview(pool: &PgPool, text: &str) -> (Vec<String>, Vec<String>) {
    let plan = bootstrap::preview(pool, &parse(text).expect("it is right"))
        .await
        .expect("it can be planned");
    (
        plan.steps.iter().map(ToString::to_string).collect(),
        plan.notes.iter().map(ToString::to_string).collect(),
    )
}

async fn run(pool: &PgPool, statement: &'static str) {
    sqlx::query(statement).execute(pool).await.expect(statement);
}

#[tokio::test]
async fn a_name_that_was_left_leads_to_what_bears_another_one_now() {
    let pool = support::database().await;
    let value = ApiToken::generate();
    let text = tenant(&format!(
        r#"name = "ci", role = "runner", value = "{}", environments = ["staging"], services = ["orders"]"#,
        value.expose()
    ));
    apply(&pool, &text).await.expect("it applies");
    let before = rows(&pool).await;
    run(&pool, "UPDATE organisations SET name = 'acme ltd'").await;
    run(&pool, "UPDATE projects SET name = 'store'").await;
    run(
        &pool,
        "UPDATE environments SET name = 'preview' WHERE name = 'staging'",
    )
    .await;
    run(&pool, "UPDATE services SET name = 'purchases'").await;
    let (steps, notes) = preview(&pool, &text).await;
    assert_eq!(steps, [""; 0]);
    assert_eq!(notes.len(), 4, "{notes:?}");
    assert_eq!(
        notes[0],
        "organisation acme is called acme ltd now: it is the same one, and nothing is made; write the new name into the file"
    );
    assert!(apply(&pool, &text).await.expect("it applies").is_empty());
    assert_eq!(rows(&pool).await, before);

    // What is new goes below the one that was found, not below a twin.
    let more = text.replace(
        "services = [{ name = \"orders\" }]",
        "services = [{ name = \"orders\" }, { name = \"refunds\" }]",
    );
    assert_eq!(
        apply(&pool, &more).await.expect("it applies"),
        ["create service acme/shop/refunds"]
    );
    assert_eq!(rows(&pool).await, before + 1);
    let both = text.replace(
        "services = [{ name = \"orders\" }]",
        "services = [{ name = \"orders\" }, { name = \"purchases\" }]",
    );
    let refused = apply(&pool, &both)
        .await
        .expect_err("one thing, two names")
        .to_string();
    assert!(refused.contains("are one and the same"), "{refused}");
}

#[tokio::test]
async fn what_people_decided_since_is_said_and_left() {
    let pool = support::database().await;
    let (revoked, rotated, new) = (ApiToken::generate(), ApiToken::generate(), ApiToken::generate());
    let text = tenant(&format!(
        r#"name = "revoked", role = "runner", value = "{}" }}, {{ name = "rotated", role = "runner", value = "{}""#,
        revoked.expose(),
        rotated.expose()
    ));
    apply(&pool, &text).await.expect("it applies");
    run(
        &pool,
        "UPDATE api_tokens SET revoked_at = clock_timestamp() WHERE name = 'revoked'",
    )
    .await;
    run(
        &pool,
        "UPDATE api_tokens SET replaced_by = id WHERE name = 'rotated'",
    )
    .await;
    sqlx::query(
        "INSERT INTO api_tokens (organisation_id, project_id, name, role, sha256)
         SELECT organisation_id, project_id, name, role, $1 FROM api_tokens WHERE name = 'rotated'",
    )
    .bind(new.sha256().as_slice())
    .execute(&pool)
    .await
    .expect("a new value");
    run(
        &pool,
        "UPDATE environments SET archived_at = clock_timestamp() WHERE name = 'staging'",
    )
    .await;
    let before = rows(&pool).await;
    let (steps, notes) = preview(&pool, &text).await;
    assert_eq!(steps, [""; 0]);
    assert_eq!(
        notes,
        [
            "environment acme/shop/staging is archived and stays so: say `archived = true` in the file, or `archived = false` \
             to take it back",
            "token revoked of project acme/shop was revoked and stays so: take it out of the file, or give it a new value",
            "token rotated of project acme/shop was rotated since: the file has the value from before; put the new one into it",
        ]
    );
    // The server starts all the same.
    assert!(apply(&pool, &text).await.expect("it applies").is_empty());
    assert_eq!(rows(&pool).await, before);
    // With the new value in the file there is nothing left to say of the token.
    let (steps, notes) = preview(&pool, &text.replace(rotated.expose(), new.expose())).await;
    assert_eq!((steps.len(), notes.len()), (0, 2), "{notes:?}");
}

#[tokio::test]
async fn the_file_archives_and_takes_back_and_says_what_it_does_not_speak_of() {
    let pool = support::database().await;
    let token = format!(
        r#"name = "ci", role = "runner", value = "{}""#,
        ApiToken::generate().expose()
    );
    let text = tenant(&token);
    apply(&pool, &text).await.expect("it applies");
    let archived = text.replace(
        "{ name = \"production\" }",
        "{ name = \"production\", archived = true }",
    );
    assert_eq!(
        apply(&pool, &archived).await.expect("it applies"),
        ["archive environment acme/shop/production: nothing new runs in it, all history stays"]
    );
    assert!(apply(&pool, &archived).await.expect("it applies").is_empty());
    let back = archived.replace("archived = true", "archived = false");
    assert_eq!(
        apply(&pool, &back).await.expect("it applies"),
        ["take environment acme/shop/production back from the archive"]
    );
    run(&pool, "UPDATE services SET archived_at = clock_timestamp()").await;
    let less = "[[organisations]]\nname = \"acme\"\narchived = false";
    let (steps, notes) = preview(&pool, less).await;
    assert_eq!(steps, [""; 0]);
    let stays = " is in the database and not in the file: it stays";
    assert_eq!(
        notes,
        [
            format!("project acme/shop{stays}"),
            format!("environment acme/shop/production{stays}"),
            format!("environment acme/shop/staging{stays}"),
            format!("service acme/shop/orders (archived){stays}"),
            format!("token ci of project acme/shop{stays}"),
        ]
    );
    // All of it is in the log of actions, without any secret.
    let actions: Vec<(String, String, String)> =
        sqlx::query_as("SELECT action, actor, coalesce(after, '') FROM admin_actions ORDER BY id")
            .fetch_all(&pool)
            .await
            .expect("the log");
    let names: Vec<&str> = actions.iter().map(|(action, ..)| action.as_str()).collect();
    assert_eq!(
        names,
        [
            "organisation_create",
            "project_create",
            "environment_create",
            "environment_create",
            "service_create",
            "token_create",
            "environment_update",
            "environment_update",
        ]
    );
    assert!(actions.iter().all(|(_, actor, _)| actor == "server:bootstrap"));
    assert!(!format!("{actions:?}").contains("sha256"));
}

/// An environment with these lines below its name.
fn ruled(lines: &str) -> String {
    format!(
        "[[organisations]]\nname = \"acme\"\n[[organisations.projects]]\nname = \"shop\"\nservices = [{{ name = \"orders\" }}]\n\
         [[organisations.projects.environments]]\nname = \"production\"\n{lines}"
    )
}

const POLICY: &str = "policy = { checksum_mismatch = \"refuse\", approval_required = true }\n";
const FREEZE: &str = "freezes = [{ services = [\"orders\"], starts_at = 2190-12-20T00:00:00Z, \
                      ends_at = 2191-01-04T01:00:00+01:00, reason = \"Christmas business\" }]\n";

#[tokio::test]
async fn policies_and_freezes_follow_the_file_and_people_have_the_last_word_on_a_freeze() {
    let pool = support::database().await;
    let text = ruled(&format!("{POLICY}{FREEZE}"));
    let expected = [
        "create organisation acme",
        "create project acme/shop (self_register_services = false)",
        "create environment acme/shop/production (trust_absent_marks = false)",
        "set the policy of environment acme/shop/production: checksum_mismatch = refuse, out_of_order = allow, \
         approval_required = true",
        "create service acme/shop/orders",
        "freeze environment acme/shop/production from 2190-12-20T00:00:00Z to 2191-01-04T00:00:00Z, for orders: Christmas \
         business",
    ];
    assert_eq!(preview(&pool, &text).await.0, expected);
    assert_eq!(apply(&pool, &text).await.expect("it applies"), expected);
    assert_eq!(preview(&pool, &text).await, (vec![], vec![]), "it is done once");
    let actions: Vec<(String, String, String)> = sqlx::query_as(
        "SELECT action, actor, reason FROM admin_actions WHERE action IN ('policy_set', 'freeze_start') ORDER BY id",
    )
    .fetch_all(&pool)
    .await
    .expect("the log");
    let by_the_file = |action: &str| {
        let reason = "declared in the bootstrap file";
        (
            action.to_owned(),
            "server:bootstrap".to_owned(),
            reason.to_owned(),
        )
    };
    assert_eq!(actions, [by_the_file("policy_set"), by_the_file("freeze_start")]);

    // What the file leaves out stays as people set it; what it names it sets again.
    run(
        &pool,
        "UPDATE environments SET out_of_order = 'WARN', approval_required = false",
    )
    .await;
    assert_eq!(
        apply(&pool, &text).await.expect("it applies"),
        [
            "set the policy of environment acme/shop/production: checksum_mismatch = refuse, out_of_order = warn, \
          approval_required = true"
        ]
    );
    let revision: i64 = sqlx::query_scalar("SELECT policy_revision FROM environments")
        .fetch_one(&pool)
        .await
        .expect("a revision");
    assert_eq!(
        revision, 2,
        "an answer that was kept under the policy before is not given any more"
    );

    // A window that a person has ended stays so, and the file hears of it.
    run(
        &pool,
        "UPDATE freeze_windows SET ended_at = clock_timestamp(), ended_by = 'token:4 (ada)', end_reason = 'a fix'",
    )
    .await;
    let (steps, notes) = preview(&pool, &text).await;
    assert_eq!(steps, [""; 0]);
    assert_eq!(notes.len(), 1);
    assert!(
        notes[0].contains("was ended by token:4 (ada) and stays so"),
        "{notes:?}"
    );
    // Another reason, other times, another service: another window each.
    for (from, to) in [
        ("Christmas business", "inventory"),
        ("2190-12-20", "2190-12-21"),
        ("2191-01-04T01:00:00+01:00", "2191-01-05T01:00:00+01:00"),
        ("services = [\"orders\"], ", ""),
    ] {
        let other = text.replace(from, to);
        assert_eq!(apply(&pool, &other).await.expect("it applies").len(), 1, "{to}");
        assert_eq!(apply(&pool, &other).await.expect("it applies").len(), 0, "{to}");
    }
    // Taken out of the file: nothing is ended by that.
    assert_eq!(apply(&pool, &ruled("")).await.expect("it applies").len(), 0);
    // Over before it was set.
    let past = "freezes = [{ starts_at = 2001-01-01T00:00:00Z, ends_at = 2001-02-01T00:00:00Z, reason = \"long ago\" }]";
    let (steps, notes) = preview(&pool, &ruled(past)).await;
    assert_eq!(steps, [""; 0]);
    assert!(notes[0].contains("is over before it was ever set"), "{notes:?}");
}

#[tokio::test]
async fn replicas_that_start_at_once_set_a_declared_freeze_once() {
    let pool = support::database().await;
    let text = ruled(&format!("{POLICY}{FREEZE}"));
    let done = futures_util::future::join_all((0..6).map(|_| apply(&pool, &text))).await;
    let steps: usize = done
        .into_iter()
        .map(|steps| steps.expect("it applies").len())
        .sum();
    assert_eq!(steps, 6);
}

#[tokio::test]
async fn rules_that_make_no_sense_are_refused_with_their_place() {
    let pool = support::database().await;
    for (lines, expected) in [
        (
            "policy = { checksum_mismatch = \"ignore\" }",
            "expected `allow`, `warn` or `refuse`",
        ),
        ("policy = { checksums = \"warn\" }", "unknown field `checksums`"),
        ("policy = { approval_required = \"yes\" }", "invalid type"),
        (
            "freezes = [{ starts_at = 2190-01-01T00:00:00Z }]",
            "missing field `reason`",
        ),
        ("freezes = [{ reason = \"x\" }]", "missing field `starts_at`"),
        (
            "freezes = [{ starts_at = 2190-01-01T00:00:00, reason = \"x\" }]",
            "is no moment",
        ),
        (
            "freezes = [{ starts_at = 2190-01-02T00:00:00Z, ends_at = 2190-01-01T00:00:00Z, reason = \"x\" }]",
            "would end before it starts",
        ),
        (
            "freezes = [{ starts_at = 2190-01-01T00:00:00Z, reason = \" \" }]",
            "must say why",
        ),
        (
            "freezes = [{ starts_at = 2190-01-01T00:00:00Z, services = [], reason = \"x\" }]",
            "an empty list allows no service",
        ),
        (
            "freezes = [{ starts_at = 2190-01-01T00:00:00Z, services = [\"parcels\"], reason = \"x\" }]",
            "service `parcels`, which neither the file nor the database has",
        ),
    ] {
        let error = match parse(&ruled(lines)) {
            Err(error) => error,
            Ok(declaration) => bootstrap::preview(&pool, &declaration)
                .await
                .expect_err("it cannot be applied"),
        };
        let text = error.to_string();
        assert!(
            text.contains("line 8, column ") && text.contains(expected),
            "{lines}: {text}"
        );
    }
}
