//! The bucket's lifecycle rules, read to find one that would delete what must never vanish.
//!
//! Invariant: a rule is left out or counts as harmless only where it certainly cannot expire an
//! object of ours; in doubt it covers.

use aws_sdk_s3::types::{ExpirationStatus, LifecycleExpiration, LifecycleRule as SdkRule};
use thiserror::Error;

use super::Shared;
use super::failure::{Failure, send};
use super::verdict::{Asked, Verdict, verdict};

/// A rule of the bucket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LifecycleRule {
    /// Its name; empty where it has none.
    pub id: String,
    /// The keys that it applies to begin with this text; empty = all keys.
    pub prefix: String,
    /// Whether it is in force.
    pub enabled: bool,
    /// When it deletes objects; `None` where it deletes none (transitions, incomplete uploads,
    /// versions that are not current, or only objects with tags, which ours never have).
    pub expires: Option<Expiry>,
}

/// When a rule deletes an object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Expiry {
    /// So many days after it was written.
    AfterDays(i32),
    /// From this time on, in seconds since 1970.
    At(i64),
}

/// Why the rules are not known.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum LifecycleError {
    /// They may not be read, or the store has no such thing, or it failed.
    #[error(
        "the bucket's lifecycle rules cannot be read, so it is not known whether one of them \
         deletes WAL objects: {reason}"
    )]
    Unreadable {
        /// What was attempted and what was answered.
        reason: String,
    },
}

/// Whether `rule` may delete objects whose keys begin with `wal_prefix`.
pub fn covers(rule: &LifecycleRule, wal_prefix: &str) -> bool {
    let meets = wal_prefix.starts_with(&rule.prefix) || rule.prefix.starts_with(wal_prefix);
    rule.enabled && rule.expires.is_some() && meets
}

/// Reads the rules.
pub(super) async fn rules(shared: &Shared) -> Result<Vec<LifecycleRule>, LifecycleError> {
    let request = shared
        .main
        .client
        .get_bucket_lifecycle_configuration()
        .bucket(&shared.main.name);
    match send(shared.limit(0), request.send()).await {
        Ok(answer) => Ok(answer.rules().iter().map(rule).collect()),
        Err(Failure::Answered(answer))
            if answer.code.as_deref() == Some("NoSuchLifecycleConfiguration") =>
        {
            Ok(Vec::new())
        }
        Err(failure) => {
            let asked = Asked {
                operation: "GetBucketLifecycleConfiguration",
                permission: "s3:GetLifecycleConfiguration",
                bucket: &shared.main.name,
            };
            let reason = match verdict(failure, asked) {
                Verdict::Denied(reason)
                | Verdict::NotImplemented(reason)
                | Verdict::Unavailable { reason, .. } => reason,
                other => format!("unexpected answer: {other:?}"),
            };
            Err(LifecycleError::Unreadable { reason })
        }
    }
}

fn rule(rule: &SdkRule) -> LifecycleRule {
    let filter = rule.filter();
    let and = filter.and_then(|filter| filter.and());
    #[allow(deprecated, reason = "rules of old still have their prefix here")]
    let old_prefix = rule.prefix();
    let prefix = filter
        .and_then(|filter| filter.prefix())
        .or_else(|| and.and_then(|and| and.prefix()))
        .or(old_prefix)
        .unwrap_or_default();
    let tagged = filter.is_some_and(|filter| filter.tag().is_some())
        || and.is_some_and(|and| !and.tags().is_empty());
    LifecycleRule {
        id: rule.id().unwrap_or_default().to_owned(),
        prefix: prefix.to_owned(),
        enabled: *rule.status() != ExpirationStatus::Disabled,
        expires: match tagged {
            true => None,
            false => rule.expiration().and_then(expiry),
        },
    }
}

fn expiry(expiration: &LifecycleExpiration) -> Option<Expiry> {
    let at = expiration.date().map(|date| Expiry::At(date.secs()));
    at.or(expiration.days().map(Expiry::AfterDays))
}

#[cfg(test)]
mod tests {
    use super::*;
    use aws_sdk_s3::types::{LifecycleRuleAndOperator, LifecycleRuleFilter, Tag};

    const WAL: &str = "kafscale-wal/default/";

    fn expiring(prefix: &str) -> LifecycleRule {
        LifecycleRule {
            id: "r".into(),
            prefix: prefix.into(),
            enabled: true,
            expires: Some(Expiry::AfterDays(7)),
        }
    }

    #[test]
    fn rules_that_meet_the_prefix_cover_it() {
        for prefix in ["", "kaf", "kafscale-wal/", WAL, "kafscale-wal/default/0/"] {
            assert!(covers(&expiring(prefix), WAL), "{prefix:?}");
        }
        for prefix in [
            "kafscale/",
            "kafscale-wal/other/",
            "logs/",
            "kafscale-walnut",
        ] {
            assert!(!covers(&expiring(prefix), WAL), "{prefix:?}");
        }
    }

    #[test]
    fn rules_that_delete_nothing_do_not_cover() {
        let off = LifecycleRule {
            enabled: false,
            ..expiring("")
        };
        assert!(!covers(&off, WAL));
        let moves = LifecycleRule {
            expires: None,
            ..expiring("")
        };
        assert!(!covers(&moves, WAL));
    }

    fn sdk(filter: LifecycleRuleFilter) -> LifecycleRule {
        let sdk = SdkRule::builder()
            .status(ExpirationStatus::Enabled)
            .expiration(LifecycleExpiration::builder().days(3).build())
            .filter(filter)
            .build()
            .unwrap();
        rule(&sdk)
    }

    #[test]
    fn a_prefix_is_found_wherever_a_rule_has_it() {
        let plain = sdk(LifecycleRuleFilter::builder().prefix("a/").build());
        assert_eq!(
            (plain.prefix.as_str(), &plain.expires),
            ("a/", &Some(Expiry::AfterDays(3)))
        );
        let and = LifecycleRuleAndOperator::builder()
            .prefix("b/")
            .object_size_greater_than(1);
        let and = sdk(LifecycleRuleFilter::builder().and(and.build()).build());
        assert_eq!(and.prefix, "b/");
        assert!(covers(&and, "b/c/"), "a bound of sizes may hold for ours");
        let none = sdk(LifecycleRuleFilter::builder().build());
        assert!(covers(&none, WAL));
        #[allow(deprecated, reason = "rules of old have their prefix here")]
        let old = SdkRule::builder()
            .status(ExpirationStatus::Enabled)
            .prefix("kafscale-wal/")
            .expiration(LifecycleExpiration::builder().days(3).build())
            .build()
            .unwrap();
        assert!(covers(&rule(&old), WAL));
    }

    #[test]
    fn rules_for_tagged_objects_cannot_hit_ours() {
        let tag = Tag::builder().key("k").value("v").build().unwrap();
        let tagged = sdk(LifecycleRuleFilter::builder().tag(tag.clone()).build());
        assert!(!covers(&tagged, WAL));
        let and = LifecycleRuleAndOperator::builder().tags(tag).build();
        let both = sdk(LifecycleRuleFilter::builder().and(and).build());
        assert!(!covers(&both, WAL));
    }
}
