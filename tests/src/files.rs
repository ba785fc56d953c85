//! Where things are: the programs under test, and a directory for what a test program leaves.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

/// Build profile's directory: a test program lies in `deps` below it, the programs in it.
pub fn profile_dir() -> PathBuf {
    let test = std::env::current_exe().expect("a process knows its program");
    let dir = test.parent().expect("a program lies in a directory");
    if dir.ends_with("deps") {
        dir.parent().expect("`deps` lies in a directory").to_owned()
    } else {
        dir.to_owned()
    }
}

/// The server: `FLAMINGOCK_SERVER_BIN`, or the one that was built beside the test.
pub fn server_program() -> PathBuf {
    match std::env::var_os("FLAMINGOCK_SERVER_BIN") {
        Some(path) => found(PathBuf::from(path)),
        None => found(profile_dir().join("flamingock-server")),
    }
}

/// The command line.
pub fn command_line_program() -> PathBuf {
    found(profile_dir().join("flamingock"))
}

/// The application.
pub fn runner_program() -> PathBuf {
    found(profile_dir().join("flamingock-test-runner"))
}

fn found(path: PathBuf) -> PathBuf {
    assert!(
        path.is_file(),
        "{} is not there. Build it with `cargo build --workspace --bins` in the same profile and target directory, or \
         run everything with `cargo test --workspace`.",
        path.display()
    );
    path
}

/// Where the scripted night is written down. It stays.
pub fn night_transcript() -> PathBuf {
    profile_dir().join("tmp").join("night.txt")
}

/// A directory of this test program; those of programs that have ended are removed.
pub fn scratch() -> &'static Path {
    static SCRATCH: OnceLock<PathBuf> = OnceLock::new();
    SCRATCH.get_or_init(|| {
        let home = profile_dir().join("tmp").join("flamingock-tests");
        for entry in std::fs::read_dir(&home).into_iter().flatten().flatten() {
            let pid = entry
                .file_name()
                .to_str()
                .and_then(|name| name.parse::<u32>().ok());
            if pid.is_some_and(|pid| !crate::process::is_alive(pid)) {
                let _ = std::fs::remove_dir_all(entry.path());
            }
        }
        let own = home.join(std::process::id().to_string());
        std::fs::create_dir_all(&own).expect("the build directory can be written to");
        own
    })
}

/// A name that nothing else in this test program has.
pub fn unique(what: &str) -> String {
    static NEXT: AtomicU32 = AtomicU32::new(1);
    format!("{what}-{}", NEXT.fetch_add(1, Ordering::Relaxed))
}

/// Differs when a file in one of these places does, or the text.
pub fn digest(places: &[&Path], text: &str) -> String {
    let mut files = Vec::new();
    for place in places {
        collect(place, &mut files);
    }
    files.sort();
    let mut hasher = DefaultHasher::new();
    text.hash(&mut hasher);
    for file in files {
        (&file, std::fs::read(&file).unwrap_or_default()).hash(&mut hasher);
    }
    format!("{:016x}", hasher.finish())
}

fn collect(place: &Path, into: &mut Vec<PathBuf>) {
    if !place.is_dir() {
        return into.push(place.to_owned());
    }
    for entry in std::fs::read_dir(place).into_iter().flatten().flatten() {
        collect(&entry.path(), into);
    }
}
