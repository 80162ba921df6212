//! Which directory entries are durable, and group commit of directory fsyncs.
//!
//! A new entry is durable only after an fsync of its directory. That fsync is shared: whoever
//! needs one takes a ticket, one thread syncs for all tickets taken so far, the others wait. A
//! directory that is not in the table is unknown (it may hold entries that a crashed process never
//! synced), so the first use of each is one fsync.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use crate::key::ObjectKey;

/// Most directories remembered; beyond it the settled ones are forgotten, which costs one fsync at
/// their next use.
const DIRECTORIES_MAX: usize = 65_536;

/// The table of directories below a root. Shared by the workers of a local store.
///
/// Directories are named by the part of a key before its last `/`; the root is the empty text.
#[derive(Debug)]
pub(super) struct Directories {
    root: PathBuf,
    table: Mutex<Table>,
    settled: Condvar,
    syncs: AtomicU64,
}

#[derive(Debug, Default)]
struct Table {
    directories: HashMap<String, Directory>,
    /// Keys whose entries are being changed, or are changed and not durable yet.
    pending: HashMap<ObjectKey, u32>,
    /// Set when an fsync of a directory failed with a device error: nothing is acknowledged after.
    broken: Option<String>,
}

#[derive(Debug)]
struct Directory {
    /// Last ticket given out. Begins at 1: unknown entries count as one change.
    changed: u64,
    /// Tickets up to here are durable.
    durable: u64,
    /// Changes begun and not finished: they have no ticket yet.
    changing: u32,
    /// Tickets given out and not waited for to the end.
    waiting: u32,
    syncing: bool,
    /// The entries that lead here from the root are durable and no symbolic links.
    reachable: bool,
}

impl Default for Directory {
    fn default() -> Self {
        Self {
            changed: 1,
            durable: 0,
            changing: 0,
            waiting: 0,
            syncing: false,
            reachable: false,
        }
    }
}

impl Directory {
    fn is_idle(&self) -> bool {
        self.changing == 0 && self.waiting == 0 && !self.syncing
    }

    fn take_ticket(&mut self) -> u64 {
        self.waiting += 1;
        self.changed += 1;
        self.changed
    }

    fn is_settled(&self) -> bool {
        self.changing == 0 && self.durable == self.changed
    }
}

/// A change of one entry of a directory, begun before the system call that makes it. Dropping it
/// says that the entry was not changed.
#[derive(Debug)]
pub(super) struct Change<'a> {
    directories: &'a Directories,
    directory: String,
    key: Option<ObjectKey>,
}

/// A finished change that is not known to be durable yet.
#[derive(Debug)]
#[must_use = "the change is durable only after `wait`"]
pub(super) struct Ticket {
    directory: String,
    key: Option<ObjectKey>,
    number: u64,
}

impl Directories {
    pub(super) fn new(root: &Path) -> Self {
        let (table, settled) = (Mutex::default(), Condvar::new());
        Self {
            root: root.to_owned(),
            table,
            settled,
            syncs: AtomicU64::new(0),
        }
    }

    /// Number of directory fsyncs so far.
    pub(super) fn syncs(&self) -> u64 {
        self.syncs.load(Ordering::Relaxed)
    }

    /// Why nothing may be written any more, if so.
    pub(super) fn broken(&self) -> Option<String> {
        self.lock().broken.clone()
    }

    /// Begins a change of the entry of `key`.
    pub(super) fn change(&self, key: &ObjectKey) -> Change<'_> {
        self.begin(key.directory(), Some(key.clone()))
    }

    /// Makes the directory and its parents where they are missing, durably.
    pub(super) fn ensure(&self, directory: &str) -> io::Result<()> {
        if self.is_reachable(directory) {
            return Ok(());
        }
        for (parent, child) in steps(directory) {
            if self.is_reachable(child) {
                continue;
            }
            let change = self.begin(parent, None);
            match fs::create_dir(self.root.join(child)) {
                Ok(()) => self.wait(change.finish())?,
                Err(error) if error.kind() == ErrorKind::AlreadyExists => drop(change),
                Err(error) => return Err(error),
            }
            self.learn(parent, child)?;
        }
        Ok(())
    }

    /// Returns once the entry of `key`, which the caller has seen, is durable. `NotFound` says that
    /// the directory was removed since.
    pub(super) fn settle_key(&self, key: &ObjectKey) -> io::Result<()> {
        let directory = key.directory();
        self.reach(directory)?;
        let known = {
            let table = self.lock();
            let durable = table
                .directories
                .get(directory)
                .is_some_and(|dir| dir.durable > 0);
            durable && !table.pending.contains_key(key)
        };
        if known {
            Ok(())
        } else {
            self.settle(directory)
        }
    }

    /// Returns once all entries of the directory that the caller has seen are durable.
    pub(super) fn settle_directory(&self, directory: &str) -> io::Result<()> {
        self.reach(directory)?;
        self.settle(directory)
    }

    /// Forgets what is known of a directory that turned out to be missing.
    pub(super) fn unlearn(&self, directory: &str) {
        let mut table = self.lock();
        for (_, child) in steps(directory) {
            if let Some(state) = table.directories.get_mut(child) {
                state.reachable = false;
            }
        }
    }

    /// Removes the directory if it is empty and nobody uses it.
    pub(super) fn remove_if_empty(&self, directory: &str) {
        let mut table = self.lock();
        // The table stays locked over the system call, so that no change begins meanwhile.
        if table
            .directories
            .get(directory)
            .is_none_or(Directory::is_idle)
            && fs::remove_dir(self.root.join(directory)).is_ok()
        {
            table.directories.remove(directory);
        }
    }

    /// Waits until a change is durable; syncs the directory if nobody else does. Where that fails
    /// the key stays pending: whoever reads it tries to sync first.
    pub(super) fn wait(&self, ticket: Ticket) -> io::Result<()> {
        self.wait_number(&ticket.directory, ticket.number)?;
        if let Some(key) = ticket.key {
            self.lock().settle_pending(&key);
        }
        Ok(())
    }

    fn begin(&self, directory: &str, key: Option<ObjectKey>) -> Change<'_> {
        let mut table = self.lock();
        table.trim();
        table.entry(directory).changing += 1;
        if let Some(key) = &key {
            *table.pending.entry(key.clone()).or_default() += 1;
        }
        Change {
            directories: self,
            directory: directory.to_owned(),
            key,
        }
    }

    fn is_reachable(&self, directory: &str) -> bool {
        let table = self.lock();
        directory.is_empty()
            || table
                .directories
                .get(directory)
                .is_some_and(|dir| dir.reachable)
    }

    /// Settles the entries that lead to the directory; refuses symbolic links among them.
    pub(super) fn reach(&self, directory: &str) -> io::Result<()> {
        if self.is_reachable(directory) {
            return Ok(());
        }
        steps(directory).try_for_each(|(parent, child)| {
            if self.is_reachable(child) {
                Ok(())
            } else {
                self.learn(parent, child)
            }
        })
    }

    fn learn(&self, parent: &str, child: &str) -> io::Result<()> {
        let path = self.root.join(child);
        if !fs::symlink_metadata(&path)?.is_dir() {
            let text = format!("{} is not a directory (or a symbolic link)", path.display());
            return Err(io::Error::new(ErrorKind::NotADirectory, text));
        }
        self.settle(parent)?;
        self.lock().entry(child).reachable = true;
        Ok(())
    }

    fn settle(&self, directory: &str) -> io::Result<()> {
        let number = {
            let mut table = self.lock();
            table.trim();
            let state = table.entry(directory);
            if state.is_settled() {
                return Ok(());
            }
            state.take_ticket()
        };
        self.wait_number(directory, number)
    }

    fn wait_number(&self, directory: &str, number: u64) -> io::Result<()> {
        let mut table = self.lock();
        let outcome = loop {
            if let Some(reason) = &table.broken {
                break Err(io::Error::other(reason.clone()));
            }
            let state = table.entry(directory);
            if state.durable >= number {
                break Ok(());
            }
            if state.syncing {
                table = self
                    .settled
                    .wait(table)
                    .unwrap_or_else(PoisonError::into_inner);
                continue;
            }
            state.syncing = true;
            let target = state.changed;
            drop(table);
            let synced = self.sync(directory);
            table = self.lock();
            let state = table.entry(directory);
            state.syncing = false;
            if synced.is_ok() {
                state.durable = state.durable.max(target);
            } else {
                table.note_failure(directory, &synced);
            }
            self.settled.notify_all();
            if let Err(error) = synced {
                break Err(error);
            }
        };
        let state = table.entry(directory);
        assert!(
            state.waiting > 0,
            "a directory with a ticket stays in the table"
        );
        state.waiting -= 1;
        outcome
    }

    fn sync(&self, directory: &str) -> io::Result<()> {
        self.syncs.fetch_add(1, Ordering::Relaxed);
        File::open(self.root.join(directory))?.sync_all()
    }

    fn lock(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Table {
    fn entry(&mut self, directory: &str) -> &mut Directory {
        if !self.directories.contains_key(directory) {
            self.directories
                .insert(directory.to_owned(), Directory::default());
        }
        self.directories.get_mut(directory).expect("inserted above")
    }

    fn trim(&mut self) {
        if self.directories.len() >= DIRECTORIES_MAX {
            self.directories.retain(|_, directory| !directory.is_idle());
        }
    }

    fn settle_pending(&mut self, key: &ObjectKey) {
        let Some(count) = self.pending.get_mut(key) else {
            return;
        };
        *count -= 1;
        if *count == 0 {
            self.pending.remove(key);
        }
    }

    /// After a device error the kernel may drop what it could not write and report success next
    /// time, so no later fsync of the directory can be believed.
    fn note_failure(&mut self, directory: &str, outcome: &io::Result<()>) {
        const EIO: i32 = 5;
        let Err(error) = outcome else { return };
        if error.raw_os_error() == Some(EIO) {
            let text = format!("fsync of directory {directory:?} failed: {error}; check the disk");
            tracing::error!(directory, %error, "directory fsync failed, store takes no writes");
            self.broken.get_or_insert(text);
        }
    }
}

impl Change<'_> {
    /// The entry has been changed.
    pub(super) fn finish(mut self) -> Ticket {
        let number = {
            let mut table = self.directories.lock();
            table.entry(&self.directory).take_ticket()
        };
        // The drop below ends the change; the key stays pending until its ticket is durable.
        Ticket {
            directory: self.directory.clone(),
            key: self.key.take(),
            number,
        }
    }
}

impl Drop for Change<'_> {
    fn drop(&mut self) {
        let mut table = self.directories.lock();
        let state = table.entry(&self.directory);
        assert!(state.changing > 0, "a change was begun");
        state.changing -= 1;
        if let Some(key) = &self.key {
            table.settle_pending(key);
        }
    }
}

/// The steps from the root to a directory: (parent, child) pairs, outermost first.
fn steps(directory: &str) -> impl Iterator<Item = (&str, &str)> {
    let ends = directory.match_indices('/').map(|(at, _)| at);
    let ends = ends.chain((!directory.is_empty()).then_some(directory.len()));
    ends.scan("", move |parent, end| {
        let child = &directory[..end];
        Some((std::mem::replace(parent, child), child))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_lead_from_the_root() {
        assert_eq!(steps("").count(), 0);
        assert_eq!(steps("a").collect::<Vec<_>>(), vec![("", "a")]);
        assert_eq!(
            steps("a/b/c").collect::<Vec<_>>(),
            vec![("", "a"), ("a", "a/b"), ("a/b", "a/b/c")]
        );
    }

    #[test]
    fn one_sync_settles_all_tickets_taken_before() {
        let root = tempfile::tempdir().unwrap();
        let directories = Directories::new(root.path());
        directories.ensure("d").unwrap();
        let before = directories.syncs();
        let keys: Vec<ObjectKey> = (0..10)
            .map(|n| ObjectKey::new(format!("d/{n}")).unwrap())
            .collect();
        let tickets: Vec<Ticket> = keys
            .iter()
            .map(|key| directories.change(key).finish())
            .collect();
        for ticket in tickets {
            directories.wait(ticket).unwrap();
        }
        assert_eq!(directories.syncs() - before, 1);
        for key in &keys {
            directories.settle_key(key).unwrap();
        }
        assert_eq!(directories.syncs() - before, 1, "settled keys cost nothing");
        let change = directories.change(&keys[0]);
        directories.settle_key(&keys[1]).unwrap();
        assert_eq!(
            directories.syncs() - before,
            1,
            "another key's change costs a reader nothing"
        );
        directories.settle_key(&keys[0]).unwrap();
        assert_eq!(
            directories.syncs() - before,
            2,
            "a reader of a pending key syncs"
        );
        drop(change);
    }
}
