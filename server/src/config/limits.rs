//! What a single value's parser does not see.

use std::time::Duration;

use super::parse::{between, lasting, print_bytes};
use super::{Config, ConfigError};

impl Config {
    /// Limits, and values that would be printed with their secrets if a parser refused them.
    pub fn check(&self) -> Result<(), ConfigError> {
        const SECOND: Duration = Duration::from_secs(1);
        const MINUTE: Duration = Duration::from_mins(1);
        const HOUR: Duration = Duration::from_hours(1);
        const DAY: Duration = Duration::from_hours(24);

        if let Some(url) = &self.database.url {
            let scheme = url.expose().split_once("://").map(|(scheme, _)| scheme);
            if !matches!(scheme, Some("postgres" | "postgresql")) {
                return Err(ConfigError::Value {
                    name: "DATABASE_URL".to_owned(),
                    value: url.to_string(),
                    expected: "a URL such as postgres://user:password@host:5432/database".to_owned(),
                });
            }
        }
        between(
            "FLAMINGOCK_DATABASE_MAX_CONNECTIONS",
            self.database.max_connections,
            2,
            10_000,
        )?;
        lasting(
            "FLAMINGOCK_DATABASE_ACQUIRE_TIMEOUT",
            self.database.acquire_timeout,
            SECOND / 10,
            10 * MINUTE,
        )?;
        lasting(
            "FLAMINGOCK_DATABASE_STATEMENT_TIMEOUT",
            self.database.statement_timeout,
            SECOND / 10,
            HOUR,
        )?;
        if !(1024..=1 << 30).contains(&self.http.max_body_bytes) {
            return Err(ConfigError::Value {
                name: "FLAMINGOCK_HTTP_MAX_BODY".to_owned(),
                value: print_bytes(self.http.max_body_bytes),
                expected: "a size from 1KiB to 1GiB".to_owned(),
            });
        }
        lasting(
            "FLAMINGOCK_HTTP_REQUEST_TIMEOUT",
            self.http.request_timeout,
            SECOND,
            HOUR,
        )?;
        between(
            "FLAMINGOCK_HTTP_MAX_IN_FLIGHT",
            self.http.max_in_flight,
            1,
            1_000_000,
        )?;
        between("FLAMINGOCK_HTTP_MAX_WAITERS", self.http.max_waiters, 0, 1_000_000)?;
        between(
            "FLAMINGOCK_HTTP_MAX_LISTENERS",
            self.http.max_listeners,
            0,
            1_000_000,
        )?;
        lasting(
            "FLAMINGOCK_HTTP_WAIT_MAX",
            self.http.wait_max,
            Duration::ZERO,
            HOUR,
        )?;
        lasting(
            "FLAMINGOCK_HTTP_EXPORT_MAX",
            self.http.export_max,
            SECOND,
            7 * DAY,
        )?;
        lasting(
            "FLAMINGOCK_HTTP_SHUTDOWN_GRACE",
            self.http.shutdown_grace,
            Duration::ZERO,
            HOUR,
        )?;
        lasting(
            "FLAMINGOCK_LOCK_TAKEOVER_GRACE",
            self.locks.takeover_grace,
            Duration::ZERO,
            HOUR,
        )?;
        lasting(
            "FLAMINGOCK_AUTH_SESSION_LIFETIME",
            self.auth.session_lifetime,
            MINUTE,
            365 * DAY,
        )?;
        lasting(
            "FLAMINGOCK_AUTH_KEY_ROTATION",
            self.auth.key_rotation,
            HOUR,
            3650 * DAY,
        )?;
        if self.certificates.validity != Duration::ZERO {
            lasting(
                "FLAMINGOCK_CERTIFICATE_VALIDITY",
                self.certificates.validity,
                SECOND,
                30 * DAY,
            )?;
        }
        if self.checkpoints.interval != Duration::ZERO {
            lasting(
                "FLAMINGOCK_CHECKPOINT_INTERVAL",
                self.checkpoints.interval,
                SECOND / 10,
                DAY,
            )?;
        }
        lasting(
            "FLAMINGOCK_CHECKPOINT_KEY_ROTATION",
            self.checkpoints.key_rotation,
            HOUR,
            3650 * DAY,
        )?;
        for (name, value) in [
            ("FLAMINGOCK_AUTH_ISSUER", &self.auth.issuer),
            ("FLAMINGOCK_AUTH_AUDIENCE", &self.auth.audience),
        ] {
            if value.trim().is_empty() {
                return Err(ConfigError::Missing {
                    name: name.to_owned(),
                    expected: "a name".to_owned(),
                });
            }
        }
        crate::telemetry::parse_filter(&self.log.filter).map_err(|detail| ConfigError::Value {
            name: "FLAMINGOCK_LOG_FILTER".to_owned(),
            value: self.log.filter.clone(),
            expected: format!("levels such as info,sqlx=warn ({detail})"),
        })?;
        Ok(())
    }
}
