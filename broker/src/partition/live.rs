//! Buffers that are counted as long as anyone refers to any part of them.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;

/// How many bytes of buffers are alive. One writer a buffer, on any thread.
#[derive(Debug, Default)]
pub struct Live(AtomicU64);

/// The place of a buffer in [`Live`], from before it is filled until its last reference goes.
#[derive(Debug)]
pub struct Room {
    live: Arc<Live>,
    bytes: u64,
}

impl Live {
    /// Bytes alive now.
    pub fn bytes(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    /// Counts a buffer of so many bytes that is to be filled.
    pub fn room(live: &Arc<Self>, bytes: u64) -> Room {
        live.0.fetch_add(bytes, Ordering::Relaxed);
        Room {
            live: live.clone(),
            bytes,
        }
    }
}

impl Room {
    /// The buffer that was filled: counted until its last reference goes.
    pub fn hold(self, bytes: Bytes) -> Bytes {
        assert!(
            bytes.len() as u64 <= self.bytes,
            "a buffer is no larger than the room that was made for it"
        );
        Bytes::from_owner(Held { bytes, _room: self })
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        let before = self.live.0.fetch_sub(self.bytes, Ordering::Relaxed);
        assert!(before >= self.bytes, "a buffer was counted before it goes");
    }
}

struct Held {
    bytes: Bytes,
    _room: Room,
}

impl AsRef<[u8]> for Held {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_buffer_counts_until_its_last_slice_goes() {
        let live = Arc::new(Live::default());
        let room = Live::room(&live, 10);
        assert_eq!(live.bytes(), 10, "before it is filled");
        let bytes = room.hold(Bytes::from(vec![7; 10]));
        let slice = bytes.slice(2..3);
        drop(bytes);
        assert_eq!(live.bytes(), 10);
        assert_eq!(slice[0], 7);
        drop(slice);
        assert_eq!(live.bytes(), 0);
        drop(Live::room(&live, 4));
        assert_eq!(live.bytes(), 0, "never filled");
    }
}
