//! Between runners and replicas. Understands requests, so that a trap can name one; spreads them over replicas, like any
//! load balancer, and passes by a replica that refuses connections.

use std::fmt::Write as _;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

use super::mischief::{Mischief, Rules};
use super::{Side, Trap, Traps};
use crate::http::{Answer, read_answer, read_headers, read_line};

pub struct HttpProxy {
    /// `127.0.0.1:PORT`
    pub address: String,
    traps: Traps,
    rules: Rules,
    accepting: JoinHandle<()>,
}

struct Upstreams {
    addresses: Vec<String>,
    next: AtomicUsize,
}

struct Request {
    /// Method, path and what tells it from others of the same path: of a report its state, of a plan request that the whole
    /// pipeline is in it, of a heartbeat that saves a cursor `cursor=…` and a stop.
    label: String,
    bytes: Vec<u8>,
}

impl HttpProxy {
    pub async fn to(addresses: &[&str]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port is free");
        let address = listener.local_addr().expect("it is bound").to_string();
        let (traps, rules) = (Traps::default(), Rules::default());
        let upstreams = Arc::new(Upstreams {
            addresses: addresses.iter().map(|address| (*address).to_owned()).collect(),
            next: AtomicUsize::new(0),
        });
        let accepting = tokio::spawn({
            let (traps, rules) = (traps.clone(), rules.clone());
            async move {
                while let Ok((stream, _)) = listener.accept().await {
                    let (traps, rules, upstreams) = (traps.clone(), rules.clone(), Arc::clone(&upstreams));
                    // A connection that breaks is what these tests are about.
                    tokio::spawn(async move { serve(stream, &traps, &rules, &upstreams).await });
                }
            }
        });
        Self {
            address,
            traps,
            rules,
            accepting,
        }
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Catches the next request whose line, of the form `METHOD /path?query STATE`, holds all parts.
    pub fn trap(&self, side: Side, parts: &[&str]) -> Trap {
        self.traps.set(&[], side, parts)
    }

    /// Does something to the next requests whose lines hold all parts.
    pub fn mischief(&self, times: usize, mischief: Mischief, parts: &[&str]) {
        self.rules.add(times, mischief, parts);
    }

    /// Whether all mischief has been done. A test that ordered some asks at its end.
    pub fn has_done_its_mischief(&self) -> bool {
        self.rules.are_spent()
    }

    /// The lines of all requests so far.
    pub fn seen(&self) -> Vec<String> {
        self.traps.seen()
    }
}

impl Drop for HttpProxy {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

async fn serve(mut client: TcpStream, traps: &Traps, rules: &Rules, upstreams: &Upstreams) -> io::Result<()> {
    client.set_nodelay(true)?;
    let (read, mut write) = client.split();
    let mut read = BufReader::new(read);
    loop {
        let request = read_request(&mut read).await?;
        traps.note(&request.label);
        if let Some(snare) = traps.spring(Side::Message, &request.label) {
            snare.hold().await?;
        }
        let answer = match rules.take(&request.label) {
            None => rendered(&upstreams.pass_on(&request).await?),
            Some(Mischief::Refuse(status)) => gateway_page(status),
            Some(Mischief::Garble(status)) => {
                upstreams.pass_on(&request).await?;
                gateway_page(status)
            }
            Some(Mischief::Repeat) => {
                let first = upstreams.pass_on(&request).await?;
                upstreams.pass_on(&request).await?;
                rendered(&first)
            }
        };
        if let Some(snare) = traps.spring(Side::Answer, &request.label) {
            snare.hold().await?;
        }
        write.write_all(&answer).await?;
    }
}

/// What gateways say.
fn gateway_page(status: u16) -> Vec<u8> {
    let page = "<html><body>The upstream server is not available.</body></html>";
    let length = page.len();
    format!("HTTP/1.1 {status} .\r\ncontent-type: text/html\r\ncontent-length: {length}\r\n\r\n{page}")
        .into_bytes()
}

impl Upstreams {
    async fn pass_on(&self, request: &Request) -> io::Result<Answer> {
        let mut upstream = BufReader::new(self.connect().await?);
        upstream.get_mut().write_all(&request.bytes).await?;
        read_answer(&mut upstream).await
    }

    async fn connect(&self) -> io::Result<TcpStream> {
        let mut refused = io::ErrorKind::NotConnected.into();
        for _ in &self.addresses {
            let at = self.next.fetch_add(1, Ordering::Relaxed) % self.addresses.len();
            match TcpStream::connect(&self.addresses[at]).await {
                Ok(stream) => {
                    stream.set_nodelay(true)?;
                    return Ok(stream);
                }
                Err(error) => refused = error,
            }
        }
        Err(refused)
    }
}

async fn read_request(read: &mut BufReader<impl tokio::io::AsyncRead + Unpin>) -> io::Result<Request> {
    let line = read_line(read).await?;
    let headers = read_headers(read).await?;
    let length = headers
        .iter()
        .find(|(name, _)| name.eq_ignore_ascii_case("content-length"))
        .and_then(|(_, value)| value.parse().ok())
        .unwrap_or(0);
    let mut body = vec![0; length];
    read.read_exact(&mut body).await?;
    let mut head = format!("{line}\r\n");
    for (name, value) in &headers {
        let _ = write!(head, "{name}: {value}\r\n"); // writing to a string cannot fail
    }
    head.push_str("\r\n");
    let mut bytes = head.into_bytes();
    bytes.extend_from_slice(&body);
    let told: Option<serde_json::Value> = serde_json::from_slice(&body).ok();
    let state = told
        .as_ref()
        .and_then(|told| told["state"].as_str())
        .unwrap_or_default();
    // Of a plan request, whether the pipeline is in it.
    let submits = |told: &serde_json::Value| told["clientSubmission"]["blocks"].is_array();
    let whole = if told.as_ref().is_some_and(submits) {
        " whole"
    } else {
        ""
    };
    let cursor = told
        .as_ref()
        .and_then(|told| told["progress"]["cursor"].as_str())
        .map(|cursor| format!("cursor={cursor}."))
        .unwrap_or_default();
    let label = format!("{} {state}{whole}{cursor}", line.trim_end_matches(" HTTP/1.1"));
    Ok(Request { label, bytes })
}

fn rendered(answer: &Answer) -> Vec<u8> {
    let mut head = format!("HTTP/1.1 {} .\r\n", answer.status);
    for (name, value) in &answer.headers {
        if !["content-length", "transfer-encoding", "connection"]
            .contains(&name.to_ascii_lowercase().as_str())
        {
            let _ = write!(head, "{name}: {value}\r\n"); // writing to a string cannot fail
        }
    }
    let _ = write!(head, "content-length: {}\r\n\r\n", answer.body.len());
    let mut bytes = head.into_bytes();
    bytes.extend_from_slice(&answer.body);
    bytes
}
