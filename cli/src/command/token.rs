//! API tokens.

use std::time::Duration;

use chrono::{DateTime, Utc};
use clap::{Args, Subcommand, ValueEnum};
use flamingock::admin::{Admin, TokenQuery};
use flamingock::wire::token::{
    CreatedToken, RootTokenCreateRequest, TokenCreateRequest, TokenPage, TokenRevocationRequest, TokenRole,
    TokenRotationRequest, TokenView,
};

use super::token_owner::{Owner, chosen};
use crate::args::Paging;
use crate::context::Context;
use crate::failure::{Exit, Failure, Outcome};
use crate::output::{BAD, DIM, GOOD, WARN};
use crate::table::{Cell, Table};
use crate::{moment, paging, prompt, reach, text, time};

/// API tokens of an organisation, or with --root of the server
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
    /// The root tokens, of the server itself
    #[arg(long)]
    root: bool,
    /// Only those that are still good
    #[arg(long)]
    good: bool,
    #[command(flatten)]
    paging: Paging,
}

#[derive(Debug, Args)]
pub struct Create {
    /// Its name
    name: String,
    /// What it may: run changes, read, decide, manage, or everything on the whole server
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

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Role {
    Runner,
    Viewer,
    Operator,
    Admin,
    Root,
}

#[derive(Debug, Args)]
pub struct Rotate {
    /// By name or number
    #[arg(value_name = "TOKEN")]
    which: String,
    /// Look among the root tokens, of the server itself
    #[arg(long)]
    root: bool,
    /// How long the old value works on; a day if left out, `0s` to end it at once
    #[arg(long, value_parser = humantime::parse_duration, value_name = "DURATION")]
    overlap: Option<Duration>,
    /// Why; kept for good
    #[arg(long)]
    reason: Option<String>,
}

#[derive(Debug, Args)]
pub struct Revoke {
    /// By name or number
    #[arg(value_name = "TOKEN")]
    which: String,
    /// Look among the root tokens, of the server itself
    #[arg(long)]
    root: bool,
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
        let owner = Owner::of(context, admin, self.root).await?;
        let listed = paging::list(&self.paging, async |page| {
            let query = TokenQuery {
                page: page.clone(),
                name: None,
                alive: self.good.then_some(true),
            };
            let page = owner.tokens(admin, &query).await?;
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
            &format!("{owner} has no such API tokens within reach."),
        )?;
        listed.remark(context.out, "tokens");
        Ok(Exit::Ok)
    }
}

impl Create {
    async fn run(self, context: &Context, admin: &Admin) -> Outcome {
        if self.role == Role::Root {
            return self.run_root(context, admin).await;
        }
        // Whoever writes `-s orders` here wants a token for orders, and would get one for the whole project.
        for (flag, given) in [
            ("environment", context.flags.name("environment")),
            ("service", context.flags.name("service")),
        ] {
            if given {
                return Err(Failure::usage(format!("--{flag} does not restrict a token"))
                    .hint(format!("--only-{flag} NAME does")));
            }
        }
        let identity = admin.identity().await?;
        let (organisation_id, project) = if self.whole_organisation {
            let organisation = reach::organisation(admin, context.organisation()?.as_deref()).await?;
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
                Role::Root => TokenRole::Root,
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
        show_value(context, &created)
    }

    async fn run_root(self, context: &Context, admin: &Admin) -> Outcome {
        if self.whole_organisation || !self.only_environment.is_empty() || !self.only_service.is_empty() {
            return Err(
                Failure::usage("a root token is for the whole server and cannot be restricted")
                    .hint("choose another --role for a part of it"),
            );
        }
        let request = RootTokenCreateRequest {
            name: self.name,
            expires_at: self.expires,
            reason: self.reason,
        };
        show_value(context, &admin.tokens().create_root(&request).await?)
    }
}

/// The value alone goes to standard output, so that it can be kept without being read.
fn show_value(context: &Context, created: &CreatedToken) -> Outcome {
    if context.out.is_json() {
        context.out.json(created)?;
        return Ok(Exit::Ok);
    }
    context.out.note(&format!(
        "Token {} ({}, number {}; for {}). Keep its value now: nobody can show it again.",
        text::safe(&created.token.name, false),
        created.token.role,
        created.token.token_id,
        text::safe(&reach_of(&created.token), false)
    ));
    context.out.print(&format!("{}\n", created.value))?;
    Ok(Exit::Ok)
}

impl Rotate {
    async fn run(self, context: &Context, admin: &Admin) -> Outcome {
        let number = chosen(context, admin, &self.which, self.root, |token| {
            token.replaced_by.is_none()
        })
        .await?;
        let request = TokenRotationRequest {
            overlap_seconds: self.overlap.map(|overlap| overlap.as_secs()),
            reason: self.reason,
        };
        let rotated = admin.tokens().rotate(number, &request).await?;
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
        let number = chosen(context, admin, &self.which, self.root, |_| true).await?;
        if !context.global.yes {
            let token = admin.tokens().view(number).await?;
            let used = token.last_used_at.map_or_else(
                || "never used".to_owned(),
                |at| format!("last used {}", time::shown(at, Context::now())),
            );
            prompt::confirm(
                &format!(
                    "Revoke {} ({}, number {number}; for {}; {used}) for good?",
                    text::safe(&token.name, false),
                    token.role,
                    text::safe(&reach_of(&token), false)
                ),
                false,
            )?;
        }
        let request = TokenRevocationRequest { reason: self.reason };
        let revoked = admin.tokens().revoke(number, &request).await?;
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
                .map_or_else(|| "never".into(), |at| Cell::time(at, now)),
            token.expires_at.map(|end| Cell::time(end, now)).into(),
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
    let project = token.project_name.clone().unwrap_or_else(|| project.to_string());
    let environments = text::names(
        token.environment_ids.as_deref(),
        token.environment_names.as_deref(),
    );
    let services = text::names(token.service_ids.as_deref(), token.service_names.as_deref());
    let services = services
        .map(|services| format!("{services} in "))
        .unwrap_or_default();
    let environments = environments
        .map(|environments| format!("{environments} of "))
        .unwrap_or_default();
    format!("{services}{environments}{project}")
}
