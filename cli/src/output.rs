//! What is printed, and where: data to standard output, everything else to standard error.

use std::io::{IsTerminal as _, Write as _};

use anstream::{AutoStream, ColorChoice};
use anstyle::{AnsiColor, Style};
use serde::Serialize;

use crate::failure::Failure;
use crate::table::Table;
use crate::text;

const NARROW: usize = 100;

pub const GOOD: Style = AnsiColor::Green.on_default();
pub const BAD: Style = AnsiColor::Red.on_default().bold();
pub const WARN: Style = AnsiColor::Yellow.on_default();
pub const DIM: Style = Style::new().dimmed();
pub const BOLD: Style = Style::new().bold();

#[derive(Clone, Copy, Debug)]
pub struct Output {
    json: bool,
    colour: ColorChoice,
}

impl Output {
    pub fn new(json: bool, no_color: bool) -> Self {
        // `Auto` looks for a terminal, NO_COLOR and CLICOLOR.
        let colour = if no_color {
            ColorChoice::Never
        } else {
            ColorChoice::Auto
        };
        Self { json, colour }
    }

    pub fn is_json(self) -> bool {
        self.json
    }

    /// Whether somebody watches standard error.
    pub fn is_watched() -> bool {
        std::io::stderr().is_terminal()
    }

    /// The answer for a program: one document, pretty.
    pub fn json(self, value: &impl Serialize) -> Result<(), Failure> {
        let mut text = serde_json::to_string_pretty(value)
            .map_err(|error| Failure::failed(format!("the answer cannot be printed as JSON: {error}")))?;
        text.push('\n');
        self.print(&text)
    }

    /// One of many documents, a line each.
    pub fn json_line(self, value: &impl Serialize) -> Result<(), Failure> {
        let mut text = serde_json::to_string(value)
            .map_err(|error| Failure::failed(format!("the answer cannot be printed as JSON: {error}")))?;
        text.push('\n');
        self.print(&text)
    }

    /// The rows, or a sentence on standard error if there are none.
    pub fn table(self, table: &Table, nothing: &str) -> Result<(), Failure> {
        if table.is_empty() {
            self.note(nothing);
            return Ok(());
        }
        self.print(&table.render(Self::columns()))
    }

    /// Lines of an answer. Texts from elsewhere in it have been made [safe](text::safe).
    pub fn print(self, text: &str) -> Result<(), Failure> {
        let mut out = AutoStream::new(std::io::stdout(), self.colour);
        out.write_all(text.as_bytes())?;
        out.flush()?;
        Ok(())
    }

    /// A remark for people, on standard error; not for programs.
    pub fn note(self, text: &str) {
        if !self.json {
            self.complain(text);
        }
    }

    pub fn complain(self, text: &str) {
        let mut err = AutoStream::new(std::io::stderr(), self.colour);
        let _ = writeln!(err, "{text}");
    }

    pub fn failure(self, failure: &Failure) {
        if failure.is_quiet() {
            return;
        }
        if self.json {
            let view = serde_json::json!({ "error": failure.view() });
            self.complain(&view.to_string());
            return;
        }
        self.complain(&format!(
            "{BAD}error:{BAD:#} {}",
            text::safe(failure.message(), true)
        ));
        // One that is part of the message was told.
        let details = failure.details().iter();
        for detail in details.filter(|detail| !failure.message().contains(detail.trim_end_matches('.'))) {
            self.complain(&format!("  {}", text::safe(detail, true)));
        }
        if let Some(hint) = failure.hint_text() {
            self.complain(&format!("{BOLD}hint:{BOLD:#} {}", text::safe(hint, true)));
        }
        if let Some(request) = failure.quotable_request() {
            self.complain(&format!("{DIM}request {}{DIM:#}", text::safe(request, false)));
        }
    }

    /// The terminal's width; none where a file or a program reads.
    pub fn columns() -> Option<usize> {
        std::io::stdout()
            .is_terminal()
            .then(|| terminal_size::terminal_size().map_or(NARROW, |(width, _)| usize::from(width.0)))
    }

    /// Paragraphs are broken at this width, whoever reads.
    pub fn text_columns() -> usize {
        Self::columns().unwrap_or(NARROW).min(NARROW)
    }
}

/// Colour of a state; the state itself is always written out.
pub fn state_style(state: &str) -> Style {
    match state {
        "APPLIED" | "MANUAL_MARKED_AS_APPLIED" | "SUCCEEDED" => GOOD,
        "FAILED" | "ROLLBACK_FAILED" => BAD,
        "STARTED" | "ROLLED_BACK" | "MANUAL_MARKED_AS_ROLLED_BACK" | "RUNNING" | "BLOCKED" | "ABANDONED" => {
            WARN
        }
        _ => Style::new(),
    }
}
