//! `GET …/audit/export`: the audit as a stream. What is read is sent before more is read, so that no length needs memory;
//! a reader that takes nothing for too long loses its turn.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use data_encoding::HEXLOWER;
use flamingock_api_types::audit::AuditView;
use flamingock_api_types::{ErrorCode, ProblemDetails};
use flamingock_audit_chain::export::{self, CheckpointLine, Header, KeyLine, Line, Trailer};
use futures_util::stream;
use tokio::sync::mpsc;

use super::question::{SELECTING, question};
use crate::app::exports::{Export, ExportError, Proof};
use crate::app::{Busy, Entry};
use crate::http::extract::{ApiPath, Reader};
use crate::http::parameters::Parameters;
use crate::http::problem::Problem;
use crate::http::{Api, csv, wire};

/// How long a reader may take nothing of what was read for it.
const READER_PATIENCE: Duration = Duration::from_mins(1);

/// How often the credential behind a running export is judged again.
const JUDGED_EVERY: Duration = Duration::from_secs(3);

/// About as much is handed over at once.
const CHUNK_BYTES: usize = 256 * 1024;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Format {
    /// One entry a line, as the list shows it.
    Lines,
    /// With everything that is needed to verify it.
    Proofs,
    Csv,
}

/// Export audit entries
///
/// A stream of every entry that the same parameters would list, up to where the audit stood when it began. `ndjson`: one
/// entry a line. With `proofs=true` the whole history with a header (head of the chain, newest checkpoint, public keys),
/// every field as it was hashed, and a last line, so that the file can be verified without the server. `csv`: for
/// spreadsheets, RFC 4180 with a heading; a text that a spreadsheet would take for a formula gets a `'` before it, so a CSV
/// cannot be verified.
///
/// The connection is cut when something fails on the way, and when the export takes longer than the server's
/// `FLAMINGOCK_HTTP_EXPORT_MAX`: a whole answer is a whole export. A replica does a few exports at once, and half of them for
/// one organisation; more are answered with 503 and `Retry-After`.
#[utoipa::path(
    get,
    path = "/api/v1/admin/environment/{environmentId}/service/{serviceId}/audit/export",
    operation_id = "audit_export",
    tag = "history",
    params(
        ("environmentId" = i64, Path, description = "Environment"),
        ("serviceId" = i64, Path, description = "Service"),
        ("format" = Option<String>, Query, description = "`ndjson` or `csv`; else what `Accept` prefers, else `ndjson`"),
        ("proofs" = Option<bool>, Query, description = "To be verified offline; `ndjson` of the whole history only"),
        ("view" = Option<AuditView>, Query, description = "`history` (default) or `snapshot`"),
        ("order" = Option<String>, Query, description = "Of a history: `asc` (default) or `desc`"),
        ("asOf" = Option<String>, Query, description = "Of a snapshot: the state at this time"),
        ("asOfSeq" = Option<i64>, Query, description = "Of a snapshot: the state at this position"),
        ("changeId" = Option<Vec<String>>, Query, description = "Of these changes"),
        ("stageId" = Option<Vec<String>>, Query, description = "In these stages"),
        ("state" = Option<Vec<String>>, Query, description = "In these states"),
        ("targetSystemId" = Option<Vec<String>>, Query, description = "In these target systems"),
        ("author" = Option<Vec<String>>, Query, description = "By these authors"),
        ("executionId" = Option<Vec<String>>, Query, description = "Of these executions"),
        ("runnerId" = Option<Vec<String>>, Query, description = "Reported by these runners"),
        ("late" = Option<bool>, Query, description = "Late ones, or all but those"),
        ("manual" = Option<bool>, Query, description = "People's decisions, or all but those"),
        ("since" = Option<String>, Query, description = "Received at this time or later"),
        ("until" = Option<String>, Query, description = "Received before this time"),
    ),
    responses(
        (status = 200, description = "One JSON object a line, or CSV", content(
            (String = "application/x-ndjson", example = "{\"seq\":1,\"changeId\":\"create-invoices\",\"state\":\"STARTED\",…}\n"),
            (String = "text/csv", example = "seq,receivedAt,changeId,state,…\r\n1,2026-09-14T08:21:07.512345Z,create-invoices,STARTED,…\r\n"),
        )),
        (status = 400, description = "`R_GEN_02`: a parameter that is not known or does not fit", body = ProblemDetails),
        (status = 401, description = "`R_AUTH_…`: no usable token", body = ProblemDetails),
        (status = 403, description = "`R_AUTH_03`, `R_AUTH_04`: outside the session's scope or role", body = ProblemDetails),
        (status = 404, description = "`R_TENANT_02`: nothing of that name within the token's reach", body = ProblemDetails),
        (status = 503, description = "`R_GEN_08`: as many exports as the server does at once", body = ProblemDetails),
    ),
)]
pub async fn audit_export(
    State(api): State<Api>,
    reader: Reader,
    ApiPath((environment_id, service_id)): ApiPath<(i64, i64)>,
    headers: HeaderMap,
    parameters: Parameters,
) -> Result<Response, Problem> {
    let scope = reader.scope(&api, environment_id, service_id).await?;
    let parameters = parameters.only(&[SELECTING, &["format", "proofs"]].concat())?;
    let format = format(&parameters, &headers)?;
    let question = question(&parameters)?;
    if format == Format::Proofs && parameters.selects_any(SELECTING) {
        return Err(Problem::malformed(
            "`proofs=true` exports the whole history: a part of a chain proves nothing. Leave the other parameters out.",
        ));
    }
    let export = api
        .app
        .exports
        .begin(scope, question)
        .await
        .map_err(|error| match error {
            ExportError::TooMany(busy) => too_many(busy),
            ExportError::Fault(fault) => fault.into(),
        })?;
    let (media_type, ending) = match format {
        Format::Lines | Format::Proofs => ("application/x-ndjson", "ndjson"),
        Format::Csv => ("text/csv; charset=utf-8; header=present", "csv"),
    };
    let disposition = format!("attachment; filename=\"audit-{environment_id}-{service_id}.{ending}\"");
    let mut credentials = HeaderMap::new();
    if let Some(value) = headers.get(header::AUTHORIZATION) {
        credentials.insert(header::AUTHORIZATION, value.clone());
    }
    let welcome = Welcome {
        api,
        credentials,
        judged: Instant::now(),
    };
    let mut response = body(export, format, environment_id, service_id, welcome).into_response();
    let answer = response.headers_mut();
    answer.insert(header::CONTENT_TYPE, HeaderValue::from_static(media_type));
    answer.insert(
        header::CONTENT_DISPOSITION,
        HeaderValue::try_from(disposition).expect("numbers and plain letters"),
    );
    Ok(response)
}

fn too_many(busy: Busy) -> Problem {
    let what = match busy {
        Busy::Replica(max) => format!("{max} exports are under way, as many as a replica does at once."),
        Busy::Organisation(share) => format!(
            "{share} exports of this organisation are under way, as many as a replica does at once for one organisation."
        ),
    };
    Problem::busy(
        Duration::from_secs(10),
        format!("{what} Try again when one of them has ended."),
    )
}

fn format(parameters: &Parameters, headers: &HeaderMap) -> Result<Format, Problem> {
    let proofs = parameters.flag("proofs")?.unwrap_or(false);
    let asked = parameters.word("format", &[("ndjson", Format::Lines), ("csv", Format::Csv)])?;
    let preferred = || {
        headers
            .get(header::ACCEPT)
            .and_then(|value| value.to_str().ok())
            .is_some_and(|accept| accept.trim_start().starts_with("text/csv"))
            .then_some(Format::Csv)
    };
    match (proofs, asked) {
        (true, Some(Format::Csv)) => Err(Problem::malformed(
            "`proofs=true` needs `format=ndjson`: a CSV does not hold every field as it was hashed.",
        )),
        (true, _) => Ok(Format::Proofs),
        (false, asked) => Ok(asked.or_else(preferred).unwrap_or(Format::Lines)),
    }
}

/// The answer's body, written by a task of its own: while the reader is slow, the task waits with at most a few chunks.
fn body(export: Export, format: Format, environment_id: i64, service_id: i64, welcome: Welcome) -> Body {
    let (sender, receiver) = mpsc::channel::<Bytes>(1);
    let finished = Arc::new(AtomicBool::new(false));
    let at_the_end = Arc::clone(&finished);
    tokio::spawn(async move {
        let mut out = Out {
            sender,
            buffer: Vec::with_capacity(CHUNK_BYTES),
            welcome,
            ends: export.deadline,
        };
        match write(export, format, environment_id, service_id, &mut out).await {
            Ok(()) => at_the_end.store(true, Ordering::Release),
            Err(error) => tracing::warn!(error = &error as &dyn std::error::Error, "an export was cut"),
        }
    });
    // The end of the channel is the end of the export only if the writer says so. Else the connection is cut, or a reader
    // would take a part for the whole.
    Body::from_stream(stream::unfold(
        (receiver, finished, false),
        async |(mut receiver, finished, cut)| {
            if cut {
                return None;
            }
            match receiver.recv().await {
                Some(chunk) => Some((Ok(chunk), (receiver, finished, false))),
                None if finished.load(Ordering::Acquire) => None,
                None => Some((
                    Err(io::Error::other("the export was cut")),
                    (receiver, finished, true),
                )),
            }
        },
    ))
}

#[derive(Debug, thiserror::Error)]
enum Cut {
    #[error("its reader took nothing for {} s", READER_PATIENCE.as_secs())]
    Slow,
    #[error("it was at work for as long as an export may (FLAMINGOCK_HTTP_EXPORT_MAX)")]
    TooLong,
    #[error("its reader has gone")]
    Gone,
    #[error("its credential has ended")]
    Unwelcome,
    #[error("the server stops")]
    Stopping,
    #[error(transparent)]
    Fault(#[from] crate::app::Fault),
}

struct Out {
    sender: mpsc::Sender<Bytes>,
    buffer: Vec<u8>,
    welcome: Welcome,
    ends: tokio::time::Instant,
}

/// Whether the export may go on: a long one outlives what was judged at its beginning.
struct Welcome {
    api: Api,
    /// Nothing but the bearer token.
    credentials: HeaderMap,
    judged: Instant,
}

impl Welcome {
    /// Judges the credential when it is time to. While the database is away nobody is sent off.
    async fn judge(&mut self) -> Result<(), Cut> {
        if self.judged.elapsed() < JUDGED_EVERY {
            return Ok(());
        }
        self.judged = Instant::now();
        match Reader::of(&self.credentials, &self.api).await {
            Err(problem) if problem.code != ErrorCode::Unavailable => Err(Cut::Unwelcome),
            _ => Ok(()),
        }
    }
}

impl Out {
    async fn line(&mut self, text: &str, end: &str) -> Result<(), Cut> {
        self.buffer.extend_from_slice(text.as_bytes());
        self.buffer.extend_from_slice(end.as_bytes());
        if self.buffer.len() >= CHUNK_BYTES {
            self.flush().await?;
        }
        Ok(())
    }

    async fn flush(&mut self) -> Result<(), Cut> {
        if self.buffer.is_empty() {
            return Ok(());
        }
        let chunk = Bytes::from(std::mem::replace(
            &mut self.buffer,
            Vec::with_capacity(CHUNK_BYTES),
        ));
        self.welcome.judge().await?;
        let stopping = self.welcome.api.stopping.clone();
        let deadline = tokio::time::Instant::now() + READER_PATIENCE;
        loop {
            tokio::select! {
                room = tokio::time::timeout_at(deadline, self.sender.reserve()) => {
                    return match room {
                        Ok(Ok(room)) => {
                            room.send(chunk);
                            Ok(())
                        }
                        Ok(Err(_)) => Err(Cut::Gone),
                        Err(_) => Err(Cut::Slow),
                    };
                }
                // A reader who sleeps does not keep its turn past its credential, or past the server's.
                () = tokio::time::sleep(JUDGED_EVERY) => self.welcome.judge().await?,
                () = stopping.cancelled() => return Err(Cut::Stopping),
                () = tokio::time::sleep_until(self.ends) => return Err(Cut::TooLong),
            }
        }
    }
}

async fn write(
    mut export: Export,
    format: Format,
    environment_id: i64,
    service_id: i64,
    out: &mut Out,
) -> Result<(), Cut> {
    match format {
        Format::Lines => {}
        Format::Proofs => {
            let header = header(&export.proof, environment_id, service_id);
            out.line(&Line::Header(header).to_json(), "\n").await?;
        }
        Format::Csv => out.line(&csv::heading(), "\r\n").await?,
    }
    let mut entries: i64 = 0;
    while let Some(batch) = export.next_batch().await? {
        // Also where a rare filter finds nothing to hand over.
        if tokio::time::Instant::now() >= out.ends {
            return Err(Cut::TooLong);
        }
        for entry in batch {
            entries += 1;
            out.line(&text(entry, format), end(format)).await?;
        }
    }
    if format == Format::Proofs {
        let trailer = Trailer {
            entries,
            head_seq: export.proof.head_seq,
            head_hash: HEXLOWER.encode(&export.proof.head_hash),
        };
        out.line(&Line::Trailer(trailer).to_json(), "\n").await?;
    }
    out.flush().await
}

fn end(format: Format) -> &'static str {
    match format {
        Format::Lines | Format::Proofs => "\n",
        Format::Csv => "\r\n",
    }
}

fn text(entry: Entry, format: Format) -> String {
    match format {
        Format::Lines => serde_json::to_string(&wire::audit_entry(entry))
            .expect("texts and numbers under text keys become JSON"),
        Format::Proofs => Line::Entry(Box::new(wire::proof_line(entry))).to_json(),
        Format::Csv => csv::row(&wire::audit_entry(entry)),
    }
}

fn header(proof: &Proof, environment_id: i64, service_id: i64) -> Header {
    Header {
        format: export::FORMAT.to_owned(),
        environment_id,
        service_id,
        exported_at: proof.now,
        head_seq: proof.head_seq,
        head_hash: HEXLOWER.encode(&proof.head_hash),
        checkpoint: proof.checkpoint.as_ref().map(CheckpointLine::of),
        keys: proof
            .keys
            .iter()
            .map(|key| KeyLine {
                key_id: key.id(),
                public_key: key.to_hex(),
            })
            .collect(),
    }
}
