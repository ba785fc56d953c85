//! Audit entries as RFC 4180, for spreadsheets.

use flamingock_api_types::audit::AuditEntryView;

/// A text that begins with one of these is a formula to a spreadsheet, whoever wrote it. A `'` before it makes it a text.
const FORMULA: [char; 6] = ['=', '+', '-', '@', '\t', '\r'];

/// Every column: its name, and its value in an entry. `None` is an empty field.
type Column = (&'static str, fn(&AuditEntryView) -> Option<Value<'_>>);

enum Value<'a> {
    /// Written by others: guarded.
    Text(&'a str),
    /// Ours: a number, a flag, a time, a hash.
    Plain(String),
}

fn text(value: Option<&String>) -> Option<Value<'_>> {
    value.map(|text| Value::Text(text))
}

fn plain<'a>(value: Option<impl ToString>) -> Option<Value<'a>> {
    value.map(|value| Value::Plain(value.to_string()))
}

const COLUMNS: &[Column] = &[
    ("seq", |entry| plain(Some(entry.seq))),
    ("receivedAt", |entry| {
        plain(Some(
            entry
                .received_at
                .to_rfc3339_opts(chrono::SecondsFormat::Micros, true),
        ))
    }),
    ("environmentId", |entry| plain(Some(entry.environment_id))),
    ("serviceId", |entry| plain(Some(entry.service_id))),
    ("changeId", |entry| text(Some(&entry.change_id))),
    ("state", |entry| text(Some(&entry.state))),
    ("source", |entry| text(Some(&entry.source))),
    ("late", |entry| plain(Some(entry.late))),
    ("executionId", |entry| text(Some(&entry.execution_id))),
    ("stageId", |entry| text(entry.stage_id.as_ref())),
    ("author", |entry| text(entry.author.as_ref())),
    ("appliedAtEpochMillis", |entry| {
        plain(entry.applied_at_epoch_millis)
    }),
    ("executionMillis", |entry| plain(entry.execution_millis)),
    ("executionHostname", |entry| {
        text(entry.execution_hostname.as_ref())
    }),
    ("className", |entry| text(entry.class_name.as_ref())),
    ("methodName", |entry| text(entry.method_name.as_ref())),
    ("type", |entry| text(entry.change_type.as_ref())),
    ("txStrategy", |entry| text(entry.tx_strategy.as_ref())),
    ("targetSystemId", |entry| text(entry.target_system_id.as_ref())),
    ("order", |entry| text(entry.order.as_ref())),
    ("recoveryStrategy", |entry| text(entry.recovery_strategy.as_ref())),
    ("transactionFlag", |entry| plain(entry.transaction_flag)),
    ("systemChange", |entry| plain(entry.system_change)),
    ("runnerId", |entry| text(entry.runner_id.as_ref())),
    ("fence", |entry| plain(entry.fence)),
    ("actor", |entry| text(Some(&entry.actor))),
    ("note", |entry| text(entry.note.as_ref())),
    ("metadata", |entry| plain(entry.metadata.as_ref())),
    ("errorTrace", |entry| text(entry.error_trace.as_ref())),
    ("prevHash", |entry| plain(Some(&entry.prev_hash))),
    ("hash", |entry| plain(Some(&entry.hash))),
];

/// The first line, without its end.
pub fn heading() -> String {
    COLUMNS
        .iter()
        .map(|(name, _)| *name)
        .collect::<Vec<_>>()
        .join(",")
}

/// An entry's line, without its end.
pub fn row(entry: &AuditEntryView) -> String {
    let mut out = String::with_capacity(512);
    for (at, (_, value)) in COLUMNS.iter().enumerate() {
        if at > 0 {
            out.push(',');
        }
        match value(entry) {
            Some(Value::Text(text)) if text.starts_with(FORMULA) => field(&mut out, &format!("'{text}")),
            Some(Value::Text(text)) => field(&mut out, text),
            Some(Value::Plain(text)) => field(&mut out, &text),
            None => {}
        }
    }
    out
}

fn field(out: &mut String, text: &str) {
    if !text.contains([',', '"', '\r', '\n']) {
        out.push_str(text);
        return;
    }
    out.push('"');
    out.push_str(&text.replace('"', "\"\""));
    out.push('"');
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(change_id: &str) -> AuditEntryView {
        serde_json::from_value(serde_json::json!({
            "seq": 1, "environmentId": 12, "serviceId": 340, "changeId": change_id, "state": "APPLIED",
            "source": "RUNNER", "late": false, "executionId": "9001", "receivedAt": "2026-09-14T08:21:08.004211Z",
            "appliedAtEpochMillis": -1, "actor": "credential:7", "note": "line \"one\"\nline two",
            "metadata": {"a": 1}, "prevHash": "00", "hash": "ff"
        }))
        .expect("an entry")
    }

    #[test]
    fn every_line_has_as_many_fields_as_the_heading_and_quotes_what_would_break_it() {
        let line = row(&entry("a,b"));
        assert!(
            line.starts_with("1,2026-09-14T08:21:08.004211Z,12,340,\"a,b\",APPLIED,RUNNER,false,9001,,,-1,")
        );
        assert!(line.ends_with(",credential:7,\"line \"\"one\"\"\nline two\",\"{\"\"a\"\":1}\",,00,ff"));
        assert_eq!(
            row(&entry("a")).matches(',').count(),
            heading().matches(',').count()
        );
    }

    #[test]
    fn a_text_that_a_spreadsheet_would_carry_out_becomes_a_text() {
        for (given, written) in [
            ("=1+1", "'=1+1"),
            ("+1", "'+1"),
            ("-1", "'-1"),
            ("@SUM(A1)", "'@SUM(A1)"),
            ("\t=1", "'\t=1"),
            ("=HYPERLINK(\"x\",\"y\")", "\"'=HYPERLINK(\"\"x\"\",\"\"y\"\")\""),
            ("a=1", "a=1"),
        ] {
            let line = row(&entry(given));
            assert!(line.contains(&format!(",340,{written},APPLIED,")), "{line}");
        }
    }
}
