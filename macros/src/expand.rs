//! From the function to an implementation of `flamingock::Change`.

use proc_macro2::TokenStream;
use quote::{format_ident, quote, quote_spanned};
use syn::{Attribute, FnArg, Ident, ItemFn, ReturnType, Type, spanned::Spanned as _};

use crate::args::{Args, Recovery};

/// The error, and beside it a value of the function's name, so that it is reported once and not again at each use.
pub(crate) fn failed(error: &syn::Error, function: &ItemFn) -> TokenStream {
    let error = error.to_compile_error();
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
    let rollback = args.rollback.as_ref().map(|path| {
        let span = path.span();
        let requirements = quote_spanned! { span=> ::flamingock::__private::handler_requirements(&#path) };
        let call = quote_spanned! { span=> ::flamingock::__private::call_handler(&#path, context) };
        quote! {
            fn rollback_requirements(&self) -> ::std::vec::Vec<::flamingock::Requirement> {
                #requirements
            }

            fn rollback<'a>(&'a self, context: &'a mut ::flamingock::Context) -> ::flamingock::ChangeFuture<'a> {
                #call
            }
        }
    });

    let probe = args.probe.as_ref().map(|path| {
        let span = path.span();
        let requirements = quote_spanned! { span=> ::flamingock::__private::probe_requirements(&#path) };
        let call = quote_spanned! { span=> ::flamingock::__private::call_probe(&#path, context) };
        quote! {
            fn probe_requirements(&self) -> ::std::vec::Vec<::flamingock::Requirement> {
                #requirements
            }

            fn probe<'a>(&'a self, context: &'a mut ::flamingock::Context) -> ::flamingock::ProbeFuture<'a> {
                #call
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
            #visibility async fn run(#inputs) #output #body
        }

        #(#conditions)*
        #[automatically_derived]
        impl ::flamingock::Change for #name {
            fn info(&self) -> ::flamingock::ChangeInfo {
                #info
            }

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
    let probe = args.probe.as_ref().map(|_| quote! { .with_probe() });
    let source = name.to_string();
    quote! {
        ::flamingock::ChangeInfo::new(#id, #order, #target)
            #author #transactional #recovery #rollback #probe
            .source(::core::concat!(::core::module_path!(), "::", #source))
    }
}

fn check_signature(function: &ItemFn) -> syn::Result<()> {
    let signature = &function.sig;
    if signature.asyncness.is_none() {
        return Err(syn::Error::new(
            signature.fn_token.span(),
            "a change is an `async fn`",
        ));
    }
    if !signature.generics.params.is_empty() {
        return Err(syn::Error::new(
            signature.generics.span(),
            "a change has no generic parameters or named lifetimes",
        ));
    }
    if matches!(signature.output, ReturnType::Default) {
        return Err(syn::Error::new(
            signature.ident.span(),
            "a change returns `Result<(), E>`, so that a failure is recorded and not lost",
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
                        let #name = context.transaction::<#ty>()?;
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
