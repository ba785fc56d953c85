//! The `#[change]` attribute of the `flamingock` SDK. Use it through that crate, which documents it with examples.
//!
//! What lives here: reading the attribute and the function, refusing what cannot work with an error at the right
//! place, and printing an implementation of `flamingock::Change`. What does not: every check that needs more than
//! one function (unknown targets, duplicate ids, missing dependencies), which the builder makes.

#![forbid(unsafe_code)]

mod args;
mod checksum;
mod embed;
mod expand;
#[cfg(test)]
mod tests;

use proc_macro::TokenStream;
use syn::{ItemFn, parse_macro_input};

/// Turns an async function into a change unit: a value of the function's name that implements `flamingock::Change`.
///
/// | argument | | meaning |
/// | --- | --- | --- |
/// | `id = "…"` | required | the change's identity, for good |
/// | `order = "…"` | required | position in its stage, compared as text; at least 3 letters or digits, such as `"0001"` |
/// | `target = "…"` | required | id of the target system that it works on |
/// | `author = "…"` | optional | recorded in the audit |
/// | `transactional = true` or `false` | optional | run in the target's transaction; the default where the target has any |
/// | `recovery = "…"` | optional | `"manual_intervention"` (the default) or `"always_retry"` |
/// | `rollback = path` | optional | an async function that undoes the change |
/// | `probe = path` | optional | an async function that says whether the change took effect: `Probed`, or a `Result` with it |
/// | `depends_on = ["…"]` | optional | ids of changes that must be applied before this one is begun; they stand earlier in the pipeline |
/// | `checksum = false` or `"…"` | optional | no checksum, or one that you keep yourself; the default is of the source |
///
/// # The checksum
///
/// The change gets a checksum, `rust-tokens-v1:…`, of its id and of its function as written: parameters, result and
/// body. White space, comments and documentation do not count, nor do trailing commas and the braces that `rustfmt` puts
/// around a single expression. So the server can tell that an applied change was edited, where the environment's
/// policies ask for it. Not part of it is what the function calls, and that includes the rollback, of which the attribute
/// sees only the name; for content elsewhere, say `checksum = "…"` and change the text with it.
///
/// The function takes what it needs by parameters and returns `Result<(), E>`. Among the parameters there may be one
/// `&mut` transaction handle; all others are extractors (`flamingock::FromContext`). The function itself stays
/// callable, for tests, as `name::run(…)`.
#[proc_macro_attribute]
pub fn change(args: TokenStream, item: TokenStream) -> TokenStream {
    let function = match syn::parse::<ItemFn>(item.clone()) {
        Ok(function) => function,
        // What is inside the function, the compiler itself says best.
        Err(error) if is_function(&item) => return error.to_compile_error().into(),
        Err(_) => {
            let text = "`#[change]` stands on an async function; for a type, implement the trait `flamingock::Change`";
            let error = syn::Error::new_spanned(proc_macro2::TokenStream::from(item.clone()), text);
            let error = TokenStream::from(error.to_compile_error());
            return error.into_iter().chain(item).collect();
        }
    };
    match syn::parse::<args::Args>(args) {
        Ok(args) => expand::change(&args, &function)
            .unwrap_or_else(|error| expand::failed(&error, &function))
            .into(),
        Err(error) => expand::failed(&error, &function).into(),
    }
}

fn is_function(item: &TokenStream) -> bool {
    item.clone()
        .into_iter()
        .any(|token| matches!(&token, proc_macro::TokenTree::Ident(word) if word.to_string() == "fn"))
}

/// Compiles the change files of a directory into the program, as a `flamingock::templates::EmbeddedDir`.
///
/// The path is relative to the crate's directory, where its `Cargo.toml` is. A changed file has the crate compiled again.
/// A new one has not, for nothing that was compiled names it; for that, one line in the crate's `build.rs`:
///
/// ```no_run
/// println!("cargo:rerun-if-changed=changes");
/// ```
#[proc_macro]
pub fn embed_dir(path: TokenStream) -> TokenStream {
    let path = parse_macro_input!(path as syn::LitStr);
    embed::directory(&path)
        .unwrap_or_else(|error| error.to_compile_error())
        .into()
}
