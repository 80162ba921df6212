//! How far consumer groups are behind, for `kafscale_consumer_group_lag` and `kafscale_consumer_group_lag_seconds`.
//!
//! Control thread. Looked at every few seconds, over all offsets that the groups of this broker have
//! committed. Where a partition ends is known here of our own; of the others' their leaders are
//! asked, each once a look for all groups ([`bounds`](super::bounds)). A leader that does not answer
//! counts with what it said last, which is never too much. Without groups nobody is asked.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::rc::Rc;
use std::time::{Duration, Instant};

use segment::{BrokerId, Offset, TopicPartition};

use super::arrivals::Arrivals;
use super::bounds::{Bounds, Leader, PARTITIONS_MAX, ask_leaders};
use super::context::Context;
use crate::metadata::Metadata;
use crate::metrics::GroupLag;
use crate::shard::Shard;

/// An offset that a group has committed.
struct Committed {
    group: coord::groups::GroupId,
    id: TopicPartition,
    offset: Offset,
}

/// Looks at the lag of groups.
pub struct Lags {
    context: Rc<Context>,
    /// The listener by which leaders are asked.
    inter_broker: String,
    /// What the leaders of others' partitions said last.
    told: HashMap<TopicPartition, Bounds>,
    /// When the records of partitions arrived that groups have committed offsets of.
    arrivals: HashMap<TopicPartition, Arrivals>,
}

impl Lags {
    /// Nobody has been asked yet.
    pub fn new(context: Rc<Context>) -> Self {
        Self {
            inter_broker: context.config.inter_broker_listener().name,
            context,
            told: HashMap::new(),
            arrivals: HashMap::new(),
        }
    }

    /// Records between committed offsets and high watermarks, and how long the oldest waits, one row a group and topic.
    pub async fn look(&mut self) -> Vec<GroupLag> {
        let committed = self.committed().await;
        let metadata = self.context.metadata.load_full();
        let wanted: HashSet<TopicPartition> = committed.iter().map(|c| c.id).collect();
        let (mut known, mut asked) = (HashMap::new(), HashMap::new());
        for id in &wanted {
            match own_bounds(&metadata, *id) {
                Some(bounds) => drop(known.insert(*id, bounds)),
                None => self.ask_for(&metadata, *id, &mut asked),
            }
        }
        self.told
            .retain(|id, _| wanted.contains(id) && !known.contains_key(id));
        if !asked.is_empty() {
            let partitions = self.context.config.request.partitions_max;
            let leaders = asked.into_values().collect();
            let own = self.context.users.security().own();
            self.told
                .extend(ask_leaders(leaders, partitions, own).await);
        }
        known.extend(self.told.iter().map(|(id, bounds)| (*id, *bounds)));
        let now = Instant::now();
        self.note_arrivals(&committed, &known, now);
        sums(&metadata, &committed, |id, offset| {
            let records = known.get(&id)?.lag_of(offset);
            let next = offset.max(known.get(&id)?.log_start);
            let arrivals = self.arrivals.get(&id);
            let wait = arrivals.map_or(Duration::ZERO, |arrivals| arrivals.age_of(next, now));
            Some((records, wait))
        })
    }

    /// Remembers where partitions end that have `known` bounds, and forgets those that nobody has offsets of.
    fn note_arrivals(
        &mut self,
        committed: &[Committed],
        known: &HashMap<TopicPartition, Bounds>,
        now: Instant,
    ) {
        let mut least: HashMap<TopicPartition, Offset> = HashMap::new();
        for Committed { id, offset, .. } in committed {
            let least = least.entry(*id).or_insert(*offset);
            *least = (*least).min(*offset);
        }
        self.arrivals.retain(|id, _| least.contains_key(id));
        for (id, least) in least {
            if let Some(bounds) = known.get(&id) {
                let least = least.max(bounds.log_start);
                let arrivals = self.arrivals.entry(id).or_default();
                arrivals.look(bounds.high_watermark, least, now);
            }
        }
    }

    /// What the groups of this broker have committed.
    async fn committed(&self) -> Vec<Committed> {
        let asked = self.context.shards.iter().map(|shard| {
            shard.call(|shard: &Rc<Shard>| {
                let mut all = Vec::new();
                shard.groups.for_each_offset(|group, id, committed| {
                    let (group, offset) = (group.clone(), committed.offset);
                    all.push(Committed { group, id, offset });
                });
                all
            })
        });
        let answers = futures_util::future::join_all(asked).await;
        answers.into_iter().flatten().flatten().collect()
    }

    /// Adds a partition to what its leader is asked for, if it has one.
    fn ask_for(
        &self,
        metadata: &Metadata,
        id: TopicPartition,
        asked: &mut HashMap<BrokerId, Leader>,
    ) {
        let count: usize = asked.values().map(|leader| leader.partitions.len()).sum();
        let topic = metadata.topic_by_id(id.topic);
        let handle = topic.and_then(|topic| topic.partition(id.partition));
        let leader = handle.and_then(|handle| metadata.leader(handle));
        let node = leader.and_then(|leader| metadata.node(leader.broker));
        // One without our inter-broker listener cannot be asked.
        let node = node.and_then(|node| Some((node.id, node.at(&self.inter_broker)?)));
        if let (Some(topic), Some((id_of_node, at)), true) = (topic, node, count < PARTITIONS_MAX) {
            let address = || Leader {
                host: at.advertised().host.clone(),
                port: at.advertised().port,
                partitions: Vec::new(),
            };
            let leader = asked.entry(id_of_node).or_insert_with(address);
            leader.partitions.push((id, topic.name.clone()));
        }
    }
}

/// Where a partition of ours begins and ends.
fn own_bounds(metadata: &Metadata, id: TopicPartition) -> Option<Bounds> {
    let topic = metadata.topic_by_id(id.topic)?;
    let snapshot = topic.partition(id.partition)?.snapshot()?;
    Some(Bounds {
        log_start: snapshot.log_start,
        high_watermark: snapshot.high_watermark,
    })
}

fn sums(
    metadata: &Metadata,
    committed: &[Committed],
    lag_of: impl Fn(TopicPartition, Offset) -> Option<(u64, Duration)>,
) -> Vec<GroupLag> {
    let mut sums: BTreeMap<(&str, &str), (u64, Duration)> = BTreeMap::new();
    for Committed { group, id, offset } in committed {
        let (Some(topic), Some((records, wait))) =
            (metadata.topic_by_id(id.topic), lag_of(*id, *offset))
        else {
            continue;
        };
        let sum = sums.entry((group.as_str(), topic.name.as_str()));
        let (all, longest) = sum.or_default();
        *all += records;
        *longest = wait.max(*longest);
    }
    let rows = sums.into_iter();
    rows.map(|((group, topic), (records, wait))| GroupLag {
        group: group.to_owned(),
        topic: topic.to_owned(),
        records,
        wait,
    })
    .collect()
}
