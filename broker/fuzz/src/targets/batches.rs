//! Record batches: as producers send them, with their records, in every codec.

use bytes::Bytes;
use segment::batch::{
    BATCH_CRC_START, BATCH_HEADER_BYTES, BatchHeader, BatchLimits, Batches, Codec, assign,
    set_log_append_time,
};
use segment::record::{
    Cleaned, DecodeLimits, NewRecord, RecordBatchBuilder, RecordSet, Tombstones, clean_batch,
    compress, cut_batch, decompress, find_timestamp, max_timestamp_offset, recode_batch,
};
use segment::{LeaderEpoch, Offset, TimestampMs};
use wire::messages::ProduceRequest;

use super::Target;
use crate::{feedback, memory, recorded};

/// Bits that are flipped in one batch.
const FLIPS: usize = 64;
/// What a decompressor may give here.
const OUTPUT_BYTES_MAX: usize = 1 << 20;
/// What decompressors take beside their output: windows, tables, and the step by which output grows.
const CODEC_BYTES: usize = 1 << 20;

const LIMITS: DecodeLimits = DecodeLimits {
    bytes_max: OUTPUT_BYTES_MAX,
    ratio_max: 1_100,
    ratio_free_bytes: OUTPUT_BYTES_MAX,
};

/// A batch as a producer sends it.
pub const BATCH: Target = Target {
    name: "batch",
    about: "record batch validate and patch; a flipped bit is detected",
    run: batch,
    seeds: batch_seeds,
    words: &[],
};

fn batch(input: &[u8]) {
    check_batch(input);
    // And with a length and a checksum that are right, so that what lies behind them is reached.
    if let Some(fixed) = fixed(input) {
        check_batch(&fixed);
    }
    let batches = memory::within(input.len(), 0, || Batches::strict(input).count());
    let readable = Batches::until_truncated(input)
        .filter(Result::is_ok)
        .count();
    feedback::note((batches.min(4), readable.min(4)));
}

/// The batch with right magic, length and CRC.
fn fixed(input: &[u8]) -> Option<Vec<u8>> {
    let mut batch = input.to_vec();
    if batch.len() < BATCH_HEADER_BYTES {
        return None;
    }
    let length = u32::try_from(batch.len() - 12).ok()?;
    batch[8..12].copy_from_slice(&length.to_be_bytes());
    batch[16] = 2;
    let crc = crc32c::crc32c(&batch[BATCH_CRC_START..]);
    batch[17..21].copy_from_slice(&crc.to_be_bytes());
    Some(batch)
}

fn check_batch(input: &[u8]) {
    let limits = BatchLimits::default();
    let checked = memory::within(input.len(), 0, || BatchHeader::validate(input, &limits));
    feedback::note_result("batch", &checked);
    let Ok(header) = checked else {
        return;
    };
    feedback::note((header.attributes.get(), header.record_count.min(3)));
    assert_eq!(header.total_bytes(), input.len());
    assert_eq!(BatchHeader::parse_whole(input), Ok(header));
    header
        .verify_crc(input)
        .expect("a valid batch has a right checksum");
    assert!(header.next_offset() > header.base_offset);
    let bits = (input.len() - 8) * 8;
    for flip in 0..FLIPS.min(bits) {
        // Spread over the batch, but not where the broker writes: base offset and leader epoch.
        let bit = 64 + flip * bits / FLIPS.min(bits);
        if (12 * 8..16 * 8).contains(&bit) {
            continue;
        }
        let mut flipped = input.to_vec();
        flipped[bit / 8] ^= 1 << (bit % 8);
        let found = BatchHeader::validate(&flipped, &limits);
        assert!(
            found.is_err(),
            "bit {bit} of {} bytes is not missed",
            input.len()
        );
    }
    for cut in 0..input.len().min(200) {
        assert!(BatchHeader::validate(&input[..cut], &limits).is_err());
    }
    check_patches(input, &header);
}

fn check_patches(input: &[u8], header: &BatchHeader) {
    let mut patched = input.to_vec();
    let (offset, epoch) = (Offset::new(1 << 40), LeaderEpoch::new(77));
    assign(&mut patched, offset, epoch);
    let again = BatchHeader::parse_whole(&patched).expect("a patched batch is sound");
    let wanted = BatchHeader {
        base_offset: offset,
        leader_epoch: epoch,
        ..*header
    };
    assert_eq!(again, wanted);
    again
        .verify_crc(&patched)
        .expect("what is patched is not covered");
    set_log_append_time(&mut patched, TimestampMs::new(5));
    let again = BatchHeader::parse_whole(&patched).expect("a patched batch is sound");
    assert_eq!(again.max_timestamp, TimestampMs::new(5));
    again
        .verify_crc(&patched)
        .expect("the checksum is that of the patched batch");
}

fn batch_seeds() -> Vec<Vec<u8>> {
    let mut seeds = Vec::new();
    for frame in recorded::frames().iter().filter(|frame| !frame.is_response) {
        let Ok((_, request)) = wire::decode_request::<ProduceRequest<'_>>(&frame.bytes) else {
            continue;
        };
        let parts = request
            .topic_data
            .iter()
            .flat_map(|topic| &topic.partition_data);
        seeds.extend(
            parts
                .filter_map(|part| part.records.borrowed())
                .map(<[u8]>::to_vec),
        );
    }
    seeds.extend(Codec::ALL.iter().map(|codec| sample(*codec, 3).to_vec()));
    seeds
}

fn sample(codec: Codec, count: i64) -> Bytes {
    let mut builder = RecordBatchBuilder::new().codec(codec);
    for number in 0..count {
        let record = NewRecord {
            timestamp: TimestampMs::new(1_700_000_000_000 + number),
            key: Some(b"key"),
            value: Some(b"value value value value value value value"),
            headers: &[],
        };
        builder.push(record).expect("a small record fits");
    }
    builder.build().expect("a small batch can be built")
}

/// The records of a batch whose header is right.
pub const RECORDS: Target = Target {
    name: "records",
    about: "compressed batch: records, cleaning, cutting, another codec",
    run: records,
    seeds: batch_seeds,
    words: &[],
};

fn records(input: &[u8]) {
    let Some(mut batch) = fixed(input) else {
        return;
    };
    // A codec that there is; everything else as it came.
    batch[22] = (batch[22] & !7) | ((batch[22] & 7) % 5);
    let crc = crc32c::crc32c(&batch[BATCH_CRC_START..]);
    batch[17..21].copy_from_slice(&crc.to_be_bytes());
    let limit = batch.len() + OUTPUT_BYTES_MAX + CODEC_BYTES;
    let set = memory::within_limit(batch.len(), limit, || RecordSet::decode(&batch, &LIMITS));
    feedback::note_result("set", &set);
    let Ok(set) = set else {
        return;
    };
    let header = *set.header();
    let mut count = 0;
    let mut last = None;
    for record in &set {
        feedback::note_result("record", &record);
        let Ok(record) = record else { break };
        assert!(last.is_none_or(|last| record.offset > last), "offsets rise");
        assert!((header.base_offset..=header.last_offset()).contains(&record.offset));
        assert_eq!(record.headers.len(), record.headers.clone().count());
        last = Some(record.offset);
        count += 1;
        assert!(count <= header.record_count);
    }
    feedback::note((batch[22] & 7, count.min(5)));
    let is_whole = set.iter().all(|record| record.is_ok());
    if is_whole && !header.attributes.is_control() {
        check_rewrites(&batch, &header, count);
    }
}

/// Another codec, cleaning and cutting leave what they should.
fn check_rewrites(batch: &[u8], header: &BatchHeader, count: u32) {
    let rows = |batch: &[u8]| {
        let set = RecordSet::decode(batch, &LIMITS).expect("what we write can be read");
        let rows: Vec<_> = set
            .iter()
            .map(|record| record.expect("a record of ours can be read"))
            .map(|it| {
                (
                    it.offset,
                    it.key.map(<[u8]>::to_vec),
                    it.value.map(<[u8]>::to_vec),
                )
            })
            .collect();
        rows
    };
    let before = rows(batch);
    let mut recoded_header = *header;
    let recoded = recode_batch(batch, &mut recoded_header, Codec::Lz4, &LIMITS);
    let recoded = recoded.expect("what decompresses can be compressed");
    assert_eq!(BatchHeader::parse_whole(&recoded), Ok(recoded_header));
    recoded_header
        .verify_crc(&recoded)
        .expect("the checksum is right");
    assert_eq!(rows(&recoded), before, "another codec changes no record");
    let _ = find_timestamp(batch, header.max_timestamp, &LIMITS);
    let _ = max_timestamp_offset(batch, &LIMITS);
    feedback::note(("rewritten", count.min(3)));
    let tombstones = Tombstones {
        now: header.max_timestamp,
        retention_ms: 1,
    };
    let is_superseded = |_: &[u8], offset: Offset| offset.get() % 2 == 0;
    let cleaned = clean_batch(batch, &LIMITS, tombstones, is_superseded);
    let cut = cut_batch(batch, &LIMITS, header.base_timestamp);
    for (what, part) in [("clean", cleaned), ("cut", cut)] {
        feedback::note_result(what, &part);
        if let Ok(Cleaned::Rewritten(part)) = part {
            let left = BatchHeader::parse_whole(&part).expect("what we write is sound");
            left.verify_crc(&part).expect("the checksum is right");
            // A time of append is that of the whole batch: offsets, keys and values are what stays.
            let mut before = before.iter();
            let mut after = rows(&part).into_iter();
            assert!(
                after.all(|row| before.any(|it| *it == row)),
                "nothing but what was there"
            );
        }
    }
}

/// The decompressors alone. The first byte is the codec.
pub const DECOMPRESS: Target = Target {
    name: "decompress",
    about: "each decompressor, with a bound on what comes out",
    run: run_decompress,
    seeds: || {
        let text = b"the same again and again and again and again ".repeat(20);
        let zeros = vec![0; 100_000];
        let all = Codec::ALL
            .iter()
            .flat_map(|codec| [(*codec, &text), (*codec, &zeros)]);
        all.filter_map(|(codec, bytes)| {
            let packed = compress(codec, bytes).ok()?;
            Some([&[codec.number()], &packed[..]].concat())
        })
        .collect()
    },
    words: &[
        b"\x82SNAPPY\0",
        &[0x28, 0xb5, 0x2f, 0xfd],
        &[0x04, 0x22, 0x4d, 0x18],
        &[0x1f, 0x8b],
    ],
};

fn run_decompress(input: &[u8]) {
    let Some((first, packed)) = input.split_first() else {
        return;
    };
    let codec = Codec::ALL[usize::from(*first) % Codec::ALL.len()];
    let limit = OUTPUT_BYTES_MAX + CODEC_BYTES + packed.len();
    let result = memory::within_limit(packed.len(), limit, || decompress(codec, packed, &LIMITS));
    feedback::note_result(codec.name(), &result);
    if let Ok(bytes) = result {
        feedback::note((codec.number(), feedback::order(bytes.len())));
        assert!(codec == Codec::None || bytes.len() <= OUTPUT_BYTES_MAX);
        if bytes.len() < 4_096 {
            let packed = compress(codec, &bytes).expect("a few bytes can be compressed");
            let again = decompress(codec, &packed, &LIMITS).expect("and decompressed");
            assert_eq!(again, bytes);
        }
    }
}
