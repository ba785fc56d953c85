//! Redis, in a numbered database for each test.

use std::sync::atomic::{AtomicU32, Ordering};

use flamingock::{Builder, ChangeStatus, Redis};
use flamingock_targets_tests::{Fidelity, System, World, message};
use redis::AsyncCommands as _;
use redis::aio::MultiplexedConnection;

#[expect(dead_code, reason = "its main function")]
#[path = "../../../client-sdk/examples/redis.rs"]
mod example;

struct Cache {
    _system: System,
    client: redis::Client,
    connection: MultiplexedConnection,
}

impl Cache {
    async fn new() -> Option<Self> {
        static NEXT: AtomicU32 = AtomicU32::new(1);
        let url = System::address("Redis", "REDIS_URL")?;
        let client = redis::Client::open(format!("{url}/{}", NEXT.fetch_add(1, Ordering::Relaxed))).unwrap();
        let mut connection = client.get_multiplexed_async_connection().await.unwrap();
        let () = redis::cmd("FLUSHDB").query_async(&mut connection).await.unwrap();
        let info: String = redis::cmd("INFO")
            .arg("server")
            .query_async(&mut connection)
            .await
            .unwrap();
        let version = info.lines().find_map(|line| line.strip_prefix("redis_version:"));
        let system = System::new("Redis", Fidelity::Real, version.unwrap_or("?"));
        for cart in 0..1200 {
            let () = connection.set(format!("cart:{cart}"), cart).await.unwrap();
        }
        let () = connection.set("carton", 1).await.unwrap();
        let () = connection.hset("config", "session-minutes", "15").await.unwrap();
        Some(Self {
            _system: system,
            client,
            connection,
        })
    }

    fn app(&self, world: &World) -> Builder {
        world
            .app()
            .target(example::target(self.client.clone()))
            .stage(example::stage())
    }

    fn redis(&self) -> Redis {
        example::target(self.client.clone()).client()
    }

    async fn count(&self, prefix: &str) -> usize {
        self.redis().keys(prefix).await.unwrap().len()
    }

    async fn config(&self, field: &str) -> Option<String> {
        self.connection.clone().hget("config", field).await.unwrap()
    }
}

#[tokio::test]
async fn the_example_is_applied_once() {
    let Some(cache) = Cache::new().await else { return };
    let world = World::new().await;
    for expected in [ChangeStatus::Applied, ChangeStatus::AlreadyApplied] {
        let report = world.start(cache.app(&world)).await.unwrap();
        assert_eq!(report.change("carts-are-baskets").unwrap().status, expected);
    }
    assert_eq!(
        (cache.count("cart:").await, cache.count("basket:").await),
        (0, 1200)
    );
    assert_eq!(cache.count("carton").await, 1);
    assert_eq!(cache.config("session-minutes").await.as_deref(), Some("60"));
}

#[tokio::test]
async fn a_failure_in_the_middle_is_undone_and_the_next_start_goes_on() {
    let Some(mut cache) = Cache::new().await else {
        return;
    };
    let world = World::new().await;
    let () = cache.connection.set("basket:7", "somebody's").await.unwrap();
    let error = world.start(cache.app(&world)).await.unwrap_err();
    assert!(message(&error, "carts-are-baskets").contains("1 keys are taken"));
    assert_eq!(
        world.history("carts-are-baskets").await,
        "STARTED FAILED ROLLED_BACK"
    );
    let theirs: String = cache.connection.get("basket:7").await.unwrap();
    assert_eq!(theirs, "somebody's", "nothing is overwritten");
    assert_eq!(cache.count("cart:").await, 1200);

    let () = cache.connection.del("basket:7").await.unwrap();
    // The configuration cannot be written now, and then it can.
    let () = cache.connection.rename("config", "elsewhere").await.unwrap();
    let () = cache.connection.set("config", "a text").await.unwrap();
    let error = world.start(cache.app(&world)).await.unwrap_err();
    assert!(message(&error, "longer-sessions").contains("WRONGTYPE"));
    let () = cache.connection.rename("elsewhere", "config").await.unwrap();
    world.start(cache.app(&world)).await.unwrap();
    assert_eq!(cache.config("session-minutes").await.as_deref(), Some("60"));
    assert_eq!(cache.count("basket:").await, 1200);
}

#[tokio::test]
async fn after_a_death_the_repetition_keeps_what_was_there_before_the_first_attempt() {
    let Some(cache) = Cache::new().await else { return };
    let world = World::new().await;
    let stage = || flamingock::Stage::new("cache").change(example::longer_sessions);
    let app = || {
        world
            .app()
            .target(example::target(cache.client.clone()))
            .stage(stage())
    };
    world.die_before_the_report(app()).await;
    assert_eq!(cache.config("session-minutes").await.as_deref(), Some("60"));
    world.start(app()).await.unwrap();
    assert_eq!(world.history("longer-sessions").await, "STARTED STARTED APPLIED");
    let kept = cache.redis().keys("kept:").await.unwrap();
    let before: Vec<(String, String)> = cache.connection.clone().hgetall(&kept[0]).await.unwrap();
    assert!(
        before.contains(&("session-minutes".into(), "15".into())),
        "{before:?}"
    );
}

/// What the documentation warns of.
#[tokio::test]
async fn commands_together_are_not_interrupted_and_not_undone() {
    let Some(cache) = Cache::new().await else { return };
    let redis = cache.redis();
    let (a, b): (i64, i64) = redis
        .together(|commands| {
            commands.incr("a", 1).incr("b", 2);
        })
        .await
        .unwrap();
    assert_eq!((a, b), (1, 2));
    let failed: redis::RedisResult<()> = redis
        .together(|commands| {
            commands.incr("a", 1).incr("config", 1).incr("b", 1);
        })
        .await;
    assert!(failed.unwrap_err().to_string().contains("WRONGTYPE"));
    let b: i64 = cache.connection.clone().get("b").await.unwrap();
    assert_eq!(b, 3, "the commands around the one that failed were executed");
}
