//! Templates without their types: many kinds in one registry, and what became of a file's payloads.

use std::{collections::BTreeMap, sync::Arc};

use flamingock_nearest::nearest;
use serde::de::DeserializeOwned;
use yaml_serde::Value;

use super::{Fault, Payload, Place, Segment, Steps, Template, placeholders::Secrets};
use crate::{
    change::ChangeFuture,
    context::{Context, Requirement},
};

/// The templates that change files can name.
#[derive(Default)]
pub(crate) struct Registry(BTreeMap<&'static str, Arc<dyn AnyTemplate>>);

impl Registry {
    /// Those that come with the SDK.
    pub(crate) fn shipped() -> Self {
        let mut registry = Self::default();
        registry.add(super::HttpTemplate);
        #[cfg(feature = "postgres")]
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
    /// Reads the payloads, and says everything that is wrong with them.
    fn read(&self, parts: Parts, secrets: &Secrets) -> Result<Box<dyn Program>, Vec<Fault>>;
}

/// What one file wants done.
pub(super) trait Program: Send + Sync {
    fn length(&self) -> usize;
    fn has_rollback(&self, step: usize) -> bool;
    fn supports_transactions(&self) -> Vec<Option<bool>>;
    fn requirements(&self, transactional: bool) -> Vec<Requirement>;
    fn apply<'a>(&'a self, step: usize, context: &'a mut Context) -> ChangeFuture<'a>;
    /// `None` if the step has none.
    fn rollback<'a>(&'a self, step: usize, context: &'a mut Context) -> Option<ChangeFuture<'a>>;
}

struct Erased<T>(Arc<T>);

struct Typed<T: Template> {
    template: Arc<T>,
    configuration: T::Configuration,
    steps: Vec<(T::Apply, Option<T::Rollback>)>,
}

impl<T: Template> AnyTemplate for Erased<T> {
    fn steps(&self) -> Steps {
        T::STEPS
    }

    fn read(&self, parts: Parts, secrets: &Secrets) -> Result<Box<dyn Program>, Vec<Fault>> {
        let mut reader = Reader {
            secrets,
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
        match configuration {
            Some(configuration) if reader.faults.is_empty() => Ok(Box::new(Typed {
                template: self.0.clone(),
                configuration,
                steps,
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

    fn requirements(&self, transactional: bool) -> Vec<Requirement> {
        self.template.requirements(transactional)
    }

    fn apply<'a>(&'a self, step: usize, context: &'a mut Context) -> ChangeFuture<'a> {
        self.template
            .apply(&self.steps[step].0, &self.configuration, context)
    }

    fn rollback<'a>(&'a self, step: usize, context: &'a mut Context) -> Option<ChangeFuture<'a>> {
        let payload = self.steps[step].1.as_ref()?;
        Some(self.template.rollback(payload, &self.configuration, context))
    }
}

/// Reads values as what a template wants, and collects what is wrong.
struct Reader<'s> {
    secrets: &'s Secrets,
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
        let payload = self.read::<P>(value, &place)?;
        for why in payload.validate().err().into_iter().flatten() {
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
