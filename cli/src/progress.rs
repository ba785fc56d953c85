//! What the SDK says while it applies changes, a line each, on standard error: a person who waits wants to know on what.

use std::fmt::{self, Write as _};

use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::layer::{Context, Layer, SubscriberExt as _};
use tracing_subscriber::util::SubscriberInitExt as _;

use crate::text;

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
