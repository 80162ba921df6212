//! Names of objects.

use segment::keys::{KeySpace, ObjectKey};

use super::Target;
use crate::{feedback, memory};

/// Names in a bucket.
pub const OBJECT_KEYS: Target = Target {
    name: "object-keys",
    about: "object keys; a key of what was parsed is the key",
    run: object_keys,
    seeds: || {
        let session = "00112233445566778899aabbccddeeff";
        let keys = [
            "kafscale/default/t/0/segment-00000000000000000000.kfs".to_owned(),
            "kafscale/default/t@3/7/segment-00000000000000000017.index".to_owned(),
            "kafscale/default/t/0/manifest.kfm".to_owned(),
            format!("kafscale-wal/default/1/{session}/00000000000000000005.wal"),
            format!("kafscale-wal/default/1/{session}/own-00000000000000000005.kfs"),
            format!("kafscale-wal/default/1/{session}/00000000000000000005-00000000000000000009.dir"),
            "kafscale-wal/default/producers/00112233-4455-6677-8899-aabbccddeeff/0/00000000000000000010-0000000003".to_owned(),
            "kafscale-wal/default/quarantine/t/0/00000000000000000000-0badcafe".to_owned(),
            "kafscale-wal/default/backups/20260102T030405Z-00000000000000000012".to_owned(),
            "kafscale-wal/default/cluster".to_owned(),
            "kafscale-wal/default/health/1".to_owned(),
        ];
        keys.into_iter().map(String::into_bytes).collect()
    },
    words: &[
        b"kafscale/default/",
        b"kafscale-wal/default/",
        b"@",
        b"/",
        b"..",
        b".",
        b"00000000000000000000",
        b"-",
    ],
};

fn object_keys(input: &[u8]) {
    let Ok(key) = std::str::from_utf8(input) else {
        return;
    };
    let space = KeySpace::default();
    let parsed = memory::within(key.len(), 2, || space.parse(key));
    feedback::note(parsed.as_ref().map(std::mem::discriminant));
    if let Some(parsed) = parsed {
        assert_eq!(name(&space, &parsed), key, "{parsed:?}");
    }
}

fn name(space: &KeySpace, key: &ObjectKey) -> String {
    match key {
        ObjectKey::Segment {
            topic,
            partition,
            base,
        } => space.segment(topic, *partition, *base),
        ObjectKey::Index {
            topic,
            partition,
            base,
        } => space.index(topic, *partition, *base),
        ObjectKey::Manifest { topic, partition } => space.manifest(topic, *partition),
        ObjectKey::Wal {
            broker,
            session,
            sequence,
        } => space.wal(*broker, *session, *sequence),
        ObjectKey::Own {
            broker,
            session,
            counter,
        } => space.own(*broker, *session, *counter),
        ObjectKey::WalDirectories {
            broker,
            session,
            first,
            last,
        } => space.wal_directories(*broker, *session, *first, *last),
        ObjectKey::ProducerSnapshot {
            partition,
            end,
            epoch,
        } => space.producer_snapshot(*partition, *end, *epoch),
        ObjectKey::Quarantined {
            topic,
            partition,
            base,
            crc32,
        } => space.quarantined(topic, *partition, *base, *crc32),
        ObjectKey::Backup { made, revision } => space.backup(*made, *revision),
        ObjectKey::Cluster => space.cluster(),
        ObjectKey::HealthProbe { broker } => space.health_probe(*broker),
    }
}
