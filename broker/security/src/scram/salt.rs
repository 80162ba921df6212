//! Salts that look like those of Kafka's tools, so that nobody tells a derived one from a stored one.

use ring::rand::{SecureRandom, SystemRandom};

/// Bytes of a number of 130 bits.
pub(super) const NUMBER_BYTES: usize = 17;
/// The lowest two bits, which are the highest of the number.
const HIGHEST: u8 = 0b11;

/// A number of 130 bits to the base of 36, which is how Kafka's clients make a salt (`ScramFormatter`).
pub(super) fn salt_of(mut number: [u8; NUMBER_BYTES]) -> Vec<u8> {
    number[0] &= HIGHEST;
    let mut digits = Vec::new();
    while number.iter().any(|byte| *byte != 0) {
        let mut rest = 0_u32;
        for byte in &mut number {
            let part = rest << 8 | u32::from(*byte);
            *byte =
                u8::try_from(part / 36).expect("the rest is below 36, so the quotient is a byte");
            rest = part % 36;
        }
        digits.push(b"0123456789abcdefghijklmnopqrstuvwxyz"[rest as usize]);
    }
    digits.reverse();
    if digits.is_empty() {
        digits.push(b'0');
    }
    digits
}

/// A fresh salt; none where the system gives no randomness.
pub fn random_salt() -> Option<Vec<u8>> {
    let mut number = [0; NUMBER_BYTES];
    let filled = SystemRandom::new().fill(&mut number);
    filled.ok().map(|()| salt_of(number))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_salt_is_a_number_of_130_bits_to_the_base_of_36() {
        let mut number = [0; NUMBER_BYTES];
        assert_eq!(salt_of(number), b"0");
        number[NUMBER_BYTES - 2..].copy_from_slice(&[5, 16]);
        assert_eq!(salt_of(number), b"100", "36 x 36 = 1,296");
        let largest = salt_of([255; NUMBER_BYTES]);
        assert_eq!((largest.len(), largest[0]), (26, b'1'));
        let salt = random_salt().unwrap();
        assert!(salt.len() <= 26 && salt.iter().all(u8::is_ascii_alphanumeric));
        assert_ne!(Some(salt), random_salt());
    }
}
