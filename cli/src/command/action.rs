//! What people and automation did.

use chrono::{DateTime, Utc};
use clap::{Args, Subcommand};
use flamingock::admin::{ActionQuery, PageQuery};
use flamingock::wire::action::{ActionPage, ActionView};

use crate::args::Paging;
use crate::context::Context;
use crate::failure::{Exit, Outcome};
use crate::table::{Cell, Table};
use crate::{moment, paging, reach, text};

/// What people and automation did: who, from where, what, before and after
#[derive(Debug, Subcommand)]
pub enum Action {
    /// The log, newest first
    #[command(visible_alias = "ls")]
    List(List),
}

#[derive(Debug, Args)]
pub struct List {
    /// Only this operation, such as token_revoke
    #[arg(long, value_name = "OPERATION")]
    action: Option<String>,
    /// Only by this API token, by its number
    #[arg(long, value_name = "TOKEN")]
    by: Option<i64>,
    /// Only on this target: a name, a key, a change
    #[arg(long, value_name = "TARGET")]
    target: Option<String>,
    /// At or after: 2026-01-31, 2026-01-31T08:00Z, -2h, …
    #[arg(long, value_parser = moment::parse, allow_hyphen_values = true, value_name = "TIME")]
    since: Option<DateTime<Utc>>,
    /// Before
    #[arg(long, value_parser = moment::parse, allow_hyphen_values = true, value_name = "TIME")]
    until: Option<DateTime<Utc>>,
    /// Of the whole server, with what belongs to no organisation; needs a root token
    #[arg(long)]
    whole_server: bool,
    #[command(flatten)]
    paging: Paging,
}

impl Action {
    pub async fn run(self, context: &Context) -> Outcome {
        let Self::List(list) = self;
        let admin = context.admin()?;
        let organisation = if list.whole_server {
            None
        } else {
            Some(reach::organisation(&admin, context.organisation()?.as_deref()).await?)
        };
        // From the command line only: a profile's or a variable's service would hide what was done elsewhere.
        let environment_id = if context.flags.name("environment") {
            Some(context.environment(&admin).await?.id)
        } else {
            None
        };
        let service_id = if context.flags.name("service") {
            Some(context.service(&admin).await?.scope.service_id)
        } else {
            None
        };
        let query = ActionQuery {
            page: PageQuery::default(),
            action: list.action,
            credential_id: list.by,
            environment_id,
            service_id,
            target: list.target,
            since: list.since.map(moment::wire),
            until: list.until.map(moment::wire),
        };
        let listed = paging::list(&list.paging, async |page| {
            let query = ActionQuery {
                page: page.clone(),
                ..query.clone()
            };
            let page = match &organisation {
                Some(organisation) => admin.actions().list(organisation.id, &query).await?,
                None => admin.actions().list_all(&query).await?,
            };
            Ok((page.actions, page.next))
        })
        .await?;
        if context.out.is_json() {
            context.out.json(&ActionPage {
                actions: listed.items,
                next: listed.next,
            })?;
            return Ok(Exit::Ok);
        }
        let now = Context::now();
        let mut table = Table::new(&["WHEN", "ACTION", "TARGET", "IN", "BY", "ROLE", "FROM", "REASON"]);
        for action in &listed.items {
            table.row([
                Cell::time(action.acted_at, now),
                action.action.as_str().into(),
                action.target.as_str().into(),
                place(action).into(),
                text::who(&action.actor).into(),
                action.role.as_str().into(),
                action
                    .forwarded_for
                    .as_deref()
                    .or(action.address.as_deref())
                    .into(),
                action.reason.as_deref().into(),
            ]);
        }
        context.out.table(&table, "No such action is recorded.")?;
        listed.remark(context.out, "actions");
        Ok(Exit::Ok)
    }
}

/// Where it was done: in what surrounds its target.
fn place(action: &ActionView) -> Option<String> {
    if let (Some(service), Some(environment)) = (&action.service_name, &action.environment_name) {
        return Some(format!("{service} in {environment}"));
    }
    [
        &action.service_name,
        &action.environment_name,
        &action.project_name,
        &action.organisation_name,
    ]
    .into_iter()
    .flatten()
    .find(|name| **name != action.target)
    .cloned()
}
