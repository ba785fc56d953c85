//! SQL files: front matter in comments, then SQL, then perhaps the SQL that undoes it.
//!
//! ```sql
//! -- flamingock:
//! --   id: add-index
//! --   author: mara
//! --   targetSystem: orders-db
//! CREATE INDEX CONCURRENTLY orders_by_customer ON orders (customer_id);
//!
//! -- flamingock: rollback
//! DROP INDEX CONCURRENTLY IF EXISTS orders_by_customer;
//! ```
//!
//! The fields are those of YAML files, and end with the first line that is no comment. Every SQL tool takes the file for
//! what it is.

use super::document::Malformed;

const MARK: &str = "flamingock:";

pub(super) struct SqlFile {
    /// YAML, one line for each of the file.
    pub(super) front_matter: String,
    /// Lines of the file before the front matter.
    pub(super) before: usize,
    /// With an empty line for each of the file before it, so that lines of statements are lines of the file.
    pub(super) apply: String,
    pub(super) apply_line: usize,
    /// The same, and the line.
    pub(super) rollback: Option<(usize, String)>,
}

pub(super) fn split(text: &str) -> Result<SqlFile, Malformed> {
    let lines: Vec<&str> = text.lines().collect();
    let malformed = |index: usize, text: &str| Malformed {
        line: Some(index + 1),
        text: text.to_owned(),
    };
    let start = lines.iter().position(|line| !line.trim().is_empty());
    let Some(start) = start.filter(|start| marked(lines[*start]) == Some("")) else {
        return Err(malformed(
            start.unwrap_or(0),
            "a SQL file begins with its fields in comments: `-- flamingock:`, then `--   id: …` and so on",
        ));
    };
    let front: Vec<&str> = lines[start + 1..]
        .iter()
        .map_while(|line| comment(line))
        .collect();
    let apply_start = start + 1 + front.len();
    if let Some(index) = front.iter().position(|line| line.trim_start().starts_with(MARK)) {
        return Err(malformed(
            start + 1 + index,
            "an empty line or SQL has to stand between the fields and this",
        ));
    }
    let mut rollback = None;
    for (index, line) in lines.iter().enumerate().skip(apply_start) {
        match marked(line) {
            None => {}
            Some("rollback") if rollback.is_none() => rollback = Some(index),
            Some("rollback") => return Err(malformed(index, "there is a second `-- flamingock: rollback`")),
            Some(_) => {
                return Err(malformed(
                    index,
                    "after the fields only `-- flamingock: rollback` is known, above the SQL that undoes the change",
                ));
            }
        }
    }
    let section = |from: usize, to: usize| {
        let mut sql = "\n".repeat(from);
        for line in &lines[from..to] {
            sql.push_str(line);
            sql.push('\n');
        }
        // The line to point at is the first that says something.
        let first = (from..to)
            .find(|index| !lines[*index].trim().is_empty())
            .unwrap_or(from);
        (first + 1, sql)
    };
    let (apply_line, apply) = section(apply_start, rollback.unwrap_or(lines.len()));
    Ok(SqlFile {
        front_matter: front.join("\n"),
        before: start + 1,
        apply,
        apply_line,
        rollback: rollback.map(|index| section(index + 1, lines.len())),
    })
}

/// What a line comment says.
fn comment(line: &str) -> Option<&str> {
    let text = line.trim_start().strip_prefix("--")?;
    Some(text.strip_prefix(' ').unwrap_or(text))
}

/// What follows the mark, on a line that has it.
fn marked(line: &str) -> Option<&str> {
    Some(comment(line)?.trim_start().strip_prefix(MARK)?.trim())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_parted_and_lines_stay_what_they_are() {
        let file = split(
            "\n-- flamingock:\n--   id: a\n--   targetSystem: db\n\n-- a remark\nSELECT 1;\n\n--flamingock:rollback\nSELECT 2;",
        )
        .expect("parts");
        assert_eq!(file.front_matter, "  id: a\n  targetSystem: db");
        assert_eq!(file.before, 2);
        assert_eq!(file.apply, "\n\n\n\n\n-- a remark\nSELECT 1;\n\n");
        assert_eq!(file.apply_line, 6);
        assert_eq!(
            file.rollback,
            Some((10, format!("{}SELECT 2;\n", "\n".repeat(9))))
        );
    }

    #[test]
    fn what_is_not_so_is_refused_with_its_line() {
        for (text, line, why) in [
            ("", 1, "begins with its fields"),
            ("SELECT 1;", 1, "begins with its fields"),
            ("\n-- id: a\nSELECT 1;", 2, "begins with its fields"),
            ("-- flamingock: rollback\nSELECT 1;", 1, "begins with its fields"),
            (
                "-- flamingock:\n-- id: a\n-- flamingock: rollback\n",
                3,
                "an empty line or SQL",
            ),
            (
                "-- flamingock:\n-- id: a\n\n-- flamingock: rolback\n",
                4,
                "only `-- flamingock: rollback` is known",
            ),
            (
                "-- flamingock:\n\n-- flamingock: rollback\n-- flamingock: rollback\n",
                4,
                "a second",
            ),
        ] {
            let error = split(text).err().expect("refused");
            assert_eq!(error.line, Some(line), "{text}");
            assert!(error.text.contains(why), "{text}: {}", error.text);
        }
    }
}
