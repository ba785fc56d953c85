//! From rows of the log to what is told: read where it was written, and put into one order that is the same whoever reads.

use std::collections::HashMap;
use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use chrono::{DateTime, Utc};
use flamingock_domain::audit::{IssueTurn, Turn, is_issue_without_runner, issue_turn};
use sqlx::PgConnection;

use super::position::{Position, Within};
use super::sight::Site;
use crate::store::StoreError;
use crate::store::actions::{self, ActionRow};
use crate::store::audit_tail::{self, EndOfRun, TailEntry};
use crate::store::events::{LogRow, Names};
use crate::store::lock_changes::{self, ChangeKind, LockChange};

/// One event.
#[derive(Debug)]
pub struct Told {
    /// Its own: where somebody is who was told it last.
    pub position: Position,
    pub at: DateTime<Utc>,
    pub organisation_id: i64,
    pub site: Site,
    pub names: Names,
    pub what: What,
    /// As the edge writes it: once for everybody.
    pub written: OnceLock<Bytes>,
}

#[derive(Clone, Debug)]
pub enum What {
    Entry(Arc<TailEntry>),
    IssueOpened(Arc<TailEntry>),
    IssueClosed(Arc<TailEntry>),
    Lock(Arc<LockChange>),
    ExecutionGranted { id: i64, change: Arc<LockChange> },
    ExecutionEnded { id: i64, change: Arc<LockChange> },
    Action(Box<ActionRow>),
}

impl What {
    pub fn is_action(&self) -> bool {
        matches!(self, Self::Action(_))
    }
}

/// Some events in their order, and where one is after them.
#[derive(Debug)]
pub struct Page {
    pub told: Vec<Arc<Told>>,
    pub end: Position,
}

/// How much a row has to tell: entries and changes of the lock.
pub fn weight(row: &LogRow) -> i64 {
    (row.seqs.1 - row.seqs.0)
        .saturating_add(row.changes.1 - row.changes.0)
        .saturating_add(i64::from(row.action_id.is_some()))
}

/// What the rows tell, at most about `budget` entries; at least some of the first row. `known`: how much of the first row is
/// told already.
pub async fn tell(
    conn: &mut PgConnection,
    rows: &[LogRow],
    known: Option<Within>,
    budget: i64,
) -> Result<Page, StoreError> {
    let mut rows: Vec<LogRow> = rows.to_vec();
    let mut skipped = 0;
    if let (Some(first), Some(known)) = (rows.first_mut(), known) {
        // Whatever is in an id that somebody made up: nothing outside the row is read.
        first.seqs.0 = known.seq.clamp(first.seqs.0, first.seqs.1);
        first.changes.0 = known.change.clamp(first.changes.0, first.changes.1);
        skipped = known.events;
    }
    let mut left = budget;
    let taken = rows
        .iter()
        .take_while(|row| {
            let fits = left > 0;
            left -= weight(row);
            fits
        })
        .count();
    rows.truncate(taken);
    let mut material = Material::load(conn, &rows, budget).await?;
    let mut page = Page {
        told: Vec::new(),
        end: Position::ORIGIN,
    };
    for (place, row) in rows.iter().enumerate() {
        let skipped = if place == 0 { skipped } else { 0 };
        material.tell_row(place, row, skipped, &mut page);
        if page.end.within.is_some() {
            break;
        }
    }
    Ok(page)
}

/// What the rows refer to, by the row's place.
struct Material {
    entries: HashMap<usize, Vec<Arc<TailEntry>>>,
    changes: HashMap<usize, Vec<Arc<LockChange>>>,
    /// By the row's place and the change's number.
    left: HashMap<(usize, i64), Vec<Arc<TailEntry>>>,
    actions: HashMap<i64, ActionRow>,
}

impl Material {
    async fn load(conn: &mut PgConnection, rows: &[LogRow], budget: i64) -> Result<Self, StoreError> {
        let (mut entry_ranges, mut entry_places) = (Vec::new(), Vec::new());
        let (mut change_ranges, mut change_places) = (Vec::new(), Vec::new());
        for (place, row) in rows.iter().enumerate() {
            if let (Some(stream_id), true) = (row.stream_id, row.seqs.0 < row.seqs.1) {
                entry_ranges.push(audit_tail::Range {
                    stream_id,
                    after: row.seqs.0,
                    up_to: row.seqs.1,
                });
                entry_places.push(place);
            }
            if let (Some(environment_id), Some(key), true) = (
                row.environment_id,
                row.lock_key.as_deref(),
                row.changes.0 < row.changes.1,
            ) {
                change_ranges.push(lock_changes::Range {
                    environment_id,
                    key,
                    after: row.changes.0,
                    up_to: row.changes.1,
                });
                change_places.push(place);
            }
        }
        let mut entries: HashMap<usize, Vec<Arc<TailEntry>>> = HashMap::new();
        for (at, entry) in audit_tail::list(conn, &entry_ranges, budget).await? {
            entries.entry(entry_places[at]).or_default().push(Arc::new(entry));
        }
        let mut changes: HashMap<usize, Vec<Arc<LockChange>>> = HashMap::new();
        for (at, change) in lock_changes::list(conn, &change_ranges, budget).await? {
            changes
                .entry(change_places[at])
                .or_default()
                .push(Arc::new(change));
        }
        let left = Self::load_left(conn, rows, &changes).await?;
        let ids: Vec<i64> = rows.iter().filter_map(|row| row.action_id).collect();
        let actions = if ids.is_empty() {
            Vec::new()
        } else {
            actions::load_some(conn, &ids).await?
        };
        Ok(Self {
            entries,
            changes,
            left,
            actions: actions.into_iter().map(|action| (action.id, action)).collect(),
        })
    }

    /// What runs left to people when their lock went.
    async fn load_left(
        conn: &mut PgConnection,
        rows: &[LogRow],
        changes: &HashMap<usize, Vec<Arc<LockChange>>>,
    ) -> Result<HashMap<(usize, i64), Vec<Arc<TailEntry>>>, StoreError> {
        let (mut runs, mut keys) = (Vec::new(), Vec::new());
        for (place, changes) in changes {
            for change in changes {
                let runner_id = match change.kind {
                    ChangeKind::Released | ChangeKind::Forced => Some(change.owner.as_str()),
                    ChangeKind::TakenOver => change.previous_owner.as_deref(),
                    // The same runner goes on.
                    ChangeKind::Granted | ChangeKind::Renewed => None,
                    // Whoever had it may have been cut off. To name an issue once too often is better than never.
                    ChangeKind::Unknown => Some(change.previous_owner.as_deref().unwrap_or(&change.owner)),
                };
                if let (Some(runner_id), Some(stream_id)) = (runner_id, rows[*place].stream_id) {
                    runs.push(EndOfRun {
                        stream_id,
                        environment_id: change.environment_id,
                        key: &change.key,
                        number: change.number,
                        runner_id,
                        audit_seq: change.audit_seq,
                    });
                    keys.push((*place, change.number));
                }
            }
        }
        let mut left: HashMap<(usize, i64), Vec<Arc<TailEntry>>> = HashMap::new();
        for (at, entry) in audit_tail::list_left(conn, &runs).await? {
            if is_issue_without_runner(&entry.now) {
                left.entry(keys[at]).or_default().push(Arc::new(entry));
            }
        }
        Ok(left)
    }

    /// Appends what a row tells to the page, the first `skipped` events of its first item left out.
    fn tell_row(&mut self, place: usize, row: &LogRow, mut skipped: u32, page: &mut Page) {
        let done = Position::after(row.id, row.ordered_at);
        let site = Site {
            project_id: row.project_id,
            environment_id: row.environment_id,
            service_id: row.service_id,
        };
        let told = |position, at, what| {
            Arc::new(Told {
                position,
                at,
                organisation_id: row.organisation_id,
                site,
                names: row.names.clone(),
                what,
                written: OnceLock::new(),
            })
        };
        page.end = done;
        if let Some(id) = row.action_id {
            if let Some(action) = self.actions.remove(&id) {
                page.told
                    .push(told(done, action.acted_at, What::Action(Box::new(action))));
            }
            return;
        }
        let entries = self.entries.remove(&place).unwrap_or_default();
        let changes = self.changes.remove(&place).unwrap_or_default();
        let (mut seq, mut change) = (row.seqs.0, row.changes.0);
        let (mut entries, mut changes) = (entries.into_iter().peekable(), changes.into_iter().peekable());
        while (seq, change) != (row.seqs.1, row.changes.1) {
            let next = next_item(
                (seq, row.seqs.1),
                (change, row.changes.1),
                entries.peek().is_some(),
                changes.peek().map(|change| change.audit_seq),
            );
            let before = Within {
                seq,
                change,
                events: 0,
            };
            let (at, events) = match next {
                Next::Entry => {
                    let Some(entry) = entries.next() else { break };
                    seq = entry.seq;
                    (entry.received_at, events_of_entry(&entry))
                }
                Next::Change => {
                    let Some(moved) = changes.next() else { break };
                    change = moved.number;
                    let left = self.left.remove(&(place, moved.number)).unwrap_or_default();
                    (moved.changed_at, events_of_change(&moved, left))
                }
                Next::Unread => break,
            };
            let all = u32::try_from(events.len()).unwrap_or(u32::MAX);
            for (number, what) in (1..).zip(events) {
                let within = if number < all {
                    Some(Within {
                        events: number,
                        ..before
                    })
                } else if (seq, change) == (row.seqs.1, row.changes.1) {
                    None
                } else {
                    Some(Within {
                        seq,
                        change,
                        events: 0,
                    })
                };
                if number > skipped {
                    page.told.push(told(Position { within, ..done }, at, what));
                }
            }
            skipped = 0;
        }
        if (seq, change) != (row.seqs.1, row.changes.1) {
            page.end.within = Some(Within {
                seq,
                change,
                events: 0,
            });
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Next {
    Entry,
    Change,
    /// It has not been read, and must be before anything else is told.
    Unread,
}

/// What comes next in a row. A change of the lock comes after the entries that were there when it was made, and before later
/// ones. `seq`, `change`: how far it is told, and how far it goes.
fn next_item(seq: (i64, i64), change: (i64, i64), has_entry: bool, next_change: Option<i64>) -> Next {
    match next_change {
        Some(audit_seq) if audit_seq <= seq.0 => Next::Change,
        None if change.0 < change.1 => Next::Unread,
        _ if has_entry => Next::Entry,
        _ if seq.0 < seq.1 => Next::Unread,
        Some(_) => Next::Change,
        None => Next::Unread,
    }
}

fn events_of_entry(entry: &Arc<TailEntry>) -> Vec<What> {
    let mut events = vec![What::Entry(Arc::clone(entry))];
    let turn = issue_turn(&Turn {
        before: entry.before.as_ref(),
        after: &entry.now,
        same_execution: entry.same_execution,
        runner_is_out: entry.runner_is_out,
    });
    match turn.filter(|_| !entry.late) {
        Some(IssueTurn::Opened) => events.push(What::IssueOpened(Arc::clone(entry))),
        Some(IssueTurn::Closed) => events.push(What::IssueClosed(Arc::clone(entry))),
        None => {}
    }
    events
}

fn events_of_change(change: &Arc<LockChange>, left: Vec<Arc<TailEntry>>) -> Vec<What> {
    let mut events = Vec::new();
    if let Some(id) = change.ended_execution_id {
        let change = Arc::clone(change);
        events.push(What::ExecutionEnded { id, change });
    }
    events.push(What::Lock(Arc::clone(change)));
    events.extend(left.into_iter().map(What::IssueOpened));
    if let Some(id) = change.execution_id {
        let change = Arc::clone(change);
        events.push(What::ExecutionGranted { id, change });
    }
    events
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The order of a row: `changes` are the audit's heads at which the lock changed hands.
    fn order(seqs: (i64, i64), changes: &[i64]) -> String {
        let (mut seq, mut change) = (seqs.0, 0_usize);
        let mut told = Vec::new();
        loop {
            let up_to = i64::try_from(changes.len()).expect("few");
            let next = next_item(
                (seq, seqs.1),
                (i64::try_from(change).expect("few"), up_to),
                seq < seqs.1,
                changes.get(change).copied(),
            );
            match next {
                Next::Entry => {
                    seq += 1;
                    told.push(seq.to_string());
                }
                Next::Change => {
                    change += 1;
                    told.push("lock".to_owned());
                }
                Next::Unread => return told.join(" "),
            }
        }
    }

    #[test]
    fn a_lock_changes_hands_after_the_entries_that_were_there() {
        assert_eq!(order((4, 6), &[4, 6]), "lock 5 6 lock");
        assert_eq!(order((4, 6), &[5, 5]), "5 lock lock 6");
        assert_eq!(order((4, 6), &[]), "5 6");
        assert_eq!(order((4, 4), &[4]), "lock");
        // The entries were told before: the change was committed after them.
        assert_eq!(order((6, 7), &[5]), "lock 7");
        // It says more than there is: it is told, and last.
        assert_eq!(order((4, 5), &[9]), "5 lock");
    }

    #[test]
    fn nothing_is_told_before_what_comes_first_was_read() {
        assert_eq!(next_item((4, 6), (0, 1), true, None), Next::Unread);
        assert_eq!(next_item((4, 6), (0, 1), false, Some(5)), Next::Unread);
        assert_eq!(next_item((4, 6), (0, 1), false, Some(4)), Next::Change);
    }
}
