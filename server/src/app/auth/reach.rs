//! What of an environment a credential reaches.

use super::{Auth, TokenHolder};
use crate::app::Fault;
use crate::store::tenancy;

impl Auth {
    /// Whether the environment is within the holder's reach. Foreign ones are like absent ones.
    pub async fn may_access_environment(
        &self,
        holder: &TokenHolder,
        environment_id: i64,
    ) -> Result<bool, Fault> {
        let listed = holder.environment_ids.as_ref();
        if listed.is_some_and(|ids| !ids.contains(&environment_id)) {
            return Ok(false);
        }
        let mut conn = self.inner.pool.acquire().await?;
        let owner = tenancy::load_environment_owner(&mut conn, environment_id).await?;
        Ok(owner.is_some_and(|(project, organisation)| {
            holder.organisation_id.is_none_or(|id| id == organisation)
                && holder.project_id.is_none_or(|id| id == project)
        }))
    }
}
