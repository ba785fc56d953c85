//! A bucket of S3, or of a store that speaks its API.

use std::borrow::Cow;

use aws_sdk_s3::{
    Client,
    primitives::ByteStream,
    types::{BucketLifecycleConfiguration, LifecycleRule},
};
use serde::{Serialize, de::DeserializeOwned};

use super::{
    Target,
    aws::{AwsError, failed, if_there},
};

mod rekey;

/// Keys under which this target keeps what a rollback needs begin so.
const KEPT: &str = ".flamingock/";
const NO_OBJECT: &[&str] = &["NoSuchKey", "NotFound"];
const IS_THERE: &[&str] = &["PreconditionFailed"];

/// A bucket. Changes take [`TargetClient<S3>`](crate::TargetClient).
#[derive(Debug)]
pub struct S3Target {
    id: Cow<'static, str>,
    client: S3,
}

/// One bucket, its objects and its configuration.
///
/// ```
/// use aws_sdk_s3::types::{ExpirationStatus, LifecycleExpiration, LifecycleRule, LifecycleRuleFilter};
/// use flamingock::{ChangeError, S3, TargetClient, change};
///
/// fn uploads_expire() -> Result<LifecycleRule, ChangeError> {
///     Ok(LifecycleRule::builder()
///         .id("uploads-expire")
///         .status(ExpirationStatus::Enabled)
///         .filter(LifecycleRuleFilter::builder().prefix("uploads/").build())
///         .expiration(LifecycleExpiration::builder().days(7).build())
///         .build()?)
/// }
///
/// #[change(id = "uploads-expire", order = "0001", target = "files", recovery = "always_retry", rollback = uploads_stay)]
/// async fn expire(bucket: TargetClient<S3>) -> Result<(), ChangeError> {
///     Ok(bucket.add_lifecycle_rule(uploads_expire()?).await?)
/// }
///
/// async fn uploads_stay(bucket: TargetClient<S3>) -> Result<(), ChangeError> {
///     Ok(bucket.remove_lifecycle_rule(&uploads_expire()?).await?)
/// }
/// ```
#[derive(Clone, Debug)]
pub struct S3 {
    client: Client,
    bucket: String,
}

impl S3Target {
    /// A bucket by its name and a client of its region.
    pub fn new(id: impl Into<Cow<'static, str>>, client: Client, bucket: impl Into<String>) -> Self {
        Self {
            id: id.into(),
            client: S3 {
                client,
                bucket: bucket.into(),
            },
        }
    }

    /// The client, for calling a change function in a test.
    pub fn client(&self) -> S3 {
        self.client.clone()
    }
}

impl From<S3Target> for Target {
    fn from(target: S3Target) -> Self {
        Self::non_transactional(target.id, target.client)
    }
}

impl S3 {
    /// The client of the AWS SDK, for everything else.
    pub fn sdk(&self) -> &Client {
        &self.client
    }

    /// Name of the bucket.
    pub fn bucket(&self) -> &str {
        &self.bucket
    }

    /// The bytes of an object.
    pub async fn object(&self, key: &str) -> Result<Option<Vec<u8>>, AwsError> {
        let doing = format!("reading {key}");
        let request = self.client.get_object().bucket(&self.bucket).key(key);
        let Some(found) = if_there(request.send().await.map_err(failed(&*doing)), NO_OBJECT)? else {
            return Ok(None);
        };
        match found.body.collect().await {
            Ok(bytes) => Ok(Some(bytes.to_vec())),
            Err(error) => Err(AwsError::Failed {
                doing,
                code: None,
                explanation: error.to_string(),
                source: error.into(),
            }),
        }
    }

    /// Whether there is such an object.
    pub async fn has_object(&self, key: &str) -> Result<bool, AwsError> {
        Ok(self.etag(key).await?.is_some())
    }

    /// Writes an object only if there is none, in one step (`If-None-Match: *`). False if there is one, which stays as it
    /// is. The store must know conditional writes: AWS does.
    pub async fn put_new(&self, key: &str, content: impl Into<Vec<u8>>) -> Result<bool, AwsError> {
        let put = self
            .client
            .put_object()
            .bucket(&self.bucket)
            .key(key)
            .if_none_match("*")
            .body(ByteStream::from(content.into()));
        let put = put.send().await.map_err(failed(format!("writing {key}")));
        Ok(if_there(put, IS_THERE)?.is_some())
    }

    /// Removes an object. One that is not there is no error. In a bucket with versions, S3 keeps the former ones.
    pub async fn remove(&self, key: &str) -> Result<(), AwsError> {
        let request = self.client.delete_object().bucket(&self.bucket).key(key);
        let removed = request.send().await.map_err(failed(format!("removing {key}")));
        if_there(removed, NO_OBJECT)?;
        Ok(())
    }

    /// The rules by which objects expire or move.
    pub async fn lifecycle(&self) -> Result<Vec<LifecycleRule>, AwsError> {
        let request = self
            .client
            .get_bucket_lifecycle_configuration()
            .bucket(&self.bucket);
        let found = request
            .send()
            .await
            .map_err(failed("reading the lifecycle rules"));
        let found = if_there(found, &["NoSuchLifecycleConfiguration"])?;
        Ok(found.and_then(|found| found.rules).unwrap_or_default())
    }

    /// Adds a rule, beside those that are there. The same rule is not added twice; another one of the same id is left as it
    /// is, which is an error.
    ///
    /// S3 knows the rules of a bucket only as a whole and has no compare-and-set for them: who writes them at the same moment
    /// by other ways may be overwritten.
    pub async fn add_lifecycle_rule(&self, rule: LifecycleRule) -> Result<(), AwsError> {
        let mut rules = self.lifecycle().await?;
        match rules.iter().find(|there| there.id == rule.id) {
            Some(there) if same(there, &rule) => return Ok(()),
            Some(_) => return Err(is_another(&rule)),
            None => rules.push(rule),
        }
        self.put_lifecycle(rules).await
    }

    /// Removes the rule that [`add_lifecycle_rule`](Self::add_lifecycle_rule) has added; the others stay. Another rule of the
    /// same id is left as it is, which is an error.
    pub async fn remove_lifecycle_rule(&self, rule: &LifecycleRule) -> Result<(), AwsError> {
        let mut rules = self.lifecycle().await?;
        let Some(at) = rules.iter().position(|there| there.id == rule.id) else {
            return Ok(());
        };
        if !same(&rules[at], rule) {
            return Err(is_another(rule));
        }
        rules.remove(at);
        if !rules.is_empty() {
            return self.put_lifecycle(rules).await;
        }
        // S3 takes no configuration without rules.
        let request = self.client.delete_bucket_lifecycle().bucket(&self.bucket);
        request
            .send()
            .await
            .map_err(failed("removing the lifecycle rules"))?;
        Ok(())
    }

    /// Keeps a value in the bucket for the rollback, unless one is kept under this key already: that of an attempt before
    /// this one is from before the change, and so the right one. Take a [`ChangeKey`](crate::ChangeKey) for the key. The
    /// objects are called `.flamingock/KEY`: no lifecycle rule should reach them.
    pub async fn keep(&self, key: &str, value: &impl Serialize) -> Result<(), AwsError> {
        let text = serde_json::to_vec(value).map_err(|error| unreadable(key, error))?;
        self.put_new(&format!("{KEPT}{key}"), text).await?;
        Ok(())
    }

    /// What was kept.
    pub async fn kept<T: DeserializeOwned>(&self, key: &str) -> Result<Option<T>, AwsError> {
        let found = self.object(&format!("{KEPT}{key}")).await?;
        found
            .map(|text| serde_json::from_slice(&text).map_err(|error| unreadable(key, error)))
            .transpose()
    }

    /// Removes what was kept.
    pub async fn forget(&self, key: &str) -> Result<(), AwsError> {
        self.remove(&format!("{KEPT}{key}")).await
    }

    async fn etag(&self, key: &str) -> Result<Option<String>, AwsError> {
        let request = self.client.head_object().bucket(&self.bucket).key(key);
        let found = request.send().await.map_err(failed(format!("looking at {key}")));
        Ok(if_there(found, NO_OBJECT)?.and_then(|found| found.e_tag))
    }

    async fn put_lifecycle(&self, rules: Vec<LifecycleRule>) -> Result<(), AwsError> {
        let configuration = BucketLifecycleConfiguration::builder()
            .set_rules(Some(rules))
            .build()
            .map_err(|error| AwsError::NotDone(error.to_string()))?;
        self.client
            .put_bucket_lifecycle_configuration()
            .bucket(&self.bucket)
            .lifecycle_configuration(configuration)
            .send()
            .await
            .map_err(failed("writing the lifecycle rules"))?;
        Ok(())
    }
}

/// Stores answer with a prefix in the place of their choice, the filter or the rule itself.
fn same(there: &LifecycleRule, wanted: &LifecycleRule) -> bool {
    normal(there) == normal(wanted)
}

fn normal(rule: &LifecycleRule) -> LifecycleRule {
    let mut rule = rule.clone();
    #[expect(deprecated, reason = "some stores still answer with it")]
    if let Some(prefix) = rule.prefix.take()
        && rule.filter.is_none()
    {
        let filter = aws_sdk_s3::types::LifecycleRuleFilter::builder().prefix(prefix);
        rule.filter = Some(filter.build());
    }
    rule
}

fn is_another(rule: &LifecycleRule) -> AwsError {
    let id = rule.id.as_deref().unwrap_or_default();
    AwsError::NotDone(format!(
        "the bucket has another lifecycle rule called `{id}`, which was left as it is"
    ))
}

fn unreadable(key: &str, error: serde_json::Error) -> AwsError {
    AwsError::Failed {
        doing: format!("keeping {key}"),
        code: None,
        explanation: error.to_string(),
        source: error.into(),
    }
}
