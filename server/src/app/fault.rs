//! What can stop any use case, whatever it was about to do.

use std::sync::Arc;

use crate::store::StoreError;

#[derive(Clone, Debug, thiserror::Error)]
pub enum Fault {
    /// Shared, because one round trip may serve many requests. Later may be better: the database is away, or a race was lost once too often.
    #[error("the service is busy")]
    Busy(#[source] Arc<StoreError>),
    /// A bug of ours, or a row that this version cannot read.
    #[error("the service failed")]
    Broken(#[source] Arc<StoreError>),
}

impl From<StoreError> for Fault {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Unavailable(_) | StoreError::Contention(_) => Self::Busy(Arc::new(error)),
            StoreError::Constraint { .. } | StoreError::Corrupt { .. } | StoreError::Query(_) => {
                Self::Broken(Arc::new(error))
            }
        }
    }
}

impl From<sqlx::Error> for Fault {
    fn from(error: sqlx::Error) -> Self {
        StoreError::from(error).into()
    }
}
