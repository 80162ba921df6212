//! An allocator that counts, so that a target can tell what a decoder took at most.
//!
//! A program that runs targets installs [`Counting`] as its global allocator; without it every peak is 0. What C
//! libraries take (zstd) is not seen.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

thread_local! {
    /// Bytes that this thread has taken and not given back; below zero where it frees what others took.
    static LIVE: Cell<isize> = const { Cell::new(0) };
    /// The most that [`LIVE`] has been since it was last looked at.
    static PEAK: Cell<isize> = const { Cell::new(0) };
}

/// The system's allocator, with a count for each thread.
pub struct Counting;

fn count(bytes: isize) {
    // A thread that ends has no counters any more.
    let _ = LIVE.try_with(|live| {
        live.set(live.get() + bytes);
        let _ = PEAK.try_with(|peak| peak.set(peak.get().max(live.get())));
    });
}

fn signed(bytes: usize) -> isize {
    isize::try_from(bytes).unwrap_or(isize::MAX / 4)
}

// SAFETY: every call goes to the system's allocator with the arguments as they came; counting touches only
// thread-local numbers and allocates nothing.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(signed(layout.size()));
        // SAFETY: the caller's promises are those of this function.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count(signed(layout.size()));
        // SAFETY: the caller's promises are those of this function.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, place: *mut u8, layout: Layout) {
        count(-signed(layout.size()));
        // SAFETY: the caller's promises are those of this function.
        unsafe { System.dealloc(place, layout) }
    }

    unsafe fn realloc(&self, place: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count(signed(size) - signed(layout.size()));
        // SAFETY: the caller's promises are those of this function.
        unsafe { System.realloc(place, layout, size) }
    }
}

/// Does `work`; gives what it returns and the bytes that this thread held at most beyond what it held before.
pub fn peak_of<R>(work: impl FnOnce() -> R) -> (R, usize) {
    let before = LIVE.get();
    PEAK.set(before);
    let result = work();
    (result, usize::try_from(PEAK.get() - before).unwrap_or(0))
}

/// Bytes that any decoder may take, however small its input is.
const FREE_BYTES: usize = 64 << 10;

/// Does `work` on an input of `input` bytes, which may take so many bytes for each of it, and 64 KiB.
///
/// # Panics
/// If it takes more.
pub fn within<R>(input: usize, bytes_for_each: usize, work: impl FnOnce() -> R) -> R {
    within_limit(input, input * bytes_for_each + FREE_BYTES, work)
}

/// Does `work` on an input of `input` bytes, which may take `limit` bytes.
///
/// # Panics
/// If it takes more.
pub fn within_limit<R>(input: usize, limit: usize, work: impl FnOnce() -> R) -> R {
    let (result, peak) = peak_of(work);
    assert!(
        peak <= limit,
        "{peak} bytes for an input of {input}, at most {limit}"
    );
    result
}
