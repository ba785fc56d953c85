//! Where scopes stand, read for many requests at once, and the folds that belong to it.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use flamingock_domain::audit::States;
use quick_cache::Weighter;
use quick_cache::sync::Cache;
use sqlx::{PgConnection, PgPool};

use super::combine::Combiner;
use super::fault::Fault;
use crate::store::streams::{self, Head, Position};
use crate::store::{self, Scope, StoreError};

/// The latest state of every change of a scope, as of one head. Immutable, so a cached one cannot be stale: it is looked
/// up by the head that was just read.
#[derive(Debug)]
pub struct Fold {
    pub position: Position,
    pub states: States,
}

#[derive(Clone)]
struct ByChanges;

impl Weighter<Scope, Arc<Fold>> for ByChanges {
    fn weight(&self, _: &Scope, fold: &Arc<Fold>) -> u64 {
        fold.states.len() as u64 + 1
    }
}

/// Changes held in memory over all scopes, at about 150 bytes each.
const CACHED_CHANGES: u64 = 100_000;

#[derive(Clone)]
pub struct Heads {
    reads: Combiner<Scope, Option<Head>>,
    folds: Arc<Cache<Scope, Arc<Fold>, ByChanges>>,
    pool: PgPool,
}

impl Heads {
    pub fn new(pool: PgPool, limit: Duration) -> Self {
        let reader = pool.clone();
        let reads = Combiner::spawn("heads", 512, 1, limit, move |scopes: Vec<Scope>| {
            let pool = reader.clone();
            async move {
                match read(&pool, &scopes).await {
                    Ok(found) => scopes.iter().map(|scope| Ok(found.get(scope).cloned())).collect(),
                    Err(error) => {
                        let fault = Fault::from(error);
                        scopes.iter().map(|_| Err(fault.clone())).collect()
                    }
                }
            }
        });
        Self {
            reads,
            folds: Arc::new(Cache::with_weighter(1_000, CACHED_CHANGES, ByChanges)),
            pool,
        }
    }

    /// A read that began after the call did. `None`: there is no such environment.
    pub async fn read(&self, scope: Scope) -> Result<Option<Head>, Fault> {
        self.reads.submit(scope).await
    }

    /// The fold at a head that was just read (or a newer one).
    pub async fn fold(&self, scope: Scope, head: &Head) -> Result<Arc<Fold>, Fault> {
        let Some(stream_id) = head.stream_id else {
            return Ok(Arc::new(Fold {
                position: Position::ORIGIN,
                states: States::new(),
            }));
        };
        if let Some(fold) = self.cached(scope, head.position) {
            return Ok(fold);
        }
        let mut conn = self.pool.acquire().await?;
        self.load(&mut conn, scope, stream_id).await
    }

    /// The fold of a stream that the caller's transaction has locked, so that its head stands still.
    pub async fn fold_locked(
        &self,
        conn: &mut PgConnection,
        scope: Scope,
        stream_id: i64,
        position: Position,
    ) -> Result<Arc<Fold>, Fault> {
        match self.cached(scope, position) {
            Some(fold) => Ok(fold),
            None => self.load(conn, scope, stream_id).await,
        }
    }

    fn cached(&self, scope: Scope, position: Position) -> Option<Arc<Fold>> {
        self.folds.get(&scope).filter(|fold| fold.position == position)
    }

    async fn load(&self, conn: &mut PgConnection, scope: Scope, stream_id: i64) -> Result<Arc<Fold>, Fault> {
        let (position, states) = streams::load_fold(conn, stream_id).await?;
        let fold = Arc::new(Fold { position, states });
        self.folds.insert(scope, Arc::clone(&fold));
        Ok(fold)
    }
}

async fn read(pool: &PgPool, scopes: &[Scope]) -> Result<HashMap<Scope, Head>, StoreError> {
    let mut distinct = scopes.to_vec();
    distinct.sort_unstable();
    distinct.dedup();
    // A look may be repeated; those that share it should not all fail for one connection.
    let heads = store::past_dead_connections(|| async {
        let mut conn = pool.acquire().await?;
        streams::load_heads(&mut conn, &distinct).await
    });
    Ok(heads.await?.into_iter().collect())
}
