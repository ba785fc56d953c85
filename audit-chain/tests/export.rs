//! Exports: what verifies, and everything that a forger may do to one.

use flamingock_audit_chain::export::{
    CheckpointLine, EntryLine, ExportVerifier, FORMAT, Finding, Header, KeyLine, Line, Report, Trailer,
    Trust, VerifyError, verify,
};
use flamingock_audit_chain::{Broken, Checkpoint, Entry, GENESIS, Hash, PublicKey, Signer, link};

const ENVIRONMENT: i64 = 12;
const SERVICE: i64 = 340;

fn hex(hash: &[u8]) -> String {
    use std::fmt::Write as _;
    hash.iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").expect("writing to a String never fails");
        text
    })
}

fn line(seq: i64, prev: &Hash, author: &str) -> (EntryLine, Hash) {
    let metadata = (seq % 2 == 0).then(|| "{\"b\": 1,  \"a\":\"\u{e9}\"}".to_owned());
    let note = (seq % 3 == 0).then(|| "line one\nline \"two\"".to_owned());
    let micros = 1_789_374_067_512_345 + seq;
    let hash = link(
        prev,
        &Entry {
            environment_id: ENVIRONMENT,
            service_id: SERVICE,
            seq,
            source: "RUNNER",
            execution_ref: "9001",
            change_id: "create-invoices",
            stage_id: Some("schema"),
            author: Some(author),
            applied_at_ms: Some(-seq),
            state: "APPLIED",
            class_name: None,
            method_name: None,
            metadata: metadata.as_deref(),
            execution_millis: Some(seq),
            execution_hostname: None,
            error_trace: Some(""),
            change_type: None,
            tx_strategy: None,
            target_system_id: None,
            change_order: None,
            recovery_strategy: None,
            transaction_flag: Some(true),
            system_change: None,
            runner_id: None,
            fence: Some(7),
            late: seq % 2 == 1,
            actor: "credential:7",
            note: note.as_deref(),
            received_at_micros: micros,
        },
    );
    let line = EntryLine {
        canonical: 1,
        seq,
        environment_id: ENVIRONMENT,
        service_id: SERVICE,
        change_id: "create-invoices".to_owned(),
        state: "APPLIED".to_owned(),
        source: "RUNNER".to_owned(),
        late: seq % 2 == 1,
        execution_id: "9001".to_owned(),
        stage_id: Some("schema".to_owned()),
        author: Some(author.to_owned()),
        applied_at_epoch_millis: Some(-seq),
        received_at: chrono::DateTime::from_timestamp_micros(micros).expect("a time"),
        class_name: None,
        method_name: None,
        metadata_text: metadata,
        execution_millis: Some(seq),
        execution_hostname: None,
        error_trace: Some(String::new()),
        change_type: None,
        tx_strategy: None,
        target_system_id: None,
        order: None,
        recovery_strategy: None,
        transaction_flag: Some(true),
        system_change: None,
        runner_id: None,
        fence: Some(7),
        actor: "credential:7".to_owned(),
        note,
        prev_hash: hex(prev),
        hash: hex(&hash),
    };
    (line, hash)
}

struct World {
    signer: Signer,
    entries: Vec<EntryLine>,
    hashes: Vec<Hash>,
}

impl World {
    fn new(signer: Signer, count: i64, author: &str) -> Self {
        let (mut entries, mut hashes, mut prev) = (Vec::new(), Vec::new(), GENESIS);
        for seq in 1..=count {
            let (line, hash) = line(seq, &prev, author);
            entries.push(line);
            hashes.push(hash);
            prev = hash;
        }
        Self {
            signer,
            entries,
            hashes,
        }
    }

    fn signed(&self, seq: usize) -> CheckpointLine {
        CheckpointLine::of(&self.signer.sign(Checkpoint {
            environment_id: ENVIRONMENT,
            service_id: SERVICE,
            seq: i64::try_from(seq).expect("small"),
            hash: self.hashes[seq - 1],
            signed_at_micros: 1_789_374_100_000_000,
        }))
    }

    /// The file with the first entries and the checkpoint at one of them.
    fn lines(&self, count: usize, checkpoint: Option<CheckpointLine>) -> Vec<String> {
        let head = (
            i64::try_from(count).expect("small"),
            count
                .checked_sub(1)
                .map_or_else(|| hex(&GENESIS), |at| hex(&self.hashes[at])),
        );
        let header = Line::Header(Header {
            format: FORMAT.to_owned(),
            environment_id: ENVIRONMENT,
            service_id: SERVICE,
            exported_at: chrono::DateTime::from_timestamp(1_789_374_200, 0).expect("a time"),
            head_seq: head.0,
            head_hash: head.1.clone(),
            checkpoint,
            keys: vec![KeyLine {
                key_id: self.signer.key_id().to_owned(),
                public_key: self.signer.public_key().to_hex(),
            }],
        });
        let entries = self.entries[..count]
            .iter()
            .map(|entry| Line::Entry(Box::new(entry.clone())));
        let trailer = Line::Trailer(Trailer {
            entries: head.0,
            head_seq: head.0,
            head_hash: head.1,
        });
        std::iter::once(header)
            .chain(entries)
            .chain([trailer])
            .map(|line| line.to_json())
            .collect()
    }

    fn trust(&self) -> Trust {
        Trust {
            keys: vec![self.signer.public_key()],
            checkpoints: Vec::new(),
        }
    }
}

fn signer() -> Signer {
    Signer::from_pkcs8(&Signer::generate_pkcs8()).expect("a key")
}

fn world() -> World {
    World::new(signer(), 5, "mara")
}

fn judged(lines: &[String], trust: Trust) -> Result<Report, Finding> {
    let file = lines.iter().fold(String::new(), |file, line| file + line + "\n");
    match verify(file.as_bytes(), trust) {
        Ok(report) => Ok(report),
        Err(VerifyError::Finding(finding)) => Err(finding),
        Err(VerifyError::Read(error)) => panic!("{error}"),
    }
}

#[test]
fn an_untouched_export_verifies_and_says_what_is_signed() {
    let world = world();
    let report = judged(&world.lines(5, Some(world.signed(4))), world.trust()).expect("untouched");
    assert_eq!((report.head_seq, report.key_is_trusted), (5, true));
    assert_eq!(report.head_hash, hex(&world.hashes[4]));
    assert_eq!(report.checkpoint, Some(world.signed(4)));
    let unpinned = judged(&world.lines(5, Some(world.signed(4))), Trust::default()).expect("untouched");
    assert!(!unpinned.key_is_trusted);
    assert_eq!(
        judged(&world.lines(0, None), Trust::default()).map(|report| report.head_seq),
        Ok(0)
    );
    // Without a last line feed, as editors leave files.
    let file = world.lines(2, None).join("\n");
    assert!(verify(file.as_bytes(), Trust::default()).is_ok());
}

#[test]
fn a_change_to_any_field_is_found_at_its_entry() {
    let world = world();
    let original = world.lines(5, Some(world.signed(5)));
    let fields: serde_json::Map<String, serde_json::Value> =
        serde_json::from_str(&original[2]).expect("an entry");
    for name in fields.keys().filter(|name| *name != "kind") {
        let mut altered = fields.clone();
        altered[name] = match &fields[name] {
            serde_json::Value::String(text) if name == "receivedAt" => text.replace('7', "8").into(),
            serde_json::Value::String(text) => format!("{text}x").into(),
            serde_json::Value::Bool(flag) => (!flag).into(),
            serde_json::Value::Number(number) => (number.as_i64().expect("whole") + 1).into(),
            other => panic!("{other}"),
        };
        let mut lines = original.clone();
        lines[2] = serde_json::Value::Object(altered).to_string();
        let finding = judged(&lines, world.trust()).expect_err(name);
        assert!(
            finding.seq() == Some(2) || matches!(finding, Finding::Malformed { line: 3, .. }),
            "{name}: {finding}"
        );
        // Taken out, where it may be absent.
        let mut without = fields.clone();
        without.remove(name);
        lines[2] = serde_json::Value::Object(without).to_string();
        assert!(judged(&lines, world.trust()).is_err(), "{name} taken out");
    }
    // Put in: a field that nothing covers, or one that was absent.
    for (name, value) in [("reason", "because"), ("runnerId", "billing@node-a")] {
        let mut more = fields.clone();
        more.insert(name.to_owned(), value.into());
        let mut lines = original.clone();
        lines[2] = serde_json::Value::Object(more).to_string();
        assert!(judged(&lines, world.trust()).is_err(), "{name} put in");
    }
    // A finer time than the hash covers.
    let mut lines = original.clone();
    lines[2] = lines[2].replace("347Z", "347001Z");
    assert_ne!(lines, original);
    assert!(judged(&lines, world.trust()).is_err());
}

#[test]
fn lines_taken_out_doubled_swapped_or_cut_off_are_found() {
    let world = world();
    let original = world.lines(5, Some(world.signed(5)));
    let mut without = original.clone();
    without.remove(3);
    assert_eq!(
        judged(&without, world.trust()),
        Err(Finding::Broken {
            line: 4,
            broken: Broken::Gap {
                expected: 3,
                found: 4
            }
        })
    );
    let mut doubled = original.clone();
    doubled.insert(3, original[2].clone());
    assert_eq!(
        judged(&doubled, world.trust()).expect_err("doubled").seq(),
        Some(3)
    );
    let mut swapped = original.clone();
    swapped.swap(2, 3);
    assert_eq!(
        judged(&swapped, world.trust()).expect_err("swapped").seq(),
        Some(2)
    );
    for lines in 0..original.len() {
        let cut = judged(&original[..lines], world.trust());
        assert_eq!(cut, Err(Finding::Cut { lines: lines as u64 }), "{lines} lines");
    }
    let mut longer = original.clone();
    longer.push(original[5].clone());
    assert!(matches!(
        judged(&longer, world.trust()),
        Err(Finding::Malformed { line: 8, .. })
    ));
    let mut second_header = original.clone();
    second_header.insert(2, original[0].clone());
    assert!(matches!(
        judged(&second_header, world.trust()),
        Err(Finding::Malformed { line: 3, .. })
    ));
    // The middle of a line, as a full disk leaves it.
    let mut file = original.join("\n");
    file.truncate(file.len() - 20);
    assert!(verify(file.as_bytes(), world.trust()).is_err());
}

#[test]
fn a_whole_and_shorter_export_is_caught_by_the_checkpoint() {
    let world = world();
    // The forger has the server's own exporter, and a history that ends earlier.
    let finding = judged(&world.lines(3, Some(world.signed(5))), world.trust()).expect_err("cut");
    assert!(
        matches!(finding, Finding::TailCut { head: 3, seq: 5, .. }),
        "{finding}"
    );
    assert_eq!(finding.seq(), Some(4));
    // Without the checkpoint the file is whole; a key that you trust wants one, a checkpoint that you kept is missed.
    assert!(judged(&world.lines(3, None), Trust::default()).is_ok());
    assert_eq!(
        judged(&world.lines(3, None), world.trust()),
        Err(Finding::NoCheckpoint)
    );
    // So is one of which nothing is left.
    assert_eq!(
        judged(&world.lines(0, None), world.trust()),
        Err(Finding::NoCheckpoint)
    );
    let kept = Trust {
        checkpoints: vec![world.signed(5)],
        ..world.trust()
    };
    let older = judged(&world.lines(3, Some(world.signed(2))), kept.clone()).expect_err("cut");
    assert!(matches!(older, Finding::TailCut { seq: 5, .. }), "{older}");
    let report = judged(&world.lines(5, Some(world.signed(4))), kept).expect("whole");
    assert_eq!(report.kept_checkpoints, 1);
}

#[test]
fn a_history_with_every_hash_computed_anew_is_caught_by_the_checkpoint() {
    let honest = world();
    let checkpoint = honest.signed(4);
    let forged = World::new(honest.signer, 5, "somebody else");
    let finding = judged(&forged.lines(5, Some(checkpoint.clone())), forged.trust()).expect_err("rewritten");
    assert!(matches!(finding, Finding::Rewritten { seq: 4, .. }), "{finding}");
    let kept = Trust {
        checkpoints: vec![checkpoint],
        keys: Vec::new(),
    };
    assert!(judged(&forged.lines(5, None), kept).is_err());
}

#[test]
fn a_signature_of_another_key_or_over_something_else_is_refused() {
    let world = world();
    let original = world.signed(4);
    let altered = [
        CheckpointLine {
            seq: 5,
            hash: hex(&world.hashes[4]),
            ..original.clone()
        },
        CheckpointLine {
            hash: hex(&world.hashes[0]),
            ..original.clone()
        },
        CheckpointLine {
            signed_at: original.signed_at + chrono::TimeDelta::microseconds(1),
            ..original.clone()
        },
        CheckpointLine {
            signature: "0".repeat(128),
            ..original.clone()
        },
    ];
    for checkpoint in altered {
        let finding = judged(&world.lines(5, Some(checkpoint)), world.trust()).expect_err("forged");
        assert!(matches!(finding, Finding::Forged { .. }), "{finding}");
    }
    // A forger with a key of his own, which he puts into the file.
    let forger = World::new(signer(), 5, "somebody else");
    let lines = forger.lines(5, Some(forger.signed(5)));
    assert!(
        judged(&lines, Trust::default()).is_ok(),
        "the reason to bring your own keys"
    );
    assert_eq!(
        judged(&lines, world.trust()),
        Err(Finding::UnknownKey {
            seq: 5,
            key_id: forger.signer.key_id().to_owned()
        })
    );
    // With the name of a key that is trusted.
    let named = CheckpointLine {
        key_id: world.signer.key_id().to_owned(),
        ..forger.signed(5)
    };
    let finding = judged(&forger.lines(5, Some(named)), world.trust()).expect_err("forged");
    assert!(matches!(finding, Finding::Forged { .. }), "{finding}");
    // Of another service, truly signed.
    let elsewhere = CheckpointLine::of(&world.signer.sign(Checkpoint {
        environment_id: ENVIRONMENT,
        service_id: SERVICE + 1,
        seq: 4,
        hash: world.hashes[3],
        signed_at_micros: 0,
    }));
    assert!(judged(&world.lines(5, Some(elsewhere)), world.trust()).is_err());
    // At no entry at all, so that it would never be met.
    let nowhere = CheckpointLine::of(&world.signer.sign(Checkpoint {
        environment_id: ENVIRONMENT,
        service_id: SERVICE,
        seq: 0,
        hash: GENESIS,
        signed_at_micros: 0,
    }));
    assert!(judged(&world.lines(5, Some(nowhere)), world.trust()).is_err());
}

#[test]
fn what_is_no_export_is_refused_and_never_panics() {
    let long = "x".repeat(5 * 1024 * 1024);
    for text in [
        "",
        "\n",
        "{}",
        "[]",
        "null",
        "{\"kind\":\"entry\"}",
        "{\"kind\":\"trailer\"}",
        "\u{feff}",
        &long,
    ] {
        assert!(verify(text.as_bytes(), Trust::default()).is_err(), "{text:.20}");
    }
    assert!(verify([0xff, 0xfe, b'\n'].as_slice(), Trust::default()).is_err());
    let world = world();
    let other = world.lines(1, None)[0].replace(FORMAT, "flamingock-audit-export-v2");
    let mut verifier = ExportVerifier::new(Trust::default());
    assert!(matches!(
        verifier.push(&other),
        Err(Finding::Malformed { line: 1, .. })
    ));
}

#[test]
fn a_key_is_read_from_hex_and_from_pem_and_named_by_its_digest() {
    // RFC 8032, test 1.
    let key =
        PublicKey::parse("d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a").expect("a key");
    assert_eq!(PublicKey::parse(&key.to_pem()), Ok(key));
    assert_eq!(
        PublicKey::parse(&format!(" {}\n", key.to_hex().to_uppercase())),
        Ok(key)
    );
    assert_eq!(key.id(), "21fe31dfa154a261");
    for text in [
        "",
        "d75a",
        &"zz".repeat(32),
        "-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----",
    ] {
        assert!(PublicKey::parse(text).is_err(), "{text}");
    }
    assert!(Signer::from_pkcs8(b"nonsense").is_err());
    assert!(Signer::from_pem("-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----").is_err());
}

/// Written by `openssl genpkey -algorithm ed25519` and `openssl pkey -pubout`: version 1 of PKCS #8, without the public key.
#[test]
fn a_key_that_openssl_made_signs() {
    let theirs = Signer::from_pem(
        "-----BEGIN PRIVATE KEY-----\nMC4CAQAwBQYDK2VwBCIEIJ1hsZ3v/VpguoRK9JLsLMREScVpezJpGXA7rAMcrn9g\n-----END PRIVATE KEY-----\n",
    )
    .expect("a key");
    // RFC 8032, test 1: the secret key and its public key.
    assert_eq!(
        theirs.public_key().to_hex(),
        "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a"
    );
    let signed = theirs.sign(Checkpoint {
        environment_id: 12,
        service_id: 340,
        seq: 1,
        hash: GENESIS,
        signed_at_micros: 1,
    });
    assert!(signed.is_signed_by(&theirs.public_key()));
}
