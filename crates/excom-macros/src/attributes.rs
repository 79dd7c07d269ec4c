//! Arguments of attributes, read with the place of each for errors.

use proc_macro2::{Span, TokenStream};
use quote::quote;
use syn::meta::ParseNestedMeta;
use syn::{Attribute, Expr, ExprLit, Lit, LitBool, LitInt, LitStr, Meta};

/// The refusal of an argument that there is none of, with those that there are.
pub(crate) fn unknown(meta: &ParseNestedMeta<'_>, attribute: &str, known: &[&str]) -> syn::Error {
    let name = meta.path.get_ident().map_or_else(String::new, ToString::to_string);
    let near = known.iter().find(|known| strsim::jaro_winkler(known, &name) >= 0.7);
    let hint = near.map_or_else(String::new, |near| format!(", did you mean `{near}`?"));
    let known: Vec<String> = known.iter().map(|known| format!("`{known}`")).collect();
    meta.error(format!("`#[{attribute}]` has no argument `{name}`{hint} (it has {})", known.join(", ")))
}

/// Takes the value of an argument once.
pub(crate) fn once<T>(slot: &mut Option<T>, meta: &ParseNestedMeta<'_>, value: T) -> syn::Result<()> {
    if slot.is_some() {
        return Err(meta.error("this argument is given twice"));
    }
    *slot = Some(value);
    Ok(())
}

fn literal(meta: &ParseNestedMeta<'_>, wanted: &str) -> syn::Result<Lit> {
    let name = meta.path.get_ident().map_or_else(String::new, ToString::to_string);
    if !meta.input.peek(syn::Token![=]) {
        return Err(meta.error(format!("`{name}` needs a value: {name} = {wanted}")));
    }
    match meta.value()?.parse()? {
        Expr::Lit(ExprLit { lit, .. }) => Ok(lit),
        other => {
            Err(syn::Error::new_spanned(other, format!("`{name}` is written out, such as {name} = {wanted}")))
        }
    }
}

/// `name = "text"`
pub(crate) fn text(meta: &ParseNestedMeta<'_>, example: &str) -> syn::Result<LitStr> {
    match literal(meta, example)? {
        Lit::Str(text) => Ok(text),
        other => Err(syn::Error::new_spanned(other, format!("this takes text, such as {example}"))),
    }
}

/// `name = 3`
pub(crate) fn integer(meta: &ParseNestedMeta<'_>) -> syn::Result<LitInt> {
    match literal(meta, "3")? {
        Lit::Int(number) => Ok(number),
        other => Err(syn::Error::new_spanned(other, "this takes a whole number, such as 3")),
    }
}

/// `name = 2.0` or `name = 2`
pub(crate) fn number(meta: &ParseNestedMeta<'_>) -> syn::Result<f64> {
    match literal(meta, "2.0")? {
        Lit::Float(number) => number.base10_parse(),
        Lit::Int(number) => number.base10_parse(),
        other => Err(syn::Error::new_spanned(other, "this takes a number, such as 2.0")),
    }
}

/// `name = true`, or `name` alone for true.
pub(crate) fn flag(meta: &ParseNestedMeta<'_>) -> syn::Result<LitBool> {
    if !meta.input.peek(syn::Token![=]) {
        return Ok(LitBool::new(true, Span::call_site()));
    }
    match literal(meta, "true")? {
        Lit::Bool(flag) => Ok(flag),
        other => Err(syn::Error::new_spanned(other, "this takes true or false")),
    }
}

/// A length of time such as `"10s"`, as an expression.
pub(crate) fn duration(text: &LitStr) -> syn::Result<TokenStream> {
    let refuse = || {
        let message =
            "a length of time is a whole number and its unit, such as \"500ms\", \"10s\", \"5m\" or \"1h\"";
        syn::Error::new(text.span(), message)
    };
    let written = text.value();
    let unit = written.find(|c: char| !c.is_ascii_digit()).ok_or_else(refuse)?;
    let number: u64 = written[..unit].parse().map_err(|_| refuse())?;
    let millis = match written[unit..].trim() {
        "ms" => Some(number),
        "s" => number.checked_mul(1000),
        "m" => number.checked_mul(60_000),
        "h" => number.checked_mul(3_600_000),
        _ => None,
    };
    let millis = millis.ok_or_else(refuse)?;
    Ok(quote!(::excom::__private::Duration::from_millis(#millis)))
}

/// The text of doc comments.
pub(crate) fn docs(attributes: &[Attribute]) -> String {
    let mut lines = Vec::new();
    for attribute in attributes.iter().filter(|attribute| attribute.path().is_ident("doc")) {
        if let Meta::NameValue(pair) = &attribute.meta
            && let Expr::Lit(ExprLit { lit: Lit::Str(text), .. }) = &pair.value
        {
            lines.push(text.value().trim().to_owned());
        }
    }
    lines.join("\n").trim().to_owned()
}
