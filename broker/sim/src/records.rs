//! What etcd holds of partitions, change by change: who owns them, and what never falls.

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use coord::keys::partition::{self, PartitionRecord};
use coord::keys::{Keyspace, seen, session};
use coord::kv::simulated::Simulated;
use coord::kv::{Key, KeyValue, Kv, WatchEvent};
use segment::{SessionId, TopicPartition};

use crate::client::scene::Scene;
use crate::trace::trace;

/// What is known of etcd.
struct Records {
    space: Keyspace,
    sessions: BTreeSet<SessionId>,
    partitions: BTreeMap<TopicPartition, PartitionRecord>,
}

/// Checks every change, until the run is over.
pub(crate) async fn watch(table: Simulated, scene: Rc<Scene>) {
    let mut records = Records {
        space: Keyspace::new("kafscale").expect("the name of the cluster is legal"),
        sessions: BTreeSet::new(),
        partitions: BTreeMap::new(),
    };
    loop {
        // A compaction has ended the watch, or there is none yet.
        records.read(table.dump(), &scene);
        let opened = table.watch(records.space.span(), table.revision().next());
        let Ok(mut changes) = opened.await else {
            return;
        };
        while let Ok(batch) = changes.next().await {
            for event in batch.events {
                match event {
                    WatchEvent::Put(stored) => records.put(&stored, &scene),
                    WatchEvent::Delete { key } => records.delete(&key),
                }
            }
        }
    }
}

impl Records {
    fn read(&mut self, all: Vec<KeyValue>, scene: &Scene) {
        self.sessions.clear();
        for stored in &all {
            if let Ok(id) = session::parse(&self.space, &stored.key) {
                self.sessions.insert(id);
            }
        }
        for stored in &all {
            self.put(stored, scene);
        }
    }

    fn delete(&mut self, key: &Key) {
        if let Ok(id) = session::parse(&self.space, key) {
            self.sessions.remove(&id);
        }
        if let Ok(id) = partition::parse(&self.space, key) {
            self.partitions.remove(&id);
        }
    }

    fn put(&mut self, stored: &KeyValue, scene: &Scene) {
        if let Ok(id) = session::parse(&self.space, &stored.key)
            && self.sessions.insert(id)
        {
            scene.joined.notify_waiters();
        }
        let Ok(id) = partition::parse(&self.space, &stored.key) else {
            return;
        };
        let after = match seen::<PartitionRecord>(Some(stored)) {
            Ok(seen) => seen.map(|seen| seen.record),
            Err(error) => return scene.violation(format!("the record of {id}: {error}")),
        };
        let Some(after) = after else { return };
        if let Some(before) = self.partitions.get(&id) {
            for wrong in self.wrong(before, &after) {
                trace!("check", "{before:?} becomes {after:?}");
                scene.violation(format!("the record of {id}: {wrong}"));
            }
        }
        self.partitions.insert(id, after);
    }

    /// What is wrong with a change.
    fn wrong(&self, before: &PartitionRecord, after: &PartitionRecord) -> Vec<String> {
        let mut wrong = Vec::new();
        let fell = [
            ("log start", before.log_start, after.log_start),
            ("compacted end", before.compacted_end, after.compacted_end),
        ];
        for (what, from, to) in fell {
            if to < from {
                wrong.push(format!("the {what} falls from {from} to {to}"));
            }
        }
        let (from, to) = (before.leader_epoch, after.leader_epoch);
        let owners = (before.owner, after.owner);
        let is_taken = after.owner.is_some() && before.owner != after.owner;
        if to < from || is_taken && to == from {
            wrong.push(format!("epoch {to} follows {from}, owners {owners:?}"));
        }
        if let Some(before) = before.owner
            && is_taken
            && self.sessions.contains(&before.session)
        {
            let session = before.session;
            wrong.push(format!("it is taken from session {session}, which lives"));
        }
        wrong
    }
}
