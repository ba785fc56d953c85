//! Commands that people paste. Ids and names come from clients: whatever is in them, a shell takes it as one word.

use std::borrow::Cow;

use flamingock_api_types::explanation::Remedy;
use flamingock_api_types::issue::{Resolution, ResolutionKind, ResolutionRequest};
use flamingock_api_types::lock::LockReleaseRequest;
use flamingock_api_types::policy::{ApprovalRequest, FreezeEndRequest};
use serde::Serialize;

use crate::app::Scope;

/// What stands where a person has to write something.
const FINDING: &str = "<what you found, and what you did>";
const REASON: &str = "<why>";

/// The service that commands are about, by id and by name.
#[derive(Clone, Copy, Debug)]
pub struct Subject<'a> {
    pub scope: Scope,
    pub environment: &'a str,
    pub service: &'a str,
}

impl Subject<'_> {
    fn options(&self) -> String {
        format!("-e {} -s {}", quoted(self.environment), quoted(self.service))
    }

    fn path(&self, rest: &str) -> String {
        format!(
            "/api/v1/admin/environment/{}/service/{}/{rest}",
            self.scope.environment_id, self.scope.service_id
        )
    }

    /// To look at one issue.
    pub fn view_issue(&self, change: &str) -> Remedy {
        let path = self.path("issue/detail");
        Remedy {
            purpose: format!("See what is known of change {change}."),
            command: Some(with_id("flamingock issue get", change, &self.options())),
            curl: Some(format!(
                "curl -G -H \"Authorization: Bearer $FLAMINGOCK_TOKEN\" --data-urlencode {} \"$FLAMINGOCK_SERVER\"{path}",
                quoted(&format!("changeId={change}"))
            )),
        }
    }

    /// To look at an execution.
    pub fn view_execution(&self, id: i64) -> Remedy {
        let path = self.path(&format!("execution/{id}"));
        Remedy {
            purpose: "See what the latest execution reported.".to_owned(),
            command: Some(format!("flamingock execution get {id} {}", self.options())),
            curl: Some(format!(
                "curl -H \"Authorization: Bearer $FLAMINGOCK_TOKEN\" \"$FLAMINGOCK_SERVER\"{path}"
            )),
        }
    }

    /// To record a decision about an entry.
    pub fn resolve(&self, change: &str, kind: ResolutionKind, seq: i64) -> Remedy {
        let (word_of_kind, found) = match kind {
            ResolutionKind::Applied => ("applied", "is in place there: it never runs again"),
            ResolutionKind::RolledBack => ("rolled-back", "left nothing there: it runs at the next start"),
        };
        let request = ResolutionRequest {
            resolutions: vec![Resolution {
                change_id: change.to_owned(),
                resolution: kind,
                expected_seq: seq,
            }],
            reason: FINDING.to_owned(),
        };
        Remedy {
            purpose: format!("Record that change {change} {found}."),
            command: Some(with_id(
                "flamingock issue resolve",
                change,
                &format!(
                    "--as {word_of_kind} --expect-seq {seq} --reason {} {}",
                    quoted(FINDING),
                    self.options()
                ),
            )),
            curl: Some(self.post("resolution", &request)),
        }
    }

    /// To approve a change's content.
    pub fn approve(&self, change: &str, checksum: Option<&str>) -> Remedy {
        let content = checksum
            .map(|checksum| format!("--checksum {} ", quoted(checksum)))
            .unwrap_or_default();
        let request = ApprovalRequest {
            change_id: change.to_owned(),
            checksum: checksum.map(str::to_owned),
            reason: REASON.to_owned(),
            decision: None,
        };
        Remedy {
            purpose: format!("Approve change {change}, if you are not its author and have read it."),
            command: Some(with_id(
                "flamingock approve",
                change,
                &format!("{content}--reason {} {}", quoted(REASON), self.options()),
            )),
            curl: Some(self.post("approval", &request)),
        }
    }

    /// To end a freeze window before its time.
    pub fn end_freeze(&self, id: i64) -> Remedy {
        let request = FreezeEndRequest {
            reason: REASON.to_owned(),
        };
        Remedy {
            purpose: "End the freeze before its time, if whoever ordered it agrees.".to_owned(),
            command: Some(format!(
                "flamingock freeze end {id} --reason {} {}",
                quoted(REASON),
                self.options()
            )),
            curl: Some(post(&format!("/api/v1/admin/freeze/{id}/end"), &request)),
        }
    }

    /// To free the lock of a grant.
    pub fn release_lock(&self, fence: i64, insist: bool) -> Remedy {
        let request = LockReleaseRequest {
            expected_fence: fence,
            reason: REASON.to_owned(),
            insist,
        };
        let insists = if insist { " --insist" } else { "" };
        Remedy {
            purpose: if insist {
                "Free the lock although its holder is alive. Stop the holder first: it may be at work this moment.".to_owned()
            } else {
                "Free the lock of the holder that is gone.".to_owned()
            },
            command: Some(format!(
                "flamingock lock release --expect-fence {fence}{insists} --reason {} {}",
                quoted(REASON),
                self.options()
            )),
            curl: Some(self.post("lock/release", &request)),
        }
    }

    fn post(&self, rest: &str, body: &impl Serialize) -> String {
        post(&self.path(rest), body)
    }
}

fn post(path: &str, body: &impl Serialize) -> String {
    let body = serde_json::to_string(body).unwrap_or_default();
    format!(
        "curl -H \"Authorization: Bearer $FLAMINGOCK_TOKEN\" -H 'Content-Type: application/json' -d {} \
         \"$FLAMINGOCK_SERVER\"{path}",
        quoted(&body)
    )
}

/// An id that looks like an option comes last, behind the mark that ends the options.
fn with_id(command: &str, id: &str, options: &str) -> String {
    let id_is_plain = !id.starts_with('-');
    let id = quoted(id);
    if id_is_plain {
        format!("{command} {id} {options}")
    } else {
        format!("{command} {options} -- {id}")
    }
}

/// As one word of a POSIX shell.
fn quoted(text: &str) -> Cow<'_, str> {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_./:@%+,".contains(c);
    if !text.is_empty() && text.chars().all(is_plain) {
        Cow::Borrowed(text)
    } else {
        Cow::Owned(format!("'{}'", text.replace('\'', r"'\''")))
    }
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    const NASTY: &[&str] = &[
        "add-due-date",
        "schema/0001",
        "it's",
        "a b",
        "",
        "$(touch x)",
        "`id`; rm -rf /",
        "\"quoted\"",
        "two\nlines",
        "*?[]{}~#!&|<>\\",
        "é日本",
        "''",
    ];

    #[test]
    fn whatever_is_in_a_name_a_shell_takes_it_as_one_word() {
        for text in NASTY {
            let said = Command::new("sh")
                .arg("-c")
                .arg(format!("printf '%s|' {}", quoted(text)))
                .output()
                .expect("a shell");
            assert_eq!(String::from_utf8_lossy(&said.stdout), format!("{text}|"));
        }
    }

    #[test]
    fn a_body_reaches_the_server_as_it_was_meant() {
        for change in NASTY {
            let subject = Subject {
                scope: Scope {
                    environment_id: 12,
                    service_id: 340,
                },
                environment: "pro'd",
                service: "a b",
            };
            let remedy = subject.resolve(change, ResolutionKind::Applied, 7);
            let curl = remedy.curl.expect("a command");
            let shown = curl.replacen("curl ", "printf '%s\\0' ", 1);
            let said = Command::new("sh").arg("-c").arg(shown).output().expect("a shell");
            let words: Vec<&[u8]> = said.stdout.split(|byte| *byte == 0).collect();
            let request: ResolutionRequest = serde_json::from_slice(words[5]).expect("the body");
            assert_eq!(request.resolutions[0].change_id, *change);
        }
    }

    #[test]
    fn an_id_that_looks_like_an_option_is_none() {
        assert_eq!(with_id("get", "--help", "-e x"), "get -e x -- --help");
        assert_eq!(with_id("get", "a", "-e x"), "get a -e x");
    }
}
