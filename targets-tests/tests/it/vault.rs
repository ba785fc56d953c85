//! OpenBao, which speaks Vault's API. The secret has one name, so one test at a time.

use flamingock::{Builder, ChangeStatus, Vault, VaultTarget};
use flamingock_targets_tests::{Fidelity, System, World, message};
use serde_json::{Value, json};
use tokio::sync::{Mutex, MutexGuard};

#[expect(dead_code, reason = "its main function")]
#[path = "../../../client-sdk/examples/vault.rs"]
mod example;

static ALONE: Mutex<()> = Mutex::const_new(());

const SECRET: &str = "shop/mail";

struct Secrets {
    _alone: MutexGuard<'static, ()>,
    _system: System,
    url: String,
    token: String,
}

impl Secrets {
    async fn new() -> Option<Self> {
        let url = System::address("Vault/OpenBao", "VAULT_ADDR")?;
        let token = System::address("Vault/OpenBao", "VAULT_TOKEN")?;
        let alone = ALONE.lock().await;
        let health: Value = reqwest::get(format!("{url}/v1/sys/health"))
            .await
            .unwrap()
            .json()
            .await
            .unwrap();
        let version = health["version"].as_str().unwrap_or("?");
        let secrets = Self {
            _alone: alone,
            _system: System::new("Vault/OpenBao", Fidelity::Real, format!("OpenBao {version}")),
            url,
            token,
        };
        let client = secrets.client();
        client
            .delete_path(&format!("secret/metadata/{SECRET}"))
            .await
            .unwrap();
        client.delete_policy("shop").await.unwrap();
        client
            .write_secret(SECRET, &json!({"password": "old"}), 0)
            .await
            .unwrap();
        Some(secrets)
    }

    fn target(&self) -> VaultTarget {
        example::target(&self.url, &self.token).unwrap()
    }

    fn client(&self) -> Vault {
        self.target().client()
    }

    fn app(&self, world: &World) -> Builder {
        world
            .app()
            .target(self.target())
            .dependency(example::NewPassword("new".to_owned()))
            .stage(example::stage())
    }

    async fn password(&self) -> (u64, String) {
        let secret = self.client().secret::<Value>(SECRET).await.unwrap().unwrap();
        (
            secret.version,
            secret.data["password"].as_str().unwrap().to_owned(),
        )
    }
}

#[tokio::test]
async fn the_example_is_applied_once() {
    let Some(secrets) = Secrets::new().await else {
        return;
    };
    let world = World::new().await;
    for expected in [ChangeStatus::Applied, ChangeStatus::AlreadyApplied] {
        let report = world.start(secrets.app(&world)).await.unwrap();
        assert_eq!(report.change("rotate-mail-password").unwrap().status, expected);
    }
    assert_eq!(secrets.password().await, (2, "new".to_owned()));
    assert!(
        secrets
            .client()
            .policy("shop")
            .await
            .unwrap()
            .unwrap()
            .contains("list")
    );
}

#[tokio::test]
async fn a_failure_is_undone_and_drift_is_left_alone() {
    let Some(secrets) = Secrets::new().await else {
        return;
    };
    let (world, client) = (World::new().await, secrets.client());
    let theirs = r#"path "secret/*" { capabilities = ["deny"] }"#;
    client.write_policy("shop", theirs).await.unwrap();
    let error = world.start(secrets.app(&world)).await.unwrap_err();
    assert!(message(&error, "shop-may-list").contains("neither"));
    assert_eq!(client.policy("shop").await.unwrap().as_deref(), Some(theirs));
    client.delete_policy("shop").await.unwrap();
    world.start(secrets.app(&world)).await.unwrap();
    // A token that may not write is refused, and the secret stays as it is.
    let text = r#"path "secret/data/shop/*" { capabilities = ["read"] }"#;
    client.write_policy("reader", text).await.unwrap();
    let created = reqwest::Client::new()
        .post(format!("{}/v1/auth/token/create", secrets.url))
        .header("x-vault-token", &secrets.token)
        .json(&json!({"policies": ["reader"]}))
        .send()
        .await
        .unwrap();
    let created: Value = created.json().await.unwrap();
    let token = created["auth"]["client_token"].as_str().unwrap();
    let reader = example::target(&secrets.url, token).unwrap().client();
    let refused = reader.write_secret(SECRET, &json!({}), 2).await.unwrap_err();
    assert_eq!(
        refused.status().map(|status| status.as_u16()),
        Some(403),
        "{refused}"
    );
    assert_eq!(secrets.password().await, (2, "new".to_owned()));
}

#[tokio::test]
async fn the_rollback_writes_the_former_password_as_a_newer_version() {
    #[flamingock::change(
        id = "rotate-mail-password", order = "0001", target = "secrets",
        recovery = "always_retry", rollback = example::former_password
    )]
    async fn rotates_and_fails(
        vault: flamingock::TargetClient<Vault>,
        key: flamingock::ChangeKey,
    ) -> Result<(), flamingock::ChangeError> {
        let secret = json!({"password": "new", "written_by": key.step("rotate")});
        vault.write_secret(SECRET, &secret, 1).await?;
        Err("the mail server does not take it".into())
    }
    let Some(secrets) = Secrets::new().await else {
        return;
    };
    let world = World::new().await;
    let app = world
        .app()
        .target(secrets.target())
        .stage(flamingock::Stage::new("secrets").change(rotates_and_fails));
    world.start(app).await.unwrap_err();
    assert_eq!(
        world.history("rotate-mail-password").await,
        "STARTED FAILED ROLLED_BACK"
    );
    assert_eq!(secrets.password().await, (3, "old".to_owned()));
}

#[tokio::test]
async fn after_a_death_the_repetition_knows_its_own_version_and_buries_no_other() {
    let Some(secrets) = Secrets::new().await else {
        return;
    };
    let (world, client) = (World::new().await, secrets.client());
    world.die_before_the_report(secrets.app(&world)).await;
    assert_eq!(secrets.password().await, (2, "new".to_owned()));
    world.start(secrets.app(&world)).await.unwrap();
    assert_eq!(
        secrets.password().await,
        (2, "new".to_owned()),
        "not rotated again"
    );
    assert_eq!(
        world.history("rotate-mail-password").await,
        "STARTED STARTED APPLIED"
    );
    // Check-and-set.
    let late = client.write_secret(SECRET, &json!({}), 1).await.unwrap_err();
    assert!(late.is_changed_meanwhile(), "{late}");
}
