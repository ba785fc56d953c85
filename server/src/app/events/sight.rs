//! Who is told of what.

use crate::app::auth::{Caller, Role};

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

/// Whether a listener is told of something there. `is_action`: it is an entry of the log of admin actions.
pub fn sees(caller: &Caller, wanted: Wanted, site: Site, is_action: bool) -> bool {
    let (role, project, environments, services) = match caller {
        Caller::Session(session) => (
            session.role,
            Some(session.project_id),
            Some(std::slice::from_ref(&session.environment_id)),
            Some(std::slice::from_ref(&session.service_id)),
        ),
        Caller::Token(holder) => (
            holder.role,
            holder.project_id,
            holder.environment_ids.as_deref(),
            holder.service_ids.as_deref(),
        ),
    };
    let asked = |wanted: Option<i64>, there: Option<i64>| wanted.is_none() || wanted == there;
    // What lies above everything that the credential reaches is not within its reach.
    let listed = |limit: Option<&[i64]>, there: Option<i64>| {
        limit.is_none_or(|limit| there.is_some_and(|id| limit.contains(&id)))
    };
    asked(wanted.environment_id, site.environment_id)
        && asked(wanted.service_id, site.service_id)
        && project.is_none_or(|project| site.project_id == Some(project))
        && listed(environments, site.environment_id)
        && listed(services, site.service_id)
        && (!is_action || may_see_actions(role))
}

fn may_see_actions(role: Role) -> bool {
    role.may_administer()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::app::auth::TokenHolder;

    fn token(
        role: Role,
        project: Option<i64>,
        environments: Option<&[i64]>,
        services: Option<&[i64]>,
    ) -> Caller {
        Caller::Token(Arc::new(TokenHolder {
            credential_id: 1,
            name: "t".to_owned(),
            role,
            organisation_id: Some(1),
            project_id: project,
            environment_ids: environments.map(<[i64]>::to_vec),
            service_ids: services.map(<[i64]>::to_vec),
        }))
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
        let all = Wanted::default();
        let narrow = token(Role::Viewer, Some(10), Some(&[20, 21]), Some(&[30]));
        for (there, expected) in [
            (site(10, 20, 30), true),
            (site(10, 21, 30), true),
            (site(11, 20, 30), false),
            (site(10, 22, 30), false),
            (site(10, 20, 31), false),
            (ORGANISATION, false),
        ] {
            assert_eq!(sees(&narrow, all, there, false), expected, "{there:?}");
        }
        let wide = token(Role::Viewer, None, None, None);
        assert!(sees(&wide, all, site(11, 22, 99), false));
        let project = token(Role::Viewer, Some(10), None, None);
        assert!(
            sees(&project, all, site(10, 20, 99), false),
            "a service that came later"
        );
        assert!(!sees(&project, all, site(11, 20, 99), false));
    }

    #[test]
    fn a_listener_is_told_of_what_it_asked_for() {
        let wide = token(Role::Viewer, None, None, None);
        let of = |environment_id, service_id| Wanted {
            environment_id,
            service_id,
        };
        assert!(sees(&wide, of(Some(20), None), site(10, 20, 30), false));
        assert!(!sees(&wide, of(Some(21), None), site(10, 20, 30), false));
        assert!(sees(&wide, of(Some(20), Some(30)), site(10, 20, 30), false));
        assert!(!sees(&wide, of(Some(20), Some(31)), site(10, 20, 30), false));
        assert!(!sees(&wide, of(Some(20), None), ORGANISATION, false));
    }

    #[test]
    fn admin_actions_are_told_to_administrators_within_their_reach() {
        let all = Wanted::default();
        for role in Role::ALL {
            let expected = matches!(role, Role::Admin | Role::Root);
            assert_eq!(
                sees(&token(role, None, None, None), all, site(10, 20, 30), true),
                expected,
                "{role}"
            );
        }
        let of_project = token(Role::Admin, Some(10), None, None);
        assert!(sees(&of_project, all, site(10, 20, 30), true));
        assert!(!sees(&of_project, all, site(11, 20, 30), true));
        assert!(!sees(&of_project, all, ORGANISATION, true));
    }
}
