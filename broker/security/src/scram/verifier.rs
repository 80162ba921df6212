//! What is stored of a password.

use std::num::NonZeroU32;

use zeroize::Zeroizing;

use super::ScramHash;
use super::salt::salt_of;
use crate::secret::Secret;

/// Iterations at least (`ScramMechanism.minIterations`).
pub const ITERATIONS_MIN: u32 = 4_096;
/// Iterations at most (`ScramMechanism.maxIterations`): more would let one request hold a core for long.
pub const ITERATIONS_MAX: u32 = 16_384;
/// Bytes of a salt, at least one and at most so many.
const SALT_BYTES_MAX: usize = 1_024;

/// Why a verifier is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum VerifierError {
    /// Too few or too many iterations.
    #[error("{0} iterations: between {ITERATIONS_MIN} and {ITERATIONS_MAX} are allowed")]
    Iterations(i64),
    /// The salt is empty, or longer than 1,024 bytes.
    #[error("a salt of {0} bytes: between 1 and {SALT_BYTES_MAX} are allowed")]
    Salt(usize),
    /// A key or salted password does not have the length of the hash.
    #[error("{0} bytes where the hash has {1}")]
    Length(usize, usize),
}

/// Salt, iterations, stored key and server key of one user and hash.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verifier {
    hash: ScramHash,
    salt: Vec<u8>,
    iterations: u32,
    stored_key: Secret,
    server_key: Secret,
}

impl Verifier {
    /// From a password. Takes milliseconds on purpose: not on a shard.
    ///
    /// # Errors
    /// [`VerifierError`] of salt and iterations.
    pub fn of_password(
        hash: ScramHash,
        password: &[u8],
        salt: &[u8],
        iterations: u32,
    ) -> Result<Self, VerifierError> {
        let rounds = check(salt, i64::from(iterations))?;
        let salted = hash.salted(password, salt, rounds.get());
        let salted = salted.expect("the iterations were checked");
        Self::of_salted(hash, &salted, salt, i64::from(iterations))
    }

    /// From a salted password, as AlterUserScramCredentials brings it.
    ///
    /// # Errors
    /// [`VerifierError`].
    pub fn of_salted(
        hash: ScramHash,
        salted: &[u8],
        salt: &[u8],
        iterations: i64,
    ) -> Result<Self, VerifierError> {
        let rounds = check(salt, iterations)?;
        if salted.len() != hash.bytes() {
            return Err(VerifierError::Length(salted.len(), hash.bytes()));
        }
        let client_key = Zeroizing::new(hash.hmac(salted, b"Client Key"));
        Ok(Self {
            hash,
            salt: salt.to_vec(),
            iterations: rounds.get(),
            stored_key: Secret::new(hash.hash(&client_key)),
            server_key: Secret::new(hash.hmac(salted, b"Server Key")),
        })
    }

    /// From its parts, as they were stored.
    ///
    /// # Errors
    /// [`VerifierError`].
    pub fn of_parts(
        hash: ScramHash,
        salt: Vec<u8>,
        iterations: u32,
        stored_key: Vec<u8>,
        server_key: Vec<u8>,
    ) -> Result<Self, VerifierError> {
        let rounds = check(&salt, i64::from(iterations))?;
        for key in [&stored_key, &server_key] {
            if key.len() != hash.bytes() {
                return Err(VerifierError::Length(key.len(), hash.bytes()));
            }
        }
        Ok(Self {
            hash,
            salt,
            iterations: rounds.get(),
            stored_key: Secret::new(stored_key),
            server_key: Secret::new(server_key),
        })
    }

    /// What an unknown user is answered with: always the same salt for one name, and keys that fit no password.
    /// `secret` is the cluster's own, so that nobody can tell such a salt from a stored one.
    pub fn of_nobody(hash: ScramHash, secret: &Secret, user: &str) -> Self {
        let derive = |what: &str| {
            let mut input = Vec::with_capacity(what.len() + user.len() + 2);
            input.extend_from_slice(what.as_bytes());
            input.push(0);
            input.push(hash.code().unsigned_abs());
            input.extend_from_slice(user.as_bytes());
            hash.hmac(secret.expose(), &input)
        };
        let derived = derive("salt");
        let number = derived.first_chunk().expect("a hash has more bytes");
        let salt = salt_of(*number);
        Self {
            hash,
            salt,
            iterations: ITERATIONS_MIN,
            stored_key: Secret::new(derive("stored")),
            server_key: Secret::new(derive("server")),
        }
    }

    /// Whether this is the password. Takes milliseconds on purpose: not on a shard.
    pub fn is_password(&self, password: &[u8]) -> bool {
        Self::of_password(self.hash, password, &self.salt, self.iterations)
            .is_ok_and(|other| self.stored_key == other.stored_key)
    }

    /// Its hash.
    pub fn hash(&self) -> ScramHash {
        self.hash
    }

    /// Its salt; no secret.
    pub fn salt(&self) -> &[u8] {
        &self.salt
    }

    /// Its iterations.
    pub fn iterations(&self) -> u32 {
        self.iterations
    }

    /// H(ClientKey): what a proof is checked with.
    pub fn stored_key(&self) -> &Secret {
        &self.stored_key
    }

    /// What the server proves itself with.
    pub fn server_key(&self) -> &Secret {
        &self.server_key
    }
}

fn check(salt: &[u8], iterations: i64) -> Result<NonZeroU32, VerifierError> {
    if salt.is_empty() || salt.len() > SALT_BYTES_MAX {
        return Err(VerifierError::Salt(salt.len()));
    }
    let rounds = u32::try_from(iterations).ok().and_then(NonZeroU32::new);
    let allowed = |rounds: &NonZeroU32| (ITERATIONS_MIN..=ITERATIONS_MAX).contains(&rounds.get());
    rounds
        .filter(allowed)
        .ok_or(VerifierError::Iterations(iterations))
}
