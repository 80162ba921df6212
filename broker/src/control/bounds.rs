//! Where partitions of other brokers begin and end: asked of their leaders, by Kafka requests.
//!
//! On a blocking thread, one leader after the other, so that it never takes more than one thread.
//! Bounds: partitions of one call ([`PARTITIONS_MAX`]), partitions of one request, the wait for one
//! leader, the time of one call. What is not answered is left out.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use client::{ClientError, ClientSettings, Connection, OffsetSpec, list_offsets};
use segment::{Offset, PartitionIndex, TopicName, TopicPartition};

use crate::security::Own;

/// Partitions that one call asks for, of all leaders together.
pub const PARTITIONS_MAX: usize = 50_000;
/// Partitions of one request.
const PARTITIONS_A_REQUEST: usize = 1_000;
/// Longest wait for a connection, and for an answer.
const LEADER_TIMEOUT: Duration = Duration::from_secs(2);
/// After this no further leader is asked.
const CALL_TIMEOUT: Duration = Duration::from_secs(8);

/// Where a partition begins and ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bounds {
    /// The first offset that can be read.
    pub log_start: Offset,
    /// The offset after the last acknowledged record.
    pub high_watermark: Offset,
}

impl Bounds {
    /// Records from a committed offset on. What has been deleted is nothing that anybody has yet to
    /// read.
    pub fn lag_of(&self, committed: Offset) -> u64 {
        let next = committed.max(self.log_start);
        let lag = self.high_watermark.get().saturating_sub(next.get());
        u64::try_from(lag).unwrap_or(0)
    }
}

/// A broker, and the partitions that it leads and is asked for.
#[derive(Debug)]
pub struct Leader {
    /// Where it is reached.
    pub host: String,
    /// Where it is reached.
    pub port: u16,
    /// Each once.
    pub partitions: Vec<(TopicPartition, TopicName)>,
}

/// Asks leaders for the bounds of their partitions, at most `partitions_max` a request, as they expect it
/// of us. Gives those that were answered.
pub async fn ask_leaders(
    leaders: Vec<Leader>,
    partitions_max: usize,
    own: Arc<Own>,
) -> Vec<(TopicPartition, Bounds)> {
    let asked = tokio::task::spawn_blocking(move || ask_all(&leaders, partitions_max, &own));
    // The pool has ended, and the broker with it.
    asked.await.unwrap_or_default()
}

fn ask_all(leaders: &[Leader], partitions_max: usize, own: &Own) -> Vec<(TopicPartition, Bounds)> {
    let deadline = Instant::now() + CALL_TIMEOUT;
    let at_once = partitions_max.clamp(1, PARTITIONS_A_REQUEST);
    let mut all = Vec::new();
    for leader in leaders {
        if Instant::now() >= deadline {
            tracing::debug!("not all leaders were asked for the ends of their partitions");
            break;
        }
        if let Err(error) = ask(leader, at_once, own, &mut all) {
            tracing::debug!(%error, "a leader does not tell where its partitions end");
        }
    }
    all
}

fn ask(
    leader: &Leader,
    at_once: usize,
    own: &Own,
    all: &mut Vec<(TopicPartition, Bounds)>,
) -> Result<(), ClientError> {
    let settings = ClientSettings {
        client_id: "kafscale-broker".to_owned(),
        sasl: own.sasl.clone(),
        tls: own.tls.clone(),
        connect_timeout: LEADER_TIMEOUT,
        request_timeout: LEADER_TIMEOUT,
        ..ClientSettings::default()
    };
    let Leader { host, port, .. } = leader;
    let address = match host.contains(':') {
        true => format!("[{host}]:{port}"),
        false => format!("{host}:{port}"),
    };
    let mut connection = Connection::open(&address, &settings)?;
    for partitions in leader.partitions.chunks(at_once) {
        let starts = list(&mut connection, partitions, OffsetSpec::Earliest)?;
        let ends = list(&mut connection, partitions, OffsetSpec::Latest)?;
        for (id, name) in partitions {
            let place = (name.as_str().to_owned(), id.partition);
            if let (Some(start), Some(end)) = (starts.get(&place), ends.get(&place)) {
                let bounds = Bounds {
                    log_start: *start,
                    high_watermark: *end,
                };
                all.push((*id, bounds));
            }
        }
    }
    Ok(())
}

/// Asks for one offset of each partition; those that the broker does not lead are left out.
fn list(
    connection: &mut Connection,
    partitions: &[(TopicPartition, TopicName)],
    spec: OffsetSpec,
) -> Result<BTreeMap<(String, PartitionIndex), Offset>, ClientError> {
    let wanted = partitions
        .iter()
        .map(|(id, name)| (name.as_str(), id.partition));
    let request = list_offsets(wanted, spec);
    let reply = connection.call(&request)?;
    let mut found = BTreeMap::new();
    for topic in &reply.decode()?.topics {
        for answer in &topic.partitions {
            if answer.error_code.is_none() && answer.offset >= 0 {
                let index = PartitionIndex::new(answer.partition_index);
                found.insert((topic.name.to_owned(), index), Offset::new(answer.offset));
            }
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lag_counts_what_is_left_to_read() {
        let bounds = Bounds {
            log_start: Offset::new(10),
            high_watermark: Offset::new(30),
        };
        let lags = [0, 10, 25, 30, 99].map(|offset| bounds.lag_of(Offset::new(offset)));
        assert_eq!(lags, [20, 20, 5, 0, 0]);
    }

    #[test]
    fn a_leader_that_is_not_there_is_left_out_in_time() {
        let began = Instant::now();
        let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let id = TopicPartition::new(segment::TopicId::new([1; 16]), PartitionIndex::ZERO);
        let leader = |port| Leader {
            host: "127.0.0.1".to_owned(),
            port,
            partitions: vec![(id, TopicName::new("orders").unwrap())],
        };
        let port = silent.local_addr().unwrap().port();
        let leaders: Vec<Leader> = [1, port, port, port, port, port, port].map(leader).into();
        assert!(ask_all(&leaders, 2_000, &Own::default()).is_empty());
        let limit = CALL_TIMEOUT + 4 * LEADER_TIMEOUT;
        assert!(began.elapsed() < limit, "{:?}", began.elapsed());
    }
}
