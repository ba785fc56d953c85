//! `embed_dir!`: the change files of a directory, compiled in.

use std::{env, fs, path::Path};

use proc_macro2::TokenStream;
use quote::quote;
use syn::LitStr;

/// The endings that the SDK takes for change files. Others are left out: what is compiled in can be read by anybody who
/// has the program.
const ENDINGS: [&str; 3] = ["yaml", "yml", "sql"];

pub(crate) fn directory(path: &LitStr) -> syn::Result<TokenStream> {
    let root = env::var("CARGO_MANIFEST_DIR").unwrap_or_default();
    let directory = Path::new(&root).join(path.value());
    let failed = |why: &str| {
        let text = format!(
            "the directory {} cannot be compiled in: {why}",
            directory.display()
        );
        syn::Error::new(path.span(), text)
    };
    let mut files = Vec::new();
    for entry in fs::read_dir(&directory).map_err(|error| failed(&error.to_string()))? {
        let file = entry.map_err(|error| failed(&error.to_string()))?.path();
        if !is_change_file(&file) {
            continue;
        }
        let (Some(name), Some(place)) = (file.file_name().and_then(|name| name.to_str()), file.to_str())
        else {
            return Err(failed(&format!("the name {} is no Unicode text", file.display())));
        };
        files.push((name.to_owned(), place.to_owned()));
    }
    if files.is_empty() {
        return Err(failed(
            "it has no change file, such as `_0001__create_orders.yaml`",
        ));
    }
    files.sort();
    let files = files.iter().map(|(name, place)| {
        // So that the compiler knows the file, and a change of it.
        quote! { (#name, ::core::include_str!(#place)) }
    });
    Ok(quote! {
        ::flamingock::templates::EmbeddedDir::new(#path, &[#(#files),*])
    })
}

fn is_change_file(path: &Path) -> bool {
    let ending = path.extension().and_then(|ending| ending.to_str());
    let hidden = path
        .file_name()
        .is_none_or(|name| name.to_string_lossy().starts_with('.'));
    !hidden
        && path.is_file()
        && ending.is_some_and(|ending| ENDINGS.iter().any(|known| ending.eq_ignore_ascii_case(known)))
}
