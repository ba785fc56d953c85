//! Who holds which lock.

use std::cell::Cell as Shared;

use chrono::{DateTime, Utc};
use clap::{Args, Subcommand};
use flamingock::admin::Admin;
use flamingock::wire::lock::{LockPage, LockRecord, LockReleaseRequest, LockStanding};

use crate::args::{self, Paging};
use crate::context::Context;
use crate::failure::{Exit, Failure, Outcome};
use crate::output::{DIM, GOOD, WARN};
use crate::reach::Service;
use crate::sheet::Sheet;
use crate::table::{Cell, Table};
use crate::{paging, prompt, text, time};

/// Who holds which lock
#[derive(Debug, Subcommand)]
pub enum Lock {
    /// The locks of an environment: holder, since when, last sign of life, end of the lease
    #[command(visible_alias = "ls")]
    List(Paging),
    /// Free the service's lock by force
    Release(Release),
}

#[derive(Debug, Args)]
pub struct Release {
    /// Why; kept for good
    #[arg(long, value_parser = args::reason)]
    reason: String,
    /// Fence of the grant that is meant, as `lock list` shows it; without it the lock is shown and you are asked
    #[arg(long, value_name = "FENCE")]
    expect_fence: Option<i64>,
    /// Release it although its holder is alive. It may be at work this moment: stop it first
    #[arg(long)]
    insist: bool,
}

impl Lock {
    pub async fn run(self, context: &Context) -> Outcome {
        match self {
            Self::List(paging) => list(&paging, context).await,
            Self::Release(command) => command.run(context).await,
        }
    }
}

async fn list(paging: &Paging, context: &Context) -> Outcome {
    let admin = context.admin()?;
    let environment = context.environment(&admin).await?;
    let judged_at = Shared::new(Context::now());
    let listed = paging::list(paging, async |page| {
        let page = admin.locks().list(environment.id, page).await?;
        judged_at.set(page.as_of);
        Ok((page.locks, page.next))
    })
    .await?;
    let as_of = judged_at.get();
    if context.out.is_json() {
        context.out.json(&LockPage {
            locks: listed.items,
            as_of,
            next: listed.next,
        })?;
        return Ok(Exit::Ok);
    }
    let mut table = Table::new(&[
        "SERVICE",
        "LOCK",
        "SINCE",
        "LAST BEAT",
        "EXPIRES",
        "FENCE",
        "EXECUTION",
        "HOLDER",
    ]);
    for lock in &listed.items {
        table.row([
            lock.service_name.as_str().into(),
            standing(lock.standing),
            lock.held_since.map(|at| time::relative(at, as_of)).into(),
            lock.last_beat_at.map(|at| time::relative(at, as_of)).into(),
            lock.expires_at.map(|at| Cell::time(at, as_of)).into(),
            lock.fence.into(),
            lock.execution_id.into(),
            lock.owner.as_deref().into(),
        ]);
    }
    context.out.table(
        &table,
        &format!("No service has ever taken a lock in {}.", environment.name),
    )?;
    listed.remark(context.out, "locks");
    Ok(Exit::Ok)
}

fn standing(standing: LockStanding) -> Cell {
    match standing {
        LockStanding::Held => Cell::styled("held", GOOD),
        LockStanding::Expired => Cell::styled("expired", WARN),
        LockStanding::Free => Cell::styled("free", DIM),
        LockStanding::Unknown => Cell::from("unknown"),
    }
}

/// The lock in one line.
pub fn sentence(lock: &LockRecord, now: DateTime<Utc>) -> String {
    let owner = lock.owner.as_deref().unwrap_or("nobody");
    match (lock.standing, lock.expires_at) {
        (LockStanding::Held, Some(end)) => format!(
            "held by {owner} under fence {}, until {}",
            lock.fence,
            time::shown(end, now)
        ),
        (LockStanding::Expired, Some(end)) => format!(
            "ran out on {owner} at {}; nobody has taken it over",
            time::shown(end, now)
        ),
        (LockStanding::Free, _) => format!("free (latest fence {})", lock.fence),
        _ => format!("unknown (fence {})", lock.fence),
    }
}

impl Release {
    async fn run(self, context: &Context) -> Outcome {
        let admin = context.admin()?;
        let service = context.service(&admin).await?;
        let expected_fence = match self.expect_fence {
            Some(fence) => fence,
            None => look(context, &admin, &service).await?,
        };
        let request = LockReleaseRequest {
            expected_fence,
            reason: self.reason,
            insist: self.insist,
        };
        let answer = admin.locks().release(service.scope, &request).await?;
        if context.out.is_json() {
            context.out.json(&answer)?;
            return Ok(Exit::Ok);
        }
        let mut sheet = Sheet::default();
        sheet.title("Released.", GOOD, &answer.message);
        for change in &answer.in_progress {
            let then = if change.needs_person {
                "waits for a person now"
            } else {
                "the next start repeats it"
            };
            sheet.item(&format!(
                "{} was {} (entry {}): {then}",
                change.change_id, change.state, change.seq
            ));
        }
        context.out.print(&sheet.into_text())?;
        Ok(Exit::Ok)
    }
}

/// Shows the lock and asks: the grant that was seen is the one that is released.
async fn look(context: &Context, admin: &Admin, service: &Service) -> Result<i64, Failure> {
    let all = Paging {
        limit: 0,
        after: None,
    };
    let locks = paging::list(&all, async |page| {
        let page = admin.locks().list(service.scope.environment_id, page).await?;
        Ok((page.locks, page.next))
    })
    .await?;
    let lock = locks
        .items
        .into_iter()
        .find(|lock| lock.service_id == service.scope.service_id)
        .ok_or_else(|| Failure::failed(format!("{service} has never had a lock")))?;
    if lock.standing == LockStanding::Free {
        return Err(Failure::failed(format!(
            "nobody holds the lock of {service}: there is nothing to release"
        )));
    }
    context.out.note(&format!(
        "Lock of {service}: {}.",
        text::safe(&sentence(&lock, Context::now()), false)
    ));
    prompt::confirm("Release it by force?", context.global.yes)?;
    Ok(lock.fence)
}
