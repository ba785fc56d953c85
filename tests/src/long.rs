//! A change in many steps that goes on where its last attempt got to.

use flamingock::{
    Change, ChangeError, ChangeFuture, ChangeInfo, Context, Recovery, Requirement, TargetClient,
};
use sqlx::{AssertSqlSafe, PgPool};

/// Writes the steps `1` to `10` into `effects`, saves after each how far it is, and looks before each whether it should stop.
pub struct Long {
    pub id: &'static str,
    pub order: &'static str,
}

impl Long {
    pub const STEPS: u64 = 10;
}

impl Change for Long {
    fn info(&self) -> ChangeInfo {
        ChangeInfo::new(self.id, self.order, "plain")
            .author("mara")
            .recovery(Recovery::AlwaysRetry)
    }

    fn requirements(&self) -> Vec<Requirement> {
        vec![Requirement::client::<PgPool>(), Requirement::checkpoint()]
    }

    fn apply<'a>(&'a self, context: &'a mut Context) -> ChangeFuture<'a> {
        Box::pin(async move {
            let (checkpoint, progress) = (context.checkpoint()?, context.progress());
            let (pool, cancellation): (TargetClient<PgPool>, _) = (context.client()?, context.cancellation());
            let done = checkpoint.load::<u64>()?.unwrap_or(0);
            for step in done + 1..=Self::STEPS {
                if let Some(reason) = cancellation.reason() {
                    return Err(ChangeError::from(format!("stopped before step {step}: {reason}")));
                }
                // The texts differ by step, so that a trap can tell them apart.
                let statement = format!(
                    "INSERT INTO effects (change_id, step) VALUES ('{}', '{step}') /* {} does {step}. */",
                    self.id, self.id
                );
                sqlx::query(AssertSqlSafe(statement)).execute(&*pool).await?;
                progress.report(step, Self::STEPS, "steps");
                checkpoint.save(&step).await?;
            }
            Ok(())
        })
    }
}
