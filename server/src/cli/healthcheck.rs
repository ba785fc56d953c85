//! `healthcheck`: for containers, which have no `curl`.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream, ToSocketAddrs as _};
use std::time::Duration;

use clap::Args;

use super::failure::Failure;

const PATIENCE: Duration = Duration::from_secs(3);

#[derive(Args)]
pub(super) struct Healthcheck {
    /// The server's URL; without one, this machine and the port of FLAMINGOCK_LISTEN.
    #[arg(value_name = "URL")]
    url: Option<String>,
    #[arg(
        long,
        env = "FLAMINGOCK_LISTEN",
        value_name = "ADDRESS",
        default_value = "127.0.0.1:8080",
        hide = true
    )]
    listen: SocketAddr,
}

impl Healthcheck {
    pub(super) fn run(self) -> Result<(), Failure> {
        let url = self
            .url
            .unwrap_or_else(|| format!("http://127.0.0.1:{}", self.listen.port()));
        let (host, path) = parse(&url).ok_or_else(|| {
            Failure::new(format!("`{url}` cannot be asked"))
                .help("expected a plain http URL such as http://127.0.0.1:8080")
        })?;
        let status = ask(host, path).map_err(|error| {
            Failure::new(format!("the server at http://{host} does not answer")).because(error)
        })?;
        if status == "200" {
            return Ok(());
        }
        Err(Failure::new(format!(
            "the server at http://{host} is not ready: it answered {status} to {path}"
        )))
    }
}

fn parse(url: &str) -> Option<(&str, &str)> {
    let rest = url.strip_prefix("http://")?;
    let (host, path) = rest.find('/').map_or((rest, ""), |at| rest.split_at(at));
    let path = if path.len() > 1 { path } else { "/health/ready" };
    (!host.is_empty() && !host.contains('@')).then_some((host, path))
}

fn ask(host: &str, path: &str) -> std::io::Result<String> {
    let with_port = if host
        .rsplit_once(':')
        .is_some_and(|(_, port)| port.parse::<u16>().is_ok())
    {
        host.to_owned()
    } else {
        format!("{host}:80")
    };
    let mut last = std::io::Error::new(std::io::ErrorKind::NotFound, "the host has no address");
    for address in with_port.to_socket_addrs()? {
        match TcpStream::connect_timeout(&address, PATIENCE).and_then(|stream| exchange(stream, host, path)) {
            Ok(status) => return Ok(status),
            Err(error) => last = error,
        }
    }
    Err(last)
}

fn exchange(mut stream: TcpStream, host: &str, path: &str) -> std::io::Result<String> {
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    write!(
        stream,
        "GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n"
    )?;
    let mut head = Vec::new();
    let mut buffer = [0; 512];
    while !head.contains(&b'\n') && head.len() < 4096 {
        match stream.read(&mut buffer)? {
            0 => break,
            length => head.extend_from_slice(&buffer[..length]),
        }
    }
    let head = String::from_utf8_lossy(&head);
    let mut words = head.lines().next().unwrap_or_default().split(' ');
    match (words.next(), words.next()) {
        (Some(version), Some(status)) if version.starts_with("HTTP/1.") => Ok(status.to_owned()),
        _ => Err(std::io::Error::new(
            std::io::ErrorKind::InvalidData,
            "the answer is not HTTP",
        )),
    }
}
