//! What bounds a read: entries with long texts, rare kinds among many, tenants who ask for everything at once, readers that
//! take their time.

use flamingock_api_types::action::ActionPage;
use flamingock_api_types::audit::AuditPage;
use flamingock_api_types::issue::{IssueDetail, IssuePage};
use flamingock_tests::{Answer, Call, EventStream, Person, Pipeline, Runner, TestServer, eventually};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// Entries with a trace of 64 kB each, and a change for each that failed with it.
const HEAVY: i64 = 120;

/// Bytes that a page may have: 2 MiB of texts, and what JSON adds.
const PAGE_MAX_BYTES: usize = 3 * 1024 * 1024;

async fn heavy(server: &TestServer) -> Runner {
    let runner = server.runner("billing").await;
    runner.bring_up_to_date(&Pipeline::of("schema", &["a"])).await;
    server
        .database
        .execute(&format!(
            "SET session_replication_role = replica;
             INSERT INTO audit_entries (stream_id, seq, environment_id, service_id, source, execution_ref, change_id, state,
                                        tx_strategy, late, actor, received_at, prev_hash, hash, error_trace)
             SELECT s.id, n, s.environment_id, s.service_id, 'RUNNER', 'x', 'change-' || to_char(n, 'FM0000'), 'FAILED',
                    'NON_TX', false, 'test', clock_timestamp(), s.head_hash, s.head_hash, repeat('boom at line ', 5000)
               FROM audit_streams s, generate_series(3, {HEAVY}) n;
             INSERT INTO change_states (stream_id, change_id, seq, state, tx_strategy, source)
             SELECT stream_id, change_id, seq, state, tx_strategy, source FROM audit_entries WHERE seq > 2;
             UPDATE audit_streams SET head_seq = {HEAVY}"
        ))
        .await;
    runner
}

/// Every page of a list, each of a size that can be held.
async fn pages(person: &Person, path: &str) -> Vec<Answer> {
    let mut pages: Vec<Answer> = Vec::new();
    let mut after = String::new();
    loop {
        let page = person.get(&format!("{path}{after}")).await;
        page.expect(200);
        assert!(page.body.len() < PAGE_MAX_BYTES, "{} bytes", page.body.len());
        let next = page.json()["next"].as_str().map(str::to_owned);
        pages.push(page);
        match next {
            Some(next) => after = format!("&after={next}"),
            None => return pages,
        }
    }
}

#[tokio::test]
async fn pages_of_long_traces_end_early_and_together_show_every_entry_once() {
    let server = TestServer::start().await;
    let runner = heavy(&server).await;
    let operator = server.operator();
    let scope = Person::scope(&runner);
    let all: Vec<i64> = (1..=HEAVY).collect();
    let backwards: Vec<i64> = all.iter().rev().copied().collect();
    // Of `a` the latest alone.
    let latest: Vec<i64> = all[1..].to_vec();
    for (question, expected) in [
        ("", &all),
        ("&order=desc", &backwards),
        ("&view=snapshot", &latest),
        ("&state=FAILED", &all[2..].to_vec()),
    ] {
        let pages = pages(&operator, &format!("{scope}/audit?limit=500{question}")).await;
        assert!(pages.len() > 3, "{question}: {} pages", pages.len());
        let seen: Vec<i64> = pages
            .iter()
            .flat_map(|page| page.read::<AuditPage>().entries)
            .map(|entry| entry.seq)
            .collect();
        assert_eq!(&seen, expected, "{question}");
    }
    // An export goes on over the same pages.
    let export = operator.get(&format!("{scope}/audit/export")).await;
    assert_eq!(export.expect(200).text().lines().count(), all.len());
}

#[tokio::test]
async fn issues_with_long_traces_are_listed_in_parts_and_shown_with_a_cut_history() {
    let server = TestServer::start().await;
    let runner = heavy(&server).await;
    let operator = server.operator();
    let scope = Person::scope(&runner);
    let pages = pages(&operator, &format!("{scope}/issue?limit=500")).await;
    assert!(pages.len() > 2, "{} pages", pages.len());
    let mut seen: Vec<String> = pages
        .iter()
        .flat_map(|page| page.read::<IssuePage>().issues)
        .map(|issue| issue.change_id)
        .collect();
    let count = seen.len();
    seen.dedup();
    assert_eq!((seen.len(), count), (118, 118));
    assert!(seen.is_sorted());

    server
        .database
        .execute(
            "SET session_replication_role = replica;
             UPDATE audit_entries SET change_id = 'change-0120', execution_ref = 'x' || seq, late = seq <> 120
              WHERE seq > 2",
        )
        .await;
    let shown = operator
        .get(&format!("{scope}/issue/detail?changeId=change-0120"))
        .await;
    assert!(
        shown.expect(200).body.len() < 2 * PAGE_MAX_BYTES,
        "{}",
        shown.body.len()
    );
    let shown: IssueDetail = shown.read();
    assert!(shown.history_is_cut);
    let newest = shown.history.last().expect("the newest part of it");
    assert_eq!(newest.seq, 120);
    assert!((10..60).contains(&shown.history.len()), "{}", shown.history.len());
}

#[tokio::test]
async fn a_rare_action_among_very_many_is_found_in_bounded_steps() {
    let server = TestServer::start().await;
    let admin = server.admin();
    server
        .database
        .execute(
            "INSERT INTO admin_actions (action, organisation_id, target, actor, role, acted_at)
             SELECT 'issue_resolve', o.id, CASE WHEN n = 1 THEN 'needle' ELSE 'hay' END, 'token:1 (mara)', 'operator',
                    clock_timestamp() - interval '2 hours' - (25000 - n) * interval '1 second'
               FROM organisations o, generate_series(1, 25000) n WHERE o.name = 'acme'",
        )
        .await;
    let id = server
        .database
        .number("SELECT id FROM organisations WHERE name = 'acme'")
        .await;
    let path = format!("/api/v1/admin/organisation/{id}/action?limit=50");
    let found = |pages: &[Answer]| -> Vec<usize> {
        pages
            .iter()
            .map(|page| page.read::<ActionPage>().actions.len())
            .collect()
    };
    let rare = pages(&admin, &format!("{path}&target=needle")).await;
    assert_eq!(found(&rare), [0, 0, 1]);
    // Nothing of that time lies behind the first stretch: nobody is sent on through the years.
    let recent = pages(
        &admin,
        &format!("{path}&target=needle&since=2199-01-01T00:00:00Z"),
    )
    .await;
    assert_eq!(found(&recent), [0]);
    // And what is not rare comes page by page, each once.
    let many = pages(
        &admin,
        &format!("{path}&target=hay&limit=500").replace("limit=50&", ""),
    )
    .await;
    let counts = found(&many);
    assert_eq!(counts.iter().sum::<usize>(), 24_999);
    assert!(counts.len() <= 55, "{counts:?}");
}

#[tokio::test]
async fn an_export_that_takes_too_long_is_cut_and_its_turn_is_free() {
    let server = TestServer::with(&[("FLAMINGOCK_HTTP_EXPORT_MAX", "3s")]).await;
    let runner = heavy(&server).await;
    let operator = server.operator();
    let path = format!("{}/audit/export", Person::scope(&runner));
    let mut asleep = Vec::new();
    for _ in 0..2 {
        let mut stream = TcpStream::connect(&server.address).await.expect("it listens");
        let request = Call::get(&path).bearer(&operator.token).bytes(&server.address);
        stream.write_all(&request).await.expect("it takes the request");
        let mut first = [0; 64];
        stream.read_exact(&mut first).await.expect("an answer begins");
        asleep.push(stream);
    }
    // Its readers take nothing, for less long than a reader may.
    eventually("the exports are cut", async || {
        let cuts = server.log().matches("FLAMINGOCK_HTTP_EXPORT_MAX").count();
        (cuts == 2).then_some(())
    })
    .await;
    for mut stream in asleep {
        let mut rest = Vec::new();
        let _ = stream.read_to_end(&mut rest).await;
        assert!(!rest.ends_with(b"0\r\n\r\n"), "a cut export must not look whole");
    }
    operator.get(&format!("{path}?changeId=a")).await.expect(200);
}

#[tokio::test]
async fn the_order_of_events_is_forgotten_as_fast_as_it_is_written() {
    let server = TestServer::start().await;
    let runner = server.runner("billing").await;
    server
        .database
        .execute(
            "INSERT INTO event_logs (organisation_id, head_id)
             SELECT id, 30000 FROM organisations WHERE name = 'acme';
             INSERT INTO event_log (organisation_id, id, ordered_at)
             SELECT l.organisation_id, n, clock_timestamp() - CASE WHEN n < 29000 THEN interval '31 days' ELSE '29 days' END
               FROM event_logs l, generate_series(1, 30000) n",
        )
        .await;
    let call = Call::get(format!("{}/event", Person::scope(&runner))).bearer(&server.operator().token);
    let _listening = EventStream::open(&server.address, call).await;
    // A thousand a minute would take half an hour.
    eventually("what is older than a month is gone", async || {
        let oldest = server.database.number("SELECT min(id) FROM event_log").await;
        (oldest == 29_000).then_some(())
    })
    .await;
}
