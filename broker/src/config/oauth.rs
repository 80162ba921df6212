//! What the settings say of tokens: whose keys are believed, and what must be so of a token.

use std::net::IpAddr;

use hyper::Uri;
use security::Mechanism;
use security::oauth::TokenRules;

use super::Config;

/// In place of an audience: any, or none.
const ANY_AUDIENCE: &str = "*";

impl Config {
    /// Whether clients may authenticate by tokens, by any listener.
    pub fn takes_tokens(&self) -> bool {
        let listeners = self.kafka_listeners();
        let mut offered = listeners.iter().flat_map(|it| &it.mechanisms);
        offered.any(|it| *it == Mechanism::OauthBearer)
    }

    /// What must be so of a token.
    pub fn token_rules(&self) -> TokenRules {
        let settings = &self.oauth;
        let is_any = settings.audience.iter().any(|name| name == ANY_AUDIENCE);
        TokenRules {
            audiences: (!is_any).then(|| settings.audience.clone()),
            issuer: settings.issuer.clone(),
            subject_claim: settings.subject_claim.clone(),
            scope_claim: settings.scope_claim.clone(),
            scopes: settings.scopes.clone(),
            skew: settings.skew,
            reserved: vec![self.security.admin_user.clone()],
        }
    }

    /// What contradicts itself or cannot be, of what is said about tokens.
    pub(super) fn find_oauth_conflicts(&self, require: &mut impl FnMut(bool, &str)) {
        let settings = &self.oauth;
        let (file, url) = (&settings.jwks_file, &settings.jwks_url);
        let is_on = self.takes_tokens();
        require(
            !is_on || file.is_some() != url.is_some(),
            "OAUTHBEARER needs the keys that tokens are signed with: set one of oauth.jwks_file and oauth.jwks_url",
        );
        require(
            !is_on || !settings.audience.is_empty(),
            "OAUTHBEARER needs oauth.expected_audience: without it a token that a client has shown to any other \
             service of the issuer lets that service in here; oauth.expected_audience = \"*\" allows that",
        );
        let by_password = |it: &Mechanism| *it != Mechanism::OauthBearer;
        let among_brokers = self.inter_broker_listener().mechanisms;
        require(
            among_brokers.is_empty() || among_brokers.iter().any(by_password),
            "security.sasl_mechanisms needs SCRAM-SHA-256, SCRAM-SHA-512 or PLAIN besides OAUTHBEARER: the \
             administrator and the brokers among themselves have a password",
        );
        require(
            is_on || (file.is_none() && url.is_none()),
            "oauth.jwks_file and oauth.jwks_url are for security.sasl_mechanisms with OAUTHBEARER",
        );
        let is_private = |url: &String| self.security.allow_insecure || is_private(url);
        require(
            url.as_ref().is_none_or(is_private),
            "oauth.jwks_url takes an https URL: whoever changes keys on the wire can be any client. http is for this \
             machine alone, or with security.allow_insecure = true",
        );
        require(
            settings.ca_file.is_none() || url.is_some(),
            "oauth.ca_file is for oauth.jwks_url",
        );
    }
}

/// Whether nobody can change what is read from there on its way.
fn is_private(url: &str) -> bool {
    let Ok(url) = url.parse::<Uri>() else {
        return false;
    };
    let host = url.host().unwrap_or_default();
    let host = host.trim_start_matches('[').trim_end_matches(']');
    let address = host.parse::<IpAddr>();
    let is_here = host == "localhost" || address.is_ok_and(|address| address.is_loopback());
    match url.scheme_str() {
        Some("https") => !host.is_empty(),
        Some("http") => is_here,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ON: [(&str, &str); 4] = [
        ("security.sasl_mechanisms", "OAUTHBEARER,SCRAM-SHA-512"),
        ("security.admin_password", "p"),
        ("oauth.jwks_file", "keys.json"),
        ("oauth.expected_audience", "kafka, logs"),
    ];

    fn refused(change: &[(&str, &str)]) -> String {
        let mut settings = ON.to_vec();
        for (key, value) in change {
            settings.retain(|(before, _)| before != key);
            settings.push((key, value));
        }
        let loaded = Config::with(&settings);
        loaded.map_or_else(|error| error.to_string(), |_| String::new())
    }

    #[test]
    fn tokens_need_keys_an_audience_and_a_mechanism_with_passwords_besides() {
        assert_eq!(refused(&[]), "");
        assert!(refused(&[("oauth.jwks_file", "")]).contains("set one of oauth.jwks_file and"));
        let url = ("oauth.jwks_url", "https://issuer/keys");
        assert!(refused(&[url]).contains("set one of"));
        assert_eq!(
            refused(&[("oauth.jwks_file", ""), url, ("oauth.ca_file", "ca")]),
            ""
        );
        assert!(refused(&[("oauth.ca_file", "ca")]).contains("oauth.ca_file is for"));
        assert!(refused(&[("oauth.expected_audience", "")]).contains("any other service"));
        let alone = ("security.sasl_mechanisms", "OAUTHBEARER");
        assert!(refused(&[alone]).contains("besides OAUTHBEARER"));
        let off = ("security.sasl_mechanisms", "SCRAM-SHA-512");
        assert!(refused(&[off]).contains("with OAUTHBEARER"));
        let rules = Config::with(&ON).unwrap().token_rules();
        assert_eq!(rules.audiences.unwrap(), ["kafka", "logs"]);
        let any = [&ON[..3], &[("oauth.expected_audience", "*")]].concat();
        assert_eq!(Config::with(&any).unwrap().token_rules().audiences, None);
    }

    #[test]
    fn keys_come_from_where_nobody_can_change_them_on_their_way() {
        let refused = |url: &str| refused(&[("oauth.jwks_file", ""), ("oauth.jwks_url", url)]);
        for good in [
            "https://issuer.example/keys?x=1",
            "http://127.0.0.1:8080/k",
            "http://[::1]/k",
            "http://localhost/",
        ] {
            assert_eq!(refused(good), "", "{good}");
        }
        for bad in [
            "http://issuer.example/keys",
            "file:///etc/keys",
            "issuer",
            "https://",
            "ftp://127.0.0.1/",
        ] {
            assert!(refused(bad).contains("takes an https URL"), "{bad}");
        }
    }
}
