//! A load generator's HTTP: keep-alive HTTP/1.1 over one connection, requests rendered beforehand, answers read by their
//! length. A full client would measure itself.

use anyhow::{Context as _, Result, bail};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

pub struct Connection {
    stream: TcpStream,
    buffer: Vec<u8>,
}

pub struct Answer {
    pub status: u16,
    pub body: Vec<u8>,
}

impl Answer {
    pub fn json(&self) -> Result<serde_json::Value> {
        serde_json::from_slice(&self.body).with_context(|| String::from_utf8_lossy(&self.body).into_owned())
    }

    /// Fails loudly: a benchmark of refusals is worth nothing.
    pub fn expect(self, status: u16) -> Result<Self> {
        if self.status == status {
            Ok(self)
        } else {
            bail!(
                "expected {status}, got {}: {}",
                self.status,
                String::from_utf8_lossy(&self.body)
            )
        }
    }
}

impl Connection {
    pub async fn open(address: &str) -> Result<Self> {
        let stream = TcpStream::connect(address)
            .await
            .with_context(|| format!("connecting to {address}"))?;
        stream.set_nodelay(true)?;
        Ok(Self {
            stream,
            buffer: Vec::with_capacity(16 * 1024),
        })
    }

    pub async fn send(&mut self, request: &[u8]) -> Result<Answer> {
        self.stream.write_all(request).await?;
        self.buffer.clear();
        loop {
            let read = self.stream.read_buf(&mut self.buffer).await?;
            if read == 0 {
                bail!(
                    "the server closed the connection: {}",
                    String::from_utf8_lossy(&self.buffer)
                );
            }
            let Some(head_end) = self.buffer.windows(4).position(|w| w == b"\r\n\r\n") else {
                continue;
            };
            let head = std::str::from_utf8(&self.buffer[..head_end])?;
            let status = head.split(' ').nth(1).context("no status")?.parse()?;
            let length: usize = head
                .lines()
                .find_map(|line| {
                    let (name, value) = line.split_once(':')?;
                    name.eq_ignore_ascii_case("content-length")
                        .then(|| value.trim().parse().ok())?
                })
                .context("no content-length")?;
            let start = head_end + 4;
            while self.buffer.len() < start + length {
                if self.stream.read_buf(&mut self.buffer).await? == 0 {
                    bail!("the answer broke off");
                }
            }
            return Ok(Answer {
                status,
                body: self.buffer[start..start + length].to_vec(),
            });
        }
    }
}

impl Connection {
    /// Reads an answer of any length in chunks and keeps none of it. The request must ask for the connection's end.
    pub async fn drain(mut self, request: &[u8]) -> Result<()> {
        self.stream.write_all(request).await?;
        let mut chunk = vec![0; 256 * 1024];
        let (mut first, mut tail) = (true, Vec::new());
        loop {
            let read = self.stream.read(&mut chunk).await?;
            if read == 0 {
                break;
            }
            if std::mem::take(&mut first) && !chunk.starts_with(b"HTTP/1.1 200") {
                bail!("{}", String::from_utf8_lossy(&chunk[..read]));
            }
            tail.extend_from_slice(&chunk[read.saturating_sub(5)..read]);
            tail.drain(..tail.len().saturating_sub(5));
        }
        if tail == b"0\r\n\r\n" {
            Ok(())
        } else {
            bail!("the answer broke off")
        }
    }
}

/// A request of a runner, ready to be sent over and over.
#[derive(Clone)]
pub struct Runner {
    pub host: String,
    pub jwt: String,
    pub id: String,
    pub environment_id: i64,
    pub service_id: i64,
}

impl Runner {
    pub fn request(&self, method: &str, path: &str, extra: &str, body: &str) -> Vec<u8> {
        format!(
            "{method} {path} HTTP/1.1\r\nhost: {}\r\nauthorization: Bearer {}\r\nflamingock-runner-id: {}\r\n\
             content-type: application/json; charset=utf-8\r\n{extra}content-length: {}\r\n\r\n{body}",
            self.host,
            self.jwt,
            self.id,
            body.len()
        )
        .into_bytes()
    }

    pub fn base(&self) -> String {
        format!(
            "/api/v1/environment/{}/service/{}/execution",
            self.environment_id, self.service_id
        )
    }

    pub fn plan(&self, submission: &serde_json::Value, extra: &str) -> Vec<u8> {
        let body =
            serde_json::json!({"lockAcquiredForMillis": 60_000, "clientSubmission": submission}).to_string();
        self.request("POST", &format!("{}?elapsedMillis=0", self.base()), extra, &body)
    }

    pub fn report(&self, execution: i64, change: &str, state: &str) -> Vec<u8> {
        let body = serde_json::json!({
            "changeId": change, "stageId": "schema", "author": "bench", "appliedAtEpochMillis": 1_789_374_067_512_i64,
            "state": state, "className": "com.acme.billing.schema._0001__CreateInvoices", "methodName": "apply",
            "metadata": {}, "executionMillis": 171, "executionHostname": "node-a", "errorTrace": "",
            "type": "STANDARD_CODE", "txStrategy": "NON_TX", "targetSystemId": "shell", "order": "0001",
            "recoveryStrategy": "MANUAL_INTERVENTION", "transactionFlag": true, "systemChange": false
        })
        .to_string();
        self.request(
            "POST",
            &format!("{}/{execution}/change/{change}/audit", self.base()),
            "",
            &body,
        )
    }

    pub fn lock_path(&self, rest: &str) -> String {
        format!("/api/v1/{}/lock{rest}", self.service_id)
    }
}
