//! Directories that were read, shared by all readers of a bucket: a WAL object tells of many
//! partitions, so that whoever reads them all reads it once.
//!
//! A WAL object is created once and never changed, so what is held is right for ever. Bounded by
//! rows; the oldest go first.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};

use segment::wal::WalDirectory;
use segment::{SessionId, WalSequence};

/// Rows (sections and batches of idempotent producers) that are held: about 10 MiB.
const ROWS_MAX: usize = 100_000;

/// Consecutive objects of one session.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Span {
    pub(crate) session: SessionId,
    pub(crate) first: WalSequence,
    pub(crate) last: WalSequence,
}

/// The directories that are held.
#[derive(Debug, Default)]
pub(crate) struct HeldDirectories {
    held: Mutex<Held>,
}

#[derive(Debug, Default)]
struct Held {
    spans: HashMap<Span, Arc<[WalDirectory]>>,
    /// In the order in which they came.
    order: VecDeque<Span>,
    rows: usize,
}

impl HeldDirectories {
    /// What is held of exactly this span.
    pub(crate) fn get(&self, span: Span) -> Option<Arc<[WalDirectory]>> {
        let held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        held.spans.get(&span).cloned()
    }

    /// Holds the directories of a span for the next reader.
    pub(crate) fn hold(&self, span: Span, directories: Vec<WalDirectory>) -> Arc<[WalDirectory]> {
        let directories: Arc<[WalDirectory]> = directories.into();
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        if held.spans.insert(span, directories.clone()).is_none() {
            held.order.push_back(span);
            held.rows += rows(&directories);
        }
        while held.rows > ROWS_MAX {
            let Some(oldest) = held.order.pop_front() else {
                break;
            };
            let gone = held.spans.remove(&oldest);
            held.rows -= gone.map_or(0, |gone| rows(&gone));
        }
        directories
    }
}

fn rows(directories: &[WalDirectory]) -> usize {
    let of = |directory: &WalDirectory| {
        let producers = directory.entries.iter().map(|entry| entry.producers.len());
        1 + directory.entries.len() + producers.sum::<usize>()
    };
    directories.iter().map(of).sum()
}

#[cfg(test)]
mod tests {
    use segment::BrokerId;
    use segment::wal::{WalHeader, WalTail, encode};

    use super::*;

    #[test]
    fn what_is_held_is_bounded_and_the_oldest_goes() {
        let held = HeldDirectories::default();
        let session = SessionId::new([1; 16]);
        let open = encode(WalHeader::open(BrokerId::ZERO, session), Vec::new());
        let Ok(WalTail::Directory(directory)) = WalDirectory::from_tail(&open.tail()) else {
            panic!("it is whole");
        };
        let span = |first: u64| Span {
            session,
            first: WalSequence::new(first),
            last: WalSequence::new(first),
        };
        for first in 0..=ROWS_MAX as u64 {
            held.hold(span(first), vec![directory.clone()]);
            held.hold(span(first), vec![directory.clone()]);
        }
        assert!(held.get(span(0)).is_none());
        assert!(held.get(span(1)).is_some());
        assert_eq!(held.held.lock().unwrap().spans.len(), ROWS_MAX);
    }
}
