//! Waiting until a service is up to date: for init containers and scripts.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use flamingock::admin::{Admin, ServiceScope};
use flamingock::wire::execution::PlanRequest;
use flamingock::wire::explanation::ServiceStanding;
use flamingock::wire::preview::PreviewVerdict;
use serde::Serialize;
use tokio::time::Instant;

use crate::context::Context;
use crate::failure::{Exit, Failure, Outcome};
use crate::output::GOOD;
use crate::{pipeline, text, time};

/// Ends with 0 when the service is up to date, with 3 as soon as a person has to decide or a policy stops it. When the
/// time is over: 4 if changes are pending, 5 if another runner held the lock, 6 if the server gave no answer.
#[derive(Debug, Args)]
pub struct Wait {
    /// The pipeline that must be fully applied: a directory of change files, or a JSON file as an application
    /// submits it. Without it, what the server
    /// knows of has to be applied and nobody at work: it does not know of changes that were never submitted
    #[arg(value_name = "FILE")]
    pipeline: Option<PathBuf>,
    /// Give up after this time
    #[arg(long, default_value = "10m", value_parser = humantime::parse_duration, value_name = "DURATION")]
    timeout: Duration,
    /// Look this often
    #[arg(long, default_value = "2s", value_parser = humantime::parse_duration, value_name = "DURATION")]
    every: Duration,
    /// Go on waiting where a person has to decide or a policy stops it
    #[arg(long)]
    patient: bool,
}

/// Where it stood at one look.
struct Look {
    exit: Exit,
    message: String,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct WaitView<'a> {
    up_to_date: bool,
    exit_code: u8,
    message: &'a str,
    waited_millis: u64,
}

/// A server is not asked more often than this, whatever is said.
const SHORTEST_PAUSE: Duration = Duration::from_millis(100);

impl Wait {
    pub async fn run(self, context: &Context) -> Outcome {
        let pipeline = self.pipeline.as_deref().map(pipeline::read).transpose()?;
        let admin = context.admin()?;
        let began = Instant::now();
        let mut scope = None;
        let mut said = String::new();
        loop {
            let look = self.look(context, &admin, &mut scope, pipeline.as_ref()).await?;
            let waited = began.elapsed();
            let over = waited >= self.timeout;
            if look.exit == Exit::Ok || (look.exit == Exit::NeedsPerson && !self.patient) || over {
                return end(context, &look, waited);
            }
            if look.message != said {
                context.out.note(&text::safe(&look.message, true));
                said.clone_from(&look.message);
            }
            let pause = self
                .every
                .max(SHORTEST_PAUSE)
                .min(self.timeout.saturating_sub(waited));
            tokio::time::sleep(pause).await;
        }
    }

    /// No answer is a look too: servers are replaced while others wait for them.
    async fn look(
        &self,
        context: &Context,
        admin: &Admin,
        known: &mut Option<ServiceScope>,
        pipeline: Option<&PlanRequest>,
    ) -> Result<Look, Failure> {
        let looked = async {
            let scope = if let Some(scope) = *known {
                scope
            } else {
                let Some(scope) = scope(context, admin).await? else {
                    let name = context.wanted()?.service.unwrap_or_default();
                    return Ok(Look {
                        exit: Exit::Pending,
                        message: format!("service {name} is not known yet"),
                    });
                };
                *known.insert(scope)
            };
            self.ask(admin, scope, pipeline).await
        };
        match looked.await {
            Err(failure) if failure.exit() == Exit::Unreachable => Ok(Look {
                exit: Exit::Unreachable,
                message: failure.message().to_owned(),
            }),
            other => other,
        }
    }

    async fn ask(
        &self,
        admin: &Admin,
        scope: ServiceScope,
        pipeline: Option<&PlanRequest>,
    ) -> Result<Look, Failure> {
        let Some(pipeline) = pipeline else {
            let explanation = admin.standing(scope).explain().await?;
            let exit = match explanation.standing {
                // The next start tries again by itself: that is what is waited for.
                ServiceStanding::Failed => Exit::Pending,
                standing => super::explain::exit(standing),
            };
            return Ok(Look {
                exit,
                message: explanation.message,
            });
        };
        let preview = admin.standing(scope).preview(pipeline).await?;
        let exit = match preview.verdict {
            PreviewVerdict::Unknown => Exit::Failed,
            verdict => super::plan::exit(verdict),
        };
        Ok(Look {
            exit,
            message: preview.message,
        })
    }
}

/// None while the environment is there and the service is not: it may be made by the rollout that is waited for.
async fn scope(context: &Context, admin: &Admin) -> Result<Option<ServiceScope>, Failure> {
    match context.service(admin).await {
        Ok(service) => Ok(Some(service.scope)),
        Err(failure) if failure.exit() == Exit::Failed && !failure.is_answer() => {
            context.environment(admin).await?;
            Ok(None)
        }
        Err(failure) => Err(failure),
    }
}

fn end(context: &Context, look: &Look, waited: Duration) -> Outcome {
    let waited_millis = u64::try_from(waited.as_millis()).unwrap_or(u64::MAX);
    if context.out.is_json() {
        context.out.json(&WaitView {
            up_to_date: look.exit == Exit::Ok,
            exit_code: look.exit as u8,
            message: &look.message,
            waited_millis,
        })?;
        return Ok(look.exit);
    }
    if look.exit == Exit::Ok {
        context.out.print(&format!(
            "{GOOD}Up to date{GOOD:#} after {}.\n",
            time::millis(i64::try_from(waited_millis).unwrap_or(i64::MAX))
        ))?;
        return Ok(Exit::Ok);
    }
    let failure = Failure::with(look.exit, look.message.clone());
    Err(match look.exit {
        Exit::NeedsPerson => failure.hint("`flamingock explain` says what to do"),
        Exit::Unreachable => failure.hint("is the server running, and is --server right?"),
        _ => failure.hint("the time is over: --timeout DURATION gives more"),
    })
}
