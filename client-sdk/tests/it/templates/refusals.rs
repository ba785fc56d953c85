//! What is wrong with files is said all at once, with file and line, before anything is opened.

use flamingock::{Builder, Flamingock, Stage, Target, templates::Placeholders};

use super::note::{NoteTemplate, StrictTemplate};
use crate::support::{Files, Log, step};

fn builder() -> Builder {
    Flamingock::builder("http://localhost:8080")
        .token("t")
        .environment("e")
        .service("s")
        .target(Target::non_transactional("shell", Log::default()))
        .template(NoteTemplate)
        .template(StrictTemplate)
        .placeholders(
            Placeholders::none()
                .with("KNOWN", "known")
                .with("SECRET", "hunter2-very-secret"),
        )
}

fn problems(files: &Files) -> Vec<String> {
    problems_of(builder(), files)
}

fn problems_of(builder: Builder, files: &Files) -> Vec<String> {
    let built = builder.stage(Stage::from_dir("files", files.path())).build();
    let error = built.expect_err("refused");
    error
        .problems()
        .iter()
        .map(|problem| files.plain(&problem.to_string()))
        .collect()
}

#[test]
fn everything_wrong_with_all_files_is_said_at_once() {
    let files = Files::new(&[
        ("_0001__empty.yaml", ""),
        ("_0002__syntax.yaml", "id: a\napply: [1\n"),
        ("_0003__list.yaml", "# a list\n- id: a\n"),
        ("_0004__missing.yaml", "author: mara\n"),
        ("_0005__twice.yaml", "id: a\nid: b\n"),
        (
            "_0006__typos.yml",
            "id: typos\ntemplate: note-template\ntarget_system: shell\nrecovry: ALWAYS_RETRY\nrollbak: x\nstage: x\n",
        ),
        (
            "_0007__kinds.yaml",
            "id: 7\nauthor: true\ntemplate: note-template\ntargetSystem: {id: shell, name: x}\ntransactional: maybe\n\
             recovery: {strategy: ALWAYS}\nprofiles: {a: b}\nsteps: []\n",
        ),
        (
            "_0008__template.yaml",
            "id: t\ntemplate: not-template\ntargetSystem: shell\n",
        ),
        ("create_orders.yaml", "id: o\n"),
        (
            "_0009__order.yaml",
            "id: o9\norder: '0010'\ntemplate: note-template\ntargetSystem: shell\nsteps: x\n",
        ),
    ]);
    assert_eq!(
        problems(&files).join("\n"),
        r"
_0001__empty.yaml: is empty
_0002__syntax.yaml:3: did not find expected ',' or ']'
_0003__list.yaml:1: has no fields: a change file begins as `id: …`
_0004__missing.yaml:1: `id` is missing
_0004__missing.yaml:1: `template` is missing
_0004__missing.yaml:1: `targetSystem` is missing
_0005__twice.yaml:1: duplicate entry with key `id`
_0006__typos.yml:1: `steps` is missing
_0006__typos.yml:3: unknown field `target_system`; did you mean `targetSystem`?
_0006__typos.yml:4: unknown field `recovry`; did you mean `recovery`?
_0006__typos.yml:5: unknown field `rollbak`; did you mean `rollback`?
_0006__typos.yml:6: unknown field `stage`; known are `id`, `author`, `order`, `template`, `targetSystem`, `transactional`, `recovery`, `profiles`, `dependsOn`, `configuration`, `apply`, `rollback`, `steps`, `probe`
_0007__kinds.yaml:1: `id` is a text: put it in quotes
_0007__kinds.yaml:2: `author` is a text: put it in quotes
_0007__kinds.yaml:4: unknown field `targetSystem.name`; known is `id`
_0007__kinds.yaml:5: `transactional` is either `true` or `false`
_0007__kinds.yaml:6: `ALWAYS` is no recovery strategy: `MANUAL_INTERVENTION` (the default) or `ALWAYS_RETRY`
_0007__kinds.yaml:7: `profiles` is a list of names, or a text of names with commas between them
_0007__kinds.yaml:8: `steps` is a list of at least one step, each with `apply` and perhaps `rollback`
_0008__template.yaml:2: there is no template `not-template`: did you mean `note-template`? Known are `http-template`, `note-template`, `sql-template`, `strict-template`; others are added by `.template(…)`
_0009__order.yaml:2: the order is `0009` in the file's name and `0010` here: leave it out here
_0009__order.yaml:5: `steps` is a list of at least one step, each with `apply` and perhaps `rollback`
create_orders.yaml: the name of a change file has its order: `_0001__create_orders.yaml`
create_orders.yaml:1: `template` is missing
create_orders.yaml:1: `targetSystem` is missing"
            .trim()
            .replace("key `id`", "key \"id\"")
    );
}

fn good(rest: &str) -> String {
    format!("id: good\ntemplate: note-template\ntargetSystem: shell\n{rest}")
}

fn strict(rest: &str) -> String {
    format!("id: strict\ntemplate: strict-template\ntargetSystem: shell\n{rest}")
}

#[test]
fn what_is_wrong_with_payloads_is_said_at_once() {
    let files = Files::new(&[
        (
            "_0001__root.yaml",
            good("apply: {text: a}\nrollback: {text: a}\n"),
        ),
        (
            "_0002__steps.yaml",
            good("steps:\n  - apply: {text: a}\n    rollbak: {text: b}\n  - a\n  - apply: {text: a}\n"),
        ),
        (
            "_0003__types.yaml",
            good(
                "configuration: {prefx: a}\nsteps:\n  - apply:\n      text: [a]\n  - apply: {text: a, wait: true}\n  \
                 - rollback: {text: a}\n  - apply:\n  - apply: {text: '', waits: 7}\n  - apply: {text: ''}\n",
            ),
        ),
        (
            "_0004__transactional.yaml",
            good("transactional: true\nsteps:\n  - apply: {text: a, transactions: false}\n"),
        ),
        ("_0005__steps.yaml", strict("steps:\n  - apply: {text: a}\n")),
        ("_0006__no_rollback.yaml", strict("apply: {text: a}\n")),
        ("_0007__blank.yaml", strict("apply: {text: a}\nrollback: ' '\n")),
        (
            "_0008__placeholders.yaml",
            good(
                "configuration: {prefix: '${ABSENT}'}\nsteps:\n  - apply:\n      text: |\n        one ${KNOWN}\n        \
                 two ${ALSO_ABSENT}\n        three ${not closed\n      fails: ${2}\n",
            ),
        ),
        (
            "_0009__secrets.yaml",
            good("steps:\n  - apply: {text: a, waits: '${SECRET}', transactions: 'x${SECRET}'}\n"),
        ),
        (
            "_0010__identity.yaml",
            "id: ${KNOWN}\ntemplate: note-template\ntargetSystem: '${KNOWN}'\nsteps: [apply: {text: a}]\n"
                .to_owned(),
        ),
        (
            "_0011__probe.yaml",
            good("steps: [apply: {text: a}]\nprobe: {text: a}\n"),
        ),
    ]);
    assert_eq!(problems(&files).join("\n"), r#"
_0001__root.yaml:1: `steps` is missing
_0001__root.yaml:4: `apply` belongs into each of the `steps` here
_0001__root.yaml:5: `rollback` belongs into each of the `steps` here
_0002__steps.yaml:6: unknown field `steps[1].rollbak`; did you mean `rollback`?
_0002__steps.yaml:7: `steps[2]` has no fields: a step begins as `- apply: …`
_0003__types.yaml:4: unknown field `configuration.prefx`
_0003__types.yaml:7: `steps[1].apply.text`: invalid type: sequence, expected a string
_0003__types.yaml:8: unknown field `steps[2].apply.wait`
_0003__types.yaml:9: `apply` is missing
_0003__types.yaml:10: `apply` is empty
_0003__types.yaml:11: `steps[5].apply.waits`: invalid type: integer `7`, expected a boolean
_0003__types.yaml:12: `steps[6].apply`: `text` is empty
_0003__types.yaml:12: `steps[6].apply`: nothing to note
_0004__transactional.yaml:4: `transactional: true`, but some of the work of `apply` cannot be part of a transaction (template `note-template`)
_0005__steps.yaml:4: template `strict-template` has no steps: write `apply` and `rollback` beside `template`
_0006__no_rollback.yaml:1: `rollback` is missing
_0007__blank.yaml:5: `rollback`: is blank
_0008__placeholders.yaml:4: `${ABSENT}` has no value: set it in the environment, or write a default as `${ABSENT:…}`
_0008__placeholders.yaml:9: `${ALSO_ABSENT}` has no value: set it in the environment, or write a default as `${ALSO_ABSENT:…}`
_0008__placeholders.yaml:10: `${` begins a placeholder that has no end; write `$${` for the text `${`
_0008__placeholders.yaml:11: `2` cannot be the name of a placeholder; write `$${` for the text `${`
_0009__secrets.yaml:5: `steps[1].apply.waits`: invalid type: string "${SECRET}", expected a boolean
_0010__identity.yaml:1: `id` cannot have placeholders: they are for `configuration`, `apply`, `rollback`, `steps` and `probe`
_0010__identity.yaml:3: `targetSystem` cannot have placeholders: they are for `configuration`, `apply`, `rollback`, `steps` and `probe`
_0011__probe.yaml:5: `probe`: this template has no probe"#
.trim());
}

#[cfg(feature = "postgres")]
#[tokio::test]
async fn sql_files_are_refused_in_their_own_lines() {
    let front = "-- flamingock:\n--   id: a\n--   targetSystem: db\n";
    let files = Files::new(&[
        ("_0001__plain.sql", "SELECT 1;\n".to_owned()),
        (
            "_0002__nothing.sql",
            format!("{front}-- author: [\n\nSELECT 1;\n"),
        ),
        (
            "_0003__typo.sql",
            "\n-- flamingock:\n--   id: a\n--   targetSystm: shell\nSELECT 1;\n".to_owned(),
        ),
        (
            "_0004__apply.sql",
            "-- flamingock:\n--   id: a\n--   apply: x\nSELECT 1;\n".to_owned(),
        ),
        (
            "_0005__empty.sql",
            format!("{front}\n-- nothing\n\n-- flamingock: rollback\nSELECT 'a;\n"),
        ),
        (
            "_0006__commit.sql",
            format!("{front}\nSELECT 1;\nCOMMIT;\n\n-- flamingock: rollback\n\nBEGIN;"),
        ),
        (
            "_0007__placeholder.sql",
            format!("{front}\nSELECT 1;\nSELECT '${{ABSENT}}';\n"),
        ),
        (
            "_0008__marks.sql",
            format!("{front}\nSELECT 1;\n-- flamingock: undo\n"),
        ),
        (
            "_0009__probe.sql",
            format!("{front}\nSELECT 1;\n-- flamingock: probe\n\nDROP TABLE a;\n"),
        ),
    ]);
    let target =
        flamingock::PostgresTarget::connect_lazy("db", "postgres://localhost/none").expect("a target");
    assert_eq!(problems_of(builder().target(target), &files).join("\n"), r"
_0001__plain.sql:1: a SQL file begins with its fields in comments: `-- flamingock:`, then `--   id: …` and so on
_0002__nothing.sql: is more than one YAML document: do all fields begin in the same column?
_0003__typo.sql:4: unknown field `targetSystm`; did you mean `targetSystem`?
_0004__apply.sql:3: `apply` is not for the front matter of a SQL file: the SQL follows it
_0005__empty.sql:5: `apply`: there is no statement
_0005__empty.sql:8: `rollback`: the string that begins in line 8 of the SQL has no end
_0006__commit.sql:5: `apply`: statement 2 (line 6 of the SQL): it begins or ends a transaction, which is the runner's to do: leave it out; what has to take effect on its own is a change, or a step, of its own
_0006__commit.sql:10: `rollback`: statement 1 (line 10 of the SQL): it begins or ends a transaction, which is the runner's to do: leave it out; what has to take effect on its own is a change, or a step, of its own
_0007__placeholder.sql:6: `${ABSENT}` has no value: set it in the environment, or write a default as `${ABSENT:…}`
_0008__marks.sql:6: after the fields only `-- flamingock: rollback` is known, above the SQL that undoes the change, and `-- flamingock: probe`, above the query that tells whether it took effect
_0009__probe.sql:8: `probe`: a probe only looks: it is one `SELECT` that gives one value, true where the change took effect, false where it did not, and null where that cannot be said"
.trim());
}

#[test]
fn files_and_pipeline_are_checked_together() {
    let files = Files::new(&[
        ("_0001__a.yaml", good("steps: [apply: {text: a}]\n").into_bytes()),
        ("_0002__b.yaml", good("steps: [apply: {text: b}]\n").into_bytes()),
        (
            "_03__c.yaml",
            b"id: c\ntemplate: note-template\ntargetSystem: shel\nsteps: [apply: {text: c}]\n".to_vec(),
        ),
        ("_0004__d.yaml", vec![b'a', 0xff]),
    ]);
    let none = Files::new::<&str>(&[]);
    let stage = Stage::from_dir("files", files.path()).change(step("good", "0000"));
    let error = builder()
        .template(NoteTemplate)
        .stage(stage)
        .stage(Stage::from_dir("absent", files.path().join("none")))
        .stage(Stage::from_dir("empty", none.path()))
        .build()
        .expect_err("refused");
    assert_eq!(
        files.plain(&error.to_string()),
        r"
the pipeline cannot run as it is, 7 problems found:
  - template `note-template` is there more than once
  - _0004__d.yaml: cannot be read: it is not UTF-8
  - none: cannot be read: No such file or directory (os error 2)
  - change `c (_03__c.yaml)`: order `03` needs at least 3 letters or digits, such as `0001`
  - stage `empty` has no change
  - change id `good` is used more than once, in `files`, `files` (_0001__a.yaml), `files` (_0002__b.yaml)
  - change `c (_03__c.yaml)`: there is no target system `shel`; given are shell"
            .trim()
    );
}
