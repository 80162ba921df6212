//! [`Records`]: record batches that are passed on, not copied; and where a slice lies in its frame.

use std::ops::Range;

use bytes::Bytes;

/// The record batches of one partition in a Produce request or a Fetch response.
///
/// Decoding gives `Null` or `Borrowed`. Equality is that of the bytes, not of the variants.
#[derive(Debug, Clone, Default)]
pub enum Records<'a> {
    /// No record set at all.
    #[default]
    Null,
    /// Bytes of the frame that was decoded. Encoding copies them.
    Borrowed(&'a [u8]),
    /// Slices owned elsewhere, in order. Encoding takes a reference to each, not a copy. A
    /// scratch vector can be kept and refilled for each partition.
    Slices(&'a [Bytes]),
    /// As `Slices`, owned.
    Chunks(Vec<Bytes>),
}

impl<'a> Records<'a> {
    /// Size in bytes; zero for null.
    pub fn len(&self) -> usize {
        self.pieces()
            .fold(0, |sum, piece| sum.saturating_add(piece.len()))
    }

    /// Whether there are no bytes (null or empty).
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether the field is null.
    pub fn is_null(&self) -> bool {
        matches!(self, Records::Null)
    }

    /// The bytes borrowed from the decoded frame, if that is where they are.
    pub fn borrowed(&self) -> Option<&'a [u8]> {
        match self {
            Records::Borrowed(bytes) => Some(bytes),
            Records::Null | Records::Slices(_) | Records::Chunks(_) => None,
        }
    }

    /// The bytes, piece by piece.
    pub fn pieces(&self) -> impl Iterator<Item = &[u8]> {
        let (one, many): (&[u8], &[Bytes]) = match self {
            Records::Null => (&[], &[]),
            Records::Borrowed(bytes) => (bytes, &[]),
            Records::Slices(slices) => (&[], slices),
            Records::Chunks(chunks) => (&[], chunks),
        };
        std::iter::once(one).chain(many.iter().map(|piece| piece.as_ref()))
    }
}

impl PartialEq for Records<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.is_null() == other.is_null()
            && self.len() == other.len()
            && self.pieces().flatten().eq(other.pieces().flatten())
    }
}

impl Eq for Records<'_> {}

/// Where `slice` lies inside `frame`, as byte offsets; `None` if it is not a part of it.
///
/// It compares addresses only, so a broker can split the frame's buffer around the record sets
/// that [`Records::Borrowed`] points to, without a copy. An empty slice counts as inside when its
/// address is within the frame or right behind it.
pub fn range_in(frame: &[u8], slice: &[u8]) -> Option<Range<usize>> {
    let start = slice.as_ptr().addr().checked_sub(frame.as_ptr().addr())?;
    let end = start.checked_add(slice.len())?;
    (end <= frame.len()).then_some(start..end)
}
