//! Changes that a person must decide about.

use std::fmt::Write as _;

use chrono::{DateTime, Utc};
use clap::{Args, Subcommand, ValueEnum};
use flamingock::admin::{Admin, AuditQuery};
use flamingock::wire::ErrorCode;
use flamingock::wire::audit::{AuditEntryView, AuditView};
use flamingock::wire::explanation::Remedy;
use flamingock::wire::issue::{
    IssueDetail, IssuePage, IssueStanding, Resolution, ResolutionKind, ResolutionRequest,
};

use crate::args::{self, Paging};
use crate::context::Context;
use crate::failure::{Exit, Failure, Outcome};
use crate::output::{BAD, DIM, Output, WARN, state_style};
use crate::reach::Service;
use crate::sheet::Sheet;
use crate::table::{Cell, Table};
use crate::{paging, prompt, text, time};

/// Changes that stop a service until a person decides
#[derive(Debug, Subcommand)]
pub enum Issue {
    /// Changes that stop the service until a person decides
    #[command(visible_alias = "ls")]
    List(Paging),
    /// Everything about one of them: what happened, what to check, what to do
    #[command(visible_alias = "describe")]
    Get(Get),
    /// Record what you found in the target system
    Resolve(Resolve),
}

#[derive(Debug, Args)]
pub struct Get {
    /// Id of the change
    change: String,
}

#[derive(Debug, Args)]
pub struct Resolve {
    /// Ids of the changes; several are recorded together or not at all
    #[arg(required = true, value_name = "CHANGE")]
    changes: Vec<String>,
    /// What you found: `applied`, it is in place and must never run again; `rolled-back`, nothing of it is left and it
    /// runs at the next start
    #[arg(long = "as", value_enum, ignore_case = true, value_name = "FOUND")]
    found: Found,
    /// Why, and how you know; kept in the audit for good
    #[arg(long, value_parser = args::reason)]
    reason: String,
    /// Sequence of the entry that you decide about, once for each change in the same order; without it the changes are
    /// shown and you are asked, also whether an earlier decision is to be replaced
    #[arg(long, value_name = "SEQ")]
    expect_seq: Vec<i64>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Found {
    Applied,
    #[value(alias = "rolled_back")]
    RolledBack,
}

impl Issue {
    pub async fn run(self, context: &Context) -> Outcome {
        match self {
            Self::List(paging) => list(&paging, context).await,
            Self::Get(command) => command.run(context).await,
            Self::Resolve(command) => command.run(context).await,
        }
    }
}

async fn list(paging: &Paging, context: &Context) -> Outcome {
    let admin = context.admin()?;
    let service = context.service(&admin).await?;
    let listed = paging::list(paging, async |page| {
        let page = admin.issues(service.scope).list(page).await?;
        Ok((page.issues, page.next))
    })
    .await?;
    if context.out.is_json() {
        context.out.json(&IssuePage {
            issues: listed.items,
            next: listed.next,
        })?;
        return Ok(Exit::Ok);
    }
    let now = Context::now();
    let mut table = Table::new(&["CHANGE", "STATE", "SEQ", "SINCE", "STAGE", "TARGET", "RUNNER"]);
    for issue in &listed.items {
        table.row([
            issue.change_id.as_str().into(),
            Cell::styled(&issue.state, state_style(&issue.state)),
            issue.seq.into(),
            Cell::time(issue.since, now),
            issue.stage_id.as_deref().into(),
            issue.target_system_id.as_deref().into(),
            issue.runner_id.as_deref().into(),
        ]);
    }
    context
        .out
        .table(&table, &format!("No change of {service} waits for a person."))?;
    if !table.is_empty() {
        listed.remark(context.out, "issues");
        context
            .out
            .note("`flamingock issue get CHANGE` shows what happened and what to do.");
    }
    Ok(Exit::Ok)
}

impl Get {
    async fn run(self, context: &Context) -> Outcome {
        let admin = context.admin()?;
        let service = context.service(&admin).await?;
        let detail = admin.issues(service.scope).view(&self.change).await?;
        if context.out.is_json() {
            context.out.json(&detail)?;
        } else {
            context.out.print(&sheet(&detail, &service, Context::now()))?;
        }
        Ok(Exit::Ok)
    }
}

fn sheet(detail: &IssueDetail, service: &Service, now: DateTime<Utc>) -> String {
    let mut sheet = Sheet::default();
    let (style, standing) = match detail.standing {
        IssueStanding::NeedsDecision => (BAD, "waits for your decision"),
        IssueStanding::InProgress => (WARN, "is in progress: its runner is working on it"),
        IssueStanding::Unknown => (WARN, "stands in a way that this program does not know"),
    };
    sheet.title(&detail.change_id, style, standing);
    facts(&mut sheet, detail, service, now);
    if let Some(error) = &detail.error {
        sheet.section(&format!("Error, reported with entry {}", error.seq));
        sheet.verbatim(&error.text);
    }
    sheet.section("What happened");
    sheet.paragraph(&detail.guidance.what_happened);
    history(&mut sheet, detail, now);
    items(&mut sheet, "What may be the case", &detail.guidance.possible);
    items(&mut sheet, "What to check", &detail.guidance.check);
    items(&mut sheet, "What to do then", &detail.guidance.then);
    remedies(&mut sheet, &detail.remedies);
    sheet.into_text()
}

fn facts(sheet: &mut Sheet, detail: &IssueDetail, service: &Service, now: DateTime<Utc>) {
    sheet.fact("service", service.to_string());
    sheet.styled_fact("state", &detail.state, state_style(&detail.state));
    sheet.fact("since", time::shown(detail.since, now));
    sheet.fact("sequence", detail.seq.to_string());
    sheet.optional_fact("stage", detail.stage_id.as_deref());
    sheet.optional_fact("target", detail.target_system_id.as_deref());
    sheet.optional_fact("author", detail.author.as_deref());
    let code = [detail.class_name.as_deref(), detail.method_name.as_deref()];
    let code: Vec<&str> = code.into_iter().flatten().collect();
    sheet.optional_fact("code", (!code.is_empty()).then(|| code.join(".")));
    sheet.optional_fact("transactions", detail.tx_strategy.as_deref());
    sheet.optional_fact("recovery", detail.recovery_strategy.as_deref());
    if detail.contradicted_by_mark {
        sheet.styled_fact(
            "marker",
            "says that the change was applied, against the record",
            BAD,
        );
    }
    if let Some(told) = &detail.progress {
        sheet.fact("it got to", crate::progress::sentence(told, now));
    }
    if let Some(lock) = &detail.lock {
        sheet.fact("lock", super::lock::sentence(lock, now));
    }
}

fn history(sheet: &mut Sheet, detail: &IssueDetail, now: DateTime<Utc>) {
    let mut table = Table::new(&["SEQ", "WHEN", "STATE", "TOOK", "EXECUTION", "BY", "REMARK"]);
    for entry in &detail.history {
        table.row(super::execution::timeline_row(entry, now));
    }
    sheet.table(&table);
    if detail.history_is_cut {
        sheet.paragraph("Older entries are not shown; `flamingock audit list --history` has them.");
    }
    if !detail.attempts.is_empty() {
        sheet.section("Who held the lock");
        let mut table = Table::new(&["EXECUTION", "FENCE", "FROM", "TO", "RUNNER"]);
        for attempt in &detail.attempts {
            table.row([
                attempt.execution_id.into(),
                attempt.fence.into(),
                time::absolute(attempt.started_at).into(),
                attempt.ended_at.map(time::absolute).into(),
                attempt.runner_id.as_str().into(),
            ]);
        }
        sheet.table(&table);
    }
    if !detail.refused_starts.is_empty() {
        sheet.section("Starts that were refused, and may have run all the same");
        for refused in &detail.refused_starts {
            sheet.item(&format!(
                "{}: {}, execution {}: {}",
                time::shown(refused.refused_at, now),
                refused.runner_id,
                refused.execution_ref,
                refused.message
            ));
        }
    }
}

fn items(sheet: &mut Sheet, heading: &str, items: &[String]) {
    if !items.is_empty() {
        sheet.section(heading);
        for item in items {
            sheet.item(item);
        }
    }
}

pub fn remedies(sheet: &mut Sheet, remedies: &[Remedy]) {
    if remedies.is_empty() {
        return;
    }
    sheet.section("Commands");
    for remedy in remedies {
        sheet.paragraph(&remedy.purpose);
        if let Some(command) = remedy.command.as_deref().or(remedy.curl.as_deref()) {
            sheet.command(command);
        }
    }
}

impl Resolve {
    async fn run(self, context: &Context) -> Outcome {
        let resolution = match self.found {
            Found::Applied => ResolutionKind::Applied,
            Found::RolledBack => ResolutionKind::RolledBack,
        };
        if !self.expect_seq.is_empty() && self.expect_seq.len() != self.changes.len() {
            return Err(Failure::usage(format!(
                "{} and {} were given: say one for each change, in the same order",
                text::counted(self.changes.len(), "change"),
                text::counted(self.expect_seq.len(), "--expect-seq")
            )));
        }
        let admin = context.admin()?;
        let service = context.service(&admin).await?;
        let seqs = if self.expect_seq.is_empty() {
            self.look(context, &admin, &service).await?
        } else {
            self.expect_seq
        };
        let request = ResolutionRequest {
            resolutions: self
                .changes
                .into_iter()
                .zip(seqs)
                .map(|(change_id, expected_seq)| Resolution {
                    change_id,
                    resolution,
                    expected_seq,
                })
                .collect(),
            reason: self.reason,
        };
        let answer = admin.issues(service.scope).resolve(&request).await?;
        if context.out.is_json() {
            context.out.json(&answer)?;
            return Ok(Exit::Ok);
        }
        let mut table = Table::new(&["CHANGE", "STATE", "SEQ"]);
        for recorded in &answer.recorded {
            table.row([
                recorded.change_id.as_str().into(),
                Cell::styled(&recorded.state, state_style(&recorded.state)),
                recorded.seq.into(),
            ]);
        }
        context.out.table(&table, "Nothing was recorded.")?;
        context.out.note(match self.found {
            Found::Applied => "Recorded: it counts as applied and does not run again.",
            Found::RolledBack => "Recorded: it runs at the application's next start.",
        });
        let decided: Vec<_> = answer
            .recorded
            .iter()
            .map(|recorded| (recorded.change_id.as_str(), recorded.seq))
            .collect();
        context.out.note(&format!(
            "To undo it, before a run acts on it:\n    {}",
            undoing(&decided, self.found, &service)
        ));
        Ok(Exit::Ok)
    }

    /// Shows where the changes stand and asks: what was seen is what is decided about.
    async fn look(&self, context: &Context, admin: &Admin, service: &Service) -> Result<Vec<i64>, Failure> {
        let now = Context::now();
        let mut seqs = Vec::with_capacity(self.changes.len());
        let mut replaced = 0;
        for change in &self.changes {
            let detail = match admin.issues(service.scope).view(change).await {
                Ok(detail) => detail,
                Err(error) if error.code() == Some(ErrorCode::NoSuchIssue) => {
                    let Some(decision) = decision(admin, service, change).await? else {
                        return Err(error.into());
                    };
                    let style = state_style(&decision.state);
                    context.out.note(&format!(
                        "{} is {style}{}{style:#} since {} (entry {}), decided by {} {DIM}{}{DIM:#}",
                        text::safe(change, false),
                        text::safe(&decision.state, false),
                        time::shown(decision.received_at, now),
                        decision.seq,
                        text::safe(&text::who(&decision.actor), false),
                        text::safe(decision.note.as_deref().unwrap_or_default(), false)
                    ));
                    seqs.push(decision.seq);
                    replaced += 1;
                    continue;
                }
                Err(error) => return Err(error.into()),
            };
            let style = state_style(&detail.state);
            context.out.note(&format!(
                "{} is {style}{}{style:#} since {} (entry {}) {DIM}{}{DIM:#}",
                text::safe(change, false),
                text::safe(&detail.state, false),
                time::shown(detail.since, now),
                detail.seq,
                summary(&detail)
            ));
            seqs.push(detail.seq);
        }
        let what = match self.found {
            Found::Applied => "as applied, never to run again",
            Found::RolledBack => "as rolled back, to run at the next start",
        };
        let count = text::counted(seqs.len(), "change");
        let replacing = match replaced {
            0 => String::new(),
            1 => "Replace the decision that was taken? ".to_owned(),
            _ => format!("Replace the {replaced} decisions that were taken? "),
        };
        prompt::confirm(
            &format!("{replacing}Record {count} of {service} {what}?"),
            context.global.yes,
        )?;
        Ok(seqs)
    }
}

/// A person's decision, where it is the change's latest entry: a further one replaces it.
async fn decision(admin: &Admin, service: &Service, change: &str) -> Result<Option<AuditEntryView>, Failure> {
    let query = AuditQuery {
        view: Some(AuditView::Snapshot),
        change_ids: vec![change.to_owned()],
        ..AuditQuery::default()
    };
    let all = Paging {
        limit: 0,
        after: None,
    };
    let latest = paging::list(&all, async |page| {
        let page = admin.audit(service.scope).list(&query, page).await?;
        Ok((page.entries, page.next))
    })
    .await?;
    Ok(latest
        .items
        .into_iter()
        .find(|entry| entry.change_id == change && entry.state.starts_with("MANUAL_MARKED_")))
}

/// The command that takes the decision back: the other one, about the entries that were written.
fn undoing(decided: &[(&str, i64)], found: Found, service: &Service) -> String {
    let mut command = "flamingock issue resolve".to_owned();
    for (_, seq) in decided {
        write!(command, " --expect-seq {seq}").expect("writing to a string does not fail");
    }
    let other = match found {
        Found::Applied => "rolled-back",
        Found::RolledBack => "applied",
    };
    write!(
        command,
        " --as {other} --reason '<why>' -e {} -s {} --",
        text::quoted(&service.environment),
        text::quoted(&service.name)
    )
    .expect("writing to a string does not fail");
    for (change, _) in decided {
        write!(command, " {}", text::quoted(change)).expect("writing to a string does not fail");
    }
    command
}

fn summary(detail: &IssueDetail) -> String {
    let error = detail
        .error
        .as_ref()
        .and_then(|error| error.message.as_deref().or(error.text.lines().next()));
    text::shortened(
        &text::safe(error.unwrap_or_default(), false),
        Output::text_columns(),
    )
}

#[cfg(test)]
mod tests {
    use flamingock::admin::ServiceScope;

    use super::*;

    #[test]
    fn what_undoes_a_decision_can_be_pasted_whatever_the_names_are() {
        let service = Service {
            scope: ServiceScope {
                environment_id: 1,
                service_id: 2,
            },
            organisation: "acme".to_owned(),
            project: "payments".to_owned(),
            environment: "production".to_owned(),
            name: "the orders".to_owned(),
        };
        assert_eq!(
            undoing(&[("--it's", 5), ("b", 6)], Found::RolledBack, &service),
            r"flamingock issue resolve --expect-seq 5 --expect-seq 6 --as applied --reason '<why>' -e production -s 'the orders' -- '--it'\''s' b"
        );
    }
}
