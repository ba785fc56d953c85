//! Times in which no work is granted.

use chrono::{DateTime, Utc};
use clap::{Args, Subcommand};
use flamingock::wire::policy::{FreezeEndRequest, FreezePage, FreezeRequest, FreezeView};

use crate::args::{self, Paging};
use crate::context::Context;
use crate::failure::{Exit, Failure, Outcome};
use crate::output::{DIM, Output, WARN};
use crate::table::{Cell, Table};
use crate::{moment, paging, text};

/// Times in which no work is granted
#[derive(Debug, Subcommand)]
pub enum Freeze {
    /// Freeze windows of the environment, newest first
    #[command(visible_alias = "ls")]
    List(Paging),
    /// Let no work be granted for a time; what is up to date still starts
    Start(Start),
    /// End a window before its time
    End(End),
}

#[derive(Debug, Args)]
pub struct Start {
    /// Told to every application that is stopped by it
    #[arg(long, value_parser = args::reason)]
    reason: String,
    /// When it begins, as 2026-01-31T08:00Z or +2h; now if left out
    #[arg(long, value_parser = moment::parse, allow_hyphen_values = true, value_name = "TIME")]
    from: Option<DateTime<Utc>>,
    /// When it ends, likewise; until a person ends it if left out
    #[arg(long, value_parser = moment::parse, allow_hyphen_values = true, value_name = "TIME")]
    until: Option<DateTime<Utc>>,
    /// The whole environment, even where --service or the profile names a service
    #[arg(long)]
    whole_environment: bool,
}

#[derive(Debug, Args)]
pub struct End {
    /// Its number
    freeze: i64,
    /// Why; kept for good
    #[arg(long, value_parser = args::reason)]
    reason: String,
}

impl Freeze {
    pub async fn run(self, context: &Context) -> Outcome {
        let admin = context.admin()?;
        match self {
            Self::List(paging) => {
                let environment = context.environment(&admin).await?;
                let listed = paging::list(&paging, async |page| {
                    let page = admin.policies(environment.id).freezes(page).await?;
                    Ok((page.freezes, page.next))
                })
                .await?;
                if context.out.is_json() {
                    context.out.json(&FreezePage {
                        freezes: listed.items,
                        next: listed.next,
                    })?;
                    return Ok(Exit::Ok);
                }
                print(context.out, &listed.items)?;
                listed.remark(context.out, "windows");
            }
            Self::Start(start) => {
                let whole = start.whole_environment || context.wanted()?.service.is_none();
                let (environment_id, service_ids) = if whole {
                    (context.environment(&admin).await?.id, None)
                } else {
                    let scope = context.service(&admin).await?.scope;
                    (scope.environment_id, Some(vec![scope.service_id]))
                };
                let request = FreezeRequest {
                    starts_at: start.from,
                    ends_at: start.until,
                    reason: start.reason,
                    service_ids,
                };
                one(
                    context.out,
                    &admin.policies(environment_id).freeze(&request).await?,
                )?;
            }
            Self::End(end) => {
                let request = FreezeEndRequest { reason: end.reason };
                one(context.out, &admin.freezes().end(end.freeze, &request).await?)?;
            }
        }
        Ok(Exit::Ok)
    }
}

fn one(out: Output, freeze: &FreezeView) -> Result<(), Failure> {
    if out.is_json() {
        return out.json(freeze);
    }
    print(out, std::slice::from_ref(freeze))
}

fn print(out: Output, freezes: &[FreezeView]) -> Result<(), Failure> {
    let now = Context::now();
    let mut table = Table::new(&["FREEZE", "ACTIVE", "FROM", "UNTIL", "SERVICES", "BY", "REASON"]);
    for freeze in freezes {
        let services = text::names(freeze.service_ids.as_deref(), freeze.service_names.as_deref());
        table.row([
            freeze.freeze_id.into(),
            if freeze.active {
                Cell::styled("yes", WARN)
            } else {
                Cell::styled("no", DIM)
            },
            Cell::time(freeze.starts_at, now),
            freeze
                .ended_at
                .or(freeze.ends_at)
                .map_or_else(|| "a person ends it".into(), |end| Cell::time(end, now)),
            services.unwrap_or_else(|| "all".to_owned()).into(),
            text::who(&freeze.created_by).into(),
            freeze.reason.as_str().into(),
        ]);
    }
    out.table(&table, "There is no freeze window.")
}
