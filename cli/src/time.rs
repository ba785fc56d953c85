//! Times and durations as people read them.

use chrono::{DateTime, SecondsFormat, TimeDelta, Utc};

/// `2026-11-25 16:03:12Z (3 min ago)`: both, because one is for logs and the other for people at night.
pub fn shown(time: DateTime<Utc>, now: DateTime<Utc>) -> String {
    format!("{} ({})", absolute(time), relative(time, now))
}

pub fn absolute(time: DateTime<Utc>) -> String {
    let text = time.to_rfc3339_opts(SecondsFormat::Secs, true);
    text.replacen('T', " ", 1)
}

pub fn relative(time: DateTime<Utc>, now: DateTime<Utc>) -> String {
    let passed = now.signed_duration_since(time);
    if passed.num_seconds().abs() < 1 {
        "now".to_owned()
    } else if passed < TimeDelta::zero() {
        format!("in {}", length(-passed))
    } else {
        format!("{} ago", length(passed))
    }
}

/// In the largest unit that gives at least one, or two for days.
pub fn length(length: TimeDelta) -> String {
    let seconds = length.num_seconds();
    match seconds {
        ..60 => format!("{seconds} s"),
        60..3_600 => format!("{} min", seconds / 60),
        3_600..172_800 => {
            let minutes = seconds / 60 % 60;
            if minutes == 0 {
                format!("{} h", seconds / 3_600)
            } else {
                format!("{} h {minutes} min", seconds / 3_600)
            }
        }
        172_800.. => format!("{} days", seconds / 86_400),
    }
}

/// `42 ms`, `1.3 s`, `4 min`.
pub fn millis(millis: i64) -> String {
    match millis {
        ..1_000 => format!("{millis} ms"),
        1_000..60_000 => format!("{}.{} s", millis / 1_000, millis / 100 % 10),
        60_000.. => length(TimeDelta::milliseconds(millis)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_told_as_people_tell_them() {
        let now = "2026-11-25T16:03:12Z".parse::<DateTime<Utc>>().expect("a time");
        let ago = |seconds| relative(now - TimeDelta::seconds(seconds), now);
        assert_eq!(ago(0), "now");
        assert_eq!(ago(59), "59 s ago");
        assert_eq!(ago(60), "1 min ago");
        assert_eq!(ago(3_600), "1 h ago");
        assert_eq!(ago(9_000), "2 h 30 min ago");
        assert_eq!(ago(200_000), "2 days ago");
        assert_eq!(ago(-90), "in 1 min");
        assert_eq!(
            shown(now - TimeDelta::seconds(5), now),
            "2026-11-25 16:03:07Z (5 s ago)"
        );
        assert_eq!(millis(999), "999 ms");
        assert_eq!(millis(1_349), "1.3 s");
        assert_eq!(millis(61_000), "1 min");
    }
}
