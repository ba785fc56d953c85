//! A page about one thing: headings, facts, sentences, things to paste.

use std::fmt;
use std::fmt::Write as _;

use anstyle::Style;

use crate::output::{BOLD, DIM, Output};
use crate::table::Table;
use crate::text;

#[derive(Debug, Default)]
pub struct Sheet {
    text: String,
}

/// Facts stand below each other.
const NAME_WIDTH: usize = 20;

impl Sheet {
    pub fn title(&mut self, title: &str, style: Style, rest: &str) {
        let title = text::safe(title, false);
        self.write(format_args!("{style}{title}{style:#}"));
        if !rest.is_empty() {
            self.text.push(' ');
            self.text.push_str(&text::safe(rest, false));
        }
        self.text.push('\n');
    }

    pub fn section(&mut self, heading: &str) {
        let heading = text::safe(heading, false);
        self.write(format_args!("\n{BOLD}{heading}{BOLD:#}\n"));
    }

    pub fn fact(&mut self, name: &str, value: impl AsRef<str>) {
        self.styled_fact(name, value, Style::new());
    }

    pub fn styled_fact(&mut self, name: &str, value: impl AsRef<str>, style: Style) {
        let value = text::safe(value.as_ref(), false);
        self.write(format_args!(
            "  {DIM}{name:NAME_WIDTH$}{DIM:#}{style}{value}{style:#}\n"
        ));
    }

    pub fn optional_fact(&mut self, name: &str, value: Option<impl AsRef<str>>) {
        if let Some(value) = value {
            self.fact(name, value);
        }
    }

    /// Broken into lines.
    pub fn paragraph(&mut self, paragraph: &str) {
        self.lines("  ", "  ", paragraph);
    }

    pub fn item(&mut self, item: &str) {
        self.lines("  - ", "    ", item);
    }

    /// As it is, each line: traces.
    pub fn verbatim(&mut self, lines: &str) {
        for line in text::safe(lines, true).trim_end().lines() {
            self.text.push_str("  │ ");
            self.text.push_str(line);
            self.text.push('\n');
        }
    }

    /// On a line of its own and unbroken, so that it can be pasted.
    pub fn command(&mut self, command: &str) {
        let command = text::safe(command, false);
        self.write(format_args!("    {BOLD}{command}{BOLD:#}\n"));
    }

    pub fn table(&mut self, table: &Table) {
        let columns = Output::columns().map(|columns| columns.saturating_sub(2));
        for line in table.render(columns).lines() {
            self.text.push_str("  ");
            self.text.push_str(line);
            self.text.push('\n');
        }
    }

    fn write(&mut self, text: fmt::Arguments<'_>) {
        self.text
            .write_fmt(text)
            .expect("writing to a string does not fail");
    }

    pub fn into_text(self) -> String {
        self.text
    }

    fn lines(&mut self, first: &str, others: &str, paragraph: &str) {
        let columns = Output::text_columns().saturating_sub(others.len());
        let mut begin = first;
        for line in text::wrapped(&text::safe(paragraph, true), columns) {
            self.text.push_str(begin);
            self.text.push_str(&line);
            self.text.push('\n');
            begin = others;
        }
    }
}
