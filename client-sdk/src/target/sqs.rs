//! Queues of SQS.

use std::{borrow::Cow, collections::HashMap};

use aws_sdk_sqs::{Client, types::QueueAttributeName};
use data_encoding::BASE64;
use serde_json::json;

use super::{
    Target,
    aws::{AwsError, failed, if_there},
};

const NO_QUEUE: &[&str] = &[
    "AWS.SimpleQueueService.NonExistentQueue",
    "QueueDoesNotExist",
    "com.amazonaws.sqs#QueueDoesNotExist",
];
/// How the names of FIFO queues end, without which SQS refuses them.
const FIFO: &str = ".fifo";
/// What SQS takes as the value of a tag.
const LONGEST_TAG: usize = 256;

/// The queues of one account and region. Changes take [`TargetClient<Sqs>`](crate::TargetClient).
#[derive(Debug)]
pub struct SqsTarget {
    id: Cow<'static, str>,
    client: Sqs,
}

/// Queues by their names.
///
/// ```
/// use flamingock::{AwsError, ChangeKey, Sqs, TargetClient, change};
///
/// #[change(id = "slower-orders", order = "0001", target = "queues", recovery = "always_retry", rollback = as_before)]
/// async fn slower_orders(queues: TargetClient<Sqs>, key: ChangeKey) -> Result<(), AwsError> {
///     queues.change_attributes("orders", &key.step("orders"), &[("VisibilityTimeout", "120")]).await
/// }
///
/// async fn as_before(queues: TargetClient<Sqs>, key: ChangeKey) -> Result<(), AwsError> {
///     queues.attributes_as_before("orders", &key.step("orders")).await
/// }
/// ```
#[derive(Clone, Debug)]
pub struct Sqs {
    client: Client,
}

impl SqsTarget {
    /// By a client of the account and region.
    pub fn new(id: impl Into<Cow<'static, str>>, client: Client) -> Self {
        Self {
            id: id.into(),
            client: Sqs { client },
        }
    }

    /// The client, for calling a change function in a test.
    pub fn client(&self) -> Sqs {
        self.client.clone()
    }
}

impl From<SqsTarget> for Target {
    fn from(target: SqsTarget) -> Self {
        Self::non_transactional(target.id, target.client)
    }
}

impl Sqs {
    /// The client of the AWS SDK, for everything else.
    pub fn sdk(&self) -> &Client {
        &self.client
    }

    /// Address of a queue.
    pub async fn url(&self, queue: &str) -> Result<Option<String>, AwsError> {
        let found = self.client.get_queue_url().queue_name(queue).send().await;
        let found = found.map_err(failed(format!("looking for the queue {queue}")));
        Ok(if_there(found, NO_QUEUE)?.and_then(|found| found.queue_url))
    }

    /// A queue with these attributes, such as `("VisibilityTimeout", "120")`. The same queue is not made twice; another one of
    /// that name is left as it is, which is an error. A name that ends with `.fifo` makes a FIFO queue.
    pub async fn create_queue(&self, queue: &str, attributes: &[(&str, &str)]) -> Result<(), AwsError> {
        if self.url(queue).await?.is_some() {
            let there = self.attributes(queue).await?;
            return match attributes.iter().find(|(name, wanted)| !is(&there, name, wanted)) {
                None => Ok(()),
                Some((name, wanted)) => Err(AwsError::NotDone(format!(
                    "there is a queue {queue} already, whose {name} is not {wanted} but {}; it was left as it is",
                    there.get(*name).map_or("not set", String::as_str)
                ))),
            };
        }
        let mut create = self.client.create_queue().queue_name(queue);
        if queue.ends_with(FIFO) {
            create = create.attributes(QueueAttributeName::FifoQueue, "true");
        }
        for (name, value) in attributes {
            create = create.attributes(QueueAttributeName::from(*name), *value);
        }
        create
            .send()
            .await
            .map_err(failed(format!("creating the queue {queue}")))?;
        Ok(())
    }

    /// A queue, and a second one for the messages that were received so often without being deleted. Both as in
    /// [`create_queue`](Self::create_queue). The second keeps messages as long as SQS can, 14 days.
    pub async fn create_queue_with_dead_letters(
        &self,
        queue: &str,
        dead_letters: &str,
        receives: u32,
        attributes: &[(&str, &str)],
    ) -> Result<(), AwsError> {
        self.create_queue(dead_letters, &[("MessageRetentionPeriod", "1209600")])
            .await?;
        let arn = self.attributes(dead_letters).await?.remove("QueueArn");
        let arn =
            arn.ok_or_else(|| AwsError::missing("creating the queue", "the ARN of its dead letters"))?;
        let policy = json!({"deadLetterTargetArn": arn, "maxReceiveCount": receives}).to_string();
        let attributes = [attributes, &[("RedrivePolicy", policy.as_str())]].concat();
        self.create_queue(queue, &attributes).await
    }

    /// Removes a queue, unless it holds messages. One that is not there is no error.
    ///
    /// What SQS says of the number of messages may be a minute old, so one is received as well, and left visible: that counts
    /// as one receive of it. AWS refuses to make a queue of the same name within 60 s.
    pub async fn delete_empty_queue(&self, queue: &str) -> Result<(), AwsError> {
        let Some(url) = self.url(queue).await? else {
            return Ok(());
        };
        let attributes = self.attributes(queue).await?;
        let counted = [
            "ApproximateNumberOfMessages",
            "ApproximateNumberOfMessagesNotVisible",
            "ApproximateNumberOfMessagesDelayed",
        ];
        let mut holds = counted
            .iter()
            .any(|name| attributes.get(*name).is_some_and(|count| count != "0"));
        if !holds {
            let receive = self.client.receive_message().queue_url(&url);
            // Waiting has SQS ask all of its servers, instead of some.
            let received = receive.visibility_timeout(0).wait_time_seconds(1).send().await;
            let received = received.map_err(failed(format!("looking into the queue {queue}")))?;
            holds = received.messages.is_some_and(|messages| !messages.is_empty());
        }
        if holds {
            return Err(AwsError::NotDone(format!(
                "the queue {queue} is not deleted, because it holds messages"
            )));
        }
        let deleted = self.client.delete_queue().queue_url(url).send().await;
        if_there(
            deleted.map_err(failed(format!("deleting the queue {queue}"))),
            NO_QUEUE,
        )?;
        Ok(())
    }

    /// All attributes of a queue, by their names.
    pub async fn attributes(&self, queue: &str) -> Result<HashMap<String, String>, AwsError> {
        let all = self
            .client
            .get_queue_attributes()
            .queue_url(self.existing(queue).await?)
            .attribute_names(QueueAttributeName::All);
        let found = all
            .send()
            .await
            .map_err(failed(format!("reading the attributes of {queue}")))?;
        let attributes = found.attributes.unwrap_or_default();
        Ok(attributes
            .into_iter()
            .map(|(name, value)| (name.as_str().to_owned(), value))
            .collect())
    }

    /// Sets attributes, and keeps what they were for [`attributes_as_before`](Self::attributes_as_before), as a tag of the
    /// queue. What an attempt before this one has kept is from before the change, and stays. Take a step of a
    /// [`ChangeKey`](crate::ChangeKey) for the key.
    pub async fn change_attributes(
        &self,
        queue: &str,
        key: &str,
        attributes: &[(&str, &str)],
    ) -> Result<(), AwsError> {
        let url = self.existing(queue).await?;
        if self.kept(queue, &url, key).await?.is_none() {
            let there = self.attributes(queue).await?;
            let before: HashMap<&str, &str> = attributes
                .iter()
                .map(|(name, _)| (*name, there.get(*name).map_or("", String::as_str)))
                .collect();
            self.keep(queue, &url, key, &before).await?;
        }
        self.set(queue, &url, attributes).await
    }

    /// Sets the attributes to what they were before [`change_attributes`](Self::change_attributes).
    pub async fn attributes_as_before(&self, queue: &str, key: &str) -> Result<(), AwsError> {
        let Some(url) = self.url(queue).await? else {
            return Ok(());
        };
        let Some(before) = self.kept(queue, &url, key).await? else {
            return Ok(()); // it never came so far
        };
        // One that was not set is set to nothing, which unsets it.
        let before: Vec<_> = before
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()))
            .collect();
        self.set(queue, &url, &before).await?;
        let untag = self.client.untag_queue().queue_url(&url).tag_keys(tag(key));
        untag
            .send()
            .await
            .map_err(failed(format!("removing a tag of {queue}")))?;
        Ok(())
    }

    async fn existing(&self, queue: &str) -> Result<String, AwsError> {
        let url = self.url(queue).await?;
        url.ok_or_else(|| AwsError::NotDone(format!("there is no queue {queue}")))
    }

    async fn set(&self, queue: &str, url: &str, attributes: &[(&str, &str)]) -> Result<(), AwsError> {
        let mut set = self.client.set_queue_attributes().queue_url(url);
        for (name, value) in attributes {
            set = set.attributes(QueueAttributeName::from(*name), *value);
        }
        set.send()
            .await
            .map_err(failed(format!("setting attributes of {queue}")))?;
        Ok(())
    }

    async fn keep(
        &self,
        queue: &str,
        url: &str,
        key: &str,
        value: &HashMap<&str, &str>,
    ) -> Result<(), AwsError> {
        // The characters of JSON are not allowed in tags.
        let text = BASE64.encode(json!(value).to_string().as_bytes());
        if text.len() > LONGEST_TAG {
            return Err(AwsError::NotDone(format!(
                "what these attributes of {queue} are now is too long to be kept in a tag, so nothing was changed: change \
                 fewer at a time, or from one known value to another"
            )));
        }
        let tagging = self.client.tag_queue().queue_url(url).tags(tag(key), text);
        tagging
            .send()
            .await
            .map_err(failed(format!("tagging the queue {queue}")))?;
        Ok(())
    }

    async fn kept(
        &self,
        queue: &str,
        url: &str,
        key: &str,
    ) -> Result<Option<HashMap<String, String>>, AwsError> {
        let tags = self.client.list_queue_tags().queue_url(url).send().await;
        let tags = tags
            .map_err(failed(format!("reading the tags of {queue}")))?
            .tags
            .unwrap_or_default();
        let Some(text) = tags.get(&tag(key)) else {
            return Ok(None);
        };
        let kept = BASE64
            .decode(text.as_bytes())
            .ok()
            .and_then(|text| serde_json::from_slice(&text).ok());
        kept.map(Some).ok_or_else(|| {
            AwsError::NotDone(format!(
                "the tag {} of the queue {queue} does not say what its attributes were",
                tag(key)
            ))
        })
    }
}

fn tag(key: &str) -> String {
    format!("flamingock:{key}")
}

/// As values: SQS writes the numbers of a policy as it likes.
fn is(there: &HashMap<String, String>, name: &str, wanted: &str) -> bool {
    let Some(there) = there.get(name) else {
        return wanted.is_empty();
    };
    let value = |text: &str| match serde_json::from_str(text) {
        Ok(serde_json::Value::Object(mut policy)) => {
            for part in policy.values_mut() {
                if let Some(number) = part.as_str().and_then(|text| text.parse::<u64>().ok()) {
                    *part = number.into();
                }
            }
            Some(policy)
        }
        _ => None,
    };
    there == wanted || value(there).is_some_and(|there| Some(there) == value(wanted))
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::is;

    #[test]
    fn an_attribute_is_compared_as_a_value_and_one_that_is_not_set_is_empty() {
        let there = |value: &str| HashMap::from([("A".to_owned(), value.to_owned())]);
        let table = [
            ("30", "30", true),
            ("30", "31", false),
            (r#"{"a":"x","n":3}"#, r#"{ "n": 3, "a": "x" }"#, true),
            (r#"{"a":"x","n":"3"}"#, r#"{"a":"x","n":3}"#, true),
            (r#"{"a":"x","n":4}"#, r#"{"a":"x","n":3}"#, false),
            (r#"{"a":"y","n":3}"#, r#"{"a":"x","n":3}"#, false),
            (r#"{"a":"x"}"#, "", false),
        ];
        for (is_there, wanted, same) in table {
            assert_eq!(is(&there(is_there), "A", wanted), same, "{is_there} {wanted}");
        }
        assert!(is(&HashMap::new(), "A", ""));
        assert!(!is(&HashMap::new(), "A", "30"));
    }
}
