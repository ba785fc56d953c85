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
            "`order` takes a text in quotes: `order = \"0001\"`",
        ),
        (
            r#"id = "a", order = "0001", target = "db", transactional = "no""#,
            "`transactional` takes `true` or `false`, without quotes",
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
            "`autor` is not an argument of a change; did you mean `author`?",
        ),
        (
            r#"id = "a", order = "0001", target = "db", colour = "red""#,
            "known are `id`, `order`, `target`, `author`, `transactional`, `recovery`, `rollback`, `probe`, `depends_on`, `checksum`",
        ),
        (
            r#"id = " a", order = "0001", target = "db""#,
            "an id has no space at its ends: `a`",
        ),
        (r#"id = "a\nb", order = "0001", target = "db""#, "no line ends"),
        (
            r#"id = "a", order = "0001", target = "db", recovery = "always-retry""#,
            "did you mean \"always_retry\"?",
        ),
        (
            r#"id = "a", order = "0001", target = "db", depends_on = "b""#,
            "`depends_on` takes a list of ids",
        ),
        (
            r#"id = "a", order = "0001", target = "db", depends_on = [b]"#,
            "`depends_on` takes a list of ids",
        ),
        (
            r#"id = "a", order = "0001", target = "db", depends_on = ["b", "b"]"#,
            "`b` is there twice",
        ),
        (
            r#"id = "a", order = "0001", target = "db", depends_on = ["a"]"#,
            "cannot depend on itself",
        ),
        (
            r#"id = "a", order = "0001", target = "db", checksum = 7"#,
            "`checksum` takes `false` for none",
        ),
        (
            r#"id = "a", order = "0001", target = "db", checksum = """#,
            "1 to 200 bytes",
        ),
        (r"id", "`id` needs a value: `id = \"create-orders\"`"),
        (r"order =", "`order` needs a value: `order = \"0001\"`"),
        (
            r"rollback = , id",
            "`rollback` needs a value: `rollback = drop_orders`",
        ),
        (
            r#"id = "a" order = "0001""#,
            "expected `,` after the value of `id`",
        ),
        (r#""a""#, "pairs such as `id = \"create-orders\"`"),
    ] {
        let refusal = refusal(arguments, function);
        assert!(refusal.contains(complaint), "{arguments}: {refusal}");
    }
}

#[test]
fn functions_are_refused_for_a_reason() {
    for (function, complaint) in [
        (
            "fn a() -> Result<(), E> {}",
            "a change is an `async fn`: write `async` before `fn`",
        ),
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

fn checksum(id: &str, function: &str) -> String {
    crate::checksum::of(id, &syn::parse_str(function).expect("a function"))
}

#[test]
fn a_checksum_is_pinned_because_it_is_kept_for_years() {
    let function = r#"async fn a(tx: &mut PgTx) -> Result<(), sqlx::Error> {
        tx.execute("CREATE TABLE orders (id int)").await?;
        Ok(())
    }"#;
    assert_eq!(
        checksum("create-orders", function),
        "rust-tokens-v1:c500a3694a9cfcc456b5dea336723cc09c1ddc2942319a8248d34a7e27fc4d72"
    );
}

#[test]
fn layout_and_documentation_do_not_count() {
    let plain = "async fn a(tx: &mut Tx) -> Result<(), E> { \
        let x = |y| y + 1; call(x, && z); match x { A => b(c), D => return e, F => { g(); h() } } return Ok(()) }";
    for same in [
        "/// About it.\n#[inline]\npub async fn other_name(\n    tx: &mut Tx,\n) -> Result<(), E>\n{ // why\n\
         let x = |y| { y + 1 }; call(x, & & z,); match x { A => { b(c) } D => { return e; } F => { g(); h() }, } return Ok(()); }",
        "async fn a(tx: &mut Tx) -> Result<(), E> { /// About x.\n let x = |y| y + 1; call(x, &&z); \
         match x { A => {{ b(c,) }} D => { return e } F => { g(); h() } } return Ok(()) }",
    ] {
        assert_eq!(checksum("a", same), checksum("a", plain), "{same}");
    }
}

#[test]
fn whatever_else_is_edited_counts() {
    let all = [
        ("a", "async fn a(tx: &mut Tx) -> Result<(), E> { x(1, 2) }"),
        ("b", "async fn a(tx: &mut Tx) -> Result<(), E> { x(1, 2) }"),
        ("a", "async fn a(tx: &mut Tx) -> Result<(), E> { x(2, 1) }"),
        ("a", "async fn a(tx: &mut Tx) -> Result<(), E> { x(12) }"),
        ("a", "async fn a(tx: &mut Tx) -> Result<(), E> { x((1, 2)) }"),
        ("a", "async fn a(tx: &mut Tx) -> Result<(), E> { [x, 1] }"),
        ("a", "async fn a(tx: &mut Tx) -> Result<(), E> { x(1, 2); }"),
        ("a", "async fn a(tx: &mut Tx) -> Result<(), E> { x(\"1, 2\") }"),
        ("a", "async fn a(tx: &mut Tx) -> Result<(), F> { x(1, 2) }"),
        ("a", "async fn a(ty: &mut Tx) -> Result<(), E> { x(1, 2) }"),
        ("a", "async fn a() -> Result<(), E> { x(1, 2) }"),
        (
            "a",
            "async fn a(tx: &mut Tx) -> Result<(), E> { #[cfg(unix)] x(1, 2) }",
        ),
        ("a", "async fn a(tx: &mut Tx) -> Result<(), E> { |x| -> T { x } }"),
        ("a", "async fn a(tx: &mut Tx) -> Result<(), E> { |x| x }"),
        ("a", "async fn a(tx: &mut Tx) -> Result<(), E> { |x| { y; x } }"),
    ];
    for (at, (id, function)) in all.iter().enumerate() {
        let first = all
            .iter()
            .position(|(other_id, other)| checksum(other_id, other) == checksum(id, function));
        assert_eq!(first, Some(at), "{function}");
    }
}

#[test]
fn the_checksum_can_be_kept_by_hand_or_left_out() {
    let function = syn::parse_str("async fn a() -> Result<(), E> { Ok(()) }").expect("a function");
    let expanded = |more: &str| {
        let args = syn::parse_str(&format!("{GOOD}{more}")).expect("good arguments");
        expand::change(&args, &function).expect("expands").to_string()
    };
    assert!(expanded("").contains("rust-tokens-v1:"));
    assert!(expanded(", checksum = true").contains("rust-tokens-v1:"));
    assert!(expanded(r#", checksum = "v2""#).contains(r#"from ("v2")"#));
    assert!(!expanded(", checksum = false").contains("fn checksum"));
}
