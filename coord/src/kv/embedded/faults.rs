//! What the embedded side does when the disk is full or a sync fails, on a disk in memory.

use std::collections::BTreeSet;
use std::io;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex};

use super::file::{self, Source};
use super::{Embedded, OpenError};
use crate::kv::{Compare, Kv, KvError, Op, Revision, Span, Txn, Value, WatchError, wait};

const BLOCK_BYTES: u64 = 4_096;

/// A disk whose blocks are allocated by the first write to them, as in a sparse file.
#[derive(Debug, Default)]
struct Disk {
    bytes: Mutex<Vec<u8>>,
    allocated: Mutex<BTreeSet<u64>>,
    /// A write to a new block fails.
    full: AtomicBool,
    /// Every write fails.
    dead: AtomicBool,
    /// So many syncs fail; what was written stays readable.
    sync_fails: AtomicU32,
}

#[derive(Debug)]
struct Backend(Arc<Disk>);

impl redb::StorageBackend for Backend {
    fn len(&self) -> Result<u64, io::Error> {
        Ok(self.0.bytes.lock().unwrap().len() as u64)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> Result<(), io::Error> {
        let bytes = self.0.bytes.lock().unwrap();
        let start = offset as usize;
        let found = bytes.get(start..start + out.len());
        out.copy_from_slice(found.ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }

    fn set_len(&self, len: u64) -> Result<(), io::Error> {
        self.0.bytes.lock().unwrap().resize(len as usize, 0);
        Ok(())
    }

    fn sync_data(&self) -> Result<(), io::Error> {
        let left = |count: u32| count.checked_sub(1);
        match self
            .0
            .sync_fails
            .fetch_update(Ordering::SeqCst, Ordering::SeqCst, left)
        {
            Ok(_) => Err(io::Error::other("sync failed")),
            Err(_) => Ok(()),
        }
    }

    fn write(&self, offset: u64, data: &[u8]) -> Result<(), io::Error> {
        if self.0.dead.load(Ordering::SeqCst) {
            return Err(io::Error::other("disk is dead"));
        }
        let blocks = offset / BLOCK_BYTES..=(offset + data.len() as u64 - 1) / BLOCK_BYTES;
        let mut allocated = self.0.allocated.lock().unwrap();
        let grows = blocks.clone().any(|block| !allocated.contains(&block));
        if grows && self.0.full.load(Ordering::SeqCst) {
            return Err(io::ErrorKind::StorageFull.into());
        }
        allocated.extend(blocks);
        let start = offset as usize;
        self.0.bytes.lock().unwrap()[start..start + data.len()].copy_from_slice(data);
        Ok(())
    }

    fn try_lock_range(
        &self,
        _start: std::ops::Bound<u64>,
        _end: std::ops::Bound<u64>,
    ) -> Result<bool, redb::BackendError> {
        Ok(true)
    }

    fn unlock_range(
        &self,
        _start: std::ops::Bound<u64>,
        _end: std::ops::Bound<u64>,
    ) -> Result<(), redb::BackendError> {
        Ok(())
    }
}

fn source(disk: &Arc<Disk>) -> Source {
    let disk = Arc::clone(disk);
    Source {
        path: PathBuf::from("in memory"),
        open: Box::new(move || file::builder().create_with_backend(Backend(Arc::clone(&disk)))),
        resync: Box::new(|| Ok(())),
    }
}

fn open(disk: &Arc<Disk>) -> Embedded {
    Embedded::start(source(disk), 16).unwrap()
}

fn big(number: usize) -> Txn {
    let key = format!("/big/{number:04}");
    Txn::new()
        .when(Compare::absent(key.as_str().into()))
        .and_then(Op::put(
            key.into(),
            Value::from(vec![number as u8; 64 << 10]),
        ))
}

#[test]
fn a_full_disk_fails_definitely_and_recovers_when_there_is_room() {
    let disk = Arc::new(Disk::default());
    let kv = open(&disk);
    wait(kv.txn(big(0))).unwrap();
    disk.full.store(true, Ordering::SeqCst);
    let mut stored = 1;
    let error = loop {
        match wait(kv.txn(big(stored))) {
            Ok(_) => stored += 1,
            Err(error) => break error,
        }
        assert!(stored < 1_000, "the disk was never full");
    };
    let read = wait(kv.get(format!("/big/{stored:04}").into()));
    match &error {
        KvError::Failed { .. } => assert!(matches!(read, Ok(None)), "{read:?}"),
        // Only when the file could not even be read again.
        other => assert!(other.is_ambiguous(), "{other}"),
    }
    disk.full.store(false, Ordering::SeqCst);
    let before = wait(kv.get("/big/0000".into()))
        .unwrap()
        .expect("what was stored stays");
    assert_eq!(before.value.len(), 64 << 10);
    assert!(
        wait(kv.get(format!("/big/{stored:04}").into()))
            .unwrap()
            .is_none()
    );
    let reply = wait(kv.txn(big(stored))).unwrap();
    assert!(reply.succeeded);
    assert_eq!(
        reply.revision,
        Revision(stored as i64 + 1),
        "the failed one took no revision"
    );
    wait(kv.close()).unwrap();
    let kv = open(&disk);
    let all = wait(kv.range(crate::kv::Range::prefix("/big/"))).unwrap();
    assert_eq!(all.entries.len(), stored + 1);
}

#[test]
fn a_commit_on_a_dead_disk_is_told_and_found_out_later() {
    let disk = Arc::new(Disk::default());
    let kv = open(&disk);
    wait(kv.txn(big(0))).unwrap();
    let mut watch = wait(kv.watch(Span::prefix("/"), Revision(2))).unwrap();
    disk.dead.store(true, Ordering::SeqCst);
    let error = wait(kv.txn(big(1))).unwrap_err();
    assert!(error.is_ambiguous() || error.is_retriable(), "{error}");
    let later = wait(kv.txn(big(2))).unwrap_err();
    assert!(later.is_retriable(), "nothing was tried: {later}");
    disk.dead.store(false, Ordering::SeqCst);
    let found = wait(kv.get("/big/0001".into())).unwrap();
    if found.is_some() {
        assert!(error.is_ambiguous());
        assert!(matches!(
            watch.try_next(),
            Err(WatchError::Compacted { .. })
        ));
    }
    assert!(wait(kv.get("/big/0002".into())).unwrap().is_none());
    assert!(wait(kv.txn(big(2))).unwrap().succeeded);
}

#[test]
fn a_commit_whose_sync_fails_is_never_answered_with_success_unproven() {
    let disk = Arc::new(Disk::default());
    let kv = open(&disk);
    wait(kv.txn(big(0))).unwrap();
    disk.sync_fails.store(u32::MAX, Ordering::SeqCst);
    let outcome = wait(kv.txn(big(1)));
    disk.sync_fails.store(0, Ordering::SeqCst);
    let found = wait(kv.get("/big/0001".into())).unwrap();
    match outcome {
        Ok(_) => panic!("the file could not be synced, yet success was told"),
        Err(KvError::Ambiguous { .. }) => {}
        Err(error) => assert!(found.is_none() && error.is_retriable(), "{error}"),
    }
    wait(kv.txn(big(2))).unwrap();
}

#[test]
fn a_small_commit_whose_syncs_fail_is_ambiguous_until_the_file_is_synced() {
    let small = |text: &str| Txn::new().and_then(Op::put("/small".into(), text.into()));
    for fails in [1, 2, 3, u32::MAX] {
        let disk = Arc::new(Disk::default());
        let kv = open(&disk);
        wait(kv.txn(small("before"))).unwrap();
        disk.sync_fails.store(fails, Ordering::SeqCst);
        let outcome = wait(kv.txn(small("after")));
        assert_eq!(outcome.is_ok(), fails == 1, "{outcome:?}");
        assert!(outcome.is_ok_and(|reply| reply.succeeded) || fails > 1);
        disk.sync_fails.store(0, Ordering::SeqCst);
        let found = wait(kv.get("/small".into())).unwrap().unwrap();
        assert_eq!(found.value, "after".into(), "a reading tells");
        assert_eq!(found.mod_revision, Revision(2));
    }
}

#[test]
fn a_sync_that_fails_once_is_settled_by_reading_the_file() {
    let disk = Arc::new(Disk::default());
    let kv = open(&disk);
    wait(kv.txn(big(0))).unwrap();
    for number in 1..4 {
        let span = Span::prefix("/");
        let mut watch = wait(kv.watch(span, Revision(number as i64 + 1))).unwrap();
        disk.sync_fails.store(1, Ordering::SeqCst);
        let reply = wait(kv.txn(big(number)));
        let reply = match reply {
            Err(KvError::Failed { .. }) => {
                assert_eq!(watch.try_next(), Ok(None));
                wait(kv.txn(big(number))).unwrap()
            }
            // The pages and their switch were there, and were synced before it was told.
            outcome => outcome.unwrap(),
        };
        assert!(reply.succeeded);
        assert_eq!(reply.revision, Revision(number as i64 + 1));
        assert_eq!(watch.try_next().unwrap().unwrap().revision, reply.revision);
    }
}

#[test]
fn sessions_of_the_process_survive_a_reopening() {
    let disk = Arc::new(Disk::default());
    let kv = open(&disk);
    let session = wait(kv.grant_session(std::time::Duration::from_secs(1))).unwrap();
    let bind = Txn::new().and_then(Op::put_bound("/s".into(), "x".into(), session));
    wait(kv.txn(bind)).unwrap();
    disk.dead.store(true, Ordering::SeqCst);
    wait(kv.txn(big(1))).unwrap_err();
    disk.dead.store(false, Ordering::SeqCst);
    assert!(wait(kv.get("/s".into())).unwrap().is_some());
    wait(kv.keep_alive(session)).unwrap();
    wait(kv.revoke(session)).unwrap();
    assert!(wait(kv.get("/s".into())).unwrap().is_none());
}

#[test]
fn another_format_is_refused_before_anything_is_written() {
    let disk = Arc::new(Disk::default());
    wait(open(&disk).close()).unwrap();
    let database = (source(&disk).open)().unwrap();
    let txn = database.begin_write().unwrap();
    txn.open_table(file::META)
        .unwrap()
        .insert("format", 9)
        .unwrap();
    txn.commit().unwrap();
    drop(database);
    let error = Embedded::start(source(&disk), 16).unwrap_err();
    assert!(
        matches!(
            error,
            OpenError::Version {
                found: 9,
                known: 1,
                ..
            }
        ),
        "{error}"
    );
}
