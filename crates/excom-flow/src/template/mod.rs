//! Templates: Jinja over the context of a task instance, as Airflow renders it.
//!
//! minijinja reads and runs them. What Python does otherwise than it (operators, printing, lists that can be
//! changed, methods, dates) is put in its place here, and bounds are kept: steps, sizes, names. What a
//! template prints is never read as a template again.

mod args;
mod containers;
mod context;
mod dates;
mod explain;
mod files;
mod filters;
mod globals;
mod json;
mod macros;
mod methods;
mod native;
mod operators;
mod pull;
mod python;
mod run;
mod shell;
mod sorting;
mod syntax;

use std::sync::{Arc, LazyLock};

use excom_core::{Error, ErrorKind, Result};
use minijinja::{AutoEscape, Environment, UndefinedBehavior, Value};

use crate::instance::TaskInstance;
use context::Context;
use explain::{explain, refused};
use files::Files;
use run::Run;
use syntax::Prepared;

/// How many steps a template may take: enough for any that people write, an end for one that loops.
const FUEL: u64 = 1_000_000;

/// How much text between tags a template prints at most before its steps end, in bytes.
const RAW: u64 = 256 << 20;

/// The stack for templates with loops, which may nest lists deeply; only what is used of it is real.
const STACK: usize = 256 << 20;

/// How a template is rendered.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Rules {
    /// To the value of its expression, or of the literal that its text is.
    pub(crate) native: bool,
    /// For a shell: what is printed by a template that pulls or reads variables may have no
    /// character that means something to it.
    pub(crate) shell: bool,
}

/// The settings are the same for all templates, and making them costs more than most renderings.
static ENVIRONMENT: LazyLock<Environment<'static>> = LazyLock::new(|| {
    let mut environment = Environment::new();
    environment.set_undefined_behavior(UndefinedBehavior::Strict);
    environment.set_debug(true);
    environment.set_auto_escape_callback(|_| AutoEscape::None);
    environment.set_unknown_method_callback(methods::call);
    operators::register(&mut environment);
    globals::register(&mut environment);
    filters::register(&mut environment);
    environment
});

fn environment(run: &Arc<Run>, fuel: u64) -> Environment<'static> {
    let mut environment = ENVIRONMENT.clone();
    environment.set_fuel(Some(fuel));
    environment.add_global(run::NAME, Value::from_dyn_object(run.clone()));
    let run = run.clone();
    environment.set_formatter(move |out, state, value| {
        if value.is_undefined() {
            // The default formatter has the message for what is not defined.
            return minijinja::escape_formatter(out, state, value);
        }
        run.keep(value);
        let mut text = python::text(value)?;
        if matches!(state.auto_escape(), AutoEscape::Html) && !value.is_safe() {
            text = filters::escaped(&text);
        }
        run.print(text.len())?;
        shell::check(&run, value, &text)?;
        out.write_str(&text).map_err(minijinja::Error::from)
    });
    environment
}

/// Renders a template of a task to text. Blocks while it pulls.
///
/// # Errors
/// With task, field, line, column and expression; and when a pull was answered without a value, which.
pub(crate) fn render(ti: &TaskInstance, field: &str, template: &str) -> Result<String> {
    rendered(ti, field, template, Rules::default(), |_, text| Ok(text))
}

/// Renders a template of a task to a value: text, or by native rendering whatever it is.
///
/// # Errors
/// As [`render`]; and when a value cannot be written as JSON.
pub(crate) fn value(
    ti: &TaskInstance,
    field: &str,
    template: &str,
    rules: Rules,
) -> Result<excom_core::Value> {
    rendered(ti, field, template, rules, |lone, text| match (rules.native, lone) {
        (false, _) => excom_core::Value::of(&text),
        (true, Some(value)) if value.as_str().is_none() => json::field(&value),
        (true, _) => json::field(&native::value(&text)),
    })
}

/// The text of a template file; see [`files::read`].
///
/// # Errors
/// When it is in none of the folders, leads out of them, or cannot be read.
pub(crate) fn file(ti: &TaskInstance, name: &str) -> Result<String> {
    files::read(&ti.run_facts().template_searchpath, name)
}

fn rendered<T: Send>(
    ti: &TaskInstance,
    field: &str,
    template: &str,
    rules: Rules,
    finish: impl FnOnce(Option<Value>, String) -> Result<T> + Send,
) -> Result<T> {
    let prepared = Prepared::new(field, template).map_err(|why| refused(ti, field, template, why))?;
    let (text, lone) = (prepared.text.clone(), prepared.lone);
    let fuel = FUEL.min(RAW / (prepared.longest_raw as u64).max(1)).max(1000);
    let work = || {
        let run = Run::new(ti, rules.shell);
        let files = Files::default();
        let mut environment = environment(&run, fuel);
        let mut folders = ti.run_facts().template_searchpath.clone();
        if folders.is_empty() {
            folders.push(".".into());
        }
        files.serve(&mut environment, folders);
        files.keep(field, template.to_owned(), prepared);
        let context = Value::from_object(Context(run.clone()));
        let made = environment
            .render_named_str(field, &text, context)
            .and_then(|made| {
                shell::finish(&run)?;
                if made.len() > run::LARGEST { run.spend(made.len()).map(|()| made) } else { Ok(made) }
            })
            .map_err(|error| explain(ti, field, &error, &files, &run.pulled(), fuel))?;
        finish(run.kept().filter(|_| lone), made)
    };
    if template.contains("{%") { on_large_stack(work) } else { work() }
}

/// Runs what may recurse deeply.
fn on_large_stack<T: Send>(work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
    // A channel may need the runtime that it was made in.
    let runtime = tokio::runtime::Handle::try_current().ok();
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().name("template".to_owned()).stack_size(STACK);
        let thread = thread.spawn_scoped(scope, move || {
            let _entered = runtime.as_ref().map(tokio::runtime::Handle::enter);
            work()
        });
        let failed =
            |why: &str| Error::new(ErrorKind::Other, format!("a template cannot be rendered: {why}"));
        match thread {
            Ok(thread) => thread.join().unwrap_or_else(|_| Err(failed("rendering it panicked"))),
            Err(error) => Err(failed("no thread can be started").because(error)),
        }
    })
}
