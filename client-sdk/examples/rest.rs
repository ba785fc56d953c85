//! A plan and a limit, in a service with an HTTP API.
//!
//! Needs `FLAMINGOCK_SERVER`, `FLAMINGOCK_TOKEN`, `FLAMINGOCK_ENVIRONMENT`, `FLAMINGOCK_SERVICE` and `BILLING_URL`:
//!
//! ```text
//! cargo run -p flamingock --features rest --example rest
//! ```

use std::env;

use flamingock::{ChangeError, Flamingock, HttpError, HttpTarget, Rest, Stage, change};
use serde::{Deserialize, Serialize};
use serde_json::json;

/// Every attempt carries the same idempotency key, so there is one plan, however often it is tried.
#[change(
    id = "team-plan",
    order = "0001",
    author = "mara",
    target = "billing",
    recovery = "always_retry",
    rollback = no_team_plan
)]
async fn team_plan(api: Rest) -> Result<(), HttpError> {
    let plan = json!({"id": "team", "price": 900});
    api.post("plans").json(&plan).send().await?;
    for seat in ["reader", "writer"] {
        let seat = json!({"plan": "team", "seat": seat});
        api.post("seats")
            .step(seat["seat"].as_str().unwrap_or_default())
            .json(&seat)
            .send()
            .await?;
    }
    Ok(())
}

async fn no_team_plan(api: Rest) -> Result<(), HttpError> {
    for path in ["seats/team-writer", "seats/team-reader", "plans/team"] {
        api.delete(path).send_if_there().await?;
    }
    Ok(())
}

#[derive(Serialize, Deserialize)]
struct Limit {
    requests: u64,
}

/// Only if nobody changes it between the look and the change; and only from what it is known to be.
#[change(
    id = "double-limit",
    order = "0002",
    author = "lin",
    target = "billing",
    recovery = "always_retry",
    rollback = halve_limit
)]
async fn double_limit(api: Rest) -> Result<(), ChangeError> {
    move_limit(&api, 100, 200).await
}

async fn halve_limit(api: Rest) -> Result<(), ChangeError> {
    move_limit(&api, 200, 100).await
}

async fn move_limit(api: &Rest, from: u64, to: u64) -> Result<(), ChangeError> {
    let read = api.get("limits/api").send().await?;
    let limit: Limit = read.json()?;
    if limit.requests == to {
        return Ok(());
    }
    if limit.requests != from {
        return Err(format!(
            "the limit is {}, which is neither {from} nor {to}",
            limit.requests
        )
        .into());
    }
    api.patch("limits/api")
        .step(&to.to_string())
        .if_unchanged(&read)?
        .json(&Limit { requests: to })
        .send()
        .await?;
    Ok(())
}

pub fn target(address: &str) -> Result<HttpTarget, HttpError> {
    HttpTarget::new("billing", address)
}

pub fn stage() -> Stage {
    Stage::new("billing").change(team_plan).change(double_limit)
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    tracing_subscriber::fmt().init();
    let url = env::var("BILLING_URL").map_err(|_| "BILLING_URL is not set: such as http://127.0.0.1:9000")?;
    let target = target(&url)?;
    let app = Flamingock::from_env().target(target).stage(stage());
    app.build()?.run().await?;
    Ok(())
}
