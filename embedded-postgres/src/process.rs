//! The system calls: who to run as, how children are bound to this process, signals.
//!
//! The only file with `unsafe`. Each block is one call into the C library with arguments owned here.
#![expect(
    unsafe_code,
    reason = "std has no user namespaces, parent death signals, kill or waitid"
)]

use std::{
    ffi::CString,
    io, mem,
    os::unix::{ffi::OsStrExt, process::CommandExt},
    path::Path,
    process::Command,
    ptr,
};

/// As whom a child runs. PostgreSQL refuses to be root.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Privileges {
    /// As this process does.
    Direct,
    /// In a user namespace of its own, in which this process's user appears as another, ordinary one. On disk
    /// nothing changes: what the child writes belongs to this process's user.
    Namespace {
        /// The user the child believes to be. It must have an entry in the user database: `initdb` looks.
        uid: u32,
        /// The group the child believes to have.
        gid: u32,
    },
    /// As another user, by setuid; needs root.
    SwitchUser {
        /// The user.
        uid: u32,
        /// Its group.
        gid: u32,
    },
}

/// The signals that are sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Signal {
    /// SIGINT; to a postmaster: "fast" shutdown, that is, end all sessions and write a checkpoint.
    Interrupt,
    /// SIGQUIT; to a postmaster: "immediate" shutdown, that is, the next start has to recover.
    Quit,
    /// SIGKILL.
    Kill,
}

impl Signal {
    fn number(self) -> libc::c_int {
        match self {
            Signal::Interrupt => libc::SIGINT,
            Signal::Quit => libc::SIGQUIT,
            Signal::Kill => libc::SIGKILL,
        }
    }
}

/// The effective user and group of this process.
pub(crate) fn effective_ids() -> (u32, u32) {
    // SAFETY: both calls take nothing, cannot fail and touch no memory.
    unsafe { (libc::geteuid(), libc::getegid()) }
}

/// Sends a signal to one process.
pub(crate) fn send(pid: u32, signal: Signal) -> io::Result<()> {
    let pid = libc::pid_t::try_from(pid)
        .ok()
        .filter(|pid| *pid > 1)
        .ok_or(io::ErrorKind::InvalidInput)?;
    // SAFETY: two integers, no memory; `pid` is above 1, so it names one process and not a group or everything.
    check(unsafe { libc::kill(pid, signal.number()) })
}

/// Blocks until a child of this process has ended, and leaves it to be reaped: until then its id is not reused,
/// so that a signal sent meanwhile reaches nobody else.
pub(crate) fn wait_without_reaping(pid: u32) -> io::Result<()> {
    loop {
        // SAFETY: `siginfo_t` is plain data, for which all zeroes is a value.
        let mut info: libc::siginfo_t = unsafe { mem::zeroed() };
        // SAFETY: `info` lives across the call and is of the type the call fills.
        let answer = unsafe {
            libc::waitid(
                libc::P_PID,
                pid as libc::id_t,
                &raw mut info,
                libc::WEXITED | libc::WNOWAIT,
            )
        };
        match check(answer) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            done => return done,
        }
    }
}

/// What a child does between fork and exec. Built before the fork: nothing is allocated after it.
struct Preparation {
    /// For [`Privileges::Namespace`]: the lines for `uid_map` and `gid_map`.
    maps: Option<(Vec<u8>, Vec<u8>)>,
    /// Directories the child must be able to enter, as the user it has become.
    enter: Vec<CString>,
    /// The process that spawns it.
    parent: u32,
}

/// Sets up `command` to run with `privileges`, in a process group of its own (a Ctrl-C in the terminal reaches
/// the application alone, which then stops its server in its own time), and, on Linux, to be sent SIGINT when the
/// *thread* that spawns it ends. The spawn fails if the child cannot enter each of `enter`.
pub(crate) fn confine(command: &mut Command, privileges: &Privileges, enter: &[&Path]) -> io::Result<()> {
    command.process_group(0);
    let maps = match *privileges {
        Privileges::Direct => None,
        Privileges::SwitchUser { uid, gid } => {
            command.uid(uid).gid(gid); // done before `pre_exec`, and drops the supplementary groups of root
            None
        }
        Privileges::Namespace { uid, gid } => {
            let outer = effective_ids();
            Some((
                format!("{uid} {} 1\n", outer.0).into_bytes(),
                format!("{gid} {} 1\n", outer.1).into_bytes(),
            ))
        }
    };
    let enter = enter
        .iter()
        .map(|path| CString::new(path.as_os_str().as_bytes()))
        .collect::<Result<_, _>>()?;
    let preparation = Preparation {
        maps,
        enter,
        parent: std::process::id(),
    };
    // SAFETY: the closure makes system calls only, which are safe between fork and exec; all memory it reads was
    // allocated before.
    unsafe { command.pre_exec(move || preparation.run()) };
    Ok(())
}

impl Preparation {
    fn run(&self) -> io::Result<()> {
        if let Some((uid_map, gid_map)) = &self.maps {
            enter_user_namespace(uid_map, gid_map)?;
        }
        for directory in &self.enter {
            // SAFETY: a C string that lives across the call.
            check(unsafe { libc::access(directory.as_ptr(), libc::X_OK) })?;
        }
        // Last: a change of user clears it.
        die_with_parent(self.parent)
    }
}

#[cfg(target_os = "linux")]
fn enter_user_namespace(uid_map: &[u8], gid_map: &[u8]) -> io::Result<()> {
    // SAFETY: an integer, no memory; a forked child has one thread, as the call demands.
    check(unsafe { libc::unshare(libc::CLONE_NEWUSER) })?;
    // Without this the kernel lets only a privileged process write the map of groups.
    write_file(c"/proc/self/setgroups", b"deny")?;
    write_file(c"/proc/self/gid_map", gid_map)?;
    write_file(c"/proc/self/uid_map", uid_map)
}

#[cfg(not(target_os = "linux"))]
fn enter_user_namespace(_: &[u8], _: &[u8]) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}

#[cfg(target_os = "linux")]
fn write_file(path: &std::ffi::CStr, bytes: &[u8]) -> io::Result<()> {
    // SAFETY: a C string and a flag; the descriptor is closed below.
    let file = unsafe { libc::open(path.as_ptr(), libc::O_WRONLY | libc::O_CLOEXEC) };
    check(file)?;
    // SAFETY: an open descriptor and a buffer with its own length.
    let written = unsafe { libc::write(file, bytes.as_ptr().cast(), bytes.len()) };
    let result = if written < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(())
    };
    // SAFETY: the descriptor opened above, closed once.
    unsafe { libc::close(file) };
    result
}

#[cfg(target_os = "linux")]
fn die_with_parent(parent: u32) -> io::Result<()> {
    // SAFETY: integers only.
    check(unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGINT as libc::c_ulong, 0, 0, 0) })?;
    // SAFETY: takes nothing, cannot fail.
    let now = unsafe { libc::getppid() };
    // The parent may have died before the line above asked for the signal.
    if u32::try_from(now) == Ok(parent) {
        Ok(())
    } else {
        Err(io::ErrorKind::BrokenPipe.into())
    }
}

#[cfg(not(target_os = "linux"))]
#[expect(clippy::unnecessary_wraps, reason = "on Linux it can fail")]
fn die_with_parent(_: u32) -> io::Result<()> {
    Ok(())
}

/// Blocks SIGINT and SIGTERM in this thread and those it starts from now on. What is returned waits for one.
///
/// Call it first thing in `main`: a thread that already runs would still be interrupted.
pub(crate) fn catch_stop_signals() -> io::Result<impl FnOnce() + Send> {
    // SAFETY: `sigset_t` is plain data, filled by the next call.
    let mut set: libc::sigset_t = unsafe { mem::zeroed() };
    // SAFETY: `set` lives across all four calls; the signals are valid.
    unsafe {
        libc::sigemptyset(&raw mut set);
        libc::sigaddset(&raw mut set, libc::SIGINT);
        libc::sigaddset(&raw mut set, libc::SIGTERM);
    }
    // SAFETY: `set` was filled above; the old mask is not asked for.
    let error = unsafe { libc::pthread_sigmask(libc::SIG_BLOCK, &raw const set, ptr::null_mut()) };
    if error != 0 {
        return Err(io::Error::from_raw_os_error(error));
    }
    Ok(move || {
        let mut signal = 0;
        // SAFETY: both live across the call.
        while unsafe { libc::sigwait(&raw const set, &raw mut signal) } != 0 {}
    })
}

fn check(answer: libc::c_int) -> io::Result<()> {
    if answer < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(())
    }
}
