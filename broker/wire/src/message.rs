//! [`Message`] and [`Request`], and the helpers that put a header and a message into one frame.

use crate::api::{ApiKey, VersionRange, request_header_version, response_header_version};
use crate::decode::{Decoder, response_budget_bytes};
use crate::encode::{Encoder, Frame};
use crate::error::{DecodeError, DecodeErrorKind, EncodeError};
use crate::field::Shape;
use crate::header::{RequestHeader, ResponseHeader};

/// A message of the protocol: the body of a request, of a response, or a blob with versions.
///
/// Decoding borrows strings, bytes and records from the frame. Encoding a value that the version
/// has no field for drops it if Kafka's schema calls it ignorable, and is an error otherwise.
pub trait Message<'a>: Sized {
    /// Name of the message in Kafka's schemas.
    const NAME: &'static str;
    /// Versions that can be decoded and encoded.
    const VERSIONS: VersionRange;
    /// First flexible version (KIP-482): compact lengths and tagged fields; `i16::MAX` for none.
    const FLEXIBLE_FROM: i16;

    /// Reads the message from where the decoder stands. Bytes behind it are left alone.
    fn decode(d: &mut Decoder<'a>, version: i16) -> Result<Self, DecodeError>;

    /// Appends the message. What an error leaves in the encoder is not a message.
    fn encode(&self, e: &mut Encoder, version: i16) -> Result<(), EncodeError>;

    /// Sets `throttle_time_ms`, where the message has that field in `version`.
    fn set_throttle_time(&mut self, version: i16, ms: i32);
}

/// The body of a request: a message with an API key and a response type.
pub trait Request<'a>: Message<'a> {
    /// The API key under which the request is sent.
    const KEY: ApiKey;
    /// The message that answers it, in the same version.
    type Response<'r>: Message<'r>;
}

/// The layout of `version`, if `M` has it.
pub(crate) fn shape_of<'a, M: Message<'a>>(version: i16) -> Option<Shape> {
    let flexible = version >= M::FLEXIBLE_FROM;
    M::VERSIONS.contains(version).then_some(Shape {
        version,
        flexible,
        nullable: false,
    })
}

/// Reads a request whose type is known from a frame (without its length prefix).
///
/// Bytes behind the message are tolerated, as in Kafka's broker, whose request parser stops at
/// the end of the schema and never looks behind it.
pub fn decode_request<'a, R: Request<'a>>(
    frame: &'a [u8],
) -> Result<(RequestHeader<'a>, R), DecodeError> {
    let mut decoder = Decoder::new(frame);
    let header = RequestHeader::decode(&mut decoder)?;
    if header.api_key != R::KEY.as_i16() {
        return Err(decoder.fail(DecodeErrorKind::UnexpectedApiKey(header.api_key)));
    }
    let request = R::decode(&mut decoder, header.api_version)?;
    Ok((header, request))
}

/// Reads the response to a request of type `R`, sent in `version`, from a frame (without its
/// length prefix). Gives the correlation id and the message.
pub fn decode_response<'q, 'a, R: Request<'q>>(
    frame: &'a [u8],
    version: i16,
) -> Result<(i32, R::Response<'a>), DecodeError> {
    let mut decoder = Decoder::with_budget(frame, response_budget_bytes(frame.len()));
    let header_version = response_header_version(R::KEY, version);
    let header = ResponseHeader::decode(&mut decoder, header_version)?;
    let response = Message::decode(&mut decoder, version)?;
    Ok((header.correlation_id, response))
}

/// Encodes a request under `header`, whose key and version decide the layout.
pub fn encode_request<'a, R: Request<'a>>(
    header: &RequestHeader<'_>,
    request: &R,
) -> Result<Frame, EncodeError> {
    let mut encoder = Encoder::new();
    let header_version = request_header_version(R::KEY, header.api_version);
    header.encode(&mut encoder, header_version)?;
    request.encode(&mut encoder, header.api_version)?;
    encoder.finish()
}

/// Encodes a response to a request of `api_key` in `version`.
///
/// A request in a version that the codec does not know is answered in the lowest version that
/// the client can read; Kafka answers ApiVersions in version 0 then.
pub fn encode_response<'a, M: Message<'a>>(
    correlation_id: i32,
    api_key: ApiKey,
    version: i16,
    response: &M,
) -> Result<Frame, EncodeError> {
    let mut encoder = Encoder::new();
    let header = ResponseHeader { correlation_id };
    header.encode(&mut encoder, response_header_version(api_key, version))?;
    response.encode(&mut encoder, version)?;
    encoder.finish()
}
