//! A change file as a change unit: its steps forwards, and after a failure backwards.

use std::{
    error::Error as StdError,
    fmt,
    sync::atomic::{AtomicUsize, Ordering},
};

use super::{placeholders::Secrets, program::Program};
use crate::{
    causes,
    change::{Change, ChangeError, ChangeFuture, ChangeInfo, ProbeFuture},
    context::{Context, Requirement},
};

pub(super) struct TemplateChange {
    info: ChangeInfo,
    program: Box<dyn Program>,
    checksum: String,
    secrets: Secrets,
    /// How many steps of the present attempt were begun. Where a change runs outside transactions, its rollback follows
    /// its apply in one run.
    begun: AtomicUsize,
}

impl TemplateChange {
    pub(super) fn new(
        info: ChangeInfo,
        program: Box<dyn Program>,
        checksum: String,
        secrets: Secrets,
    ) -> Self {
        Self {
            info,
            program,
            checksum,
            secrets,
            begun: AtomicUsize::new(0),
        }
    }

    async fn apply_steps(&self, context: &mut Context) -> Result<(), ChangeError> {
        // Each attempt begins at the first step, whatever an earlier one did.
        self.begun.store(0, Ordering::Relaxed);
        for step in 0..self.program.length() {
            // Whatever this step would do, another runner may be doing already.
            if !context.holds_lock() {
                let text = format!("the lock was lost before {} was begun", self.name(step));
                return Err(text.into());
            }
            // Counted before it runs: a step that fails may have done a part of its work.
            self.begun.store(step + 1, Ordering::Relaxed);
            context.step = step;
            let done = self.program.apply(step, context).await;
            done.map_err(|error| self.failed(step, "", error))?;
            tracing::debug!(step = step + 1, steps = self.program.length(), "done");
        }
        Ok(())
    }

    /// The step that failed, and back to the first.
    async fn undo_steps(&self, context: &mut Context) -> Result<(), ChangeError> {
        let mut left = Vec::new();
        for step in (0..self.begun.load(Ordering::Relaxed)).rev() {
            if !context.holds_lock() {
                let text = format!("the lock was lost before {} was undone", self.name(step));
                return Err(text.into());
            }
            context.step = step;
            let Some(undone) = self.program.rollback(step, context) else {
                tracing::warn!(step = step + 1, "it has no rollback: what it did stays");
                left.push((step + 1).to_string());
                continue;
            };
            undone
                .await
                .map_err(|error| self.failed(step, "undoing ", error))?;
        }
        // "Rolled back" would have the change applied again, on top of what is still there.
        if left.is_empty() {
            return Ok(());
        }
        left.reverse();
        let (noun, verb) = if left.len() == 1 {
            ("step", "has")
        } else {
            ("steps", "have")
        };
        let text = format!(
            "{noun} {} {verb} no rollback, so what was done there stays; all else was undone",
            left.join(", ")
        );
        Err(text.into())
    }

    fn name(&self, step: usize) -> String {
        format!("step {} of {}", step + 1, self.program.length())
    }

    /// The error without values of placeholders, and with the step where there are several.
    fn failed(&self, step: usize, doing: &str, error: ChangeError) -> ChangeError {
        if self.program.length() == 1 {
            return self.without_secrets("", error);
        }
        self.without_secrets(&format!("{doing}{}: ", self.name(step)), error)
    }

    /// The error without values of placeholders, and with some words before it.
    fn without_secrets(&self, before: &str, error: ChangeError) -> ChangeError {
        if before.is_empty() && self.secrets.is_empty() {
            return error;
        }
        let mut plain = Plain::of(error.error(), &self.secrets);
        plain.text = format!("{before}{}", plain.text);
        ChangeError::named(error.type_name(), Box::new(plain))
    }
}

impl Change for TemplateChange {
    fn info(&self) -> ChangeInfo {
        self.info.clone()
    }

    fn checksum(&self) -> Option<String> {
        Some(self.checksum.clone())
    }

    fn requirements(&self) -> Vec<Requirement> {
        self.program.requirements(self.info.is_transactional())
    }

    fn apply<'a>(&'a self, context: &'a mut Context) -> ChangeFuture<'a> {
        Box::pin(self.apply_steps(context))
    }

    fn rollback_requirements(&self) -> Vec<Requirement> {
        self.program.rollback_requirements(self.info.is_transactional())
    }

    fn rollback<'a>(&'a self, context: &'a mut Context) -> ChangeFuture<'a> {
        Box::pin(self.undo_steps(context))
    }

    fn probe_requirements(&self) -> Vec<Requirement> {
        self.program.probe_requirements()
    }

    fn probe<'a>(&'a self, context: &'a mut Context) -> ProbeFuture<'a> {
        let probe = self.program.probe(context);
        Box::pin(async move { probe.await.map_err(|error| self.without_secrets("", error)) })
    }
}

/// An error and its causes as texts that can be shown.
#[derive(Debug, Default)]
struct Plain {
    text: String,
    source: Option<Box<Plain>>,
}

impl Plain {
    fn of(error: &(dyn StdError + 'static), secrets: &Secrets) -> Self {
        let outermost = causes::texts(error).iter().rev().fold(None, |source, text| {
            Some(Self {
                text: secrets.hide(text).into_owned(),
                source: source.map(Box::new),
            })
        });
        outermost.unwrap_or_default()
    }
}

impl fmt::Display for Plain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl StdError for Plain {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.source.as_deref().map(|source| source as _)
    }
}
