//! Server-Sent Events, as the WHATWG's HTML standard has them: bytes in, events out.

/// Longer lines are none of ours, and would fill the memory.
const LONGEST_LINE: usize = 4 * 1024 * 1024;

/// One event with data.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Message {
    pub(super) id: Option<String>,
    pub(super) data: String,
}

#[derive(Debug, Default)]
pub(super) struct Parser {
    /// Of the line that has not ended yet.
    line: Vec<u8>,
    /// The line before ended with a carriage return: a line feed that follows is part of it.
    after_return: bool,
    data: Vec<String>,
    /// The last one told: it stays for events without one.
    id: Option<String>,
    /// How long to wait before connecting again, in milliseconds, as the server asked.
    retry_ms: Option<u64>,
}

#[derive(Debug, PartialEq, Eq)]
pub(super) struct LineTooLong;

impl Parser {
    pub(super) fn retry_ms(&self) -> Option<u64> {
        self.retry_ms
    }

    /// The events that end within these bytes.
    pub(super) fn push(&mut self, bytes: &[u8]) -> Result<Vec<Message>, LineTooLong> {
        let mut messages = Vec::new();
        for &byte in bytes {
            match byte {
                b'\n' if self.after_return => self.after_return = false,
                b'\n' | b'\r' => {
                    self.after_return = byte == b'\r';
                    let line = std::mem::take(&mut self.line);
                    messages.extend(self.line(&String::from_utf8_lossy(&line)));
                }
                byte => {
                    self.after_return = false;
                    if self.line.len() >= LONGEST_LINE {
                        return Err(LineTooLong);
                    }
                    self.line.push(byte);
                }
            }
        }
        Ok(messages)
    }

    fn line(&mut self, line: &str) -> Option<Message> {
        if line.is_empty() {
            let data = std::mem::take(&mut self.data);
            return (!data.is_empty()).then(|| Message {
                id: self.id.clone(),
                data: data.join("\n"),
            });
        }
        let (field, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match field {
            "data" => self.data.push(value.to_owned()),
            "id" if !value.contains('\0') => self.id = Some(value.to_owned()),
            "retry" => self.retry_ms = value.parse().ok().or(self.retry_ms),
            // A comment, the event's name (the data has it too), or something that a later version means.
            _ => {}
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(text: &str) -> Vec<Message> {
        Parser::default().push(text.as_bytes()).expect("short lines")
    }

    fn message(id: Option<&str>, data: &str) -> Message {
        Message {
            id: id.map(str::to_owned),
            data: data.to_owned(),
        }
    }

    #[test]
    fn events_end_with_an_empty_line_and_comments_are_none() {
        assert_eq!(
            all("retry: 5\n: beat\n\nid: 7\nevent: X\ndata: {}\n\ndata:a\ndata: b\n\ndata: cut"),
            [message(Some("7"), "{}"), message(Some("7"), "a\nb")]
        );
    }

    #[test]
    fn lines_end_in_three_ways() {
        for end in ["\n", "\r", "\r\n"] {
            let text = ["id:1", "data: x", "", "data: y", "", ""].join(end);
            assert_eq!(all(&text), [message(Some("1"), "x"), message(Some("1"), "y")]);
        }
    }

    #[test]
    fn pieces_may_be_cut_anywhere() {
        let text = "id: é\r\ndata: größe\r\n\r\nid\ndata: 2\n\n";
        let whole = all(text);
        for cut in 0..text.len() {
            let mut parser = Parser::default();
            let mut messages = parser.push(&text.as_bytes()[..cut]).expect("short lines");
            messages.extend(parser.push(&text.as_bytes()[cut..]).expect("short lines"));
            assert_eq!(messages, whole, "cut at {cut}");
        }
    }

    #[test]
    fn a_line_without_end_is_refused() {
        let mut parser = Parser::default();
        let piece = vec![b'x'; LONGEST_LINE];
        assert_eq!(parser.push(&piece), Ok(Vec::new()));
        assert_eq!(parser.push(b"x"), Err(LineTooLong));
    }
}
