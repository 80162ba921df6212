//! Incremental fetch sessions (KIP-227): the partitions of a consumer, remembered between its fetches.
//!
//! Shard-owned. A session lives on the shard of the connection that made it; a client that comes back on another
//! shard is told FETCH_SESSION_ID_NOT_FOUND and makes a new one. Rules of Kafka's `FetchSession.scala`.
//!
//! Invariants: at most `fetch_sessions_max` sessions, the one unused for longest goes first; an epoch follows
//! the one before it, from `i32::MAX` to 1.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;

use foldhash::fast::RandomState;
use segment::{Offset, PartitionIndex, TopicId};

use crate::config::Config;
use crate::shard::ShardId;

/// Session epoch that begins a session.
const INITIAL_EPOCH: i32 = 0;
/// Session epoch of a fetch without a session; ends the one that it names.
const FINAL_EPOCH: i32 = -1;

/// How a client names a topic: by name up to v12, by id from v13.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum TopicKey {
    /// By name.
    Name(Rc<str>),
    /// By id.
    Id(TopicId),
}

/// What a client wants of one partition, and what it was told last.
#[derive(Debug, Clone)]
pub(crate) struct Wanted {
    /// The topic.
    pub(crate) topic: TopicKey,
    /// The partition.
    pub(crate) partition: PartitionIndex,
    /// First offset wanted.
    pub(crate) offset: Offset,
    /// Most bytes wanted.
    pub(crate) bytes_max: u64,
    /// Leader epoch that the client knows, or -1.
    pub(crate) leader_epoch: i32,
    /// High watermark, log start and error of the last reply; none if it was never in one.
    pub(crate) told: Option<(i64, i64, i16)>,
}

/// The partitions of one fetch, in the order in which they are served.
#[derive(Debug, Default)]
pub(crate) struct Session {
    epoch: i32,
    used: u64,
    /// Partitions in order; a removed one leaves a hole until the next compaction.
    pub(crate) wanted: Vec<Wanted>,
    places: HashMap<(TopicKey, PartitionIndex), usize, RandomState>,
    /// Where serving begins, so that busy partitions do not starve the others.
    pub(crate) first: usize,
}

impl Session {
    /// Takes the session out for the time of one fetch, to be put back when that is answered. What is left
    /// in its place fits no epoch, and is as recent: it must not be the first to make room for another.
    pub(crate) fn lend(&mut self) -> Self {
        let used = self.used;
        let left = Self {
            used,
            ..Self::default()
        };
        std::mem::replace(self, left)
    }

    /// A session of these partitions, of which a client may name one twice.
    fn of(wanted: Vec<Wanted>) -> Self {
        let mut session = Self {
            wanted: Vec::with_capacity(wanted.len()),
            places: HashMap::with_capacity_and_hasher(wanted.len(), RandomState::default()),
            ..Self::default()
        };
        wanted.into_iter().for_each(|w| session.upsert(w));
        session
    }

    fn upsert(&mut self, wanted: Wanted) {
        let key = (wanted.topic.clone(), wanted.partition);
        match self.places.get(&key) {
            Some(&place) => {
                let told = self.wanted[place].told;
                self.wanted[place] = Wanted { told, ..wanted };
            }
            None => {
                self.places.insert(key, self.wanted.len());
                self.wanted.push(wanted);
            }
        }
    }

    fn forget(&mut self, forgotten: &[(TopicKey, PartitionIndex)]) {
        let before = self.places.len();
        for key in forgotten {
            self.places.remove(key);
        }
        if self.places.len() == before {
            return;
        }
        let places = &self.places;
        self.wanted
            .retain(|w| places.contains_key(&(w.topic.clone(), w.partition)));
        let keys = self.wanted.iter().map(|w| (w.topic.clone(), w.partition));
        self.places = keys.enumerate().map(|(place, key)| (key, place)).collect();
        self.first = 0;
    }
}

/// How a fetch is answered.
#[derive(Debug)]
pub(crate) enum Context {
    /// All its partitions, without a session.
    Sessionless(Session),
    /// All its partitions; the session with this id begins.
    Full(i32, Rc<RefCell<Session>>),
    /// Only what changed since the last reply of this session.
    Incremental(i32, Rc<RefCell<Session>>),
}

/// Why a session cannot be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum SessionError {
    /// It is not known here.
    #[error("fetch session {0} is not known")]
    Unknown(i32),
    /// The epoch is not the next one.
    #[error("fetch session {0} is at another epoch")]
    Epoch(i32),
}

/// The sessions of a shard. Shard-owned.
pub(crate) struct FetchSessions {
    sessions: RefCell<HashMap<i32, Rc<RefCell<Session>>, RandomState>>,
    sessions_max: usize,
    shard: ShardId,
    shards: usize,
    next: Cell<u32>,
    clock: Cell<u64>,
    evicted: Cell<u64>,
}

impl FetchSessions {
    /// No sessions. Ids start from `seed`, so that those of an earlier life of the broker are not met again.
    pub(crate) fn new(config: &Config, shard: ShardId, seed: u32) -> Self {
        Self {
            sessions: RefCell::default(),
            sessions_max: config.shard.fetch_sessions_max,
            shard,
            shards: config.shards(),
            next: Cell::new(seed),
            clock: Cell::new(0),
            evicted: Cell::new(0),
        }
    }

    /// Number of sessions.
    pub(crate) fn len(&self) -> usize {
        self.sessions.borrow().len()
    }

    /// Sessions evicted to make room so far.
    pub(crate) fn evicted(&self) -> u64 {
        self.evicted.get()
    }

    /// Finds or makes what a fetch with this session id and epoch is answered from.
    ///
    /// # Errors
    /// [`SessionError`] when an incremental fetch names a session that cannot be used.
    pub(crate) fn context(
        &self,
        id: i32,
        epoch: i32,
        wanted: Vec<Wanted>,
        forgotten: &[(TopicKey, PartitionIndex)],
    ) -> Result<Context, SessionError> {
        if epoch == INITIAL_EPOCH || epoch == FINAL_EPOCH {
            self.sessions.borrow_mut().remove(&id);
            let mut session = Session::of(wanted);
            if epoch == FINAL_EPOCH || session.wanted.is_empty() || self.sessions_max == 0 {
                return Ok(Context::Sessionless(session));
            }
            session.epoch = 1;
            return Ok(self.begin(session));
        }
        let found = self.sessions.borrow().get(&id).cloned();
        let session = found.ok_or(SessionError::Unknown(id))?;
        {
            let mut session = session.borrow_mut();
            if session.epoch != epoch {
                return Err(SessionError::Epoch(id));
            }
            session.epoch = if epoch == i32::MAX { 1 } else { epoch + 1 };
            session.used = self.tick();
            session.forget(forgotten);
            wanted.into_iter().for_each(|w| session.upsert(w));
        }
        if session.borrow().wanted.is_empty() {
            self.sessions.borrow_mut().remove(&id);
            return Ok(Context::Sessionless(Session::default()));
        }
        Ok(Context::Incremental(id, session))
    }

    /// Ends a session.
    pub(crate) fn end(&self, id: i32) {
        self.sessions.borrow_mut().remove(&id);
    }

    fn begin(&self, mut session: Session) -> Context {
        session.used = self.tick();
        let mut sessions = self.sessions.borrow_mut();
        if sessions.len() >= self.sessions_max {
            let oldest = sessions
                .iter()
                .min_by_key(|(_, s)| s.borrow().used)
                .map(|(id, _)| *id);
            if let Some(oldest) = oldest {
                sessions.remove(&oldest);
                self.evicted.set(self.evicted.get() + 1);
            }
        }
        let id = loop {
            let id = self.next_id();
            if !sessions.contains_key(&id) {
                break id;
            }
        };
        let session = Rc::new(RefCell::new(session));
        sessions.insert(id, session.clone());
        Context::Full(id, session)
    }

    fn tick(&self) -> u64 {
        self.clock.set(self.clock.get() + 1);
        self.clock.get()
    }

    /// A positive id that no other shard of this broker gives out.
    fn next_id(&self) -> i32 {
        let count = self.next.get();
        self.next.set(count.wrapping_add(1));
        let rounds = i32::MAX as u32 / self.shards as u32 - 1;
        let id = 1 + (count % rounds) * self.shards as u32 + self.shard.index() as u32;
        i32::try_from(id).expect("rounds keep it in range")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sessions(max: &str) -> FetchSessions {
        let config = Config::with(&[("shard.fetch_sessions_max", max)]).expect("valid settings");
        FetchSessions::new(&config, ShardId(0), 7)
    }

    fn wanted(partition: i32, offset: i64) -> Wanted {
        Wanted {
            topic: TopicKey::Name("t".into()),
            partition: PartitionIndex::new(partition),
            offset: Offset::new(offset),
            bytes_max: 1 << 20,
            leader_epoch: -1,
            told: None,
        }
    }

    fn begin(sessions: &FetchSessions) -> i32 {
        match sessions.context(0, 0, vec![wanted(0, 0), wanted(1, 0)], &[]) {
            Ok(Context::Full(id, _)) => id,
            other => panic!("expected a new session, got {other:?}"),
        }
    }

    #[test]
    fn a_session_remembers_partitions_between_fetches() {
        let sessions = sessions("10");
        let id = begin(&sessions);
        let forgotten = [(TopicKey::Name("t".into()), PartitionIndex::new(0))];
        let context = sessions.context(id, 1, vec![wanted(1, 5), wanted(2, 0)], &forgotten);
        let Ok(Context::Incremental(same, session)) = context else {
            panic!("{context:?}")
        };
        assert_eq!(same, id);
        let session = session.borrow();
        let offsets: Vec<_> = session
            .wanted
            .iter()
            .map(|w| (w.partition.get(), w.offset.get()))
            .collect();
        assert_eq!(offsets, [(1, 5), (2, 0)]);
    }

    #[test]
    fn a_wrong_epoch_and_an_unknown_id_are_refused() {
        let sessions = sessions("10");
        let id = begin(&sessions);
        assert!(matches!(
            sessions.context(id, 2, vec![], &[]),
            Err(SessionError::Epoch(_))
        ));
        assert!(matches!(
            sessions.context(id + 99, 1, vec![], &[]),
            Err(SessionError::Unknown(_))
        ));
        assert!(sessions.context(id, 1, vec![], &[]).is_ok());
        assert!(matches!(
            sessions.context(id, 1, vec![], &[]),
            Err(SessionError::Epoch(_))
        ));
    }

    #[test]
    fn the_final_epoch_ends_the_session() {
        let sessions = sessions("10");
        let id = begin(&sessions);
        let context = sessions.context(id, -1, vec![wanted(0, 0)], &[]);
        assert!(matches!(context, Ok(Context::Sessionless(_))));
        assert_eq!(sessions.len(), 0);
    }

    #[test]
    fn the_session_unused_for_longest_makes_room() {
        let sessions = sessions("2");
        let (a, b) = (begin(&sessions), begin(&sessions));
        assert!(sessions.context(a, 1, vec![], &[]).is_ok());
        let c = begin(&sessions);
        assert_eq!(sessions.len(), 2);
        assert!(matches!(
            sessions.context(b, 1, vec![], &[]),
            Err(SessionError::Unknown(_))
        ));
        assert!(sessions.context(a, 2, vec![], &[]).is_ok());
        assert!(sessions.context(c, 1, vec![], &[]).is_ok());
    }
}
