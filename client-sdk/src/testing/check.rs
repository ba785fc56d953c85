//! What can be known of a pipeline without running it.

use crate::{Builder, change::Recovery, stage::Stage, validate::BuildError};

/// A pipeline that could run.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Checked {
    /// What would be submitted, in the order in which it runs; changes of profiles that are not active are left out.
    pub changes: Vec<CheckedChange>,
}

/// What a change says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct CheckedChange {
    /// Its id.
    pub id: String,
    /// The stage that it is in.
    pub stage: String,
    /// Its place there.
    pub order: String,
    /// Who wrote it.
    pub author: String,
    /// The target system.
    pub target: String,
    /// Whether it runs in its target's transaction.
    pub in_transaction: bool,
    /// What may follow a failure.
    pub recovery: Recovery,
    /// Whether it can be undone.
    pub has_rollback: bool,
    /// What must be applied before it.
    pub depends_on: Vec<String>,
    /// Names its content.
    pub checksum: Option<String>,
}

/// Checks everything that [`Builder::build`] checks: change files, ids, orders, targets, what changes take and depend on.
/// Neither a server nor a token is needed, and nothing is connected to. For a unit test:
///
/// ```
/// # use flamingock::{Flamingock, Stage, Target, change, testing};
/// # #[change(id = "flag-checkout", order = "0001", target = "flags", author = "mara")]
/// # async fn flag_checkout() -> Result<(), std::io::Error> { Ok(()) }
/// # fn pipeline(builder: flamingock::Builder) -> flamingock::Builder {
/// #     builder.target(Target::non_transactional("flags", ())).stage(Stage::new("flags").change(flag_checkout))
/// # }
/// let checked = testing::check(pipeline(Flamingock::from_env())).unwrap();
/// assert_eq!(checked.ids(), ["flag-checkout"]);
/// assert_eq!(checked.without_net(), ["flag-checkout"]);
/// assert!(checked.changes.iter().all(|change| change.author != "not-specified"));
/// ```
pub fn check(builder: Builder) -> Result<Checked, BuildError> {
    let app = builder.enabled(false).build()?;
    let in_transaction = |target: &str| {
        app.targets
            .iter()
            .any(|other| other.id == target && other.transactions.is_some())
    };
    let changes = |stage: &Stage| {
        let name = stage.name.to_string();
        let changes = stage.changes.iter().map(|change| {
            let info = &change.info;
            CheckedChange {
                id: info.id().to_owned(),
                stage: name.clone(),
                order: info.order().to_owned(),
                author: info.author.to_string(),
                target: info.target().to_owned(),
                in_transaction: info.is_transactional() && in_transaction(info.target()),
                recovery: info.recovery,
                has_rollback: info.has_rollback,
                depends_on: info.depends_on.iter().map(ToString::to_string).collect(),
                checksum: change.checksum.clone(),
            }
        });
        changes.collect::<Vec<_>>()
    };
    Ok(Checked {
        changes: app.stages.iter().flat_map(changes).collect(),
    })
}

impl Checked {
    /// The ids, in order.
    pub fn ids(&self) -> Vec<&str> {
        self.changes.iter().map(|change| change.id.as_str()).collect()
    }

    /// The change of this id.
    pub fn change(&self, id: &str) -> Option<&CheckedChange> {
        self.changes.iter().find(|change| change.id == id)
    }

    /// Changes of which a failure always needs a person: outside a transaction, without rollback, not to be repeated.
    pub fn without_net(&self) -> Vec<&str> {
        let has_none = |change: &&CheckedChange| {
            !change.in_transaction && !change.has_rollback && change.recovery == Recovery::ManualIntervention
        };
        self.changes
            .iter()
            .filter(has_none)
            .map(|change| change.id.as_str())
            .collect()
    }
}
