//! Whether a semicolon is inside the body of a routine, a trigger or an event.

use super::super::Dialect;

/// What was seen last, as far as it tells whether a statement of a body can begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Token {
    Semicolon,
    Colon,
    Dot,
    Close,
    /// A string.
    Text,
    /// A word after which a statement begins.
    Lead,
    /// A word that can be the last before the body.
    Head,
    End,
    Other,
}

impl Token {
    pub(super) fn of_sign(byte: u8) -> Self {
        match byte {
            b';' => Self::Semicolon,
            b':' => Self::Colon,
            b'.' => Self::Dot,
            _ => Self::Other,
        }
    }

    pub(super) fn of_word(word: &str) -> Self {
        match word {
            "BEGIN" | "THEN" | "ELSE" | "DO" | "LOOP" | "REPEAT" | "ATOMIC" => Self::Lead,
            "ROW" | "DETERMINISTIC" | "SQL" | "DATA" | "INVOKER" | "DEFINER" => Self::Head,
            "END" => Self::End,
            _ => Self::Other,
        }
    }
}

/// What an `END` belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Block {
    /// Of statements: its `END` follows a semicolon, or nothing at all.
    Statements,
    /// Of statements, and its `END` follows an expression: `REPEAT … UNTIL … END REPEAT`.
    Repeat,
    /// `CASE … END` as an expression.
    Case,
}

/// The blocks that are open in the present statement.
#[derive(Debug)]
pub(super) struct Blocks {
    dialect: Dialect,
    open: Vec<Block>,
    last: Token,
    before_last: Token,
    /// Of a trigger of SQLite: it ends with its own `; END`.
    is_trigger: bool,
}

impl Blocks {
    pub(super) fn new(dialect: Dialect) -> Self {
        Self {
            dialect,
            open: Vec::new(),
            last: Token::Other,
            before_last: Token::Other,
            is_trigger: false,
        }
    }

    /// Whether a semicolon here ends nothing.
    pub(super) fn hold_semicolon(&self) -> bool {
        match self.dialect {
            Dialect::Sqlite => {
                self.is_trigger && (self.before_last, self.last) != (Token::Semicolon, Token::End)
            }
            Dialect::MySql | Dialect::Postgres => !self.open.is_empty(),
        }
    }

    /// Whether the text may not end here.
    pub(super) fn are_open(&self) -> bool {
        // psql sends what there is, and PostgreSQL says what is wrong with it.
        self.dialect != Dialect::Postgres && self.hold_semicolon()
    }

    pub(super) fn saw(&mut self, token: Token) {
        (self.before_last, self.last) = (self.last, token);
    }

    /// A word outside parentheses, in capitals, and those before it in the statement.
    pub(super) fn word(&mut self, word: &str, before: &[String]) {
        match self.dialect {
            Dialect::Postgres => self.word_of_postgres(word, before),
            Dialect::MySql => self.word_of_mysql(word, before),
            Dialect::Sqlite => self.is_trigger |= word == "TRIGGER" && makes_trigger(before),
        }
    }

    fn word_of_postgres(&mut self, word: &str, before: &[String]) {
        if !makes_routine(before) {
            return;
        }
        match word {
            "BEGIN" => self.open.push(Block::Statements),
            // It ends with `END` as well.
            "CASE" if !self.open.is_empty() => self.open.push(Block::Case),
            "END" => {
                self.open.pop();
            }
            _ => {}
        }
    }

    fn word_of_mysql(&mut self, word: &str, before: &[String]) {
        // Not a column, such as `new.end`.
        if self.last == Token::Dot || !has_body(word, before) {
            return;
        }
        match word {
            "BEGIN" | "ATOMIC" => self.open.push(Block::Statements),
            "IF" | "LOOP" | "WHILE" | "FOR" | "CASE" if self.may_begin() => self.open.push(Block::Statements),
            "REPEAT" if self.may_begin() => self.open.push(Block::Repeat),
            // Not that of `END CASE`.
            "CASE" if self.last != Token::End => self.open.push(Block::Case),
            "END" if self.may_end() => {
                self.open.pop();
            }
            _ => {}
        }
    }

    /// `IF` and `REPEAT` are functions as well, and `EXISTS` follows an `IF` in the head.
    fn may_begin(&self) -> bool {
        match self.last {
            Token::Semicolon | Token::Colon | Token::Lead => self.open.last() != Some(&Block::Case),
            Token::Close | Token::Text | Token::Head => self.open.is_empty(),
            Token::Dot | Token::End | Token::Other => false,
        }
    }

    /// A column may be called `end`.
    fn may_end(&self) -> bool {
        match self.open.last() {
            Some(Block::Case | Block::Repeat) => true,
            Some(Block::Statements) => matches!(self.last, Token::Semicolon | Token::Lead),
            None => false,
        }
    }
}

/// `CREATE [OR REPLACE] FUNCTION` or `PROCEDURE`.
fn makes_routine(words: &[String]) -> bool {
    let mut words = words.iter().map(String::as_str);
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

/// `CREATE [TEMP | TEMPORARY]`, before `TRIGGER`.
fn makes_trigger(words: &[String]) -> bool {
    let words: Vec<_> = words.iter().map(String::as_str).collect();
    matches!(words.as_slice(), ["CREATE"] | ["CREATE", "TEMP" | "TEMPORARY"])
}

/// Whether it is a statement of MySQL whose body can have statements: what it makes is its first word of a kind of object.
fn has_body(word: &str, before: &[String]) -> bool {
    let mut words = before.iter().map(String::as_str).chain([word]);
    match words.next() {
        Some("CREATE" | "ALTER") => {
            let kind = words.find(|word| {
                matches!(
                    *word,
                    "PROCEDURE"
                        | "FUNCTION"
                        | "TRIGGER"
                        | "EVENT"
                        | "TABLE"
                        | "VIEW"
                        | "INDEX"
                        | "DATABASE"
                        | "SCHEMA"
                        | "USER"
                        | "ROLE"
                        | "SEQUENCE"
                        | "SERVER"
                        | "TABLESPACE"
                )
            });
            matches!(kind, Some("PROCEDURE" | "FUNCTION" | "TRIGGER" | "EVENT"))
        }
        // MariaDB's block without a name, which begins with its third word here.
        Some("BEGIN") => words.next() == Some("NOT") && words.next() == Some("ATOMIC"),
        _ => false,
    }
}
