//! What an environment's policies say to a plan: reads what they lean on, and has the domain judge.

use std::collections::{BTreeMap, HashMap};

use flamingock_domain::audit::{AuditState, States};
use flamingock_domain::ids::{ExecutionId, RunnerId};
use flamingock_domain::pipeline::Pipeline;
use flamingock_domain::plan::policy::{self, Finding, Found, Freeze, Mode, Policy, PolicyInput};
use flamingock_domain::plan::{Action, OfferedStage, Plan, PlanAction};
use flamingock_domain::time::Timestamp;
use sqlx::{PgConnection, PgPool};

use super::fault::Fault;
use super::plans::Ask;
use crate::metrics::Metrics;
use crate::store::approvals::{self, Asked};
use crate::store::checksums::{self, Applied};
use crate::store::policy_stops::{self, Refusing};
use crate::store::{self, Scope, StoreError, policies, streams};

/// A plan to be judged.
#[derive(Clone, Copy)]
pub(super) struct Question<'a> {
    pub scope: Scope,
    pub pipeline: &'a Pipeline,
    pub plan: &'a Plan,
    /// `None` while the service has never planned here.
    pub stream_id: Option<i64>,
    /// Who asks: its own approvals do not count.
    pub credential: Option<i64>,
    pub run_under_way: bool,
    pub now: Timestamp,
}

/// The findings, and the key under which an answer that leans on them may be kept.
#[derive(Debug, Default)]
pub(super) struct Ruling {
    pub findings: Vec<Finding>,
    /// A checksum that is recorded later may make it another, so an answer that leans on it is not kept.
    pub leans_on_absence: bool,
    pub policy_key: i64,
}

/// Judges by the policy as it is now. For what grants: must be asked in the transaction that holds the stream and the
/// lock, so that a policy that was changed while it waited for them is heard.
pub(super) async fn judge(conn: &mut PgConnection, question: &Question<'_>) -> Result<Ruling, Fault> {
    let Some((row, freezes)) = policies::load_rules(conn, question.scope).await? else {
        return Ok(Ruling::default());
    };
    Ok(Ruling {
        policy_key: row.policy.key(row.revision),
        ..judge_by(conn, question, row.policy, &freezes).await?
    })
}

/// Whether the policy has a say on a pipeline of which nothing is left to do: only what was applied is compared.
pub(super) fn concerns_applied(policy: Policy, pipeline: &Pipeline) -> bool {
    policy.checksum_mismatch != Mode::Allow && pipeline.changes().any(|change| change.checksum.is_some())
}

/// Judges by a policy that was read already, with the reads that it needs and no others. Its key is the caller's to know.
pub(super) async fn judge_by(
    conn: &mut PgConnection,
    question: &Question<'_>,
    policy: Policy,
    freezes: &[Freeze],
) -> Result<Ruling, Fault> {
    let accepted = match question.stream_id {
        Some(stream_id) if concerns_applied(policy, question.pipeline) => {
            checksums::load_accepted(conn, stream_id).await?
        }
        _ => HashMap::new(),
    };
    let wants_approvals = policy.approval_required || policy.out_of_order != Mode::Allow;
    let approvals = match question.stream_id {
        Some(stream_id) if wants_approvals => {
            let changes = question.plan.findings.iter().flat_map(|stage| &stage.changes);
            let pending: Vec<&str> = changes
                .filter(|change| change.action == Action::Apply)
                .map(|change| change.id.as_str())
                .collect();
            approvals::load_standing(conn, stream_id, &pending).await?
        }
        _ => Vec::new(),
    };
    let input = PolicyInput {
        policy,
        pipeline: question.pipeline,
        plan: question.plan,
        accepted: &accepted,
        approvals: &approvals,
        freezes,
        credential: question.credential,
        run_under_way: question.run_under_way,
        now: question.now,
    };
    Ok(Ruling {
        findings: policy::judge(&input),
        leans_on_absence: policy::leans_on_absence(&input),
        policy_key: 0,
    })
}

/// The checksums of what is to be applied, as an execution's row keeps them; `None` where the runner sends none.
pub(super) fn checksums_of(plan: &Plan, pipeline: &Pipeline) -> Option<String> {
    let PlanAction::Execute { stages, .. } = &plan.action else {
        return None;
    };
    let submitted: HashMap<&str, &str> = pipeline
        .changes()
        .filter_map(|change| Some((change.id.as_str(), change.checksum.as_ref()?.as_str())))
        .collect();
    if submitted.is_empty() {
        return None;
    }
    let offered = stages.iter().flat_map(|stage: &OfferedStage| &stage.changes);
    let known: BTreeMap<&str, &str> = offered
        .filter(|(_, action)| *action == Action::Apply)
        .filter_map(|(id, _)| Some((id.as_str(), *submitted.get(id.as_str())?)))
        .collect();
    if known.is_empty() {
        return None;
    }
    serde_json::to_string(&known).ok()
}

/// Trust on first use: what was applied without a checksum was applied with the first one that a run brings. Only where
/// something is granted and so written anyway; a start with nothing to do writes nothing, whatever it brings.
pub(super) async fn note_first_seen(
    conn: &mut PgConnection,
    stream_id: i64,
    pipeline: &Pipeline,
    states: &States,
) -> Result<(), Fault> {
    let seen: Vec<(&str, i64, &str)> = pipeline
        .changes()
        .filter_map(|change| {
            let checksum = change.checksum.as_ref()?;
            let latest = states.get(&change.id)?;
            matches!(latest.state, AuditState::Applied | AuditState::MarkedApplied).then_some((
                change.id.as_str(),
                latest.seq,
                checksum.as_str(),
            ))
        })
        .collect();
    Ok(checksums::append_first_seen(conn, stream_id, &seen).await?)
}

/// What marks prove to be applied was applied with the checksums of its execution.
pub(super) async fn note_derived(
    conn: &mut PgConnection,
    stream_id: i64,
    derived: &[(&str, i64, ExecutionId)],
) -> Result<(), StoreError> {
    let applied: Vec<Applied<'_>> = derived
        .iter()
        .map(|(change_id, seq, execution)| Applied {
            stream_id,
            change_id,
            seq: *seq,
            execution_id: execution.0,
        })
        .collect();
    checksums::append_of_executions(conn, &applied).await
}

/// Most changes that one stop notes as waiting for approval.
const NOTED_MAX: usize = 500;
/// Authors are shown and compared, not kept whole.
const AUTHOR_MAX_CHARS: usize = 200;

/// Notes what waits for approval, so that people see it. The stop stands whether or not this can be written.
pub(super) async fn note_requests(pool: &PgPool, ask: &Ask<'_>, findings: &[Finding]) {
    let cut: Vec<Option<String>> = findings
        .iter()
        .map(|finding| match &finding.what {
            Found::ApprovalMissing { author, .. } => author.as_ref().map(|author| {
                author
                    .chars()
                    .filter(|c| *c != '\0')
                    .take(AUTHOR_MAX_CHARS)
                    .collect()
            }),
            _ => None,
        })
        .collect();
    let asked: Vec<Asked<'_>> = findings
        .iter()
        .zip(&cut)
        .filter_map(|(finding, author)| match &finding.what {
            Found::ApprovalMissing { change, checksum, .. } => Some((
                change.as_str(),
                checksum.as_ref().map(flamingock_domain::ids::Checksum::as_str),
                author.as_deref(),
            )),
            _ => None,
        })
        .take(NOTED_MAX)
        .collect();
    if asked.is_empty() {
        return;
    }
    if let Err(error) = write_requests(pool, ask.scope, ask.runner, &asked).await {
        tracing::warn!(error = ?error, "what waits for approval could not be noted");
    }
}

async fn write_requests(
    pool: &PgPool,
    scope: Scope,
    runner: &RunnerId,
    asked: &[Asked<'_>],
) -> Result<(), StoreError> {
    let mut tx = store::begin(pool).await?;
    // The stop may have been the service's first word here.
    let stream = streams::lock(&mut tx, &[scope]).await?.into_iter().next();
    if let Some(stream) = stream {
        approvals::upsert_requests(&mut tx, stream.id, runner.as_str(), asked).await?;
    }
    Ok(tx.commit().await?)
}

/// Changes of a refused start that are noted by name; the rest is counted.
const NAMED_MAX: usize = 20;

/// Notes a start that was refused for its content or its order, so that people see why. The refusal stands whether or not
/// this can be written.
pub(super) async fn note_stop(pool: &PgPool, ask: &Ask<'_>, findings: &[Finding]) {
    for policy in [Refusing::ChecksumMismatch, Refusing::OutOfOrder] {
        let changes: Vec<&str> = findings
            .iter()
            .filter(|finding| finding.stops)
            .filter_map(|finding| match (&finding.what, policy) {
                (Found::ChecksumMismatch { change, .. }, Refusing::ChecksumMismatch)
                | (Found::OutOfOrder { change, .. }, Refusing::OutOfOrder) => Some(change.as_str()),
                _ => None,
            })
            .collect();
        if changes.is_empty() {
            continue;
        }
        let noted = async {
            let mut conn = pool.acquire().await?;
            let named = &changes[..changes.len().min(NAMED_MAX)];
            policy_stops::upsert(
                &mut conn,
                ask.scope,
                policy,
                ask.runner.as_str(),
                named,
                changes.len(),
            )
            .await
        };
        if let Err(error) = noted.await {
            tracing::warn!(error = ?error, "a refused start could not be noted");
        }
    }
}

/// Counts and logs what was found: once for each policy, however many changes it concerns.
pub(super) fn tell(metrics: &Metrics, ask: &Ask<'_>, findings: &[Finding]) {
    for (policy, label) in POLICIES {
        let mut of_policy = findings
            .iter()
            .filter(|finding| label_of(&finding.what) == *label)
            .peekable();
        let Some(first) = of_policy.peek() else { continue };
        let outcome = if first.stops { "stopped" } else { "warned" };
        metrics.policy_findings.with_label_values(&[label, outcome]).inc();
        let changes: Vec<&str> = of_policy
            .filter_map(|finding| change_of(&finding.what))
            .take(10)
            .collect();
        tracing::warn!(
            policy, outcome, runner.id = %ask.runner, changes = changes.join(", "),
            environment.id = ask.scope.environment_id, service.id = ask.scope.service_id,
            "a policy found something in what a runner submitted"
        );
    }
}

/// Policies by name and label.
const POLICIES: &[(&str, &str)] = &[
    ("checksum mismatch", "checksum_mismatch"),
    ("out of order", "out_of_order"),
    ("approval", "approval_missing"),
    ("freeze", "frozen"),
];

/// Labels that [`tell`] can count.
pub fn labels() -> impl Iterator<Item = &'static str> {
    POLICIES.iter().map(|(_, label)| *label)
}

fn label_of(found: &Found) -> &'static str {
    match found {
        Found::ChecksumMismatch { .. } => "checksum_mismatch",
        Found::OutOfOrder { .. } => "out_of_order",
        Found::ApprovalMissing { .. } => "approval_missing",
        Found::Frozen(_) => "frozen",
    }
}

fn change_of(found: &Found) -> Option<&str> {
    match found {
        Found::ChecksumMismatch { change, .. }
        | Found::OutOfOrder { change, .. }
        | Found::ApprovalMissing { change, .. } => Some(change.as_str()),
        Found::Frozen(_) => None,
    }
}
