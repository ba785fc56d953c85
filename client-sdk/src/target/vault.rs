//! Secrets and policies in HashiCorp Vault or OpenBao.

use std::borrow::Cow;

use reqwest::{Method, StatusCode};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::json;

use super::{
    Target,
    http::{Api, Call, HttpError},
};

/// A Vault or OpenBao. Changes take `TargetClient<Vault>`.
#[derive(Debug)]
pub struct VaultTarget {
    id: Cow<'static, str>,
    client: Vault,
}

/// The key-value engine (version 2), policies, and every other path by [`read_path`](Self::read_path) and
/// [`write_path`](Self::write_path).
///
/// ```
/// use flamingock::{ChangeKey, HttpError, TargetClient, Vault, change};
/// use serde_json::{Value, json};
///
/// #[change(id = "rotate-mail", order = "0001", target = "secrets", recovery = "always_retry", rollback = put_back)]
/// async fn rotate(vault: TargetClient<Vault>, key: ChangeKey) -> Result<(), HttpError> {
///     let current = vault.secret::<Value>("shop/mail").await?;
///     let secret = json!({"password": "new", "changed_by": key.step("rotate")});
///     // Refused if somebody else has written since.
///     vault.write_secret("shop/mail", &secret, current.map_or(0, |secret| secret.version)).await?;
///     Ok(())
/// }
///
/// async fn put_back(vault: TargetClient<Vault>, key: ChangeKey) -> Result<(), HttpError> {
///     let Some(current) = vault.secret::<Value>("shop/mail").await? else { return Ok(()) };
///     if current.data["changed_by"] == key.step("rotate") && current.version > 1 {
///         let former = vault.secret_version::<Value>("shop/mail", current.version - 1).await?;
///         // As a newer version: nothing is destroyed.
///         vault.write_secret("shop/mail", &former.map(|secret| secret.data), current.version).await?;
///     }
///     Ok(())
/// }
/// ```
#[derive(Clone, Debug)]
pub struct Vault {
    api: Api,
    mount: String,
}

/// One version of a secret. Its data is not printed.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret<T> {
    /// Counts from one.
    pub version: u64,
    /// What is secret.
    pub data: T,
}

impl<T> std::fmt::Debug for Secret<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Secret")
            .field("version", &self.version)
            .finish_non_exhaustive()
    }
}

#[derive(Deserialize)]
struct Wrapped<T> {
    data: T,
}

#[derive(Deserialize)]
struct Version<T> {
    data: T,
    metadata: Metadata,
}

#[derive(Deserialize)]
struct Metadata {
    version: u64,
}

impl VaultTarget {
    /// A server by its address and a token, with the key-value engine at `secret/`.
    pub fn new(id: impl Into<Cow<'static, str>>, address: &str, token: &str) -> Result<Self, HttpError> {
        Ok(Self {
            id: id.into(),
            client: Vault {
                api: Api::new(address)?.header("x-vault-token", token)?,
                mount: "secret".to_owned(),
            },
        })
    }

    /// Where the key-value engine is.
    #[must_use]
    pub fn mount(mut self, path: impl Into<String>) -> Self {
        self.client.mount = path.into();
        self
    }

    /// With a namespace.
    pub fn namespace(mut self, name: &str) -> Result<Self, HttpError> {
        self.client.api = self.client.api.header("x-vault-namespace", name)?;
        Ok(self)
    }

    /// The client, for calling a change function in a test.
    pub fn client(&self) -> Vault {
        self.client.clone()
    }
}

impl From<VaultTarget> for Target {
    fn from(target: VaultTarget) -> Self {
        Self::non_transactional(target.id, target.client)
    }
}

impl Vault {
    /// The current version of a secret; `None` if there is none, or it is deleted.
    pub async fn secret<T: DeserializeOwned>(&self, path: &str) -> Result<Option<Secret<T>>, HttpError> {
        self.read_secret(self.secret_call(Method::GET, path)).await
    }

    /// An earlier version of a secret.
    pub async fn secret_version<T: DeserializeOwned>(
        &self,
        path: &str,
        version: u64,
    ) -> Result<Option<Secret<T>>, HttpError> {
        let call = self.secret_call(Method::GET, path);
        self.read_secret(call.query("version", &version.to_string()))
            .await
    }

    /// Writes the next version of a secret, if `expected` is the current one (0: there is none): check-and-set. Returns the
    /// version. [`HttpError::is_changed_meanwhile`] tells that it was not.
    pub async fn write_secret(
        &self,
        path: &str,
        data: &impl Serialize,
        expected: u64,
    ) -> Result<u64, HttpError> {
        let body = json!({"options": {"cas": expected}, "data": data});
        let written = self.secret_call(Method::POST, path).json(&body).send().await;
        match written {
            Ok(answer) => Ok(answer.json::<Wrapped<Metadata>>()?.data.version),
            Err(HttpError::Refused {
                status: StatusCode::BAD_REQUEST,
                explanation,
                ..
            }) if explanation.contains("check-and-set") => {
                Err(HttpError::ChangedMeanwhile(format!("the secret `{path}`")))
            }
            Err(error) => Err(error),
        }
    }

    /// The text of a policy.
    pub async fn policy(&self, name: &str) -> Result<Option<String>, HttpError> {
        #[derive(Deserialize)]
        struct Policy {
            policy: String,
        }
        let found: Option<Wrapped<Policy>> = self
            .read(self.api.call_segments(Method::GET, &policy_path(name)))
            .await?;
        Ok(found.map(|found| found.data.policy))
    }

    /// Writes a policy, whatever there was of that name.
    pub async fn write_policy(&self, name: &str, text: &str) -> Result<(), HttpError> {
        self.api
            .call_segments(Method::PUT, &policy_path(name))
            .json(&json!({"policy": text}))
            .send()
            .await?;
        Ok(())
    }

    /// Removes a policy.
    pub async fn delete_policy(&self, name: &str) -> Result<(), HttpError> {
        self.api
            .call_segments(Method::DELETE, &policy_path(name))
            .send_if_there()
            .await?;
        Ok(())
    }

    /// Reads any path, such as `database/roles/shop`: the field `data` of the answer.
    pub async fn read_path<T: DeserializeOwned>(&self, path: &str) -> Result<Option<T>, HttpError> {
        let found: Option<Wrapped<T>> = self.read(self.path_call(Method::GET, path)).await?;
        Ok(found.map(|found| found.data))
    }

    /// Writes any path.
    pub async fn write_path(&self, path: &str, body: &impl Serialize) -> Result<(), HttpError> {
        self.path_call(Method::POST, path).json(body).send().await?;
        Ok(())
    }

    /// Removes any path.
    pub async fn delete_path(&self, path: &str) -> Result<(), HttpError> {
        self.path_call(Method::DELETE, path).send_if_there().await?;
        Ok(())
    }

    async fn read_secret<T: DeserializeOwned>(&self, call: Call) -> Result<Option<Secret<T>>, HttpError> {
        let found: Option<Wrapped<Version<T>>> = self.read(call).await?;
        Ok(found.map(|found| Secret {
            version: found.data.metadata.version,
            data: found.data.data,
        }))
    }

    async fn read<T: DeserializeOwned>(&self, call: Call) -> Result<Option<T>, HttpError> {
        let answer = call.send_if_there().await?;
        answer.map(|answer| answer.json()).transpose()
    }

    fn secret_call(&self, method: Method, path: &str) -> Call {
        let segments = ["v1"]
            .into_iter()
            .chain(self.mount.split('/'))
            .chain(["data"])
            .chain(path.split('/'));
        self.api.call_segments(method, &segments.collect::<Vec<_>>())
    }

    fn path_call(&self, method: Method, path: &str) -> Call {
        let segments = ["v1"].into_iter().chain(path.split('/'));
        self.api.call_segments(method, &segments.collect::<Vec<_>>())
    }
}

fn policy_path(name: &str) -> [&str; 5] {
    ["v1", "sys", "policies", "acl", name]
}
