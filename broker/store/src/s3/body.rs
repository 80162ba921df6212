//! The body of a PUT on its way out: the caller's chunks, sent one by one and never joined.
//!
//! Invariant: what is sent is exactly [`Body::len`] bytes, in the order of the chunks.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

use aws_sdk_s3::primitives::{ByteStream, SdkBody};
use bytes::Bytes;
use http_body::{Frame, SizeHint};

use crate::object::Body;

/// A body as the HTTP client takes it.
struct Chunks {
    body: Body,
    next: usize,
    left: u64,
}

impl http_body::Body for Chunks {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        while let Some(chunk) = self.body.chunks().get(self.next).cloned() {
            self.next += 1;
            // An empty frame could be taken for the end of the body.
            if !chunk.is_empty() {
                self.left = self.left.saturating_sub(chunk.len() as u64);
                return Poll::Ready(Some(Ok(Frame::data(chunk))));
            }
        }
        Poll::Ready(None)
    }

    fn is_end_stream(&self) -> bool {
        self.left == 0
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left)
    }
}

/// The body as a stream for the SDK: shares the bytes.
pub(super) fn stream(body: &Body) -> ByteStream {
    let chunks = Chunks {
        body: body.clone(),
        next: 0,
        left: body.len(),
    };
    ByteStream::new(SdkBody::from_body_1_x(chunks))
}

/// Cuts a body into parts of `part_bytes` (the last may be shorter): shares the bytes.
pub(super) fn parts(body: &Body, part_bytes: u64) -> Vec<Body> {
    let part_bytes = part_bytes.max(1);
    let mut parts = Vec::new();
    let mut part: Vec<Bytes> = Vec::new();
    let mut room = part_bytes;
    for chunk in body.chunks() {
        let mut chunk = chunk.clone();
        while !chunk.is_empty() {
            let take = usize::try_from(room).map_or(chunk.len(), |room| room.min(chunk.len()));
            part.push(chunk.split_to(take));
            room -= take as u64;
            if room == 0 {
                parts.push(Body::new(std::mem::take(&mut part)));
                room = part_bytes;
            }
        }
    }
    if !part.is_empty() || parts.is_empty() {
        parts.push(Body::new(part));
    }
    parts
}

/// A CRC-32 as S3 writes it: base64 of its four bytes, most significant first.
pub(super) fn crc32_base64(crc32: u32) -> String {
    aws_smithy_types::base64::encode(crc32.to_be_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn body() -> Body {
        Body::new(vec![
            Bytes::new(),
            Bytes::from_static(b"abcde"),
            Bytes::from_static(b"f"),
            Bytes::new(),
            Bytes::from_static(b"ghijklm"),
            Bytes::new(),
        ])
    }

    #[test]
    fn parts_are_the_body_in_order() {
        for part_bytes in 1..=20 {
            let parts = parts(&body(), part_bytes);
            let joined: Vec<u8> = parts.iter().flat_map(|part| part.to_bytes()).collect();
            assert_eq!(joined, b"abcdefghijklm");
            let (last, full) = parts.split_last().unwrap();
            assert!(full.iter().all(|part| part.len() == part_bytes));
            assert!((1..=part_bytes).contains(&last.len()));
        }
        assert_eq!(super::parts(&Body::default(), 5).len(), 1);
    }

    #[test]
    fn a_stream_tells_its_length_and_sends_it() {
        let mut stream = stream(&body());
        assert_eq!(stream.size_hint(), (13, Some(13)));
        let runtime = tokio::runtime::Builder::new_current_thread()
            .build()
            .unwrap();
        let sent = runtime.block_on(async {
            let mut sent = Vec::new();
            while let Some(chunk) = stream.next().await {
                sent.extend_from_slice(&chunk.unwrap());
            }
            sent
        });
        assert_eq!(sent, b"abcdefghijklm");
    }

    #[test]
    fn checksums_are_written_as_s3_does() {
        // CRC-32 of "123456789" is cbf43926, the usual check value.
        let body = Body::from(b"123456789".to_vec());
        assert_eq!(crc32_base64(body.compute_crc32()), "y/Q5Jg==");
    }
}
