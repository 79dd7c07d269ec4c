//! Operators: tasks that are configured rather than written.

mod bash;
mod choice;
mod environment;
mod exchange;
mod field;
#[cfg(feature = "http")]
mod http;
mod lines;
mod output;
mod process;
mod program;
mod python;
mod sensor;
#[cfg(any(feature = "sql-sqlite", feature = "sql-postgres"))]
mod sql;
mod watch;

pub(crate) use process::TERM_GRACE;

use std::borrow::Cow;
use std::future::Future;

use excom_core::{ErrorKind, Value};
use serde::Serialize;

pub use bash::Bash;
pub use choice::{Branch, BranchBy, BranchIds, Empty, ShortCircuit, follow, go_on_if};
#[doc(hidden)]
pub use choice::{branched, short_circuited};
pub use field::Field;
#[cfg(feature = "http")]
pub use http::{Http, HttpResponse};
pub use program::Program;
pub use sensor::{Condition, FileThere, Poke, Sensor, SensorTimeout, Waiting};
#[cfg(any(feature = "sql-sqlite", feature = "sql-postgres"))]
pub use sql::Sql;

use crate::contract::{TypeSchema, Types};
use crate::dag::NamedSource;
use crate::error::within;
use crate::instance::TaskInstance;
use crate::outcome::{Result, returned};
use crate::work::{Arguments, Running, Work};

/// The fields of an [`Operator`], each with its name.
pub type Fields<'a> = Vec<(Cow<'static, str>, &'a mut Field)>;

/// A task that is configured rather than written: its fields are values, templates, parameters or the
/// values of other tasks, and `execute` runs when they are known.
///
/// ```
/// # extern crate excom_flow as excom;
/// use excom::prelude::*;
///
/// /// Writes a text to a file, and returns how many bytes that were.
/// #[derive(Clone, Debug)]
/// struct WriteFile {
///     path: Field,
///     text: Field,
/// }
///
/// impl Operator for WriteFile {
///     type Output = usize;
///
///     fn fields(&mut self) -> Fields<'_> {
///         vec![("path".into(), &mut self.path), ("text".into(), &mut self.text)]
///     }
///
///     async fn execute(self, ti: TaskInstance) -> Result<usize> {
///         let (path, text) = (self.path.text()?, self.text.text()?);
///         ti.log(&format!("writing {path}"));
///         std::fs::write(path, &text)?;
///         Ok(text.len())
///     }
/// }
///
/// #[task]
/// fn report() -> String { "all is well".into() }
///
/// #[dag]
/// fn daily(dag: &Dag) {
///     let report = report(dag);
///     dag.add("write", WriteFile { path: "/tmp/{{ run_id }}.txt".into(), text: report.into() });
/// }
/// assert_eq!(daily().graph()?.tasks()[1].upstream().collect::<Vec<_>>(), ["report"]);
/// # Ok::<(), excom_core::Error>(())
/// ```
pub trait Operator: Clone + std::fmt::Debug + Send + Sync + 'static {
    /// What it returns and pushes.
    type Output: Serialize + Send;

    /// What its output is like, when that is known: `TypeSchema::of::<Self::Output>()` for an output with
    /// `JsonSchema`.
    fn output_schema() -> TypeSchema {
        TypeSchema::unknown(std::any::type_name::<Self::Output>())
    }

    /// The fields that are known only when it runs, always in the same order; none unless it says so.
    fn fields(&mut self) -> Fields<'_> {
        Vec::new()
    }

    /// The endings by which a field's text is known as the name of a template file (`.sql`).
    fn template_ext(&self) -> &'static [&'static str] {
        &[]
    }

    /// Whether templates become values rather than text; without an answer, as the DAG says.
    fn render_template_as_native_obj(&self) -> Option<bool> {
        None
    }

    /// Runs one try. The fields are rendered.
    ///
    /// When the run is cancelled, [`TaskInstance::cancelled`] resolves; the operator then has a moment to
    /// end what it started before it is dropped.
    ///
    /// # Errors
    /// An error fails the try, [`Skip`](crate::Skip) skips the task.
    fn execute(self, ti: TaskInstance) -> impl Future<Output = Result<Self::Output>> + Send;
}

/// An operator as the work of a task.
#[derive(Debug)]
pub(crate) struct Operated<O>(pub(crate) O);

impl<O: Operator> Work for Operated<O> {
    fn name(&self) -> &'static str {
        let name = std::any::type_name::<O>();
        let name = name.split('<').next().unwrap_or(name);
        name.rsplit("::").next().unwrap_or(name)
    }

    fn inputs(&self) -> Vec<NamedSource> {
        // `fields` takes `&mut`, because that is what rendering needs.
        let mut operator = self.0.clone();
        operator
            .fields()
            .into_iter()
            .filter_map(|(name, field)| field.source().map(|source| (name, source.clone())))
            .collect()
    }

    fn types(&self) -> Types {
        Types::new(O::output_schema(), Vec::new())
    }

    fn returns_anything(&self) -> bool {
        true
    }

    fn start(&self, ti: TaskInstance, mut arguments: Arguments) -> Running {
        let mut operator = self.0.clone();
        Running::Graceful(Box::pin(async move {
            let push = ti.pushes();
            let (native, extensions) = (is_native(&operator, &ti), operator.template_ext());
            let mut templates = false;
            for (_, field) in operator.fields() {
                if field.source().is_some()
                    && let Some((name, argument)) = arguments.next()
                {
                    let value = argument.required();
                    field.set(value.map_err(|e| within(&format!("field `{name}`"), e))?);
                }
                if !native {
                    field.settle(extensions)?;
                }
                templates |= field.is_template();
            }
            if templates {
                // A template may pull, and so block.
                operator = render(operator, ti.clone()).await?;
            }
            note_rendered(&mut operator, &ti).await;
            returned(operator.execute(ti).await, push)
        }))
    }
}

fn is_native<O: Operator>(operator: &O, ti: &TaskInstance) -> bool {
    operator.render_template_as_native_obj().unwrap_or(ti.run_facts().native_templates)
}

async fn render<O: Operator>(operator: O, ti: TaskInstance) -> excom_core::Result<O> {
    let rendered = tokio::task::spawn_blocking(move || ti.render_templates(operator));
    rendered.await.unwrap_or_else(|e| {
        Err(excom_core::Error::new(ErrorKind::Other, "rendering the templates panicked").because(e))
    })
}

impl TaskInstance {
    /// Renders the fields of an operator that are templates, as is done before it executes. Blocks when a
    /// template pulls.
    ///
    /// # Errors
    /// With field, line, column and expression, and what a pull in it was answered.
    pub fn render_templates<O: Operator>(&self, mut operator: O) -> excom_core::Result<O> {
        let (native, extensions) = (is_native(&operator, self), operator.template_ext());
        for (name, field) in operator.fields() {
            field.render(self, &name, extensions, native)?;
        }
        Ok(operator)
    }
}

/// Keeps what the fields became, for whoever looks at the task later. The task runs also when that fails,
/// and its log says so.
async fn note_rendered<O: Operator>(operator: &mut O, ti: &TaskInstance) {
    let fields: Vec<(String, Value)> = operator
        .fields()
        .into_iter()
        .filter_map(|(name, field)| field.rendered().map(|value| (name.into_owned(), value)))
        .collect();
    if fields.is_empty() {
        return;
    }
    if let Err(error) = ti.channel().note_rendered(&fields).await {
        ti.log(&format!("what the fields were rendered to is not kept: {error}"));
    }
}

#[cfg(test)]
mod tests;
