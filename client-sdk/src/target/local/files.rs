//! Files below one directory: written as a whole or not at all, and put back from what was there before.

use std::{
    borrow::Cow,
    ffi::OsString,
    io,
    path::{Component, Path, PathBuf},
};

use tokio::fs;
use tokio::io::AsyncWriteExt as _;

use super::super::Target;
use crate::context::{ChangeKey, Context, FromContext, InjectionError, Requirement};

/// A directory. Changes take [`Files`].
#[derive(Debug)]
pub struct FilesTarget {
    id: Cow<'static, str>,
    directory: Directory,
}

#[derive(Clone, Debug)]
struct Directory(PathBuf);

/// The files below the target's directory, for one change. Paths are relative to it, and lead nowhere else.
///
/// Before a file is changed for the first time, what was there is kept beside it: [`restore`](Self::restore) puts that
/// back, also in another process, after a crash. What is kept is from before the change, however often it was tried.
///
/// ```
/// use flamingock::{FileError, Files, change};
///
/// #[change(id = "tls-only", order = "0001", target = "config", recovery = "always_retry", rollback = as_before)]
/// async fn tls_only(files: Files) -> Result<(), FileError> {
///     let text = files.read_text("proxy.conf").await?.unwrap_or_default();
///     files.write("proxy.conf", text.replace("listen 80;", "listen 443 ssl;")).await?;
///     files.forget("proxy.conf").await
/// }
///
/// async fn as_before(files: Files) -> Result<(), FileError> {
///     files.restore("proxy.conf").await?;
///     Ok(())
/// }
/// ```
#[derive(Clone, Debug)]
pub struct Files {
    directory: Directory,
    key: ChangeKey,
}

/// Why something about a file failed.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// The path is not one below the directory.
    #[error("`{0}` is not a relative path below the target's directory")]
    Outside(PathBuf),
    /// The system said no.
    #[error("{doing} `{path}` failed")]
    Io {
        /// "writing", for example.
        doing: &'static str,
        /// Of what.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
}

impl FilesTarget {
    /// A directory, which must be there when a change runs. Only this application may change what it changes here.
    pub fn new(id: impl Into<Cow<'static, str>>, directory: impl Into<PathBuf>) -> Self {
        Self {
            id: id.into(),
            directory: Directory(directory.into()),
        }
    }
}

impl From<FilesTarget> for Target {
    fn from(target: FilesTarget) -> Self {
        Self::non_transactional(target.id, target.directory)
    }
}

impl FromContext for Files {
    fn requirement() -> Requirement {
        Requirement::client::<Directory>()
    }

    fn from_context(context: &Context) -> Result<Self, InjectionError> {
        Ok(Self {
            directory: (*context.client::<Directory>()?).clone(),
            key: context.key(),
        })
    }
}

impl Files {
    /// For calling a change function in a test.
    pub fn new(target: &FilesTarget, key: ChangeKey) -> Self {
        Self {
            directory: target.directory.clone(),
            key,
        }
    }

    /// The content; `None` if there is no such file.
    pub async fn read(&self, path: impl AsRef<Path>) -> Result<Option<Vec<u8>>, FileError> {
        let path = self.resolve(path.as_ref())?;
        if_there(fs::read(&path).await).map_err(failed("reading", &path))
    }

    /// The content as text.
    pub async fn read_text(&self, path: impl AsRef<Path>) -> Result<Option<String>, FileError> {
        let path = self.resolve(path.as_ref())?;
        if_there(fs::read_to_string(&path).await).map_err(failed("reading", &path))
    }

    /// Writes the whole file: who opens it sees the former content or this one, also after a loss of power. The permissions
    /// of a file that was there are kept; missing directories are made.
    pub async fn write(&self, path: impl AsRef<Path>, content: impl AsRef<[u8]>) -> Result<(), FileError> {
        let path = self.resolve(path.as_ref())?;
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent)
                .await
                .map_err(failed("making the directory of", &path))?;
        }
        self.keep(&path).await?;
        replace(&path, content.as_ref())
            .await
            .map_err(failed("writing", &path))
    }

    /// Removes a file; one that is not there is no error.
    pub async fn remove(&self, path: impl AsRef<Path>) -> Result<(), FileError> {
        let path = self.resolve(path.as_ref())?;
        self.keep(&path).await?;
        if_there(fs::remove_file(&path).await).map_err(failed("removing", &path))?;
        sync_directory(&path).await.map_err(failed("removing", &path))
    }

    /// Puts back what was there before this change. False if the change never touched the file.
    pub async fn restore(&self, path: impl AsRef<Path>) -> Result<bool, FileError> {
        let path = self.resolve(path.as_ref())?;
        let (kept, absent) = (self.beside(&path, "kept"), self.beside(&path, "absent"));
        let doing = failed("restoring", &path);
        if exists(&absent).await.map_err(&doing)? {
            if_there(fs::remove_file(&path).await).map_err(&doing)?;
            // Last, so that a crash before it has the restoring repeated.
            fs::remove_file(&absent).await.map_err(&doing)?;
        } else if exists(&kept).await.map_err(&doing)? {
            fs::rename(&kept, &path).await.map_err(&doing)?;
        } else {
            return Ok(false);
        }
        sync_directory(&path).await.map_err(&doing)?;
        Ok(true)
    }

    /// Removes what was kept of a file, when the change has done its work and is not to be undone.
    pub async fn forget(&self, path: impl AsRef<Path>) -> Result<(), FileError> {
        let path = self.resolve(path.as_ref())?;
        for kept in [self.beside(&path, "kept"), self.beside(&path, "absent")] {
            if_there(fs::remove_file(&kept).await).map_err(failed("removing", &kept))?;
        }
        Ok(())
    }

    /// Before the first change of a file.
    async fn keep(&self, path: &Path) -> Result<(), FileError> {
        let (kept, absent) = (self.beside(path, "kept"), self.beside(path, "absent"));
        let doing = failed("keeping", path);
        if exists(&kept).await.map_err(&doing)? || exists(&absent).await.map_err(&doing)? {
            return Ok(());
        }
        match if_there(fs::read(path).await).map_err(&doing)? {
            Some(content) => {
                replace(&kept, &content).await.map_err(&doing)?;
                let permissions = fs::metadata(path).await.map_err(&doing)?.permissions();
                fs::set_permissions(&kept, permissions).await.map_err(&doing)
            }
            None => replace(&absent, b"").await.map_err(&doing),
        }
    }

    /// A file beside another, of this change alone.
    fn beside(&self, path: &Path, what: &str) -> PathBuf {
        let mut name = OsString::from(".");
        name.push(path.file_name().unwrap_or_default());
        name.push(format!(".{}.{what}", self.key.step("file")));
        path.with_file_name(name)
    }

    fn resolve(&self, path: &Path) -> Result<PathBuf, FileError> {
        let mut components = path.components().peekable();
        let inside =
            components.peek().is_some() && components.all(|part| matches!(part, Component::Normal(_)));
        if inside {
            Ok(self.directory.0.join(path))
        } else {
            Err(FileError::Outside(path.to_owned()))
        }
    }
}

fn failed<'a>(doing: &'static str, path: &'a Path) -> impl Fn(io::Error) -> FileError + 'a {
    move |source| FileError::Io {
        doing,
        path: path.to_owned(),
        source,
    }
}

fn if_there<T>(result: io::Result<T>) -> io::Result<Option<T>> {
    match result {
        Ok(value) => Ok(Some(value)),
        // The latter where a file is in the place of a directory.
        Err(error)
            if matches!(
                error.kind(),
                io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
            ) =>
        {
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

async fn exists(path: &Path) -> io::Result<bool> {
    Ok(if_there(fs::symlink_metadata(path).await)?.is_some())
}

/// Under another name first, and to the disk before the name is changed.
async fn replace(path: &Path, content: &[u8]) -> io::Result<()> {
    let mut name = OsString::from(".");
    name.push(path.file_name().unwrap_or_default());
    name.push(".new");
    let new = path.with_file_name(name);
    let mut file = fs::File::create(&new).await?;
    if let Some(there) = if_there(fs::metadata(path).await)? {
        file.set_permissions(there.permissions()).await?;
    }
    file.write_all(content).await?;
    file.sync_all().await?;
    fs::rename(&new, path).await?;
    sync_directory(path).await
}

/// Without it a loss of power may bring the former name back.
async fn sync_directory(path: &Path) -> io::Result<()> {
    match path.parent() {
        Some(parent) if cfg!(unix) => fs::File::open(parent).await?.sync_all().await,
        _ => Ok(()),
    }
}
