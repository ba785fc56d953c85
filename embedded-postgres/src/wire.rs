//! Just enough of PostgreSQL's protocol (version 3) to ask "are you there?" and to run a statement over the
//! private Unix socket, where every connection is trusted. Results are counted, not read.

use std::{
    io::{self, Read, Write},
    os::unix::net::UnixStream,
    path::Path,
    time::Duration,
};

use crate::error::Error;

/// The superuser `initdb` is told to create.
pub(crate) const USER: &str = "postgres";

/// The port in the socket's name; nothing listens on it.
pub(crate) const PORT: u16 = 5432;

/// Protocol 3.0.
const PROTOCOL: u32 = 3 << 16;

/// Longer messages than this are not expected here: 16 MiB.
const MAX_MESSAGE_BYTES: u32 = 16 << 20;

/// Why a connection could not be made or used.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The server answered with an error.
    Server {
        /// Five characters.
        sqlstate: String,
        /// The message and, after a colon, its detail.
        message: String,
    },
    /// No socket, no answer in time, or a broken conversation.
    Io(io::Error),
}

impl Failure {
    /// "The database system is starting up", or shutting down: try again later.
    pub(crate) fn is_not_yet(&self) -> bool {
        match self {
            Failure::Server { sqlstate, .. } => sqlstate == "57P03",
            Failure::Io(_) => true,
        }
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Failure::Io(error)
    }
}

impl From<Failure> for Error {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Server { sqlstate, message } => Error::Server { sqlstate, message },
            Failure::Io(error) => Error::Connection {
                reason: error.to_string(),
            },
        }
    }
}

/// The name of the socket's file.
pub(crate) fn socket_file() -> String {
    format!(".s.PGSQL.{PORT}")
}

/// One session, ready for a statement.
#[derive(Debug)]
pub(crate) struct Connection {
    stream: UnixStream,
}

impl Connection {
    /// Connects and waits until the server says that it is ready. `patience` bounds each wait for an answer: the
    /// socket accepts before the server can answer.
    pub(crate) fn open(socket_dir: &Path, database: &str, patience: Duration) -> Result<Self, Failure> {
        let stream = UnixStream::connect(socket_dir.join(socket_file()))?;
        stream.set_read_timeout(Some(patience))?;
        stream.set_write_timeout(Some(patience))?;
        let mut connection = Connection { stream };

        let mut body = PROTOCOL.to_be_bytes().to_vec();
        for word in [
            "user",
            USER,
            "database",
            database,
            "application_name",
            "flamingock-embedded-postgres",
            "",
        ] {
            body.extend_from_slice(word.as_bytes());
            body.push(0);
        }
        connection.send(None, &body)?;
        connection.until_ready()?;
        Ok(connection)
    }

    /// Runs one or more statements, without a limit of time, and returns the number of rows they returned.
    pub(crate) fn query(&mut self, sql: &str) -> Result<u64, Failure> {
        self.stream.set_read_timeout(None)?;
        let mut body = sql.as_bytes().to_vec();
        if body.contains(&0) {
            return Err(
                io::Error::new(io::ErrorKind::InvalidInput, "a statement cannot contain a NUL").into(),
            );
        }
        body.push(0);
        self.send(Some(b'Q'), &body)?;
        self.until_ready()
    }

    fn send(&mut self, tag: Option<u8>, body: &[u8]) -> io::Result<()> {
        let length = u32::try_from(body.len() + 4).map_err(|_| io::ErrorKind::InvalidInput)?;
        let mut message: Vec<u8> = tag.into_iter().collect();
        message.extend_from_slice(&length.to_be_bytes());
        message.extend_from_slice(body);
        self.stream.write_all(&message)
    }

    fn receive(&mut self) -> io::Result<(u8, Vec<u8>)> {
        let mut head = [0; 5];
        self.stream.read_exact(&mut head)?;
        let [tag, a, b, c, d] = head;
        let length = u32::from_be_bytes([a, b, c, d]);
        if !(4..=MAX_MESSAGE_BYTES).contains(&length) {
            return Err(unexpected(&format!("a message of {length} bytes")));
        }
        let mut body = vec![0; length as usize - 4];
        self.stream.read_exact(&mut body)?;
        Ok((tag, body))
    }

    /// Reads messages until "ready for query"; the first error on the way is the result.
    fn until_ready(&mut self) -> Result<u64, Failure> {
        let mut rows = 0;
        let mut failure = None;
        loop {
            let (tag, body) = match self.receive() {
                Ok(message) => message,
                // A fatal error is the last thing the server says before it closes.
                Err(error) => return Err(failure.unwrap_or(Failure::Io(error))),
            };
            match tag {
                b'Z' => return failure.map_or(Ok(rows), Err),
                b'D' => rows += 1,
                b'E' => failure = failure.or(Some(server_error(&body))),
                b'R' if body != [0; 4] => {
                    return Err(Failure::Io(unexpected("a request for a password")));
                }
                b'G' | b'W' => return Err(Failure::Io(unexpected("a request for COPY data"))),
                _ => {} // parameters, notices, descriptions, completions
            }
        }
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        // "Terminate". Without it the server logs a broken connection.
        let _ = self.send(Some(b'X'), &[]);
    }
}

/// An ErrorResponse: fields of a type byte and a C string, ended by a zero.
fn server_error(body: &[u8]) -> Failure {
    let (mut sqlstate, mut message, mut detail) = (String::new(), String::new(), String::new());
    for field in body.split(|byte| *byte == 0) {
        let Some((kind, text)) = field.split_first() else {
            continue;
        };
        let text = String::from_utf8_lossy(text).into_owned();
        match kind {
            b'C' => sqlstate = text,
            b'M' => message = text,
            b'D' => detail = text,
            _ => {}
        }
    }
    if !detail.is_empty() {
        message = format!("{message}: {detail}");
    }
    Failure::Server { sqlstate, message }
}

fn unexpected(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("the server sent {what}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_response_is_read_field_by_field() {
        let body = b"SERROR\0VERROR\0C42P04\0Mdatabase \"x\" already exists\0Dby name\0Fdbcommands.c\0\0";
        let Failure::Server { sqlstate, message } = server_error(body) else {
            panic!("not a server error")
        };
        assert_eq!(sqlstate, "42P04");
        assert_eq!(message, "database \"x\" already exists: by name");
    }

    #[test]
    fn only_a_server_that_starts_is_worth_waiting_for() {
        let answer = |sqlstate: &str| Failure::Server {
            sqlstate: sqlstate.into(),
            message: String::new(),
        };
        assert!(answer("57P03").is_not_yet());
        assert!(!answer("3D000").is_not_yet());
        assert!(Failure::Io(io::ErrorKind::NotFound.into()).is_not_yet());
    }
}
