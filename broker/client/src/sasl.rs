//! How a client says who it is: a user and a password, by SCRAM or PLAIN.

use security::Mechanism;
use security::scram::{ScramClient, ScramHash};
use security::secret::Secret;
use wire::messages::{SaslAuthenticateRequest, SaslHandshakeRequest};

use crate::connection::Connection;
use crate::error::ClientError;

/// A user, its password and the mechanism to show it by.
#[derive(Debug, Clone)]
pub struct SaslCredentials {
    /// The mechanism.
    pub mechanism: Mechanism,
    /// The user.
    pub user: String,
    /// Its password.
    pub password: Secret,
}

impl Connection {
    /// Shows who the client is. The connection is of no use after an error.
    pub(crate) fn authenticate(&mut self, as_whom: &SaslCredentials) -> Result<(), ClientError> {
        let address = self.address().to_owned();
        let mechanism = as_whom.mechanism.name();
        let reply = self.call(&SaslHandshakeRequest { mechanism })?;
        let response = reply.decode()?;
        let offered = response.mechanisms.join(", ");
        let operation = || format!("authenticate at {address} with {mechanism}");
        let words = Some(format!("the broker offers {offered}")).filter(|_| !offered.is_empty());
        ClientError::check(operation, response.error_code, words.as_deref())?;
        match as_whom.mechanism {
            Mechanism::Plain => {
                let password = as_whom.password.expose();
                let message = [b"\0", as_whom.user.as_bytes(), b"\0", password].concat();
                self.say(&message).map(drop)
            }
            Mechanism::Scram(hash) => self.scram(hash, as_whom),
            Mechanism::OauthBearer => Err(ClientError::Usage(
                "this client has no tokens: use SCRAM-SHA-256, SCRAM-SHA-512 or PLAIN".to_owned(),
            )),
        }
    }

    fn scram(&mut self, hash: ScramHash, as_whom: &SaslCredentials) -> Result<(), ClientError> {
        let address = self.address().to_owned();
        let fault = |reason: String| ClientError::Protocol {
            address: address.clone(),
            reason,
        };
        let nonce = security::nonce().ok_or_else(|| fault("no random numbers here".to_owned()))?;
        let password = as_whom.password.clone();
        let (client, first) = ScramClient::begin(hash, &as_whom.user, password, nonce);
        let challenge = self.say(&first)?;
        let (proven, last) = client.prove(&challenge).map_err(|e| fault(e.to_string()))?;
        let verdict = self.say(&last)?;
        proven.check(&verdict).map_err(|e| fault(e.to_string()))
    }

    fn say(&mut self, auth_bytes: &[u8]) -> Result<Vec<u8>, ClientError> {
        let address = self.address().to_owned();
        let reply = self.call(&SaslAuthenticateRequest { auth_bytes })?;
        let response = reply.decode()?;
        let operation = || format!("authenticate at {address}");
        ClientError::check(operation, response.error_code, response.error_message)?;
        Ok(response.auth_bytes.to_vec())
    }
}
