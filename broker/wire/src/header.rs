//! Request and response headers (KIP-482 for the flexible ones).
//!
//! The client id is a string with an `i16` length in both header versions: a broker must be able
//! to read it before it knows whether it understands the request.

use crate::api::{ApiKey, request_header_version};
use crate::decode::Decoder;
use crate::encode::Encoder;
use crate::error::{DecodeError, DecodeErrorKind, EncodeError};

/// First request header version with tagged fields.
const REQUEST_FLEXIBLE_FROM: i16 = 2;
/// First response header version with tagged fields.
const RESPONSE_FLEXIBLE_FROM: i16 = 1;

/// The header in front of every request.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct RequestHeader<'a> {
    /// The API that is called; see [`ApiKey`].
    pub api_key: i16,
    /// Version of the request, and of its response.
    pub api_version: i16,
    /// Chosen by the client; the response carries it back.
    pub correlation_id: i32,
    /// Name that the client gives itself. Not authenticated.
    pub client_id: Option<&'a str>,
}

impl<'a> RequestHeader<'a> {
    /// Key, version and correlation id of a frame (without its length prefix), which stand at the
    /// same place in all headers, so that even an unknown request can be answered.
    pub fn peek(frame: &[u8]) -> Result<(i16, i16, i32), DecodeError> {
        let mut decoder = Decoder::new(frame);
        Ok((decoder.i16()?, decoder.i16()?, decoder.i32()?))
    }

    /// Reads the header; its own version follows from key and version. An API key that the codec
    /// does not know is an error (use [`RequestHeader::peek`]); an unknown version is not.
    pub fn decode(d: &mut Decoder<'a>) -> Result<Self, DecodeError> {
        let api_key = d.i16()?;
        let api_version = d.i16()?;
        let correlation_id = d.i32()?;
        let Ok(key) = ApiKey::try_from(api_key) else {
            return Err(d.fail(DecodeErrorKind::UnknownApiKey(api_key)));
        };
        let client_id = d.nullable_str(false)?;
        if request_header_version(key, api_version) >= REQUEST_FLEXIBLE_FROM {
            d.tagged_fields(0, |_, _| Ok(false))?;
        }
        Ok(Self {
            api_key,
            api_version,
            correlation_id,
            client_id,
        })
    }

    /// Appends the header in `header_version` (1 or 2).
    pub fn encode(&self, e: &mut Encoder, header_version: i16) -> Result<(), EncodeError> {
        e.i16(self.api_key);
        e.i16(self.api_version);
        e.i32(self.correlation_id);
        e.nullable_str(self.client_id, false)?;
        if header_version >= REQUEST_FLEXIBLE_FROM {
            e.uvarint(0);
        }
        Ok(())
    }
}

/// The header in front of every response.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ResponseHeader {
    /// The id of the request that is answered.
    pub correlation_id: i32,
}

impl ResponseHeader {
    /// Reads the header in `header_version` (0 or 1).
    pub fn decode(d: &mut Decoder<'_>, header_version: i16) -> Result<Self, DecodeError> {
        let correlation_id = d.i32()?;
        if header_version >= RESPONSE_FLEXIBLE_FROM {
            d.tagged_fields(0, |_, _| Ok(false))?;
        }
        Ok(Self { correlation_id })
    }

    /// Appends the header in `header_version` (0 or 1).
    pub fn encode(&self, e: &mut Encoder, header_version: i16) -> Result<(), EncodeError> {
        e.i32(self.correlation_id);
        if header_version >= RESPONSE_FLEXIBLE_FROM {
            e.uvarint(0);
        }
        Ok(())
    }
}
