//! Arguments with bounds: what the schema tells a model is what is checked, from one declaration.

use std::borrow::Cow;
use std::fmt;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{Error, Unexpected, Visitor};
use serde::{Deserialize, Deserializer, Serialize};

/// A whole number from `MIN` to `MAX`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Whole<const MIN: u64, const MAX: u64>(u64);

impl<const MIN: u64, const MAX: u64> Whole<MIN, MAX> {
    pub(crate) const fn get(self) -> u64 {
        self.0
    }
}

impl<'de, const MIN: u64, const MAX: u64> Deserialize<'de> for Whole<MIN, MAX> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        whole(from, MIN, MAX).map(Self)
    }
}

impl<const MIN: u64, const MAX: u64> JsonSchema for Whole<MIN, MAX> {
    fn inline_schema() -> bool {
        true
    }
    fn schema_name() -> Cow<'static, str> {
        format!("Whole_{MIN}_{MAX}").into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "integer", "minimum": MIN, "maximum": MAX })
    }
}

/// A whole number from `MIN` to `MAX` that need not be given.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub(crate) struct Limit<const MIN: u64, const MAX: u64, const DEFAULT: u64>(u64);

impl<const MIN: u64, const MAX: u64, const DEFAULT: u64> Limit<MIN, MAX, DEFAULT> {
    /// The number, where it counts things in memory.
    pub(crate) fn size(self) -> usize {
        usize::try_from(self.0).unwrap_or(usize::MAX)
    }

    pub(crate) const fn get(self) -> u64 {
        self.0
    }
}

impl<const MIN: u64, const MAX: u64, const DEFAULT: u64> Default for Limit<MIN, MAX, DEFAULT> {
    fn default() -> Self {
        const { assert!(MIN <= DEFAULT && DEFAULT <= MAX) };
        Self(DEFAULT)
    }
}

impl<'de, const MIN: u64, const MAX: u64, const DEFAULT: u64> Deserialize<'de>
    for Limit<MIN, MAX, DEFAULT>
{
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        whole(from, MIN, MAX).map(Self)
    }
}

impl<const MIN: u64, const MAX: u64, const DEFAULT: u64> JsonSchema for Limit<MIN, MAX, DEFAULT> {
    fn inline_schema() -> bool {
        true
    }
    fn schema_name() -> Cow<'static, str> {
        format!("Limit_{MIN}_{MAX}_{DEFAULT}").into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "integer", "minimum": MIN, "maximum": MAX })
    }
}

/// Text of `MIN` to `MAX` bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Text<const MIN: usize, const MAX: usize>(String);

impl<const MIN: usize, const MAX: usize> Text<MIN, MAX> {
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

impl<const MIN: usize, const MAX: usize> fmt::Display for Text<MIN, MAX> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.0)
    }
}

impl<'de, const MIN: usize, const MAX: usize> Deserialize<'de> for Text<MIN, MAX> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let text = String::deserialize(from)?;
        if !(MIN..=MAX).contains(&text.len()) {
            let wanted = format!("a text of {MIN} to {MAX} bytes");
            return Err(D::Error::invalid_length(text.len(), &wanted.as_str()));
        }
        Ok(Self(text))
    }
}

impl<const MIN: usize, const MAX: usize> JsonSchema for Text<MIN, MAX> {
    fn inline_schema() -> bool {
        true
    }
    fn schema_name() -> Cow<'static, str> {
        format!("Text_{MIN}_{MAX}").into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "minLength": MIN, "maxLength": MAX })
    }
}

/// A list of at most `MAX` items, and not an empty one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct List<T, const MAX: usize>(Vec<T>);

impl<T, const MAX: usize> List<T, MAX> {
    pub(crate) fn as_slice(&self) -> &[T] {
        &self.0
    }
}

impl<'de, T: Deserialize<'de>, const MAX: usize> Deserialize<'de> for List<T, MAX> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let items = Vec::deserialize(from)?;
        if items.is_empty() || items.len() > MAX {
            let wanted = format!("a list of 1 to {MAX} items");
            return Err(D::Error::invalid_length(items.len(), &wanted.as_str()));
        }
        Ok(Self(items))
    }
}

impl<T: JsonSchema, const MAX: usize> JsonSchema for List<T, MAX> {
    fn inline_schema() -> bool {
        true
    }
    fn schema_name() -> Cow<'static, str> {
        format!("List_{}_{MAX}", T::schema_name()).into()
    }
    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let items = generator.subschema_for::<T>();
        json_schema!({ "type": "array", "items": items, "minItems": 1, "maxItems": MAX })
    }
}

fn whole<'de, D: Deserializer<'de>>(from: D, min: u64, max: u64) -> Result<u64, D::Error> {
    from.deserialize_u64(Between { min, max })
}

/// Takes whole numbers between bounds, however JSON writes them (`20`, `20.0`).
struct Between {
    min: u64,
    max: u64,
}

impl Visitor<'_> for Between {
    type Value = u64;

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "a whole number from {} to {}", self.min, self.max)
    }

    fn visit_u64<E: Error>(self, number: u64) -> Result<u64, E> {
        match (self.min..=self.max).contains(&number) {
            true => Ok(number),
            false => Err(E::invalid_value(Unexpected::Unsigned(number), &self)),
        }
    }

    fn visit_i64<E: Error>(self, number: i64) -> Result<u64, E> {
        match u64::try_from(number) {
            Ok(number) => self.visit_u64(number),
            Err(_) => Err(E::invalid_value(Unexpected::Signed(number), &self)),
        }
    }

    fn visit_f64<E: Error>(self, number: f64) -> Result<u64, E> {
        // Beyond 2^53 a float does not tell which whole number was meant.
        const EXACT_MAX: f64 = 9_007_199_254_740_992.0;
        if number.fract() == 0.0 && (0.0..=EXACT_MAX).contains(&number) {
            return self.visit_u64(number as u64);
        }
        Err(E::invalid_value(Unexpected::Float(number), &self))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, from_value, json};

    use super::*;

    fn schema<T: JsonSchema>() -> Value {
        serde_json::to_value(schemars::schema_for!(T)).unwrap()
    }

    #[test]
    fn the_schema_tells_what_is_checked() {
        type Count = Limit<1, 500, 20>;
        let told = schema::<Count>();
        assert_eq!(
            (&told["minimum"], &told["maximum"]),
            (&json!(1), &json!(500))
        );
        assert_eq!(Count::default().get(), 20);
        assert_eq!(from_value::<Count>(json!(500)).unwrap().size(), 500);
        assert_eq!(from_value::<Count>(json!(20.0)).unwrap().size(), 20);
        for wrong in [
            json!(0),
            json!(501),
            json!(-1),
            json!("20"),
            json!(1.5),
            json!(null),
        ] {
            let error = from_value::<Count>(wrong.clone()).unwrap_err().to_string();
            assert!(!error.is_empty(), "{wrong}");
        }
        let error = from_value::<Count>(json!(0)).unwrap_err().to_string();
        assert!(
            error.contains("from 1 to 500") && error.contains('0'),
            "{error}"
        );
        assert_eq!(
            from_value::<Whole<0, { u64::MAX }>>(json!(u64::MAX))
                .unwrap()
                .get(),
            u64::MAX
        );
    }

    #[test]
    fn texts_and_lists_have_a_length() {
        type Name = Text<1, 3>;
        assert_eq!(schema::<Name>()["maxLength"], 3);
        assert_eq!(from_value::<Name>(json!("abc")).unwrap().as_str(), "abc");
        assert!(
            from_value::<Name>(json!("")).is_err() && from_value::<Name>(json!("abcd")).is_err()
        );
        type Names = List<Name, 2>;
        let told = schema::<Names>();
        assert_eq!(
            (&told["maxItems"], &told["items"]["maxLength"]),
            (&json!(2), &json!(3))
        );
        assert_eq!(
            from_value::<Names>(json!(["a"])).unwrap().as_slice().len(),
            1
        );
        for wrong in [
            json!([]),
            json!(["a", "b", "c"]),
            json!(["abcd"]),
            json!("a"),
        ] {
            assert!(from_value::<Names>(wrong.clone()).is_err(), "{wrong}");
        }
    }
}
