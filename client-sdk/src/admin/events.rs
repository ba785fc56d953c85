use std::{collections::VecDeque, fmt, time::Duration};

use flamingock_api_types::event::Event;
use reqwest::Method;
use uuid::Uuid;

use super::{
    Admin, ServiceScope,
    sse::{Message, Parser},
};
use crate::{
    error::{Error, Failure},
    retry::Patience,
    transport::{Incoming, Request},
};

/// Longer than the server's silence: it beats every 15 s.
const LONGEST_SILENCE: Duration = Duration::from_secs(45);
/// Before connecting again, where the server does not say.
const USUAL_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// Whose events.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EventScope {
    /// Of everything in an organisation.
    Organisation(i64),
    /// Of everything in an environment.
    Environment(i64),
    /// Of one service.
    Service(ServiceScope),
}

impl EventScope {
    fn operation(self) -> &'static str {
        match self {
            Self::Organisation(_) => "organisation_events",
            Self::Environment(_) => "environment_events",
            Self::Service(_) => "service_events",
        }
    }

    fn path(self) -> String {
        match self {
            Self::Organisation(id) => format!("/api/v1/admin/organisation/{id}/event"),
            Self::Environment(id) => format!("/api/v1/admin/environment/{id}/event"),
            Self::Service(scope) => format!("{}/event", scope.admin_path()),
        }
    }
}

/// Events as they happen, at least once, in order within each service. See [`Admin::events`].
///
/// When the connection breaks it is made again, and goes on behind the last event that was given out.
pub struct Events<'a> {
    admin: &'a Admin,
    scope: EventScope,
    /// Of the last event that was given out.
    last_id: Option<String>,
    /// How long to try to connect again, before it is given up.
    patience: Duration,
    connection: Option<Connection>,
    ready: VecDeque<Message>,
    pause: Duration,
}

struct Connection {
    incoming: Incoming,
    parser: Parser,
}

impl fmt::Debug for Events<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Events")
            .field("scope", &self.scope)
            .field("last_id", &self.last_id)
            .finish_non_exhaustive()
    }
}

impl<'a> Events<'a> {
    pub(super) fn new(admin: &'a Admin, scope: EventScope, after: Option<String>) -> Self {
        Self {
            admin,
            scope,
            last_id: after,
            patience: admin.shared.config.retry_for,
            connection: None,
            ready: VecDeque::new(),
            pause: USUAL_PAUSE,
        }
    }

    /// How long to try to connect again after the connection broke. Default: the client's
    /// [`retry_for`](super::AdminConfig::retry_for).
    #[must_use]
    pub fn reconnect_for(mut self, patience: Duration) -> Self {
        self.patience = patience;
        self
    }

    /// The id of the last event that was given out: where another stream may go on.
    pub fn last_id(&self) -> Option<&str> {
        self.last_id.as_deref()
    }

    /// The next event. Waits for as long as it takes; dropping the future loses nothing.
    pub async fn next(&mut self) -> Result<Event, Error> {
        loop {
            if let Some(message) = self.ready.pop_front() {
                if message.id.is_some() {
                    self.last_id = message.id;
                }
                return serde_json::from_str(&message.data).map_err(|error| {
                    Error::new(
                        self.scope.operation(),
                        1,
                        String::new(),
                        Failure::Unreadable(error.into()),
                    )
                });
            }
            let Some(connection) = &mut self.connection else {
                let connection = self.connect().await?;
                self.connection = Some(connection);
                continue;
            };
            if let Ok(Some(messages)) = connection.read().await {
                self.ready.extend(messages);
                continue;
            }
            // Whatever ended it, the next connection says what is the matter.
            if let Some(asked) = connection.parser.retry_ms() {
                self.pause = Duration::from_millis(asked).min(LONGEST_PAUSE);
            }
            self.connection = None;
            tokio::time::sleep(self.pause).await;
        }
    }

    async fn connect(&self) -> Result<Connection, Error> {
        let patience = Patience::lasting(self.patience);
        let headers: Vec<_> = self
            .last_id
            .iter()
            .map(|id| ("last-event-id", id.clone()))
            .collect();
        let path = self.scope.path();
        let mut attempts = 0;
        loop {
            attempts += 1;
            let request_id = Uuid::new_v4().to_string();
            let request = Request {
                method: Method::GET,
                path: &path,
                query: &[],
                headers: &headers,
                bearer: Some(&self.admin.shared.config.token),
                body: None,
                timeout: LONGEST_SILENCE,
            };
            let opened = self
                .admin
                .shared
                .transport
                .open(&request, &request_id, "text/event-stream")
                .await;
            let failure = match opened {
                Ok(incoming) => {
                    return Ok(Connection {
                        incoming,
                        parser: Parser::default(),
                    });
                }
                Err(failure) => failure,
            };
            let Some(pause) = patience.pause(attempts, &failure) else {
                return Err(Error::new(self.scope.operation(), attempts, request_id, failure));
            };
            tokio::time::sleep(pause).await;
        }
    }
}

impl Connection {
    /// The events in the next piece; `None` at the end.
    async fn read(&mut self) -> Result<Option<Vec<Message>>, Failure> {
        let Some(piece) = self.incoming.piece().await? else {
            return Ok(None);
        };
        let messages = self
            .parser
            .push(&piece)
            .map_err(|_| Failure::Unreadable("a line of the event stream has no end".into()))?;
        Ok(Some(messages))
    }
}
