//! Every operation of the API's description, with everybody who could call it. What is expected stands in
//! `tests/authorisation.tsv`; an operation without a row fails, and so does a row without an operation.
//!
//! Invariant 9: for what a caller does not reach, the answer is that for what does not exist: same status, same words, same
//! statements.

mod table;
mod world;

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicU64, Ordering};

use flamingock_tests::{Answer, Call, Runner};
use serde_json::Value;

use table::{Body, CALLERS, Operation, Row};
use world::{Ids, World};

/// An id that nothing has, and that was not asked for before: reports of an execution that nobody knows are kept, too.
fn absent_id() -> String {
    static NEXT: AtomicU64 = AtomicU64::new(987_654_000);
    NEXT.fetch_add(1, Ordering::Relaxed).to_string()
}

/// Placeholders that name something of a tenant.
const SCOPED: [&str; 9] = [
    "organisationId",
    "projectId",
    "environmentId",
    "otherEnvironmentId",
    "serviceId",
    "executionId",
    "tokenId",
    "freezeId",
    "key",
];

#[tokio::test]
async fn invariant_9_every_operation_answers_everybody_as_the_table_says() {
    let world = World::new().await;
    let document = Call::get("/api/openapi.json")
        .send(&world.server.address)
        .await
        .expect(200)
        .json();
    let operations = table::operations(&document);
    let rows = table::read();
    let mut faults: Vec<String> = rows
        .keys()
        .filter(|id| operations.iter().all(|operation| operation.id != **id))
        .map(|id| format!("authorisation.tsv has a row for {id}, which is no operation"))
        .collect();
    let mut pairs = Vec::new();
    for operation in &operations {
        let walk = Walk {
            world: &world,
            operation,
        };
        match rows.get(&operation.id) {
            Some(row) if row.public && operation.public => walk.public(&mut faults).await,
            Some(row) if !row.public && !operation.public => {
                walk.without_a_usable_token(row, &mut faults).await;
                walk.by_role(row, &mut faults).await;
                walk.out_of_reach(row, &mut faults, &mut pairs).await;
            }
            Some(_) => faults.push(format!(
                "{}: the table and the description do not agree on whether it is public",
                operation.id
            )),
            None => walk.suggest(&mut faults).await,
        }
    }
    faults.extend(unequal_work(&world, &pairs));
    assert!(
        faults.is_empty(),
        "{} faults:\n{}",
        faults.len(),
        faults.join("\n")
    );
    assert!(operations.len() >= 40, "{} operations", operations.len());
    assert!(pairs.len() >= 400, "{} pairs", pairs.len());
}

/// Two requests that must cost the same: what was asked, and the names of both.
struct Pair {
    what: String,
    foreign: String,
    absent: String,
}

struct Walk<'a> {
    world: &'a World,
    operation: &'a Operation,
}

impl Walk<'_> {
    async fn public(&self, faults: &mut Vec<String>) {
        let answer = self.send(&Row::public(), &self.world.own, None, None).await;
        if matches!(answer.status, 401 | 403) {
            faults.push(format!("{} is public: {}", self.operation.id, answer.describe()));
        }
    }

    async fn without_a_usable_token(&self, row: &Row, faults: &mut Vec<String>) {
        let mut calls = vec![("no token", None, "R_AUTH_05")];
        calls.extend(
            self.world
                .unusable
                .iter()
                .map(|(what, bearer, code)| (*what, Some(bearer.as_str()), *code)),
        );
        for (what, bearer, code) in calls {
            // Not the process that holds the lock: an expired session of that one may still report.
            let ids = &self.world.own;
            let answer = self.send_as(&self.world.stranger, row, ids, bearer, None).await;
            if answer.status != 401 || answer.json()["code"] != code {
                faults.push(format!(
                    "{} with {what}, expected 401 {code}: {}",
                    self.operation.id,
                    answer.describe()
                ));
            } else if answer.header("www-authenticate").is_none() {
                faults.push(format!(
                    "{} with {what}: a 401 without WWW-Authenticate",
                    self.operation.id
                ));
            }
        }
    }

    async fn by_role(&self, row: &Row, faults: &mut Vec<String>) {
        let seen = self.seen(row).await;
        let differ = seen
            .iter()
            .zip(&row.expected)
            .any(|(answer, cell)| !table::matches(cell, answer.status));
        if differ {
            let statuses: Vec<u16> = seen.iter().map(|answer| answer.status).collect();
            faults.push(format!(
                "{}: not as the table says. Seen, as a row:\n{}",
                self.operation.id,
                table::line(&self.operation.id, row, &statuses)
            ));
            for ((caller, answer), cell) in CALLERS.iter().zip(&seen).zip(&row.expected) {
                if !table::matches(cell, answer.status) {
                    faults.push(format!("  {caller}, expected {cell}: {}", answer.describe()));
                }
            }
        }
        for (caller, answer) in CALLERS.iter().zip(&seen) {
            let code = if (401..404).contains(&answer.status) {
                answer.json()["code"].clone()
            } else {
                Value::Null
            };
            if answer.status >= 500 || (answer.status == 403 && !is_refusal(&code)) {
                faults.push(format!(
                    "{} by {caller}: {}",
                    self.operation.id,
                    answer.describe()
                ));
            }
        }
    }

    /// What a missing row would have to be.
    async fn suggest(&self, faults: &mut Vec<String>) {
        if self.operation.public {
            faults.push(format!(
                "authorisation.tsv has no row for:\n{}\tpublic",
                self.operation.id
            ));
            return;
        }
        let row = Row {
            body: if self.operation.has_body {
                Body::Example
            } else {
                Body::None
            },
            ..Row::public()
        };
        let statuses: Vec<u16> = self.seen(&row).await.iter().map(|answer| answer.status).collect();
        faults.push(format!(
            "authorisation.tsv has no row for {}. If this is as it should be, add it (a body and a query that fit may have to be \
             put in; columns: operation, query, body, {}):\n{}",
            self.operation.id,
            CALLERS.join(", "),
            table::line(&self.operation.id, &row, &statuses)
        ));
    }

    /// The answers to everybody, for what is theirs.
    async fn seen(&self, row: &Row) -> Vec<Answer> {
        let mut seen = Vec::new();
        for caller in CALLERS {
            let ids = self.world.own_of(caller, &self.placeholders(row)).await;
            let bearer = &self.world.bearers[caller];
            seen.push(self.send(row, &ids, Some(bearer), None).await);
        }
        seen
    }

    async fn out_of_reach(&self, row: &Row, faults: &mut Vec<String>, pairs: &mut Vec<Pair>) {
        let names: Vec<&'static str> = SCOPED
            .into_iter()
            .filter(|name| self.placeholders(row).iter().any(|used| used == name))
            .collect();
        for caller in CALLERS {
            for unreachable in self.world.unreachable(caller) {
                let mut variants: Vec<Vec<&'static str>> = names.iter().map(|name| vec![*name]).collect();
                variants.push(names.clone());
                variants.dedup();
                for variant in variants {
                    self.compare(row, caller, unreachable, &variant, faults, pairs)
                        .await;
                }
            }
        }
    }

    /// The same call twice: with ids of others in these places, and with ids of nothing.
    async fn compare(
        &self,
        row: &Row,
        caller: &str,
        unreachable: &Ids,
        places: &[&'static str],
        faults: &mut Vec<String>,
        pairs: &mut Vec<Pair>,
    ) {
        let own = self.world.own_of(caller, &[]).await;
        let (mut foreign, mut absent) = (own.clone(), own.clone());
        for place in places {
            if own[place] != unreachable[place] {
                foreign.insert(place, unreachable[place].clone());
                absent.insert(place, absent_id());
            }
        }
        // One environment named twice is another question.
        let is_doubled = self
            .placeholders(row)
            .iter()
            .any(|name| name == "otherEnvironmentId")
            && foreign["environmentId"] == foreign["otherEnvironmentId"];
        if foreign == own || is_doubled {
            return;
        }
        // A report that another session has made already is a repetition, whatever it names.
        if caller == "admin-session" {
            for ids in [&mut foreign, &mut absent] {
                ids.insert("changeId", "of-another-session".to_owned());
            }
        }
        let bearer = Some(self.world.bearers[caller].as_str());
        let pair = Pair {
            what: format!(
                "{} by {caller}, {} of others",
                self.operation.id,
                places.join(" and ")
            ),
            foreign: world::unique(),
            absent: world::unique(),
        };
        let for_foreign = self.send(row, &foreign, bearer, Some(&pair.foreign)).await;
        let for_absent = self.send(row, &absent, bearer, Some(&pair.absent)).await;
        let asked: Vec<&String> = foreign.values().chain(absent.values()).collect();
        let same = for_foreign.status == for_absent.status
            && (for_foreign.status < 300 && self.operation.method != "GET"
                || words(&for_foreign, &asked) == words(&for_absent, &asked));
        if !same {
            faults.push(format!(
                "{}: it does not answer like what does not exist:\n  {}\n  {}",
                pair.what,
                for_foreign.describe(),
                for_absent.describe()
            ));
        }
        pairs.push(pair);
    }

    fn placeholders(&self, row: &Row) -> Vec<String> {
        let body = self.body(row).unwrap_or_default();
        table::placeholders(&format!("{} {} {body}", self.operation.path, row.query))
    }

    fn body(&self, row: &Row) -> Option<String> {
        match &row.body {
            Body::None => None,
            Body::Example => self.operation.example.clone(),
            Body::Text(text) => Some(text.clone()),
        }
    }

    async fn send(&self, row: &Row, ids: &Ids, bearer: Option<&str>, name: Option<&str>) -> Answer {
        self.send_as(&self.world.runner, row, ids, bearer, name).await
    }

    async fn send_as(
        &self,
        process: &Runner,
        row: &Row,
        ids: &Ids,
        bearer: Option<&str>,
        name: Option<&str>,
    ) -> Answer {
        let unknown: Vec<String> = self
            .placeholders(row)
            .into_iter()
            .filter(|name| !ids.contains_key(name.as_str()) && name != "unique")
            .collect();
        assert!(
            unknown.is_empty(),
            "{}: the walk has no value for {unknown:?}. Give it one for every tenant in `world::complete`, and name it in \
             `SCOPED` if it names something of a tenant",
            self.operation.id
        );
        let mut call = world::call(
            &self.operation.method,
            &self.operation.path,
            &row.query,
            self.body(row).as_deref(),
            ids,
            process,
        );
        if let Some(bearer) = bearer {
            call = call.bearer(bearer);
        }
        if let Some(name) = name {
            call = call.header("x-request-id", name);
        }
        call.send(&self.world.server.address).await
    }
}

impl Row {
    fn public() -> Self {
        Self {
            public: true,
            query: String::new(),
            body: Body::None,
            expected: Vec::new(),
        }
    }
}

fn is_refusal(code: &Value) -> bool {
    code.as_str().is_some_and(|code| code.starts_with("R_AUTH_"))
}

/// The body without what differs between any two calls: the request's name, and the ids that were asked for.
fn words(answer: &Answer, asked: &[&String]) -> String {
    let mut body: Value = serde_json::from_slice(&answer.body).unwrap_or(Value::Null);
    if body.get("instance").is_some() {
        body["instance"] = Value::Null;
    }
    let text = body.to_string();
    let mut words = String::new();
    for part in text.split_inclusive(|c: char| !c.is_ascii_digit()) {
        let digits = part.trim_end_matches(|c: char| !c.is_ascii_digit());
        let is_asked = asked.iter().any(|id| *id == digits);
        words.push_str(if is_asked { "N" } else { digits });
        words.push_str(&part[digits.len()..]);
    }
    words
}

/// Pairs whose requests did not cost the same statements, word for word. Left out: who the caller is, which is looked up once for
/// many calls, and the note that its token was used.
fn unequal_work(world: &World, pairs: &[Pair]) -> Vec<String> {
    let mut statements: HashMap<String, BTreeMap<String, u32>> = HashMap::new();
    for line in world.server.log().lines() {
        let Ok(event) = serde_json::from_str::<Value>(line) else {
            continue;
        };
        let (Some(request), Some(summary)) =
            (event["span"]["request.id"].as_str(), event["summary"].as_str())
        else {
            continue;
        };
        let full = event["db.statement"].as_str().unwrap_or_default();
        if full.contains("t.sha256") || full.contains("last_used_at = ") {
            continue;
        }
        *statements
            .entry(request.to_owned())
            .or_default()
            .entry(format!("{summary} {full}"))
            .or_default() += 1;
    }
    assert!(!statements.is_empty(), "no statement was counted");
    let of = |name: &str| statements.get(name).cloned().unwrap_or_default();
    pairs
        .iter()
        .filter(|pair| of(&pair.foreign) != of(&pair.absent))
        .map(|pair| {
            format!(
                "{}: it costs other statements than what does not exist: {:?} against {:?}",
                pair.what,
                of(&pair.foreign),
                of(&pair.absent)
            )
        })
        .collect()
}
