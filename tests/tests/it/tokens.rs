//! API tokens by the API: shown once, rotated with an overlap, revoked everywhere, and never more than their maker's.

use flamingock_api_types::action::ActionPage;
use flamingock_api_types::identity::IdentityView;
use flamingock_api_types::token::{CreatedToken, RotatedToken, TokenPage, TokenView};
use flamingock_tests::{Answer, Person, Runner, TestServer, eventually, exchange};
use futures_util::future::join_all;
use serde_json::{Value, json};

struct World {
    server: TestServer,
    admin: Person,
    organisation: i64,
    project: i64,
    environments: Vec<i64>,
    ledger: i64,
}

impl World {
    async fn new() -> Self {
        let server = TestServer::start().await;
        let admin = server.admin();
        let identity: IdentityView = admin.get("/api/v1/admin/identity").await.expect(200).read();
        let project = &identity.projects[0];
        Self {
            organisation: project.organisation.id,
            project: project.project_id,
            environments: project.environments.iter().map(|it| it.id).collect(),
            ledger: project.services[0].id,
            admin,
            server,
        }
    }

    fn path(&self) -> String {
        format!("/api/v1/admin/organisation/{}/token", self.organisation)
    }

    async fn ask(&self, person: &Person, wish: Value) -> Answer {
        person.post(&self.path(), &wish).await
    }

    async fn made(&self, wish: Value) -> CreatedToken {
        self.ask(&self.admin, wish).await.expect(201).read()
    }

    async fn runner_token(&self, name: &str) -> CreatedToken {
        self.made(json!({"name": name, "role": "runner", "projectId": self.project}))
            .await
    }

    async fn view(&self, id: i64) -> TokenView {
        self.admin
            .get(&format!("/api/v1/admin/token/{id}"))
            .await
            .expect(200)
            .read()
    }

    async fn opens(&self, value: &str) -> Answer {
        exchange(&self.server.address, value, "production", "ledger").await
    }
}

fn of(id: i64, what: &str) -> String {
    format!("/api/v1/admin/token/{id}/{what}")
}

#[tokio::test]
async fn a_value_is_shown_once_and_nowhere_else() {
    let world = World::new().await;
    let answer = world
        .ask(
            &world.admin,
            json!({"name": "ci", "role": "runner", "projectId": world.project, "expiresAt": "2100-01-01T00:00:00Z"}),
        )
        .await;
    let made: CreatedToken = answer.expect(201).read();
    assert_eq!(answer.header("cache-control"), Some("no-store"));
    let hint = made.token.hint.clone().expect("a hint");
    assert!(made.value.starts_with(&hint) && hint.len() < 12, "{hint}");
    assert!(made.token.last_used_at.is_none());
    world.opens(&made.value).await.expect(200);
    let seen = world.view(made.token.token_id).await;
    assert!(seen.last_used_at.is_some() && seen.alive);

    let list = world.admin.get(&world.path()).await.expect(200).text();
    let log = world
        .admin
        .get(&format!(
            "/api/v1/admin/organisation/{}/action",
            world.organisation
        ))
        .await
        .expect(200)
        .text();
    for text in [list, log, world.server.log()] {
        assert!(!text.contains(&made.value), "{text}");
    }
    // What the database keeps cannot be used.
    let kept = world
        .server
        .database
        .number(&format!(
            "SELECT count(*) FROM api_tokens t WHERE t::text LIKE '%{0}%'",
            made.value
        ))
        .await;
    assert_eq!(kept, 0);
    // One name, one living token, however many ask at once.
    let wish = json!({"name": "raced", "role": "viewer"});
    let asked = join_all((0..5).map(|_| world.ask(&world.admin, wish.clone()))).await;
    assert_eq!(asked.iter().filter(|answer| answer.status == 201).count(), 1);
    for refused in asked.iter().filter(|answer| answer.status != 201) {
        refused.expect_problem(409, "R_TENANT_05");
    }
}

#[tokio::test]
async fn both_values_work_during_the_overlap_and_then_only_the_new_one() {
    let world = World::new().await;
    let old = world.runner_token("ci").await;
    let answer = world
        .admin
        .post(
            &of(old.token.token_id, "rotation"),
            &json!({"overlapSeconds": 3600}),
        )
        .await;
    let rotated: RotatedToken = answer.expect(201).read();
    assert_eq!(answer.header("cache-control"), Some("no-store"));
    assert_eq!(
        (&rotated.token.name, &rotated.token.role),
        (&old.token.name, &old.token.role)
    );
    assert_eq!(rotated.replaced.replaced_by, Some(rotated.token.token_id));
    assert!(rotated.replaced.alive && rotated.replaced.expires_at.is_some());
    assert_ne!(rotated.value, old.value);
    world.opens(&old.value).await.expect(200);
    world.opens(&rotated.value).await.expect(200);
    let page: TokenPage = world
        .admin
        .get(&format!("{}?name=ci&alive=true", world.path()))
        .await
        .expect(200)
        .read();
    assert_eq!(page.tokens.len(), 2);
    world
        .admin
        .post(&of(old.token.token_id, "rotation"), &json!({}))
        .await
        .expect_problem(409, "R_TOKEN_02");

    // An overlap that ends.
    let newest: RotatedToken = world
        .admin
        .post(
            &of(rotated.token.token_id, "rotation"),
            &json!({"overlapSeconds": 1}),
        )
        .await
        .expect(201)
        .read();
    eventually("the overlap ends", async || {
        (world.opens(&rotated.value).await.status == 401).then_some(())
    })
    .await;
    world.opens(&newest.value).await.expect(200);
    assert!(!world.view(rotated.token.token_id).await.alive);
    // The first one's overlap has not ended.
    world.opens(&old.value).await.expect(200);
    for overlap in [json!(-1), json!(2_592_001), json!("x")] {
        world
            .admin
            .post(
                &of(newest.token.token_id, "rotation"),
                &json!({"overlapSeconds": overlap}),
            )
            .await
            .expect_problem(400, "R_GEN_02");
    }
}

#[tokio::test]
async fn a_revoked_token_and_its_sessions_are_refused_by_every_replica_within_seconds() {
    let world = World::new().await;
    let replica = world.server.replica().await;
    for by_rotation in [false, true] {
        let made = world.runner_token(&format!("ci-{by_rotation}")).await;
        let session = Runner::open(&replica.address, &made.value, "production", "ledger").await;
        session.get(&session.plan_path()).await.expect(200);
        let person = replica.person(&made.value);
        person.get("/api/v1/admin/identity").await.expect(200);
        let (what, body) = if by_rotation {
            ("rotation", json!({"overlapSeconds": 0}))
        } else {
            ("revocation", json!({"reason": "The laptop was stolen."}))
        };
        world.admin.post(&of(made.token.token_id, what), &body).await;
        assert!(world.view(made.token.token_id).await.revoked_at.is_some());
        // At once where a session is opened, within a moment where one is used.
        exchange(&replica.address, &made.value, "production", "ledger")
            .await
            .expect_problem(401, "R_AUTH_01");
        for address in [&world.server.address, &replica.address] {
            let session = session.at(address);
            eventually("the session is cut off", async || {
                (session.get(&session.plan_path()).await.status == 401).then_some(())
            })
            .await;
        }
        eventually("the token is refused", async || {
            (person.get("/api/v1/admin/identity").await.status == 401).then_some(())
        })
        .await;
        // Again, and too late.
        world
            .admin
            .post(&of(made.token.token_id, "revocation"), &json!({}))
            .await
            .expect(200);
        world
            .admin
            .post(&of(made.token.token_id, "rotation"), &json!({}))
            .await
            .expect_problem(409, "R_TOKEN_02");
    }
}

#[tokio::test]
async fn nobody_makes_renews_or_ends_a_token_that_may_do_more_than_their_own() {
    let world = World::new().await;
    let project = world.project;
    let admin_of = async |wish: Value| world.server.person(&world.made(wish).await.value);
    let of_project = admin_of(json!({"name": "project", "role": "admin", "projectId": project})).await;
    let of_environment = admin_of(json!({
        "name": "environment", "role": "admin", "projectId": project, "environmentIds": [world.environments[0]]
    }))
    .await;
    let other_project = world
        .admin
        .post(
            &format!("/api/v1/admin/organisation/{}/project", world.organisation),
            &json!({"name": "shipping"}),
        )
        .await
        .expect(201)
        .json()["projectId"]
        .clone();
    #[rustfmt::skip]
    let table = [
        (&world.admin,    json!({"name": "a", "role": "root"}), 400, "R_GEN_02"),
        (&world.admin,    json!({"name": "a", "role": "owner"}), 400, "R_GEN_02"),
        (&world.admin,    json!({"name": "a", "role": "runner"}), 400, "R_GEN_02"),
        (&world.admin,    json!({"name": "a", "role": "viewer", "environmentIds": [world.environments[0]]}), 404, "R_TENANT_01"),
        (&world.admin,    json!({"name": "a", "role": "viewer", "projectId": project, "environmentIds": []}), 400, "R_GEN_02"),
        (&world.admin,    json!({"name": "a", "role": "viewer", "projectId": other_project, "serviceIds": [world.ledger]}), 404, "R_TENANT_02"),
        (&world.admin,    json!({"name": "a", "role": "viewer", "expiresAt": "2020-01-01T00:00:00Z"}), 400, "R_GEN_02"),
        (&world.admin,    json!({"name": "a", "role": "viewer", "unknown": 1}), 400, "R_GEN_02"),
        (&of_project,     json!({"name": "a", "role": "viewer"}), 403, "R_AUTH_07"),
        (&of_project,     json!({"name": "a", "role": "admin"}), 403, "R_AUTH_07"),
        (&of_project,     json!({"name": "a", "role": "viewer", "projectId": other_project}), 404, "R_TENANT_04"),
        (&of_environment, json!({"name": "a", "role": "runner", "projectId": project}), 403, "R_AUTH_07"),
        (&of_environment, json!({"name": "a", "role": "runner", "projectId": project, "environmentIds": [world.environments[1]]}), 404, "R_TENANT_01"),
        (&of_environment, json!({"name": "a", "role": "runner", "projectId": project, "environmentIds": world.environments}), 404, "R_TENANT_01"),
    ];
    for (person, wish, status, code) in table {
        world.ask(person, wish).await.expect_problem(status, code);
    }
    world
        .ask(
            &of_environment,
            json!({"name": "a", "role": "runner", "projectId": project, "environmentIds": [world.environments[0]]}),
        )
        .await
        .expect(201);

    // Renewing one gives its value to who asks; so does nothing that is wider.
    let wide = world.made(json!({"name": "wide", "role": "admin"})).await;
    let whole = world.runner_token("whole").await;
    for what in ["rotation", "revocation"] {
        of_project
            .post(&of(wide.token.token_id, what), &json!({}))
            .await
            .expect_problem(404, "R_TOKEN_01");
        of_environment
            .post(&of(whole.token.token_id, what), &json!({}))
            .await
            .expect_problem(404, "R_TOKEN_01");
    }
    let seen: TokenPage = of_environment.get(&world.path()).await.expect(200).read();
    let mut names: Vec<&str> = seen.tokens.iter().map(|token| token.name.as_str()).collect();
    names.sort_unstable();
    assert_eq!(
        names,
        ["a", "environment", "narrow"],
        "what reaches beyond the part is not listed"
    );
    world.opens(&whole.value).await.expect(200);
    of_project
        .post(&of(whole.token.token_id, "revocation"), &json!({}))
        .await
        .expect(200);
    let seen: TokenPage = of_project.get(&world.path()).await.expect(200).read();
    assert!(
        seen.tokens.iter().all(|token| token.project_id == Some(project)),
        "{seen:?}"
    );
}

#[tokio::test]
async fn a_token_with_an_end_makes_and_renews_none_that_lives_longer() {
    let world = World::new().await;
    let hour = chrono::Utc::now() + chrono::TimeDelta::hours(1);
    let made = world
        .made(json!({"name": "for an hour", "role": "admin", "expiresAt": hour}))
        .await;
    let person = world.server.person(&made.value);
    let endless = world.made(json!({"name": "endless", "role": "viewer"})).await;
    let later = hour + chrono::TimeDelta::seconds(1);
    for wish in [
        json!({"name": "b", "role": "viewer"}),
        json!({"name": "b", "role": "viewer", "expiresAt": later}),
    ] {
        world.ask(&person, wish).await.expect_problem(403, "R_AUTH_07");
    }
    person
        .post(&of(endless.token.token_id, "rotation"), &json!({}))
        .await
        .expect_problem(403, "R_AUTH_07");
    world
        .ask(&person, json!({"name": "b", "role": "viewer", "expiresAt": hour}))
        .await
        .expect(201);
    // Ending one gives nobody anything; renewing oneself keeps the end.
    person
        .post(&of(endless.token.token_id, "revocation"), &json!({}))
        .await
        .expect(200);
    let renewed: RotatedToken = person
        .post(&of(made.token.token_id, "rotation"), &json!({}))
        .await
        .expect(201)
        .read();
    assert_eq!(renewed.token.expires_at, made.token.expires_at);
}

#[tokio::test]
async fn the_last_root_token_cannot_be_revoked_not_even_by_two_at_once() {
    let world = World::new().await;
    let root = world.server.root();
    let first: TokenPage = root
        .get("/api/v1/admin/token?alive=true")
        .await
        .expect(200)
        .read();
    let first = first.tokens[0].token_id;
    root.post(&of(first, "revocation"), &json!({}))
        .await
        .expect_problem(409, "R_TOKEN_03");
    let second: CreatedToken = root
        .post("/api/v1/admin/token", &json!({"name": "second"}))
        .await
        .expect(201)
        .read();
    let other = world.server.person(&second.value);
    let (by_other, by_root) = (json!({}), json!({}));
    let (first_path, second_path) = (of(first, "revocation"), of(second.token.token_id, "revocation"));
    let ended = tokio::join!(
        other.post(&first_path, &by_other),
        root.post(&second_path, &by_root)
    );
    let statuses = [ended.0.status, ended.1.status];
    assert!(statuses == [200, 409] || statuses == [409, 200], "{statuses:?}");
    // An admin of an organisation has nothing to do with them.
    world
        .admin
        .post(&of(first, "revocation"), &json!({}))
        .await
        .expect_problem(404, "R_TOKEN_01");
}

#[tokio::test]
async fn the_log_says_who_did_what_from_where_and_is_filtered_and_paged() {
    let world = World::new().await;
    let path = format!("/api/v1/admin/organisation/{}/action", world.organisation);
    let list = async |query: &str| -> ActionPage {
        world
            .admin
            .get(&format!("{path}?{query}"))
            .await
            .expect(200)
            .read()
    };
    // The bootstrap file's doings are there already.
    let before = list("limit=500").await;
    assert!(
        before
            .actions
            .iter()
            .all(|action| action.actor == "server:bootstrap" && action.credential_id.is_none())
    );
    let since = before.actions.first().expect("it did something").acted_at;
    for name in ["one", "two", "three"] {
        let made = world.runner_token(name).await;
        world
            .admin
            .post(
                &of(made.token.token_id, "revocation"),
                &json!({"reason": "  Not needed.  "}),
            )
            .await
            .expect(200);
    }
    let revoked = list("action=token_revoke").await;
    assert_eq!(
        revoked
            .actions
            .iter()
            .map(|action| action.target.as_str())
            .collect::<Vec<_>>(),
        ["three", "two", "one"]
    );
    let newest = &revoked.actions[0];
    assert_eq!(newest.reason.as_deref(), Some("Not needed."));
    assert_eq!(newest.address.as_deref(), Some("127.0.0.1"));
    assert_eq!(newest.project_id, Some(world.project));
    assert!(
        newest.actor.ends_with("(admin)") && newest.role == "admin",
        "{newest:?}"
    );
    assert!(newest.before.as_ref().expect("before")["revokedAt"].is_null());
    assert!(newest.after.as_ref().expect("after")["revokedAt"].is_string());
    assert_eq!(list("target=two").await.actions.len(), 2);
    let id = newest.credential_id.expect("a token's id");
    assert_eq!(list(&format!("credentialId={id}")).await.actions.len(), 6);
    let time = since.format("%Y-%m-%dT%H:%M:%S%.6fZ").to_string();
    assert!(
        list(&format!("since={time}&until={time}"))
            .await
            .actions
            .is_empty()
    );
    assert!(list(&format!("since={time}")).await.actions.len() >= 7);

    let mut ids = Vec::new();
    let mut after = String::new();
    loop {
        let page = list(&format!("limit=4{after}")).await;
        ids.extend(page.actions.iter().map(|action| action.action_id));
        match page.next {
            Some(next) => after = format!("&after={next}"),
            None => break,
        }
    }
    assert_eq!(ids.len(), before.actions.len() + 6);
    assert!(ids.is_sorted_by(|a, b| a > b));
    for query in ["since=yesterday", "credentialId=x", "action=%00", "after=x"] {
        world
            .admin
            .get(&format!("{path}?{query}"))
            .await
            .expect_problem(400, "R_GEN_02");
    }
    // The other tenant's doings are in the server's list, not in this one.
    let all: ActionPage = world
        .server
        .root()
        .get("/api/v1/admin/action?limit=500")
        .await
        .expect(200)
        .read();
    assert!(all.actions.len() > ids.len());
    assert!(!serde_json::to_string(&before).expect("JSON").contains("globex"));
    assert!(serde_json::to_string(&all).expect("JSON").contains("globex"));
}
