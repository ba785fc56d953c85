//! A change file's fields, whichever of the two formats it has.

use flamingock_nearest::nearest;
use yaml_serde::{Mapping, Value};

use super::{Fault, Place, Segment, locate, sql_file};
use crate::change::Recovery;

/// Every field that a file may have.
const FIELDS: [&str; 14] = [
    "id",
    "author",
    "order",
    "template",
    "targetSystem",
    "transactional",
    "recovery",
    "profiles",
    "dependsOn",
    "configuration",
    "apply",
    "rollback",
    "steps",
    "probe",
];

/// A file's text, taken apart.
pub(super) struct Document {
    fields: Mapping,
    /// What the lines of places are counted in.
    yaml: String,
    /// Lines of the file before it.
    before: usize,
    /// Lines where the SQL of a field begins, in a SQL file.
    sql: Vec<(&'static str, usize)>,
}

/// A text that is no document at all.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Malformed {
    pub(super) line: Option<usize>,
    pub(super) text: String,
}

/// What a file says beside its payloads.
#[derive(Debug, Default)]
pub(super) struct Header {
    pub(super) id: String,
    pub(super) author: Option<String>,
    pub(super) order: Option<String>,
    pub(super) template: String,
    pub(super) target: String,
    pub(super) transactional: Option<bool>,
    pub(super) recovery: Recovery,
    pub(super) profiles: Vec<String>,
    pub(super) depends_on: Vec<String>,
}

impl Document {
    pub(super) fn read(name: &str, text: &str) -> Result<Self, Malformed> {
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        if name.to_lowercase().ends_with(".sql") {
            return Self::of_sql(text);
        }
        Ok(Self {
            fields: parse(text, 0)?,
            yaml: text.to_owned(),
            before: 0,
            sql: Vec::new(),
        })
    }

    fn of_sql(text: &str) -> Result<Self, Malformed> {
        let file = sql_file::split(text)?;
        let before = file.before;
        let mut fields = parse(&file.front_matter, before)?;
        for name in ["apply", "rollback", "steps", "probe"] {
            if fields.contains_key(name) {
                let line = locate::line(&file.front_matter, &Place::key(name)).map(|line| line + before);
                let text = format!("`{name}` is not for the front matter of a SQL file: the SQL follows it");
                return Err(Malformed { line, text });
            }
        }
        if !fields.contains_key("template") {
            fields.insert("template".into(), "sql-template".into());
        }
        let mut sql = Vec::new();
        for section in file.sections {
            fields.insert(section.name.into(), section.sql.into());
            sql.push((section.name, section.line));
        }
        Ok(Self {
            fields,
            yaml: file.front_matter,
            before,
            sql,
        })
    }

    /// The line of a place in the file.
    pub(super) fn line(&self, place: &Place) -> Option<usize> {
        if let Some(Segment::Key(key)) = place.0.first()
            && let Some((_, line)) = self.sql.iter().find(|(name, _)| *name == key)
        {
            return Some(*line);
        }
        locate::line(&self.yaml, place).map(|line| line + self.before)
    }

    pub(super) fn take(&mut self, name: &str) -> Option<Value> {
        self.fields.remove(name)
    }

    pub(super) fn has(&self, name: &str) -> bool {
        self.fields.contains_key(name)
    }

    /// Fields that no change file has.
    pub(super) fn unknown(&self) -> Vec<Fault> {
        let mut faults = Vec::new();
        for key in self.fields.keys() {
            let Some(name) = key.as_str() else {
                faults.push(Fault::new(Place::default(), "a name of a field is not a text"));
                continue;
            };
            if FIELDS.contains(&name) {
                continue;
            }
            let hint = match nearest(name, FIELDS) {
                Some(near) => format!("; did you mean `{near}`?"),
                None => format!(
                    "; known are {}",
                    FIELDS.map(|field| format!("`{field}`")).join(", ")
                ),
            };
            faults.push(Fault::new(
                Place::key(name),
                format!("unknown field `{name}`{hint}"),
            ));
        }
        faults
    }

    pub(super) fn header(&mut self, faults: &mut Vec<Fault>) -> Header {
        Header {
            id: self.required("id", faults),
            author: self.text("author", faults),
            order: self.text("order", faults),
            template: self.required("template", faults),
            target: self.target(faults),
            transactional: self.flag("transactional", faults),
            recovery: self.recovery(faults),
            profiles: self.profiles(faults),
            depends_on: self.depends_on(faults),
        }
    }

    fn required(&mut self, name: &str, faults: &mut Vec<Fault>) -> String {
        if !self.has(name) && !self.is_misspelt(name) {
            faults.push(Fault::new(Place::default(), format!("`{name}` is missing")));
        }
        self.text(name, faults).unwrap_or_default()
    }

    /// Said already, by the word that is there.
    fn is_misspelt(&self, name: &str) -> bool {
        let mut words = self.fields.keys().filter_map(Value::as_str);
        words.any(|word| !FIELDS.contains(&word) && nearest(word, FIELDS) == Some(name))
    }

    fn text(&mut self, name: &str, faults: &mut Vec<Fault>) -> Option<String> {
        let value = self.take(name)?;
        match text(&value) {
            Ok(text) => Some(text),
            Err(why) => {
                faults.push(Fault::new(Place::key(name), format!("`{name}` {why}")));
                None
            }
        }
    }

    fn flag(&mut self, name: &str, faults: &mut Vec<Fault>) -> Option<bool> {
        let value = self.take(name)?;
        if value.as_bool().is_none() {
            faults.push(Fault::new(
                Place::key(name),
                format!("`{name}` is either `true` or `false`"),
            ));
        }
        value.as_bool()
    }

    /// `targetSystem: x`, or `targetSystem: {id: x}`.
    fn target(&mut self, faults: &mut Vec<Fault>) -> String {
        let Some(value) = self.take("targetSystem") else {
            return self.required("targetSystem", faults);
        };
        short_or_map("targetSystem", "id", &value, faults).unwrap_or_default()
    }

    /// `recovery: ALWAYS_RETRY`, or `recovery: {strategy: ALWAYS_RETRY}`.
    fn recovery(&mut self, faults: &mut Vec<Fault>) -> Recovery {
        let Some(value) = self.take("recovery") else {
            return Recovery::default();
        };
        let Some(name) = short_or_map("recovery", "strategy", &value, faults) else {
            return Recovery::default();
        };
        match name.as_str() {
            "MANUAL_INTERVENTION" => Recovery::ManualIntervention,
            "ALWAYS_RETRY" => Recovery::AlwaysRetry,
            _ => {
                let known = ["MANUAL_INTERVENTION", "ALWAYS_RETRY"];
                let hint = nearest(&name, known).map(|near| format!("; did you mean `{near}`?"));
                faults.push(Fault::new(
                    Place::key("recovery"),
                    format!(
                        "`{name}` is no recovery strategy: `MANUAL_INTERVENTION` (the default) or `ALWAYS_RETRY`{}",
                        hint.unwrap_or_default()
                    ),
                ));
                Recovery::default()
            }
        }
    }

    /// A list, or a text with commas.
    fn profiles(&mut self, faults: &mut Vec<Fault>) -> Vec<String> {
        let Some(value) = self.take("profiles") else {
            return Vec::new();
        };
        let names = match &value {
            Value::String(names) => Some(names.split(',').map(|name| name.trim().to_owned()).collect()),
            other => list(other),
        };
        match names {
            Some(names) if names.iter().all(|name| !matches!(name.as_str(), "" | "!")) => names,
            _ => {
                faults.push(Fault::new(
                    Place::key("profiles"),
                    "`profiles` is a list of names, or a text of names with commas between them",
                ));
                Vec::new()
            }
        }
    }

    /// A list, or one id: an id may have commas.
    fn depends_on(&mut self, faults: &mut Vec<Fault>) -> Vec<String> {
        let Some(value) = self.take("dependsOn") else {
            return Vec::new();
        };
        let ids = match &value {
            Value::String(id) => Some(vec![id.trim().to_owned()]),
            other => list(other),
        };
        match ids {
            Some(ids) if ids.iter().all(|id| !id.is_empty()) => ids,
            _ => {
                faults.push(Fault::new(
                    Place::key("dependsOn"),
                    "`dependsOn` is a list of ids of changes, such as `[create-orders]`",
                ));
                Vec::new()
            }
        }
    }
}

/// A list of texts.
fn list(value: &Value) -> Option<Vec<String>> {
    let Value::Sequence(texts) = value else {
        return None;
    };
    texts
        .iter()
        .map(|text| text.as_str().map(|text| text.trim().to_owned()))
        .collect()
}

fn short_or_map(field: &str, inner: &str, value: &Value, faults: &mut Vec<Fault>) -> Option<String> {
    let mut fault = |place, text: String| {
        faults.push(Fault::new(place, text));
        None
    };
    let Value::Mapping(map) = value else {
        return match text(value) {
            Ok(text) => Some(text),
            Err(why) => fault(Place::key(field), format!("`{field}` {why}")),
        };
    };
    let other = map.keys().find(|key| key.as_str() != Some(inner));
    if let Some(other) = other {
        let name = other.as_str().unwrap_or("?");
        let place = Place::key(field).then(name);
        return fault(
            place,
            format!("unknown field `{field}.{name}`; known is `{inner}`"),
        );
    }
    match map.get(inner).map(text) {
        Some(Ok(text)) => Some(text),
        Some(Err(why)) => fault(Place::key(field).then(inner), format!("`{field}.{inner}` {why}")),
        None => fault(Place::key(field), format!("`{field}.{inner}` is missing")),
    }
}

fn parse(yaml: &str, before: usize) -> Result<Mapping, Malformed> {
    let malformed = |line, text: String| Malformed { line, text };
    match yaml_serde::from_str(yaml) {
        Ok(Value::Mapping(fields)) => Ok(fields),
        Ok(Value::Null) => Err(malformed(None, "is empty".to_owned())),
        Ok(_) => Err(malformed(
            Some(before + 1),
            "has no fields: a change file begins as `id: …`".to_owned(),
        )),
        Err(error) => {
            let line = error.location().map(|location| location.line() + before);
            Err(malformed(line, explained(&error.to_string())))
        }
    }
}

/// The position is said in front of the text, and in a SQL file the parser's is another.
fn explained(text: &str) -> String {
    // What it makes of a line that begins further left than the first.
    if text.contains("more than one document") {
        return "is more than one YAML document: do all fields begin in the same column?".to_owned();
    }
    match text.find(" at line ") {
        Some(end) => text[..end].to_owned(),
        None => text.to_owned(),
    }
}

/// A number is refused: `0001` would become `1`.
fn text(value: &Value) -> Result<String, &'static str> {
    match value {
        Value::String(text) if text.trim().is_empty() => Err("is empty"),
        Value::String(text) if text.contains('\0') => Err("has a NUL character"),
        Value::String(text) if text.contains("${") => Err(
            "cannot have placeholders: they are for `configuration`, `apply`, `rollback`, `steps` and `probe`",
        ),
        Value::String(text) => Ok(text.trim().to_owned()),
        Value::Null => Err("is empty"),
        Value::Number(_) | Value::Bool(_) => Err("is a text: put it in quotes"),
        _ => Err("is a text"),
    }
}
