//! PLAIN (RFC 4616): authorization id, user and password in one message, as `PlainSaslServer` reads it.

use crate::exchange::Failure;
use crate::scram::MalformedMessage;
use crate::secret::Secret;

/// What a client says with PLAIN.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlainMessage {
    /// The user's name.
    pub user: String,
    /// The password.
    pub password: Secret,
}

/// Parses the only message of PLAIN.
///
/// # Errors
/// [`Failure::Malformed`]; [`Failure::Impersonation`] if the authorization id is neither empty nor the user's own
/// (CVE-2017-12610).
pub fn parse(bytes: &[u8]) -> Result<PlainMessage, Failure> {
    let mut parts = bytes.split(|byte| *byte == 0);
    let (Some(authorization), Some(user), Some(password), None) =
        (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return Err(MalformedMessage::Shape.into());
    };
    let text = |bytes| std::str::from_utf8(bytes).map_err(|_| MalformedMessage::Text);
    let (authorization, user) = (text(authorization)?, text(user)?);
    text(password)?;
    if user.is_empty() || password.is_empty() {
        return Err(MalformedMessage::Shape.into());
    }
    if !authorization.is_empty() && authorization != user {
        return Err(Failure::Impersonation);
    }
    Ok(PlainMessage {
        user: user.to_owned(),
        password: Secret::new(password),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_message_says_it_all() {
        let found = parse(b"\0alice\0pa,ss").unwrap();
        assert_eq!(found.user, "alice");
        assert!(found.password.is(b"pa,ss"));
        assert!(!format!("{found:?}").contains("pa,ss"));
        assert_eq!(parse(b"alice\0alice\0x").unwrap().user, "alice");
    }

    #[test]
    fn nobody_acts_as_another() {
        assert_eq!(parse(b"admin\0alice\0x"), Err(Failure::Impersonation));
    }

    #[test]
    fn what_is_no_message_is_refused() {
        for bad in [
            b"".as_slice(),
            b"alice",
            b"\0alice",
            b"\0\0x",
            b"\0alice\0",
            b"\0a\0b\0c",
            b"\0\xff\0x",
            b"\0a\0\xff",
        ] {
            assert!(matches!(parse(bad), Err(Failure::Malformed(_))), "{bad:?}");
        }
    }
}
