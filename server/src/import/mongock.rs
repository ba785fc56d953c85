//! A record of Mongock's change log, as `mongoexport` of the collection `mongockChangeLog` writes it. The meaning of its
//! states and types is that of Flamingock's own importer (wire contract §3.8).

use serde_json::{Map, Value};

use super::extended_json as ext;
use super::record::{RawRecord, Unusable};

/// The stage to which Flamingock's importer gives Mongock's own changes.
const SYSTEM_CHANGES_STAGE: &str = "flamingock-legacy-stage";

/// What a record says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Meaning {
    Record(Box<RawRecord>),
    /// The change had run before and was passed over: no attempt, no result.
    Ignored {
        change: String,
    },
}

pub fn read(document: &Map<String, Value>) -> Result<Meaning, Unusable> {
    let change = ext::text(document, "changeId");
    let state = ext::text(document, "state").map(|state| state.trim().to_ascii_uppercase());
    if state.as_deref() == Some("IGNORED") {
        return match change.filter(|id| !id.trim().is_empty()) {
            Some(change) => Ok(Meaning::Ignored { change }),
            None => Err(Unusable::Missing("changeId")),
        };
    }
    let at_ms = super::record::time_field(document, "timestamp")?;
    // Flamingock reads it with this spelling, Mongock writes it with the other.
    let hostname =
        ext::text(document, "executionHostname").or_else(|| ext::text(document, "executionHostName"));
    let system_change = ext::flag(document, "systemChange").unwrap_or(false);
    Ok(Meaning::Record(Box::new(RawRecord {
        execution: ext::text(document, "executionId"),
        change,
        stage: system_change.then(|| SYSTEM_CHANGES_STAGE.to_owned()),
        author: ext::text(document, "author"),
        at_ms: Some(at_ms),
        // `EXECUTED` is known to mean applied; the others have the same names here.
        state,
        class_name: ext::text(document, "changeLogClass"),
        method_name: ext::text(document, "changeSetMethod"),
        metadata: ext::json(document, "metadata"),
        execution_millis: ext::integer(document, "executionMillis"),
        execution_hostname: hostname,
        error_trace: ext::text(document, "errorTrace"),
        change_type: Some(change_type(ext::text(document, "type").as_deref())),
        // Mongock knew neither. Without them a person is asked about whatever failed and was not rolled back.
        tx_strategy: None,
        recovery_strategy: Some("MANUAL_INTERVENTION".to_owned()),
        target_system: None,
        order: None,
        transaction_flag: None,
        system_change: Some(system_change),
    })))
}

fn change_type(told: Option<&str>) -> String {
    match told.map(str::trim) {
        None | Some("" | "EXECUTION") => "MONGOCK_EXECUTION".to_owned(),
        Some("BEFORE_EXECUTION") => "MONGOCK_BEFORE".to_owned(),
        Some(other) => other.to_owned(),
    }
}
