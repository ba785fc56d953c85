//! Who is told of what.

use flamingock_domain::access::{Reach, Role};

/// Where something happened; what lies above is known too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Site {
    pub project_id: Option<i64>,
    pub environment_id: Option<i64>,
    pub service_id: Option<i64>,
}

/// What a listener asked for, within an organisation.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Wanted {
    pub environment_id: Option<i64>,
    pub service_id: Option<i64>,
}

/// What a listener is told of: what it asked for, as far as its credential reaches.
#[derive(Clone, Debug)]
pub struct Sight {
    pub reach: Reach,
    pub role: Role,
    pub wanted: Wanted,
}

impl Sight {
    /// Whether the listener is told of something there. `is_action`: it is an entry of the log of admin actions.
    pub fn covers(&self, site: Site, is_action: bool) -> bool {
        let asked = |wanted: Option<i64>, there: Option<i64>| wanted.is_none() || wanted == there;
        // What lies above everything that the credential reaches is not within its reach.
        let listed = |limit: Option<&[i64]>, there: Option<i64>| {
            limit.is_none_or(|limit| there.is_some_and(|id| limit.contains(&id)))
        };
        let reach = &self.reach;
        asked(self.wanted.environment_id, site.environment_id)
            && asked(self.wanted.service_id, site.service_id)
            && reach
                .project
                .is_none_or(|project| site.project_id == Some(project))
            && listed(reach.environments.as_deref(), site.environment_id)
            && listed(reach.services.as_deref(), site.service_id)
            // As the log itself: for administrators.
            && (!is_action || self.role.may_administer())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sight(
        role: Role,
        project: Option<i64>,
        environments: Option<&[i64]>,
        services: Option<&[i64]>,
    ) -> Sight {
        Sight {
            reach: Reach {
                organisation: Some(1),
                project,
                environments: environments.map(<[i64]>::to_vec),
                services: services.map(<[i64]>::to_vec),
            },
            role,
            wanted: Wanted::default(),
        }
    }

    fn site(project: i64, environment: i64, service: i64) -> Site {
        Site {
            project_id: Some(project),
            environment_id: Some(environment),
            service_id: Some(service),
        }
    }

    const ORGANISATION: Site = Site {
        project_id: None,
        environment_id: None,
        service_id: None,
    };

    #[test]
    fn a_credential_is_told_of_what_it_reaches_and_of_nothing_else() {
        let narrow = sight(Role::Viewer, Some(10), Some(&[20, 21]), Some(&[30]));
        for (there, expected) in [
            (site(10, 20, 30), true),
            (site(10, 21, 30), true),
            (site(11, 20, 30), false),
            (site(10, 22, 30), false),
            (site(10, 20, 31), false),
            (ORGANISATION, false),
        ] {
            assert_eq!(narrow.covers(there, false), expected, "{there:?}");
        }
        let wide = sight(Role::Viewer, None, None, None);
        assert!(wide.covers(site(11, 22, 99), false));
        let project = sight(Role::Viewer, Some(10), None, None);
        assert!(
            project.covers(site(10, 20, 99), false),
            "a service that came later"
        );
        assert!(!project.covers(site(11, 20, 99), false));
    }

    #[test]
    fn a_listener_is_told_of_what_it_asked_for() {
        let of = |environment_id, service_id| Sight {
            wanted: Wanted {
                environment_id,
                service_id,
            },
            ..sight(Role::Viewer, None, None, None)
        };
        assert!(of(Some(20), None).covers(site(10, 20, 30), false));
        assert!(!of(Some(21), None).covers(site(10, 20, 30), false));
        assert!(of(Some(20), Some(30)).covers(site(10, 20, 30), false));
        assert!(!of(Some(20), Some(31)).covers(site(10, 20, 30), false));
        assert!(!of(Some(20), None).covers(ORGANISATION, false));
    }

    #[test]
    fn admin_actions_are_told_to_administrators_within_their_reach() {
        for role in Role::ALL {
            let expected = matches!(role, Role::Admin | Role::Root);
            let wide = sight(role, None, None, None);
            assert_eq!(wide.covers(site(10, 20, 30), true), expected, "{role}");
        }
        let of_project = sight(Role::Admin, Some(10), None, None);
        assert!(of_project.covers(site(10, 20, 30), true));
        assert!(!of_project.covers(site(11, 20, 30), true));
        assert!(!of_project.covers(ORGANISATION, true));
    }
}
