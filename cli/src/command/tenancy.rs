//! Organisations, projects, environments and services.

use chrono::{DateTime, Utc};
use clap::{Args, Subcommand, ValueEnum};
use flamingock::Error;
use flamingock::admin::{Admin, Archived, PageQuery, UnitQuery};
use flamingock::wire::tenancy::{
    EnvironmentCreateRequest, EnvironmentUpdateRequest, EnvironmentView, OrganisationCreateRequest,
    OrganisationUpdateRequest, OrganisationView, ProjectCreateRequest, ProjectUpdateRequest, ProjectView,
    ServiceCreateRequest, ServiceUpdateRequest, ServiceView,
};
use serde::Serialize;

use crate::args::Paging;
use crate::context::Context;
use crate::failure::{Exit, Failure, Outcome};
use crate::output::{DIM, GOOD, Output};
use crate::table::{Cell, Table};
use crate::{near, paging, prompt, reach, text, time};

/// What can be done with each of them.
#[derive(Debug, Subcommand)]
pub enum Units<C: Args, S: Args> {
    /// Those within reach, by name
    #[command(visible_alias = "ls")]
    List(List),
    /// Make one
    Create(C),
    /// Give it another name; the old one still leads to it, and nothing else can have it
    Rename(Rename),
    /// No new session and no new plan; what runs may still report, and all history stays
    Archive(Archive),
    /// Take it back into use
    Unarchive(Archive),
    /// Change its settings, or give up former names
    Set(S),
}

#[derive(Debug, Args)]
pub struct List {
    /// Exactly this name, present or former
    #[arg(long)]
    name: Option<String>,
    /// Which by whether they are archived
    #[arg(long, value_enum, default_value = "no")]
    archived: Which,
    #[command(flatten)]
    paging: Paging,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Which {
    No,
    Only,
    Any,
}

#[derive(Debug, Args)]
pub struct Rename {
    /// By name or number
    which: String,
    /// The new name
    name: String,
    /// Why; kept for good
    #[arg(long)]
    reason: Option<String>,
}

#[derive(Debug, Args)]
pub struct Archive {
    /// By name or number
    which: String,
    /// Why; kept for good
    #[arg(long)]
    reason: Option<String>,
}

#[derive(Debug, Args)]
pub struct Create {
    /// Its name
    name: String,
    /// Why; kept for good
    #[arg(long)]
    reason: Option<String>,
}

#[derive(Debug, Args)]
pub struct CreateProject {
    /// Its name
    name: String,
    /// Unknown services register themselves at their first start
    #[arg(long)]
    self_register_services: bool,
    /// Why; kept for good
    #[arg(long)]
    reason: Option<String>,
}

#[derive(Debug, Args)]
pub struct CreateEnvironment {
    /// Its name
    name: String,
    /// An absent marker proves that a transactional change did not commit
    #[arg(long)]
    trust_absent_marks: bool,
    /// Why; kept for good
    #[arg(long)]
    reason: Option<String>,
}

#[derive(Debug, Args)]
pub struct Set {
    /// By name or number
    which: String,
    /// A former name to give up: an application that still starts under it does not find its history any more
    #[arg(long, required = true, value_name = "NAME")]
    release_former_name: Vec<String>,
    /// Why; kept for good
    #[arg(long)]
    reason: Option<String>,
}

#[derive(Debug, Args)]
pub struct SetProject {
    /// By name or number
    which: String,
    /// Unknown services register themselves at their first start
    #[arg(long, value_name = "true|false", action = clap::ArgAction::Set)]
    self_register_services: Option<bool>,
    /// A former name to give up: an application that still starts under it does not find its history any more
    #[arg(long, value_name = "NAME")]
    release_former_name: Vec<String>,
    /// Why; kept for good
    #[arg(long)]
    reason: Option<String>,
}

#[derive(Debug, Args)]
pub struct SetEnvironment {
    /// By name or number
    which: String,
    /// An absent marker proves that a transactional change did not commit
    #[arg(long, value_name = "true|false", action = clap::ArgAction::Set)]
    trust_absent_marks: Option<bool>,
    /// A former name to give up: an application that still starts under it does not find its history any more
    #[arg(long, value_name = "NAME")]
    release_former_name: Vec<String>,
    /// Why; kept for good
    #[arg(long)]
    reason: Option<String>,
}

/// What shall become different, whatever it is done to.
#[derive(Default)]
struct Change {
    name: Option<String>,
    archived: Option<bool>,
    release_former_names: Vec<String>,
    /// The one setting that projects and environments have.
    setting: Option<bool>,
    reason: Option<String>,
}

/// A line of a table: what all of them have in common.
struct Row<'a> {
    id: i64,
    name: &'a str,
    setting: &'static str,
    created_at: DateTime<Utc>,
    archived_at: Option<DateTime<Utc>>,
    former_names: &'a [String],
}

/// One of the four kinds.
trait Kind {
    const WORD: &'static str;
    /// Of a list, on the wire.
    const ITEMS: &'static str;
    type View: Serialize;
    type Create: Args;
    type Set: Args;

    fn row(view: &Self::View) -> Row<'_>;
    /// Where a list is taken from and a new one goes.
    async fn owner(context: &Context, admin: &Admin) -> Result<i64, Failure>;
    async fn list(admin: &Admin, owner: i64, query: &UnitQuery) -> Result<Page<Self::View>, Error>;
    async fn create(admin: &Admin, owner: i64, create: Self::Create) -> Result<Self::View, Error>;
    /// The number of the one that was named: by name, or else by number, of which the server says whether it is within reach.
    async fn find(context: &Context, admin: &Admin, which: &str) -> Result<i64, Failure> {
        let owner = Self::owner(context, admin).await?;
        let (found, _) = Self::list(admin, owner, &archived_or_not(Some(which))).await?;
        match (found.first(), which.parse()) {
            (Some(found), _) => Ok(Self::row(found).id),
            (None, Ok(number)) => Ok(number),
            (None, Err(_)) => {
                let (known, _) = Self::list(admin, owner, &archived_or_not(None)).await?;
                let near = near::hint(which, known.iter().map(|view| Self::row(view).name));
                let failure =
                    Failure::failed(format!("no {} {which} is within the token's reach", Self::WORD));
                Err(failure.hint(near.unwrap_or_else(|| {
                    format!("`flamingock {} list --archived any` shows them", Self::WORD)
                })))
            }
        }
    }
    async fn update(admin: &Admin, id: i64, change: Change) -> Result<Self::View, Error>;
    fn set(set: Self::Set) -> (String, Change);
}

type Page<V> = (Vec<V>, Option<String>);

pub async fn organisations(command: Units<Create, Set>, context: &Context) -> Outcome {
    run::<Organisations>(command, context).await
}

pub async fn projects(command: Units<CreateProject, SetProject>, context: &Context) -> Outcome {
    run::<Projects>(command, context).await
}

pub async fn environments(command: Units<CreateEnvironment, SetEnvironment>, context: &Context) -> Outcome {
    run::<Environments>(command, context).await
}

pub async fn services(command: Units<Create, Set>, context: &Context) -> Outcome {
    run::<Services>(command, context).await
}

async fn run<K: Kind>(command: Units<K::Create, K::Set>, context: &Context) -> Outcome {
    let admin = context.admin()?;
    let (which, change) = match command {
        Units::List(list) => return list.run::<K>(context, &admin).await,
        Units::Create(create) => {
            let owner = K::owner(context, &admin).await?;
            return one::<K>(context.out, &K::create(&admin, owner, create).await?);
        }
        Units::Rename(rename) => {
            let change = Change {
                name: Some(rename.name),
                reason: rename.reason,
                ..Change::default()
            };
            (rename.which, change)
        }
        Units::Archive(archive) => {
            prompt::confirm(
                &format!(
                    "Archive the {} {}? Nothing new starts in it; its history stays.",
                    K::WORD,
                    text::safe(&archive.which, false)
                ),
                context.global.yes,
            )?;
            archive.change(true)
        }
        Units::Unarchive(archive) => archive.change(false),
        Units::Set(set) => K::set(set),
    };
    let id = K::find(context, &admin, &which).await?;
    one::<K>(context.out, &K::update(&admin, id, change).await?)
}

impl List {
    async fn run<K: Kind>(self, context: &Context, admin: &Admin) -> Outcome {
        let owner = K::owner(context, admin).await?;
        let listed = paging::list(&self.paging, async |page| {
            K::list(admin, owner, &self.query(page)).await
        })
        .await?;
        if context.out.is_json() {
            let mut page = serde_json::Map::new();
            page.insert(K::ITEMS.to_owned(), serde_json::json!(listed.items));
            if let Some(next) = listed.next {
                page.insert("next".to_owned(), next.into());
            }
            context.out.json(&page)?;
        } else {
            print::<K>(context.out, &listed.items)?;
            listed.remark(context.out, K::ITEMS);
        }
        Ok(Exit::Ok)
    }

    fn query(&self, page: &PageQuery) -> UnitQuery {
        UnitQuery {
            page: page.clone(),
            name: self.name.clone(),
            archived: match self.archived {
                Which::No => Archived::No,
                Which::Only => Archived::Only,
                Which::Any => Archived::Any,
            },
        }
    }
}

impl Archive {
    fn change(self, archived: bool) -> (String, Change) {
        let change = Change {
            archived: Some(archived),
            reason: self.reason,
            ..Change::default()
        };
        (self.which, change)
    }
}

impl Set {
    fn change(self) -> (String, Change) {
        let change = Change {
            release_former_names: self.release_former_name,
            reason: self.reason,
            ..Change::default()
        };
        (self.which, change)
    }
}

fn one<K: Kind>(out: Output, view: &K::View) -> Outcome {
    if out.is_json() {
        out.json(view)?;
    } else {
        print::<K>(out, std::slice::from_ref(view))?;
    }
    Ok(Exit::Ok)
}

fn print<K: Kind>(out: Output, views: &[K::View]) -> Result<(), Failure> {
    let now = Context::now();
    let mut table = Table::new(&["NUMBER", "NAME", "IN USE", "CREATED", "FORMER NAMES", "SETTINGS"]);
    for row in views.iter().map(K::row) {
        table.row([
            row.id.into(),
            row.name.into(),
            match row.archived_at {
                None => Cell::styled("yes", GOOD),
                Some(at) => Cell::styled(format!("archived {}", time::relative(at, now)), DIM),
            },
            Cell::time(row.created_at, now),
            row.former_names.join(", ").into(),
            row.setting.into(),
        ]);
    }
    out.table(&table, &format!("There is no such {} within reach.", K::WORD))
}

struct Organisations;

impl Kind for Organisations {
    const WORD: &'static str = "organisation";
    const ITEMS: &'static str = "organisations";
    type View = OrganisationView;
    type Create = Create;
    type Set = Set;

    fn row(view: &OrganisationView) -> Row<'_> {
        Row {
            id: view.organisation_id,
            name: &view.name,
            setting: "",
            created_at: view.created_at,
            archived_at: view.archived_at,
            former_names: &view.former_names,
        }
    }

    async fn owner(_: &Context, _: &Admin) -> Result<i64, Failure> {
        Ok(0)
    }

    async fn list(admin: &Admin, _: i64, query: &UnitQuery) -> Result<Page<OrganisationView>, Error> {
        let page = admin.organisations().list(query).await?;
        Ok((page.organisations, page.next))
    }

    async fn create(admin: &Admin, _: i64, create: Create) -> Result<OrganisationView, Error> {
        let request = OrganisationCreateRequest {
            name: create.name,
            reason: create.reason,
        };
        admin.organisations().create(&request).await
    }

    async fn find(_: &Context, admin: &Admin, which: &str) -> Result<i64, Failure> {
        Ok(reach::organisation(admin, Some(which)).await?.id)
    }

    async fn update(admin: &Admin, id: i64, change: Change) -> Result<OrganisationView, Error> {
        let request = OrganisationUpdateRequest {
            name: change.name,
            archived: change.archived,
            release_former_names: change.release_former_names,
            reason: change.reason,
        };
        admin.organisations().update(id, &request).await
    }

    fn set(set: Set) -> (String, Change) {
        set.change()
    }
}

struct Projects;

impl Kind for Projects {
    const WORD: &'static str = "project";
    const ITEMS: &'static str = "projects";
    type View = ProjectView;
    type Create = CreateProject;
    type Set = SetProject;

    fn row(view: &ProjectView) -> Row<'_> {
        Row {
            id: view.project_id,
            name: &view.name,
            setting: if view.self_register_services {
                "services register themselves"
            } else {
                ""
            },
            created_at: view.created_at,
            archived_at: view.archived_at,
            former_names: &view.former_names,
        }
    }

    async fn owner(context: &Context, admin: &Admin) -> Result<i64, Failure> {
        let organisation = reach::organisation(admin, context.organisation()?.as_deref()).await?;
        Ok(organisation.id)
    }

    async fn list(admin: &Admin, owner: i64, query: &UnitQuery) -> Result<Page<ProjectView>, Error> {
        let page = admin.projects().list(owner, query).await?;
        Ok((page.projects, page.next))
    }

    async fn create(admin: &Admin, owner: i64, create: CreateProject) -> Result<ProjectView, Error> {
        let request = ProjectCreateRequest {
            name: create.name,
            self_register_services: Some(create.self_register_services),
            reason: create.reason,
        };
        admin.projects().create(owner, &request).await
    }

    async fn update(admin: &Admin, id: i64, change: Change) -> Result<ProjectView, Error> {
        let request = ProjectUpdateRequest {
            name: change.name,
            self_register_services: change.setting,
            archived: change.archived,
            release_former_names: change.release_former_names,
            reason: change.reason,
        };
        admin.projects().update(id, &request).await
    }

    fn set(set: SetProject) -> (String, Change) {
        let change = Change {
            release_former_names: set.release_former_name,
            setting: set.self_register_services,
            reason: set.reason,
            ..Change::default()
        };
        (set.which, change)
    }
}

struct Environments;

impl Kind for Environments {
    const WORD: &'static str = "environment";
    const ITEMS: &'static str = "environments";
    type View = EnvironmentView;
    type Create = CreateEnvironment;
    type Set = SetEnvironment;

    fn row(view: &EnvironmentView) -> Row<'_> {
        Row {
            id: view.environment_id,
            name: &view.name,
            setting: if view.trust_absent_marks {
                "absent markers are trusted"
            } else {
                ""
            },
            created_at: view.created_at,
            archived_at: view.archived_at,
            former_names: &view.former_names,
        }
    }

    async fn owner(context: &Context, admin: &Admin) -> Result<i64, Failure> {
        project(context, admin).await
    }

    async fn list(admin: &Admin, owner: i64, query: &UnitQuery) -> Result<Page<EnvironmentView>, Error> {
        let page = admin.environments().list(owner, query).await?;
        Ok((page.environments, page.next))
    }

    async fn create(admin: &Admin, owner: i64, create: CreateEnvironment) -> Result<EnvironmentView, Error> {
        let request = EnvironmentCreateRequest {
            name: create.name,
            trust_absent_marks: Some(create.trust_absent_marks),
            reason: create.reason,
        };
        admin.environments().create(owner, &request).await
    }

    async fn update(admin: &Admin, id: i64, change: Change) -> Result<EnvironmentView, Error> {
        let request = EnvironmentUpdateRequest {
            name: change.name,
            trust_absent_marks: change.setting,
            archived: change.archived,
            release_former_names: change.release_former_names,
            reason: change.reason,
        };
        admin.environments().update(id, &request).await
    }

    fn set(set: SetEnvironment) -> (String, Change) {
        let change = Change {
            release_former_names: set.release_former_name,
            setting: set.trust_absent_marks,
            reason: set.reason,
            ..Change::default()
        };
        (set.which, change)
    }
}

struct Services;

impl Kind for Services {
    const WORD: &'static str = "service";
    const ITEMS: &'static str = "services";
    type View = ServiceView;
    type Create = Create;
    type Set = Set;

    fn row(view: &ServiceView) -> Row<'_> {
        Row {
            id: view.service_id,
            name: &view.name,
            setting: "",
            created_at: view.created_at,
            archived_at: view.archived_at,
            former_names: &view.former_names,
        }
    }

    async fn owner(context: &Context, admin: &Admin) -> Result<i64, Failure> {
        project(context, admin).await
    }

    async fn list(admin: &Admin, owner: i64, query: &UnitQuery) -> Result<Page<ServiceView>, Error> {
        let page = admin.services().list(owner, query).await?;
        Ok((page.services, page.next))
    }

    async fn create(admin: &Admin, owner: i64, create: Create) -> Result<ServiceView, Error> {
        let request = ServiceCreateRequest {
            name: create.name,
            reason: create.reason,
        };
        admin.services().create(owner, &request).await
    }

    async fn update(admin: &Admin, id: i64, change: Change) -> Result<ServiceView, Error> {
        let request = ServiceUpdateRequest {
            name: change.name,
            archived: change.archived,
            release_former_names: change.release_former_names,
            reason: change.reason,
        };
        admin.services().update(id, &request).await
    }

    fn set(set: Set) -> (String, Change) {
        set.change()
    }
}

async fn project(context: &Context, admin: &Admin) -> Result<i64, Failure> {
    let identity = admin.identity().await?;
    Ok(reach::project(&identity, &context.wanted()?)?.project_id)
}

/// Those with this name, or all as far as they fit on a page.
fn archived_or_not(name: Option<&str>) -> UnitQuery {
    UnitQuery {
        page: PageQuery {
            after: None,
            limit: Some(500),
        },
        name: name.map(str::to_owned),
        archived: Archived::Any,
    }
}
