//! The account of an import: what every change came to, what was left out and why.

use std::collections::HashMap;
use std::fmt;

use flamingock_domain::audit::{ChangeState, Source};
use flamingock_domain::plan::{Action, base_action};

use super::record::Unusable;
use crate::app::imports::Imported;
use crate::app::reports::Outcome;

/// Places that are named one by one; more are counted.
const NAMED: usize = 20;

#[derive(Clone, Debug, Default)]
pub struct Summary {
    unit: &'static str,
    appended: u64,
    late: u64,
    duplicates: u64,
    ignored: u64,
    unusable: Vec<(u64, Unusable)>,
    unusable_count: u64,
    /// In order of appearance.
    changes: Vec<Change>,
    by_id: HashMap<String, usize>,
}

#[derive(Clone, Debug, Default)]
struct Change {
    id: String,
    records: u64,
    late: u64,
    latest: Option<ChangeState>,
}

impl Summary {
    /// `unit`: what places are counted in.
    pub fn new(unit: &'static str) -> Self {
        Self {
            unit,
            ..Self::default()
        }
    }

    pub fn ignored(&mut self, change: &str) {
        self.ignored += 1;
        self.change(change);
    }

    pub fn unusable(&mut self, place: u64, why: Unusable) {
        self.unusable_count += 1;
        if self.unusable.len() < NAMED {
            self.unusable.push((place, why));
        }
    }

    pub fn imported(&mut self, change: &str, imported: Imported) {
        let late = match imported.outcome {
            Outcome::Appended { late, .. } => {
                self.appended += u64::from(!late);
                self.late += u64::from(late);
                late
            }
            Outcome::Duplicate { late, .. } => {
                self.duplicates += 1;
                late
            }
            // Only a runner's `STARTED` is ever refused.
            Outcome::Refused(_) => return,
        };
        let change = self.change(change);
        change.records += 1;
        change.late += u64::from(late);
        change.latest = imported.latest;
    }

    fn change(&mut self, id: &str) -> &mut Change {
        let at = self.by_id.get(id).copied().unwrap_or_else(|| {
            self.changes.push(Change {
                id: id.to_owned(),
                ..Change::default()
            });
            self.by_id.insert(id.to_owned(), self.changes.len() - 1);
            self.changes.len() - 1
        });
        &mut self.changes[at]
    }

    /// Records of the source.
    pub fn records(&self) -> u64 {
        self.appended + self.late + self.duplicates + self.ignored + self.unusable_count
    }

    /// Entries to write.
    pub fn written(&self) -> u64 {
        self.appended + self.late
    }

    /// What somebody has to look at before anything is written: it may have run, and would be offered again.
    pub fn objections(&self) -> u64 {
        self.unusable_count + self.only_ignored().count() as u64
    }

    fn only_ignored(&self) -> impl Iterator<Item = &str> {
        let silent = self.changes.iter().filter(|change| change.records == 0);
        silent.map(|change| change.id.as_str())
    }

    fn write_objections(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (place, why) in &self.unusable {
            writeln!(f, "  {} {place}: {why}", self.unit)?;
        }
        let more = self.unusable_count - self.unusable.len() as u64;
        if more > 0 {
            writeln!(f, "  and {more} more")?;
        }
        for id in self.only_ignored() {
            writeln!(
                f,
                "  change {id}: only IGNORED records, which say that it had run before, and none that says how it ended"
            )?;
        }
        Ok(())
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let known = || self.changes.iter().filter(|change| change.records > 0);
        let width = known().map(|it| it.id.chars().count()).max().unwrap_or(0).min(60);
        for change in known() {
            let Some(latest) = change.latest else { continue };
            writeln!(f, "  {:width$}  {}", change.id, outlook(change, &latest))?;
        }
        writeln!(
            f,
            "{}: {}, {} more as evidence that changes no state, {} recorded before, {} IGNORED",
            counted(self.records(), "record", "records"),
            counted(self.appended, "entry", "entries"),
            self.late,
            self.duplicates,
            self.ignored
        )?;
        if self.objections() > 0 {
            writeln!(f, "cannot be taken:")?;
            self.write_objections(f)?;
        }
        Ok(())
    }
}

fn counted(count: u64, one: &str, many: &str) -> String {
    format!("{count} {}", if count == 1 { one } else { many })
}

/// Where a change stands, by whose word, and what its next start will do.
fn outlook(change: &Change, latest: &ChangeState) -> String {
    let next = match base_action(Some(latest)).0 {
        Action::Skip => "is not run again",
        Action::Apply => "runs at the next start",
        Action::ManualIntervention | Action::Withhold | Action::Probe { .. } => {
            "stops the next start until a person decides"
        }
    };
    let state = latest.state.as_wire();
    let whose = match latest.source {
        Source::Import => return format!("{state}: {next}"),
        Source::Runner => "a runner reported it here",
        Source::Mark => "its mark in the target system proves it",
        Source::Person => "a person decided so here",
        Source::Probe => "its probe found it so here",
        Source::Unknown => "a newer version of the server recorded it here",
    };
    format!(
        "stays {state}: {next}; {whose}, {} imported as evidence only",
        change.late
    )
}
