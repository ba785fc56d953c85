//! An applied change in code that was edited: the attribute's checksum of its source says so.

use flamingock::{Builder, Change, Flamingock, Stage, StartErrorKind, Target, change};
use flamingock_api_types::ErrorCode;
use flamingock_tests::{Runner, TestServer, tokens};
use serde_json::json;

use super::set;

mod first {
    use super::change;

    #[change(id = "seed", order = "0001", target = "shell")]
    pub async fn seed() -> Result<(), std::fmt::Error> {
        Ok(())
    }
}

#[rustfmt::skip]
mod laid_out_anew {
    use super::change;

    /// Documented since, and another name.
    #[change(
        id = "seed",
        order = "0001",
        target = "shell",
    )]
    pub async fn seed_customers(
    ) -> Result<(), std::fmt::Error> {
        // Why not.
        Ok(
            (),
        )
    }
}

mod edited {
    use super::change;

    #[change(id = "seed", order = "0001", target = "shell")]
    pub async fn seed() -> Result<(), std::fmt::Error> {
        tracing_of_a_kind();
        Ok(())
    }

    fn tracing_of_a_kind() {}
}

mod without {
    use super::change;

    #[change(id = "seed", order = "0001", target = "shell", checksum = false)]
    pub async fn seed() -> Result<(), std::fmt::Error> {
        Ok(())
    }
}

fn app(server: &TestServer, change: impl Change) -> Builder {
    Flamingock::builder(server.url())
        .token(&tokens().runner)
        .environment("production")
        .service("billing")
        .log_report(false)
        .target(Target::non_transactional("shell", ()))
        .stage(Stage::new("data").change(change))
}

async fn starts(server: &TestServer, change: impl Change) {
    let app = app(server, change).build().expect("sound");
    app.run().await.expect("it starts");
}

async fn refused(server: &TestServer, change: impl Change) {
    let app = app(server, change).build().expect("sound");
    let error = app.run().await.expect_err("an edited change is refused");
    let StartErrorKind::StoppedByPolicy { code, change_ids, .. } = error.kind() else {
        panic!("{error}")
    };
    assert_eq!(*code, ErrorCode::ChecksumMismatch);
    assert_eq!(change_ids, &["seed"]);
}

async fn refuse(server: &TestServer) -> Runner {
    let runner = server.runner("billing").await;
    set(server, &runner, &json!({"checksumMismatch": "REFUSE"}))
        .await
        .expect(200);
    runner
}

#[tokio::test]
async fn an_edit_of_the_source_is_refused_and_its_layout_is_not() {
    let server = TestServer::start().await;
    starts(&server, first::seed).await;
    starts(&server, edited::seed).await;
    refuse(&server).await;
    starts(&server, first::seed).await;
    starts(&server, laid_out_anew::seed_customers).await;
    refused(&server, edited::seed).await;
    starts(&server, without::seed).await;
}

#[tokio::test]
async fn what_was_applied_without_a_checksum_starts_under_every_policy() {
    let server = TestServer::start().await;
    starts(&server, without::seed).await;
    starts(&server, first::seed).await;
    refuse(&server).await;
    starts(&server, first::seed).await;
    starts(&server, edited::seed).await;
}
