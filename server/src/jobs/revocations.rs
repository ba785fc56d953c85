//! A revoked credential is cut off within this period and a moment.

use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::tick;
use crate::app::auth::Auth;

pub(super) async fn run(auth: Auth, shutdown: CancellationToken) {
    tick::every(Duration::from_secs(1), "revocations", shutdown, || {
        auth.refresh_revocations()
    })
    .await;
}
