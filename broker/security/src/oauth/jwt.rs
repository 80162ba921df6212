//! JSON Web Tokens: compact serialization (RFC 7515 section 7.1), algorithms (RFC 7518, RFC 8037), claims (RFC 7519).

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use ring::signature::{self, RsaParameters};
use serde::Deserialize;
use serde::de::{Deserializer, Error, MapAccess, Visitor};
use serde_json::Value;

use super::jwks::KeySet;
use crate::principal::{PRINCIPAL_BYTES_MAX, Principal, USER};

/// Bytes of a token at most. A frame before authentication has 64 KiB; tokens have one or two, some with many groups
/// ten.
pub const TOKEN_BYTES_MAX: usize = 32 * 1024;
/// Bytes of the name of a key at most: names that are not known are remembered for nobody, but logged.
const KEY_NAME_BYTES_MAX: usize = 256;
/// Seconds since 1970 that a token can name: the year 9999.
const SECONDS_MAX: f64 = 253_402_300_799.0;

/// An algorithm that tokens may be signed with: asymmetric all of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Algorithm {
    /// RSASSA-PKCS1-v1_5 with SHA-256.
    Rs256,
    /// RSASSA-PKCS1-v1_5 with SHA-384.
    Rs384,
    /// RSASSA-PKCS1-v1_5 with SHA-512.
    Rs512,
    /// RSASSA-PSS with SHA-256.
    Ps256,
    /// RSASSA-PSS with SHA-384.
    Ps384,
    /// RSASSA-PSS with SHA-512.
    Ps512,
    /// ECDSA on P-256 with SHA-256.
    Es256,
    /// ECDSA on P-384 with SHA-384.
    Es384,
    /// Ed25519.
    EdDsa,
}

impl Algorithm {
    /// All of them.
    pub const ALL: [Self; 9] = [
        Self::Rs256,
        Self::Rs384,
        Self::Rs512,
        Self::Ps256,
        Self::Ps384,
        Self::Ps512,
        Self::Es256,
        Self::Es384,
        Self::EdDsa,
    ];

    /// Its registered name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Rs256 => "RS256",
            Self::Rs384 => "RS384",
            Self::Rs512 => "RS512",
            Self::Ps256 => "PS256",
            Self::Ps384 => "PS384",
            Self::Ps512 => "PS512",
            Self::Es256 => "ES256",
            Self::Es384 => "ES384",
            Self::EdDsa => "EdDSA",
        }
    }

    /// The algorithm with this name. RFC 9864 names Ed25519 by itself.
    pub fn of_name(name: &str) -> Option<Self> {
        if name == "Ed25519" {
            return Some(Self::EdDsa);
        }
        Self::ALL.into_iter().find(|known| known.name() == name)
    }

    pub(super) fn is_rsa(self) -> bool {
        self.rsa().is_some()
    }

    pub(super) fn rsa(self) -> Option<&'static RsaParameters> {
        match self {
            Self::Rs256 => Some(&signature::RSA_PKCS1_2048_8192_SHA256),
            Self::Rs384 => Some(&signature::RSA_PKCS1_2048_8192_SHA384),
            Self::Rs512 => Some(&signature::RSA_PKCS1_2048_8192_SHA512),
            Self::Ps256 => Some(&signature::RSA_PSS_2048_8192_SHA256),
            Self::Ps384 => Some(&signature::RSA_PSS_2048_8192_SHA384),
            Self::Ps512 => Some(&signature::RSA_PSS_2048_8192_SHA512),
            Self::Es256 | Self::Es384 | Self::EdDsa => None,
        }
    }
}

/// Why a token is refused. For logs: a client is told [`TokenError::challenge`] and no more.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// It is longer than [`TOKEN_BYTES_MAX`].
    #[error("the token has {0} bytes; at most {TOKEN_BYTES_MAX} are allowed")]
    Long(usize),
    /// It is not three parts of base64url, the first two JSON objects that name nothing twice.
    #[error("the token is no signed JWT")]
    Shape,
    /// The algorithm is not one of [`Algorithm::ALL`].
    #[error("the token is not signed by an algorithm that is allowed")]
    Algorithm,
    /// The token has an extension that must be understood (`crit`).
    #[error("the token has an extension that is not known")]
    Critical,
    /// No key of this name, or without a name no single key, is for the algorithm.
    #[error("no key {0:?} for the algorithm of the token is known")]
    Key(Option<String>),
    /// The signature is not that of the key.
    #[error("the signature is not that of the key")]
    Signature,
    /// A claim is missing.
    #[error("the token has no claim {0:?}")]
    Missing(String),
    /// A claim is not of its type.
    #[error("the claim {0:?} is not of its type")]
    Type(String),
    /// It is no longer valid.
    #[error("the token has expired")]
    Expired,
    /// It is not yet valid, by `nbf` or `iat`.
    #[error("the token is not valid yet")]
    Early,
    /// It is of another issuer.
    #[error("the token is of another issuer than the expected one")]
    Issuer,
    /// It is for others.
    #[error("the token is for none of the expected audiences")]
    Audience,
    /// Its subject can be no principal.
    #[error("the subject of the token is empty, too long, or has control characters")]
    Subject,
    /// Only the password of the settings makes an administrator.
    #[error("the subject of the token is the administrator of the settings, who has a password")]
    Administrator,
    /// It lacks one of these scopes.
    #[error("the token has not all of the scopes {0:?}")]
    Scope(String),
}

impl TokenError {
    /// What the client is told (RFC 7628 section 3.2.2), as Kafka words it.
    pub fn challenge(&self) -> String {
        match self {
            Self::Scope(scope) => {
                serde_json::json!({"status": "insufficient_scope", "scope": scope}).to_string()
            }
            _ => r#"{"status":"invalid_token"}"#.to_owned(),
        }
    }

    /// Whether other keys may make it a good token.
    pub fn is_about_keys(&self) -> bool {
        matches!(self, Self::Key(_))
    }
}

/// Whom a token is for, and until when.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verified {
    /// Who it is: `User:` and the subject.
    pub principal: Principal,
    /// How long the token holds from now on. Within the clock skew after its end that is what is left of the skew.
    pub holds: Duration,
}

/// What must be so of a token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenRules {
    /// It must be for one of these (`aud`); none for any.
    pub audiences: Option<Vec<String>>,
    /// It must be of this issuer (`iss`), if one is named.
    pub issuer: Option<String>,
    /// The claim that names the subject.
    pub subject_claim: String,
    /// The claim that names scopes: a text with spaces between them (RFC 8693), or a list.
    pub scope_claim: String,
    /// It must have all of these scopes.
    pub scopes: Vec<String>,
    /// How far clocks may be apart.
    pub skew: Duration,
    /// Names that no token can be for.
    pub reserved: Vec<String>,
}

impl TokenRules {
    /// Checks a token. `now` is the time since 1970. Takes some ten microseconds: not on a shard.
    ///
    /// # Errors
    /// [`TokenError`].
    pub fn verify(
        &self,
        keys: &KeySet,
        token: &[u8],
        now: Duration,
    ) -> Result<Verified, TokenError> {
        if token.len() > TOKEN_BYTES_MAX {
            return Err(TokenError::Long(token.len()));
        }
        let payload = signed(keys, token)?;
        let claims = members(&payload)?;
        let holds = self.period(&claims, now)?;
        self.check_origin(&claims)?;
        let principal = self.subject(&claims)?;
        self.check_scopes(&claims)?;
        Ok(Verified { principal, holds })
    }

    /// How long it holds.
    fn period(&self, claims: &Members, now: Duration) -> Result<Duration, TokenError> {
        let time = |claim: &str| {
            claims
                .get(claim)
                .map(|value| seconds(claim, value))
                .transpose()
        };
        let needed =
            |claim: &str| time(claim)?.ok_or_else(|| TokenError::Missing(claim.to_owned()));
        let (ends, issued, begins) = (needed("exp")?, needed("iat")?, time("nbf")?);
        let latest = now.saturating_add(self.skew);
        if issued > latest || begins.is_some_and(|begins| begins > latest) {
            return Err(TokenError::Early);
        }
        let left = |end: Duration| end.checked_sub(now).filter(|left| !left.is_zero());
        let left = left(ends).or_else(|| left(ends.saturating_add(self.skew)));
        left.ok_or(TokenError::Expired)
    }

    fn check_origin(&self, claims: &Members) -> Result<(), TokenError> {
        if let Some(wanted) = &self.issuer {
            match claims.get("iss") {
                Some(Value::String(found)) if found == wanted => {}
                Some(Value::String(_)) | None => return Err(TokenError::Issuer),
                Some(_) => return Err(TokenError::Type("iss".to_owned())),
            }
        }
        if let Some(wanted) = &self.audiences {
            let found = texts("aud", claims.get("aud"))?;
            if !found
                .iter()
                .any(|found| wanted.iter().any(|it| it == found))
            {
                return Err(TokenError::Audience);
            }
        }
        Ok(())
    }

    fn subject(&self, claims: &Members) -> Result<Principal, TokenError> {
        let claim = &self.subject_claim;
        let subject = match claims.get(claim) {
            Some(Value::String(subject)) => subject,
            Some(_) => return Err(TokenError::Type(claim.clone())),
            None => return Err(TokenError::Missing(claim.clone())),
        };
        let bytes = USER.len() + 1 + subject.len();
        if subject.is_empty()
            || bytes > PRINCIPAL_BYTES_MAX
            || subject.chars().any(char::is_control)
        {
            return Err(TokenError::Subject);
        }
        if self.reserved.contains(subject) {
            return Err(TokenError::Administrator);
        }
        Ok(Principal::user(subject))
    }

    fn check_scopes(&self, claims: &Members) -> Result<(), TokenError> {
        let found = texts(&self.scope_claim, claims.get(&self.scope_claim))?;
        let has = |wanted: &String| {
            let mut parts = found.iter().flat_map(|found| found.split(' '));
            parts.any(|found| found == wanted)
        };
        match self.scopes.iter().all(has) {
            true => Ok(()),
            false => Err(TokenError::Scope(self.scopes.join(" "))),
        }
    }
}

/// The members of an object, each named once.
type Members = BTreeMap<String, Value>;

/// Reads an object whose members are named once (RFC 7519 section 4 leaves it to us to refuse others).
struct Unique(Members);

impl<'de> Deserialize<'de> for Unique {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Reader;
        impl<'de> Visitor<'de> for Reader {
            type Value = Unique;
            fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
                out.write_str("an object")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Unique, A::Error> {
                let mut members = Members::new();
                while let Some((name, value)) = map.next_entry::<String, Value>()? {
                    if members.insert(name, value).is_some() {
                        return Err(A::Error::custom("a member is named twice"));
                    }
                }
                Ok(Unique(members))
            }
        }
        deserializer.deserialize_map(Reader)
    }
}

fn members(bytes: &[u8]) -> Result<Members, TokenError> {
    let read: Result<Unique, _> = serde_json::from_slice(bytes);
    read.map(|read| read.0).map_err(|_| TokenError::Shape)
}

fn decoded(part: &[u8]) -> Result<Vec<u8>, TokenError> {
    let decoded = base64_simd::URL_SAFE_NO_PAD.decode_to_vec(part);
    decoded.map_err(|_| TokenError::Shape)
}

/// The payload of a token whose signature is right.
pub(super) fn signed(keys: &KeySet, token: &[u8]) -> Result<Vec<u8>, TokenError> {
    let mut parts = token.split(|byte| *byte == b'.');
    let (Some(header), Some(payload), Some(signature), None) =
        (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return Err(TokenError::Shape);
    };
    let message = &token[..header.len() + 1 + payload.len()];
    let header = members(&decoded(header)?)?;
    let (payload, signature) = (decoded(payload)?, decoded(signature)?);
    let algorithm = match header.get("alg") {
        Some(Value::String(name)) => Algorithm::of_name(name).ok_or(TokenError::Algorithm)?,
        _ => return Err(TokenError::Algorithm),
    };
    if header.contains_key("crit") {
        return Err(TokenError::Critical);
    }
    let name = match header.get("kid") {
        None => None,
        Some(Value::String(name)) if name.len() <= KEY_NAME_BYTES_MAX => Some(name.as_str()),
        Some(_) => return Err(TokenError::Type("kid".to_owned())),
    };
    let key = keys.find(name, algorithm);
    let key = key.ok_or_else(|| TokenError::Key(name.map(str::to_owned)))?;
    match key.has_signed(algorithm, message, &signature) {
        true => Ok(payload),
        false => Err(TokenError::Signature),
    }
}

/// A NumericDate: seconds since 1970, perhaps with a fraction.
fn seconds(claim: &str, value: &Value) -> Result<Duration, TokenError> {
    let number = value.as_f64().filter(|it| (0.0..=SECONDS_MAX).contains(it));
    let number = number.ok_or_else(|| TokenError::Type(claim.to_owned()))?;
    Ok(Duration::from_secs_f64(number))
}

/// A claim that is a text or a list of texts; nothing where it is missing.
fn texts<'a>(claim: &str, value: Option<&'a Value>) -> Result<Vec<&'a str>, TokenError> {
    let wrong = || TokenError::Type(claim.to_owned());
    match value {
        None => Ok(Vec::new()),
        Some(Value::String(one)) => Ok(vec![one]),
        Some(Value::Array(many)) => {
            let texts = many.iter().map(|one| one.as_str().ok_or_else(wrong));
            texts.collect()
        }
        Some(_) => Err(wrong()),
    }
}
