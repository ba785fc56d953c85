//! Sentences for what policies find, and for a start that they refuse.

use std::fmt::Write as _;

use chrono::{DateTime, SecondsFormat};
use flamingock_api_types::ErrorCode;
use flamingock_api_types::policy as wire;
use flamingock_domain::plan::policy::{Finding, Found, Freeze};

/// What a policy found, as it goes out.
pub fn finding(finding: &Finding) -> wire::PolicyFinding {
    let (change, checksum) = match &finding.what {
        Found::ChecksumMismatch {
            change, submitted, ..
        } => (Some(change), Some(submitted)),
        Found::OutOfOrder { change, .. } => (Some(change), None),
        Found::ApprovalMissing { change, checksum, .. } => (Some(change), checksum.as_ref()),
        Found::Frozen(_) => (None, None),
    };
    wire::PolicyFinding {
        policy: kind(&finding.what),
        stops: finding.stops,
        change_id: change.map(ToString::to_string),
        checksum: checksum.map(ToString::to_string),
        message: sentence(&finding.what),
    }
}

fn kind(found: &Found) -> wire::PolicyKind {
    match found {
        Found::ChecksumMismatch { .. } => wire::PolicyKind::ChecksumMismatch,
        Found::OutOfOrder { .. } => wire::PolicyKind::OutOfOrder,
        Found::ApprovalMissing { .. } => wire::PolicyKind::ApprovalMissing,
        Found::Frozen(_) => wire::PolicyKind::Frozen,
    }
}

fn sentence(found: &Found) -> String {
    match found {
        Found::ChecksumMismatch {
            change,
            submitted,
            accepted,
        } => format!(
            "Change {change} is applied with the checksum {accepted}, and is now submitted with {submitted}: its content was \
             edited since."
        ),
        Found::OutOfOrder { change, before } => {
            format!("Change {change} has not run, and stands before {before} of its stage, which is applied.")
        }
        Found::ApprovalMissing {
            change,
            checksum,
            only_by_author,
            ..
        } => format!(
            "Change {change}{} {}.",
            checksum
                .as_ref()
                .map_or_else(String::new, |checksum| format!(" ({checksum})")),
            if *only_by_author {
                "is approved by its author or by the credential that runs it only, which does not count"
            } else {
                "waits for approval"
            }
        ),
        Found::Frozen(freeze) => {
            // What follows is another sentence, however the person ended theirs.
            let stop = if freeze.reason.ends_with(['.', '!', '?', '…']) {
                ""
            } else {
                "."
            };
            format!("{} Reason: {}{stop}", until(freeze), freeze.reason)
        }
    }
}

fn until(freeze: &Freeze) -> String {
    let end = freeze
        .ends_at
        .and_then(|end| DateTime::from_timestamp_micros(end.as_micros()))
        .map(|end| end.to_rfc3339_opts(SecondsFormat::Secs, true));
    match end {
        Some(end) => format!("The environment is frozen until {end} (freeze {}).", freeze.id),
        None => format!(
            "The environment is frozen until a person ends it (freeze {}).",
            freeze.id
        ),
    }
}

/// Changes of one policy that are named in the message.
const SHOWN: usize = 5;
/// And in its details: a pipeline may have very many.
const DETAILS_MAX: usize = 1_000;

/// The refusal of a start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stop {
    pub code: ErrorCode,
    pub message: String,
    /// The changes that it is about.
    pub details: Vec<String>,
}

/// What a person must act on comes first; a freeze, which ends by itself, last.
pub fn stopped(findings: &[Finding], is_start_of_run: bool) -> Stop {
    let of = |wanted: fn(&Found) -> bool| {
        findings
            .iter()
            .filter(|finding| finding.stops)
            .map(|finding| &finding.what)
            .filter(move |what| wanted(what))
            .collect::<Vec<_>>()
    };
    let groups = [
        (
            ErrorCode::ChecksumMismatch,
            of(|what| matches!(what, Found::ChecksumMismatch { .. })),
            "Put it back as it was and write a new change for what is new, or have an operator accept the new checksum.",
        ),
        (
            ErrorCode::OutOfOrder,
            of(|what| matches!(what, Found::OutOfOrder { .. })),
            "Put it behind what is applied, or have an operator approve it.",
        ),
        (
            ErrorCode::ApprovalMissing,
            of(|what| matches!(what, Found::ApprovalMissing { .. })),
            "Have an operator who is not the author approve it, then start again.",
        ),
        (
            ErrorCode::Frozen,
            of(|what| matches!(what, Found::Frozen(_))),
            "Start again when it has ended; services that are up to date start all the same.",
        ),
    ];
    let code = groups
        .iter()
        .find(|(_, found, _)| !found.is_empty())
        .map_or(ErrorCode::Frozen, |(code, ..)| *code);
    // In the middle of a run, earlier blocks may have been carried out.
    let what = if is_start_of_run {
        "Nothing"
    } else {
        "Nothing more"
    };
    let mut message = format!("{what} was started: the policies of this environment refuse it.");
    let mut details = Vec::new();
    for (_, found, what_to_do) in &groups {
        if found.is_empty() {
            continue;
        }
        for one in found.iter().take(SHOWN) {
            message.push(' ');
            message.push_str(&sentence(one));
        }
        if let Some(more) = found.len().checked_sub(SHOWN).filter(|more| *more > 0) {
            // Writing to a text cannot fail.
            let _ = write!(message, " So it is with {more} more.");
        }
        message.push(' ');
        message.push_str(what_to_do);
        details.extend(found.iter().filter_map(|one| match one {
            Found::ChecksumMismatch { change, .. }
            | Found::OutOfOrder { change, .. }
            | Found::ApprovalMissing { change, .. } => Some(change.to_string()),
            Found::Frozen(_) => None,
        }));
    }
    details.truncate(DETAILS_MAX);
    Stop {
        code,
        message,
        details,
    }
}
