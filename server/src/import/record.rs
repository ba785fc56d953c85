//! A record as it was told, and the fact that it becomes.

use flamingock_domain::audit::AuditState;
use flamingock_domain::ids::{ChangeId, IdError};

use serde_json::{Map, Value};

use super::extended_json;
use crate::app::Fact;
use crate::app::facts::{
    self, EXECUTION_REF_MAX_BYTES, STATE_MAX_BYTES, TEXT_MAX_BYTES, TRACE_MAX_BYTES, cut,
};
use crate::app::imports::HistoricFact;

/// Who imports, and from where: recorded with every entry.
#[derive(Clone, Debug)]
pub struct Origin {
    /// A person's name.
    pub by: String,
    /// The source, in words.
    pub source: String,
    /// What its records are counted in: lines or rows.
    pub unit: &'static str,
}

/// What a record says, in the words of its source.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RawRecord {
    pub execution: Option<String>,
    pub change: Option<String>,
    pub stage: Option<String>,
    pub author: Option<String>,
    pub at_ms: Option<i64>,
    pub state: Option<String>,
    pub class_name: Option<String>,
    pub method_name: Option<String>,
    /// JSON text.
    pub metadata: Option<String>,
    pub execution_millis: Option<i64>,
    pub execution_hostname: Option<String>,
    pub error_trace: Option<String>,
    pub change_type: Option<String>,
    pub tx_strategy: Option<String>,
    pub target_system: Option<String>,
    pub order: Option<String>,
    pub recovery_strategy: Option<String>,
    pub transaction_flag: Option<bool>,
    pub system_change: Option<bool>,
}

/// Why a record cannot be taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unusable {
    #[error("not JSON: {0}")]
    NotJson(String),
    #[error("not a JSON object")]
    NotAnObject,
    #[error("not UTF-8")]
    NotUtf8,
    #[error("`{0}` is missing or empty")]
    Missing(&'static str),
    #[error("`{field}` is no point in time: {found}")]
    NotATime { field: &'static str, found: String },
    #[error("the change id {0}")]
    ChangeId(IdError),
}

impl RawRecord {
    /// A state that nobody knows is kept as it is told: the planner then asks a person. To leave the record out would
    /// make its change one that never ran.
    pub fn into_fact(self, origin: &Origin, place: u64) -> Result<HistoricFact, Unusable> {
        let told = |text: Option<String>| text.filter(|text| !text.trim().is_empty());
        let change = told(self.change).ok_or(Unusable::Missing("changeId"))?;
        let change = ChangeId::parse(change).map_err(Unusable::ChangeId)?;
        let state_text = told(self.state).ok_or(Unusable::Missing("state"))?;
        let state_text = state_text.trim();
        let state = AuditState::from_wire(state_text);
        let state_text = match state {
            AuditState::Unknown => cut(state_text, STATE_MAX_BYTES),
            known => known.as_wire().to_owned(),
        };
        let short = |text: Option<String>| told(text).map(|text| cut(&text, TEXT_MAX_BYTES));
        let fact = Fact {
            execution_ref: execution_ref(told(self.execution).as_deref(), self.at_ms),
            change_id: change.to_string(),
            stage_id: short(self.stage),
            author: short(self.author),
            applied_at_ms: self.at_ms,
            state: state_text,
            class_name: short(self.class_name),
            method_name: short(self.method_name),
            metadata: self.metadata.as_deref().map(facts::metadata),
            execution_millis: self.execution_millis,
            execution_hostname: short(self.execution_hostname),
            error_trace: told(self.error_trace).map(|trace| cut(&trace, TRACE_MAX_BYTES)),
            change_type: short(self.change_type),
            tx_strategy: short(self.tx_strategy),
            target_system_id: short(self.target_system),
            change_order: short(self.order),
            recovery_strategy: short(self.recovery_strategy),
            transaction_flag: self.transaction_flag,
            system_change: self.system_change,
            runner_id: None,
            fence: None,
            actor: cut(&format!("import:{}", origin.by), TEXT_MAX_BYTES),
            note: Some(cut(
                &format!("imported from {}, {} {place}", origin.source, origin.unit),
                TEXT_MAX_BYTES,
            )),
        };
        Ok(HistoricFact { change, state, fact })
    }
}

/// By (change, execution, state) an entry is known again, so it must come out the same with every import. A plain number
/// would be taken for one of this server's own executions; without any id, the time tells two attempts apart.
fn execution_ref(told: Option<&str>, at_ms: Option<i64>) -> String {
    match told {
        Some(id) if id.parse::<i64>().is_ok() => format!("imported-{id}"),
        Some(id) => cut(id, EXECUTION_REF_MAX_BYTES),
        None => format!("imported-at-{}", at_ms.unwrap_or_default()),
    }
}

/// A time that every record of a source has.
pub(super) fn time_field(document: &Map<String, Value>, field: &'static str) -> Result<i64, Unusable> {
    match document.get(field) {
        None | Some(Value::Null) => Err(Unusable::Missing(field)),
        Some(value) => extended_json::time(value).ok_or_else(|| Unusable::NotATime {
            field,
            found: cut(&value.to_string(), 80),
        }),
    }
}
