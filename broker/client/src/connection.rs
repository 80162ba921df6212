//! One connection to one broker: frames out, frames in, versions agreed on.

use std::io::{IoSlice, Read, Write};
use std::marker::PhantomData;
use std::net::{Shutdown, TcpStream, ToSocketAddrs};
use std::time::{Duration, Instant};

use bytes::Bytes;
use wire::messages::api_versions::ApiVersion;
use wire::messages::{ApiVersionsRequest, ApiVersionsResponse};
use wire::{ApiKey, ErrorCode, Frame, Request, RequestHeader, VersionRange};

use crate::error::ClientError;
use crate::settings::ClientSettings;
use crate::stream::{ClientTls, Stream};

/// Most parts of a frame that one system call gets.
const SLICES_MAX: usize = 64;
/// Bytes reserved for an answer before its bytes have arrived.
const RESERVE_BYTES_MAX: usize = 64 << 20;
/// Version in which the first request goes out; a broker that does not know it says which it knows.
const API_VERSIONS_FIRST: i16 = 3;

/// The versions that a broker serves.
#[derive(Debug, Clone, Default)]
pub(crate) struct Versions(Vec<ApiVersion>);

impl Versions {
    /// The highest version of `api`, at most `max`, that both sides know.
    pub(crate) fn pick(&self, api: ApiKey, max: i16) -> Option<i16> {
        let theirs = self
            .0
            .iter()
            .find(|served| served.api_key == api.as_i16())?;
        let VersionRange { min, max: ours } = wire::supported_versions(api);
        let version = ours.min(max).min(theirs.max_version).min(by_name_max(api));
        (version >= min.max(theirs.min_version)).then_some(version)
    }
}

/// Last version of `api` that names topics by name, as our requests of these do.
const fn by_name_max(api: ApiKey) -> i16 {
    match api {
        ApiKey::OffsetCommit | ApiKey::OffsetFetch => 9,
        _ => i16::MAX,
    }
}

/// The answer to a request of type `R`, not decoded yet.
#[derive(Debug)]
pub struct Reply<R> {
    frame: Bytes,
    version: i16,
    address: String,
    request: PhantomData<fn(R)>,
}

impl<R> Reply<R> {
    /// Decodes the answer; it borrows from the reply.
    ///
    /// # Errors
    /// An answer that is not one of this type and version.
    pub fn decode<'q, 'a>(&'a self) -> Result<R::Response<'a>, ClientError>
    where
        R: Request<'q>,
    {
        wire::decode_response::<R>(&self.frame, self.version)
            .map(|(_, response)| response)
            .map_err(|error| ClientError::decode(&self.address, &error))
    }
}

/// A connection that is used for one request at a time.
#[derive(Debug)]
pub struct Connection {
    stream: Stream,
    address: String,
    client_id: String,
    versions: Versions,
    correlation_id: i32,
    timeout: Duration,
}

impl Connection {
    /// Connects to `address` (`host:port`) and agrees on versions.
    ///
    /// # Errors
    /// Nothing listens there, or what listens is not a Kafka broker.
    pub fn open(address: &str, settings: &ClientSettings) -> Result<Self, ClientError> {
        let tcp = connect(address, settings.connect_timeout)?;
        let stream = match &settings.tls {
            None => Stream::plain(tcp),
            Some(tls) => secure(tcp, address, tls, settings.connect_timeout)?,
        };
        let mut connection = Self {
            stream,
            address: address.to_owned(),
            client_id: settings.client_id.clone(),
            versions: Versions::default(),
            correlation_id: 0,
            timeout: settings.request_timeout,
        };
        connection.agree()?;
        if let Some(as_whom) = &settings.sasl {
            connection.authenticate(as_whom)?;
        }
        Ok(connection)
    }

    /// Where the connection leads.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// Sends a request in the highest version that both sides know and waits for its answer.
    ///
    /// # Errors
    /// The connection broke, the time is over, or no version is common.
    pub fn call<'q, R: Request<'q>>(&mut self, request: &R) -> Result<Reply<R>, ClientError> {
        self.call_within(request, i16::MAX, self.timeout)
    }

    /// As [`Connection::call`], in version `max` at most, waiting for `timeout`.
    ///
    /// # Errors
    /// As [`Connection::call`].
    pub fn call_within<'q, R: Request<'q>>(
        &mut self,
        request: &R,
        max: i16,
        timeout: Duration,
    ) -> Result<Reply<R>, ClientError> {
        let version = self.version(R::KEY, max)?;
        self.exchange(request, version, timeout)
    }

    /// The highest version of `api`, at most `max`, that both sides know.
    pub(crate) fn version(&self, api: ApiKey, max: i16) -> Result<i16, ClientError> {
        let not_served = || ClientError::NotServed {
            address: self.address.clone(),
            api: api.name(),
        };
        self.versions.pick(api, max).ok_or_else(not_served)
    }

    fn exchange<'q, R: Request<'q>>(
        &mut self,
        request: &R,
        version: i16,
        timeout: Duration,
    ) -> Result<Reply<R>, ClientError> {
        self.correlation_id = self.correlation_id.wrapping_add(1);
        let frame = encode(request, version, self.correlation_id, &self.client_id)?;
        let deadline = Instant::now() + timeout;
        let address = self.address.clone();
        let failed = |error: std::io::Error| failure(R::KEY.name(), &address, timeout, &error);
        limit(&self.stream, deadline).map_err(failed)?;
        write_frame(&mut self.stream, &frame).map_err(failed)?;
        let frame = read_frame(&mut Limited {
            stream: &mut self.stream,
            deadline,
        })
        .map_err(failed)?;
        check_correlation(&frame, self.correlation_id, &self.address)?;
        Ok(Reply {
            frame,
            version,
            address,
            request: PhantomData,
        })
    }

    /// Asks for the versions that the broker serves. One that does not know our version of the
    /// question answers in version 0 (KIP-511), and is asked again in the version that it names.
    fn agree(&mut self) -> Result<(), ClientError> {
        let mut version = API_VERSIONS_FIRST;
        loop {
            let request = ApiVersionsRequest {
                client_software_name: "kafscale",
                client_software_version: env!("CARGO_PKG_VERSION"),
                ..ApiVersionsRequest::default()
            };
            let mut reply = self.exchange(&request, version, self.timeout)?;
            if refused_version(&reply.frame) {
                reply.version = 0;
            }
            let response: ApiVersionsResponse<'_> = reply.decode()?;
            if response.error_code.is_none() {
                self.versions = Versions(response.api_keys.clone());
                return Ok(());
            }
            let known = Versions(response.api_keys.clone());
            let lower = known.pick(ApiKey::ApiVersions, version.saturating_sub(1));
            match (response.error_code, lower) {
                (ErrorCode::UNSUPPORTED_VERSION, Some(lower)) => version = lower,
                (ErrorCode::UNSUPPORTED_VERSION, None) if version > 0 => version = 0,
                (code, _) => return ClientError::check(|| "ApiVersions".to_owned(), code, None),
            }
        }
    }

    /// A handle that closes the connection from another thread.
    ///
    /// # Errors
    /// The system gives no second descriptor.
    pub fn closer(&self) -> std::io::Result<Closer> {
        self.stream.socket().map(Closer)
    }

    /// The bytes of the connection, for who speaks the protocol without this client. Nothing is in flight.
    pub fn into_stream(self) -> Stream {
        self.stream
    }

    /// Takes the connection apart for use by two threads.
    pub(crate) fn into_parts(self) -> (Stream, String, String, Versions) {
        (self.stream, self.address, self.client_id, self.versions)
    }
}

/// Closes a [`Connection`] that another thread uses: what waits there fails at once.
#[derive(Debug)]
pub struct Closer(TcpStream);

impl Closer {
    /// Closes the connection in both directions.
    pub fn close(&self) {
        // The peer may have closed it already.
        let _ = self.0.shutdown(Shutdown::Both);
    }
}

/// Whether an ApiVersions answer starts with the code for an unknown version: it is in version 0
/// then, whatever was asked.
fn refused_version(frame: &[u8]) -> bool {
    frame.get(4..6)
        == Some(
            ErrorCode::UNSUPPORTED_VERSION
                .as_i16()
                .to_be_bytes()
                .as_slice(),
        )
}

/// Encodes a request under its header.
pub(crate) fn encode<'q, R: Request<'q>>(
    request: &R,
    version: i16,
    correlation_id: i32,
    client_id: &str,
) -> Result<Frame, ClientError> {
    let header = RequestHeader {
        api_key: R::KEY.as_i16(),
        api_version: version,
        correlation_id,
        client_id: Some(client_id),
    };
    Ok(wire::encode_request(&header, request)?)
}

fn check_correlation(frame: &[u8], expected: i32, address: &str) -> Result<(), ClientError> {
    if correlation_id(frame) == Some(expected) {
        return Ok(());
    }
    let reason = format!("it answered another request than number {expected}");
    Err(ClientError::Protocol {
        address: address.to_owned(),
        reason,
    })
}

/// The correlation id of a response frame.
pub(crate) fn correlation_id(frame: &[u8]) -> Option<i32> {
    frame
        .first_chunk::<4>()
        .map(|bytes| i32::from_be_bytes(*bytes))
}

fn connect(address: &str, timeout: Duration) -> Result<TcpStream, ClientError> {
    let unreachable = |cause: String| ClientError::Unreachable {
        addresses: address.to_owned(),
        cause,
    };
    let candidates = address
        .to_socket_addrs()
        .map_err(|error| unreachable(error.to_string()))?;
    let mut cause = "the name has no address".to_owned();
    for candidate in candidates {
        match TcpStream::connect_timeout(&candidate, timeout) {
            Ok(stream) => {
                stream
                    .set_nodelay(true)
                    .map_err(|error| unreachable(error.to_string()))?;
                return Ok(stream);
            }
            Err(error) => cause = plain(&error),
        }
    }
    Err(unreachable(cause))
}

/// Sets up TLS on a connection.
fn secure(
    tcp: TcpStream,
    address: &str,
    tls: &ClientTls,
    timeout: Duration,
) -> Result<Stream, ClientError> {
    let limited = tcp.set_read_timeout(Some(timeout)).and_then(|()| {
        tcp.set_write_timeout(Some(timeout))?;
        Stream::tls(tcp, address, tls)
    });
    limited.map_err(|error| ClientError::Tls {
        address: address.to_owned(),
        cause: plain(&error),
    })
}

/// The error without the system's number.
fn plain(error: &std::io::Error) -> String {
    let text = error.to_string();
    match text.split_once(" (os error") {
        Some((words, _)) => words.to_lowercase(),
        None => text,
    }
}

fn failure(
    api: &'static str,
    address: &str,
    after: Duration,
    error: &std::io::Error,
) -> ClientError {
    use std::io::ErrorKind::{InvalidData, TimedOut, WouldBlock};
    let address = address.to_owned();
    match error.kind() {
        TimedOut | WouldBlock => ClientError::TimedOut {
            operation: format!("{api} at {address}"),
            after,
            last: None,
        },
        InvalidData => ClientError::Protocol {
            address,
            reason: error.to_string(),
        },
        _ => ClientError::Broken {
            address,
            cause: plain(error),
        },
    }
}

/// Gives the stream the time that is left until `deadline`.
fn limit(stream: &Stream, deadline: Instant) -> std::io::Result<()> {
    let left = deadline.saturating_duration_since(Instant::now());
    if left.is_zero() {
        return Err(std::io::ErrorKind::TimedOut.into());
    }
    stream.set_read_timeout(Some(left))?;
    stream.set_write_timeout(Some(left))
}

/// A stream whose reads end at a deadline, however the bytes trickle in.
struct Limited<'a> {
    stream: &'a mut Stream,
    deadline: Instant,
}

impl Read for Limited<'_> {
    fn read(&mut self, into: &mut [u8]) -> std::io::Result<usize> {
        limit(self.stream, self.deadline)?;
        self.stream.read(into)
    }
}

/// Writes a frame, its parts as they are.
pub(crate) fn write_frame(stream: &mut impl Write, frame: &Frame) -> std::io::Result<()> {
    for parts in frame.parts.chunks(SLICES_MAX) {
        let mut slices: Vec<IoSlice<'_>> = parts.iter().map(|part| IoSlice::new(part)).collect();
        let mut left = slices.as_mut_slice();
        while !left.is_empty() {
            match stream.write_vectored(left) {
                Ok(0) => return Err(std::io::ErrorKind::WriteZero.into()),
                Ok(count) => IoSlice::advance_slices(&mut left, count),
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => (),
                Err(error) => return Err(error),
            }
            // What is left may be empty parts, for which no write ever returns more than 0.
            while left.first().is_some_and(|part| part.is_empty()) {
                left = &mut left[1..];
            }
        }
    }
    Ok(())
}

/// Reads a frame, without its length prefix.
pub(crate) fn read_frame(stream: &mut impl Read) -> std::io::Result<Bytes> {
    let mut prefix = [0; wire::LENGTH_PREFIX_BYTES];
    stream.read_exact(&mut prefix).map_err(closed)?;
    let length = usize::try_from(i32::from_be_bytes(prefix)).map_err(|_| {
        std::io::Error::new(
            std::io::ErrorKind::InvalidData,
            "a frame has a negative length",
        )
    })?;
    let mut frame = Vec::with_capacity(length.min(RESERVE_BYTES_MAX));
    let read = stream.take(length as u64).read_to_end(&mut frame)?;
    if read < length {
        return Err(closed(std::io::ErrorKind::UnexpectedEof.into()));
    }
    Ok(frame.into())
}

fn closed(error: std::io::Error) -> std::io::Error {
    match error.kind() {
        std::io::ErrorKind::UnexpectedEof => {
            std::io::Error::new(error.kind(), "the broker closed it")
        }
        _ => error,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn versions(min_version: i16, max_version: i16) -> Versions {
        let api_key = ApiKey::Produce.as_i16();
        Versions(vec![ApiVersion {
            api_key,
            min_version,
            max_version,
        }])
    }

    #[test]
    fn the_highest_common_version_is_taken() {
        let ours = wire::supported_versions(ApiKey::Produce);
        assert_eq!(
            versions(0, 99).pick(ApiKey::Produce, i16::MAX),
            Some(ours.max)
        );
        assert_eq!(versions(3, 9).pick(ApiKey::Produce, i16::MAX), Some(9));
        assert_eq!(versions(3, 9).pick(ApiKey::Produce, 7), Some(7));
        assert_eq!(versions(8, 9).pick(ApiKey::Produce, 7), None);
        assert_eq!(versions(90, 99).pick(ApiKey::Produce, i16::MAX), None);
        assert_eq!(versions(0, 9).pick(ApiKey::Fetch, i16::MAX), None);
    }

    #[test]
    fn frames_survive_short_writes_and_reads() {
        struct Trickle(Vec<u8>);
        impl Write for Trickle {
            fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
                let count = bytes.len().min(3);
                self.0.extend_from_slice(&bytes[..count]);
                Ok(count)
            }
            fn flush(&mut self) -> std::io::Result<()> {
                Ok(())
            }
        }
        let parts: Vec<Bytes> = (0..200_usize)
            .map(|index| Bytes::from(vec![7; index % 5]))
            .collect();
        let body: usize = parts.iter().map(Bytes::len).sum();
        let mut frame = Frame {
            parts,
            len: body + 4,
        };
        let prefix = Bytes::copy_from_slice(&i32::try_from(body).unwrap().to_be_bytes());
        frame.parts.insert(0, prefix);
        let mut wire = Trickle(Vec::new());
        write_frame(&mut wire, &frame).unwrap();
        assert_eq!(wire.0.len(), body + 4);
        assert_eq!(read_frame(&mut wire.0.as_slice()).unwrap(), vec![7; body]);
        let cut = read_frame(&mut &wire.0[..20]).unwrap_err();
        assert_eq!(cut.to_string(), "the broker closed it");
    }
}
