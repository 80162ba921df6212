//! Batches that another implementation wrote (kafka-python 3.0.12 with python-snappy, lz4 and
//! zstandard): 50 records each, record `i` with timestamp T0 + 3i, a key when i % 3 = 0, a value
//! unless i % 5 = 4, two headers when i % 4 = 1.

use segment::batch::{BatchHeader, BatchLimits, Codec};
use segment::record::{DecodeLimits, RecordSet, find_timestamp};
use segment::{Offset, ProducerEpoch, ProducerId, Sequence, TimestampMs};

const T0: i64 = 1_700_000_000_000;

#[test]
fn foreign_batches_are_read_in_every_codec() {
    for codec in Codec::ALL {
        let path = format!(
            "{}/testdata/foreign/{}.batch",
            env!("CARGO_MANIFEST_DIR"),
            codec.name()
        );
        let bytes = std::fs::read(path).unwrap();
        let header = BatchHeader::validate(&bytes, &BatchLimits::default()).unwrap();
        assert_eq!(header.attributes.codec(), Ok(codec));
        assert_eq!(header.record_count, 50);
        assert_eq!(header.producer_id, ProducerId::new(7));
        assert_eq!(header.producer_epoch, ProducerEpoch::new(1));
        assert_eq!(header.base_sequence, Sequence::new(5));
        assert_eq!(header.max_timestamp, TimestampMs::new(T0 + 147));
        let set = RecordSet::decode(&bytes, &DecodeLimits::default()).unwrap();
        for (number, record) in set.iter().enumerate() {
            let record = record.unwrap();
            let i = i64::try_from(number).unwrap();
            assert_eq!(record.offset, Offset::new(i), "{codec:?}");
            assert_eq!(record.timestamp, TimestampMs::new(T0 + 3 * i));
            let key = (i % 3 == 0).then(|| format!("key-{i}"));
            assert_eq!(record.key, key.as_ref().map(String::as_bytes));
            let value = (i % 5 != 4).then(|| format!("value {i} ").repeat(20));
            assert_eq!(record.value, value.as_ref().map(String::as_bytes));
            let headers: Vec<_> = record.headers.collect();
            let expected: &[(&[u8], Option<&[u8]>)] = if i % 4 == 1 {
                &[(b"h", Some(b"1")), (b"n", None)]
            } else {
                &[]
            };
            assert_eq!(headers, expected);
        }
        let found = find_timestamp(&bytes, TimestampMs::new(T0 + 4), &DecodeLimits::default());
        assert_eq!(found, Ok(Some((Offset::new(2), TimestampMs::new(T0 + 6)))));
    }
}
