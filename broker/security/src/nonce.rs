//! Fresh nonces: the only randomness of this crate, apart from what its callers bring.

use ring::rand::{SecureRandom, SystemRandom};

/// Random bytes of a nonce.
const NONCE_BYTES: usize = 24;

/// A fresh nonce of printable characters; none where the system gives no randomness.
pub fn nonce() -> Option<String> {
    let mut bytes = [0; NONCE_BYTES];
    let filled = SystemRandom::new().fill(&mut bytes);
    filled.ok().map(|()| {
        let digit = |byte: &u8| char::from(b"0123456789abcdef"[usize::from(byte & 15)]);
        let high = |byte: &u8| digit(&(byte >> 4));
        bytes
            .iter()
            .flat_map(|byte| [high(byte), digit(byte)])
            .collect()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_nonce_is_fresh_and_printable() {
        let (one, other) = (nonce().unwrap(), nonce().unwrap());
        assert_ne!(one, other);
        assert_eq!(one.len(), 2 * NONCE_BYTES);
        assert!(one.bytes().all(|byte| byte.is_ascii_alphanumeric()));
    }
}
