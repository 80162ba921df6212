//! OAUTHBEARER (RFC 7628, KIP-255, KIP-768): a signed JWT says who a client is.
//!
//! - [`BearerMessage`] is what a client says first, as `OAuthBearerClientInitialResponse` reads it.
//! - [`KeySet`] are the keys of whoever makes tokens, from a JSON Web Key Set (RFC 7517).
//! - [`TokenRules::verify`] is the verdict: `(keys, token, now) -> who, and until when`.
//!
//! Signatures are checked by `ring`, which TLS and SCRAM use too. Invariants (RFC 8725, RFC 7519 section 7.2):
//! - nothing that a token says is believed before its signature is checked, but for the name of its key and algorithm;
//! - the algorithm is one of [`Algorithm::ALL`], all asymmetric, and must be that of the key: neither `none` nor an
//!   HMAC under a public key can be asked for, and keys that come with a token are not looked at;
//! - a member that is named twice, an extension that must be understood, and what is of another type than it should be
//!   are refused.

mod jwks;
mod jwt;
mod message;

pub use jwks::{KEYS_MAX, KeySet, KeySetError, SET_BYTES_MAX};
pub use jwt::{Algorithm, TOKEN_BYTES_MAX, TokenError, TokenRules, Verified};
pub use message::BearerMessage;
pub(crate) use message::SEPARATOR;

#[cfg(test)]
mod tests;
