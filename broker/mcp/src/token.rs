//! [`Token`]: what whoever may use the server over HTTP sends as `Authorization: Bearer`.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use security::secret::Secret;

/// Bytes of a token at least: fewer can be guessed.
const TOKEN_BYTES_MIN: usize = 16;
/// Bytes of a token at most.
const TOKEN_BYTES_MAX: usize = 4_096;

/// A token, compared in constant time.
#[derive(Debug, Clone)]
pub struct Token(Secret);

/// Why a file gives no token.
#[derive(Debug, thiserror::Error)]
pub enum TokenError {
    /// It cannot be read.
    #[error("read {}: {cause}", .path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why not.
        cause: io::Error,
    },
    /// What it holds cannot be used.
    #[error(
        "{} holds no token: it must be one line of {TOKEN_BYTES_MIN} to {TOKEN_BYTES_MAX} visible ASCII characters, for \
         example of `openssl rand -hex 32`",
        .0.display()
    )]
    Content(PathBuf),
}

impl Token {
    /// Reads a token: the one line of a file.
    ///
    /// # Errors
    /// [`TokenError`].
    pub fn read(path: &Path) -> Result<Self, TokenError> {
        let failed = |cause| TokenError::Read {
            path: path.to_owned(),
            cause,
        };
        let mut text = Vec::new();
        let file = File::open(path).map_err(failed)?;
        let mut file = file.take(TOKEN_BYTES_MAX as u64 + 2);
        file.read_to_end(&mut text).map_err(failed)?;
        Self::new(text.trim_ascii_end()).ok_or_else(|| TokenError::Content(path.to_owned()))
    }

    fn new(token: &[u8]) -> Option<Self> {
        let length = (TOKEN_BYTES_MIN..=TOKEN_BYTES_MAX).contains(&token.len());
        let visible = token.iter().all(u8::is_ascii_graphic);
        (length && visible).then(|| Self(Secret::new(token)))
    }

    /// Whether the value of an `Authorization` header carries this token (RFC 6750).
    pub(crate) fn is_in(&self, authorization: &[u8]) -> bool {
        const SCHEME: &[u8] = b"bearer ";
        let Some((scheme, token)) = authorization.split_at_checked(SCHEME.len()) else {
            return false;
        };
        scheme.eq_ignore_ascii_case(SCHEME) && self.0.is(token.trim_ascii())
    }
}

#[cfg(test)]
impl Token {
    pub(crate) fn of(token: &str) -> Self {
        Self::new(token.as_bytes()).unwrap()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOKEN: &str = "0123456789abcdef";

    #[test]
    fn only_the_token_itself_is_let_in() {
        let token = Token::of(TOKEN);
        for right in ["Bearer 0123456789abcdef", "bearer  0123456789abcdef "] {
            assert!(token.is_in(right.as_bytes()), "{right}");
        }
        for wrong in [
            "",
            "Bearer",
            "Bearer ",
            "0123456789abcdef",
            "Basic 0123456789abcdef",
            "Bearer 0123456789abcdeF",
            "Bearer 0123456789abcdef0",
            "Bearer 0123456789abcde",
        ] {
            assert!(!token.is_in(wrong.as_bytes()), "{wrong}");
        }
    }

    #[test]
    fn a_token_that_can_be_guessed_is_refused() {
        for weak in [
            "",
            "short",
            "0123456789abcde",
            "0123456789 abcdef",
            "0123456789\nabcdef",
        ] {
            assert!(Token::new(weak.as_bytes()).is_none(), "{weak:?}");
        }
        assert!(Token::new(TOKEN.as_bytes()).is_some());
        assert!(Token::new(&[b'a'; TOKEN_BYTES_MAX + 1]).is_none());
    }
}
