//! Days and dates of the proleptic Gregorian calendar, in UTC, and timestamps as people write them. Years begin in March
//! here, so that the leap day is the last one.

use crate::TimestampMs;

const MS_PER_SECOND: i64 = 1_000;
const MS_PER_DAY: i64 = 86_400 * MS_PER_SECOND;
/// Days of 400 years.
const ERA: i64 = 146_097;
/// Days from the first of March of year 0 to 1970.
const EPOCH: i64 = 719_468;

const _: () = assert!(ERA == 400 * 365 + 400 / 4 - 400 / 100 + 1);
// Of 1969 the days from March on.
const _: () = assert!(EPOCH == 1_969 * 365 + 1_969 / 4 - 1_969 / 100 + 1_969 / 400 + 306);

/// Year, month (1 to 12) and day (1 to 31) of a day counted from 1970-01-01 (Howard Hinnant's
/// `civil_from_days`).
pub fn civil(days: i64) -> (i64, i64, i64) {
    let days = days + EPOCH;
    let (era, of_era) = (days.div_euclid(ERA), days.rem_euclid(ERA));
    let year = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let shifted = (5 * of_year + 2) / 153;
    let day = of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 {
        shifted + 3
    } else {
        shifted - 9
    };
    assert!((1..=12).contains(&month), "a year has 12 months");
    assert!((1..=31).contains(&day), "a month has 31 days at most");
    let year = year + era * 400 + i64::from(month <= 2);
    assert!(
        days_of(year, month, day) == days - EPOCH,
        "the date is that of the day"
    );
    (year, month, day)
}

/// Days from 1970-01-01 to a date that exists.
pub fn days_of(year: i64, month: i64, day: i64) -> i64 {
    let year = year - i64::from(month <= 2);
    let (era, of_era) = (year.div_euclid(400), year.rem_euclid(400));
    let shifted = (month + 9) % 12;
    let of_year = (153 * shifted + 2) / 5 + day - 1;
    era * ERA + of_era * 365 + of_era / 4 - of_era / 100 + of_year - EPOCH
}

/// Reads milliseconds since 1970, or a time as in RFC 3339 (a date alone is its start in UTC).
///
/// # Errors
/// What the text is not, for a reader.
pub fn parse_timestamp(text: &str) -> Result<TimestampMs, String> {
    if let Ok(ms) = text.parse::<i64>() {
        return match ms {
            0.. => Ok(TimestampMs::new(ms)),
            _ => Err("a time before 1970 cannot be looked up".to_owned()),
        };
    }
    let hint = "expected milliseconds since 1970, or a time such as 2024-05-01T12:00:00Z";
    let ms = rfc3339(text).ok_or(hint)?;
    match ms {
        0.. => Ok(TimestampMs::new(ms)),
        _ => Err("a time before 1970 cannot be looked up".to_owned()),
    }
}

/// `YYYY-MM-DDTHH:MM:SS[.fraction](Z|+HH:MM)`, or a date alone, which means its start in UTC.
fn rfc3339(text: &str) -> Option<i64> {
    let text = text.trim();
    let (date, rest) = text.split_at_checked(10)?;
    let days = date_days(date)?;
    if rest.is_empty() {
        return days.checked_mul(MS_PER_DAY);
    }
    let rest = rest.strip_prefix(['T', 't', ' '])?;
    let (clock, rest) = rest.split_at_checked(8)?;
    let (hour, minute, second) = match clock.as_bytes() {
        [_, _, b':', _, _, b':', _, _] => {
            (two(&clock[..2])?, two(&clock[3..5])?, two(&clock[6..])?)
        }
        _ => return None,
    };
    if hour > 23 || minute > 59 || second > 60 {
        return None;
    }
    let (fraction, zone) = match rest.strip_prefix('.') {
        Some(rest) => {
            let digits = rest.find(|letter: char| !letter.is_ascii_digit())?;
            let (fraction, zone) = rest.split_at(digits);
            (fraction_ms(fraction)?, zone)
        }
        None => (0, rest),
    };
    assert!(
        (0..MS_PER_SECOND).contains(&fraction),
        "a fraction is less than a second"
    );
    let seconds = hour * 3_600 + minute * 60 + second - zone_seconds(zone)?;
    Some(days * MS_PER_DAY + seconds * MS_PER_SECOND + fraction)
}

fn two(text: &str) -> Option<i64> {
    let digits = text.len() == 2 && text.bytes().all(|byte| byte.is_ascii_digit());
    digits.then(|| text.parse().ok()).flatten()
}

fn fraction_ms(digits: &str) -> Option<i64> {
    let padded: String = digits.chars().chain("000".chars()).take(3).collect();
    if digits.is_empty() {
        None
    } else {
        padded.parse().ok()
    }
}

fn zone_seconds(zone: &str) -> Option<i64> {
    if zone.eq_ignore_ascii_case("z") {
        return Some(0);
    }
    let (sign, rest) = match zone.split_at_checked(1)? {
        ("+", rest) => (1, rest),
        ("-", rest) => (-1, rest),
        _ => return None,
    };
    let (hour, minute) = rest.split_once(':')?;
    let (hour, minute) = (two(hour)?, two(minute)?);
    (hour <= 23 && minute <= 59).then_some(sign * (hour * 3_600 + minute * 60))
}

/// Days from 1970-01-01 to a date.
fn date_days(date: &str) -> Option<i64> {
    let mut parts = date.split('-');
    let (year, month, day) = (parts.next()?, parts.next()?, parts.next()?);
    if year.len() != 4 || !year.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let (year, month, day) = (year.parse::<i64>().ok()?, two(month)?, two(day)?);
    let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let length = match month {
        2 => 28 + i64::from(leap),
        4 | 6 | 9 | 11 => 30,
        1..=12 => 31,
        _ => return None,
    };
    if !(1..=length).contains(&day) {
        return None;
    }
    let days = days_of(year, month, day);
    assert!(
        civil(days) == (year, month, day),
        "a date that exists is a day of its own"
    );
    Some(days)
}

/// A timestamp as in RFC 3339, in UTC, to the millisecond; `-` for none.
pub fn show_timestamp(timestamp: TimestampMs) -> String {
    let ms = timestamp.get();
    if ms < 0 {
        return "-".to_owned();
    }
    let (year, month, day) = civil(ms.div_euclid(MS_PER_DAY));
    let of_day = ms.rem_euclid(MS_PER_DAY);
    let (second, fraction) = (of_day / MS_PER_SECOND, of_day % MS_PER_SECOND);
    let (hour, minute, second) = (second / 3_600, second / 60 % 60, second % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{fraction:03}Z")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_times_are_read_and_shown() {
        let known = [
            ("1970-01-01T00:00:00.000Z", 0),
            ("2000-02-29T23:59:59.999Z", 951_868_799_999),
            ("2024-05-01T12:00:00.000Z", 1_714_564_800_000),
            ("2100-03-01T00:00:00.000Z", 4_107_542_400_000),
        ];
        for (text, ms) in known {
            assert_eq!(parse_timestamp(text), Ok(TimestampMs::new(ms)), "{text}");
            assert_eq!(show_timestamp(TimestampMs::new(ms)), text);
        }
        assert_eq!(show_timestamp(TimestampMs::NONE), "-");
    }

    #[test]
    fn every_form_of_a_time_is_read() {
        let noon = Ok(TimestampMs::new(1_714_564_800_000));
        for text in [
            "1714564800000",
            "2024-05-01T12:00:00Z",
            "2024-05-01t12:00:00z",
            "2024-05-01 14:00:00+02:00",
            "2024-05-01T06:30:00.0000-05:30",
        ] {
            assert_eq!(parse_timestamp(text), noon, "{text}");
        }
        let midnight = Ok(TimestampMs::new(1_714_521_600_000));
        assert_eq!(parse_timestamp("2024-05-01"), midnight);
    }

    #[test]
    fn what_is_no_time_is_refused() {
        for text in [
            "",
            "yesterday",
            "-5",
            "2024-13-01",
            "2023-02-29",
            "2024-05-01T12:00:00",
            "2024-05-01T24:00:00Z",
            "2024-05-01T12:00:00.Z",
            "2024-05-01T12:00Z",
            "1969-12-31",
            "2024-5-01T12:00:00Z",
            "2024-05-01T12:00:00+2:00",
            "2024-05-01T+1:00:00Z",
        ] {
            assert!(parse_timestamp(text).is_err(), "{text}");
        }
    }

    #[test]
    fn every_day_of_a_long_time_comes_back() {
        for day in (0..200_000).step_by(7) {
            let ms = TimestampMs::new(day * MS_PER_DAY + 3_723_004);
            assert_eq!(parse_timestamp(&show_timestamp(ms)), Ok(ms), "day {day}");
        }
    }
}
