//! Metadata that is written back from a backup, into a keyspace that no broker uses. There is no
//! session: what guards every write is the record of the recovery, as it was read.

use super::{Planned, revision_of, unchanged};
use crate::keys::cluster::{self, ClusterRecord};
use crate::keys::codec::{Seen, encode};
use crate::keys::recovery::{self, RecoveryRecord};
use crate::keys::space::Keyspace;
use crate::kv::{Compare, Key, Op, Revision, Txn, Value};

/// Begins a recovery, or takes over one that was interrupted: there is no cluster, and the record is
/// as it was read.
pub fn begin_recovery(
    space: &Keyspace,
    seen: Option<&Seen<RecoveryRecord>>,
    record: RecoveryRecord,
) -> Planned<RecoveryRecord> {
    let key = recovery::key(space);
    let txn = Txn::new()
        .when(Compare::absent(cluster::key(space)))
        .when(unchanged(&key, seen))
        .and_then(Op::put(key.clone(), encode(&record)))
        .or_else(Op::Get(key));
    Planned {
        txn,
        record,
        planned_on: revision_of(seen),
    }
}

/// Writes keys, while the recovery is ours. Doing it twice is doing it once.
pub fn recover_keys(
    space: &Keyspace,
    ours: &Seen<RecoveryRecord>,
    entries: impl IntoIterator<Item = (Key, Value)>,
) -> Txn {
    let guard = unchanged(&recovery::key(space), Some(ours));
    let txn = Txn::new().when(guard);
    let puts = entries.into_iter().map(|(key, value)| Op::put(key, value));
    puts.fold(txn, Txn::and_then)
}

/// Deletes keys that an interrupted recovery has written, while the recovery is ours.
pub fn discard_keys(
    space: &Keyspace,
    ours: &Seen<RecoveryRecord>,
    keys: impl IntoIterator<Item = Key>,
) -> Txn {
    let guard = unchanged(&recovery::key(space), Some(ours));
    let txn = Txn::new().when(guard);
    keys.into_iter().map(Op::Delete).fold(txn, Txn::and_then)
}

/// Ends a recovery: brokers may start from now on. There is no cluster yet, and the recovery is ours.
pub fn finish_recovery(
    space: &Keyspace,
    ours: &Seen<RecoveryRecord>,
    record: ClusterRecord,
) -> Planned<ClusterRecord> {
    let (key, mark) = (cluster::key(space), recovery::key(space));
    let txn = Txn::new()
        .when(Compare::absent(key.clone()))
        .when(unchanged(&mark, Some(ours)))
        .and_then(Op::put(key.clone(), encode(&record)))
        .and_then(Op::Delete(mark))
        .or_else(Op::Get(key));
    assert_eq!(txn.validate(), Ok(()), "cluster and recovery are two keys");
    Planned {
        txn,
        record,
        planned_on: Revision::ZERO,
    }
}

#[cfg(test)]
mod tests {
    use super::super::create_cluster;
    use super::*;
    use crate::keys::cluster::CommitMode;
    use crate::keys::seen;
    use crate::kv::simulated::Simulated;
    use crate::kv::{Kv, wait};
    use segment::TimestampMs;

    fn cluster() -> ClusterRecord {
        ClusterRecord {
            cluster_id: "id".to_owned(),
            commit_mode: CommitMode::Conditional,
            created_ms: TimestampMs::ZERO,
        }
    }

    fn record(backup: &str) -> RecoveryRecord {
        RecoveryRecord {
            backup: backup.to_owned(),
            begun_ms: TimestampMs::ZERO,
        }
    }

    fn read(kv: &Simulated, space: &Keyspace) -> Option<Seen<RecoveryRecord>> {
        let found = wait(kv.get(recovery::key(space))).unwrap();
        seen(found.as_ref()).unwrap()
    }

    #[test]
    fn no_cluster_begins_while_a_recovery_goes_on_and_only_the_latest_one_writes() {
        let (kv, space) = (Simulated::new(), Keyspace::new("kafscale").unwrap());
        let sent = |txn: Txn| wait(kv.txn(txn)).unwrap().succeeded;
        assert!(sent(begin_recovery(&space, None, record("a")).txn));
        let first = read(&kv, &space).unwrap();
        assert!(!sent(begin_recovery(&space, None, record("b")).txn));
        assert!(
            !sent(create_cluster(&space, cluster()).txn),
            "a broker that starts"
        );
        let entry = || {
            [(
                Key::from("/kafscale/kafscale/x"),
                Value::from(b"1".to_vec()),
            )]
        };
        assert!(sent(recover_keys(&space, &first, entry())));
        assert!(sent(begin_recovery(&space, Some(&first), record("b")).txn));
        let second = read(&kv, &space).unwrap();
        assert!(!sent(recover_keys(&space, &first, entry())), "overtaken");
        assert!(!sent(finish_recovery(&space, &first, cluster()).txn));
        let gone = [Key::from("/kafscale/kafscale/x")];
        assert!(!sent(discard_keys(&space, &first, gone.clone())));
        assert!(sent(discard_keys(&space, &second, gone)));
        assert!(sent(finish_recovery(&space, &second, cluster()).txn));
        assert_eq!(read(&kv, &space), None);
        assert!(
            !sent(begin_recovery(&space, None, record("c")).txn),
            "there is a cluster"
        );
    }
}
