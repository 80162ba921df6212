//! [`Uuid`]: a topic id or directory id.

use std::fmt;

/// Sixteen bytes that name a topic, a directory or a cluster (KIP-516). Zero means "none".
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Uuid(pub [u8; 16]);

/// URL-safe base64 alphabet, in which Kafka prints ids.
const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
/// Characters of a printed id: 128 bits at 6 bits each, no padding.
const TEXT_CHARS: u32 = 22;

impl Uuid {
    /// No id.
    pub const ZERO: Uuid = Uuid([0; 16]);

    /// Whether this is the absent id.
    pub fn is_zero(self) -> bool {
        self == Self::ZERO
    }

    /// The id as a number, most significant byte first.
    pub const fn as_u128(self) -> u128 {
        u128::from_be_bytes(self.0)
    }

    /// The id that [`Uuid::as_u128`] turns into `value`.
    pub const fn from_u128(value: u128) -> Self {
        Uuid(value.to_be_bytes())
    }

    /// Reads the form that Kafka prints: 22 characters of URL-safe base64.
    pub fn parse(text: &str) -> Option<Self> {
        if text.len() != usize::try_from(TEXT_CHARS).ok()? {
            return None;
        }
        let mut value: u128 = 0;
        for (index, letter) in text.bytes().enumerate() {
            let digit = ALPHABET.iter().position(|known| *known == letter)?;
            let digit = u128::try_from(digit).ok()?;
            // 22 digits are 132 bits; the last one carries only its upper two.
            if index == 21 {
                if digit & 0x0f != 0 {
                    return None;
                }
                value = value.wrapping_shl(2) | digit.wrapping_shr(4);
            } else {
                value = value.wrapping_shl(6) | digit;
            }
        }
        Some(Self::from_u128(value))
    }
}

impl fmt::Display for Uuid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let value = self.as_u128();
        for index in 0..TEXT_CHARS {
            let digit = match 122_u32.checked_sub(index.wrapping_mul(6)) {
                Some(shift) => value.wrapping_shr(shift) & 0x3f,
                None => value.wrapping_shl(4) & 0x3f,
            };
            let letter = usize::try_from(digit)
                .ok()
                .and_then(|digit| ALPHABET.get(digit));
            fmt::Write::write_char(f, char::from(letter.copied().unwrap_or(b'?')))?;
        }
        Ok(())
    }
}

impl fmt::Debug for Uuid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::Uuid;

    #[test]
    fn prints_and_parses_as_kafka_does() {
        assert_eq!(Uuid::ZERO.to_string(), "AAAAAAAAAAAAAAAAAAAAAA");
        let one = Uuid::from_u128(1);
        assert_eq!(one.to_string(), "AAAAAAAAAAAAAAAAAAAAAQ");
        for value in [0, 1, u128::MAX, 0x0123_4567_89ab_cdef_fedc_ba98_7654_3210] {
            let id = Uuid::from_u128(value);
            assert_eq!(Uuid::parse(&id.to_string()), Some(id));
        }
        assert_eq!(Uuid::parse("AAAAAAAAAAAAAAAAAAAAAB"), None);
        assert_eq!(Uuid::parse("short"), None);
        assert_eq!(Uuid::parse("AAAAAAAAAAAAAAAAAAAA=="), None);
    }
}
