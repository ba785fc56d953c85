//! A configuration file, and what has to be run after it was changed.
//!
//! Needs `FLAMINGOCK_SERVER`, `FLAMINGOCK_TOKEN`, `FLAMINGOCK_ENVIRONMENT`, `FLAMINGOCK_SERVICE` and `CONFIG_DIRECTORY`, with the
//! configuration that it changes:
//!
//! ```text
//! echo 'listen 80' > "$CONFIG_DIRECTORY/shop.conf"
//! cargo run -p flamingock --features local --example local
//! ```

use std::{env, path::PathBuf};

use flamingock::{
    ChangeError, CommandError, Commands, CommandsTarget, FileError, Files, FilesTarget, Flamingock, Stage,
    TargetClient, change,
};

/// Two files that belong together. Each is replaced as a whole; a crash between them is made good by the next start.
#[change(
    id = "shop-on-tls",
    order = "0001",
    author = "mara",
    target = "config",
    recovery = "always_retry",
    rollback = shop_as_before
)]
async fn shop_on_tls(files: Files) -> Result<(), ChangeError> {
    let text = files
        .read_text("shop.conf")
        .await?
        .ok_or("there is no shop.conf")?;
    files
        .write("shop.conf", text.replace("listen 80\n", "listen 443\n"))
        .await?;
    files.write("tls/ciphers.conf", "modern\n").await?;
    Ok(())
}

async fn shop_as_before(files: Files) -> Result<(), FileError> {
    files.restore("tls/ciphers.conf").await?;
    files.restore("shop.conf").await?;
    Ok(())
}

/// Safe to repeat: it makes the same index of the same files.
#[change(
    id = "index-config",
    order = "0002",
    author = "lin",
    target = "machine",
    recovery = "always_retry",
    rollback = no_index
)]
async fn index_config(commands: TargetClient<Commands>) -> Result<(), CommandError> {
    commands
        .run(
            "sh",
            [
                "-c",
                "sha256sum shop.conf tls/ciphers.conf > index && test -s index",
            ],
        )
        .await?;
    Ok(())
}

async fn no_index(commands: TargetClient<Commands>) -> Result<(), CommandError> {
    commands.run("rm", ["-f", "index"]).await?;
    Ok(())
}

pub fn targets(directory: PathBuf) -> (FilesTarget, CommandsTarget) {
    (
        FilesTarget::new("config", directory.clone()),
        CommandsTarget::new("machine").directory(directory),
    )
}

pub fn stage() -> Stage {
    Stage::new("config").change(shop_on_tls).change(index_config)
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    tracing_subscriber::fmt().init();
    let directory = env::var("CONFIG_DIRECTORY").map_err(|_| "CONFIG_DIRECTORY is not set: a directory")?;
    let (files, commands) = targets(directory.into());
    let app = Flamingock::from_env()
        .target(files)
        .target(commands)
        .stage(stage());
    app.build()?.run().await?;
    Ok(())
}
