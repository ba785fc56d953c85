//! `${NAME}` and `${NAME:default}` in change files.

use std::{borrow::Cow, collections::HashMap, env, fmt, fmt::Write as _};

/// Where the values of `${NAME}` in change files come from. Without a word it is the environment of the process.
///
/// ```
/// use flamingock::templates::Placeholders;
///
/// // First what is given here, then the environment.
/// let some = Placeholders::from_env().with("REGION", "eu-west-1");
/// // Nothing but what is given here.
/// let only = Placeholders::none().with("REGION", "eu-west-1");
/// ```
#[derive(Clone)]
pub struct Placeholders {
    given: HashMap<String, String>,
    environment: bool,
}

impl Default for Placeholders {
    fn default() -> Self {
        Self::from_env()
    }
}

impl Placeholders {
    /// The process's environment.
    pub fn from_env() -> Self {
        Self {
            given: HashMap::new(),
            environment: true,
        }
    }

    /// Nothing yet.
    pub fn none() -> Self {
        Self {
            environment: false,
            ..Self::from_env()
        }
    }

    /// A value, which goes before the environment's.
    #[must_use]
    pub fn with(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.given.insert(name.into(), value.into());
        self
    }

    /// A text with its values put in, for what goes with change files, such as a description of target systems. The error
    /// says what has no value.
    pub fn resolve(&self, text: &str) -> Result<String, String> {
        resolve(text, self, &mut Secrets::default()).map_err(|faults| {
            let faults: Vec<_> = faults.into_iter().map(|fault| fault.why).collect();
            faults.join("; ")
        })
    }

    fn value(&self, name: &str) -> Result<Option<String>, String> {
        if let Some(value) = self.given.get(name) {
            return Ok(Some(value.clone()));
        }
        if !self.environment {
            return Ok(None);
        }
        match env::var(name) {
            Ok(value) => Ok(Some(value)),
            Err(env::VarError::NotPresent) => Ok(None),
            Err(env::VarError::NotUnicode(_)) => Err(format!(
                "the value of `${{{name}}}` in the environment is no Unicode text"
            )),
        }
    }
}

/// Without the values: they may be secrets.
impl fmt::Debug for Placeholders {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut names: Vec<_> = self.given.keys().collect();
        names.sort();
        f.debug_struct("Placeholders")
            .field("given", &names)
            .field("environment", &self.environment)
            .finish()
    }
}

/// Values that were put into a change and must not come out again, by their names.
#[derive(Clone, Default)]
pub(super) struct Secrets(Vec<(String, String)>);

/// Shorter ones are no secrets, and hiding each `1` would make errors unreadable.
const SHORTEST_SECRET: usize = 4;

impl Secrets {
    fn add(&mut self, name: &str, value: &str) {
        if value.chars().count() < SHORTEST_SECRET {
            return;
        }
        let quoted = serde_json::Value::from(value).to_string();
        let debugged = format!("{value:?}");
        let mut forms = vec![
            value.to_owned(),
            inside(&quoted),
            inside(&debugged),
            percent_encoded(value),
        ];
        // Errors of parsers show one line at a time.
        forms.extend(value.lines().map(|line| line.trim().to_owned()));
        for form in forms {
            let known = self.0.iter().any(|(_, value)| *value == form);
            if !known && form.chars().count() >= SHORTEST_SECRET {
                self.0.push((name.to_owned(), form));
            }
        }
        // Longest first, so that a value which contains another goes as a whole.
        self.0.sort_by_key(|(_, form)| std::cmp::Reverse(form.len()));
    }

    /// The text with names in the place of values.
    pub(super) fn hide<'t>(&self, text: &'t str) -> Cow<'t, str> {
        let mut text = Cow::Borrowed(text);
        for (name, value) in &self.0 {
            if text.contains(value.as_str()) {
                text = Cow::Owned(text.replace(value.as_str(), &format!("${{{name}}}")));
            }
        }
        text
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

fn inside(quoted: &str) -> String {
    let inside = quoted.strip_prefix('"').and_then(|rest| rest.strip_suffix('"'));
    inside.unwrap_or(quoted).to_owned()
}

fn percent_encoded(text: &str) -> String {
    let mut encoded = String::new();
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            // Writing to a text cannot fail.
            let _ = write!(encoded, "%{byte:02X}");
        }
    }
    encoded
}

/// A placeholder without a value, or a text that looks like one and is none.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Unresolved {
    /// As it begins in the text, to find its line.
    pub(super) text: String,
    pub(super) why: String,
}

/// Puts in the values. What stands in the text for `$${` is `${`.
pub(super) fn resolve(
    text: &str,
    placeholders: &Placeholders,
    secrets: &mut Secrets,
) -> Result<String, Vec<Unresolved>> {
    let mut resolved = String::with_capacity(text.len());
    let mut faults = Vec::new();
    let mut rest = text;
    while let Some(position) = rest.find("${") {
        let before = &rest[..position];
        if let Some(before) = before.strip_suffix('$') {
            resolved.push_str(before);
            resolved.push_str("${");
            rest = &rest[position + 2..];
            continue;
        }
        resolved.push_str(before);
        let inside = &rest[position + 2..];
        let end = inside.find('}').filter(|end| !inside[..*end].contains('\n'));
        let Some(end) = end else {
            faults.push(Unresolved {
                text: beginning(&rest[position..]),
                why: "`${` begins a placeholder that has no end; write `$${` for the text `${`".to_owned(),
            });
            rest = inside;
            continue;
        };
        let (name, default) = match inside[..end].split_once(':') {
            Some((name, default)) => (name, Some(default)),
            None => (&inside[..end], None),
        };
        rest = &inside[end + 1..];
        match value(name, default, placeholders, secrets) {
            Ok(value) => resolved.push_str(&value),
            Err(why) => faults.push(Unresolved {
                text: format!("${{{name}"),
                why,
            }),
        }
    }
    resolved.push_str(rest);
    if faults.is_empty() {
        Ok(resolved)
    } else {
        Err(faults)
    }
}

fn value(
    name: &str,
    default: Option<&str>,
    placeholders: &Placeholders,
    secrets: &mut Secrets,
) -> Result<String, String> {
    if !is_name(name) {
        return Err(format!(
            "`{name}` cannot be the name of a placeholder; write `$${{` for the text `${{`"
        ));
    }
    if let Some(value) = placeholders.value(name)? {
        secrets.add(name, &value);
        return Ok(value);
    }
    default.map(str::to_owned).ok_or_else(|| {
        format!(
            "`${{{name}}}` has no value: set it in the environment, or write a default as `${{{name}:…}}`"
        )
    })
}

fn is_name(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && name
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || "_.-".contains(c))
}

fn beginning(text: &str) -> String {
    text.lines().next().unwrap_or_default().chars().take(40).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn given() -> Placeholders {
        Placeholders::none()
            .with("REGION", "eu-west-1")
            .with("EMPTY", "")
            .with("TOKEN", "s3cr3t/\"x\"")
            .with("NESTED", "${REGION}")
    }

    #[test]
    fn values_and_defaults_are_put_in_and_escapes_taken_out() {
        for (text, expected) in [
            ("plain $ {x} $$ $1", "plain $ {x} $$ $1"),
            ("a ${REGION} b ${REGION}", "a eu-west-1 b eu-west-1"),
            ("${ABSENT:x y}", "x y"),
            ("${ABSENT:}", ""),
            ("${ABSENT:a:b}", "a:b"),
            ("${REGION:other}", "eu-west-1"),
            ("${EMPTY:other}", ""),
            ("$${REGION}", "${REGION}"),
            ("$$${REGION}", "$${REGION}"),
            ("${NESTED}", "${REGION}"),
            ("é${REGION}é", "éeu-west-1é"),
        ] {
            let resolved = resolve(text, &given(), &mut Secrets::default());
            assert_eq!(resolved.as_deref(), Ok(expected), "{text}");
        }
    }

    #[test]
    fn everything_without_a_value_is_named() {
        let faults = resolve(
            "${ABSENT} ${1x} ${REGION} ${open",
            &given(),
            &mut Secrets::default(),
        )
        .expect_err("three faults");
        let texts: Vec<_> = faults.iter().map(|fault| fault.text.as_str()).collect();
        assert_eq!(texts, ["${ABSENT", "${1x", "${open"]);
        assert!(
            faults[0].why.starts_with("`${ABSENT}` has no value"),
            "{faults:?}"
        );
    }

    #[test]
    fn values_are_hidden_in_every_form_and_defaults_are_not() {
        let mut secrets = Secrets::default();
        resolve("${TOKEN} ${REGION} ${ABSENT:public}", &given(), &mut secrets).expect("resolves");
        for text in [
            "bad s3cr3t/\"x\"!",
            "bad s3cr3t/\\\"x\\\"!",
            "bad s3cr3t%2F%22x%22!",
        ] {
            assert_eq!(secrets.hide(text), "bad ${TOKEN}!", "{text}");
        }
        assert_eq!(secrets.hide("public in eu-west-1"), "public in ${REGION}");
        assert!(!format!("{:?}", given()).contains("s3cr3t"));
    }
}
