//! The codec of all records: JSON with a version.

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::kv::{KeyValue, Revision, Value};

/// Why a stored value is not the record that it should be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CodecError {
    /// The value does not parse, or a field lacks or has the wrong type.
    #[error("decode {record} record: {reason}")]
    Malformed {
        /// The record's name.
        record: &'static str,
        /// What is wrong.
        reason: String,
    },
    /// A newer version of KafScale wrote it.
    #[error(
        "decode {record} record: version {found}, this broker knows up to {known}; a newer broker \
         wrote it, upgrade this one"
    )]
    Version {
        /// The record's name.
        record: &'static str,
        /// The version found.
        found: u32,
        /// The newest version known.
        known: u32,
    },
}

/// A record that is stored as a JSON object.
pub trait Record: Serialize + DeserializeOwned {
    /// Its name in errors.
    const NAME: &'static str;

    /// Its version; rises only when an older reader would misunderstand it.
    const VERSION: u32 = 1;

    /// Checks what the types do not say, after decoding and before encoding.
    ///
    /// # Errors
    /// What is impossible about the record.
    fn check(&self) -> Result<(), String> {
        Ok(())
    }
}

#[derive(serde::Deserialize)]
struct VersionOnly {
    v: u32,
}

#[derive(Serialize)]
struct Versioned<'a, T> {
    v: u32,
    #[serde(flatten)]
    record: &'a T,
}

/// The stored form of a record.
///
/// # Panics
/// When the record breaks its own rules ([`Record::check`]): the caller's mistake.
pub fn encode<T: Record>(record: &T) -> Value {
    const { assert!(T::VERSION > 0, "no reader takes version 0") };
    let checked = record.check();
    assert!(
        checked.is_ok(),
        "{} record is impossible: {checked:?}",
        T::NAME
    );
    let versioned = Versioned {
        v: T::VERSION,
        record,
    };
    let bytes = serde_json::to_vec(&versioned).expect("records are plain structs with text keys");
    Value::from(bytes)
}

/// The record in a stored value.
///
/// # Errors
/// [`CodecError`] if the value is not a record of this type in a known version.
pub fn decode<T: Record>(value: &Value) -> Result<T, CodecError> {
    let malformed = |reason: String| CodecError::Malformed {
        record: T::NAME,
        reason,
    };
    let version: VersionOnly =
        serde_json::from_slice(value.as_bytes()).map_err(|error| malformed(error.to_string()))?;
    if version.v == 0 || version.v > T::VERSION {
        let (found, known) = (version.v, T::VERSION);
        return Err(CodecError::Version {
            record: T::NAME,
            found,
            known,
        });
    }
    let record: T =
        serde_json::from_slice(value.as_bytes()).map_err(|error| malformed(error.to_string()))?;
    record.check().map_err(malformed)?;
    Ok(record)
}

/// A record as it was read, with the revisions that guard its next change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen<T> {
    /// The record.
    pub record: T,
    /// When its key was created.
    pub create_revision: Revision,
    /// When it was last changed.
    pub mod_revision: Revision,
}

/// The record in what a read found, if it found the key.
///
/// # Errors
/// As [`decode`].
pub fn seen<T: Record>(stored: Option<&KeyValue>) -> Result<Option<Seen<T>>, CodecError> {
    let Some(stored) = stored else {
        return Ok(None);
    };
    Ok(Some(Seen {
        record: decode(&stored.value)?,
        create_revision: stored.create_revision,
        mod_revision: stored.mod_revision,
    }))
}

/// A domain value that is stored as a number.
pub(super) trait Number: Copy {
    type Raw: Serialize + DeserializeOwned;
    fn raw(self) -> Self::Raw;
    fn of(raw: Self::Raw) -> Self;
}

macro_rules! numbers {
    ($($name:ident($raw:ty)),* $(,)?) => {
        $(impl Number for segment::$name {
            type Raw = $raw;
            fn raw(self) -> $raw {
                self.get()
            }
            fn of(raw: $raw) -> Self {
                Self::new(raw)
            }
        })*
    };
}

numbers!(
    Offset(i64),
    LeaderEpoch(i32),
    BrokerId(i32),
    ProducerId(i64),
    TimestampMs(i64),
    WalSequence(u64),
);

/// `#[serde(with)]`: a domain value as a number.
pub(super) mod number {
    use super::Number;
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    pub(crate) fn serialize<T: Number, S: Serializer>(value: &T, to: S) -> Result<S::Ok, S::Error> {
        value.raw().serialize(to)
    }

    pub(crate) fn deserialize<'de, T, D>(from: D) -> Result<T, D::Error>
    where
        T: Number,
        D: Deserializer<'de>,
    {
        Ok(T::of(T::Raw::deserialize(from)?))
    }
}

/// `#[serde(with)]`: a domain value, or none, as a number or null.
pub(super) mod number_option {
    use super::Number;
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    pub(crate) fn serialize<T, S>(value: &Option<T>, to: S) -> Result<S::Ok, S::Error>
    where
        T: Number,
        S: Serializer,
    {
        value.map(Number::raw).serialize(to)
    }

    pub(crate) fn deserialize<'de, T, D>(from: D) -> Result<Option<T>, D::Error>
    where
        T: Number,
        D: Deserializer<'de>,
    {
        Ok(Option::<T::Raw>::deserialize(from)?.map(T::of))
    }
}

/// `#[serde(with)]`: a domain value in its text form.
pub(super) mod text {
    use std::fmt::Display;
    use std::str::FromStr;

    use serde::de::Error;
    use serde::{Deserialize, Deserializer, Serializer};

    pub(crate) fn serialize<T: Display, S: Serializer>(
        value: &T,
        to: S,
    ) -> Result<S::Ok, S::Error> {
        to.collect_str(value)
    }

    pub(crate) fn deserialize<'de, T, D>(from: D) -> Result<T, D::Error>
    where
        T: FromStr<Err: Display>,
        D: Deserializer<'de>,
    {
        let text = std::borrow::Cow::<'de, str>::deserialize(from)?;
        text.parse().map_err(D::Error::custom)
    }
}
