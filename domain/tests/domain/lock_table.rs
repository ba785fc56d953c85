//! The lock, as a table of claims and as laws.

use std::time::Duration;

use flamingock_domain::ids::{AcquisitionId, Fence, LockKey, RunnerId};
use flamingock_domain::lock::{
    Acquire, Claim, Extend, Force, GivingBack, GrantKind, LEASE_MAX, LEASE_MIN, Lease, Lock, Proof, Release,
    Standing, acquire, clamp_lease, extend, force, release, standing,
};
use flamingock_domain::time::Timestamp;
use proptest::prelude::*;

use crate::support::{at, held_by, rows, runner_id};

// The claim is made by `me`. The lease is 60 s long and ends at second 0, the grace is 5 s, the last fence is 4. Times are
// in milliseconds. A proof is "the current id, seen for so long" or "another id".
const CLAIMS: &str = "
| lock     | now   | proof           | standing     | acquire    | retry after |
| -------- | ----- | --------------- | ------------ | ---------- | ----------- |
| no row   | 0     | -               | Free         | Fresh 1    |             |
| released | 0     | -               | Free         | Fresh 5    |             |
| mine     | -1    | -               | Mine         | Renewal 5  |             |
| mine     | 90000 | -               | Mine         | Renewal 5  |             |
| mine     | 0     | current 70000   | Mine         | Renewal 5  |             |
| other    | -1    | -               | Other        | held       | 5001        |
| other    | -1    | current 70000   | Other        | held       | 5001        |
| other    | -60000 | current 900000 | Other        | held       | 65000       |
| other    | 0     | -               | Other        | held       | 5000        |
| other    | 0     | current 60000   | Other        | held       | 5000        |
| other    | 0     | current 60001   | OtherExpired | TakeOver 5 |             |
| other    | 0     | another 70000   | Other        | held       | 5000        |
| other    | 4999  | -               | Other        | held       | 1           |
| other    | 4999  | another 70000   | Other        | held       | 1           |
| other    | 4999  | current 60001   | OtherExpired | TakeOver 5 |             |
| other    | 5000  | -               | Other        | held       | 1           |
| other    | 5001  | -               | OtherExpired | TakeOver 5 |             |
| other    | 5001  | another 1       | OtherExpired | TakeOver 5 |             |
";

fn lock(text: &str) -> Option<Lock> {
    match text {
        "no row" => None,
        "released" => Some(Lock {
            lease: None,
            ..held_by("other", 4, at(0))
        }),
        "mine" => Some(held_by("me", 4, at(0))),
        "other" => Some(held_by("other", 4, at(0))),
        other => panic!("no such lock: {other}"),
    }
}

fn proof(text: &str, lock: Option<&Lock>) -> Option<Proof> {
    let (which, elapsed) = text.split_once(' ')?;
    let current = lock
        .and_then(|lock| lock.lease.as_ref())
        .map(|lease| lease.acquisition_id.clone());
    let acquisition_id = match which {
        "current" => current.expect("the lock is held"),
        _ => AcquisitionId::parse("another").expect("an acquisition id"),
    };
    Some(Proof {
        acquisition_id,
        elapsed: Duration::from_millis(elapsed.parse().expect("milliseconds")),
    })
}

#[test]
fn every_row_of_the_lock_table_holds() {
    let me = runner_id("me");
    for row in &rows(CLAIMS)[1..] {
        let [held, now, proven, stands, acquired, retry] = row.cells[..] else {
            panic!("six cells: {}", row.line)
        };
        let lock = lock(held);
        let proof = proof(proven, lock.as_ref());
        let now: i64 = now.parse().expect("milliseconds");
        let claim = Claim {
            lock: lock.as_ref(),
            runner: &me,
            proof: proof.as_ref(),
            now: Timestamp::from_micros(now * 1000),
            grace: Duration::from_secs(5),
        };
        assert_eq!(format!("{:?}", standing(&claim)), stands, "{}", row.line);
        match acquire(&claim) {
            Acquire::Grant { kind, fence } => {
                assert_eq!(format!("{kind:?} {fence}"), acquired, "{}", row.line);
            }
            Acquire::HeldByOther { holder, retry_after } => {
                assert_eq!(acquired, "held", "{}", row.line);
                assert_eq!(Some(&holder), lock.as_ref().and_then(|lock| lock.lease.as_ref()));
                assert_eq!(retry_after.as_millis().to_string(), retry, "{}", row.line);
            }
        }
    }
}

#[test]
fn a_lease_is_clamped_to_what_is_sensible() {
    assert_eq!(clamp_lease(Duration::ZERO), LEASE_MIN);
    assert_eq!(clamp_lease(Duration::from_mins(1)), Duration::from_mins(1));
    assert_eq!(clamp_lease(Duration::MAX), LEASE_MAX);
}

#[test]
fn extending_and_releasing_are_for_the_recorded_owner_run_out_or_not() {
    let (me, other) = (runner_id("me"), runner_id("other"));
    let mine = held_by("me", 4, at(0));
    let released = Lock {
        lease: None,
        ..mine.clone()
    };
    // Neither looks at the clock, so the end of the lease cannot matter.
    assert_eq!(
        (extend(Some(&mine), &me), give_back(Some(&mine), &me)),
        (Extend::Extended, Release::Released)
    );
    for (lock, runner) in [(Some(&mine), &other), (Some(&released), &me), (None, &me)] {
        assert_eq!(
            (extend(lock, runner), give_back(lock, runner)),
            (Extend::NotHeld, Release::NotHeld)
        );
    }
}

fn give_back(lock: Option<&Lock>, runner: &RunnerId) -> Release {
    release(&GivingBack {
        lock,
        runner,
        granted_at: Some(at(0)),
        asked_at: at(0),
        fence: None,
    })
}

#[test]
fn a_release_frees_the_grant_that_the_caller_had_when_it_asked_and_no_later_one() {
    let me = runner_id("me");
    let mine = held_by("me", 4, at(60));
    // (granted at, asked at, fence, answer)
    let cases = [
        (None, 0, None, Release::Released),
        (Some(5), 5, None, Release::Released),
        (Some(5), 6, Some(4), Release::Released),
        (Some(5), 4, None, Release::Overtaken),
        (Some(5), 4, Some(4), Release::Overtaken),
        (Some(5), 6, Some(3), Release::Overtaken),
    ];
    for (granted, asked, fence, answer) in cases {
        let asked = GivingBack {
            lock: Some(&mine),
            runner: &me,
            granted_at: granted.map(at),
            asked_at: at(asked),
            fence,
        };
        assert_eq!(release(&asked), answer, "{asked:?}");
    }
}

#[test]
fn a_lease_without_end_is_never_over() {
    let me = runner_id("me");
    let mut lock = held_by("other", 4, Timestamp::from_micros(i64::MAX));
    lock.lease.as_mut().expect("held").length = Duration::MAX;
    let now = Timestamp::from_micros(i64::MAX);
    let claim = Claim {
        lock: Some(&lock),
        runner: &me,
        proof: None,
        now,
        grace: Duration::MAX,
    };
    assert_eq!(standing(&claim), Standing::Other);
}

/// One step of a lock's life: who, how much later, and with what stopwatch.
#[derive(Clone, Debug)]
enum Step {
    Acquire {
        runner: usize,
        proof_millis: Option<u64>,
        length: u64,
    },
    Extend {
        runner: usize,
    },
    Release {
        runner: usize,
    },
    Pass {
        millis: u64,
    },
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let runner = 0..3_usize;
    let step = prop_oneof![
        4 => (runner.clone(), proptest::option::of(0..4_000_u64), 1_000..3_000_u64)
            .prop_map(|(runner, proof_millis, length)| Step::Acquire { runner, proof_millis, length }),
        2 => runner.clone().prop_map(|runner| Step::Extend { runner }),
        1 => runner.prop_map(|runner| Step::Release { runner }),
        4 => (0..3_500_u64).prop_map(|millis| Step::Pass { millis }),
    ];
    proptest::collection::vec(step, 1..60)
}

struct Life {
    lock: Option<Lock>,
    now: Timestamp,
    acquisitions: usize,
    runners: [RunnerId; 3],
}

impl Life {
    fn new_acquisition(&mut self) -> AcquisitionId {
        self.acquisitions += 1;
        AcquisitionId::parse(format!("acquisition-{}", self.acquisitions)).expect("an acquisition id")
    }

    fn lease(&self) -> Option<&Lease> {
        self.lock.as_ref().and_then(|lock| lock.lease.as_ref())
    }

    /// Acquires, and gives the fence and the lease that was displaced.
    fn acquire(
        &mut self,
        runner: usize,
        elapsed: Option<u64>,
        length: u64,
    ) -> Option<(GrantKind, Fence, Option<Lease>)> {
        let before = self.lease().cloned();
        let proof = before.as_ref().zip(elapsed).map(|(lease, elapsed)| Proof {
            acquisition_id: lease.acquisition_id.clone(),
            elapsed: Duration::from_millis(elapsed),
        });
        let claim = Claim {
            lock: self.lock.as_ref(),
            runner: &self.runners[runner],
            proof: proof.as_ref(),
            now: self.now,
            grace: Duration::from_secs(1),
        };
        let Acquire::Grant { kind, fence } = acquire(&claim) else {
            return None;
        };
        let lease = Lease {
            owner: self.runners[runner].clone(),
            acquisition_id: self.new_acquisition(),
            length: Duration::from_millis(length),
            expires_at: self.now.plus(Duration::from_millis(length)),
        };
        self.lock = Some(Lock {
            key: LockKey::of_service(1),
            fence,
            lease: Some(lease),
        });
        Some((kind, fence, before))
    }
}

proptest! {
    #[test]
    fn fences_only_grow_and_no_living_holder_is_ever_displaced(steps in steps()) {
        let runners = ["a", "b", "c"].map(runner_id);
        let mut life = Life { lock: None, now: at(0), acquisitions: 0, runners };
        let mut last_fence = 0;
        for step in steps {
            match step {
                Step::Pass { millis } => life.now = life.now.plus(Duration::from_millis(millis)),
                Step::Extend { runner } => {
                    let owner = life.lease().map(|lease| lease.owner.clone());
                    let answer = extend(life.lock.as_ref(), &life.runners[runner]);
                    prop_assert_eq!(answer == Extend::Extended, owner.as_ref() == Some(&life.runners[runner]));
                    if answer == Extend::Extended {
                        let (acquisition_id, now) = (life.new_acquisition(), life.now);
                        let lease = life.lock.as_mut().and_then(|lock| lock.lease.as_mut()).expect("held");
                        lease.acquisition_id = acquisition_id;
                        lease.expires_at = now.plus(lease.length);
                    }
                }
                Step::Release { runner } => {
                    if give_back(life.lock.as_ref(), &life.runners[runner]) == Release::Released {
                        life.lock.as_mut().expect("held").lease = None;
                    }
                }
                Step::Acquire { runner, proof_millis, length } => {
                    let now = life.now;
                    let Some((kind, fence, before)) = life.acquire(runner, proof_millis, length) else {
                        continue;
                    };
                    prop_assert!(fence > last_fence, "every grant has a new fence");
                    last_fence = fence;
                    let displaced = before.filter(|lease| lease.owner != life.runners[runner]);
                    prop_assert_eq!(kind == GrantKind::TakeOver, displaced.is_some());
                    if let Some(displaced) = displaced {
                        prop_assert!(now >= displaced.expires_at, "the clock ended the lease");
                    }
                }
            }
        }
    }
}

// The lease ends at second 0, the last fence is 4.
const FORCES: &str = "
| lock     | expected | insists | now  | comes to        |
| -------- | -------- | ------- | ---- | --------------- |
| no row   | 0        | yes     | 0    | free            |
| released | 4        | yes     | 0    | free            |
| other    | 4        | no      | -1   | live until 0    |
| other    | 4        | yes     | -1   | freed, was live |
| other    | 4        | no      | 0    | freed           |
| other    | 4        | yes     | 0    | freed           |
| other    | 4        | no      | 9000 | freed           |
| other    | 3        | no      | -1   | moved to 4      |
| other    | 3        | yes     | -1   | moved to 4      |
| other    | 5        | yes     | 9000 | moved to 4      |
";

#[test]
fn every_row_of_the_table_of_forced_releases_holds() {
    for row in &rows(FORCES)[1..] {
        let [held, expected, insists, now, comes_to] = row.cells[..] else {
            panic!("five cells: {}", row.line)
        };
        let lock = lock(held);
        let expected: Fence = expected.parse().expect("a fence");
        let now: i64 = now.parse().expect("milliseconds");
        let now = Timestamp::from_micros(now * 1000);
        let text = match force(lock.as_ref(), expected, insists == "yes", now) {
            Force::Free => "free".to_owned(),
            Force::Freed { was_live: true } => "freed, was live".to_owned(),
            Force::Freed { was_live: false } => "freed".to_owned(),
            Force::Moved { fence } => format!("moved to {fence}"),
            Force::Live { expires_at } => format!("live until {}", expires_at.as_micros()),
        };
        assert_eq!(text, comes_to, "{}", row.line);
    }
}
