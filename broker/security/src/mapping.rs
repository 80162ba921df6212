//! From the subject of a certificate to a name: `ssl.principal.mapping.rules` as Kafka reads them
//! (`org.apache.kafka.common.security.ssl.SslPrincipalMapper`).
//!
//! Rules are tried in order; the first whose pattern fits the whole subject decides. `RULE:pattern/replacement/` with
//! an optional `L` or `U` puts groups into the replacement (`$1`) and makes it lower or upper case; `DEFAULT` is the
//! subject itself.

use regex::Regex;

/// Bytes of all rules together at most.
const RULES_BYTES_MAX: usize = 16 * 1024;
/// Memory of one compiled pattern at most.
const PATTERN_BYTES_MAX: usize = 1 << 20;

/// Why rules cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MappingError {
    /// A rule is neither `DEFAULT` nor `RULE:pattern/replacement/[LU]`.
    #[error("{0:?} is no rule: write DEFAULT or RULE:pattern/replacement/ with L or U behind it")]
    Shape(String),
    /// A pattern is no regular expression.
    #[error("the pattern of {rule:?} is no regular expression: {reason}")]
    Pattern {
        /// The rule.
        rule: String,
        /// What is wrong.
        reason: String,
    },
    /// They are longer than 16 KiB.
    #[error("the rules have {0} bytes; at most {RULES_BYTES_MAX} are allowed")]
    Long(usize),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Case {
    Kept,
    Lower,
    Upper,
}

#[derive(Debug)]
enum Rule {
    Subject,
    Pattern {
        pattern: Regex,
        replacement: String,
        case: Case,
    },
}

/// Rules, in order.
#[derive(Debug)]
pub struct MappingRules(Vec<Rule>);

impl Default for MappingRules {
    fn default() -> Self {
        Self(vec![Rule::Subject])
    }
}

impl MappingRules {
    /// Reads rules that are separated by commas.
    ///
    /// # Errors
    /// [`MappingError`].
    pub fn parse(text: &str) -> Result<Self, MappingError> {
        if text.len() > RULES_BYTES_MAX {
            return Err(MappingError::Long(text.len()));
        }
        let mut rules = Vec::new();
        let mut rest = text.trim();
        while !rest.is_empty() {
            let (rule, after) = one(rest)?;
            rules.push(rule);
            rest = after.trim_start();
            match rest.strip_prefix(',') {
                Some(after) => rest = after.trim_start(),
                None if rest.is_empty() => break,
                None => return Err(MappingError::Shape(rest.to_owned())),
            }
        }
        if rules.is_empty() {
            return Ok(Self::default());
        }
        Ok(Self(rules))
    }

    /// The name for a subject as RFC 2253 writes it; `None` if no rule fits.
    pub fn name(&self, subject: &str) -> Option<String> {
        self.0.iter().find_map(|rule| rule.apply(subject))
    }
}

impl Rule {
    fn apply(&self, subject: &str) -> Option<String> {
        let Self::Pattern {
            pattern,
            replacement,
            case,
        } = self
        else {
            return Some(subject.to_owned());
        };
        let groups = pattern.captures(subject)?;
        let name = filled(replacement, &groups);
        Some(match case {
            Case::Kept => name,
            Case::Lower => name.to_lowercase(),
            Case::Upper => name.to_uppercase(),
        })
    }
}

/// Puts groups in the place of `$0` to `$9`; a backslash takes the meaning from what follows, as in Java.
fn filled(replacement: &str, groups: &regex::Captures<'_>) -> String {
    let mut out = String::new();
    let mut chars = replacement.chars().peekable();
    while let Some(char) = chars.next() {
        match (char, chars.peek()) {
            ('\\', Some(_)) => out.extend(chars.next()),
            ('$', Some(digit)) if digit.is_ascii_digit() => {
                let index = digit.to_digit(10).unwrap_or(0) as usize;
                chars.next();
                out.push_str(groups.get(index).map_or("", |group| group.as_str()));
            }
            _ => out.push(char),
        }
    }
    out
}

/// The first rule of a text, and what is behind it.
fn one(text: &str) -> Result<(Rule, &str), MappingError> {
    let shape = || MappingError::Shape(text.to_owned());
    if let Some(after) = text.strip_prefix("DEFAULT") {
        return Ok((Rule::Subject, after));
    }
    let body = text.strip_prefix("RULE:").ok_or_else(shape)?;
    let (pattern, body) = until_slash(body).ok_or_else(shape)?;
    let (replacement, after) = until_slash(body).ok_or_else(shape)?;
    let (case, after) = match after.as_bytes().first() {
        Some(b'L') => (Case::Lower, &after[1..]),
        Some(b'U') => (Case::Upper, &after[1..]),
        _ => (Case::Kept, after),
    };
    // Java's `matches`: the whole subject.
    let built = regex::RegexBuilder::new(&format!("^(?:{pattern})$"))
        .size_limit(PATTERN_BYTES_MAX)
        .build();
    let pattern = built.map_err(|error| MappingError::Pattern {
        rule: text.to_owned(),
        reason: error.to_string(),
    })?;
    let rule = Rule::Pattern {
        pattern,
        replacement: replacement.replace("\\/", "/"),
        case,
    };
    Ok((rule, after))
}

/// Up to the first slash that no backslash escapes, and what is behind it.
fn until_slash(text: &str) -> Option<(&str, &str)> {
    let bytes = text.as_bytes();
    let mut at = 0;
    while at < bytes.len() {
        match bytes[at] {
            b'\\' => at += 2,
            b'/' => return Some((&text[..at], &text[at + 1..])),
            _ => at += 1,
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(rules: &str, subject: &str) -> Option<String> {
        MappingRules::parse(rules).unwrap().name(subject)
    }

    #[test]
    fn the_first_rule_that_fits_decides() {
        let rules = "RULE:^CN=(.*?),OU=ServiceUsers.*$/$1/, RULE:^CN=(.*?),OU=(.*?),O=(.*?),L=(.*?),ST=(.*?),C=(.*?)$/$1@$2/L, \
                     RULE:^.*[Cc][Nn]=([a-zA-Z0-9.]*).*$/$1/L, DEFAULT";
        let found = |subject| name(rules, subject).unwrap();
        assert_eq!(
            found("CN=kafka-server1,OU=ServiceUsers,O=Unknown,C=US"),
            "kafka-server1"
        );
        assert_eq!(found("CN=Admin,OU=Ops,O=X,L=Y,ST=Z,C=US"), "admin@ops");
        assert_eq!(found("cn=Bob.B"), "bob.b");
        assert_eq!(found("OU=JavaUsers"), "OU=JavaUsers");
    }

    #[test]
    fn a_subject_that_no_rule_fits_has_no_name() {
        assert_eq!(name("RULE:^CN=(a)$/$1/U", "CN=a"), Some("A".to_owned()));
        assert_eq!(
            name("RULE:^CN=(a)$/$1/U", "CN=ab"),
            None,
            "the whole subject must fit"
        );
        assert_eq!(name("", "CN=b"), Some("CN=b".to_owned()));
    }

    #[test]
    fn slashes_and_commas_may_be_in_a_pattern() {
        assert_eq!(
            name(r"RULE:^CN=(\w+)\/(\w+),.*$/$2\/$1/", "CN=a/b,O=c"),
            Some("b/a".to_owned())
        );
    }

    #[test]
    fn what_is_no_rule_is_refused() {
        for bad in ["RULE:^a", "RULE:a/b", "X", "DEFAULT DEFAULT", "RULE:(/a/"] {
            assert!(MappingRules::parse(bad).is_err(), "{bad}");
        }
    }
}
