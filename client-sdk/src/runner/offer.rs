//! `EXECUTE` answers, read with suspicion: what is not fully understood is not carried out.

use std::collections::HashMap;

use flamingock_api_types::{
    execution::{ChangeAction, OfferedStage, PlanResponse},
    lock::LockView,
};

use super::record::RunRecord;
use crate::stage::Stage;

/// What to carry out, under which lock.
pub(super) struct Offer {
    pub(super) execution_id: i64,
    pub(super) lock: LockView,
    /// In the pipeline's order, whatever the answer's.
    pub(super) stages: Vec<StageOffer>,
}

pub(super) struct StageOffer {
    pub(super) index: usize,
    /// One for each change of the stage, in its order.
    pub(super) actions: Vec<Action>,
    /// Where earlier attempts got to, for those that go on from there.
    pub(super) cursors: HashMap<String, String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Action {
    Apply,
    Skip,
    ManualIntervention,
    /// Ask the change what became of the attempt that this entry is about.
    Probe {
        about: i64,
    },
}

impl Offer {
    pub(super) fn read(plan: &PlanResponse, record: &RunRecord<'_>) -> Result<Self, String> {
        let execution_id = plan.execution_id.ok_or("it has no executionId")?;
        let lock = plan.lock.clone().ok_or("it has no lock")?;
        if lock.key.is_empty() || lock.acquired_for_millis <= 0 {
            return Err(format!(
                "its lock `{}` is held for {} ms",
                lock.key, lock.acquired_for_millis
            ));
        }
        let offered = plan.stages.as_ref().ok_or("it has no stages")?;
        let mut stages = offered
            .iter()
            .map(|stage| StageOffer::read(stage, record))
            .collect::<Result<Vec<_>, _>>()?;
        stages.sort_by_key(|stage| stage.index);
        if let Some(pair) = stages.windows(2).find(|pair| pair[0].index == pair[1].index) {
            return Err(format!(
                "it offers stage `{}` twice",
                record.stages()[pair[0].index].name
            ));
        }
        if stages.is_empty() {
            return Err("it offers no stage".to_owned());
        }
        Ok(Self {
            execution_id,
            lock,
            stages,
        })
    }
}

impl StageOffer {
    fn read(offered: &OfferedStage, record: &RunRecord<'_>) -> Result<Self, String> {
        let name = &offered.name;
        let index = record
            .stages()
            .iter()
            .position(|stage| stage.name == *name)
            .ok_or_else(|| format!("it offers an unknown stage `{name}`"))?;
        if record.is_started(index) {
            // Would go round in circles.
            return Err(format!(
                "it offers stage `{name}` again, which has already ended in this run"
            ));
        }
        let stage = &record.stages()[index];
        if let Some(unknown) = offered.changes.iter().find(|offered| !has(stage, &offered.id)) {
            return Err(format!(
                "it offers an unknown change `{}` in stage `{name}`",
                unknown.id
            ));
        }
        let actions = stage.changes.iter().map(|change| {
            let id = change.info.id();
            let mut found = offered.changes.iter().filter(|offered| offered.id == id);
            let first = found.next();
            let about = first.and_then(|offered| offered.expected_seq);
            match (first.map(|offered| offered.action), found.next()) {
                // Never asked for without having said that it can be.
                (Some(ChangeAction::Probe), None) => match about {
                    // Would go round in circles.
                    Some(_) if record.was_probed(id) => Err(format!(
                        "it asks the probe of change `{id}` again, which has answered in this run"
                    )),
                    Some(about) if change.info.has_probe => Ok(Action::Probe { about }),
                    Some(_) => Err(format!("it asks the probe of change `{id}`, which has none")),
                    None => Err(format!(
                        "it does not say which entry the probe of `{id}` is about"
                    )),
                },
                (Some(_), Some(_)) => Err(format!("it offers change `{id}` twice")),
                (Some(ChangeAction::Apply), None) => Ok(Action::Apply),
                (Some(ChangeAction::Skip), None) => Ok(Action::Skip),
                (Some(ChangeAction::ManualIntervention), None) => Ok(Action::ManualIntervention),
                (Some(ChangeAction::Unknown), None) => {
                    Err(format!("its action for change `{id}` is unknown"))
                }
                // Neither guess is right: skipped, it would never run; applied, it might run twice.
                (None, _) => Err(format!(
                    "it does not say what to do with change `{id}` of stage `{name}`"
                )),
            }
        });
        let cursors = offered
            .changes
            .iter()
            .filter_map(|offered| Some((offered.id.clone(), offered.cursor.clone()?)));
        Ok(Self {
            index,
            actions: actions.collect::<Result<_, _>>()?,
            cursors: cursors.collect(),
        })
    }
}

fn has(stage: &Stage, id: &str) -> bool {
    stage.changes.iter().any(|change| change.info.id() == id)
}
