//! Frames of real clients, as `scripts/fuzz-corpus` recorded them: `testdata/recorded/{client}.frames`.
//!
//! A file is a run of entries: direction (`u8`: 0 request, 1 response), API key and version (`i16`), length
//! (`u32`), the frame without its own length. All numbers are big-endian.

use std::path::PathBuf;

/// One frame of a client or of the broker's answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    /// Whether it is an answer.
    pub is_response: bool,
    /// API key of the request.
    pub key: i16,
    /// Version of the request.
    pub version: i16,
    /// The frame, without its length.
    pub bytes: Vec<u8>,
}

/// Where inputs lie that are kept with the sources.
pub fn testdata() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("testdata")
}

/// All frames that were recorded, in order of client.
pub fn frames() -> Vec<Frame> {
    let files = crate::driver::inputs(&testdata().join("recorded")).unwrap_or_default();
    files.iter().flat_map(|file| read(file)).collect()
}

/// The frames of a file, as far as it is whole.
fn read(mut file: &[u8]) -> Vec<Frame> {
    let mut frames = Vec::new();
    while let Some((head, rest)) = file.split_first_chunk::<9>() {
        let length = u32::from_be_bytes([head[5], head[6], head[7], head[8]]) as usize;
        let Some((bytes, rest)) = rest.split_at_checked(length) else {
            break;
        };
        frames.push(Frame {
            is_response: head[0] == 1,
            key: i16::from_be_bytes([head[1], head[2]]),
            version: i16::from_be_bytes([head[3], head[4]]),
            bytes: bytes.to_vec(),
        });
        file = rest;
    }
    frames
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_read_as_far_as_it_is_whole() {
        let one = [&[1, 0, 18, 0, 3, 0, 0, 0, 2][..], &[7, 8]].concat();
        let cut = [&one[..], &[0, 0, 3, 0, 1, 0, 0, 0, 9, 1]].concat();
        let frame = Frame {
            is_response: true,
            key: 18,
            version: 3,
            bytes: vec![7, 8],
        };
        assert_eq!(read(&cut), [frame]);
    }
}
