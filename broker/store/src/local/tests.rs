use std::os::unix::fs::symlink;

use bytes::Bytes;

use super::*;

fn key(text: &str) -> ObjectKey {
    ObjectKey::new(text).unwrap()
}

fn body(text: &'static str) -> Body {
    Body::from(Bytes::from_static(text.as_bytes()))
}

fn open(root: &Path) -> LocalStore {
    LocalStore::open(root, LocalOptions::default()).unwrap()
}

fn temporaries(root: &Path) -> usize {
    fs::read_dir(root.join(TEMPORARY)).unwrap().count()
}

#[test]
fn a_put_costs_two_syncs_once_its_directory_is_known() {
    let root = tempfile::tempdir().unwrap();
    let store = open(root.path());
    let put = |name: &str| {
        store
            .shared
            .put(&key(name), &body("x"), &PutCondition::IfAbsent)
            .unwrap();
    };
    put("a/b/0");
    let first = store.stats();
    assert_eq!(
        (first.file_syncs, first.directory_syncs),
        (1, 3),
        "root, a, a/b"
    );
    for number in 1..11 {
        put(&format!("a/b/{number}"));
        store
            .shared
            .get(&key(&format!("a/b/{number}")), &GetRange::Full)
            .unwrap();
    }
    let later = store.stats();
    assert_eq!(later.file_syncs - first.file_syncs, 10);
    assert_eq!(later.directory_syncs - first.directory_syncs, 10);
    let refused = store
        .shared
        .put(&key("a/b/1"), &body("y"), &PutCondition::IfAbsent);
    assert!(matches!(refused, Err(PutError::AlreadyExists { .. })));
    assert_eq!(
        store.stats().file_syncs,
        later.file_syncs,
        "a refusal writes nothing"
    );
}

#[test]
fn the_first_read_of_each_directory_makes_it_durable() {
    let root = tempfile::tempdir().unwrap();
    let store = open(root.path());
    for name in ["a/b/0", "a/b/1"] {
        store
            .shared
            .put(&key(name), &body("x"), &PutCondition::IfAbsent)
            .unwrap();
    }
    drop(store);
    let store = open(root.path());
    assert_eq!(
        store
            .shared
            .list(&ListRequest::new("a/"))
            .unwrap()
            .objects
            .len(),
        2
    );
    assert_eq!(store.stats().directory_syncs, 3, "root, a, a/b");
    store.shared.list(&ListRequest::new("a/b")).unwrap();
    store.shared.get(&key("a/b/1"), &GetRange::Full).unwrap();
    assert_eq!(store.stats().directory_syncs, 3, "known now");
}

#[test]
fn a_refusal_is_told_after_the_rival_is_durable() {
    let root = tempfile::tempdir().unwrap();
    let store = open(root.path());
    store
        .shared
        .put(&key("a/0"), &body("x"), &PutCondition::IfAbsent)
        .unwrap();
    // A rival has linked its object and not synced it yet.
    let rival = store.shared.directories.change(&key("a/1"));
    fs::write(root.path().join("a/1"), "rival").unwrap();
    let before = store.stats().directory_syncs;
    let refused = store
        .shared
        .put(&key("a/1"), &body("y"), &PutCondition::IfAbsent);
    assert!(matches!(refused, Err(PutError::AlreadyExists { .. })));
    assert_eq!(store.stats().directory_syncs, before + 1);
    drop(rival);
}

#[test]
fn a_torn_put_is_cleaned_away_and_never_shown() {
    let root = tempfile::tempdir().unwrap();
    let store = open(root.path());
    store
        .shared
        .put(&key("a/0"), &body("whole"), &PutCondition::IfAbsent)
        .unwrap();
    drop(store);
    fs::write(root.path().join(TEMPORARY).join("0000000000000000"), "to").unwrap();
    fs::create_dir(root.path().join(TEMPORARY).join("foreign")).unwrap();
    let store = open(root.path());
    assert_eq!(store.stats().temporaries_removed, 1);
    assert_eq!(
        store
            .shared
            .list(&ListRequest::new(""))
            .unwrap()
            .objects
            .len(),
        1
    );
    store
        .shared
        .put(&key("a/1"), &body("x"), &PutCondition::IfAbsent)
        .unwrap();
    assert_eq!(temporaries(root.path()), 1, "only what is not ours");
}

#[test]
fn a_full_disk_leaves_nothing_and_recovers() {
    let root = tempfile::tempdir().unwrap();
    let store = open(root.path());
    store.shared.full.store(true, Ordering::Relaxed);
    let error = store
        .shared
        .put(&key("a/0"), &body("x"), &PutCondition::IfAbsent)
        .unwrap_err();
    assert!(
        matches!(
            error,
            PutError::Full {
                outcome_unknown: false,
                ..
            }
        ),
        "{error}"
    );
    assert!(error.retriable());
    assert_eq!(temporaries(root.path()), 0);
    assert!(
        store
            .shared
            .list(&ListRequest::new(""))
            .unwrap()
            .objects
            .is_empty()
    );
    store.shared.full.store(false, Ordering::Relaxed);
    store
        .shared
        .put(&key("a/0"), &body("x"), &PutCondition::IfAbsent)
        .unwrap();
}

#[test]
fn a_stated_checksum_is_verified_where_asked_for() {
    let root = tempfile::tempdir().unwrap();
    let options = LocalOptions {
        verify_crc32: true,
        ..LocalOptions::default()
    };
    let store = LocalStore::open(root.path(), options).unwrap();
    let good = body("x").with_crc32(body("x").compute_crc32());
    store
        .shared
        .put(&key("a/0"), &good, &PutCondition::IfAbsent)
        .unwrap();
    let bad = body("x").with_crc32(1);
    let error = store
        .shared
        .put(&key("a/1"), &bad, &PutCondition::IfAbsent)
        .unwrap_err();
    assert!(matches!(error, PutError::Corrupt { .. }), "{error}");
    let stats = store.stats();
    assert_eq!((stats.crc32_checks, stats.crc32_mismatches), (2, 1));
}

#[test]
fn links_pipes_and_foreign_files_are_no_objects() {
    let (root, outside) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    fs::write(outside.path().join("secret"), "secret").unwrap();
    let store = open(root.path());
    store
        .shared
        .put(&key("a/0"), &body("x"), &PutCondition::IfAbsent)
        .unwrap();
    fs::write(root.path().join("metadata.redb"), "not an object").unwrap();
    symlink(outside.path(), root.path().join("link")).unwrap();
    symlink(outside.path().join("secret"), root.path().join("a/1")).unwrap();
    let list = |prefix: &str| store.shared.list(&ListRequest::new(prefix));
    assert_eq!(list("").unwrap().objects.len(), 1);
    assert!(list("link/").is_err(), "a linked directory is refused");
    let linked = store.shared.get(&key("a/1"), &GetRange::Full);
    assert!(matches!(linked, Err(GetError::NotFound { .. })));
    let beyond = store.shared.get(&key("link/secret"), &GetRange::Full);
    assert!(matches!(beyond, Err(GetError::Denied { .. })), "{beyond:?}");
    for (name, condition) in [
        ("link/new", PutCondition::IfAbsent),
        ("a/0/x", PutCondition::None),
        ("a/1", PutCondition::None),
        ("a/1", PutCondition::IfAbsent),
        ("metadata.redb/x", PutCondition::IfAbsent),
    ] {
        let error = store
            .shared
            .put(&key(name), &body("x"), &condition)
            .unwrap_err();
        assert!(matches!(error, PutError::Denied { .. }), "{name}: {error}");
    }
    store.shared.delete(vec![key("a/1"), key("link/secret")]);
    assert_eq!(fs::read(outside.path().join("secret")).unwrap(), b"secret");
    assert_eq!(fs::read_dir(outside.path()).unwrap().count(), 1);
    assert_eq!(temporaries(root.path()), 0);
}

#[test]
fn directories_come_and_go_under_running_puts() {
    let root = tempfile::tempdir().unwrap();
    let store = open(root.path());
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let shared = &store.shared;
            scope.spawn(move || {
                for number in 0..50 {
                    let key = key(&format!("a/b/{thread}-{number}"));
                    shared
                        .put(&key, &body("x"), &PutCondition::IfAbsent)
                        .unwrap();
                    shared.get(&key, &GetRange::Full).unwrap();
                    let deleted = shared.delete(vec![key]);
                    assert!(deleted[0].1.is_ok(), "{deleted:?}");
                }
            });
        }
    });
    assert!(
        store
            .shared
            .list(&ListRequest::new(""))
            .unwrap()
            .objects
            .is_empty()
    );
    assert!(
        !root.path().join("a/b").exists(),
        "an empty directory is removed"
    );
}

#[test]
fn a_second_store_on_the_directory_is_refused() {
    let root = tempfile::tempdir().unwrap();
    let store = open(root.path());
    let refused = LocalStore::open(root.path(), LocalOptions::default()).unwrap_err();
    assert!(
        matches!(refused, OpenError::Lock(LockError::Held { .. })),
        "{refused}"
    );
    drop(store);
    open(root.path());
}

#[test]
fn etags_differ_between_replacements_of_equal_length() {
    let root = tempfile::tempdir().unwrap();
    let store = open(root.path());
    let mut seen = std::collections::HashSet::new();
    for _ in 0..200 {
        let outcome = store
            .shared
            .put(&key("a/0"), &body("x"), &PutCondition::None)
            .unwrap();
        assert!(seen.insert(outcome.etag));
    }
}
