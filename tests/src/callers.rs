//! Who calls, as types: what a value can do is what its credential may.

use std::fmt::Display;

use flamingock_api_types::audit::{
    AuditEntryView, AuditPage, AuditState, AuditWriteResponse, ChainVerification,
};
use flamingock_api_types::execution::{ChangeAction, PlanAction, PlanResponse};
use flamingock_api_types::issue::{IssuePage, IssueView, ResolutionKind};
use flamingock_api_types::lock::LockResponse;
use flamingock_api_types::preview::PlanPreview;
use serde_json::{Value, json};

use crate::files;
use crate::http::{Answer, Call};
use crate::pipeline::Pipeline;

/// A process with a session. Speaks like the Java client: no charset, no retries, no time-outs.
#[derive(Clone, Debug)]
pub struct Runner {
    pub address: String,
    pub jwt: String,
    /// Its `flamingock-runner-id`.
    pub id: String,
    pub environment_id: i64,
    pub service_id: i64,
}

/// A person with an API token.
#[derive(Clone, Debug)]
pub struct Person {
    pub address: String,
    pub token: String,
}

/// A token exchange.
pub async fn exchange(address: &str, token: &str, environment: &str, service: &str) -> Answer {
    Call::post("/api/v1/auth/exchange-token")
        .json(&json!({"apiToken": token, "environmentName": environment, "serviceName": service}))
        .send(address)
        .await
}

impl Runner {
    pub async fn open(address: &str, token: &str, environment: &str, service: &str) -> Self {
        let session = exchange(address, token, environment, service)
            .await
            .expect(200)
            .json();
        let number = |name: &str| session[name].as_i64().expect("ids are integers");
        Self {
            address: address.to_owned(),
            jwt: session["jwt"].as_str().expect("a session has a token").to_owned(),
            id: Self::new_id(service),
            environment_id: number("environmentId"),
            service_id: number("serviceId"),
        }
    }

    fn new_id(service: &str) -> String {
        format!("{service}@host#{}", files::unique("runner"))
    }

    /// Another process of the same application.
    #[must_use]
    pub fn another(&self) -> Self {
        Self {
            id: Self::new_id("another"),
            ..self.clone()
        }
    }

    /// The same process, talking to another replica.
    #[must_use]
    pub fn at(&self, address: &str) -> Self {
        Self {
            address: address.to_owned(),
            ..self.clone()
        }
    }

    /// With what goes with every call.
    pub fn with_headers(&self, call: Call) -> Call {
        call.bearer(&self.jwt).header("flamingock-runner-id", &self.id)
    }

    async fn send(&self, call: Call) -> Answer {
        self.with_headers(call).send(&self.address).await
    }

    /// `/api/v1/environment/{…}/service/{…}`
    pub fn scope(&self) -> String {
        format!(
            "/api/v1/environment/{}/service/{}",
            self.environment_id, self.service_id
        )
    }

    pub fn plan_path(&self) -> String {
        format!("{}/execution", self.scope())
    }

    /// The plan call, whatever becomes of it. `query` without its question mark.
    pub async fn ask(&self, query: &str, body: &Value) -> Answer {
        self.send(Call::post(format!("{}?{query}", self.plan_path())).json(body))
            .await
    }

    /// The plan call, answered.
    pub async fn plan(&self, pipeline: &Pipeline) -> PlanResponse {
        self.ask("elapsedMillis=0", &pipeline.body())
            .await
            .expect(201)
            .read()
    }

    /// The plan call with a proof: "I have watched this acquisition id for so long".
    pub async fn plan_after_watching(
        &self,
        pipeline: &Pipeline,
        acquisition_id: &str,
        elapsed_ms: i64,
    ) -> PlanResponse {
        let id = form_encoded(acquisition_id);
        let query = format!("lastAcquisitionId={id}&elapsedMillis={elapsed_ms}");
        self.ask(&query, &pipeline.body()).await.expect(201).read()
    }

    /// The plan call, which must grant.
    pub async fn granted(&self, pipeline: &Pipeline) -> PlanResponse {
        let plan = self.plan(pipeline).await;
        assert_eq!(plan.action, PlanAction::Execute, "{plan:?}");
        plan
    }

    /// One report, whatever becomes of it.
    pub async fn report(&self, execution: impl Display + Copy, change: &str, state: AuditState) -> Answer {
        self.report_with(execution, change, state, &json!({})).await
    }

    /// One report whose fields differ from the usual ones.
    pub async fn report_with(
        &self,
        execution: impl Display + Copy,
        change: &str,
        state: AuditState,
        fields: &Value,
    ) -> Answer {
        let mut body = report_body(change, state);
        for (name, value) in fields.as_object().expect("fields are an object") {
            body[name] = value.clone();
        }
        self.send(Call::post(self.report_path(execution, change)).json(&body))
            .await
    }

    /// Where a change is reported; the id as the Java client writes it, `/` as itself.
    pub fn report_path(&self, execution: impl Display + Copy, change: &str) -> String {
        let change = change
            .split('/')
            .map(percent_encoded)
            .collect::<Vec<_>>()
            .join("/");
        format!(
            "{}/{}/change/{change}/audit",
            self.plan_path(),
            percent_encoded(&execution.to_string())
        )
    }

    /// One report that must be taken.
    pub async fn told(&self, execution: i64, change: &str, state: AuditState) -> AuditWriteResponse {
        self.report(execution, change, state).await.expect(201).read()
    }

    /// `STARTED` and `APPLIED`.
    pub async fn apply(&self, execution: i64, change: &str) {
        self.told(execution, change, AuditState::Started).await;
        self.told(execution, change, AuditState::Applied).await;
    }

    /// Asks, applies everything that is offered and gives the lock back, until nothing is left.
    pub async fn bring_up_to_date(&self, pipeline: &Pipeline) {
        loop {
            let plan = self.plan(pipeline).await;
            match plan.action {
                PlanAction::Continue => return,
                PlanAction::Execute => {}
                other => panic!("{} is told to {other:?}", self.id),
            }
            let execution = plan.execution_id.expect("a grant has an execution");
            for change in plan.stages.iter().flatten().flat_map(|stage| &stage.changes) {
                assert_ne!(change.action, ChangeAction::ManualIntervention, "{change:?}");
                if change.action == ChangeAction::Apply {
                    self.apply(execution, &change.id).await;
                }
            }
            self.release().await.expect(200);
        }
    }

    /// The key of the service's lock.
    pub fn key(&self) -> String {
        self.service_id.to_string()
    }

    pub async fn acquire(&self, lease_ms: i64, proof: Option<(&str, i64)>) -> Answer {
        let mut body = json!({"acquiredForMillis": lease_ms});
        if let Some((acquisition_id, elapsed_ms)) = proof {
            body["lastAcquisitionId"] = json!(acquisition_id);
            body["elapsedMillis"] = json!(elapsed_ms);
        }
        self.send(Call::post(format!("/api/v1/{}/lock/acquisition", self.key())).json(&body))
            .await
    }

    pub async fn acquired(&self, lease_ms: i64) -> LockResponse {
        self.acquire(lease_ms, None).await.expect(201).read()
    }

    pub async fn extend(&self) -> Answer {
        self.send(Call::post(format!("/api/v1/{}/lock/extension", self.key())).json(&json!({})))
            .await
    }

    /// The heartbeat with what there is to tell of a change.
    pub async fn extend_telling(&self, progress: &Value) -> Answer {
        self.extend_with(json!({"progress": progress}).to_string()).await
    }

    /// The heartbeat with this body.
    pub async fn extend_with(&self, body: impl Into<Vec<u8>>) -> Answer {
        let call = Call::post(format!("/api/v1/{}/lock/extension", self.key())).body(body);
        self.send(call.header("Content-Type", "application/json")).await
    }

    pub async fn extended(&self) -> LockResponse {
        self.extend().await.expect(200).read()
    }

    pub async fn release(&self) -> Answer {
        let call = Call::delete(format!("/api/v1/{}/lock", self.key()));
        self.send(call.header("Content-Type", "application/json")).await
    }

    /// Gives back the grant with this fence and no other.
    pub async fn release_of(&self, fence: i64) -> Answer {
        let path = format!("/api/v1/{}/lock?fence={fence}", self.key());
        self.with_headers(Call::delete(path)).send(&self.address).await
    }

    pub async fn lock(&self) -> Answer {
        self.send(Call::get(format!("/api/v1/{}/lock", self.key()))).await
    }

    pub async fn get(&self, path: &str) -> Answer {
        self.send(Call::get(path)).await
    }
}

impl Person {
    /// `/api/v1/admin/environment/{…}/service/{…}` of the runner's scope.
    pub fn scope(of: &Runner) -> String {
        of.scope().replace("/api/v1/", "/api/v1/admin/")
    }

    pub async fn get(&self, path: &str) -> Answer {
        Call::get(path).bearer(&self.token).send(&self.address).await
    }

    pub async fn post(&self, path: &str, body: &Value) -> Answer {
        Call::post(path)
            .bearer(&self.token)
            .json(body)
            .send(&self.address)
            .await
    }

    pub async fn put(&self, path: &str, body: &Value) -> Answer {
        Call::new("PUT", path)
            .bearer(&self.token)
            .json(body)
            .send(&self.address)
            .await
    }

    pub async fn patch(&self, path: &str, body: &Value) -> Answer {
        Call::new("PATCH", path)
            .bearer(&self.token)
            .json(body)
            .send(&self.address)
            .await
    }

    /// The dry run of a plan.
    pub async fn preview(&self, of: &Runner, pipeline: &Pipeline) -> PlanPreview {
        self.post(&format!("{}/plan", Self::scope(of)), &pipeline.body())
            .await
            .expect(200)
            .read()
    }

    /// The whole audit of a service, page by page.
    pub async fn audit(&self, of: &Runner) -> Vec<AuditEntryView> {
        let mut entries = Vec::new();
        let mut after = "0".to_owned();
        loop {
            let path = format!("{}/audit?limit=500&after={after}", Self::scope(of));
            let page: AuditPage = self.get(&path).await.expect(200).read();
            entries.extend(page.entries);
            match page.next {
                Some(next) => after = next,
                None => return entries,
            }
        }
    }

    /// The states of one change, oldest first; a late one is marked.
    pub async fn states(&self, of: &Runner, change: &str) -> Vec<String> {
        let entries = self
            .audit(of)
            .await
            .into_iter()
            .filter(|entry| entry.change_id == change);
        entries
            .map(|entry| {
                if entry.late {
                    format!("late {}", entry.state)
                } else {
                    entry.state
                }
            })
            .collect()
    }

    /// Of the whole chain, in as many calls as it takes.
    pub async fn verification(&self, of: &Runner) -> ChainVerification {
        let mut after = String::new();
        loop {
            let path = format!("{}/audit/verification{after}", Self::scope(of));
            let verification: ChainVerification = self.get(&path).await.expect(200).read();
            match &verification.next {
                Some(next) => after = format!("?after={next}"),
                None => return verification,
            }
        }
    }

    pub async fn issues(&self, of: &Runner) -> Vec<IssueView> {
        let page: IssuePage = self
            .get(&format!("{}/issue?limit=500", Self::scope(of)))
            .await
            .expect(200)
            .read();
        page.issues
    }

    /// Decides; each about the entry of that sequence.
    pub async fn resolve(&self, of: &Runner, decisions: &[(&str, ResolutionKind, i64)]) -> Answer {
        let resolutions: Vec<Value> = decisions
            .iter()
            .map(|(change, resolution, seq)| {
                json!({"changeId": change, "resolution": resolution, "expectedSeq": seq})
            })
            .collect();
        let body = json!({"resolutions": resolutions, "reason": "looked at the target system"});
        self.post(&format!("{}/resolution", Self::scope(of)), &body).await
    }
}

/// What the Java client writes, but for what a test says.
pub fn report_body(change: &str, state: AuditState) -> Value {
    json!({
        "changeId": change, "stageId": "schema", "author": "mara", "appliedAtEpochMillis": 1_789_374_067_512_i64,
        "state": state, "className": "com.acme.billing.Change", "methodName": "apply", "metadata": {},
        "executionMillis": 3, "executionHostname": "node-a", "errorTrace": "", "type": "STANDARD_CODE",
        "txStrategy": "NON_TX", "targetSystemId": "shell", "order": "0001",
        "recoveryStrategy": "MANUAL_INTERVENTION", "transactionFlag": true, "systemChange": false
    })
}

/// As a segment of a path or a value of a query.
pub fn percent_encoded(text: &str) -> String {
    encoded(
        text,
        |byte| byte.is_ascii_alphanumeric() || b"-._~&+:@=;$,".contains(&byte),
        false,
    )
}

fn form_encoded(text: &str) -> String {
    encoded(
        text,
        |byte| byte.is_ascii_alphanumeric() || b"-._*".contains(&byte),
        true,
    )
}

fn encoded(text: &str, plain: impl Fn(u8) -> bool, space_is_plus: bool) -> String {
    use std::fmt::Write as _;
    text.bytes().fold(String::new(), |mut out, byte| {
        if plain(byte) {
            out.push(char::from(byte));
        } else if byte == b' ' && space_is_plus {
            out.push('+');
        } else {
            let _ = write!(out, "%{byte:02X}"); // writing to a string cannot fail
        }
        out
    })
}
