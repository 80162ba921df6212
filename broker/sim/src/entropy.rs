//! Time and chance of a simulated thread, where the standard library asks for them.
//!
//! `Instant::now`, `SystemTime::now`, the keys of hash maps and every random number of the process come from
//! two functions of the C library. This program defines both itself (the standard library calls them through
//! symbols that may be interposed): on a simulated thread they give virtual time and the numbers of the seed,
//! on every other thread they ask the kernel. Nothing of the product has to know, and nothing can be forgotten.

#![allow(unsafe_code, unreachable_pub, reason = "symbols of the C library")]

use std::cell::Cell;

use crate::random::Random;

/// The monotonic clock at the beginning of a run.
const MONOTONIC_ORIGIN_SECONDS: u64 = 1_000;
/// The wall clock at the beginning of a run: 14 November 2023.
const WALL_ORIGIN_SECONDS: u64 = 1_700_000_000;
const NANOS: u64 = 1_000_000_000;

thread_local! {
    static IS_SIMULATED: Cell<bool> = const { Cell::new(false) };
    static NOW_NANOS: Cell<u64> = const { Cell::new(0) };
    static WALL_OFFSET_MS: Cell<i64> = const { Cell::new(0) };
    static CHANCE: Cell<u64> = const { Cell::new(0) };
}

/// From now on this thread is simulated, with the random numbers of `seed`.
pub(crate) fn begin(seed: u64) {
    CHANCE.set(seed ^ 0x6b61_6673_6361_6c65);
    IS_SIMULATED.set(true);
}

/// Sets the virtual time, in nanoseconds since the beginning of the run.
pub(crate) fn set_now(nanos: u64) {
    NOW_NANOS.set(nanos);
}

/// Sets how far the wall clock of the process that runs now is ahead, in milliseconds; gives what it was.
pub(crate) fn set_wall_offset(ms: i64) -> i64 {
    WALL_OFFSET_MS.replace(ms)
}

/// The next 64 bits that the thread would be given: two runs of one seed agree on them at their end.
pub(crate) fn next_bits() -> u64 {
    let mut random = Random::new(CHANCE.get());
    let bits = random.bits();
    CHANCE.set(random.state());
    bits
}

/// As the function of the C library.
///
/// # Safety
/// `buffer` is valid for writes of `length` bytes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn getrandom(
    buffer: *mut libc::c_void,
    length: libc::size_t,
    flags: libc::c_uint,
) -> libc::ssize_t {
    if !IS_SIMULATED.get() {
        // SAFETY: the caller's promise, passed on to the kernel.
        let count = unsafe { libc::syscall(libc::SYS_getrandom, buffer, length, flags) };
        return count as libc::ssize_t;
    }
    // SAFETY: the caller's promise.
    let bytes = unsafe { std::slice::from_raw_parts_mut(buffer.cast::<u8>(), length) };
    for chunk in bytes.chunks_mut(8) {
        chunk.copy_from_slice(&next_bits().to_le_bytes()[..chunk.len()]);
    }
    length as libc::ssize_t
}

/// As the function of the C library.
///
/// # Safety
/// `time` is valid for a write.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn clock_gettime(
    clock: libc::clockid_t,
    time: *mut libc::timespec,
) -> libc::c_int {
    let now = NOW_NANOS.get();
    let nanos = match clock {
        _ if !IS_SIMULATED.get() => None,
        libc::CLOCK_MONOTONIC
        | libc::CLOCK_MONOTONIC_RAW
        | libc::CLOCK_MONOTONIC_COARSE
        | libc::CLOCK_BOOTTIME => Some(MONOTONIC_ORIGIN_SECONDS * NANOS + now),
        libc::CLOCK_REALTIME | libc::CLOCK_REALTIME_COARSE => {
            let offset = WALL_OFFSET_MS.get() * 1_000_000;
            Some((WALL_ORIGIN_SECONDS * NANOS + now).saturating_add_signed(offset))
        }
        _ => None,
    };
    let Some(nanos) = nanos else {
        // SAFETY: the caller's promise, passed on to the kernel.
        let outcome = unsafe { libc::syscall(libc::SYS_clock_gettime, clock, time) };
        return outcome as libc::c_int;
    };
    let found = libc::timespec {
        tv_sec: (nanos / NANOS) as libc::time_t,
        tv_nsec: (nanos % NANOS) as libc::c_long,
    };
    // SAFETY: the caller's promise.
    unsafe { time.write(found) };
    0
}
