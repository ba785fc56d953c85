//! Asking the person at the terminal.

use std::io::{BufRead as _, IsTerminal as _, Write as _};

use crate::failure::Failure;

pub fn is_possible() -> bool {
    std::io::stdin().is_terminal() && std::io::stderr().is_terminal()
}

/// Goes on after a yes. Where nobody can be asked, `--yes` has to say so.
pub fn confirm(question: &str, yes: bool) -> Result<(), Failure> {
    if yes {
        return Ok(());
    }
    if !is_possible() {
        return Err(
            Failure::usage(format!("{question} There is no terminal to ask on."))
                .hint("say --yes if you are sure"),
        );
    }
    eprint(&format!("{question} [y/N] "));
    let mut answer = String::new();
    std::io::stdin()
        .lock()
        .read_line(&mut answer)
        .map_err(|error| Failure::failed(format!("no answer can be read: {error}")))?;
    if matches!(answer.trim(), "y" | "Y" | "yes" | "Yes") {
        Ok(())
    } else {
        Err(Failure::failed("nothing was done"))
    }
}

/// A secret: without echo at a terminal, else the first line of standard input.
pub fn secret(question: &str) -> Result<String, Failure> {
    let read = if std::io::stdin().is_terminal() {
        rpassword::prompt_password(question)
    } else {
        let mut line = String::new();
        std::io::stdin().lock().read_line(&mut line).map(|_| line)
    };
    read.map(|text| text.trim().to_owned())
        .map_err(|error| Failure::failed(format!("the token cannot be read: {error}")))
}

fn eprint(text: &str) {
    let mut err = std::io::stderr().lock();
    let _ = err.write_all(text.as_bytes()).and_then(|()| err.flush());
}
