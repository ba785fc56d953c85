//! A template of the tests' own: its work is a line in the log of the target system.

use flamingock::{
    ChangeError, ChangeFuture, Context, Requirement,
    templates::{NoProbe, Payload, Steps, Template},
};
use serde::Deserialize;

use crate::support::{FakeTx, Log};

/// Steps, with or without rollback.
pub(crate) struct NoteTemplate;

/// One step, which has to say how it is undone.
pub(crate) struct StrictTemplate;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct NoteConfiguration {
    #[serde(default)]
    prefix: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Note {
    text: String,
    /// The error that it ends with.
    #[serde(default)]
    fails: Option<String>,
    #[serde(default)]
    transactions: Option<bool>,
    /// Waits until the change is told to stop.
    #[serde(default)]
    waits: bool,
}

impl Payload for Note {
    fn validate(&self) -> Result<(), Vec<String>> {
        if self.text.is_empty() {
            return Err(vec!["`text` is empty".to_owned(), "nothing to note".to_owned()]);
        }
        Ok(())
    }

    fn supports_transactions(&self) -> Option<bool> {
        self.transactions
    }
}

async fn note(
    note: &Note,
    configuration: &NoteConfiguration,
    context: &mut Context,
    doing: &str,
) -> Result<(), ChangeError> {
    let line = format!("{doing}{}{}", configuration.prefix, note.text);
    if let Ok(transaction) = context.transaction::<FakeTx>() {
        transaction.write(&line);
    } else {
        context.client::<Log>()?.note(line);
    }
    if note.waits {
        context.cancellation().cancelled().await;
    }
    match &note.fails {
        Some(why) => Err(ChangeError::from(std::io::Error::other(why.clone()))),
        None => Ok(()),
    }
}

impl Template for NoteTemplate {
    const NAME: &'static str = "note-template";
    const STEPS: Steps = Steps::Many;
    const ROLLBACK_REQUIRED: bool = false;
    type Configuration = NoteConfiguration;
    type Apply = Note;
    type Rollback = Note;
    type Probe = NoProbe;

    fn requirements(&self, transactional: bool) -> Vec<Requirement> {
        vec![if transactional {
            Requirement::nothing()
        } else {
            Requirement::client::<Log>()
        }]
    }

    fn apply<'a>(
        &'a self,
        payload: &'a Note,
        configuration: &'a NoteConfiguration,
        context: &'a mut Context,
    ) -> ChangeFuture<'a> {
        Box::pin(note(payload, configuration, context, ""))
    }

    fn rollback<'a>(
        &'a self,
        payload: &'a Note,
        configuration: &'a NoteConfiguration,
        context: &'a mut Context,
    ) -> ChangeFuture<'a> {
        Box::pin(note(payload, configuration, context, "undo "))
    }
}

impl Template for StrictTemplate {
    const NAME: &'static str = "strict-template";
    type Configuration = NoteConfiguration;
    type Apply = Note;
    type Rollback = String;
    type Probe = NoProbe;

    fn requirements(&self, _: bool) -> Vec<Requirement> {
        vec![Requirement::client::<Log>()]
    }

    fn apply<'a>(
        &'a self,
        payload: &'a Note,
        configuration: &'a NoteConfiguration,
        context: &'a mut Context,
    ) -> ChangeFuture<'a> {
        Box::pin(note(payload, configuration, context, ""))
    }

    fn rollback<'a>(
        &'a self,
        payload: &'a String,
        _: &'a NoteConfiguration,
        context: &'a mut Context,
    ) -> ChangeFuture<'a> {
        Box::pin(async move {
            context.client::<Log>()?.note(payload.clone());
            Ok(())
        })
    }
}
