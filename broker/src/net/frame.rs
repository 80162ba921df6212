//! Reads length-prefixed frames, each into a buffer of its own size.

use bytes::{Buf, BytesMut};
use security::proxy::SIGNATURE;

use super::ConnectionState;
use super::budget::{MemoryBudget, Reserved};
use crate::runtime::tls::Inbound;
use std::rc::Rc;

/// Room for small requests that arrive together. A frame that fits needs no memory but this, which its
/// connection has anyway: it does not wait for any, so that heartbeats go on when the budget is used up.
pub(crate) const BUFFER_BYTES: usize = 16 * 1024;
/// Room for the next request after one that was so small, as those of consumers are: a connection that idles in
/// a long poll has no more.
const SMALL_BUFFER_BYTES: usize = 2 * 1024;
/// A frame larger than this gets its memory in steps, as its bytes arrive.
const STEP_BYTES: usize = 1 << 20;
/// A frame of which so much has arrived gets a buffer for all of it: memory that was never written is only
/// a promise of the kernel. Until then each step is a copy, which is cheap for so few bytes.
const WHOLE_FROM_BYTES: usize = 8 << 20;
const PREFIX_BYTES: usize = 4;
/// How a PROXY header in text begins, as a length: that of no request that is taken.
const PROXY_WORD: [u8; PREFIX_BYTES] = *b"PROX";
const _: () = assert!(u32::from_be_bytes(PROXY_WORD) as u64 > FRAME_BYTES_MAX);
/// How a binary one begins, as a length: that of a request of 209 MiB, so that what follows has to be looked at.
const PROXY_LENGTH: [u8; PREFIX_BYTES] = [SIGNATURE[0], SIGNATURE[1], SIGNATURE[2], SIGNATURE[3]];
/// Bytes of the API key, with which every request begins.
const KEY_BYTES: usize = 2;
/// Most bytes of a frame, whatever the memory: no record batch of use comes near it.
const FRAME_BYTES_MAX: u64 = 1 << 30;
/// Most bytes of a request other than Produce: names and numbers, each of which means more memory in the reply than it
/// has bytes. A group of 1,000 members with 16 KiB each has so many.
const OTHER_BYTES_MAX: u64 = 16 << 20;

/// Why no frame could be read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FrameError {
    /// The socket failed.
    #[error("read a request: {0}")]
    Io(#[from] std::io::Error),
    /// The client went away in the middle of a frame.
    #[error("read a request: the connection ended after {found} of {expected} bytes")]
    Truncated {
        /// Bytes that arrived.
        found: usize,
        /// Bytes that the prefix promised.
        expected: usize,
    },
    /// The length prefix is negative, or larger than this shard takes.
    #[error("read a request: frame of {length} bytes, between 1 and {limit} are taken")]
    Length {
        /// The prefix.
        length: i32,
        /// Most bytes of a frame.
        limit: u64,
    },
    /// It begins with a PROXY header that nobody has asked for, or from a proxy that is not trusted.
    #[error(
        "read a request: there is a PROXY header instead: set security.proxy_protocol and name the proxy in \
         security.proxy_trusted, or let the proxy send none"
    )]
    Proxy,
    /// A request that carries no records is as large as only records may be.
    #[error(
        "read a request: {length} bytes with API key {key}, {OTHER_BYTES_MAX} are taken but for Produce"
    )]
    NotProduce {
        /// The prefix.
        length: usize,
        /// The API key.
        key: i16,
    },
}

/// The receiving half of a connection.
pub(crate) struct FrameReader {
    read: Inbound,
    buffer: BytesMut,
    /// Whether the last frame was large, or the last read could have given more.
    much: bool,
    budget: Rc<MemoryBudget>,
    limit: u64,
}

impl FrameReader {
    /// Reads frames that fit the budget.
    pub(crate) fn new(read: Inbound, budget: Rc<MemoryBudget>) -> Self {
        let limit = budget.limit().min(FRAME_BYTES_MAX);
        Self {
            read,
            buffer: BytesMut::new(),
            much: false,
            budget,
            limit,
        }
    }

    /// Whether bytes of a further request are at hand.
    pub(crate) fn has_more(&self) -> bool {
        !self.buffer.is_empty()
    }

    /// Takes no frames above `limit`, or all that fit the budget.
    pub(crate) fn set_limit(&mut self, limit: Option<u64>) {
        let fits = self.budget.limit().min(FRAME_BYTES_MAX);
        self.limit = limit.map_or(fits, |limit| limit.min(fits));
    }

    /// The next frame without its prefix, and the memory reserved for it; `None` when the client has
    /// closed the connection between two frames.
    ///
    /// # Errors
    /// See [`FrameError`]; the connection cannot go on.
    pub(crate) async fn next(
        &mut self,
        state: &ConnectionState,
        now_ms: impl Fn() -> u64,
    ) -> Result<Option<(BytesMut, Reserved)>, FrameError> {
        while self.buffer.len() < PREFIX_BYTES {
            if self.fill_some(state, &now_ms).await? == 0 {
                let (found, expected) = (self.buffer.len(), PREFIX_BYTES);
                let clean = found == 0;
                return if clean {
                    Ok(None)
                } else {
                    Err(FrameError::Truncated { found, expected })
                };
            }
        }
        state.reading.begin(now_ms());
        let length = self.buffer.get_i32();
        if self.is_proxy_header(length, state, &now_ms).await? {
            return Err(FrameError::Proxy);
        }
        let expected = usize::try_from(length).unwrap_or(0);
        if expected == 0 || expected as u64 > self.limit {
            return Err(FrameError::Length {
                length,
                limit: self.limit,
            });
        }
        if expected as u64 > OTHER_BYTES_MAX {
            self.check_is_produce(expected, state, &now_ms).await?;
        }
        self.much = self.much || expected + PREFIX_BYTES > SMALL_BUFFER_BYTES;
        let mut reserved = self.budget.start();
        let mut granted = 0;
        if expected <= BUFFER_BYTES {
            reserved.take(expected as u64);
            granted = expected;
            self.buffer
                .reserve(expected.saturating_sub(self.buffer.len()));
        } else if self.buffer.len() >= expected {
            state.reading.stop();
            reserved.grow(expected as u64).await;
        }
        if self.buffer.len() < expected {
            self.fill_to(expected, granted, &mut reserved, state, &now_ms)
                .await?;
        }
        state.reading.stop();
        let frame = self.buffer.split_to(expected);
        Ok(Some((frame, reserved)))
    }

    /// Reads once, into room for small requests; gives the bytes read.
    async fn fill_some(
        &mut self,
        state: &ConnectionState,
        now_ms: &impl Fn() -> u64,
    ) -> std::io::Result<usize> {
        let room = if self.much {
            BUFFER_BYTES
        } else {
            SMALL_BUFFER_BYTES
        };
        self.buffer.reserve(room);
        if self.buffer.is_empty() && self.buffer.capacity() > 2 * BUFFER_BYTES {
            // That of a large frame, free again: a batch that came next would keep all of it.
            self.buffer = BytesMut::with_capacity(room);
        }
        if !self.buffer.is_empty() {
            state.reading.begin(now_ms());
        }
        let count = self.read.fill(&mut self.buffer, room).await?;
        self.much = count == room;
        state.progress_ms.set(now_ms());
        state.reading.moved(count, now_ms());
        Ok(count)
    }

    /// Whether a PROXY header begins with what was read as this length. The rest of the signature of a binary one is
    /// waited for as long as it may be one: as a request it would have API key 13 in version 2641, which nobody has.
    async fn is_proxy_header(
        &mut self,
        length: i32,
        state: &ConnectionState,
        now_ms: &impl Fn() -> u64,
    ) -> std::io::Result<bool> {
        let length = length.to_be_bytes();
        if length != PROXY_LENGTH {
            return Ok(length == PROXY_WORD);
        }
        let rest = &SIGNATURE[PREFIX_BYTES..];
        loop {
            let found = &self.buffer[..self.buffer.len().min(rest.len())];
            if *found != rest[..found.len()] {
                return Ok(false);
            }
            if found.len() == rest.len() || self.fill_some(state, now_ms).await? == 0 {
                return Ok(self.buffer.starts_with(rest));
            }
        }
    }

    /// Refuses a request of `expected` bytes, before it gets memory, unless it carries records.
    async fn check_is_produce(
        &mut self,
        expected: usize,
        state: &ConnectionState,
        now_ms: &impl Fn() -> u64,
    ) -> Result<(), FrameError> {
        loop {
            if let Some(key) = self.buffer.first_chunk::<KEY_BYTES>() {
                let key = i16::from_be_bytes(*key);
                return if key == wire::ApiKey::Produce.as_i16() {
                    Ok(())
                } else {
                    Err(FrameError::NotProduce {
                        length: expected,
                        key,
                    })
                };
            }
            if self.fill_some(state, now_ms).await? == 0 {
                let found = self.buffer.len();
                return Err(FrameError::Truncated { found, expected });
            }
        }
    }

    /// Reads until the buffer holds `expected` bytes, of which `granted` are reserved. A large frame moves
    /// to a buffer of its own.
    async fn fill_to(
        &mut self,
        expected: usize,
        mut granted: usize,
        reserved: &mut Reserved,
        state: &ConnectionState,
        now_ms: &impl Fn() -> u64,
    ) -> Result<(), FrameError> {
        while self.buffer.len() < expected {
            if granted < expected && self.buffer.len() >= granted {
                // Memory follows the bytes, not the prefix.
                let step = expected.min(STEP_BYTES.max(granted * 2));
                // What is waited for here is ours to give.
                state.reading.stop();
                reserved.grow((step - granted) as u64).await;
                granted = step;
            }
            if self.buffer.capacity() < granted {
                let whole = granted > WHOLE_FROM_BYTES;
                let mut larger = BytesMut::with_capacity(if whole { expected } else { granted });
                larger.extend_from_slice(&self.buffer);
                self.buffer = larger;
            }
            state.reading.begin(now_ms());
            state.progress_ms.set(now_ms());
            let most = granted - self.buffer.len();
            let count = self.read.fill(&mut self.buffer, most).await?;
            state.progress_ms.set(now_ms());
            state.reading.moved(count, now_ms());
            if count == 0 {
                return Err(FrameError::Truncated {
                    found: self.buffer.len(),
                    expected,
                });
            }
        }
        Ok(())
    }
}
