//! What is refused, and in which words.

use crate::{args::Args, expand};

fn refusal(arguments: &str, function: &str) -> String {
    let expanded = syn::parse_str::<Args>(arguments)
        .and_then(|args| expand::change(&args, &syn::parse_str(function).expect("a function")));
    expanded.expect_err("refused").to_string()
}

const GOOD: &str = r#"id = "a", order = "0001", target = "db""#;

#[test]
fn arguments_are_refused_by_name() {
    let function = "async fn a() -> Result<(), E> { Ok(()) }";
    for (arguments, complaint) in [
        (
            r#"order = "0001", target = "db""#,
            "a change needs `id`, for example `id = \"create-orders\"`",
        ),
        (r#"id = "a", target = "db""#, "a change needs `order`"),
        (r#"id = "a", order = "0001""#, "a change needs `target`"),
        (
            r#"id = " ", order = "0001", target = "db""#,
            "an id that says something",
        ),
        (
            r#"id = "a", order = "1", target = "db""#,
            "at least 3 letters or digits",
        ),
        (
            r#"id = "a", order = "0001", target = """#,
            "name the target system",
        ),
        (
            r#"id = "a", id = "b", order = "0001", target = "db""#,
            "`id` is given twice",
        ),
        (
            r#"id = "a", order = 1, target = "db""#,
            "expected a text in quotes",
        ),
        (
            r#"id = "a", order = "0001", target = "db", transactional = "no""#,
            "expected `true` or `false`",
        ),
        (
            r#"id = "a", order = "0001", target = "db", recovery = "retry""#,
            "`retry` is no recovery strategy",
        ),
        (
            r#"id = "a", order = "0001", target = "db", rollback = "undo""#,
            "without quotes",
        ),
        (
            r#"id = "a", order = "0001", target = "db", autor = "mara""#,
            "`autor` is not an argument of a change",
        ),
    ] {
        let refusal = refusal(arguments, function);
        assert!(refusal.contains(complaint), "{arguments}: {refusal}");
    }
}

#[test]
fn functions_are_refused_for_a_reason() {
    for (function, complaint) in [
        ("fn a() -> Result<(), E> {}", "a change is an `async fn`"),
        ("async fn a() {}", "returns `Result<(), E>`"),
        ("async fn a<T>() -> Result<(), E> {}", "no generic parameters"),
        ("async fn a(&self) -> Result<(), E> {}", "without `self`"),
        ("async fn a(config: &Config) -> Result<(), E> {}", "`Dep<T>`"),
        (
            "async fn a(a: &mut Tx, b: &mut Tx) -> Result<(), E> {}",
            "only one `&mut` parameter",
        ),
    ] {
        let refusal = refusal(GOOD, function);
        assert!(refusal.contains(complaint), "{function}: {refusal}");
    }
}

#[test]
fn conditions_and_documentation_go_to_the_value_and_lints_to_the_function() {
    let function = "#[cfg(unix)] /// About it.\n #[inline] pub async fn a() -> Result<(), E> { Ok(()) }";
    let args = syn::parse_str(GOOD).expect("good arguments");
    let expanded = expand::change(&args, &syn::parse_str(function).expect("a function"))
        .expect("expands")
        .to_string();
    assert_eq!(expanded.matches("# [cfg (unix)]").count(), 3, "{expanded}");
    assert_eq!(expanded.matches("# [inline]").count(), 1, "{expanded}");
    assert!(expanded.contains("pub struct a ;"), "{expanded}");
}
