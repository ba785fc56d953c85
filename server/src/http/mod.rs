//! The HTTP edge: routes, extractors, conversions, and the server that listens.

mod answers;
mod body;
mod certificate;
mod commands;
mod csv;
mod cursor;
mod explanation;
mod extract;
mod fields;
mod gate;
mod guidance;
mod layers;
mod operations;
mod parameters;
mod problem;
mod reasons;
mod routes;
mod rulings;
mod serve;
mod times;
mod trace;
mod wire;
mod written;

use std::ops::Deref;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::http::{Method, Uri};
use axum::middleware::{from_fn, from_fn_with_state};
use axum::response::Redirect;
use axum::routing::{get, post};
use flamingock_api_types::ErrorCode;
use tokio_util::sync::CancellationToken;
use utoipa::OpenApi as _;
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use utoipa_swagger_ui::SwaggerUi;

use crate::app::App;
use crate::app::admission::Admission;
use crate::app::auth::Auth;
use crate::metrics::Metrics;
use answers::Answers;
use layers::RequestIds;
use problem::Problem;
use routes::{
    action, approval, audit, audit_read, auth, checksum, environment, event, execution, freeze, health,
    identity, issue, lock, organisation, plan, policy, preview, probe, project, service, token,
};

pub use serve::Server;

/// Settings of the edge.
#[derive(Clone, Debug)]
pub struct ApiSettings {
    pub max_body_bytes: usize,
    pub request_timeout: Duration,
    pub wait_max: Duration,
    /// Most requests worked on at once.
    pub max_in_flight: usize,
    /// Audit writes and releases are answered without a body: spares the Java client a reconnect (W §4.7, item 45).
    pub empty_write_answers: bool,
    /// Refuse ids with `?` where no charset was declared (W 6.1).
    pub refuse_damaged_ids: bool,
}

/// What handlers work with. One pointer: axum clones it for every layer and extractor of every request.
#[derive(Clone)]
pub struct Api(Arc<Parts>);

pub struct Parts {
    pub app: App,
    pub auth: Auth,
    pub metrics: Metrics,
    pub settings: ApiSettings,
    /// Cancelled when the server begins to stop: it is not ready any more.
    pub stopping: CancellationToken,
    answers: Answers,
    admission: Admission,
    request_ids: RequestIds,
}

impl Api {
    pub fn new(
        app: App,
        auth: Auth,
        metrics: Metrics,
        settings: ApiSettings,
        stopping: CancellationToken,
    ) -> Self {
        Self(Arc::new(Parts {
            admission: Admission::new(settings.max_in_flight, metrics.http_in_flight.clone()),
            answers: Answers::new(),
            request_ids: RequestIds::new(),
            app,
            auth,
            metrics,
            settings,
            stopping,
        }))
    }
}

impl Deref for Api {
    type Target = Parts;

    fn deref(&self) -> &Parts {
        &self.0
    }
}

/// The base of the OpenAPI document; operations are added by the router, so that none can be routed and undocumented.
/// The exceptions are what is written about a change, whose id may hold `/` and so needs a wildcard route.
#[derive(utoipa::OpenApi)]
#[openapi(
    info(
        title = "Flamingock coordination server",
        description = "Decides the execution plan of change units, owns their distributed lock and their append-only audit. \
                       The runner API is Flamingock's own; what is added is additive.",
        license(name = "Apache-2.0", identifier = "Apache-2.0")
    ),
    paths(audit::audit_append, probe::probe_report),
    // Of parameters alone, from which utoipa collects none.
    components(schemas(flamingock_api_types::audit::AuditView)),
    tags(
        (name = "session", description = "From an API token to a session"),
        (name = "runner", description = "What a runner calls: plan and report"),
        (name = "lock", description = "The service's lock"),
        (name = "history", description = "What happened"),
        (name = "public", description = "For anybody, without a token"),
        (name = "issues", description = "What a person must decide"),
        (name = "policies", description = "What a start may be refused for, and a dry run of it"),
        (name = "tenancy", description = "Organisations, projects, environments, services"),
        (name = "tokens", description = "API tokens: who may do what"),
        (name = "actions", description = "What people and automation did"),
        (name = "troubleshooting", description = "What runs, who waits, what is stopped and why"),
        (name = "events", description = "What happens, as it happens"),
        (name = "operations", description = "For the platform"),
    ),
)]
struct Document;

/// The API with its document: a table of contents, grouped by who calls.
fn documented() -> (Router<Api>, utoipa::openapi::OpenApi) {
    let (router, mut document) = OpenApiRouter::with_openapi(Document::openapi())
        // Runners.
        .routes(routes!(plan::execution_plan, execution::execution_list))
        .routes(routes!(lock::lock_acquire))
        .routes(routes!(lock::lock_extend))
        .routes(routes!(lock::lock_view, lock::lock_release))
        // Runners and people who read.
        .routes(routes!(execution::execution_view))
        .merge(audit_read::routes())
        .routes(routes!(issue::issue_list))
        // People who decide.
        .routes(routes!(issue::issue_resolve))
        .merge(preview::routes())
        .merge(policy::routes())
        .merge(freeze::routes())
        .merge(approval::routes())
        .merge(checksum::routes())
        // People who manage what there is, and who may do what.
        .merge(identity::routes())
        .merge(organisation::routes())
        .merge(project::routes())
        .merge(environment::routes())
        .merge(service::routes())
        .merge(token::routes())
        .merge(action::routes())
        .merge(routes::operations::routes())
        .merge(event::routes())
        .split_for_parts();
    let router = router.route(written::WRITE_ROUTE, post(audit::write));
    let (_, platform) = platform();
    document.merge(session().1);
    document.merge(platform);
    secure(&mut document);
    (router, document)
}

/// For anybody: whoever calls has shown no token yet, or needs none.
fn session() -> (Router<Api>, utoipa::openapi::OpenApi) {
    OpenApiRouter::new()
        .routes(routes!(auth::token_exchange))
        .merge(audit_read::public_routes())
        .split_for_parts()
}

/// For the platform: no token, and no admission either, so that an overloaded server can still be asked how it is.
fn platform() -> (Router<Api>, utoipa::openapi::OpenApi) {
    OpenApiRouter::new()
        .routes(routes!(health::health_live))
        .routes(routes!(health::health_ready))
        .routes(routes!(health::metrics))
        .split_for_parts()
}

/// Tags of operations that want no token.
const PUBLIC: &[&str] = &["operations", "session", "public"];

/// Every operation wants a bearer token, but for the exchange, the platform's and what is published.
fn secure(document: &mut utoipa::openapi::OpenApi) {
    use utoipa::openapi::security::SecurityRequirement;
    let scheme = SecurityScheme::Http(
        HttpBuilder::new()
            .scheme(HttpAuthScheme::Bearer)
            .bearer_format("JWT")
            .description(Some(
                "The `jwt` of the token exchange; for history and issues an API token does as well.",
            ))
            .build(),
    );
    document
        .components
        .get_or_insert_default()
        .add_security_scheme("bearer", scheme);
    for item in document.paths.paths.values_mut() {
        for operation in [
            &mut item.get,
            &mut item.post,
            &mut item.put,
            &mut item.delete,
            &mut item.patch,
        ]
        .into_iter()
        .flatten()
        {
            let public = operation
                .tags
                .as_ref()
                .is_some_and(|tags| tags.iter().any(|tag| PUBLIC.contains(&tag.as_str())));
            if !public {
                operation.security = Some(vec![SecurityRequirement::new("bearer", Vec::<String>::new())]);
            }
        }
    }
}

/// The OpenAPI document as it is checked in: pretty, with a final newline. Needs no database.
pub fn openapi() -> String {
    let (_, document) = documented();
    let mut text = document.to_pretty_json().unwrap_or_default();
    text.push('\n');
    text
}

/// Everything that the server answers to.
pub fn router(api: Api) -> Router {
    let (runner_api, document) = documented();
    let (platform, _) = platform();
    let limited = runner_api.layer(from_fn_with_state(api.clone(), layers::admit));
    let (session, _) = session();
    let session = session
        .layer(from_fn_with_state(api.clone(), layers::admit))
        .layer(from_fn(layers::read_before_admission));
    let docs: Router<Api> = SwaggerUi::new("/docs").url("/api/openapi.json", document).into();
    limited
        .merge(session)
        .merge(platform)
        .merge(docs)
        // A person who opens the bare address wants to know what this is.
        .route("/", get(|| async { Redirect::temporary("/docs/") }))
        .fallback(|uri: Uri| async move {
            Problem::new(
                ErrorCode::RouteNotFound,
                format!(
                    "Nothing is served at {}. The API is described at /docs.",
                    uri.path()
                ),
            )
        })
        .method_not_allowed_fallback(|method: Method, uri: Uri| async move {
            Problem::new(
                ErrorCode::MethodNotAllowed,
                format!(
                    "{} does not answer to {method}. The API is described at /docs.",
                    uri.path()
                ),
            )
        })
        .layer(from_fn_with_state(api.clone(), layers::observe))
        .with_state(api)
}
