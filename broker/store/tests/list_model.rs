//! LIST of a directory agrees with LIST of memory, whatever the keys, prefixes and pages.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod conformance;

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use conformance::wait;
use proptest::prelude::*;
use store::local::{LocalOptions, LocalStore};
use store::memory::MemoryStore;
use store::{Body, ListRequest, ObjectKey, ObjectStore, PutCondition};

/// Texts over characters below and above `/`, which is where orders differ.
fn text() -> impl Strategy<Value = String> {
    proptest::string::string_regex("[ab/.@-]{0,8}").unwrap()
}

/// Writes the object as a file; false where another key is in the way.
fn write(root: &Path, key: &ObjectKey) -> bool {
    let path = root.join(key.as_str());
    let parent = path.parent().unwrap();
    fs::create_dir_all(parent).is_ok() && fs::write(&path, "x").is_ok()
}

fn names(store: &dyn ObjectStore, request: &ListRequest) -> Vec<ObjectKey> {
    let mut request = Some(request.clone());
    let mut names = Vec::new();
    while let Some(current) = request {
        let page = wait(store.list(current.clone())).unwrap();
        assert!(page.objects.len() <= current.limit_clamped());
        names.extend(page.objects.iter().map(|meta| meta.key.clone()));
        request = current.next(&page);
    }
    names
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn local_lists_as_memory_does(
        keys in prop::collection::vec(text(), 0..40),
        queries in prop::collection::vec((text(), prop::option::of(text()), 1..5_usize), 8),
    ) {
        let root = tempfile::tempdir().unwrap();
        let options = LocalOptions { durable_reads: false, ..LocalOptions::default() };
        let local = LocalStore::open(root.path(), options).unwrap();
        let memory = MemoryStore::new();
        let mut expected = BTreeSet::new();
        for key in keys.into_iter().filter_map(|key| ObjectKey::new(key).ok()) {
            if write(root.path(), &key) {
                let body = Body::from(b"x".to_vec());
                wait(memory.put(key.clone(), body, PutCondition::None)).unwrap();
                expected.insert(key);
            }
        }
        let all = ListRequest::new("").limit(3);
        prop_assert_eq!(names(&local, &all), expected.into_iter().collect::<Vec<_>>());
        for (prefix, start_after, limit) in queries {
            let request = ListRequest { prefix, start_after, limit };
            prop_assert_eq!(names(&local, &request), names(&memory, &request), "{:?}", request);
        }
    }
}
