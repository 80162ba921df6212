//! [`Client`]: connections by broker, metadata, and who is asked what.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use wire::messages::metadata::MetadataRequestTopic;
use wire::messages::{FindCoordinatorRequest, MetadataRequest};
use wire::{ApiKey, ErrorCode, Request};

use crate::connection::{Connection, Reply};
use crate::error::ClientError;
use crate::metadata::{BrokerAddress, Metadata, TopicInfo, TopicPartition};
use crate::settings::ClientSettings;

/// First version of FindCoordinator with a list of keys.
const COORDINATOR_KEYS_FROM: i16 = 4;

/// Whether a topic that does not exist may be created by asking for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum AutoCreate {
    /// If the broker does so.
    Allowed,
    /// Never.
    Forbidden,
}

/// A client of one cluster.
#[derive(Debug)]
pub struct Client {
    settings: ClientSettings,
    metadata: Metadata,
    connections: HashMap<i32, Connection>,
    /// The connection to a bootstrap address, whose broker id is not known.
    seed: Option<Connection>,
}

impl Client {
    /// Connects to the first bootstrap address that answers and learns of the brokers.
    ///
    /// # Errors
    /// No address answers, or what answers is not a Kafka broker.
    pub fn connect(settings: ClientSettings) -> Result<Self, ClientError> {
        let mut client = Self {
            settings,
            metadata: Metadata::default(),
            connections: HashMap::new(),
            seed: None,
        };
        client.refresh(&[], AutoCreate::Forbidden)?;
        Ok(client)
    }

    /// How the client connects and waits.
    pub fn settings(&self) -> &ClientSettings {
        &self.settings
    }

    /// What is known of the cluster.
    pub fn metadata(&self) -> &Metadata {
        &self.metadata
    }

    /// Asks a request of any broker.
    ///
    /// # Errors
    /// No broker can be reached, or the call fails.
    pub fn call_any<'q, R: Request<'q>>(&mut self, request: &R) -> Result<Reply<R>, ClientError> {
        let outcome = self.any()?.call(request);
        if broke(&outcome) {
            self.forget_any();
        }
        outcome
    }

    /// Asks a request of one broker.
    ///
    /// # Errors
    /// The broker is not known or cannot be reached, or the call fails.
    pub fn call<'q, R: Request<'q>>(
        &mut self,
        node: i32,
        request: &R,
    ) -> Result<Reply<R>, ClientError> {
        let timeout = self.settings.request_timeout;
        self.call_within(node, request, i16::MAX, timeout)
    }

    /// As [`Client::call`], in version `max` at most, waiting for `timeout`.
    ///
    /// # Errors
    /// As [`Client::call`].
    pub fn call_within<'q, R: Request<'q>>(
        &mut self,
        node: i32,
        request: &R,
        max: i16,
        timeout: Duration,
    ) -> Result<Reply<R>, ClientError> {
        let outcome = self.node(node)?.call_within(request, max, timeout);
        if broke(&outcome) {
            self.connections.remove(&node);
        }
        outcome
    }

    /// Asks a request of the broker that carries out changes of topics.
    pub(crate) fn call_controller<'q, R: Request<'q>>(
        &mut self,
        request: &R,
        timeout: Duration,
    ) -> Result<Reply<R>, ClientError> {
        let known = self.metadata.controller;
        match known.filter(|node| self.metadata.brokers.contains_key(node)) {
            Some(node) => self.call_within(node, request, i16::MAX, timeout),
            None => self.call_any(request),
        }
    }

    /// The version in which a broker is asked a request.
    pub(crate) fn version(&mut self, node: i32, api: ApiKey) -> Result<i16, ClientError> {
        self.node(node)?.version(api, i16::MAX)
    }

    /// A new connection to a broker, of the caller's own.
    pub(crate) fn open(&self, node: i32) -> Result<Connection, ClientError> {
        let Some(address) = self.metadata.brokers.get(&node) else {
            return Err(ClientError::Advertised {
                node,
                address: "?".to_owned(),
                cause: "the cluster does not name it".to_owned(),
            });
        };
        let opened = Connection::open(&address.to_string(), &self.settings);
        opened.map_err(|error| match error {
            ClientError::Unreachable { addresses, cause } => ClientError::Advertised {
                node,
                address: addresses,
                cause,
            },
            other => other,
        })
    }

    fn node(&mut self, node: i32) -> Result<&mut Connection, ClientError> {
        if !self.connections.contains_key(&node) {
            let opened = self.open(node)?;
            self.connections.insert(node, opened);
        }
        self.connections
            .get_mut(&node)
            .ok_or_else(|| ClientError::Advertised {
                node,
                address: "?".to_owned(),
                cause: "it has just gone".to_owned(),
            })
    }

    /// A connection to some broker: the seed, else a bootstrap address, else any known broker.
    fn any(&mut self) -> Result<&mut Connection, ClientError> {
        let seed = match self.seed.take() {
            Some(seed) => seed,
            None => self.open_any()?,
        };
        Ok(self.seed.insert(seed))
    }

    fn open_any(&self) -> Result<Connection, ClientError> {
        let known = self.metadata.brokers.values().map(BrokerAddress::to_string);
        let mut candidates = self.settings.bootstrap.clone();
        candidates.extend(known.filter(|address| !self.settings.bootstrap.contains(address)));
        let mut last = None;
        for address in &candidates {
            match Connection::open(address, &self.settings) {
                Ok(connection) => return Ok(connection),
                Err(error) => last = Some(error),
            }
        }
        Err(match last {
            Some(ClientError::Unreachable { cause, .. }) => ClientError::Unreachable {
                addresses: self.settings.bootstrap.join(", "),
                cause,
            },
            Some(error) => error,
            None => ClientError::Usage("the list of bootstrap servers is empty".to_owned()),
        })
    }

    fn forget_any(&mut self) {
        self.seed = None;
    }

    /// Does `attempt` until it succeeds, fails for good, or the retry time is over.
    ///
    /// # Errors
    /// The first failure that no retry mends, or a timeout with the last one.
    pub fn retry<T>(
        &mut self,
        operation: &str,
        mut attempt: impl FnMut(&mut Self) -> Result<T, ClientError>,
    ) -> Result<T, ClientError> {
        let started = Instant::now();
        for number in 0.. {
            let error = match attempt(self) {
                Ok(value) => return Ok(value),
                Err(error) => error,
            };
            let wait = self.settings.wait_before(number);
            let after = started.elapsed();
            if !error.is_retriable() {
                return Err(error);
            }
            if after + wait > self.settings.retry_timeout {
                return Err(error.after(operation, after));
            }
            std::thread::sleep(wait);
            // A stale view of the cluster is the usual cause. If this fails, the attempt will.
            let names: Vec<_> = self.metadata.topics.keys().cloned().collect();
            let names: Vec<&str> = names.iter().map(AsRef::as_ref).collect();
            let _ = self.refresh(&names, AutoCreate::Forbidden);
        }
        Err(ClientError::Usage(format!(
            "{operation}: no attempt was made"
        )))
    }

    /// Asks for the brokers and for the topics named; topics known before stay known.
    pub(crate) fn refresh(
        &mut self,
        topics: &[&str],
        auto_create: AutoCreate,
    ) -> Result<(), ClientError> {
        self.ask_metadata(Some(topics), auto_create)
    }

    /// Asks for the brokers that there are now.
    ///
    /// # Errors
    /// No broker can be reached.
    pub fn refresh_brokers(&mut self) -> Result<(), ClientError> {
        self.retry("list brokers", |client| {
            client.refresh(&[], AutoCreate::Forbidden)
        })
    }

    /// Asks for all topics.
    ///
    /// # Errors
    /// No broker can be reached.
    pub fn all_topics(&mut self) -> Result<Vec<TopicInfo>, ClientError> {
        self.metadata.topics.clear();
        self.retry("list topics", |client| {
            client.ask_metadata(None, AutoCreate::Forbidden)
        })?;
        Ok(self.metadata.topics.values().cloned().collect())
    }

    fn ask_metadata(
        &mut self,
        topics: Option<&[&str]>,
        auto_create: AutoCreate,
    ) -> Result<(), ClientError> {
        let topic = |name| MetadataRequestTopic {
            name: Some(name),
            ..Default::default()
        };
        let request = MetadataRequest {
            topics: topics.map(|names| names.iter().copied().map(topic).collect()),
            allow_auto_topic_creation: auto_create == AutoCreate::Allowed,
            ..Default::default()
        };
        let reply = self.call_any(&request)?;
        let response = reply.decode()?;
        ClientError::check(|| "read metadata".to_owned(), response.error_code, None)?;
        self.metadata.merge(&response);
        Ok(())
    }

    /// A topic with its partitions, asked for now.
    ///
    /// # Errors
    /// The topic does not exist, or no broker can be reached.
    pub fn topic(&mut self, name: &str) -> Result<TopicInfo, ClientError> {
        self.find_topic(name, AutoCreate::Forbidden)
    }

    /// As [`Client::topic`]; a broker that creates topics on demand may do so.
    ///
    /// # Errors
    /// As [`Client::topic`].
    pub fn topic_or_create(&mut self, name: &str) -> Result<TopicInfo, ClientError> {
        self.find_topic(name, AutoCreate::Allowed)
    }

    fn find_topic(
        &mut self,
        name: &str,
        auto_create: AutoCreate,
    ) -> Result<TopicInfo, ClientError> {
        // Asked for twice if it is unknown: one that was created just now, by that question or by
        // someone else, may not be known everywhere yet.
        for attempt in 0..3 {
            self.retry("find topic", |client| client.refresh(&[name], auto_create))?;
            match self.metadata.topics.get(name) {
                Some(topic) if topic.error.is_none() => return Ok(topic.clone()),
                Some(topic) if !topic.error.retriable() => {
                    let operation = || format!("find topic {name}");
                    ClientError::check(operation, topic.error, None)?;
                }
                _ => std::thread::sleep(self.settings.wait_before(attempt)),
            }
        }
        Err(ClientError::UnknownTopic {
            topic: name.to_owned(),
        })
    }

    /// The broker that leads a partition of a known topic.
    pub(crate) fn leader(&self, of: &TopicPartition) -> Result<i32, ClientError> {
        let unknown = || ClientError::UnknownTopic {
            topic: of.topic.to_string(),
        };
        let topic = self.metadata.topics.get(&of.topic).ok_or_else(unknown)?;
        let partition = topic.partition(of.partition).ok_or_else(|| {
            let count = topic.partitions.len();
            let (topic, partition) = (of.topic.to_string(), of.partition.get());
            ClientError::UnknownPartition {
                topic,
                partition,
                count,
            }
        })?;
        partition.leader.ok_or_else(|| ClientError::Refused {
            operation: format!("find the leader of {of}"),
            code: ErrorCode::LEADER_NOT_AVAILABLE,
            message: None,
        })
    }

    /// The broker that coordinates a group.
    pub(crate) fn coordinator(&mut self, group: &str) -> Result<i32, ClientError> {
        let many = self.any()?.version(ApiKey::FindCoordinator, i16::MAX)? >= COORDINATOR_KEYS_FROM;
        let request = FindCoordinatorRequest {
            key: if many { "" } else { group },
            coordinator_keys: if many { vec![group] } else { Vec::new() },
            ..Default::default()
        };
        let reply = self.call_any(&request)?;
        let response = reply.decode()?;
        let operation = || format!("find the coordinator of group {group}");
        let (node, host, port) = match response.coordinators.first() {
            Some(found) => {
                ClientError::check(operation, found.error_code, found.error_message)?;
                (found.node_id, found.host, found.port)
            }
            None => {
                ClientError::check(operation, response.error_code, response.error_message)?;
                (response.node_id, response.host, response.port)
            }
        };
        let address = BrokerAddress {
            host: host.to_owned(),
            port,
        };
        self.metadata.brokers.insert(node, address);
        Ok(node)
    }
}

/// Whether the connection of that call must not be used again.
fn broke<T>(outcome: &Result<T, ClientError>) -> bool {
    matches!(
        outcome,
        Err(ClientError::Broken { .. }
            | ClientError::TimedOut { .. }
            | ClientError::Protocol { .. })
    )
}
