//! Between a client and a target system: cuts the connection at one message.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cut {
    /// The target never sees the message.
    BeforeMessage,
    /// The target has done what the message says; its answer is lost.
    AfterAnswer,
    /// The target sees the message only when it is told to be delivered, and the client waits no longer.
    Held,
}

#[derive(Default)]
struct Armed {
    cuts: VecDeque<(Cut, Vec<u8>)>,
    held: Option<(TcpStream, Vec<u8>)>,
}

/// Understands nothing of what it passes on, so the connection must not be encrypted.
pub struct TcpProxy {
    port: u16,
    armed: Arc<Mutex<Armed>>,
}

impl TcpProxy {
    pub async fn to(address: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port is free");
        let port = listener.local_addr().expect("it is bound").port();
        let armed = Arc::<Mutex<Armed>>::default();
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

    /// Cuts at the next message that holds these bytes; told so again, at the one after it as well.
    pub fn cut(&self, cut: Cut, at: &[u8]) {
        lock(&self.armed).cuts.push_back((cut, at.to_owned()));
    }

    pub fn has_cut(&self) -> bool {
        lock(&self.armed).cuts.is_empty()
    }

    /// The message that was held reaches the target. Returns what it answers, as far as it can be read at once.
    pub async fn deliver(&self) -> String {
        let held = lock(&self.armed).held.take();
        let (mut server, message) = held.expect("a message was held");
        server.write_all(&message).await.expect("the target is there");
        let mut answer = vec![0; 65536];
        let length = server.read(&mut answer).await.expect("the target answers");
        String::from_utf8_lossy(&answer[..length]).into_owned()
    }
}

async fn relay(mut client: TcpStream, mut server: TcpStream, armed: &Mutex<Armed>) {
    let (mut up, mut down) = (vec![0; 65536], vec![0; 65536]);
    loop {
        tokio::select! {
            read = client.read(&mut up) => {
                let Ok(length @ 1..) = read else { return };
                match springs(armed, &up[..length]) {
                    Some(Cut::BeforeMessage) => return,
                    Some(Cut::Held) => {
                        lock(armed).held = Some((server, up[..length].to_owned()));
                        return;
                    }
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

fn springs(armed: &Mutex<Armed>, message: &[u8]) -> Option<Cut> {
    let mut armed = lock(armed);
    let (cut, at) = armed.cuts.front()?;
    let cut = *cut;
    if !message.windows(at.len()).any(|window| window == at) {
        return None;
    }
    armed.cuts.pop_front();
    Some(cut)
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
