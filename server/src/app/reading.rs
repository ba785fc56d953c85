//! Reading the audit: pages of its history, and its state at a moment.

use chrono::{DateTime, Utc};
use flamingock_domain::ids::Seq;
use sqlx::{PgConnection, PgPool};

use super::fault::Fault;
use crate::store::Scope;
use crate::store::audit::Entry;
use crate::store::entries;

pub use crate::store::entries::{Filter, Order};

/// Which state a snapshot is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AsOf {
    /// The newest.
    Head,
    /// What had been received by then.
    Time(DateTime<Utc>),
    Seq(Seq),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum View {
    /// Every entry, by position.
    History(Order),
    /// The latest entry of each change that counts, by change.
    Snapshot(AsOf),
}

/// What is asked of the audit of a service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Question {
    pub view: View,
    pub filter: Filter,
    /// Nothing behind this position, so that what is appended meanwhile stays out.
    pub up_to: Option<Seq>,
}

/// Where a page ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// Of a history.
    Seq(Seq),
    /// Of a snapshot, with the position that it is the state at.
    Change { id: String, as_of: Seq },
}

#[derive(Debug, Default)]
pub struct Answer {
    pub entries: Vec<Entry>,
    pub next: Option<Place>,
    /// Of a snapshot: the position that it is the state at.
    pub as_of: Option<Seq>,
}

#[derive(Clone)]
pub struct Reading {
    pool: PgPool,
}

impl Reading {
    pub(super) fn new(pool: PgPool) -> Self {
        Self { pool }
    }

    /// A page behind a place. It may hold little or nothing and still have a next one: the work for a page is bounded.
    pub async fn page(
        &self,
        scope: Scope,
        question: &Question,
        after: Option<&Place>,
        limit: i64,
    ) -> Result<Answer, Fault> {
        let mut conn = self.pool.acquire().await?;
        match question.view {
            View::History(order) => history(&mut conn, scope, question, order, after, limit).await,
            View::Snapshot(as_of) => snapshot(&mut conn, scope, question, as_of, after, limit).await,
        }
    }
}

async fn history(
    conn: &mut PgConnection,
    scope: Scope,
    question: &Question,
    order: Order,
    after: Option<&Place>,
    limit: i64,
) -> Result<Answer, Fault> {
    let Filter { since, until, .. } = question.filter;
    let Some(mut window) = entries::load_window(conn, scope, since, until).await? else {
        return Ok(Answer::default());
    };
    if let Some(up_to) = question.up_to {
        window.to = window.to.min(up_to);
    }
    match (order, after) {
        (Order::OldestFirst, Some(Place::Seq(seq))) => window.from = window.from.max(*seq),
        (Order::NewestFirst, Some(Place::Seq(seq))) => window.to = window.to.min(seq.saturating_sub(1)),
        (_, Some(Place::Change { .. }) | None) => {}
    }
    let page = entries::list(conn, window, &question.filter, order, limit).await?;
    Ok(Answer {
        entries: page.entries,
        next: page.next.map(Place::Seq),
        as_of: None,
    })
}

async fn snapshot(
    conn: &mut PgConnection,
    scope: Scope,
    question: &Question,
    as_of: AsOf,
    after: Option<&Place>,
    limit: i64,
) -> Result<Answer, Fault> {
    let Some(window) = entries::load_window(conn, scope, None, None).await? else {
        return Ok(Answer {
            as_of: Some(0),
            ..Answer::default()
        });
    };
    let (behind, as_of) = match (after, as_of) {
        // The state that the first page was of, whatever was appended since.
        (Some(Place::Change { id, as_of }), _) => (id.as_str(), *as_of),
        (_, AsOf::Head) => ("", window.head_seq),
        (_, AsOf::Seq(seq)) => ("", seq.min(window.head_seq)),
        (_, AsOf::Time(at)) => ("", entries::load_seq_at(conn, window.stream_id, at).await?),
    };
    let as_of = question.up_to.map_or(as_of, |up_to| as_of.min(up_to));
    let page = entries::list_snapshot(conn, window.stream_id, as_of, &question.filter, behind, limit).await?;
    Ok(Answer {
        entries: page.entries,
        next: page.next.map(|id| Place::Change { id, as_of }),
        as_of: Some(as_of),
    })
}
