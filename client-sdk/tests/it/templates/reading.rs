//! What files say, and how it is submitted.

use flamingock::{
    Builder, Flamingock, Stage, embed_dir,
    templates::{self, EmbeddedDir, Placeholders},
};
use serde_json::{Value, json};

use super::note::{NoteTemplate, StrictTemplate};
use crate::support::{Files, step};

const EXAMPLES: EmbeddedDir = embed_dir!("examples/changes");

fn builder() -> Builder {
    Flamingock::builder("")
        .template(NoteTemplate)
        .template(StrictTemplate)
        .placeholders(Placeholders::none())
}

/// The changes of all stages as submitted.
fn submitted(builder: Builder) -> Vec<Value> {
    let blocks = serde_json::to_value(builder.submission().unwrap()).unwrap();
    let list = |value: &Value, name: &str| value[name].as_array().cloned().unwrap_or_default();
    blocks
        .as_array()
        .unwrap()
        .iter()
        .flat_map(|block| list(block, "stages"))
        .flat_map(|stage| list(&stage, "changes"))
        .collect()
}

fn ids(builder: Builder) -> Vec<String> {
    submitted(builder)
        .iter()
        .map(|change| change["id"].as_str().unwrap().to_owned())
        .collect()
}

#[test]
fn short_and_long_forms_say_the_same() {
    let long = "id: a\nauthor: mara\ntemplate: note-template\ntargetSystem: {id: shell}\nrecovery: {strategy: ALWAYS_RETRY}\n\
                profiles: [eu, '!test']\ntransactional: false\nsteps: [{apply: {text: a}, rollback: {text: a}}]\n";
    let short = "id: a\nauthor: mara\norder: '0001'\ntemplate: note-template\ntargetSystem: shell\nrecovery: ALWAYS_RETRY\n\
                 profiles: eu, !test\ntransactional: false\nsteps: [{apply: {text: a}, rollback: {text: a}}]\n";
    for text in [long, short] {
        let files = Files::new(&[("_0001__a.yaml", text)]);
        let stage = || Stage::from_dir("files", files.path());
        assert_eq!(
            ids(builder().stage(stage())),
            Vec::<String>::new(),
            "no profile is active"
        );
        assert_eq!(
            ids(builder().profiles(["eu", "test"]).stage(stage())),
            Vec::<String>::new()
        );
        let mut change = submitted(builder().profiles(["eu"]).stage(stage())).remove(0);
        let checksum = change.as_object_mut().unwrap().remove("checksum");
        assert!(checksum.unwrap().as_str().unwrap().starts_with("sha256-v1:"));
        assert_eq!(
            change,
            json!({
                "id": "a", "author": "mara", "order": "0001", "targetSystemId": "shell", "ongoingStatus": "NONE",
                "recoveryStrategy": "ALWAYS_RETRY", "transactional": false, "hasRollback": true
            })
        );
    }
}

#[test]
fn files_depend_on_code_and_on_each_other() {
    let file = |id: &str, depends_on: &str| {
        format!(
            "id: {id}\ntemplate: note-template\ntargetSystem: shell\ndependsOn: {depends_on}\nsteps: [apply: {{text: a}}]\n"
        )
    };
    let files = Files::new(&[
        ("_0002__b.yaml", &file("b", "code")),
        ("_0003__c.yaml", &file("c", "[b, code]")),
    ]);
    let stage = || Stage::from_dir("files", files.path());
    let changes = submitted(builder().stage(stage().change(step("code", "0001"))));
    assert_eq!(changes[1]["dependsOn"], json!(["code"]));
    assert_eq!(changes[2]["dependsOn"], json!(["b", "code"]));
    let error = builder().stage(stage()).submission().unwrap_err();
    assert!(
        error.to_string().contains("b (")
            && error
                .to_string()
                .contains("depends on `code`, which is not in the pipeline"),
        "{error}"
    );
    for wrong in ["7", "{a: b}", "['']", "[7]"] {
        let files = Files::new(&[("_0002__b.yaml", &file("b", wrong))]);
        let error = builder()
            .stage(Stage::from_dir("files", files.path()))
            .submission()
            .unwrap_err();
        assert!(
            error
                .to_string()
                .contains("_0002__b.yaml:4: `dependsOn` is a list of ids of changes"),
            "{error}"
        );
    }
}

#[test]
fn profiles_keep_and_exclude() {
    let file = |profiles: &str| {
        format!(
            "id: a\ntemplate: note-template\ntargetSystem: shell\nprofiles: {profiles}\nsteps: [apply: {{text: a}}]\n"
        )
    };
    for (profiles, active, kept) in [
        ("[]", &[][..], true),
        ("[eu]", &[], false),
        ("[eu, us]", &["us"], true),
        ("['!test']", &[], true),
        ("['!test']", &["test"], false),
        ("[eu, '!test']", &["eu"], true),
        ("[eu, '!test']", &[], false),
        ("[eu, '!test']", &["eu", "test"], false),
    ] {
        let files = Files::new(&[("_0001__a.yaml", file(profiles))]);
        let stage = Stage::from_dir("files", files.path());
        let kept_ids = ids(builder().profiles(active.iter().copied()).stage(stage));
        assert_eq!(kept_ids.len(), usize::from(kept), "{profiles} {active:?}");
    }
}

#[test]
fn the_checksum_is_of_what_the_file_says_before_values_are_put_in() {
    let text = "id: a\ntemplate: note-template\ntargetSystem: shell\nsteps:\n  - apply: {text: '${VALUE}'}\n";
    let checksum = |text: &str, value: &str| {
        let files = Files::new(&[("_0001__a.yaml", text)]);
        let placeholders = Placeholders::none().with("VALUE", value);
        let stage = Stage::from_dir("files", files.path());
        submitted(builder().placeholders(placeholders).stage(stage))[0]["checksum"].clone()
    };
    let first = checksum(text, "one");
    assert_eq!(checksum(text, "two"), first);
    assert_eq!(
        checksum(&format!("\u{feff}{}", text.replace('\n', "  \r\n")), "one"),
        first
    );
    assert_ne!(checksum(&text.replace("VALUE", "VALUE:x"), "one"), first);
}

#[test]
fn orders_are_compared_as_text_and_directories_below_are_not_read() {
    let file = |id: &str| {
        format!("id: {id}\ntemplate: note-template\ntargetSystem: shell\nsteps: [apply: {{text: a}}]\n")
    };
    let files = Files::new(&[
        ("_010__b.yaml", file("b")),
        ("_0090__a.YML", file("a")),
        ("_9__c__c.yaml", file("c")),
        ("below/_0001__d.yaml", file("d")),
        (".hidden.yaml", "not: read".to_owned()),
        ("README.md", "not read".to_owned()),
    ]);
    let stage = Stage::from_dir("files", files.path()).kind(flamingock::StageKind::Legacy);
    assert_eq!(
        ids(builder().stage(stage.change(step("code", "0095")))),
        ["a", "code", "b", "c"]
    );
}

#[test]
fn a_directory_of_directories_is_a_pipeline() {
    let file = |id: &str| {
        format!("id: {id}\ntemplate: note-template\ntargetSystem: shell\nsteps: [apply: {{text: a}}]\n")
    };
    let files = Files::new(&[
        ("shop/2_data/_0001__c.yaml", file("c")),
        ("shop/1_schema/_0001__b.yaml", file("b")),
        ("shop/docs/notes.md", "nothing".to_owned()),
        ("shop/.git/_0001__x.yaml", file("x")),
        ("shop/_0001__a.yaml", file("a")),
    ]);
    let stages = templates::stages(files.path().join("shop")).unwrap();
    let builder = stages.into_iter().fold(builder(), Builder::stage);
    let blocks = serde_json::to_value(builder.submission().unwrap()).unwrap();
    let names: Vec<_> = blocks[0]["stages"]
        .as_array()
        .unwrap()
        .iter()
        .map(|stage| stage["name"].clone())
        .collect();
    assert_eq!(names, ["shop", "1_schema", "2_data"]);

    let error = templates::stages(files.path().join("shop/docs")).expect_err("nothing there");
    assert!(
        error.to_string().contains("there is no change file in"),
        "{error}"
    );
    assert!(templates::stages(files.path().join("none")).is_err());
}

#[cfg(feature = "postgres")]
#[test]
fn a_directory_compiled_in_says_the_same_as_one_read_at_start() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/changes");
    let placeholders = || Placeholders::none().with("CURRENCY", "EUR");
    let embedded = builder()
        .placeholders(placeholders())
        .stage(Stage::from_embedded("changes", EXAMPLES));
    let read = builder()
        .placeholders(placeholders())
        .stage(Stage::from_dir("changes", path));
    let (embedded, read) = (submitted(embedded), submitted(read));
    assert_eq!(embedded, read);
    assert_eq!(embedded.len(), 4);
}
