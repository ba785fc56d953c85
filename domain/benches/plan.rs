//! How long a plan of 10,000 changes takes: the fast path of a start asks for one on every request.

use std::collections::HashMap;
use std::hint::black_box;
use std::time::Duration;

use criterion::{Criterion, criterion_group, criterion_main};
use flamingock_domain::audit::{
    AuditState, ChangeState, FoldEntry, RecoveryStrategy, Source, States, TxStrategy, fold,
};
use flamingock_domain::ids::{ChangeId, ExecutionId, RunnerId, StageName};
use flamingock_domain::lock::Claim;
use flamingock_domain::pipeline::{Block, BlockType, Change, Mark, Pipeline, Stage};
use flamingock_domain::plan::{PlanInput, Settings, plan};
use flamingock_domain::time::Timestamp;

const STAGES: usize = 100;
const CHANGES_PER_STAGE: usize = 100;

fn id(number: usize) -> ChangeId {
    ChangeId::parse(format!("2026-11-change-of-the-invoices-{number:05}")).expect("a change id")
}

fn pipeline() -> Pipeline {
    let change = |number| Change {
        id: id(number),
        mark: Mark::None,
        reported: None,
        transactional: true,
        author: None,
        has_probe: false,
        takes_cursor: false,
        checksum: None,
    };
    let stage = |number: usize| Stage {
        name: StageName::parse(format!("stage-{number:03}")).expect("a stage name"),
        reported: None,
        changes: (number * CHANGES_PER_STAGE..(number + 1) * CHANGES_PER_STAGE)
            .map(change)
            .collect(),
    };
    Pipeline {
        blocks: vec![Block {
            kind: BlockType::Default,
            stages: (0..STAGES).map(stage).collect(),
        }],
    }
}

fn entry(number: usize, state: AuditState) -> FoldEntry {
    let state = ChangeState {
        seq: i64::try_from(number).expect("few") + 1,
        state,
        tx_strategy: TxStrategy::WithMarker,
        recovery: RecoveryStrategy::ManualIntervention,
        execution: Some(ExecutionId(1)),
        source: Source::Runner,
    };
    FoldEntry {
        change: id(number),
        late: false,
        state,
    }
}

fn benches(criterion: &mut Criterion) {
    let pipeline = pipeline();
    let all = STAGES * CHANGES_PER_STAGE;
    let log: Vec<_> = (0..all)
        .map(|number| entry(number, AuditState::Applied))
        .collect();
    // Of ten changes six are applied, three are pending and one failed in its transaction.
    let mixed = (0..all).filter(|number| number % 10 < 7).map(|number| {
        let state = if number % 10 == 6 {
            AuditState::Failed
        } else {
            AuditState::Applied
        };
        entry(number, state)
    });
    let mixed: Vec<_> = mixed.collect();
    let runner = RunnerId::parse("billing@node-a#5f0c9a52").expect("a runner id");
    let marks_seen = HashMap::new();

    let cases = [
        ("all applied", fold(&log)),
        ("all pending", States::new()),
        ("mixed", fold(&mixed)),
    ];
    for (name, states) in &cases {
        let input = PlanInput {
            pipeline: &pipeline,
            states,
            claim: Claim {
                lock: None,
                runner: &runner,
                proof: None,
                now: Timestamp::from_micros(0),
                grace: Duration::from_secs(5),
            },
            executions_of_run: &[],
            own_attempts: &[],
            marks_seen: &marks_seen,
            settings: Settings::default(),
        };
        criterion.bench_function(&format!("plan 10,000 changes, {name}"), |bencher| {
            bencher.iter(|| plan(black_box(&input)));
        });
    }
    criterion.bench_function("fold 10,000 entries", |bencher| {
        bencher.iter(|| fold(black_box(&log)));
    });
}

criterion_group!(group, benches);
criterion_main!(group);
