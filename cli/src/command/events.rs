//! What happens, as it happens.

use std::time::Duration;

use clap::Args;
use flamingock::admin::{Admin, EventScope};
use flamingock::wire::event::{Event, EventType};

use crate::context::Context;
use crate::failure::{Exit, Failure, Outcome};
use crate::output::{BAD, DIM, GOOD, WARN};
use crate::{reach, text, time};

/// Long enough for a server to be replaced.
const RECONNECT_FOR: Duration = Duration::from_mins(5);

#[derive(Debug, Args)]
pub struct Events {
    /// Go on behind this event: the `id` that --json gave
    #[arg(long, value_name = "ID")]
    after: Option<String>,
    /// Of everything in the organisation, even where an environment is named
    #[arg(long)]
    whole_organisation: bool,
    /// End after so many events
    #[arg(long, value_name = "N")]
    count: Option<u64>,
}

impl Events {
    pub async fn run(self, context: &Context) -> Outcome {
        let admin = context.admin()?;
        let (scope, place) = self.scope(context, &admin).await?;
        let mut events = admin.events(scope, self.after).reconnect_for(RECONNECT_FOR);
        let mut told = 0;
        context
            .out
            .note(&format!("{DIM}Listening to {place}; Ctrl-C ends it.{DIM:#}"));
        while self.count.is_none_or(|count| told < count) {
            let event = tokio::select! {
                event = events.next() => event?,
                stopped = tokio::signal::ctrl_c() => {
                    stopped.map_err(|error| Failure::failed(format!("signals cannot be heard: {error}")))?;
                    break;
                }
            };
            if context.out.is_json() {
                context.out.json_line(&event)?;
            } else {
                context.out.print(&line(&event))?;
            }
            told += 1;
        }
        Ok(Exit::Ok)
    }

    async fn scope(&self, context: &Context, admin: &Admin) -> Result<(EventScope, String), Failure> {
        let wanted = context.wanted()?;
        if self.whole_organisation || wanted.environment.is_none() {
            let organisation = reach::organisation(admin, context.organisation()?.as_deref()).await?;
            let place = format!("all of {}", text::safe(&organisation.name, false));
            return Ok((EventScope::Organisation(organisation.id), place));
        }
        if wanted.service.is_some() {
            let service = context.service(admin).await?;
            return Ok((EventScope::Service(service.scope), service.to_string()));
        }
        let environment = context.environment(admin).await?;
        let place = format!("all of {}", text::safe(&environment.name, false));
        Ok((EventScope::Environment(environment.id), place))
    }
}

fn line(event: &Event) -> String {
    let style = match event.event_type {
        EventType::ChangeApplied | EventType::IssueClosed => GOOD,
        EventType::ChangeFailed | EventType::ChangeRollbackFailed | EventType::IssueOpened => BAD,
        EventType::ChangeRolledBack | EventType::ChangeReportedLate | EventType::LockForced => WARN,
        _ => anstyle::Style::new(),
    };
    let place = match place(event) {
        Some(place) => format!(" {}", text::safe(&place, false)),
        None => String::new(),
    };
    format!(
        "{DIM}{}{DIM:#}  {style}{:<21}{style:#} {}{DIM}{place}{DIM:#}\n",
        time::absolute(event.at),
        word(event.event_type),
        text::safe(&what(event), false)
    )
}

/// `orders in production`; numbers where a server of an older version tells no names.
fn place(event: &Event) -> Option<String> {
    let name =
        |name: &Option<String>, id: Option<i64>| name.clone().or_else(|| id.map(|id| format!("number {id}")));
    let project = name(&event.project_name, event.project_id);
    let environment = name(&event.environment_name, event.environment_id);
    let service = name(&event.service_name, event.service_id);
    match (service, environment, project) {
        (Some(service), Some(environment), _) => Some(format!("{service} in {environment}")),
        (Some(service), None, _) => Some(format!("service {service}")),
        (None, Some(environment), _) => Some(format!("environment {environment}")),
        (None, None, Some(project)) => Some(format!("project {project}")),
        (None, None, None) => None,
    }
}

fn word(event_type: EventType) -> String {
    match serde_json::to_value(event_type) {
        Ok(serde_json::Value::String(text)) => text.replace('_', " ").to_lowercase(),
        _ => "unknown".to_owned(),
    }
}

fn what(event: &Event) -> String {
    if let Some(change) = &event.change {
        let note = change.note.as_deref().map(|note| format!(": {note}"));
        return format!(
            "{} (entry {}, {}){}",
            change.change_id,
            change.seq,
            text::who(&change.actor),
            note.unwrap_or_default()
        );
    }
    if let Some(lock) = &event.lock {
        return format!("{} (fence {})", lock.runner_id, lock.fence);
    }
    if let Some(execution) = &event.execution {
        return format!("{} of {}", execution.execution_id, execution.runner_id);
    }
    match &event.action {
        Some(action) => format!(
            "{} {} by {}",
            action.action,
            action.target,
            text::who(&action.actor)
        ),
        None => String::new(),
    }
}
