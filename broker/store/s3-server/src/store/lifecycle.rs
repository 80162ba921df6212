//! Lifecycle: the rules of a bucket, and on command what a store's daily run would do with them.
//!
//! Expiration by days or date and the abort of incomplete uploads are done; rules with tags are
//! refused, since objects have none here; transitions and versions are stored and have no effect.

use std::time::{Duration, SystemTime};

use s3s::dto::{BucketLifecycleConfiguration, ExpirationStatus, LifecycleRule, LifecycleRules};
use s3s::{S3Result, s3_error};

use super::{Object, Store};

/// Rules that a configuration may have; the S3 API's own bound.
const MAX_RULES: usize = 1000;
const DAY: Duration = Duration::from_secs(86_400);

/// The limits that a rule's filter sets.
struct Scope<'a> {
    prefix: &'a str,
    above: Option<i64>,
    below: Option<i64>,
}

fn scope(rule: &LifecycleRule) -> Scope<'_> {
    let filter = rule.filter.as_ref();
    let and = filter.and_then(|filter| filter.and.as_ref());
    let prefix = and.and_then(|and| and.prefix.as_deref());
    let prefix = prefix.or_else(|| filter.and_then(|filter| filter.prefix.as_deref()));
    let above = and.and_then(|and| and.object_size_greater_than);
    let below = and.and_then(|and| and.object_size_less_than);
    Scope {
        prefix: prefix.or(rule.prefix.as_deref()).unwrap_or(""),
        above: above.or_else(|| filter.and_then(|filter| filter.object_size_greater_than)),
        below: below.or_else(|| filter.and_then(|filter| filter.object_size_less_than)),
    }
}

fn has_tags(rule: &LifecycleRule) -> bool {
    rule.filter.as_ref().is_some_and(|filter| {
        filter.tag.is_some() || filter.and.as_ref().is_some_and(|and| and.tags.is_some())
    })
}

/// Whether something that began at `since` is `days` old at `now`; without `now` it always is.
fn is_due(days: Option<i32>, since: SystemTime, now: Option<SystemTime>) -> bool {
    let (Some(days), Some(now)) = (days, now) else {
        return days.is_some();
    };
    let age = DAY.saturating_mul(u32::try_from(days).unwrap_or(0));
    since.checked_add(age).is_some_and(|due| due <= now)
}

fn expires(rule: &LifecycleRule, key: &str, object: &Object, now: Option<SystemTime>) -> bool {
    let Some(expiration) = &rule.expiration else {
        return false;
    };
    let scope = scope(rule);
    let size = i64::try_from(object.size()).unwrap_or(i64::MAX);
    let covered = key.starts_with(scope.prefix)
        && scope.above.is_none_or(|above| size > above)
        && scope.below.is_none_or(|below| size < below);
    let by_date = expiration
        .date
        .as_ref()
        .is_some_and(|date| now.is_none_or(|now| *date <= s3s::dto::Timestamp::from(now)));
    covered && (by_date || is_due(expiration.days, object.modified, now))
}

impl Store {
    /// Sets a bucket's rules.
    pub(crate) fn set_lifecycle(
        &self,
        bucket: &str,
        configuration: Option<BucketLifecycleConfiguration>,
    ) -> S3Result<()> {
        if let Some(configuration) = &configuration {
            let rules = &configuration.rules;
            if rules.is_empty() || rules.len() > MAX_RULES {
                return Err(s3_error!(MalformedXML, "1 to {MAX_RULES} rules are needed"));
            }
            if rules.iter().any(has_tags) {
                return Err(s3_error!(NotImplemented, "objects have no tags here"));
            }
            let days = |rule: &LifecycleRule| rule.expiration.as_ref().and_then(|what| what.days);
            if rules.iter().filter_map(days).any(|days| days < 1) {
                return Err(s3_error!(InvalidArgument, "days must be at least 1"));
            }
        }
        self.lock().bucket_mut(bucket)?.lifecycle = configuration;
        Ok(())
    }

    pub(crate) fn lifecycle(&self, bucket: &str) -> S3Result<LifecycleRules> {
        let state = self.lock();
        let configuration = state.bucket(bucket)?.lifecycle.clone();
        let configuration = configuration.ok_or_else(|| s3_error!(NoSuchLifecycleConfiguration))?;
        Ok(configuration.rules)
    }

    /// Does what the rules in force demand, as if `days` more had passed, or all that they cover
    /// whatever its age. Gives the keys of the objects deleted and of the uploads aborted.
    pub(crate) fn expire(
        &self,
        bucket: &str,
        days: Option<u32>,
    ) -> S3Result<(Vec<String>, Vec<String>)> {
        let now = match days {
            Some(days) => SystemTime::now().checked_add(DAY.saturating_mul(days)),
            None => None,
        };
        let mut state = self.lock();
        let found = state.bucket(bucket)?;
        let rules = found
            .lifecycle
            .iter()
            .flat_map(|configuration| &configuration.rules);
        let in_force = |rule: &&LifecycleRule| rule.status.as_str() == ExpirationStatus::ENABLED;
        let rules: Vec<_> = rules.filter(in_force).collect();
        let mut expired = Vec::new();
        for (key, object) in &found.objects {
            if rules.iter().any(|rule| expires(rule, key, object, now)) {
                expired.push(key.clone());
            }
        }
        let mut stale = Vec::new();
        for ((key, id), upload) in &found.uploads {
            let covers = |rule: &&&LifecycleRule| {
                let abort = rule.abort_incomplete_multipart_upload.as_ref();
                let days = abort.and_then(|abort| abort.days_after_initiation);
                key.starts_with(scope(rule).prefix) && is_due(days, upload.initiated, now)
            };
            if rules.iter().any(|rule| covers(&rule)) {
                stale.push((key.clone(), id.clone()));
            }
        }
        for key in &expired {
            state.delete(bucket, key)?;
        }
        for (key, id) in &stale {
            state.drop_upload(bucket, key, id)?;
        }
        Ok((expired, stale.into_iter().map(|(key, _)| key).collect()))
    }
}
