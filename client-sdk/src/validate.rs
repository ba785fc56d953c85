//! What can be known to be wrong before anything runs. All of it is reported at once.

use std::{collections::HashSet, fmt};

use crate::{
    change::Recovery,
    context::{Dependencies, Requirement, RequirementKind},
    stage::{LoadedChange, Stage, StageKind},
    target::Target,
};

mod depends;

/// The application cannot be built. Says everything that is wrong, not only the first.
pub struct BuildError {
    problems: Vec<Problem>,
}

impl BuildError {
    /// Everything that is wrong.
    pub fn problems(&self) -> &[Problem] {
        &self.problems
    }
}

impl fmt::Display for BuildError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "the pipeline cannot run as it is, {} found:",
            count(self.problems.len(), "problem")
        )?;
        for problem in &self.problems {
            write!(f, "\n  - {problem}")?;
        }
        Ok(())
    }
}

/// Written for people as well, because `main` prints errors this way.
impl fmt::Debug for BuildError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl std::error::Error for BuildError {}

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Problem {
    /// Something that every run needs was not given.
    #[error("{name} is missing: call `.{method}(…)` or set {variable}")]
    Missing {
        /// In words.
        name: &'static str,
        /// Of the builder.
        method: &'static str,
        /// Of the environment.
        variable: &'static str,
    },
    /// The server's address cannot be used.
    #[error("server: {0}")]
    Server(String),
    /// A setting makes no sense.
    #[error("{name}: {text}")]
    Setting {
        /// Which.
        name: &'static str,
        /// Why.
        text: String,
    },
    /// A stage without a name.
    #[error("a stage has an empty name")]
    StageNameEmpty,
    /// Two stages of one name.
    #[error("stage `{stage}` is there more than once")]
    StageDuplicate {
        /// Its name.
        stage: String,
    },
    /// A stage without changes.
    #[error("stage `{stage}` has no change")]
    StageEmpty {
        /// Its name.
        stage: String,
    },
    /// A change whose id is empty, or cannot be part of an address.
    #[error("stage `{stage}`: `{id}` cannot be the id of a change")]
    ChangeId {
        /// Where it is.
        stage: String,
        /// The id.
        id: String,
    },
    /// An id is the only identity of a change.
    #[error("change id `{id}` is used more than once, in {}", stages.join(", "))]
    ChangeDuplicate {
        /// The id.
        id: String,
        /// Where.
        stages: Vec<String>,
    },
    /// An order that does not sort as text.
    #[error("change `{change}`: order `{order}` needs at least 3 letters or digits, such as `0001`")]
    Order {
        /// Which change.
        change: String,
        /// Its order.
        order: String,
    },
    /// A checksum that the server would refuse.
    #[error("change `{change}`: a checksum has 1 to 200 bytes and no control characters")]
    Checksum {
        /// Which change.
        change: String,
    },
    /// A change depends on something that cannot be there before it.
    #[error("change `{change}`: depends on `{depends_on}`, {obstacle}")]
    Dependency {
        /// Which change.
        change: String,
        /// On what.
        depends_on: String,
        /// Why that cannot be.
        obstacle: String,
    },
    /// A target system without an id.
    #[error("a target system has an empty id")]
    TargetIdEmpty,
    /// Two target systems of one id.
    #[error("target system `{target}` is there more than once")]
    TargetDuplicate {
        /// Its id.
        target: String,
    },
    /// A change names a target system that was not given.
    #[error(
        "change `{change}`: there is no target system `{target}`; given are {}",
        list(known)
    )]
    TargetUnknown {
        /// Which change.
        change: String,
        /// What it names.
        target: String,
        /// What there is.
        known: Vec<String>,
    },
    /// Two dependencies of one type: which one would be meant?
    #[error("there is more than one dependency of type {type_name}; wrap one in a type of its own")]
    DependencyDuplicate {
        /// The type.
        type_name: &'static str,
    },
    /// A change file that cannot be read, or says what cannot be.
    #[error("{file}{}: {text}", line.map(|line| format!(":{line}")).unwrap_or_default())]
    ChangeFile {
        /// With its directory.
        file: String,
        /// Where in it.
        line: Option<usize>,
        /// What is wrong.
        text: String,
    },
    /// What a change finds wrong with itself.
    #[error("change `{change}`: {text}")]
    Change {
        /// Which change.
        change: String,
        /// What is wrong.
        text: String,
    },
    /// Two templates of one name.
    #[error("template `{template}` is there more than once")]
    TemplateDuplicate {
        /// Its name.
        template: &'static str,
    },
    /// A change takes something that it cannot get.
    #[error("change `{change}`: {function} takes {wanted}, but {obstacle}")]
    Injection {
        /// Which change.
        change: String,
        /// `apply`, `rollback` or `probe`.
        function: &'static str,
        /// What it takes.
        wanted: String,
        /// Why that cannot be.
        obstacle: String,
    },
}

/// Everything that the pipeline is checked against.
pub(crate) struct Pipeline<'a> {
    pub(crate) stages: &'a [Stage],
    pub(crate) targets: &'a [Target],
    pub(crate) dependencies: &'a Dependencies,
    /// Those that are active.
    pub(crate) profiles: &'a [String],
}

pub(crate) fn finish(problems: Vec<Problem>) -> Result<(), BuildError> {
    if problems.is_empty() {
        Ok(())
    } else {
        Err(BuildError { problems })
    }
}

impl Pipeline<'_> {
    pub(crate) fn check(&self, problems: &mut Vec<Problem>) {
        self.check_targets(problems);
        self.check_structure(problems);
        for change in self.stages.iter().flat_map(|stage| &stage.changes) {
            self.check_change(change, problems);
        }
    }

    /// What needs no target systems.
    pub(crate) fn check_structure(&self, problems: &mut Vec<Problem>) {
        self.check_stages(problems);
        self.check_ids(problems);
        depends::check(self.stages, self.profiles, problems);
    }

    fn check_targets(&self, problems: &mut Vec<Problem>) {
        let mut seen = HashSet::new();
        for target in self.targets {
            if target.id.trim().is_empty() {
                problems.push(Problem::TargetIdEmpty);
            } else if !seen.insert(&target.id) {
                problems.push(Problem::TargetDuplicate {
                    target: target.id.to_string(),
                });
            }
        }
    }

    fn check_stages(&self, problems: &mut Vec<Problem>) {
        let mut seen = HashSet::new();
        for stage in self.stages {
            if stage.name.trim().is_empty() {
                problems.push(Problem::StageNameEmpty);
            } else if !seen.insert(&stage.name) {
                problems.push(Problem::StageDuplicate {
                    stage: stage.name.to_string(),
                });
            }
            if stage.changes.is_empty() && stage.kind != StageKind::Legacy && !stage.is_incomplete {
                problems.push(Problem::StageEmpty {
                    stage: stage.name.to_string(),
                });
            }
            let needed = if stage.kind == StageKind::Legacy { 1 } else { 3 };
            for change in &stage.changes {
                let order = change.info.order();
                if order.chars().filter(|c| c.is_alphanumeric()).count() < needed {
                    problems.push(Problem::Order {
                        change: change.info.label(),
                        order: order.to_owned(),
                    });
                }
            }
        }
    }

    fn check_ids(&self, problems: &mut Vec<Problem>) {
        let all = || {
            let in_stages = self.stages.iter();
            in_stages.flat_map(|stage| stage.changes.iter().map(move |change| (stage, &change.info)))
        };
        let mut seen = HashSet::with_capacity(all().count());
        let mut repeated = Vec::new();
        for (stage, info) in all() {
            let id = info.id();
            // `.` and `..` disappear from an address, however they are encoded.
            if matches!(id.trim(), "" | "." | "..") {
                problems.push(Problem::ChangeId {
                    stage: stage.name.to_string(),
                    id: id.to_owned(),
                });
            }
            if !seen.insert(id) && !repeated.contains(&id) {
                repeated.push(id);
            }
        }
        for id in repeated {
            let places = all().filter(|(_, info)| info.id() == id);
            problems.push(Problem::ChangeDuplicate {
                id: id.to_owned(),
                stages: places
                    .map(|(stage, info)| match &info.file {
                        Some(file) => format!("`{}` ({file})", stage.name),
                        None => format!("`{}`", stage.name),
                    })
                    .collect(),
            });
        }
    }

    fn check_change(&self, change: &LoadedChange, problems: &mut Vec<Problem>) {
        let is_fine = |text: &str| (1..=200).contains(&text.len()) && !text.chars().any(char::is_control);
        if !change.checksum.as_deref().is_none_or(is_fine) {
            problems.push(Problem::Checksum {
                change: change.info.id().to_owned(),
            });
        }
        let info = &change.info;
        problems.extend(change.code.problems().into_iter().map(|text| Problem::Change {
            change: info.label(),
            text,
        }));
        let Some(target) = self.targets.iter().find(|target| target.id == info.target) else {
            let known = self.targets.iter().map(|target| target.id.to_string()).collect();
            problems.push(Problem::TargetUnknown {
                change: info.label(),
                target: info.target().to_owned(),
                known,
            });
            return;
        };
        let in_transaction = info.is_transactional() && target.transactions.is_some();
        let functions = [
            ("apply", change.code.requirements(), in_transaction),
            ("rollback", change.code.rollback_requirements(), in_transaction),
            // It looks at what is there, outside every transaction.
            ("probe", change.code.probe_requirements(), false),
        ];
        for (function, requirements, in_transaction) in functions {
            for requirement in requirements {
                let obstacle = if function == "probe"
                    && matches!(requirement.kind, RequirementKind::Transaction)
                {
                    Some("a probe is asked outside every transaction: take the target's client".to_owned())
                } else {
                    self.obstacle(requirement, target, in_transaction)
                };
                if let Some(obstacle) = obstacle {
                    problems.push(Problem::Injection {
                        change: info.label(),
                        function,
                        wanted: wanted(requirement),
                        obstacle,
                    });
                }
            }
        }
    }

    /// Why the requirement cannot be met.
    fn obstacle(&self, requirement: Requirement, target: &Target, in_transaction: bool) -> Option<String> {
        if let Some(other) = requirement
            .of_target
            .filter(|other| *other != target.id || requirement.is_of_step)
        {
            return self.obstacle_elsewhere(requirement, other);
        }
        let id = &target.id;
        match (requirement.kind, &target.transactions) {
            (RequirementKind::Nothing, _) => None,
            (RequirementKind::Dependency, _) => (!self.dependencies.has(requirement.type_id))
                .then(|| "no such dependency was given: call `.dependency(…)`".to_owned()),
            (RequirementKind::Client, _) if in_transaction => Some(
                "it runs in a transaction, which work through the client would escape: take the transaction, or declare \
                 `transactional = false`"
                    .to_owned(),
            ),
            (RequirementKind::Client, _) => (target.client.type_id != requirement.type_id)
                .then(|| format!("the client of target system `{id}` is {}", target.client.type_name)),
            (RequirementKind::Checkpoint, _) => in_transaction.then(|| {
                "it runs in a transaction, which is undone as a whole, whatever a cursor says: declare `transactional = \
                 false`"
                    .to_owned()
            }),
            (RequirementKind::Transaction, None) => Some(format!("target system `{id}` has no transactions")),
            (RequirementKind::Transaction, Some(_)) if !in_transaction => {
                Some("it is declared `transactional = false`".to_owned())
            }
            (RequirementKind::Transaction, Some(transactions)) => {
                let (type_id, type_name) = transactions.transaction_type();
                (type_id != requirement.type_id).then(|| format!("transactions of target system `{id}` are {type_name}"))
            }
        }
    }

    /// The same for what a change needs of another target system, or a step of a saga of its own.
    fn obstacle_elsewhere(&self, requirement: Requirement, id: &str) -> Option<String> {
        let Some(target) = self.targets.iter().find(|target| target.id == id) else {
            let known: Vec<_> = self.targets.iter().map(|target| target.id.to_string()).collect();
            return Some(format!(
                "there is no target system `{id}`; given are {}",
                list(&known)
            ));
        };
        match requirement.kind {
            RequirementKind::Transaction => {
                Some("a step of a saga runs outside transactions: take the client".to_owned())
            }
            RequirementKind::Checkpoint => {
                Some("a saga has one of its own, which says what steps are finished".to_owned())
            }
            RequirementKind::Client | RequirementKind::Dependency | RequirementKind::Nothing => self
                .obstacle(
                    Requirement {
                        of_target: None,
                        is_of_step: false,
                        ..requirement
                    },
                    target,
                    false,
                ),
        }
    }

    /// What is allowed and yet probably not meant.
    pub(crate) fn warn(&self) {
        for stage in self.stages {
            for pair in stage.changes.windows(2) {
                let [first, second] = pair else { continue };
                if first.info.order == second.info.order {
                    tracing::warn!(
                        stage = %stage.name, order = %first.info.order, first = %first.info.id, second = %second.info.id,
                        "two changes have the same order: they run as they were added"
                    );
                }
            }
            for change in &stage.changes {
                self.warn_of_change(&change.info);
            }
        }
    }

    fn warn_of_change(&self, info: &crate::change::ChangeInfo) {
        let transactions = self
            .targets
            .iter()
            .any(|target| target.id == info.target && target.transactions.is_some());
        if info.transactional == Some(true) && !transactions {
            tracing::warn!(
                change = %info.id, target_system = %info.target,
                "declared transactional, but its target system has no transactions: it runs without one"
            );
        }
        let outside = !transactions || !info.is_transactional();
        if outside && !info.has_rollback && info.recovery == Recovery::ManualIntervention {
            tracing::warn!(
                change = %info.id,
                "no transaction, no rollback, no retry: if this change fails, a person has to look into its target system"
            );
        }
    }
}

fn wanted(requirement: Requirement) -> String {
    let name = requirement.type_name;
    match requirement.kind {
        RequirementKind::Nothing => match requirement.of_target {
            Some(target) => format!("target system `{target}`"),
            None => "nothing".to_owned(),
        },
        RequirementKind::Dependency => format!("Dep<{name}>"),
        RequirementKind::Client => format!("TargetClient<{name}>"),
        RequirementKind::Transaction => format!("&mut {name}"),
        RequirementKind::Checkpoint => "Checkpoint".to_owned(),
    }
}

fn list(names: &[String]) -> String {
    if names.is_empty() {
        "none".to_owned()
    } else {
        names.join(", ")
    }
}

fn count(number: usize, noun: &str) -> String {
    if number == 1 {
        format!("1 {noun}")
    } else {
        format!("{number} {noun}s")
    }
}
