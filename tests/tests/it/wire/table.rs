//! `docs/wire-compatibility.md` beside the contract's rules and the tests that there are.

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};

/// Every rule of the contract, by the name of its row.
fn rules() -> Vec<String> {
    let numbered = |section: &str, last: u32| -> Vec<String> {
        (1..=last).map(|number| format!("{section}{number}")).collect()
    };
    [
        numbered("1.", 15),
        numbered("§1.", 3),
        numbered("2.", 10),
        numbered("3.", 8),
        numbered("item ", 45),
        numbered("5.", 8),
        numbered("6.", 20),
    ]
    .concat()
}

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("the crate lies in the repository")
        .to_owned()
}

/// Names of functions in the tests' sources, each with the paths of the modules that have one.
fn functions() -> HashMap<String, Vec<PathBuf>> {
    let mut found: HashMap<String, Vec<PathBuf>> = HashMap::new();
    let mut open: Vec<PathBuf> = ["tests/tests", "server/tests", "domain/tests", "client-sdk/tests"]
        .map(|directory| repository().join(directory))
        .into();
    while let Some(path) = open.pop() {
        if path.is_dir() {
            let entries = std::fs::read_dir(&path).expect("a directory of the repository");
            open.extend(entries.flatten().map(|entry| entry.path()));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = std::fs::read_to_string(&path).expect("a source file");
            for line in text.lines() {
                let line = line.trim_start();
                let name = line
                    .strip_prefix("async fn ")
                    .or_else(|| line.strip_prefix("fn "));
                let name = name.and_then(|rest| rest.split(['(', '<', ' ']).next());
                if let Some(name) = name {
                    found.entry(name.to_owned()).or_default().push(path.clone());
                }
            }
        }
    }
    found
}

struct Row {
    rule: String,
    tests: Vec<String>,
    note: String,
}

/// Rows whose first cell is a rule. Tests are what stands in backticks in the third.
fn rows() -> Vec<Row> {
    let document = repository().join("docs/wire-compatibility.md");
    let text = std::fs::read_to_string(&document).expect("the document is there");
    text.lines()
        .filter_map(|line| {
            let cells: Vec<&str> = line.strip_prefix('|')?.split('|').map(str::trim).collect();
            let [rule, _, tests, note, ..] = cells.as_slice() else {
                return None;
            };
            let tests = tests.split('`').skip(1).step_by(2).map(str::to_owned).collect();
            Some(Row {
                rule: (*rule).to_owned(),
                tests,
                note: (*note).to_owned(),
            })
        })
        .filter(|row| {
            row.rule.starts_with(|c: char| c.is_ascii_digit() || c == '§') || row.rule.starts_with("item ")
        })
        .collect()
}

#[test]
fn every_rule_of_the_contract_has_exactly_one_row() {
    let listed: Vec<String> = rows().into_iter().map(|row| row.rule).collect();
    for rule in rules() {
        let count = listed.iter().filter(|row| **row == rule).count();
        assert_eq!(
            count, 1,
            "docs/wire-compatibility.md must have one row for {rule}"
        );
    }
    let known: HashSet<String> = rules().into_iter().collect();
    for rule in listed {
        assert!(
            known.contains(&rule),
            "docs/wire-compatibility.md has a row for {rule}, which is no rule"
        );
    }
}

#[test]
fn every_test_that_the_table_names_is_there_and_every_rule_has_one_or_says_who_holds_it() {
    let functions = functions();
    for Row { rule, tests, note } in rows() {
        let elsewhere = note.contains("interop tests");
        assert!(
            !tests.is_empty() || elsewhere,
            "{rule} has no test, and no note that says who holds it"
        );
        for test in tests {
            let mut path: Vec<&str> = test.split("::").collect();
            let name = path.pop().expect("a name");
            let files = functions
                .get(name)
                .unwrap_or_else(|| panic!("{rule}: there is no test {test}"));
            let is_there = files.iter().any(|file| {
                let file = file.with_extension("");
                path.iter()
                    .all(|part| file.components().any(|it| it.as_os_str() == *part))
            });
            assert!(
                is_there,
                "{rule}: {name} is not in {}: {files:?}",
                path.join("::")
            );
        }
    }
}

#[test]
fn every_test_that_is_named_after_a_rule_stands_in_the_table() {
    let listed: HashSet<String> = rows()
        .into_iter()
        .flat_map(|row| row.tests)
        .filter_map(|test| test.rsplit("::").next().map(str::to_owned))
        .collect();
    for (name, files) in functions() {
        let in_wire = files
            .iter()
            .any(|file| file.components().any(|part| part.as_os_str() == "wire"));
        if in_wire && name.starts_with("w_") {
            assert!(
                listed.contains(&name),
                "{name} is not in docs/wire-compatibility.md"
            );
        }
    }
}
