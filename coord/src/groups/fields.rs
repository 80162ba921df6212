//! Reading and writing the primitive fields of stored values. Reading never trusts a length.

use std::sync::Arc;

use bytes::{BufMut, Bytes, BytesMut};

use super::error::DecodeError;

/// Bytes that are left to read; slices are shared, not copied.
pub(super) struct Reader {
    rest: Bytes,
}

impl Reader {
    pub(super) fn new(bytes: Bytes) -> Self {
        Self { rest: bytes }
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], DecodeError> {
        let head = self
            .rest
            .first_chunk::<N>()
            .copied()
            .ok_or(DecodeError::Truncated)?;
        let _taken = self.rest.split_to(N);
        Ok(head)
    }

    pub(super) fn u8(&mut self) -> Result<u8, DecodeError> {
        Ok(u8::from_be_bytes(self.array()?))
    }

    pub(super) fn i16(&mut self) -> Result<i16, DecodeError> {
        Ok(i16::from_be_bytes(self.array()?))
    }

    pub(super) fn i32(&mut self) -> Result<i32, DecodeError> {
        Ok(i32::from_be_bytes(self.array()?))
    }

    pub(super) fn u32(&mut self) -> Result<u32, DecodeError> {
        Ok(u32::from_be_bytes(self.array()?))
    }

    pub(super) fn i64(&mut self) -> Result<i64, DecodeError> {
        Ok(i64::from_be_bytes(self.array()?))
    }

    /// `count` bytes.
    pub(super) fn take(&mut self, count: usize) -> Result<Bytes, DecodeError> {
        if self.rest.len() < count {
            return Err(DecodeError::Truncated);
        }
        Ok(self.rest.split_to(count))
    }

    /// Bytes behind a 32-bit length.
    pub(super) fn blob(&mut self) -> Result<Bytes, DecodeError> {
        let len = self.u32()?;
        self.take(usize::try_from(len).map_err(|_| DecodeError::Truncated)?)
    }

    /// UTF-8 text behind a 32-bit length.
    pub(super) fn text(&mut self) -> Result<Arc<str>, DecodeError> {
        let blob = self.blob()?;
        std::str::from_utf8(&blob)
            .map(Arc::from)
            .map_err(|_| DecodeError::Text)
    }

    /// Text behind a byte that says whether there is one.
    pub(super) fn text_option(&mut self) -> Result<Option<Arc<str>>, DecodeError> {
        match self.u8()? {
            0 => Ok(None),
            1 => Ok(Some(self.text()?)),
            _ => Err(DecodeError::Value("a presence byte is neither 0 nor 1")),
        }
    }

    /// Bytes that are left.
    pub(super) fn left(&self) -> usize {
        self.rest.len()
    }

    /// Checks that nothing is left.
    pub(super) fn finish(self) -> Result<(), DecodeError> {
        if self.rest.is_empty() {
            Ok(())
        } else {
            Err(DecodeError::Trailing)
        }
    }
}

/// Appends bytes behind a 32-bit length.
pub(super) fn put_blob(out: &mut BytesMut, bytes: &[u8]) {
    let len = u32::try_from(bytes.len()).expect("fields are bounded far below 4 GiB");
    let start = out.len();
    out.put_u32(len);
    out.put_slice(bytes);
    assert!(
        out.len() - start == 4 + bytes.len(),
        "a length and its bytes"
    );
}

/// Appends text behind a byte that says whether there is one.
pub(super) fn put_text_option(out: &mut BytesMut, text: Option<&str>) {
    let start = out.len();
    match text {
        None => out.put_u8(0),
        Some(text) => {
            out.put_u8(1);
            put_blob(out, text.as_bytes());
        }
    }
    assert!(
        out.len() - start == 1 + text.map_or(0, |text| 4 + text.len()),
        "a byte, and what it announces"
    );
}
