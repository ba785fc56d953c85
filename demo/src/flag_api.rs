//! A feature-flag service in miniature, and the client for it: the demo's second target system, over real HTTP.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result};
use axum::extract::{Path as UrlPath, State};
use axum::http::StatusCode;
use axum::routing::get;
use axum::{Json, Router};
use reqwest::Client;
use serde::{Deserialize, Serialize};
use tokio::sync::Mutex;

use crate::show;

#[derive(Clone, Copy, Serialize, Deserialize)]
struct Flag {
    on: bool,
}

/// The flags, and the file that keeps them between runs.
struct Store {
    file: PathBuf,
    flags: Mutex<BTreeMap<String, Flag>>,
}

impl Store {
    fn load(file: PathBuf) -> Result<Self> {
        let flags = match std::fs::read(&file) {
            Ok(bytes) => {
                serde_json::from_slice(&bytes).with_context(|| format!("{} is not ours", file.display()))?
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => BTreeMap::new(),
            Err(error) => return Err(error).with_context(|| format!("reading {}", file.display())),
        };
        Ok(Self {
            file,
            flags: Mutex::new(flags),
        })
    }

    async fn update(&self, change: impl FnOnce(&mut BTreeMap<String, Flag>)) -> Result<(), StatusCode> {
        let mut flags = self.flags.lock().await;
        change(&mut flags);
        save(&self.file, &flags).map_err(|_| StatusCode::INTERNAL_SERVER_ERROR)
    }
}

/// Whole or not at all.
fn save(file: &Path, flags: &BTreeMap<String, Flag>) -> io::Result<()> {
    let new = file.with_extension("new");
    std::fs::write(&new, serde_json::to_vec_pretty(flags)?)?;
    std::fs::rename(new, file)
}

/// Serves on a free port of the loopback; the first line of standard output is the URL.
pub async fn run(file: Option<PathBuf>) -> Result<()> {
    let file = file.context("usage: flamingock-demo flag-api FILE")?;
    let store = Arc::new(Store::load(file)?);
    let flag = get(
        |State(store): State<Arc<Store>>, UrlPath(name): UrlPath<String>| async move {
            store
                .flags
                .lock()
                .await
                .get(&name)
                .copied()
                .map(Json)
                .ok_or(StatusCode::NOT_FOUND)
        },
    )
    .put(
        |State(store): State<Arc<Store>>, UrlPath(name): UrlPath<String>, Json(flag): Json<Flag>| async move {
            store
                .update(|flags| {
                    flags.insert(name, flag);
                })
                .await
        },
    )
    .delete(
        |State(store): State<Arc<Store>>, UrlPath(name): UrlPath<String>| async move {
            store
                .update(|flags| {
                    flags.remove(&name);
                })
                .await
        },
    );
    let all = get(|State(store): State<Arc<Store>>| async move { Json(store.flags.lock().await.clone()) });
    let router = Router::new()
        .route("/flags", all)
        .route("/flags/{name}", flag)
        .with_state(store);
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    show::say(&format!("http://{}", listener.local_addr()?));
    axum::serve(listener, router).await?;
    Ok(())
}

/// The client that the application's change units use.
#[derive(Clone)]
pub struct Flags {
    url: String,
    http: Client,
}

impl Flags {
    pub fn new(url: String, timeout: Duration) -> Result<Self> {
        Ok(Self {
            url,
            http: Client::builder().timeout(timeout).build()?,
        })
    }

    fn flag(&self, name: &str) -> String {
        format!("{}/flags/{name}", self.url)
    }

    pub async fn set(&self, name: &str, on: bool) -> Result<(), reqwest::Error> {
        self.http
            .put(self.flag(name))
            .json(&Flag { on })
            .send()
            .await?
            .error_for_status()?;
        Ok(())
    }

    pub async fn remove(&self, name: &str) -> Result<(), reqwest::Error> {
        self.http
            .delete(self.flag(name))
            .send()
            .await?
            .error_for_status()?;
        Ok(())
    }

    /// `None`: there is no such flag.
    pub async fn get(&self, name: &str) -> Result<Option<bool>, reqwest::Error> {
        let answer = self.http.get(self.flag(name)).send().await?;
        if answer.status() == StatusCode::NOT_FOUND {
            return Ok(None);
        }
        Ok(Some(answer.error_for_status()?.json::<Flag>().await?.on))
    }
}
