//! The client's side of an exchange, for the tools of this project.

use zeroize::Zeroizing;

use super::{ITERATIONS_MIN, ScramHash, xor};
use crate::secret::Secret;

/// Iterations at most that a server may ask for: one that wants more is to stall its client.
const ITERATIONS_MAX: u32 = 1_000_000;

/// Why an exchange is not gone on with. The server, or who pretends to be it, is at fault.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ServerFault {
    /// Its message is not what RFC 5802 says.
    #[error("the broker's answer is no SCRAM message")]
    Shape,
    /// It answered to another exchange.
    #[error("the broker's nonce does not begin with ours")]
    Nonce,
    /// It asks for too few iterations, which would give the password away, or for too many.
    #[error("the broker asks for {0} iterations")]
    Iterations(u32),
    /// It does not know the user's password either.
    #[error("the broker has not proven that it knows the user: it may be another's")]
    Signature,
}

/// An exchange before the server has said anything.
#[derive(Debug)]
pub struct ScramClient {
    hash: ScramHash,
    password: Secret,
    bare: String,
    nonce: String,
}

/// An exchange after the server's challenge.
#[derive(Debug)]
pub struct Proven {
    signature: Secret,
}

impl ScramClient {
    /// Begins an exchange; gives the first message. `nonce` is fresh, random and printable, without a comma.
    pub fn begin(hash: ScramHash, user: &str, password: Secret, nonce: String) -> (Self, Vec<u8>) {
        let user = user.replace('=', "=3D").replace(',', "=2C");
        let bare = format!("n={user},r={nonce}");
        let first = format!("n,,{bare}").into_bytes();
        let client = Self {
            hash,
            password,
            bare,
            nonce,
        };
        (client, first)
    }

    /// Answers the server's challenge.
    ///
    /// # Errors
    /// [`ServerFault`].
    pub fn prove(&self, challenge: &[u8]) -> Result<(Proven, Vec<u8>), ServerFault> {
        let text = std::str::from_utf8(challenge).map_err(|_| ServerFault::Shape)?;
        let mut attributes = text.split(',');
        let mut next = |name| {
            let value = attributes.next().and_then(|it| it.strip_prefix(name));
            value.ok_or(ServerFault::Shape)
        };
        let (nonce, salt, iterations) = (next("r=")?, next("s=")?, next("i=")?);
        if !nonce.starts_with(&self.nonce) || nonce.len() == self.nonce.len() {
            return Err(ServerFault::Nonce);
        }
        let salt = base64_simd::STANDARD.decode_to_vec(salt);
        let salt = salt.map_err(|_| ServerFault::Shape)?;
        let rounds: u32 = iterations.parse().map_err(|_| ServerFault::Shape)?;
        if !(ITERATIONS_MIN..=ITERATIONS_MAX).contains(&rounds) {
            return Err(ServerFault::Iterations(rounds));
        }
        let hash = self.hash;
        let salted = hash
            .salted(self.password.expose(), &salt, rounds)
            .ok_or(ServerFault::Iterations(rounds))?;
        let client_key = Zeroizing::new(hash.hmac(&salted, b"Client Key"));
        let stored_key = hash.hash(&client_key);
        let without_proof = format!("c=biws,r={nonce}");
        let message = format!("{},{text},{without_proof}", self.bare);
        let proof = xor(&client_key, &hash.hmac(&stored_key, message.as_bytes()));
        let proof = base64_simd::STANDARD.encode_to_string(proof);
        let server_key = Zeroizing::new(hash.hmac(&salted, b"Server Key"));
        let signature = Secret::new(hash.hmac(&server_key, message.as_bytes()));
        let last = format!("{without_proof},p={proof}").into_bytes();
        Ok((Proven { signature }, last))
    }
}

impl Proven {
    /// Checks that the server knows the user too.
    ///
    /// # Errors
    /// [`ServerFault`].
    pub fn check(&self, verdict: &[u8]) -> Result<(), ServerFault> {
        let text = std::str::from_utf8(verdict).map_err(|_| ServerFault::Shape)?;
        let signature = text.strip_prefix("v=").ok_or(ServerFault::Shape)?;
        let signature = base64_simd::STANDARD.decode_to_vec(signature);
        if self
            .signature
            .is(&signature.map_err(|_| ServerFault::Shape)?)
        {
            Ok(())
        } else {
            Err(ServerFault::Signature)
        }
    }
}

impl ScramHash {
    /// The salted password (RFC 5802's `Hi`); none for no iterations. Takes milliseconds on purpose.
    pub fn salted(
        self,
        password: &[u8],
        salt: &[u8],
        iterations: u32,
    ) -> Option<Zeroizing<Vec<u8>>> {
        let rounds = std::num::NonZeroU32::new(iterations)?;
        let mut salted = Zeroizing::new(vec![0; self.bytes()]);
        ring::pbkdf2::derive(self.pbkdf2(), rounds, salt, password, &mut salted);
        Some(salted)
    }
}

#[cfg(test)]
mod tests {
    use super::super::{ClientFirst, ScramServer, Verifier};
    use super::*;

    fn exchange(hash: ScramHash, user: &str, stored: &[u8], given: &str) -> Result<(), String> {
        let verifier = Verifier::of_password(hash, stored, b"salt", 4096).unwrap();
        let password = Secret::new(given);
        let (client, first) = ScramClient::begin(hash, user, password, "abc".to_owned());
        let first = ClientFirst::parse(&first).map_err(|error| error.to_string())?;
        assert_eq!(first.user, user);
        let (server, reply) = ScramServer::begin(first, verifier, "xyz").unwrap();
        let (proven, last) = client.prove(&reply.message).map_err(|e| e.to_string())?;
        let verdict = server.finish(&last).map_err(|error| error.to_string())?;
        proven.check(&verdict).map_err(|error| error.to_string())?;
        assert_eq!(proven.check(b"v=AAAA"), Err(ServerFault::Signature));
        Ok(())
    }

    #[test]
    fn both_sides_agree_on_the_right_password_only() {
        for hash in ScramHash::ALL {
            for user in ["alice", "a=b,c", "ä"] {
                assert_eq!(exchange(hash, user, b"secret", "secret"), Ok(()));
                assert!(exchange(hash, user, b"secret", "Secret").is_err());
            }
        }
    }

    #[test]
    fn a_server_that_asks_for_what_it_should_not_is_left() {
        let begin = || {
            let password = Secret::new("x");
            ScramClient::begin(ScramHash::Sha256, "u", password, "abc".to_owned()).0
        };
        let fault = |challenge: &str| begin().prove(challenge.as_bytes()).unwrap_err();
        assert_eq!(fault("r=abd,s=AAAA,i=4096"), ServerFault::Nonce);
        assert_eq!(fault("r=abc,s=AAAA,i=4096"), ServerFault::Nonce);
        assert_eq!(fault("r=abcd,s=AAAA,i=1"), ServerFault::Iterations(1));
        let many = fault("r=abcd,s=AAAA,i=100000000");
        assert_eq!(many, ServerFault::Iterations(100_000_000));
        assert_eq!(fault("r=abcd,s=A"), ServerFault::Shape);
        assert_eq!(fault("e=other-error"), ServerFault::Shape);
    }
}
