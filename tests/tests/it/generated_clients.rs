//! Starts through clients that generators made from the OpenAPI document: it says enough, and says it right.

use flamingock_tests::{GeneratedClient, Ran, TestServer, scratch_file, tokens};

/// First start, second start, a failure, a person's decision, and the start after it.
async fn a_life(client: &GeneratedClient, service: &str) {
    let server = TestServer::start().await;
    let runner = server.runner(service).await;
    let effects = scratch_file(&format!("{service}-effects"));
    let path = effects.as_str();
    let lines = || {
        // Not there before the first.
        let text = std::fs::read_to_string(path).unwrap_or_default();
        text.lines().map(str::to_owned).collect::<Vec<_>>()
    };
    let start = async |arguments: &[&str], token: &str| {
        let url = server.url();
        let environment = [
            ("FLAMINGOCK_SERVER", url.as_str()),
            ("FLAMINGOCK_TOKEN", token),
            ("FLAMINGOCK_SERVICE", service),
            ("ENVIRONMENT_ID", &runner.environment_id.to_string()),
            ("SERVICE_ID", &runner.service_id.to_string()),
        ];
        client.run(arguments, &environment).await
    };
    let run = async |failing: &[&str]| start(&[&["run", path], failing].concat(), &tokens().runner).await;

    let refused = start(&["run", path], &tokens().unknown).await;
    assert_ne!(refused.code, Some(0));
    assert!(refused.log.contains("R_AUTH"), "{}", refused.log);
    assert!(lines().is_empty(), "nobody applies anything without a session");

    let failed = run(&["create-invoices"]).await;
    assert_eq!(failed.code, Some(1), "{failed:?}");
    assert_eq!(lines(), ["create-orders", "create-invoices"]);

    // It had no rollback: nobody goes on before a person has looked.
    let stopped = run(&[]).await;
    assert_eq!(stopped.code, Some(1), "{stopped:?}");
    assert_eq!(lines().len(), 2, "an uncertain change is not repeated");

    let reason = "the topic is not there";
    let decided = start(
        &["decide", "create-invoices", "ROLLED_BACK", reason],
        &tokens().operator,
    )
    .await;
    assert_eq!(decided.code, Some(0), "{decided:?}");
    let told: Vec<&str> = decided.output.lines().collect();
    assert_eq!(
        told,
        [
            "1 create-orders STARTED",
            "2 create-orders APPLIED",
            "3 create-invoices STARTED",
            "4 create-invoices FAILED",
            "5 create-invoices MANUAL_MARKED_AS_ROLLED_BACK"
        ]
    );

    let goes_on = run(&[]).await;
    assert!(started(&goes_on), "{goes_on:?}");
    assert_eq!(lines()[2..], ["create-invoices", "widen-retention"]);
    let entries = server.operator().audit(&runner).await.len();

    let again = run(&[]).await;
    assert!(started(&again), "{again:?}");
    assert_eq!(lines().len(), 4);
    assert_eq!(server.operator().audit(&runner).await.len(), entries);
}

fn started(ran: &Ran) -> bool {
    ran.code == Some(0) && ran.output.trim() == "the application starts"
}

#[tokio::test]
async fn a_generated_python_client_starts_an_application() {
    if let Some(client) = GeneratedClient::python().await {
        a_life(&client, "in-python").await;
    }
}

#[tokio::test]
async fn a_generated_typescript_client_starts_an_application() {
    if let Some(client) = GeneratedClient::typescript().await {
        a_life(&client, "in-typescript").await;
    }
}
