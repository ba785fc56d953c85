//! The checksum of a code change: what its source says, not how it is laid out.
//!
//! `rust-tokens-v1:<64 hex digits>` of the change's id and of its function's parameters, result and body, token by token. See ADR 021. Pinned: what it gives for a source may never change, for it is kept for years.

use proc_macro2::{Delimiter, TokenStream, TokenTree};
use quote::ToTokens as _;
use sha2::{Digest as _, Sha256};
use syn::{
    Block, Expr, ItemFn, Stmt,
    visit_mut::{self, VisitMut},
};

const PREFIX: &str = "rust-tokens-v1:";

/// Of a change and the function that it stands on.
pub(crate) fn of(id: &str, function: &ItemFn) -> String {
    let mut body = (*function.block).clone();
    Layout.visit_block_mut(&mut body);
    let mut hasher = Sha256::new();
    put(&mut hasher, 't', id);
    for part in [
        function.sig.inputs.to_token_stream(),
        function.sig.output.to_token_stream(),
        body.to_token_stream(),
    ] {
        put(&mut hasher, 'p', "");
        put_tokens(&mut hasher, part);
    }
    let digest = hasher.finalize();
    let hex = digest.iter().map(|byte| format!("{byte:02x}"));
    PREFIX.chars().chain(hex.collect::<String>().chars()).collect()
}

/// Takes back what `rustfmt` adds or removes by the width of a line.
struct Layout;

impl VisitMut for Layout {
    fn visit_arm_mut(&mut self, arm: &mut syn::Arm) {
        unwrap(&mut arm.body);
        visit_mut::visit_arm_mut(self, arm);
        arm.comma = Some(syn::token::Comma::default());
    }

    fn visit_expr_closure_mut(&mut self, closure: &mut syn::ExprClosure) {
        if matches!(closure.output, syn::ReturnType::Default) {
            unwrap(&mut closure.body);
        }
        visit_mut::visit_expr_closure_mut(self, closure);
    }

    fn visit_block_mut(&mut self, block: &mut Block) {
        if let Some(Stmt::Expr(last, semicolon @ None)) = block.stmts.last_mut()
            && leaves(last)
        {
            *semicolon = Some(syn::token::Semi::default());
        }
        visit_mut::visit_block_mut(self, block);
    }
}

/// `{ expression }` as `expression`.
fn unwrap(body: &mut Expr) {
    while let Expr::Block(block) = body
        && block.attrs.is_empty()
        && block.label.is_none()
        && let [Stmt::Expr(only, semicolon)] = block.block.stmts.as_slice()
        && (semicolon.is_none() || leaves(only))
    {
        *body = only.clone();
    }
}

fn leaves(expression: &Expr) -> bool {
    matches!(expression, Expr::Return(_) | Expr::Break(_) | Expr::Continue(_))
}

/// Each token with its kind and its length, so that no two lists of tokens are the same bytes.
fn put(hasher: &mut Sha256, kind: char, text: &str) {
    hasher.update(format!("{kind}{}:{text}", text.len()));
}

fn put_tokens(hasher: &mut Sha256, tokens: TokenStream) {
    let mut tokens = tokens.into_iter().peekable();
    while let Some(token) = tokens.next() {
        match token {
            TokenTree::Punct(punct) if punct.as_char() == '#' => {
                // Documentation of something within.
                let inner =
                    tokens.next_if(|next| matches!(next, TokenTree::Punct(punct) if punct.as_char() == '!'));
                if tokens.next_if(is_documentation).is_none() {
                    put(hasher, 'p', "#");
                    if inner.is_some() {
                        put(hasher, 'p', "!");
                    }
                }
            }
            // Before a closing bracket it is a matter of layout.
            TokenTree::Punct(punct) if punct.as_char() == ',' && tokens.peek().is_none() => {}
            // Whether it touches the next one is layout, too.
            TokenTree::Punct(punct) => put(hasher, 'p', &punct.as_char().to_string()),
            TokenTree::Ident(ident) => put(hasher, 'i', &ident.to_string()),
            TokenTree::Literal(literal) => put(hasher, 'l', &literal.to_string()),
            TokenTree::Group(group) => {
                let brackets = match group.delimiter() {
                    Delimiter::Parenthesis => Some(["(", ")"]),
                    Delimiter::Brace => Some(["{", "}"]),
                    Delimiter::Bracket => Some(["[", "]"]),
                    // Invisible: what a `macro_rules!` puts around its arguments.
                    Delimiter::None => None,
                };
                if let Some([open, _]) = brackets {
                    put(hasher, 'g', open);
                }
                put_tokens(hasher, group.stream());
                if let Some([_, close]) = brackets {
                    put(hasher, 'g', close);
                }
            }
        }
    }
}

fn is_documentation(token: &TokenTree) -> bool {
    let TokenTree::Group(group) = token else {
        return false;
    };
    let first = group.stream().into_iter().next();
    group.delimiter() == Delimiter::Bracket && matches!(first, Some(TokenTree::Ident(name)) if name == "doc")
}
