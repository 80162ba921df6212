//! The object store of the world: WAL objects of sessions, created if absent, landing when the world says so.

use std::collections::BTreeMap;

use bytes::Bytes;
use segment::wal::{WalDirectory, WalHeader, WalKind, WalTail, encode};
use segment::{BrokerId, SessionId, WalSequence};

/// The broker's id in every run.
pub(crate) const BROKER: BrokerId = BrokerId::ZERO;

/// Objects by session and sequence.
#[derive(Debug, Default)]
pub(crate) struct Store {
    objects: BTreeMap<(SessionId, WalSequence), Bytes>,
}

impl Store {
    /// Creates an object unless it is there; gives whether it was created.
    pub(crate) fn create(
        &mut self,
        session: SessionId,
        sequence: WalSequence,
        bytes: Bytes,
    ) -> bool {
        let absent = !self.objects.contains_key(&(session, sequence));
        if absent {
            self.objects.insert((session, sequence), bytes);
        }
        absent
    }

    /// Part of an object.
    pub(crate) fn read(
        &self,
        session: SessionId,
        sequence: WalSequence,
        range: std::ops::Range<u64>,
    ) -> Bytes {
        let object = &self.objects[&(session, sequence)];
        object.slice(range.start as usize..range.end as usize)
    }

    /// Fences a dead session as a taker does, and gives the directories of what it had committed: from
    /// `first` on, up to the first sequence that was free.
    pub(crate) fn fence(
        &mut self,
        dead: SessionId,
        first: WalSequence,
        by: SessionId,
    ) -> Vec<(WalSequence, WalDirectory)> {
        let mut found = Vec::new();
        let mut sequence = first;
        loop {
            let fence = encode(WalHeader::fence(BROKER, dead, sequence, by), Vec::new());
            if self.create(dead, sequence, Bytes::from(fence.to_vec())) {
                return found;
            }
            let directory = self.directory(dead, sequence);
            if directory.header().kind == WalKind::Fence {
                return found;
            }
            found.push((sequence, directory));
            sequence = sequence.next().expect("sequences in range");
        }
    }

    /// What a taker without a fence would believe: the objects up to the first sequence that is free now.
    pub(crate) fn peek(
        &self,
        dead: SessionId,
        first: WalSequence,
    ) -> Vec<(WalSequence, WalDirectory)> {
        let mut found = Vec::new();
        let mut sequence = first;
        while self.objects.contains_key(&(dead, sequence)) {
            found.push((sequence, self.directory(dead, sequence)));
            sequence = sequence.next().expect("sequences in range");
        }
        found
    }

    fn directory(&self, session: SessionId, sequence: WalSequence) -> WalDirectory {
        match WalDirectory::from_tail(&self.objects[&(session, sequence)]) {
            Ok(WalTail::Directory(directory)) => directory,
            other => panic!("a stored object has a readable directory: {other:?}"),
        }
    }
}
