//! Which steps of a saga are done: what is kept as the change's cursor, and shown to people who have to decide.

use serde::{Deserialize, Serialize};

/// Written before each step and after the last, so that whatever the process dies of, at most one step is in doubt.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct StepLog {
    /// The steps that are finished, in the order in which they were.
    done: Vec<String>,
    /// A step that was begun and has not been heard of since.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    under_way: Option<String>,
    /// What was begun is the step's compensation.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    undoing: bool,
}

impl StepLog {
    pub(super) fn is_done(&self, step: &str) -> bool {
        self.done.iter().any(|done| done == step)
    }

    pub(super) fn done(&self) -> &[String] {
        &self.done
    }

    /// The step that would be undone next.
    pub(super) fn last_done(&self) -> Option<&str> {
        self.done.last().map(String::as_str)
    }

    /// The step of which nobody knows how it ended.
    pub(super) fn in_doubt(&self) -> Option<&str> {
        self.under_way.as_deref()
    }

    /// The steps that it speaks of.
    pub(super) fn mentioned(&self) -> impl Iterator<Item = &str> {
        self.done.iter().chain(&self.under_way).map(String::as_str)
    }

    pub(super) fn begin(&mut self, step: &str) {
        self.under_way = Some(step.to_owned());
        self.undoing = false;
    }

    /// Takes the step off what is done, until it is known that it was undone.
    pub(super) fn begin_undoing(&mut self, step: &str) {
        self.done.retain(|done| done != step);
        self.under_way = Some(step.to_owned());
        self.undoing = true;
    }

    /// What was under way took effect.
    pub(super) fn took_effect(&mut self) {
        self.undoing = false;
        self.done.extend(self.under_way.take());
    }

    /// What was under way has left nothing.
    pub(super) fn left_nothing(&mut self) {
        self.undoing = false;
        self.under_way = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn json(log: &StepLog) -> String {
        serde_json::to_string(log).expect("plain data")
    }

    #[test]
    fn it_is_written_so_that_a_person_can_read_it_and_a_later_version_too() {
        let mut log = StepLog::default();
        assert_eq!(json(&log), r#"{"done":[]}"#);
        log.begin("table");
        assert_eq!(json(&log), r#"{"done":[],"underWay":"table"}"#);
        log.took_effect();
        log.begin("flag");
        assert_eq!(json(&log), r#"{"done":["table"],"underWay":"flag"}"#);
        log.left_nothing();
        log.begin_undoing("table");
        assert_eq!(json(&log), r#"{"done":[],"underWay":"table","undoing":true}"#);
        let read: StepLog =
            serde_json::from_str(r#"{"done":["a"],"ofTheFuture":1}"#).expect("what is not known is left");
        assert_eq!(read.done(), ["a"]);
    }

    #[test]
    fn what_is_undone_is_found_there_again_if_it_was_not() {
        let mut log = StepLog::default();
        for step in ["a", "b"] {
            log.begin(step);
            log.took_effect();
        }
        assert_eq!(log.last_done(), Some("b"));
        log.begin_undoing("b");
        assert_eq!((log.last_done(), log.in_doubt()), (Some("a"), Some("b")));
        log.took_effect();
        assert_eq!((log.done().join(","), log.in_doubt()), ("a,b".to_owned(), None));
        log.begin_undoing("b");
        log.left_nothing();
        assert_eq!(log.done(), ["a"]);
    }
}
