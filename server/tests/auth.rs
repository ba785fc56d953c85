//! Exchanging tokens, verifying bearers, rotation and revocation, against a real database.

mod support;

use std::sync::Arc;
use std::time::Duration;

use data_encoding::{BASE64URL_NOPAD, HEXLOWER};
use flamingock_server::app::auth::{
    ApiToken, Auth, AuthSettings, BearerError, Caller, ExchangeError, Exchanged, Field, NameError, Remedy,
    Role, Session,
};
use flamingock_server::app::bootstrap::{self, Declaration};
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use serde_json::{Value, json};
use sqlx::PgPool;

/// Two tenants: `acme` is the one that calls, `other` the one that must stay out of sight.
struct World {
    pool: PgPool,
    auth: Auth,
    runner: ApiToken,
    narrow: ApiToken,
    viewer: ApiToken,
    admin: ApiToken,
    root: ApiToken,
    expired: ApiToken,
    closed: ApiToken,
    foreign: ApiToken,
}

impl World {
    async fn new() -> Self {
        Self::with(AuthSettings::default()).await
    }

    async fn with(settings: AuthSettings) -> Self {
        let pool = support::database().await;
        let [runner, narrow, viewer, admin, root, expired, closed, foreign] =
            std::array::from_fn(|_| ApiToken::generate());
        let text = format!(
            r#"
            tokens = [{{ name = "root", role = "root", value = "{root}" }}]

            [[organisations]]
            name = "acme"
            tokens = [{{ name = "admin", role = "admin", value = "{admin}" }}]

            [[organisations.projects]]
            name = "shop"
            self_register_services = true
            environments = [{{ name = "production" }}, {{ name = "staging" }}]
            services = [{{ name = "orders" }}, {{ name = "billing" }}]
            tokens = [
                {{ name = "runner", role = "runner", value = "{runner}" }},
                {{ name = "narrow", role = "runner", value = "{narrow}", environments = ["staging"], services = ["orders"] }},
                {{ name = "viewer", role = "viewer", value = "{viewer}" }},
                {{ name = "expired", role = "runner", value = "{expired}", expires_at = 2020-01-01T00:00:00Z }},
            ]

            [[organisations.projects]]
            name = "closed"
            environments = [{{ name = "production" }}]
            tokens = [{{ name = "runner", role = "runner", value = "{closed}" }}]

            [[organisations]]
            name = "other"
            [[organisations.projects]]
            name = "shop"
            environments = [{{ name = "secret" }}, {{ name = "production" }}]
            services = [{{ name = "orders" }}, {{ name = "hidden" }}]
            tokens = [{{ name = "runner", role = "runner", value = "{foreign}" }}]
            "#,
            root = root.expose(),
            admin = admin.expose(),
            runner = runner.expose(),
            narrow = narrow.expose(),
            viewer = viewer.expose(),
            expired = expired.expose(),
            closed = closed.expose(),
            foreign = foreign.expose(),
        );
        let declaration =
            Declaration::parse("world.toml".as_ref(), &text, |_| None).expect("the file is right");
        bootstrap::apply(&pool, &declaration).await.expect("it applies");
        let auth = Auth::start(pool.clone(), settings).await.expect("it starts");
        Self {
            pool,
            auth,
            runner,
            narrow,
            viewer,
            admin,
            root,
            expired,
            closed,
            foreign,
        }
    }

    async fn exchange(
        &self,
        token: &ApiToken,
        environment: &str,
        service: &str,
    ) -> Result<Exchanged, ExchangeError> {
        self.auth
            .exchange(Some(token.expose()), Some(environment), Some(service))
            .await
    }

    async fn session(&self) -> Exchanged {
        self.exchange(&self.runner, "production", "orders")
            .await
            .expect("a session")
    }

    async fn replica(&self) -> Auth {
        Auth::start(self.pool.clone(), AuthSettings::default())
            .await
            .expect("it starts")
    }

    async fn revoke(&self, token: &ApiToken) {
        let done = sqlx::query("UPDATE api_tokens SET revoked_at = clock_timestamp() WHERE sha256 = $1")
            .bind(token.sha256().as_slice())
            .execute(&self.pool)
            .await
            .expect("it is revoked");
        assert_eq!(done.rows_affected(), 1);
    }

    async fn age_keys(&self, hours: f64) {
        sqlx::query("UPDATE signing_keys SET created_at = created_at - make_interval(secs => $1 * 3600)")
            .bind(hours)
            .execute(&self.pool)
            .await
            .expect("the keys age");
    }

    async fn kids(&self) -> Vec<String> {
        sqlx::query_scalar("SELECT kid FROM signing_keys ORDER BY created_at")
            .fetch_all(&self.pool)
            .await
            .expect("keys")
    }
}

fn session_of(caller: Caller) -> Arc<Session> {
    match caller {
        Caller::Session(session) => session,
        Caller::Token(holder) => panic!("a token: {holder:?}"),
    }
}

fn part(jwt: &str, index: usize) -> Value {
    let part = jwt.split('.').nth(index).expect("three parts");
    serde_json::from_slice(&BASE64URL_NOPAD.decode(part.as_bytes()).expect("base64url")).expect("JSON")
}

fn encoded(value: &Value) -> String {
    BASE64URL_NOPAD.encode(value.to_string().as_bytes())
}

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

#[tokio::test]
async fn forged_sessions_are_refused() {
    let world = World::new().await;
    let jwt = world.session().await.jwt;
    let parts: Vec<&str> = jwt.split('.').collect();
    let (header, claims) = (part(&jwt, 0), part(&jwt, 1));
    assert_eq!(header["alg"], "EdDSA");
    let pkcs8: Vec<u8> = sqlx::query_scalar("SELECT private_pkcs8 FROM signing_keys")
        .fetch_one(&world.pool)
        .await
        .expect("one key");
    let key = EncodingKey::from_ed_der(&pkcs8);
    let public = {
        use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _};
        Ed25519KeyPair::from_pkcs8(&pkcs8)
            .expect("a key")
            .public_key()
            .as_ref()
            .to_vec()
    };
    let kid = header["kid"].as_str().expect("a kid").to_owned();
    let with = |name: &str, value: Value| {
        let mut claims = claims.clone();
        claims[name] = value;
        claims
    };
    let without = |name: &str| {
        let mut claims = claims.clone();
        claims.as_object_mut().expect("an object").remove(name);
        claims
    };
    let signed = |claims: &Value, kid: Option<&str>| {
        let mut header = Header::new(Algorithm::EdDSA);
        header.kid = kid.map(str::to_owned);
        jsonwebtoken::encode(&header, claims, &key).expect("it signs")
    };
    // The helpers make sessions that are accepted, so that what follows is refused for its own reason.
    assert!(world.auth.verify(&signed(&claims, Some(&kid))).await.is_ok());

    let hmac = |secret: &[u8]| {
        let mut header = Header::new(Algorithm::HS256);
        header.kid = Some(kid.clone());
        jsonwebtoken::encode(&header, &claims, &EncodingKey::from_secret(secret)).expect("it signs")
    };
    let other_key = {
        let pair =
            aws_lc_rs::signature::Ed25519KeyPair::generate_pkcs8(&aws_lc_rs::rand::SystemRandom::new());
        let mut header = Header::new(Algorithm::EdDSA);
        header.kid = Some(kid.clone());
        let key = EncodingKey::from_ed_der(pair.expect("random").as_ref());
        jsonwebtoken::encode(&header, &claims, &key).expect("it signs")
    };
    let forged = [
        (
            "no algorithm",
            format!("{}.{}.", encoded(&json!({"alg": "none", "kid": kid})), parts[1]),
        ),
        (
            "no algorithm, old signature",
            format!("{}.{}.{}", encoded(&json!({"alg": "none"})), parts[1], parts[2]),
        ),
        ("HMAC with the public key", hmac(&public)),
        (
            "HMAC with the public key in hex",
            hmac(HEXLOWER.encode(&public).as_bytes()),
        ),
        ("HMAC with nothing", hmac(b"")),
        ("another key under our name", other_key),
        ("an unknown key", signed(&claims, Some("0123456789abcdef"))),
        ("a key's name that is SQL", signed(&claims, Some("' OR true --"))),
        ("no key named", signed(&claims, None)),
        (
            "another audience",
            signed(&with("aud", json!("somebody-else")), Some(&kid)),
        ),
        (
            "another issuer",
            signed(&with("iss", json!("somebody-else")), Some(&kid)),
        ),
        ("no audience", signed(&without("aud"), Some(&kid))),
        ("no issuer", signed(&without("iss"), Some(&kid))),
        ("no end", signed(&without("exp"), Some(&kid))),
        ("no environment", signed(&without("env"), Some(&kid))),
        (
            "an unknown role",
            signed(&with("role", json!("king")), Some(&kid)),
        ),
        (
            "not yet",
            signed(
                &with("nbf", json!(claims["iat"].as_i64().expect("a number") + 600)),
                Some(&kid),
            ),
        ),
        (
            "altered claims",
            format!(
                "{}.{}.{}",
                parts[0],
                encoded(&with("role", json!("admin"))),
                parts[2]
            ),
        ),
        (
            "altered scope",
            format!("{}.{}.{}", parts[0], encoded(&with("env", json!(3))), parts[2]),
        ),
        ("no signature", format!("{}.{}.", parts[0], parts[1])),
        ("cut signature", jwt[..jwt.len() - 2].to_owned()),
    ];
    for (what, bearer) in &forged {
        let refused = world.auth.verify(bearer).await;
        assert!(
            matches!(refused, Err(BearerError::BadSignature)),
            "{what}: {refused:?}"
        );
    }
    for nonsense in ["", "nonsense", "a.b", "a.b.c.d", &"x".repeat(5000)] {
        let refused = world.auth.verify(nonsense).await;
        assert!(
            matches!(refused, Err(BearerError::Malformed)),
            "{nonsense}: {refused:?}"
        );
    }
    // Of another installation, with the same names and ids.
    let elsewhere = World::new().await;
    let refused = elsewhere.auth.verify(&jwt).await;
    assert!(matches!(refused, Err(BearerError::BadSignature)), "{refused:?}");
    // Nothing of that disturbed the real one.
    assert!(world.auth.verify(&jwt).await.is_ok());
}

#[tokio::test]
async fn a_session_that_ended_is_recognised_as_such_also_when_it_is_remembered() {
    let settings = AuthSettings {
        session_lifetime: Duration::from_secs(1),
        ..AuthSettings::default()
    };
    let world = World::with(settings).await;
    let jwt = world.session().await.jwt;
    let live = session_of(world.auth.verify(&jwt).await.expect("it verifies"));
    assert!(!live.expired);
    // It is remembered now. The end comes with the skew that clocks are granted.
    let ended = tokio::time::timeout(Duration::from_secs(20), async {
        loop {
            let session = session_of(world.auth.verify(&jwt).await.expect("it still verifies"));
            if session.expired {
                return session;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    })
    .await
    .expect("it ends");
    assert_eq!(
        *ended,
        Session {
            expired: true,
            ..(*live).clone()
        }
    );
    // And for a replica that sees it for the first time.
    assert!(session_of(world.replica().await.verify(&jwt).await.expect("it verifies")).expired);
}

#[tokio::test]
async fn a_revocation_cuts_sessions_and_tokens_within_seconds_on_every_replica() {
    let world = World::new().await;
    let replica = world.replica().await;
    let stop = tokio_util::sync::CancellationToken::new();
    let jobs = [&world.auth, &replica].map(|auth| flamingock_server::jobs::spawn(auth, &stop));
    let jwt = world.session().await.jwt;
    let spared = world
        .exchange(&world.viewer, "production", "orders")
        .await
        .expect("a session")
        .jwt;
    for auth in [&world.auth, &replica] {
        assert!(auth.verify(&jwt).await.is_ok());
        assert!(auth.verify(world.runner.expose()).await.is_ok());
    }

    world.revoke(&world.runner).await;
    // At once, because it asks the database.
    assert!(matches!(
        world.exchange(&world.runner, "production", "orders").await,
        Err(ExchangeError::TokenRefused { .. })
    ));
    tokio::time::timeout(Duration::from_secs(10), async {
        for auth in [&world.auth, &replica] {
            while !matches!(auth.verify(&jwt).await, Err(BearerError::Revoked)) {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
            while !matches!(
                auth.verify(world.runner.expose()).await,
                Err(BearerError::TokenRefused)
            ) {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
    })
    .await
    .expect("it is cut off");
    // One that starts only now knows, too.
    assert!(matches!(
        world.replica().await.verify(&jwt).await,
        Err(BearerError::Revoked)
    ));
    assert!(world.auth.verify(&spared).await.is_ok());
    stop.cancel();
    for jobs in jobs {
        jobs.wait().await;
    }
}

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
