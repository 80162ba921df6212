//! Objects and metadata as the original KafScale (format version 1) writes them.
//!
//! Written from the description of its layouts, without a line of this repository's encoders: what
//! these agree on is not proven by one of them alone. All integers are big-endian.

#![allow(dead_code, reason = "each test uses some of it")]

/// CRC-32C (Castagnoli), bit by bit.
pub(crate) fn crc32c(bytes: &[u8]) -> u32 {
    let step = |sum: u32, byte: &u8| {
        (0..8).fold(sum ^ u32::from(*byte), |sum, _| match sum & 1 {
            1 => (sum >> 1) ^ 0x82f6_3b78,
            _ => sum >> 1,
        })
    };
    !bytes.iter().fold(!0, step)
}

fn zigzag(out: &mut Vec<u8>, value: i64) {
    let mut left = ((value << 1) ^ (value >> 63)).cast_unsigned();
    while left >= 0x80 {
        out.push(u8::try_from(left & 0x7f).unwrap() | 0x80);
        left >>= 7;
    }
    out.push(u8::try_from(left).unwrap());
}

/// A record batch v2 of uncompressed records without keys: (timestamp, value). The original stores the
/// leader epoch that the client sent: usually -1.
pub(crate) fn batch(base: i64, epoch: i32, records: &[(i64, &str)]) -> Vec<u8> {
    let (first, count) = (records[0].0, i32::try_from(records.len()).unwrap());
    let last = records.iter().map(|(timestamp, _)| *timestamp).max();
    let mut covered = Vec::new();
    covered.extend(0_i16.to_be_bytes());
    covered.extend((count - 1).to_be_bytes());
    covered.extend(first.to_be_bytes());
    covered.extend(last.unwrap().to_be_bytes());
    covered.extend((-1_i64).to_be_bytes());
    covered.extend((-1_i16).to_be_bytes());
    covered.extend((-1_i32).to_be_bytes());
    covered.extend(count.to_be_bytes());
    for (delta, (timestamp, value)) in (0..).zip(records) {
        let mut record = vec![0];
        zigzag(&mut record, timestamp - first);
        zigzag(&mut record, delta);
        zigzag(&mut record, -1);
        zigzag(&mut record, i64::try_from(value.len()).unwrap());
        record.extend(value.as_bytes());
        zigzag(&mut record, 0);
        zigzag(&mut covered, i64::try_from(record.len()).unwrap());
        covered.extend(record);
    }
    let mut batch = base.to_be_bytes().to_vec();
    batch.extend(i32::try_from(covered.len() + 9).unwrap().to_be_bytes());
    batch.extend(epoch.to_be_bytes());
    batch.push(2);
    batch.extend(crc32c(&covered).to_be_bytes());
    batch.extend(covered);
    batch
}

fn i32_at(batch: &[u8], at: usize) -> i32 {
    i32::from_be_bytes(batch[at..at + 4].try_into().unwrap())
}

/// A segment and its index.
pub(crate) fn segment(base: i64, created: i64, batches: &[Vec<u8>]) -> (Vec<u8>, Vec<u8>) {
    let counts = batches.iter().map(|batch| i32_at(batch, 57));
    let mut kfs = b"KAFS\x00\x01\x00\x00".to_vec();
    kfs.extend(base.to_be_bytes());
    kfs.extend(counts.sum::<i32>().to_be_bytes());
    kfs.extend(created.to_be_bytes());
    kfs.extend([0; 4]);
    let (mut entries, mut since) = (Vec::new(), 0);
    for batch in batches {
        if entries.is_empty() || since >= 100 {
            entries.extend(&batch[..8]);
            entries.extend(i32::try_from(kfs.len()).unwrap().to_be_bytes());
            since = 0;
        }
        since += i32_at(batch, 57);
        kfs.extend(batch);
    }
    let last = batches.last().unwrap();
    let last_base = i64::from_be_bytes(last[..8].try_into().unwrap());
    kfs.extend(crc32c(&kfs[32..]).to_be_bytes());
    kfs.extend((last_base + i64::from(i32_at(last, 23))).to_be_bytes());
    kfs.extend(b"END!");
    let mut index = b"IDX\x00\x00\x01".to_vec();
    index.extend(i32::try_from(entries.len() / 12).unwrap().to_be_bytes());
    index.extend(100_i32.to_be_bytes());
    index.extend([0; 2]);
    index.extend(entries);
    (kfs, index)
}

/// Key of a segment (`kfs`) or of its index (`index`).
pub(crate) fn key(topic: &str, partition: i32, base: i64, kind: &str) -> String {
    format!("default/{topic}/{partition}/segment-{base:020}.{kind}")
}

/// The snapshot of these topics: name, id, partitions. As Go's encoder writes its structs.
pub(crate) fn snapshot(topics: &[(&str, [u8; 16], i32)]) -> String {
    let topics: Vec<String> = topics
        .iter()
        .map(|(name, id, partitions)| {
            let partitions: Vec<String> = (0..*partitions)
                .map(|partition| {
                    format!(
                        r#"{{"ErrorCode":0,"Partition":{partition},"Leader":0,"LeaderEpoch":0,"Replicas":[0],"ISR":[0],"OfflineReplicas":null,"UnknownTags":{{}}}}"#
                    )
                })
                .collect();
            format!(
                r#"{{"ErrorCode":0,"Topic":"{name}","TopicID":{id:?},"IsInternal":false,"Partitions":[{}],"AuthorizedOperations":-2147483648,"UnknownTags":{{}}}}"#,
                partitions.join(",")
            )
        })
        .collect();
    format!(
        r#"{{"Brokers":[{{"NodeID":0,"Host":"broker-0","Port":9092,"Rack":null,"UnknownTags":{{}}}}],"ControllerID":0,"Topics":[{}],"ClusterName":null,"ClusterID":"kafscale-cluster"}}"#,
        topics.join(",")
    )
}
