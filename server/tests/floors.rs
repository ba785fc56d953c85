//! The floors of the house: arrows only point down. Inside one crate the compiler does not keep them apart, so this does.

use std::fs;
use std::path::{Path, PathBuf};

/// Floor, and what no `use` line or path inside it may name.
const RULES: &[(&str, &[&str])] = &[
    (
        "store",
        &[
            "flamingock_api_types",
            "axum",
            "crate::app",
            "crate::http",
            "crate::import",
            "crate::jobs",
            "crate::cli",
        ],
    ),
    (
        "app",
        &[
            "flamingock_api_types",
            "axum",
            "crate::http",
            "crate::import",
            "crate::jobs",
            "crate::cli",
        ],
    ),
    (
        "http",
        &["crate::store", "crate::import", "crate::jobs", "crate::cli"],
    ),
    (
        "jobs",
        &["crate::store", "crate::import", "crate::http", "crate::cli"],
    ),
    (
        "import",
        &[
            "flamingock_api_types",
            "axum",
            "crate::store",
            "crate::http",
            "crate::jobs",
            "crate::cli",
        ],
    ),
];

fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).expect("the folder is there") {
        let path = entry.expect("it can be listed").path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

#[test]
fn no_floor_imports_a_higher_one() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut broken = Vec::new();
    let mut read = 0;
    for (floor, forbidden) in RULES {
        let mut files = Vec::new();
        sources(&root.join(floor), &mut files);
        for file in files {
            read += 1;
            let text = fs::read_to_string(&file).expect("it can be read");
            let code = text
                .lines()
                .enumerate()
                .filter(|(_, line)| !line.trim_start().starts_with("//"));
            for (number, line) in code {
                for name in forbidden.iter().filter(|name| line.contains(**name)) {
                    broken.push(format!("{}:{}: {floor} names {name}", file.display(), number + 1));
                }
            }
        }
    }
    assert!(read > 20, "only {read} files were read: the folders have moved");
    assert_eq!(broken, Vec::<String>::new());
}

#[test]
fn what_does_no_io_depends_on_nothing_that_does() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    for (member, forbidden) in [
        (
            "domain",
            ["tokio", "sqlx", "axum", "serde_json", "api-types"].as_slice(),
        ),
        (
            "api-types",
            ["tokio", "sqlx", "axum", "flamingock-domain", "reqwest"].as_slice(),
        ),
        (
            "client-sdk",
            ["flamingock-domain", "flamingock-server"].as_slice(),
        ),
    ] {
        let manifest =
            fs::read_to_string(root.join(member).join("Cargo.toml")).expect("the manifest is there");
        let dependencies = manifest.split("[dev-dependencies]").next().unwrap_or_default();
        for name in forbidden {
            assert!(
                !dependencies.lines().any(|line| line.starts_with(name)),
                "{member} depends on {name}"
            );
        }
    }
}
