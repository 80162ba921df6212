//! Answers of the store that are not what it holds: an old listing, a bit that flipped on the way.

use std::sync::Mutex;

use futures_util::FutureExt;
use segment::LeaderEpoch;
use store::{
    Body, DeleteResults, GetError, GetOutcome, GetRange, HeadError, ListError, ListPage,
    ListRequest, ObjectKey, ObjectMeta, PutCondition, PutError, PutOutcome, StoreFuture,
};

use super::*;
use crate::shard::ReadError;

/// A store in memory, some of whose answers are changed on their way.
#[derive(Debug, Clone)]
struct Doctored {
    memory: MemoryStore,
    /// LIST does not show them.
    hidden: Arc<Mutex<Vec<String>>>,
    /// The next ranged GET of this key with this byte in it arrives with these bits of it flipped.
    flip: Arc<Mutex<Option<Flip>>>,
}

#[derive(Debug, Clone)]
struct Flip {
    key: Arc<str>,
    byte: u64,
    bits: u8,
}

impl Doctored {
    fn new(world: &World) -> Self {
        Self {
            memory: world.memory.clone(),
            hidden: Arc::default(),
            flip: Arc::default(),
        }
    }

    fn hide(&self, keys: Vec<String>) {
        self.hidden.lock().unwrap().extend(keys);
    }

    fn flip(&self, key: &Arc<str>, byte: u64, bits: u8) {
        let key = key.clone();
        *self.flip.lock().unwrap() = Some(Flip { key, byte, bits });
    }

    /// Whether nothing is left to be flipped.
    fn has_flipped(&self) -> bool {
        self.flip.lock().unwrap().is_none()
    }
}

impl ObjectStore for Doctored {
    fn put(
        &self,
        key: ObjectKey,
        body: Body,
        condition: PutCondition,
    ) -> StoreFuture<Result<PutOutcome, PutError>> {
        self.memory.put(key, body, condition)
    }

    fn get(&self, key: ObjectKey, range: GetRange) -> StoreFuture<Result<GetOutcome, GetError>> {
        let mut flip = self.flip.lock().unwrap();
        let at = flip.as_ref().and_then(|flip| match &range {
            GetRange::Range(range) if *flip.key == *key.as_str() && range.contains(&flip.byte) => {
                Some((flip.byte - range.start) as usize)
            }
            _ => None,
        });
        let flipped = at.and_then(|at| Some((at, flip.take()?.bits)));
        let found = self.memory.get(key, range);
        let change = move |found: Result<GetOutcome, GetError>| {
            let mut found = found?;
            if let Some((at, bits)) = flipped {
                let mut bytes = found.bytes.to_vec();
                bytes[at] ^= bits;
                found.bytes = bytes.into();
            }
            Ok(found)
        };
        Box::pin(found.map(change))
    }

    fn head(&self, key: ObjectKey) -> StoreFuture<Result<ObjectMeta, HeadError>> {
        self.memory.head(key)
    }

    fn list(&self, request: ListRequest) -> StoreFuture<Result<ListPage, ListError>> {
        let hidden = self.hidden.lock().unwrap().clone();
        let is_shown =
            move |meta: &ObjectMeta| hidden.iter().all(|hidden| hidden != meta.key.as_str());
        let change = move |found: Result<ListPage, ListError>| {
            let mut page = found?;
            page.objects.retain(is_shown);
            Ok(page)
        };
        Box::pin(self.memory.list(request).map(change))
    }

    fn delete(&self, keys: Vec<ObjectKey>) -> StoreFuture<DeleteResults> {
        self.memory.delete(keys)
    }
}

impl Rig {
    async fn place(&self, id: TopicPartition, at: i64) -> ColdPlace {
        let at = Offset::new(at);
        let place = move |shard: &Rc<Shard>| shard.with_log(id, |log| log.place(at));
        let shard = self.context.shard_of(id);
        shard.call(place).await.unwrap().unwrap().unwrap()
    }

    /// Reads one batch as a fetch does that misses the tail; gives the epoch and the offset that clients see.
    async fn read_header(
        &self,
        id: TopicPartition,
        from: i64,
    ) -> Result<(LeaderEpoch, i64), ReadError> {
        let (reply, answer) = oneshot::channel();
        let read = move |shard: &Rc<Shard>| {
            let read = shard.clone().read(id, Offset::new(from), 1, true);
            crate::runtime::spawn(async move {
                let seen = |found: Vec<Bytes>| {
                    let header = BatchHeader::parse(&found[0]).unwrap();
                    (header.leader_epoch, header.base_offset.get())
                };
                let _ = reply.send(read.await.map(seen));
            });
        };
        self.context.shard_of(id).call(read).await.unwrap();
        answer.await.unwrap()
    }
}

/// Bytes of a batch that its CRC does not cover and a parser does not miss: the offset, and the leader epoch.
const UNCOVERED: [u64; 12] = [0, 1, 2, 3, 4, 5, 6, 7, 12, 13, 14, 15];

/// A committed batch keeps its leader epoch and its offset (seed 447 of the simulator): the CRC of a batch covers
/// neither, so what arrives is compared with what the log knows, wherever it is read from.
#[test]
fn the_epoch_and_the_offset_of_a_batch_survive_a_bit_that_flips_on_the_way() {
    test(async {
        let world = World::new();
        let doctored = Doctored::new(&world);
        let start = async || {
            let objects = Arc::new(doctored.clone());
            let small = [("memory.cache_bytes", "1MiB")];
            world.start_on(None, objects, &small).await
        };
        let rig = start().await;
        let id = rig.create("orders", 1).await;
        rig.produce_many(id, 3).await;
        rig.compact_all(id).await;
        rig.produce_many(id, 3).await;
        rig.crash().await;
        // A batch of a segment, then one of the WAL.
        for at in [0, 15] {
            for byte in UNCOVERED {
                // With empty caches.
                let rig = start().await;
                if matches!(rig.place(id, at).await, ColdPlace::Index { .. }) {
                    rig.read_header(id, 10).await.unwrap();
                }
                let ColdPlace::Chunk { key, range, .. } = rig.place(id, at).await else {
                    panic!("the place of {at} is known");
                };
                rig.crash().await;
                let rig = start().await;
                doctored.flip(&key, range.start + byte, 1 << (byte % 8));
                let epoch = LeaderEpoch::ZERO;
                let seen = rig.read_header(id, at).await;
                assert_eq!(seen, Ok((epoch, at)), "byte {byte} of {key}");
                assert!(doctored.has_flipped(), "byte {byte} of {key}");
                rig.crash().await;
            }
        }
    });
}

/// The same where the WAL is read back to make a segment of it: what is written then is all that is left.
#[test]
fn a_segment_has_the_epochs_of_the_log_though_a_bit_flipped_while_the_wal_was_read() {
    for byte in UNCOVERED {
        test(async move {
            let world = World::new();
            let doctored = Doctored::new(&world);
            let start = async || world.start_on(None, Arc::new(doctored.clone()), &[]).await;
            let rig = start().await;
            let id = rig.create("orders", 1).await;
            let bases = rig.produce_many(id, 3).await;
            rig.crash().await;
            let rig = start().await;
            let ColdPlace::Chunk { key, range, .. } = rig.place(id, 0).await else {
                panic!("the first batch is in the WAL");
            };
            doctored.flip(&key, range.start + byte, 4);
            rig.compact_all(id).await;
            assert!(doctored.has_flipped());
            assert!(matches!(rig.place(id, 0).await, ColdPlace::Index { .. }));
            for base in bases {
                let seen = rig.read_header(id, base).await;
                assert_eq!(seen, Ok((LeaderEpoch::ZERO, base)), "byte {byte}");
            }
            rig.crash().await;
        });
    }
}

/// An index that does not tell the truth costs an error, and not the shard, which would look for ever.
#[test]
fn a_read_behind_the_end_of_what_is_stored_ends() {
    test(async {
        let world = World::new();
        let rig = world.start().await;
        let id = rig.create("orders", 1).await;
        rig.produce_many(id, 3).await;
        rig.compact_all(id).await;
        rig.crash().await;
        let rig = world.start().await;
        let spans = crate::partition::ChunkSpan {
            first: Offset::ZERO,
            range: 32..32 + batch(0, 5).len() as u64,
        };
        let set = move |shard: &Rc<Shard>| {
            shard.with_log(id, |log| {
                log.set_spans(Offset::ZERO, None, Arc::new([spans]))
            })
        };
        rig.context.shard_of(id).call(set).await.unwrap();
        assert_eq!(rig.read(id, 0).await, Ok(0));
        assert_eq!(rig.read(id, 5).await, Err(ReadError::EndsBefore));
        assert_eq!(rig.read(id, 12).await, Err(ReadError::EndsBefore));
        rig.crash().await;
    });
}

/// A session committed a segment and ended before it wrote the manifest, and the listing of the next one is old (seed
/// 483 of the simulator): the log start, which never falls back, is not raised past a segment that is there.
#[test]
fn h16_a_segment_of_which_neither_listing_nor_manifest_tells_does_not_raise_the_log_start() {
    // Segments that the manifest tells of, and those that LIST hides.
    let cases: [(usize, &[i64]); 4] =
        [(2, &[20]), (1, &[10, 20]), (0, &[0, 10, 20]), (0, &[0, 20])];
    for (told, hidden) in cases {
        test(async move {
            let world = World::new();
            let doctored = Doctored::new(&world);
            let start = async || world.start_on(None, Arc::new(doctored.clone()), &[]).await;
            let rig = start().await;
            let id = rig.create("orders", 1).await;
            let (mut bases, mut manifests) = (Vec::new(), vec![None]);
            for _ in 0..3 {
                bases.extend(rig.produce_many(id, 2).await);
                rig.compact_all(id).await;
                let objects = world.memory.objects();
                let manifest = |(key, _): &(ObjectKey, Bytes)| key.as_str().contains("/manifest");
                manifests.push(objects.into_iter().find(manifest));
            }
            rig.crash().await;
            let (key, _) = manifests[3].clone().expect("a manifest is written");
            match manifests[told].clone() {
                None => drop(world.memory.delete(vec![key]).await),
                Some((key, old)) => {
                    let put = world.memory.put(key, Body::from(old), PutCondition::None);
                    put.await.unwrap();
                }
            }
            for base in hidden {
                doctored.hide(world.keys(&format!("segment-{base:020}.")));
            }
            let rig = start().await;
            assert_eq!(
                rig.served_from(id),
                Some(0),
                "{told} told, {hidden:?} hidden"
            );
            assert_eq!(rig.scan(id, 0).await, bases);
            assert_eq!(rig.produce_many(id, 1).await, [30]);
            rig.crash().await;
        });
    }
}
