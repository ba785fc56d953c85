//! Whose tokens, and which of them is meant.

use std::fmt;

use flamingock::Error;
use flamingock::admin::{Admin, PageQuery, TokenQuery};
use flamingock::wire::token::{TokenPage, TokenView};

use crate::context::Context;
use crate::failure::Failure;
use crate::reach::{self, Named};
use crate::{near, text, time};

/// Whose tokens.
pub enum Owner {
    Server,
    Organisation(Named),
}

impl fmt::Display for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Server => f.write_str("The server"),
            Self::Organisation(organisation) => f.write_str(&text::safe(&organisation.name, false)),
        }
    }
}

impl Owner {
    pub async fn of(context: &Context, admin: &Admin, root: bool) -> Result<Self, Failure> {
        if root {
            return Ok(Self::Server);
        }
        let organisation = reach::organisation(admin, context.organisation()?.as_deref()).await;
        Ok(Self::Organisation(organisation?))
    }

    pub async fn tokens(&self, admin: &Admin, query: &TokenQuery) -> Result<TokenPage, Error> {
        match self {
            Self::Server => admin.tokens().list_root(query).await,
            Self::Organisation(organisation) => admin.tokens().list(organisation.id, query).await,
        }
    }
}

/// The number of the token that was named, among those that are still good and `fit`.
pub async fn chosen(
    context: &Context,
    admin: &Admin,
    which: &str,
    root: bool,
    fit: fn(&TokenView) -> bool,
) -> Result<i64, Failure> {
    if let Ok(number) = which.parse() {
        return Ok(number);
    }
    let owner = Owner::of(context, admin, root).await?;
    let good = async |name: Option<&str>| {
        let query = TokenQuery {
            page: PageQuery {
                after: None,
                limit: Some(500),
            },
            name: name.map(str::to_owned),
            alive: Some(true),
        };
        owner.tokens(admin, &query).await
    };
    let mut found = good(Some(which)).await?.tokens;
    found.retain(fit);
    match found.as_slice() {
        [one] => Ok(one.token_id),
        [] => {
            let failure = Failure::failed(format!("no token {which} that is still good is within reach"));
            let all = good(None).await?.tokens;
            let near = near::hint(which, all.iter().map(|token| token.name.as_str()));
            Err(failure.hint(near.unwrap_or_else(|| {
                "`flamingock token list` shows all; of the server itself with --root".to_owned()
            })))
        }
        several => {
            let now = Context::now();
            let failure = Failure::usage(format!(
                "{} tokens that are still good are called {which}: say which by its number",
                several.len()
            ));
            Err(failure.with_details(several.iter().map(|token| {
                let replaced = token.replaced_by.map(|by| format!(", replaced by {by}"));
                format!(
                    "{}: {}, made {}{}",
                    token.token_id,
                    token.role,
                    time::shown(token.created_at, now),
                    replaced.unwrap_or_default()
                )
            })))
        }
    }
}
