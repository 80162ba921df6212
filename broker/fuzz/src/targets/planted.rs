//! Targets with a planted defect, by which the driver shows that it finds some.

use super::Target;
use crate::{feedback, memory};

/// Fails on an input that begins with four certain bytes, which no one finds at once.
pub const MAGIC: Target = Target {
    name: "planted-magic",
    about: "fails behind four bytes, one after the other",
    run: magic,
    seeds: || vec![vec![0; 8]],
    words: &[],
};

fn magic(input: &[u8]) {
    let right = input
        .iter()
        .zip(b"KAFS")
        .take_while(|(a, b)| a == b)
        .count();
    feedback::note(right);
    assert!(right < 4, "the planted defect");
}

/// Takes as much memory as the first four bytes say.
pub const GREEDY: Target = Target {
    name: "planted-greedy",
    about: "takes the memory that a length says",
    run: greedy,
    seeds: || vec![vec![0; 8]],
    words: &[],
};

fn greedy(input: &[u8]) {
    let length = input
        .first_chunk::<4>()
        .map_or(0, |it| u32::from_be_bytes(*it));
    let length = length.min(1 << 28) as usize;
    let taken = memory::within(input.len(), 2, || Vec::<u8>::with_capacity(length));
    feedback::note(feedback::order(taken.capacity()));
}

/// Accepts everything that its last byte is the sum of, but for a bit that it does not look at.
pub const BLIND: Target = Target {
    name: "planted-blind",
    about: "overlooks a flipped bit",
    run: blind,
    seeds: || vec![vec![1, 2, 3, 6]],
    words: &[],
};

fn blind(input: &[u8]) {
    let Some((last, rest)) = input.split_last() else {
        return;
    };
    let sum = |bytes: &[u8]| {
        bytes
            .iter()
            .fold(0_u8, |sum, byte| sum.wrapping_add(byte & 0x7f))
    };
    let is_sound = |bytes: &[u8]| sum(bytes) == *last;
    if !is_sound(rest) {
        return;
    }
    for bit in 0..rest.len() * 8 {
        let mut flipped = rest.to_vec();
        flipped[bit / 8] ^= 1 << (bit % 8);
        assert!(!is_sound(&flipped), "a flipped bit is detected");
    }
}
