//! Which partition a key goes to: as the Java client decides, so that both agree.

use segment::PartitionIndex;

const SEED: u32 = 0x9747_b28c;
const MULTIPLIER: u32 = 0x5bd1_e995;
const SHIFT: u32 = 24;

/// The 32-bit MurmurHash2 of Kafka's clients.
pub fn murmur2(bytes: &[u8]) -> u32 {
    // The length is below 2^31 for any key that a record can hold; the hash wraps anyway.
    let mut hash = SEED ^ u32::try_from(bytes.len()).unwrap_or(u32::MAX);
    let (words, rest) = bytes.as_chunks::<4>();
    for word in words {
        let mut mixed = u32::from_le_bytes(*word).wrapping_mul(MULTIPLIER);
        mixed ^= mixed >> SHIFT;
        hash = hash.wrapping_mul(MULTIPLIER) ^ mixed.wrapping_mul(MULTIPLIER);
    }
    if !rest.is_empty() {
        let tail = rest
            .iter()
            .rev()
            .fold(0, |tail: u32, byte| (tail << 8) | u32::from(*byte));
        hash = (hash ^ tail).wrapping_mul(MULTIPLIER);
    }
    hash ^= hash >> 13;
    hash = hash.wrapping_mul(MULTIPLIER);
    hash ^ (hash >> 15)
}

/// The partition of `key` in a topic with `count` partitions.
pub fn partition_of_key(key: &[u8], count: usize) -> PartitionIndex {
    let count = u32::try_from(count).unwrap_or(u32::MAX).max(1);
    let index = (murmur2(key) & 0x7fff_ffff) % count;
    PartitionIndex::new(i32::try_from(index).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hashes_are_those_of_the_java_client() {
        // From Kafka's UtilsTest.
        let known: [(&str, i32); 5] = [
            ("21", -973_932_308),
            ("foobar", -790_332_482),
            ("a-little-bit-long-string", -985_981_536),
            ("a-little-bit-longer-string", -1_486_304_829),
            (
                "lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8",
                -58_897_971,
            ),
        ];
        for (key, hash) in known {
            assert_eq!(murmur2(key.as_bytes()).cast_signed(), hash, "{key}");
        }
        assert_eq!(murmur2(b"abc").cast_signed(), 479_470_107);
    }

    #[test]
    fn a_key_stays_in_range() {
        for count in [1, 2, 7, 1_000] {
            let partition = partition_of_key(b"key", count).get();
            assert!(usize::try_from(partition).unwrap() < count);
        }
        assert_eq!(partition_of_key(b"key", 0).get(), 0);
    }
}
