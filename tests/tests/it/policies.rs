//! Policies of an environment: freezes, approvals, edited changes, order. Each stops a start with a message, and none stops
//! more than it should.

mod approvals;
mod checksums;
mod code;
mod freezes;
mod order;
mod settings;

use flamingock_tests::{Answer, Person, Runner, TestServer, tokens};
use serde_json::{Value, json};

/// Sets the whole policy of the runner's environment; what a test does not say allows everything.
async fn set(server: &TestServer, of: &Runner, policy: &Value) -> Answer {
    let mut body = json!({
        "checksumMismatch": "ALLOW", "outOfOrder": "ALLOW", "approvalRequired": false, "trustAbsentMarks": false,
        "reason": "a test wants it so"
    });
    for (name, value) in policy.as_object().expect("a policy is an object") {
        body[name] = value.clone();
    }
    administrator(server).put(&path(of), &body).await
}

fn administrator(server: &TestServer) -> Person {
    server.person(&tokens().admin)
}

fn path(of: &Runner) -> String {
    format!("/api/v1/admin/environment/{}/policy", of.environment_id)
}

/// What a refused start left: executions, entries, and locks that are held.
async fn traces(server: &TestServer) -> i64 {
    server
        .database
        .number(
            "SELECT (SELECT count(*) FROM executions) + (SELECT count(*) FROM audit_entries)
                  + (SELECT count(*) FROM locks WHERE owner IS NOT NULL)",
        )
        .await
}

/// The message of a stop, which every client generation shows at start-up.
#[track_caller]
fn message(answer: &Answer, code: &str) -> String {
    answer.expect_problem(409, code);
    answer.json()["message"].as_str().expect("a message").to_owned()
}
