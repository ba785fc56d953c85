//! As whom to run PostgreSQL, which refuses to be root.

use std::{
    fs,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use crate::{
    binaries::Binaries,
    cluster,
    error::Error,
    process::{self, Privileges},
};

/// An entry of the user database.
#[derive(Debug, PartialEq, Eq)]
struct User {
    name: String,
    uid: u32,
    gid: u32,
}

fn users() -> Vec<User> {
    parse_users(&fs::read_to_string("/etc/passwd").unwrap_or_default())
}

fn parse_users(passwd: &str) -> Vec<User> {
    let user = |line: &str| {
        let mut fields = line.split(':');
        let name = fields.next()?.to_owned();
        let uid = fields.nth(1)?.parse().ok()?;
        let gid = fields.next()?.parse().ok()?;
        Some(User { name, uid, gid })
    };
    passwd.lines().filter_map(user).collect()
}

/// A user namespace in which this process's user is an ordinary one that has a name.
pub(crate) fn namespace() -> Option<Privileges> {
    if !cfg!(target_os = "linux") {
        return None;
    }
    let users = users();
    let named = |name: &str| users.iter().find(|user| user.name == name && user.uid != 0);
    let user = named("postgres").or_else(|| users.iter().find(|user| user.uid != 0))?;
    let namespace = Privileges::Namespace {
        uid: user.uid,
        gid: user.gid.max(1),
    };
    works(&namespace, Command::new("/bin/sh").args(["-c", ":"]), &[])
        .is_ok()
        .then_some(namespace)
}

/// Runs a harmless command with `privileges`.
fn works(privileges: &Privileges, command: &mut Command, enter: &[&Path]) -> Result<(), String> {
    command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    let status = process::confine(command, privileges, enter)
        .and_then(|()| command.status())
        .map_err(|error| error.to_string())?;
    if status.success() {
        Ok(())
    } else {
        Err(status.to_string())
    }
}

/// The decision: as whom, and with the clusters where.
#[derive(Debug)]
pub(crate) struct Decision {
    pub(crate) privileges: Privileges,
    /// The directory that holds the clusters: the data directory, or what stands in for it.
    pub(crate) parent: PathBuf,
}

/// Decides for a data directory. `key` is its short unique name.
pub(crate) fn decide(
    data_dir: &Path,
    key: &str,
    binaries: &Binaries,
    progress: &dyn Fn(&str),
) -> Result<Decision, Error> {
    if process::effective_ids().0 != 0 {
        return Ok(Decision {
            privileges: Privileges::Direct,
            parent: data_dir.to_owned(),
        });
    }
    let mut parent = cluster::relocation(data_dir).unwrap_or_else(|| data_dir.to_owned());
    let postgres_runs = |privileges: &Privileges, enter: &[&Path]| {
        works(privileges, binaries.command("postgres").arg("--version"), enter)
    };
    let mut refusals = Vec::new();

    // A cluster of an ordinary user stays theirs, also when root passes by.
    let existing = fs::metadata(parent.join(binaries.major.to_string()))
        .ok()
        .filter(|it| it.uid() != 0);
    let as_owner = existing.map(|it| Privileges::SwitchUser {
        uid: it.uid(),
        gid: it.gid(),
    });
    let users = users();
    let named = |name: &str| users.iter().find(|user| user.name == name && user.uid != 0);
    let other = named("postgres").or_else(|| named("nobody"));
    let as_other = other.map(|user| Privileges::SwitchUser {
        uid: user.uid,
        gid: user.gid,
    });

    let candidates: Vec<Privileges> = as_owner.into_iter().chain(namespace()).chain(as_other).collect();
    for privileges in &candidates {
        if matches!(privileges, Privileges::SwitchUser { .. }) {
            cluster::make_passable(&parent)?;
        }
        match postgres_runs(privileges, &[&parent]) {
            Ok(()) => {
                return Ok(Decision {
                    privileges: privileges.clone(),
                    parent,
                });
            }
            Err(reason) => refusals.push(format!(
                "{} in {}: {reason}",
                describe(privileges),
                parent.display()
            )),
        }
    }
    // Not where the data should be, then: somewhere that everybody can reach. But data that is there already is
    // not silently replaced by an empty cluster elsewhere.
    if !cluster::existing_majors(&parent).is_empty() {
        return Err(Error::Privileges {
            reason: refusals.join("; "),
        });
    }
    for privileges in candidates {
        match postgres_runs(&privileges, &[]) {
            Ok(()) => {
                parent = cluster::relocate(data_dir, key)?;
                progress(&format!(
                    "PostgreSQL runs as {} here, who cannot reach {}; the data is kept in {}",
                    describe(&privileges),
                    data_dir.display(),
                    parent.display()
                ));
                return Ok(Decision { privileges, parent });
            }
            Err(reason) => refusals.push(format!("{}: {reason}", describe(&privileges))),
        }
    }
    if refusals.is_empty() {
        refusals.push("there is no user `postgres` or `nobody`, and no user namespaces".to_owned());
    }
    Err(Error::Privileges {
        reason: refusals.join("; "),
    })
}

fn describe(privileges: &Privileges) -> String {
    match privileges {
        Privileges::Direct => "this user".to_owned(),
        Privileges::Namespace { .. } => "this user in a namespace of its own".to_owned(),
        Privileges::SwitchUser { uid, .. } => format!("user {uid}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_user_database_is_read_and_odd_lines_are_passed_over() {
        let users =
            parse_users("root:x:0:0:root:/root:/bin/sh\n\n+::::::\npostgres:x:101:104::/:/bin/false\n");
        let names: Vec<_> = users
            .iter()
            .map(|user| (user.name.as_str(), user.uid, user.gid))
            .collect();
        assert_eq!(names, [("root", 0, 0), ("postgres", 101, 104)]);
    }
}
