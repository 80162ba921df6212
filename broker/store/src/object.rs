//! What goes into a store and what comes out: bodies, conditions, ranges, outcomes, pages.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use crate::key::ObjectKey;

/// Most objects of one LIST page: S3's bound.
pub const LIST_LIMIT_MAX: usize = 1000;

/// The bytes of one object as a list of shared chunks: never copied on the way to the store.
///
/// Immutable, shared: a clone costs one reference count, so a retry sends the same bytes.
#[derive(Clone, Default)]
pub struct Body {
    chunks: Arc<[Bytes]>,
    len: u64,
    crc32: Option<u32>,
    kept_by_writer: bool,
}

impl Body {
    /// A body of these chunks, in order. Empty chunks are allowed.
    pub fn new(chunks: Vec<Bytes>) -> Self {
        let len = chunks.iter().map(|chunk| chunk.len() as u64).sum();
        Self {
            chunks: chunks.into(),
            len,
            crc32: None,
            kept_by_writer: false,
        }
    }

    /// States the CRC-32 (IEEE, as in `x-amz-checksum-crc32`) of the whole body.
    ///
    /// A store may verify it and refuses the PUT as corrupt where it does not match.
    #[must_use]
    pub fn with_crc32(mut self, crc32: u32) -> Self {
        self.crc32 = Some(crc32);
        self
    }

    /// Says that whoever writes this keeps its bytes in memory, so that a store need not.
    #[must_use]
    pub fn kept_by_writer(mut self) -> Self {
        self.kept_by_writer = true;
        self
    }

    /// Whether the writer keeps these bytes in memory.
    pub fn is_kept_by_writer(&self) -> bool {
        self.kept_by_writer
    }

    /// The chunks, in order.
    pub fn chunks(&self) -> &[Bytes] {
        &self.chunks
    }

    /// Length of the object, in bytes.
    pub fn len(&self) -> u64 {
        self.len
    }

    /// Whether the object has no bytes.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The CRC-32 that the caller stated.
    pub fn crc32(&self) -> Option<u32> {
        self.crc32
    }

    /// Computes the CRC-32 (IEEE) over all chunks: reads every byte.
    pub fn compute_crc32(&self) -> u32 {
        let mut hasher = crc32fast::Hasher::new();
        for chunk in self.chunks.iter() {
            hasher.update(chunk);
        }
        hasher.finalize()
    }

    /// The whole body as one buffer: a copy, unless there is one chunk.
    pub fn to_bytes(&self) -> Bytes {
        if let [chunk] = &*self.chunks {
            return chunk.clone();
        }
        self.chunks.concat().into()
    }
}

impl fmt::Debug for Body {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "Body({} bytes in {} chunks)",
            self.len,
            self.chunks.len()
        )
    }
}

impl From<Bytes> for Body {
    fn from(bytes: Bytes) -> Self {
        Self::new(vec![bytes])
    }
}

impl From<Vec<u8>> for Body {
    fn from(bytes: Vec<u8>) -> Self {
        Self::new(vec![bytes.into()])
    }
}

/// A version of an object's content: changes whenever the content is replaced.
///
/// Opaque; compare for equality only, and only for one key of one store.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ETag(Arc<str>);

impl ETag {
    /// An ETag as the store wrote it (in S3 with its quotes).
    pub fn new(etag: impl Into<Arc<str>>) -> Self {
        Self(etag.into())
    }

    /// The ETag as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ETag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What must hold for a PUT to take effect; checked and applied atomically.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum PutCondition {
    /// Always: creates or replaces.
    #[default]
    None,
    /// The key does not exist (`If-None-Match: *`).
    IfAbsent,
    /// The object has this ETag (`If-Match`).
    IfMatch(ETag),
}

/// What a successful PUT answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PutOutcome {
    /// ETag of the object just written.
    pub etag: ETag,
}

/// Which bytes of an object a GET asks for.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum GetRange {
    /// All of them.
    #[default]
    Full,
    /// From `start` to before `end`; the end is clamped to the object's length.
    Range(Range<u64>),
    /// The last so many bytes; the whole object where it is shorter.
    Suffix(u64),
}

impl GetRange {
    /// The byte range that this selects of an object of `object_len` bytes; `None` if it selects
    /// no byte (a full read of an empty object selects `0..0`).
    pub fn resolve(&self, object_len: u64) -> Option<Range<u64>> {
        match self {
            Self::Full => Some(0..object_len),
            Self::Range(range) => {
                let end = range.end.min(object_len);
                (range.start < end).then_some(range.start..end)
            }
            Self::Suffix(count) => {
                let start = object_len.saturating_sub(*count);
                (start < object_len).then_some(start..object_len)
            }
        }
    }
}

/// What a successful GET answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GetOutcome {
    /// The bytes of the resolved range, all of them.
    pub bytes: Bytes,
    /// Length of the whole object, in bytes.
    pub object_len: u64,
    /// ETag of the object read.
    pub etag: ETag,
}

/// What LIST and HEAD tell of an object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ObjectMeta {
    /// Its key.
    pub key: ObjectKey,
    /// Its length, in bytes.
    pub len: u64,
    /// Its ETag.
    pub etag: ETag,
    /// When it was written by the store's clock, in milliseconds since 1970. For display only:
    /// no decision may hang on it.
    pub modified_ms: i64,
}

impl ObjectMeta {
    /// How far the store's clock and the caller's are apart, for an object that was written at `now_ms` of the caller's.
    /// For display only, as [`ObjectMeta::modified_ms`].
    pub fn clock_offset(&self, now_ms: i64) -> Duration {
        Duration::from_millis(now_ms.abs_diff(self.modified_ms))
    }
}

/// Which keys a LIST page shall hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListRequest {
    /// Only keys that begin with this text; it need not end at a `/`. Empty = all.
    pub prefix: String,
    /// Only keys greater than this text. It need not exist.
    pub start_after: Option<String>,
    /// Most objects of the page; clamped to 1..=[`LIST_LIMIT_MAX`].
    pub limit: usize,
}

impl ListRequest {
    /// The first page of the keys under `prefix`.
    pub fn new(prefix: impl Into<String>) -> Self {
        Self {
            prefix: prefix.into(),
            start_after: None,
            limit: LIST_LIMIT_MAX,
        }
    }

    /// Begins after this key.
    #[must_use]
    pub fn start_after(mut self, key: impl Into<String>) -> Self {
        self.start_after = Some(key.into());
        self
    }

    /// Bounds the page.
    #[must_use]
    pub fn limit(mut self, limit: usize) -> Self {
        self.limit = limit;
        self
    }

    /// The request for the page after `page`; `None` where it was the last.
    pub fn next(&self, page: &ListPage) -> Option<Self> {
        let after = page.next_start_after.clone()?;
        Some(Self {
            start_after: Some(after),
            ..self.clone()
        })
    }

    /// The limit within its bounds.
    pub fn limit_clamped(&self) -> usize {
        self.limit.clamp(1, LIST_LIMIT_MAX)
    }
}

/// One page of a LIST.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ListPage {
    /// Objects in ascending order of key bytes.
    pub objects: Vec<ObjectMeta>,
    /// Where the next page starts; `None` when this page is the last.
    pub next_start_after: Option<String>,
}
