//! Whether the audit is what was recorded.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Write as _};
use std::path::{Path, PathBuf};

use chrono::{DateTime, Utc};
use clap::Args;
use flamingock::admin::proofs::PublicKey;
use flamingock::admin::proofs::export::{self, CheckpointLine, Trust, VerifyError};
use flamingock::wire::audit::ChainVerification;
use serde::Serialize;

use crate::context::Context;
use crate::failure::{Exit, Failure, Outcome};
use crate::output::{BAD, GOOD, Output, WARN};
use crate::sheet::Sheet;
use crate::time;

#[derive(Debug, Args)]
pub struct Verify {
    /// An export with proofs, or `-` for standard input: verified here, without any server. Without it the server's own
    /// records are verified
    #[arg(value_name = "FILE")]
    file: Option<PathBuf>,
    /// A public key that you trust, or a file with one: got from `audit keys` at a better time, not with the export. With
    /// it a forger is found out too
    #[arg(long, value_name = "KEY", requires = "file")]
    key: Vec<String>,
    /// A file with a checkpoint that you kept, as `audit checkpoints --json` gives it: the export must hold it
    #[arg(long, value_name = "FILE", requires = "file")]
    checkpoint: Vec<PathBuf>,
}

/// What `--json` prints of an export.
#[derive(Default, Serialize)]
#[serde(rename_all = "camelCase")]
struct ExportView {
    intact: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    environment_id: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    service_id: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    exported_at: Option<DateTime<Utc>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    head_seq: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    head_hash: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    checkpoint: Option<CheckpointLine>,
    key_is_trusted: bool,
    kept_checkpoints: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    first_broken_seq: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    finding: Option<String>,
}

impl Verify {
    pub async fn run(self, context: &Context) -> Outcome {
        match &self.file {
            Some(file) => self.offline(file, context),
            None => online(context).await,
        }
    }

    fn offline(&self, file: &Path, context: &Context) -> Outcome {
        let trust = Trust {
            keys: self
                .key
                .iter()
                .map(|key| public_key(key))
                .collect::<Result<_, _>>()?,
            checkpoints: self
                .checkpoint
                .iter()
                .map(|path| kept_checkpoints(path))
                .collect::<Result<Vec<_>, _>>()?
                .concat(),
        };
        let reader: Box<dyn BufRead> = if file == Path::new("-") {
            Box::new(io::stdin().lock())
        } else {
            let opened = File::open(file)
                .map_err(|error| Failure::usage(format!("{} cannot be read: {error}", file.display())))?;
            Box::new(BufReader::new(opened))
        };
        let view = match export::verify(reader, trust) {
            Ok(report) => ExportView {
                intact: true,
                environment_id: Some(report.environment_id),
                service_id: Some(report.service_id),
                exported_at: Some(report.exported_at),
                head_seq: Some(report.head_seq),
                head_hash: Some(report.head_hash),
                checkpoint: report.checkpoint,
                key_is_trusted: report.key_is_trusted,
                kept_checkpoints: report.kept_checkpoints,
                ..ExportView::default()
            },
            Err(VerifyError::Finding(finding)) => ExportView {
                first_broken_seq: finding.seq(),
                finding: Some(finding.to_string()),
                ..ExportView::default()
            },
            Err(VerifyError::Read(error)) => {
                return Err(Failure::failed(format!(
                    "{} cannot be read: {error}",
                    file.display()
                )));
            }
        };
        let exit = if view.intact { Exit::Ok } else { Exit::Failed };
        if context.out.is_json() {
            context.out.json(&view)?;
        } else {
            context.out.print(&export_sheet(&view))?;
        }
        Ok(exit)
    }
}

fn export_sheet(view: &ExportView) -> String {
    let now = Context::now();
    let mut sheet = Sheet::default();
    if let Some(finding) = &view.finding {
        sheet.title("BROKEN", BAD, "The export is not what was recorded.");
        sheet.optional_fact(
            "first broken entry",
            view.first_broken_seq.map(|seq| seq.to_string()),
        );
        sheet.fact("finding", finding);
        return sheet.into_text();
    }
    sheet.title(
        "Intact.",
        GOOD,
        "Every entry is what was recorded, and none is missing.",
    );
    sheet.optional_fact("entries", view.head_seq.map(|seq| seq.to_string()));
    sheet.optional_fact("environment", view.environment_id.map(|id| id.to_string()));
    sheet.optional_fact("service", view.service_id.map(|id| id.to_string()));
    sheet.optional_fact("exported", view.exported_at.map(|at| time::shown(at, now)));
    sheet.optional_fact("head hash", view.head_hash.as_deref());
    match &view.checkpoint {
        Some(checkpoint) => {
            sheet.fact(
                "signed",
                format!(
                    "up to entry {} at {} by key {}",
                    checkpoint.seq,
                    time::shown(checkpoint.signed_at, now),
                    checkpoint.key_id
                ),
            );
            if view.key_is_trusted {
                sheet.styled_fact("key", "one that you trust", GOOD);
            } else {
                sheet.styled_fact(
                    "key",
                    "taken from the export itself, which a forger could have replaced: --key KEY names one that you trust",
                    WARN,
                );
            }
        }
        None => sheet.styled_fact(
            "signed",
            "nothing: damage would show, a history that was made up as a whole would not",
            WARN,
        ),
    }
    if view.kept_checkpoints > 0 {
        sheet.fact(
            "kept checkpoints",
            format!("{} found as they were", view.kept_checkpoints),
        );
    }
    sheet.into_text()
}

/// A key, or a file with one.
fn public_key(text: &str) -> Result<PublicKey, Failure> {
    let content = match PublicKey::parse(text) {
        Ok(key) => return Ok(key),
        Err(_) if Path::new(text).is_file() => std::fs::read_to_string(text)
            .map_err(|error| Failure::usage(format!("{text} cannot be read: {error}")))?,
        Err(error) => return Err(Failure::usage(format!("the key {error}, nor a file with one"))),
    };
    PublicKey::parse(&content).map_err(|error| Failure::usage(format!("the content of {text} {error}")))
}

/// One checkpoint, or a page of them.
fn kept_checkpoints(path: &Path) -> Result<Vec<CheckpointLine>, Failure> {
    let shown = path.display();
    let text = std::fs::read_to_string(path)
        .map_err(|error| Failure::usage(format!("{shown} cannot be read: {error}")))?;
    let wrong = |error: serde_json::Error| {
        Failure::usage(format!("{shown} holds no checkpoint: {error}"))
            .hint("`flamingock audit checkpoints --json` gives them")
    };
    let value: serde_json::Value = serde_json::from_str(&text).map_err(wrong)?;
    match value.get("checkpoints") {
        Some(page) => serde_json::from_value(page.clone()).map_err(wrong),
        None => serde_json::from_value(value).map(|one| vec![one]).map_err(wrong),
    }
}

/// Stretch by stretch, until the whole chain was looked at.
async fn online(context: &Context) -> Outcome {
    let admin = context.admin()?;
    let service = context.service(&admin).await?;
    let mut after: Option<String> = None;
    let verification = loop {
        let verification = admin.audit(service.scope).verify(after.as_deref()).await?;
        match &verification.next {
            Some(next) if !verification.complete && after.as_ref() != Some(next) => {
                if Output::is_watched() && !context.out.is_json() {
                    let _ = write!(
                        io::stderr(),
                        "\r{} of {} entries ",
                        verification.verified_seq,
                        verification.head_seq
                    );
                }
                after = Some(next.clone());
            }
            _ => break verification,
        }
    };
    if after.is_some() && Output::is_watched() && !context.out.is_json() {
        let _ = writeln!(io::stderr());
    }
    let exit = if verification.intact && verification.complete {
        Exit::Ok
    } else {
        Exit::Failed
    };
    if context.out.is_json() {
        context.out.json(&verification)?;
    } else {
        context.out.print(&chain_sheet(&verification))?;
    }
    Ok(exit)
}

fn chain_sheet(verification: &ChainVerification) -> String {
    let mut sheet = Sheet::default();
    if !verification.intact {
        sheet.title("BROKEN", BAD, "The audit is not what was recorded.");
        sheet.optional_fact(
            "first broken entry",
            verification.first_broken_seq.map(|seq| seq.to_string()),
        );
        sheet.optional_fact("finding", verification.finding.as_deref());
    } else if verification.complete {
        sheet.title(
            "Intact.",
            GOOD,
            "Every entry is what was recorded, and none is missing.",
        );
    } else {
        sheet.title("Incomplete.", WARN, "The server did not verify the whole chain.");
    }
    sheet.fact(
        "entries",
        format!(
            "{} of {} verified",
            verification.verified_seq, verification.head_seq
        ),
    );
    sheet.fact("head hash", &verification.head_hash);
    match &verification.checkpoint {
        Some(checkpoint) => sheet.fact(
            "signed",
            format!(
                "up to entry {} at {} by key {}",
                checkpoint.seq,
                time::shown(checkpoint.signed_at, Context::now()),
                checkpoint.key_id
            ),
        ),
        None => sheet.fact("signed", "nothing yet"),
    }
    sheet.into_text()
}
