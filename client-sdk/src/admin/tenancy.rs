use flamingock_api_types::tenancy::{
    EnvironmentCreateRequest, EnvironmentPage, EnvironmentUpdateRequest, EnvironmentView,
    OrganisationCreateRequest, OrganisationPage, OrganisationUpdateRequest, OrganisationView,
    ProjectCreateRequest, ProjectPage, ProjectUpdateRequest, ProjectView, ServiceCreateRequest, ServicePage,
    ServiceUpdateRequest, ServiceView,
};
use reqwest::Method;

use super::{Admin, PageQuery, query::Pairs};
use crate::error::Error;

/// Which of the organisations, projects, environments or services.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UnitQuery {
    /// The page.
    pub page: PageQuery,
    /// Exactly this name, present or former.
    pub name: Option<String>,
    /// Which by whether they are archived.
    pub archived: Archived,
}

/// Which by whether they are archived.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Archived {
    /// Those in use.
    #[default]
    No,
    /// Those that are archived.
    Only,
    /// All.
    Any,
}

impl UnitQuery {
    fn pairs(&self) -> Pairs {
        let archived = match self.archived {
            Archived::No => None,
            Archived::Only => Some("true"),
            Archived::Any => Some("any"),
        };
        Pairs::page(&self.page)
            .with("name", self.name.as_ref())
            .with("archived", archived)
    }
}

/// One kind of unit: listed and made below its owner, seen and changed by number.
macro_rules! units {
    ($(#[$doc:meta])* $name:ident = $unit:literal of $owner:literal,
     $page:ty, $view:ty, $create:ty, $update:ty) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug)]
        pub struct $name<'a> {
            pub(super) admin: &'a Admin,
        }

        impl $name<'_> {
            /// A page of those that this owner has, by name.
            pub async fn list(self, owner_id: i64, query: &UnitQuery) -> Result<$page, Error> {
                let path = format!(concat!("/api/v1/admin/", $owner, "/{}/", $unit), owner_id);
                self.admin.get(concat!($unit, "_list"), &path, query.pairs()).await
            }

            /// Makes one below this owner.
            pub async fn create(self, owner_id: i64, request: &$create) -> Result<$view, Error> {
                let path = format!(concat!("/api/v1/admin/", $owner, "/{}/", $unit), owner_id);
                self.admin.post(concat!($unit, "_create"), &path, request).await
            }

            /// One by number.
            pub async fn view(self, id: i64) -> Result<$view, Error> {
                let path = format!(concat!("/api/v1/admin/", $unit, "/{}"), id);
                self.admin
                    .get(concat!($unit, "_view"), &path, Pairs::default())
                    .await
            }

            /// Renames it, archives it, takes it back into use, or changes its settings.
            pub async fn update(self, id: i64, request: &$update) -> Result<$view, Error> {
                let path = format!(concat!("/api/v1/admin/", $unit, "/{}"), id);
                self.admin
                    .write(concat!($unit, "_update"), Method::PATCH, &path, request)
                    .await
            }
        }
    };
}

units! {
    /// Projects of an organisation. See [`Admin::projects`].
    Projects = "project" of "organisation",
    ProjectPage, ProjectView, ProjectCreateRequest, ProjectUpdateRequest
}

units! {
    /// Environments of a project. See [`Admin::environments`].
    Environments = "environment" of "project",
    EnvironmentPage, EnvironmentView, EnvironmentCreateRequest, EnvironmentUpdateRequest
}

units! {
    /// Services of a project. See [`Admin::services`].
    Services = "service" of "project",
    ServicePage, ServiceView, ServiceCreateRequest, ServiceUpdateRequest
}

/// Organisations of the server. See [`Admin::organisations`].
#[derive(Clone, Copy, Debug)]
pub struct Organisations<'a> {
    pub(super) admin: &'a Admin,
}

impl Organisations<'_> {
    /// A page, by name: those within reach.
    pub async fn list(self, query: &UnitQuery) -> Result<OrganisationPage, Error> {
        self.admin
            .get("organisation_list", "/api/v1/admin/organisation", query.pairs())
            .await
    }

    /// Makes one.
    pub async fn create(self, request: &OrganisationCreateRequest) -> Result<OrganisationView, Error> {
        self.admin
            .post("organisation_create", "/api/v1/admin/organisation", request)
            .await
    }

    /// One by number.
    pub async fn view(self, id: i64) -> Result<OrganisationView, Error> {
        let path = format!("/api/v1/admin/organisation/{id}");
        self.admin.get("organisation_view", &path, Pairs::default()).await
    }

    /// Renames it, archives it, or takes it back into use.
    pub async fn update(
        self,
        id: i64,
        request: &OrganisationUpdateRequest,
    ) -> Result<OrganisationView, Error> {
        let path = format!("/api/v1/admin/organisation/{id}");
        self.admin
            .write("organisation_update", Method::PATCH, &path, request)
            .await
    }
}
