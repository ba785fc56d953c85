//! HTTP/1.1 by hand: what is sent is exactly what a test says, byte for byte.

use std::io;
use std::time::Duration;

use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio::io::{AsyncBufRead, AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpStream;

/// Far longer than any answer may take.
const LIMIT: Duration = Duration::from_mins(1);

/// One request.
#[derive(Clone, Debug)]
pub struct Call {
    method: String,
    path: String,
    headers: Vec<(String, String)>,
    body: Option<Vec<u8>>,
}

/// One answer.
#[derive(Clone, Debug)]
pub struct Answer {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
    /// What was asked, for messages.
    asked: String,
}

impl Call {
    pub fn new(method: &str, path: impl Into<String>) -> Self {
        Self {
            method: method.to_owned(),
            path: path.into(),
            headers: Vec::new(),
            body: None,
        }
    }

    pub fn get(path: impl Into<String>) -> Self {
        Self::new("GET", path)
    }

    pub fn post(path: impl Into<String>) -> Self {
        Self::new("POST", path)
    }

    pub fn delete(path: impl Into<String>) -> Self {
        Self::new("DELETE", path)
    }

    #[must_use]
    pub fn header(mut self, name: &str, value: impl Into<String>) -> Self {
        self.headers.push((name.to_owned(), value.into()));
        self
    }

    #[must_use]
    pub fn bearer(self, token: &str) -> Self {
        self.header("Authorization", format!("Bearer {token}"))
    }

    /// As the Java client: no charset.
    #[must_use]
    pub fn json(self, body: &Value) -> Self {
        self.header("Content-Type", "application/json")
            .body(body.to_string())
    }

    #[must_use]
    pub fn body(mut self, body: impl Into<Vec<u8>>) -> Self {
        self.body = Some(body.into());
        self
    }

    /// Sends it on a connection of its own.
    pub async fn send(&self, address: &str) -> Answer {
        match self.try_send(address).await {
            Ok(answer) => answer,
            Err(error) => panic!("{} {}: no answer: {error}", self.method, self.path),
        }
    }

    /// As [`send`](Self::send), where the server may be away.
    pub async fn try_send(&self, address: &str) -> io::Result<Answer> {
        let exchange = async {
            let mut stream = TcpStream::connect(address).await?;
            stream.set_nodelay(true)?;
            stream.write_all(&self.bytes(address)).await?;
            read_answer(&mut BufReader::new(stream)).await
        };
        let mut answer = tokio::time::timeout(LIMIT, exchange)
            .await
            .unwrap_or_else(|_| panic!("{} {}: no answer within {LIMIT:?}", self.method, self.path))?;
        let body = self.body.as_deref().unwrap_or_default();
        answer.asked = format!(
            "{} {} {}",
            self.method,
            cut(&self.path),
            cut(&String::from_utf8_lossy(body))
        );
        Ok(answer)
    }

    /// The request as it is sent.
    pub fn bytes(&self, host: &str) -> Vec<u8> {
        use std::fmt::Write as _;
        let mut head = format!(
            "{} {} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n",
            self.method, self.path
        );
        for (name, value) in &self.headers {
            let _ = write!(head, "{name}: {value}\r\n"); // writing to a string cannot fail
        }
        if let Some(body) = &self.body {
            let _ = write!(head, "Content-Length: {}\r\n", body.len());
        }
        head.push_str("\r\n");
        let mut bytes = head.into_bytes();
        bytes.extend_from_slice(self.body.as_deref().unwrap_or_default());
        bytes
    }
}

impl Answer {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find(|(known, _)| known.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.as_str())
    }

    #[track_caller]
    pub fn expect(&self, status: u16) -> &Self {
        assert_eq!(self.status, status, "{}", self.describe());
        self
    }

    /// As the contract has every refusal: this status, and a body with this code.
    #[track_caller]
    pub fn expect_problem(&self, status: u16, code: &str) -> &Self {
        let answer = self.expect(status);
        let body = answer.json();
        assert_eq!(body["code"], code, "{}", answer.describe());
        assert!(
            body["message"].as_str().is_some_and(|text| !text.is_empty()),
            "{}",
            answer.describe()
        );
        assert!(body["recoverable"].is_boolean(), "{}", answer.describe());
        assert!(body["details"].is_array(), "{}", answer.describe());
        answer
    }

    #[track_caller]
    pub fn json(&self) -> Value {
        self.read()
    }

    #[track_caller]
    pub fn read<T: DeserializeOwned>(&self) -> T {
        match serde_json::from_slice(&self.body) {
            Ok(value) => value,
            Err(error) => panic!("{error}: {}", self.describe()),
        }
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub fn describe(&self) -> String {
        format!("{} was answered {} {}", self.asked, self.status, self.text())
    }
}

/// Reads one answer: status, headers, and a body by its length, in chunks or up to the end. Of a stream of events, the head.
pub async fn read_answer(stream: &mut (impl AsyncBufRead + Unpin)) -> io::Result<Answer> {
    let broken = |what: &str| io::Error::new(io::ErrorKind::InvalidData, what.to_owned());
    let status_line = read_line(stream).await?;
    let status = status_line
        .split(' ')
        .nth(1)
        .and_then(|status| status.parse().ok())
        .ok_or_else(|| broken(&status_line))?;
    let headers = read_headers(stream).await?;
    let mut answer = Answer {
        status,
        headers,
        body: Vec::new(),
        asked: String::new(),
    };
    let is_stream = answer
        .header("content-type")
        .is_some_and(|kind| kind.starts_with("text/event-stream"));
    if is_stream {
        // It has no end: whoever wants its events reads on.
        return Ok(answer);
    }
    if answer.header("content-type") == Some("text/event-stream") {
        return Ok(answer);
    }
    if let Some(length) = answer.header("content-length") {
        let length: usize = length.parse().map_err(|_| broken("content-length"))?;
        answer.body = vec![0; length];
        stream.read_exact(&mut answer.body).await?;
    } else if answer
        .header("transfer-encoding")
        .is_some_and(|coding| coding.eq_ignore_ascii_case("chunked"))
    {
        loop {
            let size =
                usize::from_str_radix(read_line(stream).await?.trim(), 16).map_err(|_| broken("chunk"))?;
            let from = answer.body.len();
            answer.body.resize(from + size, 0);
            stream.read_exact(&mut answer.body[from..]).await?;
            read_line(stream).await?;
            if size == 0 {
                break;
            }
        }
    } else if status != 204 {
        stream.read_to_end(&mut answer.body).await?;
    }
    Ok(answer)
}

pub(crate) async fn read_line(stream: &mut (impl AsyncBufRead + Unpin)) -> io::Result<String> {
    let mut line = Vec::new();
    if stream.read_until(b'\n', &mut line).await? == 0 {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    Ok(String::from_utf8_lossy(&line).trim_end().to_owned())
}

pub(crate) async fn read_headers(
    stream: &mut (impl AsyncBufRead + Unpin),
) -> io::Result<Vec<(String, String)>> {
    let mut headers = Vec::new();
    loop {
        let line = read_line(stream).await?;
        match line.split_once(':') {
            Some((name, value)) => headers.push((name.to_owned(), value.trim().to_owned())),
            None if line.is_empty() => return Ok(headers),
            None => return Err(io::Error::new(io::ErrorKind::InvalidData, line)),
        }
    }
}

fn cut(text: &str) -> String {
    let mut short: String = text.chars().take(300).collect();
    if short.len() < text.len() {
        short.push('…');
    }
    short
}
