//! What a file would change, and what is to be said about the rest, in words.

use std::fmt;

use chrono::{DateTime, Utc};
use flamingock_domain::access::UnitKind;
use flamingock_domain::plan::policy::Policy;

use super::declaration::Owner;
use super::rules::mode_word;
use crate::app::auth::Role;

/// One change. Names, not ids: what it needs may be made by a step before it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BootstrapStep {
    CreateOrganisation {
        name: String,
    },
    CreateProject {
        organisation: String,
        name: String,
        self_register_services: bool,
    },
    UpdateProject {
        id: i64,
        organisation: String,
        name: String,
        self_register_services: bool,
    },
    CreateEnvironment {
        organisation: String,
        project: String,
        name: String,
        trust_absent_marks: bool,
    },
    UpdateEnvironment {
        id: i64,
        organisation: String,
        project: String,
        name: String,
        trust_absent_marks: bool,
    },
    CreateService {
        organisation: String,
        project: String,
        name: String,
    },
    SetPolicy {
        organisation: String,
        project: String,
        environment: String,
        policy: Policy,
    },
    StartFreeze(FreezeStep),
    /// Archives it, or takes it back.
    Archive {
        kind: UnitKind,
        id: i64,
        path: String,
        archived: bool,
    },
    CreateToken(TokenStep),
    /// Another value under the same name: the old one is revoked.
    RotateToken {
        old_id: i64,
        new: TokenStep,
    },
    UpdateToken {
        id: i64,
        terms: TokenStep,
    },
}

/// A time in which no work is granted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FreezeStep {
    pub organisation: String,
    pub project: String,
    pub environment: String,
    pub services: Option<Vec<String>>,
    pub starts_at: DateTime<Utc>,
    pub ends_at: Option<DateTime<Utc>>,
    pub reason: String,
}

/// A token as it shall be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenStep {
    pub owner: Owner,
    pub name: String,
    pub role: Role,
    pub sha256: [u8; 32],
    pub hint: String,
    pub environments: Option<Vec<String>>,
    pub services: Option<Vec<String>>,
    pub expires_at: Option<DateTime<Utc>>,
}

/// What stays as it is although somebody may think otherwise.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Note {
    /// The file uses a name that was left.
    Renamed {
        kind: UnitKind,
        declared: String,
        name: String,
    },
    /// It is archived, and the file does not say so.
    StaysArchived { kind: UnitKind, path: String },
    /// People revoked it.
    StaysRevoked { name: String, owner: Owner },
    /// People rotated it, and the file has the value from before.
    RotatedSince { name: String, owner: Owner },
    /// It is not in the file.
    Undeclared {
        kind: &'static str,
        path: String,
        is_archived: bool,
    },
    /// People ended it.
    FreezeEnded {
        path: String,
        reason: String,
        by: String,
    },
    /// Its time has passed, and it was never set.
    FreezeOver { path: String, reason: String },
}

impl Note {
    /// The file should be corrected. Else it is only good to know.
    pub fn is_warning(&self) -> bool {
        match self {
            Self::Renamed { .. }
            | Self::StaysArchived { .. }
            | Self::StaysRevoked { .. }
            | Self::RotatedSince { .. }
            | Self::FreezeEnded { .. } => true,
            Self::Undeclared { .. } | Self::FreezeOver { .. } => false,
        }
    }
}

impl fmt::Display for Note {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Renamed { kind, declared, name } => write!(
                f,
                "{kind} {declared} is called {name} now: it is the same one, and nothing is made; write the new name into the \
                 file"
            ),
            Self::StaysArchived { kind, path } => write!(
                f,
                "{kind} {path} is archived and stays so: say `archived = true` in the file, or `archived = false` to take it \
                 back"
            ),
            Self::StaysRevoked { name, owner } => write!(
                f,
                "token {name} of {owner} was revoked and stays so: take it out of the file, or give it a new value"
            ),
            Self::RotatedSince { name, owner } => write!(
                f,
                "token {name} of {owner} was rotated since: the file has the value from before; put the new one into it"
            ),
            Self::Undeclared {
                kind,
                path,
                is_archived,
            } => {
                let archived = if *is_archived { " (archived)" } else { "" };
                write!(
                    f,
                    "{kind} {path}{archived} is in the database and not in the file: it stays"
                )
            }
            Self::FreezeEnded { path, reason, by } => write!(
                f,
                "the freeze of {path} ({reason}) was ended by {by} and stays so: take it out of the file, or give it another \
                 reason"
            ),
            Self::FreezeOver { path, reason } => write!(
                f,
                "the freeze of {path} ({reason}) is over before it was ever set: nothing is done, it can be taken out of the \
                 file"
            ),
        }
    }
}

impl fmt::Display for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Server => f.write_str("the server"),
            Self::Organisation(organisation) => write!(f, "organisation {organisation}"),
            Self::Project(organisation, project) => write!(f, "project {organisation}/{project}"),
        }
    }
}

impl fmt::Display for BootstrapStep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::CreateOrganisation { name } => write!(f, "create organisation {name}"),
            Self::CreateProject {
                organisation,
                name,
                self_register_services,
            } => write!(
                f,
                "create project {organisation}/{name} (self_register_services = {self_register_services})"
            ),
            Self::UpdateProject {
                organisation,
                name,
                self_register_services,
                ..
            } => write!(
                f,
                "change project {organisation}/{name}: self_register_services = {self_register_services}"
            ),
            Self::CreateEnvironment {
                organisation,
                project,
                name,
                trust_absent_marks,
            } => write!(
                f,
                "create environment {organisation}/{project}/{name} (trust_absent_marks = {trust_absent_marks})"
            ),
            Self::UpdateEnvironment {
                organisation,
                project,
                name,
                trust_absent_marks,
                ..
            } => write!(
                f,
                "change environment {organisation}/{project}/{name}: trust_absent_marks = {trust_absent_marks}"
            ),
            Self::CreateService {
                organisation,
                project,
                name,
            } => {
                write!(f, "create service {organisation}/{project}/{name}")
            }
            Self::SetPolicy {
                organisation,
                project,
                environment,
                policy,
            } => write!(
                f,
                "set the policy of environment {organisation}/{project}/{environment}: checksum_mismatch = {}, out_of_order = \
                 {}, approval_required = {}",
                mode_word(policy.checksum_mismatch),
                mode_word(policy.out_of_order),
                policy.approval_required
            ),
            Self::StartFreeze(freeze) => write!(f, "freeze {freeze}"),
            Self::Archive {
                kind,
                path,
                archived: true,
                ..
            } => write!(
                f,
                "archive {kind} {path}: nothing new runs in it, all history stays"
            ),
            Self::Archive { kind, path, .. } => write!(f, "take {kind} {path} back from the archive"),
            Self::CreateToken(token) => write!(f, "create token {token}"),
            Self::RotateToken { new, .. } => {
                write!(f, "replace the value of token {new}; the old value is revoked")
            }
            Self::UpdateToken { terms, .. } => {
                write!(
                    f,
                    "change token {terms}; sessions that are open keep their terms until they end"
                )
            }
        }
    }
}

impl fmt::Display for FreezeStep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "environment {}/{}/{} from {}",
            self.organisation,
            self.project,
            self.environment,
            self.starts_at.format("%FT%TZ")
        )?;
        match self.ends_at {
            Some(at) => write!(f, " to {}", at.format("%FT%TZ"))?,
            None => f.write_str(" until a person ends it")?,
        }
        if let Some(services) = &self.services {
            write!(f, ", for {}", services.join(", "))?;
        }
        write!(f, ": {}", self.reason)
    }
}

impl fmt::Display for TokenStep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of {} (role {}", self.name, self.owner, self.role)?;
        for (kind, names) in [("environments", &self.environments), ("services", &self.services)] {
            if let Some(names) = names {
                write!(f, ", {kind} {}", names.join(", "))?;
            }
        }
        if let Some(at) = self.expires_at {
            write!(f, ", until {}", at.format("%FT%TZ"))?;
        }
        f.write_str(")")
    }
}
