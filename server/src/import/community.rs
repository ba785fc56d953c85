//! A record of Flamingock Community's audit, as `mongoexport` of the collection `flamingockAuditLog` writes it.

use serde_json::{Map, Value};

use super::extended_json as ext;
use super::record::{RawRecord, Unusable, time_field};

pub fn read(document: &Map<String, Value>) -> Result<RawRecord, Unusable> {
    Ok(RawRecord {
        execution: ext::text(document, "executionId"),
        change: ext::text(document, "changeId"),
        stage: ext::text(document, "stageId"),
        author: ext::text(document, "author"),
        at_ms: Some(time_field(document, "createdAt")?),
        state: ext::text(document, "state"),
        class_name: ext::text(document, "invokedClass"),
        method_name: ext::text(document, "invokedMethod"),
        metadata: ext::json(document, "metadata"),
        execution_millis: ext::integer(document, "executionMillis"),
        execution_hostname: ext::text(document, "executionHostname"),
        error_trace: ext::text(document, "errorTrace"),
        change_type: ext::text(document, "type"),
        tx_strategy: ext::text(document, "txStrategy"),
        target_system: ext::text(document, "targetSystemId"),
        order: ext::text(document, "changeOrder"),
        recovery_strategy: ext::text(document, "recoveryStrategy"),
        transaction_flag: ext::flag(document, "transactionFlag"),
        system_change: ext::flag(document, "systemChange"),
    })
}
