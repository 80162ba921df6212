//! The brokers of a cluster and the topics of a run: who leads what, and who connects where.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use wire::messages::create_topics::{CreatableTopic, CreatableTopicConfig, CreateTopicsRequest};
use wire::messages::delete_topics::{DeleteTopicState, DeleteTopicsRequest};
use wire::messages::metadata::{MetadataRequest, MetadataRequestTopic, MetadataResponse};
use wire::{ApiKey, ErrorCode, Uuid};

use crate::access::Access;
use crate::connection::Connection;

/// How long a new topic may take until every partition has a leader.
const LEADERS_WITHIN: Duration = Duration::from_secs(30);
/// Pause between two looks at the metadata.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// First version of CreateTopics in which the broker chooses the number of replicas (KIP-464).
const DEFAULT_REPLICAS_FROM: i16 = 4;
/// Last version of DeleteTopics that names topics in a plain list.
const DELETE_BY_NAME_UNTIL: i16 = 5;
/// Last versions of Produce and Fetch that name a topic instead of giving its id (KIP-516).
const PRODUCE_BY_NAME_UNTIL: i16 = 12;
/// See [`PRODUCE_BY_NAME_UNTIL`].
const FETCH_BY_NAME_UNTIL: i16 = 12;

/// One partition and its leader.
#[derive(Debug, Clone)]
pub struct Partition {
    /// Index in the topic.
    pub index: i32,
    /// Leader epoch; -1 if the broker has none.
    pub leader_epoch: i32,
    /// Where the leader listens.
    pub address: String,
}

/// A topic and its partitions.
#[derive(Debug, Clone)]
pub struct Topic {
    /// Its name.
    pub name: String,
    /// Its id; zero where the broker has none.
    pub id: Uuid,
    /// Its partitions, by index.
    pub partitions: Vec<Partition>,
    /// How its brokers are connected to.
    pub access: Access,
}

/// What one connection works on.
#[derive(Debug, Clone)]
pub struct Assignment {
    /// Where it connects to.
    pub address: String,
    /// Its partitions, all led from there; at least one.
    pub partitions: Vec<Partition>,
}

impl Topic {
    /// Deals the partitions to `connections` connections, each to the leader of its partitions.
    /// With fewer partitions than connections several share one. There are as many connections as
    /// leaders at least.
    pub fn assign(&self, connections: usize) -> Vec<Assignment> {
        let mut leaders: BTreeMap<&str, Vec<&Partition>> = BTreeMap::new();
        for partition in &self.partitions {
            leaders
                .entry(&partition.address)
                .or_default()
                .push(partition);
        }
        let connections = connections.max(leaders.len());
        let count = leaders.len();
        let mut all = Vec::with_capacity(connections);
        for (number, (address, led)) in leaders.into_iter().enumerate() {
            // Connection c goes to leader c % count, so this leader gets those of its number.
            let share = (connections - number).div_ceil(count);
            for own in 0..share {
                let mine = led.iter().skip(own).step_by(share).map(|p| (*p).clone());
                let mut partitions: Vec<Partition> = mine.collect();
                if partitions.is_empty() {
                    partitions.push(led[own % led.len()].clone());
                }
                let address = address.to_owned();
                all.push(Assignment {
                    address,
                    partitions,
                });
            }
        }
        all
    }

    /// A connection to the leader of what is assigned.
    ///
    /// # Errors
    /// See [`Access::open`].
    pub fn connect(&self, assignment: &Assignment) -> Result<Connection> {
        self.access.open(&assignment.address)
    }

    /// The version of Produce to use over `connection`.
    ///
    /// # Errors
    /// There is none.
    pub fn produce_version(&self, connection: &Connection) -> Result<i16> {
        let cap = if self.id.is_zero() {
            PRODUCE_BY_NAME_UNTIL
        } else {
            i16::MAX
        };
        connection.versions().pick_at_most(ApiKey::Produce, cap)
    }

    /// The version of Fetch to use over `connection`.
    ///
    /// # Errors
    /// There is none.
    pub fn fetch_version(&self, connection: &Connection) -> Result<i16> {
        let cap = if self.id.is_zero() {
            FETCH_BY_NAME_UNTIL
        } else {
            i16::MAX
        };
        connection.versions().pick_at_most(ApiKey::Fetch, cap)
    }
}

/// A connection for everything but the load.
#[derive(Debug)]
pub struct Cluster {
    control: Connection,
    access: Access,
}

impl Cluster {
    /// Connects to the first of the comma-separated addresses that answers.
    ///
    /// # Errors
    /// None does.
    pub fn connect(bootstrap: &str, access: &Access) -> Result<Self> {
        let mut last = None;
        for address in bootstrap
            .split(',')
            .map(str::trim)
            .filter(|a| !a.is_empty())
        {
            match access.open(address) {
                Ok(control) => {
                    let access = access.clone();
                    return Ok(Self { control, access });
                }
                Err(e) => last = Some(e),
            }
        }
        Err(last.unwrap_or_else(|| anyhow::anyhow!("no bootstrap address was given")))
    }

    /// Creates a topic, or takes one that exists, and waits until all its partitions have leaders.
    ///
    /// # Errors
    /// The broker refuses, or a partition stays without a leader.
    pub fn create_topic(
        &mut self,
        name: &str,
        partitions: usize,
        replicas: i16,
        settings: &[(String, String)],
    ) -> Result<Topic> {
        let mut controller = self.controller()?;
        let connection = controller.as_mut().unwrap_or(&mut self.control);
        let version = connection.versions().pick(ApiKey::CreateTopics)?;
        let one_if_asked = version < DEFAULT_REPLICAS_FROM && replicas < 0;
        let configs = settings.iter().map(|(name, value)| CreatableTopicConfig {
            name,
            value: Some(value),
        });
        let request = CreateTopicsRequest {
            topics: vec![CreatableTopic {
                name,
                num_partitions: i32::try_from(partitions)?,
                replication_factor: if one_if_asked { 1 } else { replicas },
                configs: configs.collect(),
                ..Default::default()
            }],
            timeout_ms: 30_000,
            validate_only: false,
        };
        let reply = connection.call_in(version, &request)?;
        let result = reply
            .topics
            .first()
            .context("CreateTopics answered nothing")?;
        let code = result.error_code;
        let message = result.error_message.unwrap_or_default();
        ensure!(
            code == ErrorCode::NONE || code == ErrorCode::TOPIC_ALREADY_EXISTS,
            "create topic {name}: {code} {message}"
        );
        let started = Instant::now();
        loop {
            if let Some(topic) = self.topic(name)? {
                let found = topic.partitions.len();
                ensure!(found >= partitions, "topic {name} has {found} partitions");
                return Ok(topic);
            }
            ensure!(
                started.elapsed() < LEADERS_WITHIN,
                "topic {name} has no leaders after 30 s"
            );
            std::thread::sleep(LOOK_EVERY);
        }
    }

    /// A connection to the controller, if that is known and is another broker.
    fn controller(&mut self) -> Result<Option<Connection>> {
        let nothing = MetadataRequest {
            topics: Some(Vec::new()),
            allow_auto_topic_creation: false,
            ..Default::default()
        };
        let metadata = self.control.call(&nothing)?;
        if metadata.brokers.len() < 2 {
            return Ok(None);
        }
        let controller = metadata
            .brokers
            .iter()
            .find(|b| b.node_id == metadata.controller_id);
        let address = controller.map(|b| format!("{}:{}", b.host, b.port));
        address
            .map(|address| self.access.open(&address))
            .transpose()
    }

    /// The topic, if it exists and every partition has a leader.
    ///
    /// # Errors
    /// The broker does not answer, or answers with an error that does not pass.
    pub fn topic(&mut self, name: &str) -> Result<Option<Topic>> {
        let request = MetadataRequest {
            topics: Some(vec![MetadataRequestTopic {
                name: Some(name),
                ..Default::default()
            }]),
            allow_auto_topic_creation: false,
            ..Default::default()
        };
        let metadata: MetadataResponse<'_> = self.control.call(&request)?;
        let Some(topic) = metadata.topics.first() else {
            return Ok(None);
        };
        if topic.error_code != ErrorCode::NONE {
            if topic.error_code.retriable() {
                return Ok(None);
            }
            bail!("describe topic {name}: {}", topic.error_code);
        }
        let mut partitions = Vec::with_capacity(topic.partitions.len());
        for partition in &topic.partitions {
            let leader = metadata
                .brokers
                .iter()
                .find(|b| b.node_id == partition.leader_id);
            let Some(leader) = leader else {
                return Ok(None);
            };
            partitions.push(Partition {
                index: partition.partition_index,
                leader_epoch: partition.leader_epoch,
                address: format!("{}:{}", leader.host, leader.port),
            });
        }
        partitions.sort_by_key(|partition| partition.index);
        let name = name.to_owned();
        let id = topic.topic_id;
        let found = !partitions.is_empty();
        Ok(found.then_some(Topic {
            name,
            id,
            partitions,
            access: self.access.clone(),
        }))
    }

    /// Deletes a topic, if the broker can.
    ///
    /// # Errors
    /// It cannot.
    pub fn delete_topic(&mut self, name: &str) -> Result<()> {
        let version = self.control.versions().pick(ApiKey::DeleteTopics)?;
        let by_name = version <= DELETE_BY_NAME_UNTIL;
        let state = DeleteTopicState {
            name: Some(name),
            ..Default::default()
        };
        let request = DeleteTopicsRequest {
            topics: if by_name { Vec::new() } else { vec![state] },
            topic_names: if by_name { vec![name] } else { Vec::new() },
            timeout_ms: 30_000,
        };
        let reply = self.control.call_in(version, &request)?;
        let code = reply
            .responses
            .first()
            .map_or(ErrorCode::NONE, |r| r.error_code);
        ensure!(code == ErrorCode::NONE, "delete topic {name}: {code}");
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn topic(leaders: &[&str]) -> Topic {
        let partitions = leaders
            .iter()
            .enumerate()
            .map(|(index, address)| Partition {
                index: index as i32,
                leader_epoch: 0,
                address: (*address).to_owned(),
            });
        Topic {
            name: "t".to_owned(),
            id: Uuid::ZERO,
            partitions: partitions.collect(),
            access: Access::default(),
        }
    }

    fn dealt(leaders: &[&str], connections: usize) -> Vec<(String, Vec<i32>)> {
        let all = topic(leaders).assign(connections);
        all.into_iter()
            .map(|a| (a.address, a.partitions.iter().map(|p| p.index).collect()))
            .collect()
    }

    fn row(address: &str, partitions: &[i32]) -> (String, Vec<i32>) {
        (address.to_owned(), partitions.to_vec())
    }

    #[test]
    fn every_partition_has_exactly_one_connection_where_there_are_enough() {
        assert_eq!(
            dealt(&["a", "a", "a"], 2),
            vec![row("a", &[0, 2]), row("a", &[1])]
        );
        assert_eq!(dealt(&["a"; 4], 1), vec![row("a", &[0, 1, 2, 3])]);
    }

    #[test]
    fn connections_share_partitions_where_there_are_too_few() {
        let expected = vec![row("a", &[0]), row("a", &[1]), row("a", &[0])];
        assert_eq!(dealt(&["a", "a"], 3), expected);
    }

    #[test]
    fn every_leader_gets_a_connection() {
        let expected = vec![row("a", &[0, 2]), row("b", &[1])];
        assert_eq!(dealt(&["a", "b", "a"], 1), expected);
        let expected = vec![row("a", &[0]), row("a", &[2]), row("b", &[1])];
        assert_eq!(dealt(&["a", "b", "a"], 3), expected);
    }
}
