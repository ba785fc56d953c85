//! What the targets on AWS have in common.

use std::error::Error as StdError;

use aws_smithy_types::error::metadata::ProvideErrorMetadata;

use crate::error::BoxError;

/// What a call of an AWS service came to.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AwsError {
    /// The service refused, or could not be reached.
    #[error("{doing} failed: {explanation}")]
    Failed {
        /// What was asked of it.
        doing: String,
        /// The service's own name for it, such as `NoSuchBucket`; none where it did not answer.
        code: Option<String>,
        /// In the service's words.
        explanation: String,
        /// The SDK's error.
        source: BoxError,
    },
    /// What is there is not what the change begins from; it was left as it is.
    #[error("{0}")]
    NotDone(String),
    /// Somebody else has changed it between the look and the change.
    #[error("{0} was changed by somebody else meanwhile, so it was left as it is")]
    ChangedMeanwhile(String),
}

impl AwsError {
    /// The service's own name for what went wrong.
    pub fn code(&self) -> Option<&str> {
        match self {
            Self::Failed { code, .. } => code.as_deref(),
            Self::NotDone(_) | Self::ChangedMeanwhile(_) => None,
        }
    }

    /// Whether somebody else was faster.
    pub fn is_changed_meanwhile(&self) -> bool {
        matches!(self, Self::ChangedMeanwhile(_))
    }

    /// Whether the service calls it by one of these names.
    pub(super) fn is(&self, codes: &[&str]) -> bool {
        self.code().is_some_and(|code| codes.contains(&code))
    }

    pub(super) fn missing(doing: &str, what: &str) -> Self {
        let explanation = format!("the answer does not say {what}");
        Self::Failed {
            doing: doing.to_owned(),
            code: None,
            source: explanation.clone().into(),
            explanation,
        }
    }
}

/// For `map_err`: what was being done, to what the SDK says.
pub(super) fn failed<E>(doing: impl Into<String>) -> impl FnOnce(E) -> AwsError
where
    E: ProvideErrorMetadata + StdError + Send + Sync + 'static,
{
    let doing = doing.into();
    |error| {
        let code = error.code().map(str::to_owned);
        let explanation = match (&code, error.message()) {
            (Some(code), Some(message)) => format!("{code}: {message}"),
            (Some(code), None) => code.clone(),
            // It did not answer, so the reason is in what the SDK met on its way.
            (None, _) => innermost(&error).to_string(),
        };
        AwsError::Failed {
            doing,
            code,
            explanation,
            source: error.into(),
        }
    }
}

/// Whether the service says by one of these codes that it is not there.
pub(super) fn if_there<T>(result: Result<T, AwsError>, absent: &[&str]) -> Result<Option<T>, AwsError> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(error) if error.is(absent) => Ok(None),
        Err(error) => Err(error),
    }
}

fn innermost<'a>(error: &'a (dyn StdError + 'static)) -> &'a (dyn StdError + 'static) {
    let mut error = error;
    while let Some(source) = error.source() {
        error = source;
    }
    error
}
