//! Tables without lines: a heading, and columns as wide as what is in them.

use std::fmt::Write as _;

use anstyle::Style;
use chrono::{DateTime, Utc};

use crate::{text, time};

const GAP: &str = "  ";
/// No column is made narrower than this for the sake of the terminal's width.
const NARROWEST: usize = 8;
/// Columns that may be cut on a narrow terminal. All others are what people decide by, or paste into the next command:
/// ids, states, checksums and keys are whole, even if a line gets too long.
const MAY_BE_CUT: &[&str] = &[
    "BY",
    "CODE",
    "FORMER NAMES",
    "HOLDER",
    "HOST",
    "REASON",
    "REMARK",
    "RUNNER",
    "SETTINGS",
    "WHY",
];

#[derive(Clone, Debug, Default)]
pub struct Cell {
    text: String,
    /// Instead of the text where the terminal is too narrow.
    brief: Option<String>,
    style: Style,
}

impl Cell {
    pub fn styled(text: impl Into<String>, style: Style) -> Self {
        Self {
            text: text::safe(&text.into(), false),
            brief: None,
            style,
        }
    }

    /// A time, absolute and relative; the relative one alone where the terminal is narrow.
    pub fn time(at: DateTime<Utc>, now: DateTime<Utc>) -> Self {
        Self {
            brief: Some(time::relative(at, now)),
            ..Self::from(time::shown(at, now))
        }
    }

    fn text(&self, brief: bool) -> &str {
        self.brief.as_deref().filter(|_| brief).unwrap_or(&self.text)
    }
}

impl From<&str> for Cell {
    fn from(text: &str) -> Self {
        Self::styled(text, Style::new())
    }
}

impl From<String> for Cell {
    fn from(text: String) -> Self {
        Self::styled(text, Style::new())
    }
}

impl From<i64> for Cell {
    fn from(number: i64) -> Self {
        Self::from(number.to_string())
    }
}

impl<T: Into<Self>> From<Option<T>> for Cell {
    fn from(value: Option<T>) -> Self {
        value.map_or_else(|| Self::from("-"), Into::into)
    }
}

#[derive(Debug)]
pub struct Table {
    headings: &'static [&'static str],
    rows: Vec<Vec<Cell>>,
}

impl Table {
    pub fn new(headings: &'static [&'static str]) -> Self {
        Self {
            headings,
            rows: Vec::new(),
        }
    }

    pub fn row<const N: usize>(&mut self, cells: [Cell; N]) {
        debug_assert_eq!(N, self.headings.len(), "a cell for each heading");
        self.rows.push(cells.into());
    }

    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// With styles; `columns` is the terminal's width, none for a file, which gets everything.
    pub fn render(&self, columns: Option<usize>) -> String {
        let (widths, brief) = self.fitted(columns);
        let heading = Style::new().bold();
        let headings = self.headings.iter().map(|text| (*text, heading));
        let mut lines = line(headings, &widths);
        for row in &self.rows {
            lines.push_str(&line(
                row.iter().map(|cell| (cell.text(brief), cell.style)),
                &widths,
            ));
        }
        lines
    }

    /// As wide as needed. Where the terminal is narrower, remarks and names of runners and people are cut; then times are
    /// told briefly; then lines are too long.
    fn fitted(&self, columns: Option<usize>) -> (Vec<usize>, bool) {
        let whole = self.widths(false);
        let Some(columns) = columns else {
            return (whole, false);
        };
        match self.cut(whole, columns) {
            (widths, true) => (widths, false),
            (_, false) => (self.cut(self.widths(true), columns).0, true),
        }
    }

    fn widths(&self, brief: bool) -> Vec<usize> {
        let mut widths: Vec<usize> = self.headings.iter().map(|heading| text::width(heading)).collect();
        for row in &self.rows {
            for (width, cell) in widths.iter_mut().zip(row) {
                *width = (*width).max(text::width(cell.text(brief)));
            }
        }
        widths
    }

    /// With the widest of the columns that may be cut made narrower, and whether that was enough.
    fn cut(&self, mut widths: Vec<usize>, columns: usize) -> (Vec<usize>, bool) {
        let gaps = GAP.len() * widths.len().saturating_sub(1);
        while widths.iter().sum::<usize>() + gaps > columns {
            let widest = widths
                .iter_mut()
                .zip(self.headings)
                .filter(|(width, heading)| {
                    MAY_BE_CUT.contains(heading) && **width > NARROWEST.max(text::width(heading))
                })
                .map(|(width, _)| width)
                .max();
            let Some(widest) = widest else {
                return (widths, false);
            };
            *widest -= 1;
        }
        (widths, true)
    }
}

fn line<'a>(cells: impl Iterator<Item = (&'a str, Style)>, widths: &[usize]) -> String {
    let mut line = String::new();
    let mut pending = 0;
    for (position, ((cell, style), width)) in cells.zip(widths).enumerate() {
        if position > 0 {
            pending += GAP.len();
        }
        let cell = text::shortened(cell, *width);
        // Nothing trails on a line: padding is written when something follows it.
        if !cell.is_empty() {
            line.extend(std::iter::repeat_n(' ', pending));
            pending = 0;
            write!(line, "{style}{cell}{style:#}").expect("writing to a string does not fail");
        }
        pending += width.saturating_sub(text::width(&cell));
    }
    line.push('\n');
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table() -> Table {
        let mut table = Table::new(&["CHANGE", "STATE"]);
        table.row(["größe-表".into(), "APPLIED".into()]);
        table.row(["a".into(), "MANUAL_MARKED_AS_APPLIED".into()]);
        table
    }

    fn plain(rendered: &str) -> String {
        anstream::adapter::strip_str(rendered).to_string()
    }

    #[test]
    fn columns_are_as_wide_as_what_is_in_them() {
        assert_eq!(
            plain(&table().render(None)),
            "CHANGE    STATE\ngröße-表  APPLIED\na         MANUAL_MARKED_AS_APPLIED\n"
        );
    }

    fn history() -> Table {
        let now = "2026-11-25T16:03:12Z".parse::<DateTime<Utc>>().expect("a time");
        let mut table = Table::new(&["CHANGE", "STATE", "WHEN", "REMARK"]);
        table.row([
            "create-orders".into(),
            "MANUAL_MARKED_AS_ROLLED_BACK".into(),
            Cell::time(now - chrono::TimeDelta::minutes(3), now),
            "looked with psql, and nothing of it was there".into(),
        ]);
        table
    }

    #[test]
    fn on_a_narrow_terminal_remarks_give_first() {
        let rendered = plain(&history().render(Some(100)));
        assert!(
            rendered.lines().all(|line| text::width(line) <= 100),
            "{rendered}"
        );
        assert!(
            rendered.contains("2026-11-25 16:00:12Z (3 min ago)"),
            "{rendered}"
        );
        assert!(rendered.contains("looked with psql, an…"), "{rendered}");
    }

    #[test]
    fn then_times_are_told_briefly() {
        let rendered = plain(&history().render(Some(80)));
        assert!(rendered.lines().all(|line| text::width(line) <= 80), "{rendered}");
        assert!(
            rendered.contains("create-orders  MANUAL_MARKED_AS_ROLLED_BACK  3 min ago  looked"),
            "{rendered}"
        );
    }

    #[test]
    fn ids_and_states_are_never_cut() {
        let rendered = plain(&history().render(Some(24)));
        assert!(
            rendered.contains("create-orders  MANUAL_MARKED_AS_ROLLED_BACK  3 min ago  looked …"),
            "{rendered}"
        );
        assert_eq!(plain(&table().render(Some(10))), plain(&table().render(None)));
    }

    #[test]
    fn hostile_texts_stay_in_their_cell() {
        let mut table = Table::new(&["CHANGE"]);
        table.row(["a\u{1b}[31m\nb".into()]);
        assert_eq!(table.render(None).lines().count(), 2);
        assert!(!plain(&table.render(None)).contains('\u{1b}'));
    }
}
