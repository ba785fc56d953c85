//! What needs no server.

use std::process::{Command, Output, Stdio};

fn flamingock(arguments: &[&str]) -> Output {
    command(arguments).output().expect("the program starts")
}

fn command(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_flamingock"));
    command
        .args(arguments)
        .env_clear()
        .env("XDG_CONFIG_HOME", env!("CARGO_TARGET_TMPDIR"))
        .stdin(Stdio::null());
    command
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).expect("it prints UTF-8")
}

#[test]
fn help_goes_to_standard_output_and_mistakes_to_standard_error() {
    let help = flamingock(&["--help"]);
    assert!(help.status.success());
    for said in ["issue", "audit", "Exit codes"] {
        assert!(text(&help.stdout).contains(said), "{said}");
    }
    for wrong in [
        &["isue"][..],
        &[],
        &["issue", "resolve", "a"],
        &["wait", "--timeout", "soon"],
    ] {
        let refused = flamingock(wrong);
        assert_eq!(refused.status.code(), Some(2), "{wrong:?}");
        assert!(
            refused.stdout.is_empty() && !refused.stderr.is_empty(),
            "{wrong:?}"
        );
    }
}

#[test]
fn exit_codes_are_explained() {
    let said = flamingock(&["help", "exit-codes"]);
    assert!(said.status.success());
    let page = text(&said.stdout);
    for code in 0..=6 {
        assert!(
            page.lines()
                .any(|line| line.trim_start().starts_with(&format!("{code}  "))),
            "{page}"
        );
    }
    assert_eq!(text(&flamingock(&["exit-codes"]).stdout).trim(), page.trim());
}

#[test]
fn every_command_and_flag_says_what_it_is_for() {
    fn walk(path: &[&str], seen: &mut usize) {
        let help = text(&flamingock(&[path, &["--help"]].concat()).stdout);
        *seen += 1;
        let commands = help
            .lines()
            .skip_while(|line| *line != "Commands:")
            .skip(1)
            .take_while(|line| !line.is_empty())
            .filter(|line| line.starts_with("  ") && !line.starts_with("    "));
        for line in commands {
            let (name, about) = line.trim().split_once(' ').unwrap_or((line.trim(), ""));
            assert!(!about.trim().is_empty(), "{path:?} {name} says nothing");
            if name != "help" && !["exit-codes", "variables"].contains(&name) {
                walk(&[path, &[name]].concat(), seen);
            }
        }
    }
    let mut seen = 0;
    walk(&[], &mut seen);
    assert!(seen > 50, "{seen} commands were looked at");
}

#[test]
fn completions_and_manual_pages_are_made() {
    for shell in ["bash", "zsh", "fish"] {
        let script = flamingock(&["completions", shell]);
        assert!(script.status.success());
        assert!(text(&script.stdout).contains("resolve"), "{shell}");
    }
    let folder = format!("{}/man", env!("CARGO_TARGET_TMPDIR"));
    assert!(flamingock(&["man", &folder]).status.success());
    let page =
        std::fs::read_to_string(format!("{folder}/flamingock-issue-resolve.1")).expect("a page a command");
    assert!(page.contains("reason"), "{page}");
}

#[test]
fn whoever_reads_only_the_beginning_is_no_error() {
    let mut child = command(&["completions", "bash"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the program starts");
    drop(child.stdout.take());
    let ended = child.wait_with_output().expect("it ends");
    assert_eq!(text(&ended.stderr), "");
    assert!(ended.status.success());
}

#[test]
fn without_a_server_or_a_token_it_is_said_how_to_give_them() {
    let nowhere = flamingock(&["issue", "list"]);
    assert_eq!(nowhere.status.code(), Some(2));
    assert!(text(&nowhere.stderr).contains("flamingock login"));
    let nobody = flamingock(&["issue", "list", "--server", "http://127.0.0.1:9"]);
    assert_eq!(nobody.status.code(), Some(2));
    assert!(text(&nobody.stderr).contains("FLAMINGOCK_TOKEN"));
    for address in ["not a url", "ftp://host", "http://user:secret@host"] {
        let refused = command(&["whoami", "--server", address])
            .env("FLAMINGOCK_TOKEN", "flk_x")
            .output()
            .expect("the program starts");
        assert_eq!(refused.status.code(), Some(2), "{address}");
        assert!(!text(&refused.stderr).contains("secret"));
    }
}

#[test]
fn an_address_without_a_scheme_is_told_with_one() {
    let refused = flamingock(&["whoami", "--server", "127.0.0.1:18099"]);
    assert_eq!(refused.status.code(), Some(2));
    let said = text(&refused.stderr);
    assert!(said.contains("write http://127.0.0.1:18099"), "{said}");
}
