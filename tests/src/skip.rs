//! Where another language is missing, its tests are skipped, and nobody can miss it.

use std::collections::BTreeSet;
use std::io::Write as _;
use std::sync::{Mutex, PoisonError};

static SAID: Mutex<BTreeSet<String>> = Mutex::new(BTreeSet::new());

/// Says so, once for each reason; an error where the tests are required. `tests` names them.
pub fn skip(tests: &str, what_is_missing: &str) -> Result<(), String> {
    if std::env::var("FLAMINGOCK_INTEROP").is_ok_and(|value| value == "required") {
        return Err(format!(
            "{what_is_missing}\nFLAMINGOCK_INTEROP=required is set, so this is a failure."
        ));
    }
    let mut said = SAID.lock().unwrap_or_else(PoisonError::into_inner);
    if said.insert(what_is_missing.to_owned()) {
        let text = format!(
            "\nSKIPPED: {tests}. {what_is_missing}\nThey pass without having run. Set \
             FLAMINGOCK_INTEROP=required to make this a failure.\n\n"
        );
        // Not `eprintln!`: the test runner would show that for tests that fail, and these pass.
        let _ = std::io::stderr().write_all(text.as_bytes());
    }
    Ok(())
}
