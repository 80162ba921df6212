//! LIST of a local store: a walk in the order of key bytes that skips what a page does not need.

use std::fs;
use std::io;

use super::{Shared, is_permanent, meta, write::is_missing};
use crate::error::ListError;
use crate::key::{KEY_BYTES_MAX, KEY_COMPONENTS_MAX, ObjectKey, component_is_valid};
use crate::object::{ListPage, ListRequest, ObjectMeta};

/// A page in the making: at most one object more than asked for, which tells that there are more.
struct Page<'a> {
    prefix: &'a str,
    start_after: &'a str,
    wanted: usize,
    objects: Vec<ObjectMeta>,
}

/// An entry of a directory, named by its whole key; that of a directory ends with `/`.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Entry(String);

impl Shared {
    pub(super) fn list(&self, request: &ListRequest) -> Result<ListPage, ListError> {
        let limit = request.limit_clamped();
        let mut page = Page {
            prefix: &request.prefix,
            start_after: request.start_after.as_deref().unwrap_or(""),
            wanted: limit + 1,
            objects: Vec::new(),
        };
        let directory = request
            .prefix
            .rsplit_once('/')
            .map_or("", |(directory, _)| directory);
        if !is_directory_of_keys(directory) {
            return Ok(ListPage::default());
        }
        self.walk(directory, 0, &mut page)
            .map_err(|error| list_error(&request.prefix, &error))?;
        let mut objects = page.objects;
        let more = objects.len() > limit;
        objects.truncate(limit);
        let last = objects.last().filter(|_| more);
        let next_start_after = last.map(|meta| meta.key.as_str().to_owned());
        Ok(ListPage {
            objects,
            next_start_after,
        })
    }

    fn walk(&self, directory: &str, depth: usize, page: &mut Page<'_>) -> io::Result<()> {
        if depth > KEY_COMPONENTS_MAX {
            return Ok(());
        }
        let Some(entries) = self.entries(directory, page)? else {
            return Ok(());
        };
        let before = page.objects.len();
        for Entry(name) in entries {
            if page.objects.len() >= page.wanted {
                break;
            }
            match name.strip_suffix('/') {
                Some(child) => self.walk(child, depth + 1, page)?,
                None => self.append(name, page)?,
            }
        }
        let showed = page.objects.len() > before;
        if showed && self.options.durable_reads {
            match self.directories.settle_directory(directory) {
                // Its objects were deleted while the page was made.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                outcome => outcome?,
            }
        }
        Ok(())
    }

    /// What of a directory may belong to the page, in the order of key bytes: a directory sorts as
    /// its name with a `/`, as all keys below it do.
    fn entries(&self, directory: &str, page: &Page<'_>) -> io::Result<Option<Vec<Entry>>> {
        let listing = match fs::read_dir(self.root.join(directory)) {
            Ok(listing) => listing,
            Err(error) if is_missing(&error) => return Ok(None),
            Err(error) => return Err(error),
        };
        let mut entries = Vec::new();
        for entry in listing {
            let entry = entry?;
            let kind = entry.file_type()?;
            let Ok(name) = entry.file_name().into_string() else {
                continue;
            };
            let at_root = directory.is_empty();
            let is_object = kind.is_file() && !at_root;
            if !(is_object || kind.is_dir()) || (at_root && name.starts_with('.')) {
                continue;
            }
            let slash = if kind.is_dir() { "/" } else { "" };
            let separator = if at_root { "" } else { "/" };
            let key = format!("{directory}{separator}{name}{slash}");
            if page.may_hold(&key, kind.is_dir()) {
                entries.push(Entry(key));
            }
        }
        entries.sort_unstable();
        Ok(Some(entries))
    }

    fn append(&self, name: String, page: &mut Page<'_>) -> io::Result<()> {
        let Ok(key) = ObjectKey::new(name) else {
            return Ok(());
        };
        match fs::symlink_metadata(self.path(&key)) {
            Ok(metadata) if metadata.is_file() => page.objects.push(meta(key, &metadata)),
            Ok(_) => {}
            // Deleted since.
            Err(error) if is_missing(&error) => {}
            Err(error) => return Err(error),
        }
        Ok(())
    }
}

impl Page<'_> {
    /// Whether the object, or any object below the directory, may belong to the page.
    fn may_hold(&self, key: &str, is_directory: bool) -> bool {
        if !is_directory {
            return key.starts_with(self.prefix) && key > self.start_after;
        }
        let prefix_fits = key.starts_with(self.prefix) || self.prefix.starts_with(key);
        prefix_fits && (key > self.start_after || self.start_after.starts_with(key))
    }
}

/// Whether keys may lie in the directory that a prefix names: a hostile prefix matches nothing.
fn is_directory_of_keys(directory: &str) -> bool {
    let length_ok = directory.len() <= KEY_BYTES_MAX && !directory.starts_with('.');
    directory.is_empty() || (length_ok && directory.split('/').all(component_is_valid))
}

fn list_error(prefix: &str, error: &io::Error) -> ListError {
    let (prefix, reason) = (prefix.to_owned(), format!("read a directory: {error}"));
    if is_permanent(error) {
        return ListError::Denied { prefix, reason };
    }
    ListError::Unavailable { prefix, reason }
}
