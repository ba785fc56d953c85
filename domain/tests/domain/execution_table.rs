//! What became of an execution, as a table and as laws.

use flamingock_domain::audit::AuditState;
use flamingock_domain::execution::{Offered, Outcome, Progress, outcome};
use flamingock_domain::plan::Action;
use proptest::prelude::*;

use crate::support::rows;

// Each change of the offer with what was reported of it last: `-` nothing, `person` waits for a person, `skip` was applied
// before, `ask` has a probe with what it said.
const OUTCOMES: &str = "
| changes                      | holds the lock | outcome   |
| ---------------------------- | -------------- | --------- |
| -                            | yes            | Running   |
| APPLIED                      | yes            | Running   |
| FAILED                       | yes            | Running   |
| APPLIED                      | no             | Succeeded |
| skip APPLIED                 | no             | Succeeded |
| APPLIED APPLIED              | no             | Succeeded |
| skip                         | no             | Succeeded |
| -                            | no             | Abandoned |
| APPLIED -                    | no             | Abandoned |
| STARTED                      | no             | Abandoned |
| APPLIED STARTED -            | no             | Abandoned |
| STARTED person               | no             | Abandoned |
| SOMETHING                    | no             | Abandoned |
| FAILED                       | no             | Failed    |
| APPLIED FAILED -             | no             | Failed    |
| ROLLED_BACK -                | no             | Failed    |
| ROLLBACK_FAILED              | no             | Failed    |
| FAILED person                | no             | Failed    |
| FAILED STARTED               | no             | Failed    |
| person                       | no             | Blocked   |
| person -                     | no             | Blocked   |
| APPLIED person               | no             | Blocked   |
| ask=APPLIED                  | no             | Succeeded |
| ask=ROLLED_BACK              | no             | Succeeded |
| ask=ROLLED_BACK FAILED       | no             | Failed    |
| ask=SOMETHING                | no             | Blocked   |
| ask                          | no             | Abandoned |
";

fn offered(text: &str) -> Offered {
    let (action, reported) = match text {
        "-" => (Action::Apply, None),
        "skip" => (Action::Skip, None),
        "ask" => (Action::Probe { about: 8 }, None),
        "person" => (Action::ManualIntervention, None),
        state => match state.strip_prefix("ask=") {
            Some(state) => (Action::Probe { about: 8 }, Some(AuditState::from_wire(state))),
            None => (Action::Apply, Some(AuditState::from_wire(state))),
        },
    };
    Offered { action, reported }
}

#[test]
fn every_row_of_the_outcome_table_holds() {
    for row in &rows(OUTCOMES)[1..] {
        let [changes, holds, expected] = row.cells[..] else {
            panic!("three cells: {}", row.line)
        };
        let progress = Progress::of(changes.split_whitespace().map(offered));
        assert_eq!(
            format!("{:?}", outcome(holds == "yes", &progress)),
            expected,
            "{}",
            row.line
        );
    }
}

fn any_change() -> impl Strategy<Value = Offered> {
    prop::sample::select(vec![
        "-",
        "skip",
        "person",
        "ask",
        "ask=APPLIED",
        "ask=SOMETHING",
        "STARTED",
        "APPLIED",
        "FAILED",
        "ROLLED_BACK",
        "ROLLBACK_FAILED",
        "SOMETHING",
    ])
    .prop_map(offered)
}

proptest! {
    #[test]
    fn the_counts_add_up_and_only_all_applied_is_a_success(changes in prop::collection::vec(any_change(), 0..12)) {
        let progress = Progress::of(changes.iter().copied());
        let of_offered = progress.applied + progress.failed + progress.started + progress.not_reached;
        prop_assert_eq!(progress.offered, of_offered);
        let all_applied = changes.iter().all(|change| match change.action {
            Action::Apply => change.reported == Some(AuditState::Applied),
            Action::ManualIntervention => false,
            Action::Probe { .. } => {
                matches!(change.reported, Some(AuditState::Applied | AuditState::RolledBack))
            }
            Action::Skip | Action::Withhold => true,
        });
        prop_assert_eq!(outcome(false, &progress) == Outcome::Succeeded, all_applied);
        prop_assert_eq!(outcome(true, &progress), Outcome::Running);
    }

    #[test]
    fn the_order_of_the_changes_does_not_matter(mut changes in prop::collection::vec(any_change(), 0..12)) {
        let forwards = Progress::of(changes.iter().copied());
        changes.reverse();
        prop_assert_eq!(forwards, Progress::of(changes));
    }
}
