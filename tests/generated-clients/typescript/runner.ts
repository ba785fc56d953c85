// A small runner on the generated client: it starts an application's changes, and does what a person does.
//
//     node built/runner.js run EFFECTS [FAILING-CHANGE]      applies the changes by adding a line to the file EFFECTS for each
//     node built/runner.js decide CHANGE APPLIED|ROLLED_BACK REASON
//
// FLAMINGOCK_SERVER, FLAMINGOCK_TOKEN and FLAMINGOCK_SERVICE say where and as whom.

import { appendFileSync } from 'node:fs';
import {
    auditAppend,
    auditList,
    executionPlan,
    issueList,
    issueResolve,
    lockExtend,
    lockRelease,
    tokenExchange,
    type AuditState,
    type ChangeStatusReport,
    type PlanResponse,
    type ProblemDetails,
    type ResolutionKind,
    type StageStatus,
} from './client/index.js';
import { client } from './client/client.gen.js';

const STAGE = 'topics';
const CHANGES = ['create-orders', 'create-invoices', 'widen-retention'];

function fail(text: string): never {
    console.error(text);
    process.exit(1);
}

function variable(name: string): string {
    return process.env[name] ?? fail(`${name} is not set`);
}

function ok<T>(answer: { data?: T; error?: unknown }): T {
    if (answer.data !== undefined) return answer.data;
    const problem = answer.error as ProblemDetails | undefined;
    return fail(problem?.code ? `${problem.code}: ${problem.message}` : `no answer: ${String(answer.error)}`);
}

class Run {
    private stage: StageStatus = 'NOT_STARTED';
    private readonly status = new Map<string, ChangeStatusReport>();

    private constructor(
        private readonly effects: string,
        private readonly failing: string | undefined,
        private readonly path: { environmentId: number; serviceId: number },
        private readonly headers: { 'flamingock-runner-id': string },
    ) {}

    static async open(effects: string, failing: string | undefined): Promise<Run> {
        const serviceName = variable('FLAMINGOCK_SERVICE');
        client.setConfig({ baseUrl: variable('FLAMINGOCK_SERVER') });
        const session = ok(
            await tokenExchange({
                body: { apiToken: variable('FLAMINGOCK_TOKEN'), environmentName: 'production', serviceName },
            }),
        );
        client.setConfig({ auth: session.jwt });
        const path = { environmentId: session.environmentId, serviceId: session.serviceId };
        return new Run(effects, failing, path, {
            'flamingock-runner-id': `${serviceName}@typescript#${process.pid}`,
        });
    }

    private async plan(): Promise<PlanResponse> {
        const changes = CHANGES.map((id) => ({ id, transactional: false, currentStatus: this.status.get(id) }));
        const blocks = [{ type: 'DEFAULT' as const, stages: [{ name: STAGE, order: 0, status: this.stage, changes }] }];
        return ok(
            await executionPlan({
                path: this.path,
                headers: { ...this.headers, Prefer: 'wait=5' },
                body: { clientSubmission: { blocks }, runner: { sdk: 'generated-typescript' } },
            }),
        );
    }

    private async report(executionId: number, changeId: string, state: AuditState, errorTrace = ''): Promise<void> {
        const answer = await auditAppend({
            path: { ...this.path, executionId: String(executionId), changeId },
            headers: this.headers,
            body: { changeId, state, stageId: STAGE, author: 'generated', appliedAtEpochMillis: Date.now(), errorTrace },
        });
        // Without a body in the answer where the server is told to spare it.
        if (answer.error !== undefined) ok(answer);
    }

    private async apply(executionId: number, change: string): Promise<boolean> {
        await this.report(executionId, change, 'STARTED');
        appendFileSync(this.effects, `${change}\n`);
        if (change === this.failing) {
            await this.report(executionId, change, 'FAILED', 'the broker went away');
            this.status.set(change, 'FAILED');
            return false;
        }
        await this.report(executionId, change, 'APPLIED');
        this.status.set(change, 'APPLIED');
        return true;
    }

    private async carryOut(plan: PlanResponse): Promise<void> {
        const { executionId, lock, stages } = plan;
        if (executionId == null || lock == null || stages == null) fail('an EXECUTE without its parts');
        const holder = { path: { key: lock.key }, headers: this.headers };
        ok(await lockExtend(holder));
        this.stage = 'COMPLETED';
        for (const change of stages.flatMap((stage) => stage.changes)) {
            if (change.action === 'APPLY' && !(await this.apply(executionId, change.id))) {
                this.stage = 'FAILED';
                break;
            }
            if (change.action === 'MANUAL_INTERVENTION') {
                this.stage = 'BLOCKED_MANUAL_INTERVENTION';
                break;
            }
        }
        ok(await lockRelease(holder));
    }

    async toTheEnd(): Promise<void> {
        for (;;) {
            const plan = await this.plan();
            if (plan.action === 'CONTINUE') return console.log('the application starts');
            if (plan.action === 'ABORT') fail(plan.reasons?.message ?? 'stopped');
            if (plan.action === 'EXECUTE') await this.carryOut(plan);
        }
    }
}

/** As a person, with an API token instead of a session. */
async function decide(changeId: string, resolution: ResolutionKind, reason: string): Promise<void> {
    client.setConfig({ baseUrl: variable('FLAMINGOCK_SERVER'), auth: variable('FLAMINGOCK_TOKEN') });
    const path = {
        environmentId: Number(variable('ENVIRONMENT_ID')),
        serviceId: Number(variable('SERVICE_ID')),
    };
    const { issues } = ok(await issueList({ path }));
    const issue = issues.find((issue) => issue.changeId === changeId) ?? fail(`${changeId} is no issue`);
    ok(
        await issueResolve({
            path,
            body: { reason, resolutions: [{ changeId, expectedSeq: issue.seq, resolution }] },
        }),
    );
    for (const entry of ok(await auditList({ path })).entries) console.log(entry.seq, entry.changeId, entry.state);
}

const [command, first, second, third] = process.argv.slice(2);
if (command === 'run' && first) {
    await (await Run.open(first, second)).toTheEnd();
} else if (command === 'decide' && first && third && (second === 'APPLIED' || second === 'ROLLED_BACK')) {
    await decide(first, second, third);
} else {
    fail('run EFFECTS [FAILING-CHANGE] | decide CHANGE APPLIED|ROLLED_BACK REASON');
}
