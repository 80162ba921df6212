//! Kafka wire protocol codec of KafScale: borrowed, versioned by declaration, bounded.
//!
//! Why it exists: a broker that faces hostile bytes needs a decoder that cannot be made to
//! panic, to copy records or to take more memory than the frame justifies. Each message is
//! declared once, in [`messages`], with the versions of each field; decoding borrows from the
//! frame, encoding passes record batches on as `Bytes`.
//!
//! Invariants: no input panics; nothing is read outside the frame; memory is paid for from a
//! budget before it is reserved ([`Decoder`]); every version in [`supported_versions`] decodes
//! what it encodes. The crate knows nothing of record batches' content, of sockets or of logs.
//!
//! ```
//! use bytes::Bytes;
//! use wire::messages::fetch::{FetchResponse, FetchableTopicResponse, PartitionData};
//! use wire::messages::{FetchRequest, ProduceRequest};
//! use wire::{
//!     ApiKey, FetchResponseWriter, Records, RequestHeader, decode_request, decode_response,
//!     encode_request,
//! };
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! // A client sends a request; `parts` is what a vectored write takes, prefix included.
//! let header = RequestHeader {
//!     api_key: ApiKey::Produce.as_i16(),
//!     api_version: 9,
//!     correlation_id: 1,
//!     client_id: Some("doc"),
//! };
//! let frame = encode_request(&header, &ProduceRequest { acks: -1, ..Default::default() })?;
//!
//! // A broker reads it from the frame without its prefix; the request borrows from it.
//! let received = frame.body();
//! let (header, request) = decode_request::<ProduceRequest>(&received)?;
//! assert_eq!((header.correlation_id, request.acks), (1, -1));
//!
//! // A broker answers a fetch with batches that it holds, without a copy.
//! let batches = [Bytes::from_static(b"batch 1"), Bytes::from_static(b"batch 2")];
//! let mut writer = FetchResponseWriter::new(2, 12, &FetchResponse::default(), 1)?;
//! writer.topic(&FetchableTopicResponse { topic: "t", ..Default::default() }, 1)?;
//! writer.partition(&PartitionData {
//!     high_watermark: 7,
//!     records: Records::Slices(&batches),
//!     ..Default::default()
//! })?;
//! let frame = writer.finish(&[])?;
//! assert_eq!(frame.parts[1].as_ptr(), batches[0].as_ptr());
//!
//! // A client reads the response to its request, of which it knows type and version.
//! let received = frame.body();
//! let (correlation_id, response) = decode_response::<FetchRequest>(&received, 12)?;
//! assert_eq!(correlation_id, 2);
//! let records = &response.responses[0].partitions[0].records;
//! assert_eq!(records.borrowed(), Some(&b"batch 1batch 2"[..]));
//! # Ok(())
//! # }
//! ```

#![forbid(unsafe_code)]
#![cfg_attr(
    not(test),
    deny(
        clippy::indexing_slicing,
        clippy::arithmetic_side_effects,
        clippy::unwrap_used
    )
)]
#![cfg_attr(
    not(test),
    deny(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::expect_used
    )
)]

mod api;
mod codes;
mod declare;
mod decode;
mod encode;
mod error;
mod fetch_writer;
mod field;
mod float64;
mod header;
mod message;
pub mod messages;
mod records;
#[cfg(test)]
mod tests;
mod uuid;

pub use api::{
    ApiKey, VersionRange, request_header_version, response_header_version, supported_versions,
};
pub use codes::ErrorCode;
pub use decode::{
    Decoder, REQUEST_ELEMENTS_MAX, UNKNOWN_TAGS_MAX, request_budget_bytes, response_budget_bytes,
};
pub use encode::{Encoder, Frame, LENGTH_PREFIX_BYTES};
pub use error::{DecodeError, DecodeErrorKind, EncodeError};
pub use fetch_writer::FetchResponseWriter;
pub use float64::Float64;
pub use header::{RequestHeader, ResponseHeader};
pub use message::{
    Message, Request, decode_request, decode_response, encode_request, encode_response,
};
pub use records::{Records, range_in};
pub use uuid::Uuid;
