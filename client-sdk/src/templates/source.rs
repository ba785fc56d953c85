//! Where change files come from: a directory read at start, or one compiled in.

use std::{
    borrow::Cow,
    fs, io,
    path::{Path, PathBuf},
};

use crate::stage::Stage;

/// Endings of change files. The rest of a directory is none of ours: notes, Rust files, what editors leave.
const ENDINGS: [&str; 3] = ["yaml", "yml", "sql"];
/// A file of more than that is data; it belongs elsewhere.
const LONGEST_FILE: u64 = 16 << 20;

/// A directory compiled into the program by [`embed_dir!`](crate::embed_dir).
#[derive(Clone, Copy, Debug)]
pub struct EmbeddedDir {
    path: &'static str,
    files: &'static [(&'static str, &'static str)],
}

impl EmbeddedDir {
    /// A directory of the program's own, as pairs of name and contents. Usually [`embed_dir!`](crate::embed_dir) writes
    /// this.
    pub const fn new(path: &'static str, files: &'static [(&'static str, &'static str)]) -> Self {
        Self { path, files }
    }
}

/// Where a stage takes change files from.
#[derive(Clone, Debug)]
pub(crate) enum Source {
    Directory(PathBuf),
    Embedded(EmbeddedDir),
}

/// A change file as found.
#[derive(Debug)]
pub(super) struct File {
    /// For people: with its directory.
    pub(super) path: String,
    pub(super) name: String,
    pub(super) text: Cow<'static, str>,
}

/// A file, or the whole source, that could not be read.
pub(super) struct Unreadable {
    pub(super) path: String,
    pub(super) why: String,
}

impl Source {
    /// The change files, by name, and what could not be read.
    pub(super) fn files(&self) -> (Vec<File>, Vec<Unreadable>) {
        match self {
            Self::Embedded(directory) => {
                let files = directory.files.iter().filter(|(name, _)| is_change_file(name));
                let mut files: Vec<_> = files
                    .map(|(name, text)| File {
                        path: format!("{}/{name}", directory.path),
                        name: (*name).to_owned(),
                        text: Cow::Borrowed(*text),
                    })
                    .collect();
                files.sort_by(|a, b| a.name.cmp(&b.name));
                (files, Vec::new())
            }
            Self::Directory(path) => match change_files(path) {
                Ok(paths) => read_all(&paths),
                Err(error) => (Vec::new(), vec![unreadable(path, &error)]),
            },
        }
    }
}

fn unreadable(path: &Path, error: &io::Error) -> Unreadable {
    Unreadable {
        path: path.display().to_string(),
        why: format!("cannot be read: {error}"),
    }
}

fn is_change_file(name: &str) -> bool {
    !name.starts_with('.')
        && name
            .rsplit_once('.')
            .is_some_and(|(_, ending)| ENDINGS.iter().any(|known| ending.eq_ignore_ascii_case(known)))
}

/// Not those of directories below: a stage is one directory.
fn change_files(directory: &Path) -> io::Result<Vec<PathBuf>> {
    let mut paths = Vec::new();
    for entry in fs::read_dir(directory)? {
        let path = entry?.path();
        let named = path
            .file_name()
            .is_some_and(|name| is_change_file(&name.to_string_lossy()));
        // By what it points at: directories of configuration maps are full of links.
        if named && path.is_file() {
            paths.push(path);
        }
    }
    paths.sort();
    Ok(paths)
}

fn read_all(paths: &[PathBuf]) -> (Vec<File>, Vec<Unreadable>) {
    let (mut files, mut faults) = (Vec::new(), Vec::new());
    for path in paths {
        match read(path) {
            Ok(file) => files.push(file),
            Err(error) => faults.push(unreadable(path, &error)),
        }
    }
    (files, faults)
}

fn read(path: &Path) -> io::Result<File> {
    let length = fs::metadata(path)?.len();
    if length > LONGEST_FILE {
        let limit = LONGEST_FILE >> 20;
        return Err(io::Error::other(format!(
            "it has {length} bytes, and a change file may have {limit} MiB"
        )));
    }
    let text = String::from_utf8(fs::read(path)?).map_err(|_| io::Error::other("it is not UTF-8"))?;
    Ok(File {
        path: path.display().to_string(),
        name: path
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned(),
        text: Cow::Owned(text),
    })
}

/// The stages of a directory of change files, for programs that have no other: the files of the directory itself are
/// one stage, named as the directory, and each directory in it that has change files is one, by name.
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let directory = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/changes");
/// use flamingock::{Flamingock, templates};
///
/// let mut builder = Flamingock::from_env();
/// for stage in templates::stages(directory)? {
///     builder = builder.stage(stage);
/// }
/// # drop(builder);
/// # Ok(())
/// # }
/// ```
///
/// # Errors
///
/// The directory cannot be read, or has no change files. What is wrong with the files is said by
/// [`Builder::build`](crate::Builder::build).
pub fn stages(directory: impl AsRef<Path>) -> io::Result<Vec<Stage>> {
    let directory = directory.as_ref();
    let mut directories = Vec::new();
    for entry in fs::read_dir(directory)? {
        let path = entry?.path();
        let hidden = path
            .file_name()
            .is_some_and(|name| name.to_string_lossy().starts_with('.'));
        if path.is_dir() && !hidden {
            directories.push(path);
        }
    }
    directories.sort();
    // Of `.` only the canonical path has a name.
    let own = directory.canonicalize()?;
    let mut stages = Vec::new();
    for (path, named) in std::iter::once((directory, own.as_path()))
        .chain(directories.iter().map(|path| (path.as_path(), path.as_path())))
    {
        if !change_files(path)?.is_empty() {
            let name = named
                .file_name()
                .unwrap_or_default()
                .to_string_lossy()
                .into_owned();
            stages.push(Stage::from_dir(name, path));
        }
    }
    if stages.is_empty() {
        return Err(io::Error::new(
            io::ErrorKind::NotFound,
            format!(
                "there is no change file in {}: they are named as `_0001__create_orders.yaml` or `.sql`",
                directory.display()
            ),
        ));
    }
    Ok(stages)
}

/// Order and the rest of `_ORDER__name.ending`; the first `__` parts them.
pub(super) fn order_of(name: &str) -> Option<&str> {
    let stem = name.rsplit_once('.').map_or(name, |(stem, _)| stem);
    let rest = stem.strip_prefix('_')?;
    // An order of at least one character: `___x` is none.
    let first = rest.chars().next()?.len_utf8();
    let end = first + rest[first..].find("__")?;
    (end + 2 < rest.len()).then(|| &rest[..end])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_has_an_order_or_not() {
        for (name, order) in [
            ("_0001__create.yaml", Some("0001")),
            ("_20250801_01__a__b.yml", Some("20250801_01")),
            ("_V1_2_3__x.sql", Some("V1_2_3")),
            ("_é__x.sql", Some("é")),
            ("0001__create.yaml", None),
            ("_0001_create.yaml", None),
            ("_0001__.yaml", None),
            ("___x.yaml", None),
            ("_.yaml", None),
            ("", None),
        ] {
            assert_eq!(order_of(name), order, "{name}");
        }
    }

    #[test]
    fn change_files_are_told_by_their_ending() {
        for name in ["_1__a.yaml", "a.YML", "a.Sql"] {
            assert!(is_change_file(name), "{name}");
        }
        for name in [".a.yaml", "a.yaml~", "a.rs", "yaml", "a.yaml.bak"] {
            assert!(!is_change_file(name), "{name}");
        }
    }
}
