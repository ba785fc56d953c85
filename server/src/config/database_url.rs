//! A URL that may be printed.

use std::fmt;

/// A database's URL; prints without its password.
#[derive(Clone, PartialEq, Eq)]
pub struct DatabaseUrl(String);

impl DatabaseUrl {
    pub fn new(url: impl Into<String>) -> Self {
        Self(url.into())
    }

    /// With the password.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl From<String> for DatabaseUrl {
    fn from(url: String) -> Self {
        Self(url)
    }
}

impl fmt::Display for DatabaseUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some((scheme, rest)) = self.0.split_once("://") else {
            // Not a URL; it may be nothing but a password.
            return f.write_str("[redacted]");
        };
        let (base, query) = rest
            .split_once('?')
            .map_or((rest, None), |(base, query)| (base, Some(query)));
        // From the last `@`: a password may hold one, although it should be encoded.
        match base.rsplit_once('@') {
            Some((user, host)) => match user.split_once(':') {
                Some((user, _)) => write!(f, "{scheme}://{user}:[redacted]@{host}")?,
                None => write!(f, "{scheme}://{user}@{host}")?,
            },
            None => write!(f, "{scheme}://{base}")?,
        }
        for (position, parameter) in query.into_iter().flat_map(|query| query.split('&')).enumerate() {
            f.write_str(if position == 0 { "?" } else { "&" })?;
            match parameter.split_once('=') {
                Some((name, _)) if name.contains("password") => write!(f, "{name}=[redacted]")?,
                _ => f.write_str(parameter)?,
            }
        }
        Ok(())
    }
}

impl fmt::Debug for DatabaseUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}
