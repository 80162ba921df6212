//! When to flush and what to acknowledge, as a state machine without I/O, clock or runtime.
//!
//! Control thread. Rules (DESIGN §3, §4):
//! - the first batch after an idle interval goes at once; after that at most one WAL object an
//!   interval, unless a shard says that its bytes cannot wait;
//! - while objects pile up that cannot be compacted the interval is at least
//!   [`STRETCHED_INTERVAL`];
//! - one seal at a time; uploads at a time as [`UploadWindow`] says;
//! - objects are acknowledged strictly in sequence, in whatever order their uploads end;
//! - a seal that brings nothing takes no sequence.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use coord::rules::{self, Rule};
use segment::WalSequence;

use crate::shard::ShardId;

/// Shortest interval while the backlog of objects grows and nothing can make it smaller.
pub const STRETCHED_INTERVAL: Duration = Duration::from_secs(1);

/// Settings of a scheduler.
#[derive(Debug, Clone, Copy)]
pub struct SchedulerConfig {
    /// Shortest time between the starts of two flushes that nobody called urgent.
    pub interval: Duration,
    /// Uploads at a time.
    pub window: UploadWindow,
}

/// How many uploads there may be at a time. An upload begins only when a flush is due, so the window
/// is used as far as uploads take longer than the interval, and grows with them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UploadWindow {
    /// So many whatever their size, and while the store has trouble: it is not asked more often
    /// then, but for larger objects.
    pub least: usize,
    /// So many at most.
    pub most: usize,
    /// Beyond `least` none begins while so many bytes are under way.
    pub bytes: u64,
}

impl UploadWindow {
    /// Uploads that there may be while `bytes` are stored or under way and not acknowledged.
    pub fn size(&self, bytes: u64, is_troubled: bool) -> usize {
        if is_troubled || bytes >= self.bytes {
            self.least
        } else {
            self.most
        }
    }
}

/// What to do next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Seal these shards into the WAL object of that sequence, then call [`Scheduler::sealed`].
    Seal {
        /// Number of the object.
        sequence: WalSequence,
        /// Shards that have said that they have something.
        shards: Vec<ShardId>,
    },
    /// Ask again at this time, unless something happens before.
    WaitUntil(Duration),
    /// Ask again when something has happened.
    Idle,
}

/// What a seal brought.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sealed {
    /// Nothing: the sequence is free again.
    Empty,
    /// Sections of so many bytes: the object is being uploaded, then call [`Scheduler::stored`].
    Object(u64),
}

#[derive(Debug, Clone, Copy)]
struct Sealing {
    sequence: WalSequence,
    began: Duration,
}

/// An object that is not acknowledged.
#[derive(Debug, Clone, Copy)]
struct Upload {
    bytes: u64,
    stored: bool,
}

/// The flush state of a session. Times are those of one monotonic clock.
#[derive(Debug)]
pub struct Scheduler {
    config: SchedulerConfig,
    next: WalSequence,
    acknowledged_end: WalSequence,
    dirty: BTreeSet<ShardId>,
    urgent: bool,
    forced: bool,
    last_flush: Option<Duration>,
    sealing: Option<Sealing>,
    uploads: BTreeMap<WalSequence, Upload>,
    /// Their bytes.
    bytes: u64,
    backlog_grows: bool,
    is_troubled: bool,
}

impl Scheduler {
    /// A scheduler whose first object is `first`; everything before it is acknowledged.
    ///
    /// # Panics
    /// If no upload would be allowed.
    pub fn new(config: SchedulerConfig, first: WalSequence) -> Self {
        let UploadWindow { least, most, .. } = config.window;
        assert!(0 < least && least <= most, "a flush needs an upload");
        Self {
            config,
            next: first,
            acknowledged_end: first,
            dirty: BTreeSet::new(),
            urgent: false,
            forced: false,
            last_flush: None,
            sealing: None,
            uploads: BTreeMap::new(),
            bytes: 0,
            backlog_grows: false,
            is_troubled: false,
        }
    }

    /// A shard has something to flush.
    pub fn dirty(&mut self, shard: ShardId) {
        self.dirty.insert(shard);
    }

    /// A shard has as much as one flush should bring: it does not wait for the interval.
    pub fn urgent(&mut self, shard: ShardId) {
        self.dirty.insert(shard);
        self.urgent = true;
    }

    /// An object is wanted now, whether or not anything waits: its acknowledgement proves the
    /// session.
    pub fn force(&mut self) {
        self.forced = true;
    }

    /// Whether objects pile up, to half of their bound and more, and nothing can compact them.
    pub fn backlog_grows(&mut self, grows: bool) {
        self.backlog_grows = grows;
    }

    /// Whether the store asks for a rest, or its last write has failed.
    pub fn store_is_troubled(&mut self, is_troubled: bool) {
        self.is_troubled = is_troubled;
    }

    fn interval(&self) -> Duration {
        match self.backlog_grows {
            true => self.config.interval.max(STRETCHED_INTERVAL),
            false => self.config.interval,
        }
    }

    /// The sequence after the last acknowledged one.
    pub fn acknowledged_end(&self) -> WalSequence {
        self.acknowledged_end
    }

    /// Whether nothing waits to be flushed, stored or acknowledged.
    pub fn is_quiet(&self) -> bool {
        self.dirty.is_empty() && self.sealing.is_none() && self.uploads.is_empty()
    }

    /// Objects under way.
    pub fn uploads(&self) -> usize {
        self.uploads.len()
    }

    /// What to do at `now`.
    pub fn step(&mut self, now: Duration) -> Step {
        let window = self.config.window.size(self.bytes, self.is_troubled);
        let full = self.uploads.len() >= window;
        let idle = self.dirty.is_empty() && !self.forced;
        if idle || self.sealing.is_some() || full {
            return Step::Idle;
        }
        let due = self.last_flush.map(|last| last + self.interval());
        if let Some(due) = due.filter(|due| !self.urgent && !self.forced && *due > now) {
            return Step::WaitUntil(due);
        }
        self.urgent = false;
        self.forced = false;
        let shards = std::mem::take(&mut self.dirty).into_iter().collect();
        self.sealing = Some(Sealing {
            sequence: self.next,
            began: now,
        });
        Step::Seal {
            sequence: self.next,
            shards,
        }
    }

    /// The shards have answered the seal of `sequence`.
    ///
    /// # Panics
    /// If that sequence is not being sealed.
    pub fn sealed(&mut self, sequence: WalSequence, outcome: Sealed) {
        let sealing = self
            .sealing
            .take()
            .expect("only what is being sealed is sealed");
        assert!(sealing.sequence == sequence, "one seal at a time");
        match outcome {
            Sealed::Empty => {}
            Sealed::Object(bytes) => {
                self.last_flush = Some(sealing.began);
                self.next = sequence
                    .next()
                    .expect("a session has fewer than 2^64 objects");
                let stored = false;
                let before = self.uploads.insert(sequence, Upload { bytes, stored });
                assert!(before.is_none(), "a sequence is used once");
                self.bytes += bytes;
            }
        }
    }

    /// The object `sequence` is durable. Gives those that are to be acknowledged now, in sequence.
    ///
    /// # Panics
    /// If that object is not under way.
    pub fn stored(&mut self, sequence: WalSequence) -> Vec<WalSequence> {
        let upload = self
            .uploads
            .get_mut(&sequence)
            .expect("only what is under way is stored");
        assert!(!upload.stored, "an object is stored once");
        upload.stored = true;
        if !rules::holds(Rule::AcknowledgedInSequence) {
            return vec![sequence];
        }
        let mut acknowledged = Vec::new();
        while let Some(first) = self
            .uploads
            .first_entry()
            .filter(|first| first.get().stored)
        {
            let (sequence, upload) = first.remove_entry();
            self.bytes -= upload.bytes;
            assert!(
                sequence == self.acknowledged_end,
                "acknowledged without a gap"
            );
            self.acknowledged_end = sequence.next().expect("sequences in range");
            acknowledged.push(sequence);
        }
        acknowledged
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const INTERVAL: Duration = Duration::from_millis(10);

    fn scheduler(uploads_max: usize) -> Scheduler {
        let window = UploadWindow {
            least: uploads_max,
            most: uploads_max,
            bytes: u64::MAX,
        };
        Scheduler::new(
            SchedulerConfig {
                interval: INTERVAL,
                window,
            },
            WalSequence::new(1),
        )
    }

    fn at(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    fn seal(scheduler: &mut Scheduler, now: Duration) -> WalSequence {
        match scheduler.step(now) {
            Step::Seal { sequence, .. } => sequence,
            other => panic!("expected a seal at {now:?}, got {other:?}"),
        }
    }

    #[test]
    fn a_proof_of_life_goes_out_with_nothing_to_flush() {
        let mut scheduler = scheduler(4);
        scheduler.force();
        let sequence = seal(&mut scheduler, at(1));
        scheduler.sealed(sequence, Sealed::Object(1));
        assert_eq!(scheduler.stored(sequence), [sequence]);
        assert_eq!(scheduler.step(at(9)), Step::Idle);
        scheduler.force();
        assert_eq!(
            seal(&mut scheduler, at(2)),
            WalSequence::new(2),
            "does not wait"
        );
    }

    #[test]
    fn the_first_batch_goes_at_once_and_the_next_waits_for_the_interval() {
        let mut scheduler = scheduler(4);
        assert_eq!(scheduler.step(at(5)), Step::Idle);
        scheduler.dirty(ShardId(3));
        assert_eq!(
            scheduler.step(at(5)),
            Step::Seal {
                sequence: WalSequence::new(1),
                shards: vec![ShardId(3)]
            }
        );
        scheduler.dirty(ShardId(0));
        assert_eq!(scheduler.step(at(5)), Step::Idle, "one seal at a time");
        scheduler.sealed(WalSequence::new(1), Sealed::Object(1));
        assert_eq!(scheduler.step(at(6)), Step::WaitUntil(at(15)));
        assert_eq!(seal(&mut scheduler, at(15)), WalSequence::new(2));
    }

    #[test]
    fn an_urgent_shard_does_not_wait() {
        let mut scheduler = scheduler(4);
        scheduler.dirty(ShardId(0));
        let first = seal(&mut scheduler, at(0));
        scheduler.sealed(first, Sealed::Object(1));
        scheduler.urgent(ShardId(1));
        assert_eq!(seal(&mut scheduler, at(1)), WalSequence::new(2));
        scheduler.sealed(WalSequence::new(2), Sealed::Object(1));
        scheduler.dirty(ShardId(1));
        assert_eq!(scheduler.step(at(2)), Step::WaitUntil(at(11)));
    }

    #[test]
    fn an_empty_seal_takes_no_sequence_and_no_interval() {
        let mut scheduler = scheduler(4);
        scheduler.dirty(ShardId(0));
        let first = seal(&mut scheduler, at(0));
        scheduler.sealed(first, Sealed::Empty);
        assert!(scheduler.is_quiet());
        scheduler.dirty(ShardId(0));
        assert_eq!(seal(&mut scheduler, at(1)), first);
    }

    #[test]
    fn uploads_are_bounded_and_a_late_one_holds_all_acknowledgements() {
        let mut scheduler = scheduler(2);
        for n in 1..=2 {
            scheduler.urgent(ShardId(0));
            let sequence = seal(&mut scheduler, at(n));
            scheduler.sealed(sequence, Sealed::Object(1));
        }
        scheduler.urgent(ShardId(0));
        assert_eq!(scheduler.step(at(100)), Step::Idle);
        assert!(scheduler.stored(WalSequence::new(2)).is_empty());
        assert_eq!(
            scheduler.step(at(100)),
            Step::Idle,
            "stored is not acknowledged"
        );
        assert_eq!(
            scheduler.stored(WalSequence::new(1)),
            [WalSequence::new(1), WalSequence::new(2)]
        );
        assert_eq!(scheduler.acknowledged_end(), WalSequence::new(3));
        assert_eq!(seal(&mut scheduler, at(100)), WalSequence::new(3));
    }

    #[test]
    fn the_window_grows_with_slow_uploads_within_bytes_and_not_while_the_store_has_trouble() {
        let window = UploadWindow {
            least: 2,
            most: 5,
            bytes: 1_000,
        };
        for (bytes, is_troubled, size) in [
            (0, false, 5),
            (999, false, 5),
            (1_000, false, 2),
            (0, true, 2),
            (u64::MAX, true, 2),
        ] {
            assert_eq!(
                window.size(bytes, is_troubled),
                size,
                "{bytes} {is_troubled}"
            );
        }
        let config = SchedulerConfig {
            interval: INTERVAL,
            window,
        };
        let mut scheduler = Scheduler::new(config, WalSequence::new(1));
        // Objects of so many bytes, flushed as long as the window lets them.
        let fill = |scheduler: &mut Scheduler, bytes: u64| {
            for n in 0.. {
                scheduler.urgent(ShardId(0));
                match scheduler.step(at(n)) {
                    Step::Seal { sequence, .. } => {
                        scheduler.sealed(sequence, Sealed::Object(bytes));
                    }
                    _ => return scheduler.uploads(),
                }
            }
            unreachable!("the window is bounded")
        };
        assert_eq!(fill(&mut scheduler, 10), 5);
        for n in 1..=5 {
            scheduler.stored(WalSequence::new(n));
        }
        scheduler.store_is_troubled(true);
        assert_eq!(fill(&mut scheduler, 10), 2);
        scheduler.store_is_troubled(false);
        assert_eq!(fill(&mut scheduler, 400), 5, "20 + 3 x 400 bytes");
        for n in 6..=10 {
            scheduler.stored(WalSequence::new(n));
        }
        assert_eq!(fill(&mut scheduler, 600), 2, "2 x 600 bytes");
    }

    #[test]
    fn the_interval_stretches_while_the_backlog_grows_but_not_for_bytes_or_proofs() {
        let mut scheduler = scheduler(4);
        scheduler.backlog_grows(true);
        scheduler.dirty(ShardId(0));
        let first = seal(&mut scheduler, at(0));
        scheduler.sealed(first, Sealed::Object(1));
        scheduler.dirty(ShardId(0));
        assert_eq!(scheduler.step(at(11)), Step::WaitUntil(STRETCHED_INTERVAL));
        scheduler.urgent(ShardId(0));
        let second = seal(&mut scheduler, at(12));
        scheduler.sealed(second, Sealed::Object(1));
        scheduler.force();
        let third = seal(&mut scheduler, at(13));
        scheduler.sealed(third, Sealed::Object(1));
        scheduler.dirty(ShardId(0));
        scheduler.backlog_grows(false);
        assert_eq!(scheduler.step(at(14)), Step::WaitUntil(at(23)));
        // An interval that is longer anyhow stays as it is.
        scheduler.config.interval = Duration::from_secs(5);
        scheduler.backlog_grows(true);
        assert_eq!(scheduler.step(at(14)), Step::WaitUntil(at(5_013)));
    }

    /// A small generator of numbers, so that every run is the same.
    struct Numbers(u64);

    impl Numbers {
        fn below(&mut self, bound: u64) -> u64 {
            self.0 ^= self.0 << 13;
            self.0 ^= self.0 >> 7;
            self.0 ^= self.0 << 17;
            self.0 % bound
        }
    }

    #[test]
    fn whatever_happens_in_whatever_order_acknowledgements_are_in_sequence() {
        for seed in 1..=300 {
            let mut numbers = Numbers(seed * 0x9e37_79b9);
            let uploads_max = 1 + numbers.below(6) as usize;
            let mut scheduler = scheduler(uploads_max);
            let (mut under_way, mut expected, mut now) = (Vec::new(), 1, Duration::ZERO);
            let (mut last_begun, mut urgent_since) = (None, false);
            for _ in 0..400 {
                now += Duration::from_millis(numbers.below(4));
                match numbers.below(4) {
                    0 => scheduler.dirty(ShardId(numbers.below(3) as u16)),
                    1 if numbers.below(10) == 0 => {
                        scheduler.urgent(ShardId(0));
                        urgent_since = true;
                    }
                    2 if !under_way.is_empty() => {
                        let at = numbers.below(under_way.len() as u64) as usize;
                        for acknowledged in scheduler.stored(under_way.swap_remove(at)) {
                            assert_eq!(acknowledged.get(), expected);
                            expected += 1;
                        }
                    }
                    _ => {}
                }
                if let Step::Seal { sequence, .. } = scheduler.step(now) {
                    let early = last_begun.is_some_and(|last| now < last + INTERVAL);
                    assert!(
                        !early || urgent_since,
                        "one object an interval unless urgent"
                    );
                    urgent_since = false;
                    if numbers.below(5) == 0 {
                        scheduler.sealed(sequence, Sealed::Empty);
                    } else {
                        scheduler.sealed(sequence, Sealed::Object(1));
                        under_way.push(sequence);
                        last_begun = Some(now);
                    }
                }
                assert!(scheduler.uploads() <= uploads_max);
            }
            while !under_way.is_empty() {
                let at = numbers.below(under_way.len() as u64) as usize;
                for acknowledged in scheduler.stored(under_way.swap_remove(at)) {
                    assert_eq!(acknowledged.get(), expected);
                    expected += 1;
                }
            }
        }
    }
}
