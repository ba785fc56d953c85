//! The coordinator of the SDK's testing kit answers as the server does: the same requests, in the same order, to both.

use flamingock::testing::Coordinator;
use flamingock_api_types::audit::AuditState::{self, Applied, Failed, RollbackFailed, RolledBack, Started};
use flamingock_api_types::digest;
use flamingock_api_types::execution::{BlockType, ChangeStatusReport, MarkStatus, StageStatus};
use flamingock_api_types::policy::PolicyMode;
use flamingock_tests::{Answer, Call, Person, Pipeline, Runner, TestServer, tokens};
use serde_json::{Value, json};

/// What was asked, and what was answered, without what differs between any two servers.
struct Transcript {
    lines: Vec<String>,
    /// Of the first execution.
    first: Option<i64>,
    runners: Vec<String>,
}

impl Transcript {
    fn note(&mut self, asked: &str, answer: &Answer) {
        let mut body = if answer.body.is_empty() {
            Value::Null
        } else {
            answer.json()
        };
        self.plain(&mut body);
        self.lines.push(format!("{asked}: {} {body}", answer.status));
    }

    fn plain(&mut self, value: &mut Value) {
        match value {
            Value::Array(values) => values.iter_mut().for_each(|value| self.plain(value)),
            Value::Object(fields) => {
                // What is said of plans, of starts and of policies is the server's own. The words of other refusals differ.
                let is_other = |code: &str| {
                    code.starts_with("R_")
                        && !["R_POLICY", "R_AUDIT"].iter().any(|kept| code.starts_with(kept))
                };
                if fields.get("code").and_then(Value::as_str).is_some_and(is_other) {
                    fields.remove("message");
                    fields.remove("details");
                }
                // What is random, or the server's alone.
                for name in ["instance", "type", "title", "expiresAt", "judgedAt"] {
                    fields.remove(name);
                }
                for (name, value) in fields {
                    match name.as_str() {
                        "executionId" => {
                            let id = value.as_i64().expect("a number");
                            *value = json!(id - *self.first.get_or_insert(id));
                        }
                        "owner" => {
                            let owner = value.as_str().expect("a text");
                            *value = json!(self.runners.iter().position(|runner| runner == owner));
                        }
                        "key" | "acquisitionId" => *value = json!(name),
                        _ => self.plain(value),
                    }
                }
            }
            Value::String(text) => {
                for (number, runner) in self.runners.iter().enumerate() {
                    *text = text.replace(runner, &format!("runner {number}"));
                }
            }
            Value::Null | Value::Bool(_) | Value::Number(_) => {}
        }
    }

    async fn plan(&mut self, runner: &Runner, pipeline: &Pipeline) -> i64 {
        self.asks(runner, &pipeline.body()).await
    }

    async fn asks(&mut self, runner: &Runner, body: &Value) -> i64 {
        let answer = runner.ask("elapsedMillis=0", body).await;
        self.note("plan", &answer);
        answer.json()["executionId"].as_i64().unwrap_or_default()
    }

    async fn preview(&mut self, runner: &Runner, pipeline: &Pipeline) {
        let call = Call::post(format!("{}/plan", Person::scope(runner))).json(&pipeline.body());
        let answer = call.bearer(&runner.jwt).send(&runner.address).await;
        self.note("preview", &answer);
    }

    async fn digest(&mut self, runner: &Runner, pipeline: &Pipeline) {
        let digest = digest::of_blocks(&pipeline.blocks);
        self.asks(runner, &json!({"clientSubmission": {"digest": digest}}))
            .await;
        // And by another process of the same service, as the first word that it hears.
        let service = runner.id.split('@').next().expect("it begins with the service");
        let body = json!({
            "apiToken": tokens().runner, "environmentName": "production", "serviceName": service, "digest": digest,
            "certificate": true
        });
        let call = Call::post("/api/v1/auth/exchange-token").json(&body);
        let session = call.send(&runner.address).await.expect(200).json();
        let is_certified = session.get("certificate").is_some();
        self.lines.push(format!(
            "exchange: {}, certified: {is_certified}",
            session["allApplied"]
        ));
    }

    async fn report(&mut self, runner: &Runner, execution: i64, change: &str, state: AuditState) {
        self.report_with(runner, execution, change, state, &json!({}))
            .await;
    }

    async fn report_with(
        &mut self,
        runner: &Runner,
        execution: i64,
        change: &str,
        state: AuditState,
        fields: &Value,
    ) {
        let answer = runner.report_with(execution, change, state, fields).await;
        self.note(&format!("{change} {state:?}"), &answer);
    }

    async fn extend(&mut self, runner: &Runner, progress: &Value) {
        let answer = runner.extend_telling(progress).await;
        self.note("extend", &answer);
    }

    async fn release(&mut self, runner: &Runner) {
        let answer = runner.release().await;
        self.note("release", &answer);
    }
}

fn two_changes() -> Pipeline {
    Pipeline::of("schema", &["a", "b"])
}

/// A first start, one with nothing to do, and the digest of that.
async fn a_plain_start(told: &mut Transcript, runner: &Runner, _: &Runner) {
    told.digest(runner, &two_changes()).await;
    let execution = told.plan(runner, &two_changes()).await;
    for change in ["a", "b"] {
        told.report(runner, execution, change, Started).await;
        told.report(runner, execution, change, Applied).await;
    }
    told.release(runner).await;
    told.release(runner).await;
    let done = two_changes()
        .stage_is("schema", StageStatus::Completed)
        .change_is("a", ChangeStatusReport::Applied)
        .change_is("b", ChangeStatusReport::Applied);
    told.plan(runner, &done).await;
    told.digest(runner, &two_changes()).await;
    told.plan(runner, &two_changes().mark("a", MarkStatus::Applied))
        .await;
    told.digest(runner, &two_changes()).await;
    told.plan(runner, &two_changes()).await;
    told.digest(runner, &two_changes()).await;
    told.digest(runner, &Pipeline::of("schema", &["a"])).await;
    told.asks(runner, &two_changes().body_of_generation_1()).await;
}

/// Reports twice, out of place, and for executions that are not there.
async fn odd_reports(told: &mut Transcript, runner: &Runner, other: &Runner) {
    told.report(runner, 999_999, "a", Started).await;
    let execution = told.plan(runner, &two_changes()).await;
    told.report(other, execution, "a", Started).await;
    for state in [Started, Started, Applied, Applied, Started, RolledBack] {
        told.report(runner, execution, "a", state).await;
    }
    told.report_with(runner, execution, "b", Started, &json!({"fence": 77}))
        .await;
    told.report_with(runner, execution, "b", Started, &json!({"fence": 1}))
        .await;
    told.report(runner, 999_999, "b", Applied).await;
    told.report(other, execution, "b", Applied).await;
    told.report(runner, execution, "b", Failed).await;
    told.release(runner).await;
    told.report(runner, execution, "b", RolledBack).await;
    told.plan(runner, &two_changes()).await;
}

/// Failures of every kind, and what the next start makes of them.
async fn failures(told: &mut Transcript, runner: &Runner, _: &Runner) {
    let pipeline = || {
        Pipeline::empty()
            .block(BlockType::Default)
            .stage("plain", &["a"])
            .stage("transactions", &["b"])
            .stage("retried", &["c"])
            .stage("undone", &["d"])
            .stage("dirty", &["e"])
            .block(BlockType::Default)
            .stage("later", &["f"])
    };
    let execution = told.plan(runner, &pipeline()).await;
    let marker = json!({"txStrategy": "TX_SEPARATE_WITH_MARKER"});
    let retry = json!({"recoveryStrategy": "ALWAYS_RETRY"});
    for (change, fields) in [
        ("a", json!({})),
        ("b", marker),
        ("c", retry),
        ("d", json!({})),
        ("e", json!({})),
    ] {
        told.report_with(runner, execution, change, Started, &fields)
            .await;
        told.report_with(runner, execution, change, Failed, &fields).await;
    }
    told.report(runner, execution, "d", RolledBack).await;
    told.report(runner, execution, "e", RollbackFailed).await;
    told.release(runner).await;
    let mut failed = pipeline();
    for (stage, change) in [
        ("plain", "a"),
        ("transactions", "b"),
        ("retried", "c"),
        ("undone", "d"),
        ("dirty", "e"),
    ] {
        failed = failed
            .stage_is(stage, StageStatus::Failed)
            .change_is(change, ChangeStatusReport::Failed);
    }
    told.plan(runner, &failed).await;
    // A client that does not say that something failed.
    told.plan(runner, &pipeline().stage_is("plain", StageStatus::Completed))
        .await;
    told.release(runner).await;
    told.plan(runner, &pipeline()).await;
}

/// A second runner beside the first.
async fn two_runners(told: &mut Transcript, runner: &Runner, other: &Runner) {
    let execution = told.plan(runner, &two_changes()).await;
    told.report(runner, execution, "a", Started).await;
    told.plan(other, &two_changes()).await;
    told.release(other).await;
    let answer = other.extend().await;
    told.note("extend", &answer);
    let answer = runner.extend().await;
    told.note("extend", &answer);
    let answer = other.lock().await;
    told.note("lock", &answer);
    told.release(runner).await;
    let answer = other.lock().await;
    told.note("lock", &answer);
    let second = told.plan(other, &two_changes()).await;
    told.report(other, second, "a", Started).await;
    // The first comes back.
    told.report(runner, execution, "a", Applied).await;
    told.report(runner, execution, "b", Started).await;
    told.report(other, second, "b", Started).await;
    told.report(runner, execution, "b", Failed).await;
    told.report(other, second, "b", Applied).await;
    told.plan(runner, &two_changes()).await;
    told.release(other).await;
    told.plan(runner, &two_changes()).await;
}

/// Marks that prove something, contradict something, or say what is known.
async fn marks(told: &mut Transcript, runner: &Runner, _: &Runner) {
    let with_marks = json!({"txStrategy": "TX_SEPARATE_WITH_MARKER"});
    let execution = told.plan(runner, &two_changes()).await;
    told.report_with(runner, execution, "a", Started, &with_marks)
        .await;
    told.release(runner).await;
    told.plan(runner, &two_changes()).await;
    told.release(runner).await;
    let marked = two_changes().mark("a", MarkStatus::Applied);
    let execution = told.plan(runner, &marked).await;
    told.report_with(runner, execution, "b", Started, &with_marks)
        .await;
    told.report_with(runner, execution, "b", RolledBack, &with_marks)
        .await;
    told.release(runner).await;
    // The record says rolled back, the mark says applied.
    let contradicted = two_changes().mark("b", MarkStatus::Applied);
    told.plan(runner, &contradicted).await;
    told.release(runner).await;
    told.plan(runner, &contradicted).await;
    told.release(runner).await;
    let undone = two_changes().mark("b", MarkStatus::RolledBack);
    let execution = told.plan(runner, &undone).await;
    told.report_with(runner, execution, "b", Started, &with_marks)
        .await;
    told.report_with(runner, execution, "b", Applied, &with_marks)
        .await;
    told.release(runner).await;
    told.plan(runner, &two_changes().mark("a", MarkStatus::Applied))
        .await;
    // A mark of a change that the record has never heard of.
    told.plan(
        runner,
        &Pipeline::of("more", &["z"]).mark("z", MarkStatus::Applied),
    )
    .await;
    told.plan(runner, &Pipeline::of("more", &["z"])).await;
}

/// What is said of a run in its second and third plan.
async fn within_a_run(told: &mut Transcript, runner: &Runner, _: &Runner) {
    let pipeline = || {
        Pipeline::empty()
            .block(BlockType::System)
            .stage("first", &["a", "b"])
            .block(BlockType::Default)
            .stage("second", &["c/with é"])
    };
    let execution = told.plan(runner, &pipeline()).await;
    told.report(runner, execution, "a", Started).await;
    told.report(runner, execution, "a", Applied).await;
    told.release(runner).await;
    // It says that all of the stage is done, and the record lacks a change.
    let claimed = pipeline()
        .stage_is("first", StageStatus::Completed)
        .change_is("a", ChangeStatusReport::Applied)
        .change_is("b", ChangeStatusReport::Applied);
    let execution = told.plan(runner, &claimed).await;
    told.report(runner, execution, "c/with é", Started).await;
    // Asks anew without having said how that went.
    told.plan(runner, &claimed).await;
    told.report(runner, execution, "c/with é", Applied).await;
    told.release(runner).await;
    told.plan(runner, &pipeline()).await;
}

/// Changes that can be asked what became of them.
async fn probes(told: &mut Transcript, runner: &Runner, other: &Runner) {
    let mut body = two_changes().body();
    body["clientSubmission"]["blocks"][0]["stages"][0]["changes"][0]["hasProbe"] = json!(true);
    let execution = told.asks(runner, &body).await;
    told.report(runner, execution, "a", Started).await;
    told.release(runner).await;
    let own = told.asks(runner, &body).await;
    let path = runner.report_path(own, "a").replace("/audit", "/probe");
    let call = Call::post(path).json(&json!({"verdict": "NOT_APPLIED", "expectedSeq": 1}));
    let answer = runner.with_headers(call).send(&runner.address).await;
    told.note("its own attempt", &answer);
    told.release(runner).await;
    let second = told.asks(other, &body).await;
    for (who, under, verdict, about) in [
        (runner, execution, "APPLIED", 1),
        (other, second, "APPLIED", 7),
        (other, second, "UNKNOWN", 1),
        (other, second, "UNKNOWN", 1),
        (other, second, "NOT_APPLIED", 1),
        (other, second, "NOT_APPLIED", 1),
        (other, second, "APPLIED", 1),
    ] {
        let path = who.report_path(under, "a").replace("/audit", "/probe");
        let call = Call::post(path).json(&json!({"verdict": verdict, "expectedSeq": about}));
        let answer = who.with_headers(call).send(&who.address).await;
        told.note(verdict, &answer);
    }
    told.release(other).await;
    let third = told.asks(other, &body).await;
    told.report(other, third, "a", Started).await;
    told.report(other, third, "a", Applied).await;
    told.release(other).await;
    told.asks(runner, &body).await;
}

/// An attempt that a probe has settled, and that is heard of all the same.
async fn settled_too_early(told: &mut Transcript, runner: &Runner, other: &Runner) {
    let body = two_changes().probe("a").body();
    for (about, verdict, word) in [
        (1, "NOT_APPLIED", Failed),
        (5, "APPLIED", Failed),
        (9, "NOT_APPLIED", Applied),
    ] {
        let attempt = told.asks(runner, &body).await;
        told.report(runner, attempt, "a", Started).await;
        told.release(runner).await;
        let asking = told.asks(other, &body).await;
        let path = other.report_path(asking, "a").replace("/audit", "/probe");
        let call = Call::post(path).json(&json!({"verdict": verdict, "expectedSeq": about}));
        let answer = other.with_headers(call).send(&other.address).await;
        told.note(verdict, &answer);
        told.report(runner, attempt, "a", word).await;
        told.report(runner, attempt, "a", RolledBack).await;
        told.release(other).await;
    }
}

/// A change that goes on from a cursor, and versions of it that do not.
async fn cursors(told: &mut Transcript, runner: &Runner, other: &Runner) {
    let retried = json!({"recoveryStrategy": "ALWAYS_RETRY"});
    let takes = two_changes().cursor("a").rollback("a", true, false);
    let progress = |execution: i64, sequence: i64, cursor: Option<&str>, void: bool| {
        json!({"executionId": execution, "changeId": "a", "sequence": sequence, "cursor": cursor,
            "voidWhenFailed": void})
    };
    let execution = told.plan(runner, &takes).await;
    told.report_with(runner, execution, "a", Started, &retried).await;
    told.extend(runner, &progress(execution, 1, Some("at 5"), true))
        .await;
    told.release(runner).await;
    // Offered without it, and not begun; then with it, and not begun.
    told.plan(other, &two_changes()).await;
    told.release(other).await;
    let execution = told.plan(other, &takes).await;
    told.release(other).await;
    // It was alive after all: what it says now is newer than what the next one was to go on from.
    let next = told.plan(runner, &takes).await;
    told.report_with(other, execution, "a", Started, &retried).await;
    told.report_with(runner, next, "a", Started, &retried).await;
    told.extend(runner, &progress(next, 1, Some("at 7"), true)).await;
    told.report_with(runner, next, "a", Failed, &retried).await;
    told.extend(runner, &progress(next, 2, None, false)).await;
    told.release(runner).await;
    // Its rollback may have been under way.
    let execution = told.plan(other, &takes).await;
    told.report_with(other, execution, "a", Started, &retried).await;
    told.extend(other, &progress(execution, 1, Some("at 8"), false))
        .await;
    told.release(other).await;
    let without = told.plan(runner, &two_changes()).await;
    told.report_with(runner, without, "a", Started, &retried).await;
    told.release(runner).await;
    told.plan(other, &takes).await;
    told.release(other).await;
}

/// The lock is gone to another, which was handed the cursor, when the attempt that saved it is heard of again.
async fn overtaken(told: &mut Transcript, runner: &Runner, other: &Runner) {
    let retried = json!({"recoveryStrategy": "ALWAYS_RETRY"});
    let takes = two_changes().cursor("a");
    let execution = told.plan(runner, &takes).await;
    told.report_with(runner, execution, "a", Started, &retried).await;
    let progress = json!({"executionId": execution, "changeId": "a", "sequence": 1, "cursor": "at 5"});
    told.extend(runner, &progress).await;
    told.release(runner).await;
    let next = told.plan(other, &takes).await;
    told.report_with(runner, execution, "a", Failed, &retried).await;
    told.report_with(other, next, "a", Started, &retried).await;
    told.release(other).await;
    let again = told.plan(other, &takes).await;
    told.report_with(other, again, "a", Started, &retried).await;
    told.release(other).await;
}

macro_rules! compared {
    ($($scenario:ident),*) => {
        #[tokio::test]
        async fn it_answers_as_the_server_does() {
            let server = TestServer::start().await;
            $({
                let coordinator = Coordinator::start().await.expect("a free port");
                let address = coordinator.url().replace("http://", "");
                let mut transcripts = Vec::new();
                for runner in [
                    server.runner(stringify!($scenario)).await,
                    Runner::open(&address, "any", "any", stringify!($scenario)).await,
                ] {
                    let other = runner.another();
                    let mut told = Transcript {
                        lines: Vec::new(),
                        first: None,
                        runners: vec![runner.id.clone(), other.id.clone()],
                    };
                    $scenario(&mut told, &runner, &other).await;
                    transcripts.push(told.lines);
                }
                let kit = transcripts.pop().expect("the second");
                let real = transcripts.pop().expect("the first");
                assert!(real.len() > 8, "it asks something");
                assert_eq!(real.join("\n"), kit.join("\n"), "{}: the server, then the kit", stringify!($scenario));
            })*
        }
    };
}

compared!(
    a_plain_start,
    odd_reports,
    failures,
    two_runners,
    marks,
    within_a_run,
    probes,
    settled_too_early,
    cursors,
    overtaken
);

/// Who sets the policies: a person of the server, or the test that has the kit.
enum Rules<'a> {
    Server(&'a TestServer, &'a Runner),
    Kit(&'a Coordinator),
}

impl Rules<'_> {
    async fn set(&self, checksum_mismatch: PolicyMode, out_of_order: PolicyMode, approval_required: bool) {
        match self {
            Self::Server(server, runner) => {
                let path = format!("/api/v1/admin/environment/{}/policy", runner.environment_id);
                let policy = json!({
                    "checksumMismatch": checksum_mismatch, "outOfOrder": out_of_order, "approvalRequired": approval_required,
                    "trustAbsentMarks": false, "reason": "a test wants it so"
                });
                let admin = server.person(&tokens().admin);
                admin.put(&path, &policy).await.expect(200);
            }
            Self::Kit(coordinator) => {
                coordinator.checksum_mismatch(checksum_mismatch);
                coordinator.out_of_order(out_of_order);
                coordinator.approval_required(approval_required);
            }
        }
    }

    async fn approve(&self, change: &str, checksum: &str) {
        match self {
            Self::Server(server, runner) => {
                let path = format!("{}/approval", Person::scope(runner));
                let approval =
                    json!({"changeId": change, "checksum": checksum, "reason": "read it with Mara"});
                server.operator().post(&path, &approval).await.expect(201);
            }
            Self::Kit(coordinator) => coordinator.approve(change, "lin"),
        }
    }

    async fn freeze(&self) {
        match self {
            Self::Server(server, runner) => {
                let path = format!("/api/v1/admin/environment/{}/freeze", runner.environment_id);
                let freeze = json!({"reason": "The sale is on"});
                server.operator().post(&path, &freeze).await.expect(201);
            }
            Self::Kit(coordinator) => coordinator.freeze("The sale is on"),
        }
    }
}

/// Approvals, an edited change, one out of order, and a freeze.
async fn policies(told: &mut Transcript, runner: &Runner, rules: &Rules<'_>) {
    use PolicyMode::{Allow, Refuse, Warn};
    const CONTENT: &str = "sha256-v1:1111";
    let pipeline = two_changes()
        .author("a", "mara")
        .checksum("a", CONTENT)
        .checksum("b", CONTENT);
    rules.set(Allow, Allow, true).await;
    told.plan(runner, &pipeline).await;
    told.preview(runner, &pipeline).await;
    rules.approve("a", CONTENT).await;
    told.plan(runner, &pipeline).await;
    rules.approve("b", CONTENT).await;
    told.preview(runner, &pipeline).await;
    let execution = told.plan(runner, &pipeline).await;
    told.preview(runner, &pipeline).await;
    for change in ["a", "b"] {
        told.report(runner, execution, change, Started).await;
        told.preview(runner, &pipeline).await;
        told.report(runner, execution, change, Applied).await;
    }
    told.release(runner).await;
    told.plan(runner, &pipeline).await;
    told.digest(runner, &pipeline).await;

    let edited = pipeline.clone().checksum("b", "sha256-v1:2222");
    for mode in [Allow, Warn, Refuse] {
        rules.set(mode, Allow, false).await;
        told.preview(runner, &edited).await;
        told.plan(runner, &edited).await;
        told.digest(runner, &edited).await;
    }
    told.plan(runner, &pipeline).await;

    let before = Pipeline::of("schema", &["a", "late", "b"]);
    for mode in [Warn, Refuse] {
        rules.set(Allow, mode, false).await;
        told.preview(runner, &before).await;
        told.plan(runner, &before).await;
        told.release(runner).await;
    }
    rules.set(Allow, Allow, false).await;
    rules.freeze().await;
    told.preview(runner, &before).await;
    told.plan(runner, &before).await;
    told.plan(runner, &pipeline).await;
}

#[tokio::test]
async fn its_policies_stop_and_warn_in_the_servers_words() {
    let server = TestServer::start().await;
    let coordinator = Coordinator::start().await.expect("a free port");
    let real = server.runner("billing").await;
    let address = coordinator.url().replace("http://", "");
    let kits = Runner::open(&address, "any", "any", "billing").await;
    let mut transcripts = Vec::new();
    for (runner, rules) in [
        (&real, Rules::Server(&server, &real)),
        (&kits, Rules::Kit(&coordinator)),
    ] {
        let mut told = Transcript {
            lines: Vec::new(),
            first: None,
            runners: vec![runner.id.clone()],
        };
        policies(&mut told, runner, &rules).await;
        transcripts.push(told.lines.join("\n"));
    }
    assert!(
        transcripts[0].contains("waits for approval"),
        "{}",
        transcripts[0]
    );
    assert_eq!(transcripts[0], transcripts[1], "the server, then the kit");
}
