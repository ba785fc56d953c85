//! Texts from elsewhere, made safe and fitting for a terminal.

use unicode_width::{UnicodeWidthChar as _, UnicodeWidthStr as _};

/// Without what a terminal would obey: ids, reasons and traces come from anybody, and an escape sequence in one must not
/// move the cursor, change the title or hide a line. Line breaks and tabs stay where `keep_lines` says so.
pub fn safe(text: &str, keep_lines: bool) -> String {
    let mut safe = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '\n' | '\t' if keep_lines => safe.push(character),
            '\n' => safe.push('⏎'),
            '\t' => safe.push(' '),
            '\r' if keep_lines => {}
            // Bidirectional overrides turn what follows around, so that it reads as something else.
            '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{200e}' | '\u{200f}' => {
                safe.extend(character.escape_unicode());
            }
            character if character.is_control() => safe.extend(character.escape_unicode()),
            character => safe.push(character),
        }
    }
    safe
}

/// Columns that it takes on a terminal.
pub fn width(text: &str) -> usize {
    text.width()
}

/// The beginning of it, in at most so many columns.
pub fn shortened(text: &str, columns: usize) -> String {
    if width(text) <= columns {
        return text.to_owned();
    }
    let mut short = String::new();
    let mut used = 1;
    for character in text.chars() {
        used += character.width().unwrap_or(0);
        if used > columns {
            break;
        }
        short.push(character);
    }
    short.push('…');
    short
}

/// Broken at spaces into lines of at most so many columns.
pub fn wrapped(text: &str, columns: usize) -> Vec<String> {
    let mut lines = Vec::new();
    for paragraph in text.split('\n') {
        let mut line = String::new();
        for word in paragraph.split(' ') {
            if !line.is_empty() && width(&line) + 1 + width(word) > columns {
                lines.push(std::mem::take(&mut line));
            } else if !line.is_empty() {
                line.push(' ');
            }
            line.push_str(word);
        }
        lines.push(line);
    }
    lines
}

/// One word for a shell, whatever is in it, and nothing that a terminal would obey.
pub fn quoted(word: &str) -> String {
    let word = safe(word, false);
    let plain = |character: char| character.is_ascii_alphanumeric() || "-_./:".contains(character);
    if !word.is_empty() && !word.starts_with('-') && word.chars().all(plain) {
        word
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}

/// Whose doing something was: `token:5 (mara)` and `credential:5 (mara)` as `mara (token 5)`, `server:bootstrap` as
/// `server (bootstrap)`, everything else as it is.
pub fn who(actor: &str) -> String {
    let Some((kind, rest)) = actor.split_once(':') else {
        return actor.to_owned();
    };
    match (kind, rest.split_once(" (")) {
        ("token" | "credential", Some((number, name))) if name.ends_with(')') => {
            format!("{} (token {number})", &name[..name.len() - 1])
        }
        ("token" | "credential", None) => format!("token {rest}"),
        ("server", None) => format!("server ({rest})"),
        _ => actor.to_owned(),
    }
}

/// Names with commas between them; of an answer without names, numbers. None: there is no such list.
pub fn names(ids: Option<&[i64]>, names: Option<&[String]>) -> Option<String> {
    match (ids, names) {
        (_, Some(names)) => Some(names.join(", ")),
        (Some(ids), None) => Some(ids.iter().map(i64::to_string).collect::<Vec<_>>().join(", ")),
        (None, None) => None,
    }
}

/// `1 issue`, `2 issues`.
pub fn counted(count: usize, what: &str) -> String {
    format!("{count} {what}{}", if count == 1 { "" } else { "s" })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_terminal_would_obey_is_shown_instead() {
        assert_eq!(safe("a\u{1b}[2Jb\r\n\0", false), "a\\u{1b}[2Jb\\u{d}⏎\\u{0}");
        assert_eq!(safe("one\r\n\ttwo\u{9b}m", true), "one\n\ttwo\\u{9b}m");
        assert_eq!(safe("x\u{202e}gnp", false), "x\\u{202e}gnp");
        assert_eq!(safe("größe 表", false), "größe 表");
    }

    #[test]
    fn texts_are_cut_by_what_they_take_on_the_screen() {
        assert_eq!(shortened("abcdef", 6), "abcdef");
        assert_eq!(shortened("abcdef", 4), "abc…");
        assert_eq!(shortened("表表表", 4), "表…");
        assert!(width(&shortened("表表表", 4)) <= 4);
    }

    #[test]
    fn people_are_called_by_their_names() {
        for (recorded, told) in [
            ("token:21 (mara)", "mara (token 21)"),
            ("credential:7 (orders (eu))", "orders (eu) (token 7)"),
            ("credential:7", "token 7"),
            ("server:bootstrap", "server (bootstrap)"),
            ("server", "server"),
            ("import: x", "import: x"),
        ] {
            assert_eq!(who(recorded), told);
        }
    }

    #[test]
    fn lines_are_broken_at_spaces_and_never_inside_words() {
        assert_eq!(wrapped("one two three", 7), ["one two", "three"]);
        assert_eq!(
            wrapped("a-very-long-word b\nc", 5),
            ["a-very-long-word", "b", "c"]
        );
        assert_eq!(wrapped("", 5), [""]);
    }
}
