//! Vectored writes of reference-counted bytes, without a copy.

use bytes::{Buf, Bytes};
use monoio::buf::IoVecBuf;

/// Slices of one write: Linux takes at most 1,024 (`UIO_MAXIOV`).
pub(super) const SLICES_MAX: usize = 1024;

/// Bytes to write, in order. Owns them while the kernel reads them.
#[derive(Debug)]
pub struct WriteFrame {
    parts: Vec<Bytes>,
    /// First part that is not wholly written.
    next: usize,
    iovecs: Vec<libc::iovec>,
}

impl WriteFrame {
    /// A frame of these parts.
    pub fn new(parts: Vec<Bytes>) -> Self {
        let mut frame = Self {
            iovecs: Vec::with_capacity(parts.len().min(SLICES_MAX)),
            parts,
            next: 0,
        };
        frame.advance(0);
        frame
    }

    /// Whether everything is written.
    pub fn is_empty(&self) -> bool {
        self.next == self.parts.len()
    }

    /// What is not written yet, for a simulated socket.
    #[cfg(feature = "simulation")]
    pub(super) fn take(&mut self) -> Vec<Bytes> {
        let rest = self.parts.split_off(self.next.min(self.parts.len()));
        self.parts.clear();
        self.next = 0;
        self.iovecs.clear();
        rest
    }

    /// Takes off `written` bytes and lays out the next write.
    pub(super) fn advance(&mut self, mut written: usize) {
        while let Some(part) = self.parts.get_mut(self.next) {
            let step = written.min(part.len());
            part.advance(step);
            written -= step;
            if !part.is_empty() {
                break;
            }
            *part = Bytes::new();
            self.next += 1;
        }
        assert!(written == 0, "the kernel wrote no more than it was given");
        self.iovecs.clear();
        let parts = self.parts[self.next..]
            .iter()
            .filter(|part| !part.is_empty());
        self.iovecs
            .extend(parts.take(SLICES_MAX).map(|part| libc::iovec {
                iov_base: part.as_ptr().cast_mut().cast(),
                iov_len: part.len(),
            }));
    }
}

#[expect(
    unsafe_code,
    reason = "the kernel reads the slices through raw pointers"
)]
// SAFETY: the iovecs point into `parts`, which own their bytes and are not touched while the runtime owns
// the frame (`advance` takes `&mut self`). The vector of iovecs is on the heap and is not moved either.
unsafe impl IoVecBuf for WriteFrame {
    fn read_iovec_ptr(&self) -> *const libc::iovec {
        self.iovecs.as_ptr()
    }

    fn read_iovec_len(&self) -> usize {
        self.iovecs.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pending(frame: &WriteFrame) -> usize {
        frame.iovecs.iter().map(|iovec| iovec.iov_len).sum()
    }

    #[test]
    fn a_partial_write_goes_on_inside_a_part() {
        let parts = vec![
            Bytes::from_static(b"abc"),
            Bytes::new(),
            Bytes::from_static(b"defg"),
        ];
        let mut frame = WriteFrame::new(parts);
        assert_eq!(pending(&frame), 7);
        frame.advance(4);
        assert_eq!(pending(&frame), 3);
        assert!(!frame.is_empty());
        frame.advance(3);
        assert!(frame.is_empty());
    }

    #[test]
    fn a_write_has_at_most_the_slices_that_the_kernel_takes() {
        let mut frame = WriteFrame::new(vec![Bytes::from_static(b"x"); 3000]);
        assert_eq!(frame.iovecs.len(), SLICES_MAX);
        frame.advance(SLICES_MAX);
        assert_eq!(pending(&frame), SLICES_MAX);
    }
}
