//! The metrics of this process. A field's doc comment is its help text's source of truth: keep them equal.
//!
//! Labels come from closed sets only (a route, a status, an action): tenants, locks and changes are unbounded.

use prometheus::{
    Encoder as _, Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec,
    Opts, Registry, TextEncoder,
};

/// Cheap to clone: every collector is shared.
#[derive(Clone)]
pub struct Metrics {
    registry: Registry,
    /// Requests answered, by route, method and status.
    pub http_requests: IntCounterVec,
    /// Seconds from a request's head to its answer's head, by route; parked time included.
    pub http_seconds: HistogramVec,
    /// Requests being worked on; parked ones are not.
    pub http_in_flight: IntGauge,
    /// Requests turned away because too many were being worked on.
    pub http_shed: IntCounter,
    /// Plans answered, by action and by how they were found: `cache`, `look` or `locked`.
    pub plan_decisions: IntCounterVec,
    /// What became of lock calls and of the locks inside plans, by event.
    pub lock_events: IntCounterVec,
    /// Entries appended, by state and source.
    pub audit_appends: IntCounterVec,
    /// Reports that had been recorded before.
    pub audit_duplicates: IntCounter,
    /// Reports recorded as evidence only: another execution or a person had written since.
    pub audit_late: IntCounterVec,
    /// `STARTED` reports refused, by reason: somebody is running without the right to.
    pub audit_refused: IntCounterVec,
    /// Changes that a runner reported as applied in its run while the log lacks them.
    pub plan_unrecorded: IntCounter,
    /// Plans in which a policy of the environment found something, by policy and by what came of it: `warned` or
    /// `stopped`.
    pub policy_findings: IntCounterVec,
    /// Appends written by one commit.
    pub audit_batch: Histogram,
    /// Streams that had moved since their last checkpoint, by what became of them: `signed` or `refused`.
    pub checkpoints: IntCounterVec,
    /// Requests parked until a lock frees.
    pub waiters: IntGauge,
    /// Streams of live events that are open.
    pub listeners: IntGauge,
    /// Database connections of this process, by state: `idle` or `used`.
    pub pool_connections: IntGaugeVec,
    /// Most database connections that this process may open.
    pub pool_connections_max: IntGauge,
}

impl Metrics {
    #[expect(
        clippy::new_without_default,
        reason = "each call makes a registry of its own; that should be visible"
    )]
    pub fn new() -> Self {
        let registry = Registry::new();
        #[cfg(target_os = "linux")]
        registry
            .register(Box::new(
                prometheus::process_collector::ProcessCollector::for_self(),
            ))
            .expect("each name is registered once");
        let counter = |name: &str, help: &str| {
            register(
                &registry,
                IntCounter::new(name, help).expect("the name and help are literals"),
            )
        };
        let counters = |name: &str, help: &str, labels: &[&str]| {
            register(
                &registry,
                IntCounterVec::new(Opts::new(name, help), labels)
                    .expect("the name, help and labels are literals"),
            )
        };
        let gauge = |name: &str, help: &str| {
            register(
                &registry,
                IntGauge::new(name, help).expect("the name and help are literals"),
            )
        };
        Self {
            http_requests: counters(
                "flamingock_http_requests_total",
                "Requests answered, by route, method and status.",
                &["route", "method", "status"],
            ),
            http_seconds: register(
                &registry,
                HistogramVec::new(
                    HistogramOpts::new(
                        "flamingock_http_request_seconds",
                        "Seconds from a request's head to its answer's head, by route; parked time included.",
                    )
                    .buckets(vec![
                        0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 5.0, 30.0,
                    ]),
                    &["route"],
                )
                .expect("the name, help and labels are literals"),
            ),
            http_in_flight: gauge(
                "flamingock_http_requests_in_flight",
                "Requests being worked on; parked ones are not.",
            ),
            http_shed: counter(
                "flamingock_http_requests_shed_total",
                "Requests turned away because too many were being worked on.",
            ),
            plan_decisions: counters(
                "flamingock_plan_decisions_total",
                "Plans answered, by action and by how they were found: cache, look or locked.",
                &["action", "found"],
            ),
            lock_events: counters(
                "flamingock_lock_events_total",
                "What became of lock calls and of the locks inside plans, by event.",
                &["event"],
            ),
            audit_appends: counters(
                "flamingock_audit_appends_total",
                "Entries appended, by state and source.",
                &["state", "source"],
            ),
            audit_duplicates: counter(
                "flamingock_audit_duplicates_total",
                "Reports that had been recorded before.",
            ),
            audit_late: counters(
                "flamingock_audit_late_total",
                "Reports recorded as evidence only: another execution or a person had written since.",
                &["state"],
            ),
            audit_refused: counters(
                "flamingock_audit_refused_total",
                "STARTED reports refused, by reason: somebody is running without the right to.",
                &["reason"],
            ),
            plan_unrecorded: counter(
                "flamingock_plan_unrecorded_changes_total",
                "Changes that a runner reported as applied in its run while the log lacks them.",
            ),
            policy_findings: counters(
                "flamingock_policy_findings_total",
                "Plans in which a policy of the environment found something, by policy and by what came of it: warned or \
                 stopped.",
                &["policy", "outcome"],
            ),
            audit_batch: register(
                &registry,
                Histogram::with_opts(
                    HistogramOpts::new("flamingock_audit_batch_entries", "Appends written by one commit.")
                        .buckets(vec![1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0]),
                )
                .expect("the name and help are literals"),
            ),
            checkpoints: counters(
                "flamingock_checkpoints_total",
                "Streams that had moved since their last checkpoint, by what became of them: signed or refused.",
                &["result"],
            ),
            waiters: gauge("flamingock_plan_waiters", "Requests parked until a lock frees."),
            listeners: gauge(
                "flamingock_event_listeners",
                "Streams of live events that are open.",
            ),
            pool_connections: register(
                &registry,
                IntGaugeVec::new(
                    Opts::new(
                        "flamingock_db_pool_connections",
                        "Database connections of this process, by state: idle or used.",
                    ),
                    &["state"],
                )
                .expect("the name, help and labels are literals"),
            ),
            pool_connections_max: gauge(
                "flamingock_db_pool_connections_max",
                "Most database connections that this process may open.",
            ),
            registry,
        }
    }

    /// Makes every series of a closed label set exist, at 0: a rate cannot see a series that is born at 1.
    pub fn declare(&self, states: &[&str], refusals: &[&str], lock_events: &[&str]) {
        for state in states {
            self.audit_late.with_label_values(&[state]);
        }
        for refusal in refusals {
            self.audit_refused.with_label_values(&[refusal]);
        }
        for event in lock_events {
            self.lock_events.with_label_values(&[event]);
        }
    }

    /// As [`declare`](Self::declare), for policies.
    pub fn declare_policies(&self, policies: impl Iterator<Item = &'static str>) {
        for policy in policies {
            for outcome in ["warned", "stopped"] {
                self.policy_findings.with_label_values(&[policy, outcome]);
            }
        }
    }

    /// The text format of Prometheus, version 0.0.4.
    pub fn render(&self) -> String {
        let mut out = Vec::new();
        if let Err(error) = TextEncoder::new().encode(&self.registry.gather(), &mut out) {
            tracing::error!(%error, "metrics could not be rendered");
        }
        String::from_utf8_lossy(&out).into_owned()
    }
}

fn register<C: prometheus::core::Collector + Clone + 'static>(registry: &Registry, collector: C) -> C {
    registry
        .register(Box::new(collector.clone()))
        .expect("each name is registered once");
    collector
}
