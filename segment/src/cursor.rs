//! A bounded big-endian reader over bytes from outside. Every read is checked; none panics.

/// The input ended before a field did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Ended;

/// Reads big-endian fields from the front of a slice.
#[derive(Debug, Clone)]
pub(crate) struct Cursor<'a> {
    left: &'a [u8],
    read: usize,
}

impl<'a> Cursor<'a> {
    /// Starts at the first byte of `bytes`.
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self {
            left: bytes,
            read: 0,
        }
    }

    /// Bytes not read yet.
    pub(crate) fn remaining(&self) -> usize {
        self.left.len()
    }

    /// Bytes read so far.
    pub(crate) fn position(&self) -> usize {
        self.read
    }

    /// The next `count` bytes.
    pub(crate) fn take(&mut self, count: usize) -> Result<&'a [u8], Ended> {
        let (head, tail) = self.left.split_at_checked(count).ok_or(Ended)?;
        self.left = tail;
        self.read += count;
        Ok(head)
    }

    /// The next `N` bytes as an array.
    pub(crate) fn array<const N: usize>(&mut self) -> Result<[u8; N], Ended> {
        let (head, tail) = self.left.split_first_chunk::<N>().ok_or(Ended)?;
        self.left = tail;
        self.read += N;
        Ok(*head)
    }

    pub(crate) fn u8(&mut self) -> Result<u8, Ended> {
        Ok(u8::from_be_bytes(self.array()?))
    }

    pub(crate) fn i8(&mut self) -> Result<i8, Ended> {
        Ok(i8::from_be_bytes(self.array()?))
    }

    pub(crate) fn u16(&mut self) -> Result<u16, Ended> {
        Ok(u16::from_be_bytes(self.array()?))
    }

    pub(crate) fn i16(&mut self) -> Result<i16, Ended> {
        Ok(i16::from_be_bytes(self.array()?))
    }

    pub(crate) fn u32(&mut self) -> Result<u32, Ended> {
        Ok(u32::from_be_bytes(self.array()?))
    }

    pub(crate) fn i32(&mut self) -> Result<i32, Ended> {
        Ok(i32::from_be_bytes(self.array()?))
    }

    pub(crate) fn u64(&mut self) -> Result<u64, Ended> {
        Ok(u64::from_be_bytes(self.array()?))
    }

    pub(crate) fn i64(&mut self) -> Result<i64, Ended> {
        Ok(i64::from_be_bytes(self.array()?))
    }

    /// A `u32` count of elements of at least `element_bytes` each: refused when the bytes left
    /// cannot hold them, so that reserving for it never costs more than a small multiple of the
    /// input.
    pub(crate) fn count(&mut self, element_bytes: usize) -> Result<usize, Ended> {
        assert!(element_bytes > 0, "an element has bytes");
        let count = usize::try_from(self.u32()?).map_err(|_| Ended)?;
        if count > self.remaining() / element_bytes {
            return Err(Ended);
        }
        Ok(count)
    }

    /// Reads a zigzag varint of at most 32 bits, as Kafka's records use.
    pub(crate) fn varint(&mut self) -> Result<i32, Ended> {
        let raw = self.varint_raw(32)?;
        let raw = u32::try_from(raw).map_err(|_| Ended)?;
        Ok(((raw >> 1) as i32) ^ -((raw & 1) as i32))
    }

    /// Reads a zigzag varint of at most 64 bits, as Kafka's records use.
    pub(crate) fn varlong(&mut self) -> Result<i64, Ended> {
        let raw = self.varint_raw(64)?;
        Ok(((raw >> 1) as i64) ^ -((raw & 1) as i64))
    }

    fn varint_raw(&mut self, bits: u32) -> Result<u64, Ended> {
        assert!(bits <= u64::BITS, "a value has 64 bits at most");
        let mut value = 0_u64;
        let mut shift = 0_u32;
        while shift < bits {
            let byte = self.u8()?;
            let part = u64::from(byte & 0x7f);
            let room = bits - shift;
            if room < 7 && part >> room != 0 {
                return Err(Ended);
            }
            value |= part << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
            shift += 7;
        }
        Err(Ended)
    }
}

/// Appends a zigzag varint.
pub(crate) fn put_varint(out: &mut Vec<u8>, value: i32) {
    put_varlong(out, i64::from(value));
}

/// Appends a zigzag varint of up to 64 bits.
pub(crate) fn put_varlong(out: &mut Vec<u8>, value: i64) {
    let start = out.len();
    let mut raw = ((value << 1) ^ (value >> 63)) as u64;
    while raw >= 0x80 {
        out.push((raw as u8) | 0x80);
        raw >>= 7;
    }
    out.push(raw as u8);
    assert!(out.len() - start <= 10, "64 bits take ten bytes at most");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn varints_round_trip_at_their_edges() {
        for value in [0, 1, -1, 63, 64, -64, -65, i32::MAX, i32::MIN] {
            let mut out = Vec::new();
            put_varint(&mut out, value);
            assert_eq!(Cursor::new(&out).varint(), Ok(value));
        }
        for value in [0, 1, -1, i64::MAX, i64::MIN, i64::from(i32::MAX) + 1] {
            let mut out = Vec::new();
            put_varlong(&mut out, value);
            assert_eq!(Cursor::new(&out).varlong(), Ok(value));
        }
    }

    #[test]
    fn overlong_varints_are_refused() {
        assert_eq!(Cursor::new(&[0xff; 16]).varint(), Err(Ended));
        assert_eq!(Cursor::new(&[0xff; 16]).varlong(), Err(Ended));
        assert_eq!(
            Cursor::new(&[0xff, 0xff, 0xff, 0xff, 0x1f]).varint(),
            Err(Ended)
        );
        assert_eq!(
            Cursor::new(&[0xff, 0xff, 0xff, 0xff, 0x0f]).varint(),
            Ok(i32::MIN)
        );
    }

    #[test]
    fn counts_are_bounded_by_what_is_left() {
        let bytes = [0, 0, 0, 2, 1, 2, 3];
        assert_eq!(Cursor::new(&bytes).count(2), Err(Ended));
        assert_eq!(Cursor::new(&bytes).count(1), Ok(2));
    }
}
