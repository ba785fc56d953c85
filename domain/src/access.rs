//! What a credential reaches, and what its holder may hand on to others.

use std::fmt;

/// What a credential is trusted with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Role {
    /// Plans, locks and reports in its scope.
    Runner,
    /// Reads.
    Viewer,
    /// Reads, and decides what a person has to decide.
    Operator,
    /// Everything in an organisation.
    Admin,
    /// Everything.
    Root,
}

impl Role {
    pub const ALL: [Self; 5] = [
        Self::Runner,
        Self::Viewer,
        Self::Operator,
        Self::Admin,
        Self::Root,
    ];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Runner => "runner",
            Self::Viewer => "viewer",
            Self::Operator => "operator",
            Self::Admin => "admin",
            Self::Root => "root",
        }
    }

    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|role| role.as_str() == text)
    }

    /// Read the history and the plans of its scope.
    pub fn may_read(self) -> bool {
        match self {
            Self::Runner | Self::Viewer | Self::Operator | Self::Admin | Self::Root => true,
        }
    }

    /// Plan, lock and report. An operator's token, often on a laptop, does not.
    pub fn may_run(self) -> bool {
        matches!(self, Self::Runner | Self::Admin | Self::Root)
    }

    /// Resolve issues, release locks. A runner's token, which every application holds, does not.
    pub fn may_operate(self) -> bool {
        matches!(self, Self::Operator | Self::Admin | Self::Root)
    }

    /// Manage tenancy and tokens.
    pub fn may_administer(self) -> bool {
        matches!(self, Self::Admin | Self::Root)
    }

    /// Make credentials of another role.
    pub fn may_hand_on(self, role: Self) -> bool {
        match self {
            Self::Root => true,
            Self::Admin => role != Self::Root,
            Self::Runner | Self::Viewer | Self::Operator => false,
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What of the tenancy a credential reaches. `None` is all of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reach {
    pub organisation: Option<i64>,
    pub project: Option<i64>,
    pub environments: Option<Vec<i64>>,
    pub services: Option<Vec<i64>>,
}

/// Something of the tenancy, with what it lies in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    Organisation {
        id: i64,
    },
    Project {
        id: i64,
        organisation: i64,
    },
    Environment {
        id: i64,
        project: i64,
        organisation: i64,
    },
    Service {
        id: i64,
        project: i64,
        organisation: i64,
    },
}

/// What of a wish goes beyond what one has oneself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Excess {
    Role,
    Organisation,
    Project,
    Environments,
    Services,
    Lifetime,
}

impl Reach {
    /// The whole server.
    pub fn everything() -> Self {
        Self::default()
    }

    /// Whether the unit exists for this credential. What it does not see answers like what is not there.
    pub fn sees(&self, unit: Unit) -> bool {
        match unit {
            Unit::Organisation { id } => within(self.organisation, id),
            Unit::Project { id, organisation } => {
                within(self.organisation, organisation) && within(self.project, id)
            }
            Unit::Environment {
                id,
                project,
                organisation,
            } => {
                self.sees(Unit::Project {
                    id: project,
                    organisation,
                }) && listed(self.environments.as_deref(), id)
            }
            Unit::Service {
                id,
                project,
                organisation,
            } => {
                self.sees(Unit::Project {
                    id: project,
                    organisation,
                }) && listed(self.services.as_deref(), id)
            }
        }
    }

    /// Whether a change to the unit concerns nothing but what this credential reaches: an environment has every service of
    /// its project in it, a service is in every environment.
    pub fn holds(&self, unit: Unit) -> bool {
        let whole = match unit {
            Unit::Organisation { .. } => self.project.is_none() && self.is_unrestricted(),
            Unit::Project { .. } => self.is_unrestricted(),
            Unit::Environment { .. } => self.services.is_none(),
            Unit::Service { .. } => self.environments.is_none(),
        };
        whole && self.sees(unit)
    }

    /// Whether new environments of a project lie in it.
    pub fn holds_new_environments(&self, project: i64, organisation: i64) -> bool {
        self.environments.is_none()
            && self.sees(Unit::Project {
                id: project,
                organisation,
            })
    }

    /// Whether new services of a project lie in it.
    pub fn holds_new_services(&self, project: i64, organisation: i64) -> bool {
        self.services.is_none()
            && self.sees(Unit::Project {
                id: project,
                organisation,
            })
    }

    /// Whether a credential may give the unit another name. A name that is taken tells of what has it, so all that the name
    /// could collide with must be within reach: of an organisation that is the whole server.
    pub fn may_rename(&self, unit: Unit) -> bool {
        match unit {
            Unit::Organisation { .. } => *self == Self::everything(),
            Unit::Project { organisation, .. } => self.holds(Unit::Organisation { id: organisation }),
            Unit::Environment {
                project,
                organisation,
                ..
            } => self.holds_new_environments(project, organisation),
            Unit::Service {
                project,
                organisation,
                ..
            } => self.holds_new_services(project, organisation),
        }
    }

    /// Whether another reach goes no further than this one.
    pub fn contains(&self, other: &Self) -> bool {
        self.excess_of(other).is_none()
    }

    /// The first that is too much of another reach.
    fn excess_of(&self, other: &Self) -> Option<Excess> {
        if !part_of(self.organisation, other.organisation) {
            return Some(Excess::Organisation);
        }
        if !part_of(self.project, other.project) {
            return Some(Excess::Project);
        }
        if !sublist(self.environments.as_deref(), other.environments.as_deref()) {
            return Some(Excess::Environments);
        }
        if !sublist(self.services.as_deref(), other.services.as_deref()) {
            return Some(Excess::Services);
        }
        None
    }

    fn is_unrestricted(&self) -> bool {
        self.environments.is_none() && self.services.is_none()
    }
}

/// Whether the holder of a credential may make another one, or a new value for one: it may hand on what it has itself, and no
/// more. Says the first that is too much.
pub fn may_hand_on(role: Role, reach: &Reach, asked_role: Role, asked: &Reach) -> Result<(), Excess> {
    if !role.may_hand_on(asked_role) {
        return Err(Excess::Role);
    }
    reach.excess_of(asked).map_or(Ok(()), Err)
}

/// Whether what is handed on ends when its maker's credential ends, or before. Without an end it lives for ever.
pub fn may_live_until<T: Ord>(own: Option<T>, asked: Option<T>) -> Result<(), Excess> {
    match (own, asked) {
        (None, _) => Ok(()),
        (Some(own), Some(asked)) if asked <= own => Ok(()),
        (Some(_), _) => Err(Excess::Lifetime),
    }
}

fn within(limit: Option<i64>, id: i64) -> bool {
    limit.is_none_or(|limit| limit == id)
}

/// Without a list, everything is in it.
pub fn listed(list: Option<&[i64]>, id: i64) -> bool {
    list.is_none_or(|list| list.contains(&id))
}

fn part_of(limit: Option<i64>, asked: Option<i64>) -> bool {
    limit.is_none() || limit == asked
}

fn sublist(limit: Option<&[i64]>, asked: Option<&[i64]>) -> bool {
    match (limit, asked) {
        (None, _) => true,
        (Some(_), None) => false,
        (Some(limit), Some(asked)) => asked.iter().all(|id| limit.contains(id)),
    }
}

/// The four kinds of units.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum UnitKind {
    Organisation,
    Project,
    Environment,
    Service,
}

impl UnitKind {
    pub const ALL: [Self; 4] = [
        Self::Organisation,
        Self::Project,
        Self::Environment,
        Self::Service,
    ];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Organisation => "organisation",
            Self::Project => "project",
            Self::Environment => "environment",
            Self::Service => "service",
        }
    }
}

impl fmt::Display for UnitKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
