//! Calls whose answer is read: those of changes in code.

use reqwest::{Response, StatusCode, header::HeaderMap};
use serde::{Serialize, de::DeserializeOwned};

use super::{Call, HttpError, beginning};

/// An answer is kept in memory.
const LONGEST: usize = 16 << 20;

/// An answer with a good status.
#[derive(Debug)]
pub(in crate::target) struct Answer {
    name: String,
    pub(in crate::target) status: StatusCode,
    pub(in crate::target) headers: HeaderMap,
    body: Vec<u8>,
}

impl Call {
    pub(in crate::target) fn json(mut self, body: &(impl Serialize + ?Sized)) -> Self {
        self.request = self.request.json(body);
        self
    }

    pub(in crate::target) async fn send(self) -> Result<Answer, HttpError> {
        let name = self.name.clone();
        let response = self.send_expecting(|status| status.is_success()).await?;
        Answer::read(name, response).await
    }

    /// `None` if it is not there.
    pub(in crate::target) async fn send_if_there(self) -> Result<Option<Answer>, HttpError> {
        match self.send().await {
            Ok(answer) => Ok(Some(answer)),
            Err(error) if error.is_absent() => Ok(None),
            Err(error) => Err(error),
        }
    }
}

impl Answer {
    async fn read(name: String, response: Response) -> Result<Self, HttpError> {
        let (status, headers) = (response.status(), response.headers().clone());
        let (body, is_whole) = beginning(response, LONGEST)
            .await
            .map_err(|source| HttpError::not_answered(&name, source))?;
        if !is_whole {
            let text = format!("it is longer than {} MiB", LONGEST >> 20);
            return Err(HttpError::Unreadable {
                call: name,
                source: text.into(),
            });
        }
        Ok(Self {
            name,
            status,
            headers,
            body,
        })
    }

    pub(in crate::target) fn json<T: DeserializeOwned>(&self) -> Result<T, HttpError> {
        serde_json::from_slice(&self.body).map_err(|error| HttpError::Unreadable {
            call: self.name.clone(),
            source: error.into(),
        })
    }

    #[cfg(feature = "rest")]
    pub(in crate::target) fn is_empty(&self) -> bool {
        self.body.is_empty()
    }
}
