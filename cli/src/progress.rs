//! What a person who waits wants to know: what the SDK says while it applies changes, a line each, on standard error; and how
//! far a long change is.

use std::fmt::{self, Write as _};

use chrono::{DateTime, Utc};
use flamingock::wire::progress::ChangeProgress;
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::layer::{Context, Layer, SubscriberExt as _};
use tracing_subscriber::util::SubscriberInitExt as _;

use crate::{text, time};

/// "copy-orders 40 %": for a column.
pub fn short(told: &ChangeProgress) -> String {
    match amount(told) {
        Some(amount) => format!("{} {amount}", told.change_id),
        None => told.change_id.clone(),
    }
}

/// "copy-orders [████░░░░░░] 40 % (400 of 1000), orders; heard of 2 min ago".
pub fn sentence(told: &ChangeProgress, now: DateTime<Utc>) -> String {
    let mut parts = vec![told.change_id.clone()];
    if let Some(percent) = told.percent() {
        parts.push(bar(percent));
    }
    parts.extend(amount(told));
    if let (Some(done), Some(total)) = (told.done, told.total) {
        parts.push(format!("({done} of {total})"));
    }
    let mut text = parts.join(" ");
    // Writing to a string cannot fail.
    if let Some(message) = &told.message {
        let _ = write!(text, ", {message}");
    }
    if let Some(heard) = told.last_heard_at() {
        let _ = write!(text, "; heard of {}", time::relative(heard, now));
    }
    if let Some(cursor) = &told.cursor {
        let _ = write!(text, "; its cursor is {cursor}");
    }
    text
}

fn amount(told: &ChangeProgress) -> Option<String> {
    match (told.percent(), told.done) {
        (Some(percent), _) => Some(format!("{percent} %")),
        (None, Some(done)) => Some(format!("{done} done")),
        (None, None) => None,
    }
}

fn bar(percent: u8) -> String {
    let full = usize::from(percent.min(100) / 10);
    format!("[{}{}]", "█".repeat(full), "░".repeat(10 - full))
}

/// From now on, until the program ends. A second call changes nothing.
pub fn show() {
    let _ = tracing_subscriber::registry().with(Lines).try_init();
}

struct Lines;

impl<S: Subscriber> Layer<S> for Lines {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let metadata = event.metadata();
        if *metadata.level() > Level::INFO || !metadata.target().starts_with("flamingock") {
            return;
        }
        let mut line = Line::default();
        event.record(&mut line);
        anstream::eprintln!(
            "{}",
            text::safe(&format!("{}{}", line.message, line.fields), false)
        );
    }
}

#[derive(Default)]
struct Line {
    message: String,
    fields: String,
}

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        // Writing to a string cannot fail.
        let _ = match field.name() {
            "message" => write!(self.message, "{value:?}"),
            name => write!(self.fields, "; {} {value:?}", name.replace('_', " ")),
        };
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.record_debug(field, &format_args!("{value}"));
    }
}
