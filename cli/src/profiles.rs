//! Profiles: where to and as whom, under a name. One file, `$XDG_CONFIG_HOME/flamingock/profiles.toml`, that only its
//! owner may read: there are tokens in it.

use std::collections::BTreeMap;
use std::fs::{self, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::failure::Failure;
use crate::near;

pub const DEFAULT: &str = "default";
const LONGEST_NAME: usize = 64;
/// A token file is one line.
const LONGEST_TOKEN_FILE: u64 = 4_096;

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Profiles {
    /// Used when none is named.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub current: Option<String>,
    #[serde(default)]
    pub profiles: BTreeMap<String, Profile>,
}

#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Profile {
    pub server: String,
    pub token: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub organisation: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub project: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub environment: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service: Option<String>,
}

impl std::fmt::Debug for Profile {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Profile")
            .field("server", &self.server)
            .finish_non_exhaustive()
    }
}

impl Profiles {
    /// As stored; empty if nothing was.
    pub fn load() -> Result<Self, Failure> {
        let path = path()?;
        let text = match read_private(&path, u64::MAX) {
            Ok(text) => text,
            Err(Unread::Absent) => return Ok(Self::default()),
            Err(Unread::Refused(failure)) => return Err(failure),
        };
        toml::from_str(&text).map_err(|error| {
            // Its own message quotes the line, and with it perhaps a token.
            Failure::failed(format!(
                "{} cannot be understood: {}",
                path.display(),
                error.message()
            ))
            .hint("mend it, or remove it and `flamingock login` again")
        })
    }

    /// In one step: a reader sees the old file or the new one.
    pub fn store(&self) -> Result<PathBuf, Failure> {
        let path = path()?;
        let text = toml::to_string(self)
            .map_err(|error| Failure::failed(format!("the profiles cannot be written: {error}")))?;
        let failed =
            |error: io::Error| Failure::failed(format!("{} cannot be written: {error}", path.display()));
        let folder = path.parent().unwrap_or(Path::new("."));
        create_private_folder(folder).map_err(failed)?;
        let fresh = folder.join(format!(".profiles.{}.toml", std::process::id()));
        write_private(&fresh, &text)
            .and_then(|()| fs::rename(&fresh, &path))
            .map_err(|error| {
                let _ = fs::remove_file(&fresh);
                failed(error)
            })?;
        Ok(path)
    }

    pub fn get(&self, name: &str) -> Result<&Profile, Failure> {
        self.profiles.get(name).ok_or_else(|| {
            let known: Vec<&str> = self.profiles.keys().map(String::as_str).collect();
            let failure = Failure::usage(format!("there is no profile {name}"));
            if known.is_empty() {
                failure.hint("`flamingock login` makes one")
            } else {
                let near = near::hint(name, known.iter().copied());
                failure.hint(near.unwrap_or_else(|| format!("there are: {}", known.join(", "))))
            }
        })
    }
}

pub fn check_name(name: &str) -> Result<(), Failure> {
    let fine = (1..=LONGEST_NAME).contains(&name.len())
        && name
            .chars()
            .all(|character| character.is_ascii_alphanumeric() || "-_.".contains(character));
    if fine {
        Ok(())
    } else {
        Err(Failure::usage(format!(
            "a profile's name has 1 to {LONGEST_NAME} letters, digits, `-`, `_` and `.`"
        )))
    }
}

/// The token in a file that only its owner may read.
pub fn token_file(path: &Path) -> Result<String, Failure> {
    let text = read_private(path, LONGEST_TOKEN_FILE).map_err(|unread| match unread {
        Unread::Absent => Failure::usage(format!("there is no token file {}", path.display())),
        Unread::Refused(failure) => failure,
    })?;
    let token = text.trim();
    if token.is_empty() || token.contains(char::is_whitespace) {
        return Err(Failure::usage(format!(
            "{} must hold one token and nothing else",
            path.display()
        )));
    }
    Ok(token.to_owned())
}

fn path() -> Result<PathBuf, Failure> {
    let absolute = |name: &str| {
        std::env::var_os(name)
            .map(PathBuf::from)
            .filter(|path| path.is_absolute())
    };
    absolute("XDG_CONFIG_HOME")
        .or_else(|| absolute("HOME").map(|home| home.join(".config")))
        .map(|config| config.join("flamingock").join("profiles.toml"))
        .ok_or_else(|| {
            Failure::failed("neither XDG_CONFIG_HOME nor HOME names a folder for profiles")
                .hint("use --server and FLAMINGOCK_TOKEN or --token-file instead of a profile")
        })
}

enum Unread {
    Absent,
    Refused(Failure),
}

fn read_private(path: &Path, longest: u64) -> Result<String, Unread> {
    let refused = |error: io::Error| {
        Unread::Refused(Failure::failed(format!(
            "{} cannot be read: {error}",
            path.display()
        )))
    };
    let file = match fs::File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(Unread::Absent),
        Err(error) => return Err(refused(error)),
    };
    // Of the open file, so that it cannot be exchanged in between.
    let metadata = file.metadata().map_err(refused)?;
    if !metadata.is_file() {
        return Err(Unread::Refused(Failure::usage(format!(
            "{} is not a file",
            path.display()
        ))));
    }
    check_private(path, &metadata).map_err(Unread::Refused)?;
    if metadata.len() > longest {
        return Err(Unread::Refused(Failure::usage(format!(
            "{} is too long for a token file",
            path.display()
        ))));
    }
    let mut text = String::new();
    { file }.read_to_string(&mut text).map_err(refused)?;
    Ok(text)
}

#[cfg(unix)]
fn check_private(path: &Path, metadata: &fs::Metadata) -> Result<(), Failure> {
    use std::os::unix::fs::PermissionsExt as _;
    let mode = metadata.permissions().mode() & 0o777;
    // None of the six bits for the group and for others is set.
    if mode.trailing_zeros() >= 6 {
        return Ok(());
    }
    let path = path.display();
    Err(Failure::failed(format!(
        "{path} holds a token and others may read or write it (mode {mode:03o})"
    ))
    .hint(format!(
        "chmod 600 {path}; and rotate the token if others use this machine"
    )))
}

#[cfg(not(unix))]
fn check_private(_: &Path, _: &fs::Metadata) -> Result<(), Failure> {
    Ok(())
}

#[cfg(unix)]
fn create_private_folder(folder: &Path) -> io::Result<()> {
    use std::os::unix::fs::DirBuilderExt as _;
    fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)
}

#[cfg(not(unix))]
fn create_private_folder(folder: &Path) -> io::Result<()> {
    fs::create_dir_all(folder)
}

fn write_private(path: &Path, text: &str) -> io::Result<()> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    {
        use std::os::unix::fs::OpenOptionsExt as _;
        options.mode(0o600);
    }
    let mut file = options.open(path)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()
}
