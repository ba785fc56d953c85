//! From an API token to a session.

use std::time::Duration;

use flamingock_server::app::auth::{ApiToken, ExchangeError, Field, NameError, Remedy, Role, Session};

use crate::world::{World, session_of};

#[tokio::test]
async fn a_token_and_two_names_open_a_session_for_that_scope() {
    let world = World::new().await;
    let session = world.session().await;
    assert_eq!(
        (
            &*session.organisation_name,
            &*session.project_name,
            &*session.environment_name,
            &*session.service_name
        ),
        ("acme", "shop", "production", "orders")
    );
    assert!(!session.service_registered);
    assert_eq!(session.expires_in, Duration::from_hours(24));
    assert!(!session.jwt.contains(['\n', '\r', ' ']));

    let verified = session_of(world.auth.verify(&session.jwt).await.expect("it verifies"));
    assert_eq!(
        *verified,
        Session {
            credential_id: session.credential_id,
            credential_name: Some("runner".to_owned()),
            organisation_id: session.organisation_id,
            project_id: session.project_id,
            environment_id: session.environment_id,
            service_id: session.service_id,
            role: Role::Runner,
            expired: false,
        }
    );
    // The same names give the same ids, in another session.
    let again = world.session().await;
    assert_eq!(
        (again.environment_id, again.service_id),
        (session.environment_id, session.service_id)
    );
    assert_ne!(again.jwt, session.jwt);
    assert!(!format!("{session:?}").contains(&session.jwt));
}

#[tokio::test]
async fn what_is_missing_or_no_name_is_named() {
    let world = World::new().await;
    let token = Some(world.runner.expose());
    let long = "x".repeat(201);
    for (token, environment, service, field, reason) in [
        (
            None,
            Some("production"),
            Some("orders"),
            Field::ApiToken,
            NameError::Empty,
        ),
        (
            Some(" "),
            Some("production"),
            Some("orders"),
            Field::ApiToken,
            NameError::Empty,
        ),
        (
            token,
            None,
            Some("orders"),
            Field::EnvironmentName,
            NameError::Empty,
        ),
        (
            token,
            Some(""),
            Some("orders"),
            Field::EnvironmentName,
            NameError::Empty,
        ),
        (
            token,
            Some("production"),
            None,
            Field::ServiceName,
            NameError::Empty,
        ),
        (
            token,
            Some("production"),
            Some("\t"),
            Field::ServiceName,
            NameError::Empty,
        ),
        (
            token,
            Some("production"),
            Some("or\nders"),
            Field::ServiceName,
            NameError::ControlCharacter,
        ),
        (
            token,
            Some("production"),
            Some("orders "),
            Field::ServiceName,
            NameError::Edges,
        ),
        (
            token,
            Some("production"),
            Some(&*long),
            Field::ServiceName,
            NameError::TooLong,
        ),
    ] {
        match world.auth.exchange(token, environment, service).await {
            Err(ExchangeError::Malformed { field: f, reason: r }) => assert_eq!((f, r), (field, reason)),
            other => panic!("{environment:?} {service:?}: {other:?}"),
        }
    }
    // As long as it may be, and counted in characters.
    let longest = "é".repeat(200);
    assert!(
        world
            .exchange(&world.runner, "production", &longest)
            .await
            .is_ok()
    );
}

#[tokio::test]
async fn a_wrong_token_is_refused_in_the_same_words_whatever_is_wrong_with_it() {
    let world = World::new().await;
    world.revoke(&world.narrow).await;
    let unknown = ApiToken::generate();
    let mut words = Vec::new();
    for token in [&unknown, &world.expired, &world.narrow] {
        let error = world
            .exchange(token, "staging", "orders")
            .await
            .expect_err("it is refused");
        assert!(
            matches!(error, ExchangeError::TokenRefused { mistyped: false }),
            "{error:?}"
        );
        words.push(error.to_string());
    }
    words.dedup();
    assert_eq!(words.len(), 1);

    let text = world.runner.expose();
    for (wrong, hint) in [(&text[..text.len() - 1], true), ("some other secret", false)] {
        let error = world
            .auth
            .exchange(Some(wrong), Some("production"), Some("orders"))
            .await
            .expect_err("refused");
        assert!(
            matches!(error, ExchangeError::TokenRefused { mistyped } if mistyped == hint),
            "{error:?}"
        );
        assert!(!error.to_string().contains(wrong));
    }
}

#[tokio::test]
async fn environments_outside_the_scope_are_like_absent_ones() {
    let world = World::new().await;
    for (token, environment) in [
        (&world.runner, "prodution"),
        (&world.runner, "secret"),
        (&world.narrow, "production"),
        (&world.closed, "staging"),
    ] {
        let error = world
            .exchange(token, environment, "orders")
            .await
            .expect_err("it is not there");
        assert!(
            matches!(&error, ExchangeError::EnvironmentNotFound { environment: e, .. } if e == environment)
        );
        assert!(error.to_string().contains(&format!("`{environment}`")));
        // Nothing is listed that the caller did not say or own.
        for name in ["staging", "secret", "other"]
            .iter()
            .filter(|name| **name != environment)
        {
            assert!(!error.to_string().contains(name), "{error}");
        }
    }
    let error = world
        .exchange(&world.runner, "production ", "orders")
        .await
        .expect_err("no name");
    assert!(matches!(
        error,
        ExchangeError::Malformed {
            field: Field::EnvironmentName,
            ..
        }
    ));
    // Unknown environments never come into being.
    let count: i64 = sqlx::query_scalar("SELECT count(*) FROM environments")
        .fetch_one(&world.pool)
        .await
        .expect("a count");
    assert_eq!(count, 5);

    let foreign = world
        .exchange(&world.foreign, "production", "orders")
        .await
        .expect("its own");
    let own = world.session().await;
    assert_ne!(
        (foreign.environment_id, foreign.service_id),
        (own.environment_id, own.service_id)
    );
}

#[tokio::test]
async fn unknown_services_register_themselves_only_where_they_may() {
    let world = World::new().await;
    let made = world
        .exchange(&world.runner, "production", "shipping")
        .await
        .expect("it registers itself");
    assert!(made.service_registered);
    let again = world
        .exchange(&world.viewer, "staging", "shipping")
        .await
        .expect("it exists");
    assert!(!again.service_registered);
    assert_eq!(again.service_id, made.service_id);

    for (token, environment, service, expected) in [
        (&world.closed, "production", "orders", Remedy::ProjectDecides),
        (&world.narrow, "staging", "billing", Remedy::TokenIsRestricted),
        (&world.narrow, "staging", "brand-new", Remedy::TokenIsRestricted),
        (&world.viewer, "staging", "brand-new", Remedy::RoleDoesNotRun),
        (&world.runner, "staging", "???", Remedy::NameMayBeDamaged),
    ] {
        match world.exchange(token, environment, service).await {
            Err(ExchangeError::ServiceNotFound {
                service: s, remedy, ..
            }) => {
                assert_eq!((&*s, remedy), (service, expected));
            }
            other => panic!("{service}: {other:?}"),
        }
    }
    let names: Vec<String> = sqlx::query_scalar("SELECT name FROM services ORDER BY id")
        .fetch_all(&world.pool)
        .await
        .expect("services");
    assert_eq!(names, ["orders", "billing", "orders", "hidden", "shipping"]);
}

#[tokio::test]
async fn a_token_that_is_not_for_a_project_opens_no_session() {
    let world = World::new().await;
    for token in [&world.admin, &world.root] {
        let error = world
            .exchange(token, "production", "orders")
            .await
            .expect_err("no project");
        assert!(matches!(error, ExchangeError::NoProject), "{error:?}");
    }
}

#[tokio::test]
async fn services_that_register_at_the_same_moment_become_one() {
    let world = World::new().await;
    let replica = world.replica().await;
    let mut tasks = tokio::task::JoinSet::new();
    for number in 0..24 {
        let auth = if number % 2 == 0 {
            world.auth.clone()
        } else {
            replica.clone()
        };
        let token = world.runner.expose().to_owned();
        tasks.spawn(async move {
            let done = auth
                .exchange(Some(&token), Some("production"), Some("brand-new"))
                .await
                .expect("a session");
            (done.service_id, done.service_registered)
        });
    }
    let done = tasks.join_all().await;
    assert_eq!(done.iter().filter(|(_, registered)| *registered).count(), 1);
    assert!(done.iter().all(|(id, _)| *id == done[0].0), "{done:?}");
}
