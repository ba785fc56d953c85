//! Identifiers, each with one parse.

use std::fmt;

/// Why a text is not an identifier.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum IdError {
    #[error("must not be empty")]
    Empty,
    #[error("must not be longer than {max} bytes, this one has {actual}")]
    TooLong { max: usize, actual: usize },
    #[error("must not contain control characters (found U+{0:04X})")]
    Control(u32),
    #[error("must not contain '/'")]
    Slash,
}

fn check(text: &str, max: usize) -> Result<(), IdError> {
    if text.is_empty() {
        return Err(IdError::Empty);
    }
    if text.len() > max {
        return Err(IdError::TooLong {
            max,
            actual: text.len(),
        });
    }
    match text.chars().find(|c| c.is_control()) {
        Some(c) => Err(IdError::Control(u32::from(c))),
        None => Ok(()),
    }
}

macro_rules! text_id {
    ($(#[$doc:meta])* $name:ident, $max:expr) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(String);

        impl $name {
            /// Longest accepted, in bytes of UTF-8.
            pub const MAX_BYTES: usize = $max;

            pub fn parse(text: impl Into<String>) -> Result<Self, IdError> {
                let text = text.into();
                check(&text, $max)?;
                Ok(Self(text))
            }

            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl std::borrow::Borrow<str> for $name {
            fn borrow(&self) -> &str {
                &self.0
            }
        }
    };
}

text_id!(
    /// The only identity of a change: audit, marks and duplicates all go by it alone (S §1.1). May hold `/`.
    ChangeId,
    1024
);
text_id!(
    /// The key of a stage in plans and reports.
    StageName,
    512
);
text_id!(
    /// One process that submits a pipeline and carries it out; the owner of locks. Opaque (W §1.1).
    RunnerId,
    1024
);
text_id!(
    /// A new value for each grant and each extension of a lock; watching it is how a waiter proves expiry (W §2.7).
    AcquisitionId,
    2048
);

text_id!(
    /// Names the content of a change: an algorithm with its version, `:`, and what it gives. Opaque but for the first
    /// part: two of different algorithms cannot be compared.
    Checksum,
    200
);

impl Checksum {
    /// The algorithm and its version, where the text names one.
    pub fn algorithm(&self) -> &str {
        self.0.split_once(':').map_or("", |(algorithm, _)| algorithm)
    }
}

/// A lock's name within an environment. Upstream uses the service id as decimal text.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LockKey(String);

impl LockKey {
    /// Longest accepted, in bytes of UTF-8.
    pub const MAX_BYTES: usize = 255;

    pub fn parse(text: impl Into<String>) -> Result<Self, IdError> {
        let text = text.into();
        check(&text, Self::MAX_BYTES)?;
        if text.contains('/') {
            return Err(IdError::Slash);
        }
        Ok(Self(text))
    }

    /// The key of a service's own lock.
    pub fn of_service(service_id: i64) -> Self {
        Self(service_id.to_string())
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for LockKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// One granted plan. Positive, unique on the whole server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ExecutionId(pub i64);

impl fmt::Display for ExecutionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Position of an entry in its stream: from 1, without gaps. 0 is "before the first".
pub type Seq = i64;

/// The fencing number of a grant: only ever grows for one lock.
pub type Fence = i64;
