//! The private directory of the server's socket. Its mode, 0700, is the whole of the access control.

use std::{
    env, fs, io,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

use sha2::{Digest, Sha256};

use crate::{
    cluster,
    error::{During, Error},
    process::Privileges,
    wire,
};

/// What the kernel allows for the path of a socket, without the final zero, on Linux; macOS has 103.
const MAX_PATH_BYTES: usize = if cfg!(target_os = "linux") { 107 } else { 103 };

/// A short name for a directory: 16 hexadecimal digits.
pub(crate) fn key(directory: &Path) -> String {
    hex(&Sha256::digest(directory.as_os_str().as_encoded_bytes())[..8])
}

/// Lower-case hexadecimal digits.
pub(crate) fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::new(), |mut hex, byte| {
        let _ = write!(hex, "{byte:02x}"); // writing to a string cannot fail
        hex
    })
}

/// Creates the directory, or checks the one that is there.
pub(crate) fn prepare(key: &str, privileges: &Privileges) -> Result<PathBuf, Error> {
    let (uid, _) = cluster::owner(privileges);
    let runtime_dir = env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from);
    let directory = runtime_dir
        .filter(|directory| is_private(directory, uid))
        .map(|directory| directory.join(format!("flamingock-pg-{key}")))
        .filter(|directory| is_suitable(directory))
        .unwrap_or_else(|| PathBuf::from(format!("/tmp/flamingock-pg-{uid}-{key}")));

    if let Err(Error::Io { source, .. }) = cluster::make_dir_for(&directory, privileges) {
        // In /tmp anybody could have been there first.
        if source.kind() != io::ErrorKind::AlreadyExists {
            return Err(source).at("creating, for the socket,", &directory);
        }
        if !is_private(&directory, uid) {
            return Err(Error::Directory {
                path: directory,
                reason: format!("it exists, but is not a directory of user {uid} with mode 0700; remove it"),
            });
        }
    }
    Ok(directory)
}

fn is_private(directory: &Path, uid: u32) -> bool {
    fs::symlink_metadata(directory)
        .is_ok_and(|it| it.is_dir() && it.uid() == uid && it.mode() & 0o777 == 0o700)
}

/// Short enough for a socket, absolute, and without characters that need quoting in a list of directories.
fn is_suitable(directory: &Path) -> bool {
    let plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"/._-".contains(byte);
    let bytes = directory.as_os_str().as_encoded_bytes();
    directory.is_absolute()
        && bytes.iter().all(plain)
        && bytes.len() + 1 + wire::socket_file().len() <= MAX_PATH_BYTES
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_deep_or_odd_directory_is_not_taken_for_the_socket() {
        assert!(is_suitable(Path::new(
            "/run/user/1000/flamingock-pg-0123456789abcdef"
        )));
        assert!(!is_suitable(&Path::new("/run").join("x".repeat(100))));
        assert!(!is_suitable(Path::new("/run/a,b")));
        assert!(!is_suitable(Path::new("run/user")));
    }

    #[test]
    fn keys_differ_by_directory_and_are_short() {
        assert_eq!(key(Path::new("/a")).len(), 16);
        assert_ne!(key(Path::new("/a")), key(Path::new("/b")));
    }
}
