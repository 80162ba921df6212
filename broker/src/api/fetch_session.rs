//! Incremental fetch sessions (KIP-227): the partitions of a consumer, remembered between its fetches.
//!
//! Shard-owned. A session lives on the shard of the connection that made it; a client that comes back on another
//! shard is told FETCH_SESSION_ID_NOT_FOUND and makes a new one. Rules of Kafka's `FetchSession.scala`.
//!
//! Invariants: at most `fetch_sessions_max` sessions, and an eighth of the shard's part of the memory budget for what
//! they remember; the one unused for longest goes first, and one that alone is too much is not begun, so that its
//! client names all its partitions in every fetch. An epoch follows the one before it, from `i32::MAX` to 1.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;

use segment::{Offset, PartitionIndex, TopicId};

use crate::config::Config;
use crate::hash::RandomState;
use crate::shard::ShardId;

/// Session epoch that begins a session.
const INITIAL_EPOCH: i32 = 0;
/// Session epoch of a fetch without a session; ends the one that it names.
const FINAL_EPOCH: i32 = -1;
/// Memory of one partition of a session, but for its topic's name: some 80 bytes in the list, as many in the map, both
/// with room to grow; and as much again while a fetch waits.
const PARTITION_BYTES: usize = 512;
/// The part of a shard's memory budget that sessions may take.
const MEMORY_PART: u64 = 8;

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

impl Wanted {
    /// Bytes that it takes in a session. A name counts for each of its partitions: it may be shared.
    fn memory(&self) -> usize {
        let name = match &self.topic {
            TopicKey::Name(name) => name.len(),
            TopicKey::Id(_) => 0,
        };
        PARTITION_BYTES + name
    }
}

/// The partitions of one fetch, in the order in which they are served.
#[derive(Debug, Default)]
pub(crate) struct Session {
    epoch: i32,
    used: u64,
    /// Bytes of its partitions.
    memory: usize,
    /// Who began it ([`crate::security::identity::Identity::owner`]).
    owner: u64,
    /// Partitions in order.
    pub(crate) wanted: Vec<Wanted>,
    places: HashMap<(TopicKey, PartitionIndex), usize, RandomState>,
    /// Where serving begins, so that busy partitions do not starve the others.
    pub(crate) first: usize,
}

impl Session {
    /// Takes the session out for the time of one fetch, to be put back when that is answered. What is left
    /// in its place fits no epoch, and is as recent: it must not be the first to make room for another.
    pub(crate) fn lend(&mut self) -> Self {
        let left = Self {
            used: self.used,
            owner: self.owner,
            memory: self.memory,
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
                self.memory += wanted.memory();
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
        self.memory = self.wanted.iter().map(Wanted::memory).sum();
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
    /// Bytes of all partitions, and the most of them.
    memory: Cell<usize>,
    memory_max: usize,
    shard: ShardId,
    shards: usize,
    next: Cell<u32>,
    clock: Cell<u64>,
    evicted: Cell<u64>,
}

impl FetchSessions {
    /// No sessions. Ids start from `seed`, so that those of an earlier life of the broker are not met again.
    pub(crate) fn new(config: &Config, shard: ShardId, seed: u32) -> Self {
        let memory_max = config.memory_bytes_per_shard() / MEMORY_PART;
        Self {
            sessions: RefCell::default(),
            sessions_max: config.shard.fetch_sessions_max,
            memory: Cell::new(0),
            memory_max: usize::try_from(memory_max).unwrap_or(usize::MAX),
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
        owner: u64,
        wanted: Vec<Wanted>,
        forgotten: &[(TopicKey, PartitionIndex)],
    ) -> Result<Context, SessionError> {
        if epoch == INITIAL_EPOCH || epoch == FINAL_EPOCH {
            if self.is_of(id, owner) {
                self.end(id);
            }
            let mut session = Session::of(wanted);
            session.owner = owner;
            let is_one = epoch == INITIAL_EPOCH && !session.wanted.is_empty();
            if !is_one || self.sessions_max == 0 || session.memory > self.memory_max {
                return Ok(Context::Sessionless(session));
            }
            session.epoch = 1;
            return Ok(self.begin(session));
        }
        let found = self.sessions.borrow().get(&id).cloned();
        let found = found.filter(|_| self.is_of(id, owner));
        let session = found.ok_or(SessionError::Unknown(id))?;
        {
            let mut session = session.borrow_mut();
            if session.epoch != epoch {
                return Err(SessionError::Epoch(id));
            }
            session.epoch = if epoch == i32::MAX { 1 } else { epoch + 1 };
            session.used = self.tick();
            let before = session.memory;
            session.forget(forgotten);
            wanted.into_iter().for_each(|w| session.upsert(w));
            self.memory.set(self.memory.get() - before + session.memory);
        }
        if session.borrow().wanted.is_empty() {
            self.end(id);
            return Ok(Context::Sessionless(Session::default()));
        }
        // Where it alone is too much, it goes too: its client is told so at its next fetch, and begins anew.
        while self.memory.get() > self.memory_max && self.evict() {}
        Ok(Context::Incremental(id, session))
    }

    /// Whether there is a session that this one began.
    fn is_of(&self, id: i32, owner: u64) -> bool {
        let sessions = self.sessions.borrow();
        let session = sessions.get(&id);
        session.is_some_and(|session| session.borrow().owner == owner)
    }

    /// Ends a session.
    pub(crate) fn end(&self, id: i32) {
        let ended = self.sessions.borrow_mut().remove(&id);
        if let Some(ended) = ended {
            self.memory.set(self.memory.get() - ended.borrow().memory);
        }
    }

    /// Ends the session that was unused for longest; whether there was one.
    fn evict(&self) -> bool {
        let sessions = self.sessions.borrow();
        let oldest = sessions.iter().min_by_key(|(_, s)| s.borrow().used);
        let oldest = oldest.map(|(id, _)| *id);
        drop(sessions);
        if let Some(oldest) = oldest {
            self.end(oldest);
            self.evicted.set(self.evicted.get() + 1);
        }
        oldest.is_some()
    }

    fn begin(&self, mut session: Session) -> Context {
        session.used = self.tick();
        let is_full = |sessions: &Self| {
            let memory = sessions.memory.get() + session.memory;
            sessions.len() >= sessions.sessions_max || memory > sessions.memory_max
        };
        while is_full(self) && self.evict() {}
        self.memory.set(self.memory.get() + session.memory);
        let mut sessions = self.sessions.borrow_mut();
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

    const OWNER: u64 = 5;

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
        match sessions.context(0, 0, OWNER, vec![wanted(0, 0), wanted(1, 0)], &[]) {
            Ok(Context::Full(id, _)) => id,
            other => panic!("expected a new session, got {other:?}"),
        }
    }

    #[test]
    fn a_session_remembers_partitions_between_fetches() {
        let sessions = sessions("10");
        let id = begin(&sessions);
        let forgotten = [(TopicKey::Name("t".into()), PartitionIndex::new(0))];
        let context = sessions.context(id, 1, OWNER, vec![wanted(1, 5), wanted(2, 0)], &forgotten);
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
            sessions.context(id, 2, OWNER, vec![], &[]),
            Err(SessionError::Epoch(_))
        ));
        assert!(matches!(
            sessions.context(id + 99, 1, OWNER, vec![], &[]),
            Err(SessionError::Unknown(_))
        ));
        assert!(sessions.context(id, 1, OWNER, vec![], &[]).is_ok());
        assert!(matches!(
            sessions.context(id, 1, OWNER, vec![], &[]),
            Err(SessionError::Epoch(_))
        ));
    }

    #[test]
    fn the_final_epoch_ends_the_session() {
        let sessions = sessions("10");
        let id = begin(&sessions);
        let context = sessions.context(id, -1, OWNER, vec![wanted(0, 0)], &[]);
        assert!(matches!(context, Ok(Context::Sessionless(_))));
        assert_eq!(sessions.len(), 0);
    }

    #[test]
    fn the_session_unused_for_longest_makes_room() {
        let sessions = sessions("2");
        let (a, b) = (begin(&sessions), begin(&sessions));
        assert!(sessions.context(a, 1, OWNER, vec![], &[]).is_ok());
        let c = begin(&sessions);
        assert_eq!(sessions.len(), 2);
        assert!(matches!(
            sessions.context(b, 1, OWNER, vec![], &[]),
            Err(SessionError::Unknown(_))
        ));
        assert!(sessions.context(a, 2, OWNER, vec![], &[]).is_ok());
        assert!(sessions.context(c, 1, OWNER, vec![], &[]).is_ok());
    }

    #[test]
    fn a_session_is_unknown_to_others() {
        let sessions = sessions("10");
        let id = begin(&sessions);
        let other = sessions.context(id, 1, OWNER + 1, vec![], &[]);
        assert!(matches!(other, Err(SessionError::Unknown(_))));
        let ended = sessions.context(id, -1, OWNER + 1, vec![wanted(0, 0)], &[]);
        assert!(ended.is_ok() && sessions.len() == 1, "nor can they end it");
        assert!(sessions.context(id, 1, OWNER, vec![], &[]).is_ok());
    }

    #[test]
    fn what_sessions_remember_is_bounded_and_those_used_last_stay() {
        let settings = [("memory.budget_bytes", "16MiB"), ("shard.count", "1")];
        let config = Config::with(&settings).expect("valid settings");
        let sessions = FetchSessions::new(&config, ShardId(0), 7);
        let max = config.memory_bytes_per_shard() as i32 / 8 / (PARTITION_BYTES as i32 + 1);
        let of = |from: i32, count: i32| {
            let all = (from..from + count).map(|it| wanted(it, 0));
            all.collect::<Vec<_>>()
        };
        let begin = |count| {
            let begun = sessions.context(0, 0, OWNER, of(0, count), &[]);
            begun.expect("a session or none")
        };
        let Context::Full(a, _) = begin(max / 2) else {
            panic!("half of the memory is there")
        };
        let Context::Full(b, lent) = begin(max / 2) else {
            panic!("and the other half")
        };
        assert_eq!(sessions.evicted(), 0);
        // One that is in use counts with all that it remembers.
        let taken = lent.borrow_mut().lend();
        let Context::Full(c, _) = begin(max / 2) else {
            panic!("another goes for it")
        };
        lent.replace(taken);
        assert_eq!((sessions.len(), sessions.evicted()), (2, 1));
        assert!(sessions.context(a, 1, OWNER, vec![], &[]).is_err());
        // It grows, and the other one goes; then what it forgets makes room again.
        assert!(sessions.context(b, 1, OWNER, of(max / 2, 9), &[]).is_ok());
        assert!(sessions.context(c, 1, OWNER, vec![], &[]).is_err());
        let forgotten: Vec<_> = (9..max / 2 + 9)
            .map(|it| (wanted(it, 0).topic, PartitionIndex::new(it)))
            .collect();
        assert!(sessions.context(b, 2, OWNER, vec![], &forgotten).is_ok());
        assert!(matches!(begin(max - 9), Context::Full(..)));
        assert_eq!((sessions.len(), sessions.evicted()), (2, 2));
        // What is too much for all of it is not begun, or ends.
        assert!(matches!(begin(max + 1), Context::Sessionless(_)));
        assert!(sessions.context(b, 3, OWNER, of(0, max + 1), &[]).is_ok());
        assert_eq!(sessions.len(), 0);
        assert_eq!(sessions.memory.get(), 0);
    }
}
