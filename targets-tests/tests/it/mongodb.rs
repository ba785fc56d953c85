//! MongoDB, in a database of its own for each test.
//!
//! No server of MongoDB can be had from package registries. What a test proves depends on what answers: FerretDB keeps indexes
//! and has no transactions, as a server that stands alone; nx-27017 has transactions, and neither isolation nor conflicts.
//! Each test says which it needs; `MONGODB_URI` names a real replica set, on which all of them run, and a user there who may
//! create users. Where no rights are looked at, [`rights_for_the_collections_of_the_change_are_enough`] proves nothing.

use std::future::Future;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use flamingock::{Builder, ChangeError, ChangeStatus, Dep, MongoDbTx, Stage, TargetClient, change};
use flamingock_api_types::issue::ResolutionKind;
use flamingock_targets_tests::{Cut, Fidelity, System, TcpProxy, World, message, repeatedly};
use futures_util::{TryStreamExt as _, future::join_all};
use mongodb::bson::{Document, doc};
use mongodb::event::EventHandler;
use mongodb::event::command::CommandEvent;
use mongodb::options::{ClientOptions, Credential, ServerAddress};
use mongodb::{Client, Database, IndexModel};
use tokio::sync::Barrier;
use uuid::Uuid;

#[expect(dead_code, reason = "its main function")]
#[path = "../../../client-sdk/examples/mongodb.rs"]
mod example;

const SOON: Duration = Duration::from_millis(100);

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Real,
    /// The same, of several members, of which nothing else is asked meanwhile.
    Set,
    /// Transactions, with nothing that keeps two of them apart.
    Nx,
    /// No transactions.
    Ferret,
}

struct Shop {
    _system: System,
    kind: Kind,
    options: ClientOptions,
    database: Database,
}

/// Runs a test against each of these that there is.
async fn on_each<F: Future<Output = ()>>(kinds: &[Kind], test: impl Fn(World, Shop) -> F) {
    for kind in kinds {
        if let Some(shop) = Shop::new(*kind).await {
            test(World::new().await, shop).await;
        }
    }
}

impl Shop {
    async fn new(kind: Kind) -> Option<Self> {
        let (name, variable, fidelity) = match kind {
            Kind::Real => ("MongoDB", "MONGODB_URI", Fidelity::Real),
            Kind::Set => ("MongoDB set", "MONGODB_SET_URI", Fidelity::Real),
            Kind::Nx => ("nx-27017", "NX_MONGODB_URI", Fidelity::Emulator),
            Kind::Ferret => ("FerretDB", "FERRETDB_URI", Fidelity::Emulator),
        };
        let uri = System::address(name, variable)?;
        let options = ClientOptions::parse(&uri).await.unwrap();
        let database = format!("t{}", Uuid::new_v4().simple());
        let database = Client::with_options(options.clone()).unwrap().database(&database);
        let build = database.run_command(doc! {"buildInfo": 1}).await.unwrap();
        let version = build.get_str("version").unwrap_or("?");
        let of_emulator = std::env::var(format!("{variable}_VERSION"));
        let version = of_emulator.map_or(version.to_owned(), |own| format!("{own} (as MongoDB {version})"));
        Some(Self {
            _system: System::new(name, fidelity, version),
            kind,
            options,
            database,
        })
    }

    fn app(&self, world: &World) -> Builder {
        self.app_on(world, self.database.clone())
    }

    fn app_on(&self, world: &World, database: Database) -> Builder {
        let target = example::target(database);
        world.app().target(if self.kind == Kind::Nx {
            target.has_transactions()
        } else {
            target
        })
    }

    /// The same database through a proxy.
    async fn through_proxy(&self) -> (TcpProxy, Database) {
        // Of a set, the one that takes writes.
        let told = self.database.run_command(doc! {"isMaster": 1}).await.unwrap();
        let first = self.options.hosts[0].to_string();
        let proxy = TcpProxy::to(told.get_str("primary").unwrap_or(&first)).await;
        let mut options = self.options.clone();
        options.hosts = vec![ServerAddress::Tcp {
            host: "127.0.0.1".to_owned(),
            port: Some(proxy.port()),
        }];
        options.direct_connection = Some(true);
        options.repl_set_name = None;
        options.app_name = Some(self.database.name().to_owned());
        let database = Client::with_options(options)
            .unwrap()
            .database(self.database.name());
        (proxy, database)
    }

    /// The same database, for a client that does something before it sends its first commit.
    fn before_the_commit(&self, work: impl FnOnce() + Send + 'static) -> Database {
        let work = Mutex::new(Some(work));
        let mut options = self.options.clone();
        options.command_event_handler = Some(EventHandler::callback(move |event| {
            if let CommandEvent::Started(event) = event
                && event.command_name == "commitTransaction"
                && let Some(work) = work.lock().unwrap().take()
            {
                work();
            }
        }));
        Client::with_options(options)
            .unwrap()
            .database(self.database.name())
    }

    async fn insert(&self, collection: &str, document: Document) {
        self.database
            .collection(collection)
            .insert_one(document)
            .await
            .unwrap();
    }

    async fn count(&self, collection: &str, mut filter: Document) -> u64 {
        if self.kind == Kind::Nx {
            // It takes the read concern of a transaction that begins with an insert for one more document.
            filter.insert("level", doc! {"$exists": false});
        }
        let collection = self.database.collection::<Document>(collection);
        collection.count_documents(filter).await.unwrap()
    }

    async fn marks(&self) -> u64 {
        self.count("flamingock_marks", doc! {}).await
    }

    /// Those of the client that came through the proxy.
    async fn end_open_transactions(&self) {
        let admin = Client::with_options(self.options.clone())
            .unwrap()
            .database("admin");
        let open = || async {
            let stages = [
                doc! {"$currentOp": {"idleSessions": true}},
                doc! {"$match": {"appName": self.database.name(), "transaction": {"$exists": true}}},
            ];
            let found = admin.aggregate(stages).await.unwrap().try_collect::<Vec<_>>();
            let found = found.await.unwrap();
            let sessions: Vec<_> = found
                .iter()
                .map(|it| doc! {"id": it.get_document("lsid").unwrap().get("id")})
                .collect();
            (!sessions.is_empty()).then_some(sessions)
        };
        let sessions = repeatedly("a transaction is open", SOON, open).await;
        admin.run_command(doc! {"killSessions": sessions}).await.unwrap();
    }

    async fn has(&self, collection: &str) -> bool {
        let names = self.database.list_collection_names().await.unwrap();
        names.contains(&collection.to_owned())
    }
}

#[tokio::test]
async fn the_example_is_applied_once() {
    on_each(&[Kind::Real, Kind::Nx], |world, shop| async move {
        shop.insert(
            "products",
            doc! {"_id": 1, "sku": "a", "name": "Apple", "schema": 1},
        )
        .await;
        for expected in [ChangeStatus::Applied, ChangeStatus::AlreadyApplied] {
            let report = world
                .start(shop.app(&world).stage(example::stage()))
                .await
                .unwrap();
            for change in ["products-collection", "products-schema-2"] {
                assert_eq!(report.change(change).unwrap().status, expected, "{change}");
            }
        }
        assert_eq!(
            shop.count("products", doc! {"title": "Apple", "schema": 2}).await,
            1
        );
        assert_eq!(shop.marks().await, 0);
    })
    .await;
}

#[tokio::test]
async fn an_index_that_documents_contradict_is_undone_and_the_next_start_goes_on() {
    on_each(&[Kind::Real, Kind::Ferret], |world, shop| async move {
        let start = || {
            let stage = Stage::new("data").change(example::products_collection);
            world.start(shop.app(&world).stage(stage))
        };
        for id in [1, 2] {
            shop.insert("products", doc! {"_id": id, "sku": "a"}).await;
        }
        let error = start().await.unwrap_err();
        let told = message(&error, "products-collection");
        assert!(
            told.contains("11000") || told.contains("UNIQUE constraint failed"),
            "{told}"
        );
        assert_eq!(
            world.history("products-collection").await,
            "STARTED FAILED ROLLED_BACK"
        );
        assert_eq!(
            shop.count("products", doc! {}).await,
            2,
            "somebody's documents stay"
        );

        let products = shop.database.collection::<Document>("products");
        products.delete_one(doc! {"_id": 2}).await.unwrap();
        start().await.unwrap();
        let again = products
            .insert_one(doc! {"_id": 3, "sku": "a"})
            .await
            .unwrap_err();
        assert!(again.to_string().contains("11000"), "{again}");
    })
    .await;
}

#[tokio::test]
async fn after_a_death_in_the_middle_the_collection_that_is_there_is_enough() {
    on_each(&[Kind::Real, Kind::Nx, Kind::Ferret], |world, shop| async move {
        let stage = || Stage::new("data").change(example::products_collection);
        world.die_before_the_report(shop.app(&world).stage(stage())).await;
        assert!(shop.has("products").await);
        world.start(shop.app(&world).stage(stage())).await.unwrap();
        assert_eq!(
            world.history("products-collection").await,
            "STARTED STARTED APPLIED"
        );
    })
    .await;
}

/// Before anything is recorded as started.
#[tokio::test]
async fn a_transactional_change_is_refused_where_there_are_no_transactions() {
    on_each(&[Kind::Ferret], |world, shop| async move {
        let stage = Stage::new("data").change(visit);
        let error = world.start(shop.app(&world).stage(stage)).await.unwrap_err();
        let told = message(&error, "visit");
        assert!(told.contains("no replica set and no sharded cluster"), "{told}");
        assert!(told.contains("`transactional = false`"), "{told}");
        assert_eq!(world.history("visit").await, "");
        assert!(!shop.has("visits").await);
        assert!(!shop.has("flamingock_marks").await);
    })
    .await;
}

#[change(id = "visit", order = "0001", target = "shop-db")]
async fn visit(tx: &mut MongoDbTx) -> mongodb::error::Result<()> {
    let visits = tx.database().collection::<Document>("visits");
    visits.insert_one(doc! {"by": "us"}).session(tx.session()).await?;
    Ok(())
}

fn visiting() -> Stage {
    Stage::new("visits").change(visit)
}

#[tokio::test]
async fn a_failure_in_the_middle_of_a_transaction_leaves_nothing() {
    /// The second document is there already.
    #[change(id = "two", order = "0001", target = "shop-db")]
    async fn two(tx: &mut MongoDbTx) -> mongodb::error::Result<()> {
        let visits = tx.database().collection::<Document>("visits");
        for id in [1, 2] {
            visits.insert_one(doc! {"_id": id}).session(tx.session()).await?;
        }
        Ok(())
    }
    on_each(&[Kind::Real, Kind::Nx], |world, shop| async move {
        let start = || world.start(shop.app(&world).stage(Stage::new("s").change(two)));
        shop.insert("visits", doc! {"_id": 2}).await;
        let error = start().await.unwrap_err();
        assert!(
            message(&error, "two").contains("11000"),
            "{}",
            message(&error, "two")
        );
        assert_eq!(world.history("two").await, "STARTED FAILED ROLLED_BACK");
        assert_eq!((shop.count("visits", doc! {}).await, shop.marks().await), (1, 0));

        let visits = shop.database.collection::<Document>("visits");
        visits.delete_one(doc! {"_id": 2}).await.unwrap();
        start().await.unwrap();
        assert_eq!(
            world.history("two").await,
            "STARTED FAILED ROLLED_BACK STARTED APPLIED"
        );
        assert_eq!(shop.count("visits", doc! {}).await, 2);
    })
    .await;
}

#[tokio::test]
async fn after_a_death_between_commit_and_report_the_mark_tells() {
    on_each(&[Kind::Real, Kind::Nx], |world, shop| async move {
        world
            .die_before_the_report(shop.app(&world).stage(visiting()))
            .await;
        assert_eq!((shop.count("visits", doc! {}).await, shop.marks().await), (1, 1));
        world.start(shop.app(&world).stage(visiting())).await.unwrap();
        assert_eq!(world.history("visit").await, "STARTED APPLIED");
        assert_eq!((shop.count("visits", doc! {}).await, shop.marks().await), (1, 0));
    })
    .await;
}

#[tokio::test]
async fn a_connection_lost_at_commit_is_settled_by_the_driver_or_the_mark() {
    on_each(&[Kind::Real, Kind::Nx], |world, shop| async move {
        // The driver tries a commit twice, so both are lost; but once only where it finds no replica set.
        let (proxy, database) = shop.through_proxy().await;
        for _ in 0..if shop.kind == Kind::Nx { 1 } else { 2 } {
            proxy.cut(Cut::AfterAnswer, b"commitTransaction");
        }
        let app = shop.app_on(&world, database).stage(visiting());
        world.start(app).await.unwrap();
        assert!(proxy.has_cut());
        assert_eq!(world.history("visit").await, "STARTED APPLIED");
        assert_eq!((shop.count("visits", doc! {}).await, shop.marks().await), (1, 0));
    })
    .await;
}

#[tokio::test]
async fn a_change_that_ends_the_transaction_by_itself_is_told_of() {
    #[change(id = "ends-it", order = "0001", target = "shop-db")]
    async fn ends_it(tx: &mut MongoDbTx, commits: Dep<bool>) -> Result<(), ChangeError> {
        let visits = tx.database().collection::<Document>("visits");
        visits.insert_one(doc! {"by": "us"}).session(tx.session()).await?;
        if *commits {
            tx.session().commit_transaction().await?;
        } else {
            tx.session().abort_transaction().await?;
        }
        Ok(())
    }
    for commits in [true, false] {
        on_each(&[Kind::Real, Kind::Nx], |world, shop| async move {
            shop.database.create_collection("visits").await.unwrap();
            let app = shop.app(&world).dependency(commits);
            let error = world
                .start(app.stage(Stage::new("s").change(ends_it)))
                .await
                .unwrap_err();
            let told = error.report().change("ends-it").unwrap().error.as_ref().unwrap();
            assert_eq!(told.error_type, "TRANSACTION_ENDED");
            assert_eq!(world.history("ends-it").await, "STARTED ROLLBACK_FAILED");
            assert_eq!(shop.count("visits", doc! {}).await, u64::from(commits));
            assert_eq!(shop.marks().await, 0);
        })
        .await;
    }
}

#[tokio::test]
async fn a_change_outside_a_transaction_takes_the_database() {
    #[change(id = "outside", order = "0001", target = "shop-db", transactional = false)]
    async fn outside(db: TargetClient<Database>) -> mongodb::error::Result<()> {
        db.collection::<Document>("visits")
            .insert_one(doc! {"by": "us"})
            .await?;
        Ok(())
    }
    on_each(&[Kind::Real, Kind::Nx, Kind::Ferret], |world, shop| async move {
        let stage = Stage::new("s").change(outside);
        world.start(shop.app(&world).stage(stage)).await.unwrap();
        assert_eq!(shop.count("visits", doc! {}).await, 1);
    })
    .await;
}

#[tokio::test]
async fn several_that_all_believe_in_their_lock_apply_it_once() {
    /// Each waits for the others, so that all are in the middle at once.
    #[change(id = "visit", order = "0001", target = "shop-db")]
    async fn together(tx: &mut MongoDbTx, all: Dep<Arc<Barrier>>) -> mongodb::error::Result<()> {
        let visits = tx.database().collection::<Document>("visits");
        visits.insert_one(doc! {"by": "us"}).session(tx.session()).await?;
        all.wait().await;
        Ok(())
    }
    on_each(&[Kind::Real], |_, shop| async move {
        shop.database.create_collection("visits").await.unwrap();
        let all = Arc::new(Barrier::new(3));
        // Each has a server of its own, with the same ids.
        let starts = (0..3).map(|_| async {
            let world = World::new().await;
            let app = shop.app(&world).dependency(all.clone());
            let app = app.stage(Stage::new("s").change(together));
            world.die_before_the_report_if_it_commits(app).await
        });
        let committed = join_all(starts).await;
        assert_eq!(committed.iter().filter(|it| **it).count(), 1, "{committed:?}");
        // The mark may be gone: the servers of the others were told of it.
        assert_eq!(shop.count("visits", doc! {}).await, 1);
    })
    .await;
}

/// Called rolled back, the change would contradict the mark, and wait for a person. It is not seen in the transaction, which
/// sees what was there when it began.
#[tokio::test]
async fn one_that_another_has_overtaken_leaves_nothing_and_the_mark_tells() {
    #[change(id = "visit", order = "0001", target = "shop-db")]
    async fn slow(tx: &mut MongoDbTx, both: Dep<Arc<Barrier>>) -> mongodb::error::Result<()> {
        let visits = tx.database().collection::<Document>("visits");
        visits.insert_one(doc! {"by": "us"}).session(tx.session()).await?;
        both.wait().await;
        both.wait().await;
        Ok(())
    }
    on_each(&[Kind::Real], |world, shop| async move {
        shop.database.create_collection("visits").await.unwrap();
        shop.database.create_collection("flamingock_marks").await.unwrap();
        let both = Arc::new(Barrier::new(2));
        let app = shop.app(&world).dependency(both.clone());
        let first = world.start(app.stage(Stage::new("s").change(slow)));
        let second = async {
            both.wait().await;
            let other = World::new().await;
            other
                .die_before_the_report(shop.app(&other).stage(visiting()))
                .await;
            both.wait().await;
        };
        let (error, ()) = tokio::join!(first, second);
        let error = error.unwrap_err();
        let told = error.report().change("visit").unwrap().error.as_ref().unwrap();
        assert_eq!(told.error_type, "ALREADY_COMMITTED");
        // The plan that comes next is told of the mark.
        assert_eq!(world.history("visit").await, "STARTED APPLIED");
        assert_eq!((shop.count("visits", doc! {}).await, shop.marks().await), (1, 0));
    })
    .await;
}

/// Unlike the write of the mark, it cannot wait for the other: it fails at once, and what comes of the other is not known then.
#[tokio::test]
async fn one_whose_own_write_meets_an_open_one_is_undone_and_a_person_asked_if_that_one_commits() {
    #[change(id = "visit", order = "0001", target = "shop-db")]
    async fn same(tx: &mut MongoDbTx, both: Dep<Option<Arc<Barrier>>>) -> mongodb::error::Result<()> {
        let visits = tx.database().collection::<Document>("visits");
        visits.insert_one(doc! {"_id": 1}).session(tx.session()).await?;
        if let Some(both) = &*both {
            both.wait().await;
            both.wait().await;
        }
        Ok(())
    }
    let stage = || Stage::new("s").change(same);
    on_each(&[Kind::Real], |world, shop| async move {
        shop.database.create_collection("visits").await.unwrap();
        let both = Arc::new(Barrier::new(2));
        let start = || {
            let app = shop.app(&world).dependency(None::<Arc<Barrier>>);
            world.start(app.stage(stage()))
        };
        // Of a server that has the same ids.
        let other = World::new().await;
        let app = shop.app(&other).dependency(Some(both.clone()));
        let first = other.die_before_the_report(app.stage(stage()));
        let second = async {
            both.wait().await;
            let error = start().await.unwrap_err();
            let told = message(&error, "visit");
            assert!(told.contains("WriteConflict"), "{told}");
            assert_eq!(world.history("visit").await, "STARTED FAILED ROLLED_BACK");
            both.wait().await;
        };
        tokio::join!(first, second);
        start().await.unwrap_err();
        assert_eq!((shop.count("visits", doc! {}).await, shop.marks().await), (1, 1));

        world.resolve("visit", ResolutionKind::Applied).await;
        start().await.unwrap();
        assert_eq!((shop.count("visits", doc! {}).await, shop.marks().await), (1, 0));
    })
    .await;
}

#[tokio::test]
async fn rights_for_the_collections_of_the_change_are_enough() {
    on_each(&[Kind::Real], |world, shop| async move {
        let privilege = |collection: &str, actions: &[&str]| {
            doc! {"resource": {"db": shop.database.name(), "collection": collection}, "actions": actions.to_vec()}
        };
        for collection in ["visits", "flamingock_marks"] {
            shop.database.create_collection(collection).await.unwrap();
        }
        let privileges = [
            privilege("visits", &["insert"]),
            privilege("flamingock_marks", &["find", "insert", "remove"]),
        ];
        let role = doc! {"createRole": "changes", "privileges": privileges.to_vec(), "roles": []};
        shop.database.run_command(role).await.unwrap();
        let user = doc! {"createUser": "changes", "pwd": "changes", "roles": ["changes"]};
        shop.database.run_command(user).await.unwrap();

        let mut options = shop.options.clone();
        options.credential = Some(
            Credential::builder()
                .username("changes".to_owned())
                .password("changes".to_owned())
                .source(shop.database.name().to_owned())
                .build(),
        );
        let database = Client::with_options(options)
            .unwrap()
            .database(shop.database.name());
        let app = shop.app_on(&world, database).stage(visiting());
        world.start(app).await.unwrap();
        assert_eq!((shop.count("visits", doc! {}).await, shop.marks().await), (1, 0));
    })
    .await;
}

/// The server has never seen the commit, and keeps the transaction open until it is told to end it, or a minute and a half is over.
#[tokio::test]
async fn a_commit_that_arrives_late_does_nothing_any_more() {
    on_each(&[Kind::Real], |world, shop| async move {
        let (proxy, database) = shop.through_proxy().await;
        proxy.cut(Cut::BeforeMessage, b"commitTransaction");
        proxy.cut(Cut::Held, b"commitTransaction");
        let app = shop.app_on(&world, database).stage(visiting());
        let ended = async {
            repeatedly("both are cut", SOON, || async { proxy.has_cut().then_some(()) }).await;
            assert_eq!(
                world.history("visit").await,
                "STARTED",
                "as long as it is open, nothing is said"
            );
            shop.end_open_transactions().await;
        };
        let (error, ()) = tokio::join!(world.start(app), ended);
        assert_eq!(
            error.unwrap_err().report().change("visit").unwrap().status,
            ChangeStatus::RolledBack
        );
        assert_eq!(world.history("visit").await, "STARTED FAILED ROLLED_BACK");
        let answer = proxy.deliver().await;
        assert!(answer.contains("NoSuchTransaction"), "{answer}");
        assert_eq!((shop.count("visits", doc! {}).await, shop.marks().await), (0, 0));

        world.start(shop.app(&world).stage(visiting())).await.unwrap();
        assert_eq!((shop.count("visits", doc! {}).await, shop.marks().await), (1, 0));
    })
    .await;
}

#[tokio::test]
async fn an_index_is_part_of_a_transaction_for_a_collection_that_it_creates_only() {
    #[change(id = "index", order = "0001", target = "shop-db")]
    async fn indexed(tx: &mut MongoDbTx, collection: Dep<&'static str>) -> Result<(), ChangeError> {
        let collection = tx.database().collection::<Document>(&collection);
        let model = IndexModel::builder().keys(doc! {"sku": 1}).build();
        collection.create_index(model).session(tx.session()).await?;
        collection
            .insert_one(doc! {"sku": "a"})
            .session(tx.session())
            .await?;
        Ok(())
    }
    on_each(&[Kind::Real], |world, shop| async move {
        let start = |collection: &'static str| {
            let app = shop.app(&world).dependency(collection);
            world.start(app.stage(Stage::new("s").change(indexed)))
        };
        shop.database.create_collection("old").await.unwrap();
        let error = start("old").await.unwrap_err();
        let told = message(&error, "index");
        assert!(told.contains("OperationNotSupportedInTransaction"), "{told}");
        assert_eq!(world.history("index").await, "STARTED FAILED ROLLED_BACK");

        start("new").await.unwrap();
        let new = shop.database.collection::<Document>("new");
        assert_eq!(new.list_index_names().await.unwrap(), ["_id_", "sku_1"]);
        assert_eq!(shop.count("new", doc! {}).await, 1);
    })
    .await;
}

#[tokio::test]
async fn after_a_change_of_the_primary_nothing_stays_and_the_next_start_goes_on() {
    #[derive(Clone, Copy, PartialEq, Eq)]
    enum At {
        Middle,
        Commit,
    }
    #[change(id = "visit", order = "0001", target = "shop-db")]
    async fn twice(tx: &mut MongoDbTx, admin: Dep<Option<Database>>) -> Result<(), ChangeError> {
        let visits = tx.database().collection::<Document>("visits");
        visits.insert_one(doc! {"by": "us"}).session(tx.session()).await?;
        if let Some(admin) = &*admin {
            step_down(admin).await;
        }
        visits.insert_one(doc! {"by": "us"}).session(tx.session()).await?;
        Ok(())
    }
    async fn step_down(admin: &Database) {
        let command = doc! {"replSetStepDown": 20, "secondaryCatchUpPeriodSecs": 10};
        admin.run_command(command).await.unwrap();
    }
    for at in [At::Middle, At::Commit] {
        on_each(&[Kind::Set], |world, shop| async move {
            shop.database.create_collection("visits").await.unwrap();
            let options = shop.options.clone();
            let (database, admin) = match at {
                At::Middle => (
                    shop.database.clone(),
                    Some(Client::with_options(options).unwrap().database("admin")),
                ),
                At::Commit => {
                    let work = move || {
                        let runtime = tokio::runtime::Runtime::new().unwrap();
                        runtime.block_on(async {
                            step_down(&Client::with_options(options).unwrap().database("admin")).await;
                        });
                    };
                    let work = || std::thread::spawn(work).join().unwrap();
                    (shop.before_the_commit(work), None)
                }
            };
            let app = shop.app_on(&world, database).dependency(admin);
            let app = app.stage(Stage::new("s").change(twice));
            let error = world.start(app).await.unwrap_err();
            let told = message(&error, "visit");
            assert!(told.contains("NoSuchTransaction"), "{told}");
            assert_eq!(world.history("visit").await, "STARTED FAILED ROLLED_BACK");
            assert_eq!((shop.count("visits", doc! {}).await, shop.marks().await), (0, 0));

            let app = shop.app(&world).dependency(None::<Database>);
            world
                .start(app.stage(Stage::new("s").change(twice)))
                .await
                .unwrap();
            assert_eq!((shop.count("visits", doc! {}).await, shop.marks().await), (2, 0));
        })
        .await;
    }
}
