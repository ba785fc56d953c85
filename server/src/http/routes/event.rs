//! Live events as Server-Sent Events: what happens, to whoever listens.

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{HeaderMap, HeaderName, HeaderValue, header};
use axum::response::{IntoResponse, Response};
use flamingock_api_types::event::{
    ActionEvent, ChangeEvent, Event, EventType, ExecutionEnd, ExecutionEvent, LockEvent,
};
use flamingock_api_types::{ErrorCode, ProblemDetails};
use flamingock_domain::audit::{AuditState, Source};
use futures_util::stream;
use serde::Deserialize;
use tokio::sync::mpsc;
use tokio::time::{MissedTickBehavior, interval};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::app::auth::UnitKind;
use crate::app::events::{KEPT_DAYS, ListenError, Listening, Position, Sight, Told, Wanted, What};
use crate::app::tenancy::Found;
use crate::app::{Busy, ChangeKind, LockChange, TailEntry};
use crate::http::Api;
use crate::http::extract::{ApiPath, ApiQuery, Reader};
use crate::http::problem::Problem;
use crate::http::routes::tenancy;

static LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");
static X_ACCEL_BUFFERING: HeaderName = HeaderName::from_static("x-accel-buffering");

/// How often a quiet stream shows that it lives, and tells where it is.
const HEARTBEAT: Duration = Duration::from_secs(15);

/// How often the credential is judged again.
const RECHECK: Duration = Duration::from_secs(3);

/// How long a listener may take nothing before it is let go: it comes back with its last id.
const PATIENCE: Duration = Duration::from_secs(30);

/// Oldest age of a stream, a random part added: whatever balances connections gets a chance to.
const LONGEST: Duration = Duration::from_hours(1);
const LONGEST_SPREAD_SECONDS: u64 = 600;

/// How long a client waits before it comes back, in milliseconds.
const RETRY_MS: u64 = 2_000;

/// Frames that wait for a listener, beyond what the connection holds.
const BUFFERED: usize = 16;

pub fn routes() -> OpenApiRouter<Api> {
    OpenApiRouter::new()
        .routes(routes!(organisation_events))
        .routes(routes!(environment_events))
        .routes(routes!(service_events))
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct EventQuery {
    after: Option<String>,
    service_id: Option<i64>,
}

/// Listen to an organisation
///
/// Server-Sent Events of everything that the token reaches in the organisation, from now on; services that are new are among
/// them. Each event has an `id`, an `event` (its type) and as `data` one JSON object. Send the last id as `Last-Event-ID`, as
/// every EventSource does by itself, or as `after`, and nothing between is lost, whichever replica answers: each event comes
/// at least once, in order within a service, and the same event always with the same id. A quiet stream sends a comment and
/// its position every 15 seconds. It ends when the server stops, when the token does, when its client takes nothing for 30
/// seconds, and after about an hour: come back with the last id.
#[utoipa::path(
    get,
    path = "/api/v1/admin/organisation/{organisationId}/event",
    operation_id = "organisation_events",
    tag = "events",
    params(
        ("organisationId" = i64, Path, description = "Organisation"),
        ("Last-Event-ID" = Option<String>, Header, description = "Id of the last event that you know; goes before `after`"),
        ("after" = Option<String>, Query, description = "The same, for clients that cannot set the header"),
    ),
    responses(
        (status = 200, description = "Events; the schema is of the data of each", body = Event,
            content_type = "text/event-stream", example = json!(EXAMPLE)),
        (status = 400, description = "`R_GEN_02`: the id is not one that was given out", body = ProblemDetails),
        (status = 401, description = "`R_AUTH_…`: no usable token", body = ProblemDetails),
        (status = 403, description = "`R_AUTH_04`: outside the role", body = ProblemDetails),
        (status = 404, description = "`R_TENANT_03`: no such organisation within the token's reach", body = ProblemDetails),
        (status = 410, description = "`R_EVENT_01`: what came after that id is not kept", body = ProblemDetails),
        (status = 503, description = "`R_GEN_08`: too many listen, or the database is away", body = ProblemDetails),
    ),
)]
pub async fn organisation_events(
    State(api): State<Api>,
    reader: Reader,
    ApiPath(organisation_id): ApiPath<i64>,
    ApiQuery(query): ApiQuery<EventQuery>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    view(&api, &reader, UnitKind::Organisation, organisation_id).await?;
    listen(api, reader, organisation_id, Wanted::default(), &query, &headers).await
}

/// Listen to an environment
///
/// As `organisation_events`, of one environment, or with `serviceId` of one of its services.
#[utoipa::path(
    get,
    path = "/api/v1/admin/environment/{environmentId}/event",
    operation_id = "environment_events",
    tag = "events",
    params(
        ("environmentId" = i64, Path, description = "Environment"),
        ("serviceId" = Option<i64>, Query, description = "Only this service"),
        ("Last-Event-ID" = Option<String>, Header, description = "Id of the last event that you know; goes before `after`"),
        ("after" = Option<String>, Query, description = "The same, for clients that cannot set the header"),
    ),
    responses(
        (status = 200, description = "Events; the schema is of the data of each", body = Event,
            content_type = "text/event-stream", example = json!(EXAMPLE)),
        (status = 400, description = "`R_GEN_02`: the id is not one that was given out", body = ProblemDetails),
        (status = 401, description = "`R_AUTH_…`: no usable token", body = ProblemDetails),
        (status = 403, description = "`R_AUTH_03`, `R_AUTH_04`: outside the session's scope or role", body = ProblemDetails),
        (status = 404, description = "`R_TENANT_01`, `R_TENANT_02`: nothing of that id within the token's reach", body = ProblemDetails),
        (status = 410, description = "`R_EVENT_01`: what came after that id is not kept", body = ProblemDetails),
        (status = 503, description = "`R_GEN_08`: too many listen, or the database is away", body = ProblemDetails),
    ),
)]
pub async fn environment_events(
    State(api): State<Api>,
    reader: Reader,
    ApiPath(environment_id): ApiPath<i64>,
    ApiQuery(query): ApiQuery<EventQuery>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let environment = view(&api, &reader, UnitKind::Environment, environment_id).await?;
    if let Some(service_id) = query.service_id {
        reader.scope(&api, environment_id, service_id).await?;
    }
    let wanted = Wanted {
        environment_id: Some(environment_id),
        service_id: query.service_id,
    };
    listen(api, reader, environment.organisation_id, wanted, &query, &headers).await
}

/// Listen to a service
///
/// As `organisation_events`, of one service in one environment.
#[utoipa::path(
    get,
    path = "/api/v1/admin/environment/{environmentId}/service/{serviceId}/event",
    operation_id = "service_events",
    tag = "events",
    params(
        ("environmentId" = i64, Path, description = "Environment"),
        ("serviceId" = i64, Path, description = "Service"),
        ("Last-Event-ID" = Option<String>, Header, description = "Id of the last event that you know; goes before `after`"),
        ("after" = Option<String>, Query, description = "The same, for clients that cannot set the header"),
    ),
    responses(
        (status = 200, description = "Events; the schema is of the data of each", body = Event,
            content_type = "text/event-stream", example = json!(EXAMPLE)),
        (status = 400, description = "`R_GEN_02`: the id is not one that was given out", body = ProblemDetails),
        (status = 401, description = "`R_AUTH_…`: no usable token", body = ProblemDetails),
        (status = 403, description = "`R_AUTH_03`, `R_AUTH_04`: outside the session's scope or role", body = ProblemDetails),
        (status = 404, description = "`R_TENANT_02`: nothing of that name within the token's reach", body = ProblemDetails),
        (status = 410, description = "`R_EVENT_01`: what came after that id is not kept", body = ProblemDetails),
        (status = 503, description = "`R_GEN_08`: too many listen, or the database is away", body = ProblemDetails),
    ),
)]
pub async fn service_events(
    State(api): State<Api>,
    reader: Reader,
    ApiPath((environment_id, service_id)): ApiPath<(i64, i64)>,
    ApiQuery(query): ApiQuery<EventQuery>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let scope = reader.scope(&api, environment_id, service_id).await?;
    let environment = view(&api, &reader, UnitKind::Environment, scope.environment_id).await?;
    let wanted = Wanted {
        environment_id: Some(environment_id),
        service_id: Some(scope.service_id),
    };
    listen(api, reader, environment.organisation_id, wanted, &query, &headers).await
}

const EXAMPLE: &str = "id: 1042-5f3a01-17-2-0\nevent: CHANGE_FAILED\ndata: {\"id\":\"1042-5f3a01-17-2-0\",\"type\":\"CHANGE_FAILED\",\
\"at\":\"2026-01-01T00:00:03.120456Z\",\"organisationId\":1,\"projectId\":1,\"environmentId\":12,\"serviceId\":340,\"change\":\
{\"seq\":17,\"changeId\":\"add-due-date\",\"state\":\"FAILED\",\"source\":\"RUNNER\",\"late\":false,\"actor\":\"credential:3\",\
\"executionRef\":\"9001\",\"runnerId\":\"billing@node-a#5f0c\"}}\n\n";

/// A unit that the caller reaches; any other answers like one that is not there.
async fn view(api: &Api, reader: &Reader, kind: UnitKind, id: i64) -> Result<Found, Problem> {
    let found = api.app.tenancy.view(&reader.reach(), kind, id).await;
    found.map_err(tenancy::problem)
}

async fn listen(
    api: Api,
    reader: Reader,
    organisation_id: i64,
    wanted: Wanted,
    query: &EventQuery,
    headers: &HeaderMap,
) -> Result<Response, Problem> {
    let from = last_event_id(headers, query)?;
    let listening = api
        .app
        .events
        .listen(organisation_id, from)
        .await
        .map_err(problem)?;
    let mut credentials = HeaderMap::new();
    if let Some(value) = headers.get(header::AUTHORIZATION) {
        credentials.insert(header::AUTHORIZATION, value.clone());
    }
    let (frames, body) = mpsc::channel(BUFFERED);
    let feed = Feed {
        api,
        credentials,
        sight: sight(&reader, wanted),
        listening,
        frames,
    };
    tokio::spawn(feed.run());
    let body = Body::from_stream(stream::unfold(body, async |mut body| {
        let frame: Bytes = body.recv().await?;
        Some((Ok::<_, std::convert::Infallible>(frame), body))
    }));
    let mut response = body.into_response();
    for (name, value) in [
        (&header::CONTENT_TYPE, "text/event-stream"),
        (&header::CACHE_CONTROL, "no-store"),
        // Some proxies would collect the events.
        (&X_ACCEL_BUFFERING, "no"),
    ] {
        response
            .headers_mut()
            .insert(name, HeaderValue::from_static(value));
    }
    Ok(response)
}

/// The header goes first: an EventSource that comes back still has its first address.
fn last_event_id(headers: &HeaderMap, query: &EventQuery) -> Result<Option<Position>, Problem> {
    let header = headers.get(&LAST_EVENT_ID).filter(|value| !value.is_empty());
    let text = match header {
        Some(value) => Some(value.to_str().unwrap_or("\u{fffd}")),
        None => query.after.as_deref(),
    };
    let Some(text) = text else {
        return Ok(None);
    };
    Position::parse(text).map(Some).ok_or_else(|| {
        Problem::malformed(
            "The last event id (the header Last-Event-ID, or the query parameter `after`) is not one that was given out. Send \
             the `id` of the last event unchanged, or none to start from now.",
        )
    })
}

fn problem(error: ListenError) -> Problem {
    match error {
        ListenError::Full(Busy::Replica(max)) => Problem::busy(
            Duration::from_secs(5),
            format!(
                "{max} listen to this replica, as many as may (FLAMINGOCK_HTTP_MAX_LISTENERS). Try again later, or at another."
            ),
        ),
        ListenError::Full(Busy::Organisation(share)) => Problem::busy(
            Duration::from_secs(5),
            format!(
                "{share} listen to this replica for this organisation, as many as one organisation may: the other places are \
                 for others. Close a stream that nobody reads, or try again later."
            ),
        ),
        ListenError::NotKept => Problem::new(
            ErrorCode::EventsNotKept,
            format!(
                "What came after that event id is not kept in its order any more: it is older than {KEPT_DAYS} days, or from \
                 before the database was restored. Listen without an id, and read what you lack from the audit."
            ),
        ),
        ListenError::Fault(fault) => fault.into(),
    }
}

fn sight(reader: &Reader, wanted: Wanted) -> Sight {
    Sight {
        reach: reader.reach(),
        role: reader.caller().role(),
        wanted,
    }
}

/// One open stream.
struct Feed {
    api: Api,
    /// Nothing but the bearer token.
    credentials: HeaderMap,
    sight: Sight,
    listening: Listening,
    frames: mpsc::Sender<Bytes>,
}

impl Feed {
    async fn run(mut self) {
        let why = self.feed().await;
        tracing::debug!(why, "a listener is let go");
        // For people who look at the stream. It may have no room, or nobody who reads.
        let _ = self
            .frames
            .try_send(format!(": {why}; come back with the last id\n\n").into());
    }

    /// Tells until there is a reason to end.
    async fn feed(&mut self) -> &'static str {
        let started = Instant::now();
        let longest =
            LONGEST + Duration::from_secs(uuid::Uuid::new_v4().as_u64_pair().0 % LONGEST_SPREAD_SECONDS);
        let stopping = self.api.stopping.clone();
        let mut checks = interval(RECHECK);
        checks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        checks.reset();
        let mut checked = Instant::now();
        let mut shown = Instant::now();
        let hello = format!("retry: {RETRY_MS}\nid: {}\n\n", self.listening.position());
        if let Some(end) = self.send(hello.into()).await {
            return end;
        }
        loop {
            let told = match self.listening.catch_up().await {
                Ok(Some(told)) => told,
                Err(_) => return "the database does not answer",
                Ok(None) => {
                    tokio::select! {
                        biased;
                        () = stopping.cancelled() => return "the server stops",
                        () = self.frames.closed() => return "the listener has gone",
                        told = self.listening.wait() => told,
                        _ = checks.tick() => Vec::new(),
                    }
                }
            };
            if checked.elapsed() >= RECHECK {
                if !self.is_welcome().await {
                    return "the credential has ended";
                }
                checked = Instant::now();
            }
            if started.elapsed() >= longest {
                return "the stream is old";
            }
            for one in told {
                if self.sight.covers(one.site, one.what.is_action()) {
                    if let Some(end) = self.send(frame(&one)).await {
                        return end;
                    }
                    shown = Instant::now();
                }
            }
            if shown.elapsed() >= HEARTBEAT {
                // An id without data is no event; it only moves the place to come back to past what this listener is not told.
                let beat = format!(":\nid: {}\n\n", self.listening.position());
                if let Some(end) = self.send(beat.into()).await {
                    return end;
                }
                shown = Instant::now();
            }
        }
    }

    /// Judges the credential again. While the database is away nobody is sent off.
    async fn is_welcome(&mut self) -> bool {
        match Reader::of(&self.credentials, &self.api).await {
            Ok(reader) => {
                self.sight = sight(&reader, self.sight.wanted);
                true
            }
            Err(problem) => problem.code == ErrorCode::Unavailable,
        }
    }

    /// Hands a frame over; gives the reason to end, if there is one.
    async fn send(&self, frame: Bytes) -> Option<&'static str> {
        tokio::select! {
            sent = tokio::time::timeout(PATIENCE, self.frames.send(frame)) => match sent {
                Ok(Ok(())) => None,
                Ok(Err(_)) => Some("the listener has gone"),
                Err(_) => Some("the listener takes nothing"),
            },
            () = self.api.stopping.cancelled() => Some("the server stops"),
        }
    }
}

/// An event as it is sent: written once, however many listen.
fn frame(told: &Arc<Told>) -> Bytes {
    let write = || {
        let event = event(told);
        let name = serde_json::to_value(event.event_type).unwrap_or_default();
        let data = serde_json::to_string(&event).unwrap_or_default();
        format!(
            "id: {}\nevent: {}\ndata: {data}\n\n",
            event.id,
            name.as_str().unwrap_or_default()
        )
        .into()
    };
    told.written.get_or_init(write).clone()
}

fn event(told: &Told) -> Event {
    let mut event = Event {
        id: told.position.to_string(),
        event_type: EventType::Unknown,
        at: told.at,
        organisation_id: told.organisation_id,
        project_id: told.site.project_id,
        environment_id: told.site.environment_id,
        service_id: told.site.service_id,
        project_name: told.names.project.clone(),
        environment_name: told.names.environment.clone(),
        service_name: told.names.service.clone(),
        change: None,
        lock: None,
        execution: None,
        action: None,
    };
    match &told.what {
        What::Entry(entry) => {
            event.event_type = type_of_entry(entry);
            event.change = Some(change(entry));
        }
        What::IssueOpened(entry) => {
            event.event_type = EventType::IssueOpened;
            event.change = Some(change(entry));
        }
        What::IssueClosed(entry) => {
            event.event_type = EventType::IssueClosed;
            event.change = Some(change(entry));
        }
        What::Lock(change) => {
            event.event_type = match change.kind {
                ChangeKind::Granted => EventType::LockGranted,
                ChangeKind::Renewed => EventType::LockRenewed,
                ChangeKind::TakenOver => EventType::LockTakenOver,
                ChangeKind::Released => EventType::LockReleased,
                ChangeKind::Forced => EventType::LockForced,
                ChangeKind::Unknown => EventType::Unknown,
            };
            event.lock = Some(LockEvent {
                key: change.key.clone(),
                fence: change.fence,
                runner_id: change.owner.clone(),
                previous_runner_id: change.previous_owner.clone(),
            });
        }
        What::ExecutionGranted { id, change } => {
            event.event_type = EventType::ExecutionGranted;
            event.execution = Some(execution(*id, &change.owner, None));
        }
        What::ExecutionEnded { id, change } => {
            event.event_type = EventType::ExecutionEnded;
            event.execution = Some(ended(*id, change));
        }
        What::Action(action) => {
            event.event_type = EventType::ActionRecorded;
            event.action = Some(ActionEvent {
                action_id: action.id,
                action: action.action.clone(),
                target: action.target.clone(),
                actor: action.actor.clone(),
                role: action.role.clone(),
                reason: action.reason.clone(),
            });
        }
    }
    event
}

fn type_of_entry(entry: &TailEntry) -> EventType {
    match (entry.source, entry.now.state) {
        _ if entry.late => EventType::ChangeReportedLate,
        (Source::Person, _) => EventType::ChangeDecided,
        (_, AuditState::Started) => EventType::ChangeStarted,
        (_, AuditState::Applied) => EventType::ChangeApplied,
        (_, AuditState::Failed) => EventType::ChangeFailed,
        (_, AuditState::RolledBack) => EventType::ChangeRolledBack,
        (_, AuditState::RollbackFailed) => EventType::ChangeRollbackFailed,
        (_, AuditState::MarkedApplied | AuditState::MarkedRolledBack | AuditState::Unknown) => {
            EventType::ChangeRecorded
        }
    }
}

fn change(entry: &TailEntry) -> ChangeEvent {
    ChangeEvent {
        seq: entry.seq,
        change_id: entry.change_id.clone(),
        state: entry.state.clone(),
        source: entry.source_text.clone(),
        late: entry.late,
        actor: entry.actor.clone(),
        stage_id: entry.stage_id.clone(),
        target_system_id: entry.target_system_id.clone(),
        author: entry.author.clone(),
        execution_ref: Some(entry.execution_ref.clone()).filter(|text| !text.is_empty()),
        runner_id: entry.runner_id.clone(),
        note: entry.note.clone(),
    }
}

fn ended(id: i64, change: &LockChange) -> ExecutionEvent {
    let (runner, by) = match change.kind {
        ChangeKind::Released => (&change.owner, ExecutionEnd::Released),
        ChangeKind::Forced => (&change.owner, ExecutionEnd::Forced),
        ChangeKind::Granted | ChangeKind::Renewed | ChangeKind::TakenOver => (
            change.previous_owner.as_ref().unwrap_or(&change.owner),
            ExecutionEnd::Replaced,
        ),
        ChangeKind::Unknown => (
            change.previous_owner.as_ref().unwrap_or(&change.owner),
            ExecutionEnd::Unknown,
        ),
    };
    execution(id, runner, Some(by))
}

fn execution(id: i64, runner_id: &str, ended_by: Option<ExecutionEnd>) -> ExecutionEvent {
    ExecutionEvent {
        execution_id: id,
        runner_id: runner_id.to_owned(),
        ended_by,
    }
}
