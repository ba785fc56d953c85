//! What was recorded.

use chrono::{DateTime, Utc};
use clap::{Args, Subcommand, ValueEnum};
use flamingock::admin::{AuditQuery, PageQuery};
use flamingock::wire::audit::{AuditEntryView, AuditPage, AuditView, CheckpointPage, DifferenceKind};
use flamingock::wire::audit::{ChangeStanding, DifferencePage};

use super::{audit_export, audit_verify};
use crate::args::Paging;
use crate::context::Context;
use crate::failure::{Exit, Outcome};
use crate::output::{BAD, DIM, WARN, state_style};
use crate::reach::{self, Wanted};
use crate::table::{Cell, Table};
use crate::{moment, paging, text, time};

/// What was recorded, and whether it still is what was recorded
#[derive(Debug, Subcommand)]
pub enum Audit {
    /// The latest entry of each change; with --history every entry
    #[command(visible_alias = "ls")]
    List(List),
    /// Entries as a file or a stream, of any length
    Export(audit_export::Export),
    /// Whether the chain of hashes is intact: at the server, or in an export with proofs without any server
    Verify(audit_verify::Verify),
    /// Where two environments do not agree
    Diff(Diff),
    /// Signed statements about the chain, newest first. Keep one elsewhere: it shows when the end was cut off
    Checkpoints(Paging),
    /// The public keys that checkpoints were signed with
    Keys,
}

/// Which entries. Of several values of one filter, any; of several filters, all.
#[derive(Debug, Args)]
pub struct Filters {
    /// Every entry instead of the latest of each change
    #[arg(long)]
    history: bool,
    /// The state as of a past time: 2026-01-31, 2026-01-31T08:00Z, -2h, …
    #[arg(long, value_parser = moment::parse, allow_hyphen_values = true, value_name = "TIME", conflicts_with = "history")]
    as_of: Option<DateTime<Utc>>,
    /// Only of this change
    #[arg(long, value_name = "CHANGE")]
    change: Vec<String>,
    /// Only in this stage
    #[arg(long, value_name = "STAGE")]
    stage: Vec<String>,
    /// Only in this state, such as FAILED
    #[arg(long, value_name = "STATE")]
    state: Vec<String>,
    /// Only in this target system
    #[arg(long, value_name = "TARGET")]
    target: Vec<String>,
    /// Only by this author
    #[arg(long, value_name = "AUTHOR")]
    author: Vec<String>,
    /// Only of this execution
    #[arg(long, value_name = "EXECUTION")]
    execution: Vec<String>,
    /// Only by this runner
    #[arg(long, value_name = "RUNNER")]
    runner: Vec<String>,
    /// Only what came too late to count
    #[arg(long)]
    late: bool,
    /// Only people's decisions
    #[arg(long)]
    manual: bool,
    /// Received at this time or later
    #[arg(long, value_parser = moment::parse, allow_hyphen_values = true, value_name = "TIME")]
    since: Option<DateTime<Utc>>,
    /// Received before this time
    #[arg(long, value_parser = moment::parse, allow_hyphen_values = true, value_name = "TIME")]
    until: Option<DateTime<Utc>>,
}

impl Filters {
    pub fn query(&self) -> AuditQuery {
        AuditQuery {
            view: Some(if self.history {
                AuditView::History
            } else {
                AuditView::Snapshot
            }),
            descending: false,
            as_of: self.as_of.map(moment::wire),
            as_of_seq: None,
            change_ids: self.change.clone(),
            stage_ids: self.stage.clone(),
            // As people type them.
            states: self.state.iter().map(|state| state.to_uppercase()).collect(),
            target_system_ids: self.target.clone(),
            authors: self.author.clone(),
            execution_ids: self.execution.clone(),
            runner_ids: self.runner.clone(),
            late: self.late.then_some(true),
            manual: self.manual.then_some(true),
            since: self.since.map(moment::wire),
            until: self.until.map(moment::wire),
        }
    }

    /// Nothing is left out.
    pub fn is_everything(&self) -> bool {
        let lists = [
            &self.change,
            &self.stage,
            &self.state,
            &self.target,
            &self.author,
            &self.execution,
            &self.runner,
        ];
        lists.iter().all(|list| list.is_empty())
            && !self.late
            && !self.manual
            && self.as_of.is_none()
            && self.since.is_none()
            && self.until.is_none()
    }
}

#[derive(Debug, Args)]
pub struct List {
    #[command(flatten)]
    filters: Filters,
    /// Newest first; with --history
    #[arg(long, requires = "history")]
    newest_first: bool,
    /// More columns
    #[arg(long, short = 'x')]
    extended: bool,
    #[command(flatten)]
    paging: Paging,
}

#[derive(Debug, Args)]
pub struct Diff {
    /// "Here", such as staging
    here: String,
    /// "There", such as production
    there: String,
    /// Only differences of this kind
    #[arg(long, value_enum)]
    only: Option<Kind>,
    /// Exit code 1 where there are differences
    #[arg(long)]
    check: bool,
    #[command(flatten)]
    paging: Paging,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Kind {
    OnlyHere,
    OnlyThere,
    State,
    Checksum,
}

impl Audit {
    pub async fn run(self, context: &Context) -> Outcome {
        match self {
            Self::List(command) => command.run(context).await,
            Self::Export(command) => command.run(context).await,
            Self::Verify(command) => command.run(context).await,
            Self::Diff(command) => command.run(context).await,
            Self::Checkpoints(paging) => checkpoints(&paging, context).await,
            Self::Keys => keys(context).await,
        }
    }
}

impl List {
    async fn run(self, context: &Context) -> Outcome {
        let admin = context.admin()?;
        let service = context.service(&admin).await?;
        let query = AuditQuery {
            descending: self.newest_first,
            ..self.filters.query()
        };
        let as_of_seq = std::cell::Cell::new(None);
        let listed = paging::list(&self.paging, async |page: &PageQuery| {
            let page = admin.audit(service.scope).list(&query, page).await?;
            as_of_seq.set(page.as_of_seq);
            Ok((page.entries, page.next))
        })
        .await?;
        if context.out.is_json() {
            context.out.json(&AuditPage {
                entries: listed.items,
                next: listed.next,
                as_of_seq: as_of_seq.get(),
            })?;
            return Ok(Exit::Ok);
        }
        let table = if self.extended {
            extended(&listed.items)
        } else {
            basic(&listed.items)
        };
        context
            .out
            .table(&table, &format!("No entry of {service} fits."))?;
        listed.remark(context.out, "entries");
        Ok(Exit::Ok)
    }
}

/// The true state: that a person intervened must be seen.
fn state(entry: &AuditEntryView) -> Cell {
    if entry.late {
        Cell::styled(format!("{} (late)", entry.state), DIM)
    } else {
        Cell::styled(&entry.state, state_style(&entry.state))
    }
}

/// Who wrote the change; of a decision, who made it.
fn by(entry: &AuditEntryView) -> String {
    let who = match entry.source.as_str() {
        "PERSON" => None,
        "PROBE" => entry.runner_id.as_deref(),
        _ => entry.author.as_deref(),
    };
    who.map_or_else(|| text::who(&entry.actor), str::to_owned)
}

fn basic(entries: &[AuditEntryView]) -> Table {
    let now = Context::now();
    let mut table = Table::new(&["SEQ", "CHANGE", "STATE", "WHEN", "TOOK", "STAGE", "BY", "REMARK"]);
    for entry in entries {
        table.row([
            entry.seq.into(),
            entry.change_id.as_str().into(),
            state(entry),
            Cell::time(entry.received_at, now),
            entry.execution_millis.map(time::millis).into(),
            entry.stage_id.as_deref().into(),
            by(entry).into(),
            entry.note.as_deref().into(),
        ]);
    }
    table
}

fn extended(entries: &[AuditEntryView]) -> Table {
    let now = Context::now();
    let mut table = Table::new(&[
        "SEQ",
        "CHANGE",
        "STATE",
        "WHEN",
        "TOOK",
        "STAGE",
        "BY",
        "TARGET",
        "EXECUTION",
        "HOST",
        "CODE",
        "SOURCE",
        "HASH",
        "REMARK",
    ]);
    for entry in entries {
        let code = [entry.class_name.as_deref(), entry.method_name.as_deref()];
        let code: Vec<&str> = code.into_iter().flatten().collect();
        table.row([
            entry.seq.into(),
            entry.change_id.as_str().into(),
            state(entry),
            Cell::time(entry.received_at, now),
            entry.execution_millis.map(time::millis).into(),
            entry.stage_id.as_deref().into(),
            by(entry).into(),
            entry.target_system_id.as_deref().into(),
            entry.execution_id.as_str().into(),
            entry.execution_hostname.as_deref().into(),
            code.join(".").into(),
            entry.source.as_str().into(),
            entry.hash.get(..12).unwrap_or(&entry.hash).into(),
            entry.note.as_deref().into(),
        ]);
    }
    table
}

impl Diff {
    async fn run(self, context: &Context) -> Outcome {
        let admin = context.admin()?;
        let identity = admin.identity().await?;
        let wanted = context.wanted()?;
        let project = reach::project(&identity, &wanted)?;
        let environment = async |name: &str| {
            let wanted = Wanted {
                organisation: None,
                project: Some(project.project_id.to_string()),
                environment: Some(name.to_owned()),
                service: None,
            };
            reach::environment(&admin, &wanted).await
        };
        let here = environment(&self.here).await?;
        let there = environment(&self.there).await?;
        // From the command line only: a profile's service would hide the others.
        let service_id = match &context.global.service {
            Some(name) => {
                let names = std::slice::from_ref(name);
                let found = reach::services_of(&admin, &identity, project, names).await?;
                found.first().copied()
            }
            None => None,
        };
        let listed = paging::list(&self.paging, async |page| {
            let page = admin
                .audit_difference(project.project_id, here.id, there.id, service_id, page)
                .await?;
            Ok((page.services, page.next))
        })
        .await?;
        let mut services = listed.items;
        if let Some(only) = self.only {
            for service in &mut services {
                service.changes.retain(|change| kind(change.kind) == Some(only));
            }
            services.retain(|service| !service.changes.is_empty());
        }
        let differ = services.iter().any(|service| !service.changes.is_empty());
        let exit = if self.check && differ {
            Exit::Failed
        } else {
            Exit::Ok
        };
        if context.out.is_json() {
            context.out.json(&DifferencePage {
                environment_id: here.id,
                other_environment_id: there.id,
                services,
                next: listed.next,
            })?;
            return Ok(exit);
        }
        let now = Context::now();
        let mut table = Table::new(&["SERVICE", "CHANGE", "DIFFERENCE", "HERE", "THERE"]);
        for service in &services {
            for change in &service.changes {
                let (text, style) = match change.kind {
                    DifferenceKind::OnlyHere => (format!("only in {}", here.name), WARN),
                    DifferenceKind::OnlyThere => (format!("only in {}", there.name), WARN),
                    DifferenceKind::State => ("another outcome".to_owned(), BAD),
                    DifferenceKind::Checksum => ("another content".to_owned(), BAD),
                    DifferenceKind::Unknown => ("differs".to_owned(), WARN),
                };
                table.row([
                    service.service_name.as_str().into(),
                    change.change_id.as_str().into(),
                    Cell::styled(text, style),
                    standing(change.here.as_ref(), now),
                    standing(change.there.as_ref(), now),
                ]);
            }
        }
        context.out.table(
            &table,
            &format!("{} and {} agree on every change.", here.name, there.name),
        )?;
        if listed.next.is_some() {
            context
                .out
                .note("There may be more differences: --limit 0 shows all.");
        }
        Ok(exit)
    }
}

fn kind(kind: DifferenceKind) -> Option<Kind> {
    match kind {
        DifferenceKind::OnlyHere => Some(Kind::OnlyHere),
        DifferenceKind::OnlyThere => Some(Kind::OnlyThere),
        DifferenceKind::State => Some(Kind::State),
        DifferenceKind::Checksum => Some(Kind::Checksum),
        DifferenceKind::Unknown => None,
    }
}

fn standing(standing: Option<&ChangeStanding>, now: DateTime<Utc>) -> Cell {
    match standing {
        Some(standing) => Cell::styled(
            format!("{} {}", standing.state, time::relative(standing.received_at, now)),
            state_style(&standing.state),
        ),
        None => "-".into(),
    }
}

async fn checkpoints(paging: &Paging, context: &Context) -> Outcome {
    let admin = context.admin()?;
    let service = context.service(&admin).await?;
    let listed = paging::list(paging, async |page| {
        let page = admin.audit(service.scope).checkpoints(page).await?;
        Ok((page.checkpoints, page.next))
    })
    .await?;
    if context.out.is_json() {
        context.out.json(&CheckpointPage {
            checkpoints: listed.items,
            next: listed.next,
        })?;
        return Ok(Exit::Ok);
    }
    let now = Context::now();
    let mut table = Table::new(&["SEQ", "SIGNED", "KEY", "HASH"]);
    for checkpoint in &listed.items {
        table.row([
            checkpoint.seq.into(),
            Cell::time(checkpoint.signed_at, now),
            checkpoint.key_id.as_str().into(),
            checkpoint.hash.as_str().into(),
        ]);
    }
    context.out.table(
        &table,
        &format!(
            "Nothing of {service} was signed yet: the server signs by itself, some time after each entry."
        ),
    )?;
    listed.remark(context.out, "checkpoints");
    Ok(Exit::Ok)
}

async fn keys(context: &Context) -> Outcome {
    let keys = context.admin()?.checkpoint_keys().await?;
    if context.out.is_json() {
        context.out.json(&keys)?;
        return Ok(Exit::Ok);
    }
    let now = Context::now();
    let mut table = Table::new(&["KEY", "ALGORITHM", "SINCE", "PUBLIC KEY"]);
    for key in &keys.keys {
        table.row([
            key.key_id.as_str().into(),
            key.algorithm.as_str().into(),
            Cell::time(key.created_at, now),
            key.public_key.as_str().into(),
        ]);
    }
    context
        .out
        .table(&table, "The server has not signed anything yet.")?;
    Ok(Exit::Ok)
}
