//! Aliases of a function, and where they stood before.

use super::{Lambda, changed};
use crate::target::aws::{AwsError, failed, if_there};

const ABSENT: &[&str] = &["ResourceNotFoundException"];
const LATEST: &str = "$LATEST";

impl Lambda {
    /// Which version an alias stands for.
    pub async fn alias(&self, function: &str, alias: &str) -> Result<Option<String>, AwsError> {
        let get = self.client.get_alias().function_name(function).name(alias);
        let found = get.send().await.map_err(failed(looking_at(alias, function)));
        Ok(if_there(found, ABSENT)?.and_then(|found| found.function_version))
    }

    /// Moves an alias to another version, and keeps which it stood for, as a tag of the function, for
    /// [`alias_as_before`](Self::alias_as_before). Guarded by the alias's revision: who moves it at the same moment is not
    /// overwritten; nor is who has moved it since an attempt before this one. Take a step of a
    /// [`ChangeKey`](crate::ChangeKey) for the key.
    pub async fn move_alias(
        &self,
        function: &str,
        alias: &str,
        version: &str,
        key: &str,
    ) -> Result<(), AwsError> {
        let (there, revision) = self.alias_with_revision(function, alias).await?;
        let mut moves = match self.kept(function, key).await? {
            Some(kept) => Moves::read(&kept),
            None if there == version => return Ok(()),
            None => Moves(vec![there.clone()]),
        };
        if !moves.has(&there) {
            return Err(moves.does_not_have(function, alias, &there));
        }
        if !moves.has(version) {
            moves.0.push(version.to_owned());
            self.keep(function, key, &moves.write()).await?;
        }
        if there == version {
            return Ok(());
        }
        self.set_alias(function, alias, version, revision).await
    }

    /// Moves the alias back to where it was before [`move_alias`](Self::move_alias). If somebody has moved it since, it is left
    /// there, which is an error.
    pub async fn alias_as_before(&self, function: &str, alias: &str, key: &str) -> Result<(), AwsError> {
        let Some(kept) = self.kept(function, key).await? else {
            return Ok(()); // it never came so far
        };
        let moves = Moves::read(&kept);
        let (there, revision) = self.alias_with_revision(function, alias).await?;
        if !moves.has(&there) {
            return Err(moves.does_not_have(function, alias, &there));
        }
        if let Some(before) = moves.0.first().filter(|before| **before != there) {
            self.set_alias(function, alias, before, revision).await?;
        }
        self.forget(function, key).await
    }

    async fn alias_with_revision(
        &self,
        function: &str,
        alias: &str,
    ) -> Result<(String, Option<String>), AwsError> {
        let get = self.client.get_alias().function_name(function).name(alias);
        let doing = looking_at(alias, function);
        let found = get.send().await.map_err(failed(&*doing))?;
        let version = found
            .function_version
            .ok_or_else(|| AwsError::missing(&doing, "its version"))?;
        Ok((version, found.revision_id))
    }

    async fn set_alias(
        &self,
        function: &str,
        alias: &str,
        version: &str,
        revision: Option<String>,
    ) -> Result<(), AwsError> {
        let update = self
            .client
            .update_alias()
            .function_name(function)
            .name(alias)
            .function_version(version)
            .set_revision_id(revision);
        let updated = update
            .send()
            .await
            .map_err(failed(format!("moving the alias {alias} of {function}")));
        changed(alias, updated)?;
        Ok(())
    }
}

/// The version before a change, and those that its attempts have moved the alias to.
struct Moves(Vec<String>);

impl Moves {
    fn read(kept: &str) -> Self {
        let versions = kept.split(':');
        Self(
            versions
                .map(|version| if version == "LATEST" { LATEST } else { version }.to_owned())
                .collect(),
        )
    }

    /// In characters that tags may have.
    fn write(&self) -> String {
        let versions = self.0.iter().map(|version| version.trim_start_matches('$'));
        versions.collect::<Vec<_>>().join(":")
    }

    fn has(&self, version: &str) -> bool {
        self.0.iter().any(|one| one == version)
    }

    fn does_not_have(&self, function: &str, alias: &str, there: &str) -> AwsError {
        AwsError::NotDone(format!(
            "the alias {alias} of {function} stands for version {there}, which is neither the one before the change nor one that \
             the change has moved it to ({}); it was left there",
            self.0.join(", ")
        ))
    }
}

fn looking_at(alias: &str, function: &str) -> String {
    format!("looking at the alias {alias} of {function}")
}
