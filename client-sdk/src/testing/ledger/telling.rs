//! What runners tell of changes: reports, and verdicts of probes.

use flamingock_api_types::{
    ErrorCode,
    audit::{AuditWrite, AuditWriteResponse},
    probe::{ProbeAnswer, ProbeReport, ProbeVerdict as WireVerdict},
};
use flamingock_domain::{
    audit::{
        AuditState, ChangeState, Judgement, ProbeJudgement, ProbeVerdict, Probed, ProbedUnder, Report,
        ReportedExecution, Source, contradicts_mark, judge, judge_probe,
    },
    ids::{ChangeId, ExecutionId, RunnerId},
};

use flamingock_wording::reasons;

use super::{Ledger, Origin, Refusal};
use crate::testing::convert;

impl Ledger {
    /// `true`: it is new.
    pub(in crate::testing) fn report(
        &mut self,
        runner: &RunnerId,
        execution: &str,
        change: &ChangeId,
        told: &AuditWrite,
    ) -> Result<(bool, AuditWriteResponse), Refusal> {
        let state = convert::audit_state(told.state);
        let same = self.entries.iter().find(|entry| {
            entry.change_id == change.as_str() && entry.execution == execution && entry.state == told.state
        });
        let same = same.map(|entry| (entry.seq, entry.late));
        let number = execution.parse().map(ExecutionId).map_err(|_| {
            let text = format!("`{execution}` is no execution: the testing kit imports no history.");
            Refusal::new(ErrorCode::RequestMalformed, text)
        })?;
        let known = self.executions.iter().find(|it| it.id == number);
        let judgement = judge(&Report {
            state,
            execution: known.map_or(ReportedExecution::Unknown(number), |known| {
                ReportedExecution::Known {
                    id: known.id,
                    runner: &known.runner,
                    fence: known.fence,
                    planned_at: known.planned_at,
                }
            }),
            runner,
            fence: told.fence,
            latest: self.states.get(change),
            same: same.map(|(seq, _)| seq),
            lock: Some(&self.lock),
            now: self.now(),
            trust_absent_marks: self.settings.trust_absent_marks,
            handed_on_at: self
                .saved
                .get(change)
                .filter(|saved| saved.kept.execution == number)
                .and_then(|saved| saved.kept.handed_on_at),
        });
        let lock = self.held_lock();
        let answer = |seq, late| AuditWriteResponse {
            lock,
            late,
            seq: Some(seq),
        };
        let late = match judgement {
            Judgement::Append => false,
            Judgement::AppendLate => true,
            Judgement::Duplicate => {
                let (seq, late) = same.unwrap_or_default();
                return Ok((false, answer(seq, late)));
            }
            Judgement::Refuse(refusal) => {
                let text = reasons::of_refusal(refusal, change.as_str());
                return Err(Refusal::new(ErrorCode::StartRefused, text));
            }
        };
        let state = ChangeState {
            seq: 0,
            state,
            tx_strategy: told.tx_strategy.map(convert::tx_strategy).unwrap_or_default(),
            recovery: told.recovery_strategy.map(convert::recovery).unwrap_or_default(),
            execution: Some(number),
            source: Source::Runner,
        };
        let seq = self.append(change, state, late, Origin::Runner, Some((execution, told)));
        Ok((true, answer(seq, late)))
    }

    /// `true`: it is new.
    pub(in crate::testing) fn probe(
        &mut self,
        runner: &RunnerId,
        execution: &str,
        change: &ChangeId,
        told: &ProbeReport,
    ) -> Result<(bool, ProbeAnswer), Refusal> {
        let latest = self.states.get(change).copied();
        let verdict = match told.verdict {
            WireVerdict::Applied => ProbeVerdict::Applied,
            WireVerdict::NotApplied => ProbeVerdict::NotApplied,
            WireVerdict::Unknown => ProbeVerdict::Unknown,
        };
        // One that does not know is evidence, and nobody's state.
        let state = verdict.settles().unwrap_or(AuditState::Unknown);
        // Its answer was lost, and the change has no newer word.
        let repeated = self.entries.iter().rfind(|entry| {
            entry.change_id == change.as_str()
                && entry.origin == Origin::Probe
                && entry.execution == execution
                && entry.state == convert::wire_state(state)
        });
        if let Some(repeated) = repeated
            && latest.is_some_and(|latest| latest.seq == repeated.seq || repeated.late)
        {
            return Ok((
                false,
                ProbeAnswer {
                    settled: !repeated.late,
                    seq: repeated.seq,
                },
            ));
        }
        let number = execution.parse().ok().map(ExecutionId);
        let known = number.and_then(|number| self.executions.iter().find(|it| it.id == number));
        let attempt = latest.and_then(|latest| latest.execution);
        let attempt = attempt.and_then(|id| self.executions.iter().find(|it| it.id == id));
        let seen = self.marks_seen.get(change).copied();
        let judged = judge_probe(&Probed {
            verdict,
            about: told.expected_seq,
            execution: known.map(|known| ProbedUnder {
                id: known.id,
                runner: &known.runner,
                fence: known.fence,
            }),
            runner,
            fence: told.fence,
            latest: latest.as_ref(),
            attempted_by: attempt.map(|attempt| &attempt.runner),
            contradicted_by_mark: seen.is_some()
                && latest.is_some_and(|latest| contradicts_mark(&latest, seen)),
            lock: Some(&self.lock),
            now: self.now(),
        });
        let judgement = judged.map_err(|refusal| {
            let text = reasons::of_probe_refusal(refusal, told.expected_seq, change.as_str());
            Refusal::new(ErrorCode::ProbeRefused, text)
        })?;
        let settled = matches!(judgement, ProbeJudgement::Settle(_));
        let state = ChangeState {
            seq: 0,
            state,
            tx_strategy: latest.map(|it| it.tx_strategy).unwrap_or_default(),
            recovery: latest.map(|it| it.recovery).unwrap_or_default(),
            // Of the attempt that was in doubt: should it live after all, its own word still counts.
            execution: latest.and_then(|it| it.execution),
            source: Source::Probe,
        };
        let seq = self.append(change, state, !settled, Origin::Probe, None);
        if let Some(entry) = self.entries.last_mut() {
            execution.clone_into(&mut entry.execution);
        }
        Ok((true, ProbeAnswer { settled, seq }))
    }
}
