//! The client's JSON: compact, its properties in the order of its classes, nothing written that is null.

/// Client generations (W 0.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Generation {
    /// 1.3: flat stages, no status.
    G1,
    /// 1.4: blocks, the status of stages.
    G2,
    /// 1.5: the status of changes, too.
    G3,
}

pub const GENERATIONS: [Generation; 3] = [Generation::G1, Generation::G2, Generation::G3];

#[derive(Clone, Debug)]
pub struct Change {
    id: &'static str,
    mark: &'static str,
    status: Option<&'static str>,
}

pub fn change(id: &'static str) -> Change {
    Change {
        id,
        mark: "NONE",
        status: None,
    }
}

impl Change {
    pub fn mark(self, mark: &'static str) -> Self {
        Self { mark, ..self }
    }

    /// What the run recorded for it.
    pub fn is(self, status: &'static str) -> Self {
        Self {
            status: Some(status),
            ..self
        }
    }
}

#[derive(Clone, Debug)]
pub struct Stage {
    name: &'static str,
    status: Option<&'static str>,
    changes: Vec<Change>,
}

pub fn stage(name: &'static str, changes: impl Into<Vec<Change>>) -> Stage {
    Stage {
        name,
        status: None,
        changes: changes.into(),
    }
}

impl Stage {
    pub fn is(self, status: &'static str) -> Self {
        Self {
            status: Some(status),
            ..self
        }
    }
}

/// The body of a plan request with one `DEFAULT` block, as this generation writes it.
pub fn plan_body(generation: Generation, stages: &[Stage]) -> String {
    plan_body_of_blocks(generation, &[("DEFAULT", stages)], 60_000)
}

/// The body of a plan request; the order of stages is counted over all blocks.
pub fn plan_body_of_blocks(generation: Generation, blocks: &[(&str, &[Stage])], lease_ms: i64) -> String {
    let mut order = 0;
    let mut rendered = Vec::new();
    for (kind, stages) in blocks {
        let stages: Vec<String> = stages
            .iter()
            .map(|stage| {
                let text = stage_text(generation, stage, order);
                order += 1;
                text
            })
            .collect();
        rendered.push((kind, stages.join(",")));
    }
    let submission = if generation == Generation::G1 {
        assert_eq!(rendered.len(), 1, "this generation knows no blocks");
        format!(r#""stages":[{}]"#, rendered[0].1)
    } else {
        let blocks: Vec<String> = rendered
            .iter()
            .map(|(kind, stages)| format!(r#"{{"type":"{kind}","stages":[{stages}]}}"#))
            .collect();
        format!(r#""blocks":[{}]"#, blocks.join(","))
    };
    format!(r#"{{"clientSubmission":{{{submission}}},"lockAcquiredForMillis":{lease_ms}}}"#)
}

fn stage_text(generation: Generation, stage: &Stage, order: usize) -> String {
    let status = match stage.status {
        Some(status) if generation != Generation::G1 => format!(r#""status":"{status}","#),
        _ => String::new(),
    };
    let changes: Vec<String> = stage
        .changes
        .iter()
        .map(|change| {
            let status = match change.status {
                Some(status) if generation == Generation::G3 => format!(r#""currentStatus":"{status}","#),
                _ => String::new(),
            };
            format!(
                r#"{{"id":{},"ongoingStatus":"{}",{status}"transactional":true}}"#,
                quoted(change.id),
                change.mark
            )
        })
        .collect();
    format!(
        r#"{{"name":{},"order":{order},{status}"changes":[{}]}}"#,
        quoted(stage.name),
        changes.join(",")
    )
}

/// An audit write.
#[derive(Clone, Debug)]
pub struct Written<'a> {
    pub change: &'a str,
    pub stage: &'a str,
    pub state: &'a str,
    pub class: &'a str,
    pub method: &'a str,
    pub order: &'a str,
    pub millis: i64,
    pub error_trace: &'a str,
    pub tx_strategy: &'a str,
    pub recovery: &'a str,
}

impl Default for Written<'_> {
    fn default() -> Self {
        Self {
            change: "create-invoices",
            stage: "schema",
            state: "STARTED",
            class: "com.acme.billing.schema._0001__CreateInvoices",
            method: "apply",
            order: "0001",
            millis: 0,
            error_trace: "",
            tx_strategy: "NON_TX",
            recovery: "MANUAL_INTERVENTION",
        }
    }
}

impl Written<'_> {
    pub fn body(&self) -> String {
        format!(
            concat!(
                r#"{{"changeId":{},"stageId":{},"author":"mara","appliedAtEpochMillis":1789374067512,"state":"{}","#,
                r#""className":"{}","methodName":"{}","metadata":{{}},"executionMillis":{},"#,
                r#""executionHostname":"node-a","errorTrace":{},"type":"STANDARD_CODE","txStrategy":"{}","#,
                r#""targetSystemId":"shell","order":"{}","recoveryStrategy":"{}","transactionFlag":true,"#,
                r#""systemChange":false}}"#
            ),
            quoted(self.change),
            quoted(self.stage),
            self.state,
            self.class,
            self.method,
            self.millis,
            quoted(self.error_trace),
            self.tx_strategy,
            self.order,
            self.recovery,
        )
    }
}

pub fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}
