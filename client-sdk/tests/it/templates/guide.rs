//! The guide's files and those of the example directory do what they say, and the guide's errors are the real ones.

use std::{fs, path::Path};

use flamingock::{ChangeStatus, Flamingock, HttpTarget, PostgresTarget, Stage, templates::Placeholders};

use super::http::Api;
use crate::{
    postgres::Database,
    support::{FakeServer, Files},
};

fn guide() -> String {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/templates.md");
    fs::read_to_string(path).expect("the guide is in the repository")
}

/// The blocks of code: what stands after the opening fence, and the text.
fn blocks(guide: &str) -> Vec<(&str, String)> {
    let mut blocks = Vec::new();
    let mut lines = guide.lines();
    while let Some(line) = lines.next() {
        if let Some(info) = line.strip_prefix("```") {
            let text: Vec<_> = lines.by_ref().take_while(|line| *line != "```").collect();
            blocks.push((info, text.join("\n") + "\n"));
        }
    }
    blocks
}

/// Runs a directory against a database and an API, and says what the API was asked.
async fn run(directory: &Path, changes: usize) -> (Database, Vec<String>) {
    let (server, database, (url, api)) = (
        FakeServer::start().await,
        Database::new().await,
        Api::start().await,
    );
    let report = server
        .app()
        .target(PostgresTarget::new("orders-db", database.pool.clone()))
        .target(HttpTarget::new("flags", &url).expect("a target"))
        .placeholders(Placeholders::none().with("CURRENCY", "CHF"))
        .stage(Stage::from_dir("changes", directory))
        .build()
        .unwrap()
        .run()
        .await
        .unwrap();
    let applied = &report.stages[0].changes;
    assert_eq!(applied.len(), changes);
    assert!(
        applied
            .iter()
            .all(|change| change.status == ChangeStatus::Applied),
        "{report}"
    );
    let valid =
        "SELECT count(*) FROM pg_index WHERE indexrelid = 'orders_by_customer'::regclass AND indisvalid";
    assert_eq!(database.number(valid).await, 1);
    (database, api.lines())
}

#[tokio::test]
async fn the_files_of_the_guide_work() {
    let guide = guide();
    let mut files = Vec::new();
    for (info, text) in blocks(&guide) {
        let mut words = info.split_whitespace();
        if let Some("yaml" | "sql") = words.next() {
            let name = words
                .next()
                .unwrap_or_else(|| panic!("a file of the guide has no name:\n{text}"));
            assert!(
                guide.contains(&format!("`changes/{name}`")),
                "{name} is not introduced"
            );
            files.push((name, text));
        }
    }
    assert_eq!(files.len(), 4);
    let files = Files::new(&files);
    let (database, asked) = run(files.path(), 4).await;
    let default = "SELECT count(*) FROM pg_attrdef WHERE pg_get_expr(adbin, adrelid) = '''CHF''::text'";
    assert_eq!(database.number(default).await, 1);
    assert_eq!(
        asked,
        [
            r#"PUT /api/flags/checkout-v2 {"enabled":false,"owner":"shop"}"#,
            r#"POST /api/flags/checkout-v2/rules?notify=no {"country":"de","percent":10}"#
        ]
    );
}

#[tokio::test]
async fn the_errors_of_the_guide_are_real() {
    let guide = guide();
    let header =
        |id: &str| format!("id: {id}\nauthor: mara\ntemplate: sql-template\ntargetSystem: orders-db\n");
    let files = Files::new(&[
        (
            "changes/_0002__add_currency.yaml",
            format!("{}rolback: SELECT 1\napply: SELECT 1\n", header("a")),
        ),
        (
            "changes/_0003__prices.yaml",
            format!(
                "{}apply: |\n  SELECT 1;\n  SELECT '${{CURRENCY}}';\n",
                header("b")
            ),
        ),
    ]);
    let error = Flamingock::builder("http://localhost:1")
        .token("t")
        .environment("e")
        .service("s")
        .placeholders(Placeholders::none())
        .stage(Stage::from_dir("changes", files.path().join("changes")))
        .build()
        .expect_err("refused");
    let shown = blocks(&guide)
        .into_iter()
        .find(|(info, _)| *info == "text")
        .expect("it shows an error");
    assert_eq!(files.plain(&error.to_string()), shown.1.trim_end());
}

#[tokio::test]
async fn the_example_directory_works() {
    let directory = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/changes");
    let (database, asked) = run(Path::new(directory), 4).await;
    assert_eq!(
        database
            .number("SELECT count(*) FROM orders WHERE currency = 'CHF'")
            .await,
        1
    );
    assert_eq!(asked.len(), 2);
}
