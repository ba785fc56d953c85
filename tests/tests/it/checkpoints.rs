//! Signed checkpoints: what somebody who owns the database can still not hide.

use flamingock_api_types::audit::{ChainVerification, CheckpointKeys, CheckpointPage, CheckpointView};
use flamingock_audit_chain::PublicKey;
use flamingock_audit_chain::export::{CheckpointLine, Finding, Report, Trust, VerifyError, verify};
use flamingock_tests::{Call, Person, Pipeline, Runner, TestServer, eventually, scratch_file, tokens};

const OFTEN: &[(&str, &str)] = &[("FLAMINGOCK_CHECKPOINT_INTERVAL", "100ms")];
const NEVER: &[(&str, &str)] = &[("FLAMINGOCK_CHECKPOINT_INTERVAL", "0s")];

async fn checkpoints(server: &TestServer, runner: &Runner) -> Vec<CheckpointView> {
    let page: CheckpointPage = server
        .operator()
        .get(&format!("{}/audit/checkpoint?limit=500", Person::scope(runner)))
        .await
        .expect(200)
        .read();
    page.checkpoints
}

async fn signed_up_to(server: &TestServer, runner: &Runner, seq: i64) -> CheckpointView {
    eventually("the head is signed", async || {
        let newest = checkpoints(server, runner).await.into_iter().next()?;
        (newest.seq == seq).then_some(newest)
    })
    .await
}

/// As anybody may read them.
async fn keys(server: &TestServer) -> Vec<PublicKey> {
    let keys: CheckpointKeys = Call::get("/api/v1/admin/checkpoint-key")
        .send(&server.address)
        .await
        .expect(200)
        .read();
    keys.keys
        .iter()
        .map(|key| {
            let parsed = PublicKey::parse(&key.public_key).expect("a key");
            assert_eq!(PublicKey::parse(&key.pem), Ok(parsed));
            assert_eq!(parsed.id(), key.key_id);
            parsed
        })
        .collect()
}

async fn export(server: &TestServer, runner: &Runner) -> Vec<u8> {
    let answer = server
        .operator()
        .get(&format!("{}/audit/export?proofs=true", Person::scope(runner)))
        .await;
    answer.expect(200);
    answer.body
}

fn judged(file: &[u8], trust: Trust) -> Result<Report, Finding> {
    match verify(file, trust) {
        Ok(report) => Ok(report),
        Err(VerifyError::Finding(finding)) => Err(finding),
        Err(VerifyError::Read(error)) => panic!("{error}"),
    }
}

fn line(checkpoint: &CheckpointView) -> CheckpointLine {
    serde_json::from_value(serde_json::to_value(checkpoint).expect("JSON")).expect("the same fields")
}

pub async fn tamper(server: &TestServer, statements: &str) {
    let script = format!("SET session_replication_role = replica; {statements}");
    server.database.execute(&script).await;
}

/// Recomputes every hash from an entry on, as somebody does who owns the database and knows the format.
pub const RECHAIN: &str = "
    DO $$ DECLARE e audit_entries; h bytea; BEGIN
        FOR e IN SELECT * FROM audit_entries ORDER BY seq LOOP
            e.prev_hash := coalesce(h, e.prev_hash);
            h := sha256(e.prev_hash || audit_canonical(e));
            UPDATE audit_entries SET prev_hash = e.prev_hash, hash = h WHERE stream_id = e.stream_id AND seq = e.seq;
        END LOOP;
        UPDATE audit_streams SET head_hash = h;
    END $$;";

async fn with_history(server: &TestServer) -> Runner {
    let runner = server.runner("billing").await;
    runner
        .bring_up_to_date(&Pipeline::of("schema", &["a", "b", "c"]))
        .await;
    runner
}

#[tokio::test]
async fn invariant_8_what_was_appended_is_signed_by_one_of_the_replicas_and_verifies_offline() {
    let server = TestServer::with(OFTEN).await;
    let replica = server.replica().await;
    let runner = with_history(&server).await;
    let checkpoint = signed_up_to(&server, &runner, 6).await;
    let verification = replica.operator().verification(&runner).await;
    assert!(verification.intact && verification.complete);
    assert_eq!(verification.checkpoint.as_ref(), Some(&checkpoint));
    assert_eq!(checkpoint.hash, verification.head_hash);
    // Nothing moved: nothing more is signed, however often it is looked at.
    let other = server.runner("ledger").await;
    other.bring_up_to_date(&Pipeline::of("schema", &["a"])).await;
    signed_up_to(&server, &other, 2).await;
    let listed = checkpoints(&server, &runner).await;
    assert!(
        listed.windows(2).all(|pair| pair[0].seq > pair[1].seq),
        "{listed:?}"
    );
    assert_eq!(keys(&server).await.len(), 1, "replicas share the key");
    assert_eq!(keys(&server).await, keys(&replica).await);

    let file = export(&replica, &runner).await;
    let report = judged(
        &file,
        Trust {
            keys: keys(&server).await,
            checkpoints: listed.iter().map(line).collect(),
        },
    )
    .expect("untouched");
    assert_eq!((report.head_seq, report.key_is_trusted), (6, true));
    assert_eq!(report.kept_checkpoints, listed.len());
    // One letter in the file.
    let text = String::from_utf8(file).expect("UTF-8");
    let altered = text.replacen("\"author\":\"mara\"", "\"author\":\"maria\"", 1);
    assert_ne!(altered, text);
    let finding = judged(altered.as_bytes(), Trust::default()).expect_err("altered");
    assert_eq!(finding.seq(), Some(1), "{finding}");
}

#[tokio::test]
async fn invariant_8_a_tail_that_was_cut_off_with_the_head_set_back_is_seen_by_its_checkpoint() {
    let server = TestServer::with(OFTEN).await;
    let runner = with_history(&server).await;
    let checkpoint = signed_up_to(&server, &runner, 6).await;
    let kept = line(&checkpoint);
    tamper(
        &server,
        "DELETE FROM audit_entries WHERE seq > 4;
         UPDATE audit_streams SET head_seq = 4, head_hash = (SELECT hash FROM audit_entries WHERE seq = 4)",
    )
    .await;
    // The chain alone has nothing to say against it.
    assert_eq!(
        server
            .database
            .number("SELECT count(*) FROM audit_streams s CROSS JOIN LATERAL audit_verify(s.id)")
            .await,
        0
    );
    let verification = server.operator().verification(&runner).await;
    assert!(!verification.intact && verification.complete);
    assert_eq!(verification.first_broken_seq, Some(5));
    assert_eq!(verification.verified_seq, 4);
    let finding = verification.finding.expect("a finding");
    assert!(finding.contains("cut off") && finding.contains('6'), "{finding}");
    let file = export(&server, &runner).await;
    let finding = judged(
        &file,
        Trust {
            keys: keys(&server).await,
            checkpoints: Vec::new(),
        },
    )
    .expect_err("cut");
    assert!(
        matches!(finding, Finding::TailCut { head: 4, seq: 6, .. }),
        "{finding}"
    );

    // Whoever removes the checkpoint too is caught by the one that was kept elsewhere.
    tamper(&server, "DELETE FROM checkpoints WHERE seq > 4").await;
    assert!(server.operator().verification(&runner).await.intact);
    let file = export(&server, &runner).await;
    let trust = Trust {
        keys: keys(&server).await,
        checkpoints: vec![kept],
    };
    let finding = judged(&file, trust).expect_err("cut");
    assert!(
        matches!(finding, Finding::TailCut { seq: 6, .. } | Finding::NoCheckpoint),
        "{finding}"
    );
}

#[tokio::test]
async fn invariant_8_a_history_that_was_rewritten_with_all_its_hashes_is_seen_by_its_checkpoint() {
    let server = TestServer::with(OFTEN).await;
    let runner = with_history(&server).await;
    signed_up_to(&server, &runner, 6).await;
    tamper(
        &server,
        &format!("UPDATE audit_entries SET author = 'somebody else' WHERE seq = 3; {RECHAIN}"),
    )
    .await;
    assert_eq!(
        server
            .database
            .number("SELECT count(*) FROM audit_streams s CROSS JOIN LATERAL audit_verify(s.id)")
            .await,
        0,
        "the chain alone has nothing to say against it"
    );
    let verification = server.operator().verification(&runner).await;
    assert!(!verification.intact);
    let finding = verification.finding.expect("a finding");
    assert!(finding.contains("rewritten"), "{finding}");
    let first = verification.first_broken_seq.expect("an entry");
    assert!(
        first <= 3,
        "nothing from {first} on can be trusted, the altered one included"
    );
    let file = export(&server, &runner).await;
    let trust = Trust {
        keys: keys(&server).await,
        checkpoints: Vec::new(),
    };
    assert!(matches!(judged(&file, trust), Err(Finding::Rewritten { .. })));
}

#[tokio::test]
async fn invariant_8_a_checkpoint_that_its_key_did_not_sign_is_refused() {
    let server = TestServer::with(OFTEN).await;
    let runner = with_history(&server).await;
    signed_up_to(&server, &runner, 6).await;
    // The history and what was signed about it, but for the signature.
    tamper(
        &server,
        &format!(
            "UPDATE audit_entries SET author = 'somebody else' WHERE seq = 3; {RECHAIN}
             UPDATE checkpoints c SET hash = e.hash FROM audit_entries e WHERE e.stream_id = c.stream_id AND e.seq = c.seq"
        ),
    )
    .await;
    let verification = server.operator().verification(&runner).await;
    assert!(!verification.intact);
    let finding = verification.finding.expect("a finding");
    assert!(finding.contains("not signed"), "{finding}");
    let file = export(&server, &runner).await;
    assert!(matches!(
        judged(
            &file,
            Trust {
                keys: keys(&server).await,
                checkpoints: Vec::new()
            }
        ),
        Err(Finding::Forged { .. })
    ));
}

#[tokio::test]
async fn invariant_8_a_broken_chain_gets_no_checkpoint_and_others_do() {
    let server = TestServer::with(OFTEN).await;
    let runner = with_history(&server).await;
    signed_up_to(&server, &runner, 6).await;
    let execution = runner
        .granted(&Pipeline::of("schema", &["a", "b", "c", "d"]))
        .await
        .execution_id
        .expect("a grant has an execution");
    // In one transaction with its signers kept away: nobody signs the new entry before it is altered.
    let quiet = TestServer::on(server.database.clone(), NEVER).await;
    assert!(server.stop().await);
    let runner = runner.at(&quiet.address);
    runner.apply(execution, "d").await;
    tamper(
        &quiet,
        "UPDATE audit_entries SET author = 'somebody else' WHERE seq = 7",
    )
    .await;
    server.restart().await;
    let other = server.runner("ledger").await;
    other.bring_up_to_date(&Pipeline::of("schema", &["a"])).await;
    signed_up_to(&server, &other, 2).await;
    eventually("the refusal is counted", async || {
        let refused = server
            .metric("flamingock_checkpoints_total{result=\"refused\"}")
            .await;
        (refused > 0.0).then_some(())
    })
    .await;
    assert_eq!(checkpoints(&server, &runner.at(&server.address)).await[0].seq, 6);
    assert!(server.log().contains("an audit chain is broken"));
}

#[tokio::test]
async fn a_stream_that_cannot_be_signed_keeps_none_of_the_others_from_it() {
    let server = TestServer::with(NEVER).await;
    let first = with_history(&server).await;
    let other = server.runner("ledger").await;
    other.bring_up_to_date(&Pipeline::of("schema", &["a"])).await;
    server
        .database
        .execute(&format!(
            "CREATE FUNCTION fails() RETURNS trigger LANGUAGE plpgsql AS $$
             BEGIN
                 IF EXISTS (SELECT FROM audit_streams WHERE id = NEW.stream_id AND service_id = {}) THEN
                     RAISE EXCEPTION 'not this one';
                 END IF;
                 RETURN NEW;
             END $$;
             CREATE TRIGGER fails BEFORE INSERT ON checkpoints FOR EACH ROW EXECUTE FUNCTION fails()",
            first.service_id
        ))
        .await;
    let signing = TestServer::on(server.database.clone(), OFTEN).await;
    signed_up_to(&signing, &other.at(&signing.address), 2).await;
    assert!(checkpoints(&signing, &first).await.is_empty());
    let failed = "flamingock_checkpoints_total{result=\"failed\"}";
    eventually("the failure is counted", async || {
        (signing.metric(failed).await > 0.0).then_some(())
    })
    .await;
    server.database.execute("DROP TRIGGER fails ON checkpoints").await;
    signed_up_to(&signing, &first, 6).await;
}

#[tokio::test]
async fn a_long_chain_is_verified_and_signed_stretch_by_stretch() {
    let server = TestServer::with(NEVER).await;
    let runner = with_history(&server).await;
    server
        .database
        .execute(
            "SET session_replication_role = replica;
             DO $$ DECLARE e audit_entries; BEGIN
                SELECT * INTO e FROM audit_entries ORDER BY seq DESC LIMIT 1;
                FOR n IN e.seq + 1 .. 12000 LOOP
                    e.prev_hash := e.hash; e.seq := n; e.change_id := 'change-' || n;
                    e.hash := sha256(e.prev_hash || audit_canonical(e));
                    INSERT INTO audit_entries SELECT e.*;
                END LOOP;
                UPDATE audit_streams SET head_seq = e.seq, head_hash = e.hash;
             END $$;",
        )
        .await;
    let verification = server.operator().verification(&runner).await;
    assert!(verification.intact && verification.complete, "{verification:?}");
    assert_eq!(verification.verified_seq, 12_000);
    let signing = TestServer::on(server.database.clone(), OFTEN).await;
    signed_up_to(&signing, &runner, 12_000).await;
    let seqs: Vec<i64> = checkpoints(&signing, &runner)
        .await
        .iter()
        .map(|it| it.seq)
        .collect();
    let stretches: Vec<i64> = (1..=24).rev().map(|n| n * 500).collect();
    assert_eq!(seqs, stretches, "each stretch is signed when it was found whole");
    tamper(
        &server,
        "UPDATE audit_entries SET author = 'somebody else' WHERE seq = 11000",
    )
    .await;
    let verification: ChainVerification = server.operator().verification(&runner).await;
    assert_eq!(verification.first_broken_seq, Some(11_000), "{verification:?}");
}

#[tokio::test]
async fn a_key_kept_outside_the_database_signs_and_the_private_ones_inside_are_forgotten() {
    let server = TestServer::with(OFTEN).await;
    let runner = with_history(&server).await;
    signed_up_to(&server, &runner, 6).await;
    // RFC 8032, test 1.
    let path = scratch_file("checkpoint-key.pem");
    std::fs::write(
        &path,
        "-----BEGIN PRIVATE KEY-----\nMC4CAQAwBQYDK2VwBCIEIJ1hsZ3v/VpguoRK9JLsLMREScVpezJpGXA7rAMcrn9g\n-----END PRIVATE KEY-----\n",
    )
    .expect("the scratch directory can be written to");
    assert!(server.stop().await);
    let own = TestServer::on(
        server.database.clone(),
        &[OFTEN[0], ("FLAMINGOCK_CHECKPOINT_KEY_FILE", path.as_str())],
    )
    .await;
    let runner = runner.at(&own.address);
    runner
        .bring_up_to_date(&Pipeline::of("schema", &["a", "b", "c", "d"]))
        .await;
    let newest = signed_up_to(&own, &runner, 8).await;
    assert_eq!(newest.key_id, "21fe31dfa154a261");
    assert_eq!(
        own.database
            .number("SELECT count(*) FROM checkpoint_keys WHERE private_pkcs8 IS NOT NULL")
            .await,
        0
    );
    // What the old key signed is still verified with its public half.
    let keys = keys(&own).await;
    assert_eq!(keys.len(), 2);
    let verification = own.operator().verification(&runner).await;
    assert!(verification.intact, "{verification:?}");
    let listed = checkpoints(&own, &runner).await;
    let trust = Trust {
        keys,
        checkpoints: listed.iter().map(line).collect(),
    };
    judged(&export(&own, &runner).await, trust).expect("untouched");
}

#[tokio::test]
async fn checkpoints_and_keys_cannot_be_altered_by_an_ordinary_statement() {
    let server = TestServer::with(OFTEN).await;
    let runner = with_history(&server).await;
    signed_up_to(&server, &runner, 6).await;
    let pool = server.database.pool().await;
    for statement in [
        "UPDATE checkpoints SET signature = signature",
        "DELETE FROM checkpoints",
        "TRUNCATE checkpoints",
        "UPDATE checkpoint_keys SET public_key = decode(repeat('00', 32), 'hex')",
        "UPDATE checkpoint_keys SET private_pkcs8 = '\\x00'",
        "DELETE FROM checkpoint_keys",
        "TRUNCATE checkpoint_keys CASCADE",
    ] {
        let refused = sqlx::query(statement).execute(&pool).await;
        let error = refused.expect_err(statement).to_string();
        assert!(error.contains("never changed or removed"), "{statement}: {error}");
    }
    // Others see them as little as the audit.
    let foreign = server.person(&tokens().other_operator);
    foreign
        .get(&format!("{}/audit/checkpoint", Person::scope(&runner)))
        .await
        .expect_problem(404, "R_TENANT_02");
    foreign
        .get(&format!("{}/audit/export?proofs=true", Person::scope(&runner)))
        .await
        .expect_problem(404, "R_TENANT_02");
}
