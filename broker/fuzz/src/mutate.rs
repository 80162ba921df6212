//! Changes inputs in the ways that break decoders: lengths, counts, signs, parts that are doubled, cut or exchanged.

use rand::Rng;
use rand::rngs::StdRng;

/// Longest input that is made.
pub const INPUT_BYTES_MAX: usize = 1 << 20;
/// Most changes to one input.
const CHANGES_MAX: u32 = 6;
/// Longest part that is inserted, copied or removed at once.
const PART_BYTES_MAX: usize = 512;

/// Numbers at which decoders go wrong.
const NUMBERS: [i64; 24] = [
    0,
    1,
    -1,
    -2,
    2,
    7,
    8,
    16,
    61,
    64,
    127,
    128,
    255,
    256,
    1_000,
    4_096,
    32_767,
    32_768,
    65_535,
    65_536,
    i32::MAX as i64,
    i32::MIN as i64,
    i64::MAX,
    i64::MIN,
];

/// Changes `input` a few times; `other` is an input to take parts from, `words` are parts that the target knows.
pub fn mutate(rng: &mut StdRng, input: &mut Vec<u8>, other: &[u8], words: &[&[u8]]) {
    for _ in 0..rng.random_range(1..=CHANGES_MAX) {
        change(rng, input, other, words);
    }
    input.truncate(INPUT_BYTES_MAX);
}

fn change(rng: &mut StdRng, input: &mut Vec<u8>, other: &[u8], words: &[&[u8]]) {
    match rng.random_range(0..13) {
        0 | 1 => with_byte(rng, input, |rng, byte| *byte ^= 1 << rng.random_range(0..8)),
        2 => with_byte(rng, input, |rng, byte| *byte = rng.random()),
        3 => with_byte(rng, input, |rng, byte| {
            *byte = byte.wrapping_add_signed(rng.random_range(-4..=4));
        }),
        4 | 5 => overwrite_number(rng, input),
        6 => {
            let number = varint(rng);
            insert(rng, input, &number);
        }
        7 => {
            let range = part(rng, input.len());
            input.drain(range);
        }
        8 => {
            let range = part(rng, input.len());
            let copied = input[range].to_vec();
            insert(rng, input, &copied);
        }
        9 => {
            let taken = other[part(rng, other.len())].to_vec();
            insert(rng, input, &taken);
        }
        10 => {
            let at = rng.random_range(0..=input.len());
            input.truncate(at);
        }
        11 => {
            let filler = [0, 1, 2, 0x7f, 0x80, 0xff][rng.random_range(0..6)];
            let count = rng.random_range(1..=PART_BYTES_MAX);
            insert(rng, input, &vec![filler; count]);
        }
        _ => {
            if let Some(word) = words.get(rng.random_range(0..words.len().max(1))) {
                insert(rng, input, word);
            }
        }
    }
}

fn with_byte(rng: &mut StdRng, input: &mut [u8], work: impl FnOnce(&mut StdRng, &mut u8)) {
    if !input.is_empty() {
        let at = place(rng, input.len());
        work(rng, &mut input[at]);
    }
}

/// A place in something of so many bytes: half of the time near its beginning, where headers are.
fn place(rng: &mut StdRng, len: usize) -> usize {
    let most = if rng.random() { len.min(64) } else { len };
    rng.random_range(0..most)
}

/// A part of something of so many bytes.
fn part(rng: &mut StdRng, len: usize) -> std::ops::Range<usize> {
    if len == 0 {
        return 0..0;
    }
    let start = place(rng, len);
    let most = (len - start).min(PART_BYTES_MAX);
    start..start + rng.random_range(1..=most)
}

fn insert(rng: &mut StdRng, input: &mut Vec<u8>, bytes: &[u8]) {
    let at = if input.is_empty() {
        0
    } else {
        place(rng, input.len() + 1)
    };
    let tail = input.split_off(at.min(input.len()));
    input.extend_from_slice(bytes);
    input.extend_from_slice(&tail);
}

fn overwrite_number(rng: &mut StdRng, input: &mut [u8]) {
    let number = NUMBERS[rng.random_range(0..NUMBERS.len())].wrapping_add(rng.random_range(-1..=1));
    let bytes = number.to_be_bytes();
    let width = [1, 2, 4, 8][rng.random_range(0..4)];
    if input.len() >= width {
        let at = place(rng, input.len() - width + 1);
        input[at..at + width].copy_from_slice(&bytes[8 - width..]);
    }
}

fn varint(rng: &mut StdRng) -> Vec<u8> {
    let number = NUMBERS[rng.random_range(0..NUMBERS.len())];
    let mut left = number as u64;
    let mut bytes = Vec::new();
    while left >= 0x80 {
        bytes.push(left as u8 | 0x80);
        left >>= 7;
    }
    bytes.push(left as u8);
    bytes
}
