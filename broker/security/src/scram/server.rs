//! One exchange, as a state machine: the server's first message, then its verdict.

use super::message::{ClientFinal, ClientFirst};
use super::{Verifier, xor};
use crate::exchange::Failure;

/// What the first message of a client comes to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FirstReply {
    /// `r=nonces,s=salt,i=iterations`.
    pub message: Vec<u8>,
}

/// A SCRAM exchange after the first message of the client.
#[derive(Debug, Clone)]
pub struct ScramServer {
    first: ClientFirst,
    verifier: Verifier,
    nonce: String,
    server_first: String,
}

impl ScramServer {
    /// Answers the first message. `verifier` is the user's, or [`Verifier::of_nobody`]; `nonce` is the server's part,
    /// fresh and random, printable ASCII without a comma.
    ///
    /// # Errors
    /// [`Failure::Impersonation`] if the client wants to act as somebody else.
    pub fn begin(
        first: ClientFirst,
        verifier: Verifier,
        nonce: &str,
    ) -> Result<(Self, FirstReply), Failure> {
        if !first.authorization_id.is_empty() && first.authorization_id != first.user {
            return Err(Failure::Impersonation);
        }
        let nonce = format!("{}{nonce}", first.nonce);
        let salt = base64_simd::STANDARD.encode_to_string(verifier.salt());
        let server_first = format!("r={nonce},s={salt},i={}", verifier.iterations());
        let reply = FirstReply {
            message: server_first.clone().into_bytes(),
        };
        let server = Self {
            first,
            verifier,
            nonce,
            server_first,
        };
        Ok((server, reply))
    }

    /// Judges the last message of the client; gives the server's signature if the proof is right.
    ///
    /// # Errors
    /// [`Failure::Malformed`], or [`Failure::Credentials`] for a nonce, a channel binding or a proof that is not right.
    pub fn finish(&self, bytes: &[u8]) -> Result<Vec<u8>, Failure> {
        let last = ClientFinal::parse(bytes)?;
        let expected = &self.first.gs2_header;
        if last.nonce != self.nonce || last.binding != expected.as_bytes() {
            return Err(Failure::Credentials);
        }
        let message = format!(
            "{},{},{}",
            self.first.bare, self.server_first, last.without_proof
        );
        let hash = self.verifier.hash();
        let signature = hash.hmac(self.verifier.stored_key().expose(), message.as_bytes());
        // A proof of another length is compared with what it has, and is wrong.
        let client_key = xor(&last.proof, &signature);
        let is_right = self.verifier.stored_key().is(&hash.hash(&client_key));
        if !is_right || last.proof.len() != signature.len() {
            return Err(Failure::Credentials);
        }
        let proof = hash.hmac(self.verifier.server_key().expose(), message.as_bytes());
        let proof = base64_simd::STANDARD.encode_to_string(proof);
        Ok(format!("v={proof}").into_bytes())
    }

    /// The name that the client gave.
    pub fn user(&self) -> &str {
        &self.first.user
    }
}
