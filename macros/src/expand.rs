//! From the function to an implementation of `flamingock::Change`.

use proc_macro2::TokenStream;
use quote::{format_ident, quote, quote_spanned};
use syn::{Attribute, FnArg, Ident, ItemFn, ReturnType, Type, spanned::Spanned as _};

use crate::{
    args::{Args, Checksum, Recovery},
    checksum,
};

/// The error, and beside it a value of the function's name, so that it is reported once and not again at each use.
pub(crate) fn failed(error: &syn::Error, function: &ItemFn) -> TokenStream {
    let error = error.to_compile_error();
    // In an `impl`, where there can be no other value.
    if function.sig.receiver().is_some() {
        return quote! { #error #function };
    }
    let (visibility, name) = (&function.vis, &function.sig.ident);
    quote! {
        #error
        #[allow(non_camel_case_types, missing_docs)]
        #visibility struct #name;
        impl ::flamingock::Change for #name {
            fn info(&self) -> ::flamingock::ChangeInfo {
                ::core::unreachable!()
            }
            fn apply<'a>(&'a self, _: &'a mut ::flamingock::Context) -> ::flamingock::ChangeFuture<'a> {
                ::core::unreachable!()
            }
        }
    }
}

pub(crate) fn change(args: &Args, function: &ItemFn) -> syn::Result<TokenStream> {
    let signature = &function.sig;
    check_signature(function)?;
    let parameters = Parameters::read(function)?;

    let (visibility, name, body) = (&function.vis, &signature.ident, &function.block);
    let (inputs, output) = (&signature.inputs, &signature.output);
    let (docs, others): (Vec<_>, Vec<_>) = function
        .attrs
        .iter()
        .partition(|attribute| is_about_the_value(attribute));
    // A condition on the function is one on everything that it becomes.
    let conditions: Vec<_> = docs
        .iter()
        .filter(|attribute| attribute.path().is_ident("cfg"))
        .collect();
    let info = info(args, name);
    let checksum = match &args.checksum {
        Checksum::Source => Some(checksum::of(&args.id.value(), function)),
        Checksum::Given(text) => Some(text.value()),
        Checksum::Off => None,
    };
    let checksum = checksum.map(|text| {
        quote! {
            fn checksum(&self) -> ::std::option::Option<::std::string::String> {
                ::std::option::Option::Some(::std::string::String::from(#text))
            }
        }
    });
    let requirements = &parameters.requirements;
    let bindings = &parameters.bindings;
    let arguments = &parameters.arguments;
    let result_span = match output {
        ReturnType::Type(_, ty) => ty.span(),
        ReturnType::Default => name.span(),
    };
    let call = quote_spanned! { result_span=>
        ::flamingock::__private::outcome(#name::run(#(#arguments),*).await)
    };
    // In one place, so that a function that cannot be a rollback is complained of once.
    let undo = args.rollback.as_ref().map(|path| {
        let span = path.span();
        quote_spanned! { span=>
            #[doc(hidden)]
            fn __undo() -> impl ::flamingock::__private::Undo {
                ::flamingock::__private::undoes(&#path)
            }
        }
    });
    let rollback = undo.as_ref().map(|_| {
        quote! {
            fn rollback_requirements(&self) -> ::std::vec::Vec<::flamingock::Requirement> {
                ::flamingock::__private::Undo::requirements(&#name::__undo())
            }

            fn rollback<'a>(&'a self, context: &'a mut ::flamingock::Context) -> ::flamingock::ChangeFuture<'a> {
                ::flamingock::__private::Undo::call(&#name::__undo(), context)
            }
        }
    });

    let look = args.probe.as_ref().map(|path| {
        let span = path.span();
        quote_spanned! { span=>
            #[doc(hidden)]
            fn __look() -> impl ::flamingock::__private::Look {
                ::flamingock::__private::looks(&#path)
            }
        }
    });
    let probe = look.as_ref().map(|_| {
        quote! {
            fn probe_requirements(&self) -> ::std::vec::Vec<::flamingock::Requirement> {
                ::flamingock::__private::Look::requirements(&#name::__look())
            }

            fn probe<'a>(&'a self, context: &'a mut ::flamingock::Context) -> ::flamingock::ProbeFuture<'a> {
                ::flamingock::__private::Look::call(&#name::__look(), context)
            }
        }
    });

    Ok(quote! {
        #(#docs)*
        #[allow(non_camel_case_types)]
        #[derive(Clone, Copy, Debug)]
        #visibility struct #name;

        #(#conditions)*
        impl #name {
            /// What the change does, as written; call it to test it.
            #(#others)*
            #[allow(clippy::unused_async)]
            #visibility async fn run(#inputs) #output #body

            #undo

            #look
        }

        #(#conditions)*
        #[automatically_derived]
        impl ::flamingock::Change for #name {
            fn info(&self) -> ::flamingock::ChangeInfo {
                #info
            }

            #checksum

            fn requirements(&self) -> ::std::vec::Vec<::flamingock::Requirement> {
                ::std::vec![#(#requirements),*]
            }

            fn apply<'a>(&'a self, context: &'a mut ::flamingock::Context) -> ::flamingock::ChangeFuture<'a> {
                ::std::boxed::Box::pin(async move {
                    #(#bindings)*
                    #call
                })
            }

            #rollback

            #probe
        }
    })
}

fn info(args: &Args, name: &Ident) -> TokenStream {
    let Args {
        id, order, target, ..
    } = args;
    let author = args.author.as_ref().map(|author| quote! { .author(#author) });
    let transactional = args
        .transactional
        .as_ref()
        .map(|flag| quote! { .transactional(#flag) });
    let recovery = match args.recovery {
        Recovery::ManualIntervention => None,
        Recovery::AlwaysRetry => Some(quote! { .recovery(::flamingock::Recovery::AlwaysRetry) }),
    };
    let rollback = args.rollback.as_ref().map(|_| quote! { .with_rollback() });
    let depends_on = (!args.depends_on.is_empty()).then(|| {
        let ids = &args.depends_on;
        quote! { .depends_on([#(#ids),*]) }
    });
    let probe = args.probe.as_ref().map(|_| quote! { .with_probe() });
    let source = name.to_string();
    quote! {
        ::flamingock::ChangeInfo::new(#id, #order, #target)
            #author #transactional #recovery #rollback #probe #depends_on
            .source(::core::concat!(::core::module_path!(), "::", #source))
    }
}

fn check_signature(function: &ItemFn) -> syn::Result<()> {
    let signature = &function.sig;
    if signature.asyncness.is_none() {
        return Err(syn::Error::new(
            signature.fn_token.span(),
            "a change is an `async fn`: write `async` before `fn`",
        ));
    }
    if !signature.generics.params.is_empty() {
        return Err(syn::Error::new(
            signature.generics.params.span(),
            "a change has no generic parameters and no named lifetimes, since nobody could say which ones are meant: take \
             concrete types",
        ));
    }
    if matches!(signature.output, ReturnType::Default) {
        return Err(syn::Error::new(
            signature.ident.span(),
            "a change returns `Result<(), E>`, so that a failure is recorded and not lost: write `-> Result<(), E>`",
        ));
    }
    Ok(())
}

/// Documentation and conditions belong to the value that the function becomes; lints and the rest to the function.
fn is_about_the_value(attribute: &Attribute) -> bool {
    ["doc", "cfg", "deprecated"]
        .iter()
        .any(|name| attribute.path().is_ident(name))
}

#[derive(Default)]
struct Parameters {
    requirements: Vec<TokenStream>,
    /// Extractors first, the borrow of the transaction last: it holds the context until the call ends.
    bindings: Vec<TokenStream>,
    arguments: Vec<Ident>,
}

impl Parameters {
    fn read(function: &ItemFn) -> syn::Result<Self> {
        let mut parameters = Self::default();
        let mut transaction = None;
        for (position, input) in function.sig.inputs.iter().enumerate() {
            let FnArg::Typed(input) = input else {
                return Err(syn::Error::new(
                    input.span(),
                    "a change is a free function, without `self`",
                ));
            };
            let name = format_ident!("parameter_{position}");
            let span = input.ty.span();
            match &*input.ty {
                Type::Reference(reference) if reference.mutability.is_some() => {
                    let ty = &reference.elem;
                    if transaction.is_some() {
                        return Err(syn::Error::new(
                            span,
                            "a change works in one transaction: only one `&mut` parameter",
                        ));
                    }
                    parameters.requirements.push(quote_spanned! { span=>
                        ::flamingock::Requirement::transaction::<#ty>()
                    });
                    transaction = Some(quote_spanned! { span=>
                        let #name = ::flamingock::__private::transaction::<#ty>(context)?;
                    });
                }
                Type::Reference(_) => {
                    return Err(syn::Error::new(
                        span,
                        "take dependencies as `Dep<T>` and the target's client as `TargetClient<T>`, by value; `&mut` is \
                         for the transaction",
                    ));
                }
                ty => {
                    parameters.requirements.push(quote_spanned! { span=>
                        <#ty as ::flamingock::FromContext>::requirement()
                    });
                    parameters.bindings.push(quote_spanned! { span=>
                        let #name = <#ty as ::flamingock::FromContext>::from_context(&*context)?;
                    });
                }
            }
            parameters.arguments.push(name);
        }
        parameters.bindings.extend(transaction);
        Ok(parameters)
    }
}
