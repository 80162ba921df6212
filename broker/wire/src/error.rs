//! What can go wrong when bytes become a message, or a message becomes bytes.

/// Why a frame could not be decoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("decode at byte {at}: {kind}")]
pub struct DecodeError {
    /// What was wrong.
    pub kind: DecodeErrorKind,
    /// Offset in the frame, in bytes, at which the decoder went bad.
    pub at: usize,
}

/// The kinds of malformed input.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum DecodeErrorKind {
    /// The frame ends inside a value.
    #[error("frame ends inside a value")]
    Truncated,
    /// A length or an element count is negative where no null is allowed, or below -1.
    #[error("negative length")]
    NegativeLength,
    /// Null where this version of the field allows none.
    #[error("null in a field that is not nullable")]
    UnexpectedNull,
    /// An element count that the bytes left in the frame cannot hold.
    #[error("element count exceeds the bytes left")]
    Count,
    /// The decoded structs would take more memory than the budget allows.
    #[error("decoded size exceeds its budget")]
    Budget,
    /// The arrays of the request have more elements than [`crate::REQUEST_ELEMENTS_MAX`], all together.
    #[error("too many elements in one request")]
    Elements,
    /// A varint of more than 5 bytes, or one that does not fit 32 bits.
    #[error("varint is too long")]
    Varint,
    /// A string that is not UTF-8.
    #[error("string is not UTF-8")]
    Utf8,
    /// More unknown tagged fields than [`crate::UNKNOWN_TAGS_MAX`] in one struct.
    #[error("too many tagged fields")]
    TaggedFields,
    /// A known tagged field whose size differs from its content.
    #[error("tagged field size differs from its content")]
    TaggedFieldSize,
    /// The codec does not know this API key.
    #[error("unknown api key {0}")]
    UnknownApiKey(i16),
    /// The frame holds a request of this API key where another one was expected.
    #[error("unexpected api key {0}")]
    UnexpectedApiKey(i16),
    /// The codec does not know this version of the message.
    #[error("unsupported version {0}")]
    UnsupportedVersion(i16),
}

/// Why a message could not be encoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum EncodeError {
    /// A field that Kafka does not mark ignorable is set, and this version cannot carry it.
    #[error("{message} v{version} cannot carry field {field}")]
    FieldNotInVersion {
        /// Name of the struct.
        message: &'static str,
        /// Name of the field.
        field: &'static str,
        /// Version that was asked for.
        version: i16,
    },
    /// Null in a field that is not nullable in this version.
    #[error("null in a field that is not nullable in this version")]
    UnexpectedNull,
    /// A value is longer than its length field can say.
    #[error("value of {0} bytes or elements is too long for its length field")]
    TooLong(usize),
    /// The codec does not know this version of the message.
    #[error("{message} has no version {version}")]
    UnsupportedVersion {
        /// Name of the message.
        message: &'static str,
        /// Version that was asked for.
        version: i16,
    },
    /// A streaming writer was given fewer or more elements than it had announced.
    #[error("announced element count differs from what was written")]
    Count,
}
