//! What changes say that they depend on.
//!
//! A dependency asks for nothing that the order does not give: it names what has to be there, so that a later edit of the
//! pipeline cannot lose it unseen. That it comes earlier also rules out every circle.

use std::collections::HashMap;

use super::Problem;
use crate::{change::ChangeInfo, stage::Stage};

/// The stages are in the order in which they run, and so are their changes.
pub(super) fn check(stages: &[Stage], profiles: &[String], problems: &mut Vec<Problem>) {
    let all = || {
        let in_stages = stages.iter().flat_map(|stage| {
            let name = &*stage.name;
            stage.changes.iter().map(move |change| (name, &*change.info))
        });
        in_stages.enumerate()
    };
    if all().all(|(_, (_, info))| info.depends_on.is_empty()) {
        return;
    }
    let mut places: HashMap<&str, (usize, &str, &ChangeInfo)> = HashMap::new();
    for (position, (stage, info)) in all() {
        places.entry(info.id()).or_insert((position, stage, info));
    }
    // A change that could not be read is not one that does not exist.
    let is_complete = stages.iter().all(|stage| !stage.is_incomplete);
    for (position, (_, info)) in all() {
        for id in &info.depends_on {
            let obstacle = match places.get(&**id) {
                None if !is_complete => continue,
                None => "which is not in the pipeline".to_owned(),
                Some(_) if **id == *info.id() => "which is itself".to_owned(),
                Some((other, stage, _)) if *other > position => {
                    format!(
                        "which comes later, in stage `{stage}`: give one of them another order, or another stage"
                    )
                }
                Some((_, _, other)) if info.is_active(profiles) && !other.is_active(profiles) => {
                    "which the active profiles leave out".to_owned()
                }
                Some(_) => continue,
            };
            problems.push(Problem::Dependency {
                change: info.label(),
                depends_on: id.to_string(),
                obstacle,
            });
        }
    }
}
