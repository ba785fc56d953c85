//! Between a pool and PostgreSQL: cuts the connection at one `COMMIT`.

use std::{
    path::PathBuf,
    sync::{Arc, Mutex},
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream, UnixStream},
};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cut {
    /// PostgreSQL never sees the commit.
    BeforeCommit,
    /// PostgreSQL has committed; its answer is lost.
    AfterCommit,
    /// The connection is gone for the client, and only a second later PostgreSQL is asked to commit.
    CommitComesLater,
}

pub(super) struct Proxy {
    port: u16,
    armed: Arc<Mutex<Option<Cut>>>,
}

impl Proxy {
    pub(super) async fn start(socket: PathBuf) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let armed = Arc::new(Mutex::new(None));
        let shared = armed.clone();
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let server = UnixStream::connect(&socket).await.unwrap();
                tokio::spawn(relay(client, server, shared.clone()));
            }
        });
        Self { port, armed }
    }

    pub(super) fn url(&self, database: &str) -> String {
        format!(
            "postgres://postgres@127.0.0.1:{}/{database}?sslmode=disable",
            self.port
        )
    }

    /// Cuts at the next commit of a change: of a transaction that has written a mark.
    pub(super) fn arm(&self, cut: Cut) {
        *self.armed.lock().unwrap() = Some(cut);
    }

    pub(super) fn has_cut(&self) -> bool {
        self.armed.lock().unwrap().is_none()
    }
}

async fn relay(mut client: TcpStream, mut server: UnixStream, armed: Arc<Mutex<Option<Cut>>>) {
    let (mut up, mut down) = (vec![0; 65536], vec![0; 65536]);
    let mut marked = false;
    loop {
        tokio::select! {
            read = client.read(&mut up) => {
                let Ok(length @ 1..) = read else { return };
                let message = &up[..length];
                marked |= contains(message, b"SELECT $1, $2, $3, 'APPLIED'");
                let cut = if marked && contains(message, b"COMMIT\0") { armed.lock().unwrap().take() } else { None };
                match cut {
                    None => server.write_all(message).await.unwrap(),
                    Some(Cut::BeforeCommit) => return,
                    Some(Cut::AfterCommit) => {
                        server.write_all(message).await.unwrap();
                        // The answer has come, so it is committed; it goes no further.
                        let _ = server.read(&mut down).await;
                        return;
                    }
                    Some(Cut::CommitComesLater) => {
                        drop(client);
                        tokio::time::sleep(Duration::from_secs(1)).await;
                        server.write_all(message).await.unwrap();
                        let _ = server.read(&mut down).await;
                        return;
                    }
                }
            }
            read = server.read(&mut down) => {
                let Ok(length @ 1..) = read else { return };
                if client.write_all(&down[..length]).await.is_err() {
                    return;
                }
            }
        }
    }
}

fn contains(message: &[u8], text: &[u8]) -> bool {
    message.windows(text.len()).any(|window| window == text)
}
