//! Where in an organisation's events somebody is: the id of the last event that they know.

use std::fmt;

use chrono::{DateTime, Utc};

/// After an event, or after all of a row of the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Position {
    /// Row of the log.
    pub id: i64,
    /// Of the moment that the row was written at. After a restore a number can be given out again; the two tell it.
    pub check: u32,
    /// `None`: all of the row.
    pub within: Option<Within>,
}

/// How much of a row is told: entries up to one, changes of the lock up to one, and so many events of what comes next.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Within {
    pub seq: i64,
    pub change: i64,
    pub events: u32,
}

impl Position {
    /// Before the first row of a log.
    pub const ORIGIN: Self = Self {
        id: 0,
        check: 0,
        within: None,
    };

    /// After all of a row.
    pub fn after(id: i64, written_at: DateTime<Utc>) -> Self {
        if id == 0 {
            return Self::ORIGIN;
        }
        Self {
            id,
            check: check(written_at),
            within: None,
        }
    }

    /// The id as it was given out, and nothing else.
    pub fn parse(text: &str) -> Option<Self> {
        let mut parts = text.split('-');
        let position = Self {
            id: parts.next()?.parse().ok()?,
            check: u32::from_str_radix(parts.next()?, 16).ok()?,
            within: match parts.next() {
                None => None,
                Some(seq) => Some(Within {
                    seq: seq.parse().ok()?,
                    change: parts.next()?.parse().ok()?,
                    events: parts.next()?.parse().ok()?,
                }),
            },
        };
        let negative = |within: Within| within.seq < 0 || within.change < 0;
        let is_ours =
            position.id >= 0 && !position.within.is_some_and(negative) && position.to_string() == text;
        is_ours.then_some(position)
    }
}

/// 24 bits of it, in microseconds.
pub fn check(written_at: DateTime<Utc>) -> u32 {
    u32::try_from(written_at.timestamp_micros().rem_euclid(1 << 24)).unwrap_or_default()
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{:06x}", self.id, self.check)?;
        if let Some(within) = self.within {
            write!(f, "-{}-{}-{}", within.seq, within.change, within.events)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_leads_back_to_its_position() {
        let row = Position {
            id: 1042,
            check: 0x5f,
            within: None,
        };
        let event = Position {
            within: Some(Within {
                seq: 17,
                change: 0,
                events: 1,
            }),
            ..row
        };
        for position in [Position::ORIGIN, row, event] {
            assert_eq!(Position::parse(&position.to_string()), Some(position));
        }
        assert_eq!(event.to_string(), "1042-00005f-17-0-1");
    }

    #[test]
    fn what_was_never_given_out_is_no_position() {
        for text in [
            "",
            "7",
            "-7-00005f",
            "+7-00005f",
            "07-00005f",
            "7-5f",
            "7-00005F",
            "7-00005f-",
            "7-00005f-1",
            "7-00005f-1-2",
            "7-00005f-1-2-3-4",
            "7-00005f-1--2-3",
            "7-00005f-01-2-3",
            " 7-00005f",
            "7-00005f\n",
            "99999999999999999999-00005f",
            "7-fffffffff",
            "é",
        ] {
            assert_eq!(Position::parse(text), None, "{text:?}");
        }
    }
}
