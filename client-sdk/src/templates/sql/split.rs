//! Where one statement of PostgreSQL's SQL ends and the next begins.
//!
//! A semicolon ends a statement unless it is inside a string (`'…'`, `E'…\'…'`, `$tag$…$tag$`), a quoted name, a comment
//! (which nest), parentheses (rules), or the body of a function in standard SQL (`BEGIN ATOMIC … END`). The rules are
//! those of `psql`, for a server with `standard_conforming_strings` on, which is the default.

/// One statement, without its semicolon and the comments before it.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Statement<'t> {
    pub(super) text: &'t str,
    /// Where it begins.
    pub(super) line: usize,
    /// Its first words outside of quotes, in capitals.
    pub(super) words: Vec<String>,
}

/// A string, name or comment that does not end.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Unterminated {
    pub(super) line: usize,
    pub(super) what: &'static str,
}

/// As many as are needed to tell what a statement does.
const WORDS: usize = 24;

pub(super) fn split(sql: &str) -> Result<Vec<Statement<'_>>, Unterminated> {
    let mut scanner = Scanner::new(sql);
    while scanner.token()? {}
    scanner.end_statement();
    Ok(scanner.statements)
}

struct Scanner<'t> {
    sql: &'t str,
    bytes: &'t [u8],
    position: usize,
    /// Where the present statement begins and its last token ends.
    begun: Option<(usize, usize)>,
    words: Vec<String>,
    parentheses: usize,
    /// Of `BEGIN` and `CASE` in the body of a function.
    blocks: usize,
    statements: Vec<Statement<'t>>,
    /// How far lines were counted, and the line there.
    counted: (usize, usize),
}

impl<'t> Scanner<'t> {
    fn new(sql: &'t str) -> Self {
        Self {
            sql,
            bytes: sql.as_bytes(),
            position: 0,
            begun: None,
            words: Vec::new(),
            parentheses: 0,
            blocks: 0,
            statements: Vec::new(),
            counted: (0, 1),
        }
    }

    /// Takes the next token. False at the end.
    fn token(&mut self) -> Result<bool, Unterminated> {
        let start = self.position;
        let Some(first) = self.peek(0) else {
            return Ok(false);
        };
        match (first, self.peek(1)) {
            (b'-', Some(b'-')) => {
                self.skip_line();
                return Ok(true);
            }
            (b'/', Some(b'*')) => {
                self.block_comment()?;
                return Ok(true);
            }
            (b';', _) if self.parentheses == 0 && self.blocks == 0 => {
                self.end_statement();
                self.position += 1;
                return Ok(true);
            }
            (b'\'', _) => self.string(false)?,
            (b'"', _) => self.until_doubled(b'"', "quoted name")?,
            (b'$', _) => self.dollar()?,
            (b'(', _) => {
                self.parentheses += 1;
                self.position += 1;
            }
            (b')', _) => {
                self.parentheses = self.parentheses.saturating_sub(1);
                self.position += 1;
            }
            (byte, _) if byte.is_ascii_whitespace() || byte == 0x0b => {
                self.position += 1;
                return Ok(true);
            }
            (byte, _) if is_word_start(byte) => self.word()?,
            _ => self.position += 1,
        }
        let begin = self.begun.map_or(start, |(begin, _)| begin);
        self.begun = Some((begin, self.position));
        Ok(true)
    }

    fn peek(&self, offset: usize) -> Option<u8> {
        self.bytes.get(self.position + offset).copied()
    }

    fn skip_line(&mut self) {
        while self.peek(0).is_some_and(|byte| byte != b'\n') {
            self.position += 1;
        }
    }

    fn block_comment(&mut self) -> Result<(), Unterminated> {
        let start = self.position;
        let mut depth = 0_usize;
        loop {
            match (self.peek(0), self.peek(1)) {
                (Some(b'/'), Some(b'*')) => {
                    depth += 1;
                    self.position += 2;
                }
                (Some(b'*'), Some(b'/')) => {
                    depth -= 1;
                    self.position += 2;
                    if depth == 0 {
                        return Ok(());
                    }
                }
                (Some(_), _) => self.position += 1,
                (None, _) => return Err(self.unterminated(start, "comment")),
            }
        }
    }

    /// A string, and those that continue it on later lines, which keep its rule about backslashes.
    fn string(&mut self, escapes: bool) -> Result<(), Unterminated> {
        loop {
            let start = self.position;
            self.position += 1;
            loop {
                match (self.peek(0), self.peek(1)) {
                    (Some(b'\\'), Some(_)) if escapes => self.position += 2,
                    (Some(b'\''), Some(b'\'')) => self.position += 2,
                    (Some(b'\''), _) => break,
                    (Some(_), _) => self.position += 1,
                    (None, _) => return Err(self.unterminated(start, "string")),
                }
            }
            self.position += 1;
            if !escapes || !self.continues() {
                return Ok(());
            }
        }
    }

    /// Goes to the next quote, if only white space with a line end, and line comments after it, are in between.
    fn continues(&mut self) -> bool {
        let end = self.position;
        let mut new_line = false;
        loop {
            match (self.peek(0), self.peek(1)) {
                (Some(b'\''), _) if new_line => return true,
                (Some(b'-'), Some(b'-')) if new_line => self.skip_line(),
                (Some(byte), _) if byte.is_ascii_whitespace() => {
                    new_line |= byte == b'\n' || byte == b'\r';
                    self.position += 1;
                }
                _ => {
                    self.position = end;
                    return false;
                }
            }
        }
    }

    fn until_doubled(&mut self, quote: u8, what: &'static str) -> Result<(), Unterminated> {
        let start = self.position;
        self.position += 1;
        loop {
            match (self.peek(0), self.peek(1)) {
                (Some(byte), Some(next)) if byte == quote && next == quote => self.position += 2,
                (Some(byte), _) => {
                    self.position += 1;
                    if byte == quote {
                        return Ok(());
                    }
                }
                (None, _) => return Err(self.unterminated(start, what)),
            }
        }
    }

    /// `$tag$…$tag$`, or a parameter, or nothing in particular.
    fn dollar(&mut self) -> Result<(), Unterminated> {
        let start = self.position;
        let rest = &self.bytes[start + 1..];
        let tag = rest.iter().take_while(|byte| is_word(**byte)).count();
        let is_tag = rest.get(tag) == Some(&b'$') && rest.first().is_some_and(|byte| !byte.is_ascii_digit());
        if !is_tag {
            self.position += 1;
            return Ok(());
        }
        let quote = &self.sql[start..start + tag + 2];
        let inside = start + quote.len();
        match self.sql[inside..].find(quote) {
            Some(length) => {
                self.position = inside + length + quote.len();
                Ok(())
            }
            None => Err(self.unterminated(start, "dollar-quoted string")),
        }
    }

    fn word(&mut self) -> Result<(), Unterminated> {
        let start = self.position;
        while self.peek(0).is_some_and(|byte| is_word(byte) || byte == b'$') {
            self.position += 1;
        }
        let word = &self.sql[start..self.position];
        if word.eq_ignore_ascii_case("e") && self.peek(0) == Some(b'\'') {
            return self.string(true);
        }
        let word = word.to_ascii_uppercase();
        if self.parentheses == 0 && self.makes_routine() {
            match word.as_str() {
                "BEGIN" => self.blocks += 1,
                // It ends with `END` as well.
                "CASE" if self.blocks > 0 => self.blocks += 1,
                "END" => self.blocks = self.blocks.saturating_sub(1),
                _ => {}
            }
        }
        if self.words.len() < WORDS {
            self.words.push(word);
        }
        Ok(())
    }

    /// `CREATE [OR REPLACE] FUNCTION` or `PROCEDURE`.
    fn makes_routine(&self) -> bool {
        let mut words = self.words.iter().map(String::as_str);
        if words.next() != Some("CREATE") {
            return false;
        }
        match words.next() {
            Some("FUNCTION" | "PROCEDURE") => true,
            Some("OR") => {
                words.next() == Some("REPLACE") && matches!(words.next(), Some("FUNCTION" | "PROCEDURE"))
            }
            _ => false,
        }
    }

    fn end_statement(&mut self) {
        if let Some((begin, end)) = self.begun.take() {
            let line = self.line(begin);
            self.statements.push(Statement {
                text: &self.sql[begin..end],
                line,
                words: std::mem::take(&mut self.words),
            });
        }
        (self.parentheses, self.blocks) = (0, 0);
    }

    fn line(&mut self, position: usize) -> usize {
        let (counted, line) = self.counted;
        let more = self.sql[counted..position].matches('\n').count();
        self.counted = (position, line + more);
        line + more
    }

    fn unterminated(&mut self, start: usize, what: &'static str) -> Unterminated {
        Unterminated {
            line: self.line(start),
            what,
        }
    }
}

/// Letters of all alphabets: every byte of a character beyond ASCII.
fn is_word_start(byte: u8) -> bool {
    byte.is_ascii_alphabetic() || byte == b'_' || byte >= 0x80
}

fn is_word(byte: u8) -> bool {
    is_word_start(byte) || byte.is_ascii_digit()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn texts(sql: &str) -> Vec<&str> {
        split(sql)
            .unwrap_or_else(|error| panic!("{sql}: {error:?}"))
            .into_iter()
            .map(|statement| statement.text)
            .collect()
    }

    #[test]
    fn statements_are_parted_where_postgresql_parts_them() {
        for (sql, expected) in [
            ("", &[][..]),
            (" ;; -- nothing\n ; /* ; */", &[]),
            ("a; b", &["a", "b"]),
            ("a;b;", &["a", "b"]),
            ("a -- ;\n b; c", &["a -- ;\n b", "c"]),
            ("a /* ; /* ; */ ; */ b; c", &["a /* ; /* ; */ ; */ b", "c"]),
            ("-- before\na /* x */; -- after", &["a"]),
            ("SELECT ';' ';;'; b", &["SELECT ';' ';;'", "b"]),
            ("SELECT 'it''s;'; b", &["SELECT 'it''s;'", "b"]),
            // A backslash is a letter, but in an E string it is not.
            (r"SELECT '\'; b", &[r"SELECT '\'", "b"]),
            (r"SELECT E'\';'; b", &[r"SELECT E'\';'", "b"]),
            (r"SELECT e'\\'; b", &[r"SELECT e'\\'", "b"]),
            ("SELECT E'a'\n  '\\';'; b", &["SELECT E'a'\n  '\\';'", "b"]),
            ("SELECT E'a' -- c\n", &["SELECT E'a'"]),
            (r"SELECT type'\'; b", &[r"SELECT type'\'", "b"]),
            ("SELECT U&'\\0041;'; b", &["SELECT U&'\\0041;'", "b"]),
            (r#"SELECT ";""x;"; b"#, &[r#"SELECT ";""x;""#, "b"]),
            ("DO $$ a; b; $$; c", &["DO $$ a; b; $$", "c"]),
            ("DO $x$ a; $$ ; $y$; $x$; c", &["DO $x$ a; $$ ; $y$; $x$", "c"]),
            ("SELECT $1; b", &["SELECT $1", "b"]),
            ("SELECT $1$; b", &["SELECT $1$", "b"]),
            ("SELECT a$$; b$$", &["SELECT a$$", "b$$"]),
            (
                "CREATE RULE r AS ON INSERT TO t DO (a; b); c",
                &["CREATE RULE r AS ON INSERT TO t DO (a; b)", "c"],
            ),
            (") ; b", &[")", "b"]),
            (
                "CREATE FUNCTION f() RETURNS int BEGIN ATOMIC SELECT CASE WHEN true THEN 1 END; SELECT 2; END; b",
                &[
                    "CREATE FUNCTION f() RETURNS int BEGIN ATOMIC SELECT CASE WHEN true THEN 1 END; SELECT 2; END",
                    "b",
                ],
            ),
            (
                "create or replace procedure p() begin atomic a; end; b",
                &["create or replace procedure p() begin atomic a; end", "b"],
            ),
            ("BEGIN; a; END; b", &["BEGIN", "a", "END", "b"]),
            ("é; ü", &["é", "ü"]),
            ("SELECT $é$;$é$; b", &["SELECT $é$;$é$", "b"]),
        ] {
            assert_eq!(texts(sql), expected, "{sql}");
        }
    }

    #[test]
    fn lines_and_words_are_known() {
        let statements = split("\n-- c\nCreate\n index Concurrently \"i\";\n\nb").expect("splits");
        assert_eq!(statements[0].line, 3);
        assert_eq!(statements[0].words, ["CREATE", "INDEX", "CONCURRENTLY"]);
        assert_eq!(statements[1].line, 6);
    }

    #[test]
    fn what_does_not_end_is_named_with_its_line() {
        for (sql, line, what) in [
            ("a;\n'b", 2, "string"),
            ("\n\"b", 2, "quoted name"),
            ("/* /* */", 1, "comment"),
            ("a;\n\nDO $x$ $$", 3, "dollar-quoted string"),
            ("E'\\'", 1, "string"),
        ] {
            assert_eq!(split(sql), Err(Unterminated { line, what }), "{sql}");
        }
    }

    /// Pieces that each may hold semicolons, none of which ends the statement.
    fn piece() -> impl Strategy<Value = String> {
        prop_oneof![
            "[a-df-z_][a-z0-9_]{0,6}",
            "[0-9]{1,4}",
            "[;\\\\a-z \"$\n-]{0,8}".prop_map(|text| format!("'{text}'")),
            "[;a-z \"$\n]{0,8}".prop_map(|text| format!("E'\\'{text}\\\\'")),
            "[;a-z '$\n-]{0,8}".prop_map(|text| format!("\"{text}\"")),
            "[;a-z'\" /*\n-]{0,8}".prop_map(|text| format!("$q1${text}$q1$")),
            "[;a-z'\" $\n]{0,8}".prop_map(|text| format!("/* {text} /* ; */ */")),
            "[;a-z'\" $]{0,8}".prop_map(|text| format!("-- {text}\n")),
            "[;a-z ]{0,8}".prop_map(|text| format!("({text})")),
            Just("=".to_owned()),
            Just("$1".to_owned()),
        ]
    }

    proptest! {
        #[test]
        fn what_was_put_together_is_parted_again(
            statements in proptest::collection::vec(proptest::collection::vec(piece(), 1..6), 1..6)
        ) {
            // Begin and end with a word, so that no comment is at an edge.
            let statements: Vec<_> = statements.iter().map(|pieces| format!("w {} w", pieces.join(" "))).collect();
            let sql = statements.join(" ;\n");
            let parted = texts(&sql);
            prop_assert_eq!(parted, statements);
        }

        #[test]
        fn nothing_makes_it_panic_and_nothing_is_lost(sql in "[ae;'\"$\\\\/*\n()é BEGIN-]{0,60}") {
            if let Ok(statements) = split(&sql) {
                let mut rest = sql.as_str();
                for statement in statements {
                    let position = rest.find(statement.text);
                    prop_assert!(position.is_some());
                    rest = &rest[position.unwrap_or_default() + statement.text.len()..];
                }
            }
        }
    }
}
