//! Who sees what, who may change what, and that nobody hands on more than they have.

use flamingock_domain::access::{Excess, Reach, Role, Unit, may_hand_on};
use proptest::prelude::*;

const ACME: i64 = 1;
const PAYMENTS: i64 = 10;
const PRODUCTION: i64 = 100;
const BILLING: i64 = 1_000;

fn organisation(id: i64) -> Unit {
    Unit::Organisation { id }
}

fn project(id: i64, organisation: i64) -> Unit {
    Unit::Project { id, organisation }
}

fn environment(id: i64) -> Unit {
    Unit::Environment {
        id,
        project: PAYMENTS,
        organisation: ACME,
    }
}

fn service(id: i64) -> Unit {
    Unit::Service {
        id,
        project: PAYMENTS,
        organisation: ACME,
    }
}

fn reach(
    organisation: Option<i64>,
    project: Option<i64>,
    environments: Option<&[i64]>,
    services: Option<&[i64]>,
) -> Reach {
    Reach {
        organisation,
        project,
        environments: environments.map(<[i64]>::to_vec),
        services: services.map(<[i64]>::to_vec),
    }
}

#[test]
fn what_a_credential_sees_and_what_it_may_change() {
    let root = Reach::everything();
    let acme = reach(Some(ACME), None, None, None);
    let payments = reach(Some(ACME), Some(PAYMENTS), None, None);
    let production = reach(Some(ACME), Some(PAYMENTS), Some(&[PRODUCTION]), None);
    let billing = reach(Some(ACME), Some(PAYMENTS), None, Some(&[BILLING]));
    let both = reach(Some(ACME), Some(PAYMENTS), Some(&[PRODUCTION]), Some(&[BILLING]));
    let other = reach(Some(2), None, None, None);
    #[rustfmt::skip]
    let table = [
        // credential  unit                        sees   may change
        (&root,        organisation(ACME),         true,  true),
        (&root,        environment(PRODUCTION),    true,  true),
        (&acme,        organisation(ACME),         true,  true),
        (&acme,        organisation(2),            false, false),
        (&acme,        project(PAYMENTS, ACME),    true,  true),
        (&acme,        project(20, 2),             false, false),
        (&acme,        service(BILLING),           true,  true),
        (&payments,    organisation(ACME),         true,  false),
        (&payments,    project(PAYMENTS, ACME),    true,  true),
        (&payments,    project(11, ACME),          false, false),
        (&payments,    environment(PRODUCTION),    true,  true),
        (&production,  project(PAYMENTS, ACME),    true,  false),
        (&production,  environment(PRODUCTION),    true,  true),
        (&production,  environment(101),           false, false),
        // A service is in every environment, and this credential reaches one.
        (&production,  service(BILLING),           true,  false),
        (&billing,     service(BILLING),           true,  true),
        (&billing,     service(1_001),             false, false),
        // Every service is in an environment.
        (&billing,     environment(PRODUCTION),    true,  false),
        (&both,        environment(PRODUCTION),    true,  false),
        (&both,        service(BILLING),           true,  false),
        (&other,       project(PAYMENTS, ACME),    false, false),
        (&other,       environment(PRODUCTION),    false, false),
        (&other,       service(BILLING),           false, false),
    ];
    for (reach, unit, sees, holds) in table {
        assert_eq!(reach.sees(unit), sees, "{reach:?} sees {unit:?}");
        assert_eq!(reach.holds(unit), holds, "{reach:?} may change {unit:?}");
    }
    #[rustfmt::skip]
    let new = [
        // credential  environments  services
        (&acme,        true,         true),
        (&payments,    true,         true),
        (&production,  false,        true),
        (&billing,     true,         false),
        (&both,        false,        false),
        (&other,       false,        false),
    ];
    for (reach, environments, services) in new {
        assert_eq!(
            reach.holds_new_environments(PAYMENTS, ACME),
            environments,
            "{reach:?}"
        );
        assert_eq!(reach.holds_new_services(PAYMENTS, ACME), services, "{reach:?}");
    }
}

#[test]
fn nobody_hands_on_a_wider_role_or_reach_than_their_own() {
    let acme = reach(Some(ACME), None, None, None);
    let payments = reach(Some(ACME), Some(PAYMENTS), None, None);
    let production = reach(Some(ACME), Some(PAYMENTS), Some(&[PRODUCTION]), None);
    let two = reach(Some(ACME), Some(PAYMENTS), Some(&[PRODUCTION, 101]), None);
    let billing = reach(Some(ACME), Some(PAYMENTS), None, Some(&[BILLING]));
    #[rustfmt::skip]
    let table = [
        (Role::Root,     &Reach::everything(), Role::Root,     &Reach::everything(), Ok(())),
        (Role::Root,     &Reach::everything(), Role::Admin,    &acme,       Ok(())),
        (Role::Admin,    &acme,                Role::Root,     &Reach::everything(), Err(Excess::Role)),
        (Role::Admin,    &acme,                Role::Admin,    &acme,       Ok(())),
        (Role::Admin,    &acme,                Role::Runner,   &production, Ok(())),
        (Role::Admin,    &acme,                Role::Viewer,   &reach(Some(2), None, None, None), Err(Excess::Organisation)),
        (Role::Admin,    &payments,            Role::Viewer,   &acme,       Err(Excess::Project)),
        (Role::Admin,    &payments,            Role::Viewer,   &reach(Some(ACME), Some(11), None, None), Err(Excess::Project)),
        (Role::Admin,    &payments,            Role::Admin,    &payments,   Ok(())),
        (Role::Admin,    &production,          Role::Runner,   &payments,   Err(Excess::Environments)),
        (Role::Admin,    &production,          Role::Runner,   &two,        Err(Excess::Environments)),
        (Role::Admin,    &two,                 Role::Runner,   &production, Ok(())),
        (Role::Admin,    &billing,             Role::Runner,   &payments,   Err(Excess::Services)),
        (Role::Operator, &acme,                Role::Viewer,   &acme,       Err(Excess::Role)),
        (Role::Runner,   &payments,            Role::Runner,   &payments,   Err(Excess::Role)),
    ];
    for (role, own, asked_role, asked, expected) in table {
        assert_eq!(
            may_hand_on(role, own, asked_role, asked),
            expected,
            "{role} with {own:?} hands on {asked_role} with {asked:?}"
        );
    }
}

fn any_reach() -> impl Strategy<Value = Reach> {
    let list = || prop::option::of(prop::collection::vec(1_i64..4, 1..3));
    (
        prop::option::of(1_i64..3),
        prop::option::of(1_i64..3),
        list(),
        list(),
    )
        .prop_map(|(organisation, project, environments, services)| Reach {
            organisation,
            // As the database has it: a project is in an organisation, lists are a project's.
            project: organisation.and(project),
            environments: organisation.and(project).and(environments),
            services: organisation.and(project).and(services),
        })
}

proptest! {
    /// The law behind the table: whoever receives a credential sees nothing, and may change nothing, that its maker could not.
    #[test]
    fn what_is_handed_on_reaches_no_further(
        own in any_reach(), asked in any_reach(), id in 1_i64..4, project in 1_i64..3, organisation in 1_i64..3,
    ) {
        prop_assume!(may_hand_on(Role::Admin, &own, Role::Admin, &asked).is_ok());
        for unit in [
            Unit::Organisation { id: organisation },
            Unit::Project { id: project, organisation },
            Unit::Environment { id, project, organisation },
            Unit::Service { id, project, organisation },
        ] {
            prop_assert!(!asked.sees(unit) || own.sees(unit), "{unit:?}");
            prop_assert!(!asked.holds(unit) || own.holds(unit), "{unit:?}");
        }
        prop_assert!(
            !asked.holds_new_environments(project, organisation) || own.holds_new_environments(project, organisation)
        );
        prop_assert!(!asked.holds_new_services(project, organisation) || own.holds_new_services(project, organisation));
    }
}
