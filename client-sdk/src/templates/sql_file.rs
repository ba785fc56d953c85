//! SQL files: front matter in comments, then SQL, then perhaps the SQL that undoes it and the query that tells whether it
//! took effect.
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
//!
//! -- flamingock: probe
//! SELECT indisvalid FROM pg_index WHERE indexrelid = to_regclass('orders_by_customer');
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
    /// `apply`, and those that the file has beside it.
    pub(super) sections: Vec<Section>,
}

pub(super) struct Section {
    pub(super) name: &'static str,
    /// The first that says something.
    pub(super) line: usize,
    /// With an empty line for each of the file before it, so that lines of statements are lines of the file.
    pub(super) sql: String,
}

/// What a mark after the fields may say.
const SECTIONS: [&str; 2] = ["rollback", "probe"];

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
    // Where each begins: behind the line of its mark.
    let mut begins = vec![("apply", apply_start)];
    for (index, line) in lines.iter().enumerate().skip(apply_start) {
        let Some(mark) = marked(line) else { continue };
        let Some(name) = SECTIONS.into_iter().find(|name| *name == mark) else {
            return Err(malformed(
                index,
                "after the fields only `-- flamingock: rollback` is known, above the SQL that undoes the change, and \
                 `-- flamingock: probe`, above the query that tells whether it took effect",
            ));
        };
        if begins.iter().any(|(known, _)| *known == name) {
            return Err(malformed(
                index,
                &format!("there is a second `-- flamingock: {name}`"),
            ));
        }
        begins.push((name, index + 1));
    }
    let sections = begins.iter().enumerate().map(|(position, (name, from))| {
        let end = begins.get(position + 1).map_or(lines.len(), |(_, next)| next - 1);
        section(&lines, name, *from, end)
    });
    Ok(SqlFile {
        front_matter: front.join("\n"),
        before: start + 1,
        sections: sections.collect(),
    })
}

fn section(lines: &[&str], name: &'static str, from: usize, to: usize) -> Section {
    let mut sql = "\n".repeat(from);
    for line in &lines[from..to] {
        sql.push_str(line);
        sql.push('\n');
    }
    let first = (from..to)
        .find(|index| !lines[*index].trim().is_empty())
        .unwrap_or(from);
    Section {
        name,
        line: first + 1,
        sql,
    }
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
            "\n-- flamingock:\n--   id: a\n--   targetSystem: db\n\n-- a remark\nSELECT 1;\n\n--flamingock:rollback\nSELECT 2;\n\
             -- flamingock: probe\n\nSELECT 3;",
        )
        .expect("parts");
        assert_eq!(file.front_matter, "  id: a\n  targetSystem: db");
        assert_eq!(file.before, 2);
        let sections: Vec<_> = file
            .sections
            .iter()
            .map(|section| (section.name, section.line, section.sql.trim_start_matches('\n')))
            .collect();
        assert_eq!(
            sections,
            [
                ("apply", 6, "-- a remark\nSELECT 1;\n\n"),
                ("rollback", 10, "SELECT 2;\n"),
                ("probe", 13, "SELECT 3;\n"),
            ]
        );
        for section in &file.sections {
            let before = section.sql.split("SELECT").next().unwrap_or_default();
            let remarks = before.matches("-- a remark").count();
            assert_eq!(before.matches('\n').count() + 1, section.line + remarks);
        }
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
                "a second `-- flamingock: rollback`",
            ),
            (
                "-- flamingock:\n\n-- flamingock: probe\n-- flamingock: rollback\n-- flamingock: probe\n",
                5,
                "a second `-- flamingock: probe`",
            ),
        ] {
            let error = split(text).err().expect("refused");
            assert_eq!(error.line, Some(line), "{text}");
            assert!(error.text.contains(why), "{text}: {}", error.text);
        }
    }
}
