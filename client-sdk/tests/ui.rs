//! What a mistake in `#[change(…)]` looks like to who made it: each `ui/*.rs` is compiled, and what the compiler says is
//! compared with the `.expected` beside it. `FLAMINGOCK_UI=write` writes these anew.
//!
//! The compiler is called on the library that this test itself was linked with. A project of its own for the cases, as
//! the usual tool makes one, would build all that the SDK depends on once more.

use std::{
    fmt::Write as _,
    path::{Path, PathBuf},
    process::Command,
    sync::{
        Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
};

use serde_json::Value;

#[test]
fn every_mistake_is_said_in_words_that_help() {
    let compiler = Compiler::find();
    let mut cases: Vec<PathBuf> = std::fs::read_dir(directory())
        .expect("the cases are there")
        .map(|entry| entry.expect("a readable directory").path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "rs"))
        .filter(|path| path.file_stem().is_some_and(|name| name != "works"))
        .collect();
    cases.sort();
    assert!(cases.len() > 30, "the cases are there");

    let (next, differences) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    thread::scope(|scope| {
        for _ in 0..thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(|| {
                while let Some(case) = cases.get(next.fetch_add(1, Ordering::Relaxed)) {
                    if let Some(difference) = compiler.check(case) {
                        differences.lock().expect("no check panics").push(difference);
                    }
                }
            });
        }
    });
    let mut differences = differences.into_inner().expect("no check panics");
    differences.sort();
    assert!(differences.is_empty(), "{}", differences.join("\n\n"));
}

fn directory() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/ui")
}

struct Compiler {
    /// Where the libraries of this build are.
    libraries: PathBuf,
    flamingock: PathBuf,
}

impl Compiler {
    /// Of the builds of the library that lie about, the newest with which what is right compiles.
    fn find() -> Self {
        let libraries = std::env::current_exe().expect("this test runs from a file");
        let libraries = libraries.parent().expect("in a directory").to_owned();
        let mut builds: Vec<_> = std::fs::read_dir(&libraries)
            .expect("readable")
            .filter_map(Result::ok)
            .filter(|entry| {
                let name = entry.file_name();
                let name = name.to_string_lossy();
                name.starts_with("libflamingock-") && name.ends_with(".rlib")
            })
            .collect();
        builds.sort_by_key(|entry| entry.metadata().and_then(|metadata| metadata.modified()).ok());
        let right = directory().join("works.rs");
        let mut complaints = String::new();
        for build in builds.iter().rev() {
            let compiler = Self {
                libraries: libraries.clone(),
                flamingock: build.path(),
            };
            let said = compiler.compile(&right);
            if said.is_empty() {
                return compiler;
            }
            write!(complaints, "\nwith {}:\n{said}", build.path().display()).expect("memory takes it");
        }
        panic!("{} does not compile{complaints}", right.display());
    }

    fn check(&self, case: &Path) -> Option<String> {
        let said = self.compile(case);
        let name = case.file_name().expect("a file").to_string_lossy();
        if said.is_empty() {
            return Some(format!("{name} compiles, and should not"));
        }
        let kept = case.with_extension("expected");
        if std::env::var_os("FLAMINGOCK_UI").is_some_and(|wish| wish == "write") {
            std::fs::write(&kept, said).expect("writable");
            return None;
        }
        let expected = std::fs::read_to_string(&kept)
            .unwrap_or_default()
            .replace("\r\n", "\n");
        (said != expected).then(|| format!("{name}\n--- expected\n{expected}--- said\n{said}"))
    }

    /// What the compiler says, without what depends on where things are.
    fn compile(&self, case: &Path) -> String {
        let name = case.file_name().expect("a file").to_string_lossy().into_owned();
        let output = std::env::temp_dir().join(format!("flamingock-ui-{}-{name}.rmeta", std::process::id()));
        let compiler = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
        let ran = Command::new(compiler)
            .current_dir(directory())
            .args([
                "--edition=2024",
                "--crate-type=lib",
                "--emit=metadata",
                "--error-format=json",
            ])
            .args(["--cap-lints=allow", "-L"])
            .arg(format!("dependency={}", self.libraries.display()))
            .arg("--extern")
            .arg(format!("flamingock={}", self.flamingock.display()))
            .arg("-o")
            .arg(&output)
            .arg(&name)
            .output()
            .expect("the compiler can be called");
        // Absent where nothing was compiled.
        let _ = std::fs::remove_file(&output);
        let said: String = String::from_utf8_lossy(&ran.stderr)
            .lines()
            .filter_map(|line| shown(&serde_json::from_str(line).ok()?, &name))
            .collect();
        assert!(
            ran.status.success() == said.is_empty(),
            "{name}: {}",
            String::from_utf8_lossy(&ran.stderr)
        );
        said
    }
}

/// An error, the places in the case that it points at, and the notes that belong to no place.
fn shown(diagnostic: &Value, case: &str) -> Option<String> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let message = text(&diagnostic["message"]);
    if diagnostic["level"] != "error" || message.starts_with("aborting due to") {
        return None;
    }
    let mut shown = String::from("error");
    if let Some(code) = diagnostic["code"]["code"].as_str() {
        write!(shown, "[{code}]").expect("memory takes it");
    }
    writeln!(shown, ": {message}").expect("memory takes it");
    let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
    let mut places: Vec<String> = list(&diagnostic["spans"])
        .iter()
        .filter(|span| span["file_name"] == case)
        .map(|span| {
            let line = &span["text"][0];
            let number = |name: &str| {
                let number = line[name]
                    .as_u64()
                    .and_then(|number| usize::try_from(number).ok());
                number.unwrap_or(1) - 1
            };
            let source: String = text(&line["text"])
                .chars()
                .skip(number("highlight_start"))
                .take((number("highlight_end") - number("highlight_start")).min(60))
                .collect();
            let label = span["label"].as_str().map(|label| format!(": {label}"));
            format!(
                "  {}:{} `{source}`{}\n",
                span["line_start"],
                span["column_start"],
                label.unwrap_or_default()
            )
        })
        .collect();
    places.dedup();
    shown.extend(places);
    for child in list(&diagnostic["children"]) {
        let said = text(&child["message"]);
        // What the SDK has besides, and where the compiler put a long name, are not what this is about.
        let is_beside = [
            "following other types implement",
            "long-type",
            "print the full type name",
        ]
        .iter()
        .any(|text| said.contains(text));
        if list(&child["spans"]).is_empty() && !is_beside {
            writeln!(shown, "  {}: {said}", text(&child["level"])).expect("memory takes it");
        }
    }
    Some(shown)
}
