//! The line of a place in a YAML text.
//!
//! The parser's tree has no positions, but its errors have. So the text is walked once more along the place, and at its
//! end an error is raised on purpose.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};

use super::{Place, Segment};

/// The line, from 1, of the value at the place, or of its key where the place ends with one. Of a place that is not there,
/// the line of the nearest one around it.
pub(super) fn line(yaml: &str, place: &Place) -> Option<usize> {
    (0..=place.0.len()).rev().find_map(|length| {
        let error = Walk(&place.0[..length])
            .deserialize(yaml_serde::Deserializer::from_str(yaml))
            .err()?;
        if !error.to_string().contains(FOUND) {
            return None;
        }
        Some(error.location()?.line())
    })
}

const FOUND: &str = "flamingock: here it is";

/// Walks along the rest of a place.
struct Walk<'p>(&'p [Segment]);

impl<'de> DeserializeSeed<'de> for Walk<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Walk<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_empty() {
            FOUND
        } else {
            "something else"
        })
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let Some((Segment::Key(wanted), rest)) = self.0.split_first() else {
            return self.arrived();
        };
        let wanted = Key {
            wanted,
            is_last: rest.is_empty(),
        };
        while let Some(is_it) = map.next_key_seed(&wanted)? {
            if is_it {
                return map.next_value_seed(Walk(rest));
            }
            map.next_value::<IgnoredAny>()?;
        }
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        let Some((Segment::Index(wanted), rest)) = self.0.split_first() else {
            return self.arrived();
        };
        for _ in 0..*wanted {
            if seq.next_element::<IgnoredAny>()?.is_none() {
                return Ok(());
            }
        }
        seq.next_element_seed(Walk(rest)).map(drop)
    }
}

impl Walk<'_> {
    /// Scalars end here by themselves: none is expected.
    fn arrived<E: serde::de::Error>(&self) -> Result<(), E> {
        if self.0.is_empty() {
            return Err(E::custom(FOUND));
        }
        Err(E::custom("another kind of value"))
    }
}

struct Key<'p> {
    wanted: &'p str,
    is_last: bool,
}

impl<'de> DeserializeSeed<'de> for &Key<'_> {
    type Value = bool;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<bool, D::Error> {
        deserializer.deserialize_any(self)
    }
}

/// Names that are no texts are not looked for.
impl Visitor<'_> for &Key<'_> {
    type Value = bool;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the name of a field")
    }

    fn visit_str<E: serde::de::Error>(self, name: &str) -> Result<bool, E> {
        let is_it = name == self.wanted;
        if is_it && self.is_last {
            return Err(E::custom(FOUND));
        }
        Ok(is_it)
    }

    fn visit_bool<E>(self, _: bool) -> Result<bool, E> {
        Ok(false)
    }

    fn visit_i64<E>(self, _: i64) -> Result<bool, E> {
        Ok(false)
    }

    fn visit_u64<E>(self, _: u64) -> Result<bool, E> {
        Ok(false)
    }

    fn visit_f64<E>(self, _: f64) -> Result<bool, E> {
        Ok(false)
    }

    fn visit_unit<E>(self) -> Result<bool, E> {
        Ok(false)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_have_lines() {
        let yaml = "id: a\nsteps:\n  - apply: {method: GET}\n  - apply:\n      method: |\n        x\n      # c\n      path: [1, 2]\nlast: 1\n";
        for (place, expected) in [
            (Place::key("id"), 1),
            (Place::key("steps"), 2),
            (Place::key("steps").at(0), 3),
            (Place::key("steps").at(0).then("apply").then("method"), 3),
            (Place::key("steps").at(1).then("apply").then("method"), 5),
            (Place::key("steps").at(1).then("apply").then("path").at(1), 8),
            (Place::key("last"), 9),
            // Not there: as near as it gets.
            (Place::key("steps").at(1).then("apply").then("none"), 4),
            (Place::key("none"), 1),
        ] {
            assert_eq!(line(yaml, &place), Some(expected), "{place}");
        }
    }
}
