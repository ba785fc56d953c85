//! Points in time, as people write them on a command line.

use chrono::{DateTime, NaiveDate, NaiveDateTime, NaiveTime, SecondsFormat, TimeDelta, Utc};

const FORMATS: &[&str] = &["%Y-%m-%dT%H:%M:%S%.f", "%Y-%m-%dT%H:%M"];

/// With a zone, or without one in UTC; a date is its first moment; `+2h` and `-30m` count from now.
pub fn parse(text: &str) -> Result<DateTime<Utc>, String> {
    parse_at(text, Utc::now())
}

/// As the API takes it.
pub fn wire(moment: DateTime<Utc>) -> String {
    moment.to_rfc3339_opts(SecondsFormat::Micros, true)
}

fn parse_at(text: &str, now: DateTime<Utc>) -> Result<DateTime<Utc>, String> {
    let text = text.trim();
    let wrong = || {
        format!(
            "`{text}` is no time: write 2026-01-31, 2026-01-31T08:00, 2026-01-31T08:00:00Z, +2h or -30m; without a \
             zone it is UTC"
        )
    };
    if let Some(length) = text.strip_prefix(['+', '-']) {
        let length = humantime::parse_duration(length).map_err(|_| wrong())?;
        let length = TimeDelta::from_std(length).map_err(|_| wrong())?;
        let moment = if text.starts_with('+') {
            now.checked_add_signed(length)
        } else {
            now.checked_sub_signed(length)
        };
        return moment.ok_or_else(wrong);
    }
    let text = text.replacen(' ', "T", 1);
    if let Ok(date) = text.parse::<NaiveDate>() {
        return Ok(date.and_time(NaiveTime::MIN).and_utc());
    }
    // Without seconds chrono takes no zone.
    let (bare, zoned) = match text.strip_suffix(['Z', 'z']) {
        Some(bare) => (bare, true),
        None => (text.as_str(), false),
    };
    let naive = FORMATS
        .iter()
        .find_map(|format| NaiveDateTime::parse_from_str(bare, format).ok());
    match naive {
        Some(naive) => Ok(naive.and_utc()),
        None if zoned => Err(wrong()),
        None => DateTime::parse_from_rfc3339(&text)
            .or_else(|_| DateTime::parse_from_str(&text, "%Y-%m-%dT%H:%M%:z"))
            .map(|moment| moment.to_utc())
            .map_err(|_| wrong()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_taken_as_people_write_them() {
        let now = "2026-11-25T16:00:00Z".parse().expect("a time");
        for (text, expected) in [
            ("2026-01-31", "2026-01-31T00:00:00Z"),
            ("2026-01-31 08:00", "2026-01-31T08:00:00Z"),
            ("2026-01-31T08:00Z", "2026-01-31T08:00:00Z"),
            ("2026-01-31T08:00:07.5", "2026-01-31T08:00:07.5Z"),
            ("2026-01-31T08:00:00+02:00", "2026-01-31T06:00:00Z"),
            ("2026-01-31 08:00+02:00", "2026-01-31T06:00:00Z"),
            ("+2h", "2026-11-25T18:00:00Z"),
            ("-30m", "2026-11-25T15:30:00Z"),
        ] {
            let expected = expected.parse::<DateTime<Utc>>().expect("a time");
            assert_eq!(parse_at(text, now), Ok(expected), "{text}");
        }
    }

    #[test]
    fn what_is_no_time_is_refused() {
        for text in [
            "",
            "tomorrow",
            "31.01.2026",
            "2026-02-30",
            "2026-01-31T25:00",
            "+",
            "+2",
            "-99999999999y",
            "+9999999999999999999999s",
        ] {
            assert!(parse(text).is_err(), "{text}");
        }
    }
}
