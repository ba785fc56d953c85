//! Change units whose effects can be counted.

use std::borrow::Cow;
use std::pin::Pin;
use std::time::Duration;

use flamingock::{
    Change, ChangeError, ChangeFuture, ChangeInfo, CommitError, Context, Mark, MarkError, MarkScope, PgTx,
    ProbeFuture, Probed, Recovery, Requirement, RollbackError, TargetClient, TargetError, TargetFuture,
    TransactionalTarget,
};
use sqlx::{AssertSqlSafe, PgConnection, PgPool};

use crate::postgres::Database;
use crate::scenario::{Ending, Kind, Probing, Undo};

/// The table that changes write to: one row for each step.
pub struct Effects {
    pool: PgPool,
    /// There as long as this is.
    _database: Database,
}

impl Effects {
    pub async fn in_database(database: &Database) -> Self {
        let effects = Self {
            pool: database.pool().await,
            _database: database.clone(),
        };
        let create =
            "CREATE TABLE effects (id bigserial PRIMARY KEY, change_id text NOT NULL, step text NOT NULL)";
        sqlx::query(create)
            .execute(&effects.pool)
            .await
            .expect("the table is created");
        effects
    }

    pub fn pool(&self) -> PgPool {
        self.pool.clone()
    }

    /// The steps of a change that took effect, in order.
    pub async fn of(&self, change: &str) -> Vec<String> {
        sqlx::query_scalar("SELECT step FROM effects WHERE change_id = $1 ORDER BY id")
            .bind(change)
            .fetch_all(&self.pool)
            .await
            .expect("the table is there")
    }

    /// Changes whose mark is in the database.
    pub async fn marks(&self) -> Vec<String> {
        let exists: bool = sqlx::query_scalar("SELECT to_regclass('flamingock_marks') IS NOT NULL")
            .fetch_one(&self.pool)
            .await
            .expect("the database answers");
        if !exists {
            return Vec::new();
        }
        sqlx::query_scalar("SELECT change_id FROM flamingock_marks ORDER BY change_id")
            .fetch_all(&self.pool)
            .await
            .expect("the database answers")
    }
}

/// A change in two steps, `one` and `two`.
pub struct Effect {
    pub id: Cow<'static, str>,
    pub order: Cow<'static, str>,
    pub kind: Kind,
    pub ending: Ending,
    pub undo: Undo,
    pub probing: Probing,
    pub recovery: Recovery,
}

impl Effect {
    /// One that works, outside transactions.
    pub fn new(id: impl Into<Cow<'static, str>>, order: impl Into<Cow<'static, str>>) -> Self {
        Self {
            id: id.into(),
            order: order.into(),
            kind: Kind::NonTx,
            ending: Ending::Works,
            undo: Undo::None,
            probing: Probing::None,
            recovery: Recovery::ManualIntervention,
        }
    }

    async fn both_steps(&self, connection: &mut PgConnection) -> Result<(), ChangeError> {
        self.step(connection, "one").await?;
        if self.ending == Ending::Fails {
            return Err("made to fail half way".into());
        }
        self.step(connection, "two").await?;
        Ok(())
    }

    /// The texts differ by change and step, so that a trap can tell them apart.
    async fn step(&self, connection: &mut PgConnection, step: &str) -> Result<(), sqlx::Error> {
        let statement = format!(
            "INSERT INTO effects (change_id, step) VALUES ('{}', '{step}') /* {} does {step} */",
            self.id, self.id
        );
        sqlx::query(AssertSqlSafe(statement)).execute(connection).await?;
        Ok(())
    }

    async fn undo_step(&self, connection: &mut PgConnection, step: &str) -> Result<(), sqlx::Error> {
        let statement = format!(
            "DELETE FROM effects WHERE change_id = '{}' AND step = '{step}' /* {} undoes {step} */",
            self.id, self.id
        );
        sqlx::query(AssertSqlSafe(statement)).execute(connection).await?;
        Ok(())
    }
}

impl Change for Effect {
    fn info(&self) -> ChangeInfo {
        let target = match self.kind {
            Kind::NonTx => "plain",
            Kind::Marker => "marking",
            Kind::NoMarker => "bare",
        };
        let info = ChangeInfo::new(self.id.clone(), self.order.clone(), target)
            .author("mara")
            .recovery(self.recovery);
        let info = if self.probing == Probing::None {
            info
        } else {
            info.with_probe()
        };
        if self.undo == Undo::None {
            info
        } else {
            info.with_rollback()
        }
    }

    fn probe<'a>(&'a self, context: &'a mut Context) -> ProbeFuture<'a> {
        Box::pin(async move {
            let pool: TargetClient<PgPool> = context.client()?;
            let statement = format!(
                "SELECT count(*) FROM effects WHERE change_id = '{}' /* {} is asked */",
                self.id, self.id
            );
            let steps: i64 = sqlx::query_scalar(AssertSqlSafe(statement))
                .fetch_one(&*pool)
                .await?;
            match self.probing {
                Probing::Fails => Err("made to fail when it is asked".into()),
                Probing::Panics => panic!("made to panic when it is asked"),
                Probing::None | Probing::Looks => Ok(match steps {
                    0 => Probed::NotApplied,
                    2 => Probed::Applied,
                    _ => Probed::Unknown,
                }),
            }
        })
    }

    fn requirements(&self) -> Vec<Requirement> {
        match self.kind {
            Kind::NonTx => vec![Requirement::client::<PgPool>()],
            Kind::Marker | Kind::NoMarker => vec![Requirement::transaction::<PgTx>()],
        }
    }

    fn apply<'a>(&'a self, context: &'a mut Context) -> ChangeFuture<'a> {
        Box::pin(async move {
            match self.kind {
                Kind::NonTx => {
                    let pool: TargetClient<PgPool> = context.client()?;
                    self.both_steps(&mut *pool.acquire().await?).await
                }
                Kind::Marker | Kind::NoMarker => self.both_steps(context.transaction::<PgTx>()?).await,
            }
        })
    }

    fn rollback<'a>(&'a self, context: &'a mut Context) -> ChangeFuture<'a> {
        Box::pin(async move {
            let pool: TargetClient<PgPool> = context.client()?;
            let mut connection = pool.acquire().await?;
            self.undo_step(&mut connection, "two").await?;
            if self.undo == Undo::Fails {
                return Err("made to fail while undoing".into());
            }
            self.undo_step(&mut connection, "one").await?;
            Ok(())
        })
    }
}

/// A database with transactions and no marks.
pub struct BareTransactions(pub PgPool);

impl TransactionalTarget for BareTransactions {
    type Transaction = PgTx;
    type Client = PgPool;

    fn client(&self) -> PgPool {
        self.0.clone()
    }

    fn keeps_marks(&self) -> bool {
        false
    }

    fn marks(&self, _: MarkScope) -> TargetFuture<'_, Vec<Mark>> {
        Box::pin(async { Ok(Vec::new()) })
    }

    fn prepare(&self) -> TargetFuture<'_, ()> {
        Box::pin(async { Ok(()) })
    }

    fn begin(&self) -> TargetFuture<'_, PgTx> {
        Box::pin(async move {
            let transaction = self
                .0
                .begin()
                .await
                .map_err(|error| TargetError::new("beginning", error))?;
            Ok(PgTx::new(transaction))
        })
    }

    fn write_mark<'a>(
        &'a self,
        _: &'a mut PgTx,
        _: MarkScope,
        _: &'a str,
    ) -> Pin<Box<dyn Future<Output = Result<(), MarkError>> + Send + 'a>> {
        Box::pin(async { Ok(()) })
    }

    fn commit(
        &self,
        transaction: PgTx,
    ) -> Pin<Box<dyn Future<Output = Result<(), CommitError>> + Send + '_>> {
        Box::pin(async move {
            let committed = transaction.into_inner().commit().await;
            committed.map_err(|error| CommitError::Ambiguous(TargetError::new("committing", error)))
        })
    }

    fn rollback(
        &self,
        transaction: PgTx,
    ) -> Pin<Box<dyn Future<Output = Result<(), RollbackError>> + Send + '_>> {
        Box::pin(async move {
            let undone = transaction.into_inner().rollback().await;
            undone.map_err(|error| RollbackError::Unknown(TargetError::new("rolling back", error)))
        })
    }

    fn was_committed<'a>(&'a self, _: MarkScope, _: &'a str, _: Duration) -> TargetFuture<'a, bool> {
        Box::pin(async { Err(TargetError::new("looking for a mark", "there are none")) })
    }

    fn clear_marks<'a>(&'a self, _: MarkScope, _: &'a [String]) -> TargetFuture<'a, ()> {
        Box::pin(async { Ok(()) })
    }
}
