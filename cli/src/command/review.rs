//! People's word on the content of changes: approvals and accepted checksums.

use clap::{Args, Subcommand};
use flamingock::admin::{Admin, PageQuery};
use flamingock::wire::policy::{
    ApprovalDecision, ApprovalPage, ApprovalRequest, ApprovalView, ChecksumPage, ChecksumRequest,
    ChecksumSource, PendingApproval,
};

use crate::args::{self, Paging};
use crate::context::Context;
use crate::failure::{Exit, Failure, Outcome};
use crate::output::{GOOD, WARN};
use crate::reach::Service;
use crate::sheet::Sheet;
use crate::table::{Cell, Table};
use crate::{paging, prompt, text, time};

#[derive(Debug, Args)]
pub struct Approve {
    /// Id of the change
    change: String,
    /// The content that you approve, as `approval list` or `plan --json` shows it. Without it, what waits under this id
    /// is shown and you are asked. Of clients that send no checksum, the submission without one is approved
    #[arg(long, value_name = "CHECKSUM", value_parser = args::checksum)]
    checksum: Option<String>,
    /// Why; kept for good
    #[arg(long, value_parser = args::reason)]
    reason: String,
    /// Take back what was approved
    #[arg(long)]
    withdraw: bool,
}

/// Approvals of changes
#[derive(Debug, Subcommand)]
pub enum Approval {
    /// What waits for approval, and the decisions, newest first
    #[command(visible_alias = "ls")]
    List(Paging),
}

/// Accepted contents of applied changes
#[derive(Debug, Subcommand)]
pub enum Checksum {
    /// Accepted checksums, newest first
    #[command(visible_alias = "ls")]
    List(Paging),
    /// Accept another content of an applied change
    Accept(Accept),
}

#[derive(Debug, Args)]
pub struct Accept {
    /// Id of the change
    change: String,
    /// The checksum, as the refusal or `plan --json` names it
    #[arg(value_parser = args::checksum)]
    checksum: String,
    /// Why; kept for good
    #[arg(long, value_parser = args::reason)]
    reason: String,
}

impl Approve {
    pub async fn run(self, context: &Context) -> Outcome {
        let admin = context.admin()?;
        let service = context.service(&admin).await?;
        let decision = if self.withdraw {
            ApprovalDecision::Withdrawn
        } else {
            ApprovalDecision::Approved
        };
        let checksum = match self.checksum {
            None if !self.withdraw => waiting(context, &admin, &service, &self.change).await?,
            named => named,
        };
        let request = ApprovalRequest {
            change_id: self.change,
            checksum,
            reason: self.reason,
            decision: Some(decision),
        };
        let approval = admin.reviews(service.scope).approve(&request).await?;
        if context.out.is_json() {
            context.out.json(&approval)?;
            return Ok(Exit::Ok);
        }
        context
            .out
            .table(&decisions(&[approval]), "Nothing was recorded.")?;
        Ok(Exit::Ok)
    }
}

/// The server's longest list of what waits.
const LISTED_MAX: usize = 500;

/// The content of the change that waits, after it was shown: what was seen is what is approved.
async fn waiting(
    context: &Context,
    admin: &Admin,
    service: &Service,
    change: &str,
) -> Result<Option<String>, Failure> {
    let page = PageQuery {
        after: None,
        limit: Some(1),
    };
    let pending = admin.reviews(service.scope).approvals(&page).await?.pending;
    let all_are_listed = pending.len() < LISTED_MAX;
    let waiting: Vec<PendingApproval> = pending
        .into_iter()
        .filter(|pending| pending.change_id == change)
        .collect();
    let shown = text::safe(change, false);
    match waiting.as_slice() {
        [] => {
            context.out.note(&if all_are_listed {
                format!(
                    "Nothing waits under this id in {service}: {shown} is approved for submissions without a checksum."
                )
            } else {
                format!(
                    "{shown} is not among the {LISTED_MAX} that wait longest in {service}; it is approved for submissions \
                     without a checksum."
                )
            });
            Ok(None)
        }
        [one] => {
            let Some(checksum) = &one.checksum else {
                return Ok(None);
            };
            context.out.note(&format!(
                "{shown} by {} waits in {service} since {}, with the checksum {}",
                text::safe(one.author.as_deref().unwrap_or("nobody that is named"), false),
                time::shown(one.first_asked_at, Context::now()),
                text::safe(checksum, false)
            ));
            prompt::confirm("Approve this content?", context.global.yes)?;
            Ok(Some(checksum.clone()))
        }
        several => Err(Failure::usage(format!(
            "{change} waits in {service} with several contents: say with --checksum which one you approve"
        ))
        .with_details(several.iter().map(|one| {
            format!(
                "{}, last asked {}",
                one.checksum.as_deref().unwrap_or("without a checksum"),
                time::relative(one.last_asked_at, Context::now())
            )
        }))),
    }
}

impl Approval {
    pub async fn run(self, context: &Context) -> Outcome {
        let Self::List(paging) = self;
        let admin = context.admin()?;
        let service = context.service(&admin).await?;
        let pending = std::cell::RefCell::new(Vec::new());
        let listed = paging::list(&paging, async |page| {
            let page = admin.reviews(service.scope).approvals(page).await?;
            pending.borrow_mut().extend(page.pending);
            Ok((page.approvals, page.next))
        })
        .await?;
        let pending = pending.into_inner();
        if context.out.is_json() {
            context.out.json(&ApprovalPage {
                pending,
                approvals: listed.items,
                next: listed.next,
            })?;
            return Ok(Exit::Ok);
        }
        if pending.is_empty() && listed.items.is_empty() {
            context
                .out
                .note(&format!("No change of {service} waits for approval."));
            return Ok(Exit::Ok);
        }
        let now = Context::now();
        let mut sheet = Sheet::default();
        if !pending.is_empty() {
            sheet.section("Waiting for approval");
            let mut table = Table::new(&["CHANGE", "AUTHOR", "SINCE", "LAST ASKED", "CHECKSUM"]);
            for change in &pending {
                table.row([
                    change.change_id.as_str().into(),
                    change.author.as_deref().into(),
                    Cell::time(change.first_asked_at, now),
                    time::relative(change.last_asked_at, now).into(),
                    change.checksum.as_deref().into(),
                ]);
            }
            sheet.table(&table);
        }
        if !listed.items.is_empty() {
            sheet.section("Decisions");
            sheet.table(&decisions(&listed.items));
        }
        context.out.print(sheet.into_text().trim_start_matches('\n'))?;
        listed.remark(context.out, "decisions");
        Ok(Exit::Ok)
    }
}

fn decisions(approvals: &[ApprovalView]) -> Table {
    let now = Context::now();
    let mut table = Table::new(&["CHANGE", "DECISION", "WHEN", "BY", "REASON", "CHECKSUM"]);
    for approval in approvals {
        let decision = match approval.decision {
            ApprovalDecision::Approved => Cell::styled("approved", GOOD),
            ApprovalDecision::Withdrawn => Cell::styled("withdrawn", WARN),
        };
        table.row([
            approval.change_id.as_str().into(),
            decision,
            Cell::time(approval.decided_at, now),
            text::who(&approval.actor).into(),
            approval.reason.as_str().into(),
            approval.checksum.as_deref().into(),
        ]);
    }
    table
}

impl Checksum {
    pub async fn run(self, context: &Context) -> Outcome {
        let admin = context.admin()?;
        let service = context.service(&admin).await?;
        let reviews = admin.reviews(service.scope);
        let page = match self {
            Self::List(paging) => {
                let listed = paging::list(&paging, async |page| {
                    let page = reviews.checksums(page).await?;
                    Ok((page.checksums, page.next))
                })
                .await?;
                listed.remark(context.out, "checksums");
                ChecksumPage {
                    checksums: listed.items,
                    next: listed.next,
                }
            }
            Self::Accept(accept) => {
                let request = ChecksumRequest {
                    change_id: accept.change,
                    checksum: accept.checksum,
                    reason: accept.reason,
                };
                let accepted = reviews.accept_checksum(&request).await?;
                if context.out.is_json() {
                    context.out.json(&accepted)?;
                    return Ok(Exit::Ok);
                }
                ChecksumPage {
                    checksums: vec![accepted],
                    next: None,
                }
            }
        };
        print(context, &page)?;
        Ok(Exit::Ok)
    }
}

fn print(context: &Context, page: &ChecksumPage) -> Result<(), Failure> {
    if context.out.is_json() {
        return context.out.json(page);
    }
    let now = Context::now();
    let mut table = Table::new(&["CHANGE", "FROM", "WHEN", "BY", "REASON", "CHECKSUM"]);
    for checksum in &page.checksums {
        let source = match checksum.source {
            ChecksumSource::Runner => "the run that applied it",
            ChecksumSource::FirstSeen => "the first start that told",
            ChecksumSource::Person => "a person",
            ChecksumSource::Unknown => "unknown",
        };
        table.row([
            checksum.change_id.as_str().into(),
            source.into(),
            Cell::time(checksum.recorded_at, now),
            checksum.actor.as_deref().map(text::who).into(),
            checksum.reason.as_deref().into(),
            checksum.checksum.as_str().into(),
        ]);
    }
    context.out.table(&table, "No checksum is recorded.")
}
