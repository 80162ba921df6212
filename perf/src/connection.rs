//! A blocking connection to a broker: frames, version negotiation, one request at a time.
//!
//! [`Connection::split`] gives the halves to those who keep several requests in flight.

use std::io::{self, ErrorKind, IoSlice, Read, Write};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use bytes::Bytes;
use client::Stream;
use wire::messages::api_versions::ApiVersionsRequest;
use wire::{ApiKey, ErrorCode, Request, RequestHeader, decode_response, supported_versions};

/// Name under which the meter speaks to brokers.
pub const CLIENT_ID: &str = "kafscale-perf";
/// Where the correlation id lies in a request: behind the length, the key and the version.
const CORRELATION_ID_AT: usize = 8;
/// A frame larger than this is taken for damage.
const FRAME_BYTES_MAX: usize = 1 << 30;
/// First size of a receive buffer; it grows to the largest frame seen.
const BUFFER_BYTES: usize = 256 * 1024;
/// A request without an answer for so long has failed.
pub const REPLY_TIMEOUT: Duration = Duration::from_secs(30);
/// How often a blocked receiver looks whether it should stop.
const POLL_INTERVAL: Duration = Duration::from_millis(200);

/// The versions that a broker serves: key, lowest, highest.
#[derive(Debug, Clone, Default)]
pub struct Versions(Vec<(i16, i16, i16)>);

impl Versions {
    /// The highest version of `api` that both sides know.
    ///
    /// # Errors
    /// There is none.
    pub fn pick(&self, api: ApiKey) -> Result<i16> {
        self.pick_at_most(api, i16::MAX)
    }

    /// As [`Versions::pick`], but not above `cap`.
    ///
    /// # Errors
    /// There is none.
    pub fn pick_at_most(&self, api: ApiKey, cap: i16) -> Result<i16> {
        let ours = supported_versions(api);
        let theirs = self.0.iter().find(|(key, ..)| *key == api.as_i16());
        let (_, min, max) = theirs.with_context(|| format!("the broker does not serve {api}"))?;
        let version = ours.max.min(*max).min(cap);
        let lowest = ours.min.max(*min);
        ensure!(
            version >= lowest,
            "no common version of {api}: the broker has {min} to {max}"
        );
        Ok(version)
    }
}

/// Reads length-prefixed frames from a socket into one buffer that is kept.
#[derive(Debug)]
pub struct FrameReader {
    stream: Stream,
    buffer: Vec<u8>,
    begin: usize,
    end: usize,
}

impl FrameReader {
    /// Reads from `stream`, whose receive timeout becomes the interval at which `wait` polls.
    ///
    /// # Errors
    /// The socket refuses its options.
    pub fn new(stream: Stream) -> io::Result<Self> {
        stream.set_read_timeout(Some(POLL_INTERVAL))?;
        Ok(Self {
            stream,
            buffer: vec![0; BUFFER_BYTES],
            begin: 0,
            end: 0,
        })
    }

    /// The next frame without its length prefix.
    ///
    /// # Errors
    /// The connection ended or failed, or nothing came for [`REPLY_TIMEOUT`].
    pub fn next_frame(&mut self) -> io::Result<&[u8]> {
        let started = Instant::now();
        let frame = self.next_unless(|| started.elapsed() > REPLY_TIMEOUT)?;
        frame.ok_or_else(|| io::Error::new(ErrorKind::TimedOut, "no reply within 30 s"))
    }

    /// As [`FrameReader::next_frame`], but gives `None` once `stop` says so while nothing comes.
    ///
    /// # Errors
    /// The connection ended or failed.
    pub fn next_unless(&mut self, stop: impl Fn() -> bool) -> io::Result<Option<&[u8]>> {
        let needed = loop {
            let held = self.end - self.begin;
            let needed = if held < 4 { 4 } else { self.frame_bytes()? };
            if held >= needed {
                break needed;
            }
            self.make_room(needed);
            match self.stream.read(&mut self.buffer[self.end..]) {
                Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
                Ok(count) => self.end += count,
                Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                    if stop() {
                        return Ok(None);
                    }
                }
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Err(e) => return Err(e),
            }
        };
        let frame = self.begin + 4..self.begin + needed;
        self.begin += needed;
        Ok(Some(&self.buffer[frame]))
    }

    /// Bytes of the frame at the front, with its prefix.
    fn frame_bytes(&self) -> io::Result<usize> {
        let prefix = self.buffer[self.begin..].first_chunk::<4>();
        let length = prefix.map_or(0, |bytes| i32::from_be_bytes(*bytes));
        let length = usize::try_from(length).unwrap_or(0);
        if length == 0 || length > FRAME_BYTES_MAX {
            let message = format!("a frame of {length} bytes");
            return Err(io::Error::new(ErrorKind::InvalidData, message));
        }
        Ok(length + 4)
    }

    fn make_room(&mut self, needed: usize) {
        if self.begin == self.end {
            (self.begin, self.end) = (0, 0);
        }
        if self.begin + needed > self.buffer.len() || self.end == self.buffer.len() {
            self.buffer.copy_within(self.begin..self.end, 0);
            (self.begin, self.end) = (0, self.end - self.begin);
        }
        if needed > self.buffer.len() {
            self.buffer.resize(needed.next_power_of_two(), 0);
        }
    }
}

/// An encoded request that is sent many times: only its correlation id changes.
#[derive(Debug, Clone)]
pub struct Template {
    head: Vec<u8>,
    rest: Vec<Bytes>,
    len: usize,
}

impl Template {
    /// Encodes `request` in `version`.
    ///
    /// # Errors
    /// The version cannot carry the request.
    pub fn new<'a, R: Request<'a>>(version: i16, request: &R) -> Result<Self> {
        let header = RequestHeader {
            api_key: R::KEY.as_i16(),
            api_version: version,
            correlation_id: 0,
            client_id: Some(CLIENT_ID),
        };
        let frame = wire::encode_request(&header, request)?;
        let len = frame.len;
        let mut parts = frame.parts.into_iter();
        let head = parts.next().context("an encoded frame has a part")?;
        Ok(Self {
            head: head.to_vec(),
            rest: parts.collect(),
            len,
        })
    }

    /// Bytes of the frame.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether the frame is empty: never.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The parts of the frame under `correlation_id`.
    pub fn into_parts(mut self, correlation_id: i32) -> Vec<Bytes> {
        let place = CORRELATION_ID_AT..CORRELATION_ID_AT + 4;
        self.head[place].copy_from_slice(&correlation_id.to_be_bytes());
        let mut parts = vec![Bytes::from(self.head)];
        parts.extend(self.rest);
        parts
    }

    /// Sends the request under `correlation_id`.
    ///
    /// # Errors
    /// The socket fails.
    pub fn send(&mut self, stream: &mut Stream, correlation_id: i32) -> io::Result<()> {
        let place = CORRELATION_ID_AT..CORRELATION_ID_AT + 4;
        self.head[place].copy_from_slice(&correlation_id.to_be_bytes());
        if self.rest.is_empty() {
            return stream.write_all(&self.head);
        }
        let mut slices = Vec::with_capacity(self.rest.len() + 1);
        slices.push(IoSlice::new(&self.head));
        slices.extend(self.rest.iter().map(|part| IoSlice::new(part)));
        write_all_vectored(stream, &mut slices)
    }
}

/// Writes all of `slices` with as few calls as the socket allows.
///
/// # Errors
/// The socket fails.
pub fn write_all_vectored(stream: &mut Stream, mut slices: &mut [IoSlice<'_>]) -> io::Result<()> {
    while !slices.is_empty() {
        match stream.write_vectored(slices) {
            Ok(0) => return Err(ErrorKind::WriteZero.into()),
            Ok(count) => IoSlice::advance_slices(&mut slices, count),
            Err(e) if e.kind() == ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
    Ok(())
}

/// A connection with one request in flight.
#[derive(Debug)]
pub struct Connection {
    stream: Stream,
    reader: FrameReader,
    versions: Versions,
    correlation_id: i32,
}

impl Connection {
    /// Asks which versions the broker at the other end serves; nothing is in flight.
    ///
    /// # Errors
    /// The socket refuses its options, or the answer makes no sense.
    pub fn over(stream: Stream) -> Result<Self> {
        stream.set_write_timeout(Some(REPLY_TIMEOUT))?;
        let mut connection = Self {
            reader: FrameReader::new(stream.try_clone()?)?,
            stream,
            versions: Versions::default(),
            correlation_id: 0,
        };
        connection.negotiate()?;
        Ok(connection)
    }

    fn negotiate(&mut self) -> Result<()> {
        // Brokers that know only version 0 answer a newer request in version 0, so a reply that
        // cannot be read, or UNSUPPORTED_VERSION, means: ask again in version 0 (KIP-511).
        for version in [3, 0] {
            let request = ApiVersionsRequest {
                client_software_name: CLIENT_ID,
                client_software_version: env!("CARGO_PKG_VERSION"),
                ..ApiVersionsRequest::default()
            };
            let mut template = Template::new(version, &request)?;
            let frame = self.round_trip(&mut template)?;
            let reply = decode_response::<ApiVersionsRequest<'_>>(frame, version);
            let Ok((_, reply)) = reply else { continue };
            if reply.error_code == ErrorCode::NONE {
                let rows = reply.api_keys.iter();
                let rows = rows.map(|row| (row.api_key, row.min_version, row.max_version));
                self.versions = Versions(rows.collect());
                return Ok(());
            }
        }
        bail!("ApiVersions was not answered in a way that can be read")
    }

    fn round_trip(&mut self, template: &mut Template) -> Result<&[u8]> {
        self.send(template)?;
        self.receive()
    }

    /// Sends a request that is ready to go; [`Connection::receive`] waits for its reply.
    ///
    /// # Errors
    /// The socket fails.
    pub fn send(&mut self, template: &mut Template) -> io::Result<()> {
        self.correlation_id = self.correlation_id.wrapping_add(1);
        template.send(&mut self.stream, self.correlation_id)
    }

    /// Waits for the reply to the request that was sent last.
    ///
    /// # Errors
    /// The connection fails, or the reply is one to another request.
    pub fn receive(&mut self) -> Result<&[u8]> {
        let frame = self.reader.next_frame()?;
        let answered = frame
            .first_chunk::<4>()
            .map(|bytes| i32::from_be_bytes(*bytes));
        ensure!(
            answered == Some(self.correlation_id),
            "a reply to another request"
        );
        Ok(frame)
    }

    /// The versions that the broker serves.
    pub fn versions(&self) -> &Versions {
        &self.versions
    }

    /// Sends `request` in the highest common version and waits for the reply.
    ///
    /// # Errors
    /// No common version, or the connection fails, or the reply cannot be decoded.
    pub fn call<'a, R: Request<'a>>(&mut self, request: &R) -> Result<R::Response<'_>> {
        let version = self.versions.pick(R::KEY)?;
        self.call_in(version, request)
    }

    /// As [`Connection::call`], in the version given.
    ///
    /// # Errors
    /// The connection fails, or the reply cannot be decoded.
    pub fn call_in<'a, R: Request<'a>>(
        &mut self,
        version: i16,
        request: &R,
    ) -> Result<R::Response<'_>> {
        let name = R::KEY.name();
        let mut template = Template::new(version, request)?;
        let frame = self
            .round_trip(&mut template)
            .with_context(|| format!("call {name}"))?;
        let (_, response) = decode_response::<R>(frame, version)
            .with_context(|| format!("decode the reply to {name} v{version}"))?;
        Ok(response)
    }

    /// As [`Connection::call_in`], with a request that is ready to go: gives the frame of the
    /// reply, when the request was sent and when the reply was complete.
    ///
    /// # Errors
    /// The connection fails.
    pub fn timed(&mut self, template: &mut Template) -> Result<(&[u8], Instant, Instant)> {
        let sent = Instant::now();
        let frame = self.round_trip(template)?;
        Ok((frame, sent, Instant::now()))
    }

    /// The sending and the receiving half.
    pub fn split(self) -> (Stream, FrameReader) {
        (self.stream, self.reader)
    }

    /// The bytes, with nothing in flight.
    ///
    /// # Errors
    /// Something is in flight.
    pub fn into_stream(self) -> Result<Stream> {
        // What TLS has read ahead is in the reader's.
        let FrameReader {
            stream, begin, end, ..
        } = self.reader;
        ensure!(begin == end, "more than the reply came");
        Ok(stream)
    }
}
