//! Answers beside what the contract says of them, field by field.

use serde_json::{Map, Value, json};

/// Fields that we add to the contract's answers; every client generation skips what it does not know.
const ADDED: [&str; 3] = ["reasons", "fence", "expiresAt"];

/// An answer whose ids are replaced, without what we add. What is optional in the contract has one form: a change that
/// is to be skipped is left out, and a flag that is false is written.
pub fn comparable(answer: &Value) -> Value {
    let mut answer = answer.clone();
    let object = answer.as_object_mut().expect("an object");
    without_additions(object);
    if let Some(lock) = object.get_mut("lock").and_then(Value::as_object_mut) {
        without_additions(lock);
        let owner = lock["owner"].as_str().expect("a text").to_owned();
        let id = lock["acquisitionId"].as_str().expect("a text");
        let unique = id.strip_prefix(&format!("{owner}-"));
        assert!(
            unique.is_some_and(|unique| unique.len() == 36),
            "{{owner}}-{{uuid}}: {id}"
        );
        lock.insert("acquisitionId".to_owned(), json!("{owner}-{uuid}"));
    }
    if let Some(id) = object.get("executionId") {
        assert!(
            id.as_i64().is_some_and(|id| id > 0),
            "a positive JSON integer: {id}"
        );
        object.insert("executionId".to_owned(), json!(0));
    }
    for stage in object
        .get_mut("stages")
        .and_then(Value::as_array_mut)
        .into_iter()
        .flatten()
    {
        let changes = stage["changes"].as_array_mut().expect("never null");
        changes.retain(|change| change["action"] != "SKIP");
    }
    answer
}

fn without_additions(object: &mut Map<String, Value>) {
    for name in ADDED {
        object.remove(name);
    }
}

/// `EXECUTE`, with the caller's lock of a minute.
pub fn execute(key: &str, owner: &str, stages: Value, result: Value, synchronized: bool) -> Value {
    let mut answer = json!({
        "action": "EXECUTE", "executionId": 0, "lock": lock(key, owner), "synchronizedMarks": synchronized
    });
    answer["stages"] = stages;
    answer["pipelineResult"]["stages"] = result;
    answer
}

pub fn proceed(result: Value, synchronized: bool) -> Value {
    let mut answer = json!({"action": "CONTINUE", "synchronizedMarks": synchronized});
    answer["pipelineResult"]["stages"] = result;
    answer
}

pub fn wait_for(key: &str, owner: &str) -> Value {
    json!({"action": "AWAIT", "lock": lock(key, owner), "synchronizedMarks": false})
}

pub fn abort(synchronized: bool) -> Value {
    json!({"action": "ABORT", "synchronizedMarks": synchronized})
}

pub fn lock(key: &str, owner: &str) -> Value {
    json!({"key": key, "owner": owner, "acquisitionId": "{owner}-{uuid}", "acquiredForMillis": 60_000})
}

/// A stage of `stages`.
pub fn offered(name: &str, order: i64, changes: &[(&str, &str)]) -> Value {
    let changes: Vec<Value> = changes
        .iter()
        .map(|(id, action)| json!({"id": id, "action": action}))
        .collect();
    json!({"name": name, "order": order, "changes": changes})
}

/// A stage of `pipelineResult`.
pub fn result(name: &str, verdict: &str, changes: &[(&str, &str)]) -> Value {
    let changes: Vec<Value> = changes
        .iter()
        .map(|(id, status)| json!({"id": id, "status": status}))
        .collect();
    json!({"name": name, "verdict": verdict, "changes": changes})
}
