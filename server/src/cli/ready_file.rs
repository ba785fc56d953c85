//! For programs that start the server: a JSON file that appears when it serves, and goes when it stops.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::failure::Failure;

pub(super) struct ReadyFile {
    path: Option<PathBuf>,
}

impl ReadyFile {
    /// One that a killed server left behind would be a lie.
    pub(super) fn new(path: Option<PathBuf>) -> Result<Self, Failure> {
        let file = Self { path };
        if let Some(path) = &file.path
            && let Err(error) = fs::remove_file(path)
            && error.kind() != std::io::ErrorKind::NotFound
        {
            return Err(Failure::new(format!("cannot remove {}", path.display())).because(error));
        }
        Ok(file)
    }

    pub(super) fn write(&self, content: &Value) -> Result<(), Failure> {
        let Some(path) = &self.path else { return Ok(()) };
        write_private(path, &format!("{content:#}\n"))
    }
}

impl Drop for ReadyFile {
    fn drop(&mut self) {
        if let Some(path) = &self.path {
            let _ = fs::remove_file(path);
        }
    }
}

/// Whole or not at all, and for this user's eyes only: it may hold tokens.
pub(super) fn write_private(path: &Path, text: &str) -> Result<(), Failure> {
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{}.new", std::process::id()));
    let new = PathBuf::from(name);
    let written = fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&new)
        .and_then(|mut file| file.write_all(text.as_bytes()))
        .and_then(|()| fs::rename(&new, path));
    written.map_err(|error| {
        let _ = fs::remove_file(&new);
        Failure::new(format!("cannot write {}", path.display())).because(error)
    })
}
