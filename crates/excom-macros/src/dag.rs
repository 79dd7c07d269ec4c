//! `#[dag]`: a function that gives the definition of the DAG that the written function builds.

use proc_macro2::{Ident, TokenStream};
use quote::{quote, quote_spanned};
use syn::parse::Parser as _;
use syn::spanned::Spanned as _;
use syn::{Expr, FnArg, GenericArgument, ItemFn, LitStr, Pat, PatType, PathArguments, ReturnType, Type};

use crate::attributes::{docs, once, text, unknown};
use crate::task::{plain, written};

/// A parameter of the DAG.
struct Param {
    name: Ident,
    ty: Type,
    default: Option<Expr>,
    doc: String,
}

pub(crate) fn expand(arguments: TokenStream, item: TokenStream) -> syn::Result<TokenStream> {
    let mut id: Option<LitStr> = None;
    syn::meta::parser(|meta| {
        if meta.path.is_ident("id") {
            let value = text(&meta, "\"weather\"")?;
            if value.value().is_empty() {
                return Err(syn::Error::new(value.span(), "a DAG id has at least one character"));
            }
            once(&mut id, &meta, value)
        } else {
            Err(unknown(&meta, "dag", &["id"]))
        }
    })
    .parse2(arguments)?;
    let mut function: ItemFn = syn::parse2(item)
        .map_err(|error| syn::Error::new(error.span(), format!("`#[dag]` goes on a function: {error}")))?;
    check(&function)?;
    let params = params(&mut function)?;

    let (name, vis, attrs) = (&function.sig.ident, &function.vis, &function.attrs);
    let id = id.map_or_else(|| plain(name), |id| id.value());
    let doc = docs(attrs);
    let specs = params.iter().map(spec);
    let handed = params.iter().map(|param| {
        let (name, ty) = (plain(&param.name), &param.ty);
        quote_spanned!(ty.span()=> ::excom::__private::param::<#ty>(#name))
    });
    let (inputs, block) = (&function.sig.inputs, &function.block);
    let documented = if doc.is_empty() {
        let text = format!("The DAG `{id}`.");
        quote!(#[doc = #text])
    } else {
        TokenStream::new()
    };
    Ok(quote! {
        #documented
        #(#attrs)*
        #[must_use]
        #vis fn #name() -> ::excom::__private::DagDefinition {
            #[allow(clippy::needless_pass_by_value, clippy::too_many_arguments)]
            fn build(#inputs) #block
            ::excom::__private::DagDefinition::new(#id, |dag| build(dag, #(#handed),*))
                .with_doc(#doc)
                #(.with_param(#specs))*
        }
    })
}

fn spec(param: &Param) -> TokenStream {
    let (name, ty, doc) = (plain(&param.name), &param.ty, &param.doc);
    let type_name = written(ty);
    let schema = quote!({
        #[allow(unused_imports)]
        use ::excom::__private::{KnownType as _, UnknownType as _};
        (&::excom::__private::TypeOf::<#ty>::new()).schema(#type_name)
    });
    let spec = quote_spanned!(ty.span()=> ::excom::__private::ParamSpec::required::<#ty>(#name, #type_name).with_doc(#doc).with_schema(#schema));
    match &param.default {
        Some(default) => quote_spanned!(default.span()=> #spec.with_default::<#ty>(#default)),
        None => spec,
    }
}

fn check(function: &ItemFn) -> syn::Result<()> {
    let signature = &function.sig;
    if let Some(asyncness) = &signature.asyncness {
        return Err(syn::Error::new_spanned(
            asyncness,
            "a DAG is built without waiting: take `async` away, and do the work in tasks",
        ));
    }
    if !signature.generics.params.is_empty() {
        return Err(syn::Error::new_spanned(&signature.generics, "a DAG has no generics"));
    }
    if let ReturnType::Type(_, ty) = &signature.output {
        return Err(syn::Error::new_spanned(ty, "a DAG function returns nothing: it adds tasks to `dag`"));
    }
    Ok(())
}

/// The DAG's parameters, taken out of the attributes of the function's.
fn params(function: &mut ItemFn) -> syn::Result<Vec<Param>> {
    let whole = function.sig.ident.clone();
    let mut inputs = function.sig.inputs.iter_mut();
    match inputs.next() {
        Some(FnArg::Typed(first)) if is_dag(&first.ty) => {}
        Some(other) => {
            return Err(syn::Error::new_spanned(
                other,
                "the first argument of a DAG function is `dag: &Dag`",
            ));
        }
        None => {
            return Err(syn::Error::new_spanned(
                whole,
                "a DAG function takes `dag: &Dag`, to add tasks to it",
            ));
        }
    }
    inputs
        .map(|input| match input {
            FnArg::Typed(typed) => param(typed),
            FnArg::Receiver(receiver) => {
                Err(syn::Error::new_spanned(receiver, "a DAG function has no `self`"))
            }
        })
        .collect()
}

fn param(typed: &mut PatType) -> syn::Result<Param> {
    let name = match &*typed.pat {
        Pat::Ident(pattern) => pattern.ident.clone(),
        other => return Err(syn::Error::new_spanned(other, "a parameter of a DAG needs a name")),
    };
    let Some(ty) = param_type(&typed.ty) else {
        let ty = &typed.ty;
        return Err(syn::Error::new_spanned(
            ty,
            format!(
                "a parameter of a DAG is a `Param<{}>`: its value is not known while the DAG is built",
                quote!(#ty)
            ),
        ));
    };
    let (mut default, mut doc) = (None, None);
    for attribute in &typed.attrs {
        if attribute.path().is_ident("param") {
            if matches!(attribute.meta, syn::Meta::Path(_)) {
                continue;
            }
            attribute.parse_nested_meta(|meta| {
                if meta.path.is_ident("default") {
                    let value =
                        meta.value().map_err(|_| meta.error("`default` needs a value: default = 30.0"))?;
                    once(&mut default, &meta, value.parse::<Expr>()?)
                } else if meta.path.is_ident("doc") {
                    once(&mut doc, &meta, text(&meta, "\"what it is for\"")?.value())
                } else {
                    Err(unknown(&meta, "param", &["default", "doc"]))
                }
            })?;
        } else if !attribute.path().is_ident("doc") {
            return Err(syn::Error::new_spanned(
                attribute,
                "a parameter of a DAG takes `#[param(…)]` and comments only",
            ));
        }
    }
    let doc = doc.unwrap_or_else(|| docs(&typed.attrs));
    typed.attrs.clear();
    Ok(Param { name, ty, default, doc })
}

fn is_dag(ty: &Type) -> bool {
    matches!(ty, Type::Reference(reference) if matches!(&*reference.elem, Type::Path(path)
        if path.path.segments.last().is_some_and(|last| last.ident == "Dag")))
}

/// The `T` of `Param<T>`.
fn param_type(ty: &Type) -> Option<Type> {
    let Type::Path(path) = ty else { return None };
    let last = path.path.segments.last().filter(|last| last.ident == "Param")?;
    let PathArguments::AngleBracketed(arguments) = &last.arguments else { return None };
    match arguments.args.first() {
        Some(GenericArgument::Type(ty)) if arguments.args.len() == 1 => Some(ty.clone()),
        _ => None,
    }
}
