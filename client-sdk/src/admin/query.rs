//! Query parameters: what is absent is not sent.

/// One page of a list.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PageQuery {
    /// The `next` of the page before.
    pub after: Option<String>,
    /// 1 to 500; the server's default is 50.
    pub limit: Option<u32>,
}

#[derive(Default)]
pub(super) struct Pairs(Vec<(&'static str, String)>);

impl Pairs {
    pub(super) fn page(page: &PageQuery) -> Self {
        Self::default()
            .with("after", page.after.as_ref())
            .with("limit", page.limit)
    }

    /// The parameter, if there is a value for it.
    pub(super) fn with(mut self, name: &'static str, value: Option<impl ToString>) -> Self {
        self.0.extend(value.map(|value| (name, value.to_string())));
        self
    }

    /// The parameter, once for each value.
    pub(super) fn each<T: ToString>(mut self, name: &'static str, values: &[T]) -> Self {
        self.0
            .extend(values.iter().map(|value| (name, value.to_string())));
        self
    }

    pub(super) fn into_vec(self) -> Vec<(&'static str, String)> {
        self.0
    }
}

/// An enum's text on the wire.
pub(super) fn wire_text(value: impl serde::Serialize) -> String {
    match serde_json::to_value(value) {
        Ok(serde_json::Value::String(text)) => text,
        other => unreachable!("enums of the wire are texts: {other:?}"),
    }
}
