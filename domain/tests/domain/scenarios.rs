//! Whole stories: W1–W13 of the execution semantics, and the worked examples of the wire contract.
//!
//! Each request is followed by its answer, both as text: see `support::text` for how they are written.

use std::time::Duration;

use flamingock_domain::audit::{
    AuditState, Judgement, RecoveryStrategy, Resolution, ResolveRefusal, StartRefusal, TxStrategy,
};
use flamingock_domain::lock::{Extend, Proof, Release};
use flamingock_domain::plan::{Plan, PlanAction};

use crate::support::{LEASE, World, pipeline, tidy};

use AuditState::{Applied, Failed, RollbackFailed, RolledBack, Started};

impl World {
    /// A plan request and the whole answer.
    #[track_caller]
    fn expect(&mut self, runner: &str, submitted: &str, answer: &str) {
        assert_eq!(self.ask(runner, submitted), tidy(answer));
    }

    /// A plan request, and of the answer the action and what is to be done.
    #[track_caller]
    fn expect_briefly(&mut self, runner: &str, submitted: &str, answer: &str) {
        assert_eq!(self.ask_briefly(runner, submitted), tidy(answer));
    }

    fn apply(&mut self, changes: &[&str]) {
        for change in changes {
            self.run(change, &[Started, Applied]);
        }
    }

    /// History: all of these were applied by an earlier run, whose lock is released.
    fn with_applied(changes: &[&str]) -> Self {
        let mut world = Self::default();
        let all = format!("history: {}", changes.join(", "));
        world.ask("before", &all);
        world.apply(changes);
        world.release("before");
        world
    }
}

mod semantics {
    use super::*;

    #[test]
    fn w1_a_blocked_stage_does_not_stop_the_other_stage_of_its_block() {
        let mut world = World::default();
        world.ask("old", "first: m");
        world.start("m").expect("may start");
        world.release("old");

        let answer = "EXECUTE\ndo first: m MI\ndo second: n APPLY";
        world.expect_briefly("A", "first: m\nsecond: n", answer);
        world.apply(&["n"]);
        world.release("A");
        world.expect_briefly("A", "first BLOCKED: m\nsecond COMPLETED: n=APPLIED", "ABORT");
    }

    #[test]
    fn w1_a_client_that_takes_one_stage_at_a_time_gets_the_second_stage_next() {
        let mut world = World::default();
        world.ask("old", "first: m");
        world.start("m").expect("may start");
        world.release("old");
        world.ask("A", "first: m\nsecond: n");
        world.release("A");
        world.expect_briefly("A", "first BLOCKED: m\nsecond: n", "EXECUTE\ndo second: n APPLY");
    }

    #[test]
    fn w2_a_failed_legacy_block_keeps_the_default_block_from_running() {
        let mut world = World::with_applied(&["d1"]);
        let start = "-- LEGACY\nlegacy: l\n-- DEFAULT\none: d1\ntwo: d2";
        world.expect_briefly("A", start, "EXECUTE\ndo legacy: l APPLY");
        world.run("l", &[Started, Failed]);
        world.release("A");
        let answer = "
            ABORT
            legacy NEEDS_WORK: l FAILED
            one UP_TO_DATE: d1 ALREADY_APPLIED
            two NEEDS_WORK: d2 NOT_REACHED
        ";
        world.expect(
            "A",
            "-- LEGACY\nlegacy FAILED: l=FAILED\n-- DEFAULT\none: d1\ntwo: d2",
            answer,
        );
    }

    #[test]
    fn w3_a_change_that_waits_for_a_person_blocks_its_whole_stage() {
        let mut world = World::with_applied(&["a"]);
        world.ask("A", "stage: a, b, c");
        world.run("b", &[Started, Failed]);
        world.release("A");
        world.expect_briefly("B", "stage: a, b, c", "EXECUTE\ndo stage: a SKIP, b MI, c APPLY");
    }

    #[test]
    fn w4_even_a_change_before_it_is_not_run() {
        let mut world = World::default();
        world.ask("A", "stage: b");
        world.start("b").expect("may start");
        world.release("A");
        world.expect_briefly("B", "stage: a, b", "EXECUTE\ndo stage: a APPLY, b MI");
    }

    #[test]
    fn w5_a_clean_rollback_is_retried_by_the_next_run_without_a_person() {
        let mut world = World::default();
        world.ask("A", "stage: b");
        world.run("b", &[Started, Failed, RolledBack]);
        world.release("A");
        world.expect_briefly("B", "stage: b", "EXECUTE\ndo stage: b APPLY");
    }

    #[test]
    fn w6_but_not_by_the_same_run() {
        let mut world = World::default();
        world.ask("A", "stage: b");
        world.run("b", &[Started, Failed, RolledBack]);
        world.release("A");
        world.expect_briefly("A", "stage FAILED: b=ROLLED_BACK", "ABORT");
        // A client of the generation that reports stages only.
        world.expect_briefly(
            "A",
            "stage FAILED: b\nother: a=ALREADY_APPLIED",
            "EXECUTE\ndo other: a APPLY",
        );
    }

    #[test]
    fn w7_what_a_person_marked_as_rolled_back_is_retried() {
        let mut world = World::default();
        world.ask("A", "stage: b");
        world.run("b", &[Started, Failed]);
        world.release("A");
        world.expect_briefly("B", "stage: b", "EXECUTE\ndo stage: b MI");
        world.release("B");
        world.resolve("b", Resolution::RolledBack).expect("an issue");
        world.expect_briefly("C", "stage: b", "EXECUTE\ndo stage: b APPLY");
        world
            .start("b")
            .expect("STARTED may follow MANUAL_MARKED_AS_ROLLED_BACK");
    }

    #[test]
    fn w8_a_second_runner_waits_for_the_first_and_never_calls_a_person() {
        let mut world = World::default();
        world.ask("one", "stage: a");
        world.start("a").expect("may start");
        assert!(world.ask("two", "stage: a").starts_with("AWAIT one"));
        world.run("a", &[Applied]);
        assert_eq!(world.ask_briefly("two", "stage: a"), "CONTINUE");
    }

    #[test]
    fn w9_a_dead_runners_lock_is_taken_over_and_its_change_is_judged_by_the_table() {
        for (recovery, action) in [
            (RecoveryStrategy::ManualIntervention, "MI"),
            (RecoveryStrategy::AlwaysRetry, "APPLY"),
        ] {
            let mut world = World::with(TxStrategy::NonTx, recovery);
            world.ask("one", "stage: a");
            world.start("a").expect("may start");
            let seen = lease_of(&world);

            world.pass(LEASE);
            let equal = Proof {
                acquisition_id: seen.clone(),
                elapsed: LEASE,
            };
            let answer = world.plan("two", &pipeline("stage: a"), Some(&equal));
            assert!(
                matches!(answer.action, PlanAction::Await { .. }),
                "an equal time proves nothing"
            );

            let longer = Proof {
                acquisition_id: seen,
                elapsed: LEASE + Duration::from_millis(1),
            };
            let answer = world.plan("two", &pipeline("stage: a"), Some(&longer));
            assert_eq!(offered(&answer), [("a".to_owned(), action)]);
        }
    }

    #[test]
    fn w9_without_proof_the_take_over_waits_for_the_grace() {
        let mut world = World::default();
        world.ask("one", "stage: a, b");
        world.run("a", &[Started, Applied]);
        world.pass(LEASE + Duration::from_secs(5));
        world.expect_briefly("two", "stage: a, b", "AWAIT one");
        world.pass(Duration::from_micros(1));
        world.expect_briefly("two", "stage: a, b", "EXECUTE\ndo stage: a SKIP, b APPLY");
    }

    #[test]
    fn w10_what_is_applied_needs_no_lock() {
        let mut world = World::with_applied(&["a"]);
        world.ask("one", "stage: other");
        assert_eq!(world.ask_briefly("two", "stage: a"), "CONTINUE");
    }

    #[test]
    fn w11_a_change_that_moved_to_another_stage_is_the_same_change() {
        let mut world = World::with_applied(&["a"]);
        world.expect_briefly("A", "elsewhere: a", "CONTINUE");
    }

    #[test]
    fn w12_a_change_that_is_no_longer_in_the_code_is_ignored() {
        let mut world = World::with_applied(&["a", "gone"]);
        world.expect_briefly("A", "stage: a", "CONTINUE");
    }

    #[test]
    fn w13_a_change_added_before_applied_ones_is_run() {
        let mut world = World::with_applied(&["b", "c"]);
        world.expect_briefly(
            "A",
            "stage: a, b, c",
            "EXECUTE\ndo stage: a APPLY, b SKIP, c SKIP",
        );
    }
}

mod worked_examples {
    use super::*;

    const START: &str = "
        schema: create-invoices, add-due-date
        seed: load-tax-rates
    ";

    #[test]
    fn five_1_a_first_start_runs_three_changes_in_two_stages() {
        let mut world = World::default();
        world.expect(
            "A",
            START,
            "
            EXECUTE
            do schema: create-invoices APPLY, add-due-date APPLY
            do seed: load-tax-rates APPLY
            schema NEEDS_WORK: create-invoices NOT_REACHED, add-due-date NOT_REACHED
            seed NEEDS_WORK: load-tax-rates NOT_REACHED
            ",
        );
        assert_eq!(world.extend("A"), Extend::Extended);
        world.apply(&["create-invoices", "add-due-date", "load-tax-rates"]);
        assert_eq!(world.release("A"), Release::Released);
        world.expect(
            "A",
            "
            schema COMPLETED: create-invoices=APPLIED, add-due-date=APPLIED
            seed COMPLETED: load-tax-rates=APPLIED
            ",
            "
            CONTINUE
            schema UP_TO_DATE: create-invoices APPLIED, add-due-date APPLIED
            seed UP_TO_DATE: load-tax-rates APPLIED
            ",
        );
    }

    #[test]
    fn five_2_a_second_start_has_nothing_to_do_even_while_another_runner_holds_the_lock() {
        let mut world = World::with_applied(&["create-invoices", "add-due-date", "load-tax-rates"]);
        world.ask("other", "other: something");
        world.expect(
            "A",
            START,
            "
            CONTINUE
            schema UP_TO_DATE: create-invoices ALREADY_APPLIED, add-due-date ALREADY_APPLIED
            seed UP_TO_DATE: load-tax-rates ALREADY_APPLIED
            ",
        );
    }

    #[test]
    fn five_3_a_concurrent_start_awaits_and_takes_over_when_the_holder_is_dead() {
        let mut world = World::default();
        world.ask("A", START);
        let by_a = world.execution();
        world.apply(&["create-invoices"]);
        world.expect_briefly("B", START, "AWAIT A");

        // Each extension has a new id: what B watched before is no proof.
        let before = lease_of(&world);
        world.pass(Duration::from_secs(20));
        world.extend("A");
        let seen = lease_of(&world);
        assert_ne!(before, seen);

        world.pass(Duration::from_millis(60_003));
        let stale = Proof {
            acquisition_id: before,
            elapsed: Duration::from_millis(80_003),
        };
        let answer = world.plan("B", &pipeline(START), Some(&stale));
        assert!(matches!(answer.action, PlanAction::Await { .. }));
        let proof = Proof {
            acquisition_id: seen,
            elapsed: Duration::from_millis(60_003),
        };
        let answer = world.plan("B", &pipeline(START), Some(&proof));
        let expected = [
            ("create-invoices", "SKIP"),
            ("add-due-date", "APPLY"),
            ("load-tax-rates", "APPLY"),
        ];
        assert_eq!(
            offered(&answer),
            expected.map(|(id, action)| (id.to_owned(), action))
        );

        // A comes back to life.
        assert_eq!(world.extend("A"), Extend::NotHeld);
        let refused = world.report_of(by_a, "add-due-date", Started);
        assert_eq!(refused, Judgement::Refuse(StartRefusal::NotTheHolder));
        // It runs the change all the same. Until B has written, that is what is known of the change …
        assert_eq!(world.report_of(by_a, "add-due-date", Applied), Judgement::Append);
        // … and B is kept from running it again.
        assert_eq!(
            world.start("add-due-date"),
            Err(StartRefusal::StateForbids(Applied))
        );
    }

    #[test]
    fn five_3_a_holder_that_died_inside_a_change_leaves_it_to_a_person() {
        let mut world = World::default();
        world.ask("A", START);
        world.apply(&["create-invoices"]);
        world.start("add-due-date").expect("may start");
        world.pass(LEASE + Duration::from_secs(6));
        let answer = "
            EXECUTE
            do schema: create-invoices SKIP, add-due-date MI
            do seed: load-tax-rates APPLY
        ";
        world.expect_briefly("B", START, answer);
    }

    /// The state after the first start of 5.4: `add-due-date` is `FAILED`, all else applied.
    fn failed_without_rollback() -> World {
        let mut world = World::default();
        world.ask("A", START);
        world.apply(&["create-invoices"]);
        world.run("add-due-date", &[Started, Failed]);
        world.apply(&["load-tax-rates"]);
        world.release("A");
        world
    }

    #[test]
    fn five_4_a_failure_ends_the_run_with_abort() {
        let mut world = failed_without_rollback();
        world.expect(
            "A",
            "
            schema FAILED: create-invoices=APPLIED, add-due-date=FAILED
            seed COMPLETED: load-tax-rates=APPLIED
            ",
            "
            ABORT
            schema NEEDS_WORK: create-invoices APPLIED, add-due-date FAILED
            seed UP_TO_DATE: load-tax-rates APPLIED
            ",
        );
    }

    #[test]
    fn five_4_the_next_start_is_told_to_ask_a_person_and_then_ends_with_abort() {
        let mut world = failed_without_rollback();
        world.expect(
            "A",
            START,
            "
            EXECUTE
            do schema: create-invoices SKIP, add-due-date MI
            schema NEEDS_WORK: create-invoices ALREADY_APPLIED, add-due-date NOT_REACHED
            seed UP_TO_DATE: load-tax-rates ALREADY_APPLIED
            ",
        );
        world.release("A");
        world.expect_briefly(
            "A",
            "
            schema BLOCKED: create-invoices=ALREADY_APPLIED, add-due-date
            seed: load-tax-rates=ALREADY_APPLIED
            ",
            "ABORT",
        );
    }

    #[test]
    fn five_4_a_persons_decision_lets_the_next_start_go_on() {
        let mut world = failed_without_rollback();
        world
            .resolve("add-due-date", Resolution::RolledBack)
            .expect("an issue");
        let answer = "EXECUTE\ndo schema: create-invoices SKIP, add-due-date APPLY";
        world.expect_briefly("A", START, answer);

        let mut world = failed_without_rollback();
        world
            .resolve("add-due-date", Resolution::Applied)
            .expect("an issue");
        world.expect_briefly("A", START, "CONTINUE");
    }

    #[test]
    fn five_5_always_retry_means_the_next_run_not_this_one() {
        let mut world = World::with_applied(&["create-invoices", "add-due-date"]);
        world.recovery = RecoveryStrategy::AlwaysRetry;
        world.ask("A", START);
        world.run("load-tax-rates", &[Started, Failed]);
        world.release("A");
        world.expect_briefly(
            "A",
            "
            schema: create-invoices=ALREADY_APPLIED, add-due-date=ALREADY_APPLIED
            seed FAILED: load-tax-rates=FAILED
            ",
            "ABORT",
        );
        world.expect(
            "A",
            START,
            "
            EXECUTE
            do seed: load-tax-rates APPLY
            schema UP_TO_DATE: create-invoices ALREADY_APPLIED, add-due-date ALREADY_APPLIED
            seed NEEDS_WORK: load-tax-rates NOT_REACHED
            ",
        );
    }

    /// `create-invoices` applied and `add-due-date` left `STARTED`, on a target with a marker store.
    fn started_with_marker() -> World {
        let mut world = World::with(TxStrategy::WithMarker, RecoveryStrategy::ManualIntervention);
        world.ask("A", "schema: create-invoices, add-due-date");
        world.apply(&["create-invoices"]);
        world.start("add-due-date").expect("may start");
        world
    }

    #[test]
    fn five_6_a_a_mark_proves_that_the_change_committed() {
        let mut world = started_with_marker();
        world.release("A");
        world.expect(
            "A",
            "
            schema: create-invoices, add-due-date *APPLIED
            seed: load-tax-rates
            ",
            "
            EXECUTE, marks synchronized
            do seed: load-tax-rates APPLY
            schema UP_TO_DATE: create-invoices ALREADY_APPLIED, add-due-date ALREADY_APPLIED
            seed NEEDS_WORK: load-tax-rates NOT_REACHED
            write add-due-date APPLIED
            ",
        );
        assert_eq!(world.latest("add-due-date"), Some(Applied));
    }

    #[test]
    fn five_6_a_with_nothing_else_to_do_it_is_continue() {
        let mut world = started_with_marker();
        world.release("A");
        let submitted = "schema: create-invoices, add-due-date *APPLIED";
        world.expect_briefly("A", submitted, "CONTINUE, marks synchronized");
    }

    #[test]
    fn five_6_b_a_mark_counts_even_where_its_stage_failed_in_this_run() {
        let mut world = started_with_marker();
        world.release("A");
        world.expect(
            "A",
            "
            schema FAILED: create-invoices=APPLIED, add-due-date=FAILED *APPLIED
            seed COMPLETED: load-tax-rates=APPLIED
            ",
            "
            ABORT, marks synchronized
            schema UP_TO_DATE: create-invoices APPLIED, add-due-date FAILED
            seed NEEDS_WORK: load-tax-rates APPLIED
            write add-due-date APPLIED
            ",
        );
        world.expect_briefly("A", "schema: create-invoices, add-due-date", "CONTINUE");
    }

    #[test]
    fn five_6_b_the_refused_result_may_still_arrive_and_is_not_a_second_truth() {
        let mut world = started_with_marker();
        let by_a = world.execution();
        world.release("A");
        world.ask(
            "A",
            "schema FAILED: create-invoices=APPLIED, add-due-date=FAILED *APPLIED",
        );
        assert_eq!(world.latest("add-due-date"), Some(Applied));
        assert_eq!(world.report_of(by_a, "add-due-date", Applied), Judgement::Append);
        assert_eq!(
            world.report_of(by_a, "add-due-date", Applied),
            Judgement::Duplicate
        );
        assert_eq!(world.latest("add-due-date"), Some(Applied));
    }

    #[test]
    fn five_6_c_a_rolled_back_mark_makes_the_change_eligible() {
        let mut world = started_with_marker();
        world.release("A");
        world.expect(
            "A",
            "
            schema: create-invoices, add-due-date *ROLLED_BACK
            seed: load-tax-rates
            ",
            "
            EXECUTE, marks synchronized
            do schema: create-invoices SKIP, add-due-date APPLY
            do seed: load-tax-rates APPLY
            schema NEEDS_WORK: create-invoices ALREADY_APPLIED, add-due-date NOT_REACHED
            seed NEEDS_WORK: load-tax-rates NOT_REACHED
            write add-due-date ROLLED_BACK
            ",
        );
        world.run("add-due-date", &[Started, Applied]);
    }

    const BLOCKS: &str = "
        -- SYSTEM
        flamingock-system-stage: import-history
        -- LEGACY
        flamingock-legacy-stage:
        -- DEFAULT
        schema: create-invoices, add-due-date
    ";

    #[test]
    fn five_7_a_later_block_waits_for_the_one_before() {
        let mut world = World::default();
        world.expect(
            "A",
            BLOCKS,
            "
            EXECUTE
            do flamingock-system-stage: import-history APPLY
            flamingock-system-stage NEEDS_WORK: import-history NOT_REACHED
            flamingock-legacy-stage UP_TO_DATE:
            schema NEEDS_WORK: create-invoices NOT_REACHED, add-due-date NOT_REACHED
            ",
        );
        world.apply(&["import-history"]);
        world.release("A");
        world.expect_briefly(
            "A",
            "
            -- SYSTEM
            flamingock-system-stage COMPLETED: import-history=APPLIED
            -- LEGACY
            flamingock-legacy-stage:
            -- DEFAULT
            schema: create-invoices, add-due-date
            ",
            "
            EXECUTE
            do schema: create-invoices APPLY, add-due-date APPLY
            ",
        );
    }

    #[test]
    fn five_7_a_system_block_that_fails_stops_everything_behind_it() {
        let mut world = World::default();
        world.ask("A", BLOCKS);
        world.run("import-history", &[Started, Failed, RollbackFailed]);
        world.release("A");
        world.expect_briefly(
            "A",
            "
            -- SYSTEM
            flamingock-system-stage FAILED: import-history=FAILED
            -- LEGACY
            flamingock-legacy-stage:
            -- DEFAULT
            schema: create-invoices, add-due-date
            ",
            "ABORT",
        );
    }
}

mod beyond_the_examples {
    use super::*;

    #[test]
    fn the_holder_itself_is_renewed_and_its_old_execution_is_fenced_off() {
        let mut world = World::default();
        world.ask("A", "stage: a");
        let lost = world.execution();
        // The answer was lost: the runner asks again.
        world.expect_briefly("A", "stage: a", "EXECUTE\ndo stage: a APPLY");
        let refused = world.report_of(lost, "a", Started);
        assert_eq!(refused, Judgement::Refuse(StartRefusal::StaleFence));
        world.start("a").expect("the new execution may");
    }

    #[test]
    fn a_result_that_the_log_lost_does_not_stop_the_run_and_is_judged_anew_by_the_next() {
        let mut world = World::default();
        world.ask("A", "stage: a");
        world.start("a").expect("may start");
        world.release("A");
        world.expect(
            "A",
            "stage COMPLETED: a=APPLIED",
            "
            CONTINUE
            stage NEEDS_WORK: a APPLIED
            ",
        );
        world.expect_briefly("A", "stage: a", "EXECUTE\ndo stage: a MI");
    }

    #[test]
    fn a_second_stage_of_one_name_does_not_hide_the_failure_of_the_first() {
        let mut world = World::default();
        let start = "changes: a, b\nchanges: c";
        world.expect_briefly("A", start, "EXECUTE\ndo changes: a APPLY, b APPLY, c APPLY");
        world.run("a", &[Started, Failed, RolledBack]);
        world.apply(&["c"]);
        world.release("A");
        // The client has one status for the name: the later stage's success is written over the failure.
        let reported = "changes COMPLETED: a, b\nchanges COMPLETED: c";
        world.expect_briefly("A", reported, "ABORT");
        let reported = pipeline(reported);
        assert!(
            !reported.reports_failure(),
            "so the server has to make this answer an error"
        );
        // A new run may try again.
        world.expect_briefly("A", start, "EXECUTE\ndo changes: a APPLY, b APPLY, c SKIP");
    }

    #[test]
    fn nor_does_it_hide_that_the_first_was_blocked() {
        let mut world = World::default();
        world.ask("old", "changes: m");
        world.start("m").expect("may start");
        world.release("old");

        let start = "changes: m, n\nchanges: c";
        world.expect_briefly("A", start, "EXECUTE\ndo changes: m MI, n APPLY, c APPLY");
        world.apply(&["c"]);
        world.release("A");
        // Believed, this would let the application start without `m` and `n`; offered again, it would never end.
        world.expect_briefly(
            "A",
            "changes COMPLETED: m, n\nchanges COMPLETED: c=APPLIED",
            "ABORT",
        );
    }

    #[test]
    fn a_contradicting_mark_waits_for_a_person_who_knows_of_it() {
        let mut world = World::with(TxStrategy::WithMarker, RecoveryStrategy::ManualIntervention);
        world.ask("A", "stage: a");
        world.run("a", &[Started, Failed, RolledBack]);
        world.release("A");
        assert_eq!(
            world.resolve("a", Resolution::RolledBack),
            Err(ResolveRefusal::NoIssue)
        );

        world.expect_briefly("B", "stage: a *APPLIED", "EXECUTE\ndo stage: a MI");
        world.release("B");
        world
            .resolve("a", Resolution::RolledBack)
            .expect("the mark made it an issue");
        world.expect_briefly(
            "C",
            "stage: a *APPLIED",
            "EXECUTE, marks synchronized\ndo stage: a APPLY",
        );
    }

    #[test]
    fn a_person_who_decided_before_the_mark_was_known_is_asked_again() {
        let mut world = World::with(TxStrategy::WithMarker, RecoveryStrategy::ManualIntervention);
        world.ask("A", "stage: a");
        world.start("a").expect("may start");
        world.release("A");
        world.resolve("a", Resolution::RolledBack).expect("an issue");

        world.expect_briefly("B", "stage: a *APPLIED", "EXECUTE\ndo stage: a MI");
        world.release("B");
        world
            .resolve("a", Resolution::Applied)
            .expect("a person may decide again");
        world.expect_briefly("C", "stage: a *APPLIED", "CONTINUE, marks synchronized");
    }

    #[test]
    fn a_change_in_progress_is_not_to_be_decided_by_a_person() {
        let mut world = World::default();
        world.ask("A", "stage: a");
        world.start("a").expect("may start");
        assert_eq!(
            world.resolve("a", Resolution::Applied),
            Err(ResolveRefusal::InProgress)
        );
        world.pass(LEASE);
        world
            .resolve("a", Resolution::Applied)
            .expect("the lease has run out");
        // The runner lives after all: its word is kept as evidence and does not undo the decision.
        assert_eq!(world.report("a", Failed), Judgement::AppendLate);
        assert_eq!(world.latest("a"), Some(AuditState::MarkedApplied));
    }

    #[test]
    fn two_people_do_not_overwrite_each_other() {
        let mut world = World::default();
        world.ask("A", "stage: a");
        world.run("a", &[Started, Failed]);
        world.release("A");
        world
            .resolve_against("a", 2, Resolution::Applied)
            .expect("an issue");
        let second = world.resolve_against("a", 2, Resolution::RolledBack);
        assert_eq!(second, Err(ResolveRefusal::Outdated { actual: 3 }));
    }

    #[test]
    fn a_run_that_ends_in_the_middle_of_a_block_goes_on_where_it_was() {
        let mut world = World::default();
        world.ask("A", "one: a, b\ntwo: c");
        world.apply(&["a"]);
        world.pass(LEASE + Duration::from_secs(6));
        let answer = "EXECUTE\ndo one: a SKIP, b APPLY\ndo two: c APPLY";
        world.expect_briefly("B", "one: a, b\ntwo: c", answer);
    }
}

fn lease_of(world: &World) -> flamingock_domain::ids::AcquisitionId {
    let lease = world.lock.as_ref().and_then(|lock| lock.lease.as_ref());
    lease.expect("the lock is held").acquisition_id.clone()
}

fn offered(plan: &Plan) -> Vec<(String, &'static str)> {
    let PlanAction::Execute { stages, .. } = &plan.action else {
        panic!("not EXECUTE: {:?}", plan.action)
    };
    let changes = stages.iter().flat_map(|stage| &stage.changes);
    changes
        .map(|(id, action)| (id.to_string(), crate::support::action_text(*action)))
        .collect()
}
