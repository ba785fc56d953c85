//! What may be said on the command line, for all commands.

use std::path::PathBuf;

use clap::{Args, Parser};

use crate::command::Command;

/// What happened, what to decide, and who may do what: for services whose changes Flamingock coordinates.
///
/// Data goes to standard output, everything else to standard error. Exit codes: 0 done, 1 refused or wrong, 2 usage,
/// 3 a person has to decide, 4 changes are pending, 5 another runner has the lock, 6 no answer from the server.
#[derive(Debug, Parser)]
#[command(name = "flamingock", version, propagate_version = true, max_term_width = 110)]
pub struct Cli {
    #[command(flatten)]
    pub global: Global,
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Debug, Args)]
#[command(next_help_heading = "For every command")]
pub struct Global {
    /// Root of the server, such as https://flamingock.example
    #[arg(long, global = true, env = "FLAMINGOCK_SERVER", value_name = "URL", value_parser = server)]
    pub server: Option<String>,
    /// File that holds the API token and that only its owner may read. Without it: FLAMINGOCK_TOKEN, then the profile
    #[arg(long, global = true, value_name = "FILE")]
    pub token_file: Option<PathBuf>,
    /// Profile to use instead of the current one
    #[arg(long, global = true, env = "FLAMINGOCK_PROFILE", value_name = "NAME")]
    pub profile: Option<String>,
    /// Organisation by name or number: needed where the token reaches several
    #[arg(
        long,
        global = true,
        env = "FLAMINGOCK_ORGANISATION",
        value_name = "ORGANISATION"
    )]
    pub organisation: Option<String>,
    /// Project by name or number: needed where two projects have an environment and a service of these names
    #[arg(
        long,
        short,
        global = true,
        env = "FLAMINGOCK_PROJECT",
        value_name = "PROJECT"
    )]
    pub project: Option<String>,
    /// Environment by name or number
    #[arg(
        long,
        short,
        global = true,
        env = "FLAMINGOCK_ENVIRONMENT",
        value_name = "ENVIRONMENT"
    )]
    pub environment: Option<String>,
    /// Service by name or number
    #[arg(
        long,
        short,
        global = true,
        env = "FLAMINGOCK_SERVICE",
        value_name = "SERVICE"
    )]
    pub service: Option<String>,
    /// Print JSON, in the API's own shape
    #[arg(long, global = true)]
    pub json: bool,
    /// No colours, as with NO_COLOR; there are none anyway where a file or a program reads
    #[arg(long, global = true)]
    pub no_color: bool,
    /// Do not ask before what cannot be taken back
    #[arg(long, short, global = true)]
    pub yes: bool,
}

/// How much of a list.
#[derive(Debug, Args)]
pub struct Paging {
    /// How many at most; 0 for all
    #[arg(long, default_value_t = 50, value_name = "N")]
    pub limit: usize,
    /// Start behind this cursor: the `next` that --json gave
    #[arg(long, value_name = "CURSOR")]
    pub after: Option<String>,
}

/// What else is wrong with it is told by the client; this is the mistake that people make.
fn server(text: &str) -> Result<String, String> {
    if text.is_empty() || text.contains("://") {
        Ok(text.to_owned())
    } else {
        Err(format!(
            "the scheme is missing: write http://{text} or https://{text}"
        ))
    }
}

/// What the server asks of a reason: said here, before anybody is asked whether they are sure.
pub fn reason(text: &str) -> Result<String, String> {
    const LONGEST: usize = 2_000;
    let text = text.trim();
    if text.is_empty() {
        Err("it says nothing: write what you found and why, it is kept for good".to_owned())
    } else if text.contains('\0') || text.chars().count() > LONGEST {
        Err(format!("it must have at most {LONGEST} characters, without NUL"))
    } else {
        Ok(text.to_owned())
    }
}

/// A checksum as clients submit it. One that was cut while it was copied would be recorded for good and fit nothing.
pub fn checksum(text: &str) -> Result<String, String> {
    const LONGEST: usize = 200;
    const WHERE: &str = "copy it whole from `approval list`, `checksum list`, `plan --json` or the refusal";
    let text = text.trim();
    if text.is_empty() || text.len() > LONGEST || text.chars().any(char::is_control) {
        return Err(format!(
            "a checksum has 1 to {LONGEST} bytes, without control characters; {WHERE}"
        ));
    }
    let Some((_, digest)) = text
        .split_once(':')
        .filter(|(algorithm, _)| algorithm.starts_with("sha256"))
    else {
        return Ok(text.to_owned());
    };
    match digest.chars().find(|character| !character.is_ascii_hexdigit()) {
        Some(wrong) => Err(format!(
            "`{}` is no hexadecimal digit; {WHERE}",
            wrong.escape_default()
        )),
        None if digest.len() != 64 => Err(format!(
            "a SHA-256 has 64 hexadecimal digits, this one has {}; {WHERE}",
            digest.len()
        )),
        // It is compared letter by letter.
        None if digest.chars().any(|character| character.is_ascii_uppercase()) => {
            Err(format!("its digits are written with small letters; {WHERE}"))
        }
        None => Ok(text.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_checksum_that_was_cut_or_mistyped_is_not_taken() {
        let digest = "32848b63caee2b356871054d84e60643683ed636c46ba010d11f04e367325f45";
        for fine in [
            format!("sha256-v1:{digest}"),
            format!(" sha256:{digest}\n"),
            "v7".to_owned(),
        ] {
            assert_eq!(checksum(&fine).as_deref(), Ok(fine.trim()), "{fine}");
        }
        for (wrong, said) in [
            (String::new(), "1 to 200"),
            (format!("sha256-v1:{}", &digest[..63]), "has 63"),
            (format!("sha256-v1:{digest}0"), "has 65"),
            (format!("sha256-v1:{}", digest.replace('f', "g")), "`g` is no"),
            (format!("sha256-v1:{}", digest.to_uppercase()), "small letters"),
            ("a\u{1b}[2J".to_owned(), "control"),
            ("x".repeat(201), "1 to 200"),
        ] {
            let complaint = checksum(&wrong).expect_err(&wrong);
            assert!(
                complaint.contains(said) && complaint.contains("copy it whole"),
                "{complaint}"
            );
        }
    }

    #[test]
    fn a_reason_says_something() {
        assert_eq!(reason("  looked with psql ").as_deref(), Ok("looked with psql"));
        for empty in ["", "  ", "\n\t"] {
            assert!(reason(empty).is_err(), "{empty:?}");
        }
        assert!(reason(&"ß".repeat(2_000)).is_ok());
        assert!(reason(&"ß".repeat(2_001)).is_err());
    }
}
