//! Keys that sign sessions: rotation, replicas.

use std::time::Duration;

use flamingock_server::app::auth::{Auth, AuthSettings, BearerError};

use crate::world::{World, part};

#[tokio::test]
async fn keys_rotate_and_old_ones_verify_until_their_sessions_are_of_no_use() {
    let world = World::new().await;
    let first = world.kids().await;
    assert_eq!(first.len(), 1);
    let old_session = world.session().await.jwt;
    world.auth.rotate_keys().await.expect("nothing to do");
    assert_eq!(world.kids().await, first);

    // Due: the successor is published, but does not sign yet.
    world.age_keys(30.0 * 24.0 + 1.0).await;
    world.auth.rotate_keys().await.expect("it rotates");
    let both = world.kids().await;
    assert_eq!(both.len(), 2);
    assert_eq!(part(&world.session().await.jwt, 0)["kid"], *both[0]);
    // Then it does.
    world.age_keys(1.0).await;
    world.auth.rotate_keys().await.expect("it reloads");
    let new_session = world.session().await.jwt;
    assert_eq!(part(&new_session, 0)["kid"], *both[1]);
    let replica = world.replica().await;
    for jwt in [&old_session, &new_session] {
        assert!(world.auth.verify(jwt).await.is_ok());
        assert!(replica.verify(jwt).await.is_ok());
    }

    // Long after, the old one goes, and so do sessions that are remembered.
    world.age_keys(9.0 * 24.0).await;
    world.auth.rotate_keys().await.expect("it cleans up");
    assert_eq!(world.kids().await, both[1..]);
    assert!(matches!(
        world.auth.verify(&old_session).await,
        Err(BearerError::BadSignature)
    ));
    assert!(world.auth.verify(&new_session).await.is_ok());
}

#[tokio::test]
async fn replicas_that_start_or_rotate_at_once_make_one_key() {
    let world = World::new().await;
    sqlx::query("DELETE FROM signing_keys")
        .execute(&world.pool)
        .await
        .expect("they are gone");
    let start = || {
        let pool = world.pool.clone();
        tokio::spawn(async move {
            Auth::start(pool, AuthSettings::default())
                .await
                .expect("it starts")
        })
    };
    let tasks: Vec<_> = (0..6).map(|_| start()).collect();
    let mut replicas = Vec::new();
    for task in tasks {
        replicas.push(task.await.expect("no panic"));
    }
    assert_eq!(world.kids().await.len(), 1);
    world.age_keys(24.0 * 31.0).await;
    let rotations: Vec<_> = replicas
        .iter()
        .cloned()
        .map(|auth| tokio::spawn(async move { auth.rotate_keys().await }))
        .collect();
    for rotation in rotations {
        rotation.await.expect("no panic").expect("it rotates");
    }
    assert_eq!(world.kids().await.len(), 2);
    // What one signs every other accepts.
    let token = Some(world.runner.expose());
    for signer in &replicas {
        let jwt = signer
            .exchange(token, Some("staging"), Some("orders"))
            .await
            .expect("a session")
            .jwt;
        for verifier in &replicas {
            assert!(verifier.verify(&jwt).await.is_ok());
        }
    }
}

#[tokio::test]
async fn a_key_that_another_replica_made_is_looked_for_but_not_at_every_request() {
    let world = World::new().await;
    // The other replica has a key that this one never saw.
    sqlx::query("DELETE FROM signing_keys")
        .execute(&world.pool)
        .await
        .expect("they are gone");
    let replica = world.replica().await;
    let jwt = replica
        .exchange(Some(world.runner.expose()), Some("production"), Some("orders"))
        .await
        .expect("a session")
        .jwt;
    assert!(world.auth.verify(&jwt).await.is_ok());

    // It has just looked: an unknown key does not make it ask again.
    sqlx::query("DELETE FROM signing_keys")
        .execute(&world.pool)
        .await
        .expect("they are gone");
    let another = world.replica().await;
    let jwt = another
        .exchange(Some(world.runner.expose()), Some("production"), Some("orders"))
        .await
        .expect("a session")
        .jwt;
    assert!(matches!(
        world.auth.verify(&jwt).await,
        Err(BearerError::BadSignature)
    ));
    tokio::time::timeout(Duration::from_secs(10), async {
        while world.auth.verify(&jwt).await.is_err() {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    })
    .await
    .expect("it looks again after a second");
}
