//! Header names of the runner API.

/// Who calls: required on every runner call but the token exchange. `<service>@<host>#<uuid>`, opaque to the server.
pub const RUNNER_ID: &str = "flamingock-runner-id";

/// Names one request in answers and logs. Echoed when the caller sends a sane one, made up otherwise.
pub const REQUEST_ID: &str = "x-request-id";

/// RFC 7240: `wait=N` lets the server hold an `AWAIT` for up to N seconds. Never sent by the Java client.
pub const PREFER: &str = "prefer";
