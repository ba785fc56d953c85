//! The parameters that say which entries are meant; the same for lists and exports.

use flamingock_api_types::audit::AuditView;
use flamingock_domain::audit::AuditState;

use crate::app::reading::{AsOf, Filter, Order, Question, View};
use crate::http::parameters::Parameters;
use crate::http::problem::Problem;

/// What selects entries.
pub(super) const SELECTING: &[&str] = &[
    "view",
    "order",
    "asOf",
    "asOfSeq",
    "changeId",
    "stageId",
    "state",
    "targetSystemId",
    "author",
    "executionId",
    "runnerId",
    "late",
    "manual",
    "since",
    "until",
];

pub(super) fn question(parameters: &Parameters) -> Result<Question, Problem> {
    Ok(Question {
        view: view(parameters)?,
        filter: filter(parameters)?,
        up_to: None,
    })
}

fn view(parameters: &Parameters) -> Result<View, Problem> {
    let views = [("history", AuditView::History), ("snapshot", AuditView::Snapshot)];
    let orders = [("asc", Order::OldestFirst), ("desc", Order::NewestFirst)];
    let view = parameters.word("view", &views)?.unwrap_or(AuditView::History);
    let order = parameters.word("order", &orders)?;
    let as_of = match (parameters.time("asOf")?, parameters.number("asOfSeq")?) {
        (Some(_), Some(_)) => {
            return Err(Problem::malformed(
                "The query parameters `asOf` and `asOfSeq` both say which state is meant; give one of them.",
            ));
        }
        (Some(at), None) => Some(AsOf::Time(at)),
        (None, Some(seq)) if seq < 0 => {
            return Err(Problem::malformed(format!(
                "The query parameter `asOfSeq` is a position, 0 or more; it is {seq}."
            )));
        }
        (None, Some(seq)) => Some(AsOf::Seq(seq)),
        (None, None) => None,
    };
    match (view, order, as_of) {
        (AuditView::History, _, Some(_)) => Err(Problem::malformed(
            "The query parameters `asOf` and `asOfSeq` need `view=snapshot`: a history has no state. For the entries up to a \
             time use `until`.",
        )),
        (AuditView::Snapshot, Some(_), _) => Err(Problem::malformed(
            "The query parameter `order` needs `view=history`: a snapshot goes by change.",
        )),
        (AuditView::History, order, None) => Ok(View::History(order.unwrap_or(Order::OldestFirst))),
        (AuditView::Snapshot, None, as_of) => Ok(View::Snapshot(as_of.unwrap_or(AsOf::Head))),
    }
}

fn filter(parameters: &Parameters) -> Result<Filter, Problem> {
    let filter = Filter {
        change_ids: distinct(parameters.all("changeId")?),
        stage_ids: distinct(parameters.all("stageId")?),
        states: distinct(
            parameters
                .all("state")?
                .iter()
                .map(|text| state(text))
                .collect::<Result<_, _>>()?,
        ),
        target_system_ids: distinct(parameters.all("targetSystemId")?),
        authors: distinct(parameters.all("author")?),
        execution_ids: distinct(parameters.all("executionId")?),
        runner_ids: distinct(parameters.all("runnerId")?),
        late: parameters.flag("late")?,
        manual: parameters.flag("manual")?,
        since: parameters.time("since")?,
        until: parameters.time("until")?,
    };
    if let (Some(since), Some(until)) = (filter.since, filter.until)
        && since >= until
    {
        return Err(Problem::malformed(format!(
            "Nothing lies between `since` {since} and `until` {until}: `until` must be later."
        )));
    }
    Ok(filter)
}

/// What is asked for twice is looked up once, or its entries would come twice.
fn distinct(mut values: Vec<String>) -> Vec<String> {
    values.sort_unstable();
    values.dedup();
    values
}

fn state(text: &str) -> Result<String, Problem> {
    let upper = text.to_ascii_uppercase();
    AuditState::ALL
        .iter()
        .find(|state| state.as_wire() == upper)
        .map(|state| state.as_wire().to_owned())
        .ok_or_else(|| {
            let known: Vec<&str> = AuditState::ALL.iter().map(AuditState::as_wire).collect();
            Problem::malformed(format!(
                "The query parameter `state` must be one of {}; it is {:?}.",
                known.join(", "),
                text.chars().take(100).collect::<String>()
            ))
        })
}
