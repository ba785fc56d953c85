//! Sessions: forged, ended, revoked.

use std::time::Duration;

use data_encoding::HEXLOWER;
use flamingock_server::app::auth::{AuthSettings, BearerError, ExchangeError, Session};
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use serde_json::{Value, json};

use crate::world::{World, encoded, part, session_of};

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
    let jobs = [&world.auth, &replica].map(|auth| flamingock_server::jobs::spawn(auth, None, &stop));
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

/// Lifetimes may be set shorter than they were when the session was opened: what is remembered must not go by them.
#[tokio::test]
async fn a_revocation_is_remembered_as_long_as_the_key_of_its_sessions() {
    let world = World::new().await;
    let jwt = world.session().await.jwt;
    world.age_keys(200.0 * 24.0).await;
    world.revoke(&world.runner).await;
    sqlx::query(
        "UPDATE api_tokens SET revoked_at = revoked_at - interval '100 days' WHERE revoked_at IS NOT NULL",
    )
    .execute(&world.pool)
    .await
    .expect("it was long ago");
    assert!(matches!(
        world.replica().await.verify(&jwt).await,
        Err(BearerError::Revoked)
    ));
}
