//! From names to numbers: projects, environments and services within the token's reach.

mod units;

use std::fmt;

use flamingock::admin::{Admin, Archived, ServiceScope, UnitQuery};
use flamingock::wire::identity::{IdentityView, NamedId, ReachableProject};

use crate::failure::Failure;
use crate::{near, text};
use units::{Unit, all, find, unknown};

/// What was named on the command line or by the profile.
#[derive(Debug, Default)]
pub struct Wanted {
    pub organisation: Option<String>,
    pub project: Option<String>,
    pub environment: Option<String>,
    pub service: Option<String>,
}

#[derive(Clone, Debug)]
pub struct Named {
    pub id: i64,
    pub name: String,
}

/// A service in an environment.
#[derive(Clone, Debug)]
pub struct Service {
    pub scope: ServiceScope,
    pub organisation: String,
    pub project: String,
    pub environment: String,
    pub name: String,
}

impl fmt::Display for Service {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} in {}",
            text::safe(&self.name, false),
            text::safe(&self.environment, false)
        )
    }
}

/// The one service in the one environment that was named.
pub async fn service(admin: &Admin, wanted: &Wanted) -> Result<Service, Failure> {
    let environment = named(wanted.environment.as_deref(), "environment")?;
    let service = named(wanted.service.as_deref(), "service")?;
    let identity = admin.identity().await?;
    let projects = projects(&identity, wanted)?;
    let mut found = Vec::new();
    let mut with_environment = Vec::new();
    for project in &projects {
        let environments = find(admin, &identity, project, Unit::Environment, environment).await?;
        if environments.is_empty() {
            continue;
        }
        with_environment.push(*project);
        let services = find(admin, &identity, project, Unit::Service, service).await?;
        for environment in &environments {
            found.extend(
                services
                    .iter()
                    .map(|service| (*project, pair(project, environment, service))),
            );
        }
    }
    let what = format!("service {service} in an environment {environment}");
    if found.is_empty() && with_environment.is_empty() {
        return Err(unknown(&what, Unit::Environment, environment, &projects));
    }
    if found.is_empty() {
        return Err(unknown(&what, Unit::Service, service, &with_environment));
    }
    one(found, &what)
}

/// The one environment that was named.
pub async fn environment(admin: &Admin, wanted: &Wanted) -> Result<Named, Failure> {
    let name = named(wanted.environment.as_deref(), "environment")?;
    unit(admin, wanted, Unit::Environment, name).await
}

async fn unit(admin: &Admin, wanted: &Wanted, unit: Unit, name: &str) -> Result<Named, Failure> {
    let identity = admin.identity().await?;
    let projects = projects(&identity, wanted)?;
    let mut found = Vec::new();
    for project in &projects {
        let units = find(admin, &identity, project, unit, name).await?;
        found.extend(units.into_iter().map(|unit| {
            let named = Named {
                id: unit.id,
                name: unit.name,
            };
            (*project, named)
        }));
    }
    let what = format!("{} {name}", unit.word());
    if found.is_empty() {
        return Err(unknown(&what, unit, name, &projects));
    }
    one(found, &what)
}

/// Whether everything that was named is there, and is one thing only: what is stored unseen fails in every later command.
pub async fn check(admin: &Admin, wanted: &Wanted) -> Result<(), Failure> {
    if let (Some(_), Some(_)) = (&wanted.environment, &wanted.service) {
        service(admin, wanted).await?;
    } else if wanted.environment.is_some() {
        environment(admin, wanted).await?;
    } else if let Some(name) = &wanted.service {
        unit(admin, wanted, Unit::Service, name).await?;
    } else if wanted.project.is_some() {
        project(&admin.identity().await?, wanted)?;
    } else if let Some(name) = &wanted.organisation {
        organisation(admin, Some(name)).await?;
    }
    Ok(())
}

/// The one project that was named, or the only one within reach.
pub fn project<'a>(identity: &'a IdentityView, wanted: &Wanted) -> Result<&'a ReachableProject, Failure> {
    let found = projects(identity, wanted)?;
    match found.as_slice() {
        [project] => Ok(project),
        [] => Err(Failure::failed("no project is within the token's reach")),
        several => Err(Failure::usage("name the project with --project").hint(format!(
            "within reach: {}",
            several
                .iter()
                .map(|project| format!("{}/{}", project.organisation.name, project.name))
                .collect::<Vec<_>>()
                .join(", ")
        ))),
    }
}

/// The one organisation that was named, or the only one within reach.
pub async fn organisation(admin: &Admin, name: Option<&str>) -> Result<Named, Failure> {
    let identity = admin.identity().await?;
    let own = identity.organisation.map(|one| Named {
        id: one.id,
        name: one.name,
    });
    match (own, name) {
        (Some(own), None) => Ok(own),
        (Some(own), Some(name)) if is(name, &own.name, own.id) => Ok(own),
        (Some(own), Some(name)) => Err(not_found_near(
            &format!("organisation {name}"),
            name,
            [own.name.as_str()],
        )),
        (None, None) => Err(Failure::usage("name the organisation with --organisation")
            .hint("`flamingock organisation list` shows them")),
        (None, Some(name)) => {
            let query = UnitQuery {
                name: Some(name.to_owned()),
                archived: Archived::Any,
                ..UnitQuery::default()
            };
            let page = admin.organisations().list(&query).await?;
            let found = match (page.organisations.into_iter().next(), name.parse()) {
                (Some(found), _) => found,
                (None, Ok(number)) => admin.organisations().view(number).await?,
                (None, Err(_)) => {
                    let known = identity
                        .projects
                        .iter()
                        .map(|project| project.organisation.name.as_str());
                    return Err(not_found_near(&format!("organisation {name}"), name, known));
                }
            };
            Ok(Named {
                id: found.organisation_id,
                name: found.name,
            })
        }
    }
}

/// Numbers of environments of a project.
pub async fn environments_of(
    admin: &Admin,
    identity: &IdentityView,
    project: &ReachableProject,
    names: &[String],
) -> Result<Vec<i64>, Failure> {
    numbers(admin, identity, project, Unit::Environment, names).await
}

/// Numbers of services of a project.
pub async fn services_of(
    admin: &Admin,
    identity: &IdentityView,
    project: &ReachableProject,
    names: &[String],
) -> Result<Vec<i64>, Failure> {
    numbers(admin, identity, project, Unit::Service, names).await
}

async fn numbers(
    admin: &Admin,
    identity: &IdentityView,
    project: &ReachableProject,
    unit: Unit,
    names: &[String],
) -> Result<Vec<i64>, Failure> {
    let mut ids = Vec::with_capacity(names.len());
    for name in names {
        let found = find(admin, identity, project, unit, name).await?;
        let [found] = found.as_slice() else {
            let what = format!("{} {name} in project {}", unit.word(), project.name);
            return Err(unknown(&what, unit, name, &[project]));
        };
        ids.push(found.id);
    }
    Ok(ids)
}

/// Every service in every environment within reach that fits what was named.
pub async fn services(admin: &Admin, wanted: &Wanted) -> Result<Vec<Service>, Failure> {
    let identity = admin.identity().await?;
    let mut found = Vec::new();
    let (mut environment_known, mut service_known) = (false, false);
    let projects = projects(&identity, wanted)?;
    for project in projects.iter().copied() {
        let environments = all(
            admin,
            &identity,
            project,
            Unit::Environment,
            wanted.environment.as_deref(),
        )
        .await?;
        let services = all(
            admin,
            &identity,
            project,
            Unit::Service,
            wanted.service.as_deref(),
        )
        .await?;
        environment_known |= !environments.is_empty();
        service_known |= !services.is_empty();
        for environment in &environments {
            found.extend(services.iter().map(|service| pair(project, environment, service)));
        }
    }
    // A mistyped name must not look like an environment in which all is well.
    match (wanted.environment.as_deref(), wanted.service.as_deref()) {
        (Some(name), _) if !environment_known => {
            let what = format!("environment {name}");
            Err(unknown(&what, Unit::Environment, name, &projects))
        }
        (_, Some(name)) if !service_known => Err(unknown(
            &format!("service {name}"),
            Unit::Service,
            name,
            &projects,
        )),
        _ => Ok(found),
    }
}

fn pair(project: &ReachableProject, environment: &NamedId, service: &NamedId) -> Service {
    Service {
        organisation: project.organisation.name.clone(),
        project: project.name.clone(),
        scope: ServiceScope {
            environment_id: environment.id,
            service_id: service.id,
        },
        environment: environment.name.clone(),
        name: service.name.clone(),
    }
}

fn named<'a>(name: Option<&'a str>, what: &str) -> Result<&'a str, Failure> {
    name.ok_or_else(|| {
        Failure::usage(format!("no {what} is named")).hint(format!(
            "--{what} NAME names it; `flamingock login --{what} NAME` stores it in the profile"
        ))
    })
}

fn projects<'a>(identity: &'a IdentityView, wanted: &Wanted) -> Result<Vec<&'a ReachableProject>, Failure> {
    // `whoami` shows projects as organisation/project, and so it is taken here.
    let (organisation, project) = match wanted.project.as_deref().map(|name| (name, name.split_once('/'))) {
        Some((name, Some((organisation, project))))
            if !identity
                .projects
                .iter()
                .any(|project| is(name, &project.name, project.project_id)) =>
        {
            (Some(organisation), Some(project))
        }
        Some((name, _)) => (wanted.organisation.as_deref(), Some(name)),
        None => (wanted.organisation.as_deref(), None),
    };
    let of_organisation: Vec<_> = identity
        .projects
        .iter()
        .filter(|reachable| {
            organisation.is_none_or(|name| is(name, &reachable.organisation.name, reachable.organisation.id))
        })
        .collect();
    if let (Some(organisation), true) = (organisation, of_organisation.is_empty()) {
        let known = identity
            .projects
            .iter()
            .map(|project| project.organisation.name.as_str());
        return Err(not_found_near(
            &format!("project of an organisation {organisation}"),
            organisation,
            known,
        ));
    }
    let Some(name) = project else {
        return Ok(of_organisation);
    };
    let found: Vec<_> = of_organisation
        .into_iter()
        .filter(|project| is(name, &project.name, project.project_id))
        .collect();
    if found.is_empty() {
        let known = identity.projects.iter().map(|project| project.name.as_str());
        return Err(not_found_near(&format!("project {name}"), name, known));
    }
    Ok(found)
}

fn is(wanted: &str, name: &str, id: i64) -> bool {
    wanted == name || wanted == id.to_string()
}

fn one<T>(found: Vec<(&ReachableProject, T)>, what: &str) -> Result<T, Failure> {
    let several = found.len() > 1;
    let mut projects: Vec<String> = found
        .iter()
        .map(|(project, _)| format!("{}/{}", project.organisation.name, project.name))
        .collect();
    projects.dedup();
    let projects = projects.join(", ");
    match found.into_iter().next() {
        Some((_, found)) if !several => Ok(found),
        Some(_) => Err(
            Failure::usage(format!("there is more than one {what}: in {projects}")).hint(
                "name the project with --project ORGANISATION/PROJECT, or give the numbers that --json shows",
            ),
        ),
        None => Err(not_found(what)),
    }
}

fn not_found(what: &str) -> Failure {
    Failure::failed(format!("no {what} is within the token's reach"))
        .hint("`flamingock whoami` shows what is within reach")
}

fn not_found_near<'a>(what: &str, written: &str, known: impl IntoIterator<Item = &'a str>) -> Failure {
    let failure = not_found(what);
    match near::hint(written, known) {
        Some(hint) => failure.hint(hint),
        None => failure,
    }
}
