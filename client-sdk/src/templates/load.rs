//! From a stage's files to its changes. Everything that is wrong with any of them is said at once.

use flamingock_nearest::nearest;
use yaml_serde::Value;

use super::{
    Fault, Place, Placeholders, Registry, Source, Steps,
    change::TemplateChange,
    checksum,
    document::{Document, Header},
    placeholders::{self, Secrets},
    program::{AnyTemplate, Part, Parts, Program},
    source::{File, order_of},
};
use crate::{change::ChangeInfo, stage::LoadedChange, target::Target, validate::Problem};

/// What files are read with.
pub(crate) struct Loader {
    pub(crate) registry: Registry,
    pub(crate) placeholders: Placeholders,
}

impl Default for Loader {
    fn default() -> Self {
        Self {
            registry: Registry::shipped(),
            placeholders: Placeholders::default(),
        }
    }
}

/// The changes of a source, and what is wrong with it.
pub(crate) fn load(
    source: &Source,
    loader: &Loader,
    targets: &[Target],
) -> (Vec<LoadedChange>, Vec<Problem>) {
    let (files, unreadable) = source.files();
    let mut problems: Vec<_> = unreadable
        .into_iter()
        .map(|file| Problem::ChangeFile {
            file: file.path,
            line: None,
            text: file.why,
        })
        .collect();
    let mut changes = Vec::new();
    for file in &files {
        match change(file, loader, targets) {
            Ok(change) => changes.push(change),
            Err(found) => problems.extend(found),
        }
    }
    (changes, problems)
}

fn change(file: &File, loader: &Loader, targets: &[Target]) -> Result<LoadedChange, Vec<Problem>> {
    let problem = |line, text: String| Problem::ChangeFile {
        file: file.path.clone(),
        line,
        text,
    };
    let mut problems = Vec::new();
    let order = order_of(&file.name);
    if order.is_none() {
        let text = "the name of a change file has its order: `_0001__create_orders.yaml`";
        problems.push(problem(None, text.to_owned()));
    }
    let mut document = match Document::read(&file.name, &file.text) {
        Ok(document) => document,
        Err(malformed) => {
            problems.push(problem(malformed.line, malformed.text));
            return Err(problems);
        }
    };
    let mut faults = document.unknown();
    let header = document.header(&mut faults);
    if let (Some(given), Some(order)) = (&header.order, order)
        && given != order
    {
        faults.push(Fault::new(
            Place::key("order"),
            format!("the order is `{order}` in the file's name and `{given}` here: leave it out here"),
        ));
    }
    let mut secrets = Secrets::default();
    let resolved = resolve(&mut document, &loader.placeholders, &mut secrets);
    let program = match (loader.registry.find(&header.template), resolved) {
        (Ok(template), Ok(payloads)) => read(&header, template, payloads, &secrets, targets)
            .map_err(|found| faults.extend(found))
            .ok(),
        (template, resolved) => {
            if let Some(text) = template.err().filter(|_| !header.template.is_empty()) {
                faults.push(Fault::new(Place::key("template"), text));
            }
            for (place, unresolved) in resolved.err().into_iter().flatten() {
                let line = line_with(&file.text, document.line(&place), &unresolved.text);
                problems.push(problem(line, unresolved.why));
            }
            None
        }
    };
    problems.extend(
        faults
            .into_iter()
            .map(|fault| problem(document.line(&fault.place), fault.text)),
    );
    let (Some(program), Some(order), true) = (program, order, problems.is_empty()) else {
        problems.sort_by_key(|problem| match problem {
            Problem::ChangeFile { line, .. } => *line,
            _ => None,
        });
        return Err(problems);
    };
    let info = info(header, order, file, &*program);
    let change = TemplateChange::new(info.clone(), program, checksum::of(&file.text), secrets);
    Ok(LoadedChange::of(info, change))
}

fn info(header: Header, order: &str, file: &File, program: &dyn Program) -> ChangeInfo {
    let mut info = ChangeInfo::new(header.id, order.to_owned(), header.target)
        .recovery(header.recovery)
        .profiles(header.profiles)
        .depends_on(header.depends_on)
        .source(header.template)
        .in_file(file.path.clone());
    if let Some(author) = header.author {
        info = info.author(author);
    }
    // Only a "no" of the work decides where the file does not.
    let possible = program.supports_transactions();
    let transactional = header
        .transactional
        .or(possible.contains(&Some(false)).then_some(false));
    if let Some(transactional) = transactional {
        info = info.transactional(transactional);
    }
    if header.transactional == Some(false) && possible.iter().all(|possible| *possible == Some(true)) {
        tracing::warn!(
            change = info.id(),
            file = file.path,
            "declared not transactional, although all of its work could be part of a transaction"
        );
    }
    if (0..program.length()).any(|step| program.has_rollback(step)) {
        info = info.with_rollback();
    }
    if program.has_probe() {
        info = info.with_probe();
    }
    info
}

/// The fields of payloads, with values in the place of placeholders.
struct Payloads {
    configuration: Option<Value>,
    apply: Option<Value>,
    rollback: Option<Value>,
    steps: Option<Value>,
    probe: Option<Value>,
}

type Unresolved = Vec<(Place, placeholders::Unresolved)>;

fn resolve(
    document: &mut Document,
    placeholders: &Placeholders,
    secrets: &mut Secrets,
) -> Result<Payloads, Unresolved> {
    let mut faults = Vec::new();
    let mut resolved = |name| {
        let mut value = document.take(name)?;
        walk(
            &mut value,
            &Place::key(name),
            &mut |place, text| match placeholders::resolve(text, placeholders, secrets) {
                Ok(resolved) => *text = resolved,
                Err(found) => faults.extend(found.into_iter().map(|fault| (place.clone(), fault))),
            },
        );
        Some(value)
    };
    let payloads = Payloads {
        configuration: resolved("configuration"),
        apply: resolved("apply"),
        rollback: resolved("rollback"),
        steps: resolved("steps"),
        probe: resolved("probe"),
    };
    if faults.is_empty() {
        Ok(payloads)
    } else {
        Err(faults)
    }
}

/// Every text of a value; names of fields are none.
fn walk(value: &mut Value, place: &Place, visit: &mut impl FnMut(&Place, &mut String)) {
    match value {
        Value::String(text) => visit(place, text),
        Value::Sequence(values) => {
            for (index, value) in values.iter_mut().enumerate() {
                walk(value, &place.clone().at(index), visit);
            }
        }
        Value::Mapping(fields) => {
            for (key, value) in fields.iter_mut() {
                walk(value, &place.clone().then(key.as_str().unwrap_or("?")), visit);
            }
        }
        Value::Tagged(tagged) => walk(&mut tagged.value, place, visit),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

/// The first line at or after the one of the value that has the text: a value can have many lines.
fn line_with(text: &str, from: Option<usize>, wanted: &str) -> Option<usize> {
    let from = from?;
    let found = text.lines().skip(from - 1).position(|line| line.contains(wanted));
    Some(found.map_or(from, |offset| from + offset))
}

fn read(
    header: &Header,
    template: &dyn AnyTemplate,
    payloads: Payloads,
    secrets: &Secrets,
    targets: &[Target],
) -> Result<Box<dyn Program>, Vec<Fault>> {
    let configuration = payloads.configuration.clone().filter(|value| !value.is_null());
    let probe = payloads.probe.clone();
    let steps = parts(&header.template, template.steps(), payloads)?;
    let target = targets.iter().find(|target| target.id() == header.target);
    let parts = Parts {
        configuration,
        steps,
        probe,
    };
    let program = template.read(parts, secrets, target)?;
    if header.transactional == Some(true) && program.supports_transactions().contains(&Some(false)) {
        let text = format!(
            "`transactional: true`, but some of the work of `apply` cannot be part of a transaction (template `{}`)",
            header.template
        );
        return Err(vec![Fault::new(Place::key("transactional"), text)]);
    }
    Ok(program)
}

/// The pieces of work, in the shape that the template wants.
fn parts(name: &str, steps: Steps, payloads: Payloads) -> Result<Vec<Part>, Vec<Fault>> {
    let mut faults = Vec::new();
    let many = payloads.steps.is_some() || steps == Steps::Many;
    if steps == Steps::One && payloads.steps.is_some() {
        let text = format!("template `{name}` has no steps: write `apply` and `rollback` beside `template`");
        return Err(vec![Fault::new(Place::key("steps"), text)]);
    }
    if !many {
        return Ok(vec![Part {
            apply: payloads.apply,
            rollback: payloads.rollback,
            place: Place::default(),
        }]);
    }
    for (field, value) in [("apply", &payloads.apply), ("rollback", &payloads.rollback)] {
        if value.is_some() {
            let text = format!("`{field}` belongs into each of the `steps` here");
            faults.push(Fault::new(Place::key(field), text));
        }
    }
    let mut parts = Vec::new();
    match payloads.steps {
        None => faults.push(Fault::new(Place::default(), "`steps` is missing")),
        Some(Value::Sequence(steps)) if !steps.is_empty() => {
            for (index, step) in steps.into_iter().enumerate() {
                match part(step, Place::key("steps").at(index)) {
                    Ok(part) => parts.push(part),
                    Err(found) => faults.extend(found),
                }
            }
        }
        Some(_) => faults.push(Fault::new(
            Place::key("steps"),
            "`steps` is a list of at least one step, each with `apply` and perhaps `rollback`",
        )),
    }
    if faults.is_empty() { Ok(parts) } else { Err(faults) }
}

fn part(step: Value, place: Place) -> Result<Part, Vec<Fault>> {
    let Value::Mapping(mut fields) = step else {
        let text = format!("`{place}` has no fields: a step begins as `- apply: …`");
        return Err(vec![Fault::new(place, text)]);
    };
    let (apply, rollback) = (fields.remove("apply"), fields.remove("rollback"));
    let faults: Vec<_> = fields
        .keys()
        .map(|key| {
            let name = key.as_str().unwrap_or("?");
            let hint = match nearest(name, ["apply", "rollback"]) {
                Some(near) => format!("did you mean `{near}`?"),
                None => "a step has `apply` and `rollback`".to_owned(),
            };
            let place = place.clone().then(name);
            Fault::new(place.clone(), format!("unknown field `{place}`; {hint}"))
        })
        .collect();
    if faults.is_empty() {
        Ok(Part {
            apply,
            rollback,
            place,
        })
    } else {
        Err(faults)
    }
}
