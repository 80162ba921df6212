//! What the settings say of authentication: mechanisms, and the administrator's password.

use std::path::{Path, PathBuf};

use security::acl::AclBinding;
use security::proxy::Networks;
use security::{Mechanism, Principal};

use super::{AuthorizerMode, Config, Protocol, Secret};
use crate::security::document::{self, DocumentError};

/// Bytes of a file that holds a password, at most.
const PASSWORD_FILE_BYTES_MAX: u64 = 4096;

/// A listener that anybody may use.
const UNSAFE: &str = "broker.addr is reached from other machines, and anybody there could read, write and delete \
    everything: set tls.cert_file or security.sasl_mechanisms (docs/security.md), or say security.allow_insecure = true \
    (KAFSCALE_ALLOW_INSECURE=true)";
/// The same of one with a name.
const UNSAFE_NAMED: &str = "its address is reached from other machines, and anybody there could read, write and delete \
    everything: give it SSL or SASL_SSL in listeners.protocols (docs/security.md), or say security.allow_insecure = true \
    (KAFSCALE_ALLOW_INSECURE=true)";

/// Why a password of the settings cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum SecurityError {
    /// The file cannot be read.
    #[error("read {setting} {path}: {source}", path = .path.display())]
    File {
        /// What names the file.
        setting: &'static str,
        /// The file.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// What is in the file is no password.
    #[error(
        "{0} {path} is empty, has control characters, or more than \
         {PASSWORD_FILE_BYTES_MAX} bytes: write the password into it, in one line",
        path = .1.display()
    )]
    Content(&'static str, PathBuf),
}

/// A password: that of the first line of a file, or the one that is set.
fn password(
    setting: &'static str,
    file: Option<&Path>,
    set: &Option<Secret>,
) -> Result<Option<Secret>, SecurityError> {
    let Some(path) = file else {
        return Ok(set.clone());
    };
    let failed = |source| SecurityError::File {
        setting,
        path: path.to_owned(),
        source,
    };
    let refused = || SecurityError::Content(setting, path.to_owned());
    if std::fs::metadata(path).map_err(failed)?.len() > PASSWORD_FILE_BYTES_MAX {
        return Err(refused());
    }
    let text = zeroize::Zeroizing::new(std::fs::read_to_string(path).map_err(failed)?);
    let line = text.trim_end_matches(['\n', '\r']);
    if line.is_empty() || line.chars().any(char::is_control) {
        return Err(refused());
    }
    Ok(Some(Secret::new(line)))
}

impl Config {
    /// The SASL mechanisms that clients may use; none where nobody has to authenticate.
    pub fn sasl_mechanisms(&self) -> Vec<Mechanism> {
        let names = self.security.sasl_mechanisms.iter();
        names.filter_map(|name| Mechanism::of_name(name)).collect()
    }

    /// The administrator's password: that of the environment, or the first line of its file.
    ///
    /// # Errors
    /// [`SecurityError`].
    pub fn admin_password(&self) -> Result<Option<Secret>, SecurityError> {
        let settings = &self.security;
        let file = settings.admin_password_file.as_deref();
        password(
            "security.admin_password_file",
            file,
            &settings.admin_password,
        )
    }

    /// The console's own account, if there is one: its name and password, which is that of the environment, or the
    /// first line of its file.
    ///
    /// # Errors
    /// [`SecurityError`].
    pub fn console_account(&self) -> Result<Option<(&str, Secret)>, SecurityError> {
        let settings = &self.admin;
        let file = settings.ui_password_file.as_deref();
        let password = password("admin.ui_password_file", file, &settings.ui_password)?;
        Ok(settings.ui_username.as_deref().zip(password))
    }

    pub(super) fn find_console_conflicts(&self, require: &mut impl FnMut(bool, &str)) {
        let settings = &self.admin;
        let (word, file) = (
            settings.ui_password.is_some(),
            settings.ui_password_file.is_some(),
        );
        require(
            settings.ui_username.is_some() == (word || file),
            "admin.ui_username and its password go together: set KAFSCALE_UI_USERNAME, and KAFSCALE_UI_PASSWORD or \
             admin.ui_password_file; or none of them",
        );
        require(
            !(word && file),
            "admin.ui_password and admin.ui_password_file exclude each other: set one",
        );
    }

    /// Whether rules decide what clients may do.
    pub fn has_authorizer(&self) -> bool {
        // Of whichever listener: rules hold for clients of all of them.
        let mut listeners = self.kafka_listeners().into_iter();
        match self.security.authorizer {
            AuthorizerMode::Off => false,
            AuthorizerMode::On => true,
            AuthorizerMode::Auto => listeners.any(|it| it.authenticates()),
        }
    }

    /// What contradicts itself or cannot be, of what is said about authentication.
    pub(super) fn find_security_conflicts(&self, require: &mut impl FnMut(bool, &str)) {
        let settings = &self.security;
        let own = self.listeners.sasl_mechanisms.iter().map(|(_, name)| name);
        for name in settings.sasl_mechanisms.iter().chain(own) {
            require(
                Mechanism::of_name(name).is_some(),
                "security.sasl_mechanisms takes PLAIN, SCRAM-SHA-256, SCRAM-SHA-512 and OAUTHBEARER",
            );
        }
        let tls = &self.tls;
        let has_own_authority = !self.listeners.client_ca_files.is_empty();
        let listeners = self.kafka_listeners();
        for it in &listeners {
            let is_safe = it.addr.ip().is_loopback() || it.protocol != Protocol::Plaintext;
            let named = match self.listeners.bind.is_empty() {
                true => UNSAFE.to_owned(),
                false => format!("listener {}: {UNSAFE_NAMED}", it.name),
            };
            require(is_safe || settings.allow_insecure, &named);
        }
        require(
            tls.cert_file.is_some() == tls.key_file.is_some(),
            "tls.cert_file and tls.key_file go together: set both or neither",
        );
        require(
            tls.client_ca_file.is_none() || listeners.iter().any(|it| it.tls.is_some()),
            "tls.client_ca_file needs tls.cert_file and tls.key_file",
        );
        require(
            tls.crl_file.is_none() || tls.client_ca_file.is_some() || has_own_authority,
            "tls.crl_file needs tls.client_ca_file",
        );
        require(
            settings.admin_password.is_none() || settings.admin_password_file.is_none(),
            "security.admin_password and security.admin_password_file exclude each other: set one",
        );
        let has_admin = settings.admin_password.is_some() || settings.admin_password_file.is_some();
        require(
            !listeners.iter().any(|it| it.protocol.has_sasl()) || has_admin,
            "security.sasl_mechanisms needs an administrator, who makes the other users: set \
             security.admin_password_file (or KAFSCALE_ADMIN_PASSWORD)",
        );
        require(
            settings.proxy_protocol != settings.proxy_trusted.is_empty(),
            "security.proxy_protocol and security.proxy_trusted go together: name the proxies whose word for \
             a client's address is taken, as 10.0.0.7 or 10.0.0.0/8, for everybody can write a PROXY header",
        );
        require(
            self.trusted_proxies().is_ok(),
            "security.proxy_trusted takes addresses and networks, as 10.0.0.7 or 10.0.0.0/8",
        );
        self.find_oauth_conflicts(require);
        self.find_authorizer_conflicts(require);
        self.find_document_conflicts(require);
    }

    /// Rules that the settings name, in the form of the original KafScale.
    ///
    /// # Errors
    /// They cannot be read.
    pub fn fixed_rules(&self) -> Result<Vec<AclBinding>, DocumentError> {
        let settings = &self.security;
        match (&settings.acl_file, &settings.acl_json) {
            _ if !settings.acl_enabled => Ok(Vec::new()),
            (Some(path), _) => document::read(path),
            (None, text) => document::parse(text.as_deref().unwrap_or_default()),
        }
    }

    fn find_document_conflicts(&self, require: &mut impl FnMut(bool, &str)) {
        let settings = &self.security;
        let (has_json, has_file) = (settings.acl_json.is_some(), settings.acl_file.is_some());
        require(
            settings.acl_enabled == (has_json || has_file) && !(has_json && has_file),
            "security.acl_enabled goes with either security.acl_json or security.acl_file, which hold its rules",
        );
        require(
            !settings.acl_enabled || self.has_authorizer(),
            "security.acl_enabled: its rules name users, not the client ids that clients choose for themselves. Let \
             clients show who they are: set security.sasl_mechanisms, or tls.client_ca_file (docs/security.md)",
        );
        if let Some(text) = &settings.acl_json
            && let Err(error) = document::parse(text)
        {
            require(false, &format!("security.acl_json: {error}"));
        }
    }

    /// The proxies that tell for whom they open connections; nobody where the PROXY protocol is off.
    ///
    /// # Errors
    /// What is neither an address nor a network.
    pub fn trusted_proxies(&self) -> Result<Networks, &str> {
        Networks::parse(self.security.proxy_trusted.iter().map(String::as_str))
    }

    fn find_authorizer_conflicts(&self, require: &mut impl FnMut(bool, &str)) {
        let settings = &self.security;
        let mut super_users = settings.super_users.iter();
        require(
            super_users.all(|name| Principal::parse(name).is_ok()),
            "security.super_users takes principals, as User:alice",
        );
        let has_admin = settings.admin_password.is_some() || settings.admin_password_file.is_some();
        let has_super = has_admin || !settings.super_users.is_empty();
        require(
            !self.has_authorizer() || has_super || settings.allow_everyone_if_no_acl,
            "nobody could add rules: where clients must authenticate rules decide what they may do \
             (security.authorizer), so set security.super_users, which takes User:name, or \
             security.admin_password_file",
        );
    }
}
