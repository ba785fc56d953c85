//! Exports, as they come: never in memory as a whole.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use clap::{Args, ValueEnum};
use flamingock::admin::{AuditExport, AuditQuery, ExportFormat};

use super::audit::Filters;
use crate::context::Context;
use crate::failure::{Exit, Failure, Outcome};
use crate::output::Output;
use crate::text;

/// How often progress is told.
const PROGRESS_EVERY: Duration = Duration::from_millis(500);

#[derive(Debug, Args)]
pub struct Export {
    #[command(flatten)]
    filters: Filters,
    /// How
    #[arg(long, value_enum, default_value = "ndjson", conflicts_with = "proofs")]
    format: Format,
    /// With everything that `audit verify FILE` needs to verify it without any server; always the whole history
    #[arg(long)]
    proofs: bool,
    /// File to write; must not be there yet. Standard output without it
    #[arg(long, short, value_name = "FILE")]
    output: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Format {
    /// One JSON document a line
    Ndjson,
    /// Comma-separated values
    Csv,
}

impl Export {
    pub async fn run(self, context: &Context) -> Outcome {
        if self.proofs && !self.filters.is_everything() {
            return Err(Failure::usage(
                "an export with proofs has the whole history: leave the filters out",
            ));
        }
        let format = match (self.proofs, self.format) {
            (true, _) => ExportFormat::Proofs,
            (false, Format::Ndjson) => ExportFormat::Ndjson,
            (false, Format::Csv) => ExportFormat::Csv,
        };
        let query = if self.proofs {
            AuditQuery::default()
        } else {
            self.filters.query()
        };
        let admin = context.admin()?;
        let service = context.service(&admin).await?;
        let mut export = admin.audit(service.scope).export(&query, format).await?;
        match &self.output {
            None => {
                copy(&mut export, &mut io::stdout().lock(), false).await?;
            }
            Some(path) => {
                let copied = into_file(&mut export, path).await?;
                context.out.note(&format!(
                    "{} of {service} in {}.",
                    text::counted(copied.lines, "line"),
                    text::safe(&path.display().to_string(), false)
                ));
            }
        }
        Ok(Exit::Ok)
    }
}

struct Copied {
    bytes: u64,
    lines: usize,
}

/// Under another name until it is complete: nobody takes half of it for the whole.
async fn into_file(export: &mut AuditExport, path: &Path) -> Result<Copied, Failure> {
    let failed = |error: io::Error| Failure::failed(format!("{} cannot be written: {error}", path.display()));
    if path.exists() {
        return Err(Failure::usage(format!("{} is there already", path.display()))
            .hint("remove it, or name another file"));
    }
    let mut partial = path.as_os_str().to_owned();
    partial.push(".part");
    let partial = PathBuf::from(partial);
    let file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .open(&partial)
        .map_err(failed)?;
    let copied = match write_file(export, file).await {
        Ok(copied) => copied,
        Err(failure) => {
            let _ = std::fs::remove_file(&partial);
            return Err(failure);
        }
    };
    // Not `rename`, which would replace what has come to be there meanwhile.
    std::fs::hard_link(&partial, path)
        .and_then(|()| std::fs::remove_file(&partial))
        .map_err(failed)?;
    Ok(copied)
}

async fn write_file(export: &mut AuditExport, file: File) -> Result<Copied, Failure> {
    let mut file = io::BufWriter::new(file);
    let copied = copy(export, &mut file, Output::is_watched()).await?;
    file.flush()?;
    file.get_ref().sync_all()?;
    Ok(copied)
}

async fn copy(export: &mut AuditExport, to: &mut impl Write, tell: bool) -> Result<Copied, Failure> {
    let mut copied = Copied { bytes: 0, lines: 0 };
    let began = Instant::now();
    let mut told = began;
    while let Some(piece) = export.piece().await? {
        to.write_all(&piece)?;
        copied.bytes += piece.len() as u64;
        copied.lines += piece.split(|byte| *byte == b'\n').count() - 1;
        if tell && told.elapsed() >= PROGRESS_EVERY {
            told = Instant::now();
            progress(&copied, began.elapsed());
        }
    }
    to.flush()?;
    if tell && told != began {
        progress(&copied, began.elapsed());
        let _ = writeln!(io::stderr());
    }
    Ok(copied)
}

/// One line that is written over and over.
fn progress(copied: &Copied, passed: Duration) {
    let rate = copied.lines as u128 * 1_000 / passed.as_millis().max(1);
    let _ = write!(
        io::stderr(),
        "\r{} lines, {} MiB, {rate} lines/s ",
        copied.lines,
        copied.bytes / 1024 / 1024
    );
}
