//! What a broken network or gateway does to a request, once for each rule.

use std::sync::{Arc, Mutex};

use super::lock;

/// What is done to it.
#[derive(Clone, Copy, Debug)]
pub enum Mischief {
    /// It is answered with this status, by something that knows no JSON, and goes nowhere.
    Refuse(u16),
    /// It is passed on, and its answer replaced in the same way.
    Garble(u16),
    /// It is passed on twice; the sender gets the answer to the first.
    Repeat,
}

struct Rule {
    mischief: Mischief,
    /// Parts of the line of the request.
    parts: Vec<String>,
    /// How often yet.
    times: usize,
}

/// The rules that are left.
#[derive(Clone, Default)]
pub struct Rules(Arc<Mutex<Vec<Rule>>>);

impl Rules {
    pub fn add(&self, times: usize, mischief: Mischief, parts: &[&str]) {
        lock(&self.0).push(Rule {
            mischief,
            parts: parts.iter().map(|part| (*part).to_owned()).collect(),
            times,
        });
    }

    /// What is to be done to this request.
    pub fn take(&self, request: &str) -> Option<Mischief> {
        let mut rules = lock(&self.0);
        let rule = rules
            .iter_mut()
            .find(|rule| rule.times > 0 && rule.parts.iter().all(|part| request.contains(part)))?;
        rule.times -= 1;
        Some(rule.mischief)
    }

    /// Whether all has happened that was to happen.
    pub fn are_spent(&self) -> bool {
        lock(&self.0).iter().all(|rule| rule.times == 0)
    }
}
