//! Between a process and PostgreSQL. Understands just enough of its protocol to name a statement; can also go away, and
//! fall silent.

use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use sqlx::postgres::PgConnectOptions;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream, UnixStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::{Side, Snare, Trap, Traps, lock};
use crate::postgres::Database;

pub struct PostgresProxy {
    address: SocketAddr,
    database: Database,
    traps: Traps,
    weather: watch::Sender<Weather>,
    accepting: JoinHandle<()>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Weather {
    Fair,
    /// Connections are broken, and new ones refused.
    Away,
    /// Nothing arrives any more, and nobody is told.
    Silent,
}

trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}
impl<S: AsyncRead + AsyncWrite + Unpin + Send> Stream for S {}

impl PostgresProxy {
    pub async fn to(database: &Database) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port is free");
        let address = listener.local_addr().expect("it is bound");
        let options: Arc<PgConnectOptions> = Arc::new(database.url.parse().expect("a URL of PostgreSQL"));
        let traps = Traps::default();
        let weather = watch::Sender::new(Weather::Fair);
        let accepting = tokio::spawn({
            let (traps, weather) = (traps.clone(), weather.clone());
            async move {
                while let Ok((client, _)) = listener.accept().await {
                    let (options, traps, mut sky) =
                        (Arc::clone(&options), traps.clone(), weather.subscribe());
                    if *sky.borrow_and_update() == Weather::Away {
                        continue;
                    }
                    tokio::spawn(async move {
                        tokio::select! {
                            _ = serve(client, &options, &traps, sky.clone()) => {}
                            _ = sky.wait_for(|weather| *weather == Weather::Away) => {}
                        }
                    });
                }
            }
        });
        Self {
            address,
            database: database.clone(),
            traps,
            weather,
            accepting,
        }
    }

    /// The database, by way of this proxy.
    pub fn database(&self) -> Database {
        self.database.at(&self.address.to_string())
    }

    pub fn url(&self) -> String {
        self.database().url
    }

    /// Catches the next statement that holds all parts.
    pub fn trap(&self, side: Side, parts: &[&str]) -> Trap {
        self.traps.set(&[], side, parts)
    }

    /// As [`trap`](Self::trap), once another statement has gone by.
    pub fn trap_after(&self, after: &[&str], side: Side, parts: &[&str]) -> Trap {
        self.traps.set(after, side, parts)
    }

    /// The database goes away.
    pub fn break_connections(&self) {
        self.weather.send_replace(Weather::Away);
    }

    /// The network swallows everything.
    pub fn fall_silent(&self) {
        self.weather.send_replace(Weather::Silent);
    }

    /// All is well again; what was broken stays broken.
    pub fn mend(&self) {
        self.weather.send_replace(Weather::Fair);
    }
}

impl Drop for PostgresProxy {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

async fn serve(
    client: TcpStream,
    options: &PgConnectOptions,
    traps: &Traps,
    sky: watch::Receiver<Weather>,
) -> io::Result<()> {
    client.set_nodelay(true)?;
    let server = connect(options).await?;
    let (mut from_client, mut to_client) = client.into_split();
    let (mut from_server, mut to_server) = tokio::io::split(server);
    // Set when the answer to the statement that was just passed on is to be held.
    let held: Mutex<Option<Snare>> = Mutex::new(None);
    let requests = async {
        let mut sky = sky.clone();
        // The first message has no type: it says who comes.
        let first = read_message(&mut from_client, false).await?;
        to_server.write_all(&first).await?;
        loop {
            let message = read_message(&mut from_client, true).await?;
            not_silent(&mut sky).await;
            if let Some(statement) = statement(&message) {
                if let Some(snare) = traps.spring(Side::Message, &statement) {
                    snare.hold().await?;
                }
                *lock(&held) = traps.spring(Side::Answer, &statement);
            }
            to_server.write_all(&message).await?;
        }
    };
    let answers = async {
        let mut sky = sky.clone();
        let mut buffer = vec![0; 64 * 1024];
        loop {
            let count = from_server.read(&mut buffer).await?;
            if count == 0 {
                return Ok(());
            }
            not_silent(&mut sky).await;
            let snare = lock(&held).take();
            if let Some(snare) = snare {
                snare.hold().await?;
            }
            to_client.write_all(&buffer[..count]).await?;
        }
    };
    // Whichever side ends takes the other with it.
    tokio::select! {
        ended = requests => ended,
        ended = answers => ended,
    }
}

async fn not_silent(sky: &mut watch::Receiver<Weather>) {
    // The sender lives as long as the proxy; without it there is nothing to wait for.
    let _ = sky.wait_for(|weather| *weather != Weather::Silent).await;
}

async fn connect(options: &PgConnectOptions) -> io::Result<Box<dyn Stream>> {
    let port = options.get_port();
    let directory = options.get_socket().map(std::path::PathBuf::as_path);
    let directory = directory.or_else(|| {
        let host = options.get_host();
        host.starts_with('/').then(|| std::path::Path::new(host))
    });
    Ok(match directory {
        Some(directory) => Box::new(UnixStream::connect(directory.join(format!(".s.PGSQL.{port}"))).await?),
        None => Box::new(TcpStream::connect((options.get_host(), port)).await?),
    })
}

/// One message of a client: a type (but for the first), a length that counts itself, and the rest.
async fn read_message(stream: &mut (impl AsyncRead + Unpin), typed: bool) -> io::Result<Vec<u8>> {
    let mut message = vec![0; if typed { 5 } else { 4 }];
    stream.read_exact(&mut message).await?;
    let length = &message[message.len() - 4..];
    let length = u32::from_be_bytes(length.try_into().expect("four bytes"));
    let from = message.len();
    message.resize(from + (length as usize).saturating_sub(4), 0);
    stream.read_exact(&mut message[from..]).await?;
    Ok(message)
}

/// The text of a simple query or of a statement that is prepared.
fn statement(message: &[u8]) -> Option<String> {
    let (kind, rest) = (message.first()?, message.get(5..)?);
    let mut texts = rest.split(|byte| *byte == 0);
    let text = match kind {
        b'Q' => texts.next()?,
        b'P' => texts.nth(1)?,
        _ => return None,
    };
    Some(String::from_utf8_lossy(text).into_owned())
}
