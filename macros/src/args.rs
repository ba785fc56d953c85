//! The arguments of `#[change(…)]`.

use proc_macro2::Span;
use syn::{
    Expr, ExprLit, Ident, Lit, LitBool, LitStr, Path, Token,
    parse::{Parse, ParseStream},
    spanned::Spanned as _,
};

const KNOWN: &str = "`id`, `order`, `target`, `author`, `transactional`, `recovery`, `rollback`, `probe`";

pub(crate) struct Args {
    pub(crate) id: LitStr,
    pub(crate) order: LitStr,
    pub(crate) target: LitStr,
    pub(crate) author: Option<LitStr>,
    pub(crate) transactional: Option<LitBool>,
    pub(crate) recovery: Recovery,
    pub(crate) rollback: Option<Path>,
    pub(crate) probe: Option<Path>,
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
}

impl Parse for Args {
    fn parse(input: ParseStream<'_>) -> syn::Result<Self> {
        let mut given = Given::default();
        while !input.is_empty() {
            let key: Ident = input.parse()?;
            input.parse::<Token![=]>()?;
            let value: Expr = input.parse()?;
            given.set(&key, value)?;
            if !input.is_empty() {
                input.parse::<Token![,]>()?;
            }
        }
        given.check()
    }
}

impl Given {
    fn set(&mut self, key: &Ident, value: Expr) -> syn::Result<()> {
        match key.to_string().as_str() {
            "id" => put(&mut self.id, key, text(&value)?),
            "order" => put(&mut self.order, key, text(&value)?),
            "target" => put(&mut self.target, key, text(&value)?),
            "author" => put(&mut self.author, key, text(&value)?),
            "transactional" => put(&mut self.transactional, key, flag(&value)?),
            "recovery" => put(&mut self.recovery, key, text(&value)?),
            "rollback" => {
                let path = function(
                    value,
                    "`rollback` takes the name of an async function, without quotes: `rollback = drop_orders`",
                )?;
                put(&mut self.rollback, key, path)
            }
            "probe" => {
                let path = function(
                    value,
                    "`probe` takes the name of an async function, without quotes: `probe = orders_exist`",
                )?;
                put(&mut self.probe, key, path)
            }
            other => Err(syn::Error::new(
                key.span(),
                format!("`{other}` is not an argument of a change; known are {KNOWN}"),
            )),
        }
    }

    fn check(self) -> syn::Result<Args> {
        let id = required(self.id, "id", "create-orders")?;
        if matches!(id.value().trim(), "" | "." | "..") {
            return Err(syn::Error::new(
                id.span(),
                "a change needs an id that says something",
            ));
        }
        let order = required(self.order, "order", "0001")?;
        if order.value().chars().filter(|c| c.is_alphanumeric()).count() < 3 {
            return Err(syn::Error::new(
                order.span(),
                "an order needs at least 3 letters or digits, because it is compared as text: `0001`, `20261125_01`",
            ));
        }
        let target = required(self.target, "target", "orders-db")?;
        if target.value().trim().is_empty() {
            return Err(syn::Error::new(
                target.span(),
                "name the target system that the change works on",
            ));
        }
        let recovery = match &self.recovery {
            None => Recovery::ManualIntervention,
            Some(text) => match text.value().as_str() {
                "manual_intervention" => Recovery::ManualIntervention,
                "always_retry" => Recovery::AlwaysRetry,
                other => {
                    return Err(syn::Error::new(
                        text.span(),
                        format!(
                            "`{other}` is no recovery strategy: \"manual_intervention\" (the default) or \"always_retry\""
                        ),
                    ));
                }
            },
        };
        Ok(Args {
            id,
            order,
            target,
            author: self.author,
            transactional: self.transactional,
            recovery,
            rollback: self.rollback,
            probe: self.probe,
        })
    }
}

fn put<T>(slot: &mut Option<T>, key: &Ident, value: T) -> syn::Result<()> {
    match slot.replace(value) {
        None => Ok(()),
        Some(_) => Err(syn::Error::new(key.span(), format!("`{key}` is given twice"))),
    }
}

fn function(value: Expr, expected: &str) -> syn::Result<Path> {
    match value {
        Expr::Path(path) => Ok(path.path),
        other => Err(syn::Error::new(other.span(), expected)),
    }
}

fn text(value: &Expr) -> syn::Result<LitStr> {
    match value {
        Expr::Lit(ExprLit {
            lit: Lit::Str(text), ..
        }) => Ok(text.clone()),
        other => Err(syn::Error::new(other.span(), "expected a text in quotes")),
    }
}

fn flag(value: &Expr) -> syn::Result<LitBool> {
    match value {
        Expr::Lit(ExprLit {
            lit: Lit::Bool(flag), ..
        }) => Ok(flag.clone()),
        other => Err(syn::Error::new(other.span(), "expected `true` or `false`")),
    }
}

fn required(value: Option<LitStr>, name: &str, example: &str) -> syn::Result<LitStr> {
    value.ok_or_else(|| {
        syn::Error::new(
            Span::call_site(),
            format!("a change needs `{name}`, for example `{name} = \"{example}\"`"),
        )
    })
}
