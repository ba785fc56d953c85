//! Reading the log of what people and automation did.

use flamingock_domain::access::{Reach, UnitKind};
use sqlx::PgPool;

use super::fault::Fault;
use super::tenancy::TenancyError;
use crate::store::actions;
use crate::store::units;

pub use crate::store::actions::{ActionFilter as Filter, ActionPage as Page, ActionRow as Recorded};

#[derive(Clone)]
pub struct Actions {
    pool: PgPool,
}

impl Actions {
    pub(super) fn new(pool: PgPool) -> Self {
        Self { pool }
    }

    /// Newest first, of an organisation (`None`: of the whole server). A credential of a part sees what was done to that part.
    /// A page may hold little or nothing and still have a next one: the work for a page is bounded.
    pub async fn list(
        &self,
        reach: &Reach,
        organisation_id: Option<i64>,
        filter: &Filter,
        limit: i64,
    ) -> Result<Page, TenancyError> {
        let mut conn = self.pool.acquire().await.map_err(Fault::from)?;
        if let Some(id) = organisation_id {
            let kind = UnitKind::Organisation;
            units::load(&mut conn, kind, id)
                .await?
                .filter(|row| reach.sees(row.unit()))
                .ok_or(TenancyError::NotFound { kind, id })?;
        }
        Ok(actions::list(&mut conn, organisation_id, reach, filter, limit).await?)
    }
}
