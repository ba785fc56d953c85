//! Templates without their types: many kinds in one registry, and what became of a file's payloads.

use std::{collections::BTreeMap, sync::Arc};

use flamingock_nearest::nearest;
use serde::de::DeserializeOwned;
use yaml_serde::Value;

use super::{Fault, Payload, Place, Segment, Steps, Template, placeholders::Secrets};
use crate::{
    change::{ChangeError, ChangeFuture, ProbeFuture},
    context::{Context, Requirement},
    target::Target,
};

/// The templates that change files can name.
#[derive(Default)]
pub(crate) struct Registry(BTreeMap<&'static str, Arc<dyn AnyTemplate>>);

impl Registry {
    /// Those that come with the SDK.
    pub(crate) fn shipped() -> Self {
        let mut registry = Self::default();
        registry.add(super::HttpTemplate);
        #[cfg(any(feature = "mysql", feature = "postgres", feature = "sqlite"))]
        registry.add(super::sql::SqlTemplate);
        registry
    }

    /// False if there is one of this name.
    pub(crate) fn add<T: Template>(&mut self, template: T) -> bool {
        self.0
            .insert(T::NAME, Arc::new(Erased(Arc::new(template))))
            .is_none()
    }

    pub(super) fn find(&self, name: &str) -> Result<&dyn AnyTemplate, String> {
        if let Some(template) = self.0.get(name) {
            return Ok(&**template);
        }
        let known: Vec<_> = self.0.keys().map(|name| format!("`{name}`")).collect();
        let hint = nearest(name, self.0.keys().copied());
        let hint = hint
            .map(|near| format!("did you mean `{near}`? "))
            .unwrap_or_default();
        Err(format!(
            "there is no template `{name}`: {hint}Known are {}; others are added by `.template(…)`",
            known.join(", ")
        ))
    }
}

/// What a file gives to its template.
pub(super) struct Parts {
    pub(super) configuration: Option<Value>,
    pub(super) steps: Vec<Part>,
    pub(super) probe: Option<Value>,
}

/// One piece of work.
pub(super) struct Part {
    pub(super) apply: Option<Value>,
    pub(super) rollback: Option<Value>,
    /// Where it is: the root, or `steps[…]`.
    pub(super) place: Place,
}

pub(super) trait AnyTemplate: Send + Sync {
    fn steps(&self) -> Steps;
    /// Reads the payloads, and says everything that is wrong with them, in general and on the file's target system.
    fn read(
        &self,
        parts: Parts,
        secrets: &Secrets,
        target: Option<&Target>,
    ) -> Result<Box<dyn Program>, Vec<Fault>>;
}

/// What one file wants done.
pub(super) trait Program: Send + Sync {
    fn length(&self) -> usize;
    fn has_rollback(&self, step: usize) -> bool;
    fn has_probe(&self) -> bool;
    fn supports_transactions(&self) -> Vec<Option<bool>>;
    fn requirements(&self, transactional: bool) -> Vec<Requirement>;
    fn rollback_requirements(&self, transactional: bool) -> Vec<Requirement>;
    fn probe_requirements(&self) -> Vec<Requirement>;
    fn apply<'a>(&'a self, step: usize, context: &'a mut Context) -> ChangeFuture<'a>;
    /// `None` if the step has none.
    fn rollback<'a>(&'a self, step: usize, context: &'a mut Context) -> Option<ChangeFuture<'a>>;
    fn probe<'a>(&'a self, context: &'a mut Context) -> ProbeFuture<'a>;
}

struct Erased<T>(Arc<T>);

struct Typed<T: Template> {
    template: Arc<T>,
    configuration: T::Configuration,
    steps: Vec<(T::Apply, Option<T::Rollback>)>,
    probe: Option<T::Probe>,
}

impl<T: Template> AnyTemplate for Erased<T> {
    fn steps(&self) -> Steps {
        T::STEPS
    }

    fn read(
        &self,
        parts: Parts,
        secrets: &Secrets,
        target: Option<&Target>,
    ) -> Result<Box<dyn Program>, Vec<Fault>> {
        let mut reader = Reader {
            secrets,
            target,
            faults: Vec::new(),
        };
        let empty = || Value::Mapping(yaml_serde::Mapping::new());
        let configuration = reader.read::<T::Configuration>(
            parts.configuration.unwrap_or_else(empty),
            &Place::key("configuration"),
        );
        if let Some(configuration) = &configuration {
            let found = T::validate_configuration(configuration).err();
            for why in found.into_iter().flatten() {
                reader.fault(Place::key("configuration"), &format!("`configuration`: {why}"));
            }
        }
        let mut steps = Vec::new();
        for part in parts.steps {
            let apply = reader.payload::<T::Apply>(part.apply, &part.place, "apply", true);
            let rollback =
                reader.payload::<T::Rollback>(part.rollback, &part.place, "rollback", T::ROLLBACK_REQUIRED);
            steps.extend(apply.map(|apply| (apply, rollback)));
        }
        let probe = reader.payload::<T::Probe>(parts.probe, &Place::default(), "probe", false);
        match configuration {
            Some(configuration) if reader.faults.is_empty() => Ok(Box::new(Typed {
                template: self.0.clone(),
                configuration,
                steps,
                probe,
            })),
            _ => Err(reader.faults),
        }
    }
}

impl<T: Template> Program for Typed<T> {
    fn length(&self) -> usize {
        self.steps.len()
    }

    fn has_rollback(&self, step: usize) -> bool {
        self.steps[step].1.is_some()
    }

    fn supports_transactions(&self) -> Vec<Option<bool>> {
        self.steps
            .iter()
            .map(|(apply, _)| apply.supports_transactions())
            .collect()
    }

    fn has_probe(&self) -> bool {
        self.probe.is_some()
    }

    fn requirements(&self, transactional: bool) -> Vec<Requirement> {
        let own = self.template.requirements(transactional);
        let of_steps = self
            .steps
            .iter()
            .flat_map(|(apply, _)| apply.requirements(transactional));
        once_each(own.into_iter().chain(of_steps))
    }

    fn rollback_requirements(&self, transactional: bool) -> Vec<Requirement> {
        // A transaction undoes itself, and no rollback is called.
        if transactional {
            return Vec::new();
        }
        let rollbacks = self.steps.iter().filter_map(|(_, rollback)| rollback.as_ref());
        once_each(rollbacks.flat_map(|rollback| rollback.requirements(false)))
    }

    fn probe_requirements(&self) -> Vec<Requirement> {
        let Some(probe) = &self.probe else {
            return Vec::new();
        };
        let own = self.template.requirements(false);
        once_each(own.into_iter().chain(probe.requirements(false)))
    }

    fn apply<'a>(&'a self, step: usize, context: &'a mut Context) -> ChangeFuture<'a> {
        self.template
            .apply(&self.steps[step].0, &self.configuration, context)
    }

    fn rollback<'a>(&'a self, step: usize, context: &'a mut Context) -> Option<ChangeFuture<'a>> {
        let payload = self.steps[step].1.as_ref()?;
        Some(self.template.rollback(payload, &self.configuration, context))
    }

    fn probe<'a>(&'a self, context: &'a mut Context) -> ProbeFuture<'a> {
        match &self.probe {
            Some(payload) => self.template.probe(payload, &self.configuration, context),
            None => Box::pin(async { Err(ChangeError::from("the file has no probe")) }),
        }
    }
}

/// Many steps want the same.
fn once_each(requirements: impl Iterator<Item = Requirement>) -> Vec<Requirement> {
    let mut once: Vec<Requirement> = Vec::new();
    for requirement in requirements {
        if !once.contains(&requirement) {
            once.push(requirement);
        }
    }
    once
}

/// Reads values as what a template wants, and collects what is wrong.
struct Reader<'s> {
    secrets: &'s Secrets,
    target: Option<&'s Target>,
    faults: Vec<Fault>,
}

impl Reader<'_> {
    fn payload<P: Payload>(
        &mut self,
        value: Option<Value>,
        place: &Place,
        name: &str,
        required: bool,
    ) -> Option<P> {
        let Some(value) = value else {
            if required {
                self.fault(place.clone(), &format!("`{name}` is missing"));
            }
            return None;
        };
        let place = place.clone().then(name);
        if value.is_null() {
            self.fault(place, &format!("`{name}` is empty"));
            return None;
        }
        let mut payload = self.read::<P>(value, &place)?;
        let of_target = |payload: &mut P| match self.target {
            Some(target) => payload.for_target(target),
            None => Ok(()),
        };
        let checked = payload.validate().and_then(|()| of_target(&mut payload));
        for why in checked.err().into_iter().flatten() {
            self.fault(place.clone(), &format!("`{place}`: {why}"));
        }
        Some(payload)
    }

    fn read<V: DeserializeOwned>(&mut self, value: Value, place: &Place) -> Option<V> {
        let mut ignored = Vec::new();
        let mut track = serde_path_to_error::Track::new();
        let deserializer = serde_path_to_error::Deserializer::new(value, &mut track);
        let result = serde_ignored::deserialize(deserializer, |path| ignored.push(place_of_ignored(&path)));
        for path in ignored {
            let place = place.below(&path);
            self.fault(place.clone(), &format!("unknown field `{place}`"));
        }
        match result {
            Ok(value) => Some(value),
            Err(error) => {
                let place = place.below(&place_of_error(&track.path()));
                let text = error.to_string();
                let hint = hint(&text).unwrap_or_default();
                self.fault(place.clone(), &format!("`{place}`: {text}{hint}"));
                None
            }
        }
    }

    /// The values that were put in may be secrets, and serde quotes what it does not like.
    fn fault(&mut self, place: Place, text: &str) {
        self.faults.push(Fault::new(place, self.secrets.hide(text)));
    }
}

/// Of ``unknown field `metod`, expected one of `method`, `path` ``.
fn hint(text: &str) -> Option<String> {
    let words = text
        .strip_prefix("unknown field ")
        .or_else(|| text.strip_prefix("unknown variant "))?;
    let mut words = words.split('`').skip(1).step_by(2);
    let word = words.next()?;
    let near = nearest(word, words)?;
    Some(format!("; did you mean `{near}`?"))
}

fn place_of_error(path: &serde_path_to_error::Path) -> Place {
    use serde_path_to_error::Segment as Found;
    let segments = path.iter().filter_map(|segment| match segment {
        Found::Seq { index } => Some(Segment::Index(*index)),
        Found::Map { key } => Some(Segment::Key(key.clone())),
        // Variants and what has no name are no places of their own in the text.
        Found::Enum { .. } | Found::Unknown => None,
    });
    Place(segments.collect())
}

fn place_of_ignored(path: &serde_ignored::Path<'_>) -> Place {
    use serde_ignored::Path;
    match path {
        Path::Root => Place::default(),
        Path::Seq { parent, index } => place_of_ignored(parent).at(*index),
        Path::Map { parent, key } => place_of_ignored(parent).then(key.clone()),
        Path::Some { parent } | Path::NewtypeStruct { parent } | Path::NewtypeVariant { parent } => {
            place_of_ignored(parent)
        }
    }
}
