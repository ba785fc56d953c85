//! For a delivery pipeline: fails when changes are pending, and applies none of them. The change is written by hand
//! here, which is useful when many differ only in a value.
//!
//! ```text
//! cargo run -p flamingock --example check_pending
//! ```

use std::process::ExitCode;

use flamingock::{
    Change, ChangeFuture, ChangeInfo, Context, Flamingock, Requirement, Stage, StartErrorKind, Target,
};

#[derive(Clone)]
struct Topics;

impl Topics {
    async fn create(&self, name: &str) -> Result<(), std::io::Error> {
        tokio::task::yield_now().await; // where a real client would talk to its broker
        tracing::info!(name, "topic created");
        Ok(())
    }
}

struct CreateTopic {
    order: &'static str,
    name: &'static str,
}

impl Change for CreateTopic {
    fn info(&self) -> ChangeInfo {
        ChangeInfo::new(format!("topic-{}", self.name), self.order, "broker").author("mara")
    }

    fn requirements(&self) -> Vec<Requirement> {
        vec![Requirement::client::<Topics>()]
    }

    fn apply<'a>(&'a self, context: &'a mut Context) -> ChangeFuture<'a> {
        Box::pin(async move { Ok(context.client::<Topics>()?.create(self.name).await?) })
    }
}

#[tokio::main]
async fn main() -> Result<ExitCode, Box<dyn std::error::Error>> {
    tracing_subscriber::fmt().init();
    let outcome = Flamingock::from_env()
        .target(Target::non_transactional("broker", Topics))
        .stage(
            Stage::new("topics")
                .change(CreateTopic {
                    order: "0001",
                    name: "orders",
                })
                .change(CreateTopic {
                    order: "0002",
                    name: "invoices",
                }),
        )
        .validate_only(true)
        .build()?
        .run()
        .await;
    match outcome {
        Ok(_) => Ok(ExitCode::SUCCESS),
        Err(error) => {
            if let StartErrorKind::PendingChanges { change_ids } = error.kind() {
                tracing::warn!("pending: {}", change_ids.join(", "));
                return Ok(ExitCode::from(4));
            }
            Err(error.into())
        }
    }
}
