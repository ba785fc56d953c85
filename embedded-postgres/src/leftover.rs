//! Servers that outlived the application that started them.
//!
//! Whoever holds the data directory and finds processes of a server in it knows that their application is gone:
//! the server is on its way down, or about to be. It is stopped rather than adopted, because nobody can make it
//! die with a process it was not started by.

use std::{
    path::Path,
    thread,
    time::{Duration, Instant},
};

use crate::{
    error::Error,
    process::{self, Signal},
    wire,
};

const POLL: Duration = Duration::from_millis(20);

/// Waits for a left-over server to end; after a moment asks it to, then urges, then kills it.
pub(crate) fn clear(cluster: &Path, progress: &dyn Fn(&str)) -> Result<(), Error> {
    let Some(mut pid) = running_in(cluster).first().copied() else {
        return Ok(());
    };
    progress(&format!(
        "stopping a PostgreSQL left over by an earlier run (process {pid})"
    ));
    for (signal, patience) in [
        (Signal::Interrupt, Duration::from_secs(20)),
        (Signal::Quit, Duration::from_secs(10)),
        (Signal::Kill, Duration::from_secs(5)),
    ] {
        for pid in running_in(cluster) {
            let _ = process::send(pid, signal); // it may just have ended
        }
        let start = Instant::now();
        while start.elapsed() < patience {
            match running_in(cluster).first() {
                None => return Ok(()),
                Some(still) => pid = *still,
            }
            thread::sleep(POLL);
        }
    }
    Err(Error::LeftOver {
        data_dir: cluster.to_owned(),
        pid,
    })
}

/// Removes the lock files of a server that is certainly gone (call [`clear`] first) if the process they name is
/// somebody else by now. PostgreSQL removes them itself otherwise, but an id that is in use again, as in a
/// restarted container, makes it refuse to start.
pub(crate) fn remove_misleading_lock_files(cluster: &Path, socket_dir: &Path) {
    let socket_lock = format!("{}.lock", wire::socket_file());
    for path in [cluster.join("postmaster.pid"), socket_dir.join(socket_lock)] {
        if named_process(&path).is_some_and(|pid| imp::exists(pid) && !imp::is_server_of(pid, cluster)) {
            let _ = std::fs::remove_file(path);
        }
    }
}

fn named_process(lock_file: &Path) -> Option<u32> {
    std::fs::read_to_string(lock_file)
        .ok()?
        .lines()
        .next()?
        .trim()
        .parse()
        .ok()
}

use imp::running_in;

/// Linux: every process of a server has the cluster as its current directory, so all can be found, also the
/// sessions that outlive a killed postmaster for a moment.
#[cfg(target_os = "linux")]
mod imp {
    use std::{fs, os::unix::fs::MetadataExt, path::Path};

    pub(super) fn running_in(cluster: &Path) -> Vec<u32> {
        let mut pids: Vec<u32> = fs::read_dir("/proc")
            .into_iter()
            .flatten()
            .flatten()
            .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
            .filter(|pid| is_server_of(*pid, cluster))
            .collect();
        // The postmaster first: it ends its sessions itself.
        let postmaster = super::named_process(&cluster.join("postmaster.pid"));
        pids.sort_by_key(|pid| Some(*pid) != postmaster);
        if pids.first().copied() == postmaster && postmaster.is_some() {
            pids.truncate(1);
        }
        pids
    }

    pub(super) fn is_server_of(pid: u32, cluster: &Path) -> bool {
        let process = Path::new("/proc").join(pid.to_string());
        let is_postgres =
            fs::read_to_string(process.join("comm")).is_ok_and(|name| name.trim() == "postgres");
        let place = |path: &Path| fs::metadata(path).map(|it| (it.dev(), it.ino())).ok();
        is_postgres && place(&process.join("cwd")).is_some_and(|cwd| Some(cwd) == place(cluster))
    }

    pub(super) fn exists(pid: u32) -> bool {
        Path::new("/proc").join(pid.to_string()).exists()
    }
}

/// Elsewhere: the process that `postmaster.pid` names, if it is a PostgreSQL. Which cluster it serves cannot be
/// seen, so nothing is removed on the strength of this.
#[cfg(not(target_os = "linux"))]
mod imp {
    use std::{path::Path, process::Command};

    pub(super) fn running_in(cluster: &Path) -> Vec<u32> {
        let pid = super::named_process(&cluster.join("postmaster.pid"));
        pid.filter(|pid| is_server_of(*pid, cluster))
            .into_iter()
            .collect()
    }

    pub(super) fn is_server_of(pid: u32, _: &Path) -> bool {
        let output = Command::new("ps")
            .args(["-p", &pid.to_string(), "-o", "comm="])
            .output();
        output.is_ok_and(|output| {
            String::from_utf8_lossy(&output.stdout)
                .trim()
                .ends_with("postgres")
        })
    }

    pub(super) fn exists(_: u32) -> bool {
        false
    }
}
