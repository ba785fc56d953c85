"""A small runner on the generated client: it starts an application's changes, and does what a person does.

    runner.py run EFFECTS [FAILING-CHANGE]      applies the changes by adding a line to the file EFFECTS for each
    runner.py decide CHANGE APPLIED|ROLLED_BACK REASON

FLAMINGOCK_SERVER, FLAMINGOCK_TOKEN and FLAMINGOCK_SERVICE say where and as whom.
"""

import os
import sys
import time
from pathlib import Path
from typing import TypeVar

from flamingock_client import AuthenticatedClient, Client
from flamingock_client.api.history import audit_list
from flamingock_client.api.issues import issue_list, issue_resolve
from flamingock_client.api.lock import lock_extend, lock_release
from flamingock_client.api.runner import audit_append, execution_plan
from flamingock_client.api.session import token_exchange
from flamingock_client.models import (
    AuditState,
    AuditWrite,
    BlockSubmission,
    BlockType,
    ChangeAction,
    ChangeStatusReport,
    ChangeSubmission,
    LockExtensionRequest,
    PlanAction,
    PlanRequest,
    PlanResponse,
    ProblemDetails,
    Resolution,
    ResolutionKind,
    ResolutionRequest,
    RunnerFacts,
    StageStatus,
    StageSubmission,
    Submission,
    TokenRequest,
)
from flamingock_client.types import UNSET

STAGE = "topics"
CHANGES = ["create-orders", "create-invoices", "widen-retention"]

Answer = TypeVar("Answer")


def ok(answer: Answer | ProblemDetails | None) -> Answer:
    if isinstance(answer, ProblemDetails):
        sys.exit(f"{answer.code}: {answer.message}")
    if answer is None:
        sys.exit("the server answered what its document does not say")
    return answer


class Run:
    def __init__(self, effects: Path, failing: str | None) -> None:
        server, service = os.environ["FLAMINGOCK_SERVER"], os.environ["FLAMINGOCK_SERVICE"]
        self.effects, self.failing = effects, failing
        self.runner_id = f"{service}@python#{os.getpid()}"
        request = TokenRequest(
            api_token=os.environ["FLAMINGOCK_TOKEN"], environment_name="production", service_name=service
        )
        session = ok(token_exchange.sync(client=Client(base_url=server), body=request))
        self.environment, self.service = session.environment_id, session.service_id
        self.client = AuthenticatedClient(base_url=server, token=session.jwt)
        self.stage = StageStatus.NOT_STARTED
        self.status: dict[str, ChangeStatusReport] = {}

    def plan(self) -> PlanResponse:
        changes = [
            ChangeSubmission(id=change, transactional=False, current_status=self.status.get(change, UNSET))
            for change in CHANGES
        ]
        stage = StageSubmission(name=STAGE, order=0, status=self.stage, changes=changes)
        blocks = [BlockSubmission(type_=BlockType.DEFAULT, stages=[stage])]
        request = PlanRequest(client_submission=Submission(blocks=blocks), runner=RunnerFacts(sdk="generated-python"))
        return ok(
            execution_plan.sync(
                self.environment,
                self.service,
                client=self.client,
                body=request,
                flamingock_runner_id=self.runner_id,
                prefer="wait=5",
            )
        )

    def report(self, execution: int, change: str, state: AuditState, error: str = "") -> None:
        body = AuditWrite(
            change_id=change,
            state=state,
            stage_id=STAGE,
            author="generated",
            applied_at_epoch_millis=int(time.time() * 1000),
            error_trace=error,
        )
        # Without a body in the answer where the server is told to spare it.
        answer = audit_append.sync_detailed(
            self.environment,
            self.service,
            str(execution),
            change,
            client=self.client,
            body=body,
            flamingock_runner_id=self.runner_id,
        )
        if answer.status_code >= 300:
            ok(answer.parsed)

    def apply(self, execution: int, change: str) -> bool:
        self.report(execution, change, AuditState.STARTED)
        with self.effects.open("a") as effects:
            effects.write(f"{change}\n")
        if change == self.failing:
            self.report(execution, change, AuditState.FAILED, "the broker went away")
            self.status[change] = ChangeStatusReport.FAILED
            return False
        self.report(execution, change, AuditState.APPLIED)
        self.status[change] = ChangeStatusReport.APPLIED
        return True

    def carry_out(self, plan: PlanResponse) -> None:
        assert isinstance(plan.execution_id, int) and plan.lock and plan.stages
        key = plan.lock.key
        news = LockExtensionRequest()  # none: see the document for what it may carry
        ok(lock_extend.sync(key, client=self.client, body=news, flamingock_runner_id=self.runner_id))
        self.stage = StageStatus.COMPLETED
        for change in (change for stage in plan.stages for change in stage.changes):
            if change.action == ChangeAction.APPLY and not self.apply(plan.execution_id, change.id):
                self.stage = StageStatus.FAILED
                break
            if change.action == ChangeAction.MANUAL_INTERVENTION:
                self.stage = StageStatus.BLOCKED_MANUAL_INTERVENTION
                break
        ok(lock_release.sync(key, client=self.client, flamingock_runner_id=self.runner_id))

    def to_the_end(self) -> None:
        while True:
            plan = self.plan()
            if plan.action == PlanAction.CONTINUE:
                print("the application starts")
                return
            if plan.action == PlanAction.ABORT:
                sys.exit(plan.reasons.message if plan.reasons else "stopped")
            if plan.action == PlanAction.EXECUTE:
                self.carry_out(plan)


def decide(change: str, kind: str, reason: str) -> None:
    """As a person, with an API token instead of a session."""
    server = os.environ["FLAMINGOCK_SERVER"]
    environment, service = int(os.environ["ENVIRONMENT_ID"]), int(os.environ["SERVICE_ID"])
    client = AuthenticatedClient(base_url=server, token=os.environ["FLAMINGOCK_TOKEN"])
    issues = ok(issue_list.sync(environment, service, client=client)).issues
    [issue] = [issue for issue in issues if issue.change_id == change]
    resolution = Resolution(change_id=change, expected_seq=issue.seq, resolution=ResolutionKind(kind))
    body = ResolutionRequest(reason=reason, resolutions=[resolution])
    ok(issue_resolve.sync(environment, service, client=client, body=body))
    for entry in ok(audit_list.sync(environment, service, client=client)).entries:
        print(entry.seq, entry.change_id, entry.state)


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["run", effects, *failing]:
            Run(Path(effects), failing[0] if failing else None).to_the_end()
        case ["decide", change, kind, reason]:
            decide(change, kind, reason)
        case _:
            sys.exit(__doc__)
