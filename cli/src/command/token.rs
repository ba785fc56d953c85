//! API tokens.

use std::time::Duration;

use chrono::{DateTime, Utc};
use clap::{Args, Subcommand, ValueEnum};
use flamingock::admin::Admin;
use flamingock::wire::token::{
    TokenCreateRequest, TokenPage, TokenRevocationRequest, TokenRole, TokenRotationRequest, TokenView,
};

use crate::args::Paging;
use crate::context::Context;
use crate::failure::{Exit, Failure, Outcome};
use crate::output::{BAD, DIM, GOOD, WARN};
use crate::table::{Cell, Table};
use crate::{moment, paging, prompt, reach, text, time};

/// API tokens of an organisation
#[derive(Debug, Subcommand)]
pub enum Token {
    /// Tokens, newest first; values are never shown
    #[command(visible_alias = "ls")]
    List(List),
    /// Make one; its value is printed once, to standard output
    Create(Create),
    /// Make another value in its place; the old one works on for a while
    Rotate(Rotate),
    /// End it for good, within seconds
    Revoke(Revoke),
}

#[derive(Debug, Args)]
pub struct List {
    #[command(flatten)]
    paging: Paging,
}

#[derive(Debug, Args)]
pub struct Create {
    /// Its name
    name: String,
    /// What it may: run changes, read, decide, or manage
    #[arg(long, value_enum)]
    role: Role,
    /// For the whole organisation instead of one project
    #[arg(long, conflicts_with_all = ["only_environment", "only_service"])]
    whole_organisation: bool,
    /// Only this environment of the project; may be repeated
    #[arg(long, value_name = "ENVIRONMENT")]
    only_environment: Vec<String>,
    /// Only this service of the project; may be repeated
    #[arg(long, value_name = "SERVICE")]
    only_service: Vec<String>,
    /// When it ends, as 2026-12-31, 2026-12-31T08:00Z or +90d; not by itself if left out
    #[arg(long, value_parser = moment::parse, allow_hyphen_values = true, value_name = "TIME")]
    expires: Option<DateTime<Utc>>,
    /// Why; kept for good
    #[arg(long)]
    reason: Option<String>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Role {
    Runner,
    Viewer,
    Operator,
    Admin,
}

#[derive(Debug, Args)]
pub struct Rotate {
    /// Its number
    token: i64,
    /// How long the old value works on; a day if left out, `0s` to end it at once
    #[arg(long, value_parser = humantime::parse_duration, value_name = "DURATION")]
    overlap: Option<Duration>,
    /// Why; kept for good
    #[arg(long)]
    reason: Option<String>,
}

#[derive(Debug, Args)]
pub struct Revoke {
    /// Its number
    token: i64,
    /// Why; kept for good
    #[arg(long)]
    reason: Option<String>,
}

impl Token {
    pub async fn run(self, context: &Context) -> Outcome {
        let admin = context.admin()?;
        match self {
            Self::List(command) => command.run(context, &admin).await,
            Self::Create(command) => command.run(context, &admin).await,
            Self::Rotate(command) => command.run(context, &admin).await,
            Self::Revoke(command) => command.run(context, &admin).await,
        }
    }
}

impl List {
    async fn run(self, context: &Context, admin: &Admin) -> Outcome {
        let organisation = reach::organisation(admin, context.global.organisation.as_deref()).await?;
        let listed = paging::list(&self.paging, async |page| {
            let page = admin.tokens().list(organisation.id, page).await?;
            Ok((page.tokens, page.next))
        })
        .await?;
        if context.out.is_json() {
            context.out.json(&TokenPage {
                tokens: listed.items,
                next: listed.next,
            })?;
            return Ok(Exit::Ok);
        }
        context.out.table(
            &table(&listed.items),
            &format!("{} has no API tokens within reach.", organisation.name),
        )?;
        listed.remark(context.out, "tokens");
        Ok(Exit::Ok)
    }
}

impl Create {
    async fn run(self, context: &Context, admin: &Admin) -> Outcome {
        // Whoever writes `-s orders` here wants a token for orders, and would get one for the whole project.
        for (flag, given, variable) in [
            (
                "environment",
                &context.global.environment,
                "FLAMINGOCK_ENVIRONMENT",
            ),
            ("service", &context.global.service, "FLAMINGOCK_SERVICE"),
        ] {
            if given.is_some() && *given != std::env::var(variable).ok() {
                return Err(Failure::usage(format!("--{flag} does not restrict a token"))
                    .hint(format!("--only-{flag} NAME does")));
            }
        }
        let identity = admin.identity().await?;
        let (organisation_id, project) = if self.whole_organisation {
            let organisation = reach::organisation(admin, context.global.organisation.as_deref()).await?;
            (organisation.id, None)
        } else {
            let project = reach::project(&identity, &context.wanted()?)?;
            (project.organisation.id, Some(project))
        };
        let request = TokenCreateRequest {
            name: self.name,
            role: match self.role {
                Role::Runner => TokenRole::Runner,
                Role::Viewer => TokenRole::Viewer,
                Role::Operator => TokenRole::Operator,
                Role::Admin => TokenRole::Admin,
            },
            project_id: project.map(|project| project.project_id),
            environment_ids: match project {
                Some(project) if !self.only_environment.is_empty() => {
                    Some(reach::environments_of(admin, &identity, project, &self.only_environment).await?)
                }
                _ => None,
            },
            service_ids: match project {
                Some(project) if !self.only_service.is_empty() => {
                    Some(reach::services_of(admin, &identity, project, &self.only_service).await?)
                }
                _ => None,
            },
            expires_at: self.expires,
            reason: self.reason,
        };
        let created = admin.tokens().create(organisation_id, &request).await?;
        if context.out.is_json() {
            context.out.json(&created)?;
            return Ok(Exit::Ok);
        }
        context.out.note(&format!(
            "Token {} ({}, number {}; for {}). Keep its value now: nobody can show it again.",
            text::safe(&created.token.name, false),
            created.token.role,
            created.token.token_id,
            reach_of(&created.token)
        ));
        context.out.print(&format!("{}\n", created.value))?;
        Ok(Exit::Ok)
    }
}

impl Rotate {
    async fn run(self, context: &Context, admin: &Admin) -> Outcome {
        let request = TokenRotationRequest {
            overlap_seconds: self.overlap.map(|overlap| overlap.as_secs()),
            reason: self.reason,
        };
        let rotated = admin.tokens().rotate(self.token, &request).await?;
        if context.out.is_json() {
            context.out.json(&rotated)?;
            return Ok(Exit::Ok);
        }
        let until = rotated
            .replaced
            .expires_at
            .filter(|_| rotated.replaced.revoked_at.is_none())
            .map_or_else(
                || "is ended".to_owned(),
                |end| format!("works until {}", time::shown(end, Context::now())),
            );
        context.out.note(&format!(
            "Token {} has the number {} now; the old value {until}. Keep the new one: nobody can show it again.",
            text::safe(&rotated.token.name, false),
            rotated.token.token_id
        ));
        context.out.print(&format!("{}\n", rotated.value))?;
        Ok(Exit::Ok)
    }
}

impl Revoke {
    async fn run(self, context: &Context, admin: &Admin) -> Outcome {
        if !context.global.yes {
            let token = admin.tokens().view(self.token).await?;
            let used = token.last_used_at.map_or_else(
                || "never used".to_owned(),
                |at| format!("last used {}", time::shown(at, Context::now())),
            );
            prompt::confirm(
                &format!(
                    "Revoke {} ({}, {used}) for good?",
                    text::safe(&token.name, false),
                    token.role
                ),
                false,
            )?;
        }
        let request = TokenRevocationRequest { reason: self.reason };
        let revoked = admin.tokens().revoke(self.token, &request).await?;
        if context.out.is_json() {
            context.out.json(&revoked)?;
            return Ok(Exit::Ok);
        }
        context
            .out
            .table(&table(std::slice::from_ref(&revoked)), "Nothing was revoked.")?;
        Ok(Exit::Ok)
    }
}

fn table(tokens: &[TokenView]) -> Table {
    let now = Context::now();
    let mut table = Table::new(&[
        "TOKEN",
        "NAME",
        "ROLE",
        "STATE",
        "REACH",
        "LAST USED",
        "ENDS",
        "HINT",
    ]);
    for token in tokens {
        let (state, style) = if token.alive {
            ("good", GOOD)
        } else if token.revoked_at.is_some() {
            ("revoked", BAD)
        } else {
            ("ended", DIM)
        };
        let state = match token.replaced_by {
            Some(by) => Cell::styled(format!("{state}, replaced by {by}"), WARN),
            None => Cell::styled(state, style),
        };
        table.row([
            token.token_id.into(),
            token.name.as_str().into(),
            token.role.as_str().into(),
            state,
            reach_of(token).into(),
            token
                .last_used_at
                .map_or_else(|| "never".to_owned(), |at| time::relative(at, now))
                .into(),
            token
                .expires_at
                .map_or_else(|| "-".to_owned(), |end| time::shown(end, now))
                .into(),
            token.hint.as_deref().into(),
        ]);
    }
    table
}

fn reach_of(token: &TokenView) -> String {
    let Some(project) = token.project_id else {
        return match token.organisation_id {
            Some(_) => "the organisation".to_owned(),
            None => "the server".to_owned(),
        };
    };
    let mut reach = format!("project {project}");
    for (what, ids) in [
        ("environments", &token.environment_ids),
        ("services", &token.service_ids),
    ] {
        if let Some(ids) = ids {
            let ids: Vec<String> = ids.iter().map(i64::to_string).collect();
            reach = format!("{reach}, {what} {}", ids.join(" "));
        }
    }
    reach
}
