//! The OpenAPI document as generators of clients read it: strictly.

use std::collections::BTreeSet;

use serde_json::Value;

fn document() -> Value {
    serde_json::from_str(&flamingock_server::http::openapi()).expect("the document is JSON")
}

/// Every value below this one, itself included, with its place.
fn walk<'a>(value: &'a Value, place: &str, found: &mut Vec<(String, &'a Value)>) {
    found.push((place.to_owned(), value));
    match value {
        Value::Object(fields) => {
            for (name, value) in fields {
                walk(
                    value,
                    &format!("{place}/{}", name.replace('~', "~0").replace('/', "~1")),
                    found,
                );
            }
        }
        Value::Array(items) => {
            for (at, value) in items.iter().enumerate() {
                walk(value, &format!("{place}/{at}"), found);
            }
        }
        _ => {}
    }
}

/// A generator leaves out the operation whose reference leads nowhere, with no more than a warning.
#[test]
fn every_reference_leads_somewhere() {
    let document = document();
    let mut all = Vec::new();
    walk(&document, "", &mut all);
    let mut references = 0;
    for (place, value) in all {
        let Some(reference) = value.get("$ref").and_then(Value::as_str) else {
            continue;
        };
        references += 1;
        let pointer = reference
            .strip_prefix('#')
            .unwrap_or_else(|| panic!("{place} refers to {reference}, which is not in the document"));
        assert!(
            document.pointer(pointer).is_some(),
            "{place} refers to {reference}, which is not there"
        );
    }
    assert!(
        references > 100,
        "the document has references, {references} of them"
    );
}

/// Each becomes a function's name in a generated client.
#[test]
fn every_operation_has_a_name_of_its_own() {
    let document = document();
    let mut names = BTreeSet::new();
    for (path, item) in document["paths"].as_object().expect("paths") {
        for (method, operation) in item.as_object().expect("operations") {
            let name = operation["operationId"]
                .as_str()
                .unwrap_or_else(|| panic!("{method} {path} has no operationId"));
            assert!(names.insert(name), "{name} is the name of two operations");
        }
    }
}
