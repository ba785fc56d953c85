//! Where one statement ends and the next begins, by the rules of the tool that comes with the database: `psql`, `mysql`,
//! `sqlite3`.
//!
//! A semicolon ends a statement unless it is inside a string, a quoted name, a comment, or what each of them has besides:
//!
//! * PostgreSQL: `E'…\'…'`, `$tag$…$tag$`, comments that nest, parentheses (rules), `BEGIN ATOMIC … END`. For a server with
//!   `standard_conforming_strings` on, which is the default.
//! * MySQL and MariaDB: backslashes in strings, `` `…` ``, `#` comments, `/*! … */` (which is code), the bodies of routines,
//!   triggers and events, and another `DELIMITER`. For a `sql_mode` without `ANSI_QUOTES` and `NO_BACKSLASH_ESCAPES`, which
//!   is the default; a session is asked before anything is sent to it.
//! * SQLite: `` `…` ``, `[…]`, and a trigger up to its `; END`.

use std::fmt;

use super::Dialect;

mod blocks;
#[cfg(test)]
mod tests;

use blocks::{Blocks, Token};

/// One statement, without its semicolon and the comments before it.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Statement<'t> {
    pub(super) text: &'t str,
    /// Where it begins.
    pub(super) line: usize,
    /// Its first words outside of quotes, in capitals.
    pub(super) words: Vec<String>,
    /// Whether a semicolon is in it, outside of what is quoted: as in the body of a trigger, or where another delimiter was
    /// chosen. For the server it may be several then.
    pub(super) has_semicolon: bool,
}

/// Why a text cannot be parted.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// A string, name, comment or body that does not end.
    Unterminated { line: usize, what: &'static str },
    /// The command of `mysql` without what it is about.
    NoDelimiter { line: usize },
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unterminated { line, what } => {
                write!(f, "the {what} that begins in line {line} of the SQL has no end")
            }
            Self::NoDelimiter { line } => write!(
                f,
                "`DELIMITER` in line {line} of the SQL does not say what ends statements from there on, such as `DELIMITER //`"
            ),
        }
    }
}

/// As many as are needed to tell what a statement does.
const WORDS: usize = 24;

pub(super) fn split(sql: &str, dialect: Dialect) -> Result<Vec<Statement<'_>>, Fault> {
    let mut scanner = Scanner::new(sql, dialect);
    while scanner.token()? {}
    if scanner.conditional.is_some() {
        return Err(scanner.unterminated(scanner.conditional.unwrap_or_default(), "comment"));
    }
    if scanner.blocks.are_open()
        && let Some((begin, _)) = scanner.begun
    {
        return Err(scanner.unterminated(begin, "body"));
    }
    scanner.end_statement();
    Ok(scanner.statements)
}

struct Scanner<'t> {
    sql: &'t str,
    bytes: &'t [u8],
    dialect: Dialect,
    position: usize,
    /// What ends a statement.
    delimiter: &'t str,
    /// Where the present statement begins and its last token ends.
    begun: Option<(usize, usize)>,
    words: Vec<String>,
    has_semicolon: bool,
    parentheses: usize,
    blocks: Blocks,
    /// Where the `/*!` is that is open: what is inside is code.
    conditional: Option<usize>,
    statements: Vec<Statement<'t>>,
    /// How far lines were counted, and the line there.
    counted: (usize, usize),
}

impl<'t> Scanner<'t> {
    fn new(sql: &'t str, dialect: Dialect) -> Self {
        Self {
            sql,
            bytes: sql.as_bytes(),
            dialect,
            position: 0,
            delimiter: ";",
            begun: None,
            words: Vec::new(),
            has_semicolon: false,
            parentheses: 0,
            blocks: Blocks::new(dialect),
            conditional: None,
            statements: Vec::new(),
            counted: (0, 1),
        }
    }

    /// Takes the next token. False at the end.
    fn token(&mut self) -> Result<bool, Fault> {
        use Dialect::{MySql, Postgres, Sqlite};
        let start = self.position;
        let Some(first) = self.peek(0) else {
            return Ok(false);
        };
        if is_white(first) {
            self.position += 1;
            return Ok(true);
        }
        // As files that were put together have it in the middle. For the others it is a letter.
        if self.dialect == Sqlite && self.sql[start..].starts_with('\u{feff}') {
            self.position += '\u{feff}'.len_utf8();
            return Ok(true);
        }
        if self.comment(first)? {
            return Ok(true);
        }
        if self.at_end_of_statement() {
            self.end_statement();
            self.position += self.delimiter.len();
            return Ok(true);
        }
        let mut token = Some(Token::Other);
        match (first, self.dialect) {
            (b'/', MySql) if self.opens_conditional() => token = None,
            (b'*', MySql) if self.conditional.is_some() && self.peek(1) == Some(b'/') => {
                self.conditional = None;
                self.position += 2;
                token = None;
            }
            (b'\'', _) | (b'"', MySql) => {
                self.string(first, self.dialect == MySql)?;
                token = Some(Token::Text);
            }
            (b'"', _) | (b'`', MySql | Sqlite) => self.until_doubled(first, "quoted name")?,
            (b'[', Sqlite) => self.bracketed()?,
            (b'$', Postgres) => self.dollar()?,
            (b'$' | b'@' | b':' | b'#', Sqlite) => self.parameter(),
            (b'(', _) => {
                self.parentheses += 1;
                self.position += 1;
            }
            (b')', _) => {
                self.parentheses = self.parentheses.saturating_sub(1);
                self.position += 1;
                token = Some(Token::Close);
            }
            (byte, _) if is_word_start(byte) => {
                if self.command()? {
                    return Ok(true);
                }
                token = Some(self.word()?);
            }
            (byte, _) => {
                self.position += 1;
                self.has_semicolon |= byte == b';';
                token = Some(Token::of_sign(byte));
            }
        }
        if let Some(token) = token {
            self.blocks.saw(token);
        }
        let begin = self.begun.map_or(start, |(begin, _)| begin);
        self.begun = Some((begin, self.position));
        Ok(true)
    }

    fn peek(&self, offset: usize) -> Option<u8> {
        self.bytes.get(self.position + offset).copied()
    }

    fn at_end_of_statement(&self) -> bool {
        self.bytes[self.position..].starts_with(self.delimiter.as_bytes())
            && self.conditional.is_none()
            // Another delimiter was chosen because it ends a statement wherever it stands.
            && (self.delimiter != ";" || !self.blocks.hold_semicolon())
            && (self.dialect != Dialect::Postgres || self.parentheses == 0)
    }

    /// Skips a comment, if one begins here.
    fn comment(&mut self, first: u8) -> Result<bool, Fault> {
        let is_mysql = self.dialect == Dialect::MySql;
        match (first, self.peek(1)) {
            // `a--1` is a difference there.
            (b'-', Some(b'-'))
                if !is_mysql || self.peek(2).is_none_or(|byte| byte <= b' ' || byte == 0x7f) =>
            {
                self.skip_line();
            }
            (b'#', _) if is_mysql => self.skip_line(),
            (b'/', Some(b'*')) if !(is_mysql && self.conditional_mark().is_some()) => self.block_comment()?,
            _ => return Ok(false),
        }
        Ok(true)
    }

    fn skip_line(&mut self) {
        while self.peek(0).is_some_and(|byte| byte != b'\n') {
            self.position += 1;
        }
    }

    fn block_comment(&mut self) -> Result<(), Fault> {
        let start = self.position;
        let nests = self.dialect == Dialect::Postgres;
        let mut depth = 0_usize;
        loop {
            match (self.peek(0), self.peek(1)) {
                (Some(b'/'), Some(b'*')) if nests || depth == 0 => {
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

    /// The length of `/*!80013` or `/*M!100500`.
    fn conditional_mark(&self) -> Option<usize> {
        let rest = &self.bytes[self.position..];
        let mark = ["/*!", "/*M!"]
            .into_iter()
            .find(|mark| rest.starts_with(mark.as_bytes()))?;
        let version = rest[mark.len()..]
            .iter()
            .take_while(|byte| byte.is_ascii_digit())
            .count();
        Some(mark.len() + version)
    }

    fn opens_conditional(&mut self) -> bool {
        let Some(length) = self.conditional_mark() else {
            return false;
        };
        self.conditional = Some(self.position);
        self.position += length;
        true
    }

    /// A string, and in PostgreSQL those that continue it on later lines, which keep its rule about backslashes.
    fn string(&mut self, quote: u8, escapes: bool) -> Result<(), Fault> {
        loop {
            let start = self.position;
            self.position += 1;
            loop {
                match (self.peek(0), self.peek(1)) {
                    (Some(b'\\'), Some(_)) if escapes => self.position += 2,
                    (Some(byte), Some(next)) if byte == quote && next == quote => self.position += 2,
                    (Some(byte), _) if byte == quote => break,
                    (Some(_), _) => self.position += 1,
                    (None, _) => return Err(self.unterminated(start, "string")),
                }
            }
            self.position += 1;
            if self.dialect != Dialect::Postgres || !escapes || !self.continues() {
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

    fn until_doubled(&mut self, quote: u8, what: &'static str) -> Result<(), Fault> {
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

    /// `[…]`, in which nothing can be escaped.
    fn bracketed(&mut self) -> Result<(), Fault> {
        match self.sql[self.position..].find(']') {
            Some(length) => {
                self.position += length + 1;
                Ok(())
            }
            None => Err(self.unterminated(self.position, "quoted name")),
        }
    }

    /// `$name`, or Tcl's `$name(…)`, in which a quote is none.
    fn parameter(&mut self) {
        self.position += 1;
        let name = self.position;
        while self
            .peek(0)
            .is_some_and(|byte| is_word(byte) || matches!(byte, b'$' | b':'))
        {
            self.position += 1;
        }
        if self.position == name || self.peek(0) != Some(b'(') {
            return;
        }
        while let Some(byte) = self.peek(0).filter(|byte| !is_white(*byte)) {
            self.position += 1;
            if byte == b')' {
                return;
            }
        }
    }

    /// `$tag$…$tag$`, or a parameter, or nothing in particular.
    fn dollar(&mut self) -> Result<(), Fault> {
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

    fn word(&mut self) -> Result<Token, Fault> {
        let word = self.peek_word();
        self.position += word.len();
        if self.dialect == Dialect::Postgres && word.eq_ignore_ascii_case("e") && self.peek(0) == Some(b'\'')
        {
            self.string(b'\'', true)?;
            return Ok(Token::Text);
        }
        let word = word.to_ascii_uppercase();
        if self.delimiter == ";" && self.parentheses == 0 {
            self.blocks.word(&word, &self.words);
        }
        let token = Token::of_word(&word);
        if self.words.len() < WORDS {
            self.words.push(word);
        }
        Ok(token)
    }

    fn peek_word(&self) -> &'t str {
        let rest = &self.bytes[self.position..];
        let length = rest
            .iter()
            .take_while(|byte| is_word(**byte) || **byte == b'$')
            .count();
        let word = &self.sql[self.position..self.position + length];
        // `END$$`: a dollar is a letter there. Where it ends nothing it is a part of the word.
        let ends = self.delimiter != ";" && self.conditional.is_none();
        let end = if ends { word.find(self.delimiter) } else { None };
        &word[..end.unwrap_or(word.len())]
    }

    /// `DELIMITER` is the tool's, up to the end of its line. True if that was here.
    fn command(&mut self) -> Result<bool, Fault> {
        let word = self.peek_word();
        if self.dialect != Dialect::MySql || self.begun.is_some() || !word.eq_ignore_ascii_case("delimiter") {
            return Ok(false);
        }
        let start = self.position;
        self.skip_line();
        let rest = &self.sql[start + word.len()..self.position];
        match rest.split_whitespace().next() {
            Some(delimiter) => {
                self.delimiter = delimiter;
                Ok(true)
            }
            None => Err(Fault::NoDelimiter {
                line: self.line(start),
            }),
        }
    }

    fn end_statement(&mut self) {
        if let Some((begin, end)) = self.begun.take() {
            let line = self.line(begin);
            self.statements.push(Statement {
                text: &self.sql[begin..end],
                line,
                words: std::mem::take(&mut self.words),
                has_semicolon: std::mem::take(&mut self.has_semicolon),
            });
        }
        self.parentheses = 0;
        self.blocks = Blocks::new(self.dialect);
    }

    fn line(&mut self, position: usize) -> usize {
        let (counted, line) = self.counted;
        let more = self.sql[counted..position].matches('\n').count();
        self.counted = (position, line + more);
        line + more
    }

    fn unterminated(&mut self, start: usize, what: &'static str) -> Fault {
        Fault::Unterminated {
            line: self.line(start),
            what,
        }
    }
}

fn is_white(byte: u8) -> bool {
    byte.is_ascii_whitespace() || byte == 0x0b
}

/// Letters of all alphabets: every byte of a character beyond ASCII.
fn is_word_start(byte: u8) -> bool {
    byte.is_ascii_alphabetic() || byte == b'_' || byte >= 0x80
}

fn is_word(byte: u8) -> bool {
    is_word_start(byte) || byte.is_ascii_digit()
}
