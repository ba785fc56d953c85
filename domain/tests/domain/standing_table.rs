//! How a service stands, as a table and as laws; and when a decision is the one before.

use flamingock_domain::audit::{AuditState, Made, Resolution, repeats};
use flamingock_domain::standing::{Activity, Holder, Presence, Situation, Standing, activity, standing};
use std::time::Duration;

use proptest::prelude::*;

use crate::support::rows;

const STANDINGS: &str = "
| holder | awaited | issues | failed | open | refused    | frozen | history | standing        |
| ------ | ------- | ------ | ------ | ---- | ---------- | ------ | ------- | --------------- |
| none   | no      | 0      | 0      | 0    | 0          | no     | no      | NeverStarted    |
| none   | no      | 0      | 0      | 0    | 0          | no     | yes     | UpToDate        |
| live   | no      | 0      | 0      | 0    | 0          | no     | no      | Running         |
| live   | no      | 0      | 0      | 0    | 0          | no     | yes     | Running         |
| live   | yes     | 0      | 0      | 0    | 0          | no     | yes     | Waiting         |
| live   | yes     | 2      | 1      | 1    | 0          | no     | yes     | Waiting         |
| live   | no      | 1      | 0      | 0    | 0          | no     | yes     | Running         |
| none   | no      | 1      | 0      | 0    | 0          | no     | yes     | NeedsPerson     |
| none   | no      | 1      | 1      | 1    | 0          | no     | yes     | NeedsPerson     |
| silent | no      | 1      | 0      | 0    | 0          | no     | yes     | NeedsPerson     |
| silent | yes     | 1      | 0      | 1    | 0          | no     | yes     | NeedsPerson     |
| silent | no      | 0      | 0      | 1    | 0          | no     | yes     | HolderSilent    |
| silent | yes     | 0      | 1      | 0    | 0          | no     | yes     | HolderSilent    |
| silent | no      | 0      | 0      | 0    | 0          | no     | yes     | UpToDate        |
| none   | no      | 0      | 1      | 1    | 0          | no     | yes     | Failed          |
| none   | no      | 0      | 0      | 1    | 0          | no     | yes     | Pending         |
| none   | yes     | 0      | 0      | 1    | 0          | no     | yes     | Pending         |
| none   | no      | 0      | 0      | 0    | 1          | no     | yes     | StoppedByPolicy |
| none   | no      | 0      | 0      | 0    | 1          | no     | no      | StoppedByPolicy |
| none   | no      | 0      | 1      | 0    | 1          | no     | yes     | StoppedByPolicy |
| none   | no      | 1      | 0      | 0    | 1          | yes    | yes     | NeedsPerson     |
| live   | no      | 0      | 0      | 0    | 1          | yes    | yes     | Running         |
| live   | yes     | 0      | 0      | 0    | 1          | yes    | yes     | Waiting         |
| silent | no      | 0      | 0      | 1    | 0          | yes    | yes     | StoppedByPolicy |
| none   | no      | 0      | 0      | 1    | 0          | yes    | yes     | StoppedByPolicy |
| none   | no      | 0      | 1      | 0    | 0          | yes    | yes     | StoppedByPolicy |
| none   | no      | 0      | 0      | 0    | 0          | yes    | yes     | UpToDate        |
| none   | no      | 0      | 0      | 0    | 0          | yes    | no      | NeverStarted    |
";

#[test]
fn every_row_of_the_standing_table_holds() {
    for row in &rows(STANDINGS)[1..] {
        let [
            holder,
            awaited,
            issues,
            failed,
            open,
            refused,
            frozen,
            history,
            expected,
        ] = row.cells[..]
        else {
            panic!("nine cells: {}", row.line)
        };
        let count = |text: &str| text.parse().expect("a number");
        let situation = Situation {
            holder: match holder {
                "none" => Holder::None,
                "live" => Holder::Live,
                _ => Holder::Silent,
            },
            is_awaited: awaited == "yes",
            issues: count(issues),
            failed: count(failed),
            open: count(open),
            refused: count(refused),
            is_frozen: frozen == "yes",
            has_history: history == "yes",
        };
        assert_eq!(format!("{:?}", standing(&situation)), expected, "{}", row.line);
    }
}

proptest! {
    #[test]
    fn nobody_is_told_that_all_is_well_while_something_is_open(
        holder in prop::sample::select(vec![Holder::None, Holder::Live, Holder::Silent]),
        (is_awaited, is_frozen, has_history) in any::<(bool, bool, bool)>(),
        (issues, failed, open, refused) in (0_usize..3, 0_usize..3, 0_usize..3, 0_usize..3),
    ) {
        let situation = Situation { holder, is_awaited, issues, failed, open, refused, is_frozen, has_history };
        let standing = standing(&situation);
        let is_well = matches!(standing, Standing::UpToDate | Standing::NeverStarted);
        prop_assert_eq!(is_well, holder != Holder::Live && issues + failed + open + refused == 0);
        // Nobody is called to a change that a living runner is at.
        if holder == Holder::Live {
            prop_assert!(matches!(standing, Standing::Running | Standing::Waiting));
        } else {
            prop_assert_eq!(standing == Standing::NeedsPerson, issues > 0);
        }
    }
}

#[test]
fn only_the_very_same_decision_is_a_repetition() {
    let made = Made {
        state: AuditState::MarkedApplied,
        actor: "token:7 (mara)",
        reason: "looked",
        about: 12,
    };
    let mara = "token:7 (mara)";
    assert!(repeats(&made, Resolution::Applied, 12, mara, "looked"));
    assert!(!repeats(&made, Resolution::RolledBack, 12, mara, "looked"));
    assert!(!repeats(&made, Resolution::Applied, 11, mara, "looked"));
    assert!(!repeats(&made, Resolution::Applied, 13, mara, "looked"));
    assert!(!repeats(
        &made,
        Resolution::Applied,
        12,
        "token:8 (tom)",
        "looked"
    ));
    assert!(!repeats(&made, Resolution::Applied, 12, mara, "looked again"));
}

const ACTIVITIES: &str = "
| holds  | another holds | told to wait | parked | silent for | activity | guess |
| ------ | ------------- | ------------ | ------ | ---------- | -------- | ----- |
| live   | no            | no           | no     | 500        | Working  | no    |
| live   | no            | yes          | no     | 1          | Working  | no    |
| silent | no            | no           | no     | 70         | Silent   | no    |
| none   | yes           | yes          | yes    | 40         | Waiting  | no    |
| none   | yes           | yes          | no     | 14         | Waiting  | yes   |
| none   | yes           | yes          | no     | 15         | Seen     | no    |
| none   | yes           | no           | yes    | 1          | Seen     | no    |
| none   | no            | yes          | yes    | 1          | Seen     | no    |
| none   | no            | no           | no     | 1          | Seen     | no    |
";

#[test]
fn every_row_of_the_activity_table_holds() {
    for row in &rows(ACTIVITIES)[1..] {
        let [holds, locked_out, told, parked, silent, does, guess] = row.cells[..] else {
            panic!("seven cells: {}", row.line)
        };
        let found: (Activity, bool) = activity(&Presence {
            holder: match holds {
                "none" => Holder::None,
                "live" => Holder::Live,
                _ => Holder::Silent,
            },
            is_locked_out: locked_out == "yes",
            told_to_wait: told == "yes",
            is_parked: parked == "yes",
            silent_for: Duration::from_secs(silent.parse().expect("seconds")),
        });
        assert_eq!(format!("{:?}", found.0), does, "{}", row.line);
        assert_eq!(found.1, guess == "yes", "{}", row.line);
    }
}
