//! A service's standing in sentences, with what would help.

use chrono::{DateTime, SecondsFormat, Utc};
use flamingock_api_types::explanation::{
    Explanation, Holder as HolderView, Remedy, ServiceStanding, Stop as StopView, StopKind as Kind,
};
use flamingock_api_types::issue::ResolutionKind;
use flamingock_api_types::lock::OpenChange;
use flamingock_domain::standing::Standing;

use super::commands::Subject;
use super::operations::{execution_record, instant, open_change, progress, runner_record};
use super::reasons;
use crate::app::Scope;
use crate::app::freezes::FreezeRow;
use crate::app::operations::{
    Activity, Explained, Holder, Operations, Outcome, Recorded, Refusing, Seen, Stop, StopKind, StopRow,
};

/// Names in a sentence; the rest is counted.
const NAMED_MAX: usize = 3;

/// Issues for which commands are given.
const REMEDIED_MAX: usize = 5;

pub fn view(operations: &Operations, scope: Scope, explained: &Explained) -> Explanation {
    let (environment, service) = &explained.names;
    let subject = Subject {
        scope,
        environment,
        service,
    };
    let holder = explained
        .holder
        .as_ref()
        .and_then(|holder| holder_view(operations, explained, holder));
    let mut stops: Vec<StopView> = explained.stops.iter().map(stop_view).collect();
    if let Some(holder) = holder.as_ref().filter(|holder| !holder.is_live) {
        stops.push(StopView {
            kind: Kind::LeaseExpired,
            message: format!(
                "The lease of {} ran out at {}. Whoever starts after {} takes over.",
                holder.runner_id,
                time(holder.expires_at),
                time(holder.takeable_at)
            ),
            change_id: None,
            state: None,
            seq: None,
            since: Some(holder.expires_at),
        });
    }
    stops.extend(explained.freezes.iter().map(freeze_view));
    stops.extend(explained.unapproved.iter().map(|request| StopView {
        kind: Kind::Approval,
        message: format!(
            "Change {} stopped a start because nobody has approved it. Who approves it must not be its author{}.",
            request.change_id,
            request.author.as_ref().map(|author| format!(", {author}")).unwrap_or_default()
        ),
        change_id: Some(request.change_id.clone()),
        state: None,
        seq: None,
        since: Some(request.first_asked_at),
    }));
    stops.extend(explained.refused.iter().map(refused_view));
    Explanation {
        environment_id: scope.environment_id,
        environment_name: environment.clone(),
        service_id: scope.service_id,
        service_name: service.clone(),
        standing: standing(explained.standing),
        message: message(explained, &subject, holder.as_ref()),
        since: explained.since,
        as_of: explained.now,
        remedies: remedies(explained, &subject, holder.as_ref()),
        waiting: explained.waiting.iter().map(runner_record).collect(),
        stops,
        stops_are_cut: explained.stops_are_cut,
        latest_execution: explained
            .latest
            .as_ref()
            .map(|latest| execution_record(scope, latest)),
        holder,
    }
}

fn standing(standing: Standing) -> ServiceStanding {
    match standing {
        Standing::NeverStarted => ServiceStanding::NeverStarted,
        Standing::UpToDate => ServiceStanding::UpToDate,
        Standing::Running => ServiceStanding::Running,
        Standing::Waiting => ServiceStanding::Waiting,
        Standing::HolderSilent => ServiceStanding::HolderSilent,
        Standing::NeedsPerson => ServiceStanding::NeedsPerson,
        Standing::StoppedByPolicy => ServiceStanding::StoppedByPolicy,
        Standing::Failed => ServiceStanding::Failed,
        Standing::Pending => ServiceStanding::Pending,
    }
}

fn holder_view(operations: &Operations, explained: &Explained, holder: &Holder) -> Option<HolderView> {
    let facts = &holder.facts;
    let lease = facts.lock.lease.as_ref()?;
    let execution = facts.execution.map(|id| id.0);
    let its_plan = explained
        .latest
        .as_ref()
        .filter(|latest| Some(latest.run.id) == execution);
    let granted_at = facts.granted_at.map_or(explained.now, instant);
    Some(HolderView {
        runner_id: lease.owner.to_string(),
        execution_id: execution,
        fence: facts.lock.fence,
        since: granted_at,
        last_beat_at: facts.touched_at.map_or(granted_at, instant),
        expires_at: instant(lease.expires_at),
        takeable_at: instant(operations.takeable_at(lease.expires_at)),
        is_live: holder.is_live,
        progress: its_plan
            .map(|latest| progress(&latest.progress))
            .unwrap_or_default(),
        changes: holder.open.iter().map(open_change).collect(),
    })
}

fn stop_view(stop: &Stop) -> StopView {
    let change = stop.change.as_str();
    let state = stop.latest.state.as_wire();
    StopView {
        kind: match stop.kind {
            StopKind::Issue => Kind::Issue,
            StopKind::Failed => Kind::ChangeFailed,
        },
        message: match stop.kind {
            StopKind::Issue => format!(
                "Change {change} waits for a person: {}.",
                reasons::what(&stop.latest, stop.contradicted_by_mark)
            ),
            StopKind::Failed => format!(
                "Change {change} did not succeed ({state}); the next start runs it again. If its cause is still there, it \
                 fails again."
            ),
        },
        change_id: Some(change.to_owned()),
        state: Some(state.to_owned()),
        seq: Some(stop.latest.seq),
        since: stop.since,
    }
}

fn freeze_view(freeze: &FreezeRow) -> StopView {
    StopView {
        kind: Kind::Freeze,
        message: format!(
            "Freeze window {}, {}: {}. No work is granted; what is up to date starts.",
            freeze.id,
            until(freeze.ends_at),
            freeze.reason.trim_end_matches('.')
        ),
        change_id: None,
        state: None,
        seq: None,
        since: Some(freeze.starts_at),
    }
}

fn refused_view(stop: &StopRow) -> StopView {
    let (kind, what_to_do) = match stop.policy {
        Refusing::ChecksumMismatch => (
            Kind::ChecksumMismatch,
            "Put its content back and write a new change for what is new, or accept the new checksum.",
        ),
        Refusing::OutOfOrder => (Kind::OutOfOrder, "Put it behind what is applied, or approve it."),
    };
    StopView {
        kind,
        message: format!("A start was refused: {}. {what_to_do}", refusal(stop)),
        change_id: stop.change_ids.first().cloned(),
        state: None,
        seq: None,
        since: Some(stop.asked_at),
    }
}

/// "change a and 2 more were …, last at …".
fn refusal(stop: &StopRow) -> String {
    let first = stop.change_ids.first().map_or("", String::as_str);
    let others = match stop.changes - 1 {
        1.. => format!(" (and {} more)", stop.changes - 1),
        _ => String::new(),
    };
    let what = match stop.policy {
        Refusing::ChecksumMismatch => "is applied and was submitted with another checksum",
        Refusing::OutOfOrder => "has not run and stands before an applied one",
    };
    format!(
        "change {first}{others} {what}, last by {} at {}",
        stop.runner_id,
        time(stop.asked_at)
    )
}

fn until(end: Option<DateTime<Utc>>) -> String {
    end.map_or_else(
        || "until a person ends it".to_owned(),
        |end| format!("until {}", time(end)),
    )
}

/// What a policy holds back, in a sentence; `None`: nothing.
fn held_back(explained: &Explained) -> Option<String> {
    let frozen = explained.freezes.first().map(|freeze| {
        format!(
            "no work is granted {} ({})",
            until(freeze.ends_at),
            freeze.reason.trim_end_matches('.')
        )
    });
    let unapproved = explained.unapproved.first().map(|first| {
        let others = match explained.unapproved.len() - 1 {
            0 => String::new(),
            others => format!(" and {others} more"),
        };
        format!("change {}{others} must be approved first", first.change_id)
    });
    let refused = explained.refused.first().map(refusal);
    let held: Vec<String> = [refused, frozen, unapproved].into_iter().flatten().collect();
    (!held.is_empty()).then(|| held.join(", and "))
}

fn message(explained: &Explained, subject: &Subject<'_>, holder: Option<&HolderView>) -> String {
    let message = standing_message(explained, subject, holder);
    match held_back(explained) {
        Some(held) if explained.standing != Standing::StoppedByPolicy => {
            format!("{message} For what is new: {held}.")
        }
        _ => message,
    }
}

fn standing_message(explained: &Explained, subject: &Subject<'_>, holder: Option<&HolderView>) -> String {
    let who = format!("{} in {}", subject.service, subject.environment);
    let issues = named(explained, StopKind::Issue);
    match (explained.standing, holder) {
        (Standing::NeverStarted, _) => format!(
            "{who} has never started: no runner was granted a plan, and nothing is recorded. Does its application run, with \
             a token for this environment and under this service's name?"
        ),
        (Standing::Running, Some(holder)) => format!("{who} is at work: {}", at_work(holder, explained.now)),
        (Standing::Waiting, Some(holder)) => format!(
            "{who} is at work, and {} for it: {} The wait ends when it gives the lock back; should it fall silent, at {}.",
            waiters(&explained.waiting),
            at_work(holder, explained.now),
            time(holder.takeable_at)
        ),
        (Standing::HolderSilent, Some(holder)) => format!(
            "{who} is stopped by a runner that fell silent: {} holds the lock, and its lease ran out at {}. Whoever starts \
             after {} takes over and goes on.",
            holder.runner_id,
            time(holder.expires_at),
            time(holder.takeable_at)
        ),
        (Standing::NeedsPerson, _) => format!(
            "{who} is stopped until a person decides what became of {issues}. Every start stops there."
        ),
        (Standing::StoppedByPolicy, _) => format!(
            "{who} is stopped by a policy of the environment: {}.",
            held_back(explained).unwrap_or_else(|| "see the stops".to_owned())
        ),
        (Standing::Failed, _) => format!(
            "The last start of {who} failed at {}. The next start tries again by itself; it fails again if the cause is \
             still there.",
            named(explained, StopKind::Failed)
        ),
        (Standing::Pending, _) => format!(
            "{who} is not at work, and {} left that the next start takes up by itself.{}",
            counted(explained.open, "change is", "changes are"),
            explained.latest.as_ref().map(how_it_ended).unwrap_or_default()
        ),
        (Standing::UpToDate | Standing::Running | Standing::Waiting | Standing::HolderSilent, _) => format!(
            "{who} is up to date, as far as is recorded: all changes that were ever offered or reported are applied, and \
             nobody is at work. What an application holds that never asked for a plan is not known here."
        ),
    }
}

fn at_work(holder: &HolderView, now: DateTime<Utc>) -> String {
    let what = match holder.changes.as_slice() {
        [] => "is between two changes".to_owned(),
        [change] => format!("is at change {}{}", change.change_id, how_far(change, now)),
        [first, rest @ ..] => format!("is at change {} and {} more", first.change_id, rest.len()),
    };
    let done = match holder.progress.offered {
        0 => String::new(),
        offered => format!(", {} of {offered} applied", holder.progress.applied),
    };
    format!(
        "{} holds the lock since {} and {what}{done}. Its last sign of life was at {}.",
        holder.runner_id,
        time(holder.since),
        time(holder.last_beat_at)
    )
}

/// How far a change says that it is: " (40 %, orders)"; when it has not told for a while, since when.
fn how_far(change: &OpenChange, now: DateTime<Utc>) -> String {
    let Some(progress) = &change.progress else {
        return String::new();
    };
    let amount = match (progress.percent(), progress.done) {
        (Some(percent), _) => Some(format!("{percent} %")),
        (None, Some(done)) => Some(format!("{done} done")),
        (None, None) => None,
    };
    let silent_for = progress.last_heard_at().map_or(0, |at| (now - at).num_minutes());
    let silence = match silent_for {
        // A heartbeat may be that far from the next.
        ..1 => None,
        minutes @ 1..120 => Some(format!("{minutes} min since it last told of its progress")),
        minutes => Some(format!("{} h since it last told of its progress", minutes / 60)),
    };
    let parts: Vec<String> = [amount, progress.message.clone(), silence]
        .into_iter()
        .flatten()
        .collect();
    if parts.is_empty() {
        return String::new();
    }
    format!(" ({})", parts.join(", "))
}

fn waiters(waiting: &[Seen]) -> String {
    let parked = waiting.iter().filter(|it| !it.is_guess).count();
    let asked = waiting.len() - parked;
    debug_assert!(waiting.iter().all(|it| it.activity == Activity::Waiting));
    match (parked, asked) {
        (_, 0) => counted(parked, "other waits", "others wait"),
        (0, _) => format!(
            "{} (they asked moments ago)",
            counted(asked, "other waits", "others wait")
        ),
        _ => format!(
            "{} ({asked} of them asked moments ago)",
            counted(parked + asked, "other waits", "others wait")
        ),
    }
}

fn how_it_ended(latest: &Recorded) -> String {
    match latest.outcome {
        Outcome::Abandoned => format!(
            " The latest plan, execution {} of {}, was not carried out to its end.",
            latest.run.id, latest.run.runner_id
        ),
        Outcome::Blocked => {
            format!(
                " The latest plan, execution {}, stopped at a change that waited for a person.",
                latest.run.id
            )
        }
        Outcome::Failed => format!(" The latest plan, execution {}, failed.", latest.run.id),
        Outcome::Running | Outcome::Succeeded => String::new(),
    }
}

/// "change a", "changes a, b and 3 more".
fn named(explained: &Explained, kind: StopKind) -> String {
    let names: Vec<&str> = explained
        .stops
        .iter()
        .filter(|stop| stop.kind == kind)
        .map(|stop| stop.change.as_str())
        .collect();
    let shown = names
        .iter()
        .take(NAMED_MAX)
        .copied()
        .collect::<Vec<_>>()
        .join(", ");
    match names.len() {
        1 => format!("change {shown}"),
        more if more > NAMED_MAX || explained.stops_are_cut => format!("changes {shown} and others"),
        _ => format!("changes {shown}"),
    }
}

fn counted(count: usize, one: &str, many: &str) -> String {
    format!("{count} {}", if count == 1 { one } else { many })
}

fn remedies(explained: &Explained, subject: &Subject<'_>, holder: Option<&HolderView>) -> Vec<Remedy> {
    let advice = |purpose: &str| Remedy {
        purpose: purpose.to_owned(),
        command: None,
        curl: None,
    };
    match (explained.standing, holder) {
        (Standing::NeedsPerson, _) => {
            let issues = explained.stops.iter().filter(|stop| stop.kind == StopKind::Issue);
            let mut remedies: Vec<Remedy> = issues
                .take(REMEDIED_MAX)
                .flat_map(|stop| {
                    let (change, seq) = (stop.change.as_str(), stop.latest.seq);
                    [
                        subject.view_issue(change),
                        subject.resolve(change, ResolutionKind::Applied, seq),
                        subject.resolve(change, ResolutionKind::RolledBack, seq),
                    ]
                })
                .collect();
            remedies.push(advice("Then start the service again."));
            remedies
        }
        (Standing::Running | Standing::Waiting, Some(holder)) => {
            let mut remedies = vec![advice(
                "Wait: it is alive. If it does not get on, look at its log, and stop its process if it hangs.",
            )];
            remedies.push(subject.release_lock(holder.fence, true));
            remedies
        }
        (Standing::HolderSilent, Some(holder)) => vec![
            advice(
                "Start the service: the next start takes over by itself once the lease and the grace are over.",
            ),
            subject.release_lock(holder.fence, false),
        ],
        (Standing::StoppedByPolicy, _) => {
            let mut remedies: Vec<Remedy> = explained
                .unapproved
                .iter()
                .take(REMEDIED_MAX)
                .map(|request| subject.approve(&request.change_id, request.checksum.as_deref()))
                .collect();
            remedies.extend(
                explained
                    .freezes
                    .iter()
                    .take(REMEDIED_MAX)
                    .map(|freeze| subject.end_freeze(freeze.id)),
            );
            remedies.extend(explained.refused.iter().map(|stop| match stop.policy {
                Refusing::ChecksumMismatch => advice(
                    "Put the changed content back and write a new change for what is new, or have an operator accept \
                     the new checksum.",
                ),
                Refusing::OutOfOrder => advice(
                    "Put the change behind what is applied, or have an operator approve it.",
                ),
            }));
            remedies.push(advice(
                "Then start the service again. A freeze window ends by itself at its time.",
            ));
            remedies
        }
        (Standing::Failed, _) => {
            let mut remedies = vec![advice("Repair the cause, then start the service again.")];
            remedies.extend(
                explained
                    .latest
                    .as_ref()
                    .map(|latest| subject.view_execution(latest.run.id)),
            );
            remedies
        }
        (Standing::Pending, _) => vec![advice("Start the service again.")],
        (Standing::NeverStarted, _) => vec![advice("Start the application, and look at its log.")],
        (Standing::UpToDate | Standing::Running | Standing::Waiting | Standing::HolderSilent, _) => {
            Vec::new()
        }
    }
}

fn time(at: DateTime<Utc>) -> String {
    at.to_rfc3339_opts(SecondsFormat::Secs, true)
}
