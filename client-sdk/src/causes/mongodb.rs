//! The words of MongoDB.

use std::error::Error as StdError;

use ::mongodb::{
    bson::{Bson, Document},
    error::{Error, ErrorKind, WriteConcernError, WriteError, WriteFailure},
};

/// Values of a document, in what is said of one that its collection's schema does not allow.
const VALUES: [&str; 3] = ["consideredValue", "consideredValues", "expressionResult"];

/// One of the driver's. As a cause it is boxed.
pub(super) fn of<'a>(error: &'a (dyn StdError + 'static)) -> Option<&'a Error> {
    let boxed = || error.downcast_ref::<Box<Error>>().map(|error| &**error);
    error.downcast_ref().or_else(boxed)
}

/// The driver's own text, `Kind: …, labels: {…}, source: …, server response: …`, without all but the first.
pub(super) fn without_answer(text: String) -> String {
    let Some((before, _)) = text.rsplit_once(", server response: ") else {
        return text;
    };
    let Some((said, _)) = before.split_once(", labels: {") else {
        return text;
    };
    match said.rsplit_once("Kind: ") {
        Some((outer, kind)) => format!("{outer}{kind}"),
        None => text,
    }
}

/// What the server says about a refusal, or the driver about itself.
pub(super) fn said(error: &Error) -> String {
    match error.kind.as_ref() {
        ErrorKind::Command(refusal) => coded(&refusal.message, refusal.code, &refusal.code_name, None),
        ErrorKind::Write(WriteFailure::WriteError(refusal)) => refused(refusal),
        ErrorKind::Write(WriteFailure::WriteConcernError(refusal)) => unconfirmed(refusal),
        kind @ ErrorKind::InsertMany(failure) => {
            let refusals = failure.write_errors.iter().flatten();
            let refusals = refusals.map(|refusal| (refusal.index, refusal.clone().into()));
            several(refusals, failure.write_concern_error.as_ref()).unwrap_or_else(|| kind.to_string())
        }
        ErrorKind::BulkWrite(failure) => {
            let refusals = failure.write_errors.iter();
            let refusals = refusals.map(|(index, refusal)| (*index, refusal.clone()));
            // What the driver has instead is all that was written before.
            several(refusals, failure.write_concern_errors.first())
                .unwrap_or_else(|| "the bulk write was not finished".to_owned())
        }
        kind => kind.to_string(),
    }
}

/// What one call of many writes was refused, and what was not confirmed; nothing if neither is known.
fn several(
    refusals: impl Iterator<Item = (usize, WriteError)>,
    concern: Option<&WriteConcernError>,
) -> Option<String> {
    let texts: Vec<String> = first(refusals)
        .into_iter()
        .chain(concern.map(unconfirmed))
        .collect();
    (!texts.is_empty()).then(|| texts.join("; "))
}

/// The first of the refusals in one call, and how many there are.
fn first(refusals: impl Iterator<Item = (usize, WriteError)>) -> Option<String> {
    let mut refusals: Vec<_> = refusals.collect();
    refusals.sort_by_key(|(index, _)| *index);
    let (index, refusal) = refusals.first()?;
    let more = match refusals.len() - 1 {
        0 => String::new(),
        more => format!("; refused besides: {more}"),
    };
    Some(format!(
        "write {} of the call: {}{more}",
        index + 1,
        refused(refusal)
    ))
}

fn refused(error: &WriteError) -> String {
    let name = error.code_name.as_deref().unwrap_or_default();
    coded(&error.message, error.code, name, error.details.as_ref())
}

fn unconfirmed(error: &WriteConcernError) -> String {
    coded(
        &error.message,
        error.code,
        &error.code_name,
        error.details.as_ref(),
    )
}

/// Details say what of a document its schema does not allow. Its values have no place in an audit that cannot be changed.
fn coded(message: &str, code: i32, name: &str, details: Option<&Document>) -> String {
    let name = if name.is_empty() || message.contains(name) {
        String::new()
    } else {
        format!(", {name}")
    };
    let details = details.map_or_else(String::new, |details| {
        format!("; details: {}", without_values(details))
    });
    format!("{message} (error {code}{name}){details}")
}

fn without_values(document: &Document) -> Document {
    document
        .iter()
        .filter(|(name, _)| !VALUES.contains(&name.as_str()))
        .map(|(name, value)| (name.clone(), bson_without_values(value)))
        .collect()
}

fn bson_without_values(value: &Bson) -> Bson {
    match value {
        Bson::Document(document) => Bson::Document(without_values(document)),
        Bson::Array(values) => Bson::Array(values.iter().map(bson_without_values).collect()),
        other => other.clone(),
    }
}

#[cfg(test)]
mod tests {
    use ::mongodb::bson::{deserialize_from_document, doc};

    use super::*;

    fn read<T: serde::de::DeserializeOwned>(document: Document) -> T {
        deserialize_from_document(document).expect("the server's answer")
    }

    #[test]
    fn the_server_is_quoted_and_not_its_bytes() {
        let invalid = doc! {
            "index": 2, "code": 121, "errmsg": "Document failed validation", "errInfo": {
                "rules": [{ "operatorName": "minLength", "consideredValue": "hunter2" }]
            }
        };
        let timeout = doc! { "code": 64, "codeName": "WriteConcernFailed", "errmsg": "waiting for replication timed out" };
        for (kind, expected) in [
            (
                ErrorKind::Command(read(
                    doc! { "code": 13, "codeName": "Unauthorized", "errmsg": "not authorized on shop" },
                )),
                "not authorized on shop (error 13, Unauthorized)",
            ),
            (
                ErrorKind::Write(WriteFailure::WriteError(read(invalid.clone()))),
                "Document failed validation (error 121); details: { \"rules\": [{ \"operatorName\": \"minLength\" }] }",
            ),
            (
                ErrorKind::Write(WriteFailure::WriteConcernError(read(timeout.clone()))),
                "waiting for replication timed out (error 64, WriteConcernFailed)",
            ),
            (
                ErrorKind::InsertMany(read(
                    doc! { "writeErrors": [invalid.clone(), invalid], "writeConcernError": timeout },
                )),
                "write 3 of the call: Document failed validation (error 121); details: { \"rules\": [{ \"operatorName\": \
                 \"minLength\" }] }; refused besides: 1; waiting for replication timed out (error 64, WriteConcernFailed)",
            ),
        ] {
            assert_eq!(said(&Error::from(kind)), expected);
        }
    }

    #[test]
    fn a_type_that_stands_for_it_shows_as_little() {
        let refusal = doc! { "code": 13, "codeName": "Unauthorized", "errmsg": "not authorized on shop" };
        let error = || anyhow::Error::from(Error::from(ErrorKind::Command(read(refusal.clone()))));
        for (hidden, expected) in [
            (
                error(),
                "Command failed: Error code 13 (Unauthorized): not authorized on shop",
            ),
            (
                error().context("no index was made"),
                "no index was made: not authorized on shop (error 13, Unauthorized)",
            ),
        ] {
            let hidden: Box<dyn StdError + Send + Sync> = hidden.into();
            assert_eq!(crate::causes::one_line(&*hidden), expected);
        }
        let plain = "no server response: none, and no labels: {}";
        assert_eq!(without_answer(plain.to_owned()), plain);
    }
}
