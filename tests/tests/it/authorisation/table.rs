//! The checked-in expectations: `tests/authorisation.tsv`.

use std::collections::BTreeMap;

use serde_json::Value;

/// Who calls, in the order of the table's columns.
pub const CALLERS: [&str; 11] = [
    "session",
    "runner",
    "viewer",
    "operator",
    "elsewhere",
    "project-admin",
    "admin",
    "root",
    "admin-session",
    "narrow",
    "environment-admin",
];

/// One operation.
#[derive(Clone, Debug)]
pub struct Row {
    /// Nobody needs a token for it.
    pub public: bool,
    /// With its question mark, or empty.
    pub query: String,
    pub body: Body,
    /// In the order of [`CALLERS`]: `2xx`, `403`, `2xx|409`.
    pub expected: Vec<String>,
}

#[derive(Clone, Debug)]
pub enum Body {
    None,
    /// The one of the API's description.
    Example,
    Text(String),
}

/// By operation id.
pub fn read() -> BTreeMap<String, Row> {
    let mut rows = BTreeMap::new();
    for line in include_str!("../../../authorisation.tsv")
        .lines()
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
    {
        let cells: Vec<&str> = line.split('\t').map(str::trim).collect();
        let row = match cells.as_slice() {
            [_, "public"] => Row {
                public: true,
                query: String::new(),
                body: Body::None,
                expected: Vec::new(),
            },
            [_, query, body, expected @ ..] if expected.len() == CALLERS.len() => Row {
                public: false,
                query: if *query == "-" {
                    String::new()
                } else {
                    (*query).to_owned()
                },
                body: match *body {
                    "-" => Body::None,
                    "example" => Body::Example,
                    text => Body::Text(text.to_owned()),
                },
                expected: expected.iter().map(|cell| (*cell).to_owned()).collect(),
            },
            _ => panic!(
                "authorisation.tsv: expected {} cells, tabs between them: {line:?}",
                CALLERS.len() + 3
            ),
        };
        assert!(
            row.query.is_empty() || row.query.starts_with('?'),
            "{}: a query begins with `?`",
            cells[0]
        );
        assert!(
            rows.insert(cells[0].to_owned(), row).is_none(),
            "{} has two rows",
            cells[0]
        );
    }
    rows
}

/// A row as it would have to look for what was seen.
pub fn line(operation: &str, row: &Row, seen: &[u16]) -> String {
    let query = if row.query.is_empty() { "-" } else { &row.query };
    let body = match &row.body {
        Body::None => "-",
        Body::Example => "example",
        Body::Text(text) => text,
    };
    let statuses: Vec<String> = seen
        .iter()
        .map(|status| match status {
            200..=299 => "2xx".to_owned(),
            other => other.to_string(),
        })
        .collect();
    format!("{operation}\t{query}\t{body}\t{}", statuses.join("\t"))
}

pub fn matches(cell: &str, status: u16) -> bool {
    cell.split('|').any(|pattern| match pattern {
        "2xx" => (200..300).contains(&status),
        exact => exact == status.to_string(),
    })
}

/// One operation as the server describes it.
#[derive(Clone, Debug)]
pub struct Operation {
    pub id: String,
    pub method: String,
    pub path: String,
    pub public: bool,
    pub example: Option<String>,
    pub has_body: bool,
}

pub fn operations(document: &Value) -> Vec<Operation> {
    let mut found = Vec::new();
    for (path, item) in document["paths"].as_object().expect("paths") {
        for (method, operation) in item.as_object().expect("operations") {
            let content = &operation["requestBody"]["content"]["application/json"];
            found.push(Operation {
                id: operation["operationId"].as_str().expect("an id").to_owned(),
                method: method.to_uppercase(),
                path: path.clone(),
                public: operation["security"].is_null(),
                example: content.get("example").map(Value::to_string),
                has_body: !content.is_null(),
            });
        }
    }
    found
}

/// The names of the placeholders in a text, each once.
pub fn placeholders(text: &str) -> Vec<String> {
    let mut names: Vec<String> = text
        .split('{')
        .skip(1)
        .filter_map(|rest| rest.split_once('}'))
        .map(|(name, _)| name.to_owned())
        .filter(|name| !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric()))
        .collect();
    names.sort();
    names.dedup();
    names
}
