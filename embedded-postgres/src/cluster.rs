//! The data directory: its layout, who holds it, whose it is, and `initdb`.
//!
//! ```text
//! DATA/
//!   lock                  held (flock) by the application that uses the directory; contains its process id
//!   18/                   the cluster of PostgreSQL 18; complete whenever it exists
//!   .init-18-4711/        a cluster in the making; renamed when done, removed when found
//!   postgres-18.log       the server's log
//!   relocated-to          only where the cluster had to go elsewhere: the path of that directory
//! ```

use std::{
    ffi::OsString,
    fs::{self, DirBuilder, File, OpenOptions, TryLockError},
    io::{self, Read, Seek, Write},
    os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt, chown, lchown},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use crate::{
    binaries::Binaries,
    error::{During, Error},
    process::{self, Privileges},
    wire,
};

/// The exclusive hold on a data directory; released when dropped, and by the kernel when the process ends.
#[derive(Debug)]
pub(crate) struct Hold {
    file: File,
}

impl Hold {
    /// Takes the hold, or says who has it.
    pub(crate) fn take(data_dir: &Path) -> Result<Self, Error> {
        let path = data_dir.join("lock");
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(&path)
            .map_err(|error| unusable(data_dir, &error))?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let mut holder = String::new();
                let _ = file.read_to_string(&mut holder);
                let holder = match holder.trim().parse::<u32>() {
                    Ok(pid) if pid == std::process::id() => format!("this process ({pid})"),
                    Ok(pid) => format!("process {pid}"),
                    Err(_) => "another process".to_owned(),
                };
                return Err(Error::InUse {
                    data_dir: data_dir.to_owned(),
                    holder,
                });
            }
            Err(TryLockError::Error(error)) => return Err(error).at("locking", &path),
        }
        let record = |file: &mut File| {
            file.set_len(0)?;
            file.rewind()?;
            writeln!(file, "{}", std::process::id())
        };
        record(&mut file).at("writing", &path)?;
        Ok(Hold { file })
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        let _ = self.file.set_len(0);
        // Explicitly: a child between fork and exec may still have a copy of the descriptor.
        let _ = self.file.unlock();
    }
}

/// Creates the data directory, readable by its owner alone, and returns its full path.
pub(crate) fn prepare_data_dir(data_dir: &Path) -> Result<PathBuf, Error> {
    // Only the last one is closed to others: the server's user may have to pass through the rest.
    if let Some(parent) = data_dir.parent() {
        fs::create_dir_all(parent).map_err(|error| unusable(data_dir, &error))?;
    }
    match DirBuilder::new().mode(0o700).create(data_dir) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists && data_dir.is_dir() => {}
        result => result.map_err(|error| unusable(data_dir, &error))?,
    }
    let data_dir = data_dir
        .canonicalize()
        .map_err(|error| unusable(data_dir, &error))?;
    if data_dir.join("PG_VERSION").exists() {
        return Err(Error::Directory {
            path: data_dir,
            reason:
                "it is itself the data directory of a PostgreSQL. Give a directory of its own; clusters are \
                     kept in subdirectories of it, one for each major version"
                    .to_owned(),
        });
    }
    Ok(data_dir)
}

fn unusable(path: &Path, error: &io::Error) -> Error {
    let hint = match error.kind() {
        io::ErrorKind::PermissionDenied => " (was it created by another user? Choose another data directory)",
        io::ErrorKind::StorageFull => " (make room, or choose a data directory on another disk)",
        _ => "",
    };
    Error::Directory {
        path: path.to_owned(),
        reason: format!("{error}{hint}"),
    }
}

/// The major versions of the clusters in a directory, the greatest first.
pub(crate) fn existing_majors(parent: &Path) -> Vec<u32> {
    let mut majors: Vec<u32> = fs::read_dir(parent)
        .into_iter()
        .flatten()
        .flatten()
        .filter(|entry| is_complete(&entry.path()))
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .collect();
    majors.sort_unstable_by(|a, b| b.cmp(a));
    majors
}

/// A cluster made here is complete whenever it exists; this tells it from what others may have left in its place.
fn is_complete(cluster: &Path) -> bool {
    cluster.join("PG_VERSION").is_file() && cluster.join("global/pg_control").is_file()
}

/// Refuses a cluster whose contents are of another major version than its name.
pub(crate) fn check_version(cluster: &Path, expected: u32) -> Result<(), Error> {
    let path = cluster.join("PG_VERSION");
    match fs::read_to_string(&path) {
        Ok(found) if found.trim() == expected.to_string() => Ok(()),
        Ok(found) => Err(Error::VersionMismatch {
            data_dir: cluster.to_owned(),
            expected,
            found: found.trim().to_owned(),
        }),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(unusable(cluster, &error)),
    }
}

/// Makes sure that there is a complete cluster at `cluster`, owned by the user that `privileges` lead to. With `sync`
/// a new one is on disk, not only in the system's memory, before this returns.
pub(crate) fn ensure(
    cluster: &Path,
    binaries: &Binaries,
    privileges: &Privileges,
    sync: bool,
    progress: &dyn Fn(&str),
) -> Result<(), Error> {
    remove_half_done(cluster, progress)?;
    check_version(cluster, binaries.major)?;
    if is_complete(cluster) {
        return own(cluster, privileges);
    }
    set_aside(cluster, progress)?;

    progress(&format!(
        "creating a database cluster in {} (initdb)",
        cluster.display()
    ));
    let name = format!("{}{}-{}", INIT_PREFIX, binaries.major, std::process::id());
    let unfinished = cluster.with_file_name(name);
    let made =
        make_dir_for(&unfinished, privileges).and_then(|()| initdb(&unfinished, binaries, privileges, sync));
    if let Err(error) = made {
        let _ = fs::remove_dir_all(&unfinished);
        return Err(error);
    }
    fs::rename(&unfinished, cluster).at("moving a new cluster to", cluster)?;
    if let Some(parent) = cluster.parent() {
        File::open(parent)
            .and_then(|parent| parent.sync_all())
            .at("writing", parent)?;
    }
    Ok(())
}

const INIT_PREFIX: &str = ".init-";

/// Removes what an `initdb` left that was killed in the middle. It may still be dying, and writing.
fn remove_half_done(cluster: &Path, progress: &dyn Fn(&str)) -> Result<(), Error> {
    const PATIENCE: Duration = Duration::from_secs(10);
    let Some(parent) = cluster.parent() else {
        return Ok(());
    };
    for entry in fs::read_dir(parent)
        .map_err(|error| unusable(parent, &error))?
        .flatten()
    {
        if !entry
            .file_name()
            .as_encoded_bytes()
            .starts_with(INIT_PREFIX.as_bytes())
        {
            continue;
        }
        let unfinished = entry.path();
        progress(&format!(
            "removing a half-made database cluster, {}",
            unfinished.display()
        ));
        let start = Instant::now();
        while let Err(error) = fs::remove_dir_all(&unfinished) {
            if error.kind() == io::ErrorKind::NotFound {
                break;
            }
            if start.elapsed() > PATIENCE {
                return Err(error).at("removing", &unfinished);
            }
            thread::sleep(Duration::from_millis(20));
        }
    }
    Ok(())
}

/// Something lies where the cluster should be, and is not a complete cluster. It is kept, but out of the way.
fn set_aside(cluster: &Path, progress: &dyn Fn(&str)) -> Result<(), Error> {
    match fs::remove_dir(cluster) {
        Ok(()) => return Ok(()), // it was empty
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(_) => {}
    }
    for number in 1.. {
        let mut name = cluster.file_name().map(OsString::from).unwrap_or_default();
        name.push(format!(".incomplete-{number}"));
        let aside = cluster.with_file_name(name);
        if fs::symlink_metadata(&aside).is_err() {
            progress(&format!(
                "{} is not a complete database cluster; it is moved to {}",
                cluster.display(),
                aside.display()
            ));
            fs::rename(cluster, &aside).at("moving an incomplete cluster to", &aside)?;
            break;
        }
    }
    Ok(())
}

/// Creates a directory only the server's user can enter, and gives it to that user.
pub(crate) fn make_dir_for(directory: &Path, privileges: &Privileges) -> Result<(), Error> {
    DirBuilder::new()
        .mode(0o700)
        .create(directory)
        .at("creating", directory)?;
    if let Privileges::SwitchUser { uid, gid } = *privileges {
        chown(directory, Some(uid), Some(gid)).at("changing the owner of", directory)?;
    }
    Ok(())
}

/// The user to whom the server's files belong on disk.
pub(crate) fn owner(privileges: &Privileges) -> (u32, u32) {
    match *privileges {
        Privileges::SwitchUser { uid, gid } => (uid, gid),
        Privileges::Direct | Privileges::Namespace { .. } => process::effective_ids(),
    }
}

/// Makes sure that an existing cluster belongs to the server's user: as root by giving it, else by refusing.
fn own(cluster: &Path, privileges: &Privileges) -> Result<(), Error> {
    let (uid, gid) = owner(privileges);
    let metadata = fs::metadata(cluster).map_err(|error| unusable(cluster, &error))?;
    if metadata.uid() == uid {
        return Ok(());
    }
    if process::effective_ids().0 != 0 {
        return Err(Error::Directory {
            path: cluster.to_owned(),
            reason: format!(
                "it belongs to user {}, this is user {uid}. Run as that user, or choose another data directory",
                metadata.uid()
            ),
        });
    }
    chown_tree(cluster, uid, gid).at("changing the owner of", cluster)
}

fn chown_tree(path: &Path, uid: u32, gid: u32) -> io::Result<()> {
    if fs::symlink_metadata(path)?.is_dir() {
        for entry in fs::read_dir(path)? {
            chown_tree(&entry?.path(), uid, gid)?;
        }
    }
    // The directory last: its owner is what says that this is done.
    lchown(path, Some(uid), Some(gid))
}

fn initdb(directory: &Path, binaries: &Binaries, privileges: &Privileges, sync: bool) -> Result<(), Error> {
    let run = |privileges: &Privileges| {
        let mut command = binaries.command("initdb");
        if !sync {
            command.arg("--no-sync");
        }
        command
            .arg("-D")
            .arg(directory)
            .args(initdb_arguments(binaries.major))
            .stdin(Stdio::null());
        process::confine(&mut command, privileges, &[])
            .and_then(|()| command.output())
            .at("running initdb in", &binaries.bin_dir)
    };
    let mut output = run(privileges)?;
    // A container may run as a user that the user database does not know, and `initdb` looks itself up there. In
    // a namespace it can be another user, where the kernel allows that.
    let is_nameless = !output.status.success() && is_unknown_user(&output.stderr);
    if is_nameless
        && *privileges == Privileges::Direct
        && let Some(known) = crate::privileges::namespace()
    {
        output = run(&known)?;
    }
    if output.status.success() {
        return Ok(());
    }
    let said = [output.stdout, output.stderr].concat();
    let mut said = String::from_utf8_lossy(&said).trim().to_owned();
    if is_nameless {
        said.push_str("\nThis user needs an entry in /etc/passwd; or set DATABASE_URL");
    }
    Err(Error::Initdb {
        data_dir: directory.to_owned(),
        output: format!("{said}\n({})", output.status),
    })
}

fn is_unknown_user(stderr: &[u8]) -> bool {
    String::from_utf8_lossy(stderr).contains("could not look up effective user ID")
}

/// Texts are compared by byte and stored as UTF-8 on every version, so that all sort alike.
fn initdb_arguments(major: u32) -> Vec<&'static str> {
    let mut arguments = vec![
        "-U",
        wire::USER,
        "-E",
        "UTF8",
        "--auth-local=trust", // the socket's directory lets nobody else in
        "--auth-host=reject",
        "--data-checksums",
        "--no-instructions",
        "--locale=C",
    ];
    if major >= 17 {
        arguments.extend(["--locale-provider=builtin", "--builtin-locale=C.UTF-8"]);
    }
    arguments
}

/// Where the cluster had to be put because the server's user cannot reach the data directory, if it was.
pub(crate) fn relocation(data_dir: &Path) -> Option<PathBuf> {
    let path = fs::read_to_string(data_dir.join(RELOCATED)).ok()?;
    let path = PathBuf::from(path.strip_suffix('\n').unwrap_or(&path));
    path.is_dir().then_some(path)
}

/// Makes a directory that every user can reach, for the clusters of `data_dir`, and notes it there.
///
/// Its name is new each time: who removes the data directory expects to start empty.
pub(crate) fn relocate(data_dir: &Path, key: &str) -> Result<PathBuf, Error> {
    let shared = Path::new("/var/lib/flamingock");
    DirBuilder::new()
        .recursive(true)
        .mode(0o755)
        .create(shared)
        .map_err(|error| unusable(shared, &error))?;
    let since_epoch = std::time::UNIX_EPOCH.elapsed().unwrap_or_default();
    let directory = shared.join(format!("postgres-{key}-{:x}", since_epoch.as_micros()));
    DirBuilder::new()
        .mode(0o711)
        .create(&directory)
        .map_err(|error| unusable(&directory, &error))?;
    let note = data_dir.join(RELOCATED);
    fs::write(&note, format!("{}\n", directory.display())).at("writing", &note)?;
    Ok(directory)
}

const RELOCATED: &str = "relocated-to";

/// Lets every user pass through a directory, without letting them list it.
pub(crate) fn make_passable(directory: &Path) -> Result<(), Error> {
    let metadata = fs::metadata(directory).map_err(|error| unusable(directory, &error))?;
    let mode = metadata.permissions().mode() | 0o111;
    fs::set_permissions(directory, fs::Permissions::from_mode(mode))
        .map_err(|error| unusable(directory, &error))
}

/// The server's log, opened for appending, and how long it is now. Past 8 MiB it is put aside first.
pub(crate) fn open_log(path: &Path) -> Result<(File, u64), Error> {
    const MAX_BYTES: u64 = 8 << 20;
    if fs::metadata(path).is_ok_and(|log| log.len() > MAX_BYTES) {
        let _ = fs::rename(path, path.with_extension("log.1"));
    }
    let log = OpenOptions::new()
        .create(true)
        .append(true)
        .mode(0o600)
        .open(path)
        .at("opening", path)?;
    let length = log.metadata().at("opening", path)?.len();
    Ok((log, length))
}

/// The end of a log, at most 4 KiB, beginning not before `since`.
pub(crate) fn log_since(path: &Path, since: u64) -> String {
    const MAX_BYTES: u64 = 4 << 10;
    let read = || -> io::Result<Vec<u8>> {
        let mut log = File::open(path)?;
        let length = log.metadata()?.len();
        log.seek(io::SeekFrom::Start(since.max(length.saturating_sub(MAX_BYTES))))?;
        let mut bytes = Vec::new();
        log.read_to_end(&mut bytes)?;
        Ok(bytes)
    };
    String::from_utf8_lossy(&read().unwrap_or_default())
        .trim()
        .to_owned()
}

/// The command that runs the server.
pub(crate) fn server_command(
    binaries: &Binaries,
    cluster: &Path,
    socket_dir: &Path,
    max_connections: u32,
    extra_settings: &[(String, String)],
) -> Command {
    let mut command = binaries.command("postgres");
    command
        .arg("-D")
        .arg(cluster)
        .arg("-k")
        .arg(socket_dir)
        .arg("-p")
        .arg(wire::PORT.to_string());
    let settings = [
        ("listen_addresses", ""),
        ("unix_socket_permissions", "0700"),
        ("max_connections", &max_connections.to_string()),
        ("shared_buffers", "32MB"),
        ("fsync", "on"),
        ("logging_collector", "off"),
        ("log_destination", "stderr"),
    ];
    let extra = extra_settings
        .iter()
        .map(|(name, value)| (name.as_str(), value.as_str()));
    for (name, value) in settings.into_iter().chain(extra) {
        command.arg("-c").arg(format!("{name}={value}"));
    }
    command
}
