//! API tokens shown directly, and roles.

use flamingock_server::app::auth::{ApiToken, BearerError, Caller, Role};

use crate::world::World;

#[tokio::test]
async fn an_api_token_is_a_bearer_for_what_its_scope_covers() {
    let world = World::new().await;
    let own = world.session().await;
    let staging = world
        .exchange(&world.runner, "staging", "orders")
        .await
        .expect("a session");
    let billing = world
        .exchange(&world.runner, "staging", "billing")
        .await
        .expect("a session");
    let foreign = world
        .exchange(&world.foreign, "production", "orders")
        .await
        .expect("a session");

    let may = async |token: &ApiToken, environment: i64, service: i64| {
        let Caller::Token(holder) = world.auth.verify(token.expose()).await.expect("it verifies") else {
            panic!("a session");
        };
        world
            .auth
            .may_access(&holder, environment, service)
            .await
            .expect("it is known")
    };
    let (production, orders) = (own.environment_id, own.service_id);
    for token in [&world.runner, &world.viewer, &world.admin, &world.root] {
        assert!(may(token, production, orders).await);
        assert!(may(token, production, orders).await, "also when it is remembered");
    }
    assert!(may(&world.narrow, staging.environment_id, orders).await);
    assert!(!may(&world.narrow, production, orders).await);
    assert!(!may(&world.narrow, staging.environment_id, billing.service_id).await);
    // Foreign, absent, and a pair of two projects all look the same; only root sees them all.
    for token in [&world.runner, &world.viewer, &world.admin, &world.closed] {
        assert!(!may(token, foreign.environment_id, foreign.service_id).await);
    }
    assert!(
        !may(&world.closed, production, orders).await,
        "another project of the same organisation"
    );
    assert!(may(&world.root, foreign.environment_id, foreign.service_id).await);
    for token in [&world.runner, &world.admin, &world.root] {
        assert!(!may(token, production, foreign.service_id).await);
        assert!(!may(token, 999_999, orders).await);
        assert!(!may(token, -1, -1).await);
    }

    let unknown = ApiToken::generate();
    let text = world.runner.expose();
    for wrong in [
        unknown.expose(),
        world.expired.expose(),
        &text[..text.len() - 1],
        "flk_",
    ] {
        let refused = world.auth.verify(wrong).await;
        assert!(matches!(refused, Err(BearerError::TokenRefused)), "{refused:?}");
    }
}

#[tokio::test]
async fn a_use_is_noted_once_a_minute() {
    let world = World::new().await;
    let noted = async || -> Option<String> {
        sqlx::query_scalar("SELECT last_used_at::text FROM api_tokens WHERE sha256 = $1")
            .bind(world.runner.sha256().as_slice())
            .fetch_one(&world.pool)
            .await
            .expect("the token")
    };
    assert_eq!(noted().await, None);
    world.session().await;
    let first = noted().await;
    assert!(first.is_some());
    world.session().await;
    assert_eq!(noted().await, first);
    sqlx::query("UPDATE api_tokens SET last_used_at = last_used_at - interval '2 minutes'")
        .execute(&world.pool)
        .await
        .expect("time passes");
    world
        .auth
        .verify(world.runner.expose())
        .await
        .expect("it verifies");
    assert_ne!(noted().await, first);
}

#[test]
fn each_role_may_what_its_name_says() {
    let table = Role::ALL.map(|role| {
        (
            role.as_str(),
            role.may_read(),
            role.may_run(),
            role.may_operate(),
            role.may_administer(),
        )
    });
    assert_eq!(
        table,
        [
            ("runner", true, true, false, false),
            ("viewer", true, false, false, false),
            ("operator", true, false, true, false),
            ("admin", true, true, true, true),
            ("root", true, true, true, true),
        ]
    );
    for role in Role::ALL {
        assert_eq!(Role::parse(role.as_str()), Some(role));
    }
    assert_eq!(Role::parse("Runner"), None);
}
