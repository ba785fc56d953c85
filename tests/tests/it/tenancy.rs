//! Organisations, projects, environments and services by the API: renamed and archived while applications run.

use flamingock_api_types::audit::AuditState;
use flamingock_api_types::execution::PlanAction;
use flamingock_api_types::identity::IdentityView;
use flamingock_api_types::tenancy::{ServicePage, ServiceView};
use flamingock_tests::{Answer, Person, Pipeline, Runner, TestServer, eventually, exchange, tokens};
use futures_util::future::join_all;
use serde_json::json;

/// Ids of acme/payments.
async fn payments(server: &TestServer) -> (i64, i64) {
    let identity: IdentityView = server
        .operator()
        .get("/api/v1/admin/identity")
        .await
        .expect(200)
        .read();
    let project = &identity.projects[0];
    (project.organisation.id, project.project_id)
}

fn service(runner: &Runner) -> String {
    format!("/api/v1/admin/service/{}", runner.service_id)
}

async fn session(server: &TestServer, environment: &str, service: &str) -> Answer {
    exchange(&server.address, &tokens().runner, environment, service).await
}

#[tokio::test]
async fn a_service_that_was_renamed_is_found_by_both_names_and_never_gets_an_empty_twin() {
    let server = TestServer::start().await;
    let admin = server.admin();
    let pipeline = Pipeline::of("schema", &["a"]);
    let runner = server.runner("billing").await;
    runner.bring_up_to_date(&pipeline).await;
    let renamed: ServiceView = admin
        .patch(
            &service(&runner),
            &json!({"name": "invoicing", "reason": "As it is called now."}),
        )
        .await
        .expect(200)
        .read();
    assert_eq!(
        (renamed.name.as_str(), renamed.former_names.as_slice()),
        ("invoicing", ["billing".to_owned()].as_slice())
    );

    // An application with the old settings finds its history, and is told its name.
    for name in ["billing", "invoicing"] {
        let answer = session(&server, "production", name).await.expect(200).json();
        assert_eq!(answer["serviceId"], runner.service_id, "{name}");
        assert_eq!(answer["serviceName"], "invoicing");
        let again = server.runner(name).await;
        assert_eq!(again.plan(&pipeline).await.action, PlanAction::Continue);
    }
    let (_, project) = payments(&server).await;
    let create = format!("/api/v1/admin/project/{project}/service");
    admin
        .post(&create, &json!({"name": "billing"}))
        .await
        .expect_problem(409, "R_TENANT_05");
    let found: ServicePage = admin
        .get(&format!("{create}?name=billing"))
        .await
        .expect(200)
        .read();
    assert_eq!(found.services, [renamed]);

    // And back again.
    admin
        .patch(&service(&runner), &json!({"name": "billing"}))
        .await
        .expect(200);
    // Only where a person gives the name up may something else have it.
    let released = admin
        .patch(&service(&runner), &json!({"releaseFormerNames": ["invoicing"]}))
        .await
        .expect(200)
        .json();
    assert_eq!(released["formerNames"], json!([]));
    let newcomer = server.runner("invoicing").await;
    assert_ne!(newcomer.service_id, runner.service_id);
    admin
        .patch(&service(&runner), &json!({"releaseFormerNames": ["billing"]}))
        .await
        .expect_problem(400, "R_GEN_02");
}

#[tokio::test]
async fn an_environment_and_what_is_above_it_are_found_by_former_names_too() {
    let server = TestServer::start().await;
    let (organisation, project) = payments(&server).await;
    let runner = server.runner("billing").await;
    for (path, name) in [
        (format!("environment/{}", runner.environment_id), "live"),
        (format!("project/{project}"), "money"),
        (format!("organisation/{organisation}"), "acme ltd"),
    ] {
        // Only root sees all that an organisation's name could collide with.
        let person = if path.starts_with("organisation") {
            server.root()
        } else {
            server.admin()
        };
        person
            .patch(&format!("/api/v1/admin/{path}"), &json!({"name": name}))
            .await
            .expect(200);
    }
    let answer = session(&server, "production", "billing").await.expect(200).json();
    assert_eq!(answer["environmentId"], runner.environment_id);
    assert_eq!(
        [
            &answer["environmentName"],
            &answer["projectName"],
            &answer["organisationName"]
        ],
        ["live", "money", "acme ltd"]
    );
    // A replica that starts with the file from before finds what the file means, and makes no twins.
    let replica = server.replica().await;
    assert_eq!(
        server.database.number("SELECT count(*) FROM organisations").await,
        2
    );
    assert_eq!(server.database.number("SELECT count(*) FROM projects").await, 2);
    exchange(&replica.address, &tokens().runner, "production", "billing")
        .await
        .expect(200);
}

#[tokio::test]
async fn of_many_who_want_one_name_at_once_one_gets_it_and_the_others_are_told() {
    let server = TestServer::start().await;
    let replica = server.replica().await;
    let (_, project) = payments(&server).await;
    let mut runners = Vec::new();
    for number in 0..6 {
        runners.push(server.runner(&format!("service-{number}")).await);
    }
    let people = [server.admin(), replica.admin()];
    let renamed = join_all(runners.iter().enumerate().map(|(at, runner)| {
        let person = &people[at % 2];
        async move { person.patch(&service(runner), &json!({"name": "wanted"})).await }
    }))
    .await;
    let granted = renamed.iter().filter(|answer| answer.status == 200).count();
    assert_eq!(granted, 1);
    for refused in renamed.iter().filter(|answer| answer.status != 200) {
        refused.expect_problem(409, "R_TENANT_05");
    }

    // A service that registers itself at the moment when somebody creates it.
    let path = format!("/api/v1/admin/project/{project}/service");
    for number in 0..4 {
        let name = format!("both-{number}");
        let body = json!({"name": name});
        let (made, opened) = tokio::join!(
            people[0].post(&path, &body),
            session(&replica, "production", &name)
        );
        assert!(matches!(made.status, 201 | 409), "{}", made.describe());
        opened.expect(200);
        let count = format!("SELECT count(*) FROM services WHERE name = '{name}'");
        assert_eq!(server.database.number(&count).await, 1);
    }
}

#[tokio::test]
async fn what_is_archived_starts_nothing_new_and_still_takes_what_runs() {
    let server = TestServer::start().await;
    let replica = server.replica().await;
    let (organisation, project) = payments(&server).await;
    let admin = server.admin();
    let pipeline = Pipeline::of("schema", &["a", "b"]);
    let runner = server.runner("billing").await;
    let plan = runner.granted(&pipeline).await;
    let execution = plan.execution_id.expect("granted");
    runner.told(execution, "a", AuditState::Started).await;

    for unit in [
        format!("service/{}", runner.service_id),
        format!("environment/{}", runner.environment_id),
        format!("project/{project}"),
        format!("organisation/{organisation}"),
    ] {
        let path = format!("/api/v1/admin/{unit}");
        let archived = admin
            .patch(&path, &json!({"archived": true}))
            .await
            .expect(200)
            .json();
        assert!(archived["archivedAt"].is_string(), "{archived}");
        // Who starts is told so, at once and by every replica; so is who has a session already, within seconds.
        for server in [&server, &replica] {
            let refused = session(server, "production", "billing").await;
            refused.expect_problem(409, "R_TENANT_06");
            assert!(refused.text().contains("archived"), "{unit}: {}", refused.text());
            let late = runner.another().at(&server.address);
            eventually("a plan is refused", async || {
                let answer = late.ask("", &pipeline.body()).await;
                (answer.status == 409).then(|| {
                    answer.expect_problem(409, "R_TENANT_06");
                })
            })
            .await;
            late.acquire(60_000, None)
                .await
                .expect_problem(409, "R_TENANT_06");
        }
        // What runs goes on being told, and all of it can be read.
        runner.extended().await;
        assert!(!server.operator().audit(&runner).await.is_empty());

        admin.patch(&path, &json!({"archived": false})).await.expect(200);
        for server in [&server, &replica] {
            session(server, "production", "billing").await.expect(200);
            let late = runner.another().at(&server.address);
            eventually("a plan is answered", async || {
                let answer = late.ask("", &pipeline.body()).await;
                (answer.status == 201).then_some(())
            })
            .await;
        }
    }

    admin
        .patch(&service(&runner), &json!({"archived": true}))
        .await
        .expect(200);
    runner.told(execution, "a", AuditState::Applied).await;
    runner.apply(execution, "b").await;
    runner.release().await.expect(200);
    let list = |query: &str| format!("/api/v1/admin/project/{project}/service?{query}");
    let names = async |query: &str| {
        let page: ServicePage = admin.get(&list(query)).await.expect(200).read();
        page.services
            .into_iter()
            .map(|service| service.name)
            .collect::<Vec<_>>()
    };
    assert_eq!(names("").await, ["ledger"]);
    assert_eq!(names("archived=true").await, ["billing"]);
    assert_eq!(names("archived=any").await, ["billing", "ledger"]);
    // Nothing is made in what is archived.
    admin
        .patch(
            &format!("/api/v1/admin/project/{project}"),
            &json!({"archived": true}),
        )
        .await
        .expect(200);
    admin
        .post(
            &format!("/api/v1/admin/project/{project}/environment"),
            &json!({"name": "new"}),
        )
        .await
        .expect_problem(409, "R_TENANT_06");
}

#[tokio::test]
async fn lists_are_paged_by_name_and_show_what_the_token_reaches() {
    let server = TestServer::start().await;
    let (_, project) = payments(&server).await;
    for name in ["delta", "alpha", "charlie", "bravo"] {
        server.runner(name).await;
    }
    let admin = server.admin();
    let path = format!("/api/v1/admin/project/{project}/service?limit=2");
    let mut names = Vec::new();
    let mut after = String::new();
    loop {
        let page: ServicePage = admin.get(&format!("{path}{after}")).await.expect(200).read();
        assert!(page.services.len() <= 2);
        names.extend(page.services.into_iter().map(|service| service.name));
        match page.next {
            Some(next) => after = format!("&after={next}"),
            None => break,
        }
    }
    assert_eq!(names, ["alpha", "bravo", "charlie", "delta", "ledger"]);
    // A cursor of one list is none of another, also where only the filter differs.
    for other in [
        format!("{path}&archived=any{after}"),
        format!("/api/v1/admin/project/{project}/environment?limit=2{after}"),
    ] {
        admin.get(&other).await.expect_problem(400, "R_GEN_02");
    }
    let narrow = server.person(&tokens().narrow);
    let page: ServicePage = narrow.get(&path).await.expect(200).read();
    assert_eq!(
        page.services
            .iter()
            .map(|service| &service.name)
            .collect::<Vec<_>>(),
        ["ledger"]
    );
    let identity: IdentityView = narrow.get("/api/v1/admin/identity").await.expect(200).read();
    assert_eq!(
        (identity.name.as_str(), identity.role.as_str(), identity.truncated),
        ("narrow", "runner", false)
    );
    let reached = &identity.projects[0];
    assert_eq!(reached.services.len(), 1);
    assert_eq!(reached.environments.len(), 1);
}

#[tokio::test]
async fn hostile_requests_get_clear_refusals_and_change_nothing() {
    let server = TestServer::start().await;
    let (_, project) = payments(&server).await;
    let runner = server.runner("billing").await;
    let admin = server.admin();
    let actions = || async { server.database.number("SELECT count(*) FROM admin_actions").await };
    let before = actions().await;
    let long = "x".repeat(201);
    let reason = "x".repeat(2_001);
    for body in [
        json!({}),
        json!({"reason": "nothing else"}),
        json!({"name": ""}),
        json!({"name": " billing"}),
        json!({"name": "a\u{0}b"}),
        json!({"name": long}),
        json!({"name": "fine", "reason": reason}),
        json!({"name": "fine", "reason": "a\u{0}b"}),
        json!({"nam": "fine"}),
        json!({"name": 7}),
        json!({"releaseFormerNames": ["never\u{0}"]}),
        json!({"releaseFormerNames": vec!["x"; 101]}),
    ] {
        admin
            .patch(&service(&runner), &body)
            .await
            .expect_problem(400, "R_GEN_02");
    }
    let list = format!("/api/v1/admin/project/{project}/service");
    for query in [
        "archived=maybe",
        "limit=0",
        "limit=501",
        "limit=x",
        "after=nonsense",
        "name=%00",
        // {"l":…,"p":"\u0000"} of no list at all
        "after=eyJsIjoiQUFBQUFBQUFBQUFBIiwicCI6IlwwIn0",
    ] {
        admin
            .get(&format!("{list}?{query}"))
            .await
            .expect_problem(400, "R_GEN_02");
    }
    for path in ["service/x", "service/99999999999999999999", "service/-1"] {
        let answer = admin.get(&format!("/api/v1/admin/{path}")).await;
        assert!(matches!(answer.status, 400 | 404), "{}", answer.describe());
    }
    // Asking for what is there already records nothing.
    admin
        .patch(&service(&runner), &json!({"name": "billing", "archived": false}))
        .await
        .expect(200);
    assert_eq!(actions().await, before);
}

#[tokio::test]
async fn who_does_not_see_all_that_a_name_could_collide_with_does_not_rename() {
    let server = TestServer::start().await;
    let (organisation, project) = payments(&server).await;
    let runner = server.runner("billing").await;
    let admin = server.admin();
    let part = async |name: &str, restriction: serde_json::Value| {
        let mut wish = json!({"name": name, "role": "admin", "projectId": project});
        wish.as_object_mut()
            .expect("an object")
            .extend(restriction.as_object().expect("an object").clone());
        let path = format!("/api/v1/admin/organisation/{organisation}/token");
        let made = admin.post(&path, &wish).await.expect(201).json();
        server.person(made["value"].as_str().expect("shown once"))
    };
    let of_project = part("project", json!({})).await;
    let of_environment = part("environment", json!({"environmentIds": [runner.environment_id]})).await;
    let of_service = part("service", json!({"serviceIds": [runner.service_id]})).await;
    let organisation = format!("organisation/{organisation}");
    let project = format!("project/{project}");
    let environment = format!("environment/{}", runner.environment_id);
    let service = format!("service/{}", runner.service_id);
    // Whether the name is free or another's: one answer.
    for (person, path, taken) in [
        (&admin, &organisation, "globex"),
        (&of_project, &project, "reports"),
        (&of_environment, &environment, "trusting"),
        (&of_service, &service, "ledger"),
    ] {
        let mut answers = Vec::new();
        for name in [taken, "nobody-has-this"] {
            let answer = person
                .patch(&format!("/api/v1/admin/{path}"), &json!({"name": name}))
                .await;
            answer.expect_problem(403, "R_AUTH_03");
            answers.push(answer.json()["message"].clone());
        }
        assert_eq!(answers[0], answers[1], "{path}");
    }
    // Its own name is no new one, and everything else is still theirs to change.
    admin
        .patch(
            &format!("/api/v1/admin/{organisation}"),
            &json!({"name": "acme", "archived": false}),
        )
        .await
        .expect(200);
    of_project
        .patch(&format!("/api/v1/admin/{environment}"), &json!({"name": "live"}))
        .await
        .expect(200);
}

#[tokio::test]
async fn an_organisation_is_made_by_root_and_filled_by_its_own_admin() {
    let server = TestServer::start().await;
    let root = server.root();
    server
        .admin()
        .post("/api/v1/admin/organisation", &json!({"name": "initech"}))
        .await
        .expect_problem(403, "R_AUTH_04");
    let organisation = root
        .post("/api/v1/admin/organisation", &json!({"name": "initech"}))
        .await
        .expect(201)
        .json()["organisationId"]
        .clone();
    let made = root
        .post(
            &format!("/api/v1/admin/organisation/{organisation}/token"),
            &json!({"name": "admin", "role": "admin"}),
        )
        .await
        .expect(201)
        .json();
    let admin: Person = server.person(made["value"].as_str().expect("shown once"));
    let project = admin
        .post(
            &format!("/api/v1/admin/organisation/{organisation}/project"),
            &json!({"name": "reports", "selfRegisterServices": true}),
        )
        .await
        .expect(201)
        .json()["projectId"]
        .clone();
    admin
        .post(
            &format!("/api/v1/admin/project/{project}/environment"),
            &json!({"name": "production", "trustAbsentMarks": true}),
        )
        .await
        .expect(201);
    let runner = admin
        .post(
            &format!("/api/v1/admin/organisation/{organisation}/token"),
            &json!({"name": "runner", "role": "runner", "projectId": project}),
        )
        .await
        .expect(201)
        .json();
    let value = runner["value"].as_str().expect("shown once");
    Runner::open(&server.address, value, "production", "tps")
        .await
        .bring_up_to_date(&Pipeline::of("schema", &["a"]))
        .await;
    // Everything of it is in its log, the service that registered itself among it.
    let log = admin
        .get(&format!("/api/v1/admin/organisation/{organisation}/action"))
        .await
        .expect(200)
        .json();
    let actions: Vec<&str> = log["actions"]
        .as_array()
        .expect("actions")
        .iter()
        .map(|action| action["action"].as_str().expect("an action"))
        .collect();
    assert_eq!(
        actions,
        [
            "service_create",
            "token_create",
            "environment_create",
            "project_create",
            "token_create",
            "organisation_create"
        ]
    );
    assert!(!log.to_string().contains(value), "no value is ever recorded");
}
