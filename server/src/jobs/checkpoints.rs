//! Whatever was appended to the audit is signed.

use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::tick;
use crate::app::checkpoints::Checkpoints;

pub(super) async fn run(checkpoints: Checkpoints, interval: Duration, shutdown: CancellationToken) {
    tick::every(interval, "checkpoints", shutdown, || checkpoints.sign()).await;
}
