//! Values as they are written, and their limits.

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use super::ConfigError;

pub(super) fn between<T: Copy + PartialOrd + fmt::Display>(
    name: &str,
    value: T,
    min: T,
    max: T,
) -> Result<(), ConfigError> {
    if value >= min && value <= max {
        return Ok(());
    }
    Err(ConfigError::Value {
        name: name.to_owned(),
        value: value.to_string(),
        expected: format!("a number from {min} to {max}"),
    })
}

pub(super) fn lasting(name: &str, value: Duration, min: Duration, max: Duration) -> Result<(), ConfigError> {
    if (min..=max).contains(&value) {
        return Ok(());
    }
    let print = humantime::format_duration;
    Err(ConfigError::Value {
        name: name.to_owned(),
        value: print(value).to_string(),
        expected: format!("a duration from {} to {}", print(min), print(max)),
    })
}

pub(super) fn address(text: &str) -> Result<SocketAddr, String> {
    text.parse()
        .map_err(|_| "expected an IP address and a port such as 0.0.0.0:8080 or [::]:8080".to_owned())
}

pub(super) fn duration(text: &str) -> Result<Duration, String> {
    humantime::parse_duration(text)
        .map_err(|_| "expected a duration with its unit such as 500ms, 30s, 5m or 24h".to_owned())
}

const UNITS: [(&str, usize); 6] = [
    ("GiB", 1 << 30),
    ("MiB", 1 << 20),
    ("KiB", 1 << 10),
    ("MB", 1_000_000),
    ("kB", 1_000),
    ("B", 1),
];

pub(super) fn byte_size(text: &str) -> Result<usize, String> {
    let digits = text.trim_end_matches(|c: char| !c.is_ascii_digit());
    let unit = text[digits.len()..].trim();
    let factor = match unit {
        "" => Some(1),
        _ => UNITS
            .iter()
            .find(|(name, _)| name.eq_ignore_ascii_case(unit))
            .map(|(_, factor)| *factor),
    };
    digits
        .parse::<usize>()
        .ok()
        .zip(factor)
        .and_then(|(count, factor)| count.checked_mul(factor))
        .ok_or_else(|| "expected a size such as 16MiB, 512KiB or 1048576".to_owned())
}

pub(super) fn print_bytes(bytes: usize) -> String {
    let (unit, factor) = UNITS[..3]
        .iter()
        .find(|(_, factor)| bytes > 0 && bytes.is_multiple_of(*factor))
        .unwrap_or(&("B", 1));
    format!("{}{unit}", bytes / factor)
}

pub(super) fn count(text: &str) -> Result<usize, String> {
    text.parse()
        .map_err(|_| "expected a whole number such as 16".to_owned())
}

pub(super) fn connections(text: &str) -> Result<u32, String> {
    text.parse()
        .map_err(|_| "expected a whole number such as 16".to_owned())
}

pub(super) fn boolean(text: &str) -> Result<bool, String> {
    match text.to_ascii_lowercase().as_str() {
        "true" | "yes" | "on" | "1" => Ok(true),
        "false" | "no" | "off" | "0" => Ok(false),
        _ => Err("expected true or false".to_owned()),
    }
}

pub(super) fn file(text: &str) -> Result<PathBuf, String> {
    if text.is_empty() {
        Err("expected the path of a file".to_owned())
    } else {
        Ok(text.into())
    }
}
