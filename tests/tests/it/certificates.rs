//! Starting when the server is down: by a certificate, for exactly what was certified, and only when nobody could be asked.

use std::path::Path;
use std::time::Duration;

use flamingock::{
    Builder, Flamingock, PostgresTarget, Report, RunStatus, Stage, StartCertificate, StartError,
    StartErrorKind, Target,
};
use flamingock_api_types::audit::CheckpointKeys;
use flamingock_api_types::certificate::{CertificateDocument, signed_bytes};
use flamingock_api_types::digest;
use flamingock_api_types::execution::PlanResponse;
use flamingock_audit_chain::PublicKey;
use flamingock_tests::{
    Call, Database, Effect, Effects, Ending, HttpProxy, Mischief, Pipeline, Runner, TestServer, eventually,
    scratch_directory, tokens,
};
use serde_json::{Value, json};
use sqlx::PgPool;

/// An application whose changes are applied, and which was certified so.
struct Shop {
    pool: PgPool,
    _target: Database,
    file: std::path::PathBuf,
}

impl Shop {
    async fn new() -> Self {
        let target = Database::empty().await;
        let effects = Effects::in_database(&target).await;
        Self {
            pool: effects.pool(),
            _target: target,
            file: scratch_directory(&[]).join("certificate"),
        }
    }

    /// One that is impatient, as tests are.
    fn app(&self, url: &str) -> Builder {
        Flamingock::builder(url)
            .token(&tokens().runner)
            .environment("production")
            .service("shop")
            .retry_for(Duration::from_millis(500))
            .connect_timeout(Duration::from_secs(2))
            .target(Target::non_transactional("plain", self.pool.clone()))
            .target(PostgresTarget::new("marking", self.pool.clone()))
    }

    fn certificate(&self) -> StartCertificate {
        StartCertificate::in_file(&self.file)
    }

    async fn start(&self, app: Builder) -> Result<Report, StartError> {
        app.build().expect("it can be built").run().await
    }

    /// The pipeline of most tests, with its certificate.
    async fn usual(&self, url: &str) -> Result<Report, StartError> {
        self.start(
            self.app(url)
                .stage(work(&["a", "b"]))
                .start_certificate(self.certificate()),
        )
        .await
    }
}

fn work(changes: &[&'static str]) -> Stage {
    changes
        .iter()
        .enumerate()
        .fold(Stage::new("work"), |stage, (at, id)| {
            stage.change(Effect::new(*id, format!("{:04}", at + 1)))
        })
}

/// Why the application did not start without the server.
fn reason(started: Result<Report, StartError>) -> String {
    let error = started.expect_err("it must not start");
    match error.kind() {
        StartErrorKind::NotCertified { reason, .. } => reason.clone(),
        other => panic!("another end: {other:?}"),
    }
}

#[tokio::test]
async fn an_application_that_is_up_to_date_starts_without_the_server_and_says_so() {
    let server = TestServer::start().await;
    let shop = Shop::new().await;
    let report = shop.usual(&server.url()).await.expect("it starts");
    assert_eq!(report.status, RunStatus::Success);
    let first = std::fs::read_to_string(&shop.file).expect("a certificate is kept");
    // The next start sends the pipeline, the one after it is answered by its digest: both are certified.
    for _ in 0..2 {
        std::fs::remove_file(&shop.file).expect("it is there");
        let report = shop.usual(&server.url()).await.expect("it starts");
        assert_eq!(report.status, RunStatus::NoChanges);
        let again = std::fs::read_to_string(&shop.file).expect("a certificate is kept");
        assert_eq!(first, again, "of one head one certificate is enough for minutes");
    }

    server.kill();
    let report = shop.usual(&server.url()).await.expect("it starts");
    assert_eq!(report.status, RunStatus::Certified);
    assert_eq!(
        (report.already_applied_changes, report.not_reached_changes),
        (2, 0)
    );
    let by = report.certificate.as_ref().expect("it says by what");
    assert!(by.head_seq > 0 && by.expires_at > by.issued_at);
    assert!(
        report.one_line().contains("starts by a certificate"),
        "{}",
        report.one_line()
    );

    // The server is back, and is asked.
    server.restart().await;
    let report = shop.usual(&server.url()).await.expect("it starts");
    assert_eq!((report.status, report.certificate), (RunStatus::NoChanges, None));
}

/// The session is still there, so the exchange says nothing about the pipeline; and then nobody answers.
#[tokio::test]
async fn a_second_run_of_the_same_process_may_lean_on_it_too() {
    let server = TestServer::start().await;
    let shop = Shop::new().await;
    let app = shop
        .app(&server.url())
        .stage(work(&["a", "b"]))
        .start_certificate(shop.certificate())
        .build()
        .expect("it can be built");
    app.run().await.expect("it starts");
    server.kill();
    let report = app.run().await.expect("it starts");
    assert_eq!(report.status, RunStatus::Certified);
}

#[tokio::test]
async fn nothing_but_what_was_certified_starts_and_it_says_why() {
    let server = TestServer::start().await;
    let shop = Shop::new().await;
    shop.usual(&server.url()).await.expect("it starts");
    server.kill();
    let url = server.url();
    let with = |app: Builder| app.start_certificate(shop.certificate());

    let more = with(shop.app(&url).stage(work(&["a", "b", "c"])));
    assert!(reason(shop.start(more).await).contains("another pipeline"));
    let less = with(shop.app(&url).stage(work(&["a"])));
    assert!(reason(shop.start(less).await).contains("another pipeline"));
    let elsewhere = with(shop.app(&url).environment("trusting").stage(work(&["a", "b"])));
    assert!(reason(shop.start(elsewhere).await).contains("environment `production`"));
    let other = with(shop.app(&url).service("till").stage(work(&["a", "b"])));
    assert!(reason(shop.start(other).await).contains("service `shop`"));
    let pinned = shop.certificate().pinned_key("11".repeat(32));
    let pinned = shop.app(&url).stage(work(&["a", "b"])).start_certificate(pinned);
    assert!(reason(shop.start(pinned).await).contains("not pinned"));
    let other_server = shop.usual("http://127.0.0.1:9").await;
    assert!(reason(other_server).contains("server `"));

    // Without the setting, and where it is only looked what is pending, the server must be there.
    for app in [
        shop.app(&url).stage(work(&["a", "b"])),
        with(shop.app(&url).stage(work(&["a", "b"])).validate_only(true)),
    ] {
        let error = shop.start(app).await.expect_err("it must not start");
        assert!(
            matches!(error.kind(), StartErrorKind::Server(error) if error.is_unanswered()),
            "{error}"
        );
    }

    let good = std::fs::read_to_string(&shop.file).expect("it is kept");
    let tampered = good.replacen("production", "productiom", 1);
    std::fs::write(&shop.file, tampered).expect("it can be written");
    assert!(reason(shop.usual(&url).await).contains("altered"));
    std::fs::write(&shop.file, &good[..good.len() / 2]).expect("it can be written");
    assert!(reason(shop.usual(&url).await).contains("no certificate"));
    std::fs::remove_file(&shop.file).expect("it is there");
    assert!(reason(shop.usual(&url).await).contains("no certificate was kept"));
    std::fs::write(&shop.file, good).expect("it can be written");
    assert_eq!(
        shop.usual(&url).await.expect("it starts").status,
        RunStatus::Certified
    );
}

#[tokio::test]
async fn a_server_that_answers_is_not_overruled() {
    let server = TestServer::start().await;
    let proxy = HttpProxy::to(&[&server.address]).await;
    let shop = Shop::new().await;
    shop.usual(&proxy.url()).await.expect("it starts");

    // No to the token is an answer.
    let stranger = shop
        .app(&proxy.url())
        .token(&tokens().viewer)
        .stage(work(&["a", "b"]))
        .start_certificate(shop.certificate());
    let error = shop.start(stranger).await.expect_err("it must not start");
    assert!(
        matches!(error.kind(), StartErrorKind::Server(error) if error.is_unauthorized()),
        "{error}"
    );
    // So is one that nobody understands.
    proxy.mischief(1, Mischief::Refuse(404), &["POST", "/execution"]);
    let error = shop.usual(&proxy.url()).await.expect_err("it must not start");
    assert!(matches!(error.kind(), StartErrorKind::Server(_)), "{error}");
    // It wants the whole pipeline, and then it is gone: it may have been about to say that there is work.
    let runner = server.runner("shop").await;
    runner.bring_up_to_date(&Pipeline::of("other", &["z"])).await;
    proxy.mischief(1_000, Mischief::Refuse(503), &["POST", "/execution?"]);
    let error = shop.usual(&proxy.url()).await.expect_err("it must not start");
    assert!(
        matches!(error.kind(), StartErrorKind::Server(error) if error.status() == Some(503)),
        "{error}"
    );
    // A gateway without its server is not the server.
    proxy.mischief(1_000, Mischief::Refuse(503), &["POST", "/exchange-token"]);
    let report = shop.usual(&proxy.url()).await.expect("it starts");
    assert_eq!(report.status, RunStatus::Certified);
}

#[tokio::test]
async fn the_servers_last_word_counts_and_not_one_before_it() {
    let server = TestServer::start().await;
    let shop = Shop::new().await;
    shop.usual(&server.url()).await.expect("it starts");
    let fails = Effect {
        ending: Ending::Fails,
        ..Effect::new("c", "0003")
    };
    let next_release = shop
        .app(&server.url())
        .stage(work(&["a", "b"]).change(fails))
        .start_certificate(shop.certificate());
    shop.start(next_release).await.expect_err("a change fails");
    server.kill();
    assert!(reason(shop.usual(&server.url()).await).contains("no certificate was kept"));
}

#[tokio::test]
async fn who_is_told_to_wait_leans_on_no_certificate_from_before() {
    let server = TestServer::start().await;
    let shop = Shop::new().await;
    shop.usual(&server.url()).await.expect("it starts");
    // The next release is being applied by another process, and this one is told to wait: there is work.
    let runner = server.runner("shop").await;
    runner.granted(&Pipeline::of("work", &["a", "b", "c"])).await;
    let next_release = shop
        .app(&server.url())
        // The server holds a request for a third of it, and says only then that there is somebody to wait for.
        .lease(Duration::from_secs(6))
        .stage(work(&["a", "b", "c"]))
        .start_certificate(shop.certificate())
        .build()
        .expect("it can be built");
    let forgotten = eventually("the certificate is forgotten", async || {
        let kept = std::fs::read_to_string(&shop.file).unwrap_or_default();
        kept.is_empty().then_some(())
    });
    // It dies while it waits.
    tokio::select! {
        ended = next_release.run() => panic!("the lock is another's: {ended:?}"),
        () = forgotten => {}
    }
    server.kill();
    assert!(reason(shop.usual(&server.url()).await).contains("no certificate was kept"));
}

#[tokio::test]
async fn a_certificate_ends() {
    let server = TestServer::with(&[("FLAMINGOCK_CERTIFICATE_VALIDITY", "2s")]).await;
    let shop = Shop::new().await;
    shop.usual(&server.url()).await.expect("it starts");
    server.kill();
    let why = eventually("the certificate ends", async || {
        shop.usual(&server.url())
            .await
            .err()
            .map(|error| reason(Err(error)))
    })
    .await;
    assert!(why.contains("the certificate ended at"), "{why}");
}

#[tokio::test]
async fn a_server_that_signs_nothing_certifies_nothing() {
    for setting in [
        ("FLAMINGOCK_CERTIFICATE_VALIDITY", "0s"),
        ("FLAMINGOCK_CHECKPOINT_INTERVAL", "0s"),
    ] {
        let server = TestServer::with(&[setting]).await;
        let shop = Shop::new().await;
        shop.usual(&server.url()).await.expect("it starts");
        assert!(!Path::new(&shop.file).exists());
    }
}

async fn asked(runner: &Runner, body: &Value) -> PlanResponse {
    runner.ask("elapsedMillis=0", body).await.expect(201).read()
}

#[tokio::test]
async fn it_is_handed_out_to_who_asks_where_the_audit_says_that_all_is_applied_and_writes_nothing() {
    let server = TestServer::start().await;
    let runner = server.runner("billing").await;
    let pipeline = Pipeline::of("schema", &["a"]);
    let mut body = pipeline.body();
    body["certificate"] = json!(true);
    assert_eq!(asked(&runner, &body).await.certificate, None, "there is work");
    runner.release().await.expect(200);
    runner.bring_up_to_date(&pipeline).await;
    let plain = runner.another().plan(&pipeline).await;
    assert_eq!(plain.certificate, None, "nobody asked");
    let rows = "SELECT (SELECT count(*) FROM executions) + (SELECT count(*) FROM audit_entries)
                     + (SELECT coalesce(sum(fence), 0) FROM locks)::bigint";
    let before = server.database.number(rows).await;
    let signed = asked(&runner.another(), &body)
        .await
        .certificate
        .expect("it is certified");
    assert_eq!(server.database.number(rows).await, before);

    let document: CertificateDocument = serde_json::from_str(&signed.document).expect("a document");
    assert_eq!(
        (
            document.organisation.as_str(),
            document.environment.as_str(),
            document.service.as_str()
        ),
        ("acme", "production", "billing")
    );
    assert_eq!(document.pipeline_digest, digest::of_blocks(&pipeline.blocks));
    let audit = server.operator().audit(&runner).await;
    let head = audit.iter().max_by_key(|entry| entry.seq).expect("entries");
    assert_eq!((document.head_seq, &document.head_hash), (head.seq, &head.hash));
    assert_eq!((document.expires_at - document.issued_at).num_hours(), 24);

    // The key is published, and what it signed is this.
    let keys: CheckpointKeys = Call::get("/api/v1/admin/checkpoint-key")
        .send(&server.address)
        .await
        .expect(200)
        .read();
    let key = keys
        .keys
        .iter()
        .find(|key| key.key_id == signed.key_id)
        .expect("it is published");
    let key = PublicKey::parse(&key.pem).expect("a key");
    let signature: Vec<u8> = (0..signed.signature.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(&signed.signature[at..at + 2], 16).expect("hex"))
        .collect();
    assert!(key.has_signed(&signed_bytes(&signed.document), &signature));

    // What its runner says of itself is not certified: the audit is.
    let mut claimed = Pipeline::of("schema", &["a", "b"])
        .change_is("b", flamingock_api_types::execution::ChangeStatusReport::Applied)
        .body();
    claimed["certificate"] = json!(true);
    let answer = asked(&runner.another(), &claimed).await;
    assert_eq!(
        answer.action,
        flamingock_api_types::execution::PlanAction::Continue
    );
    assert_eq!(answer.certificate, None);
    // The next head is another word.
    runner
        .bring_up_to_date(&Pipeline::of("schema", &["a", "b"]))
        .await;
    let later = asked(&runner.another(), &body)
        .await
        .certificate
        .expect("it is certified");
    let later: CertificateDocument = serde_json::from_str(&later.document).expect("a document");
    assert!(later.head_seq > document.head_seq);
}
