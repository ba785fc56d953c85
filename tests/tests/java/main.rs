//! The released Java SDK, unmodified, against the real server: each test for each version of the SDK. What counts is
//! whether the application may serve, what its changes really did, what is recorded, and that the chain is intact.
//!
//! The applications are in `interop-java`. Where there is no JDK, no Maven or no such version, the tests say so and pass.

use flamingock_api_types::issue::ResolutionKind;
use flamingock_tests::{Java, TestServer};

/// Makes a test of each scenario for each version, `scenario::sdk_1_4_5`.
macro_rules! with_each_sdk {
    ($($scenario:ident),* $(,)?) => {
        $(mod $scenario {
            #[tokio::test]
            async fn sdk_1_3_0() {
                if let Some(java) = flamingock_tests::Java::of("1.3.0").await {
                    super::$scenario(java).await;
                }
            }

            #[tokio::test]
            async fn sdk_1_4_5() {
                if let Some(java) = flamingock_tests::Java::of("1.4.5").await {
                    super::$scenario(java).await;
                }
            }
        })*
    };
}

mod failures;
mod names;
mod outages;
mod sql;
mod starts;
mod takeovers;
mod tokens;
mod weather;

/// Everything that is recorded of the service `billing`, oldest first: `create-invoices APPLIED`, a late one with `late`
/// before it. The chain must be intact.
async fn recorded(server: &TestServer) -> Vec<String> {
    let (runner, operator) = (server.runner("billing").await, server.operator());
    let verification = operator.verification(&runner).await;
    assert!(verification.intact, "{verification:?}");
    let entries = operator.audit(&runner).await;
    let line = |late, change, state| format!("{}{change} {state}", if late { "late " } else { "" });
    entries
        .into_iter()
        .map(|entry| line(entry.late, entry.change_id, entry.state))
        .collect()
}

/// The lines of a record in which these changes were applied, one after the other.
fn applied(changes: &[&str]) -> Vec<String> {
    let lines = changes
        .iter()
        .map(|change| entries(change, &["STARTED", "APPLIED"]));
    lines.flatten().collect()
}

/// The lines of a record for one change.
fn entries(change: &str, states: &[&str]) -> Vec<String> {
    states.iter().map(|state| format!("{change} {state}")).collect()
}

/// The changes that wait for a person.
async fn issues(server: &TestServer) -> Vec<String> {
    let runner = server.runner("billing").await;
    let issues = server.operator().issues(&runner).await;
    issues.into_iter().map(|issue| issue.change_id).collect()
}

/// A person has looked, and decides.
async fn resolve(server: &TestServer, change: &str, resolution: ResolutionKind) {
    let runner = server.runner("billing").await;
    let issues = server.operator().issues(&runner).await;
    let issue = issues.iter().find(|issue| issue.change_id == change);
    let seq = issue.expect("it waits for a person").seq;
    let answer = server
        .operator()
        .resolve(&runner, &[(change, resolution, seq)])
        .await;
    answer.expect(201);
}

/// What happens in the seed stage in spite of a failure in the schema stage, and what does so afterwards: from 1.4 on
/// stages are independent, and the first failure ends a run of 1.3.
fn seed(java: &Java) -> (&'static [&'static str], &'static [&'static str]) {
    let changes: (&[&str], &[&str]) = (&["load-tax-rates"], &[]);
    if java.version == "1.3.0" {
        (changes.1, changes.0)
    } else {
        changes
    }
}

/// Effects of changes that were applied.
fn effects(changes: &[&str]) -> Vec<String> {
    changes.iter().map(|change| format!("applied {change}")).collect()
}
