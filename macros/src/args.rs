//! The arguments of `#[change(…)]`.

use flamingock_nearest::nearest;
use proc_macro2::Span;
use syn::{
    Expr, ExprLit, Ident, Lit, LitBool, LitStr, Path, Token,
    ext::IdentExt as _,
    parse::{Parse, ParseStream},
};

const KNOWN: [&str; 10] = [
    "id",
    "order",
    "target",
    "author",
    "transactional",
    "recovery",
    "rollback",
    "probe",
    "depends_on",
    "checksum",
];
const STRATEGIES: [&str; 2] = ["manual_intervention", "always_retry"];
/// What the server takes, in bytes.
const LONGEST_ID: usize = 1024;
const LONGEST_CHECKSUM: usize = 200;

pub(crate) struct Args {
    pub(crate) id: LitStr,
    pub(crate) order: LitStr,
    pub(crate) target: LitStr,
    pub(crate) author: Option<LitStr>,
    pub(crate) transactional: Option<LitBool>,
    pub(crate) recovery: Recovery,
    pub(crate) rollback: Option<Path>,
    pub(crate) probe: Option<Path>,
    pub(crate) depends_on: Vec<LitStr>,
    pub(crate) checksum: Checksum,
}

/// What names the change's content.
pub(crate) enum Checksum {
    /// Its source, the default.
    Source,
    /// Nothing.
    Off,
    /// What the author says.
    Given(LitStr),
}

#[derive(Clone, Copy)]
pub(crate) enum Recovery {
    ManualIntervention,
    AlwaysRetry,
}

#[derive(Default)]
struct Given {
    id: Option<LitStr>,
    order: Option<LitStr>,
    target: Option<LitStr>,
    author: Option<LitStr>,
    transactional: Option<LitBool>,
    recovery: Option<LitStr>,
    rollback: Option<Path>,
    probe: Option<Path>,
    depends_on: Option<Vec<LitStr>>,
    checksum: Option<Checksum>,
}

impl Parse for Args {
    fn parse(input: ParseStream<'_>) -> syn::Result<Self> {
        let mut given = Given::default();
        while !input.is_empty() {
            if !input.peek(Ident::peek_any) {
                return Err(input.error("a change is described by pairs such as `id = \"create-orders\"`"));
            }
            let key = input.call(Ident::parse_any)?;
            // An argument that does not exist is the first thing to say of it.
            known(&key)?;
            if !input.peek(Token![=]) || input.peek2(Token![,]) || is_last(input) {
                let needed = format!("`{key}` needs a value: `{key} = {}`", example(&key));
                return Err(syn::Error::new(key.span(), needed));
            }
            input.parse::<Token![=]>()?;
            let value: Expr = input.parse()?;
            given.set(&key, plain(value))?;
            if !input.is_empty() {
                input.parse::<Token![,]>().map_err(|error| {
                    syn::Error::new(error.span(), format!("expected `,` after the value of `{key}`"))
                })?;
            }
        }
        given.check()
    }
}

impl Given {
    fn set(&mut self, key: &Ident, value: Expr) -> syn::Result<()> {
        match key.to_string().as_str() {
            "id" => put(&mut self.id, key, text(key, &value)?),
            "order" => put(&mut self.order, key, text(key, &value)?),
            "target" => put(&mut self.target, key, text(key, &value)?),
            "author" => put(&mut self.author, key, text(key, &value)?),
            "transactional" => put(&mut self.transactional, key, flag(key, &value)?),
            "recovery" => put(&mut self.recovery, key, text(key, &value)?),
            "rollback" => put(&mut self.rollback, key, function(key, value)?),
            "probe" => put(&mut self.probe, key, function(key, value)?),
            "depends_on" => put(&mut self.depends_on, key, ids(&value)?),
            "checksum" => put(&mut self.checksum, key, checksum(&value)?),
            _ => Err(unknown(key)),
        }
    }

    fn check(self) -> syn::Result<Args> {
        let id = required(self.id, "id", "create-orders")?;
        check_id(&id)?;
        let order = required(self.order, "order", "0001")?;
        if order.value().chars().filter(|c| c.is_alphanumeric()).count() < 3 {
            return Err(refused(
                &order,
                "an order needs at least 3 letters or digits, because it is compared as text: `0001`, `20261125_01`",
            ));
        }
        let target = required(self.target, "target", "orders-db")?;
        if target.value().trim().is_empty() {
            return Err(refused(
                &target,
                "name the target system that the change works on",
            ));
        }
        let recovery = match &self.recovery {
            None => Recovery::ManualIntervention,
            Some(text) => match text.value().as_str() {
                "manual_intervention" => Recovery::ManualIntervention,
                "always_retry" => Recovery::AlwaysRetry,
                other => {
                    let hint = nearest(other, STRATEGIES).map(|near| format!("; did you mean \"{near}\"?"));
                    return Err(refused(
                        text,
                        format!(
                            "`{other}` is no recovery strategy: \"manual_intervention\" (the default) or \"always_retry\"{}",
                            hint.unwrap_or_default()
                        ),
                    ));
                }
            },
        };
        let depends_on = self.depends_on.unwrap_or_default();
        if let Some(itself) = depends_on.iter().find(|other| other.value() == id.value()) {
            return Err(refused(itself, "a change cannot depend on itself"));
        }
        Ok(Args {
            id,
            order,
            target,
            author: self.author,
            transactional: self.transactional,
            recovery,
            rollback: self.rollback,
            probe: self.probe,
            depends_on,
            checksum: self.checksum.unwrap_or(Checksum::Source),
        })
    }
}

fn put<T>(slot: &mut Option<T>, key: &Ident, value: T) -> syn::Result<()> {
    match slot.replace(value) {
        None => Ok(()),
        Some(_) => Err(syn::Error::new(key.span(), format!("`{key}` is given twice"))),
    }
}

/// Nothing stands behind the next token.
fn is_last(input: ParseStream<'_>) -> bool {
    let ahead = input.fork();
    ahead.parse::<proc_macro2::TokenTree>().is_ok() && ahead.is_empty()
}

fn function(key: &Ident, value: Expr) -> syn::Result<Path> {
    match value {
        Expr::Path(path) => Ok(path.path),
        other => {
            let text = format!(
                "`{key}` takes the name of an async function, without quotes: `{key} = {}`",
                example(key)
            );
            Err(refused(&other, text))
        }
    }
}

/// A value that came out of a `macro_rules!` is wrapped.
fn plain(value: Expr) -> Expr {
    match value {
        Expr::Group(group) => plain(*group.expr),
        other => other,
    }
}

fn as_text(value: &Expr) -> Option<&LitStr> {
    match value {
        Expr::Lit(ExprLit {
            lit: Lit::Str(text), ..
        }) => Some(text),
        Expr::Group(group) => as_text(&group.expr),
        _ => None,
    }
}

fn text(key: &Ident, value: &Expr) -> syn::Result<LitStr> {
    let expected = || {
        refused(
            value,
            format!("`{key}` takes a text in quotes: `{key} = {}`", example(key)),
        )
    };
    as_text(value).cloned().ok_or_else(expected)
}

fn flag(key: &Ident, value: &Expr) -> syn::Result<LitBool> {
    match value {
        Expr::Lit(ExprLit {
            lit: Lit::Bool(flag), ..
        }) => Ok(flag.clone()),
        other => Err(refused(
            other,
            format!("`{key}` takes `true` or `false`, without quotes"),
        )),
    }
}

fn ids(value: &Expr) -> syn::Result<Vec<LitStr>> {
    const EXPECTED: &str = "`depends_on` takes a list of ids of changes: `depends_on = [\"create-orders\", \"create-customers\"]`";
    let Expr::Array(list) = value else {
        return Err(refused(value, EXPECTED));
    };
    let mut ids: Vec<LitStr> = Vec::new();
    for element in &list.elems {
        let id = as_text(element).ok_or_else(|| refused(element, EXPECTED))?;
        check_id(id)?;
        if ids.iter().any(|other| other.value() == id.value()) {
            return Err(refused(id, format!("`{}` is there twice", id.value())));
        }
        ids.push(id.clone());
    }
    Ok(ids)
}

fn checksum(value: &Expr) -> syn::Result<Checksum> {
    let expected = || {
        refused(
            value,
            "`checksum` takes `false` for none, or a text in quotes that you change with the content: `checksum = \"v2\"`",
        )
    };
    if let Expr::Lit(ExprLit {
        lit: Lit::Bool(flag), ..
    }) = value
    {
        // The default may be said.
        return Ok(if flag.value {
            Checksum::Source
        } else {
            Checksum::Off
        });
    }
    let text = as_text(value).ok_or_else(expected)?;
    let content = text.value();
    if content.trim().is_empty() || content.len() > LONGEST_CHECKSUM || content.contains(char::is_control) {
        return Err(refused(
            text,
            format!("a checksum has 1 to {LONGEST_CHECKSUM} bytes and no control characters"),
        ));
    }
    Ok(Checksum::Given(text.clone()))
}

/// What can be the id of a change.
fn check_id(id: &LitStr) -> syn::Result<()> {
    let text = id.value();
    let wrong = if matches!(text.trim(), "" | "." | "..") {
        "a change needs an id that says something, such as `create-orders`".to_owned()
    } else if text.trim() != text {
        format!("an id has no space at its ends: `{}`", text.trim())
    } else if text.contains(char::is_control) {
        "an id has no line ends and no other control characters".to_owned()
    } else if text.len() > LONGEST_ID {
        format!(
            "an id has at most {LONGEST_ID} bytes, this one has {}",
            text.len()
        )
    } else {
        return Ok(());
    };
    Err(refused(id, wrong))
}

fn known(key: &Ident) -> syn::Result<()> {
    if KNOWN.iter().any(|name| key == name) {
        Ok(())
    } else {
        Err(unknown(key))
    }
}

fn unknown(key: &Ident) -> syn::Error {
    let word = key.to_string();
    let known = KNOWN.map(|name| format!("`{name}`")).join(", ");
    let text = match nearest(&word, KNOWN) {
        Some(near) => format!("`{word}` is not an argument of a change; did you mean `{near}`?"),
        None => format!("`{word}` is not an argument of a change; known are {known}"),
    };
    syn::Error::new(key.span(), text)
}

fn example(key: &Ident) -> &'static str {
    match key.to_string().as_str() {
        "id" => "\"create-orders\"",
        "order" => "\"0001\"",
        "target" => "\"orders-db\"",
        "author" => "\"mara\"",
        "recovery" => "\"always_retry\"",
        "rollback" => "drop_orders",
        "probe" => "orders_exist",
        "depends_on" => "[\"create-orders\"]",
        // `transactional` and `checksum`.
        _ => "false",
    }
}

fn refused(place: &impl syn::spanned::Spanned, text: impl std::fmt::Display) -> syn::Error {
    syn::Error::new(place.span(), text)
}

fn required(value: Option<LitStr>, name: &str, example: &str) -> syn::Result<LitStr> {
    value.ok_or_else(|| {
        syn::Error::new(
            Span::call_site(),
            format!("a change needs `{name}`, for example `{name} = \"{example}\"`"),
        )
    })
}
