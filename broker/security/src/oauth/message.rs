//! The first message of OAUTHBEARER: `n,a=who,\x01auth=Bearer token\x01name=value\x01\x01` (RFC 7628 section 3.1).

use crate::exchange::Failure;
use crate::scram::MalformedMessage;
use crate::secret::Secret;

/// What ends each part of the message, and is all that a client answers to a refusal.
pub(crate) const SEPARATOR: u8 = 1;
/// The part that holds the token.
const AUTH: &str = "auth";
/// The scheme of its value, in any case.
const SCHEME: &str = "bearer";
/// Extensions at most. Kafka has no bound but that of the message.
const EXTENSIONS_MAX: usize = 64;

/// What a client says with OAUTHBEARER.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BearerMessage {
    /// As whom it wants to act; empty where it does not say. Escapes (`=2C`, `=3D`) are left as they are, as by Kafka.
    pub authorization_id: String,
    /// The token, not checked yet.
    pub token: Secret,
    /// Extensions (KIP-342), in their order. No part of the broker has a use for any.
    pub extensions: Vec<(String, String)>,
}

impl BearerMessage {
    /// Parses the message by the rules of Kafka's `OAuthBearerClientInitialResponse`.
    ///
    /// # Errors
    /// [`Failure::Malformed`]: it is not of this form, has no token or two, or an extension whose name or value is not
    /// allowed.
    pub fn parse(bytes: &[u8]) -> Result<Self, Failure> {
        let shape = || Failure::from(MalformedMessage::Shape);
        let text = std::str::from_utf8(bytes).map_err(|_| MalformedMessage::Text)?;
        let rest = text.strip_prefix("n,").ok_or_else(shape)?;
        let (authorization_id, rest) = rest.split_once(',').ok_or_else(shape)?;
        let authorization_id = match authorization_id.strip_prefix("a=") {
            Some(name) if is_saslname(name) => name,
            None if authorization_id.is_empty() => "",
            _ => return Err(shape()),
        };
        let rest = rest.strip_prefix('\u{1}').ok_or_else(shape)?;
        let pairs = rest.strip_suffix('\u{1}').ok_or_else(shape)?;
        let pairs = pairs.strip_suffix('\u{1}').ok_or_else(shape)?;
        let mut token = None;
        let mut extensions = Vec::<(String, String)>::new();
        for pair in pairs.split('\u{1}') {
            let (name, value) = pair.split_once('=').ok_or_else(shape)?;
            if !is_name(name) || !is_value(value) || extensions.len() == EXTENSIONS_MAX {
                return Err(shape());
            }
            if name == AUTH {
                let found = bearer(value).ok_or_else(shape)?;
                if token.replace(Secret::new(found)).is_some() {
                    return Err(shape());
                }
            } else if extensions.iter().any(|(before, _)| before == name) {
                return Err(shape());
            } else {
                extensions.push((name.to_owned(), value.to_owned()));
            }
        }
        Ok(Self {
            authorization_id: authorization_id.to_owned(),
            token: token.ok_or_else(shape)?,
            extensions,
        })
    }
}

/// A name of RFC 5801: without `=` and `,` but in their escapes.
fn is_saslname(name: &str) -> bool {
    let escaped = name.replace("=2C", "").replace("=3D", "");
    let allowed = |byte: u8| matches!(byte, 1..=0x7f) && byte != b'=' && byte != b',';
    !name.is_empty() && escaped.bytes().all(allowed)
}

fn is_name(name: &str) -> bool {
    !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphabetic())
}

fn is_value(value: &str) -> bool {
    let allowed = |byte: u8| matches!(byte, 0x21..=0x7e | b' ' | b'\t' | b'\r' | b'\n');
    !value.is_empty() && value.bytes().all(allowed)
}

/// The token of `Bearer token` (RFC 6750 section 2.1).
fn bearer(value: &str) -> Option<&str> {
    let (scheme, token) = value.split_once(' ')?;
    let token = token.trim_start_matches(' ');
    let body = token.trim_end_matches('=');
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-_~+/.".contains(&byte);
    let is_token = !body.is_empty() && body.bytes().all(allowed);
    (scheme.eq_ignore_ascii_case(SCHEME) && is_token).then_some(token)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<BearerMessage, Failure> {
        BearerMessage::parse(text.replace('^', "\u{1}").as_bytes())
    }

    /// RFC 7628 section 4.1, with the port of that example; and what Java, librdkafka and franz-go send.
    #[test]
    fn what_clients_send_is_read() {
        let found = parse(
            "n,a=user@example.com,^host=server.example.com^port=143^\
             auth=Bearer vF9dft4qmTc2Nvb3RlckBhbHRhdmlzdGEuY29tCg==^^",
        );
        let found = found.unwrap();
        assert_eq!(found.authorization_id, "user@example.com");
        assert!(
            found
                .token
                .is(b"vF9dft4qmTc2Nvb3RlckBhbHRhdmlzdGEuY29tCg==")
        );
        let host = ("host".to_owned(), "server.example.com".to_owned());
        assert_eq!(
            found.extensions,
            [host, ("port".to_owned(), "143".to_owned())]
        );
        for text in ["n,,^auth=Bearer a.b.c^^", "n,,^auth=bearer  a.b.c^^"] {
            let found = parse(text).unwrap();
            assert!(found.token.is(b"a.b.c") && found.authorization_id.is_empty());
            assert!(!format!("{found:?}").contains("a.b.c"));
        }
        assert_eq!(
            parse("n,a==2Cx=3D,^auth=Bearer a^^")
                .unwrap()
                .authorization_id,
            "=2Cx=3D"
        );
    }

    #[test]
    fn what_is_no_message_is_refused() {
        for bad in [
            "",
            "^",
            "n",
            "n,,",
            "n,,^",
            "n,,^^",
            "n,,^^^",
            "y,,^auth=Bearer a^^",
            "p=x,,^auth=Bearer a^^",
            "n,,auth=Bearer a^^",
            "n,,^auth=Bearer a^",
            "n,,^auth=Bearer a",
            "n,,^auth=Bearer a^^x",
            "n,b=x,^auth=Bearer a^^",
            "n,a=,^auth=Bearer a^^",
            "n,a=x=y,^auth=Bearer a^^",
            "n,a=x",
            "n,,^auth=Basic a^^",
            "n,,^auth=Bearer^^",
            "n,,^auth=Bearer ^^",
            "n,,^auth=Bearer a b^^",
            "n,,^auth=Bearer ==^^",
            "n,,^auth=Bearer a=b^^",
            "n,,^auth=^^",
            "n,,^host=x^^",
            "n,,^auth=Bearer a^auth=Bearer b^^",
            "n,,^auth=Bearer a^x=1^x=2^^",
            "n,,^auth=Bearer a^x1=1^^",
            "n,,^auth=Bearer a^x=^^",
            "n,,^auth=Bearer a^x=\u{e9}^^",
            "n,,^auth=Bearer a^x^^",
            "n,,^auth=Bearer a^^^",
        ] {
            let found = parse(bad);
            assert!(
                matches!(found, Err(Failure::Malformed(_))),
                "{bad}: {found:?}"
            );
        }
        assert!(BearerMessage::parse(b"n,,\x01auth=Bearer \xff\x01\x01").is_err());
    }

    #[test]
    fn extensions_are_bounded() {
        let with = |count: usize| {
            let name = |at: usize| {
                let letter = |at: usize| char::from(b'a' + u8::try_from(at % 26).unwrap());
                format!("{}{}", letter(at / 26), letter(at))
            };
            let all: String = (0..count).map(|at| format!("{}=1^", name(at))).collect();
            parse(&format!("n,,^auth=Bearer a^{all}^"))
        };
        assert_eq!(
            with(EXTENSIONS_MAX).unwrap().extensions.len(),
            EXTENSIONS_MAX
        );
        assert!(with(EXTENSIONS_MAX + 1).is_err());
    }
}
