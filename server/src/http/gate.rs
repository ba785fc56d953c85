//! Calls about an environment as a whole: what of it the caller reaches.

use flamingock_api_types::ErrorCode;

use super::Api;
use super::extract::services_of;
use super::problem::Problem;
use crate::app::auth::Caller;

/// An environment within the caller's reach.
#[derive(Debug)]
pub struct Environment {
    pub id: i64,
    /// `None`: all of them.
    services: Option<Vec<i64>>,
}

/// What lies outside the token's reach answers exactly like what does not exist.
pub async fn environment(api: &Api, caller: &Caller, id: i64) -> Result<Environment, Problem> {
    let services = services_of(caller, api, id).await?;
    Ok(Environment { id, services })
}

impl Environment {
    /// The services that the caller reaches; `None`: all.
    pub fn services(&self) -> Option<&[i64]> {
        self.services.as_deref()
    }

    /// For what concerns every service, or some that are named: whoever answers for a part does not decide for the rest.
    pub async fn refuse_beyond(
        &self,
        api: &Api,
        caller: &Caller,
        concerned: Option<&[i64]>,
    ) -> Result<(), Problem> {
        let Some(concerned) = concerned else {
            return match &self.services {
                None => Ok(()),
                Some(_) => Err(Problem::new(
                    ErrorCode::OutOfScope,
                    format!(
                        "This concerns every service of environment {}, and the credential is for some of them only. Name \
                         the services, or use a credential that is not restricted.",
                        self.id
                    ),
                )),
            };
        };
        for &service in concerned {
            let is_within = match caller {
                Caller::Session(session) => session.service_id == service,
                Caller::Token(holder) => api.auth.may_access(holder, self.id, service).await?,
            };
            if !is_within {
                return Err(Problem::new(
                    ErrorCode::ServiceNotFound,
                    format!(
                        "No service {service} in environment {} is within this credential's reach.",
                        self.id
                    ),
                ));
            }
        }
        Ok(())
    }
}
