//! Two tenants, a second project of the first one, and somebody of every role.

use std::collections::BTreeMap;

use flamingock_api_types::identity::IdentityView;
use flamingock_tests::{Call, Person, Pipeline, Runner, TestServer, tokens};
use serde_json::{Value, json};

use super::table::CALLERS;
use crate::wire::identity::ended_an_hour_ago;

/// Values of placeholders.
pub type Ids = BTreeMap<&'static str, String>;

pub struct World {
    pub server: TestServer,
    /// By name: see [`CALLERS`].
    pub bearers: BTreeMap<&'static str, String>,
    /// What no call may be made with: what it is, the bearer, the code of the refusal.
    pub unusable: Vec<(&'static str, String, &'static str)>,
    /// Of whom the roles are.
    pub own: Ids,
    /// As `own`, in the one environment of the caller `elsewhere`.
    pub elsewhere: Ids,
    /// As `own`, another service.
    pub beside: Ids,
    /// Another project of the same organisation.
    pub sibling: Ids,
    /// Another organisation.
    pub foreign: Ids,
    /// The process that holds the lock of the service.
    pub runner: Runner,
    /// Another one of the same service.
    pub stranger: Runner,
}

impl World {
    pub async fn new() -> Self {
        // JSON, so that statements can be counted; each names its request.
        let server = TestServer::with(&[
            ("FLAMINGOCK_LOG_FORMAT", "json"),
            ("FLAMINGOCK_LOG_FILTER", "info,sqlx=debug"),
        ])
        .await;
        let root = server.root();
        let runner = server.runner("billing").await;
        let mut own = tenant(&server, &root, &server.person(&tokens().runner), &runner).await;
        let trusting = own["otherEnvironmentId"].clone();
        let elsewhere_token = token(
            &root,
            &own,
            json!({
                "name": "elsewhere", "role": "operator", "projectId": number(&own["projectId"]),
                "environmentIds": [number(&trusting)]
            }),
        )
        .await;
        let project_admin = token(
            &root,
            &own,
            json!({"name": "project-admin", "role": "admin", "projectId": number(&own["projectId"])}),
        )
        .await;
        let narrow = token(
            &root,
            &own,
            json!({
                "name": "narrow-operator", "role": "operator", "projectId": number(&own["projectId"]),
                "serviceIds": [number(&own["serviceId"])]
            }),
        )
        .await;
        let environment_admin = token(
            &root,
            &own,
            json!({
                "name": "environment-admin", "role": "admin", "projectId": number(&own["projectId"]),
                "environmentIds": [number(&own["environmentId"])]
            }),
        )
        .await;
        let admin_session = Runner::open(&server.address, &project_admin.1, "production", "billing").await;
        let other = server.other_tenants_runner("routing").await;
        let foreign = tenant(&server, &root, &server.person(&tokens().other_runner), &other).await;
        let sibling = sibling(&server, &root, &own["organisationId"]).await;

        let mut unusable = vec![
            ("text that is no token", "nonsense".to_owned(), "R_AUTH_05"),
            (
                "a token that was never made",
                tokens().unknown.clone(),
                "R_AUTH_01",
            ),
            ("a mistyped token", format!("{}a", tokens().viewer), "R_AUTH_01"),
        ];
        unusable.extend(ended(&server, &root, &own).await);
        unusable.push((
            "an expired session",
            ended_an_hour_ago(&server, &runner.another()).await.jwt,
            "R_AUTH_02",
        ));
        own.insert("changeId", "a".to_owned());
        let mut elsewhere = own.clone();
        elsewhere.insert("environmentId", trusting);
        elsewhere.insert("otherEnvironmentId", own["environmentId"].clone());
        let mut beside = own.clone();
        let neighbour = server.runner("ledger").await;
        let execution = neighbour.granted(&Pipeline::of("schema", &["a"])).await;
        beside.insert("serviceId", neighbour.service_id.to_string());
        beside.insert("key", neighbour.key());
        beside.insert(
            "executionId",
            execution.execution_id.expect("granted").to_string(),
        );
        let bearers = BTreeMap::from([
            ("session", runner.jwt.clone()),
            ("runner", tokens().runner.clone()),
            ("viewer", tokens().viewer.clone()),
            ("operator", tokens().operator.clone()),
            ("elsewhere", elsewhere_token.1),
            ("project-admin", project_admin.1),
            ("admin", tokens().admin.clone()),
            ("root", tokens().root.clone()),
            ("admin-session", admin_session.jwt),
            ("narrow", narrow.1),
            ("environment-admin", environment_admin.1),
        ]);
        assert!(CALLERS.iter().all(|caller| bearers.contains_key(caller)));
        Self {
            server,
            bearers,
            unusable,
            own,
            elsewhere,
            beside,
            sibling,
            foreign,
            stranger: runner.another(),
            runner,
        }
    }

    /// The caller's own ids. What a call may use up is new for each.
    pub async fn own_of(&self, caller: &str, placeholders: &[String]) -> Ids {
        let mut ids = if caller == "elsewhere" {
            self.elsewhere.clone()
        } else {
            self.own.clone()
        };
        if placeholders.iter().any(|name| name == "tokenId") {
            let spare = json!({
                "name": unique(), "role": "viewer", "projectId": number(&ids["projectId"])
            });
            ids.insert("tokenId", token(&self.server.root(), &ids, spare).await.0);
        }
        if placeholders.iter().any(|name| name == "freezeId") {
            let spare = freeze(&self.server.root(), &ids).await;
            ids.insert("freezeId", spare);
        }
        ids.insert("unique", unique());
        ids
    }

    /// Ids that a caller does not reach. Every one of them exists.
    pub fn unreachable(&self, caller: &str) -> Vec<&Ids> {
        match caller {
            "root" => Vec::new(),
            "admin" => vec![&self.foreign],
            "elsewhere" => vec![&self.foreign, &self.sibling, &self.own],
            "session" | "admin-session" | "narrow" => vec![&self.foreign, &self.sibling, &self.beside],
            "environment-admin" => vec![&self.foreign, &self.sibling, &self.elsewhere],
            _ => vec![&self.foreign, &self.sibling],
        }
    }
}

/// What is in a project: by its runner's token, with an execution that was granted and a token of its own.
async fn tenant(server: &TestServer, root: &Person, holder: &Person, runner: &Runner) -> Ids {
    let execution = runner
        .granted(&Pipeline::of("schema", &["a", "b"]))
        .await
        .execution_id
        .expect("granted");
    let identity: IdentityView = holder.get("/api/v1/admin/identity").await.expect(200).read();
    let project = &identity.projects[0];
    let mut ids = Ids::from([
        ("organisationId", project.organisation.id.to_string()),
        ("projectId", project.project_id.to_string()),
        ("environmentId", runner.environment_id.to_string()),
        ("serviceId", runner.service_id.to_string()),
        ("executionId", execution.to_string()),
        ("key", runner.key()),
        ("changeId", "a".to_owned()),
    ]);
    let other = project
        .environments
        .iter()
        .find(|environment| environment.id != runner.environment_id);
    let other = match other {
        Some(environment) => environment.id,
        None => {
            made(
                root,
                &format!("project/{}/environment", project.project_id),
                "staging",
            )
            .await
        }
    };
    ids.insert("otherEnvironmentId", other.to_string());
    complete(server, root, &mut ids).await;
    ids
}

async fn sibling(server: &TestServer, root: &Person, organisation: &str) -> Ids {
    let project = made(root, &format!("organisation/{organisation}/project"), "shipping").await;
    let environment = made(root, &format!("project/{project}/environment"), "production").await;
    let other = made(root, &format!("project/{project}/environment"), "staging").await;
    let service = made(root, &format!("project/{project}/service"), "parcels").await;
    let mut ids = Ids::from([
        ("organisationId", organisation.to_owned()),
        ("projectId", project.to_string()),
        ("environmentId", environment.to_string()),
        ("otherEnvironmentId", other.to_string()),
        ("serviceId", service.to_string()),
        ("key", service.to_string()),
        ("changeId", "a".to_owned()),
    ]);
    let (_, value) = token(
        root,
        &ids,
        json!({"name": "sibling-runner", "role": "runner", "projectId": project}),
    )
    .await;
    let runner = Runner::open(&server.address, &value, "production", "parcels").await;
    let execution = runner
        .granted(&Pipeline::of("schema", &["a"]))
        .await
        .execution_id
        .expect("granted");
    ids.insert("executionId", execution.to_string());
    complete(server, root, &mut ids).await;
    ids
}

/// What else may stand in a path. An operation that needs another id finds it here.
async fn complete(_server: &TestServer, root: &Person, ids: &mut Ids) {
    let spare = json!({"name": unique(), "role": "viewer", "projectId": number(&ids["projectId"])});
    let (id, _) = token(root, ids, spare).await;
    ids.insert("tokenId", id);
    let freeze = freeze(root, ids).await;
    ids.insert("freezeId", freeze);
}

/// A freeze window that is not open while the walk lasts.
async fn freeze(root: &Person, ids: &Ids) -> String {
    let path = format!("/api/v1/admin/environment/{}/freeze", ids["environmentId"]);
    // Asked for once more in the same words it would be the same window.
    let far = json!({"reason": unique(), "startsAt": "2190-01-01T00:00:00Z"});
    let made = root.post(&path, &far).await.expect(201).json();
    made["freezeId"].to_string()
}

/// A token that has expired and one that was revoked, with a session that the latter had opened.
async fn ended(server: &TestServer, root: &Person, own: &Ids) -> Vec<(&'static str, String, &'static str)> {
    let project = number(&own["projectId"]);
    let (expired_id, expired) = token(
        root,
        own,
        json!({"name": "expired", "role": "admin", "projectId": project, "expiresAt": "2100-01-01T00:00:00Z"}),
    )
    .await;
    server
        .database
        .execute(&format!(
            "UPDATE api_tokens SET expires_at = clock_timestamp() WHERE id = {expired_id}"
        ))
        .await;
    let (revoked_id, revoked) = token(
        root,
        own,
        json!({"name": "revoked", "role": "admin", "projectId": project}),
    )
    .await;
    let session = Runner::open(&server.address, &revoked, "production", "billing").await;
    root.post(
        &format!("/api/v1/admin/token/{revoked_id}/revocation"),
        &json!({}),
    )
    .await
    .expect(200);
    flamingock_tests::eventually("the revocation cuts", async || {
        let answer = session.get(&session.plan_path()).await;
        (answer.status == 401).then_some(())
    })
    .await;
    vec![
        ("an expired token", expired, "R_AUTH_01"),
        ("a revoked token", revoked, "R_AUTH_01"),
        ("a session of a revoked token", session.jwt, "R_AUTH_06"),
    ]
}

/// Makes something of the tenancy; gives its id.
async fn made(root: &Person, path: &str, name: &str) -> i64 {
    let made = root
        .post(&format!("/api/v1/admin/{path}"), &json!({"name": name}))
        .await
        .expect(201)
        .json();
    let kind = path.rsplit('/').next().expect("a path has segments");
    made[format!("{kind}Id")].as_i64().expect("ids are integers")
}

/// Makes a token of an organisation; gives its id and value.
async fn token(root: &Person, ids: &Ids, wish: Value) -> (String, String) {
    let path = format!("/api/v1/admin/organisation/{}/token", ids["organisationId"]);
    let made = root.post(&path, &wish).await.expect(201).json();
    (
        made["token"]["tokenId"].to_string(),
        made["value"].as_str().expect("shown once").to_owned(),
    )
}

fn number(text: &str) -> i64 {
    text.parse().expect("ids are integers")
}

pub fn unique() -> String {
    use std::sync::atomic::{AtomicU32, Ordering};
    static NEXT: AtomicU32 = AtomicU32::new(0);
    format!("spare-{}", NEXT.fetch_add(1, Ordering::Relaxed))
}

/// The call for an operation, with its placeholders filled.
pub fn call(method: &str, path: &str, query: &str, body: Option<&str>, ids: &Ids, runner: &Runner) -> Call {
    let fill = |text: &str| {
        ids.iter().fold(text.to_owned(), |text, (name, value)| {
            text.replace(&format!("{{{name}}}"), value)
        })
    };
    let call = Call::new(method, format!("{}{}", fill(path), fill(query)))
        .header("flamingock-runner-id", &runner.id);
    match body {
        Some(body) => call.header("Content-Type", "application/json").body(fill(body)),
        None => call,
    }
}
