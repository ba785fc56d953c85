//! The hash chain: known answers, and what tampering comes to.

use flamingock_audit_chain::{Broken, Entry, GENESIS, Hash, Verifier, canonical, link, verify};
use proptest::prelude::*;

/// Nothing that may be absent is present.
fn bare(seq: i64) -> Entry<'static> {
    Entry {
        environment_id: 12,
        service_id: 340,
        seq,
        source: "RUNNER",
        execution_ref: "9001",
        change_id: "create-invoices",
        stage_id: None,
        author: None,
        applied_at_ms: None,
        state: "STARTED",
        class_name: None,
        method_name: None,
        metadata: None,
        execution_millis: None,
        execution_hostname: None,
        error_trace: None,
        change_type: None,
        tx_strategy: None,
        target_system_id: None,
        change_order: None,
        recovery_strategy: None,
        transaction_flag: None,
        system_change: None,
        runner_id: None,
        fence: None,
        late: false,
        actor: "token:7",
        note: None,
        received_at_micros: 1_789_374_067_512_345,
    }
}

/// Everything is present, with texts that an encoding without lengths would confuse.
fn full(seq: i64) -> Entry<'static> {
    Entry {
        stage_id: Some("schema"),
        author: Some("mara, \u{e9}t\u{e9} \u{65e5}\u{672c}"),
        applied_at_ms: Some(-1),
        state: "APPLIED",
        class_name: Some("com.acme.billing.schema._0001__CreateInvoices"),
        method_name: Some("apply"),
        metadata: Some("{\"a\": [1, \"-,\"]}"),
        execution_millis: Some(171),
        execution_hostname: Some("node-a"),
        error_trace: Some(""),
        change_type: Some("STANDARD_CODE"),
        tx_strategy: Some("NON_TX"),
        target_system_id: Some("shell"),
        change_order: Some("0001"),
        recovery_strategy: Some("MANUAL_INTERVENTION"),
        transaction_flag: Some(true),
        system_change: Some(false),
        runner_id: Some("billing@node-a#5f0c"),
        fence: Some(4),
        late: true,
        note: Some("line one\nline two"),
        ..bare(seq)
    }
}

fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").expect("writing to a String never fails");
        text
    })
}

#[test]
fn the_canonical_bytes_of_a_bare_entry_are_these() {
    let expected = "flamingock-audit-v1\n\
        2:12,3:340,1:1,6:RUNNER,4:9001,15:create-invoices,-,-,-,7:STARTED,\
        -,-,-,-,-,-,-,-,-,-,-,-,-,-,-,5:false,7:token:7,-,16:1789374067512345,";
    assert_eq!(String::from_utf8(canonical(&bare(1))).expect("text"), expected);
}

#[test]
fn the_canonical_bytes_of_a_full_entry_are_these() {
    let expected = "flamingock-audit-v1\n\
        2:12,3:340,1:2,6:RUNNER,4:9001,15:create-invoices,6:schema,18:mara, \u{e9}t\u{e9} \u{65e5}\u{672c},2:-1,7:APPLIED,\
        45:com.acme.billing.schema._0001__CreateInvoices,5:apply,16:{\"a\": [1, \"-,\"]},3:171,6:node-a,0:,\
        13:STANDARD_CODE,6:NON_TX,5:shell,4:0001,19:MANUAL_INTERVENTION,4:true,5:false,19:billing@node-a#5f0c,\
        1:4,4:true,7:token:7,17:line one\nline two,16:1789374067512345,";
    assert_eq!(String::from_utf8(canonical(&full(2))).expect("text"), expected);
}

// Computed with another program: sha256sum over the previous hash and the bytes of the two tests above.
#[test]
fn the_hashes_of_a_chain_of_two_are_these() {
    let first = link(&GENESIS, &bare(1));
    assert_eq!(
        hex(&first),
        "0fa8d87859cd09f3c147a91af91434229f3512001876a2909dbbaa56331f2748"
    );
    let second = link(&first, &full(2));
    assert_eq!(
        hex(&second),
        "b09807d0257a61e095e926382e3228d6a12604dab68d279f4562898db2c14fd1"
    );
}

type Linked = (Entry<'static>, Hash, Hash);

fn chain(length: i64) -> (Vec<Linked>, (i64, Hash)) {
    let mut prev = GENESIS;
    let mut linked = Vec::new();
    for seq in 1..=length {
        let entry = if seq % 2 == 0 { full(seq) } else { bare(seq) };
        let hash = link(&prev, &entry);
        linked.push((entry, prev, hash));
        prev = hash;
    }
    (linked, (length, prev))
}

#[test]
fn an_untouched_stream_verifies_and_so_does_an_empty_one() {
    let (linked, head) = chain(5);
    assert_eq!(verify(linked, head), Ok(()));
    assert_eq!(verify([], (0, GENESIS)), Ok(()));
}

#[test]
fn a_verification_may_go_on_behind_a_checkpoint() {
    let (linked, head) = chain(5);
    let (_, _, checkpoint) = linked[2];
    let mut verifier = Verifier::after(3, checkpoint);
    for (entry, prev, hash) in &linked[3..] {
        verifier.push(entry, prev, hash).expect("untouched");
    }
    assert_eq!(verifier.head(), head);
    assert_eq!(verifier.finish(head), Ok(()));
}

#[test]
fn each_kind_of_damage_is_named() {
    let (untouched, head) = chain(5);

    let mut changed = untouched.clone();
    changed[2].0.actor = "somebody else";
    assert_eq!(verify(changed, head), Err(Broken::Hash { seq: 3 }));

    let mut removed = untouched.clone();
    removed.remove(2);
    assert_eq!(
        verify(removed, head),
        Err(Broken::Gap {
            expected: 3,
            found: 4
        })
    );

    let mut relinked = untouched.clone();
    relinked[2].1 = GENESIS;
    assert_eq!(verify(relinked, head), Err(Broken::PrevHash { seq: 3 }));

    let cut = verify(untouched[..4].to_vec(), head).expect_err("an entry too few");
    assert_eq!(
        (cut, cut.seq()),
        (
            Broken::Head {
                expected: 5,
                found: 4
            },
            5
        )
    );

    // Somebody who can recompute every hash is caught by the head that is recorded elsewhere.
    let mut prev = GENESIS;
    let mut rewritten = Vec::new();
    for (mut entry, _, _) in untouched.iter().copied() {
        entry.note = Some("rewritten");
        let hash = link(&prev, &entry);
        rewritten.push((entry, prev, hash));
        prev = hash;
    }
    assert_eq!(
        verify(rewritten, head),
        Err(Broken::Head {
            expected: 5,
            found: 5
        })
    );
    let longer = verify(untouched, (3, GENESIS)).expect_err("two entries too many");
    assert_eq!(
        (longer, longer.seq()),
        (
            Broken::Head {
                expected: 3,
                found: 5
            },
            4
        )
    );
}

/// Changes one field; `false` where it had that value already.
fn tamper(entry: &mut Entry<'static>, field: usize, text: &'static str, number: i64) -> bool {
    let before = *entry;
    match field {
        0 => entry.environment_id = number,
        1 => entry.service_id = number,
        2 => entry.source = text,
        3 => entry.execution_ref = text,
        4 => entry.change_id = text,
        5 => entry.stage_id = Some(text),
        6 => entry.author = Some(text),
        7 => entry.applied_at_ms = Some(number),
        8 => entry.state = text,
        9 => entry.class_name = Some(text),
        10 => entry.method_name = Some(text),
        11 => entry.metadata = Some(text),
        12 => entry.execution_millis = Some(number),
        13 => entry.execution_hostname = Some(text),
        14 => entry.error_trace = None,
        15 => entry.change_type = Some(text),
        16 => entry.tx_strategy = Some(text),
        17 => entry.target_system_id = Some(text),
        18 => entry.change_order = Some(text),
        19 => entry.recovery_strategy = Some(text),
        20 => entry.transaction_flag = Some(false),
        21 => entry.system_change = None,
        22 => entry.runner_id = Some(text),
        23 => entry.fence = Some(number),
        24 => entry.late = !entry.late,
        25 => entry.actor = text,
        26 => entry.note = Some(text),
        _ => entry.received_at_micros = number,
    }
    *entry != before
}

proptest! {
    #[test]
    fn no_field_of_any_entry_can_be_changed_unseen(
        at in 0..6_usize,
        field in 0..28_usize,
        text in prop::sample::select(vec!["", "-", "-,", "0:,", "a", "1:a,", "schema"]),
        number in -3..3_i64,
    ) {
        let (mut linked, head) = chain(6);
        let seq = linked[at].0.seq;
        let changed = tamper(&mut linked[at].0, field, text, number);
        let expected = if changed { Err(Broken::Hash { seq }) } else { Ok(()) };
        prop_assert_eq!(verify(linked, head), expected);
    }

    #[test]
    fn no_two_entries_have_the_same_bytes(
        one in prop::array::uniform4(prop::option::of("[-,:01a]{0,6}")),
        other in prop::array::uniform4(prop::option::of("[-,:01a]{0,6}")),
    ) {
        let entry = |texts: &'_ [Option<String>; 4]| {
            let [author, class_name, method_name, metadata] = texts.each_ref().map(Option::as_deref);
            canonical(&Entry { author, class_name, method_name, metadata, ..bare(1) })
        };
        prop_assert_eq!(entry(&one) == entry(&other), one == other);
    }

    #[test]
    fn no_entry_can_be_removed_doubled_or_swapped_unseen(at in 0..5_usize, how in 0..3_usize) {
        let (mut linked, head) = chain(6);
        match how {
            0 => drop(linked.remove(at)),
            1 => linked.insert(at, linked[at]),
            _ => linked.swap(at, at + 1),
        }
        let broken = verify(linked, head).expect_err("tampered with");
        let place = i64::try_from(at).expect("small") + 1;
        prop_assert!((place..=place + 1).contains(&broken.seq()));
    }
}
