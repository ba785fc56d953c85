//! "In staging, not in production": two environments of a project, service by service.

use flamingock_domain::audit::difference::{Difference, Standing as Judged, difference};
use sqlx::PgPool;

use super::fault::Fault;
use crate::store::difference as rows;

pub use crate::store::difference::Standing;

/// Services that one page looks at, and changes of each look.
const SERVICES_MAX: i64 = 100;
const CHANGES_MAX: i64 = 1_000;
/// Changes that one page looks at, at most.
const EXAMINED_MAX: usize = 10_000;

/// Where a page ended: inside a service, behind a change; a service is begun behind the empty id.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    pub service_id: i64,
    pub change_id: String,
}

#[derive(Clone, Debug)]
pub struct Differing {
    pub change_id: String,
    pub difference: Difference,
    pub here: Option<Standing>,
    pub there: Option<Standing>,
}

#[derive(Clone, Debug)]
pub struct DifferingService {
    pub service_id: i64,
    pub name: String,
    pub changes: Vec<Differing>,
}

/// What is compared.
#[derive(Clone, Debug)]
pub struct Comparison<'a> {
    pub project_id: i64,
    pub environment_id: i64,
    pub other_environment_id: i64,
    /// `None`: every service.
    pub services: Option<&'a [i64]>,
}

#[derive(Clone)]
pub struct Differences {
    pool: PgPool,
}

impl Differences {
    pub(super) fn new(pool: PgPool) -> Self {
        Self { pool }
    }

    /// Where they differ, at most `limit` changes. The caller has made sure that all of it may be seen.
    pub async fn list(
        &self,
        comparison: &Comparison<'_>,
        after: Option<&Place>,
        limit: usize,
    ) -> Result<(Vec<DifferingService>, Option<Place>), Fault> {
        let mut conn = self.pool.acquire().await?;
        let services = rows::list_services(
            &mut conn,
            comparison.project_id,
            (comparison.environment_id, comparison.other_environment_id),
            comparison.services,
            after.map_or(0, |place| place.service_id),
            SERVICES_MAX + 1,
        )
        .await?;
        let mut found: Vec<DifferingService> = Vec::new();
        let (mut taken, mut examined) = (0, 0);
        for (at, service) in services.iter().enumerate() {
            let mut behind = after
                .filter(|place| place.service_id == service.service_id)
                .map_or_else(String::new, |place| place.change_id.clone());
            let mut changes = Vec::new();
            loop {
                let stop = taken >= limit
                    || examined >= EXAMINED_MAX
                    || i64::try_from(at).is_ok_and(|at| at >= SERVICES_MAX);
                if stop {
                    push(&mut found, service, changes);
                    let place = Place {
                        service_id: service.service_id,
                        change_id: behind,
                    };
                    return Ok((found, Some(place)));
                }
                let pairs = rows::list_pairs(&mut conn, service, &behind, CHANGES_MAX).await?;
                let exhausted = i64::try_from(pairs.len()).is_ok_and(|count| count < CHANGES_MAX);
                for pair in pairs {
                    examined += 1;
                    if taken == limit {
                        break;
                    }
                    behind.clone_from(&pair.change_id);
                    if let Some(differing) = judge(pair) {
                        taken += 1;
                        changes.push(differing);
                    }
                }
                if exhausted && taken < limit {
                    break;
                }
            }
            push(&mut found, service, changes);
        }
        Ok((found, None))
    }
}

fn push(found: &mut Vec<DifferingService>, service: &rows::PairedService, changes: Vec<Differing>) {
    if !changes.is_empty() {
        found.push(DifferingService {
            service_id: service.service_id,
            name: service.name.clone(),
            changes,
        });
    }
}

fn judge(pair: rows::Pair) -> Option<Differing> {
    fn judged(standing: Option<&Standing>) -> Option<Judged<'_>> {
        standing.map(|standing| Judged {
            state: standing.state,
            checksum: standing.checksum.as_deref(),
        })
    }
    let difference = difference(judged(pair.here.as_ref()), judged(pair.there.as_ref()))?;
    Some(Differing {
        change_id: pair.change_id,
        difference,
        here: pair.here,
        there: pair.there,
    })
}
