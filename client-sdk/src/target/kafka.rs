//! Topics of Kafka and their configuration. No transactions: what Kafka calls so is about messages.

use std::{
    borrow::Cow,
    collections::BTreeMap,
    fmt,
    sync::Arc,
    time::{Duration, Instant},
};

use rdkafka::{
    ClientConfig, Message as _, Offset, TopicPartitionList,
    admin::{
        AdminClient, AdminOptions, AlterConfig, ConfigSource, NewPartitions, NewTopic, ResourceSpecifier,
        TopicReplication,
    },
    client::DefaultClientContext,
    consumer::{BaseConsumer, Consumer as _},
    error::KafkaError,
    producer::{FutureProducer, FutureRecord},
    types::RDKafkaErrorCode,
};
use serde::{Serialize, de::DeserializeOwned};

use super::Target;

/// How long a request to the brokers may take.
const PATIENCE: Duration = Duration::from_secs(30);
/// How long the brokers may take to tell each other what was done.
const SPREADING: Duration = Duration::from_secs(30);
/// The same for settings. The crate `rdkafka` swallows the reason for which a cluster refuses them, so that they never appear
/// is the only sign.
const SETTLING: Duration = Duration::from_secs(10);
const BETWEEN_LOOKS: Duration = Duration::from_millis(50);
/// Where what a rollback needs is kept. Compacted, so the last value of each key stays.
const KEPT: &str = "flamingock_kept";
/// The broker's own default, since Kafka 2.4.
const DEFAULT: i32 = -1;

/// A Kafka cluster. Changes take `TargetClient<Kafka>`.
pub struct KafkaTarget {
    id: Cow<'static, str>,
    client: Kafka,
}

/// The topics of a cluster, and their configuration.
///
/// ```
/// use flamingock::{Kafka, KafkaTargetError, TargetClient, change};
///
/// #[change(id = "orders-topic", order = "0001", target = "events", recovery = "always_retry", rollback = no_topic)]
/// async fn orders_topic(kafka: TargetClient<Kafka>) -> Result<(), KafkaTargetError> {
///     kafka.create_topic("orders", Some(3), None, &[("retention.ms", "604800000")]).await
/// }
///
/// async fn no_topic(kafka: TargetClient<Kafka>) -> Result<(), KafkaTargetError> {
///     kafka.delete_unused_topic("orders").await
/// }
/// ```
#[derive(Clone)]
pub struct Kafka {
    shared: Arc<Shared>,
}

struct Shared {
    config: ClientConfig,
    admin: AdminClient<DefaultClientContext>,
}

/// What a topic is like.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KafkaTopic {
    /// How many partitions it has.
    pub partitions: usize,
    /// On how many brokers each message is.
    pub replication: usize,
}

/// Settings that are a topic's own: by name, and `None` where the cluster's default holds.
pub type KafkaOverrides = BTreeMap<String, Option<String>>;

/// What went wrong in Kafka.
#[derive(Debug, thiserror::Error)]
pub enum KafkaTargetError {
    /// No broker could be asked, or none has answered in time.
    #[error(transparent)]
    Client(#[from] KafkaError),
    /// The cluster does not do it.
    #[error("{doing} was refused")]
    Refused {
        /// What was to be done: "creating the topic `orders`".
        doing: String,
        /// Kafka's reason.
        #[source]
        reason: RDKafkaErrorCode,
    },
    /// It would have harmed somebody, or did not come about.
    #[error("{0}")]
    NotDone(String),
    /// What was to be kept for the rollback is no JSON, or of another type.
    #[error("what was kept cannot be read or written as JSON")]
    Kept(#[from] serde_json::Error),
}

impl KafkaTarget {
    /// A cluster by the configuration of librdkafka, of which `bootstrap.servers` is needed. Connects when it is first used.
    ///
    /// For TLS and SASL the application adds the features of the crate `rdkafka` to its own dependencies; they bring OpenSSL.
    pub fn new(id: impl Into<Cow<'static, str>>, mut config: ClientConfig) -> Result<Self, KafkaTargetError> {
        // Only asked for and read by partition, never as a member of a group.
        config
            .set("group.id", "flamingock")
            .set("enable.auto.commit", "false")
            .set("enable.partition.eof", "true");
        let admin = config.create()?;
        let client = Kafka {
            shared: Arc::new(Shared { config, admin }),
        };
        Ok(Self {
            id: id.into(),
            client,
        })
    }

    /// The client, for calling a change function in a test.
    pub fn client(&self) -> Kafka {
        self.client.clone()
    }
}

impl From<KafkaTarget> for Target {
    fn from(target: KafkaTarget) -> Self {
        Self::non_transactional(target.id, target.client)
    }
}

impl fmt::Debug for KafkaTarget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KafkaTarget")
            .field("id", &self.id)
            .finish_non_exhaustive()
    }
}

/// The configuration may hold a password.
impl fmt::Debug for Kafka {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Kafka").finish_non_exhaustive()
    }
}

/// Topics.
impl Kafka {
    /// A topic, or `None` if there is none of that name.
    pub async fn topic(&self, name: &str) -> Result<Option<KafkaTopic>, KafkaTargetError> {
        let topic = name.to_owned();
        self.consume(move |consumer| {
            let metadata = consumer.fetch_metadata(Some(&topic), PATIENCE)?;
            let Some(found) = metadata.topics().first() else {
                return Ok(None);
            };
            match found.error().map(RDKafkaErrorCode::from) {
                None => {}
                Some(RDKafkaErrorCode::UnknownTopicOrPartition | RDKafkaErrorCode::UnknownTopic) => {
                    return Ok(None);
                }
                Some(reason) => return Err(refused(format!("asking for the topic `{topic}`"), reason)),
            }
            let partitions = found.partitions();
            Ok(Some(KafkaTopic {
                partitions: partitions.len(),
                replication: partitions.first().map_or(0, |first| first.replicas().len()),
            }))
        })
        .await
    }

    /// Creates a topic; partitions and replication are the cluster's defaults where they are `None`.
    ///
    /// One that is there and is the same in all that is asked for here is fine, and one that differs is refused.
    pub async fn create_topic(
        &self,
        name: &str,
        partitions: Option<u16>,
        replication: Option<u16>,
        overrides: &[(&str, &str)],
    ) -> Result<(), KafkaTargetError> {
        let mut topic = NewTopic::new(
            name,
            partitions.map_or(DEFAULT, i32::from),
            TopicReplication::Fixed(replication.map_or(DEFAULT, i32::from)),
        );
        for (setting, value) in overrides {
            topic = topic.set(setting, value);
        }
        let created = self.shared.admin.create_topics(&[topic], &options()).await?;
        match created.into_iter().next() {
            Some(Ok(_) | Err((_, RDKafkaErrorCode::TopicAlreadyExists))) | None => {}
            Some(Err((_, reason))) => return Err(refused(format!("creating the topic `{name}`"), reason)),
        }
        let there = self
            .until(&format!("the topic `{name}` does not appear"), || {
                self.topic(name)
            })
            .await?;
        let differs = |what: &str| {
            Err(KafkaTargetError::NotDone(format!(
                "the topic `{name}` is there, and has another {what}"
            )))
        };
        if partitions.is_some_and(|wanted| usize::from(wanted) != there.partitions) {
            return differs("number of partitions");
        }
        if replication.is_some_and(|wanted| usize::from(wanted) != there.replication) {
            return differs("replication factor");
        }
        let found = self.all_overrides(name).await?;
        for (setting, value) in overrides {
            if found.get(*setting).map(String::as_str) != Some(*value) {
                return differs(&format!("`{setting}`"));
            }
        }
        Ok(())
    }

    /// Gives a topic so many partitions. There is no way back: Kafka removes none. Messages of one key may be in another
    /// partition from then on.
    pub async fn grow_partitions(&self, name: &str, partitions: u16) -> Result<(), KafkaTargetError> {
        let wanted = usize::from(partitions);
        let Some(there) = self.topic(name).await? else {
            return Err(KafkaTargetError::NotDone(format!("there is no topic `{name}`")));
        };
        if there.partitions == wanted {
            return Ok(());
        }
        let grow = NewPartitions::new(name, wanted);
        let grown = self.shared.admin.create_partitions(&[grow], &options()).await?;
        if let Some(Err((_, reason))) = grown.into_iter().next() {
            let doing = format!(
                "giving the topic `{name}` {wanted} partitions instead of {}",
                there.partitions
            );
            return Err(refused(doing, reason));
        }
        self.until(&format!("the partitions of `{name}` do not appear"), || async {
            let topic = self.topic(name).await?;
            Ok(topic.filter(|topic| topic.partitions == wanted))
        })
        .await?;
        Ok(())
    }

    /// Whether anything was ever written to the topic, even if it is no longer there.
    pub async fn was_written_to(&self, name: &str) -> Result<bool, KafkaTargetError> {
        let Some(there) = self.topic(name).await? else {
            return Ok(false);
        };
        let name = name.to_owned();
        self.consume(move |consumer| {
            for partition in (0..).take(there.partitions) {
                let (_, end) = consumer.fetch_watermarks(&name, partition, PATIENCE)?;
                if end > 0 {
                    return Ok(true);
                }
            }
            Ok(false)
        })
        .await
    }

    /// Removes a topic, unless something was ever written to it: then somebody uses it. None of that name is fine.
    ///
    /// Kafka cannot be asked to do that in one step, so a message that comes just now is lost.
    pub async fn delete_unused_topic(&self, name: &str) -> Result<(), KafkaTargetError> {
        if self.was_written_to(name).await? {
            return Err(KafkaTargetError::NotDone(format!(
                "the topic `{name}` is not deleted, because it was written to"
            )));
        }
        let deleted = self.shared.admin.delete_topics(&[name], &options()).await?;
        match deleted.into_iter().next() {
            Some(Err((_, RDKafkaErrorCode::UnknownTopicOrPartition))) => return Ok(()),
            Some(Err((_, reason))) => return Err(refused(format!("deleting the topic `{name}`"), reason)),
            Some(Ok(_)) | None => {}
        }
        self.until(&format!("the topic `{name}` does not disappear"), || async {
            Ok(self.topic(name).await?.is_none().then_some(()))
        })
        .await
    }
}

/// Their configuration.
impl Kafka {
    /// These settings of a topic, as far as they are its own.
    pub async fn overrides(
        &self,
        topic: &str,
        settings: &[&str],
    ) -> Result<KafkaOverrides, KafkaTargetError> {
        let mut all = self.all_overrides(topic).await?;
        let own = settings
            .iter()
            .map(|setting| ((*setting).to_owned(), all.remove(*setting)));
        Ok(own.collect())
    }

    /// Sets these settings of a topic, and gives those that are `None` back to the cluster's default. The others stay.
    ///
    /// librdkafka's client for Rust sends all settings of a topic at once, so what somebody else changes at the same moment
    /// may be lost. Nor does it tell why a cluster refuses them: they are read again until they are there, ten seconds at most.
    pub async fn set_overrides(&self, topic: &str, wanted: &KafkaOverrides) -> Result<(), KafkaTargetError> {
        let before = self.all_overrides(topic).await?;
        let mut after = before.clone();
        for (setting, value) in wanted {
            match value {
                Some(value) => after.insert(setting.clone(), value.clone()),
                None => after.remove(setting),
            };
        }
        if after == before {
            return Ok(());
        }
        let mut request = AlterConfig::new(ResourceSpecifier::Topic(topic));
        for (setting, value) in &after {
            request = request.set(setting, value);
        }
        let altered = self.shared.admin.alter_configs(&[request], &options()).await?;
        if let Some(Err((_, reason))) = altered.into_iter().next() {
            return Err(refused(
                format!("changing the settings of the topic `{topic}`"),
                reason,
            ));
        }
        let otherwise = format!(
            "the topic `{topic}` does not take the settings {wanted:?}: are names and values right, and allowed to this user?"
        );
        let look = || async {
            let now = self.all_overrides(topic).await?;
            let is_set = |(setting, value): (&String, &Option<String>)| now.get(setting) == value.as_ref();
            Ok(wanted.iter().all(is_set).then_some(()))
        };
        self.within(SETTLING, &otherwise, look).await
    }

    async fn all_overrides(&self, topic: &str) -> Result<BTreeMap<String, String>, KafkaTargetError> {
        let asked = [ResourceSpecifier::Topic(topic)];
        let described = self.shared.admin.describe_configs(&asked, &options()).await?;
        let doing = || format!("reading the settings of the topic `{topic}`");
        let found = match described.into_iter().next() {
            Some(Ok(found)) => found,
            Some(Err(reason)) => return Err(refused(doing(), reason)),
            None => return Err(KafkaTargetError::NotDone(format!("{} gave no answer", doing()))),
        };
        let own = found
            .entries
            .into_iter()
            .filter(|entry| entry.source == ConfigSource::DynamicTopic)
            .filter_map(|entry| Some((entry.name, entry.value?)));
        Ok(own.collect())
    }
}

/// What the rollback needs.
impl Kafka {
    /// Keeps a value in the cluster for the rollback, in the topic `flamingock_kept`, unless one is kept under this key
    /// already: that of an attempt before this one is from before the change, and so the right one. Take a
    /// [`ChangeKey`](crate::ChangeKey) for the key.
    pub async fn keep(&self, key: &str, value: &impl Serialize) -> Result<(), KafkaTargetError> {
        self.create_topic(KEPT, Some(1), None, &[("cleanup.policy", "compact")])
            .await?;
        if self.read_kept(key).await?.is_some() {
            return Ok(());
        }
        let value = serde_json::to_vec(value)?;
        self.write_kept(FutureRecord::to(KEPT).partition(0).key(key).payload(&value))
            .await
    }

    /// What was kept.
    pub async fn kept<T: DeserializeOwned>(&self, key: &str) -> Result<Option<T>, KafkaTargetError> {
        if self.topic(KEPT).await?.is_none() {
            return Ok(None);
        }
        let kept = self.read_kept(key).await?;
        Ok(kept.map(|kept| serde_json::from_slice(&kept)).transpose()?)
    }

    /// Removes what was kept.
    pub async fn forget(&self, key: &str) -> Result<(), KafkaTargetError> {
        if self.topic(KEPT).await?.is_none() {
            return Ok(());
        }
        self.write_kept(FutureRecord::<str, [u8]>::to(KEPT).partition(0).key(key))
            .await
    }

    async fn write_kept(
        &self,
        record: FutureRecord<'_, str, impl rdkafka::message::ToBytes + ?Sized>,
    ) -> Result<(), KafkaTargetError> {
        let mut config = self.shared.config.clone();
        config.set("enable.idempotence", "true");
        let producer: FutureProducer = config.create()?;
        match producer.send(record, PATIENCE).await {
            Ok(_) => Ok(()),
            Err((error, _)) => Err(error.into()),
        }
    }

    async fn read_kept(&self, key: &str) -> Result<Option<Vec<u8>>, KafkaTargetError> {
        let key = key.as_bytes().to_vec();
        self.consume(move |consumer| {
            let (first, end) = consumer.fetch_watermarks(KEPT, 0, PATIENCE)?;
            if first >= end {
                return Ok(None);
            }
            let mut all = TopicPartitionList::new();
            all.add_partition_offset(KEPT, 0, Offset::Beginning)?;
            consumer.assign(&all)?;
            let mut kept = None;
            loop {
                match consumer.poll(PATIENCE) {
                    Some(Ok(message)) => {
                        if message.key() == Some(&key) {
                            kept = message.payload().map(<[u8]>::to_vec);
                        }
                        if message.offset() + 1 >= end {
                            return Ok(kept);
                        }
                    }
                    Some(Err(KafkaError::PartitionEOF(_))) => return Ok(kept),
                    Some(Err(error)) => return Err(error.into()),
                    None => {
                        let told = format!("the topic `{KEPT}` could not be read to its end in time");
                        return Err(KafkaTargetError::NotDone(told));
                    }
                }
            }
        })
        .await
    }

    /// librdkafka blocks the thread where it is asked as a consumer.
    async fn consume<T: Send + 'static>(
        &self,
        work: impl FnOnce(&BaseConsumer) -> Result<T, KafkaTargetError> + Send + 'static,
    ) -> Result<T, KafkaTargetError> {
        let config = self.shared.config.clone();
        let done = tokio::task::spawn_blocking(move || {
            let consumer: BaseConsumer = config.create()?;
            work(&consumer)
        });
        match done.await {
            Ok(done) => done,
            Err(error) => Err(KafkaTargetError::NotDone(format!(
                "asking Kafka was given up: {error}"
            ))),
        }
    }

    /// Brokers hear of a change one after the other.
    async fn until<T, F: Future<Output = Result<Option<T>, KafkaTargetError>>>(
        &self,
        otherwise: &str,
        look: impl Fn() -> F,
    ) -> Result<T, KafkaTargetError> {
        self.within(SPREADING, otherwise, look).await
    }

    async fn within<T, F: Future<Output = Result<Option<T>, KafkaTargetError>>>(
        &self,
        limit: Duration,
        otherwise: &str,
        look: impl Fn() -> F,
    ) -> Result<T, KafkaTargetError> {
        let began = Instant::now();
        loop {
            if let Some(found) = look().await? {
                return Ok(found);
            }
            if began.elapsed() > limit {
                return Err(KafkaTargetError::NotDone(otherwise.to_owned()));
            }
            tokio::time::sleep(BETWEEN_LOOKS).await;
        }
    }
}

fn options() -> AdminOptions {
    AdminOptions::new()
        .request_timeout(Some(PATIENCE))
        .operation_timeout(Some(PATIENCE))
}

fn refused(doing: String, reason: RDKafkaErrorCode) -> KafkaTargetError {
    KafkaTargetError::Refused { doing, reason }
}
