//! Target systems from a file, for `apply`: what an application would build in code.

use std::{collections::BTreeMap, fs, path::Path, time::Duration};

use flamingock::{Builder, HttpTarget, MySqlTarget, PostgresTarget, SqliteTarget, templates::Placeholders};
use serde::Deserialize;

use crate::failure::Failure;

/// One system, by the id that change files name.
#[derive(Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase", deny_unknown_fields)]
enum Described {
    Postgres {
        url: String,
    },
    #[serde(alias = "mariadb")]
    Mysql {
        url: String,
    },
    Sqlite {
        url: String,
    },
    Http {
        url: String,
        bearer: Option<String>,
        user: Option<String>,
        password: Option<String>,
        #[serde(default)]
        headers: BTreeMap<String, String>,
        timeout: Option<String>,
    },
}

/// Adds the target systems of a file. `${NAME}` in its texts is the environment variable, so that no secret has to be in it.
pub fn add(builder: Builder, path: &Path) -> Result<Builder, Failure> {
    let shown = path.display();
    let text = fs::read_to_string(path)
        .map_err(|error| Failure::usage(format!("{shown} cannot be read: {error}")))?;
    let described: BTreeMap<String, Described> = toml::from_str(&text).map_err(|error| {
        let line = error
            .span()
            .map_or(1, |span| text[..span.start].matches('\n').count() + 1);
        // Its own display quotes the line, and with it perhaps a password.
        Failure::usage(format!("{shown}:{line}: {}", error.message())).hint(EXAMPLE)
    })?;
    if described.is_empty() {
        return Err(Failure::usage(format!("{shown} describes no target system")).hint(EXAMPLE));
    }
    described
        .into_iter()
        .try_fold(builder, |builder, (id, described)| {
            let failed = |why: String| Failure::usage(format!("{shown}: target system `{id}`: {why}"));
            add_one(builder, &id, described).map_err(failed)
        })
}

const EXAMPLE: &str = "a target system is a table of its own, such as [orders-db] with kind = \"postgres\" and url = \
                       \"${ORDERS_DB_URL}\"";

fn add_one(builder: Builder, id: &str, described: Described) -> Result<Builder, String> {
    let placeholders = Placeholders::from_env();
    let value = |text: &str| placeholders.resolve(text);
    match described {
        Described::Postgres { url } => {
            let target = PostgresTarget::connect_lazy(id.to_owned(), &value(&url)?).map_err(said)?;
            Ok(builder.target(target))
        }
        Described::Mysql { url } => {
            let target = MySqlTarget::connect_lazy(id.to_owned(), &value(&url)?).map_err(said)?;
            Ok(builder.target(target))
        }
        Described::Sqlite { url } => {
            let target = SqliteTarget::connect_lazy(id.to_owned(), &value(&url)?).map_err(said)?;
            Ok(builder.target(target))
        }
        Described::Http {
            url,
            bearer,
            user,
            password,
            headers,
            timeout,
        } => {
            let mut target = HttpTarget::new(id.to_owned(), &value(&url)?).map_err(said)?;
            if bearer.is_some() && (user.is_some() || password.is_some()) {
                return Err("either `bearer`, or `user` and `password`".to_owned());
            }
            if let Some(token) = bearer {
                target = target.bearer(&value(&token)?).map_err(said)?;
            }
            match (user, password) {
                (Some(user), Some(password)) => {
                    target = target.basic(&value(&user)?, &value(&password)?).map_err(said)?;
                }
                (None, None) => {}
                _ => return Err("`user` and `password` go together".to_owned()),
            }
            for (name, text) in &headers {
                target = target.header(name, &value(text)?).map_err(said)?;
            }
            if let Some(timeout) = timeout {
                target = target.timeout(duration(&timeout)?);
            }
            Ok(builder.target(target))
        }
    }
}

fn duration(text: &str) -> Result<Duration, String> {
    humantime::parse_duration(text).map_err(|error| format!("`timeout`: {error}, for example \"30s\""))
}

/// The error and its cause.
fn said(error: impl std::error::Error) -> String {
    match error.source() {
        Some(cause) => format!("{error}: {cause}"),
        None => error.to_string(),
    }
}
