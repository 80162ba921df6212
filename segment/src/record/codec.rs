//! The four codecs, with caps on what comes out: a few hostile bytes must not fill the memory.

use std::borrow::Cow;
use std::io::{Read, Write};

use crate::batch::Codec;

/// Bytes that a decoder is asked for at a time.
const STEP_BYTES: usize = 64 * 1024;
/// From so many bytes on a decoder gets room for all that may come out, if that is no more than so many.
const WHOLE_FROM_BYTES: usize = 1 << 20;
const WHOLE_BYTES_MAX: usize = 64 << 20;
/// Snappy writes at most 64 bytes for 3, so a stated length beyond this ratio is a lie.
const SNAPPY_RATIO_MAX: usize = 32;
/// Blocks that the Java client's snappy stream writes.
const XERIAL_BLOCK_BYTES: usize = 32 * 1024;
const XERIAL_MAGIC: [u8; 8] = [0x82, b'S', b'N', b'A', b'P', b'P', b'Y', 0];
const XERIAL_HEADER_BYTES: usize = 16;
const ZSTD_LEVEL: i32 = 3;
const GZIP_LEVELS: std::ops::RangeInclusive<u32> = 1..=9;
/// Largest window that we keep for a zstd frame: what the format's own tools accept (128 MiB).
const ZSTD_WINDOW_LOG_MAX: u32 = 27;

/// A codec, and how hard it tries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Compression {
    /// The codec.
    pub codec: Codec,
    /// Level on the codec's own scale, none for its default: gzip 1 to 9, zstd to 22 (negative ones are faster).
    /// What lies beyond is the default (gzip) or the nearest (zstd). Snappy has no levels, nor has our LZ4.
    pub level: Option<i32>,
}

impl From<Codec> for Compression {
    fn from(codec: Codec) -> Self {
        Self { codec, level: None }
    }
}

/// Why records cannot be (de)compressed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CodecError {
    /// The bytes are not what the codec writes.
    #[error("decompress {codec:?}: {reason}")]
    Malformed {
        /// The codec.
        codec: Codec,
        /// The decoder's words.
        reason: String,
    },
    /// More comes out than the caps allow.
    #[error("decompress {codec:?}: more than {limit} bytes from {input}")]
    TooLarge {
        /// The codec.
        codec: Codec,
        /// Bytes that may come out.
        limit: usize,
        /// Bytes that went in.
        input: usize,
    },
    /// An encoder failed.
    #[error("compress {codec:?}: {reason}")]
    Compress {
        /// The codec.
        codec: Codec,
        /// The encoder's words.
        reason: String,
    },
}

/// Caps on decompressed bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DecodeLimits {
    /// Most bytes that may come out.
    pub bytes_max: usize,
    /// Most bytes out for each byte in, beyond `ratio_free_bytes`.
    pub ratio_max: usize,
    /// Bytes that may come out whatever the ratio.
    pub ratio_free_bytes: usize,
}

impl Default for DecodeLimits {
    /// 1 GiB; 1,100 for one beyond 64 MiB (gzip cannot exceed 1,032; a zstd batch of one repeated
    /// byte may, and is readable up to 64 MiB).
    fn default() -> Self {
        Self {
            bytes_max: 1 << 30,
            ratio_max: 1_100,
            ratio_free_bytes: 64 << 20,
        }
    }
}

impl DecodeLimits {
    fn cap(&self, input: usize) -> usize {
        let by_ratio = input
            .saturating_mul(self.ratio_max)
            .max(self.ratio_free_bytes);
        self.bytes_max.min(by_ratio)
    }
}

/// Decompresses the records of a batch. Borrows where there is nothing to do.
///
/// # Errors
/// Malformed bytes, or more output than the caps allow.
pub fn decompress<'a>(
    codec: Codec,
    bytes: &'a [u8],
    limits: &DecodeLimits,
) -> Result<Cow<'a, [u8]>, CodecError> {
    let limit = limits.cap(bytes.len());
    assert!(limit <= limits.bytes_max, "the ratio raises no limit");
    let out = match codec {
        Codec::None => return Ok(Cow::Borrowed(bytes)),
        Codec::Gzip => drain(
            codec,
            flate2::read::MultiGzDecoder::new(bytes),
            bytes,
            limit,
        )?,
        Codec::Snappy => unsnap(bytes, limit)?,
        Codec::Lz4 => drain(
            codec,
            lz4_flex::frame::FrameDecoder::new(bytes),
            bytes,
            limit,
        )?,
        Codec::Zstd => {
            let mut decoder = zstd::stream::read::Decoder::with_buffer(bytes)
                .map_err(|error| malformed(codec, error))?;
            decoder
                .window_log_max(ZSTD_WINDOW_LOG_MAX)
                .map_err(|error| malformed(codec, error))?;
            drain(codec, decoder, bytes, limit)?
        }
    };
    assert!(out.len() <= limit, "no more comes out than the caps allow");
    Ok(Cow::Owned(out))
}

/// Reads to the end in steps, so that memory grows with what really comes out.
fn drain(
    codec: Codec,
    mut decoder: impl Read,
    input: &[u8],
    limit: usize,
) -> Result<Vec<u8>, CodecError> {
    let mut out = Vec::new();
    loop {
        let filled = out.len();
        if filled > limit {
            return Err(CodecError::TooLarge {
                codec,
                limit,
                input: input.len(),
            });
        }
        if out.capacity() < filled + STEP_BYTES {
            let most = limit.saturating_add(STEP_BYTES).max(filled + STEP_BYTES);
            // Twice as much, as vectors grow, but no more than the caps let come out; all of that where it is moderate and
            // much has come out already: an allocator keeps each buffer that was outgrown for a while.
            let wanted = match filled >= WHOLE_FROM_BYTES && most <= WHOLE_BYTES_MAX {
                true => most,
                false => (filled + STEP_BYTES).max(filled * 2).min(most),
            };
            out.reserve_exact(wanted - filled);
        }
        out.resize(filled + STEP_BYTES, 0);
        let room = out.get_mut(filled..).unwrap_or_default();
        let count = match decoder.read(room) {
            Ok(count) => count,
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {
                out.truncate(filled);
                continue;
            }
            Err(error) => return Err(malformed(codec, error)),
        };
        assert!(count <= STEP_BYTES, "a decoder fills no more than its room");
        out.truncate(filled + count);
        if count == 0 {
            return Ok(out);
        }
    }
}

fn malformed(codec: Codec, error: impl std::fmt::Display) -> CodecError {
    CodecError::Malformed {
        codec,
        reason: error.to_string(),
    }
}

fn unsnap(bytes: &[u8], limit: usize) -> Result<Vec<u8>, CodecError> {
    let mut out = Vec::new();
    if !bytes.starts_with(&XERIAL_MAGIC) {
        unsnap_block(bytes, bytes.len(), limit, &mut out)?;
        return Ok(out);
    }
    let truncated = || malformed(Codec::Snappy, "a block is cut off");
    let mut left = bytes;
    while !left.is_empty() {
        // Streams may be appended to each other: every magic starts a header of 16 bytes.
        if left.starts_with(&XERIAL_MAGIC) {
            left = left.get(XERIAL_HEADER_BYTES..).ok_or_else(truncated)?;
            continue;
        }
        let (len, rest) = left.split_first_chunk::<4>().ok_or_else(truncated)?;
        let len = usize::try_from(i32::from_be_bytes(*len)).map_err(|_| truncated())?;
        let (block, rest) = rest.split_at_checked(len).ok_or_else(truncated)?;
        unsnap_block(block, bytes.len(), limit, &mut out)?;
        left = rest;
    }
    Ok(out)
}

fn unsnap_block(
    block: &[u8],
    input: usize,
    limit: usize,
    out: &mut Vec<u8>,
) -> Result<(), CodecError> {
    let codec = Codec::Snappy;
    let stated = snap::raw::decompress_len(block).map_err(|error| malformed(codec, error))?;
    // Checked before memory is reserved: the length is the sender's word.
    if stated > block.len().saturating_mul(SNAPPY_RATIO_MAX) {
        return Err(malformed(codec, "the stated length is impossible"));
    }
    let filled = out.len();
    let end = filled.checked_add(stated).filter(|&end| end <= limit);
    let end = end.ok_or(CodecError::TooLarge {
        codec,
        limit,
        input,
    })?;
    out.resize(end, 0);
    let room = out.get_mut(filled..).unwrap_or_default();
    let written = snap::raw::Decoder::new()
        .decompress(block, room)
        .map_err(|error| malformed(codec, error))?;
    assert!(written <= stated, "a block fills no more than its room");
    out.truncate(filled + written);
    Ok(())
}

/// Compresses records as the Java client does: gzip, xerial snappy, LZ4 frames of independent 64
/// KiB blocks, zstd at its default level. Borrows for `Codec::None`.
///
/// # Errors
/// What the encoder reports; none is known for inputs below 2 GiB.
pub fn compress(
    compression: impl Into<Compression>,
    records: &[u8],
) -> Result<Cow<'_, [u8]>, CodecError> {
    let Compression { codec, level } = compression.into();
    let failed = |reason: String| CodecError::Compress { codec, reason };
    let out = match codec {
        Codec::None => return Ok(Cow::Borrowed(records)),
        Codec::Gzip => {
            let level = level.and_then(|level| u32::try_from(level).ok());
            let level = level.filter(|level| GZIP_LEVELS.contains(level));
            let level = level.map_or_else(flate2::Compression::default, flate2::Compression::new);
            let mut encoder = flate2::write::GzEncoder::new(Vec::new(), level);
            encoder
                .write_all(records)
                .and_then(|()| encoder.finish())
                .map_err(|error| failed(error.to_string()))?
        }
        Codec::Snappy => snap_xerial(records).map_err(|error| failed(error.to_string()))?,
        Codec::Lz4 => {
            let info = lz4_flex::frame::FrameInfo::new()
                .block_size(lz4_flex::frame::BlockSize::Max64KB)
                .block_mode(lz4_flex::frame::BlockMode::Independent);
            let mut encoder = lz4_flex::frame::FrameEncoder::with_frame_info(info, Vec::new());
            encoder
                .write_all(records)
                .map_err(|error| failed(error.to_string()))?;
            encoder
                .finish()
                .map_err(|error| failed(error.to_string()))?
        }
        Codec::Zstd => zstd::stream::encode_all(records, level.unwrap_or(ZSTD_LEVEL))
            .map_err(|error| failed(error.to_string()))?,
    };
    Ok(Cow::Owned(out))
}

fn snap_xerial(records: &[u8]) -> Result<Vec<u8>, snap::Error> {
    let mut out = XERIAL_MAGIC.to_vec();
    // Version and lowest compatible version, both 1.
    out.extend_from_slice(&[0, 0, 0, 1, 0, 0, 0, 1]);
    assert!(
        out.len() == XERIAL_HEADER_BYTES,
        "the stream's header has 16 bytes"
    );
    for block in records.chunks(XERIAL_BLOCK_BYTES) {
        let packed = snap::raw::Encoder::new().compress_vec(block)?;
        let len = u32::try_from(packed.len()).expect("a block of 32 KiB stays small");
        out.extend_from_slice(&len.to_be_bytes());
        out.extend_from_slice(&packed);
    }
    Ok(out)
}
