//! The checksum of a change file: what it says, not how an editor or a version control system stores it.
//!
//! `sha256-v1:<64 hex digits>` of the text as it is in the file, placeholders unresolved, after: a byte order mark is
//! removed; line ends become `\n`; spaces and tabs at ends of lines are removed; blank lines at the end are removed, and
//! one line end is put there. Comments and the order of fields count. See ADR 014.

use std::fmt::Write as _;

use sha2::{Digest as _, Sha256};

pub(super) fn of(text: &str) -> String {
    let mut hasher = Sha256::new();
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut blank = 0;
    for line in text.replace("\r\n", "\n").split(['\n', '\r']) {
        let line = line.trim_end_matches([' ', '\t']);
        if line.is_empty() {
            // Counted only if another line follows.
            blank += 1;
            continue;
        }
        for _ in 0..blank {
            hasher.update("\n");
        }
        hasher.update(line);
        hasher.update("\n");
        blank = 0;
    }
    hasher.finalize().iter().fold(
        String::from(flamingock_api_types::digest::PREFIX),
        |mut text, byte| {
            // Writing to a text cannot fail.
            let _ = write!(text, "{byte:02x}");
            text
        },
    )
}

#[cfg(test)]
mod tests {
    use super::of;

    #[test]
    fn it_is_pinned_because_it_is_kept_for_years() {
        assert_eq!(
            of("id: a\n"),
            // printf 'id: a\n' | sha256sum
            "sha256-v1:32848b63caee2b356871054d84e60643683ed636c46ba010d11f04e367325f45"
        );
    }

    #[test]
    fn storage_does_not_count() {
        let plain = of("id: a\n\napply: |\n  one\n");
        for same in [
            "\u{feff}id: a\n\napply: |\n  one\n",
            "id: a\r\n\r\napply: |\r\n  one\r\n",
            "id: a\r\rapply: |\r  one\r",
            "id: a  \n\t\napply: |\n  one",
            "id: a\n\napply: |\n  one\n\n  \n",
        ] {
            assert_eq!(of(same), plain, "{same:?}");
        }
    }

    #[test]
    fn content_counts() {
        let all = [
            "id: a\n",
            "id: b\n",
            "\nid: a\n",
            "id: a\nx\n",
            "id: a\n\nx\n",
            "id:  a\n",
            "# c\nid: a\n",
            " id: a\n",
            "",
        ];
        for (position, one) in all.iter().enumerate() {
            for other in &all[position + 1..] {
                assert_ne!(of(one), of(other), "{one:?} {other:?}");
            }
        }
    }
}
