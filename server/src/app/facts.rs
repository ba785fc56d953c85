//! How long the texts of a fact may be. Longer ones are cut: a fact is never refused because it is wordy.

use std::borrow::Cow;

pub const TRACE_MAX_BYTES: usize = 64 * 1024;
pub const METADATA_MAX_BYTES: usize = 64 * 1024;
pub const TEXT_MAX_BYTES: usize = 4 * 1024;
pub const STATE_MAX_BYTES: usize = 64;
pub const EXECUTION_REF_MAX_BYTES: usize = 255;

/// PostgreSQL keeps no NUL; everything else stays. Cut at a character.
pub fn cut(text: &str, max_bytes: usize) -> String {
    let text = if text.contains('\0') {
        Cow::Owned(text.replace('\0', "\u{FFFD}"))
    } else {
        Cow::Borrowed(text)
    };
    if text.len() <= max_bytes {
        return text.into_owned();
    }
    let mut end = max_bytes;
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text[..end].to_owned()
}

/// JSON text cannot be cut and stay JSON: what is too large is replaced by a remark.
pub fn metadata(json: &str) -> String {
    if json.len() > METADATA_MAX_BYTES {
        return format!(
            "{{\"flamingock.cut\":\"metadata of {} bytes was too large to keep\"}}",
            json.len()
        );
    }
    cut(json, METADATA_MAX_BYTES)
}
