//! Points in time as people paste them. What can only mean one thing is taken; what can mean two is refused with both.

use chrono::{DateTime, NaiveDate, NaiveDateTime, NaiveTime, TimeDelta, Utc};

/// What is told to who wrote something else.
const EXPECTED: &str = "a date such as 2026-01-31 (its first moment in UTC), a date and time such as 2026-01-31T08:00:00Z, \
                        2026-01-31T09:00:00+01:00 or 2026-01-31 08:00 (without a zone: UTC), or seconds or milliseconds \
                        since 1970";

/// Reads a point in time, or says what it should have been.
pub fn parse(text: &str) -> Result<DateTime<Utc>, String> {
    let given = text.trim();
    epoch(given)
        .or_else(|| DateTime::parse_from_rfc2822(given).ok().map(|at| at.to_utc()))
        .or_else(|| iso(given))
        .filter(|at| (1..=9999).contains(&chrono::Datelike::year(at)))
        .ok_or_else(|| format!("must be {EXPECTED}"))
}

/// 10 digits are seconds, 13 are milliseconds, in this century and the next; 8 digits would be a date.
fn epoch(text: &str) -> Option<DateTime<Utc>> {
    let number: i64 = text
        .bytes()
        .all(|byte| byte.is_ascii_digit())
        .then(|| text.parse().ok())??;
    match text.len() {
        10 => DateTime::from_timestamp(number, 0),
        13 => DateTime::from_timestamp_millis(number),
        _ => None,
    }
}

/// ISO 8601 in the spellings of logs, databases and `date`: `T` or blanks between date and time, a fraction after a point or
/// a comma, seconds left out, the zone as `Z`, `UTC`, `+01:00`, `+0100`, `+01`, or absent, with or without `[Europe/Berlin]`
/// after it as Java writes it.
fn iso(text: &str) -> Option<DateTime<Utc>> {
    let text = match text.split_once('[') {
        Some((before, zone)) if zone.ends_with(']') => before,
        Some(_) => return None,
        None => text,
    };
    let text = text.replace(['\u{2212}', '\u{2013}'], "-");
    let text = text.trim();
    let (date, rest) = date(text)?;
    if rest.is_empty() {
        return Some(date.and_time(NaiveTime::MIN).and_utc());
    }
    let rest = rest.strip_prefix(['T', 't', ' ', '_'])?.trim_start();
    let (time, zone) = time(rest)?;
    let east = offset(zone.trim())?;
    NaiveDateTime::new(date, time)
        .and_utc()
        .checked_sub_signed(TimeDelta::minutes(east))
}

fn date(text: &str) -> Option<(NaiveDate, &str)> {
    let dashed = text.as_bytes().get(4) == Some(&b'-');
    let (length, format) = if dashed { (10, "%Y-%m-%d") } else { (8, "%Y%m%d") };
    let (date, rest) = text.split_at_checked(length)?;
    let digits = date.bytes().filter(u8::is_ascii_digit).count();
    (digits == 8)
        .then(|| NaiveDate::parse_from_str(date, format).ok())?
        .map(|date| (date, rest))
}

fn time(text: &str) -> Option<(NaiveTime, &str)> {
    let end = text
        .find(|c: char| !c.is_ascii_digit() && !matches!(c, ':' | '.' | ','))
        .unwrap_or(text.len());
    let (clock, zone) = text.split_at(end);
    let clock = clock.replace(',', ".");
    let (whole, fraction) = clock
        .split_once('.')
        .map_or((clock.as_str(), None), |(whole, fraction)| {
            (whole, Some(fraction))
        });
    let digits = whole.bytes().filter(u8::is_ascii_digit).count();
    let format = match (whole.contains(':'), digits) {
        (true, 4) => "%H:%M",
        (true, 6) => "%H:%M:%S",
        (false, 4) => "%H%M",
        (false, 6) => "%H%M%S",
        _ => return None,
    };
    let mut time = NaiveTime::parse_from_str(whole, format).ok()?;
    if let Some(fraction) = fraction {
        if digits != 6 || fraction.is_empty() || fraction.len() > 9 || fraction.contains('.') {
            return None;
        }
        let nanos: i64 = format!("{fraction:0<9}").parse().ok()?;
        time += TimeDelta::nanoseconds(nanos);
    }
    Some((time, zone))
}

/// Minutes east of UTC. A sign that an address turned into a blank is not guessed here: the caller mends it.
fn offset(zone: &str) -> Option<i64> {
    if zone.is_empty()
        || ["Z", "UTC", "GMT"]
            .iter()
            .any(|name| zone.eq_ignore_ascii_case(name))
    {
        return Some(0);
    }
    let (sign, digits) = match zone.split_at_checked(1)? {
        ("+", digits) => (1, digits),
        ("-", digits) => (-1, digits),
        _ => return None,
    };
    let digits = match digits.split_once(':') {
        Some((hours, minutes)) if hours.len() == 2 && minutes.len() == 2 => format!("{hours}{minutes}"),
        Some(_) => return None,
        None => digits.to_owned(),
    };
    if !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let (hours, minutes): (i64, i64) = match digits.len() {
        2 => (digits.parse().ok()?, 0),
        4 => (digits[..2].parse().ok()?, digits[2..].parse().ok()?),
        _ => return None,
    };
    (hours <= 18 && minutes < 60).then_some(sign * (hours * 60 + minutes))
}

/// In the query of an address a `+` means a blank. A time pasted as it is arrives as `2026-01-31T09:00:00 01:00`, which can
/// only have been one thing.
pub fn parse_in_query(text: &str) -> Result<DateTime<Utc>, String> {
    let text = text.trim();
    if let Some((clock, zone)) = text.rsplit_once(' ')
        && clock.contains(':')
        && let Some(offset) = zone.split('[').next()
        && !offset.is_empty()
        && offset.bytes().all(|byte| byte.is_ascii_digit() || byte == b':')
    {
        return parse(&format!("{clock}+{zone}"));
    }
    parse(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_people_paste_is_taken_where_it_means_one_thing() {
        let cases = [
            ("2026-01-31", "2026-01-31T00:00:00Z"),
            ("20260131", "2026-01-31T00:00:00Z"),
            (" 2026-01-31 ", "2026-01-31T00:00:00Z"),
            ("2026-01-31 08:00", "2026-01-31T08:00:00Z"),
            ("2026-01-31T08:00", "2026-01-31T08:00:00Z"),
            ("2026-01-31T08:00:05", "2026-01-31T08:00:05Z"),
            ("2026-01-31T08:00:05Z", "2026-01-31T08:00:05Z"),
            ("2026-01-31t08:00:05z", "2026-01-31T08:00:05Z"),
            ("2026-01-31T08:00:05.123Z", "2026-01-31T08:00:05.123Z"),
            ("2026-01-31 08:00:05,123", "2026-01-31T08:00:05.123Z"),
            ("2026-01-31T08:00:05.123456789Z", "2026-01-31T08:00:05.123456789Z"),
            ("2026-01-31T09:00:00+01:00", "2026-01-31T08:00:00Z"),
            ("2026-01-31T09:00:00+0100", "2026-01-31T08:00:00Z"),
            ("2026-01-31 09:00:00+01", "2026-01-31T08:00:00Z"),
            ("2026-01-31 09:00:00 +01:00", "2026-01-31T08:00:00Z"),
            ("2026-01-31T05:30:00-02:30", "2026-01-31T08:00:00Z"),
            ("2026-01-31T05:30:00\u{2212}02:30", "2026-01-31T08:00:00Z"),
            ("2026-01-31T09:00:00+01:00[Europe/Berlin]", "2026-01-31T08:00:00Z"),
            ("2026-01-31 08:00:00 UTC", "2026-01-31T08:00:00Z"),
            ("20260131T080005Z", "2026-01-31T08:00:05Z"),
            ("Sat, 31 Jan 2026 09:00:00 +0100", "2026-01-31T08:00:00Z"),
            ("1769846400", "2026-01-31T08:00:00Z"),
            ("1769846400123", "2026-01-31T08:00:00.123Z"),
        ];
        for (text, meant) in cases {
            let expected: DateTime<Utc> = meant.parse().expect(meant);
            assert_eq!(parse(text), Ok(expected), "{text}");
            assert_eq!(
                parse_in_query(&text.replace('+', " ")),
                Ok(expected),
                "{text} as a query"
            );
        }
    }

    #[test]
    fn what_could_mean_two_things_or_none_is_refused() {
        for text in [
            "",
            "yesterday",
            "01/02/2026",
            "31.01.2026",
            "2026-1-31",
            "2026-02-30",
            "2026-01-31T25:00",
            "2026-01-31T08",
            "2026-01-31T08:00 CET",
            "2026-01-31T08:00:00+1",
            "2026-01-31T08:00:00+99:00",
            "2026-01-31T08:00:00.Z",
            "2026-01-31T08:00:00[",
            "2026-01-31X08:00",
            "176984640",
            "99999999999999",
            "0000-01-01",
            "2026-01-31\u{e9}",
            "\u{661}\u{662}\u{663}\u{664}-01-01",
        ] {
            assert!(parse(text).is_err(), "{text}");
            assert!(parse_in_query(text).is_err(), "{text} as a query");
        }
    }
}
