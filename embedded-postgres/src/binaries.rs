//! Where PostgreSQL's programs are: `PG_BIN`, the installed ones, the cache of obtained ones.

use std::{
    collections::HashSet,
    env,
    ffi::OsString,
    fmt, fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use crate::{error::Error, obtain};

/// The major versions this crate and its users are tested on.
pub(crate) const SUPPORTED: std::ops::RangeInclusive<u32> = 15..=18;

/// How to say that to people.
pub(crate) fn supported_for_people() -> String {
    format!("{} to {}", SUPPORTED.start(), SUPPORTED.end())
}

/// A PostgreSQL that can be run: a directory with `postgres` and `initdb` of a supported version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Binaries {
    /// The directory of `postgres` and `initdb`.
    pub bin_dir: PathBuf,
    /// The version in full, for example `18.6`.
    pub version: String,
    /// The major version, for example `18`.
    pub major: u32,
}

impl Binaries {
    /// Looks at one directory: are both programs there, and of a supported version?
    pub(crate) fn at(bin_dir: &Path) -> Result<Self, Rejection> {
        if !["postgres", "initdb"]
            .iter()
            .all(|program| bin_dir.join(program).is_file())
        {
            return Err(Rejection::Absent);
        }
        let mut binaries = Binaries {
            bin_dir: bin_dir.to_owned(),
            version: String::new(),
            major: 0,
        };
        let output = binaries
            .command("postgres")
            .arg("--version")
            .stdin(Stdio::null())
            .output()
            .map_err(|error| Rejection::Broken(error.to_string()))?;
        let answer = String::from_utf8_lossy(&output.stdout);
        let Some((version, major)) = parse_version(&answer).filter(|_| output.status.success()) else {
            let complaint = String::from_utf8_lossy(&output.stderr);
            return Err(Rejection::Broken(
                format!("{} {}", answer.trim(), complaint.trim())
                    .trim()
                    .to_owned(),
            ));
        };
        if !SUPPORTED.contains(&major) {
            return Err(Rejection::Unsupported(version));
        }
        (binaries.version, binaries.major) = (version, major);
        Ok(binaries)
    }

    /// A command for one of the programs, in a fixed environment: no `PG…` variable of the caller, so that none
    /// of them redirects it; English messages; UTC; its own libraries first; the root as current directory.
    pub(crate) fn command(&self, program: &str) -> Command {
        let mut command = Command::new(self.bin_dir.join(program));
        for (name, _) in env::vars_os() {
            if name.as_encoded_bytes().starts_with(b"PG") {
                command.env_remove(name);
            }
        }
        command.env("LC_ALL", "C").env("TZ", "UTC").current_dir("/");
        if let Some(libraries) = self.own_libraries() {
            let variable = if cfg!(target_os = "macos") {
                "DYLD_LIBRARY_PATH"
            } else {
                "LD_LIBRARY_PATH"
            };
            let inherited = env::var_os(variable).unwrap_or_default();
            let path = [libraries]
                .into_iter()
                .chain(env::split_paths(&inherited).filter(|it| it.is_absolute()));
            if let Ok(path) = env::join_paths(path) {
                command.env(variable, path);
            }
        }
        command
    }

    /// `../lib`, if it holds a client library: then this PostgreSQL was packed with its own.
    fn own_libraries(&self) -> Option<PathBuf> {
        let lib = self.bin_dir.parent()?.join("lib");
        let is_libpq = |entry: fs::DirEntry| entry.file_name().as_encoded_bytes().starts_with(b"libpq.");
        let packed = fs::read_dir(&lib).ok()?.flatten().any(is_libpq);
        // Not for the system's own directories: what else lies there would come before its proper place.
        let of_system = ["/lib", "/usr/lib", "/usr/local/lib"]
            .iter()
            .any(|dir| lib == Path::new(dir));
        (packed && !of_system).then_some(lib)
    }
}

/// Why a directory is not taken.
#[derive(Debug)]
pub(crate) enum Rejection {
    /// One of the programs is not there.
    Absent,
    /// `postgres --version` did not work; what it said.
    Broken(String),
    /// The version is outside [`SUPPORTED`].
    Unsupported(String),
}

impl fmt::Display for Rejection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Rejection::Absent => f.write_str("`postgres` and `initdb` are not both there"),
            Rejection::Broken(said) => write!(f, "`postgres --version` does not work: {said}"),
            Rejection::Unsupported(version) => {
                write!(
                    f,
                    "its version is {version}, supported are {}",
                    supported_for_people()
                )
            }
        }
    }
}

/// Where to look. Read from the environment once, so that the search itself can be tested.
#[derive(Debug, Clone)]
pub(crate) struct Search {
    /// `PG_BIN`: the only place, if set.
    pub(crate) pg_bin: Option<PathBuf>,
    /// The directories of `PATH`, then the usual places, newest version first; empty with
    /// `FLAMINGOCK_PG_SEARCH=none`.
    pub(crate) installed: Vec<PathBuf>,
    /// Whether installed ones are looked for at all.
    pub(crate) look_for_installed: bool,
    /// The directories that may hold obtained packages.
    pub(crate) caches: Vec<PathBuf>,
}

/// What a search came to.
pub(crate) enum Found {
    /// The first one that fits.
    Yes(Binaries),
    /// None; what was seen on the way, one line each.
    No(Vec<String>),
}

impl Search {
    /// `data_dir`: it may hold obtained packages, too.
    pub(crate) fn from_env(data_dir: Option<&Path>) -> Self {
        let set = |name: &str| env::var_os(name).filter(|value| !value.is_empty());
        let look_for_installed = set("FLAMINGOCK_PG_SEARCH").is_none_or(|value| value != "none");
        Search {
            pg_bin: set("PG_BIN").map(PathBuf::from),
            installed: if look_for_installed {
                installed(set("PATH"))
            } else {
                Vec::new()
            },
            look_for_installed,
            caches: obtain::caches(data_dir),
        }
    }

    /// The same search after something was installed, also where looking for installed ones is switched off.
    pub(crate) fn again(&self) -> Self {
        Search {
            installed: installed(env::var_os("PATH")),
            look_for_installed: true,
            ..self.clone()
        }
    }

    /// The first PostgreSQL that fits. With `major`, only that version fits: there is data of it.
    pub(crate) fn find(&self, major: Option<u32>) -> Result<Found, Error> {
        if let Some(path) = &self.pg_bin {
            return explicit(path).map(Found::Yes);
        }
        let mut seen = Vec::new();
        let mut looked_at = HashSet::new();
        let cached = self.caches.iter().flat_map(|cache| obtain::cached(cache));
        for directory in self.installed.iter().cloned().chain(cached) {
            // `/bin` is often `/usr/bin`.
            if !looked_at.insert(directory.canonicalize().unwrap_or_else(|_| directory.clone())) {
                continue;
            }
            match Binaries::at(&directory) {
                Ok(binaries) if major.is_none_or(|major| major == binaries.major) => {
                    return Ok(Found::Yes(binaries));
                }
                Ok(other) => seen.push(format!("{}: PostgreSQL {}", directory.display(), other.version)),
                Err(Rejection::Absent) => {}
                Err(reason) => seen.push(format!("{}: {reason}", directory.display())),
            }
        }
        if !self.look_for_installed {
            seen.push("FLAMINGOCK_PG_SEARCH=none: installed PostgreSQLs are not looked for".to_owned());
        }
        Ok(Found::No(seen))
    }
}

fn explicit(path: &Path) -> Result<Binaries, Error> {
    // The directory that holds `bin` is an easy mistake, and not ambiguous.
    let bin_dir = if path.join("bin/postgres").is_file() {
        path.join("bin")
    } else {
        path.to_owned()
    };
    let bin_dir = std::path::absolute(&bin_dir).unwrap_or(bin_dir);
    Binaries::at(&bin_dir).map_err(|reason| Error::PgBin {
        path: path.to_owned(),
        reason: reason.to_string(),
    })
}

/// `PATH`, then each packager's layout.
fn installed(path: Option<OsString>) -> Vec<PathBuf> {
    let mut directories: Vec<PathBuf> = env::split_paths(&path.unwrap_or_default())
        .filter(|directory| directory.is_absolute())
        .collect();
    for (parent, prefix, suffix) in [
        ("/usr/lib/postgresql", "", "bin"),                       // Debian, Ubuntu
        ("/usr", "pgsql-", "bin"),                                // the PostgreSQL project's RPMs
        ("/usr/lib", "postgresql", "bin"),                        // openSUSE
        ("/usr/libexec", "postgresql", ""),                       // Alpine
        ("/opt/homebrew/opt", "postgresql@", "bin"),              // Homebrew on Apple silicon
        ("/usr/local/opt", "postgresql@", "bin"),                 // Homebrew on Intel
        ("/home/linuxbrew/.linuxbrew/opt", "postgresql@", "bin"), // Homebrew on Linux
        ("/Applications/Postgres.app/Contents/Versions", "", "bin"),
        ("/Library/PostgreSQL", "", "bin"),
    ] {
        directories.extend(
            versioned(Path::new(parent), prefix)
                .into_iter()
                .map(|directory| directory.join(suffix)),
        );
    }
    directories
}

/// The subdirectories named `prefix` and a number, the greatest number first.
fn versioned(parent: &Path, prefix: &str) -> Vec<PathBuf> {
    let mut versions: Vec<(u32, PathBuf)> = fs::read_dir(parent)
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| {
            let number = entry.file_name().to_str()?.strip_prefix(prefix)?.parse().ok()?;
            Some((number, entry.path()))
        })
        .collect();
    versions.sort_by(|(a, _), (b, _)| b.cmp(a));
    versions.into_iter().map(|(_, directory)| directory).collect()
}

/// `postgres (PostgreSQL) 15.14 (Debian 15.14-0+deb12u1)` is 15.14, of major version 15.
fn parse_version(answer: &str) -> Option<(String, u32)> {
    let version = answer.split_once("(PostgreSQL)")?.1.split_whitespace().next()?;
    let digits = version
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(version.len());
    let major = version.get(..digits)?.parse().ok()?;
    Some((version.to_owned(), major))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_read_as_distributions_write_them() {
        let read = |answer| parse_version(answer);
        assert_eq!(
            read("postgres (PostgreSQL) 15.14 (Debian 15.14-0+deb12u1)\n"),
            Some(("15.14".to_owned(), 15))
        );
        assert_eq!(
            read("postgres (PostgreSQL) 18.6\n"),
            Some(("18.6".to_owned(), 18))
        );
        assert_eq!(
            read("postgres (PostgreSQL) 19beta1\n"),
            Some(("19beta1".to_owned(), 19))
        );
        assert_eq!(read("something else\n"), None);
    }

    #[test]
    fn an_explicit_directory_without_postgres_is_an_error_and_not_a_reason_to_look_elsewhere() {
        let search = Search {
            pg_bin: Some("/nonexistent".into()),
            installed: installed(None),
            look_for_installed: true,
            caches: Vec::new(),
        };
        let Err(error) = search.find(None) else {
            panic!("found something")
        };
        assert!(matches!(error, Error::PgBin { .. }), "{error}");
        assert!(
            error
                .to_string()
                .contains("`postgres` and `initdb` are not both there"),
            "{error}"
        );
    }
}
