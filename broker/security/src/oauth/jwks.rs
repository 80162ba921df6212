//! JSON Web Key Sets (RFC 7517, RFC 7518 section 6, RFC 8037): the public keys of whoever makes tokens.

use ring::signature::{self, RsaPublicKeyComponents, UnparsedPublicKey};
use serde::Deserialize;

use super::jwt::Algorithm;

/// Bytes of a set at most.
pub const SET_BYTES_MAX: usize = 256 * 1024;
/// Keys of a set at most. Who makes tokens has a few: one that is used, one that comes next, some that were.
pub const KEYS_MAX: usize = 256;
/// Bytes of an RSA modulus: 2048 to 8192 bits, which is what `ring` takes.
const MODULUS_BYTES: std::ops::RangeInclusive<usize> = 256..=1024;
/// Bytes of a coordinate.
const P256_BYTES: usize = 32;
const P384_BYTES: usize = 48;
/// Bytes of a public key of Ed25519.
const ED25519_BYTES: usize = 32;

/// Why a set cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeySetError {
    /// It is longer than [`SET_BYTES_MAX`].
    #[error("the key set has more than {SET_BYTES_MAX} bytes")]
    Long,
    /// It is no set.
    #[error("this is no JSON Web Key Set, which is {{\"keys\": [...]}}: {0}")]
    Shape(String),
    /// It has more keys than [`KEYS_MAX`].
    #[error("the key set has {0} keys; at most {KEYS_MAX} are allowed")]
    Many(usize),
    /// None of its keys can be used.
    #[error(
        "none of the {0} keys of the set can be used: RSA of 2048 to 8192 bits, EC on P-256 or P-384, and Ed25519 \
         keys are, where their use is to check signatures"
    )]
    Empty(usize),
}

/// A public key, as `ring` takes it.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Material {
    Rsa { modulus: Vec<u8>, exponent: Vec<u8> },
    P256(Vec<u8>),
    P384(Vec<u8>),
    Ed25519(Vec<u8>),
}

/// A key that may have signed a token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Key {
    name: Option<String>,
    /// The only algorithm that it is for, where the set says so.
    algorithm: Option<Algorithm>,
    material: Material,
}

impl Key {
    /// Whether signatures of this algorithm can be of this key.
    fn fits(&self, algorithm: Algorithm) -> bool {
        let is_kind = match &self.material {
            Material::Rsa { .. } => algorithm.is_rsa(),
            Material::P256(_) => algorithm == Algorithm::Es256,
            Material::P384(_) => algorithm == Algorithm::Es384,
            Material::Ed25519(_) => algorithm == Algorithm::EdDsa,
        };
        is_kind && self.algorithm.is_none_or(|only| only == algorithm)
    }

    /// Whether this is the key's signature of the message.
    pub(super) fn has_signed(
        &self,
        algorithm: Algorithm,
        message: &[u8],
        signature: &[u8],
    ) -> bool {
        if !self.fits(algorithm) {
            return false;
        }
        let checked = match &self.material {
            Material::Rsa { modulus, exponent } => {
                let key = RsaPublicKeyComponents {
                    n: modulus,
                    e: exponent,
                };
                let Some(parameters) = algorithm.rsa() else {
                    return false;
                };
                key.verify(parameters, message, signature)
            }
            Material::P256(key) => UnparsedPublicKey::new(&signature::ECDSA_P256_SHA256_FIXED, key)
                .verify(message, signature),
            Material::P384(key) => UnparsedPublicKey::new(&signature::ECDSA_P384_SHA384_FIXED, key)
                .verify(message, signature),
            Material::Ed25519(key) => {
                UnparsedPublicKey::new(&signature::ED25519, key).verify(message, signature)
            }
        };
        checked.is_ok()
    }
}

/// The members of a key that are looked at.
#[derive(Deserialize)]
struct Jwk {
    kty: String,
    kid: Option<String>,
    #[serde(rename = "use")]
    purpose: Option<String>,
    key_ops: Option<Vec<String>>,
    alg: Option<String>,
    crv: Option<String>,
    n: Option<String>,
    e: Option<String>,
    x: Option<String>,
    y: Option<String>,
}

#[derive(Deserialize)]
struct Jwks {
    keys: Vec<serde_json::Value>,
}

/// The keys of whoever makes tokens. Immutable.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeySet {
    keys: Vec<Key>,
}

impl KeySet {
    /// Reads a set. Keys that are for something else, or of a kind that is not known, are passed over (RFC 7517 section
    /// 5).
    ///
    /// # Errors
    /// [`KeySetError`]; a set without any key that can be used is one.
    pub fn parse(bytes: &[u8]) -> Result<Self, KeySetError> {
        if bytes.len() > SET_BYTES_MAX {
            return Err(KeySetError::Long);
        }
        let found: Jwks =
            serde_json::from_slice(bytes).map_err(|error| KeySetError::Shape(error.to_string()))?;
        let count = found.keys.len();
        if count > KEYS_MAX {
            return Err(KeySetError::Many(count));
        }
        let keys = found.keys.into_iter();
        let keys = keys.filter_map(|key| usable(&serde_json::from_value(key).ok()?));
        let keys: Vec<Key> = keys.collect();
        if keys.is_empty() {
            return Err(KeySetError::Empty(count));
        }
        Ok(Self { keys })
    }

    /// How many keys can be used.
    pub fn len(&self) -> usize {
        self.keys.len()
    }

    /// Never: a set has a key.
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// The key of this name for this algorithm, the first of several. A token that names none is of the only key for
    /// its algorithm, or of nobody's.
    pub(super) fn find(&self, name: Option<&str>, algorithm: Algorithm) -> Option<&Key> {
        let mut fitting = self.keys.iter().filter(|key| key.fits(algorithm));
        match name {
            Some(name) => fitting.find(|key| key.name.as_deref() == Some(name)),
            None => fitting.next().filter(|_| fitting.next().is_none()),
        }
    }
}

fn decoded(text: Option<&String>) -> Option<Vec<u8>> {
    base64_simd::URL_SAFE_NO_PAD.decode_to_vec(text?).ok()
}

/// A number without zeros before it.
fn number(text: Option<&String>) -> Option<Vec<u8>> {
    let bytes = decoded(text)?;
    let zeros = bytes.iter().take_while(|byte| **byte == 0).count();
    Some(bytes[zeros..].to_vec())
}

/// A point on a curve, not compressed; that it lies on the curve is checked with each signature.
fn point(jwk: &Jwk, bytes: usize) -> Option<Vec<u8>> {
    let (x, y) = (decoded(jwk.x.as_ref())?, decoded(jwk.y.as_ref())?);
    (x.len() == bytes && y.len() == bytes).then(|| [&[4], x.as_slice(), &y].concat())
}

fn usable(jwk: &Jwk) -> Option<Key> {
    let is_for_signatures = jwk
        .purpose
        .as_deref()
        .is_none_or(|purpose| purpose == "sig");
    let may_verify = |operations: &Vec<String>| operations.iter().any(|it| it == "verify");
    if !is_for_signatures || !jwk.key_ops.as_ref().is_none_or(may_verify) {
        return None;
    }
    // A key for an algorithm that is not known is of no use.
    let algorithm = match &jwk.alg {
        Some(name) => Some(Algorithm::of_name(name)?),
        None => None,
    };
    let material = match (jwk.kty.as_str(), jwk.crv.as_deref()) {
        ("RSA", _) => {
            let (modulus, exponent) = (number(jwk.n.as_ref())?, number(jwk.e.as_ref())?);
            if !MODULUS_BYTES.contains(&modulus.len()) || exponent.is_empty() {
                return None;
            }
            Material::Rsa { modulus, exponent }
        }
        ("EC", Some("P-256")) => Material::P256(point(jwk, P256_BYTES)?),
        ("EC", Some("P-384")) => Material::P384(point(jwk, P384_BYTES)?),
        ("OKP", Some("Ed25519")) => {
            let key = decoded(jwk.x.as_ref()).filter(|key| key.len() == ED25519_BYTES)?;
            Material::Ed25519(key)
        }
        _ => return None,
    };
    let key = Key {
        name: jwk.kid.clone(),
        algorithm,
        material,
    };
    // What says that it is for an algorithm of another kind of key contradicts itself.
    key.algorithm
        .is_none_or(|only| key.fits(only))
        .then_some(key)
}
