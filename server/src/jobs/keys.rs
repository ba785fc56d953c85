//! Keys that sign sessions are read, rotated and removed.

use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::tick;
use crate::app::auth::Auth;

pub(super) async fn run(auth: Auth, shutdown: CancellationToken) {
    tick::every(Duration::from_secs(30), "keys", shutdown, || auth.rotate_keys()).await;
}
