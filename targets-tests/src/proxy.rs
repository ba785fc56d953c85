//! Between a client and a target system: cuts the connection at one message.

use std::sync::{Arc, Mutex, PoisonError};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cut {
    /// The target never sees the message.
    BeforeMessage,
    /// The target has done what the message says; its answer is lost.
    AfterAnswer,
}

type Armed = Mutex<Option<(Cut, Vec<u8>)>>;

/// Understands nothing of what it passes on, so the connection must not be encrypted.
pub struct TcpProxy {
    port: u16,
    armed: Arc<Armed>,
}

impl TcpProxy {
    pub async fn to(address: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port is free");
        let port = listener.local_addr().expect("it is bound").port();
        let armed = Arc::new(Mutex::new(None));
        let (address, shared) = (address.to_owned(), armed.clone());
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let (address, shared) = (address.clone(), shared.clone());
                tokio::spawn(async move {
                    if let Ok(server) = TcpStream::connect(&address).await {
                        relay(client, server, &shared).await;
                    }
                });
            }
        });
        Self { port, armed }
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    /// Cuts at the next message that holds these bytes.
    pub fn cut(&self, cut: Cut, at: &[u8]) {
        *lock(&self.armed) = Some((cut, at.to_owned()));
    }

    pub fn has_cut(&self) -> bool {
        lock(&self.armed).is_none()
    }
}

async fn relay(mut client: TcpStream, mut server: TcpStream, armed: &Armed) {
    let (mut up, mut down) = (vec![0; 65536], vec![0; 65536]);
    loop {
        tokio::select! {
            read = client.read(&mut up) => {
                let Ok(length @ 1..) = read else { return };
                match springs(armed, &up[..length]) {
                    Some(Cut::BeforeMessage) => return,
                    Some(Cut::AfterAnswer) => {
                        if server.write_all(&up[..length]).await.is_ok() {
                            let _ = server.read(&mut down).await; // goes no further
                        }
                        return;
                    }
                    None if server.write_all(&up[..length]).await.is_err() => return,
                    None => {}
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

fn springs(armed: &Armed, message: &[u8]) -> Option<Cut> {
    let mut armed = lock(armed);
    let (cut, at) = armed.as_ref()?;
    let cut = *cut;
    if !message.windows(at.len()).any(|window| window == at) {
        return None;
    }
    *armed = None;
    Some(cut)
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
