//! The Java client on the wire, byte for byte: its headers, its bodies in Latin-1, its connection that it keeps, and
//! drops when an answer has a body that it does not want.

use flamingock_tests::{Answer, Runner, TestServer, read_answer};
use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpStream;

/// One of its (at most two) connections.
pub struct Connection {
    address: String,
    stream: Option<BufReader<TcpStream>>,
}

/// One start of an application: a session, a runner id, a connection.
pub struct JavaClient {
    pub runner: Runner,
    pub connection: Connection,
}

impl Connection {
    pub fn to(address: &str) -> Self {
        Self {
            address: address.to_owned(),
            stream: None,
        }
    }

    /// Sends these bytes, on the connection of the call before where that is still open.
    pub async fn exchange(&mut self, request: &[u8]) -> Answer {
        let mut stream = match self.stream.take() {
            Some(stream) => stream,
            None => BufReader::new(
                TcpStream::connect(&self.address)
                    .await
                    .expect("the server listens"),
            ),
        };
        stream.write_all(request).await.expect("the connection is open");
        let answer = read_answer(&mut stream)
            .await
            .unwrap_or_else(|error| panic!("no answer: {error}: {}", String::from_utf8_lossy(request)));
        self.stream = Some(stream);
        answer
    }

    /// As the client does after an answer whose body it will not read.
    pub fn drop_it(&mut self) {
        self.stream = None;
    }

    /// What the connection is called at this end.
    pub fn port(&self) -> Option<u16> {
        let stream = self.stream.as_ref()?.get_ref();
        stream.local_addr().ok().map(|address| address.port())
    }
}

/// A request as the client's HTTP library writes it. `caller`: its session and runner id, absent at the token exchange.
pub fn request(
    method: &str,
    target: &str,
    caller: Option<(&str, &str)>,
    host: &str,
    body: Option<&[u8]>,
) -> Vec<u8> {
    use std::fmt::Write as _;
    let mut head = format!("{method} {target} HTTP/1.1\r\nContent-Type: application/json\r\n");
    if let Some((jwt, runner_id)) = caller {
        let _ = write!(
            head,
            "Authorization: Bearer {jwt}\r\nflamingock-runner-id: {runner_id}\r\n"
        );
    }
    if let Some(body) = body {
        let _ = write!(head, "Content-Length: {}\r\n", body.len());
    }
    let _ = write!(
        head,
        "Host: {host}\r\nConnection: Keep-Alive\r\nUser-Agent: Apache-HttpClient/4.5.14 (Java/17.0.9)\r\n\
         Accept-Encoding: gzip,deflate\r\n\r\n"
    );
    let mut bytes = head.into_bytes();
    bytes.extend_from_slice(body.unwrap_or_default());
    bytes
}

/// What becomes of a text in a body: one byte for each character, `?` for those that have none.
pub fn latin1(text: &str) -> Vec<u8> {
    text.chars()
        .map(|c| u8::try_from(u32::from(c)).unwrap_or(b'?'))
        .collect()
}

impl JavaClient {
    /// `build()`: the token exchange.
    pub async fn build(server: &TestServer, service: &str) -> Self {
        let token = &flamingock_tests::tokens().runner;
        let body =
            format!(r#"{{"apiToken":"{token}","serviceName":"{service}","environmentName":"production"}}"#);
        let mut connection = Connection::to(&server.address);
        let bytes = request(
            "POST",
            "/api/v1/auth/exchange-token",
            None,
            &server.address,
            Some(&latin1(&body)),
        );
        let session = connection.exchange(&bytes).await.expect(200).json();
        let number = |name: &str| session[name].as_i64().expect("a JSON integer");
        let mut runner = server.runner(service).await;
        session["jwt"]
            .as_str()
            .expect("a text")
            .clone_into(&mut runner.jwt);
        assert_eq!(runner.environment_id, number("environmentId"));
        assert_eq!(runner.service_id, number("serviceId"));
        Self { runner, connection }
    }

    /// The next start of the same application: a new process, a new runner id.
    pub fn next_start(&self) -> Self {
        Self {
            runner: self.runner.another(),
            connection: Connection::to(&self.runner.address),
        }
    }

    pub async fn call(&mut self, method: &str, target: &str, body: Option<&str>) -> Answer {
        let body = body.map(latin1);
        let caller = (self.runner.jwt.as_str(), self.runner.id.as_str());
        let bytes = request(
            method,
            target,
            Some(caller),
            &self.runner.address,
            body.as_deref(),
        );
        self.connection.exchange(&bytes).await
    }

    /// As [`call`](Self::call), of whose answer nothing is read but the status, on a connection that is dropped at once.
    pub async fn call_and_drop(&mut self, method: &str, target: &str, body: &str) -> String {
        let caller = (self.runner.jwt.as_str(), self.runner.id.as_str());
        let body = latin1(body);
        let bytes = request(method, target, Some(caller), &self.runner.address, Some(&body));
        let mut stream = TcpStream::connect(&self.runner.address)
            .await
            .expect("the server listens");
        stream.write_all(&bytes).await.expect("the connection is open");
        let mut status = [0; 12];
        stream.read_exact(&mut status).await.expect("an answer");
        String::from_utf8_lossy(&status).into_owned()
    }

    /// The first plan request of a plan loop.
    pub async fn plan(&mut self, body: &str) -> Value {
        let target = format!("{}?elapsedMillis=0", self.runner.plan_path());
        self.call("POST", &target, Some(body)).await.expect(201).json()
    }

    /// A plan request after an `AWAIT`.
    pub async fn plan_after(&mut self, seen: &str, elapsed_ms: u64, body: &str) -> Value {
        let target = format!(
            "{}?lastAcquisitionId={}&elapsedMillis={elapsed_ms}",
            self.runner.plan_path(),
            form_encoded(seen)
        );
        self.call("POST", &target, Some(body)).await.expect(201).json()
    }

    /// An audit write; its body is not read.
    pub async fn report(&mut self, execution: i64, change: &str, body: &str) -> Answer {
        let target = self.runner.report_path(execution, change);
        let answer = self.call("POST", &target, Some(body)).await;
        self.connection.drop_it();
        answer
    }

    pub async fn extend(&mut self) -> Answer {
        let target = format!("/api/v1/{}/lock/extension", self.runner.key());
        self.call("POST", &target, Some("{}")).await
    }

    /// Its body is not read either.
    pub async fn release(&mut self) -> Answer {
        let target = format!("/api/v1/{}/lock", self.runner.key());
        let answer = self.call("DELETE", &target, None).await;
        self.connection.drop_it();
        answer
    }

    pub async fn lock(&mut self) -> Answer {
        let target = format!("/api/v1/{}/lock", self.runner.key());
        self.call("GET", &target, None).await
    }
}

/// A value of a query, as `application/x-www-form-urlencoded` has it.
fn form_encoded(text: &str) -> String {
    use std::fmt::Write as _;
    text.bytes().fold(String::new(), |mut out, byte| {
        match byte {
            b' ' => out.push('+'),
            b'-' | b'.' | b'_' | b'*' => out.push(char::from(byte)),
            _ if byte.is_ascii_alphanumeric() => out.push(char::from(byte)),
            _ => {
                let _ = write!(out, "%{byte:02X}"); // writing to a string cannot fail
            }
        }
        out
    })
}
