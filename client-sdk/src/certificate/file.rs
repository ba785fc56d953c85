//! A certificate in a file.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write as _},
    path::{Path, PathBuf},
};

use uuid::Uuid;

use super::{CertificateFuture, CertificateStore};
use crate::error::BoxError;

/// More is no certificate.
const LONGEST: u64 = 64 * 1024;

pub(super) struct FileStore {
    path: PathBuf,
}

impl FileStore {
    pub(super) fn new(path: PathBuf) -> Self {
        Self { path }
    }
}

impl CertificateStore for FileStore {
    fn load(&self) -> CertificateFuture<'_, Option<String>> {
        let path = self.path.clone();
        Box::pin(off_the_runtime(move || {
            let file = match File::open(&path) {
                Ok(file) => file,
                Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
                Err(error) => return Err(error),
            };
            let mut text = String::new();
            io::Read::read_to_string(&mut io::Read::take(file, LONGEST), &mut text)?;
            Ok(Some(text))
        }))
    }

    fn save<'a>(&'a self, text: &'a str) -> CertificateFuture<'a, ()> {
        let (path, text) = (self.path.clone(), text.to_owned());
        Box::pin(off_the_runtime(move || write(&path, &text)))
    }
}

async fn off_the_runtime<T: Send + 'static>(
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> Result<T, BoxError> {
    Ok(tokio::task::spawn_blocking(work).await??)
}

/// Beside it first, then in its place: two processes that write at once leave the text of one of them, whole.
fn write(path: &Path, text: &str) -> io::Result<()> {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{}", Uuid::new_v4()));
    let beside = path.with_file_name(name);
    let written = create(&beside).and_then(|mut file| {
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        fs::rename(&beside, path)
    });
    if written.is_err() {
        // The first error is the one that matters.
        let _ = fs::remove_file(&beside);
    }
    written
}

fn create(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path)
}

#[cfg(all(test, unix))]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[tokio::test]
    async fn what_is_kept_comes_back_is_replaced_whole_and_is_nobody_elses_to_read() {
        let directory = std::env::temp_dir().join(format!("certificate-{}", Uuid::new_v4()));
        fs::create_dir(&directory).expect("a directory of its own");
        let store = FileStore::new(directory.join("kept"));
        assert_eq!(store.load().await.expect("readable"), None);
        store.save("first, and longer").await.expect("writable");
        store.save("second").await.expect("writable");
        assert_eq!(store.load().await.expect("readable").as_deref(), Some("second"));
        let mode = fs::metadata(directory.join("kept"))
            .expect("it is there")
            .permissions()
            .mode();
        assert_eq!(mode & 0o777, 0o600);
        let left = fs::read_dir(&directory).expect("readable").count();
        assert_eq!(left, 1, "nothing is left beside it");
        fs::remove_dir_all(&directory).expect("it is ours");
        assert!(
            store.save("third").await.is_err(),
            "without its directory it says so"
        );
    }
}
