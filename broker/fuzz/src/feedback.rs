//! What a target did with an input, as far as it is worth another look: the driver keeps inputs that bring news.
//!
//! Targets note outcomes: which error, how far, which shape. Where the crates of the workspace are built with
//! coverage counters (`scripts/fuzz` does that, docs/fuzzing.md), every edge that was taken is news too.

use std::cell::RefCell;
use std::hash::{BuildHasher, Hash};
use std::sync::Mutex;

/// Notes of one input at most: a target that notes in a loop tells nothing new.
const NOTES_MAX: usize = 256;

thread_local! {
    static NOTES: RefCell<Vec<u64>> = const { RefCell::new(Vec::new()) };
}

/// The same in every run, so that a seed repeats a run.
fn hash(value: impl Hash) -> u64 {
    foldhash::fast::FixedState::with_seed(0).hash_one(value)
}

/// Says what was seen.
pub fn note(what: impl Hash) {
    NOTES.with_borrow_mut(|notes| {
        if notes.len() < NOTES_MAX {
            notes.push(hash(what));
        }
    });
}

/// Says which kind of result it was: that of an error is its text without numbers, which differ from input to input.
pub fn note_result<T, E: std::fmt::Display>(place: &str, result: &Result<T, E>) {
    match result {
        Ok(_) => note((place, "ok")),
        Err(error) => {
            let text = error.to_string();
            let words = text.split(|it: char| !it.is_ascii_alphabetic());
            note((
                place,
                words.filter(|word| !word.is_empty()).collect::<Vec<_>>(),
            ));
        }
    }
}

/// A size as feedback: only its order counts.
pub fn order(size: usize) -> u32 {
    size.checked_ilog2().map_or(0, |order| order + 1)
}

/// What was noted and covered since the last call.
pub fn take() -> Vec<u64> {
    let mut news = NOTES.take();
    news.extend(covered());
    news
}

/// Counters of the edges of instrumented code, by address.
static COUNTERS: Mutex<Vec<(usize, usize)>> = Mutex::new(Vec::new());

/// Whether any code has coverage counters.
pub fn is_instrumented() -> bool {
    COUNTERS.lock().is_ok_and(|counters| !counters.is_empty())
}

/// Instrumented code calls this when the program starts, once for each part that the linker has put together.
///
/// # Safety
/// `start..stop` are bytes that stay where they are and that nothing but instrumented code and this module touches.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn __sanitizer_cov_8bit_counters_init(start: *mut u8, stop: *mut u8) {
    if let Ok(mut counters) = COUNTERS.lock() {
        let range = (start.addr(), stop.addr());
        if range.0 < range.1 && !counters.contains(&range) {
            start.expose_provenance();
            counters.push(range);
        }
    }
}

/// Counters that are looked at together.
const WORD_BYTES: usize = 64;

/// The edges that were taken, with the order of how often, and resets their counters.
fn covered() -> Vec<u64> {
    let Ok(counters) = COUNTERS.lock() else {
        return Vec::new();
    };
    let mut edges = Vec::new();
    for (start, stop) in counters.iter() {
        let first = std::ptr::with_exposed_provenance_mut::<u8>(*start);
        // SAFETY: the range was given by the compiler's own code for a static array of counters. Other threads may count
        // meanwhile: a count that is lost is no news, and bytes are read and written whole.
        let bytes = unsafe { std::slice::from_raw_parts_mut(first, stop - start) };
        // Most are zero: they are passed over by the word.
        for (number, word) in bytes.chunks_mut(WORD_BYTES).enumerate() {
            if word.iter().all(|byte| *byte == 0) {
                continue;
            }
            for (index, byte) in word.iter_mut().enumerate().filter(|(_, byte)| **byte != 0) {
                let edge = number * WORD_BYTES + index;
                edges.push(hash(("edge", edge, order(usize::from(*byte)))));
                *byte = 0;
            }
        }
    }
    edges
}
