//! A server from its first request to its last.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use flamingock_server::app::auth::{Auth, AuthSettings};
use flamingock_server::app::certificates::Certificates;
use flamingock_server::app::checkpoints::{Checkpoints, read_key_file};
use flamingock_server::config::Config;
use flamingock_server::http::Server;
use flamingock_server::jobs;
use flamingock_server::lifecycle::Shutdown;
use flamingock_server::metrics::Metrics;
use sqlx::PgPool;
use tokio_util::sync::CancellationToken;

use super::failure::Failure;

/// Serves until told to stop. `ready` is called with the URL when requests are answered.
pub(super) async fn serve(
    config: &Config,
    pool: PgPool,
    shutdown: &Shutdown,
    ready: impl AsyncFnOnce(&str) -> Result<(), Failure>,
) -> Result<(), Failure> {
    let settings = AuthSettings {
        session_lifetime: config.auth.session_lifetime,
        key_rotation: config.auth.key_rotation,
        issuer: config.auth.issuer.clone(),
        audience: config.auth.audience.clone(),
        ..AuthSettings::default()
    };
    let auth = Auth::start(pool.clone(), settings)
        .await
        .map_err(|error| Failure::new("cannot load the keys that sign sessions").because(error))?;
    let metrics = Metrics::new();
    let checkpoints = checkpoints(config, &pool, &metrics)?;
    let validity = config.certificates.validity;
    let certificates = checkpoints
        .as_ref()
        .filter(|_| validity != Duration::ZERO)
        .map(|(checkpoints, _)| Certificates::new(pool.clone(), checkpoints.clone(), validity));
    let bound = Server::bind(config, pool.clone(), auth.clone(), metrics, certificates).await.map_err(|error| {
        Failure::new(format!("cannot listen on {}", config.listen))
            .because(error)
            .help("choose another address or port with --listen or FLAMINGOCK_LISTEN; port 0 takes a free one")
    })?;
    let url = url(bound.local_addr());
    // They go on while requests end: a credential that is revoked then is still cut off.
    let ticking = CancellationToken::new();
    let jobs = jobs::spawn(&auth, checkpoints, &ticking);
    tracing::info!(url, version = env!("CARGO_PKG_VERSION"), "serving");
    let served = match ready(&url).await {
        Ok(()) => {
            tokio::select! {
                served = bound.run(shutdown.soft.clone()) => {
                    served.map_err(|error| Failure::new("the server stopped").because(error))
                }
                () = shutdown.hard.cancelled() => Ok(()),
            }
        }
        Err(failure) => Err(failure),
    };
    ticking.cancel();
    jobs.wait().await;
    // Connections that are lent out come back or are dropped with the process.
    if tokio::time::timeout(Duration::from_secs(5), pool.close())
        .await
        .is_err()
    {
        tracing::warn!("some database connections were still in use");
    }
    tracing::info!("stopped");
    served
}

/// What signs the audit, and how often; `None`: nothing does.
fn checkpoints(
    config: &Config,
    pool: &PgPool,
    metrics: &Metrics,
) -> Result<Option<(Checkpoints, Duration)>, Failure> {
    let settings = &config.checkpoints;
    if settings.interval == Duration::ZERO {
        return Ok(None);
    }
    let checkpoints = match &settings.key_file {
        None => Checkpoints::with_key_in_database(pool.clone(), settings.key_rotation, metrics),
        Some(path) => {
            let signer = read_key_file(path).map_err(|error| {
                Failure::new("cannot load the key that signs checkpoints")
                    .because(error)
                    .help("make one with `openssl genpkey -algorithm ed25519`; FLAMINGOCK_CHECKPOINT_KEY_FILE names it")
            })?;
            Checkpoints::with_key(pool.clone(), signer, metrics)
        }
    };
    Ok(Some((checkpoints, settings.interval)))
}

/// How somebody on this machine reaches it.
fn url(address: SocketAddr) -> String {
    let ip = match address.ip() {
        ip if ip.is_unspecified() => IpAddr::V4(Ipv4Addr::LOCALHOST),
        ip => ip,
    };
    format!("http://{}", SocketAddr::new(ip, address.port()))
}
