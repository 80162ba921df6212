//! List: one page of keys in order, with common prefixes rolled up.

use std::collections::BTreeMap;
use std::ops::Bound;

use super::Summary;

/// What a LIST asks for.
#[derive(Debug)]
pub(crate) struct Query<'a> {
    pub(crate) prefix: &'a str,
    /// Never empty.
    pub(crate) delimiter: Option<&'a str>,
    pub(crate) after: After,
    /// Keys and common prefixes together.
    pub(crate) limit: usize,
}

/// Where a page begins.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum After {
    Start,
    /// After this key.
    Key(String),
    /// After all keys with this prefix.
    Prefix(String),
}

#[derive(Debug, Default)]
pub(crate) struct Listing {
    pub(crate) entries: Vec<(String, Summary)>,
    pub(crate) prefixes: Vec<String>,
    /// Where the next page begins, if there is one.
    pub(crate) next: Option<After>,
}

pub(super) fn list<V>(
    map: &BTreeMap<String, V>,
    query: &Query<'_>,
    summarize: impl Fn(&V) -> Summary,
) -> Listing {
    let mut page = Listing::default();
    let mut at = query.after.clone();
    loop {
        let Some((key, value)) = first_after(map, query.prefix, &at) else {
            return page;
        };
        if page.entries.len() + page.prefixes.len() >= query.limit {
            // A page of no keys has no next one: it would not get any further.
            page.next = (query.limit > 0).then_some(at);
            return page;
        }
        match common_prefix(key, query) {
            Some(prefix) => {
                at = After::Prefix(prefix.to_owned());
                page.prefixes.push(prefix.to_owned());
            }
            None => {
                at = After::Key(key.clone());
                page.entries.push((key.clone(), summarize(value)));
            }
        }
    }
}

fn common_prefix<'k>(key: &'k str, query: &Query<'_>) -> Option<&'k str> {
    let delimiter = query.delimiter?;
    let rest = key.get(query.prefix.len()..)?;
    let end = query.prefix.len() + rest.find(delimiter)? + delimiter.len();
    key.get(..end)
}

/// The first key with the prefix that lies after `after`.
fn first_after<'m, V>(
    map: &'m BTreeMap<String, V>,
    prefix: &str,
    after: &After,
) -> Option<(&'m String, &'m V)> {
    let from_prefix = Bound::Included(prefix.to_owned());
    let (from, skipped) = match after {
        After::Start => (from_prefix, None),
        After::Key(key) if key.as_str() < prefix => (from_prefix, None),
        After::Key(key) => (Bound::Excluded(key.clone()), None),
        After::Prefix(gone) if gone.as_str() < prefix => (from_prefix, Some(gone)),
        // The greatest character leads past nearly all keys under the prefix in one step.
        After::Prefix(gone) => (Bound::Excluded(format!("{gone}\u{10FFFF}")), Some(gone)),
    };
    let mut keys = map.range((from, Bound::Unbounded));
    let found = keys.find(|(key, _)| skipped.is_none_or(|gone| !key.starts_with(gone)));
    found.filter(|(key, _)| key.starts_with(prefix))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use std::time::UNIX_EPOCH;

    use super::*;

    fn pages(keys: &[&str], prefix: &str, delimiter: Option<&str>, limit: usize) -> Vec<String> {
        let map: BTreeMap<String, ()> = keys.iter().map(|key| ((*key).to_owned(), ())).collect();
        let mut after = After::Start;
        let mut seen = Vec::new();
        loop {
            let query = Query {
                prefix,
                delimiter,
                after,
                limit,
            };
            let summary = Summary {
                size: 0,
                etag: String::new(),
                modified: UNIX_EPOCH,
            };
            let page = list(&map, &query, |()| summary.clone());
            assert!(page.entries.len() + page.prefixes.len() <= limit);
            let mut both: Vec<_> = page.entries.into_iter().map(|(key, _)| key).collect();
            both.extend(page.prefixes);
            both.sort();
            seen.extend(both);
            match page.next {
                Some(next) => after = next,
                None => return seen,
            }
        }
    }

    #[test]
    fn each_page_size_gives_each_key_and_prefix_once_in_order() {
        let keys = [
            "a",
            "b/1",
            "b/2",
            "b/\u{10FFFF}x",
            "b0",
            "c/d/1",
            "c/e",
            "d",
        ];
        for limit in 1..10 {
            assert_eq!(pages(&keys, "", None, limit), keys);
            assert_eq!(
                pages(&keys, "", Some("/"), limit),
                ["a", "b/", "b0", "c/", "d"]
            );
            assert_eq!(pages(&keys, "c/", Some("/"), limit), ["c/d/", "c/e"]);
            assert_eq!(pages(&keys, "x", None, limit), [""; 0]);
        }
    }

    #[test]
    fn a_page_of_no_keys_has_no_next() {
        assert_eq!(pages(&["a"], "", None, 0), [""; 0]);
    }
}
