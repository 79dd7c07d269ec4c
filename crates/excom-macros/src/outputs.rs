//! `#[derive(Outputs)]`: a method on the struct's `XComArg` for each field.

use proc_macro2::TokenStream;
use quote::{format_ident, quote};
use syn::{Attribute, Data, DeriveInput, Field, Fields};

use crate::attributes::docs;
use crate::names::Case;
use crate::task::{plain, written};

/// What serde's attributes say about a name.
#[derive(Default)]
struct Serde {
    rename: Option<String>,
    rename_all: Option<Case>,
    skip: bool,
}

pub(crate) fn expand(item: TokenStream) -> syn::Result<TokenStream> {
    let input: DeriveInput = syn::parse2(item)?;
    let fields = match &input.data {
        Data::Struct(data) => match &data.fields {
            Fields::Named(fields) => &fields.named,
            other => {
                return Err(syn::Error::new_spanned(
                    other,
                    "outputs have names: give the struct named fields",
                ));
            }
        },
        _ => {
            return Err(syn::Error::new_spanned(
                &input.ident,
                "`Outputs` goes on a struct, whose fields are the outputs",
            ));
        }
    };
    if !input.generics.params.is_empty() {
        return Err(syn::Error::new_spanned(&input.generics, "a struct of outputs has no generics"));
    }
    let whole = serde(&input.attrs)?;
    let mut declared = Vec::new();
    let mut defined = Vec::new();
    let mut typed = Vec::new();
    for field in fields {
        let serde = serde(&field.attrs)?;
        let (Some(name), false) = (&field.ident, serde.skip) else { continue };
        let key = key(field, serde, whole.rename_all);
        let ty = &field.ty;
        let text = docs(&field.attrs);
        let doc = if text.is_empty() { format!("The output `{key}`.") } else { text };
        declared.push(quote! {
            #[doc = #doc]
            fn #name(self) -> ::excom::__private::XComArg<#ty, M>;
        });
        let written = written(ty);
        typed.push(quote!((#key, (&::excom::__private::TypeOf::<#ty>::new()).schema(#written))));
        defined.push(quote! {
            fn #name(self) -> ::excom::__private::XComArg<#ty, M> {
                self.output(#key)
            }
        });
    }
    let (name, vis) = (&input.ident, &input.vis);
    let outputs = format_ident!("{}Outputs", plain(name), span = name.span());
    let doc = format!("The outputs of a task that returns [`{name}`], each as an XComArg.");
    Ok(quote! {
        #[doc = #doc]
        #[allow(private_interfaces, clippy::wrong_self_convention)]
        #vis trait #outputs<M> {
            #(#declared)*
        }

        #[allow(private_interfaces)]
        impl<M> #outputs<M> for ::excom::__private::XComArg<#name, M> {
            #(#defined)*
        }

        impl ::excom::__private::OutputTypes for #name {
            fn outputs() -> ::std::vec::Vec<(&'static str, ::excom::__private::TypeSchema)> {
                #[allow(unused_imports)]
                use ::excom::__private::{KnownType as _, UnknownType as _};
                ::std::vec![#(#typed),*]
            }
        }
    })
}

fn key(field: &Field, serde: Serde, all: Option<Case>) -> String {
    let name = field.ident.as_ref().map(plain).unwrap_or_default();
    serde.rename.unwrap_or_else(|| all.map_or_else(|| name.clone(), |case| case.of(&name)))
}

/// Reads `#[serde(…)]` as far as it changes the names that are serialized.
fn serde(attributes: &[Attribute]) -> syn::Result<Serde> {
    let mut found = Serde::default();
    for attribute in attributes.iter().filter(|attribute| attribute.path().is_ident("serde")) {
        attribute.parse_nested_meta(|meta| {
            if meta.path.is_ident("flatten") {
                return Err(meta.error(
                    "a flattened field is no output by itself: give its struct `Outputs`, or unflatten it",
                ));
            }
            if meta.path.is_ident("skip") || meta.path.is_ident("skip_serializing") {
                found.skip = true;
                return Ok(());
            }
            let (rename, all) = (meta.path.is_ident("rename"), meta.path.is_ident("rename_all"));
            if (rename || all) && meta.input.peek(syn::token::Paren) {
                // `rename(serialize = "a", deserialize = "b")`: what is serialized counts.
                return meta.parse_nested_meta(|inner| {
                    let text: syn::LitStr = inner.value()?.parse()?;
                    if inner.path.is_ident("serialize") { set(&mut found, rename, &text) } else { Ok(()) }
                });
            }
            if rename || all {
                let text: syn::LitStr = meta.value()?.parse()?;
                return set(&mut found, rename, &text);
            }
            // Whatever else serde knows changes no name.
            if meta.input.peek(syn::Token![=]) {
                meta.value()?.parse::<syn::Expr>()?;
            } else if meta.input.peek(syn::token::Paren) {
                meta.parse_nested_meta(|inner| {
                    if inner.input.peek(syn::Token![=]) {
                        inner.value()?.parse::<syn::Expr>()?;
                    }
                    Ok(())
                })?;
            }
            Ok(())
        })?;
    }
    Ok(found)
}

fn set(found: &mut Serde, rename: bool, text: &syn::LitStr) -> syn::Result<()> {
    if rename {
        found.rename = Some(text.value());
    } else {
        found.rename_all = Some(Case::parse(text)?);
    }
    Ok(())
}
