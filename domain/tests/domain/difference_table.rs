//! What two environments make of a change, each pair of states once.

use flamingock_domain::audit::AuditState;
use flamingock_domain::audit::AuditState::{
    Applied, Failed, MarkedApplied, MarkedRolledBack, RollbackFailed, RolledBack, Started, Unknown,
};
use flamingock_domain::audit::difference::{Difference, Standing, difference};

fn standing(state: AuditState, checksum: Option<&str>) -> Standing<'_> {
    Standing { state, checksum }
}

#[test]
fn states_differ_where_they_do_not_come_to_the_same() {
    let alike: &[&[AuditState]] = &[
        &[Applied, MarkedApplied],
        &[RolledBack, MarkedRolledBack],
        &[Started],
        &[Failed],
        &[RollbackFailed],
    ];
    let all: Vec<AuditState> = AuditState::ALL.into_iter().chain([Unknown]).collect();
    for here in &all {
        for there in &all {
            let same = alike
                .iter()
                .any(|group| group.contains(here) && group.contains(there));
            let found = difference(Some(standing(*here, None)), Some(standing(*there, None)));
            assert_eq!(found, (!same).then_some(Difference::State), "{here:?} {there:?}");
        }
    }
}

#[test]
fn a_change_that_one_environment_lacks_is_named_by_who_has_it() {
    let some = Some(standing(Applied, Some("a")));
    assert_eq!(difference(some, None), Some(Difference::OnlyHere));
    assert_eq!(difference(None, some), Some(Difference::OnlyThere));
    assert_eq!(difference(None, None), None);
}

#[test]
fn checksums_differ_only_where_both_are_known_and_both_are_in_effect() {
    let judged = |here, there| difference(Some(here), Some(there));
    assert_eq!(
        judged(standing(Applied, Some("a")), standing(MarkedApplied, Some("b"))),
        Some(Difference::Checksum)
    );
    assert_eq!(
        judged(standing(Applied, Some("a")), standing(Applied, Some("a"))),
        None
    );
    assert_eq!(
        judged(standing(Applied, Some("a")), standing(Applied, None)),
        None
    );
    assert_eq!(
        judged(standing(RolledBack, Some("a")), standing(RolledBack, Some("b"))),
        None
    );
    assert_eq!(
        judged(standing(Applied, Some("a")), standing(Failed, Some("b"))),
        Some(Difference::State)
    );
}
