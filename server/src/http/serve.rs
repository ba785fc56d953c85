//! Listening, serving, and stopping without losing an answer.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use axum::extract::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use sqlx::PgPool;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt as _;

use super::extract::Peer;
use super::{Api, ApiSettings, router};
use crate::app::auth::Auth;
use crate::app::certificates::Certificates;
use crate::app::{App, AppSettings};
use crate::config::Config;
use crate::metrics::Metrics;

/// Time for a request's head to arrive, counted from the end of the answer before it: a connection that says nothing for
/// longer only takes up room. Generous, because runners keep their connections through long changes, and one that is closed
/// just as a result is sent costs the Java client that result, which it never repeats (W §1.3).
const HEAD_TIMEOUT: Duration = Duration::from_mins(10);

/// Our own accept loop instead of `axum::serve`, which has no limit on how slowly a head may arrive.
pub struct Server {
    listener: TcpListener,
    address: SocketAddr,
    api: Api,
    grace: Duration,
}

impl Server {
    /// Port 0 takes a free one; [`Server::local_addr`] says which. Nothing is answered before [`Server::run`].
    pub async fn bind(
        config: &Config,
        pool: PgPool,
        auth: Auth,
        metrics: Metrics,
        certificates: Option<Certificates>,
    ) -> io::Result<Self> {
        let listener = TcpListener::bind(config.listen).await?;
        let address = listener.local_addr()?;
        metrics
            .pool_connections_max
            .set(config.database.max_connections.into());
        let mut app = App::new(
            pool,
            AppSettings {
                takeover_grace: config.locks.takeover_grace,
                batch_limit: config.database.acquire_timeout + config.database.statement_timeout,
                max_waiters: config.http.max_waiters,
                max_listeners: config.http.max_listeners,
                export_limit: config.http.export_max,
            },
            &metrics,
        );
        app.certificates = certificates;
        let settings = ApiSettings {
            max_body_bytes: config.http.max_body_bytes,
            request_timeout: config.http.request_timeout,
            wait_max: config.http.wait_max,
            max_in_flight: config.http.max_in_flight,
            empty_write_answers: config.compatibility.empty_write_answers,
            refuse_damaged_ids: config.compatibility.refuse_damaged_ids,
        };
        let api = Api::new(app, auth, metrics, settings, CancellationToken::new());
        Ok(Self {
            listener,
            address,
            api,
            grace: config.http.shutdown_grace,
        })
    }

    pub fn local_addr(&self) -> SocketAddr {
        self.address
    }

    /// Serves until `shutdown` is cancelled, then lets what is under way finish for the configured grace. Parked requests
    /// are answered with what is true at that moment. Dropping the future stops at once.
    pub async fn run(self, shutdown: CancellationToken) -> io::Result<()> {
        let Self {
            listener, api, grace, ..
        } = self;
        let poll = tokio::spawn({
            let app = api.app.clone();
            async move { app.look_after_waiters().await }
        });
        let telling = tokio::spawn({
            let events = api.app.events.clone();
            async move { events.poll().await }
        });
        let router = router(api.clone());
        let graceful = GracefulShutdown::new();
        let mut builder = http1::Builder::new();
        builder.timer(TokioTimer::new()).header_read_timeout(HEAD_TIMEOUT);
        loop {
            let (stream, peer) = tokio::select! {
                accepted = listener.accept() => match accepted {
                    Ok(accepted) => accepted,
                    Err(error) => {
                        // Out of file descriptors, mostly. Going on at once would be a hot loop.
                        tracing::warn!(%error, "a connection could not be accepted");
                        tokio::time::sleep(Duration::from_millis(50)).await;
                        continue;
                    }
                },
                () = shutdown.cancelled() => break,
            };
            // An answer is one small packet: waiting for more would cost every caller a delay.
            let _ = stream.set_nodelay(true);
            let named = router.clone().map_request(move |mut request: Request<Incoming>| {
                request.extensions_mut().insert(Peer(peer.ip()));
                request
            });
            let service = TowerToHyperService::new(named);
            let connection = graceful.watch(builder.serve_connection(TokioIo::new(stream), service));
            tokio::spawn(async move {
                // The Java client closes connections as it pleases (W §1.5): nothing to complain about.
                if let Err(error) = connection.await {
                    tracing::debug!(%error, "a connection ended early");
                }
            });
        }
        drop(listener);
        api.stopping.cancel();
        api.app.waiting.dismiss();
        tokio::select! {
            () = graceful.shutdown() => tracing::info!("every request under way was answered"),
            () = tokio::time::sleep(grace) => {
                tracing::warn!(grace_ms = grace.as_millis(), "some requests were not answered in time");
            }
        }
        poll.abort();
        telling.abort();
        Ok(())
    }
}
