//! The released Java SDK, unmodified, against the real server: each test for each version of the SDK. What counts is
//! whether the application may serve, what its changes really did, what is recorded, and that the chain is intact.
//!
//! The applications are in `interop-java`. Where there is no JDK, no Maven or no such version, the tests say so and pass.

use flamingock_tests::TestServer;

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

mod starts;

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
