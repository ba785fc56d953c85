//! Somebody who listens to live events, reading the stream as it is sent.

use std::io;
use std::time::Duration;

use flamingock_api_types::event::{Event, EventType};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpStream;

use crate::http::{Answer, Call, read_answer, read_headers, read_line};

/// Far longer than anything that is waited for may take.
const LIMIT: Duration = Duration::from_mins(1);

/// An open stream.
pub struct EventStream {
    stream: BufReader<TcpStream>,
    pub headers: Vec<(String, String)>,
    text: String,
    /// The last id that was received, with an event or without: what an EventSource would come back with.
    pub last_id: Option<String>,
}

/// A block of the stream: an event, or something between events.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Block {
    pub id: Option<String>,
    pub event: Option<String>,
    pub data: Option<String>,
    pub retry: Option<String>,
    pub comments: Vec<String>,
}

impl EventStream {
    /// Listens; or the refusal.
    pub async fn try_open(address: &str, call: Call) -> Result<Self, Answer> {
        let opened = async {
            let mut stream = TcpStream::connect(address).await?;
            stream.write_all(&call.bytes(address)).await?;
            let mut stream = BufReader::new(stream);
            let status_line = read_line(&mut stream).await?;
            if !status_line.contains(" 200 ") {
                let mut again = io::Cursor::new(format!("{status_line}\r\n").into_bytes());
                let mut rest = Vec::new();
                stream.read_to_end(&mut rest).await?;
                again.get_mut().extend(rest);
                return Ok(Err(read_answer(&mut BufReader::new(again)).await?));
            }
            let headers = read_headers(&mut stream).await?;
            Ok::<_, io::Error>(Ok(Self {
                stream,
                headers,
                text: String::new(),
                last_id: None,
            }))
        };
        tokio::time::timeout(LIMIT, opened)
            .await
            .expect("an answer in time")
            .expect("an answer")
    }

    /// Listens, and has received where it begins.
    pub async fn open(address: &str, call: Call) -> Self {
        match Self::try_open(address, call).await {
            Ok(mut stream) => {
                stream.block().await.expect("a stream begins with where it is");
                stream
            }
            Err(answer) => panic!("{}", answer.describe()),
        }
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find(|(known, _)| known.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.as_str())
    }

    /// The next block, whatever it is; `None` at the end.
    pub async fn block(&mut self) -> Option<Block> {
        tokio::time::timeout(LIMIT, self.read_block())
            .await
            .expect("something comes in time")
    }

    async fn read_block(&mut self) -> Option<Block> {
        loop {
            if let Some((head, rest)) = self.text.split_once("\n\n") {
                let block = parse(head);
                let rest = rest.len();
                self.text.drain(..self.text.len() - rest);
                if block.id.is_some() {
                    self.last_id.clone_from(&block.id);
                }
                return Some(block);
            }
            // A chunk; a connection that breaks off is an end like any other.
            let size = read_line(&mut self.stream).await.ok()?;
            let size = usize::from_str_radix(size.trim(), 16).ok()?;
            let mut chunk = vec![0; size];
            self.stream.read_exact(&mut chunk).await.ok()?;
            read_line(&mut self.stream).await.ok()?;
            if size == 0 {
                return None;
            }
            self.text
                .push_str(std::str::from_utf8(&chunk).expect("frames are not torn"));
        }
    }

    /// The next event; `None` at the end of the stream.
    pub async fn next(&mut self) -> Option<Event> {
        loop {
            let block = self.block().await?;
            let Some(data) = &block.data else { continue };
            let event: Event = serde_json::from_str(data).expect("the data is an event");
            assert_eq!(block.id.as_deref(), Some(event.id.as_str()), "{block:?}");
            let name = serde_json::to_value(event.event_type).expect("it has a name");
            assert_eq!(block.event.as_deref(), name.as_str(), "{block:?}");
            return Some(event);
        }
    }

    /// So many events.
    pub async fn take(&mut self, count: usize) -> Vec<Event> {
        let mut events = Vec::with_capacity(count);
        while events.len() < count {
            events.push(self.next().await.expect("the stream goes on"));
        }
        events
    }

    /// Events up to and with the first that fits.
    pub async fn until(&mut self, fits: impl Fn(&Event) -> bool) -> Vec<Event> {
        let mut events = Vec::new();
        loop {
            let event = self.next().await.expect("the stream goes on");
            let found = fits(&event);
            events.push(event);
            if found {
                return events;
            }
        }
    }

    /// Reads to the end of the stream; gives the last comment.
    pub async fn end(&mut self) -> String {
        let mut last = String::new();
        while let Some(block) = self.block().await {
            if let Some(comment) = block.comments.last() {
                last.clone_from(comment);
            }
        }
        last
    }
}

/// Type and change, for tables: `CHANGE_STARTED a`.
pub fn outline(events: &[Event]) -> Vec<String> {
    let name = |event_type: EventType| {
        serde_json::to_value(event_type)
            .ok()
            .and_then(|name| name.as_str().map(str::to_owned))
            .unwrap_or_default()
    };
    events
        .iter()
        .map(|event| match &event.change {
            Some(change) => format!("{} {}", name(event.event_type), change.change_id),
            None => name(event.event_type),
        })
        .collect()
}

fn parse(text: &str) -> Block {
    let mut block = Block::default();
    for line in text.split('\n') {
        let (field, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value).to_owned();
        match field {
            "" => block.comments.push(value),
            "id" => block.id = Some(value),
            "event" => block.event = Some(value),
            "data" => block.data = Some(value),
            "retry" => block.retry = Some(value),
            other => panic!("{other:?} is no field of a stream of events"),
        }
    }
    block
}
