//! MySQL and MariaDB: the same tests for each, in a database of its own for each test.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use flamingock::{
    Builder, Change, ChangeError, ChangeFuture, ChangeInfo, ChangeStatus, Context, Dep, MySqlTx, Stage,
    change,
};
use flamingock_targets_tests::{Cut, Fidelity, System, TcpProxy, World, eventually, message, repeatedly};
use futures_util::future::join_all;
use sqlx::mysql::{MySqlConnectOptions, MySqlPoolOptions};
use sqlx::{AssertSqlSafe, Connection as _, MySqlPool};
use tokio::sync::Barrier;
use uuid::Uuid;

#[expect(dead_code, reason = "its main function")]
#[path = "../../../client-sdk/examples/mysql.rs"]
mod example;
mod files;

/// The server keeps what it says about transactions for as long as it is asked more often than every 100 ms.
const INNODB_LOOKS: Duration = Duration::from_millis(250);

struct Shop {
    _system: System,
    options: MySqlConnectOptions,
    pool: MySqlPool,
}

/// Runs a test against each of the two that there is.
async fn on_each<F: Future<Output = ()>>(test: impl Fn(World, Shop) -> F) {
    for (name, variable) in [("MySQL", "MYSQL_URL"), ("MariaDB", "MARIADB_URL")] {
        if let Some(url) = System::address(name, variable) {
            test(World::new().await, Shop::new(name, &url).await).await;
        }
    }
}

impl Shop {
    async fn new(name: &'static str, url: &str) -> Self {
        let options: MySqlConnectOptions = url.parse().unwrap();
        let database = format!("t{}", Uuid::new_v4().simple());
        let all = Self::pool(&options, 1).await;
        sqlx::query(AssertSqlSafe(format!("CREATE DATABASE {database}")))
            .execute(&all)
            .await
            .unwrap();
        let version: String = sqlx::query_scalar("SELECT version()")
            .fetch_one(&all)
            .await
            .unwrap();
        let options = options.database(&database);
        let pool = Self::pool(&options, 3).await;
        Self {
            _system: System::new(name, Fidelity::Real, version),
            options,
            pool,
        }
    }

    async fn pool(options: &MySqlConnectOptions, size: u32) -> MySqlPool {
        MySqlPoolOptions::new()
            .max_connections(size)
            .acquire_timeout(Duration::from_secs(5))
            .connect_with(options.clone())
            .await
            .unwrap()
    }

    /// Of connections that each begin with this statement.
    async fn pool_that_begins_with(&self, statement: String) -> MySqlPool {
        MySqlPoolOptions::new()
            .max_connections(3)
            .after_connect(move |connection, _| {
                let statement = statement.clone();
                Box::pin(async move {
                    sqlx::raw_sql(AssertSqlSafe(statement))
                        .execute(connection)
                        .await?;
                    Ok(())
                })
            })
            .connect_with(self.options.clone())
            .await
            .unwrap()
    }

    async fn number(&self, sql: &'static str) -> i64 {
        sqlx::query_scalar(sql).fetch_one(&self.pool).await.unwrap()
    }

    async fn execute(&self, sql: &'static str) {
        sqlx::raw_sql(sql).execute(&self.pool).await.unwrap();
    }

    async fn has(&self, table: &str) -> bool {
        let found: i64 = sqlx::query_scalar(
            "SELECT COUNT(*) FROM information_schema.tables WHERE table_schema = DATABASE() AND table_name = ?",
        )
        .bind(table)
        .fetch_one(&self.pool)
        .await
        .unwrap();
        found > 0
    }

    async fn marks(&self) -> i64 {
        if self.has("flamingock_marks").await {
            self.number("SELECT COUNT(*) FROM flamingock_marks").await
        } else {
            0
        }
    }
}

fn app(world: &World, shop: &Shop) -> Builder {
    world.app().target(example::target(shop.pool.clone()))
}

#[tokio::test]
async fn the_example_is_applied_once() {
    on_each(|world, shop| async move {
        for expected in [ChangeStatus::Applied, ChangeStatus::AlreadyApplied] {
            let report = world
                .start(app(&world, &shop).stage(example::stage()))
                .await
                .unwrap();
            for change in ["create-tables", "customer-tiers", "tax-rates-2027"] {
                assert_eq!(report.change(change).unwrap().status, expected, "{change}");
            }
        }
        assert_eq!(shop.number("SELECT COUNT(*) FROM tax_rates").await, 3);
        assert_eq!(shop.marks().await, 0);
    })
    .await;
}

#[tokio::test]
async fn a_failure_in_the_middle_of_ddl_is_undone_and_of_rows_leaves_nothing() {
    on_each(|world, shop| async move {
        shop.execute("CREATE TABLE customers (id BIGINT PRIMARY KEY, spent BIGINT NOT NULL)")
            .await;
        shop.execute("INSERT INTO customers VALUES (1, 5000), (2, 3)")
            .await;
        // The column is added, and then filling it fails.
        shop.execute(
            "CREATE TRIGGER closed BEFORE UPDATE ON customers FOR EACH ROW \
             SIGNAL SQLSTATE '45000' SET MESSAGE_TEXT = 'closed for the year'",
        )
        .await;
        let start = || world.start(app(&world, &shop).stage(example::stage()));
        let error = start().await.unwrap_err();
        assert!(message(&error, "customer-tiers").contains("closed for the year"));
        let columns = "SELECT COUNT(*) FROM information_schema.columns \
                       WHERE table_schema = DATABASE() AND column_name = 'tier'";
        assert_eq!(shop.number(columns).await, 0, "the column is gone");
        assert_eq!(
            world.history("customer-tiers").await,
            "STARTED FAILED ROLLED_BACK"
        );

        shop.execute("DROP TRIGGER closed").await;
        // Of three rows the second is there.
        shop.execute("INSERT INTO tax_rates VALUES ('ES', 2027, 4)").await;
        let error = start().await.unwrap_err();
        assert_eq!(
            error.report().change("tax-rates-2027").unwrap().status,
            ChangeStatus::RolledBack
        );
        assert_eq!(shop.number("SELECT COUNT(*) FROM tax_rates").await, 1);
        shop.execute("DELETE FROM tax_rates").await;
        start().await.unwrap();
        assert_eq!(
            world.history("tax-rates-2027").await,
            "STARTED FAILED ROLLED_BACK STARTED APPLIED"
        );
        assert_eq!(
            shop.number("SELECT COUNT(*) FROM customers WHERE tier = 'gold'")
                .await,
            1
        );
    })
    .await;
}

#[tokio::test]
async fn after_a_death_between_commit_and_report_the_mark_tells() {
    on_each(|world, shop| async move {
        let rows = || Stage::new("s").change(add_row);
        shop.execute("CREATE TABLE ledger (id BIGINT)").await;
        world
            .die_before_the_report(app(&world, &shop).stage(rows()))
            .await;
        assert_eq!(
            (world.history("add-row").await.as_str(), shop.marks().await),
            ("STARTED", 1)
        );

        world.start(app(&world, &shop).stage(rows())).await.unwrap();
        assert_eq!(world.history("add-row").await, "STARTED APPLIED");
        assert_eq!(shop.number("SELECT COUNT(*) FROM ledger").await, 1, "not again");
        assert_eq!(shop.marks().await, 0);
    })
    .await;
}

#[change(id = "add-row", order = "0001", target = "shop-db")]
async fn add_row(tx: &mut MySqlTx) -> Result<(), sqlx::Error> {
    sqlx::query("INSERT INTO ledger VALUES (1)")
        .execute(&mut **tx)
        .await?;
    Ok(())
}

/// What would commit half of the change is refused before it does.
#[tokio::test]
async fn ddl_and_commits_are_refused_and_nothing_of_the_change_stays() {
    on_each(|world, shop| async move {
        shop.execute("CREATE TABLE ledger (id BIGINT)").await;
        for (id, statement) in [
            ("create", "CREATE TABLE half (id BIGINT)"),
            ("alter", "ALTER TABLE ledger ADD COLUMN x BIGINT"),
            ("truncate", "TRUNCATE TABLE ledger"),
            ("rename", "RENAME TABLE ledger TO half"),
            ("commit", "COMMIT"),
            ("rollback", "ROLLBACK"),
            ("begin", "START TRANSACTION"),
            ("lock", "LOCK TABLES ledger WRITE"),
        ] {
            for swallows in [false, true] {
                let id = format!("{id}-{swallows}");
                let change = AddRowThen {
                    id: id.clone(),
                    statement,
                    swallows,
                };
                let outcome = world
                    .start(app(&world, &shop).stage(Stage::new(id.clone()).change(change)))
                    .await;
                let rows = shop.number("SELECT COUNT(*) FROM ledger").await;
                if swallows {
                    // The statement has done nothing, and the change does not mind.
                    outcome.unwrap();
                    assert_eq!((world.history(&id).await.as_str(), rows), ("STARTED APPLIED", 1));
                    shop.execute("DELETE FROM ledger").await;
                } else {
                    let error = outcome.unwrap_err();
                    let said = message(&error, &id);
                    assert!(
                        said.contains("(error 1399); it would have committed")
                            && said.contains("`transactional = false`"),
                        "{said}"
                    );
                    assert_eq!(
                        (world.history(&id).await.as_str(), rows),
                        ("STARTED FAILED ROLLED_BACK", 0)
                    );
                }
                assert!(!shop.has("half").await);
                assert_eq!(shop.marks().await, 0);
            }
        }
    })
    .await;
}

struct AddRowThen {
    id: String,
    statement: &'static str,
    swallows: bool,
}

impl Change for AddRowThen {
    fn info(&self) -> ChangeInfo {
        ChangeInfo::new(self.id.clone(), "0001", "shop-db")
    }

    fn apply<'a>(&'a self, context: &'a mut Context) -> ChangeFuture<'a> {
        Box::pin(async move {
            let tx = context.transaction::<MySqlTx>()?;
            sqlx::query("INSERT INTO ledger (id) VALUES (1)")
                .execute(&mut **tx)
                .await?;
            let done = sqlx::raw_sql(self.statement).execute(&mut **tx).await;
            if self.swallows {
                return Ok(());
            }
            done?;
            Ok(())
        })
    }
}

#[tokio::test]
async fn nested_transactions_of_sqlx_are_savepoints() {
    #[change(id = "nested", order = "0001", target = "shop-db")]
    async fn nested(tx: &mut MySqlTx) -> Result<(), sqlx::Error> {
        sqlx::query("INSERT INTO ledger VALUES (1)")
            .execute(&mut **tx)
            .await?;
        let mut inner = tx.begin().await?;
        sqlx::query("INSERT INTO ledger VALUES (2)")
            .execute(&mut *inner)
            .await?;
        inner.rollback().await
    }
    on_each(|world, shop| async move {
        shop.execute("CREATE TABLE ledger (id BIGINT)").await;
        let stage = Stage::new("s").change(nested);
        world.start(app(&world, &shop).stage(stage)).await.unwrap();
        assert_eq!(shop.number("SELECT COUNT(*) FROM ledger").await, 1);
    })
    .await;
}

#[tokio::test]
async fn after_a_deadlock_nothing_stays_and_the_change_is_applied_at_the_next_start() {
    /// Another session holds the second row and waits for the first.
    #[change(id = "both", order = "0001", target = "shop-db")]
    async fn both(tx: &mut MySqlTx) -> Result<(), ChangeError> {
        sqlx::query("UPDATE ledger SET n = n + 1 WHERE id = 1")
            .execute(&mut **tx)
            .await?;
        // What it does after the deadlock must not be committed by itself.
        let last = sqlx::query("UPDATE ledger SET n = n + 1 WHERE id = 2")
            .execute(&mut **tx)
            .await;
        let after = sqlx::query("INSERT INTO ledger VALUES (3, 1)")
            .execute(&mut **tx)
            .await;
        last?;
        after?;
        Ok(())
    }
    on_each(|world, shop| async move {
        shop.execute("CREATE TABLE ledger (id BIGINT PRIMARY KEY, n BIGINT NOT NULL)")
            .await;
        shop.execute("INSERT INTO ledger VALUES (1, 0), (2, 0)").await;
        // More work on its side, so that the change is the victim.
        shop.execute("CREATE TABLE ballast (id BIGINT PRIMARY KEY)").await;
        let mut other = sqlx::MySqlConnection::connect_with(&shop.options).await.unwrap();
        sqlx::raw_sql("START TRANSACTION; UPDATE ledger SET n = 9 WHERE id = 2")
            .execute(&mut other)
            .await
            .unwrap();
        for id in 0..50 {
            sqlx::query("INSERT INTO ballast VALUES (?)")
                .bind(id)
                .execute(&mut other)
                .await
                .unwrap();
        }
        let start = world.start(app(&world, &shop).stage(Stage::new("s").change(both)));
        let rival = async {
            eventually("the change waits for the second row", || async {
                (world.history("both").await == "STARTED").then_some(())
            })
            .await;
            let waits = "SELECT COUNT(*) FROM information_schema.innodb_trx WHERE trx_state = 'LOCK WAIT'";
            repeatedly("the change waits for the second row", INNODB_LOOKS, || async {
                (shop.number(waits).await > 0).then_some(())
            })
            .await;
            sqlx::raw_sql("UPDATE ledger SET n = 9 WHERE id = 1; COMMIT")
                .execute(&mut other)
                .await
                .unwrap();
        };
        let (outcome, ()) = tokio::join!(start, rival);
        let error = outcome.unwrap_err();
        assert!(
            message(&error, "both").contains("eadlock"),
            "{}",
            message(&error, "both")
        );
        assert_eq!(world.history("both").await, "STARTED FAILED ROLLED_BACK");
        assert_eq!(shop.number("SELECT CAST(SUM(n) AS SIGNED) FROM ledger").await, 18);

        world
            .start(app(&world, &shop).stage(Stage::new("s").change(both)))
            .await
            .unwrap();
        assert_eq!(shop.number("SELECT CAST(SUM(n) AS SIGNED) FROM ledger").await, 21);
    })
    .await;
}

#[tokio::test]
async fn a_connection_lost_at_commit_is_settled_by_the_mark() {
    on_each(|world, shop| async move {
        shop.execute("CREATE TABLE ledger (id BIGINT)").await;
        for (cut, committed) in [(Cut::BeforeMessage, false), (Cut::AfterAnswer, true)] {
            shop.execute("DELETE FROM ledger").await;
            let address = format!("{}:{}", shop.options.get_host(), shop.options.get_port());
            let proxy = TcpProxy::to(&address).await;
            proxy.cut(cut, b"XA COMMIT");
            let options = shop.options.clone().host("127.0.0.1").port(proxy.port());
            let options = options.ssl_mode(sqlx::mysql::MySqlSslMode::Disabled);
            let pool = Shop::pool(&options, 2).await;
            let name = format!("{cut:?}");
            let change = AddRowThen {
                id: name.clone(),
                statement: "DO 1",
                swallows: false,
            };
            let through = world.app().target(example::target(pool));
            let outcome = world
                .start(through.stage(Stage::new(name.clone()).change(change)))
                .await;
            assert!(proxy.has_cut());
            assert_eq!(outcome.is_ok(), committed, "{cut:?}: {outcome:?}");
            let rows = shop.number("SELECT COUNT(*) FROM ledger").await;
            assert_eq!(rows, i64::from(committed));
            let history = if committed {
                "STARTED APPLIED"
            } else {
                "STARTED FAILED ROLLED_BACK"
            };
            assert_eq!(world.history(&name).await, history);
            assert_eq!(shop.marks().await, 0);
        }
    })
    .await;
}

#[tokio::test]
async fn dropped_in_the_middle_it_leaves_nothing_and_the_pool_is_as_good_as_new() {
    #[change(id = "slow", order = "0001", target = "shop-db")]
    async fn slow(tx: &mut MySqlTx) -> Result<(), sqlx::Error> {
        sqlx::query("INSERT INTO ledger VALUES (1)")
            .execute(&mut **tx)
            .await?;
        std::future::pending().await
    }
    on_each(|world, shop| async move {
        shop.execute("CREATE TABLE ledger (id BIGINT)").await;
        let one = Shop::pool(&shop.options, 1).await;
        let app = world
            .app()
            .target(example::target(one.clone()))
            .stage(Stage::new("s").change(slow))
            .build()
            .unwrap();
        let start = tokio::spawn(async move { app.run().await.is_ok() });
        let open = "SELECT COUNT(*) FROM information_schema.innodb_trx WHERE trx_rows_modified > 0";
        repeatedly("the change has written", INNODB_LOOKS, || async {
            (shop.number(open).await > 0).then_some(())
        })
        .await;
        start.abort();
        let _ = start.await;
        for _ in 0..3 {
            // Would be refused in what was left open.
            sqlx::query("CREATE TABLE IF NOT EXISTS fine (id BIGINT)")
                .execute(&one)
                .await
                .unwrap();
        }
        assert_eq!(shop.number("SELECT COUNT(*) FROM ledger").await, 0);
        assert_eq!(shop.marks().await, 0);
    })
    .await;
}

#[tokio::test]
async fn several_that_all_believe_in_their_lock_apply_it_once() {
    /// Each waits for the others, so that all are in the middle at once.
    #[change(id = "add-row", order = "0001", target = "shop-db")]
    async fn together(tx: &mut MySqlTx, all: Dep<Arc<Barrier>>) -> Result<(), sqlx::Error> {
        sqlx::query("INSERT INTO ledger VALUES (1)")
            .execute(&mut **tx)
            .await?;
        all.wait().await;
        Ok(())
    }
    on_each(|_, shop| async move {
        shop.execute("CREATE TABLE ledger (id BIGINT)").await;
        let all = Arc::new(Barrier::new(3));
        // Each has a server of its own, with the same ids.
        let starts = (0..3).map(|_| async {
            let world = World::new().await;
            let app = app(&world, &shop)
                .dependency(all.clone())
                .stage(Stage::new("s").change(together));
            let committed = world.die_before_the_report_if_it_commits(app).await;
            (committed, world.history("add-row").await)
        });
        let mut outcomes = join_all(starts).await;
        outcomes.sort();
        assert_eq!(outcomes.iter().filter(|it| it.0).count(), 1, "{outcomes:?}");
        assert_eq!(shop.number("SELECT COUNT(*) FROM ledger").await, 1);
    })
    .await;
}
