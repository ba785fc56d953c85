//! Objects under other keys. S3 has no renaming: they are copied, and then the old ones are removed.

use std::{collections::HashSet, fmt::Write as _};

use serde::{Deserialize, Serialize};

use super::{KEPT, NO_OBJECT, S3};
use crate::target::aws::{AwsError, failed, if_there};

/// Which objects are moved. Written before the first one is.
#[derive(Serialize, Deserialize)]
struct Manifest {
    from: String,
    to: String,
    /// What follows the prefix.
    names: Vec<String>,
}

impl Manifest {
    fn keys(&self) -> impl Iterator<Item = (String, String)> {
        self.names
            .iter()
            .map(|name| (format!("{}{name}", self.from), format!("{}{name}", self.to)))
    }
}

impl S3 {
    /// Gives all objects with this prefix another one, which may be within the first: `invoices/` becomes `invoices/v2/`. All
    /// are copied before the first old one is removed, so that each can be read all the time under one of its keys.
    ///
    /// Which objects those are is kept in the bucket, as [`keep`](Self::keep) does it: an attempt after a crash goes on with
    /// the same ones, and [`rekey_back`](Self::rekey_back) touches no others. Take a step of a
    /// [`ChangeKey`](crate::ChangeKey) for the key. Where a new key is taken, it is refused before anything is done. What
    /// somebody writes under an old key meanwhile is an error, and stays.
    ///
    /// S3 copies objects up to 5 GB in this way. The list is held in memory: split a prefix of millions of objects.
    pub async fn rekey(&self, key: &str, from: &str, to: &str) -> Result<(), AwsError> {
        let manifest = match self.kept::<Manifest>(key).await? {
            Some(manifest) => manifest,
            None => self.write_manifest(key, from, to).await?,
        };
        if manifest.from != from || manifest.to != to {
            return Err(AwsError::NotDone(format!(
                "under this key objects were moved from {} to {}; take another for another move",
                manifest.from, manifest.to
            )));
        }
        let mut copied = Vec::new();
        for (old, new) in manifest.keys() {
            // What an earlier attempt has removed is in its new place.
            if let Some(etag) = self.etag(&old).await? {
                self.copy(&old, &etag, &new).await?;
                copied.push((old, etag));
            }
        }
        for (old, etag) in copied {
            match self.etag(&old).await? {
                Some(now) if now != etag => return Err(AwsError::ChangedMeanwhile(old)),
                _ => self.remove(&old).await?,
            }
        }
        Ok(())
    }

    /// Gives the objects that [`rekey`](Self::rekey) has moved their old keys back. After half a move an object may be in both
    /// places; if somebody has changed one of the two, it is an error, and both stay.
    pub async fn rekey_back(&self, key: &str) -> Result<(), AwsError> {
        let Some(manifest) = self.kept::<Manifest>(key).await? else {
            return Ok(()); // it never came so far
        };
        for (old, new) in manifest.keys() {
            match (self.etag(&old).await?, self.etag(&new).await?) {
                (None, Some(etag)) => self.copy(&new, &etag, &old).await?,
                (Some(before), Some(after)) if before != after => {
                    return Err(AwsError::NotDone(format!(
                        "{old} and {new} are not the same, so neither is removed"
                    )));
                }
                _ => {}
            }
        }
        for (_, new) in manifest.keys() {
            self.remove(&new).await?;
        }
        self.forget(key).await
    }

    /// The keys of all objects with this prefix, in their order.
    pub async fn keys(&self, prefix: &str) -> Result<Vec<String>, AwsError> {
        let mut pages = self
            .client
            .list_objects_v2()
            .bucket(&self.bucket)
            .prefix(prefix)
            .into_paginator()
            .send();
        let mut keys = Vec::new();
        while let Some(page) = pages.next().await {
            let page = page.map_err(failed(format!("listing {prefix}")))?;
            keys.extend(
                page.contents
                    .unwrap_or_default()
                    .into_iter()
                    .filter_map(|object| object.key),
            );
        }
        Ok(keys)
    }

    async fn write_manifest(&self, key: &str, from: &str, to: &str) -> Result<Manifest, AwsError> {
        if from == to {
            return Err(AwsError::NotDone(format!(
                "{from} is what the objects are called already"
            )));
        }
        // Of two prefixes one may be within the other, so what is there under the new one is not moved.
        let within = to.starts_with(from);
        let names: Vec<String> = self
            .keys(from)
            .await?
            .into_iter()
            .filter(|found| !(found.starts_with(KEPT) || within && found.starts_with(to)))
            .map(|found| found[from.len()..].to_owned())
            .collect();
        let taken: HashSet<String> = self.keys(to).await?.into_iter().collect();
        let manifest = Manifest {
            from: from.to_owned(),
            to: to.to_owned(),
            names,
        };
        if let Some((_, new)) = manifest.keys().find(|(_, new)| taken.contains(new)) {
            return Err(AwsError::NotDone(format!(
                "there is an object {new} already, so nothing was moved"
            )));
        }
        self.keep(key, &manifest).await?;
        Ok(manifest)
    }

    /// If the source is still the one that was looked at.
    async fn copy(&self, from: &str, etag: &str, to: &str) -> Result<(), AwsError> {
        let source = format!("{}/{}", self.bucket, encoded(from));
        let copied = self
            .client
            .copy_object()
            .bucket(&self.bucket)
            .copy_source(source)
            .copy_source_if_match(etag)
            .key(to)
            .send()
            .await
            .map_err(failed(format!("copying {from} to {to}")));
        match copied {
            Err(error) if error.is(&["PreconditionFailed"]) => {
                Err(AwsError::ChangedMeanwhile(from.to_owned()))
            }
            copied => if_there(copied, NO_OBJECT)?
                .map(drop)
                .ok_or_else(|| AwsError::ChangedMeanwhile(from.to_owned())),
        }
    }
}

/// The source of a copy is a header, in which a key is written as in an address.
fn encoded(key: &str) -> String {
    let mut text = String::with_capacity(key.len());
    for byte in key.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' | b'/' => {
                text.push(byte.into());
            }
            _ => write!(text, "%{byte:02X}").expect("writing to a string does not fail"),
        }
    }
    text
}
