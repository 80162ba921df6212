//! SCRAM-SHA-256 and SCRAM-SHA-512 (RFC 5802, RFC 7677), the server's side, as
//! `org.apache.kafka.common.security.scram.internals` speaks it.
//!
//! - [`Verifier`] is what is stored of a password: salt, iterations, stored key, server key. A password cannot be had
//!   from it, nor can one log in with it.
//! - [`ScramServer`] is one exchange: client-first, server-first, client-final, server-final.
//! - The whole nonce is compared, not its beginning (CVE-2024-56128), and so is the channel binding; an authorization
//!   id must be empty or the user's own (CVE-2017-12610).

mod client;
mod message;
mod salt;
mod server;
mod verifier;

pub use client::{Proven, ScramClient, ServerFault};
pub use message::{ClientFinal, ClientFirst, MalformedMessage};
pub use salt::random_salt;
pub use server::{FirstReply, ScramServer};
pub use verifier::{ITERATIONS_MAX, ITERATIONS_MIN, Verifier, VerifierError};

use ring::{digest, hmac, pbkdf2};

/// The hash of a SCRAM mechanism.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ScramHash {
    /// SHA-256.
    Sha256,
    /// SHA-512.
    Sha512,
}

impl ScramHash {
    /// All of them.
    pub const ALL: [Self; 2] = [Self::Sha256, Self::Sha512];

    /// Kafka's number (`ScramMechanism`): on the wire and nowhere else.
    pub fn code(self) -> i8 {
        match self {
            Self::Sha256 => 1,
            Self::Sha512 => 2,
        }
    }

    /// The hash with Kafka's number.
    pub fn of_code(code: i8) -> Option<Self> {
        Self::ALL.into_iter().find(|hash| hash.code() == code)
    }

    /// Bytes of its output.
    pub fn bytes(self) -> usize {
        self.digest().output_len()
    }

    fn digest(self) -> &'static digest::Algorithm {
        match self {
            Self::Sha256 => &digest::SHA256,
            Self::Sha512 => &digest::SHA512,
        }
    }

    fn hash(self, bytes: &[u8]) -> Vec<u8> {
        digest::digest(self.digest(), bytes).as_ref().to_vec()
    }

    fn hmac(self, key: &[u8], bytes: &[u8]) -> Vec<u8> {
        let algorithm = match self {
            Self::Sha256 => hmac::HMAC_SHA256,
            Self::Sha512 => hmac::HMAC_SHA512,
        };
        hmac::sign(&hmac::Key::new(algorithm, key), bytes)
            .as_ref()
            .to_vec()
    }

    fn pbkdf2(self) -> pbkdf2::Algorithm {
        match self {
            Self::Sha256 => pbkdf2::PBKDF2_HMAC_SHA256,
            Self::Sha512 => pbkdf2::PBKDF2_HMAC_SHA512,
        }
    }
}

fn xor(left: &[u8], right: &[u8]) -> Vec<u8> {
    left.iter().zip(right).map(|(l, r)| l ^ r).collect()
}

#[cfg(test)]
mod tests;
