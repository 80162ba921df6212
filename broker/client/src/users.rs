//! Users of the cluster: their SCRAM credentials.

use security::scram::{ITERATIONS_MIN, ScramHash, random_salt};
use security::secret::Secret;
use wire::messages::alter_user_scram_credentials::{
    ScramCredentialDeletion, ScramCredentialUpsertion,
};
use wire::messages::{AlterUserScramCredentialsRequest, DescribeUserScramCredentialsRequest};

use crate::error::ClientError;
use crate::router::Client;

/// What is stored of a user's password.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredUser {
    /// The name.
    pub user: String,
    /// The hashes, with their iterations.
    pub hashes: Vec<(ScramHash, i32)>,
}

impl Client {
    /// All users with a stored password.
    ///
    /// # Errors
    /// The broker refuses.
    pub fn users(&mut self) -> Result<Vec<StoredUser>, ClientError> {
        let reply = self.call_any(&DescribeUserScramCredentialsRequest { users: None })?;
        let response = reply.decode()?;
        let operation = || "list users".to_owned();
        ClientError::check(operation, response.error_code, response.error_message)?;
        let users = response.results.iter().map(|result| {
            ClientError::check(operation, result.error_code, result.error_message)?;
            let infos = result.credential_infos.iter();
            Ok(StoredUser {
                user: result.user.to_owned(),
                hashes: infos
                    .filter_map(|it| Some((ScramHash::of_code(it.mechanism)?, it.iterations)))
                    .collect(),
            })
        });
        users.collect()
    }

    /// Sets a user's password for every SCRAM mechanism; the broker is sent hashes, not the password.
    ///
    /// # Errors
    /// The broker refuses.
    pub fn set_password(&mut self, user: &str, password: &Secret) -> Result<(), ClientError> {
        let no_random = || ClientError::Usage("there are no random numbers here".to_owned());
        let salt = random_salt().ok_or_else(no_random)?;
        let salted = ScramHash::ALL
            .map(|hash| (hash, hash.salted(password.expose(), &salt, ITERATIONS_MIN)));
        let upsertions = salted.iter().filter_map(|(hash, salted)| {
            Some(ScramCredentialUpsertion {
                name: user,
                mechanism: hash.code(),
                iterations: i32::try_from(ITERATIONS_MIN).ok()?,
                salt: &salt,
                salted_password: salted.as_ref()?,
            })
        });
        let upsertions = upsertions.collect();
        self.alter_user(user, &[], upsertions)
    }

    /// Removes what is stored of a user's password.
    ///
    /// # Errors
    /// The broker refuses, for example because there is no such user.
    pub fn delete_user(&mut self, user: &str) -> Result<(), ClientError> {
        let users = self.users()?;
        let stored = users.iter().find(|stored| stored.user == user);
        let hashes = stored.map_or_else(
            || vec![ScramHash::Sha256],
            |stored| stored.hashes.iter().map(|(hash, _)| *hash).collect(),
        );
        self.alter_user(user, &hashes, Vec::new())
    }

    fn alter_user(
        &mut self,
        user: &str,
        deleted: &[ScramHash],
        upsertions: Vec<ScramCredentialUpsertion<'_>>,
    ) -> Result<(), ClientError> {
        let deletions = deleted.iter().map(|hash| ScramCredentialDeletion {
            name: user,
            mechanism: hash.code(),
        });
        let request = AlterUserScramCredentialsRequest {
            deletions: deletions.collect(),
            upsertions,
        };
        let reply = self.call_any(&request)?;
        let operation = || format!("change user {user}");
        reply.decode()?.results.iter().try_for_each(|result| {
            ClientError::check(operation, result.error_code, result.error_message)
        })
    }
}
