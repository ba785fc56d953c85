//! Tables without lines: a heading, and columns as wide as what is in them.

use std::fmt::Write as _;

use anstyle::Style;

use crate::text;

const GAP: &str = "  ";
/// No column is made narrower than this for the sake of the terminal's width.
const NARROWEST: usize = 8;

#[derive(Clone, Debug, Default)]
pub struct Cell {
    text: String,
    style: Style,
}

impl Cell {
    pub fn styled(text: impl Into<String>, style: Style) -> Self {
        Self {
            text: text::safe(&text.into(), false),
            style,
        }
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
        let widths = self.widths(columns);
        let heading = Style::new().bold();
        let headings = self.headings.iter().map(|text| (*text, heading));
        let mut lines = line(headings, &widths);
        for row in &self.rows {
            lines.push_str(&line(
                row.iter().map(|cell| (cell.text.as_str(), cell.style)),
                &widths,
            ));
        }
        lines
    }

    /// As wide as needed; where the terminal is narrower, the widest columns give.
    fn widths(&self, columns: Option<usize>) -> Vec<usize> {
        let mut widths: Vec<usize> = self.headings.iter().map(|heading| text::width(heading)).collect();
        for row in &self.rows {
            for (width, cell) in widths.iter_mut().zip(row) {
                *width = (*width).max(text::width(&cell.text));
            }
        }
        if let Some(columns) = columns {
            let gaps = GAP.len() * widths.len().saturating_sub(1);
            while widths.iter().sum::<usize>() + gaps > columns {
                let Some(widest) = widths.iter_mut().max().filter(|width| **width > NARROWEST) else {
                    break;
                };
                *widest -= 1;
            }
        }
        widths
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

    #[test]
    fn on_a_narrow_terminal_the_widest_column_gives() {
        let rendered = plain(&table().render(Some(24)));
        assert!(rendered.lines().all(|line| text::width(line) <= 24), "{rendered}");
        assert!(rendered.contains("MANUAL_MARKED…"), "{rendered}");
    }

    #[test]
    fn hostile_texts_stay_in_their_cell() {
        let mut table = Table::new(&["CHANGE"]);
        table.row(["a\u{1b}[31m\nb".into()]);
        assert_eq!(table.render(None).lines().count(), 2);
        assert!(!plain(&table.render(None)).contains('\u{1b}'));
    }
}
