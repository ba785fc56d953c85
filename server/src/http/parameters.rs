//! Query parameters that select: each is known by name or refused, because a mistyped filter that is ignored answers with
//! everything, and looks like an answer.

use axum::extract::FromRequestParts;
use axum::extract::Query;
use axum::http::request::Parts;
use chrono::{DateTime, Utc};

use super::Api;
use super::problem::Problem;
use super::times;

/// Values of one parameter, and characters of a value.
const VALUES_MAX: usize = 20;
const VALUE_MAX: usize = 1_000;

/// As they came, decoded.
pub struct Parameters(Vec<(String, String)>);

impl FromRequestParts<Api> for Parameters {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, api: &Api) -> Result<Self, Problem> {
        match Query::<Vec<(String, String)>>::from_request_parts(parts, api).await {
            Ok(Query(pairs)) => Ok(Self(pairs)),
            Err(rejection) => Err(Problem::malformed(format!(
                "The query does not fit: {}.",
                rejection.body_text().trim_end_matches('.')
            ))),
        }
    }
}

impl Parameters {
    /// Refuses a parameter that is not among these.
    pub fn only(self, known: &[&str]) -> Result<Self, Problem> {
        match self.0.iter().find(|(name, _)| !known.contains(&name.as_str())) {
            Some((name, _)) => Err(Problem::malformed(format!(
                "There is no query parameter `{}` here. There are {}.",
                shown(name),
                known
                    .iter()
                    .map(|name| format!("`{name}`"))
                    .collect::<Vec<_>>()
                    .join(", ")
            ))),
            None => Ok(self),
        }
    }

    /// Whether any of these is given.
    pub fn selects_any(&self, names: &[&str]) -> bool {
        self.0.iter().any(|(name, _)| names.contains(&name.as_str()))
    }

    /// What selects rows, so that a cursor is good for the same question only; `page` names what does not.
    pub fn selecting(&self, page: &[&str]) -> Vec<&(String, String)> {
        let mut selecting: Vec<_> = self
            .0
            .iter()
            .filter(|(name, _)| !page.contains(&name.as_str()))
            .collect();
        selecting.sort();
        selecting
    }

    /// Every value of a parameter that may be repeated.
    pub fn all(&self, name: &str) -> Result<Vec<String>, Problem> {
        let values: Vec<&String> = self
            .0
            .iter()
            .filter(|(given, _)| given == name)
            .map(|(_, value)| value)
            .collect();
        if values.len() > VALUES_MAX {
            return Err(Problem::malformed(format!(
                "The query parameter `{name}` may be given {VALUES_MAX} times at most, it is given {} times.",
                values.len()
            )));
        }
        for value in &values {
            let characters = value.chars().count();
            if characters == 0 || characters > VALUE_MAX {
                return Err(Problem::malformed(format!(
                    "The query parameter `{name}` must have 1 to {VALUE_MAX} characters, it has {characters}."
                )));
            }
            if value.contains('\0') {
                return Err(Problem::malformed(format!(
                    "The query parameter `{name}` must not contain NUL."
                )));
            }
        }
        Ok(values.into_iter().cloned().collect())
    }

    pub fn one(&self, name: &str) -> Result<Option<String>, Problem> {
        let mut values = self.all(name)?;
        if values.len() > 1 {
            return Err(Problem::malformed(format!(
                "The query parameter `{name}` is given {} times; say it once.",
                values.len()
            )));
        }
        Ok(values.pop())
    }

    pub fn number(&self, name: &str) -> Result<Option<i64>, Problem> {
        self.read(name, "must be a number", |text| text.parse().ok())
    }

    pub fn flag(&self, name: &str) -> Result<Option<bool>, Problem> {
        self.read(name, "must be true or false", |text| text.parse().ok())
    }

    pub fn time(&self, name: &str) -> Result<Option<DateTime<Utc>>, Problem> {
        self.one(name)?
            .map(|text| {
                times::parse_in_query(&text).map_err(|expected| {
                    Problem::malformed(format!(
                        "The query parameter `{name}` {expected}; it is {:?}.",
                        shown(&text)
                    ))
                })
            })
            .transpose()
    }

    /// One of some words.
    pub fn word<T: Copy>(&self, name: &str, words: &[(&str, T)]) -> Result<Option<T>, Problem> {
        let expected = format!(
            "must be one of {}",
            words.iter().map(|(word, _)| *word).collect::<Vec<_>>().join(", ")
        );
        self.read(name, &expected, |text| {
            words
                .iter()
                .find(|(word, _)| *word == text)
                .map(|(_, value)| *value)
        })
    }

    fn read<T>(
        &self,
        name: &str,
        expected: &str,
        parse: impl Fn(&str) -> Option<T>,
    ) -> Result<Option<T>, Problem> {
        self.one(name)?
            .map(|text| {
                parse(&text).ok_or_else(|| {
                    Problem::malformed(format!(
                        "The query parameter `{name}` {expected}; it is {:?}.",
                        shown(&text)
                    ))
                })
            })
            .transpose()
    }
}

/// As much of a stranger's text as an error repeats.
fn shown(text: &str) -> String {
    text.chars().take(100).collect()
}
