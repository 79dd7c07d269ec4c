//! `#[task]`: a function that adds a task, and the body beside it as `name::call`.

use proc_macro2::{Ident, Span, TokenStream};
use quote::{format_ident, quote, quote_spanned};
use syn::parse::Parser as _;
use syn::spanned::Spanned as _;
use syn::{FnArg, GenericArgument, ItemFn, LitInt, LitStr, Pat, PathArguments, ReturnType, Signature, Type};

use crate::attributes::{docs, duration, flag, integer, number, once, text, unknown};

const KNOWN: [&str; 14] = [
    "task_id",
    "retries",
    "retry_delay",
    "retry_exponential_backoff",
    "max_retry_delay",
    "execution_timeout",
    "max_active_tis_per_dagrun",
    "trigger_rule",
    "setup",
    "teardown",
    "branch",
    "short_circuit",
    "do_xcom_push",
    "multiple_outputs",
];

/// The names of `TriggerRule`'s variants, as Airflow writes them.
const TRIGGER_RULES: [&str; 12] = [
    "all_success",
    "all_failed",
    "all_done",
    "all_done_min_one_success",
    "all_skipped",
    "one_failed",
    "one_success",
    "one_done",
    "none_failed",
    "none_failed_min_one_success",
    "none_skipped",
    "always",
];

/// A parameter of the function.
enum Parameter {
    /// An argument of the task.
    Argument { name: Ident, ty: Box<Type> },
    /// The running task instance, by reference or not.
    TaskInstance { reference: bool },
}

pub(crate) fn expand(arguments: TokenStream, item: TokenStream) -> syn::Result<TokenStream> {
    let settings = Settings::parse(arguments)?;
    let function: ItemFn = syn::parse2(item)
        .map_err(|error| syn::Error::new(error.span(), format!("`#[task]` goes on a function: {error}")))?;
    check(&function.sig)?;
    check_returned(&function.sig.output)?;
    let parameters = parameters(&function.sig)?;

    let (name, vis, attrs, block) = (&function.sig.ident, &function.vis, &function.attrs, &function.block);
    let task_id = settings.task_id.unwrap_or_else(|| plain(name));
    let options = settings.options;

    let mut call = function.sig.clone();
    call.ident = Ident::new("call", name.span());
    let arguments: Vec<(&Ident, &Type, Ident)> = parameters
        .iter()
        .filter_map(|parameter| match parameter {
            Parameter::Argument { name, ty } => Some((name, &**ty)),
            Parameter::TaskInstance { .. } => None,
        })
        .enumerate()
        // A name of its own, which hides no type of an argument.
        .map(|(place, (name, ty))| (name, ty, format_ident!("ExcomArgument{place}")))
        .collect();
    let generics =
        arguments.iter().map(|(_, ty, of)| quote_spanned!(ty.span()=> #of: ::excom::__private::IntoArg<#ty>));
    let takes = arguments.iter().map(|(name, _, of)| quote!(#name: #of));
    let arity = arguments.iter().fold(quote!(::excom::__private::One), |arity, (_, ty, of)| {
        quote! {
            <#arity as ::excom::__private::Arity>::With<<#of as ::excom::__private::IntoArg<#ty>>::Arity>
        }
    });
    let with = arguments.iter().map(|(name, ty, _)| {
        let text = plain(name);
        quote_spanned!(ty.span()=> .with::<#ty>(#text, #name))
    });
    let (returns, wrapped) = returns(&function.sig.output);
    let run = run(name, &function.sig, &parameters, &wrapped, settings.chooses.as_ref());
    let types = types(&arguments, &returns, &function.sig.output);
    let attrs: Vec<_> = attrs.iter().collect();
    let (docs_of_call, docs_of_struct) = (
        format!("The body of task `{task_id}` as a plain function, for unit tests."),
        format!("The task `{task_id}`; its body is [`call`](Self::call)."),
    );
    let documented = if docs(&function.attrs).is_empty() {
        let text = format!("Adds the task `{task_id}` to a DAG.");
        quote!(#[doc = #text])
    } else {
        TokenStream::new()
    };
    let (kept, of_body): (Vec<_>, Vec<_>) = attrs.into_iter().partition(|attr| attr.path().is_ident("doc"));
    // Names of its own, which hide none of the arguments'.
    let (own_settings, own_function) =
        (Ident::new("settings", Span::mixed_site()), Ident::new("function", Span::mixed_site()));
    let settings = quote! {
        #[allow(unused_mut)]
        let mut #own_settings = ::excom::__private::Settings::default();
        #(#own_settings.#options;)*
    };
    let new = quote!(::excom::__private::Function::new(#run).with_types(#types));
    let kwargs = kwargs(&arguments, &task_id, &new, &settings, &own_settings, &returns, vis);
    Ok(quote! {
        #documented
        #(#kept)*
        #[allow(clippy::too_many_arguments, clippy::needless_pass_by_value, dead_code)]
        #vis fn #name<#(#generics),*>(
            dag: &::excom::__private::Dag, #(#takes),*
        ) -> ::excom::__private::XComArg<#returns, #arity> {
            #settings
            let #own_function = ::excom::__private::Function::new(#run).with_types(#types) #(#with)*;
            ::excom::__private::add(dag, #task_id, #own_settings, #own_function)
        }

        #[doc = #docs_of_struct]
        #[allow(non_camel_case_types, dead_code)]
        #vis struct #name {
            function: ::excom::__private::Function,
        }

        #[allow(dead_code)]
        impl #name {
            #kwargs

            #[doc = #docs_of_call]
            #(#of_body)*
            #[allow(clippy::unused_async, clippy::needless_pass_by_value, clippy::missing_errors_doc, clippy::missing_panics_doc)]
            #vis #call #block
        }
    })
}

/// What a task with arguments has for `expand_kwargs`.
fn kwargs(
    arguments: &[(&Ident, &Type, Ident)],
    task_id: &str,
    new: &TokenStream,
    settings: &TokenStream,
    own_settings: &Ident,
    returns: &TokenStream,
    vis: &syn::Visibility,
) -> TokenStream {
    if arguments.is_empty() {
        return TokenStream::new();
    }
    let names = arguments.iter().map(|(name, ..)| plain(name));
    let setters = arguments.iter().filter(|(name, ..)| !OWN_METHODS.contains(&plain(name).as_str())).map(
        |(name, ty, _)| {
            let text = plain(name);
            let doc = format!("Gives every instance the argument `{text}`, unless its dict has one.");
            quote_spanned! {ty.span()=>
                #[doc = #doc]
                #[must_use]
                #vis fn #name(
                    mut self,
                    #name: impl ::excom::__private::IntoArg<#ty, Arity = ::excom::__private::One>,
                ) -> Self {
                    self.function = self.function.with_partial::<#ty>(#text, #name);
                    self
                }
            }
        },
    );
    let (partial, expand) = (
        format!(
            "The task `{task_id}` for [`expand_kwargs`](Self::expand_kwargs): arguments that are the same in \
                 every instance are given to what this returns."
        ),
        format!(
            "Adds the task `{task_id}`, once for each dict: a dict has the arguments of an instance by name."
        ),
    );
    quote! {
        #[doc = #partial]
        #[must_use]
        #vis fn partial() -> Self {
            Self { function: #new #(.with_kwarg(#names))* }
        }

        #(#setters)*

        #[doc = #expand]
        #vis fn expand_kwargs<ExcomKwargs>(
            self,
            dag: &::excom::__private::Dag,
            kwargs: impl ::excom::__private::IntoElements<ExcomKwargs>,
        ) -> ::excom::__private::XComArg<#returns, ::excom::__private::Many> {
            #settings
            ::excom::__private::add(dag, #task_id, #own_settings, self.function.expanded(kwargs))
        }
    }
}

/// Names that methods of the struct have, so that an argument of that name has no method of its own.
const OWN_METHODS: [&str; 3] = ["call", "partial", "expand_kwargs"];

/// The attribute's arguments, as assignments to fields of `Settings`.
struct Settings {
    task_id: Option<String>,
    options: Vec<TokenStream>,
    /// What makes a choice of what the body returns.
    chooses: Option<Ident>,
}

impl Settings {
    fn parse(arguments: TokenStream) -> syn::Result<Self> {
        let (mut task_id, mut options, mut chooses) = (None, Vec::new(), None);
        syn::meta::parser(|meta| {
            let is = |name: &str| meta.path.is_ident(name);
            if is("task_id") {
                let id = text(&meta, "\"read\"")?;
                if id.value().is_empty() {
                    return Err(syn::Error::new(id.span(), "a task id has at least one character"));
                }
                once(&mut task_id, &meta, id.value())
            } else if is("retries") {
                let number = integer(&meta)?;
                check_retries(&number)?;
                option(&mut options, &meta, quote!(#number))
            } else if is("max_active_tis_per_dagrun") {
                let number = integer(&meta)?;
                if number.base10_parse::<u32>().map_or(true, |number| number == 0) {
                    return Err(syn::Error::new(number.span(), "this is a whole number of at least 1"));
                }
                option(&mut options, &meta, quote!(::core::option::Option::Some(#number)))
            } else if is("retry_delay") || is("max_retry_delay") {
                let delay = duration(&text(&meta, "\"10s\"")?)?;
                option(&mut options, &meta, delay)
            } else if is("execution_timeout") {
                let timeout = duration(&text(&meta, "\"10m\"")?)?;
                option(&mut options, &meta, quote!(::core::option::Option::Some(#timeout)))
            } else if is("retry_exponential_backoff") {
                let factor = number(&meta)?;
                option(&mut options, &meta, quote!(#factor))
            } else if is("trigger_rule") {
                let rule = trigger_rule(&text(&meta, "\"all_done\"")?)?;
                option(&mut options, &meta, quote!(::excom::__private::TriggerRule::#rule))
            } else if is("setup") || is("teardown") {
                if !flag(&meta)?.value() {
                    return Ok(());
                }
                let role = if is("setup") { quote!(Setup) } else { quote!(Teardown) };
                options
                    .push((Ident::new("role", Span::call_site()), quote!(::excom::__private::Role::#role)));
                Ok(())
            } else if is("branch") || is("short_circuit") {
                let function = if is("branch") { "branched" } else { "short_circuited" };
                if !flag(&meta)?.value() {
                    return Ok(());
                }
                once(&mut chooses, &meta, Ident::new(function, Span::call_site()))
            } else if is("do_xcom_push") || is("multiple_outputs") {
                let flag = flag(&meta)?;
                option(&mut options, &meta, quote!(#flag))
            } else {
                Err(unknown(&meta, "task", &KNOWN))
            }
        })
        .parse2(arguments)?;
        let options = options.into_iter().map(|(name, value)| quote!(#name = #value)).collect();
        Ok(Self { task_id, options, chooses })
    }
}

/// Takes the value of a setting once, under the name that the attribute has for it.
fn option(
    options: &mut Vec<(Ident, TokenStream)>,
    meta: &syn::meta::ParseNestedMeta<'_>,
    value: TokenStream,
) -> syn::Result<()> {
    let name = meta.path.require_ident()?;
    let mut slot = options.iter().find(|(known, _)| known == name).map(|_| ());
    once(&mut slot, meta, ())?;
    options.push((name.clone(), value));
    Ok(())
}

/// The variant of a trigger rule's name.
fn trigger_rule(name: &LitStr) -> syn::Result<Ident> {
    let text = name.value();
    if !TRIGGER_RULES.contains(&text.as_str()) {
        let message = format!("there is no trigger rule `{text}`; there are {}", TRIGGER_RULES.join(", "));
        return Err(syn::Error::new(name.span(), message));
    }
    let variant: String = text.split('_').map(|word| word[..1].to_uppercase() + &word[1..]).collect();
    Ok(Ident::new(&variant, name.span()))
}

fn check_retries(number: &LitInt) -> syn::Result<()> {
    number
        .base10_parse::<u32>()
        .map(drop)
        .map_err(|_| syn::Error::new(number.span(), "`retries` is a whole number of at most 4294967295"))
}

fn check(signature: &Signature) -> syn::Result<()> {
    let refuse = |tokens: &dyn quote::ToTokens, message: &str| Err(syn::Error::new_spanned(tokens, message));
    if !signature.generics.params.is_empty() || signature.generics.where_clause.is_some() {
        return refuse(&signature.generics, "a task has no generics: each task of a DAG has fixed types");
    }
    if let syn::Safety::Unsafe(unsafety) = &signature.safety {
        return refuse(unsafety, "a task cannot be unsafe: the runner calls it");
    }
    if let Some(constness) = &signature.constness {
        return refuse(constness, "a task cannot be const: it runs when the DAG does");
    }
    if let Some(abi) = &signature.abi {
        return refuse(abi, "a task is a Rust function");
    }
    Ok(())
}

/// A value outlives the task that returns it.
fn check_returned(output: &ReturnType) -> syn::Result<()> {
    let ReturnType::Type(_, ty) = output else { return Ok(()) };
    match &**ty {
        Type::Reference(reference) => Err(syn::Error::new_spanned(
            reference,
            format!("a task's value goes elsewhere, so it is owned: return {}", owned(&reference.elem)),
        )),
        Type::ImplTrait(ty) => {
            Err(syn::Error::new_spanned(ty, "each task of a DAG has fixed types: name the type"))
        }
        _ => Ok(()),
    }
}

fn parameters(signature: &Signature) -> syn::Result<Vec<Parameter>> {
    let mut parameters = Vec::new();
    for input in &signature.inputs {
        let typed = match input {
            FnArg::Typed(typed) => typed,
            FnArg::Receiver(receiver) => {
                return Err(syn::Error::new_spanned(receiver, "a task is a free function: it has no `self`"));
            }
        };
        if let Some(attribute) = typed.attrs.first() {
            return Err(syn::Error::new_spanned(attribute, "an argument of a task takes no attributes"));
        }
        match &*typed.ty {
            Type::Reference(reference) if is_task_instance(&reference.elem) => {
                if let Some(mutability) = &reference.mutability {
                    return Err(syn::Error::new_spanned(
                        mutability,
                        "a task instance is not changed: take `&TaskInstance`",
                    ));
                }
                parameters.push(Parameter::TaskInstance { reference: true });
                continue;
            }
            ty if is_task_instance(ty) => {
                parameters.push(Parameter::TaskInstance { reference: false });
                continue;
            }
            Type::Reference(reference) => {
                return Err(syn::Error::new_spanned(
                    reference,
                    format!(
                        "a task owns its arguments, which come from elsewhere: take {}",
                        owned(&reference.elem)
                    ),
                ));
            }
            Type::ImplTrait(ty) => {
                return Err(syn::Error::new_spanned(ty, "each task of a DAG has fixed types: name the type"));
            }
            _ => {}
        }
        let name = match &*typed.pat {
            Pat::Ident(pattern) if pattern.by_ref.is_none() && pattern.subpat.is_none() => {
                pattern.ident.clone()
            }
            other => {
                return Err(syn::Error::new_spanned(
                    other,
                    "an argument of a task needs a name; take it apart in the body",
                ));
            }
        };
        if name == "dag" {
            return Err(syn::Error::new_spanned(
                name,
                "`dag` is the first argument of the function that adds the task; choose another name",
            ));
        }
        parameters.push(Parameter::Argument { name, ty: typed.ty.clone() });
    }
    Ok(parameters)
}

fn is_task_instance(ty: &Type) -> bool {
    matches!(ty, Type::Path(path) if path.path.segments.last().is_some_and(|last| last.ident == "TaskInstance"))
}

fn owned(ty: &Type) -> String {
    match ty {
        Type::Path(path) if path.path.is_ident("str") => "`String`".to_owned(),
        Type::Path(path) if path.path.segments.last().is_some_and(|last| last.ident == "Path") => {
            "`PathBuf`".to_owned()
        }
        Type::Slice(slice) => {
            let element = &slice.elem;
            format!("`Vec<{}>`", quote!(#element))
        }
        other => format!("`{}`", quote!(#other)),
    }
}

/// The type of the value, and what makes a `Result` of what the body returns.
fn returns(output: &ReturnType) -> (TokenStream, TokenStream) {
    match output {
        ReturnType::Default => (quote!(()), quote!(::excom::__private::plain)),
        ReturnType::Type(_, ty) if is_result(ty) => (
            quote_spanned!(ty.span()=> <#ty as ::excom::__private::TaskResult>::Value),
            quote!(::excom::__private::TaskResult::into_result),
        ),
        ReturnType::Type(_, ty) => (quote!(#ty), quote_spanned!(ty.span()=> ::excom::__private::plain)),
    }
}

/// The closure that tells the types of the arguments and of the value.
fn types(arguments: &[(&Ident, &Type, Ident)], returns: &TokenStream, output: &ReturnType) -> TokenStream {
    let returned = match output {
        ReturnType::Default => "()".to_owned(),
        ReturnType::Type(_, ty) => written(&value_type(ty)),
    };
    let arguments = arguments.iter().map(|(name, ty, _)| {
        let (name, text) = (plain(name), written(ty));
        quote_spanned!(ty.span()=> .argument(#name, (&::excom::__private::TypeOf::<#ty>::new()).schema(#text)))
    });
    quote! {
        || {
            #[allow(unused_imports)]
            use ::excom::__private::{KnownType as _, NamedOutputs as _, NoNamedOutputs as _, UnknownType as _};
            ::excom::__private::Types::new(
                (&::excom::__private::TypeOf::<#returns>::new()).schema(#returned),
                (&::excom::__private::TypeOf::<#returns>::new()).outputs(),
            ) #(#arguments)*
        }
    }
}

/// The `T` of `Result<T>`; any other type itself.
fn value_type(ty: &Type) -> Type {
    if is_result(ty)
        && let Type::Path(path) = ty
        && let Some(last) = path.path.segments.last()
        && let PathArguments::AngleBracketed(arguments) = &last.arguments
        && let Some(GenericArgument::Type(value)) = arguments.args.first()
    {
        return value.clone();
    }
    ty.clone()
}

/// A type as it is written.
pub(crate) fn written(ty: &Type) -> String {
    let text = quote!(#ty).to_string();
    let tight = [(" < ", "<"), ("< ", "<"), (" >", ">"), (" :: ", "::"), (" ,", ",")];
    tight.iter().fold(text, |text, (wide, tight)| text.replace(wide, tight))
}

fn is_result(ty: &Type) -> bool {
    matches!(ty, Type::Path(path) if path.path.segments.last().is_some_and(|last| {
        last.ident == "Result" && !matches!(&last.arguments, PathArguments::AngleBracketed(arguments)
            if arguments.args.iter().any(|argument| matches!(argument, GenericArgument::Constraint(_))))
    }))
}

/// The closure that begins a try.
fn run(
    name: &Ident,
    signature: &Signature,
    parameters: &[Parameter],
    wrapped: &TokenStream,
    chooses: Option<&Ident>,
) -> TokenStream {
    // Arguments keep their places under names that no argument can have.
    let names: Vec<Ident> =
        (0..parameters.len()).map(|i| format_ident!("argument_{i}", span = Span::mixed_site())).collect();
    let takes = parameters.iter().zip(&names).filter_map(|(parameter, name)| match parameter {
        Parameter::Argument { ty, .. } => Some(quote_spanned! {ty.span()=>
            let #name: #ty = (&&&::excom::__private::Take::<#ty>::new()).take(&mut arguments)?;
        }),
        Parameter::TaskInstance { .. } => None,
    });
    let passes = parameters.iter().zip(&names).map(|(parameter, name)| match parameter {
        Parameter::Argument { .. } => quote!(#name),
        Parameter::TaskInstance { reference: true } => quote!(&ti),
        Parameter::TaskInstance { reference: false } => quote!(ti.clone()),
    });
    let returned = match &signature.output {
        ReturnType::Default => quote!(::excom::__private::returned),
        ReturnType::Type(_, ty) => quote_spanned!(ty.span()=> ::excom::__private::returned),
    };
    let wait = signature.asyncness.map(|_| quote!(.await));
    let pushed = match chooses {
        Some(choice) => quote_spanned! {signature.output.span()=>
            ::excom::__private::#choice(#wrapped(#name::call(#(#passes),*)#wait), &ti, pushes)
        },
        None => quote!(#returned(#wrapped(#name::call(#(#passes),*)#wait), pushes)),
    };
    let body = quote! {
        #[allow(unused_imports)]
        use ::excom::__private::{TakeMapped as _, TakeNothing as _, TakeOptional as _, TakeRequired as _};
        #(#takes)*
        let pushes = ti.pushes();
        #pushed
    };
    let running = if signature.asyncness.is_some() {
        quote!(::excom::__private::Running::Future(::std::boxed::Box::pin(async move { #body })))
    } else {
        quote!(::excom::__private::Running::Blocking(::std::boxed::Box::new(move || { #body })))
    };
    quote! {
        #[allow(unused_mut)]
        |ti: ::excom::__private::TaskInstance, mut arguments: ::excom::__private::Arguments| #running
    }
}

/// A name without `r#`.
pub(crate) fn plain(name: &Ident) -> String {
    let text = name.to_string();
    text.strip_prefix("r#").map_or(text.clone(), ToOwned::to_owned)
}
