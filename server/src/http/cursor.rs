//! Where the next page starts, as an opaque text. A cursor names its list and what the list was asked for, so that one of
//! another list, scope or filter is refused instead of answering from somewhere else. It grants nothing: a page is always
//! read within the caller's own scope.

use data_encoding::BASE64URL_NOPAD;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::problem::Problem;

/// Longer ones were never ours.
const LONGEST: usize = 4096;

#[derive(Serialize, Deserialize)]
struct Content<P> {
    /// First bytes of a digest over the list and what it was asked for.
    l: String,
    p: P,
}

/// What a list was asked for: its operation id, its scope, its filters. Cursors fit exactly one.
#[derive(Clone, Debug)]
pub struct Listing(String);

impl Listing {
    /// `parts` are the ids of the scope and every filter that selects rows; not the page's size.
    pub fn new(operation: &str, parts: &impl Serialize) -> Self {
        let mut digest = Sha256::new();
        digest.update(operation);
        digest.update([0]);
        digest.update(serde_json::to_vec(parts).unwrap_or_default());
        Self(BASE64URL_NOPAD.encode(&digest.finalize()[..9]))
    }

    /// The cursor for a position: whatever the list is sorted by, of the last row shown.
    pub fn cursor(&self, position: &impl Serialize) -> String {
        let content = Content {
            l: self.0.clone(),
            p: position,
        };
        BASE64URL_NOPAD.encode(&serde_json::to_vec(&content).unwrap_or_default())
    }

    /// The position in a cursor of this list.
    pub fn position<P: DeserializeOwned>(&self, cursor: Option<&str>) -> Result<Option<P>, Problem> {
        let Some(cursor) = cursor else {
            return Ok(None);
        };
        (cursor.len() <= LONGEST)
            .then(|| BASE64URL_NOPAD.decode(cursor.as_bytes()).ok())
            .flatten()
            .and_then(|bytes| serde_json::from_slice::<Content<P>>(&bytes).ok())
            .filter(|content| content.l == self.0)
            .map(|content| Some(content.p))
            .ok_or_else(|| {
                Problem::malformed(
                    "The query parameter `after` is not a cursor of this list with these filters. Start without it, and \
                     pass on what the page before gives as `next`.",
                )
            })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_leads_back_to_its_position_in_its_own_list_only() {
        let listing = Listing::new("audit_list", &(12, 340, "FAILED"));
        let cursor = listing.cursor(&77_i64);
        assert_eq!(
            listing.position::<i64>(Some(&cursor)).expect("it is ours"),
            Some(77)
        );
        assert_eq!(listing.position::<i64>(None).expect("no cursor is fine"), None);
        for other in [
            Listing::new("audit_list", &(12, 341, "FAILED")),
            Listing::new("audit_list", &(12, 340, "APPLIED")),
            Listing::new("issue_list", &(12, 340, "FAILED")),
        ] {
            assert!(other.position::<i64>(Some(&cursor)).is_err());
        }
    }

    #[test]
    fn what_is_no_cursor_is_refused_and_never_panics() {
        let listing = Listing::new("audit_list", &(12, 340));
        let long = "A".repeat(LONGEST + 1);
        for text in ["", "77", "é", "eyJsIjoiIn0", "\0", &long] {
            assert!(listing.position::<i64>(Some(text)).is_err(), "{text:.20}");
        }
        let of_text = listing.cursor(&"a name");
        assert!(listing.position::<i64>(Some(&of_text)).is_err());
    }
}
