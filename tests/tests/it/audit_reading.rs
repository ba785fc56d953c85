//! The audit as people search, page, export and compare it.

use std::time::Duration;

use flamingock_api_types::audit::{
    AuditEntryView, AuditPage, AuditState, DifferenceKind, DifferencePage, ServiceDifference,
};
use flamingock_api_types::issue::ResolutionKind;
use flamingock_tests::{Call, Person, Pipeline, Runner, TestServer, eventually, exchange, tokens};
use futures_util::future::join_all;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// Every page of a list, until there is no next one.
async fn all(person: &Person, path: &str) -> Vec<AuditEntryView> {
    pages(person, path)
        .await
        .into_iter()
        .flat_map(|page| page.entries)
        .collect()
}

async fn pages(person: &Person, path: &str) -> Vec<AuditPage> {
    let mut pages: Vec<AuditPage> = Vec::new();
    loop {
        let after = pages
            .last()
            .and_then(|page| page.next.as_ref())
            .map(|next| format!("&after={next}"))
            .unwrap_or_default();
        let page: AuditPage = person.get(&format!("{path}{after}")).await.expect(200).read();
        let last = page.next.is_none();
        pages.push(page);
        if last {
            return pages;
        }
    }
}

fn seqs(entries: &[AuditEntryView]) -> Vec<i64> {
    entries.iter().map(|entry| entry.seq).collect()
}

/// Ten entries: a and b are applied, c fails, a person says it was applied, and its runner's result comes late.
async fn eventful(server: &TestServer) -> Runner {
    let runner = server.runner("billing").await;
    let execution = runner
        .granted(&Pipeline::of("schema", &["a", "b", "c"]))
        .await
        .execution_id
        .expect("a grant has an execution");
    runner.apply(execution, "a").await;
    let told = |change: &'static str, state, more: Value| {
        let runner = &runner;
        async move {
            let mut body = flamingock_tests::report_body(change, state);
            for (name, value) in more.as_object().expect("an object") {
                body[name] = value.clone();
            }
            let call = Call::post(runner.report_path(execution, change)).json(&body);
            let answer = runner.with_headers(call).send(&runner.address).await;
            assert_eq!(answer.status, 201, "{}", answer.describe());
        }
    };
    let other = json!({"author": "tom", "stageId": "data", "targetSystemId": "warehouse"});
    told("b", AuditState::Started, other.clone()).await;
    told("b", AuditState::Applied, other).await;
    told("c", AuditState::Started, json!({})).await;
    told(
        "c",
        AuditState::Failed,
        json!({"errorTrace": "{\"message\":\"boom\"}"}),
    )
    .await;
    runner.release().await.expect(200);
    server
        .operator()
        .resolve(&runner, &[("c", ResolutionKind::Applied, 6)])
        .await
        .expect(201);
    // Too late: a person has decided.
    told("c", AuditState::RolledBack, json!({})).await;
    runner
}

#[tokio::test]
async fn every_filter_lets_through_what_it_names_in_both_orders_and_across_pages() {
    let server = TestServer::start().await;
    let runner = eventful(&server).await;
    let operator = server.operator();
    let audit = format!("{}/audit", Person::scope(&runner));
    let execution = all(&operator, &format!("{audit}?limit=1&changeId=a")).await[0]
        .execution_id
        .clone();
    let cases: Vec<(String, Vec<i64>)> = vec![
        (String::new(), (1..=8).collect()),
        ("changeId=a".to_owned(), vec![1, 2]),
        ("changeId=a&changeId=c".to_owned(), vec![1, 2, 5, 6, 7, 8]),
        ("changeId=a&changeId=a".to_owned(), vec![1, 2]),
        ("changeId=nobody".to_owned(), vec![]),
        ("state=FAILED".to_owned(), vec![6]),
        ("state=failed&state=ROLLED_BACK".to_owned(), vec![6, 8]),
        ("state=STARTED".to_owned(), vec![1, 3, 5]),
        ("state=STARTED&state=FAILED".to_owned(), vec![1, 3, 5, 6]),
        ("stageId=data".to_owned(), vec![3, 4]),
        ("targetSystemId=warehouse".to_owned(), vec![3, 4]),
        ("author=tom&state=APPLIED".to_owned(), vec![4]),
        ("late=true".to_owned(), vec![8]),
        ("late=false".to_owned(), (1..=7).collect()),
        ("manual=true".to_owned(), vec![7]),
        ("manual=false&changeId=c".to_owned(), vec![5, 6, 8]),
        (format!("executionId={execution}"), vec![1, 2, 3, 4, 5, 6, 8]),
        (format!("executionId={execution}&state=STARTED"), vec![1, 3, 5]),
        (
            format!("runnerId={}", flamingock_tests::percent_encoded(&runner.id)),
            vec![1, 2, 3, 4, 5, 6, 8],
        ),
        ("runnerId=nobody".to_owned(), vec![]),
        ("since=2000-01-01&until=2999-01-01".to_owned(), (1..=8).collect()),
        ("until=2000-01-01".to_owned(), vec![]),
        ("since=2999-01-01".to_owned(), vec![]),
    ];
    for (filter, expected) in cases {
        for limit in [1, 3, 500] {
            let found = all(&operator, &format!("{audit}?limit={limit}&{filter}")).await;
            assert_eq!(seqs(&found), expected, "{filter} by {limit}");
            let found = all(&operator, &format!("{audit}?order=desc&limit={limit}&{filter}")).await;
            let backwards: Vec<i64> = expected.iter().rev().copied().collect();
            assert_eq!(seqs(&found), backwards, "{filter} backwards by {limit}");
        }
    }
}

#[tokio::test]
async fn times_are_compared_with_the_databases_clock_and_both_bounds_are_exact() {
    let server = TestServer::start().await;
    let runner = eventful(&server).await;
    let operator = server.operator();
    // One entry each day, on the database's clock, as a history of a week has it.
    server
        .database
        .execute(
            "SET session_replication_role = replica;
             UPDATE audit_entries SET received_at = timestamptz '2026-01-01 12:00:00Z' + seq * interval '1 day'",
        )
        .await;
    let audit = format!("{}/audit?limit=500", Person::scope(&runner));
    let day = |seq: i64| format!("2026-01-{:02}", seq + 1);
    for seq in 1..=8 {
        let found = all(
            &operator,
            &format!("{audit}&since={}&until={}", day(seq), day(seq + 1)),
        )
        .await;
        assert_eq!(seqs(&found), [seq], "the day of {seq}");
    }
    let exact = |text: &str| format!("{audit}&since={text}");
    for (since, first) in [
        ("2026-01-04T12:00:00Z", 3),
        ("2026-01-04T12:00:00.000001Z", 4),
        ("2026-01-04T13:00:00%2B01:00", 3),
        // Pasted as it is: the query's `+` means a blank.
        ("2026-01-04T13:00:00+01:00", 3),
        ("2026-01-04+12:00", 3),
        ("1767528000", 3),
    ] {
        assert_eq!(all(&operator, &exact(since)).await[0].seq, first, "{since}");
    }
    // A clock that was set back by less than an hour hides nothing.
    server
        .database
        .execute(
            "SET session_replication_role = replica;
             UPDATE audit_entries SET received_at = timestamptz '2026-01-01 12:00:00Z' + seq * interval '1 minute'
                    - CASE WHEN seq > 4 THEN interval '50 minutes' ELSE interval '0' END",
        )
        .await;
    let found = all(
        &operator,
        &format!("{audit}&since=2026-01-01T12:01:30Z&until=2026-01-01T12:10Z"),
    )
    .await;
    assert_eq!(seqs(&found), [2, 3, 4]);
    let found = all(&operator, &format!("{audit}&until=2026-01-01T11:16:30Z")).await;
    assert_eq!(seqs(&found), [5, 6]);
}

#[tokio::test]
async fn a_snapshot_is_the_state_at_its_moment_and_late_entries_are_not_in_it() {
    let server = TestServer::start().await;
    let runner = eventful(&server).await;
    let operator = server.operator();
    let audit = format!("{}/audit?view=snapshot", Person::scope(&runner));
    let at = async |more: &str| {
        let pages = pages(&operator, &format!("{audit}&limit=2{more}")).await;
        let as_of: Vec<_> = pages.iter().map(|page| page.as_of_seq).collect();
        assert!(as_of.windows(2).all(|pair| pair[0] == pair[1]), "{as_of:?}");
        let entries = pages.into_iter().flat_map(|page| page.entries);
        entries
            .map(|entry| format!("{} {} {}", entry.change_id, entry.seq, entry.state))
            .collect::<Vec<_>>()
    };
    assert_eq!(
        at("").await,
        ["a 2 APPLIED", "b 4 APPLIED", "c 7 MANUAL_MARKED_AS_APPLIED"]
    );
    assert_eq!(
        at("&asOfSeq=6").await,
        ["a 2 APPLIED", "b 4 APPLIED", "c 6 FAILED"]
    );
    assert_eq!(at("&asOfSeq=3").await, ["a 2 APPLIED", "b 3 STARTED"]);
    assert_eq!(at("&asOfSeq=0").await, Vec::<String>::new());
    assert_eq!(
        at("&asOfSeq=8&state=APPLIED").await,
        ["a 2 APPLIED", "b 4 APPLIED"]
    );
    assert_eq!(at("&asOfSeq=6&changeId=c&changeId=nobody").await, ["c 6 FAILED"]);
    let times = all(&operator, &format!("{}/audit", Person::scope(&runner))).await;
    let moment = times[5]
        .received_at
        .to_rfc3339_opts(chrono::SecondsFormat::Micros, true);
    assert_eq!(
        at(&format!("&asOf={moment}")).await,
        ["a 2 APPLIED", "b 4 APPLIED", "c 6 FAILED"]
    );
    assert_eq!(at("&asOf=2000-01-01").await, Vec::<String>::new());
    assert_eq!(at("&asOf=2999-01-01").await.len(), 3);
}

#[tokio::test]
async fn invariant_8_a_page_of_the_past_never_changes_while_others_append() {
    let server = TestServer::start().await;
    let runner = server.runner("billing").await;
    let ids: Vec<String> = (0..40).map(|at| format!("change-{at:03}")).collect();
    let names: Vec<&str> = ids.iter().map(String::as_str).collect();
    let execution = runner
        .granted(&Pipeline::of("schema", &names))
        .await
        .execution_id
        .expect("a grant has an execution");
    let operator = server.operator();
    let audit = format!("{}/audit", Person::scope(&runner));
    let writing = join_all(ids.iter().map(|id| runner.apply(execution, id)));
    let reading = async {
        let mut seen: Vec<AuditEntryView> = Vec::new();
        while seen.len() < 80 {
            let again = all(&operator, &format!("{audit}?limit=7")).await;
            assert!(again.len() >= seen.len());
            assert_eq!(again[..seen.len()], seen);
            assert_eq!(seqs(&again), (1..).take(again.len()).collect::<Vec<i64>>());
            seen = again;
        }
        // A snapshot keeps to the moment that it was begun at.
        let page: AuditPage = operator
            .get(&format!("{audit}?view=snapshot&limit=5&asOfSeq=40"))
            .await
            .expect(200)
            .read();
        assert!(page.entries.iter().all(|entry| entry.seq <= 40));
    };
    futures_util::future::join(writing, reading).await;
}

#[tokio::test]
async fn what_is_rare_is_searched_in_stretches_and_an_empty_page_says_where_to_go_on() {
    let server = TestServer::start().await;
    let runner = server.runner("billing").await;
    runner.bring_up_to_date(&Pipeline::of("schema", &["a"])).await;
    server
        .database
        .execute(
            "SET session_replication_role = replica;
             INSERT INTO audit_entries (stream_id, seq, environment_id, service_id, source, execution_ref, change_id, state,
                                        late, actor, author, received_at, prev_hash, hash)
             SELECT s.id, n, s.environment_id, s.service_id, 'RUNNER', n::text, 'change-' || n,
                    CASE WHEN n % 12000 = 0 THEN 'FAILED' ELSE 'APPLIED' END, false, 'test',
                    CASE WHEN n % 12000 = 0 THEN 'rare' ELSE 'usual' END, clock_timestamp(), s.head_hash, s.head_hash
               FROM audit_streams s, generate_series(3, 30000) n;
             INSERT INTO change_states (stream_id, change_id, seq, state, source)
             SELECT stream_id, change_id, seq, state, source FROM audit_entries WHERE seq > 2;
             UPDATE audit_streams SET head_seq = 30000",
        )
        .await;
    let operator = server.operator();
    let audit = format!("{}/audit?limit=50", Person::scope(&runner));
    for (order, expected) in [("asc", [12_000, 24_000]), ("desc", [24_000, 12_000])] {
        let pages = pages(&operator, &format!("{audit}&author=rare&order={order}")).await;
        let found: Vec<Vec<i64>> = pages.iter().map(|page| seqs(&page.entries)).collect();
        assert!((3..=4).contains(&found.len()), "{order}: {found:?}");
        assert_eq!(found.concat(), expected, "{order}");
    }
    let first: AuditPage = operator
        .get(&format!("{audit}&author=rare"))
        .await
        .expect(200)
        .read();
    assert!(first.entries.is_empty() && first.next.is_some());
    // What an index knows is found at once.
    for filter in [
        "state=FAILED",
        "changeId=change-12000&changeId=change-24000",
        "executionId=12000&executionId=24000",
    ] {
        let pages = pages(&operator, &format!("{audit}&{filter}")).await;
        assert_eq!(pages.len(), 1, "{filter}");
        assert_eq!(seqs(&pages[0].entries), [12_000, 24_000], "{filter}");
    }
    let failed = all(&operator, &format!("{audit}&view=snapshot&state=FAILED")).await;
    assert_eq!(seqs(&failed), [12_000, 24_000]);
}

#[tokio::test]
async fn parameters_that_do_not_fit_are_refused_by_name_and_never_ignored() {
    let server = TestServer::start().await;
    let runner = eventful(&server).await;
    let operator = server.operator();
    let scope = Person::scope(&runner);
    let long = "x".repeat(10_000);
    let many = "changeId=x&".repeat(21);
    let cases: Vec<(String, &str)> = vec![
        ("audit?chnageId=a".to_owned(), "chnageId"),
        ("audit?limit=0".to_owned(), "limit"),
        ("audit?limit=501".to_owned(), "limit"),
        ("audit?limit=abc".to_owned(), "limit"),
        ("audit?limit=1&limit=2".to_owned(), "limit"),
        (format!("audit?author={long}"), "author"),
        (format!("audit?{many}"), "changeId"),
        ("audit?author=".to_owned(), "author"),
        ("audit?changeId=a%00b".to_owned(), "changeId"),
        ("audit?state=FALED".to_owned(), "state"),
        ("audit?late=maybe".to_owned(), "late"),
        ("audit?since=2026-02-01&until=2026-01-01".to_owned(), "until"),
        ("audit?since=01/02/2026".to_owned(), "since"),
        ("audit?since=yesterday".to_owned(), "since"),
        ("audit?view=everything".to_owned(), "view"),
        ("audit?order=asc&order=desc".to_owned(), "order"),
        ("audit?view=snapshot&order=desc".to_owned(), "order"),
        ("audit?asOf=2026-01-01".to_owned(), "asOf"),
        (
            "audit?view=snapshot&asOf=2026-01-01&asOfSeq=1".to_owned(),
            "asOfSeq",
        ),
        ("audit?view=snapshot&asOfSeq=-1".to_owned(), "asOfSeq"),
        ("audit?order=desc&after=3".to_owned(), "after"),
        ("audit?after=nonsense".to_owned(), "after"),
        ("audit/export?limit=5".to_owned(), "limit"),
        ("audit/export?format=xlsx".to_owned(), "format"),
        ("audit/export?proofs=true&format=csv".to_owned(), "proofs"),
        ("audit/export?proofs=true&changeId=a".to_owned(), "proofs"),
        ("audit/export?proofs=true&order=desc".to_owned(), "proofs"),
        ("audit/verification?deep=true".to_owned(), "deep"),
        ("audit/verification?after=nonsense".to_owned(), "after"),
        ("audit/checkpoint?after=3".to_owned(), "after"),
    ];
    for (query, named) in cases {
        let answer = operator.get(&format!("{scope}/{query}")).await;
        let problem = answer.expect_problem(400, "R_GEN_02").json();
        let message = problem["message"].as_str().expect("a message");
        assert!(message.contains(&format!("`{named}")), "{query:.60}: {message}");
        assert!(message.len() < 1_500, "{query:.60}");
    }
}

#[tokio::test]
async fn invariant_9_a_cursor_leads_nowhere_but_on_in_its_own_list() {
    let server = TestServer::start().await;
    let runner = eventful(&server).await;
    let operator = server.operator();
    let scope = Person::scope(&runner);
    let page: AuditPage = operator
        .get(&format!("{scope}/audit?limit=2"))
        .await
        .expect(200)
        .read();
    let cursor = page.next.expect("there is more");
    let theirs = server.other_tenants_runner("routing").await;
    theirs
        .bring_up_to_date(&Pipeline::of("schema", &["a", "b", "c"]))
        .await;
    let their_page: AuditPage = server
        .person(&tokens().other_operator)
        .get(&format!("{}/audit?limit=2", Person::scope(&theirs)))
        .await
        .expect(200)
        .read();
    let their_cursor = their_page.next.expect("there is more");
    for path in [
        format!("{scope}/audit?after={their_cursor}"),
        format!("{scope}/audit?changeId=a&after={cursor}"),
        format!("{scope}/audit?order=desc&after={cursor}"),
        format!("{scope}/audit?view=snapshot&after={cursor}"),
        format!("{scope}/audit/checkpoint?after={cursor}"),
        format!("{scope}/audit/verification?after={cursor}"),
    ] {
        operator.get(&path).await.expect_problem(400, "R_GEN_02");
    }
    // The page's size is no part of the question.
    operator
        .get(&format!("{scope}/audit?limit=500&after={cursor}"))
        .await
        .expect(200);
}

#[tokio::test]
async fn an_export_is_what_the_list_shows_in_lines_and_as_a_spreadsheet() {
    let server = TestServer::start().await;
    let runner = eventful(&server).await;
    let operator = server.operator();
    let scope = Person::scope(&runner);
    for question in [
        "",
        "&changeId=c",
        "&view=snapshot",
        "&view=snapshot&asOfSeq=6",
        "&order=desc",
        "&late=true",
    ] {
        let listed = all(&operator, &format!("{scope}/audit?limit=500{question}")).await;
        let answer = operator
            .get(&format!("{scope}/audit/export?format=ndjson{question}"))
            .await;
        answer.expect(200);
        assert_eq!(answer.header("content-type"), Some("application/x-ndjson"));
        let exported: Vec<AuditEntryView> = answer
            .text()
            .lines()
            .map(|line| serde_json::from_str(line).expect(line))
            .collect();
        assert_eq!(exported, listed, "{question}");
    }
    let answer = Call::get(format!("{scope}/audit/export"))
        .bearer(&operator.token)
        .header("Accept", "text/csv")
        .send(&operator.address)
        .await;
    answer.expect(200);
    assert!(
        answer
            .header("content-type")
            .is_some_and(|it| it.starts_with("text/csv"))
    );
    assert!(
        answer
            .header("content-disposition")
            .is_some_and(|it| it.contains(".csv\""))
    );
    let text = answer.text();
    assert_eq!(text.matches("\r\n").count(), 9, "{text}");
    assert!(text.starts_with("seq,receivedAt,"));
    assert!(text.contains("\"{\"\"message\"\":\"\"boom\"\"}\""), "{text}");
}

#[tokio::test]
async fn an_export_ends_with_its_credential_even_while_its_reader_sleeps() {
    let server = TestServer::start().await;
    let runner = server.runner("billing").await;
    runner.bring_up_to_date(&Pipeline::of("schema", &["a"])).await;
    fill(&server).await;
    let (sleeper, path) = (
        server.operator(),
        format!("{}/audit/export", Person::scope(&runner)),
    );
    let mut asleep = Vec::new();
    for _ in 0..2 {
        asleep.push(begin_and_sleep(&server, &sleeper, &path).await);
    }
    server.admin().get(&path).await.expect_problem(503, "R_GEN_08");
    server
        .database
        .execute("UPDATE api_tokens SET revoked_at = clock_timestamp() WHERE role = 'operator'")
        .await;
    eventually("the turns of the revoked are free", async || {
        (server.admin().get(&path).await.status == 200).then_some(())
    })
    .await;
    for mut stream in asleep {
        let mut rest = Vec::new();
        let _ = stream.read_to_end(&mut rest).await;
        assert!(!rest.ends_with(b"0\r\n\r\n"), "a cut export must not look whole");
    }
}

/// More than sockets and channels hold: 20,000 entries with a trace.
async fn fill(server: &TestServer) {
    server
        .database
        .execute(
            "SET session_replication_role = replica;
             INSERT INTO audit_entries (stream_id, seq, environment_id, service_id, source, execution_ref, change_id, state,
                                        late, actor, received_at, prev_hash, hash, error_trace)
             SELECT s.id, n, s.environment_id, s.service_id, 'RUNNER', 'x', 'change-' || n, 'STARTED', false, 'test',
                    clock_timestamp(), s.head_hash, s.head_hash, repeat('x', 1000)
               FROM audit_streams s, generate_series(3, 20000) n;
             UPDATE audit_streams SET head_seq = 20000",
        )
        .await;
}

/// An export that has begun and whose reader takes nothing more.
async fn begin_and_sleep(server: &TestServer, who: &Person, path: &str) -> TcpStream {
    let mut stream = TcpStream::connect(&server.address).await.expect("it listens");
    let request = Call::get(path).bearer(&who.token).bytes(&server.address);
    stream.write_all(&request).await.expect("it takes the request");
    let mut first = [0; 64];
    stream.read_exact(&mut first).await.expect("an answer begins");
    assert!(first.starts_with(b"HTTP/1.1 200"));
    stream
}

#[tokio::test]
async fn a_reader_that_takes_nothing_holds_up_nobody_and_a_cut_export_never_looks_whole() {
    let server = TestServer::with(&[("FLAMINGOCK_DATABASE_MAX_CONNECTIONS", "4")]).await;
    let runner = server.runner("billing").await;
    runner.bring_up_to_date(&Pipeline::of("schema", &["a"])).await;
    fill(&server).await;
    let operator = server.operator();
    let path = format!("{}/audit/export", Person::scope(&runner));
    let mut hung = Vec::new();
    for _ in 0..2 {
        hung.push(begin_and_sleep(&server, &operator, &path).await);
    }
    // All turns of the organisation are taken by readers who sleep, and everybody else is served.
    let answer = operator.get(&path).await;
    answer.expect_problem(503, "R_GEN_08");
    assert!(answer.header("retry-after").is_some());
    assert!(
        answer.text().contains("of this organisation"),
        "{}",
        answer.text()
    );
    let other = server.other_tenants_runner("routing").await;
    other.bring_up_to_date(&Pipeline::of("schema", &["a"])).await;
    let exported = other
        .get(&format!("{}/audit/export", Person::scope(&other)))
        .await;
    assert_eq!(exported.expect(200).text().lines().count(), 2);
    for _ in 0..20 {
        operator
            .get(&format!("{}/audit?limit=1", Person::scope(&runner)))
            .await
            .expect(200);
    }
    runner.plan(&Pipeline::of("schema", &["a"])).await;
    // Their turns end with them.
    drop(hung);
    let whole = eventually("an export has its turn", async || {
        let answer = operator.get(&path).await;
        (answer.status == 200).then_some(answer)
    })
    .await;
    assert_eq!(whole.text().lines().count(), 20_000);
    // A server that is killed in the middle leaves an answer without its last chunk.
    let mut stream = TcpStream::connect(&server.address).await.expect("it listens");
    let request = Call::get(&path).bearer(&operator.token).bytes(&server.address);
    stream.write_all(&request).await.expect("it takes the request");
    let mut read = vec![0; 100_000];
    stream.read_exact(&mut read).await.expect("an answer begins");
    server.kill();
    let mut rest = Vec::new();
    let _ = tokio::time::timeout(Duration::from_secs(30), stream.read_to_end(&mut rest)).await;
    assert!(!rest.ends_with(b"0\r\n\r\n"));
}

/// The same service in two environments of acme.
async fn in_two_environments(server: &TestServer, service: &str) -> (Runner, Runner) {
    let here = server.runner(service).await;
    let there = Runner::open(&server.address, &tokens().runner, "trusting", service).await;
    (here, there)
}

async fn project_of(server: &TestServer, runner: &Runner) -> i64 {
    server
        .database
        .number(&format!(
            "SELECT project_id FROM environments WHERE id = {}",
            runner.environment_id
        ))
        .await
}

async fn differences(person: &Person, path: &str) -> Vec<(String, DifferenceKind)> {
    let mut found: Vec<(String, DifferenceKind)> = Vec::new();
    let mut after = String::new();
    loop {
        let page: DifferencePage = person.get(&format!("{path}{after}")).await.expect(200).read();
        for ServiceDifference {
            service_name,
            changes,
            ..
        } in page.services
        {
            found.extend(
                changes
                    .into_iter()
                    .map(|change| (format!("{service_name}/{}", change.change_id), change.kind)),
            );
        }
        match page.next {
            Some(next) => after = format!("&after={next}"),
            None => return found,
        }
    }
}

#[tokio::test]
async fn two_environments_are_compared_service_by_service_and_change_by_change() {
    let server = TestServer::start().await;
    let operator = server.operator();
    let (here, there) = in_two_environments(&server, "billing").await;
    here.bring_up_to_date(&Pipeline::of("schema", &["a", "b", "c", "d"]))
        .await;
    there.bring_up_to_date(&Pipeline::of("schema", &["a", "z"])).await;
    let execution = there
        .granted(&Pipeline::of("schema", &["a", "b", "c", "z"]))
        .await
        .execution_id
        .expect("a grant has an execution");
    for change in ["b", "c"] {
        there.told(execution, change, AuditState::Started).await;
        there.told(execution, change, AuditState::Failed).await;
    }
    there.release().await.expect(200);
    let issues = operator.issues(&there).await;
    // Applied there too, as a person found: it comes to the same.
    operator
        .resolve(&there, &[("c", ResolutionKind::Applied, issues[1].seq)])
        .await
        .expect(201);
    let (only_here, both) = in_two_environments(&server, "ledger").await;
    only_here
        .bring_up_to_date(
            &Pipeline::of("schema", &["x", "y", "w"])
                .checksum("y", "one")
                .checksum("w", "one"),
        )
        .await;
    both.bring_up_to_date(
        &Pipeline::of("schema", &["y", "w"])
            .checksum("y", "two")
            .checksum("w", "one"),
    )
    .await;

    let project = project_of(&server, &here).await;
    let compare = |environment: i64, other: i64, more: &str| {
        format!(
            "/api/v1/admin/project/{project}/audit/difference?environmentId={environment}&otherEnvironmentId={other}{more}"
        )
    };
    let (production, trusting) = (here.environment_id, there.environment_id);
    let mut expected = vec![
        ("billing/b".to_owned(), DifferenceKind::State),
        ("billing/d".to_owned(), DifferenceKind::OnlyHere),
        ("billing/z".to_owned(), DifferenceKind::OnlyThere),
        ("ledger/x".to_owned(), DifferenceKind::OnlyHere),
        ("ledger/y".to_owned(), DifferenceKind::Checksum),
    ];
    for limit in [1, 2, 50] {
        let mut found = differences(
            &operator,
            &compare(production, trusting, &format!("&limit={limit}")),
        )
        .await;
        found.sort_by(|a, b| a.0.cmp(&b.0));
        expected.sort_by(|a, b| a.0.cmp(&b.0));
        assert_eq!(found, expected, "by {limit}");
    }
    let one = differences(
        &operator,
        &compare(trusting, production, &format!("&serviceId={}", here.service_id)),
    )
    .await;
    assert_eq!(
        one,
        [
            ("billing/b".to_owned(), DifferenceKind::State),
            ("billing/d".to_owned(), DifferenceKind::OnlyThere),
            ("billing/z".to_owned(), DifferenceKind::OnlyHere),
        ]
    );
    // What is foreign, absent or of one environment alone.
    let theirs = server.other_tenants_runner("routing").await;
    for (environment, other) in [(production, theirs.environment_id), (987_654, trusting)] {
        operator
            .get(&compare(environment, other, ""))
            .await
            .expect_problem(404, "R_TENANT_01");
    }
    operator
        .get(&compare(
            production,
            trusting,
            &format!("&serviceId={}", theirs.service_id),
        ))
        .await
        .expect_problem(404, "R_TENANT_02");
    let foreign = server.person(&tokens().other_operator);
    foreign
        .get(&compare(production, trusting, ""))
        .await
        .expect_problem(404, "R_TENANT_01");
    here.get(&compare(production, trusting, ""))
        .await
        .expect_problem(403, "R_AUTH_03");
    for query in [
        "",
        "environmentId=1",
        &format!("environmentId={production}&otherEnvironmentId={production}"),
    ] {
        operator
            .get(&format!(
                "/api/v1/admin/project/{project}/audit/difference?{query}"
            ))
            .await
            .expect_problem(400, "R_GEN_02");
    }
    // A token for one service sees that one.
    let narrow = server.person(&tokens().narrow);
    narrow
        .get(&compare(production, trusting, ""))
        .await
        .expect_problem(404, "R_TENANT_01");
    exchange(&server.address, &tokens().narrow, "production", "ledger")
        .await
        .expect(200);
}
