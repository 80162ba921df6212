//! What happens in a run, in order: hashed always, printed when a seed is replayed.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;

use crate::fault::Fault;

thread_local! {
    static NOW_MICROS: Cell<u64> = const { Cell::new(0) };
    static HASH: Cell<u64> = const { Cell::new(0xcbf2_9ce4_8422_2325) };
    static EVENTS: Cell<u64> = const { Cell::new(0) };
    static IS_PRINTED: Cell<bool> = const { Cell::new(false) };
    static FAULTS: RefCell<BTreeMap<Fault, u64>> = const { RefCell::new(BTreeMap::new()) };
}

/// Whether events are printed on this thread.
pub(crate) fn print(is_printed: bool) {
    IS_PRINTED.set(is_printed);
}

/// Sets the time of the events that follow.
pub(crate) fn set_now(micros: u64) {
    NOW_MICROS.set(micros);
}

/// Something has happened.
pub(crate) fn event(actor: &str, what: std::fmt::Arguments<'_>) {
    let line = format!(
        "{:>12.3} {actor:<10} {what}",
        NOW_MICROS.get() as f64 / 1000.0
    );
    let hash = line.bytes().fold(HASH.get(), |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    });
    HASH.set(hash);
    EVENTS.set(EVENTS.get() + 1);
    if IS_PRINTED.get() {
        #[allow(clippy::print_stdout, reason = "a replay is read on the terminal")]
        {
            println!("{line}");
        }
    }
}

/// A fault is injected.
pub(crate) fn fault(fault: Fault) {
    FAULTS.with_borrow_mut(|faults| *faults.entry(fault).or_default() += 1);
}

/// How often each fault was injected.
pub(crate) fn faults() -> BTreeMap<Fault, u64> {
    FAULTS.with_borrow(Clone::clone)
}

/// The hash of all events, and how many there were.
pub(crate) fn hash() -> (u64, u64) {
    (HASH.get(), EVENTS.get())
}

/// Traces an event: `trace!("client 3", "sends {}", x)`.
macro_rules! trace {
    ($actor:expr, $($what:tt)*) => {
        $crate::trace::event($actor.as_ref(), format_args!($($what)*))
    };
}
pub(crate) use trace;
