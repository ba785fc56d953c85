//! Applications with the Flamingock Java SDK, as it is released: built by Maven from `interop-java`, started as processes.

mod application;
mod build;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

pub use application::{JavaApplication, Jvm};

use build::Obstacle;

use crate::skip::skip;

/// The application that most tests start.
const ARCHIVED: &str = "shop";

/// One version of the SDK, and our applications compiled with it.
#[derive(Debug)]
pub struct Java {
    pub version: &'static str,
    directory: PathBuf,
}

impl Java {
    /// Builds the applications, once in a test program. Nothing, and a loud word on standard error, where that cannot be
    /// done here.
    pub async fn of(version: &'static str) -> Option<&'static Self> {
        let known = tokio::task::spawn_blocking(move || Self::known(version));
        known
            .await
            .expect("looking for Java does not panic")
            .unwrap_or_else(|error| {
                panic!("the applications for the SDK {version} cannot be built:\n{error}")
            })
    }

    /// A broken build is an error, and stays one.
    fn known(version: &'static str) -> Result<Option<&'static Self>, String> {
        type Known = BTreeMap<&'static str, Result<Option<&'static Java>, String>>;
        static KNOWN: Mutex<Known> = Mutex::new(BTreeMap::new());
        let mut known = KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
        let entry = known
            .entry(version)
            .or_insert_with(|| match build::build(version) {
                Ok(directory) => {
                    let java: &Self = Box::leak(Box::new(Self { version, directory }));
                    java.application(ARCHIVED).archive_classes();
                    Ok(Some(java))
                }
                Err(Obstacle::Missing(what)) => {
                    skip("tests with the Flamingock Java SDK", &what).map(|()| None)
                }
                Err(Obstacle::Broken(error)) => Err(error),
            });
        entry.clone()
    }

    /// One of the applications: a module of `interop-java`.
    pub fn application(&'static self, module: &'static str) -> JavaApplication {
        JavaApplication::new(self, module)
    }
}
