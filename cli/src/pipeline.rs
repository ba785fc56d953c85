//! Pipelines from files: what an application submits.

use std::fs;
use std::io::{self, Read as _};
use std::path::Path;

use flamingock::wire::execution::{PlanRequest, Submission};
use flamingock::{BuildError, Flamingock, Stage, templates};

use crate::failure::Failure;

/// More than a server takes.
const LONGEST: u64 = 64 * 1024 * 1024;

/// The stages of a directory of change files.
pub fn stages(directory: &Path) -> Result<Vec<Stage>, Failure> {
    templates::stages(directory)
        .map_err(|error| Failure::usage(format!("{} has no changes to read: {error}", directory.display())))
}

/// Everything that is wrong with files, a line each.
#[expect(clippy::needless_pass_by_value, reason = "it is given to map_err")]
pub fn unbuildable(error: BuildError) -> Failure {
    let count = error.problems().len();
    let noun = if count == 1 {
        "problem was"
    } else {
        "problems were"
    };
    Failure::usage(format!(
        "the changes cannot be run as they are, {count} {noun} found"
    ))
    .with_details(error.problems().iter().map(ToString::to_string))
}

/// What an application of these change files would submit.
fn of_directory(directory: &Path) -> Result<PlanRequest, Failure> {
    let builder = stages(directory)?
        .into_iter()
        .fold(Flamingock::builder(""), flamingock::Builder::stage);
    let blocks = builder.submission().map_err(unbuildable)?;
    Ok(PlanRequest {
        lock_acquired_for_millis: None,
        client_submission: Submission {
            blocks: Some(blocks),
            ..Submission::default()
        },
        runner: None,
        certificate: false,
    })
}

/// A plan request, or only what it submits (`{"blocks": …}`, `{"stages": …}`); of a directory of change files, what
/// they would submit.
pub fn read(path: &Path) -> Result<PlanRequest, Failure> {
    if path.is_dir() {
        return of_directory(path);
    }
    let shown = path.display();
    let unreadable = |error: io::Error| Failure::usage(format!("{shown} cannot be read: {error}"));
    let mut text = String::new();
    if path == Path::new("-") {
        io::stdin().take(LONGEST).read_to_string(&mut text)
    } else {
        fs::File::open(path).and_then(|file| file.take(LONGEST).read_to_string(&mut text))
    }
    .map_err(unreadable)?;
    parse(&text).map_err(|error| {
        Failure::usage(format!("{shown} is not a pipeline: {error}"))
            .hint("expected JSON with `clientSubmission`, or with `blocks` or `stages`, as an application submits it")
    })
}

fn parse(text: &str) -> Result<PlanRequest, String> {
    let value: serde_json::Value = serde_json::from_str(text).map_err(|error| error.to_string())?;
    let whole = value.get("clientSubmission").is_some();
    let request = if whole {
        serde_json::from_value(value).map_err(|error| error.to_string())?
    } else {
        let submission: Submission = serde_json::from_value(value).map_err(|error| error.to_string())?;
        PlanRequest {
            lock_acquired_for_millis: None,
            client_submission: submission,
            runner: None,
            certificate: false,
        }
    };
    let submitted = &request.client_submission;
    if submitted.blocks.is_none() && submitted.stages.is_none() {
        return Err("neither `blocks` nor `stages` is in it".to_owned());
    }
    Ok(request)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_and_a_bare_submission_are_both_pipelines() {
        let stages = r#"{"stages": [{"name": "a", "changes": [{"id": "one"}]}]}"#;
        let bare = parse(stages).expect("a submission");
        let whole = parse(&format!(r#"{{"clientSubmission": {stages}}}"#)).expect("a request");
        assert_eq!(bare, whole);
    }

    #[test]
    fn what_is_no_pipeline_is_told_so() {
        for (text, expected) in [
            ("", "EOF"),
            ("[]", "neither"),
            ("{}", "neither"),
            (r#"{"clientSubmission": {"digest": "x"}}"#, "neither"),
            (r#"{"stages": [{}]}"#, "name"),
        ] {
            let complaint = parse(text).expect_err(text);
            assert!(complaint.contains(expected), "{text}: {complaint}");
        }
    }
}
