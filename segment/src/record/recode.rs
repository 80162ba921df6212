//! A batch in another codec.

use bytes::BytesMut;

use super::builder::{BuildError, length};
use super::codec::{CodecError, Compression, DecodeLimits, compress, decompress};
use crate::batch::{BATCH_CRC_START, BATCH_HEADER_BYTES, BATCH_LENGTH_OVERHEAD, BatchHeader};

/// Why a batch cannot be brought into another codec.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RecodeError {
    /// Its records cannot be decompressed, or not compressed.
    #[error(transparent)]
    Codec(#[from] CodecError),
    /// The header names a codec that does not exist, or the batch is shorter than a header.
    #[error("the batch has no records in a codec that is known")]
    Unknown,
    /// The result is larger than a batch can be.
    #[error(transparent)]
    Build(#[from] BuildError),
}

/// The batch with this header, its records compressed as `to` says; the records themselves are the same bytes.
/// The header is changed to that of the result.
///
/// # Errors
/// [`RecodeError`]; the header is as it was.
pub fn recode_batch(
    batch: &[u8],
    header: &mut BatchHeader,
    to: impl Into<Compression>,
    limits: &DecodeLimits,
) -> Result<BytesMut, RecodeError> {
    let to = to.into();
    let from = header
        .attributes
        .codec()
        .map_err(|_| RecodeError::Unknown)?;
    let records = batch
        .get(BATCH_HEADER_BYTES..)
        .ok_or(RecodeError::Unknown)?;
    let records = decompress(from, records, limits)?;
    let packed = compress(to, &records)?;
    let total = BATCH_HEADER_BYTES + packed.len();
    let mut changed = BatchHeader {
        batch_length: length(total - BATCH_LENGTH_OVERHEAD)?.unsigned_abs(),
        attributes: header.attributes.with_codec(to.codec),
        ..*header
    };
    let mut out = BytesMut::with_capacity(total);
    out.extend_from_slice(&changed.encode());
    out.extend_from_slice(&packed);
    changed.crc = crc32c::crc32c(&out[BATCH_CRC_START..]);
    out[..BATCH_HEADER_BYTES].copy_from_slice(&changed.encode());
    assert!(
        out.len() == changed.total_bytes(),
        "the header states the batch's length"
    );
    assert!(
        changed.record_count == header.record_count
            && changed.last_offset_delta == header.last_offset_delta,
        "another codec changes no record"
    );
    *header = changed;
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::batch::Codec;
    use crate::record::{NewRecord, RecordBatchBuilder, RecordSet};
    use crate::{ProducerEpoch, ProducerId, Sequence, TimestampMs};

    const CODECS: [Codec; 5] = [
        Codec::None,
        Codec::Gzip,
        Codec::Snappy,
        Codec::Lz4,
        Codec::Zstd,
    ];

    fn batch(codec: Codec) -> Vec<u8> {
        let (id, epoch) = (ProducerId::new(9), ProducerEpoch::new(2));
        let mut builder =
            RecordBatchBuilder::new()
                .codec(codec)
                .producer(id, epoch, Sequence::new(5));
        for number in 0..50_i64 {
            let record = NewRecord {
                timestamp: TimestampMs::new(1_000 + number % 7),
                key: Some(b"key"),
                value: Some(b"the same again and again, the same again and again"),
                headers: &[],
            };
            builder.push(record).unwrap();
        }
        builder.build().unwrap().to_vec()
    }

    #[test]
    fn a_recoded_batch_is_sound_and_has_the_same_records_and_producer() {
        for from in CODECS {
            let before = batch(from);
            for to in CODECS {
                let mut header = BatchHeader::parse_whole(&before).unwrap();
                let limits = DecodeLimits::default();
                let after = recode_batch(&before, &mut header, to, &limits).unwrap();
                assert_eq!(
                    BatchHeader::parse_whole(&after).unwrap(),
                    header,
                    "{from:?} {to:?}"
                );
                header.verify_crc(&after).unwrap();
                assert_eq!(header.attributes.codec(), Ok(to));
                assert_eq!(header.base_sequence, Sequence::new(5));
                let rows = |batch: &[u8]| {
                    let set = RecordSet::decode(batch, &limits).unwrap();
                    let rows = set.iter().map(|record| {
                        let record = record.unwrap();
                        (
                            record.timestamp,
                            record.key.map(<[u8]>::to_vec),
                            record.value.map(<[u8]>::to_vec),
                        )
                    });
                    rows.collect::<Vec<_>>()
                };
                assert_eq!(rows(&after), rows(&before));
            }
        }
    }

    #[test]
    fn a_higher_level_makes_fewer_bytes_where_the_codec_has_levels() {
        const WORDS: [&str; 8] = [
            "broker ",
            "partition ",
            "offset ",
            "of ",
            "the ",
            "store ",
            "record ",
            "is ",
        ];
        let mut state = 1_u64;
        let words = std::iter::from_fn(|| {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            Some(WORDS[(state >> 61) as usize].as_bytes())
        });
        let records = words.take(20_000).collect::<Vec<_>>().concat();
        let bytes = |codec, level| {
            let packed = compress(Compression { codec, level }, &records).unwrap();
            let whole = decompress(codec, &packed, &DecodeLimits::default()).unwrap();
            assert!(whole == records, "{codec:?} {level:?}");
            packed.len()
        };
        assert!(bytes(Codec::Gzip, Some(9)) < bytes(Codec::Gzip, Some(1)));
        assert!(bytes(Codec::Zstd, Some(19)) < bytes(Codec::Zstd, Some(1)));
        assert!(bytes(Codec::Zstd, Some(1)) < bytes(Codec::Zstd, Some(-131_072)));
        for codec in [Codec::Gzip, Codec::Zstd, Codec::Lz4, Codec::Snappy] {
            assert!(bytes(codec, None) < records.len());
        }
        let same = bytes(Codec::Lz4, Some(1)) == bytes(Codec::Lz4, Some(17));
        assert!(same, "the library has no levels of LZ4");
        assert_eq!(bytes(Codec::Gzip, Some(99)), bytes(Codec::Gzip, None));
    }

    #[test]
    fn what_cannot_be_decompressed_changes_nothing() {
        let mut before = batch(Codec::Zstd);
        before[BATCH_HEADER_BYTES..].fill(7);
        let mut header = BatchHeader::parse_whole(&before).unwrap();
        let known = header;
        let limits = DecodeLimits::default();
        assert!(recode_batch(&before, &mut header, Codec::Gzip, &limits).is_err());
        assert_eq!(header, known);
        let few = DecodeLimits {
            bytes_max: 100,
            ..limits
        };
        let before = batch(Codec::Zstd);
        let mut header = BatchHeader::parse_whole(&before).unwrap();
        assert!(recode_batch(&before, &mut header, Codec::Gzip, &few).is_err());
    }
}
