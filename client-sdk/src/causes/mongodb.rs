//! The words of MongoDB.

use ::mongodb::{
    bson::Document,
    error::{Error, ErrorKind, WriteConcernError, WriteError, WriteFailure},
};

/// What the server says about a refusal, or the driver about itself.
pub(super) fn said(error: &Error) -> String {
    let several = match error.kind.as_ref() {
        ErrorKind::Command(refusal) => {
            return coded(&refusal.message, refusal.code, &refusal.code_name, None);
        }
        ErrorKind::Write(WriteFailure::WriteError(refusal)) => return refused(refusal),
        ErrorKind::Write(WriteFailure::WriteConcernError(refusal)) => return unconfirmed(refusal),
        ErrorKind::InsertMany(failure) => {
            let refusals = failure.write_errors.iter().flatten();
            let refusals = refusals.map(|refusal| (refusal.index, refusal.clone().into()));
            [
                first(refusals),
                failure.write_concern_error.as_ref().map(unconfirmed),
            ]
        }
        ErrorKind::BulkWrite(failure) => {
            let refusals = failure.write_errors.iter();
            let refusals = refusals.map(|(index, refusal)| (*index, refusal.clone()));
            [
                first(refusals),
                failure.write_concern_errors.first().map(unconfirmed),
            ]
        }
        _ => [None, None],
    };
    let texts: Vec<String> = several.into_iter().flatten().collect();
    if texts.is_empty() {
        return error.kind.to_string();
    }
    texts.join("; ")
}

/// The first of the refusals in one call, and how many there are.
fn first(refusals: impl Iterator<Item = (usize, WriteError)>) -> Option<String> {
    let mut refusals: Vec<_> = refusals.collect();
    refusals.sort_by_key(|(index, _)| *index);
    let (index, refusal) = refusals.first()?;
    let more = match refusals.len() - 1 {
        0 => String::new(),
        more => format!("; {more} more were refused"),
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

/// Details say what of a document its schema does not allow.
fn coded(message: &str, code: i32, name: &str, details: Option<&Document>) -> String {
    let name = if name.is_empty() || message.contains(name) {
        String::new()
    } else {
        format!(", {name}")
    };
    let details = details.map_or_else(String::new, |details| format!("; details: {details}"));
    format!("{message} (error {code}{name}){details}")
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
            "index": 2, "code": 121, "errmsg": "Document failed validation", "errInfo": { "missing": ["iban"] }
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
                "Document failed validation (error 121); details: { \"missing\": [\"iban\"] }",
            ),
            (
                ErrorKind::Write(WriteFailure::WriteConcernError(read(timeout.clone()))),
                "waiting for replication timed out (error 64, WriteConcernFailed)",
            ),
            (
                ErrorKind::InsertMany(read(
                    doc! { "writeErrors": [invalid.clone(), invalid], "writeConcernError": timeout },
                )),
                "write 3 of the call: Document failed validation (error 121); details: { \"missing\": [\"iban\"] }; 1 more were \
                 refused; waiting for replication timed out (error 64, WriteConcernFailed)",
            ),
        ] {
            assert_eq!(said(&Error::from(kind)), expected);
        }
    }
}
