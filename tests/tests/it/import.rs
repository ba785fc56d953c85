//! `flamingock-server import`: history of Flamingock Community and of Mongock, by the server's own program.

mod community;
mod mongock;
mod refusals;
mod whole;

use flamingock_api_types::execution::{ChangeAction, PlanResponse};
use flamingock_tests::{Database, Ran, ServerCommand, scratch_file};

/// What an import writes, all together.
const WRITTEN: &str = "SELECT (SELECT count(*) FROM audit_entries) + (SELECT count(*) FROM change_states)
     + (SELECT count(*) FROM services) + (SELECT count(*) FROM audit_streams)
     + (SELECT coalesce(sum(head_seq), 0)::bigint FROM audit_streams)";

/// `import` into service `billing` of acme/payments, in production.
fn import<'a>(source: &[&'a str]) -> Vec<&'a str> {
    into("production", source)
}

fn into<'a>(environment: &'a str, source: &[&'a str]) -> Vec<&'a str> {
    let mut arguments = vec!["import", "--organisation", "acme", "--project", "payments"];
    arguments.extend([
        "--environment",
        environment,
        "--service",
        "billing",
        "--by",
        "mara",
    ]);
    arguments.extend(source);
    arguments
}

/// Imports; the end is the test's to judge.
async fn imported(database: &Database, source: &[&str]) -> Ran {
    ServerCommand::run(&import(source), &[("DATABASE_URL", &database.url)]).await
}

/// Imports, which must succeed. Gives the account.
async fn done(database: &Database, source: &[&str]) -> String {
    let ran = imported(database, source).await;
    assert_eq!(ran.code, Some(0), "{}{}", ran.output, ran.log);
    ran.output
}

/// A file with these lines.
fn file(lines: &[String]) -> String {
    let path = scratch_file("history.jsonl");
    std::fs::write(&path, lines.join("\n")).expect("the scratch directory can be written to");
    path
}

/// A record of Mongock, as `mongoexport` writes it.
fn record(change: &str, state: &str, at_ms: i64) -> String {
    format!(
        r#"{{"_id":{{"$oid":"5c7905b07f2a3b0001c0ffee"}},"executionId":"2019-03-01T10:11:12.123-{at_ms}","changeId":"{change}","author":"lin","timestamp":{{"$date":{{"$numberLong":"{at_ms}"}}}},"state":"{state}","type":"EXECUTION","changeLogClass":"com.acme.{change}","changeSetMethod":"apply","metadata":{{}},"executionMillis":{{"$numberLong":"12"}},"executionHostname":"node-a","errorTrace":"","systemChange":false}}"#
    )
}

/// What a plan says of each change that it names.
fn actions(plan: &PlanResponse) -> Vec<(&str, ChangeAction)> {
    let stages = plan.stages.iter().flatten();
    stages
        .flat_map(|stage| &stage.changes)
        .map(|change| (change.id.as_str(), change.action))
        .collect()
}
