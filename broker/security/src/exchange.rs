//! One SASL exchange, whatever its mechanism: what came is turned into what to answer, or what to look up first.
//!
//! The caller owns the store of verifiers, randomness and the clock, and carries out what a [`Step`] asks for. A
//! failure ends the exchange; its text tells a client no more than Kafka's does.

use std::fmt;

use crate::oauth::{self, BearerMessage, TokenError, Verified};
use crate::plain::{self, PlainMessage};
use crate::principal::Principal;
use crate::scram::{ClientFirst, MalformedMessage, ScramHash, ScramServer, Verifier};

/// A SASL mechanism, by the name that clients ask for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Mechanism {
    /// A password in the clear: over TLS only.
    Plain,
    /// SCRAM.
    Scram(ScramHash),
    /// A bearer token (RFC 7628).
    OauthBearer,
}

impl Mechanism {
    /// All that are known, in the order in which they are told.
    pub const ALL: [Self; 4] = [
        Self::Scram(ScramHash::Sha256),
        Self::Scram(ScramHash::Sha512),
        Self::Plain,
        Self::OauthBearer,
    ];

    /// Its registered name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Plain => "PLAIN",
            Self::Scram(ScramHash::Sha256) => "SCRAM-SHA-256",
            Self::Scram(ScramHash::Sha512) => "SCRAM-SHA-512",
            Self::OauthBearer => "OAUTHBEARER",
        }
    }

    /// The mechanism with this name.
    pub fn of_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|known| known.name() == name)
    }
}

impl fmt::Display for Mechanism {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self.name())
    }
}

/// Why an exchange failed. To the client all are SASL_AUTHENTICATION_FAILED.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// A message is not what the mechanism says.
    #[error("{0}")]
    Malformed(#[from] MalformedMessage),
    /// User, password, proof or nonce are not right.
    #[error("invalid credentials")]
    Credentials,
    /// The client wants to act as somebody else.
    #[error("the authorization id is not that of the user")]
    Impersonation,
    /// A message came when none was expected.
    #[error("a message after the end of the exchange")]
    Over,
    /// The token was refused, and the client has taken note. What it was told, which Kafka tells it once more.
    #[error("{0}")]
    Token(String),
}

/// What to do after a message of the client.
#[derive(Debug)]
pub enum Step {
    /// Look up the verifier of this user and hash, then call [`Exchange::with_verifier`].
    Verifier(String, ScramHash),
    /// Check this password, off the shard, then answer with an empty message.
    Password(PlainMessage),
    /// Check the token of this message, off the shard, then call [`Exchange::with_token`].
    Token(BearerMessage),
    /// Answer with this; the exchange goes on.
    Reply(Vec<u8>),
    /// Answer with this; the client is who it says.
    Done(Principal, Vec<u8>),
}

#[derive(Debug)]
enum State {
    Begun,
    Asking(Box<ClientFirst>),
    Challenged(Box<ScramServer>),
    /// A token is checked, from a client that wants to act as this one, or as itself.
    Checking(String),
    /// A token was refused with these words, of which the client has yet to take note (RFC 7628 section 3.2.3).
    Refused(String),
    Over,
}

/// One exchange.
#[derive(Debug)]
pub struct Exchange {
    mechanism: Mechanism,
    state: State,
}

impl Exchange {
    /// An exchange in which nothing was said yet.
    pub fn new(mechanism: Mechanism) -> Self {
        Self {
            mechanism,
            state: State::Begun,
        }
    }

    /// Its mechanism.
    pub fn mechanism(&self) -> Mechanism {
        self.mechanism
    }

    /// Takes a message of the client.
    ///
    /// # Errors
    /// [`Failure`]; the exchange is over.
    pub fn message(&mut self, bytes: &[u8]) -> Result<Step, Failure> {
        let state = std::mem::replace(&mut self.state, State::Over);
        match (state, self.mechanism) {
            (State::Begun, Mechanism::Plain) => Ok(Step::Password(plain::parse(bytes)?)),
            (State::Begun, Mechanism::OauthBearer) => {
                let message = BearerMessage::parse(bytes)?;
                self.state = State::Checking(message.authorization_id.clone());
                Ok(Step::Token(message))
            }
            (State::Begun, Mechanism::Scram(hash)) => {
                let first = ClientFirst::parse(bytes)?;
                let user = first.user.clone();
                self.state = State::Asking(Box::new(first));
                Ok(Step::Verifier(user, hash))
            }
            (State::Challenged(server), _) => {
                let proof = server.finish(bytes)?;
                Ok(Step::Done(Principal::user(server.user()), proof))
            }
            (State::Refused(told), _) if bytes == [oauth::SEPARATOR] => Err(Failure::Token(told)),
            (State::Refused(_), _) => Err(MalformedMessage::Shape.into()),
            (State::Asking(_) | State::Checking(_) | State::Over, _) => Err(Failure::Over),
        }
    }

    /// Goes on with the verifier that [`Step::Verifier`] asked for: the user's, or [`Verifier::of_nobody`].
    ///
    /// # Errors
    /// [`Failure`]; the exchange is over.
    pub fn with_verifier(&mut self, verifier: Verifier, nonce: &str) -> Result<Step, Failure> {
        match std::mem::replace(&mut self.state, State::Over) {
            State::Asking(first) => {
                let (server, reply) = ScramServer::begin(*first, verifier, nonce)?;
                self.state = State::Challenged(Box::new(server));
                Ok(Step::Reply(reply.message))
            }
            _ => Err(Failure::Over),
        }
    }

    /// Goes on with the verdict on the token that [`Step::Token`] asked for. A client whose token is refused is told
    /// so, and the exchange fails when it has taken note.
    ///
    /// # Errors
    /// [`Failure::Impersonation`] if the client wants to act as somebody else than its token says; the exchange is over.
    pub fn with_token(&mut self, verdict: Result<Verified, TokenError>) -> Result<Step, Failure> {
        let State::Checking(wanted) = std::mem::replace(&mut self.state, State::Over) else {
            return Err(Failure::Over);
        };
        match verdict {
            Ok(found) if wanted.is_empty() || wanted == found.principal.name() => {
                Ok(Step::Done(found.principal, Vec::new()))
            }
            Ok(_) => Err(Failure::Impersonation),
            Err(error) => {
                let told = error.challenge();
                self.state = State::Refused(told.clone());
                Ok(Step::Reply(told.into_bytes()))
            }
        }
    }
}
