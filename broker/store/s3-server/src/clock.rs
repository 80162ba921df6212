//! Clock: how far the time of a signed request may be from the server's.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use hyper::HeaderMap;
use hyper::header::HeaderValue;
use s3s::dto::{Timestamp, TimestampFormat};

/// Difference above which a request is refused, in seconds.
pub(crate) const MAX_SKEW_SECONDS: u64 = 15 * 60;

/// Whether the request's `x-amz-date` is too far from a clock `ahead` seconds ahead of ours.
/// A request without one (unsigned or presigned) is not.
pub(crate) fn is_skewed(headers: &HeaderMap, ahead: i64) -> bool {
    let date = headers
        .get("x-amz-date")
        .and_then(|value| value.to_str().ok());
    let Some(then) = date.and_then(parse_amz_date) else {
        return false;
    };
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    let now = i64::try_from(now.as_secs())
        .unwrap_or(i64::MAX)
        .saturating_add(ahead);
    now.abs_diff(then) > MAX_SKEW_SECONDS
}

/// The time of that clock as a `Date` header has it.
pub(crate) fn date_header(ahead: i64) -> Option<HeaderValue> {
    let offset = Duration::from_secs(ahead.unsigned_abs());
    let now = SystemTime::now();
    let then = if ahead < 0 {
        now.checked_sub(offset)
    } else {
        now.checked_add(offset)
    }?;
    let mut text = Vec::new();
    Timestamp::from(then)
        .format(TimestampFormat::HttpDate, &mut text)
        .ok()?;
    HeaderValue::from_bytes(&text).ok()
}

/// `20260131T235959Z` as seconds since 1970.
fn parse_amz_date(text: &str) -> Option<i64> {
    let number = |range: std::ops::Range<usize>| text.get(range)?.parse::<i64>().ok();
    if text.len() != 16 || text.get(8..9) != Some("T") || !text.ends_with('Z') {
        return None;
    }
    let (year, month, day) = (number(0..4)?, number(4..6)?, number(6..8)?);
    let (hour, minute, second) = (number(9..11)?, number(11..13)?, number(13..15)?);
    Some(days_since_1970(year, month, day) * 86_400 + hour * 3600 + minute * 60 + second)
}

/// Days of the Gregorian calendar. Counted in years from March, where the leap day is last.
fn days_since_1970(year: i64, month: i64, day: i64) -> i64 {
    let (year, month) = if month > 2 {
        (year, month - 3)
    } else {
        (year - 1, month + 9)
    };
    let leap_days = year.div_euclid(4) - year.div_euclid(100) + year.div_euclid(400);
    year * 365 + leap_days + (month * 153 + 2).div_euclid(5) + day - 1 - 719_468
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[test]
    fn dates_count_as_in_the_calendar() {
        assert_eq!(parse_amz_date("19700101T000000Z"), Some(0));
        assert_eq!(parse_amz_date("20000229T120000Z"), Some(951_825_600));
        assert_eq!(parse_amz_date("20260131T235959Z"), Some(1_769_903_999));
        assert_eq!(parse_amz_date("2026-01-31T23:59Z"), None);
        assert_eq!(parse_amz_date(""), None);
    }
}
